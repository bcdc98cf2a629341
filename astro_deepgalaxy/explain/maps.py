"""Maps that explain the predictions of a model."""

import numpy as np
from astropy import units as u

from ..celestial import tangent_wcs
from ..plugins import get_spec
from .answers import Question
from .explanation import Explanation
from .grad_cam import GradCAM
from .occlusion import Occlusion

__all__ = ["explain", "explain_each"]

_BATCH = 8  # images whose gradients are in memory at once


def explain(model, inputs, method="grad-cam", output=None, of=None, rows=None, **settings):
    """Show what the predictions for images rest on.

    Parameters
    ----------
    model : NetworkTask
        A fitted estimator with a classifier, such as `~astro_deepgalaxy.MergerClassifier`.
    inputs : path, glob, folder, Table, array, NDData, sequence of these, or CutoutStore
        Raw images, prepared by the model's own recipe; or a store made with that recipe.
    method : {"grad-cam", "occlusion"}
        See `~astro_deepgalaxy.explain.grad_cam.GradCAM` and
        `~astro_deepgalaxy.explain.occlusion.Occlusion`.
    output : str, optional
        The output of the network, such as ``time_class`` or ``stage``; by default the time.
    of : str or int, optional
        Which number of it. Of the posterior over time: ``"median"``, as in the catalogue and the
        default; ``"mean"``; ``"interval"``, the logarithm of the probability between
        ``time_lower`` and ``time_upper``; or a class number. Of other outputs: the name or number
        of a class, whose log probability is explained; by default that of the most probable one.
    rows : array_like of int, optional
        Rows of a store; all by default.
    **settings
        Of the method: ``stage``, a feature map for Grad-CAM such as ``"stage3"``, by default the
        last; ``patch`` and ``step``, in pixels, for occlusion.

    Returns
    -------
    list of Explanation
        One for each input, in order. An image that cannot be used has no map, but a reason.

    Raises
    ------
    ValueError
        If the method, the output or what is asked of it is unknown, an option does not belong to
        the method, or the inputs name no image.
    """
    return list(explain_each(model, inputs, method, output, of, rows, **settings))


def explain_each(model, inputs, method="grad-cam", output=None, of=None, rows=None, **settings):
    """As `explain`, one image after the other: for more than fit into memory.

    Parameters
    ----------
    model, inputs, method, output, of, rows, **settings
        As there.

    Returns
    -------
    iterator of Explanation
    """
    model._check_fitted()
    question = Question(model, output, of)
    mapper = _mapper(model, method, settings)
    return _explanations(model, inputs, rows, method, question, mapper)


def _mapper(model, method, settings):
    known = {"grad-cam": ("stage",), "occlusion": ("patch", "step")}
    if method not in known:
        raise ValueError(f"unknown method {method!r}; known are {', '.join(known)}")
    for name in settings:
        if name not in known[method]:
            raise ValueError(
                f"{name!r} is not a setting of the method {method!r}, which has "
                f"{', '.join(known[method])}"
            )
    if method == "grad-cam":
        return GradCAM(model.network_, **settings)
    engine = get_spec("engine", model.engine).load()(model.network_)
    return Occlusion(engine, model.network_.config.input_shape, **settings)


def _explanations(model, inputs, rows, method, question, mapper):
    names = list(dict.fromkeys([*model._reads(), question.output]))
    for about, where, images, outputs in model._answered(inputs, names, rows):
        columns, flags = model._columns(images, outputs)
        predictions = [{k: v[i] for k, v in columns.items()} for i in range(len(images))]
        values = outputs[question.output]
        answers = list(map(question.answer, values, predictions))
        maps = _maps(mapper, images, answers)
        place = dict(zip(where.tolist(), range(len(where)), strict=True))
        for i, row in enumerate(about):
            known = {
                "id": str(row["id"]),
                "file": str(row["file"]),
                "model": model.digest_ or "",
                "flags": int(row["flags"]),
                "reason": str(row["reason"]),
            }
            if i not in place:
                yield Explanation(**known)
                continue
            k = place[i]
            answer = answers[k]
            known["flags"] |= int(flags[k])
            yield Explanation(
                **known,
                image=images[k],
                map=next(maps),
                wcs=_wcs(row, images[k].shape),
                method=method,
                settings=mapper.settings,
                output=answer.output,
                answer=answer.text,
                value=answer.of(values[k]),
                unit=answer.unit,
                prediction=_in_words(predictions[k], answer),
            )


def _maps(mapper, images, answers):
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        yield from mapper(images[part], answers[part])


def _wcs(row, shape):
    cd = np.reshape(row.get("cd", np.nan * np.ones(4)), (2, 2))
    if not np.isfinite(cd).all():
        return None
    return tangent_wcs(row["ra"], row["dec"], cd, (shape[1] - 1) / 2, (shape[0] - 1) / 2)


def _in_words(row, answer):
    """The prediction in words."""
    if "time_since_pericentre" not in row:
        return answer.text.removeprefix("log probability of ")
    time, low, high = (
        row[name].to_value(u.Myr) for name in ("time_since_pericentre", "time_lower", "time_upper")
    )
    words = f"{time:.0f} Myr after pericentre ({low:.0f} to {high:.0f})"
    return f"{words}, {row['stage']}" if row.get("stage", "") else words
