"""Measure how training scales: ``python docs/scaling [BACKBONE ...]``, in a quarter of an hour.

Runs the scaling study for EfficientNetB0 and B4 on this machine, and writes the tables (CSV) and
the figures (PNG) of the page "How training scales" beside this file. Nothing else should run
meanwhile. It needs Horovod, 20 GiB of memory for EfficientNetB4, and root for the emulated hosts.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from astro_deepgalaxy_horovod.scale.allreduce import Link
from astro_deepgalaxy_horovod.scale.study import run_study
from astro_deepgalaxy_horovod.settings import Settings, available_cores

STEPS = {"efficientnet_b0": 10, "efficientnet_b4": 4}
PIXELS, BATCH = 96, 32
PROJECTED, BETWEEN, PER_HOST = (4, 1024), Link(1e11, 2e-6), 4
SHOWN = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
HERE = Path(__file__).parent


def main():
    """Run the study of each network, and write the tables of all that have been run."""
    parser = argparse.ArgumentParser(prog="python docs/scaling", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="BACKBONE", help=", ".join(STEPS))
    counts = [1, len(available_cores())]
    settings = Settings(workers=counts[-1], cycle_time=20.0)
    for name in parser.parse_args().names or STEPS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            run_study(
                folder,
                settings,
                {"backbone": name, "pixels": PIXELS, "batch": BATCH},
                counts,
                STEPS[name],
                PROJECTED,
                BETWEEN,
                PER_HOST,
            )
            for suffix in ("json", "png"):
                made = Path(folder) / {"json": "study.json", "png": "scaling.png"}[suffix]
                (HERE / f"{name}.{suffix}").write_bytes(made.read_bytes())
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    studies = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(HERE.glob("*.json"))]
    for table in (steps, ratios, validation, projection):
        rows = [row for study in studies for row in table(study)]
        with (HERE / f"{table.__name__}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def steps(study):
    """Times of the steps."""
    words = {
        "fit": "Keras's fit, all cores",
        "bound": "one worker, no Horovod",
        "silent": "{} workers that do not talk",
        "horovod": "Horovod, {} worker(s)",
    }
    for row in study["steps"]:
        predicted = row["predicted_s"]
        yield {
            "network": study["network"]["backbone"],
            "what": words[row["name"].split()[0]].format(row["workers"]),
            "step (s)": f"{row['step_s']:.3f}",
            "between turns (s)": f"{row['spread_s']:.3f}",
            "images/s": f"{row['images_per_s']:.1f}",
            "predicted (s)": "" if predicted is None else f"{predicted:.3f}",
        }


def ratios(study):
    """The comparisons, turn by turn."""
    for name, found in study["ratios"].items():
        yield {
            "network": study["network"]["backbone"],
            "ratio": name,
            "median": f"{found['median']:.3f}",
            "lowest turn": f"{found['low']:.3f}",
            "highest turn": f"{found['high']:.3f}",
        }


def validation(study):
    """Emulated workers: predicted and measured."""
    for row in study["validation"]:
        error = 100 * (row["predicted_s"] / row["measured_s"] - 1)
        free = row["gbit_per_s"] is None
        yield {
            "compute times of": study["network"]["backbone"],
            "workers": row["workers"],
            "hosts": row["hosts"],
            "Gbit/s": "loopback" if free else f"{row['gbit_per_s']:g}",
            "latency (ms)": "" if free else f"{row['latency_ms']:g}",
            "MB": f"{row['megabytes']:g}",
            "measured (s)": f"{row['measured_s']:.3f}",
            "predicted (s)": f"{row['predicted_s']:.3f}",
            "error (%)": f"{error:+.1f}",
            "exchange, measured (s)": f"{row['measured_exchange_s']:.3f}",
            "exchange, predicted (s)": f"{row['predicted_exchange_s']:.3f}",
        }


def projection(study):
    """What is projected, and what limits it."""
    network = study["network"]
    names = {
        "as measured": f"{network['pixels']} px, batch {network['batch']}",
        "as measured, MPI": f"{network['pixels']} px, batch {network['batch']}, MPI",
        "as in the paper": "1024 px, batch 8",
    }
    for curve, rows in study["projection"]["curves"].items():
        for row in rows:
            if row["workers"] in SHOWN[::2] or row["workers"] in (128, 512):
                yield {
                    "network": f"{network['backbone']}, {names[curve]}",
                    "workers": row["workers"],
                    "kind": row["kind"],
                    "efficiency against 4": f"{row['efficiency']:.3f}",
                    "step (s)": f"{row['step_s']:.3f}",
                    "costs most": row["limit"],
                }


if __name__ == "__main__":
    main()
