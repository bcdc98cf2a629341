"""Check the physics of the simulations: ``python docs/physics [NAME ...]``.

Each experiment writes a table (CSV) or a figure (PNG) beside this file, or both; from them the page
"Physics of the simulations" is made. The experiments ``paper``, ``presets``, ``cost`` and
``telescopes`` look at finished surveys, made by ``astro-deepgalaxy simulate survey --preset NAME
-o SURVEYS/NAME`` for paper, diverse and controls; these take an hour on two cores, all other
experiments ten minutes.
"""

import argparse
import csv
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import encounters
import forces
import galaxies
import matplotlib.pyplot as plt
import surveys

EXPERIMENTS = {
    experiment.__name__: experiment
    for experiment in (
        forces.forces,
        galaxies.equilibrium,
        galaxies.thickening,
        encounters.conservation,
        encounters.orbit,
        encounters.convergence,
        encounters.tails,
        forces.scaling,
        surveys.paper,
        surveys.presets,
        surveys.cost,
        surveys.telescopes,
    )
}
HERE = Path(__file__).parent
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=["#4c2a85", "#d1495b", "#edae49", "#00798c", "#8d96a3"]),
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 130,
}


def main():
    """Run the experiments named on the command line, or all of them."""
    parser = argparse.ArgumentParser(prog="python docs/physics", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument(
        "--surveys", type=Path, default=Path(), help="folder that holds paper, diverse and controls"
    )
    options = parser.parse_args()
    plt.rcParams.update(STYLE)
    for name in options.names or EXPERIMENTS:
        start = time.perf_counter()
        rows, figure = EXPERIMENTS[name](options)
        if rows:
            with (HERE / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(rows[0])
                writer.writerows([row.values() for row in rows])
        if figure is not None:
            figure.savefig(HERE / f"{name}.png")
            plt.close(figure)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        for row in rows:
            print("  ", "  ".join(f"{key}: {value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
