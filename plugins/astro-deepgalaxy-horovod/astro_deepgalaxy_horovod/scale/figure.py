"""Efficiency against the number of workers: measured, predicted and projected."""

from matplotlib.figure import Figure

__all__ = ["scaling_figure"]

_INK, _FAINT, _ACCENT, _SECOND = "#1b2733", "#c9d1d9", "#c8553d", "#2a6f97"


def scaling_figure(study):
    """Draw the counterpart of the paper's Fig. 7.

    Parameters
    ----------
    study : dict
        From `~astro_deepgalaxy_horovod.scale.study.run_study`.

    Returns
    -------
    `~matplotlib.figure.Figure`
        Left, steps that were measured, of real and of emulated workers, against what the model
        says of them; right, what it projects, beside the paper's curve.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _validation(left, study)
    _projection(right, study)
    for ax in (left, right):
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    return figure


def _validation(ax, study):
    real = [r for r in study["steps"] if r["predicted_s"] == r["predicted_s"]]
    groups = {
        "emulated, one host": [r for r in study["validation"] if r["hosts"] == 1],
        "emulated, shaped network": [r for r in study["validation"] if r["hosts"] > 1],
    }
    for (label, rows), filled in zip(groups.items(), (_SECOND, "none"), strict=True):
        ax.plot(
            [r["measured_s"] for r in rows],
            [r["predicted_s"] for r in rows],
            "o",
            color=_SECOND,
            mfc=filled,
            label=label,
        )
    ax.plot(
        [r["step_s"] for r in real],
        [r["predicted_s"] for r in real],
        "s",
        color=_ACCENT,
        label="real workers",
    )
    every = [r["measured_s"] for r in study["validation"]] + [r["step_s"] for r in real]
    low, high = 0.9 * min(every), 1.1 * max(every)
    ax.plot([low, high], [low, high], color=_INK, lw=1)
    ax.fill_between(
        [low, high],
        [0.9 * low, 0.9 * high],
        [1.1 * low, 1.1 * high],
        color=_FAINT,
        alpha=0.5,
        lw=0,
        label="within 10 %",
    )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="step, measured (s)",
        ylabel="step, predicted (s)",
        title="Predicted without having been fitted to",
    )
    ax.legend(frameon=False, fontsize=8, loc="upper left")


def _projection(ax, study):
    network, projection = study["network"], study["projection"]
    what = f"{network['backbone']}, {network['pixels']} px, batch {network['batch']}"
    styles = {
        "as measured": ("--", _SECOND, what),
        "as measured, MPI": (":", _SECOND, "the same, MPI's halving and doubling"),
        "as in the paper": ("--", _INK, f"{network['backbone']}, 1024 px, batch 8"),
    }
    for name, rows in projection["curves"].items():
        style, color, label = styles[name]
        ax.plot(
            [r["workers"] for r in rows],
            [r["efficiency"] for r in rows],
            style,
            color=color,
            label=f"projected: {label}",
        )
    measured = {r["workers"]: r["efficiency"] for r in study["steps"] if "horovod" in r["name"]}
    ax.plot(
        list(measured),
        list(measured.values()),
        "s",
        color=_ACCENT,
        label="measured, against one worker without Horovod",
    )
    paper = {int(workers): value for workers, value in study["paper"].items()}
    ax.plot(
        list(paper),
        list(paper.values()),
        "o-",
        mfc="none",
        color=_ACCENT,
        label="paper: EfficientNetB4, 1024 px, batch 8",
    )
    link = projection["between"]
    ax.set_xscale("log", base=2)
    ax.set(
        ylim=(0, 1.08),
        xlabel="workers",
        ylabel="scaling efficiency (lines: against 4 workers)",
        title=f"{projection['workers_per_host']} workers a host, "
        f"{link['bandwidth'] / 1e9:g} Gbit/s, {1e6 * link['latency']:g} µs",
    )
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(frameon=False, fontsize=8, loc="lower left")
