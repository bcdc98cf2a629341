"""A million small cutouts streamed from one mosaic: the memory at every tenth of the way."""

import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SIZE, SIDE, SCALE = 32, 4000, 0.2
LIMIT_MIB = 1536


def run(quick):
    """Stream positions through one process into a store, and watch its memory.

    Parameters
    ----------
    quick : bool
        50,000 instead of 1,000,000.

    Returns
    -------
    list of dict
        ``memory``: the largest resident memory (MiB) against the limit of 1.5 GiB; ``growth``:
        that at the end against that at a tenth of the way; ``rate``, cutouts/s without reference.
    """
    from astropy.io import fits
    from astropy.table import QTable

    from astro_deepgalaxy import Recipe
    from astro_deepgalaxy.celestial import pixel_to_icrs, tangent_wcs
    from astro_deepgalaxy.preprocess.batch import preprocess_batch
    from astro_deepgalaxy.preprocess.mosaic import Mosaics

    n = 50_000 if quick else 1_000_000
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        wcs = tangent_wcs(150.0, 2.0, np.diag([-SCALE, SCALE]) / 3600, SIDE / 2, SIDE / 2)
        pixels = rng.standard_normal((SIDE, SIDE), dtype=np.float32)
        fits.writeto(folder / "mosaic.fits", pixels, wcs.to_header())
        del pixels
        ra, dec = pixel_to_icrs(wcs, *rng.uniform(SIZE, SIDE - SIZE, (2, n)))
        QTable({"ra": ra, "dec": dec}).write(folder / "catalogue.fits")
        del ra, dec
        output = folder / "store.zarr"
        with _Watch(output) as watch:
            start = time.perf_counter()
            store = preprocess_batch(
                folder / "catalogue.fits",
                Recipe(()),
                output,
                mosaics=Mosaics({"r": str(folder / "mosaic.fits")}, fov=SIZE * SCALE),
                progress=False,
            )
            seconds = time.perf_counter() - start
        assert len(store) == n
    tenths = watch.tenths(store.n_shards)
    note = "MiB at each tenth: " + " ".join(f"{m:.0f}" for m in tenths)
    common = {"unit": "MiB", "note": f"{n} cutouts of {SIZE} pixels; {note}"}
    return [
        {
            "name": "memory",
            "ours": watch.peak,
            "reference": float(LIMIT_MIB),
            "ratio": LIMIT_MIB / watch.peak,
            **common,
        },
        {
            "name": "growth",
            "ours": tenths[-1],
            "reference": tenths[0],
            "ratio": tenths[0] / tenths[-1],
            **common,
        },
        {
            "name": "rate",
            "ours": n / seconds,
            "reference": float("nan"),
            "ratio": float("nan"),
            "unit": "cutouts/s",
            "note": "one process, WCS and table included",
        },
    ]


class _Watch(threading.Thread):
    """Resident memory of this process, with how many shards are finished."""

    def __init__(self, output):
        super().__init__(daemon=True)
        self.output, self.samples, self.end = output, [], threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.join()

    def run(self):
        import psutil

        process = psutil.Process()
        while not self.end.wait(0.5):
            table = self.output / "table"
            done = sum(1 for _ in table.glob("part-*")) if table.exists() else 0
            self.samples.append((done, process.memory_info().rss / 2**20))

    @property
    def peak(self):
        """MiB."""
        return max(memory for _, memory in self.samples)

    def tenths(self, shards):
        """Largest MiB in each tenth of the way."""
        by_tenth = [[] for _ in range(10)]
        for done, memory in self.samples:
            by_tenth[min(9, 10 * done // shards)].append(memory)
        return [max(part) for part in by_tenth if part]
