"""The approximate index against scikit-learn's exact search, one query at a time on one core."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REFERENCE = "exact"
_SIZE, _K = 32, 10


def run(quick):
    """Build both on a million vectors; measure recall, time and memory.

    Parameters
    ----------
    quick : bool
        A hundred thousand vectors.

    Returns
    -------
    list of dict
        Time, recall and memory with vectors in clusters; time with vectors of one normal
        distribution, the hardest case: their neighbours are in many lists.
    """
    n = 100_000 if quick else 1_000_000
    return [*_compare(n, 1000, REFERENCE), _compare(n, 1, f"{REFERENCE}, no clusters")[0]]


def _compare(n, clusters, name):
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    from astro_deepgalaxy.indexes.faiss_lists import FaissIndex

    vectors, queries = _vectors(n, clusters)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        index = FaissIndex(vectors)
        build = time.perf_counter() - start
        index.save(folder)
        np.save(Path(folder) / "vectors.npy", vectors)
        np.save(Path(folder) / "queries.npy", queries)
        disk = sum(path.stat().st_size for path in Path(folder).iterdir())
        disk -= (Path(folder) / "queries.npy").stat().st_size
        ours, theirs = (_measure(which, folder) for which in ("faiss", "exact"))
    with threadpool_limits(1):
        true = NearestNeighbors(algorithm="brute").fit(vectors).kneighbors(queries, _K)[1]
    found = index.query(queries, _K)[1]
    recall = np.mean([len(np.intersect1d(*pair)) for pair in zip(found, true, strict=True)]) / _K
    about = f"{n} x {_SIZE} vectors, recall@{_K} {recall:.4f}"
    return [
        _row(
            name,
            ours["ms"],
            theirs["ms"],
            theirs["ms"] / ours["ms"],
            "ms a query",
            f"{about}, {index.probes} lists looked through, built in {build:.0f} s",
        ),
        _row(f"{name}, recall", recall, 1.0, recall, f"recall@{_K}", about),
        _row(
            f"{name}, memory",
            ours["mb"],
            theirs["mb"],
            theirs["mb"] / ours["mb"],
            "MB resident",
            f"after {len(queries)} queries; on disk {disk / 1e6:.0f} MB with the vectors",
        ),
    ]


def _row(name, ours, reference, ratio, unit, note):
    values = {"ours": float(ours), "reference": float(reference), "ratio": float(ratio)}
    return {"name": name, **values, "unit": unit, "note": note}


def _vectors(n, clusters, n_queries=500):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((clusters, _SIZE), dtype=np.float32)

    def draw(m):
        noise = rng.standard_normal((m, _SIZE), dtype=np.float32)
        return centres[rng.integers(0, clusters, m)] + 0.5 * noise

    return draw(n), draw(n_queries)


def _measure(which, folder):
    """Milliseconds a query and megabytes, in a process of its own."""
    command = [sys.executable, "-c", _CHILD, which, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


_CHILD = f"""
import json, os, sys, time
import numpy as np
from threadpoolctl import threadpool_limits
from astro_deepgalaxy.indexes.exact import ExactIndex
from astro_deepgalaxy.indexes.faiss_lists import FaissIndex

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

which, folder = sys.argv[1:]
queries = np.load(folder + "/queries.npy")
index = ExactIndex() if which == "exact" else FaissIndex()
with threadpool_limits(1):
    index_before = resident()
    index.load(folder, np.load(folder + "/vectors.npy", mmap_mode="r"))
    for query in queries[:20]:
        index.query(query[np.newaxis], {_K})
    seconds = []
    for query in queries[: 60 if which == "exact" else None]:
        start = time.process_time()
        index.query(query[np.newaxis], {_K})
        seconds.append(time.process_time() - start)
print(json.dumps({{"ms": 1e3 * float(np.median(seconds)), "mb": resident() - index_before}}))
"""
