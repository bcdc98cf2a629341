"""A page that shows what a model can do, with its figures beside it."""

import html
import json
from pathlib import Path

from ..figures import contact_sheet, learning_curve
from ..jobs import atomic_path
from .galaxy_sections import lookalikes_section, mergers_section, pairs_section
from .page import page, png_uri, rows_table
from .time_sections import (
    confusion_section,
    dependences_section,
    intervals_section,
    splits_section,
    times_section,
)

__all__ = ["write_evaluation"]

_STYLE = """
.muted { color: #57636e; font-size: .9rem; } .number { text-align: right; white-space: nowrap; }
.missing { color: #57636e; border-left: .2rem solid #c9d1d9; padding-left: .8rem; }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem;
          margin: 1.5rem 0; padding: 0; list-style: none; }
.totals li { background: #f4f6f8; border-radius: .4rem; padding: .6rem 1rem; color: #57636e;
             font-size: .9rem; }
.totals b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.3;
            color: #1b2733; }
.scroll { overflow-x: auto; } figure { max-width: 36rem; } figure.wide { max-width: none; }
td { overflow-wrap: anywhere; }
figure + table, .row + table { margin-top: 1rem; } table + .row { margin-top: 1rem; }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr)); }
@media (max-width: 40rem) { td, th { padding-right: .6rem; } table { font-size: .85rem; } }
"""


_SECTIONS = (
    splits_section,
    times_section,
    intervals_section,
    dependences_section,
    confusion_section,
    mergers_section,
    lookalikes_section,
    pairs_section,
)


def write_evaluation(folder, evaluation, title="Evaluation", sequence=None):
    """Write ``report.html``, ``report.json`` and the figures as PNG.

    The page needs no other file: the figures stand in it too.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Where to write. Older files of these names are replaced.
    evaluation : Evaluation
        What `evaluate` returned.
    title : str
        Title of the page.
    sequence : tuple, optional
        Images (y, x), captions and a sentence for a contact sheet on top.

    Returns
    -------
    `~pathlib.Path`
        The page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(folder, evaluation)
    body = report.body(sequence)
    data = {"title": title, **evaluation.to_dict(), "training": evaluation.training}
    with atomic_path(folder / "report.json") as partial:
        text = json.dumps(data, indent=1, sort_keys=True)
        partial.write_text(text + "\n", encoding="utf-8")
    path = folder / "report.html"
    with atomic_path(path) as partial:
        partial.write_text(page(title, body, _STYLE), encoding="utf-8")
    return path


class Report:
    """The page of one evaluation, while it is put together.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Where the figures go.
    evaluation : Evaluation
        What it shows.
    """

    def __init__(self, folder, evaluation):
        self.folder = folder
        self.evaluation = evaluation
        self.sections = evaluation.sections
        self.at_random = evaluation.about["left_out_at_random"]

    def body(self, sequence=None):
        """All that stands below the title.

        Parameters
        ----------
        sequence : tuple, optional
            Images, captions and a sentence for a contact sheet.

        Returns
        -------
        str
            HTML.
        """
        parts = [
            self._lead(),
            "" if sequence is None else self._sheet(*sequence),
            *(section(self) for section in _SECTIONS),
            self._training(),
        ]
        return "\n".join(filter(None, parts))

    def figure(self, name, figure, caption, wide=False):
        """A figure, in the page and as a file.

        Parameters
        ----------
        name : str
            Name of the file, without its suffix.
        figure : `~matplotlib.figure.Figure`
            The figure.
        caption : str
            What stands below it.
        wide : bool
            Whether it may be as wide as the page.

        Returns
        -------
        str
            HTML.
        """
        path = self.folder / f"{name}.png"
        with atomic_path(path) as partial:
            # Matplotlib would write its version into the file.
            figure.savefig(partial, dpi=130, metadata={"Software": None})
        return (
            f"<figure{' class=wide' if wide else ''}>"
            f'<img src="{png_uri(path.read_bytes())}" alt="{html.escape(caption)}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def missing(self, name):
        """The sentence that stands where something cannot be shown.

        Parameters
        ----------
        name : str
            What was to be measured.

        Returns
        -------
        str
            HTML.
        """
        reason = html.escape(self.evaluation.missing.get(name, "it was not measured"))
        return f'<p class="missing">Not available: {reason}.</p>'

    def _lead(self):
        about, card = self.evaluation.about, self.evaluation.scorecard
        text = ""
        if card is not None:
            text = f"""<p class="lead">Median |error| <b>{card.time.median:.0f} Myr</b>
{"on images left out at random" if self.at_random else "on galaxies never seen in training"};
always giving the training median would be wrong by {card.time.baseline:.0f} Myr.</p>"""
        totals = {
            "images to judge by": f"{about['images']:,}",
            "simulations or galaxies": f"{about['groups']:,}",
            "without a result": f"{about['failed']:,}",
            "with a time outside the scale": f"{about['outside_time_scale']:,}",
        }
        items = "".join(f"<li><b>{value}</b>{name}</li>" for name, value in totals.items())
        return f'{text}\n<ul class="totals">{items}</ul>'

    def _sheet(self, images, captions, sentence):
        return self.figure("contact_sheet", contact_sheet(images, captions), sentence, wide=True)

    def _training(self):
        training = self.evaluation.training
        groups = training["groups"]
        curve = self.figure(
            "learning_curve",
            learning_curve(training["history"], training["best_epoch"]),
            "Loss after each epoch of training.",
        )
        rows = {
            "Groups trained on": f"{len(groups['train']):,}",
            "Groups that chose the epoch": f"{len(groups.get('validation', [])):,}",
            "Model": self.evaluation.about["model"] or "not saved",
        }
        about = {k: v for k, v in training.items() if k not in ("groups", "history")}
        provenance = html.escape(json.dumps(about, indent=1))
        return f"""<h2 id="training">Training</h2>
{curve}
{rows_table(rows)}
<details><summary>Settings and versions</summary><pre>{provenance}</pre></details>"""
