"""Starting workers, watching them, and saying what went wrong."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

from astropy.utils.exceptions import AstropyUserWarning
from tqdm.auto import tqdm

from .places import Place, address_towards, check_hosts, places, remote_command
from .records import progress_text
from .rendezvous import rendezvous
from .status import read_status, read_statuses
from .tuning import horovod_environment

__all__ = ["LostWorker", "Worker", "WorkerFailed", "launch"]

_LOST_BY_MPI = re.compile(r"process rank (\d+) .*?node (\S+) exited on signal (\d+)", re.DOTALL)
_GRACE = 20.0  # seconds for the others to end by themselves when a worker is lost
_STOPPED = 3  # exit status of a worker that was told to stop
_LOOK = 0.2  # seconds between two looks at the workers


class WorkerFailed(ChildProcessError):
    """A worker says that it cannot do what it was given."""


class LostWorker(ChildProcessError):
    """A worker ended before its work was done, or hung."""


def launch(folder, settings, gradient_bytes, progress=None):
    """Run all workers of a run to their end.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Folder of the run, with ``run.json``.
    settings : Settings
        How many workers and where.
    gradient_bytes : int
        What the workers exchange in a step.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.

    Raises
    ------
    ValueError
        If the workers cannot be started, or say that the job cannot be done.
    WorkerFailed
        If a worker raised another error.
    LostWorker
        If a worker was killed, crashed or hung.
    KeyboardInterrupt
        If it was interrupted; the workers have saved where they are.
    """
    found = places(settings)
    cores = check_hosts(found, settings)
    environment = horovod_environment(settings, gradient_bytes)
    start = {"gloo": _start_gloo, "mpi": _start_mpi}[settings.controller]
    if settings.elastic:
        from .elastic import start_elastic as start
    for path in folder.glob("worker_*.json"):
        path.unlink()
    (folder / "stop").unlink(missing_ok=True)
    running = []
    with _told_to_end_as_interrupted(), contextlib.ExitStack() as stack:
        stack.callback(_end, running)
        start(folder, found, cores, settings, environment, stack, running)
        _watch(folder, found, running, settings, progress)


@contextlib.contextmanager
def _told_to_end_as_interrupted():
    """Take what a system says to end a program for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), _interrupt) for n in numbers}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _interrupt(*_):
    raise KeyboardInterrupt


class Worker:
    """A process that runs a worker, with its output in a file.

    Parameters
    ----------
    place : Place
        Where it runs.
    words : list of str
        The command.
    environment : dict of str to str
        Variables to set for it.
    log : `~pathlib.Path`
        File for what it prints.
    """

    def __init__(self, place, words, environment, log):
        self.place, self.log = place, log
        log.parent.mkdir(parents=True, exist_ok=True)
        own = os.environ.copy()
        if place.local:
            own |= environment
        else:
            words = remote_command(place.host, words, environment)
        with log.open("ab") as file:
            # In a session of its own, so that Ctrl-C reaches only the one who started it.
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=own,
                start_new_session=True,
            )

    @property
    def ended(self):
        """Exit status, None while it runs."""
        return self.process.poll()

    def signal(self, number):
        """Send a signal to it and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self):
        """End it, whatever it is doing."""
        self.signal(signal.SIGKILL)

    def last_line(self):
        """The last line that it printed."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def worker_command(folder):
    """The command of a worker.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Folder of the run.

    Returns
    -------
    list of str
    """
    return [sys.executable, "-m", "astro_deepgalaxy_horovod.worker", str(Path(folder).absolute())]


def own_environment(place, cores, settings):
    """The cores that a worker is to use, as it reads them."""
    numbers = place.cores(cores[place.host], settings.cores)
    return {"ASTRO_DEEPGALAXY_CORES": ",".join(map(str, numbers)), "PYTHONUNBUFFERED": "1"}


