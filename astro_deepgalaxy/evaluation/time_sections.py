"""The sections of a report about times: HTML with figures.

Each function takes the `~astro_deepgalaxy.evaluation.report.Report`.
"""

import html
import json
import math

import numpy as np

from ..figures import confusion, predicted_against_true
from ..labels import STAGES, TimeScale
from . import charts
from .breakdown import DEPENDENCES
from .page import lines_table, percent_text, range_text, rows_table

__all__ = [
    "confusion_section",
    "dependences_section",
    "intervals_section",
    "splits_section",
    "times_section",
]


def splits_section(report):
    """Accuracy and errors of images of groups that were trained on, and of groups never seen."""
    text = '<h2 id="splits">Two ways to split</h2>\n'
    found = report.sections.get("splits")
    if not found:
        return text + report.missing("splits")
    at_random = report.evaluation.training["split"] == "image"
    heads = {
        "seen": "Left out at random" if at_random else "Simulations trained on",
        "unseen": "Simulations never seen",
    }
    rows = {
        "Images": lambda s: f"{s.time.n:,}",
        "Simulations or galaxies": lambda s: f"{s.groups:,}",
        "Right class": lambda s: percent_text(s.accuracy and s.accuracy.top_1),
        "Among the five most probable": lambda s: percent_text(s.accuracy and s.accuracy.top_5),
        "Within two classes": lambda s: percent_text(s.accuracy and s.accuracy.within_2),
        "Median |error|": lambda s: range_text(s.time.median, s.median_range, "Myr"),
        "90th percentile of |error|": lambda s: range_text(
            s.time.percentile_90, s.percentile_90_range, "Myr"
        ),
        "Always the training median": lambda s: f"{s.time.baseline:.0f} Myr",
    }
    lines = [["", *heads.values()]]
    lines += [
        [name, *(row(found[side]) if side in found else "&ndash;" for side in heads)]
        for name, row in rows.items()
    ]
    return f"""{text}{lines_table(lines)}
<p class="muted">{_why(report)} In brackets: the range of 95 % when simulations are drawn again.</p>
"""


def _why(report):
    same = (
        "A random split of images, as in Cai et al. (2020), puts the cameras around a "
        "simulation and its neighbouring snapshots on both sides; they hardly differ, so "
        "that it rewards memory of the simulations"
    )
    if report.evaluation.training["split"] == "image":
        return (
            f"{same}. The images of the first column were left out that way. What a new galaxy has "
            "to expect, simulations that the network never saw tell: they are the second."
        )
    return (
        f"{same}. The first column shows how far that can go: these are images of the "
        "simulations that the network learned from, which it has seen. The second column is "
        "what a new galaxy has to expect: of these simulations it saw no image."
    )


def times_section(report):
    """Predicted against true times, and the stages."""
    text = '<h2 id="times">Times</h2>\n'
    card, catalogue = report.evaluation.scorecard, report.evaluation.catalogue
    if card is None:
        return text + report.missing("scorecard")
    time = card.time
    names = report.evaluation.groups
    few = len(np.unique(names)) <= 12
    scatter = report.figure(
        "predicted_against_true",
        predicted_against_true(
            catalogue["time_since_pericentre"],
            report.evaluation.labels["time_since_pericentre"],
            catalogue["time_lower"],
            catalogue["time_upper"],
            names if few else None,
        ),
        "Predicted against true time, one dot per image; the line is one to one.",
    )
    stages = ""
    if math.isfinite(card.stage_accuracy):
        stages = report.figure(
            "stage_confusion",
            confusion(card.stage_confusion, STAGES),
            f"Stages: {card.stage_accuracy:.0%} of the images are given the right one.",
        )
    rows = {
        "Median |error|": f"{time.median:.0f} Myr",
        "Always the training median": f"{time.baseline:.0f} Myr",
        "Mean |error|": f"{time.mean:.0f} Myr",
        "90th percentile": f"{time.percentile_90:.0f} Myr",
        "Bias (median)": f"{time.bias:+.0f} Myr",
    }
    return f'{text}<div class="row">{scatter}{stages}</div>\n{rows_table(rows)}'


def intervals_section(report):
    """Coverage of the intervals, and reliability of the posterior."""
    text = '<h2 id="intervals">Intervals</h2>\n'
    found = report.sections.get("intervals")
    if found is None:
        return text + report.missing("intervals")
    lines = [["Stated", "Calibrated", "Median width", "Network alone", "Median width"]]
    for plain, calibrated in zip(found.plain, found.calibrated, strict=True):
        ours = ["&ndash;", "&ndash;"]
        if not isinstance(calibrated, str):
            ours = _covered(calibrated)
        lines.append([f"{plain.level:.0%}", *ours, *_covered(plain)])
    reasons = {c for c in found.calibrated if isinstance(c, str)}
    notes = "".join(
        f'<p class="missing">Not available: {html.escape(r)}.</p>' for r in sorted(reasons)
    )
    coverage = report.figure(
        "coverage",
        charts.coverage_chart(found),
        "Coverage of the intervals, with its range of 95 % when simulations are drawn again. "
        "On the line the intervals hold what they say.",
    )
    quantiles = report.figure(
        "quantiles",
        charts.quantile_chart(found.quantiles),
        "Reliability of the network's posterior: how often the true time lies below each of "
        "its quantiles, with the same range.",
    )
    return f"""{text}{lines_table(lines)}{notes}
<p class="muted">Every simulation counts the same; images with a true time outside the time scale
are left out. In brackets: the range of 95 % when simulations are drawn again.</p>
<div class="row">{coverage}{quantiles}</div>"""


def dependences_section(report):
    """Errors against the stage, mass ratio, tilt and signal-to-noise ratio."""
    text = '<h2 id="dependences">What the error depends on</h2>\n'
    figures, notes = [], []
    for name, label in DEPENDENCES.items():
        bins = report.sections.get(f"error_by_{name}")
        if bins is None:
            reason = html.escape(report.evaluation.missing[f"error_by_{name}"])
            heading = html.escape(name.replace("_", " "))
            notes.append(f'<p class="missing">Not available, {heading}: {reason}.</p>')
            continue
        counts = ", ".join(f"{row.n:,}" for row in bins)
        figures.append(
            report.figure(
                f"error_by_{name}",
                charts.error_chart(bins, label),
                f"Against the {name.replace('_', ' ')}, with the range of 95 % of the median "
                f"when simulations are drawn again. Images in the bins: {counts}.",
            )
        )
    return f'{text}<div class="row">{"".join(figures)}</div>{"".join(notes)}'


def confusion_section(report):
    """Confusion of the time classes."""
    text = '<h2 id="confusion">Time classes</h2>\n'
    matrix = report.sections.get("confusion")
    if matrix is None:
        return text + report.missing("confusion")
    scale = TimeScale(**json.loads(report.evaluation.catalogue.meta["time_scale"]))
    return text + report.figure(
        "time_confusion",
        charts.time_confusion(matrix, scale),
        f"Confusion of the {scale.n} time classes.",
    )


def _covered(row):
    share = range_text(100 * row.share, (100 * row.low, 100 * row.high), digits=1)
    return [f"{share} %", f"{row.width:.0f} Myr"]
