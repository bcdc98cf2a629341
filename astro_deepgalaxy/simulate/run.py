"""One simulation under way: steps, tracked centres, snapshots, and a checkpoint to go on from."""

import io
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..jobs import atomic_path
from .galaxy import BULGE, DISC, Particles
from .history import History
from .leapfrog import integrate

__all__ = ["Run", "Snapshot", "atomic_hdf5", "read_snapshot", "write_snapshot"]

_PARSEC = 1e-3  # kpc, to which stored positions are rounded; far below the softening length


@dataclass(frozen=True)
class Snapshot:
    """The stars and the galaxies' centres at one time of a run.

    Attributes
    ----------
    time : float
        In Myr since the start of the run.
    positions : numpy.ndarray of float32
        Positions of the stars in kpc, (n, 3).
    centres : numpy.ndarray
        Centre of each galaxy in kpc, (galaxy, 3).
    velocities : numpy.ndarray
        Velocity of each centre in km/s, (galaxy, 3).
    spins : numpy.ndarray
        Axis about which each galaxy's disc (or bulge) turns, a unit vector, (galaxy, 3).
    """

    time: float
    positions: np.ndarray
    centres: np.ndarray
    velocities: np.ndarray
    spins: np.ndarray

    @property
    def offset(self):
        """From the primary's centre to the secondary's in kpc, (3,); NaN without a secondary."""
        return self.centres[1] - self.centres[0] if len(self.centres) == 2 else np.full(3, np.nan)

    @property
    def speed(self):
        """Relative speed of the two centres in km/s; NaN without a secondary."""
        if len(self.velocities) < 2:
            return np.nan
        return float(np.linalg.norm(self.velocities[1] - self.velocities[0]))


class Run:
    """A simulation under way.

    Parameters
    ----------
    particles : Particles
        Where they start.
    step : float
        Time step in Myr.
    softening : float
        Plummer softening length in kpc.
    opening : float
        Opening angle of the tree.

    Attributes
    ----------
    state : State
        The particles now.
    """

    def __init__(self, particles, step, softening, opening=0.6):
        self._set(particles, step, softening, opening, [])
        # Half the potential energy: the total energy of a bound system in equilibrium. That of
        # two galaxies flying past each other may happen to be zero.
        self._energy_scale = 0.25 * float(-particles.masses @ self.state.potential)

    def _set(self, particles, step, softening, opening, track):
        self.particles, self.step = particles, step
        self.softening, self.opening = softening, opening
        self._track = track
        n = 1 + int(particles.galaxy.max())
        # The bulge marks a galaxy's centre best; a galaxy without one has its disc.
        bulge = [(particles.component == BULGE) & (particles.galaxy == i) for i in range(n)]
        disc = [(particles.component == DISC) & (particles.galaxy == i) for i in range(n)]
        self._core = [np.flatnonzero(b if b.any() else d) for b, d in zip(bulge, disc, strict=True)]
        self._disc = [np.flatnonzero(d if d.any() else b) for b, d in zip(bulge, disc, strict=True)]
        done = max(len(track) - 1, 0)
        self._states = integrate(particles, step, 10**9, softening, opening, start=done)
        self.state = next(self._states)
        if not track:
            self._record()

    @property
    def time(self):
        """In Myr since the start."""
        return self.state.time

    @property
    def history(self):
        """The orbit and the energy so far (History)."""
        times, energy, *vectors = np.array(self._track).T
        offset, velocity = np.array(vectors).reshape(2, 3, -1)
        return History(
            times,
            np.linalg.norm(offset, axis=0),
            np.linalg.norm(velocity, axis=0),
            energy,
            offset.T,
            self._energy_scale,
        )

    def advance(self, steps=1):
        """Go on.

        Parameters
        ----------
        steps : int
            Number of steps.
        """
        for _ in range(steps):
            self.state = next(self._states)
            self._record()

    def _record(self):
        centres = [_centre(self.state, core) for core in self._core]
        if len(centres) == 2:
            (x0, v0), (x1, v1) = centres
            offset, velocity = x1 - x0, v1 - v0
        else:
            offset = velocity = np.full(3, np.nan)
        energy = self.state.energy(self.particles.masses)
        self._track.append((self.state.time, energy, *offset, *velocity))

    def snapshot(self):
        """The stars and centres now.

        Returns
        -------
        Snapshot
        """
        centres, velocities = map(
            np.array, zip(*(_centre(self.state, core) for core in self._core), strict=True)
        )
        spins = [
            _spin(self.state, disc, x, v)
            for disc, x, v in zip(self._disc, centres, velocities, strict=True)
        ]
        stars = self.state.positions[self.particles.stars].astype(np.float32)
        return Snapshot(self.time, stars, centres, velocities, np.array(spins))

    def save(self, path):
        """Write all that is needed to go on, to the last bit.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            HDF5 file; it appears whole or not at all.
        """
        with atomic_hdf5(path) as file:
            file["positions"] = self.state.positions
            file["velocities"] = self.state.velocities
            for name in ("masses", "component", "galaxy"):
                file[name] = getattr(self.particles, name)
            file["track"] = np.array(self._track)
            for name in ("step", "softening", "opening"):
                file.attrs[name] = getattr(self, name)
            file.attrs["energy_scale"] = self._energy_scale

    @classmethod
    def load(cls, path):
        """Go on from a checkpoint.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            Written by `save`.

        Returns
        -------
        Run

        Raises
        ------
        ValueError
            If the file is no checkpoint.
        """
        run = cls.__new__(cls)
        try:
            with h5py.File(path) as file:
                names = ("positions", "velocities", "masses", "component", "galaxy")
                particles = Particles(*(file[name][()] for name in names))
                track = [tuple(row) for row in file["track"][()]]
                run._set(
                    particles,
                    *(float(file.attrs[name]) for name in ("step", "softening", "opening")),
                    track,
                )
                run._energy_scale = float(file.attrs["energy_scale"])
        except (OSError, KeyError) as error:
            raise ValueError(f"{path}: is no checkpoint of a run: {error}") from error
        return run


