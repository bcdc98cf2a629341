"""Train and judge the whole network: ``python docs/network [NAME ...] --work FOLDER``.

Simulates mergers and controls, observes them, and trains the models of the page "How good the
network is"; each experiment writes a table (CSV), and some a figure (PNG), beside this file. An
interrupted run goes on where it was when the command is given again.
"""

import argparse
import csv
import time
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import data
import headline
import latent
import lookalikes
import matplotlib.pyplot as plt
import semi

EXPERIMENTS = {
    experiment.__name__: experiment
    for experiment in (
        data.prepare,
        headline.headline,
        headline.splits,
        headline.headline_kpc,
        headline.sky,
        latent.latent,
        latent.search,
        latent.latent_grid,
        latent.residuals,
        lookalikes.choice_of_k,
        lookalikes.lookalikes,
        lookalikes.clusters,
        semi.semi,
    )
}
HERE = Path(__file__).parent


def main():
    """Run the experiments named on the command line, or all of them."""
    parser = argparse.ArgumentParser(prog="python docs/network", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--work", type=Path, required=True, help="folder for images and models")
    parser.add_argument("--real", type=Path, help="folder of real images, also learned from")
    parser.add_argument("--epochs", type=int, default=28, help="of the first headline model")
    parser.add_argument("--embedder-epochs", type=int, default=10)
    parser.add_argument("--semi-images", type=int, default=6000, help="images seen by each model")
    parser.add_argument("--workers", type=int, default=1, help="processes that train a model")
    options = parser.parse_args()
    for name in options.names or EXPERIMENTS:
        start = time.perf_counter()
        rows, figure = EXPERIMENTS[name](options)
        if rows:
            with (HERE / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(rows[0])
                writer.writerows([row.values() for row in rows])
        if figure is not None:
            figure.savefig(HERE / f"{name}.png", dpi=130)
            plt.close(figure)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
        for row in rows:
            print("  ", "  ".join(f"{key}: {value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
