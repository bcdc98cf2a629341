"""One simulation of a survey: a job with its files and its state on disk."""

import contextlib
import errno
import json
import logging
import os
import socket
import threading
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import h5py
import numba
import numpy as np
from astropy import units as u
from astropy.table import QTable
from filelock import FileLock

from ..io.tables import read_table, write_table
from ..jobs import atomic_path
from .history import History
from .plan import Planned, SurveyPlan
from .run import Run, atomic_hdf5, read_snapshot, write_snapshot

__all__ = ["JobState", "Simulation", "run_simulation", "versions"]

_HISTORY = ("time", "separation", "speed", "energy")
_MAX_REASON = 300  # characters
_NEAR = 0.38
_SLOW = 0.63
# What the file of a job's state holds.
_STORED = {"status": str, "time": float, "reason": str, "host": str, "pid": int, "seconds": float}
# Numba's threads do not stand two simulations in one process.
_ONE_AT_A_TIME = threading.Lock()

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class JobState:
    """Where a simulation stands.

    Attributes
    ----------
    name : str
        Name of the simulation.
    kind : str
        What is simulated.
    status : str
        ``planned``, ``running``, ``interrupted``, ``done`` or ``failed``.
    time : float
        In Myr since the start of the run, as far as it is on disk.
    duration : float
        Length of the run in Myr.
    reason : str
        Why it failed or was interrupted.
    host : str
        Where it runs or ran.
    pid : int
        Process there.
    seconds : float
        Time spent on it so far.
    """

    name: str
    kind: str
    status: str = "planned"
    time: float = 0.0
    duration: float = 0.0
    reason: str = ""
    host: str = ""
    pid: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Simulation:
    """A simulation on disk.

    Attributes
    ----------
    folder : `~pathlib.Path`
        Where its files are.
    plan : SurveyPlan
        The survey it belongs to.
    planned : Planned
        What is simulated.
    """

    folder: Path
    plan: SurveyPlan
    planned: Planned

    @property
    def snapshots(self):
        """Files of the finished snapshots, in order (list of `~pathlib.Path`)."""
        files = (self.folder / "snapshots").glob("snap_*.h5")
        return sorted(files, key=lambda file: (len(file.name), file.name))

    def snapshot_file(self, number):
        """File of the snapshot of a number (`~pathlib.Path`)."""
        return self.folder / "snapshots" / f"snap_{number:03d}.h5"

    def snapshot(self, number):
        """A snapshot.

        Parameters
        ----------
        number : int
            Its number.

        Returns
        -------
        Snapshot
        """
        return read_snapshot(self.snapshot_file(number))

    def stars(self):
        """Mass in Msun, component and galaxy of each star.

        Returns
        -------
        masses, component, galaxy : numpy.ndarray
            Each (n,).
        """
        with h5py.File(self.folder / "stars.h5") as file:
            return tuple(file[name][()] for name in ("masses", "component", "galaxy"))

    def history(self):
        """How the run went.

        The limits of coalescence go with the primary: 0.38 of its radius and 0.63 of the circular
        speed there, which are 2.5 kpc and 150 km/s of the default galaxy.

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If the run is not finished.
        """
        table = read_table(self.folder / "history.ecsv")
        columns = [np.asarray(getattr(table[n], "value", table[n])) for n in _HISTORY]
        primary = self.planned.system.primary
        return History(
            *columns,
            np.asarray(table["offset"].value),
            table.meta.get("energy_scale"),
            near=_NEAR * primary.radius,
            slow=_SLOW * float(primary.circular_speed(primary.radius)),
        )

    @property
    def state(self):
        """Where it stands (JobState)."""
        planned = self.planned
        unknown = JobState(planned.name, planned.kind, duration=self.plan.run.duration)
        try:
            data = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
            found = {name: kind(data[name]) for name, kind in _STORED.items() if name in data}
        except (OSError, ValueError, TypeError):
            return unknown
        state = replace(unknown, **found)
        if state.status == "running" and state.host == _host() and not _alive(state.pid):
            return replace(state, status="interrupted", reason="its process has ended")
        if state.status == "done" and not self._complete():
            return replace(state, status="interrupted", reason="some of its files are missing")
        return state

    def _complete(self):
        files = (self.folder / name for name in ("stars.h5", "history.ecsv"))
        return len(self.snapshots) == self.plan.run.snapshots and all(f.exists() for f in files)

    def _write_state(self, state):
        values = {name: getattr(state, name) for name in _STORED}
        with atomic_path(self.folder / "state.json") as partial:
            partial.write_text(json.dumps(values) + "\n", encoding="utf-8")


