"""From columns of the label table to what a network learns to output."""

from dataclasses import asdict, dataclass, field
from typing import ClassVar

import numpy as np
from astropy import units as u
from scipy.special import ndtr

from ..labels import TimeScale

__all__ = [
    "BooleanTarget",
    "CategoryTarget",
    "ClassTarget",
    "ImageTarget",
    "NoTarget",
    "TimeTarget",
    "ValueTarget",
    "numbers",
    "target_from_dict",
]


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

    kind: ClassVar[str] = "time"
    activation: ClassVar[str] = "softmax"
    loss: ClassVar[str] = "categorical_crossentropy"

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
        time = numbers(table[self.column], u.Myr)
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
        return {"kind": self.kind, **asdict(self)}


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

    kind: ClassVar[str] = "category"
    activation: ClassVar[str] = "softmax"
    loss: ClassVar[str] = "categorical_crossentropy"

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
        return {"kind": self.kind, "values": list(self.values), "column": self.column}


@dataclass(frozen=True)
class ClassTarget:
    """Times or class numbers as whole numbers, for the sparse loss of Cai et al. (2020).

    Attributes
    ----------
    n : int
        Number of classes.
    column : str
        Column of the label table: class numbers, or times if there is a `scale`.
    scale : TimeScale, optional
        What the classes mean.
    """

    kind: ClassVar[str] = "class"
    activation: ClassVar[str] = "softmax"
    loss: ClassVar[str] = "sparse_categorical_crossentropy"

    n: int
    column: str
    scale: TimeScale | None = None

    @property
    def size(self):
        """Number of outputs."""
        return self.n

    def encode(self, table):
        """Targets and weights of the rows of a label table.

        Parameters
        ----------
        table : `~astropy.table.QTable`
            Label table.

        Returns
        -------
        targets : numpy.ndarray
            Class numbers (row, 1), float32; zero where the label is missing.
        weights : numpy.ndarray
            1 where there is a class, else 0; (row,) float32.

        Raises
        ------
        ValueError
            If a class number is not one of the classes.
        """
        if self.scale is not None:
            classes = self.scale.classify(numbers(table[self.column], u.Myr) * u.Myr)
        else:
            classes = np.ma.filled(np.ma.asarray(table[self.column]).astype(int), -1)
            wrong = (classes < -1) | (classes >= self.n)
            if wrong.any():
                raise ValueError(
                    f"the label column {self.column!r} has the class {int(classes[wrong][0])}, "
                    f"and the time scale has the classes 0 to {self.n - 1} (-1 is unknown)"
                )
        known = classes >= 0
        return np.where(known, classes, 0)[:, np.newaxis].astype(np.float32), known.astype("f4")

    def to_dict(self):
        """The target as plain data, for `target_from_dict`."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class BooleanTarget:
    """A column of yes or no as a probability.

    Attributes
    ----------
    column : str
        Column of the label table; masked where it is not known.
    """

    kind: ClassVar[str] = "boolean"
    activation: ClassVar[str] = "sigmoid"
    loss: ClassVar[str] = "binary_crossentropy"
    size: ClassVar[int] = 1

    column: str

    def encode(self, table):
        """Targets (row, 1) and weights (row,) of the rows of a label table, both float32."""
        values = np.ma.asarray(table[self.column])
        if values.dtype.kind not in "biuf":
            raise ValueError(f"the label column {self.column!r} does not hold True and False")
        known = ~np.ma.getmaskarray(values)
        return (
            values.filled(0).astype(np.float32)[:, np.newaxis],
            known.astype(np.float32),
        )

    def to_dict(self):
        """The target as plain data, for `target_from_dict`."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class ValueTarget:
    """A number, or its logarithm, of which the network learns the density: a Gaussian mixture.

    Attributes
    ----------
    column : str
        Column of the label table.
    components : int
        Gaussians of the mixture.
    centre, scale : float
        The network sees ``(value - centre) / scale``, which should be of order one.
    log : bool
        Whether the value is the decimal logarithm of the column.
    unit : str
        Unit of the column; empty when there is none.
    """

    kind: ClassVar[str] = "value"
    activation: ClassVar[str] = "linear"
    loss: ClassVar[str] = "mixture_density"

    column: str
    components: int = 3
    centre: float = 0.0
    scale: float = 1.0
    log: bool = False
    unit: str = ""

    @property
    def size(self):
        """Number of outputs: weight, mean and width of each Gaussian."""
        return 3 * self.components

    def encode(self, table):
        """Targets (row, 1) and weights (row,) of the rows of a label table, both float32."""
        values = numbers(table[self.column], self.unit or u.one)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = ((np.log10(values) if self.log else values) - self.centre) / self.scale
        known = np.isfinite(values)
        return (
            np.where(known, values, 0)[:, np.newaxis].astype(np.float32),
            known.astype(np.float32),
        )

    def to_dict(self):
        """The target as plain data, for `target_from_dict`."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class ImageTarget:
    """The image itself, as it is given to the network.

    Attributes
    ----------
    loss : str
        "mean_absolute_error", "mean_squared_error" or "structural".
    """

    kind: ClassVar[str] = "image"
    of_image: ClassVar[bool] = True

    loss: str = "mean_absolute_error"

    def __post_init__(self):
        known = ("mean_absolute_error", "mean_squared_error", "structural")
        if self.loss not in known:
            raise ValueError(
                f"unknown loss of images {self.loss!r}: give {' or '.join(map(repr, known))}"
            )

    def to_dict(self):
        """The target as plain data, for `target_from_dict`."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class NoTarget:
    """Nothing: the output is itself a loss, as the divergence of a latent is."""

    kind: ClassVar[str] = "none"
    loss: ClassVar[str] = "value"
    size: ClassVar[int] = 1

    def encode(self, table):
        """Zeros (row, 1) and ones (row,), both float32."""
        return np.zeros((len(table), 1), dtype=np.float32), np.ones(len(table), dtype=np.float32)

    def to_dict(self):
        """The target as plain data, for `target_from_dict`."""
        return {"kind": self.kind}


def target_from_dict(data):
    """Rebuild a target from its plain data.

    Parameters
    ----------
    data : dict
        What ``to_dict`` returned.

    Returns
    -------
    target
        One of the classes of this module.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    data = dict(data)
    kind = data.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of target {kind!r}; known are {', '.join(_KINDS)}")
    if isinstance(data.get("scale"), dict):
        data["scale"] = TimeScale(**data["scale"])
    if "values" in data:
        data["values"] = tuple(data["values"])
    return _KINDS[kind](**data)


_KINDS = {
    target.kind: target
    for target in (
        TimeTarget,
        CategoryTarget,
        ClassTarget,
        BooleanTarget,
        ValueTarget,
        ImageTarget,
        NoTarget,
    )
}


def numbers(column, unit):
    """A column as plain numbers, NaN in its gaps.

    Parameters
    ----------
    column : `~astropy.units.Quantity`, `~astropy.table.Column` or masked
        The column.
    unit : `~astropy.units.Unit` or str
        Unit of the numbers.

    Returns
    -------
    numpy.ndarray of float

    Raises
    ------
    ValueError
        If the column holds no numbers, or its unit does not fit.
    """
    try:
        values = column.astype(float).filled(np.nan) if hasattr(column, "filled") else column
        return u.Quantity(values, dtype=float).to_value(unit)
    except u.UnitsError as error:
        theirs, needed = (str(given or "") or "none" for given in (column.unit, unit))
        raise ValueError(
            f"the label column {column.info.name!r} has the unit {theirs}; {needed} is needed"
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the label column {column.info.name!r} does not hold numbers: {error}"
        ) from error
