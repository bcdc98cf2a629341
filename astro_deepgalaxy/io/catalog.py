"""From whatever names images to a list of sources, without opening them."""

import glob
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import NDData
from astropy.table import QTable, Row, Table, vstack
from astropy.utils.exceptions import AstropyWarning

from ..cutout import Cutout
from .fits import image_stem, split_extension
from .read import image_suffixes, read_cutout
from .tables import read_table

__all__ = ["Source", "resolve_inputs"]

_TABLES = (".csv", ".ecsv", ".vot", ".xml", ".parquet")


@dataclass(frozen=True)
class Source:
    """An image that is still to be read.

    Attributes
    ----------
    id : str
        Name, unique in its list.
    file : str
        File, with its extension in brackets if one was chosen; empty for pixels in memory.
    image : object
        Array, NDData or Cutout in memory; None for a file.
    ra, dec : float
        Position to cut around in degrees; NaN when none was given.
    redshift : float
        Redshift; NaN when none was given.
    """

    id: str
    file: str = ""
    image: object = None
    ra: float = np.nan
    dec: float = np.nan
    redshift: float = np.nan

    def read(self):
        """Read the image.

        Returns
        -------
        Cutout
            With the source's id, file, position and redshift.

        Raises
        ------
        CutoutError
            If it cannot be read.
        """
        cutout = read_cutout(self.file if self.image is None else self.image)
        meta = dict(cutout.meta)
        if np.isfinite([self.ra, self.dec]).all():
            meta["position"] = SkyCoord(self.ra, self.dec, unit="deg")
        if np.isfinite(self.redshift):
            meta["redshift"] = self.redshift
        return cutout.replace(id=self.id, file=self.file or cutout.file, meta=meta)


def resolve_inputs(inputs):
    """List the images that some inputs name.

    Parameters
    ----------
    inputs : path, glob, folder, Table, array_like, NDData, Cutout, Source, or a sequence of these
        A folder stands for the images in it. A table, or the file of one, has a column ``file``
        (relative to the table's file) and optionally ``id``, ``ra`` and ``dec`` in degrees or a
        SkyCoord ``position``, and ``redshift``. An array is one image, (y, x) or (band, y, x).

    Returns
    -------
    sources : list of Source
        One per image, in order. Files are not opened: one that is missing fails when it is read.
    table : `~astropy.table.QTable` or None
        The rows of the table or tables, when nothing else was given.

    Raises
    ------
    ValueError
        If a glob or folder holds no image, a table has no column ``file``, or there is nothing.
    TypeError
        If an input is none of these.
    """
    sources, tables = [], []
    many = isinstance(inputs, list | tuple) and not _is_pixels(inputs)
    for item in inputs if many else [inputs]:
        found, table = _resolve(item)
        sources += found
        tables.append(table)
    if not sources:
        raise ValueError("there are no images: the list of inputs is empty")
    table = None
    if all(t is not None for t in tables):
        table = vstack(tables, metadata_conflicts="silent") if len(tables) > 1 else tables[0]
    return _unique_ids(sources), table


def _is_pixels(item):
    """Whether a plain list is the rows of an image rather than a list of inputs."""
    return len(item) > 0 and all(
        isinstance(row, list | tuple) and all(isinstance(v, int | float) for v in row)
        for row in item
    )


def _resolve(item):
    if isinstance(item, Table | Row):
        return _from_table(QTable(item), Path())
    if isinstance(item, Source):
        return [item], None
    if isinstance(item, Cutout):
        return [Source(item.id or "image", item.file, item)], None
    if isinstance(item, NDData | np.ndarray) or (
        isinstance(item, list | tuple) and _is_pixels(item)
    ):
        return [Source("image", "", item)], None
    if not isinstance(item, str | Path):
        raise TypeError(
            "an input must be a path, a glob, a folder, a Table, an array or an NDData; "
            f"got {type(item).__name__}"
        )
    path = Path(item)
    # A folder that is called like an image is one bad image, not a reason to stop.
    if path.is_dir() and not path.name.lower().endswith(tuple(image_suffixes())):
        files = sorted(p for p in path.iterdir() if _is_image(p))
        if not files:
            raise ValueError(f"{path}: the folder holds no image; known endings are {_endings()}")
        return [_from_file(file) for file in files], None
    if path.suffix.lower() in _TABLES or _is_fits_table(path):
        return _from_table(read_table(path), path.parent)
    if not path.exists() and not split_extension(path)[0].exists() and glob.has_magic(str(item)):
        files = sorted(glob.glob(str(item), recursive=True))
        if not files:
            raise ValueError(f"{item}: no file matches")
        return [_from_file(file) for file in files], None
    return [_from_file(path)], None


def _from_file(path):
    return Source(image_stem(split_extension(path)[0]), str(path))


def _from_table(table, folder):
    if "file" not in table.colnames:
        raise ValueError(
            f"the table of images has no column 'file'; its columns are {table.colnames}"
        )
    n = len(table)
    files = [str(folder / str(file)) for file in table["file"]]
    names = (
        [str(name) for name in table["id"]]
        if "id" in table.colnames
        else [_from_file(file).id for file in files]
    )
    if "position" in table.colnames and isinstance(table["position"], SkyCoord):
        sky = table["position"].icrs
        ra, dec = sky.ra.deg, sky.dec.deg
    else:
        ra, dec = (_numbers(table, name, u.deg, n) for name in ("ra", "dec"))
    redshift = _numbers(table, "redshift", u.one, n)
    sources = [
        Source(names[i], files[i], None, float(ra[i]), float(dec[i]), float(redshift[i]))
        for i in range(n)
    ]
    return sources, table


def _numbers(table, name, unit, n):
    if name not in table.colnames:
        return np.full(n, np.nan)
    column = table[name]
    if isinstance(column, np.ma.MaskedArray):
        column = column.astype(float).filled(np.nan)
    return np.asarray(u.Quantity(column, unit).value, dtype=float)


def _unique_ids(sources):
    """The same sources; the second of a name is called ``name-2``, and so on."""
    taken = {source.id for source in sources}
    seen, out = set(), []
    for source in sources:
        name, k = source.id, 1
        while name in seen or (k > 1 and name in taken):
            k += 1
            name = f"{source.id}-{k}"
        seen.add(name)
        out.append(source if name == source.id else replace(source, id=name))
    return out


def _is_image(path):
    return path.name.lower().endswith(tuple(image_suffixes())) and path.is_file()


def _endings():
    return ", ".join(sorted(image_suffixes()))


def _is_fits_table(path):
    """Whether a FITS file has an empty primary and then a table with a column ``file``."""
    if path.suffix.lower() != ".fits" or not path.is_file():
        return False
    with open(path, "rb") as file:
        # Most files are images: their first block says so without parsing a header.
        if b"NAXIS   =                    0" not in file.read(2880):
            return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            second = fits.getheader(path, 1)
    except (OSError, IndexError, ValueError, TypeError, KeyError):
        return False
    columns = {second.get(f"TTYPE{i + 1}") for i in range(second.get("TFIELDS", 0))}
    return second.get("XTENSION") == "BINTABLE" and "file" in columns
