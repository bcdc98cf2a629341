"""Tables in and out: they read back the same, and open in TOPCAT."""

import re
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.fits.verify import VerifyWarning
from astropy.table import MaskedColumn, QTable
from astropy.utils.exceptions import AstropyWarning
from astropy.utils.masked import Masked

from ..jobs import atomic_path

__all__ = ["TableFile", "check_table_suffix", "exact_ids", "read_table", "write_table"]

_FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".fits": "fits",
    ".vot": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
}
_DECIMAL = re.compile(r"\d+\.\d*|\d+(?:\.\d*)?[eE]\+?\d+")
_DIGITS = 15  # that a spreadsheet keeps of a number


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
    from pyarrow import parquet, types

    # Reader threads that outlive the call can abort the interpreter when it exits.
    columns = parquet.read_table(path, use_threads=False, pre_buffer=False)
    table = QTable()
    header = (columns.schema.metadata or {}).get(b"table_meta_yaml")
    header = get_header_from_yaml(header.decode().split("\n")) if header else {}
    units = {column["name"]: column.get("unit") for column in header.get("datatype", [])}
    masks = {f"{name}.mask" for name in columns.column_names} & set(columns.column_names)
    for name in columns.column_names:
        if name in masks:
            continue
        column, gaps = columns.column(name), None
        if f"{name}.mask" in masks:
            # So astropy writes a column with gaps.
            gaps = columns.column(f"{name}.mask").to_numpy().astype(bool)
        elif column.null_count and (types.is_integer(column.type) or types.is_boolean(column.type)):
            # As floats, long ids would lose their last digits.
            gaps, column = (
                column.is_null().to_numpy(),
                column.fill_null(column.type.to_pandas_dtype()(0)),
            )
        values = column.to_numpy()
        if len(values) and isinstance(values[0], np.ndarray):
            values = np.stack(values)
        if units.get(name):
            values = values * u.Unit(units[name])
            table[name] = values if gaps is None else Masked(values, gaps)
        else:
            table[name] = values if gaps is None else MaskedColumn(values, mask=gaps)
    return table


class TableFile:
    """A table of which some columns are read: published ones have hundreds.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        A file that `read_table` can read, or a packed one in CSV (.csv.gz).

    Attributes
    ----------
    path : `~pathlib.Path`
        The file.

    Raises
    ------
    ValueError
        If it is missing, of another kind, or damaged.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._table = None
        if not self.path.name.lower().endswith((".csv", ".csv.gz")):
            self._table = read_table(path)
            names = self._table.colnames
        elif not self.path.is_file():
            raise ValueError(f"{path}: no such table")
        else:
            names = self._csv(lambda csv: csv.open_csv(self.path).schema.names)
        self._names = {name.strip().lower(): name for name in reversed(names)}

    def find(self, name, endings=("",)):
        """The name of a column as it stands in the file.

        Parameters
        ----------
        name : str
            The name, in any case; nothing is found for an empty one.
        endings : sequence of str
            What the name may end in; the first that the table has is taken.

        Returns
        -------
        str or None
        """
        known = (self._names.get((name + ending).lower()) for ending in endings)
        return next(filter(None, known), None) if name else None

    def read(self, texts, numbers):
        """Read columns.

        Parameters
        ----------
        texts, numbers : iterable of str or None
            Names of columns to be read as text and as numbers; None is passed over.

        Returns
        -------
        dict of str to numpy.ndarray
            Columns of str, in which gaps are empty, and of float, in which they are NaN. Angles
            are in degrees.

        Raises
        ------
        ValueError
            If the file is damaged, or a column holds something else.
        """
        types = dict.fromkeys(numbers, float) | dict.fromkeys(texts, str)
        types.pop(None, None)
        if self._table is None:
            return self._csv(self._read_csv, types)
        return {name: _as(kind, self._table[name]) for name, kind in types.items()}

    def _csv(self, read, *args):
        from pyarrow import ArrowException, csv

        try:
            return read(csv, *args)
        except (ArrowException, ValueError, LookupError, OSError) as error:
            message = f"{self.path}: cannot be read as a table: {error}"
            raise ValueError(" ".join(message.split())) from error

    def _read_csv(self, csv, types):
        # An id of 18 digits must not become a number, nor 12:30:00 a time of day.
        columns = csv.read_csv(
            self.path,
            read_options=csv.ReadOptions(use_threads=False),
            convert_options=csv.ConvertOptions(
                include_columns=list(types),
                column_types={n: "string" if t is str else "float64" for n, t in types.items()},
            ),
        )
        return {name: columns[name].to_numpy().astype(kind) for name, kind in types.items()}


def _as(kind, column):
    """A table's column as a plain array of str or float; gaps are empty or NaN."""
    if isinstance(column, u.Quantity):
        column = column.to_value(u.deg) if column.unit.is_equivalent(u.deg) else column.value
    column = np.ma.asarray(column)
    if kind is float:
        return column.astype(float).filled(np.nan)
    return np.where(np.ma.getmaskarray(column), "", column.data.astype(str))


def exact_ids(texts, what):
    """Ids as text, of which no digit may be lost.

    Parameters
    ----------
    texts : numpy.ndarray of str
        Ids; whole numbers that were written with decimals are accepted while they are exact.
    what : str
        Where they are from, for the error.

    Returns
    -------
    numpy.ndarray of str

    Raises
    ------
    ValueError
        If an id is empty, a number with decimals was rounded, or all long numbers end in zeros
        after their fifteenth digit, as spreadsheets leave them.
    """
    texts = np.char.strip(texts)
    decimal = np.array([_DECIMAL.fullmatch(text) is not None for text in texts], dtype=bool)
    if decimal.any():
        numbers = texts[decimal].astype(float)
        rounded = (numbers >= 2**53) | (numbers % 1 != 0)
        if rounded.any():
            raise ValueError(
                f"{what} has lost digits of its ids, such as {str(texts[decimal][rounded][0])!r}; "
                "save the table again with ids as text or whole numbers"
            )
        texts[decimal] = numbers.astype(np.int64).astype(str)
    long = np.unique(texts[(np.char.str_len(texts) > _DIGITS) & np.char.isdigit(texts)])
    beyond = [text[_DIGITS:] for text in long.tolist()]
    # By chance so many zeros stand there once in a million tables.
    if len("".join(beyond)) >= 6 and not any(end.strip("0") for end in beyond):
        raise ValueError(
            f"{what} has lost digits of its ids: all have only zeros after the {_DIGITS}th, such "
            f"as {str(long[0])!r}, as spreadsheets round them; take the table as it was published"
        )
    if (texts == "").any():
        raise ValueError(f"{what} is empty in {(texts == '').sum()} rows; give every galaxy an id")
    return texts


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
        SkyCoord becomes two columns, and in CSV a vector a column for each element. Names of
        files that are not UTF-8, which no format can hold, have ``\\xe9`` for a byte.
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
    for name in table.colnames:
        if getattr(table[name], "dtype", np.dtype(float)).kind == "U":
            table[name] = _encodable(table[name])
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


def _encodable(column):
    """A text column without the lone surrogates that stand for bytes in names of files."""
    texts = np.asarray(column)
    try:
        np.char.encode(texts, "utf-8")
    except UnicodeEncodeError:
        texts = np.char.encode(texts, "utf-8", "surrogateescape")
        texts = np.char.decode(texts, "utf-8", "backslashreplace")
        return MaskedColumn(texts, mask=np.ma.getmaskarray(column))
    return column


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
