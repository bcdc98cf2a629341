"""The scaling study: measure, calibrate, validate, project, and write it down."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from astro_deepgalaxy.io.tables import write_table
from astro_deepgalaxy.jobs import atomic_path

from ..settings import available_cores
from .allreduce import Layout, Link
from .calibration import calibrate, joined
from .compute_times import ComputeTimes
from .figure import scaling_figure
from .measure import exchanges, first_places, step_times
from .paper import EFFICIENCY
from .performance_model import PerformanceModel
from .projection import ADVICE, as_in_paper, project, worker_counts
from .validate import calibrate_here, validate

__all__ = ["plain", "run_study", "summary"]


def run_study(folder, settings, network, counts, steps, projected, between, per_host, say=print):
    """Run the study and write its tables, its figure and ``study.json``.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Where to write.
    settings : Settings
        Hosts, cores of each worker, and the cycle time.
    network : dict
        ``backbone``, ``pixels`` and ``batch``.
    counts : list of int
        Numbers of workers to measure.
    steps : int
        Steps of each way to train in each of its turns.
    projected : (int, int)
        Range of the numbers of workers to project to.
    between : Link
        What joins the hosts for which it is projected.
    per_host : int
        Workers of each of those.
    say : callable
        Is told how it goes.

    Returns
    -------
    dict
        What ``study.json`` has.
    """
    folder = Path(folder)
    seconds, about = step_times(settings, counts, steps, network, say=say)
    # Turns that were slower as a whole are no stragglers: the machine was slower then.
    turns = np.median(seconds["silent"], axis=(1, 2), keepdims=True)
    compute = ComputeTimes(seconds["silent"] * (np.median(turns) / turns))
    measured_only = {"network": network | about, "seconds": plain(seconds)}
    with atomic_path(folder / "measured.json") as partial:
        partial.write_text(json.dumps(measured_only) + "\n", encoding="utf-8")
    shared = len(available_cores())
    costs, emulation, error, measured = calibrate_here(shared, say=say)
    validated = validate(compute, costs, emulation, shared, say=say)
    several = [n for n in counts if n > 1]
    hosts = len(settings.slots())
    here = Link()
    if hosts > 1:
        _, here, _ = calibrate(exchanges(settings, several, say=say), costs)
    cycle_time = settings.cycle_time / 1000
    model = PerformanceModel(compute, costs, about["nbytes"], about["tensors"], cycle_time)
    say("projecting")
    rows = _measured(settings, counts, seconds, network, model, here)
    range_of_workers = worker_counts(*projected)
    like_paper = as_in_paper(model, network["pixels"], network["batch"])
    models = {
        "as measured": model,
        "as measured, MPI": replace(model, algorithm="halving_doubling"),
        "as in the paper": like_paper,
    }
    projections = {
        name: project(m, per_host, between, range_of_workers) for name, m in models.items()
    }
    study = {
        "network": network | about,
        "cores": shared,
        "steps": rows,
        "ratios": _ratios(seconds, several),
        "compute": {
            "steps": len(compute.seconds),
            "mean_s": compute.mean,
            "spread": float(np.std(compute.seconds) / compute.mean),
            "slowest_of_1000": compute.largest(1000) / compute.mean,
        },
        "calibration": {
            "costs": asdict(costs),
            "emulated_latency_s": emulation.latency,
            "between_hosts": asdict(here) if hosts > 1 else None,
            "relative_error": error,
            "allreduces": [_allreduce_row(m) for m in measured],
        },
        "validation": validated,
        "projection": {
            "kind": "projected",
            "between": asdict(between),
            "workers_per_host": per_host,
            "cycle_time_s": cycle_time,
            "curves": projections,
        },
        "paper": {str(workers): value for workers, value in EFFICIENCY.items()},
    }
    _write(folder, study)
    return study


def _measured(settings, counts, seconds, network, model, here):
    """A row for each way of training that was measured."""
    bound = float(np.median(seconds["bound"]))
    rows = []
    for name, times in seconds.items():
        slowest = times if times.ndim == 2 else times.max(axis=2)
        median = float(np.median(slowest if name.startswith("horovod") else times))
        workers = 1
        if name.startswith("horovod"):
            workers = int(name.split()[1])
        elif name == "silent":
            workers = max(counts)
        turns = np.median(times.reshape(len(times), -1), axis=1)
        row = {
            "name": name,
            "kind": "measured",
            "workers": workers,
            "step_s": median,
            "spread_s": float(np.ptp(turns)),
            "images_per_s": workers * network["batch"] / median,
            "efficiency": np.nan if name == "fit" else bound / median,
            "predicted_s": np.nan,
        }
        if name.startswith("horovod"):
            found = first_places(settings, workers)
            layout = joined(Layout(workers, found[0].slots), here)
            row["predicted_s"] = model.step(layout).total
        rows.append(row)
    return rows


def _ratios(seconds, several):
    """The comparisons that the study is for, turn by turn."""

    def turn(name):
        times = seconds[name]
        return np.median(times.reshape(len(times), -1), axis=1)

    found = {}
    if "horovod 1" in seconds:
        found["horovod 1 / no Horovod"] = turn("bound") / turn("horovod 1")
    for number in several:
        found[f"efficiency of {number}"] = turn("bound") / turn(f"horovod {number}")
        found[f"horovod {number} / fit"] = number * turn("fit") / turn(f"horovod {number}")
    found["efficiency of silent workers"] = turn("bound") / turn("silent")
    return {
        name: {"median": float(np.median(r)), "low": float(r.min()), "high": float(r.max())}
        for name, r in found.items()
    }


def _allreduce_row(measured):
    layout = measured.layout
    return {
        "workers": layout.workers,
        "hosts": layout.hosts,
        "bandwidth": layout.between.bandwidth,
        "latency": layout.between.latency,
        "nbytes": measured.nbytes,
        "seconds": measured.seconds,
    }


def plain(data):
    """The same as JSON knows it: what is no finite number is null.

    Parameters
    ----------
    data : object
        Dicts, lists, arrays, numbers and text.

    Returns
    -------
    object
    """
    if isinstance(data, dict):
        return {name: plain(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    if isinstance(data, np.ndarray | np.generic):
        return plain(data.tolist())
    return None if isinstance(data, float) and not np.isfinite(data) else data


def _write(folder, study):
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "steps": study["steps"],
        "validation": study["validation"],
        "projection": [
            {"curve": name, **row}
            for name, rows in study["projection"]["curves"].items()
            for row in rows
        ],
    }
    for name, rows in tables.items():
        write_table(Table(rows=rows), folder / f"{name}.ecsv")
    with atomic_path(folder / "study.json") as partial:
        partial.write_text(json.dumps(plain(study), indent=1) + "\n", encoding="utf-8")
    figure = scaling_figure(study)
    with atomic_path(folder / "scaling.png") as partial:
        figure.savefig(partial, dpi=130)


def summary(study):
    """The outcome of a study in a few lines.

    Parameters
    ----------
    study : dict
        From `run_study`.

    Returns
    -------
    str
    """
    lines = [
        f"{row['name']:12} {row['step_s']:.3f} s a step, {row['images_per_s']:.1f} images/s "
        "(measured)"
        for row in study["steps"]
    ]
    lines += [
        f"{name}: {r['median']:.3f} ({r['low']:.3f} to {r['high']:.3f})"
        for name, r in study["ratios"].items()
    ]
    errors = [row["predicted_s"] / row["measured_s"] - 1 for row in study["validation"]]
    if errors:
        lines.append(
            f"steps of {len(errors)} kinds of emulated workers were predicted within "
            f"{100 * max(map(abs, errors)):.0f} %"
        )
    for name, rows in study["projection"]["curves"].items():
        last = rows[-1]
        lines.append(
            f"projected ({name}): efficiency {last['efficiency']:.2f} at {last['workers']} workers "
            f"against 4; what costs most: {ADVICE.get(last['limit'], 'nothing')}"
        )
    return os.linesep.join(lines)
