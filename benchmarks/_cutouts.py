"""Cut a catalogue out of one mosaic into a store, as ``_cutana.py`` does it with Cutana.

``python -m benchmarks._cutouts MOSAIC CATALOGUE OUTPUT --size 64 --workers 2`` prints one line of
JSON: ``seconds``, ``cutouts``, ``peak_mib`` and ``anonymous_mib``, measured in the same way.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

from ._memory import PeakMemory


def main():
    """Cut, count, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mosaic", type=Path)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("--size", type=int, default=64, help="pixels along a side")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    # The first run has the memory watched, starts the processes and fills the file cache.
    with PeakMemory() as peak:
        _cut(options)
    shutil.rmtree(options.output)
    seconds, made = _cut(options)
    print(json.dumps({"seconds": seconds, "cutouts": made, **peak.mebibytes()}))


def _cut(options):
    from astro_deepgalaxy import Recipe
    from astro_deepgalaxy.preprocess.batch import preprocess_batch
    from astro_deepgalaxy.preprocess.mosaic import Mosaics
    from astro_deepgalaxy.preprocess.planes import open_plane

    start = time.perf_counter()
    mosaics = Mosaics({"": str(options.mosaic)}, fov=1)
    mosaics.fov = options.size * open_plane(str(options.mosaic)).pixel_scale
    store = preprocess_batch(
        options.catalogue,
        Recipe(()),
        options.output,
        mosaics=mosaics,
        processes=options.workers,
        progress=False,
    )
    return time.perf_counter() - start, len(store)


if __name__ == "__main__":
    main()
