"""Training steps: all tasks at once against one by one, and batches in parts against whole ones.

``python -m benchmarks.network docs/network`` measures the tables of the user guide.
"""

import csv
import sys
from pathlib import Path

from astro_deepgalaxy.jobs import atomic_path

from ._step import DoesNotFit, measured

_TASKS = ("classify", "reconstruct", "embed")
_BATCH = 8  # of the paper's run
_JOINT = ("simple", "efficientnet_b0")
_BACKBONES = ("efficientnet_b0", "efficientnet_b4", "resnet50")


def run(quick):
    """Measure steps, each network in a process of its own.

    Parameters
    ----------
    quick : bool
        Small networks and images.

    Returns
    -------
    list of dict
        The rows: a step for all tasks against the sum of one for each, by the time on the wall
        and that of all cores; the memory of a batch in parts against that of a whole one.
    """
    joints = [("simple", 64)] if quick else [(backbone, 128) for backbone in _JOINT]
    large = [("simple", 128)] if quick else [(backbone, 512) for backbone in _BACKBONES]
    rows = [_joint_row(line) for case in joints for line in joint(*case)]
    return rows + [_memory_row(*(step(*case, n) for n in (_BATCH, 2))) for case in large]


def joint(backbone, pixels):
    """Time a step of a network that is trained for all tasks, and one of each task alone.

    Parameters
    ----------
    backbone : str
        Name of the backbone.
    pixels : int
        Side of the images.

    Returns
    -------
    list of dict
        Two lines of the table, in milliseconds: of the clock on the wall, and of all cores.
    """
    tasks = [[name] for name in _TASKS] + [list(_TASKS)]
    found = measured(backbone, pixels, _BATCH, 1, tasks, 8)
    lines = []
    for clock in ("seconds", "core_seconds"):
        *parts, together = (1000 * seconds for seconds in found[clock])
        times = {**dict(zip(_TASKS, parts, strict=True)), "sum": sum(parts), "joint": together}
        lines.append(
            {
                "backbone": backbone,
                "pixels": pixels,
                "clock": "wall" if clock == "seconds" else "all cores",
                **{name: round(value) for name, value in times.items()},
                "ratio": round(sum(parts) / together, 2),
            }
        )
    return lines


def step(backbone, pixels, at_once):
    """Time a step of the classifier of eight images, and read its memory.

    Parameters
    ----------
    backbone : str
        Name of the backbone.
    pixels : int
        Side of the images.
    at_once : int
        Images in a batch; the gradients of several are added up to a step.

    Returns
    -------
    dict
        A line of the table; without figures if the machine had not enough memory.
    """
    line = {"backbone": backbone, "pixels": pixels, "images at once": at_once}
    repeats = 3 if pixels < 512 else 1
    try:
        found = measured(backbone, pixels, at_once, _BATCH // at_once, [["classify"]], repeats)
    except DoesNotFit:
        return line | {"GiB": "too much", "seconds": "", "core seconds": ""}
    return line | {
        "GiB": round(found["peak_mib"] / 1024, 2),
        "seconds": float(f"{found['seconds'][0]:.3g}"),
        "core seconds": float(f"{found['core_seconds'][0]:.3g}"),
    }


def main(folder):
    """Measure the tables ``joint.csv`` and ``steps.csv``.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Where to write.
    """
    cases = [(backbone, n, _BATCH) for n in (128, 256, 512) for backbone in _BACKBONES]
    cases += [(backbone, 512, 2) for backbone in _BACKBONES] + [("efficientnet_b4", 1024, 1)]
    tables = {
        "joint": (line for backbone in _JOINT for line in joint(backbone, 128)),
        "steps": (step(*case) for case in cases),
    }
    for name, table in tables.items():
        lines = []
        for line in table:
            print(line, flush=True)
            lines.append(line)
        with (
            atomic_path(Path(folder) / f"{name}.csv") as partial,
            partial.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, lines[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)


def _joint_row(line):
    times = ", ".join(f"{name} {line[name]}" for name in _TASKS)
    return {
        "name": f"sum of its parts, {line['clock']}",
        "ours": line["joint"],
        "reference": line["sum"],
        "ratio": line["ratio"],
        "unit": "ms a step",
        "note": f"{line['backbone']} at {line['pixels']} px, batch {_BATCH}; {times}",
    }


def _memory_row(whole, parts):
    ratio = whole["GiB"] / parts["GiB"] if whole["seconds"] else float("nan")
    return {
        "name": "whole batch",
        "ours": parts["GiB"],
        "reference": whole["GiB"],
        "ratio": ratio,
        "unit": "GiB a worker",
        "note": f"{parts['backbone']} at {parts['pixels']} px, {parts['images at once']} of "
        f"{_BATCH} images at once; {parts['core seconds']} core seconds a step against "
        f"{whole['core seconds'] or '-'}",
    }


if __name__ == "__main__":
    main(sys.argv[1])
