"""Training by two Horovod workers, against twice what one worker does without Horovod."""

import sys

import numpy as np

REFERENCE = "efficiency"


def run(quick):
    """Time the steps of bound workers, taking turns, in processes of their own.

    Parameters
    ----------
    quick : bool
        A smaller network and few steps.

    Returns
    -------
    list of dict
        The scaling efficiency of as many workers as there are cores, and their speed against
        Keras's own ``fit`` with all cores.
    """
    try:
        import horovod  # noqa: F401
        from astro_deepgalaxy_horovod.scale.measure import step_times
        from astro_deepgalaxy_horovod.settings import Settings, available_cores
    except ImportError as error:
        raise ImportError(f"{error}; astro-deepgalaxy horovod build makes Horovod") from error

    workers = len(available_cores())
    case = ("mobilenet", 96, 32) if quick else ("efficientnet_b0", 96, 32)
    network = dict(zip(("backbone", "pixels", "batch"), case, strict=True))
    settings = Settings(workers=workers, cycle_time=20.0)
    steps, turns = (4, 3) if quick else (8, 5)
    seconds, _ = step_times(settings, [workers], steps, network, turns=turns, say=_say)
    bound, fit, together = (
        np.median(seconds[name], axis=1) for name in ("bound", "fit", f"horovod {workers}")
    )
    what = f"{network['backbone']} at {network['pixels']} px, batch {network['batch']}"
    images = workers * network["batch"]
    return [
        _row(REFERENCE, images / together, images / bound, f"{what}; one worker, no Horovod"),
        _row("fit with all cores", images / together, images / workers / fit, what),
    ]


def _row(name, ours, reference, note):
    """Medians over the turns; the ratio is that of each turn, as they were measured together."""
    return {
        "name": name,
        "ours": float(np.median(ours)),
        "reference": float(np.median(reference)),
        "ratio": float(np.median(ours / reference)),
        "unit": "images/s",
        "note": note,
    }


def _say(text):
    print(text, file=sys.stderr, flush=True)
