"""``astro-deepgalaxy reconstruct``."""

import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False))
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--output-folder", "folder", required=True, help="Folder for the residuals.")
@click.option("--figure", help="Picture of the first images with their residuals to write.")
@click.option("--engine", default="keras", show_default=True, help="Registered engine.")
@click.option("--processes", default=1, show_default=True, help="Processes that prepare images.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any image could not be used.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def reconstruct(model, inputs, folder, figure, engine, processes, strict, as_json):
    """Write what a reconstruction leaves of images, as FITS files.

    MODEL is a saved model folder. INPUTS are image files (FITS, JPEG, PNG), globs, folders, a
    table with a column 'file', or one store. For each image the folder gets a FITS file, with the
    residual on the pixels and the WCS of the prepared image, and a row of reconstructions.ecsv.

    \b
    Examples:
      astro-deepgalaxy reconstruct model cutouts/*.fits -o residuals
      astro-deepgalaxy reconstruct model cutouts/ -o residuals --figure residuals.png
    """
    from ..figures import check_figure_suffix
    from ..flags import FAILED
    from ..io.tables import write_table
    from . import load_keras

    if figure:
        check_figure_suffix(figure)
    load_keras()
    from ..tasks.reconstruct import ImageReconstructor

    reconstructor = ImageReconstructor.load(model)
    reconstructor.set_params(engine=engine, processes=processes)
    catalogue = reconstructor.reconstruct(inputs[0] if len(inputs) == 1 else list(inputs), folder)
    write_table(catalogue, Path(folder) / "reconstructions.ecsv")
    failed = catalogue[(catalogue["flags"] & int(FAILED)) != 0]
    if as_json:
        summary = {"folder": folder, "rows": len(catalogue), "failed": len(failed)}
        click.echo(json.dumps(summary))
    else:
        click.echo(f"{len(catalogue)} images, {len(failed)} of them without a result -> {folder}")
        for row in failed[:10]:
            click.echo(f"  {row['reason']}", err=True)
    if figure:
        _write_figure(catalogue[catalogue["residual"] != ""][:_SHOWN], Path(folder), figure)
    if strict and len(failed):
        sys.exit(1)


_SHOWN = 6


def _write_figure(catalogue, folder, path):
    from astropy.io import fits

    from ..figures import reconstructions
    from ..jobs import atomic_path

    layers = {"IMAGE": [], "RECONSTRUCTION": []}
    for name in catalogue["residual"]:
        for layer, found in layers.items():
            pixels = fits.getdata(folder / name, layer)
            found.append(pixels[..., None] if pixels.ndim == 2 else pixels.transpose(1, 2, 0))
    titles = [
        f"{row['id'][-18:]}\nSSIM {row['reconstruction_ssim']:.2f}"
        for row in catalogue["id", "reconstruction_ssim"]
    ]
    with atomic_path(path) as partial:
        reconstructions(*layers.values(), titles).savefig(partial, dpi=150)
