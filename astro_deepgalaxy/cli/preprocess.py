"""``astro-deepgalaxy preprocess``."""

import json
import sys
from pathlib import Path

import click


def _by_band(context, parameter, values):
    """``{band: files}`` from values of the form BAND=FILES."""
    found = {}
    for value in values:
        band, equals, files = value.partition("=")
        if not (band and equals and files):
            raise click.BadParameter(
                f"expected BAND=FILES, such as r=tiles/r_*.fits; got {value!r}", context, parameter
            )
        found.setdefault(band, []).append(files)
    return found


def _folder(context, parameter, value):
    if Path(value).name in ("", ".."):
        raise click.BadParameter(
            f"expected the name of a folder to make, such as cutouts.zarr; got {value!r}",
            context,
            parameter,
        )
    return value


def _write_report(store, output):
    """The quality report beside the store, or None if something else has its name."""
    from ..evaluation.quality_report import write_quality_report

    output = Path(output)
    page = output.with_name(output.name.removesuffix(".zarr") + ".html")
    if page.exists() and not _is_report(page):
        click.echo(
            f"{page}: is not a quality report and stays as it is: none was written; rename it and "
            "run the same command again",
            err=True,
        )
        return None
    return str(write_quality_report(store, page))


def _is_report(page):
    if not page.is_file():
        return False
    with open(page, "rb") as file:
        return b"<title>Quality of " in file.read(1000)


def _plane(name, text):
    return click.option(
        f"--{name}", metavar="BAND=FILES", multiple=True, callback=_by_band, help=text
    )


@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    callback=_folder,
    help="Store to write, such as cutouts.zarr.",
)
@click.option("--recipe", type=click.Path(dir_okay=False), help="Recipe to follow (TOML or JSON).")
@click.option(
    "--size",
    type=click.IntRange(min=1),
    help="Side in pixels, without a recipe.  [default: 128]",
)
@click.option("--labels", type=click.Path(dir_okay=False), help="Label table, row by row.")
@_plane("mosaic", "Tiles of a band to cut from: a file or glob, with [EXT] for an extension.")
@_plane("weight", "Inverse variance of each tile of a band, in the same order.")
@_plane("mask", "Image for each tile of a band that is not 0 where a pixel is bad.")
@_plane("psf", "Point-spread function for each tile of a band, or one for all.")
@click.option(
    "--tiles",
    type=click.Path(dir_okay=False),
    help="Instead, a table of tiles with columns band, file, and weight, mask, psf.",
)
@click.option("--fov", type=float, help="Side of a cutout from mosaics, in arcsec.")
@click.option(
    "--processes",
    type=click.IntRange(min=0),
    default=0,
    help="Processes to work with.  [default: one a core]",
)
@click.option("--scheduler", help="Dask scheduler (tcp://...) whose workers do the work.")
@click.option("--report/--no-report", default=True, help="Write a quality report (HTML) as well.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any image could not be used.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def preprocess(
    inputs,
    output,
    recipe,
    size,
    labels,
    mosaic,
    weight,
    mask,
    psf,
    tiles,
    fov,
    processes,
    scheduler,
    report,
    strict,
    as_json,
):
    """Turn images into a store of network-ready cutouts.

    INPUTS are image files (FITS, JPEG, PNG), globs, folders, or a table with a column 'file'
    whose other columns are labels; or one HDF5 file in the layout of the original DeepGalaxy.

    With --mosaic or --tiles, INPUTS is a catalogue with ra and dec in degrees: a cutout is taken
    at each position, stitched across the tiles that cover it. A column 'fov' in arcsec may give
    each its own size.

    An image that cannot be used is a row with flags and a reason. Given again after an
    interruption, the command continues. The quality report stands beside the store: survey.html
    for survey.zarr.

    \b
    Examples:
      astro-deepgalaxy preprocess cutouts/*.fits -o cutouts.zarr
      astro-deepgalaxy preprocess mergers/labels.ecsv -o mergers.zarr --processes 4
      astro-deepgalaxy preprocess pictures/ -o pictures.zarr --recipe recipe.toml
      astro-deepgalaxy preprocess catalogue.fits -o survey.zarr --fov 40 \\
          --mosaic 'g=tiles/*_g.fits' --mosaic 'r=tiles/*_r.fits' --weight 'r=tiles/*_r.ivar.fits'
      astro-deepgalaxy preprocess catalogue.parquet -o survey.zarr --fov 40 \\
          --tiles tiles.csv --scheduler tcp://head:8786
      astro-deepgalaxy preprocess original.h5 -o original.zarr
    """
    from ..flags import FAILED
    from ..io import read_table
    from ..preprocess import Recipe
    from ..preprocess.batch import preprocess_batch

    if recipe and size is not None:
        raise click.UsageError("give either --recipe or --size: the recipe says it")
    if tiles and (mosaic or weight or mask or psf):
        raise click.UsageError("give either --tiles or --mosaic with its planes")
    if (weight or mask or psf or fov) and not (mosaic or tiles):
        raise click.UsageError("--fov, --weight, --mask and --psf need --mosaic")
    mosaics = None
    if mosaic or tiles:
        from ..preprocess.mosaic import Mosaics

        mosaics = Mosaics(tiles or mosaic, fov, weight=weight, mask=mask, psf=psf)
    images = list(inputs) if len(inputs) > 1 else inputs[0]
    labels = read_table(labels) if labels else None
    if any(name.lower().endswith((".h5", ".hdf5")) for name in inputs):
        from ..store.deepgalaxy_hdf5 import DeepGalaxyFile

        if len(inputs) > 1:
            raise click.UsageError("an HDF5 file must be the only input")
        file = DeepGalaxyFile(inputs[0])
        images, labels = file.sources(), file.labels if labels is None else labels
    store = preprocess_batch(
        images,
        Recipe.read(recipe) if recipe else Recipe.default(size=size or 128),
        output,
        labels=labels,
        processes=processes,
        mosaics=mosaics,
        scheduler=scheduler,
    )
    failed, reasons = 0, []
    for part in map(store.part, range(store.n_shards)):
        bad = (part["flags"] & int(FAILED)) != 0
        failed += int(bad.sum())
        reasons += part["reason"][bad].tolist()[: 10 - len(reasons)]
    page = _write_report(store, output) if report else None
    if as_json:
        click.echo(
            json.dumps({"store": output, "rows": len(store), "failed": failed, "report": page})
        )
    else:
        click.echo(f"{len(store)} images, {failed} of them unusable -> {output}")
        for reason in reasons:
            click.echo(f"  {reason}", err=True)
        if page:
            click.echo(f"quality report: {page}")
    if strict and failed:
        sys.exit(1)
