"""``astro-deepgalaxy galaxy-zoo``."""

import json
from pathlib import Path

import click


@click.command("galaxy-zoo")
@click.argument("table", type=click.Path(dir_okay=False))
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("-o", "--output", required=True, help="Label table to write, such as labels.ecsv.")
@click.option(
    "--kind",
    help="Kind of the table: gz1, gz2, kaggle, decals or darg.  [default: "
    "recognised by its columns]",
)
@click.option(
    "--mapping",
    type=click.Path(dir_okay=False),
    help="The table gz2_filename_mapping, for images called after its asset_id.",
)
@click.option("--debiased", is_flag=True, help="Use vote fractions corrected for redshift.")
@click.option(
    "--keep-uncertain",
    is_flag=True,
    help="Keep galaxies that may be mergers or not; the column is_merger is left out.",
)
@click.option("--unmatched", help="Table to write of the images and galaxies left over.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def galaxy_zoo(table, folder, output, kind, mapping, debiased, keep_uncertain, unmatched, as_json):
    """Label a folder of images by the votes of Galaxy Zoo.

    TABLE is a published table of Galaxy Zoo 1 or 2, of Galaxy Zoo DECaLS, of the Kaggle challenge
    or of merging pairs. FOLDER holds images named after the galaxies' ids. The label table goes
    to 'astro-deepgalaxy preprocess'.

    \b
    Examples:
      astro-deepgalaxy galaxy-zoo GalaxyZoo1_DR_table2.csv cutouts/ -o labels.ecsv
      astro-deepgalaxy galaxy-zoo gz2_hart16.csv images_gz2/ -o labels.ecsv \\
          --mapping gz2_filename_mapping.csv
      astro-deepgalaxy galaxy-zoo gz_decals_volunteers_5.parquet png/ -o labels.ecsv \\
          --unmatched left_over.csv
      astro-deepgalaxy preprocess labels.ecsv -o cutouts.zarr
    """
    from ..io.galaxy_zoo import certain_mergers, read_galaxy_zoo
    from ..io.image_match import match_images
    from ..io.tables import check_table_suffix, write_table

    for name in filter(None, (output, unmatched)):
        check_table_suffix(name)
    galaxies = read_galaxy_zoo(table, kind, debiased)
    match = match_images(galaxies, folder, mapping, relative_to=Path(output).parent)
    if not len(match.table):
        raise ValueError(
            f"{folder}: no image is named after a galaxy of {table}: an image is "
            f"{match.images_without_row[0]!r}, a galaxy {match.rows_without_image[0]!r} (images of "
            "Galaxy Zoo 2 with short numbers need --mapping)"
        )
    labels = certain_mergers(match.table)
    counts = {
        "labels": len(labels),
        "mergers": int(labels["is_merger"].sum()),
        "uncertain": len(match.table) - len(labels),
        "images_without_row": len(match.images_without_row),
        "duplicates": len(match.duplicates),
        "rows_without_image": len(match.rows_without_image),
    }
    if keep_uncertain:
        labels = match.table
        labels.remove_column("is_merger")
        counts["labels"] = len(labels)
    if not len(labels):
        raise ValueError(
            f"{table}: none of the {len(match.table)} galaxies with an image is clearly a merger "
            "or clearly none; --keep-uncertain keeps them"
        )
    write_table(labels, output)
    if unmatched:
        write_table(_left_over(match), unmatched)
    if as_json:
        click.echo(json.dumps({"table": output, "kind": galaxies.meta["galaxy_zoo"], **counts}))
        return
    fate = "kept, without is_merger" if keep_uncertain else "left out"
    click.echo(f"{counts['labels']} images with labels -> {output}")
    click.echo(f"{counts['mergers']} are of mergers, {counts['uncertain']} uncertain ({fate})")
    for what, names in (
        ("images fit no galaxy or several", match.images_without_row),
        ("images are of a galaxy that has one already", match.duplicates),
        ("galaxies have no image", match.rows_without_image),
    ):
        if names:
            first = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            # A name may hold bytes that are no text.
            first = first.encode("utf-8", "backslashreplace").decode()
            click.echo(f"{len(names)} {what}: {first}")


def _left_over(match):
    from astropy.table import QTable

    parts = {
        "image without galaxy": match.images_without_row,
        "further image": match.duplicates,
        "galaxy without image": match.rows_without_image,
    }
    return QTable(
        {
            "what": [what for what, names in parts.items() for _ in names],
            "name": [name for names in parts.values() for name in names],
        },
        dtype=[str, str],
    )
