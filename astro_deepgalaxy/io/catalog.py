"""From whatever names images to a list of sources, without opening them."""

import glob
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import NDData
from astropy.table import QTable, Row, Table, vstack
from astropy.utils.exceptions import AstropyWarning

from ..cutout import Cutout
from .columns import names_in, numbers_in, positions_in, unique_names
from .fits import image_stem, split_extension
from .read import image_suffixes, read_cutout
from .tables import read_table

__all__ = ["Source", "TableSources", "match_files", "resolve_inputs"]

_TABLES = (".csv", ".ecsv", ".vot", ".xml", ".parquet")
_OTHERS = {"redshift": u.one, "fov": u.arcsec}
_ALIASES = (
    ("id", "objid", "source_id", "sourceid", "object_id"),
    ("ra", "raj2000", "ra_icrs", "ramean", "alpha_j2000"),
    ("dec", "dej2000", "de_icrs", "decj2000", "decmean", "delta_j2000"),
    ("redshift",),
    ("fov",),
    ("position",),
)
_OF_THE_STORE = {"file", "flags", "reason", "missing_fraction", "cd"}


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
    fov : float
        Side of the cutout in arcseconds; NaN for that of the mosaics.
    mosaics : object
        What to cut the image from, `~astro_deepgalaxy.preprocess.mosaic.Mosaics`; None for an
        image of its own.
    """

    id: str
    file: str = ""
    image: object = None
    ra: float = np.nan
    dec: float = np.nan
    redshift: float = np.nan
    fov: float = np.nan
    mosaics: object = None

    @property
    def key(self):
        """What tells the source from others: JSON data."""
        if self.mosaics is None:
            return [self.id, self.file]
        return [self.id, repr((self.ra, self.dec, self.redshift, self.fov))]

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
        if self.mosaics is not None:
            return self.mosaics.cutout(self.ra, self.dec, self.fov, self.id, self.redshift)
        cutout = read_cutout(self.file if self.image is None else self.image)
        meta = dict(cutout.meta)
        if np.isfinite([self.ra, self.dec]).all():
            meta["position"] = (self.ra, self.dec)
        if np.isfinite(self.redshift):
            meta["redshift"] = self.redshift
        return cutout.replace(id=self.id, file=self.file or cutout.file, meta=meta)


class TableSources(Sequence):
    """The sources of a table: they are made when asked for, so that a million take little room.

    Parameters
    ----------
    ids, files : sequence of str
        Names and files.
    ra, dec, redshift, fov : numpy.ndarray
        As in `Source`.
    mosaics : object
        As in `Source`.
    """

    def __init__(self, ids, files, ra, dec, redshift, fov, mosaics=None):
        self._columns = ids, files, ra, dec, redshift, fov
        self.mosaics = mosaics

    def on(self, mosaics):
        """The same sources on other mosaics.

        Parameters
        ----------
        mosaics : object
            The mosaics.

        Returns
        -------
        TableSources
        """
        return TableSources(*self._columns, mosaics)

    def __len__(self):
        return len(self._columns[0])

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        name, file, *numbers = (column[i] for column in self._columns)
        ra, dec, redshift, fov = map(float, numbers)
        return Source(str(name), str(file), None, ra, dec, redshift, fov, self.mosaics)


def resolve_inputs(inputs, mosaics=None):
    """List the images that some inputs name.

    Parameters
    ----------
    inputs : path, glob, folder, Table, array_like, NDData, Cutout, Source, or a sequence of these
        A folder stands for the images in it. A table, or the file of one, has a column ``file``
        (relative to the table's file) and optionally ``id``, ``ra`` and ``dec`` in degrees or a
        SkyCoord ``position``, and ``redshift``; a row without an id is called like its file. An
        array is one image, (y, x) or (band, y, x).
    mosaics : Mosaics, optional
        Then `inputs` is a catalogue, a table or the file of one: a cutout is taken at each
        position. Columns are those above but ``file``, in small or capital letters, also
        ``RAJ2000, DEJ2000`` or ``RA_ICRS, DE_ICRS``, and ``fov`` for the side of a cutout in
        arcseconds. A column ``name`` is the id if each row has its own; a row without an id is
        called by its number. A redshift must be called so: ``z`` may be a magnitude. Columns
        that the store writes itself (``file``, ``flags``, ``reason``, ``missing_fraction``,
        ``cd``) are kept as ``catalogue_file`` and so on.

    Returns
    -------
    sources : sequence of Source
        One per image, in order. Files are not opened: one that is missing fails when it is read.
    table : `~astropy.table.QTable` or None
        The rows of the table or tables, when nothing else was given.

    Raises
    ------
    ValueError
        If a glob or folder holds no image, a table has no column ``file`` (a catalogue: no
        positions), or there is nothing.
    TypeError
        If an input is none of these.
    """
    if mosaics is not None:
        return _from_catalogue(inputs, mosaics)
    sources, tables = [], []
    many = isinstance(inputs, list | tuple) and not _is_pixels(inputs)
    items = list(inputs) if many else [inputs]
    for item in items:
        found, table = _resolve(item)
        if len(items) == 1:
            sources = found  # those of a single table stay in its columns
        else:
            sources.extend(found)
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
        files = match_files(item)
        if not files:
            raise ValueError(f"{item}: no file matches")
        return [_from_file(file) for file in files], None
    return [_from_file(path)], None


def match_files(pattern):
    """The files that a glob matches.

    Parameters
    ----------
    pattern : str or `~pathlib.Path`
        The glob; ``**`` stands for folders at any depth. A folder of it that exists may have
        brackets in its name.

    Returns
    -------
    list of str
        Their paths, sorted.
    """
    folder = next((folder for folder in Path(pattern).parents if folder.exists()), Path())
    rest = str(Path(pattern).relative_to(folder))
    return sorted(str(folder / name) for name in glob.glob(rest, root_dir=folder, recursive=True))


def _from_file(path):
    return Source(image_stem(split_extension(path)[0]), str(path))


def _from_table(table, folder):
    if "file" not in table.colnames:
        raise ValueError(
            f"the table of images has no column 'file'; its columns are {table.colnames}; a "
            "catalogue of positions needs mosaics to cut from"
        )
    files = [str(folder / str(file)) for file in table["file"]]
    names = [
        name or _from_file(file).id for name, file in zip(names_in(table, "id"), files, strict=True)
    ]
    ra, dec = positions_in(table)
    numbers = (numbers_in(table, name, unit) for name, unit in _OTHERS.items())
    return TableSources(np.asarray(names, dtype=str), files, ra, dec, *numbers), table


def _from_catalogue(inputs, mosaics):
    if isinstance(inputs, list | tuple) and len(inputs) == 1:
        inputs = inputs[0]
    if isinstance(inputs, str | Path):
        inputs = read_table(inputs)
    if not isinstance(inputs, Table):
        raise ValueError(
            "with mosaics the input is one catalogue: a table, or the file of one; "
            f"got {type(inputs).__name__}"
        )
    table = QTable(inputs)
    if not len(table):
        raise ValueError("the catalogue is empty")
    for names in _ALIASES:
        _rename(table, names)
    if "id" not in table.colnames:
        _rename(table, ("id", *_names_of_rows(table)))
    for name in table.colnames:
        if name.lower() in _OF_THE_STORE:
            _set_aside(table, name)
    width = len(str(len(table)))
    names = enumerate(names_in(table, "id"), start=1)
    table["id"] = unique_names([name or f"{i:0{width}d}" for i, name in names])
    ra, dec = positions_in(table)
    if np.isnan(ra).all():
        raise ValueError(
            "the catalogue has no positions: it needs columns ra and dec in degrees, or a SkyCoord "
            f"position; its columns are {table.colnames}"
        )
    numbers = (numbers_in(table, name, unit) for name, unit in _OTHERS.items())
    return TableSources(table["id"], [""] * len(table), ra, dec, *numbers, mosaics), table


def _rename(table, names):
    """Give a column its standard name, the first of `names`, by whichever of them it has."""
    if names[0] in table.colnames:
        return
    small = {name.lower(): name for name in table.colnames}
    for name in names:
        if name.lower() in small:
            table.rename_column(small[name.lower()], names[0])
            return


def _names_of_rows(table):
    """The column ``name``, in small or capital letters, if each row has one of its own."""
    found = [name for name in table.colnames if name.lower() == "name"]
    if len(found) == 1:
        names = names_in(table, found[0])
        if all(names) and len(set(names)) == len(names):
            return found
    return []


def _set_aside(table, name):
    """Give a column of the catalogue a name that the store does not need."""
    new = f"catalogue_{name}"
    while new in table.colnames:
        new = f"catalogue_{new}"
    table.rename_column(name, new)


def _unique_ids(sources):
    """The same sources; the second of a name is called ``name-2``, and so on."""
    names = [source.id for source in sources]
    unique = unique_names(names)
    if unique is names:
        return sources
    return [
        source if name == source.id else replace(source, id=name)
        for source, name in zip(sources, unique, strict=True)
    ]


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