def gloo_environment(found, port):
    """Where the workers find the meeting point of Gloo, on this machine."""
    remote = [place.host for place in found if not place.local]
    return {
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address_towards(remote[0]) if remote else "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }


def _start_gloo(folder, found, cores, settings, environment, stack, running):
    slots = [(place.host, place.slots) for place in found if place.slot == 0]
    port, of_rank = stack.enter_context(rendezvous(slots))
    environment = environment | gloo_environment(found, port)
    for place in found:
        running.append(
            Worker(
                place,
                worker_command(folder),
                environment | of_rank[place.rank] | own_environment(place, cores, settings),
                folder / "logs" / f"worker_{place.rank:05d}.log",
            )
        )


def _start_mpi(folder, found, cores, settings, environment, stack, running):
    import shutil

    if shutil.which("mpirun") is None:
        raise ValueError(
            "trainer option controller: 'mpi' needs mpirun, which is not there; install Open MPI, "
            "or use 'gloo'"
        )
    hosts = ",".join(f"{place.host}:{place.slots}" for place in found if place.slot == 0)
    environment = environment | {"HOROVOD_CONTROLLER": "mpi", "HOROVOD_CPU_OPERATIONS": "mpi"}
    words = ["mpirun", "-np", str(len(found)), "-H", hosts, "--bind-to", "none"]
    words += ["--map-by", "slot", "--tag-output"]
    if os.geteuid() == 0:
        words.append("--allow-run-as-root")
    for name in environment:
        words += ["-x", name]
    # Each worker binds itself: its place is known to it only.
    numbers = ";".join(
        ",".join(map(str, place.cores(cores[place.host], settings.cores))) for place in found
    )
    environment |= {"ASTRO_DEEPGALAXY_CORES": numbers, "PYTHONUNBUFFERED": "1"}
    words += ["-x", "ASTRO_DEEPGALAXY_CORES", "-x", "PYTHONUNBUFFERED"]
    here = Place(0, "localhost", 0, 1)
    words += worker_command(folder)
    running.append(Worker(here, words, environment, folder / "logs" / "mpi.log"))


def _watch(folder, found, running, settings, progress):
    """Wait for the workers, show how they go, and raise when one does not."""
    bar, interrupted, hung, lost, meeting = None, False, [], set(), None
    while True:
        try:
            bar = _show(bar, read_status(folder, 0), len(found), progress)
            ended = [worker.ended for worker in running]
            if all(code is not None for code in ended):
                break
            if any(code not in (None, 0) for code in ended):
                if not settings.elastic:
                    hung = _let_end(running)
                    break
                lost = _tell_lost(running, lost)
            if settings.elastic:
                meeting = _end_hanging(folder, running, settings, meeting)
            time.sleep(_LOOK)
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True  # once: the workers save; twice: they are ended at once
            (folder / "stop").touch()
    if bar is not None:
        bar.close()
    if settings.elastic and 0 in ended:
        return
    _judge(read_statuses(folder), running, ended, hung, interrupted)


def _end_hanging(folder, running, settings, since):
    """End a worker of this machine that does not come when the others meet again.

    They would wait for it without end.
    """
    states = {status["pid"]: status["state"] for status in read_statuses(folder).values()}
    if "meeting" not in states.values():
        return None
    since = since or time.monotonic()
    if time.monotonic() - since <= settings.stall_seconds:
        return since
    for worker in running:
        state = states.get(worker.process.pid)
        if worker.place.local and worker.ended is None and state in (None, "starting", "training"):
            worker.end()
    return None


def _tell_lost(running, known):
    """Say once of each worker that is lost that the others go on."""
    lost = {worker.place.rank for worker in running if worker.ended not in (None, 0, _STOPPED)}
    left = sum(worker.ended is None for worker in running)
    for worker in running:
        if worker.place.rank in lost - known:
            warnings.warn(
                f"worker {worker.place.rank} on {worker.place.host} {_why(worker)}; "
                f"{left} go on without it",
                AstropyUserWarning,
                stacklevel=2,
            )
    return known | lost


def _why(worker):
    """How a worker ended."""
    code = worker.ended
    if code >= 0:
        return f"ended with status {code}: {worker.last_line()}"
    why = f"was killed by {signal.Signals(-code).name}"
    if code == -signal.SIGKILL:
        why += " (the system does that when memory runs out)"
    return why


def _let_end(running):
    """Give the others the time to say what they know; those that hang are ended and returned."""
    until = time.monotonic() + _GRACE
    while time.monotonic() < until and any(worker.ended is None for worker in running):
        time.sleep(_LOOK)
    hung = [worker.place for worker in running if worker.ended is None]
    _end(running)
    return hung


def _end(running):
    for number, seconds in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        until = time.monotonic() + seconds
        for worker in running:
            if worker.ended is None:
                worker.signal(number)
        while time.monotonic() < until and any(worker.ended is None for worker in running):
            time.sleep(0.05)


def _show(bar, first, workers, progress):
    """The one progress bar, from what the first worker says."""
    if first is None or "step" not in first:
        return bar
    if bar is None:
        bar = tqdm(
            total=first["steps"] * first["epochs"],
            initial=first["steps"] * first["epoch"] + first["step"],
            desc=f"train, {workers} workers",
            unit="step",
            disable=None if progress is None else not progress,
        )
    done = first["steps"] * first["epoch"] + first["step"] + 1
    if done > bar.n:
        bar.set_postfix_str(progress_text(first), refresh=False)
        bar.update(done - bar.n)
    return bar


def _judge(statuses, running, ended, hung, interrupted):
    """Raise what there is to raise, once all have ended."""
    states = {rank: status["state"] for rank, status in statuses.items()}
    if all(code == 0 for code in ended):
        return
    if "stopped" in states.values():
        where = next(s["error"] for s in statuses.values() if s["state"] == "stopped")
        if interrupted:
            raise KeyboardInterrupt(f"stopped at {where}; a checkpoint is there to go on from")
        raise WorkerFailed(
            f"the workers were told to stop and did so at {where}; give the job again to go on"
        )
    failed = [status for status in statuses.values() if status["state"] == "failed"]
    for status in failed:
        if status["kind"] == "ValueError":
            raise ValueError(status["error"])
    rest = "; the others were stopped; give the job again to go on from the last checkpoint"
    for status in failed:
        if status["kind"] != "HorovodInternalError":
            raise WorkerFailed(
                f"worker {status['rank']} on {status['host']} failed with {status['kind']}: "
                f"{status['error']}"
            )
    of_mpi = _LOST_BY_MPI.search(running[0].log.read_text(encoding="utf-8", errors="replace"))
    if of_mpi:
        rank, host, number = of_mpi.groups()
        raise LostWorker(
            f"worker {rank} on {host} was killed by {signal.Signals(int(number)).name}{rest}"
        )
    for worker, code in zip(running, ended, strict=True):
        if code and worker.place not in hung and states.get(worker.place.rank) != "failed":
            raise LostWorker(
                f"worker {worker.place.rank} on {worker.place.host} {_why(worker)}{rest}"
            )
    if hung:
        names = ", ".join(f"worker {place.rank} on {place.host}" for place in hung)
        raise LostWorker(f"{names} hung, and the others waited in vain{rest}")
    said = failed[0]["error"] if failed else running[0].last_line()
    raise LostWorker(f"the workers lost each other: {said}{rest}")
