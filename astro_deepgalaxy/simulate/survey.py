"""Many encounters, observed by many cameras: FITS images and a label table."""

import json
import math
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import QTable, vstack
from tqdm.auto import tqdm

from ..io.tables import read_table, write_table
from ..jobs import atomic_path
from .camera import camera_directions, image_axes, render, smoothing_lengths
from .encounter import Encounter
from .galaxy import Galaxy
from .observe import Observation, observe

__all__ = ["Survey", "random_encounter", "random_observation", "simulate_survey"]

_MASS_TO_LIGHT = 2.0  # of the stars in the r band, in solar units
_FIELD = (80.0, 120.0)  # kpc: smallest and largest side of an image


@dataclass(frozen=True)
class Survey:
    """What to simulate and how to look at it.

    Attributes
    ----------
    simulations : int
        Number of encounters, each drawn at random.
    particles : int
        Particles of an encounter in all.
    snapshots : int
        Times at which an encounter is observed, evenly spaced.
    cameras : int
        Directions from which it is observed.
    pixels : int
        Side of an image.
    duration : float
        Length of a run in Myr.
    step : float
        Time step in Myr.
    seed : int
        Seed of everything drawn at random.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    simulations: int = 12
    particles: int = 12_000
    snapshots: int = 32
    cameras: int = 8
    pixels: int = 96
    duration: float = 630.0
    step: float = 2.0
    seed: int = 1

    def __post_init__(self):
        least = {
            "simulations": 1,
            "particles": 400,
            "snapshots": 2,
            "cameras": 1,
            "pixels": 16,
            "seed": 0,
        }
        for name, value in least.items():
            number = getattr(self, name)
            if number != int(number) or number < value:
                raise ValueError(f"{name} must be an integer of at least {value}; got {number}")
        if not (0 < self.duration < math.inf):
            raise ValueError(f"duration must be positive and finite; got {self.duration}")
        if not 0 < self.step <= self.duration / self.snapshots:
            raise ValueError(
                f"step must be positive and at most duration / snapshots; got {self.step}"
            )

    def random(self, *key):
        """Random numbers that depend on the seed and a key alone, not on what was done before.

        Parameters
        ----------
        *key : int
            Number of the simulation and, for an image, of its snapshot and camera.

        Returns
        -------
        numpy.random.Generator
        """
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def simulate_survey(folder, survey=None, progress=None):
    """Simulate encounters of two disc galaxies and observe them.

    Each finished encounter is kept: the call can be killed at any time and repeated.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Gets ``images/*.fits``, ``labels.ecsv`` and ``survey.json``.
    survey : Survey, optional
        What to do.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.

    Returns
    -------
    `~pathlib.Path`
        The label table. The columns are those of `~astro_deepgalaxy.labels.LABEL_COLUMNS`; its
        meta holds the survey, the versions and the energy drift of each encounter.

    Raises
    ------
    ValueError
        If the folder holds another survey.
    """
    folder, survey = Path(folder), survey or Survey()
    _claim(folder, survey)
    for leftover in folder.rglob(".partial-*"):
        leftover.unlink()
    names = [f"sim_{i:03d}" for i in range(survey.simulations)]
    steps = round(survey.duration / survey.step)
    bar = tqdm(
        total=survey.simulations * steps,
        desc="simulate",
        unit="step",
        disable=None if progress is None else not progress,
    )
    parts = []
    with bar:
        for number, name in enumerate(names):
            part = folder / "parts" / f"{name}.ecsv"
            if part.exists():
                bar.update(steps)
            else:
                write_table(_simulate(folder, survey, number, name, bar.update), part)
            parts.append(read_table(part))
    labels = vstack(parts, metadata_conflicts="silent")
    labels.meta = {
        "survey": json.dumps(asdict(survey)),
        "energy_drift": json.dumps([part.meta["energy_drift"] for part in parts]),
        "versions": json.dumps({"astro-deepgalaxy": version("astro-deepgalaxy")}),
    }
    write_table(labels, folder / "labels.ecsv")
    return folder / "labels.ecsv"


def random_encounter(rng):
    """An encounter that coalesces some 400 Myr after its first pericentre.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Encounter
        Mass ratio 0.5 to 1.5, pericentre 3 to 7 kpc, discs in any orientation.
    """
    discs = [
        (math.degrees(math.acos(rng.uniform(-1, 1))), float(rng.uniform(0, 360))) for _ in range(2)
    ]
    return Encounter(
        primary=Galaxy(),
        mass_ratio=float(rng.uniform(0.5, 1.5)),
        separation=50.0,
        pericentre=float(rng.uniform(3.0, 7.0)),
        parabolic_fraction=float(rng.uniform(0.58, 0.66)),
        primary_disc=discs[0],
        secondary_disc=discs[1],
    )


def random_observation(rng):
    """Circumstances such as a survey of nearby galaxies meets.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Observation
        Redshift 0.02 to 0.08; exposure, seeing and sky vary as from night to night.
    """
    return Observation(
        redshift=float(rng.uniform(0.02, 0.08)),
        ra=float(rng.uniform(0, 360)),
        dec=float(np.degrees(np.arcsin(rng.uniform(-1, 1)))),
        roll=float(rng.uniform(0, 360)),
        psf_fwhm=float(rng.uniform(1.0, 1.6)),
        sky_brightness=float(rng.uniform(20.8, 21.4)),
        sky_gradient=float(rng.uniform(0, 0.03)),
        sky_angle=float(rng.uniform(0, 360)),
        exposure=float(100 * 10 ** rng.uniform(0, 1)),
    )


def _claim(folder, survey):
    """Write down which survey the folder holds, or check that it is this one."""
    path = folder / "survey.json"
    wanted = asdict(survey)
    if not path.exists():
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ValueError(
                f"{folder}: holds a survey with {name}={found.get(name)}, not {value}; remove it "
                "or choose another folder"
            )


def _simulate(folder, survey, number, name, progress):
    """Run one encounter and write its images; returns its part of the label table."""
    rng = survey.random(number)
    encounter = random_encounter(rng)
    particles = encounter.sample(survey.particles, rng)
    times = np.linspace(0, survey.duration, survey.snapshots)
    snapshots, history = encounter.run(particles, times, step=survey.step, progress=progress)
    masses = particles.masses[particles.stars]
    rows = []
    for i, snapshot in enumerate(snapshots):
        truth = _truth(encounter, history, snapshot) | {"group": name, "snapshot": i}
        rows += _observe(folder, survey, number, i, snapshot, masses, truth)
    table = QTable(rows=rows)
    for column, unit in _UNITS.items():
        table[column].unit = unit
    table.meta["energy_drift"] = history.energy_drift
    return QTable(table)


_UNITS = {
    "time_since_pericentre": u.Myr,
    "time_to_coalescence": u.Myr,
    "separation": u.kpc,
    "projected_separation": u.kpc,
    "relative_speed": u.km / u.s,
    "pericentre": u.kpc,
}


def _truth(encounter, history, snapshot):
    """Labels that all cameras share."""
    since = snapshot.time - history.first_pericentre
    return {
        "time_since_pericentre": since,
        "time_to_coalescence": history.coalescence - snapshot.time,
        "time_dynamical": since / encounter.primary.dynamical_time,
        "stage": history.stage(snapshot.time),
        "is_merger": True,
        "coalesced": bool(np.isfinite(history.coalescence)),
        "separation": float(np.linalg.norm(snapshot.offset)),
        "relative_speed": snapshot.speed,
        "mass_ratio": encounter.mass_ratio,
        "pericentre": encounter.pericentre,
    }


def _observe(folder, survey, number, snapshot_number, snapshot, masses, truth):
    """Take and write the images of all cameras; returns their rows of the label table."""
    rngs = [survey.random(number, snapshot_number, camera) for camera in range(survey.cameras)]
    axes = [
        image_axes(direction, rng.uniform(0, 2 * np.pi))
        for direction, rng in zip(camera_directions(survey.cameras), rngs, strict=True)
    ]
    fields = [rng.uniform(*_FIELD) for rng in rngs]
    light = masses / _MASS_TO_LIGHT
    images = render(
        snapshot.positions - snapshot.positions.mean(axis=0),
        light,
        smoothing_lengths(snapshot.positions),
        axes,
        fields,
        survey.pixels,
    )
    rows = []
    for camera, (image, rng) in enumerate(zip(images, rngs, strict=True)):
        name = f"{truth['group']}_snap_{snapshot_number:03d}_cam_{camera:02d}"
        file = f"images/{name}.fits"
        observation = random_observation(rng)
        hdu = observe(image, fields[camera] / survey.pixels, observation, rng)
        with atomic_path(folder / file) as partial:
            hdu.writeto(partial)
        rows.append(
            {
                "id": name,
                "file": file,
                **truth,
                "projected_separation": float(np.linalg.norm(axes[camera] @ snapshot.offset)),
                "camera": camera,
                "redshift": observation.redshift,
            }
        )
    return rows
