"""Predicted times of real galaxies against published ones."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import QTable

from ..io.tables import read_table
from ..metrics import RankCorrelation, rank_correlation

__all__ = ["RealPairs", "judge_pairs", "read_pairs"]

_COLUMNS = ("t_min", "t_min_Myr")


@dataclass(frozen=True)
class RealPairs:
    """Real galaxies with published times.

    Attributes
    ----------
    file : str
        The table.
    correlation : RankCorrelation
        Spearman's rank correlation of predicted and published times.
    failed : int
        Rows without a predicted or a published time.
    predicted, lower, upper, published : list of float
        Times in Myr of the rows that have both.
    names : list of str
        Their names.
    """

    file: str
    correlation: RankCorrelation
    failed: int
    predicted: list[float]
    lower: list[float]
    upper: list[float]
    published: list[float]
    names: list[str]

    def to_dict(self):
        """The figures as plain data."""
        return {
            "file": self.file,
            "spearman": self.correlation.to_dict(),
            "failed": self.failed,
            "pairs": [
                {"name": name, "predicted": predicted, "published": published}
                for name, predicted, published in zip(
                    self.names, self.predicted, self.published, strict=True
                )
            ],
        }


def read_pairs(path):
    """Read a table of real galaxies, and check that it has what is needed.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        Table with the columns ``file``, relative to its folder, and ``t_min``, the time since the
        closest approach in Myr unless it has another unit (also under the name ``t_min_Myr``).

    Returns
    -------
    `~astropy.table.QTable`
        With the published times as ``t_min``.

    Raises
    ------
    ValueError
        If a column is missing, or the times are not numbers.
    """
    table = QTable(read_table(path))
    name = next((name for name in _COLUMNS if name in table.colnames), None)
    if name is None or "file" not in table.colnames:
        raise ValueError(
            f"{path}: a table of real pairs needs the columns 'file' and 't_min' (in Myr); it has "
            f"{table.colnames}"
        )
    values = table[name]
    unit = getattr(values, "unit", None) or u.Myr
    try:
        plain = np.ma.filled(np.ma.asarray(getattr(values, "value", values)).astype(float), np.nan)
        table["t_min"] = u.Quantity(np.asarray(plain), unit).to(u.Myr)
    except (ValueError, u.UnitConversionError) as error:
        raise ValueError(f"{path}: the column {name!r} must be times in Myr: {error}") from error
    return table


def judge_pairs(model, path):
    """Predict the real galaxies of a table and compare the order of their times.

    Parameters
    ----------
    model : MergerClassifier
        The model.
    path : str or `~pathlib.Path`
        A table for `read_pairs`.

    Returns
    -------
    RealPairs

    Raises
    ------
    ValueError
        If the table lacks a column, the model predicts no times or cannot prepare raw images, or
        fewer than three galaxies have both times.
    """
    table = read_pairs(path)
    catalogue = model.predict(str(path))
    if "time_since_pericentre" not in catalogue.colnames:
        raise ValueError("the model does not predict times")
    predicted, lower, upper = (
        catalogue[name].to_value(u.Myr)
        for name in ("time_since_pericentre", "time_lower", "time_upper")
    )
    published = table["t_min"].value
    both = np.isfinite(predicted) & np.isfinite(published)
    return RealPairs(
        file=str(path),
        correlation=rank_correlation(predicted, published),
        failed=int(np.count_nonzero(~both)),
        predicted=predicted[both].tolist(),
        lower=lower[both].tolist(),
        upper=upper[both].tolist(),
        published=published[both].tolist(),
        names=np.asarray(catalogue["id"], dtype=str)[both].tolist(),
    )
