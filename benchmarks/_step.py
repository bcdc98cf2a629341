"""Training steps measured in a process of their own, for their memory: Linux only.

``python -m benchmarks._step CASE`` with a case as JSON prints what `measure` found.
"""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil

__all__ = ["DoesNotFit", "measured"]

_RESERVE = 2 * 2**30
_DOES_NOT_FIT = 75
_ROOT = Path(__file__).parents[1]


class DoesNotFit(Exception):
    """A training step that needs more memory than there is."""


def measured(*case):
    """Measure a case in a new process.

    Parameters
    ----------
    *case
        Arguments of `measure`.

    Returns
    -------
    dict
        What it returned.

    Raises
    ------
    DoesNotFit
        If the process ended itself to leave the last 2 GiB of memory to others.
    RuntimeError
        If it failed.
    """
    command = [sys.executable, "-m", "benchmarks._step", json.dumps(case)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    if done.returncode == _DOES_NOT_FIT:
        raise DoesNotFit
    if done.returncode:
        raise RuntimeError(f"{case}: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(backbone, pixels, at_once, batches, tasks, repeats):
    """Time training steps and read the largest memory.

    The networks are trained as in ``runs/paper.toml``, its noise, dropout and optimizer included.

    Parameters
    ----------
    backbone : str
        Name of the backbone.
    pixels : int
        Side of the images.
    at_once : int
        Images in a batch.
    batches : int
        Batches whose gradients make one step.
    tasks : list of list of str
        Tasks that share a network, for each network that is measured: "classify", "reconstruct",
        "embed". The steps of the networks take turns.
    repeats : int
        Steps of each, after one that builds the graph.

    Returns
    -------
    dict
        ``seconds``, the shortest step of each network; ``core_seconds``, the least time of all
        cores together that it took, which others on the machine disturb less; and ``peak_mib``,
        the largest memory of the process.
    """
    made = [_step(backbone, pixels, at_once, batches, names) for names in tasks]
    for step in made:
        step()
    clocks = (time.perf_counter, time.process_time)
    times = np.full((2, len(made), repeats), np.inf)
    for repeat in range(repeats):
        for i, step in enumerate(made):
            start = [clock() for clock in clocks]
            step()
            times[:, i, repeat] = [clock() - s for clock, s in zip(clocks, start, strict=True)]
    seconds, core_seconds = times.min(axis=2).tolist()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    return {"seconds": seconds, "core_seconds": core_seconds, "peak_mib": peak}


def _step(backbone, pixels, at_once, batches, names):
    """A function that makes one training step."""
    from astro_deepgalaxy.trainers.compiled import build_network, compile_model

    images = np.random.default_rng(0).random((at_once, pixels, pixels, 1), dtype=np.float32)
    job = _job(backbone, images.shape[1:], batches, names)
    model, _ = compile_model(job, build_network(job), steps=1)
    targets = {
        name: images if target["kind"] == "image" else np.zeros((at_once, 1), dtype=np.float32)
        for name, target in job.targets.items()
    }

    def step():
        for _ in range(batches):
            model.train_on_batch(images, targets)

    return step


def _job(backbone, shape, batches, names):
    from astropy.table import QTable

    from astro_deepgalaxy import GalaxyEmbedder, ImageReconstructor, MergerClassifier
    from astro_deepgalaxy.run_config import read_run_config
    from astro_deepgalaxy.tasks.training_plan import training_job

    paper = read_run_config(_ROOT / "runs" / "paper.toml")
    network, training = paper.network, paper.training
    accumulation = {} if batches == 1 else {"gradient_accumulation_steps": batches}
    shared = {
        "backbone": backbone,
        "backbone_options": {k: v for k, v in network.backbone_options.items() if k != "weights"},
        "noise": network.noise,
        "learning_rate": training.learning_rate,
        "optimizer": training.optimizer | accumulation,
        "validation_fraction": 0.0,
        "split": training.split,
    }
    tasks = {
        "classify": MergerClassifier(
            time_column=paper.time.column,
            target_width=training.target_width,
            dropout=network.dropout,
            pooling=network.pooling,
            **shared,
        ),
        "reconstruct": ImageReconstructor(**shared),
        "embed": GalaxyEmbedder(**shared),
    }
    table = QTable({"id": ["one"], "flags": [0], paper.time.column: [0]})
    store = _Store(table, shape, Path())
    named = [(tasks[name], 1.0) for name in names]
    return training_job(named, store, np.array([0]), np.array([], dtype=int), Path())


@dataclass(frozen=True)
class _Store:
    """As much of a store as the plan of a training looks at."""

    table: object
    image_shape: tuple
    path: Path

    def __len__(self):
        return len(self.table)


def _end_before_memory_does():
    """End this process when the machine has less than 2 GiB left."""

    def watch():
        while psutil.virtual_memory().available > _RESERVE:
            Event().wait(0.02)
        os._exit(_DOES_NOT_FIT)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _end_before_memory_does()
    print(json.dumps(measure(*json.loads(sys.argv[1]))))
