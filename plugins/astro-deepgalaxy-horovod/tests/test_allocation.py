"""Workers that somebody else has started: a batch system, played by a script, and horovodrun."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from astro_deepgalaxy_horovod.allocation import inside_allocation, rank_and_size

ROOT = Path(__file__).parents[3]

_SRUN = """#!/bin/bash
for i in 0 1; do
    SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NTASKS=2 SLURM_NODEID=0 SLURM_NNODES=1 \\
    SLURM_TASKS_PER_NODE=2 SLURM_JOB_ID=7 SLURM_STEP_ID=0 "$@" &
done
wait -n && wait -n
"""

_RUN = """
output = "out"
[data]
store = {store}
[network]
backbone = "simple"
backbone_options = {{filters = [4, 8]}}
[training]
epochs = 2
batch_size = 8
validation_fraction = 0.2
test_fraction = 0.2
"""


@pytest.fixture
def desk(store, tmp_path, monkeypatch):
    """A folder with a run file, where the program is found by its name."""
    (tmp_path / "run.toml").write_text(_RUN.format(store=json.dumps(str(store.path))))
    program = tmp_path / "srun"
    program.write_text(_SRUN)
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(desk, done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert (desk / "out" / "model" / "config.json").exists()
    assert done.stdout.count("model: ") == 1  # the second worker ends with the training
    states = sorted((desk / "out" / "training").glob("state-*/state.json"))
    assert len(json.loads(states[-1].read_text())["random"]) == 2  # workers


@pytest.mark.horovod
def test_the_batch_script_of_the_documentation(desk):
    script = ROOT / "docs" / "horovod" / "train.sbatch"
    finished(desk, subprocess.run(["bash", script], capture_output=True, text=True, timeout=300))


@pytest.mark.horovod
def test_in_a_program_that_horovodrun_starts(desk):
    if shutil.which("horovodrun") is None:
        pytest.skip("there is no horovodrun")
    words = ["horovodrun", "-np", "2", "-H", "localhost:2", "astro-deepgalaxy", "train", "run.toml"]
    words += ["--trainer", "horovod"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    finished(desk, done)


@pytest.mark.parametrize(
    ("variables", "inside", "expected"),
    [
        ({}, False, (0, 1)),
        ({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "3"}, True, (1, 3)),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, True, (2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, True, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, False, (0, 8)),  # the batch script itself
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_STEP_ID": "0"}, False, (0, 1)),
    ],
)
def test_who_has_started_the_program(monkeypatch, variables, inside, expected):
    for name in list(os.environ):
        if name.startswith(("HOROVOD_", "OMPI_", "PMI_", "SLURM_")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert inside_allocation() is inside
    assert rank_and_size() == expected
