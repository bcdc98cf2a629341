"""A page that shows what a model can do, with its figures beside it."""

import html
import json
from pathlib import Path

from ..figures import confusion, contact_sheet, learning_curve, predicted_against_true
from ..jobs import atomic_path
from ..labels import STAGES
from .page import page, rows_table

__all__ = ["write_report"]


def write_report(folder, *, title, card, catalogue, labels, training, sequence=None):
    """Write ``report.html``, ``report.json`` and the figures as PNG.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Where to write.
    title : str
        Title of the page.
    card : Scorecard
        The figures of merit.
    catalogue, labels : `~astropy.table.QTable`
        What the card was made from.
    training : dict
        The estimator's ``training_``.
    sequence : tuple, optional
        Images (y, x), captions and a sentence for the contact sheet.

    Returns
    -------
    `~pathlib.Path`
        The page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    groups = labels["group"] if "group" in labels.colnames else None
    figures = {
        "predicted_against_true": (
            predicted_against_true(
                catalogue["time_since_pericentre"],
                labels["time_since_pericentre"],
                catalogue["time_lower"],
                catalogue["time_upper"],
                groups,
            ),
            "Predicted against true time, one dot per image; the line is one to one. "
            "None of these groups was trained on.",
        ),
        "stage_confusion": (
            confusion(card.stage_confusion, STAGES),
            f"Stages: {card.stage_accuracy:.0%} of the images are given the right one.",
        ),
        "learning_curve": (
            learning_curve(training["history"], training["best_epoch"]),
            "Loss after each epoch of training.",
        ),
    }
    if sequence is not None:
        images, captions, sentence = sequence
        figures["contact_sheet"] = (contact_sheet(images, captions), sentence)
    for name, (figure, _) in figures.items():
        with atomic_path(folder / f"{name}.png") as partial:
            figure.savefig(partial, dpi=130)
    data = {"title": title, "scorecard": card.to_dict(), "training": training}
    with atomic_path(folder / "report.json") as partial:
        partial.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    path = folder / "report.html"
    with atomic_path(path) as partial:
        text = page(title, _body(card, training, figures))
        partial.write_text(text, encoding="utf-8")
    return path


def _body(card, training, figures):
    time = card.time
    rows = {
        "Images": f"{time.n} ({card.failed} without a result)",
        "Groups predicted": ", ".join(card.groups),
        "Groups trained on": ", ".join(training["groups"]["train"]),
        "Groups that chose the epoch": ", ".join(training["groups"].get("validation", []))
        or "none",
        "Median absolute error": f"{time.median:.0f} Myr",
        "Always the training median": f"{time.baseline:.0f} Myr",
        "Mean absolute error": f"{time.mean:.0f} Myr",
        "90th percentile": f"{time.percentile_90:.0f} Myr",
        "Bias (median)": f"{time.bias:+.0f} Myr",
        "True times inside the interval": f"{time.coverage:.0%} (not calibrated)",
        "Median width of the interval": f"{time.interval_width:.0f} Myr",
        "Right stage": f"{card.stage_accuracy:.0%}",
    }
    shown = {
        name: f'<figure><img src="{name}.png" alt="{html.escape(caption)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for name, (_, caption) in figures.items()
    }
    provenance = html.escape(
        json.dumps({k: v for k, v in training.items() if k not in ("groups", "history")}, indent=1)
    )
    return f"""
<p class="lead">Median |error| <b>{time.median:.0f} Myr</b> on galaxies never seen in training;
always giving the training median would be wrong by {time.baseline:.0f} Myr.</p>
{shown.get("contact_sheet", "")}
<div class="row">{shown["predicted_against_true"]}{shown["stage_confusion"]}</div>
<h2>Figures of merit</h2>{rows_table(rows)}
<h2>Training</h2>{shown["learning_curve"]}
<pre>{provenance}</pre>
"""
