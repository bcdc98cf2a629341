"""The sections of a report about galaxies: mergers or not, what looks alike, and real ones.

Each function takes the `~astro_deepgalaxy.evaluation.report.Report` and returns HTML with figures.
"""

import numpy as np

from . import charts
from .page import lines_table, number_text, percent_text, range_text, rows_table

__all__ = ["lookalikes_section", "mergers_section", "pairs_section"]


def mergers_section(report):
    """Mergers told from other galaxies."""
    text = '<h2 id="mergers">Mergers and other galaxies</h2>\n'
    found = report.sections.get("mergers")
    if found is None:
        return text + report.missing("mergers")
    half = int(np.argmin(np.abs(np.array(found.thresholds) - 0.5)))
    rows = {
        "Images": f"{found.n:,}, of mergers {found.mergers:,}",
        "Area under the ROC curve": range_text(
            found.auc, (found.auc_low, found.auc_high), digits=3
        ),
        "Completeness from one half on": percent_text(found.completeness[half]),
        f"Purity there, {found.prevalence:.1%} being mergers": percent_text(found.purity[half]),
        "Brier score": f"{found.brier:.3f}; always the share here {found.brier_constant:.3f}",
    }
    figures = [
        report.figure("roc", charts.roc(found), "Receiver operating characteristic."),
        report.figure(
            "purity_completeness",
            charts.purity_completeness(found),
            "Purity and completeness against the threshold, for the stated share of mergers "
            "among all galaxies.",
        ),
        report.figure(
            "merger_reliability",
            charts.merger_reliability(found),
            "Reliability of the probability, for the share of mergers in this store; larger "
            "dots stand for more images.",
        ),
    ]
    return f'{text}{rows_table(rows)}<div class="row">{"".join(figures)}</div>'


def lookalikes_section(report):
    """What is recommended for images, and clusters of them."""
    text = '<h2 id="lookalikes">What looks alike</h2>\n'
    found, clusters = report.sections.get("lookalikes"), report.sections.get("clusters")
    if found is None:
        text += report.missing("lookalikes")
    else:
        lines = [
            ["", "Anywhere", "From other simulations"],
            ["First: similarity", f"{found.first:.3f}", f"{found.first_elsewhere:.3f}"],
            ["First six: similarity", f"{found.six:.3f}", f"{found.six_elsewhere:.3f}"],
            ["Drawn at random: similarity", "", f"{found.random:.3f}"],
            [
                "First: median difference in time",
                f"{found.time_difference:.0f} Myr",
                f"{found.time_difference_elsewhere:.0f} Myr",
            ],
        ]
        sheet = report.figure(
            "recommendations",
            found.figure,
            "Images that the model was not trained on, and what looks like them in other "
            "simulations, with the structural similarity.",
            wide=True,
        )
        text += f"""{lines_table(lines)}
<p class="muted">Recommendations for {found.queries:,} images among {found.searched:,}, by the
latent. The similarity is the structural one, inside the sources of the image; noise lowers
it.</p>
{sheet}"""
    if clusters is None:
        reason = report.evaluation.missing["clusters"]
        same = reason == report.evaluation.missing.get("lookalikes")
        return text if same else text + report.missing("clusters")
    return f"""{text}
<p>The images fall into {clusters["clusters"]} clusters in the latent, as many as there are stages.
Their agreement with the stages: normalised mutual information <b>{clusters["nmi"]:.2f}</b>,
adjusted Rand index <b>{number_text(clusters["ari"])}</b> ({clusters["n"]:,} images).</p>"""


def pairs_section(report):
    """Real galaxies with published times."""
    text = '<h2 id="pairs">Real galaxies with published times</h2>\n'
    found = report.sections.get("pairs")
    if found is None:
        return text + report.missing("pairs")
    rho = found.correlation
    sentence = (
        f"Spearman's rank correlation of predicted and published times of {rho.n} galaxies is "
        f"<b>{number_text(rho.rho)}</b> ({number_text(rho.low)} to {number_text(rho.high)} when "
        "galaxies are drawn again): "
        + (
            "the range holds zero: chance alone would explain it."
            if rho.low <= 0 <= rho.high
            else "the range does not hold zero."
        )
    )
    if found.failed:
        sentence += f" {found.failed} of the table have no result or no published time."
    return f"""{text}<p>{sentence}</p>
{report.figure("pairs", charts.pairs_chart(found), "Predicted against published times.")}"""
