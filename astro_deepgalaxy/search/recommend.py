"""What looks like an image: recommendations that are drawn from the graph of neighbours."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from astropy.table import QTable
from scipy import sparse

from .graph import NeighbourGraph, neighbour_weights

__all__ = ["Recommendations", "choice_overlap", "recommend"]

_STEPS = 2
_FADING = 0.5
_PART = 256  # queries that are answered at once


@dataclass(frozen=True)
class Recommendations:
    """The vectors that are recommended for each query, the best first.

    Attributes
    ----------
    rows : numpy.ndarray
        Rows of the vectors, (query, n); -1 where there is no further one.
    distances : numpy.ndarray
        Their Euclidean distances, (query, n); NaN where there is none.
    scores : numpy.ndarray
        Share of each among all that the walk reached, (query, n); NaN where there is none.
    """

    rows: np.ndarray
    distances: np.ndarray
    scores: np.ndarray


def recommend(index, graph, vectors, queries, n=6, *, k=None, steps=_STEPS, allowed=None):
    """Recommend vectors for queries.

    A query is joined to its k nearest vectors with the weights of the graph
    (`~astro_deepgalaxy.search.neighbour_weights`). From these a walk goes on along the edges of
    the graph; what it reaches, by many ways or by short ones, is recommended. It is the ranking
    on manifolds of Zhou et al. (2004), with the weights S of the edges over the roots of the
    degrees of both ends, cut off after a few steps: f = y + S y / 2 + S S y / 4.

    Parameters
    ----------
    index : object
        An index that holds the vectors.
    graph : NeighbourGraph
        Their graph.
    vectors : numpy.ndarray
        The vectors, (m, L).
    queries : numpy.ndarray
        Vectors to look for, (query, L).
    n : int
        Recommendations for each.
    k : int, optional
        Neighbours that a query is joined to; as many as in the graph by default.
    steps : int
        Steps of the walk; 0 recommends the neighbours themselves, by distance alone.
    allowed : callable, optional
        ``allowed(queries, rows)`` says which rows (query, r) may be recommended for some of the
        queries, given by their numbers; all by default.

    Returns
    -------
    Recommendations

    Raises
    ------
    ValueError
        If n or steps is out of its range, or there are fewer than k vectors.
    """
    k = graph.k if k is None else k
    if n < 1 or steps < 0:
        raise ValueError(f"n must be at least 1 and steps at least 0; got {n} and {steps}")
    if k > len(index):
        raise ValueError(f"k is {k}, and there are {len(index)} vectors; choose a smaller k")
    if allowed is None:

        def allowed(queries, rows):
            return np.ones(rows.shape, dtype=bool)

    out = Recommendations(
        np.full((len(queries), n), -1),
        np.full((len(queries), n), np.nan),
        np.full((len(queries), n), np.nan),
    )
    for start in range(0, len(queries), _PART):
        part = np.arange(start, min(start + _PART, len(queries)))
        reached = _walk(graph, *_join(index, queries, part, k, allowed), steps)
        for i, query in enumerate(part):
            here = slice(reached.indptr[i], reached.indptr[i + 1])
            rows, scores = reached.indices[here], reached.data[here]
            may = allowed(np.array([query]), rows[np.newaxis])[0] & (scores > 0)
            rows, scores = rows[may], scores[may]
            best = np.lexsort([rows, -scores])[:n]
            away = vectors[rows[best]] - queries[query]
            out.rows[query, : len(best)] = rows[best]
            out.scores[query, : len(best)] = scores[best] / scores.sum()
            out.distances[query, : len(best)] = np.linalg.norm(away, axis=1)
    return out


def _join(index, queries, part, k, allowed):
    """The k nearest vectors of each query that may be recommended: distances and rows.

    Where there are not so many the distances are infinite.
    """
    distances = np.full((len(part), k), np.inf)
    rows = np.zeros((len(part), k), dtype=np.int64)
    todo, looked = np.arange(len(part)), min(len(index), 2 * k)
    while len(todo):
        far, found = index.query(queries[part[todo]], looked)
        may = allowed(part[todo], found)
        for i, there, where, which in zip(todo, far, found, may, strict=True):
            some = min(k, which.sum())
            distances[i, :some], rows[i, :some] = there[which][:k], where[which][:k]
        if looked == len(index):
            break
        todo = todo[may.sum(axis=1) < k]
        looked = min(len(index), 4 * looked)
    return distances, rows


def _walk(graph, distances, rows, steps):
    """How strongly each vector is reached from each query, a sparse array (query, m)."""
    weights = np.zeros(rows.shape)
    there = np.isfinite(distances)
    for count in np.unique(there.sum(axis=1)):
        if count:
            here = np.flatnonzero(there.sum(axis=1) == count)
            weights[here, :count] = neighbour_weights(distances[here, :count], graph.perplexity)
    starts = np.arange(0, rows.size + 1, rows.shape[1])
    shape = (len(rows), len(graph))
    step = sparse.csr_array((weights.ravel(), rows.ravel(), starts), shape=shape)
    reached = step
    for _ in range(steps):
        step = _FADING * (step @ graph.normalised)
        reached = reached + step
    return reached.tocsr()


def choice_overlap(index, graph, vectors, rows, ks=(5, 7, 10, 15, 20, 30, 40), n=6, allowed=None):
    """How much the recommendations depend on the choice of k, with the graph and without.

    Parameters
    ----------
    index, graph, vectors
        As in `recommend`; the graph must have the largest of `ks` neighbours.
    rows : array_like of int
        Rows of the vectors that serve as queries. None is recommended for itself.
    ks : sequence of int
        The choices.
    n : int
        Recommendations for each query.
    allowed : callable, optional
        As in `recommend`; queries are the rows here.

    Returns
    -------
    `~astropy.table.QTable`
        A row for each k: the mean share of recommendations in common with those of each other k.
        ``neighbours``: the k nearest themselves, by the Jaccard index. ``nearest``: the first n
        of the k nearest that are allowed. ``equal``: a walk on the graph whose edges all count
        the same. ``graph``: the walk of `recommend`.
    """
    rows = np.asarray(rows, dtype=int)
    queries = vectors[rows]

    def may(which, found):
        kept = found != rows[which][:, np.newaxis]
        return kept if allowed is None else kept & allowed(rows[which], found)

    def first(chosen):
        return [set(row[row >= 0].tolist()) for row in chosen]

    sets = {"neighbours": [], "nearest": [], "equal": [], "graph": []}
    for k in ks:
        mine = graph.nearest(k)
        equal = NeighbourGraph(mine.distances, mine.rows, np.inf)
        near = mine.rows[rows].astype(np.int64)
        sets["neighbours"].append(first(near))
        near = np.where(may(np.arange(len(rows)), near), near, -1)
        order = np.argsort(near < 0, axis=1, kind="stable")[:, :n]
        sets["nearest"].append(first(np.take_along_axis(near, order, 1)))
        for name, one in (("equal", equal), ("graph", mine)):
            sets[name].append(first(recommend(index, one, vectors, queries, n, allowed=may).rows))
    table = QTable({"k": list(ks)})
    for name, found in sets.items():
        common = np.zeros((len(ks), len(ks)))
        for i, j in combinations(range(len(ks)), 2):
            common[i, j] = common[j, i] = np.mean(
                [
                    len(a & b) / (len(a | b) if name == "neighbours" else n)
                    for a, b in zip(found[i], found[j], strict=True)
                ]
            )
        table[name] = common.sum(axis=1) / (len(ks) - 1)
    return table
