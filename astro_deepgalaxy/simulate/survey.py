"""A survey of simulations: each is a job with its state on disk, so that any of them can go on."""

import json
import threading
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import joblib
from tqdm.auto import tqdm

from ..jobs import atomic_path, check_space
from ..workers import connect
from .plan import SurveyPlan, image_bytes
from .simulation import Simulation, run_simulation, versions

__all__ = ["claim", "open_survey", "read_versions", "run_survey"]

_TRIES = 2  # with a worker killed in each
_POLL = 1.0  # s between two looks at the states
_BYTES_PER_PARTICLE = 4  # in a snapshot, compressed: of the stars among them
_BYTES_IN_CHECKPOINT = 80  # for each particle


def claim(folder, plan):
    """Write down which survey a folder holds, or check that it is this one.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the survey; made if need be.
    plan : SurveyPlan
        What it shall hold.

    Returns
    -------
    list of Simulation

    Raises
    ------
    ValueError
        If the folder holds another survey, or the disk is too small for this one.
    """
    folder = Path(folder)
    path = folder / "plan.json"
    found, made_by = None, versions()
    if path.exists():
        found, made_by = _read_plan(path)
        for name in ("seed", "run", "simulations"):
            if getattr(found, name) != getattr(plan, name):
                raise ValueError(
                    f"{folder}: holds a survey with another {_difference(found, plan, name)}; "
                    "choose another folder"
                )
    else:
        _check_space(folder, plan)
    if found != plan:
        # The way of looking at the simulations may change.
        data = {"plan": plan.model_dump(), "versions": made_by}
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return _simulations(folder, plan)


def open_survey(folder):
    """The simulations of a survey on disk.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the survey.

    Returns
    -------
    list of Simulation

    Raises
    ------
    ValueError
        If the folder holds no survey.
    """
    folder = Path(folder)
    if not (folder / "plan.json").is_file():
        raise ValueError(
            f"{folder}: holds no survey of simulations; make one with "
            "'astro-deepgalaxy simulate survey'"
        )
    plan, _ = _read_plan(folder / "plan.json")
    return _simulations(folder, plan)


def read_versions(folder):
    """Versions of the software that a survey was begun with.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the survey.

    Returns
    -------
    dict
        Versions by name.
    """
    return _read_plan(Path(folder) / "plan.json")[1]


def run_survey(folder, plan, processes=None, scheduler=None, progress=None):
    """Run the simulations of a survey; finished ones are kept, started ones go on.

    It can be killed at any time and called again, with another number of processes or elsewhere:
    the snapshots are the same to the last bit on the same kind of machine.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the survey. Workers of a cluster must see it under the same name.
    plan : SurveyPlan
        What to simulate.
    processes : int, optional
        Simulations at once on this machine; by default as many as there are cores.
    scheduler : str, optional
        Address of a Dask scheduler (``tcp://...``) whose workers do the work instead.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.

    Returns
    -------
    list of JobState
        Where each simulation stands afterwards. One that failed does not stop the others.

    Raises
    ------
    ValueError
        If the folder holds another survey, the disk is too small, or a number is out of range.
    OSError
        If the scheduler does not answer.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1; got {processes}")
    simulations = claim(folder, plan)
    todo = [simulation for simulation in simulations if simulation.state.status != "done"]
    found = []
    with _bar(simulations, progress):
        if todo and scheduler is not None:
            found = _on_cluster(scheduler, todo)
        elif todo:
            found = _on_this_machine(todo, processes)
    states = {simulation.planned.name: simulation.state for simulation in simulations}
    # What a simulation says of its end counts, even where the disk was too full to hold it.
    return list((states | {state.name: state for state in found}).values())


def _on_this_machine(todo, processes):
    cores = joblib.cpu_count()
    processes = min(processes or cores, len(todo))
    threads = max(1, cores // processes)
    for _ in range(_TRIES):
        try:
            with joblib.parallel_config("loky", inner_max_num_threads=threads):
                return joblib.Parallel(processes, batch_size=1, pre_dispatch="all")(
                    joblib.delayed(run_simulation)(simulation, threads) for simulation in todo
                )
        except BrokenProcessPool:
            # A worker was killed, perhaps for its memory, and took the others with it.
            todo = [simulation for simulation in todo if simulation.state.status != "done"]
    return []


def _on_cluster(scheduler, todo):
    with connect(scheduler), joblib.parallel_config("dask"):
        return joblib.Parallel(batch_size=1)(
            joblib.delayed(_on_worker)(simulation) for simulation in todo
        )


def _on_worker(simulation):
    from dask.distributed import get_worker

    return run_simulation(simulation, get_worker().state.nthreads)


class _bar:
    """A progress bar that follows the states on disk, whoever writes them."""

    def __init__(self, simulations, progress):
        self.simulations = simulations
        self.bar = tqdm(
            total=round(sum(s.plan.run.duration for s in simulations)),
            desc="simulate",
            unit="Myr",
            disable=None if progress is None else not progress,
        )
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self):
        self._look()
        self.bar.unpause()
        self.thread.start()

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
        self._look()
        self.bar.close()

    def _follow(self):
        while not self.end.wait(_POLL):
            self._look()

    def _look(self):
        if self.bar.disable:
            return
        states = [simulation.state for simulation in self.simulations]
        done = sum(state.status == "done" for state in states)
        self.bar.set_postfix_str(f"{done} of {len(states)} done", refresh=False)
        self.bar.n = round(sum(state.time for state in states))
        self.bar.refresh()


def _simulations(folder, plan):
    # Worker processes may have been started in another folder.
    folder = folder.absolute() / "simulations"
    return [Simulation(folder / planned.name, plan, planned) for planned in plan.planned()]


def _read_plan(path):
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return SurveyPlan.model_validate(data["plan"]), data["versions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read as the plan of a survey: {error}") from error


def _difference(found, plan, name):
    if name == "run":
        for key in type(plan.run).model_fields:
            before, after = getattr(found.run, key), getattr(plan.run, key)
            if before != after:
                return f"run.{key} ({before}, not {after})"
    if name == "seed":
        return f"seed ({found.seed}, not {plan.seed})"
    return "list of simulations"


def _check_space(folder, plan):
    """Refuse a survey that the disk cannot hold."""
    n = len(plan.planned())
    needed = {
        "snapshots": n * plan.run.snapshots * plan.run.particles * _BYTES_PER_PARTICLE,
        "checkpoints": n * plan.run.particles * _BYTES_IN_CHECKPOINT,
        "images": n * plan.run.snapshots * plan.images.cameras * image_bytes(plan.images.pixels),
    }
    check_space(
        folder,
        needed,
        "reduce images.pixels, images.cameras, run.snapshots or run.particles",
    )
