"""Which number of a prediction is explained."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from keras import ops

from ..labels import STAGES

__all__ = ["Answer", "Question", "measured"]

_TIMES = ("median", "mean", "interval")
_SMALLEST = 1e-30  # of a probability, so that its logarithm is finite in single precision


@dataclass(frozen=True)
class Answer:
    """A number that an output of the network gives for an image.

    Attributes
    ----------
    output : str
        The output.
    text : str
        What the number is, such as ``"median time"``.
    measure : {"log", "mean", "median", "mixture"}
        How it is made of the values of the output; see `measured`.
    weights : numpy.ndarray
        What the measure needs to know.
    unit : `~astropy.units.UnitBase`
        Its unit.
    """

    output: str
    text: str
    measure: str
    weights: np.ndarray
    unit: u.UnitBase = u.dimensionless_unscaled

    @property
    def signed(self):
        """Whether more and less are both of interest, as of a time; else only what is in favour."""
        return self.measure != "log"

    def of(self, values):
        """The number for one image, from the values of the output, (size,)."""
        values = np.asarray(values, dtype=np.float32)[np.newaxis]
        return float(measured(values, self.measure, self.weights[np.newaxis])[0])


def measured(values, measure, weights):
    """The numbers that answers are about.

    Parameters
    ----------
    values : tensor
        Values of an output (n, size).
    measure : str
        ``log``: logarithm of the probability in the classes, each counting by its weight.
        ``mean``: sum of the values with weights. ``median``: of a posterior that is flat inside
        each class, whose borders are the weights. ``mixture``: mean of a mixture of Gaussians,
        times the second and plus the first of the weights.
    weights : tensor
        For each image or for all, (n or 1, ...).

    Returns
    -------
    tensor
        (n,); differentiable.
    """
    if measure == "log":
        if values.shape[-1] == 1:  # the probability of yes
            values = ops.concatenate([1 - values, values], axis=-1)
        return ops.log(ops.maximum(ops.sum(values * weights, axis=-1), _SMALLEST))
    if measure == "mean":
        return ops.sum(values * weights, axis=-1)
    if measure == "mixture":
        logits, means, _ = ops.split(values, 3, axis=-1)
        mean = ops.sum(ops.softmax(logits, axis=-1) * means, axis=-1)
        return weights[:, 0] + weights[:, 1] * mean
    upper = ops.cumsum(values, axis=-1)
    half = 0.5 * upper[:, -1]
    k = ops.sum(ops.cast(upper < half[:, None], "int32"), axis=-1)
    here = ops.one_hot(k, values.shape[-1], dtype="float32")
    inside = ops.sum(values * here, axis=-1)
    below = ops.sum(upper * here, axis=-1) - inside
    step = weights[:, 1] - weights[:, 0]
    return ops.sum(weights[:, :-1] * here, axis=-1) + step * (half - below) / inside


class Question:
    """What is asked of each image; see `~astro_deepgalaxy.explain.explain`.

    Parameters
    ----------
    model : NetworkTask
        A fitted estimator.
    output : str, optional
        An output of its classifier.
    of : str or int, optional
        Which number of it.

    Raises
    ------
    ValueError
        If there is no such output, or no such number of it.
    """

    def __init__(self, model, output=None, of=None):
        outputs = model.network_.config.outputs
        if not outputs:
            raise ValueError(
                f"this model of the task {model.task!r} has no classifier whose answers could be "
                "explained; give a model that classifies"
            )
        if output is None:
            # Where there is a density, the time in the catalogue is made from it.
            output = next(
                name for name in ("time_density", "time_class", *outputs) if name in outputs
            )
        if output not in outputs:
            raise ValueError(
                f"the model has no output {output!r} to explain; it has {', '.join(outputs)}"
            )
        self.output, self._of = output, None if of is None else str(of)
        self._scale = model.time_scale_ if output == "time_class" else None
        self._names, self._density = (), None
        activation = model.network_.config.activations.get(output, "softmax")
        if activation == "linear":
            self._density = _density(model, output, outputs[output])
            known = ["mean"]
        else:
            self._names = _names(output, outputs[output], activation)
            known = [*(_TIMES if self._scale is not None else ()), *self._names]
        if self._of is not None and self._of not in known:
            listed = known if len(known) < 12 else [*known[:5], "...", known[-1]]
            raise ValueError(
                f"the output {output!r} has no answer {of!r} to explain; it has {', '.join(listed)}"
            )

    def answer(self, values, row):
        """The answer for one image.

        Parameters
        ----------
        values : numpy.ndarray
            Values of the output, (size,).
        row : dict
            Columns of its prediction, of which ``time_lower`` and ``time_upper`` are used.

        Returns
        -------
        Answer
        """
        if self._density is not None:
            text = f"mean {'log10 ' if self._density.log else ''}{self.output.replace('_', ' ')}"
            weights = np.array([self._density.centre, self._density.scale], dtype=np.float32)
            return Answer(self.output, text, "mixture", weights, u.Unit(self._density.unit))
        if self._scale is not None and self._of in (None, *_TIMES):
            return self._time(self._of or "median", row)
        if self._of is not None:
            k = self._names.index(self._of)
        else:
            k = int(values[0] > 0.5) if len(values) == 1 else int(np.argmax(values))
        what = f"{self.output} {self._names[k]!r}"
        if self._scale is not None:
            low, high = self._scale.edges.value[k : k + 2]
            what = f"class {k} ({low:g} to {high:g} Myr)"
        weights = np.eye(len(self._names), dtype=np.float32)[k]
        return Answer(self.output, f"log probability of {what}", "log", weights)

    def _time(self, of, row):
        edges = self._scale.edges.value.astype(np.float32)
        if of == "median":
            return Answer(self.output, "median time", "median", edges, u.Myr)
        if of == "mean":
            centres = self._scale.centres.value.astype(np.float32)
            return Answer(self.output, "mean time", "mean", centres, u.Myr)
        low, high = (np.float32(row[name].to_value(u.Myr)) for name in ("time_lower", "time_upper"))
        inside = np.diff(np.clip(edges, low, high)) / np.float32(self._scale.step)
        text = f"log probability of {low:.0f} to {high:.0f} Myr"
        return Answer(self.output, text, "log", inside)


def _names(output, size, activation):
    """Names of the classes of an output."""
    if activation == "sigmoid" and size == 1:
        return "no", "yes"
    if output == "stage" and size == len(STAGES):
        return STAGES
    return tuple(map(str, range(size)))


def _density(model, output, size):
    """What the model knows of an output that holds the parameters of a density."""
    try:
        return model.density(output, np.zeros((0, size)))
    except (AttributeError, KeyError) as error:
        raise ValueError(
            f"the output {output!r} holds raw numbers of which this model does not say what they "
            "mean, so that they cannot be explained; choose another output"
        ) from error
