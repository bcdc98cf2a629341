"""What is true about the images of a simulation: rows of the label table."""

import math

import numpy as np
from astropy.table import QTable

from ..labels import LABEL_COLUMNS

__all__ = ["camera_labels", "label_table", "snapshot_labels"]

# Scatter of the times between seeds at 100,000 particles, in dynamical times of the primary (which
# is 27 Myr by default); it falls as N^-1/2, and that of coalescence grows for companions lighter
# than half the primary. Measured by docs/physics.
_PERICENTRE_SCATTER = 0.037
_COALESCENCE_SCATTER = 0.37
_MEASURED_AT = 100_000
_LIGHT = 0.5


def snapshot_labels(simulation, history, snapshot, number):
    """Labels that all images of a snapshot share.

    Parameters
    ----------
    simulation : Simulation
        The simulation.
    history : History
        How its run went.
    snapshot : Snapshot
        The snapshot.
    number : int
        Its number.

    Returns
    -------
    dict
        Values by the names of `~astro_deepgalaxy.labels.LABEL_COLUMNS`; times in Myr, lengths in
        kpc, speeds in km/s.
    """
    planned, plan = simulation.planned, simulation.plan
    system = planned.system
    encounter = planned.kind in ("merger", "flyby")
    if encounter:
        first, end = history.first_pericentre, history.coalescence
        errors = _time_errors(system, plan.run.particles, history.times[1] - history.times[0])
    else:
        first = end = math.nan
        errors = math.nan, math.nan
    since, until = snapshot.time - first, end - snapshot.time
    dynamical_time = system.primary.dynamical_time
    coalesced = math.isfinite(end)
    return {
        "group": planned.name,
        "kind": planned.kind,
        "snapshot": number,
        "time_since_start": snapshot.time,
        "time_since_pericentre": since,
        "time_since_pericentre_error": errors[0] if math.isfinite(since) else math.nan,
        "time_to_coalescence": until,
        "time_to_coalescence_error": errors[1] if coalesced else math.nan,
        "time_dynamical": since / dynamical_time,
        "coalescence_dynamical": until / dynamical_time,
        "stage": history.stage(snapshot.time) if encounter else "",
        "is_merger": planned.kind == "merger" or coalesced,
        "coalesced": coalesced,
        "separation": float(np.linalg.norm(snapshot.offset)) if encounter else math.nan,
        "relative_speed": snapshot.speed if encounter else math.nan,
        **{name: getattr(system, name, math.nan) for name in _SYSTEM},
        "start_separation": system.separation if encounter else math.nan,
    }


def _time_errors(system, particles, step):
    """Standard errors of the times of first pericentre and coalescence in Myr."""
    noise = system.primary.dynamical_time * math.sqrt(_MEASURED_AT / particles)
    lightness = max(1, _LIGHT / min(system.mass_ratio, 1 / system.mass_ratio))
    between_steps = 0.3 * step
    return (
        math.hypot(_PERICENTRE_SCATTER * noise, between_steps),
        math.hypot(_COALESCENCE_SCATTER * lightness * noise, between_steps),
    )


def camera_labels(simulation, snapshot, view):
    """Labels of one image.

    Parameters
    ----------
    simulation : Simulation
        The simulation.
    snapshot : Snapshot
        The snapshot.
    view : View
        How the camera looks at it.

    Returns
    -------
    dict
        As `snapshot_labels`; angles in degrees.
    """
    system = simulation.planned.system
    projected = getattr(
        system, "apparent_separation", float(np.linalg.norm(view.axes @ snapshot.offset))
    )
    sight = np.cross(*view.axes)
    tilts = np.degrees(np.arccos(np.clip(np.abs(snapshot.spins @ sight), 0, 1)))
    return {
        "camera": view.camera,
        "field": view.field,
        "projected_separation": projected,
        "primary_tilt": float(tilts[0]),
        "secondary_tilt": float(tilts[1]) if len(tilts) > 1 else math.nan,
    }


def label_table(rows):
    """Rows of labels as a table with units.

    Parameters
    ----------
    rows : list of dict
        One per image.

    Returns
    -------
    `~astropy.table.QTable`
        Columns in the order of `~astro_deepgalaxy.labels.LABEL_COLUMNS`.
    """
    table = QTable(rows=rows)
    known = [column for column in LABEL_COLUMNS if column.name in table.colnames]
    for column in known:
        if column.unit:
            table[column.name].unit = column.unit
    names = [column.name for column in known]
    return QTable(table[names + [name for name in table.colnames if name not in names]])


_SYSTEM = (
    "mass_ratio",
    "size_ratio",
    "pericentre",
    "parabolic_fraction",
    "primary_inclination",
    "primary_argument",
    "secondary_inclination",
    "secondary_argument",
    "distance_ratio",
)
