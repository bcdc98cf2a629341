"""What is known about a merger: the label table's columns, the stages and the time scale."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import QTable

__all__ = ["LABEL_COLUMNS", "STAGES", "LabelColumn", "TimeScale", "check_labels"]

STAGES = ("approaching", "first passage", "separated", "coalescing", "merged")
"""Stages of a merger in order of time.

approaching
    Before the first pericentre.
first passage
    Within 30 Myr of the first pericentre.
separated
    Between the first passage and the return to the second pericentre.
coalescing
    From the second pericentre to coalescence.
merged
    After coalescence: separation and relative speed of the two centres stay small.
"""


@dataclass(frozen=True)
class LabelColumn:
    """A column of the label table.

    Attributes
    ----------
    name : str
        Column name.
    kind : str
        ``str``, ``int``, ``float`` or ``bool``.
    summary : str
        One sentence for the documentation.
    unit : str
        Unit, in the FITS standard's spelling; empty when there is none.
    """

    name: str
    kind: str
    summary: str
    unit: str = ""


LABEL_COLUMNS = (
    LabelColumn("id", "str", "Name of the image, unique in the table."),
    LabelColumn("file", "str", "Image file, relative to the table's folder."),
    LabelColumn("group", "str", "Simulation or galaxy the image shows; splits go by group."),
    LabelColumn("kind", "str", "What was simulated: merger, flyby, isolated or chance pair."),
    LabelColumn("snapshot", "int", "Number of the snapshot in its simulation."),
    LabelColumn("camera", "int", "Number of the camera."),
    LabelColumn("time_since_start", "float", "Time since the start of the run.", "Myr"),
    LabelColumn("time_since_pericentre", "float", "Time since the first pericentre.", "Myr"),
    LabelColumn("time_since_pericentre_error", "float", "Its standard error.", "Myr"),
    LabelColumn("time_to_coalescence", "float", "Time until coalescence; NaN if none.", "Myr"),
    LabelColumn("time_to_coalescence_error", "float", "Its standard error.", "Myr"),
    LabelColumn("time_dynamical", "float", "Time since pericentre over the primary's t_dyn."),
    LabelColumn("coalescence_dynamical", "float", "Time until coalescence over the same."),
    LabelColumn("stage", "str", "Stage of the merger, one of `STAGES`; empty without companion."),
    LabelColumn("is_merger", "bool", "Whether the image is of a merger, from its approach on."),
    LabelColumn("coalesced", "bool", "Whether the simulation reached coalescence."),
    LabelColumn("separation", "float", "Distance between the two centres.", "kpc"),
    LabelColumn("projected_separation", "float", "The same, as seen by the camera.", "kpc"),
    LabelColumn("relative_speed", "float", "Speed of the centres' relative motion.", "km/s"),
    LabelColumn("mass_ratio", "float", "Mass of the secondary over the primary's."),
    LabelColumn("size_ratio", "float", "Size of the secondary over the primary's."),
    LabelColumn("start_separation", "float", "Distance at the start of the run.", "kpc"),
    LabelColumn("pericentre", "float", "Pericentre of the initial two-body orbit.", "kpc"),
    LabelColumn("parabolic_fraction", "float", "Speed at the start over the parabolic speed."),
    LabelColumn("primary_inclination", "float", "Of the disc to the orbit at the start.", "deg"),
    LabelColumn("primary_argument", "float", "Argument of the pericentre at the start.", "deg"),
    LabelColumn("secondary_inclination", "float", "Of the disc to the orbit.", "deg"),
    LabelColumn("secondary_argument", "float", "Argument of the pericentre.", "deg"),
    LabelColumn("primary_tilt", "float", "Disc to the plane of the sky now: 0 is face-on.", "deg"),
    LabelColumn("secondary_tilt", "float", "The same of the secondary.", "deg"),
    LabelColumn("distance_ratio", "float", "Distance of a chance companion over the primary's."),
    LabelColumn("field", "float", "Side of the image.", "kpc"),
    LabelColumn("redshift", "float", "Redshift at which the merger is observed."),
)


@dataclass(frozen=True)
class TimeScale:
    """What the numbers of time classes mean: `n` bins of equal length.

    Class ``k`` covers ``[start + k step, start + (k + 1) step)``.

    Attributes
    ----------
    origin : str
        What happens at time zero.
    start : float
        Beginning of class 0 in Myr after the origin.
    step : float
        Length of a class in Myr.
    n : int
        Number of classes.

    Raises
    ------
    ValueError
        If the step or the number of classes is not positive.

    Examples
    --------
    >>> import astropy.units as u
    >>> from astro_deepgalaxy import TimeScale
    >>> scale = TimeScale()
    >>> scale.classify([-500, 0, 123] * u.Myr)
    array([-1, 19, 31])
    >>> scale.centres[31]
    <Quantity 125. Myr>
    """

    origin: str = "first pericentre"
    start: float = -190.0
    step: float = 10.0
    n: int = 71

    def __post_init__(self):
        if not isinstance(self.n, int):
            raise ValueError(f"TimeScale: n must be a whole number; got {self.n!r}")
        if not (self.step > 0 and np.isfinite(self.step) and np.isfinite(self.start)):
            raise ValueError(
                f"TimeScale: step must be positive and start finite; got {self.step}, {self.start}"
            )
        if self.n < 1:
            raise ValueError(f"TimeScale: n must be at least 1; got {self.n}")

    @classmethod
    def paper(cls):
        """The protocol of Cai et al. (2020): 71 snapshots, 5 Myr apart, from the start of the run.

        Returns
        -------
        TimeScale
        """
        return cls(origin="start of the run", start=0.0, step=5.0, n=71)

    @property
    def edges(self):
        """The ``n + 1`` borders of the classes (Quantity in Myr)."""
        return (self.start + self.step * np.arange(self.n + 1)) * u.Myr

    @property
    def centres(self):
        """The middle of each class (Quantity in Myr)."""
        return (self.start + self.step * (np.arange(self.n) + 0.5)) * u.Myr

    def classify(self, time):
        """Class of a time after the origin.

        Parameters
        ----------
        time : `~astropy.units.Quantity`
            Times, of any shape.

        Returns
        -------
        numpy.ndarray of int
            Class numbers; -1 where the time is outside the scale or not finite.
        """
        time = u.Quantity(time).to_value(u.Myr)
        k = np.searchsorted(self.edges.value, time, side="right") - 1
        return np.where(np.isfinite(time) & (k < self.n), k, -1)

    def quantile(self, probabilities, q):
        """Quantile of a posterior over the classes, each class being flat inside.

        Parameters
        ----------
        probabilities : array_like
            Class probabilities, (..., n); each row is normalised.
        q : float
            Quantile in [0, 1].

        Returns
        -------
        `~astropy.units.Quantity`
            Time in Myr, (...).
        """
        probabilities = np.asarray(probabilities, dtype=float)
        if probabilities.shape[-1:] != (self.n,):
            raise ValueError(
                f"probabilities of {probabilities.shape[-1]} classes for a time scale of {self.n}"
            )
        upper = np.cumsum(probabilities, axis=-1)
        target = q * upper[..., -1:]
        k = np.minimum((upper < target).sum(axis=-1, keepdims=True), self.n - 1)
        inside = np.take_along_axis(probabilities, k, axis=-1)
        below = np.take_along_axis(upper, k, axis=-1) - inside
        fraction = np.divide(target - below, inside, out=np.zeros_like(below), where=inside > 0)
        return (self.start + self.step * (k + fraction)[..., 0]) * u.Myr

    def cdf(self, probabilities, time):
        """Probability below a time, each class being flat inside.

        Parameters
        ----------
        probabilities : array_like
            Class probabilities, (row, n); each row is normalised.
        time : `~astropy.units.Quantity`
            A time for each row.

        Returns
        -------
        numpy.ndarray
            (row,), in [0, 1]; NaN where the time is.
        """
        probabilities = np.asarray(probabilities, dtype=float)
        place = (u.Quantity(time).to_value(u.Myr) - self.start) / self.step
        inside = np.clip(place[:, np.newaxis] - np.arange(self.n), 0, 1)
        return np.sum(inside * probabilities, axis=1) / probabilities.sum(axis=1)

    def to_dict(self):
        """The scale as plain data.

        Returns
        -------
        dict
            Accepted by ``TimeScale(**data)``.
        """
        return {"origin": self.origin, "start": self.start, "step": self.step, "n": self.n}


def check_labels(table):
    """Check a label table against `LABEL_COLUMNS`.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Label table. Only ``id`` is required; columns that are not in `LABEL_COLUMNS` are kept.

    Returns
    -------
    `~astropy.table.QTable`
        The table with times, distances and speeds as Quantity in the documented units.

    Raises
    ------
    ValueError
        If ``id`` is missing or repeated, a unit does not fit or a stage is not in `STAGES`.
    """
    table = QTable(table, copy=True)
    if "id" not in table.colnames:
        raise ValueError(f"label table: the column 'id' is missing; it has {table.colnames}")
    ids, counts = np.unique(np.asarray(table["id"], dtype=str), return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"label table: the id {str(ids[counts > 1][0])!r} stands in more than one row"
        )
    for column in LABEL_COLUMNS:
        if column.name not in table.colnames or not column.unit:
            continue
        unit = u.Unit(column.unit)
        try:
            table[column.name] = u.Quantity(
                np.ma.filled(table[column.name], np.nan)
                if isinstance(table[column.name], np.ma.MaskedArray)
                else table[column.name],
                unit,
            )
        except (u.UnitConversionError, TypeError) as error:
            raise ValueError(
                f"label table: the column {column.name!r} must be in {column.unit}: {error}"
            ) from error
    if "stage" in table.colnames:
        # An empty text in an ECSV file is read as a gap.
        stages = np.ma.filled(np.ma.asarray(table["stage"]), "")
        unknown = {str(stage) for stage in stages} - {*STAGES, ""}
        if unknown:
            raise ValueError(f"label table: unknown stage {min(unknown)!r}; known are {STAGES}")
    return table
