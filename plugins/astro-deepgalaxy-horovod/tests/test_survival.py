"""Workers that are killed, hang or are told to stop."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astro_deepgalaxy_horovod.status import read_statuses
from astro_deepgalaxy_horovod.trainer import HorovodTrainer
from astropy.utils.exceptions import AstropyUserWarning

pytestmark = pytest.mark.horovod

_OPTIONS = {"workers": 2, "checkpoint_steps": 1, "deterministic": True}


def require(controller):
    """Skip where Horovod or the machine lacks a way to talk."""
    import horovod.tensorflow as hvd

    if controller == "mpi" and not (hvd.mpi_built() and shutil.which("mpirun")):
        pytest.skip("Horovod is built without MPI")


@pytest.fixture(scope="module")
def as_undisturbed(weights):
    """A check that a job has come to what it comes to when nothing happens; computed once."""
    expected = {}

    def check(job, result):
        if not expected:
            folder = Path(job.checkpoint).with_name("undisturbed")
            other = HorovodTrainer(**_OPTIONS).fit(replace(job, checkpoint=str(folder)))
            expected.update(history=other.history, weights=weights(other.weights))
        assert result.history == expected["history"]
        mine = weights(result.weights)
        assert mine.keys() == expected["weights"].keys()
        for name, values in expected["weights"].items():
            np.testing.assert_array_equal(mine[name], values)

    return check


def in_the_second_epoch(job, act, rank=1):
    """Do something to a worker once a checkpoint within the second epoch is there."""

    def wait():
        until = time.monotonic() + 120
        while time.monotonic() < until:
            states = sorted(Path(job.checkpoint).glob("state-*/state.json"))
            position = json.loads(states[-1].read_text())["position"] if states else {}
            if position.get("epoch") == 1 and position["images"] > 0:
                act(read_statuses(Path(job.checkpoint) / "run")[rank]["pid"])
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("controller", ["gloo", "mpi"])
def test_a_killed_worker_is_named_and_the_job_goes_on(
    controller, job, run_worker, monkeypatch, as_undisturbed
):
    require(controller)
    killed = []

    def kill(pid):
        os.kill(pid, signal.SIGKILL)
        killed.append(time.monotonic())

    run_worker("slow")
    thread = in_the_second_epoch(job, kill)
    with pytest.raises(ChildProcessError, match=r"worker 1 on \S+ was killed by SIGKILL"):
        HorovodTrainer(**_OPTIONS, controller=controller).fit(job)
    assert time.monotonic() - killed[0] < 60
    thread.join()
    monkeypatch.undo()
    states = sorted(Path(job.checkpoint).glob("state-*/state.json"))
    position = json.loads(states[-1].read_text())["position"]
    assert position["epoch"] == 1
    assert 0 < position["images"] < len(job.rows["train"])  # within an epoch
    result = HorovodTrainer(**_OPTIONS).fit(job)
    as_undisturbed(job, result)


def test_begins_again_by_itself(job, run_worker, as_undisturbed):
    run_worker("slow")
    thread = in_the_second_epoch(job, lambda pid: os.kill(pid, signal.SIGKILL))
    with pytest.warns(AstropyUserWarning, match="worker 1 on localhost was killed"):
        result = HorovodTrainer(**_OPTIONS, restarts=1).fit(job)
    thread.join()
    as_undisturbed(job, result)


@pytest.mark.parametrize(
    ("rank", "number", "options"),
    [(0, signal.SIGKILL, {}), (1, signal.SIGSTOP, {"stall_seconds": 10})],
    ids=["the first is killed", "another hangs"],
)
def test_goes_on_with_those_that_are_left(job, run_worker, rank, number, options):
    run_worker("slow")
    thread = in_the_second_epoch(job, lambda pid: os.kill(pid, number), rank)
    lost = f"worker {rank} on localhost was killed.*1 go on"
    with pytest.warns(AstropyUserWarning, match=lost):
        result = HorovodTrainer(workers=2, elastic=True, checkpoint_steps=1, **options).fit(job)
    thread.join()
    assert len(result.history["loss"]) == job.epochs
    assert result.history["loss"][-1] < result.history["loss"][0]


def test_a_hanging_worker_is_named(job, run_worker):
    run_worker("slow")
    thread = in_the_second_epoch(job, lambda pid: os.kill(pid, signal.SIGSTOP))
    with pytest.raises(ChildProcessError, match="worker 1 on localhost hung"):
        HorovodTrainer(**_OPTIONS, stall_seconds=10).fit(job)
    thread.join()


def test_interrupting_saves(job, tmp_path, as_undisturbed, run_worker, monkeypatch):
    """Ctrl-C in a terminal, while workers are in the middle of an epoch."""
    from astro_deepgalaxy_horovod import launch

    (tmp_path / "job.json").write_text(job.to_json())
    run_worker("slow")
    slow = launch.worker_command("FOLDER")
    monkeypatch.undo()
    program = tmp_path / "train.py"
    program.write_text(
        "import sys\n"
        "from astro_deepgalaxy.trainers import TrainingJob\n"
        "from astro_deepgalaxy_horovod import launch\n"
        "from astro_deepgalaxy_horovod.trainer import HorovodTrainer\n"
        f"launch.worker_command = lambda folder: {slow[:-1]} + [str(folder)]\n"
        f"job = TrainingJob.from_json(open({str(tmp_path / 'job.json')!r}).read())\n"
        f"HorovodTrainer(**{_OPTIONS}).fit(job)\n"
    )
    process = subprocess.Popen([sys.executable, str(program)], stderr=subprocess.PIPE, text=True)
    in_the_second_epoch(job, lambda pid: process.send_signal(signal.SIGINT)).join()
    _, said = process.communicate(timeout=60)
    assert process.returncode
    assert "a checkpoint is there to go on from" in said
    result = HorovodTrainer(**_OPTIONS).fit(job)
    as_undisturbed(job, result)
