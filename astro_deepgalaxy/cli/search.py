"""``astro-deepgalaxy search``."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("latents", type=click.Path(exists=True, file_okay=False))
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    help="Table to write; the suffix chooses the format (.ecsv, .fits, .vot, .csv, .parquet).",
)
@click.option("--model", help="Model folder, when it is not where it was for the latents.")
@click.option("-n", "number", default=6, show_default=True, help="Recommendations for each image.")
@click.option(
    "--other-groups", is_flag=True, help="Only from other simulations than that of the image."
)
@click.option("--figure", help="Also draw the first eight images and their matches (.png, .pdf).")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def search(latents, inputs, output, model, number, other_groups, figure, as_json):
    """Find the known encounters that images look like.

    LATENTS is a folder that 'astro-deepgalaxy index' wrote. INPUTS are image files (FITS, JPEG,
    PNG), globs, folders, a table with a column 'file', or a store. The table has a row for each
    recommendation: its simulation, time, stage, mass ratio and camera, the distance in z, and the
    similarity (SSIM) to the image.

    \b
    Examples:
      astro-deepgalaxy search latents cutouts/*.fits -o matches.ecsv
      astro-deepgalaxy search latents arp_240.fits -o matches.ecsv --figure matches.png
      astro-deepgalaxy search latents mergers.zarr -o matches.ecsv -n 1 --other-groups
    """
    from ..io.tables import check_table_suffix, write_table
    from ..jobs import atomic_path
    from . import load_keras

    check_table_suffix(output)
    load_keras()
    from ..tasks.search import SimilaritySearch

    known = SimilaritySearch.load(latents, model)
    inputs = inputs[0] if len(inputs) == 1 else list(inputs)
    matches = known.query(inputs, number, other_groups=other_groups)
    write_table(matches, output)
    failed = matches[matches["rank"] == 0]
    images = int(matches["query_row"].max()) + 1
    if figure:
        drawn = known.figure(inputs, number, other_groups=other_groups)
        with atomic_path(Path(figure)) as partial:
            drawn.savefig(partial, dpi=150)
    if as_json:
        click.echo(json.dumps({"matches": output, "images": images, "failed": len(failed)}))
        return
    click.echo(f"{images} images, {len(failed)} of them without a match -> {output}")
    for row in failed[:10]:
        click.echo(f"  {row['reason'] or row['query']}", err=True)
