"""Check of an index of vectors."""

import tempfile
from pathlib import Path

import numpy as np

from .report import attempt, require, resolve

__all__ = ["check_index"]

_N, _SIZE, _K = 600, 8, 10


def check_index(index, recall=0.95, **options):
    """Check that an index finds the nearest neighbours, grows, and survives saving.

    Its distances are Euclidean and ascend, its rows are those of the vectors in the order in
    which they were added, and what it cannot do is a ValueError: more neighbours than vectors,
    vectors of another length.

    Parameters
    ----------
    index : str or callable
        Registered name, or ``factory(vectors, **options)``.
    recall : float
        Least share of the ten nearest neighbours that it must find.
    **options
        Options of the index.

    Raises
    ------
    AssertionError
        If the index fails.
    """
    label, factory, _ = resolve("index", index)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, _SIZE))
    vectors = centres[rng.integers(0, 6, _N)] + 0.3 * rng.normal(size=(_N, _SIZE))
    queries = centres[rng.integers(0, 6, 40)] + 0.3 * rng.normal(size=(40, _SIZE))
    vectors, queries = vectors.astype(np.float32), queries.astype(np.float32)

    made = attempt(f"{label}: making it", lambda: factory(vectors, **options))
    _check_answers(label, made, vectors, queries, recall)
    require(
        np.array_equal(made.query(queries, _K)[1], made.query(queries, _K)[1]),
        f"{label}: gives other rows when asked again",
    )
    _check_refusals(label, made, queries)

    grown = attempt(f"{label}: making it without vectors", lambda: factory(None, **options))
    require(len(grown) == 0, f"{label}: has the length {len(grown)} without vectors")
    for part in (vectors[:100], vectors[100:350], vectors[350:]):
        attempt(f"{label}: adding vectors", lambda part=part: grown.add(part))
    _check_answers(f"{label}, with vectors added", grown, vectors, queries, recall)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        attempt(f"{label}: save", lambda: made.save(folder))
        np.save(folder / "kept.npy", vectors)
        _check_loaded(label, factory(None, **options), folder, made, queries)


def _check_loaded(label, index, folder, made, queries):
    vectors = np.load(folder / "kept.npy", mmap_mode="r")
    attempt(f"{label}: load", lambda: index.load(folder, vectors))
    require(
        np.array_equal(made.query(queries, _K)[1], index.query(queries, _K)[1]),
        f"{label}: finds other rows after it was loaded",
    )
    attempt(f"{label}: adding after loading", lambda: index.add(queries))
    rows = index.query(queries, 1)[1][:, 0]
    require(
        (rows == _N + np.arange(len(queries))).mean() > 0.9,
        f"{label}: does not find what was added after it was loaded",
    )


def _check_answers(label, index, vectors, queries, recall):
    require(len(index) == len(vectors), f"{label}: has the length {len(index)}, not {len(vectors)}")
    true = np.linalg.norm(vectors - queries[:, np.newaxis], axis=2)
    for k in (1, _K):
        distances, rows = attempt(f"{label}: query", lambda k=k: index.query(queries, k))
        require(
            distances.shape == rows.shape == (len(queries), k),
            f"{label}: returns {distances.shape} and {rows.shape} for {len(queries)} queries and "
            f"{k} neighbours",
        )
        require(
            np.issubdtype(rows.dtype, np.integer)
            and ((rows >= 0) & (rows < len(vectors))).all()
            and (np.diff(np.sort(rows, axis=1), axis=1) > 0).all(),
            f"{label}: rows must be numbers of vectors, each once",
        )
        require((np.diff(distances, axis=1) >= 0).all(), f"{label}: distances must ascend")
        away = np.abs(distances - np.take_along_axis(true, rows, 1)).max()
        require(away < 1e-2, f"{label}: its distances differ from Euclidean ones by {away:.2g}")
        nearest = np.argsort(true, axis=1)[:, :k]
        found = np.mean([len(np.intersect1d(*p)) / k for p in zip(rows, nearest, strict=True)])
        require(found >= recall, f"{label}: finds {found:.0%} of the {k} nearest neighbours")


def _check_refusals(label, index, queries):
    cases = {
        "more neighbours than vectors": (queries, len(index) + 1),
        "vectors of another length": (queries[:, :-1], 1),
        "vectors that are not finite": (np.full_like(queries, np.nan), 1),
    }
    for case, (vectors, k) in cases.items():
        try:
            index.query(vectors, k)
        except ValueError:
            continue
        except Exception as error:
            raise AssertionError(
                f"{label}: raises {type(error).__name__} for {case}; make it a ValueError"
            ) from error
        raise AssertionError(f"{label}: does not refuse {case}")
