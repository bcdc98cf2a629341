"""``astro-deepgalaxy preprocess``."""

import json
import sys

import click


@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="Store to write, such as cutouts.zarr.")
@click.option("--recipe", type=click.Path(dir_okay=False), help="Recipe to follow (JSON).")
@click.option("--size", default=128, show_default=True, help="Side in pixels, without a recipe.")
@click.option("--labels", type=click.Path(dir_okay=False), help="Label table, row by row.")
@click.option("--processes", default=1, show_default=True, help="Processes to work with.")
@click.option("--strict", is_flag=True, help="Exit with 1 when any image could not be used.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def preprocess(inputs, output, recipe, size, labels, processes, strict, as_json):
    """Turn images into a store of network-ready cutouts.

    INPUTS are image files (FITS, JPEG, PNG), globs, folders, or a table with a column 'file'
    whose other columns are labels; or one HDF5 file in the layout of the original DeepGalaxy.
    An image that cannot be used is a row with flags and a reason. Given again after an
    interruption, the command continues.

    \b
    Examples:
      astro-deepgalaxy preprocess cutouts/*.fits -o cutouts.zarr
      astro-deepgalaxy preprocess mergers/labels.ecsv -o mergers.zarr --processes 4
      astro-deepgalaxy preprocess pictures/ -o pictures.zarr --recipe recipe.json
      astro-deepgalaxy preprocess original.h5 -o original.zarr
    """
    from ..flags import FAILED
    from ..io import read_table
    from ..preprocess import Recipe
    from ..preprocess.batch import preprocess_batch

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
        Recipe.read(recipe) if recipe else Recipe.default(size=size),
        output,
        labels=labels,
        processes=processes,
    )
    table = store.table
    bad = table[(table["flags"] & int(FAILED)) != 0]
    if as_json:
        click.echo(json.dumps({"store": output, "rows": len(store), "failed": len(bad)}))
    else:
        click.echo(f"{len(store)} images, {len(bad)} of them unusable -> {output}")
        for row in bad[:10]:
            click.echo(f"  {row['reason']}", err=True)
    if strict and len(bad):
        sys.exit(1)
