"""Writing tables so that they read back the same and open in TOPCAT."""

import warnings
from pathlib import Path

import numpy as np
from astropy.io.fits.verify import VerifyWarning
from astropy.table import QTable

from ..jobs import atomic_path

__all__ = ["check_table_suffix", "write_table"]

_FORMATS = {
    ".csv": "ascii.csv",
    ".ecsv": "ascii.ecsv",
    ".fits": "fits",
    ".vot": "votable",
    ".parquet": "parquet",
}


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
        The table. Its units, SkyCoord columns and meta survive in ECSV and FITS.
    path : str or `~pathlib.Path`
        File; the suffix chooses the format (.csv, .ecsv, .fits, .vot, .parquet).

    Raises
    ------
    ValueError
        If the suffix is not one of these.
    """
    path = Path(path)
    check_table_suffix(path)
    table = QTable(table, copy=False)
    if path.suffix.lower() == ".fits":
        # FITS strings are bytes: names that are not ASCII are kept as UTF-8.
        for name in table.colnames:
            if getattr(table[name], "dtype", np.dtype(float)).kind == "U":
                table[name] = np.char.encode(table[name], "utf-8")
    with atomic_path(path) as partial, warnings.catch_warnings():
        # Long meta keys become HIERARCH cards, as intended.
        warnings.simplefilter("ignore", VerifyWarning)
        table.write(partial, format=_FORMATS[path.suffix.lower()])
