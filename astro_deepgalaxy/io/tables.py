"""Tables in and out: they read back the same, and open in TOPCAT."""

import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.fits.verify import VerifyWarning
from astropy.table import MaskedColumn, QTable
from astropy.utils.exceptions import AstropyWarning

from ..jobs import atomic_path

__all__ = ["check_table_suffix", "read_table", "write_table"]

_FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".fits": "fits",
    ".vot": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
}


def read_table(path):
    """Read a table.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        CSV, ECSV, FITS, VOTable or Parquet file, by its suffix (.csv, .ecsv, .fits, .vot, .xml,
        .parquet).

    Returns
    -------
    `~astropy.table.QTable`
        Text columns hold str; other columns keep their units and gaps.

    Raises
    ------
    ValueError
        If the file is missing, of another kind, or damaged.
    """
    path = Path(path)
    suffix = Path(path.stem if path.suffix == ".gz" else path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(
            f"{path}: not a table of a known kind; known endings are {', '.join(_FORMATS)}"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such table")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            if suffix == ".parquet":
                table = _read_parquet(path)
            else:
                table = QTable.read(path, format=_FORMATS[suffix])
    except Exception as error:
        # Each of the formats has errors of its own.
        message = f"{path}: cannot be read as a table: {error}"
        raise ValueError(" ".join(message.split())) from error
    for name in table.colnames:
        kind = getattr(getattr(table[name], "dtype", None), "kind", "")
        if kind == "U" and isinstance(table[name], MaskedColumn):
            table[name] = np.asarray(table[name].filled(""))
        elif kind == "S":
            table[name] = np.char.decode(np.asarray(table[name]), "utf-8")
        elif kind == "O":
            missing = (None, np.ma.masked)
            table[name] = ["" if value in missing else str(value) for value in table[name]]
    return table


def _read_parquet(path):
    from astropy.table.meta import get_header_from_yaml
    from pyarrow import parquet

    # Reader threads that outlive the call can abort the interpreter when it exits.
    columns = parquet.read_table(path, use_threads=False, pre_buffer=False)
    table = QTable()
    header = (columns.schema.metadata or {}).get(b"table_meta_yaml")
    header = get_header_from_yaml(header.decode().split("\n")) if header else {}
    units = {column["name"]: column.get("unit") for column in header.get("datatype", [])}
    for name in columns.column_names:
        values = columns.column(name).to_numpy()
        if len(values) and isinstance(values[0], np.ndarray):
            values = np.stack(values)
        table[name] = values * u.Unit(units[name]) if units.get(name) else values
    return table


def check_table_suffix(path):
    """Refuse a name that `write_table` cannot write, before any work is done.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        File to be written.

    Raises
    ------
    ValueError
        If the suffix is not that of a known format.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in _FORMATS:
        raise ValueError(
            f"{path}: cannot write a table with the suffix {suffix!r}; "
            f"use one of {', '.join(_FORMATS)}"
        )


def write_table(table, path):
    """Write a table whole or not at all, replacing an older file.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table. Its units, SkyCoord columns and meta survive in ECSV and FITS; elsewhere a
        SkyCoord becomes two columns, and in CSV a vector a column for each element.
    path : str or `~pathlib.Path`
        File; the suffix chooses the format (.csv, .ecsv, .fits, .vot, .parquet).

    Raises
    ------
    ValueError
        If the suffix is not one of these, or a column of true and false has gaps, which only
        ECSV can hold.
    """
    path = Path(path)
    check_table_suffix(path)
    suffix = path.suffix.lower()
    table = QTable(table, copy=False)
    for name in table.colnames if suffix != ".ecsv" else ():
        column = table[name]
        if getattr(getattr(column, "dtype", None), "kind", "") == "b" and np.ma.is_masked(column):
            raise ValueError(
                f"{path}: the column {name!r} of true and false has gaps, which would be lost; "
                "leave out its rows, or write an .ecsv file"
            )
    if suffix not in (".ecsv", ".fits"):
        table = _plain(table, vectors=suffix != ".csv")
    if path.suffix.lower() == ".fits":
        # FITS strings are bytes: names that are not ASCII are kept as UTF-8.
        for name in table.colnames:
            if getattr(table[name], "dtype", np.dtype(float)).kind == "U":
                table[name] = np.char.encode(table[name], "utf-8")
    with atomic_path(path) as partial, warnings.catch_warnings():
        # Long meta keys become HIERARCH cards, as intended.
        warnings.simplefilter("ignore", VerifyWarning)
        table.write(partial, format=_FORMATS[path.suffix.lower()])


def _plain(table, vectors):
    """The table without SkyCoord columns and, unless they may stay, without vectors."""
    plain = QTable(meta=table.meta)
    for name in table.colnames:
        column = table[name]
        if isinstance(column, SkyCoord):
            plain[f"{name}_ra"] = u.Quantity(column.icrs.ra)
            plain[f"{name}_dec"] = u.Quantity(column.icrs.dec)
        elif column.ndim > 1 and not vectors:
            for i in range(column.shape[1]):
                plain[f"{name}_{i}"] = column[:, i]
        else:
            plain[name] = column
    return plain