def run_simulation(simulation, threads=None):
    """Run a simulation, or go on with it from its last checkpoint.

    If another process runs it already, its end is waited for.

    Parameters
    ----------
    simulation : Simulation
        Which one.
    threads : int, optional
        Threads to use; by default those that Numba would.

    Returns
    -------
    JobState
        An error ends in the status ``failed`` and is not raised.
    """
    try:
        simulation.folder.mkdir(parents=True, exist_ok=True)
        # Another process may be at it, such as a worker that outlived a killed command.
        with _ONE_AT_A_TIME, FileLock(simulation.folder / ".lock"):
            if threads is not None:
                numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            if simulation.state.status != "done":
                _run(simulation)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON]
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason = f"no space left on the disk of {simulation.folder}; make some and run again"
        state = replace(simulation.state, status="failed", reason=reason)
        # On a full disk, the state that is there still says how far the run came.
        with contextlib.suppress(OSError):
            simulation._write_state(state)
        return state
    return simulation.state


def _run(simulation):
    folder, plan, planned = simulation.folder, simulation.plan, simulation.planned
    before = simulation.state
    start = time.perf_counter() - before.seconds
    every = plan.steps(planned.system)
    checkpoint = folder / "checkpoint.h5"
    for leftover in folder.rglob(".partial-*"):
        leftover.unlink(missing_ok=True)

    def report(status, now):
        seconds = round(time.perf_counter() - start, 1)
        found = {"status": status, "time": now, "reason": "", "seconds": seconds}
        simulation._write_state(replace(before, host=_host(), pid=os.getpid(), **found))

    run = _last_checkpoint(simulation, checkpoint)
    report("running", 0.0 if run is None else run.time)
    if run is None:
        rng = plan.random(planned.number)
        particles = planned.system.sample(plan.run.particles, rng, plan.run.softening)
        with atomic_hdf5(folder / "stars.h5") as file:
            for name in ("masses", "component", "galaxy"):
                values = getattr(particles, name)[particles.stars]
                file.create_dataset(name, data=values, compression="gzip")
        run = Run(particles, plan.interval / every, plan.run.softening, plan.run.opening)
        write_snapshot(simulation.snapshot_file(0), run.snapshot())
    for number in range(1 + round(run.time / plan.interval), plan.run.snapshots):
        run.advance(every)
        # The snapshot first: a checkpoint stands for all snapshots up to its time.
        write_snapshot(simulation.snapshot_file(number), run.snapshot())
        run.save(checkpoint)
        report("running", run.time)
    history = run.history
    table = QTable(
        [history.times, history.separation, history.speed, history.energy, history.offset],
        names=[*_HISTORY, "offset"],
        units=[u.Myr, u.kpc, u.km / u.s, u.Msun * (u.km / u.s) ** 2, u.kpc],
        meta={
            "energy_scale": history.energy_scale,
            "energy_drift": history.energy_drift,
            "step": run.step,
            "versions": versions(),
        },
    )
    write_table(table, folder / "history.ecsv")
    report("done", run.time)
    checkpoint.unlink(missing_ok=True)


def _last_checkpoint(simulation, path):
    """The run at its last checkpoint; None if there is none, or files before it are lost."""
    if not path.exists():
        return None
    try:
        run = Run.load(path)
        numbers = range(1 + round(run.time / simulation.plan.interval))
        files = [simulation.folder / "stars.h5", *map(simulation.snapshot_file, numbers)]
        lost = [file for file in files if not file.exists()]
        if lost:
            raise ValueError(f"{lost[0]}: is missing")
    except ValueError as error:
        log.warning("%s; %s starts afresh", error, simulation.planned.name)
        return None
    return run


def versions():
    """Versions of what makes the snapshots, by name (dict)."""
    return {"astro-deepgalaxy": version("astro-deepgalaxy"), "numpy": np.__version__}


def _host():
    return socket.gethostname()


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True
    return True
