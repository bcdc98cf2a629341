"""One simulation of a survey: a job with its files and its state on disk."""

import errno
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
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
        Why it failed.
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
        return sorted((self.folder / "snapshots").glob("snap_*.h5"))

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
        return read_snapshot(self.folder / "snapshots" / f"snap_{number:03d}.h5")

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
        scale = table.meta.get("energy_scale")
        return History(*columns, np.asarray(table["offset"].value), scale)

    @property
    def state(self):
        """Where it stands (JobState)."""
        planned = self.planned
        duration = self.plan.run.duration
        try:
            text = (self.folder / "state.json").read_text(encoding="utf-8")
            data = json.loads(text)
            state = JobState(planned.name, planned.kind, duration=duration, **data)
        except (OSError, ValueError, TypeError):
            return JobState(planned.name, planned.kind, duration=duration)
        if state.status == "running" and state.host == _host() and not _alive(state.pid):
            return JobState(**(asdict(state) | {"status": "interrupted"}))
        return state

    def _write_state(self, **values):
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
    if threads is not None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        simulation.folder.mkdir(parents=True, exist_ok=True)
        # Another process may be at it, such as a worker that outlived a killed command.
        with FileLock(simulation.folder / ".lock"):
            if simulation.state.status != "done":
                _run(simulation)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_REASON]
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason = f"no space left on the disk of {simulation.folder}; make some and run again"
        values = asdict(simulation.state) | {"status": "failed", "reason": reason}
        for name in ("name", "kind", "duration"):
            del values[name]
        try:
            simulation._write_state(**values)
        except OSError:  # the disk is full: the state on it still says how far the run came
            return JobState(simulation.planned.name, simulation.planned.kind, **values)
    return simulation.state


def _run(simulation):
    folder, plan, planned = simulation.folder, simulation.plan, simulation.planned
    start = time.perf_counter() - simulation.state.seconds
    every = plan.steps(planned.system)
    checkpoint = folder / "checkpoint.h5"
    for leftover in folder.rglob(".partial-*"):
        leftover.unlink()

    def report(status, now):
        simulation._write_state(
            status=status,
            time=now,
            host=_host(),
            pid=os.getpid(),
            seconds=round(time.perf_counter() - start, 1),
        )

    if checkpoint.exists():
        run = Run.load(checkpoint)
        number = len(simulation.snapshots) and round(run.time / plan.interval)
        report("running", run.time)
    else:
        report("running", 0.0)
        rng = plan.random(planned.number)
        particles = planned.system.sample(plan.run.particles, rng, plan.run.softening)
        with atomic_hdf5(folder / "stars.h5") as file:
            for name in ("masses", "component", "galaxy"):
                values = getattr(particles, name)[particles.stars]
                file.create_dataset(name, data=values, compression="gzip")
        run = Run(particles, plan.interval / every, plan.run.softening, plan.run.opening)
        number = 0
        write_snapshot(folder / "snapshots" / "snap_000.h5", run.snapshot())
    while number < plan.run.snapshots - 1:
        run.advance(every)
        number += 1
        # The snapshot first: a checkpoint stands for all snapshots up to its time.
        write_snapshot(folder / "snapshots" / f"snap_{number:03d}.h5", run.snapshot())
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