@contextmanager
def atomic_hdf5(path):
    """An HDF5 file that appears whole, or not at all, when the block ends.

    It is put together in memory: the HDF5 library crashes when the disk is full.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file to write.

    Yields
    ------
    `h5py.File`
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        yield file
    with atomic_path(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def write_snapshot(path, snapshot):
    """Write a snapshot, its positions rounded to a parsec.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        HDF5 file; it appears whole or not at all.
    snapshot : Snapshot
        What to write.
    """
    positions = np.rint(snapshot.positions.astype(float) / _PARSEC).astype(np.int32)
    with atomic_hdf5(path) as file:
        data = file.create_dataset(
            "positions", data=positions, compression="gzip", compression_opts=4, shuffle=True
        )
        data.attrs["unit"] = "pc"
        for name in ("centres", "velocities", "spins"):
            file[name] = getattr(snapshot, name)
        file.attrs["time"] = snapshot.time


def read_snapshot(path):
    """Read a snapshot.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        Written by `write_snapshot`.

    Returns
    -------
    Snapshot

    Raises
    ------
    ValueError
        If the file is no snapshot.
    """
    try:
        with h5py.File(Path(path)) as file:
            positions = (file["positions"][()] * _PARSEC).astype(np.float32)
            vectors = (file[name][()] for name in ("centres", "velocities", "spins"))
            return Snapshot(float(file.attrs["time"]), positions, *vectors)
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: is no snapshot of a simulation: {error}") from error


def _centre(state, members):
    """Position and velocity of the densest part of some particles, the nearer half of them."""
    positions = state.positions[members]
    centre = np.median(positions, axis=0)
    for _ in range(4):
        distance2 = ((positions - centre) ** 2).sum(axis=1)
        near = np.argpartition(distance2, len(members) // 2)[: len(members) // 2 + 1]
        centre = positions[near].mean(axis=0)
    return centre, state.velocities[members[near]].mean(axis=0)


def _spin(state, members, centre, velocity):
    """Direction of the angular momentum of the nearer half of some particles."""
    positions = state.positions[members] - centre
    distance2 = (positions**2).sum(axis=1)
    near = distance2 <= np.median(distance2)
    spin = np.cross(positions[near], state.velocities[members[near]] - velocity).sum(axis=0)
    length = np.linalg.norm(spin)
    return spin / length if length > 0 else np.array([0.0, 0.0, 1.0])
