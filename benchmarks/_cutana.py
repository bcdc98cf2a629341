"""Cut a catalogue out of one mosaic with Cutana, run by the Python of Cutana's own environment.

``python _cutana.py MOSAIC CATALOGUE OUTPUT --size 64 --workers 2 [--to npy|zarr|fits]`` prints one
line of JSON: the ``seconds`` of an extraction, from reading the catalogue to the last file, by
processes that have imported Cutana; the ``cutouts`` in OUTPUT; and the peak memory of all the
processes together, ``peak_mib`` with the pages of mapped files and ``anonymous_mib`` without.

CATALOGUE is a CSV or Parquet file with the columns ``SourceID``, ``RA`` and ``Dec`` (degrees).
The memory is read from ``/proc``: Linux only.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _memory import PeakMemory
from cutana import StreamingOrchestrator, create_cutouts_direct, get_default_config

_BATCH = 1000


def main():
    """Cut, count, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mosaic", type=Path)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("--size", type=int, default=64, help="pixels along a side")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--to",
        choices=_WAYS,
        default="npy",
        help="npy: raw arrays, the fastest; zarr: written by Cutana, without WCS; "
        "fits: written by Cutana, one file with its WCS for each",
    )
    options = parser.parse_args()
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        pool.submit(abs, 0).result()  # forks them all, before there are threads
        # Counting pages holds the processes up, so memory and time have a run each. The first
        # one also fills the file cache.
        with PeakMemory() as peak:
            _cut(options, pool)
        shutil.rmtree(options.output)
        seconds, made = _cut(options, pool)
    print(json.dumps({"seconds": seconds, "cutouts": made, **peak.mebibytes()}))


def _cut(options, pool):
    """Make every cutout of the catalogue; the seconds and how many there are."""
    options.output.mkdir(parents=True)
    config = _config(options)
    start = time.perf_counter()
    catalogue = _read(options)
    made = _WAYS[options.to](catalogue, config, pool)
    seconds = time.perf_counter() - start
    if made != len(catalogue):
        sys.exit(f"Cutana made {made} cutouts for the {len(catalogue)} rows of the catalogue")
    return seconds, made


def _config(options):
    """Settings that leave the pixels alone and skip what only guards against mistakes."""
    config = get_default_config()
    config.output_dir = str(options.output)
    config.selected_extensions = [{"name": "PRIMARY", "ext": "PRIMARY"}]
    config.channel_weights = {"PRIMARY": [1.0]}
    config.data_type = "float32"
    config.apply_flux_conversion = False
    config.normalisation_method = "none"
    config.target_resolution = options.size
    # Cutana refuses raw cutouts for its own Zarr files; there the resize to the same size copies.
    config.do_only_cutout_extraction = options.to != "zarr"
    config.output_format = "zarr" if options.to == "zarr" else "fits"
    config.skip_catalogue_validation = config.skip_fits_check = True
    config.N_batch_cutout_process = _BATCH
    config.max_workers = options.workers
    config.process_threads = 1
    config.loadbalancer.skip_memory_calibration_wait = True
    config.log_level = "WARNING"
    return config


def _read(options):
    read = pd.read_parquet if options.catalogue.suffix == ".parquet" else pd.read_csv
    catalogue = read(options.catalogue)
    catalogue["diameter_pixel"] = options.size
    catalogue["fits_file_paths"] = str([str(options.mosaic.resolve())])
    return catalogue


def _direct(catalogue, config, pool):
    """Raw arrays, batch by batch in every process, saved as they come.

    The function is meant for small batches, and many of them beat the orchestrators, which start
    an interpreter for every worker and write FITS one by one, or Zarr after a resize and a stretch.
    """
    batches = [catalogue[i : i + _BATCH] for i in range(0, len(catalogue), _BATCH)]
    return sum(pool.map(partial(_batch, config), batches))


def _batch(config, catalogue):
    (result,) = create_cutouts_direct(catalogue, config, max_workers=1)
    path = Path(config.output_dir) / f"{catalogue.index[0]:08d}.npy"
    np.save(path, np.stack(result["cutouts"]).astype(np.float32))
    # The WCS is that of the mosaic, with CRPIX less the `extraction_origin` of the cutout.
    pd.DataFrame(result["metadata"]).to_parquet(path.with_suffix(".parquet"))
    return len(result["metadata"])


def _streaming(catalogue, config, pool):
    """Cutana's own files, with a share of the catalogue for each of its processes.

    The other orchestrator looks after its processes once a second and leaves one core free, which
    on two cores means one process.
    """
    config.source_catalogue = f"{config.output_dir}/catalogue.parquet"
    catalogue.to_parquet(config.source_catalogue, index=False)
    workers = config.max_workers
    orchestrator = StreamingOrchestrator(config)
    try:
        orchestrator.init_streaming(
            batch_size=-(-len(catalogue) // workers),
            write_to_disk=True,
            max_workers=workers,
            min_workers=workers,
        )
        for _ in range(orchestrator.get_batch_count()):
            orchestrator.next_batch()
        return len(catalogue) - orchestrator.get_delivery_report()["missing"]
    finally:
        orchestrator.cleanup()


_WAYS = {"npy": _direct, "zarr": _streaming, "fits": _streaming}


if __name__ == "__main__":
    main()
