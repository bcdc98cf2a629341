"""Images of the galaxies of a table, by the ids in their names."""

import os
import re
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable

from .read import image_suffixes
from .tables import TableFile, exact_ids

__all__ = ["ImageMatch", "match_images"]

# Names such as J112953.88-000427.4 hold what separates other words.
_WORD = re.compile(r"J\d++(?:\.\d++)?+[+-]\d++(?:\.\d++)?+(?![0-9A-Za-z])|[0-9A-Za-z]+")
_SHORTEST_ID_IN_A_NAME = 6


@dataclass(frozen=True)
class ImageMatch:
    """What a folder of images and a table of galaxies have in common.

    Attributes
    ----------
    table : `~astropy.table.QTable`
        The galaxies that have an image, in the order of the table, with its ``file``.
    images_without_row : list of str
        Images, relative to the folder, whose names hold the id of no galaxy or of several.
    rows_without_image : list of str
        Ids of the galaxies without an image.
    duplicates : list of str
        Images of a galaxy after its first in sorted order, which was taken.
    """

    table: QTable
    images_without_row: list[str]
    rows_without_image: list[str]
    duplicates: list[str]


def match_images(table, folder, mapping=None, relative_to=None):
    """Find the images of galaxies by the ids in their names.

    A name is the id and an ending that a reader knows, or holds an id of six or more letters and
    digits as a word of its own: ``587722981742084144.jpg``, ``sdss-587722981742084144-r.fits.gz``,
    ``J112953.88-000427.4_grz.fits``.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        From `~astro_deepgalaxy.io.galaxy_zoo.read_galaxy_zoo`, or any with a text column ``id``.
    folder : str or `~pathlib.Path`
        Folder of images, at any depth; only regular files count.
    mapping : str or `~pathlib.Path`, optional
        The table ``gz2_filename_mapping``, for images that are called after its ``asset_id``.
    relative_to : str or `~pathlib.Path`, optional
        Folder that the column ``file`` is relative to: that of the label table to be. By default
        the paths begin with `folder`.

    Returns
    -------
    ImageMatch

    Raises
    ------
    ValueError
        If the folder holds no image, or the mapping is another table.
    """
    images = _images(folder)
    if not images:
        raise ValueError(
            f"{folder}: the folder holds no image; known endings are "
            f"{', '.join(sorted(image_suffixes()))}"
        )
    rows = {id_: row for row, id_ in enumerate(table["id"].tolist())}
    whole = rows if mapping is None else rows | _rows_of_assets(mapping, rows)
    taken, unknown, duplicates = {}, [], []
    for image, stem in images:
        row = whole.get(stem)
        if row is None:
            words = {w for w in _WORD.findall(stem) if len(w) >= _SHORTEST_ID_IN_A_NAME}
            found = {rows[word] for word in words if word in rows}
            row = found.pop() if len(found) == 1 else None
        if row is None:
            unknown.append(image)
        elif row in taken:
            duplicates.append(image)
        else:
            taken[row] = image
    start = str(folder)
    if relative_to is not None:
        # The way up from a folder that is a link leads elsewhere than its name says.
        start = os.path.relpath(os.path.realpath(folder), os.path.realpath(relative_to))
    chosen = np.array(sorted(taken), dtype=int)
    matched = table[chosen]
    files = [os.path.join(start, taken[row]) for row in chosen.tolist()]
    matched.add_column(np.array(files, dtype=str), name="file", index=0)
    missing = np.setdiff1d(np.arange(len(table)), chosen)
    return ImageMatch(matched, unknown, table["id"][missing].tolist(), duplicates)


def _images(folder):
    """Images in a folder at any depth, sorted: relative paths, and names without their ending."""
    endings = sorted(map(re.escape, image_suffixes()), key=len, reverse=True)
    name = re.compile(rf"([^.].*)(?:{'|'.join(endings)})", re.IGNORECASE | re.DOTALL)
    images = []
    for place, folders, files in os.walk(folder):
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
        inside = os.path.relpath(place, folder)
        prefix = "" if inside == os.curdir else inside + os.sep
        images += [
            (prefix + f, found[1])
            for f in files
            if (found := name.fullmatch(f)) and os.path.isfile(os.path.join(place, f))
        ]
    return sorted(images)


def _rows_of_assets(path, rows):
    file = TableFile(path)
    names = [file.find("objid") or file.find("dr7objid"), file.find("asset_id")]
    if not all(names):
        raise ValueError(
            f"{path}: is not the mapping of Galaxy Zoo 2; it needs the columns objid and asset_id"
        )
    data = file.read(names, [])
    objects, assets = (exact_ids(data[n], f"{path}: the column {n!r}").tolist() for n in names)
    return {a: rows[o] for a, o in zip(assets, objects, strict=True) if o in rows}
