"""Cutouts from a large mosaic at many positions, against the Euclid tool Cutana."""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ._environment import environment

SIZE, SCALE = 64, 0.1
REQUIREMENTS = ("cutana==0.4.0",)


def run(quick):
    """Time both into files on disk, from one mosaic of 10,000 pixels a side (quick: 5,000).

    Parameters
    ----------
    quick : bool
        Smaller mosaic, fewer positions, and only Cutana's Zarr files.

    Returns
    -------
    list of dict
        ``cutana`` is against its Zarr files, the output for networks, with which the WCS is left
        to the reader; ``cutana, FITS`` its files with a WCS; ``cutana, arrays`` raw pixels saved
        by NumPy without WCS, packing, flags or table.
    """
    from joblib import cpu_count

    python = environment("cutana", REQUIREMENTS)
    side, n = (5000, 5000) if quick else (10_000, 20_000)
    cores = cpu_count()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        _write(folder, side, n)
        for workers in (cores,) if quick else (1, cores):
            ours = _measure([sys.executable, "-m", "benchmarks._cutouts"], folder, workers)
            for way in ("zarr",) if quick else ("zarr", "fits", "npy"):
                script = str(Path(__file__).with_name("_cutana.py"))
                theirs = _measure([str(python), script], folder, workers, "--to", way)
                rows.append(_row(ours, theirs, way, workers, side, n))
    return rows


def _row(ours, theirs, way, workers, side, n):
    names = {"zarr": "cutana", "fits": "cutana, FITS", "npy": "cutana, arrays"}
    rates = [n / found["seconds"] for found in (ours, theirs)]
    memory = " to ".join(
        f"{found['peak_mib']:.0f} ({found['anonymous_mib']:.0f} without mapped files)"
        for found in (ours, theirs)
    )
    return {
        "name": names[way],
        "ours": rates[0],
        "reference": rates[1],
        "ratio": rates[0] / rates[1],
        "unit": "cutouts/s",
        "note": f"{SIZE} of {side} pixels, {n} positions, {workers} processes; ours packed, with "
        f"WCS; peak MiB {memory}",
    }


def _measure(command, folder, workers, *options):
    done = subprocess.run(
        [
            *command,
            *(str(folder / name) for name in ("mosaic.fits", "catalogue.csv", "output")),
            *("--size", str(SIZE), "--workers", str(workers), *options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")
    subprocess.run(["rm", "-r", str(folder / "output")], check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _write(folder, side, n):
    """A mosaic of noise with stars, and positions in it."""
    from astropy.io import fits

    from astro_deepgalaxy.celestial import pixel_to_icrs, tangent_wcs

    rng = np.random.default_rng(20251125)
    wcs = tangent_wcs(150.0, 2.0, np.diag([-SCALE, SCALE]) / 3600, side / 2, side / 2)
    image = rng.standard_normal((side, side), dtype=np.float32)
    grid = np.arange(-8, 9)
    star = 50 * np.exp(-(grid**2 + grid[:, np.newaxis] ** 2) / 8).astype(np.float32)
    for y, x in rng.integers(SIZE, side - SIZE, (side, 2)):
        image[y - 8 : y + 9, x - 8 : x + 9] += star
    fits.writeto(folder / "mosaic.fits", image, wcs.to_header())
    ra, dec = pixel_to_icrs(wcs, *rng.uniform(SIZE, side - SIZE, (2, n)))
    with open(folder / "catalogue.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["SourceID", "RA", "Dec"])
        table.writerows(zip(range(n), ra, dec, strict=True))
