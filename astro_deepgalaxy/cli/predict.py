"""``astro-deepgalaxy predict``."""

import json
import sys

import click


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False))
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    help="Catalogue to write; the suffix chooses the format (.ecsv, .fits, .vot, .csv, .parquet).",
)
@click.option("--engine", default="keras", show_default=True, help="Registered engine.")
@click.option("--processes", default=1, show_default=True, help="Processes that prepare images.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any image could not be used.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def predict(model, inputs, output, engine, processes, strict, as_json):
    """Write a catalogue of answers from images.

    MODEL is a saved model folder. INPUTS are image files (FITS, JPEG, PNG), globs, folders, or a
    table with a column 'file'. The catalogue has one row per image; a file that cannot be used
    is a row with flags and a reason.

    \b
    Examples:
      astro-deepgalaxy predict model cutouts/*.fits -o mergers.ecsv
      astro-deepgalaxy predict model cutouts/ pictures/ -o mergers.fits --processes 4
      astro-deepgalaxy predict model targets.csv -o mergers.ecsv --json
    """
    from ..flags import FAILED
    from ..io.tables import check_table_suffix, write_table
    from . import load_keras

    check_table_suffix(output)
    load_keras()
    from ..tasks.base import load_model

    estimator = load_model(model)
    estimator.set_params(engine=engine, processes=processes)
    catalogue = estimator.predict(list(inputs))
    write_table(catalogue, output)
    failed = int(((catalogue["flags"] & int(FAILED)) != 0).sum())
    if as_json:
        summary = {"catalogue": output, "rows": len(catalogue), "failed": failed}
        click.echo(json.dumps(summary))
    else:
        click.echo(f"{len(catalogue)} images, {failed} of them without a result -> {output}")
        for row in catalogue[(catalogue["flags"] & int(FAILED)) != 0][:10]:
            click.echo(f"  {row['reason']}", err=True)
    if strict and failed:
        sys.exit(1)
