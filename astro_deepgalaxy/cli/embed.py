"""``astro-deepgalaxy embed``."""

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
@click.option(
    "--figure",
    help="Picture of the latent space to write: what lies between four images, or the plane in "
    "which more of them differ most.",
)
@click.option("--engine", default="keras", show_default=True, help="Registered engine.")
@click.option("--processes", default=1, show_default=True, help="Processes that prepare images.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any image could not be used.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def embed(model, inputs, output, figure, engine, processes, strict, as_json):
    """Describe images by a few numbers, the latent z.

    MODEL is a saved model folder. INPUTS are image files (FITS, JPEG, PNG), globs, folders, a
    table with a column 'file', or one store. The catalogue has one row per image with z and its
    error; a file that cannot be used is a row with flags and a reason.

    \b
    Examples:
      astro-deepgalaxy embed model cutouts/*.fits -o latents.ecsv
      astro-deepgalaxy embed model cutouts/ -o latents.fits --figure plane.png
      astro-deepgalaxy embed model a.fits b.fits c.fits d.fits -o four.ecsv --figure grid.png
    """
    from ..figures import check_figure_suffix
    from ..flags import FAILED
    from ..io.tables import check_table_suffix, write_table
    from . import load_keras

    check_table_suffix(output)
    if figure:
        check_figure_suffix(figure)
    load_keras()
    from ..tasks.embed import GalaxyEmbedder

    embedder = GalaxyEmbedder.load(model)
    embedder.set_params(engine=engine, processes=processes)
    if figure and embedder.network_.config.decoder is None:
        raise ValueError(f"--figure: {model} cannot make images of z, it has no decoder")
    inputs = inputs[0] if len(inputs) == 1 else list(inputs)
    catalogue = embedder.predict(inputs)
    write_table(catalogue, output)
    failed = catalogue[(catalogue["flags"] & int(FAILED)) != 0]
    if as_json:
        summary = {"catalogue": output, "rows": len(catalogue), "failed": len(failed)}
        click.echo(json.dumps(summary))
    else:
        click.echo(f"{len(catalogue)} images, {len(failed)} of them without a result -> {output}")
        for row in failed[:10]:
            click.echo(f"  {row['reason']}", err=True)
    if figure:
        _write_figure(embedder, inputs, catalogue, figure)
    if strict and len(failed):
        sys.exit(1)


def _write_figure(embedder, inputs, catalogue, path):
    import numpy as np

    from ..figures import latent_grid
    from ..jobs import atomic_path
    from ..tasks.inputs import prepared

    z = np.asarray(catalogue["z"])
    z = z[np.isfinite(z).all(axis=1)]
    if len(z) == 4:
        corners = [image for _, image in prepared(inputs, None, embedder.recipe_, progress=False)]
        corners = [image for image in corners if image is not None]
        picture = latent_grid(embedder.latent_grid(z), corners)
    else:
        title = "z along its first (right) and second (up) principal component, -2 to 2 sigma"
        picture = latent_grid(embedder.latent_plane(z), title=title)
    with atomic_path(path) as partial:
        picture.savefig(partial, dpi=150)
