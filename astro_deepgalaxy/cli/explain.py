"""``astro-deepgalaxy explain``."""

import re
import sys
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False))
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--output-folder", "folder", required=True, help="Folder for the maps.")
@click.option(
    "--method",
    type=click.Choice(["grad-cam", "occlusion"]),
    default="grad-cam",
    show_default=True,
    help="Grad-CAM takes one pass through the network, occlusion hundreds.",
)
@click.option("--output", help="Output of the network, such as time_class or stage.")
@click.option(
    "--of",
    help="Which number of it: median, mean or interval of the time, or the name or number of a "
    "class. By default the median, and the most probable class.",
)
@click.option("--stage", help="Feature map for Grad-CAM, such as stage3; by default the last.")
@click.option("--patch", type=int, help="Side of the hidden part in pixels, for occlusion.")
@click.option("--step", type=int, help="Pixels from one place to the next, for occlusion.")
@click.option("--processes", default=1, show_default=True, help="Processes that prepare images.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any image could not be used.")
def explain(model, inputs, folder, method, output, of, processes, strict, **settings):
    """Show which parts of the images the predictions rest on.

    MODEL is a saved model folder. INPUTS are image files (FITS, JPEG, PNG), globs, folders, a
    table with a column 'file', or one store. For each image the folder gets a FITS file, with the
    map in the extension MAP on the pixels and the WCS of the prepared image, a picture, and a row
    of explanations.ecsv.

    \b
    Examples:
      astro-deepgalaxy explain model cutouts/*.fits -o why
      astro-deepgalaxy explain model arp_101.jpg -o why --method occlusion
      astro-deepgalaxy explain model cutouts/ -o why --output stage --of merged
    """
    from astropy.table import QTable

    from ..io.tables import write_table
    from . import load_keras

    load_keras()
    from ..explain import explain_each
    from ..tasks.base import load_model

    estimator = load_model(model)
    estimator.set_params(processes=processes)
    settings = {name: value for name, value in settings.items() if value is not None}
    found = explain_each(
        estimator,
        inputs[0] if len(inputs) == 1 else list(inputs),
        method,
        output,
        of,
        **settings,
    )
    folder, rows = Path(folder), []
    for i, explanation in enumerate(found):
        stem = ""
        if explanation.map is not None:
            stem = f"{i:05d}_{_plain(explanation.id)}"
            explanation.write_fits(folder / f"{stem}.fits")
            explanation.write_png(folder / f"{stem}.png")
        else:
            click.echo(f"  {explanation.reason}", err=True)
        rows.append(_row(explanation, stem))
    table = QTable(rows)
    write_table(table, folder / "explanations.ecsv")
    failed = int((table["map"] == "").sum())
    click.echo(f"{len(table)} images, {failed} of them without a map -> {folder}")
    if strict and failed:
        sys.exit(1)


def _row(explanation, stem):
    return {
        "id": explanation.id,
        "file": explanation.file,
        "map": f"{stem}.fits" if stem else "",
        "picture": f"{stem}.png" if stem else "",
        "method": explanation.method,
        "answer": explanation.answer,
        "value": explanation.value,
        "unit": explanation.unit.to_string(),
        "prediction": explanation.prediction,
        "flags": explanation.flags,
        "reason": explanation.reason,
    }


def _plain(name):
    """A name of an image as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", name)[:80].strip("._") or "image"
