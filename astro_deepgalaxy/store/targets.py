"""From columns of the label table to what a network learns to output."""

from dataclasses import asdict, dataclass, field

import numpy as np
from astropy import units as u
from scipy.special import ndtr

from ..labels import TimeScale

__all__ = ["CategoryTarget", "TimeTarget", "target_from_dict"]


@dataclass(frozen=True)
class TimeTarget:
    """Time classes as probabilities: a Gaussian about the true time, integrated over each class.

    Neighbouring classes are nearly right, and the target says so. A width of zero gives the
    plain one-hot classes of Cai et al. (2020).

    Attributes
    ----------
    scale : TimeScale
        What the classes mean.
    width : float
        Standard deviation of the Gaussian in Myr.
    column : str
        Column of the label table.
    """

    scale: TimeScale = field(default_factory=TimeScale)
    width: float = 15.0
    column: str = "time_since_pericentre"

    def __post_init__(self):
        if not (np.isfinite(self.width) and self.width >= 0):
            raise ValueError(f"the width of the time target must be zero or more; got {self.width}")

    @property
    def size(self):
        """Number of outputs."""
        return self.scale.n

    def encode(self, table):
        """Targets and weights of the rows of a label table.

        Parameters
        ----------
        table : `~astropy.table.QTable`
            Label table.

        Returns
        -------
        targets : numpy.ndarray
            Probabilities (row, class), float32; zero where the label is missing.
        weights : numpy.ndarray
            1 where there is a label inside the time scale, else 0; (row,) float32.
        """
        time = u.Quantity(table[self.column]).to_value(u.Myr)
        classes = self.scale.classify(time * u.Myr)
        known = classes >= 0
        if self.width == 0:
            targets = np.eye(self.size)[classes]
        else:
            edges = self.scale.edges.value
            below = ndtr((edges - np.where(known, time, 0)[:, np.newaxis]) / self.width)
            targets = np.diff(below, axis=1)
            targets /= np.maximum(targets.sum(axis=1, keepdims=True), 1e-12)
        targets[~known] = 0
        return targets.astype(np.float32), known.astype(np.float32)

    def to_dict(self):
        """The target as plain data, for `target_from_dict`."""
        return {"kind": "time", **asdict(self)}


@dataclass(frozen=True)
class CategoryTarget:
    """A column of names as one-hot probabilities.

    Attributes
    ----------
    values : tuple of str
        The names, in the order of the outputs.
    column : str
        Column of the label table.
    """

    values: tuple[str, ...]
    column: str

    @property
    def size(self):
        """Number of outputs."""
        return len(self.values)

    def encode(self, table):
        """Targets and weights of the rows of a label table.

        Parameters
        ----------
        table : `~astropy.table.QTable`
            Label table.

        Returns
        -------
        targets : numpy.ndarray
            One-hot rows (row, value), float32; zero where the name is not one of `values`.
        weights : numpy.ndarray
            1 where the name is known, else 0; (row,) float32.
        """
        names = np.asarray(table[self.column], dtype=str)
        targets = (names[:, np.newaxis] == np.array(self.values)).astype(np.float32)
        return targets, targets.sum(axis=1)

    def to_dict(self):
        """The target as plain data, for `target_from_dict`."""
        return {"kind": "category", "values": list(self.values), "column": self.column}


def target_from_dict(data):
    """Rebuild a target from its plain data.

    Parameters
    ----------
    data : dict
        What ``to_dict`` returned.

    Returns
    -------
    TimeTarget or CategoryTarget

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    data = dict(data)
    kind = data.pop("kind", None)
    if kind == "time":
        return TimeTarget(**(data | {"scale": TimeScale(**data["scale"])}))
    if kind == "category":
        return CategoryTarget(**(data | {"values": tuple(data["values"])}))
    raise ValueError(f"unknown kind of target {kind!r}; known are 'time' and 'category'")
