import numpy as np
import pytest
from sklearn.datasets import make_circles

from astro_deepgalaxy.indexes.exact import ExactIndex
from astro_deepgalaxy.search import (
    NeighbourGraph,
    choice_overlap,
    neighbour_weights,
    recommend,
)


@pytest.fixture(scope="module")
def clouds():
    """Vectors in three clouds of many dimensions, their index and their graph."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 20)) + 2 * (np.arange(600) % 3)[:, np.newaxis]
    vectors = vectors.astype(np.float32)
    index = ExactIndex(vectors)
    return vectors, index, NeighbourGraph.build(index, vectors, 40)


def test_no_step_recommends_the_nearest(clouds):
    vectors, index, graph = clouds
    queries = vectors[:20] + np.float32(0.01)
    found = recommend(index, graph, vectors, queries, 5, k=15, steps=0)
    distances, rows = index.query(queries, 5)
    assert np.array_equal(found.rows, rows)
    assert np.allclose(found.distances, distances, atol=1e-5)
    assert (np.diff(found.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_walk_is_its_formula(clouds, steps):
    vectors, index, _ = clouds
    graph = NeighbourGraph.build(index, vectors, 15)
    query = np.random.default_rng(5).normal(size=(1, 20)).astype(np.float32)
    distances, rows = index.query(query, 15)
    y = np.zeros(len(vectors))
    y[rows[0]] = neighbour_weights(distances)[0]
    edges = graph.normalised.toarray()
    f = sum(np.linalg.matrix_power(edges, t) @ y / 2**t for t in range(steps + 1))
    found = recommend(index, graph, vectors, query, 8, steps=steps)
    order = np.argsort(-f)[:8]
    assert np.array_equal(found.rows[0], order)
    assert np.allclose(found.scores[0], f[order] / f.sum())
    assert np.allclose(found.distances[0], np.linalg.norm(vectors[order] - query, axis=1))


def test_only_what_is_allowed(clouds):
    vectors, index, graph = clouds
    group = np.arange(600) // 100
    rows = np.arange(0, 600, 37)

    def other(queries, found):
        return group[found] != group[rows[queries]][:, np.newaxis]

    found = recommend(index, graph, vectors, vectors[rows], 6, k=5, allowed=other)
    assert (found.rows >= 0).all()
    assert (group[found.rows] != group[rows][:, np.newaxis]).all()
    # The nearest that is allowed is found, however far down the list it is.
    away = np.linalg.norm(vectors - vectors[rows][:, np.newaxis], axis=2)
    away[group == group[rows][:, np.newaxis]] = np.inf
    nearest = recommend(index, graph, vectors, vectors[rows], 1, k=5, steps=0, allowed=other)
    assert np.array_equal(nearest.rows[:, 0], away.argmin(axis=1))


def test_fewer_where_there_are_no_more(clouds):
    vectors, index, graph = clouds
    found = recommend(
        index, graph, vectors, vectors[:1], 4, k=3, allowed=lambda queries, rows: rows == 7
    )
    assert found.rows.tolist() == [[7, -1, -1, -1]]
    assert np.isnan(found.distances[0, 1:]).all()
    none = recommend(
        index, graph, vectors, vectors[:1], 2, k=3, allowed=lambda queries, rows: rows < 0
    )
    assert none.rows.tolist() == [[-1, -1]]


def test_the_graph_follows_the_shape_of_the_data():
    vectors, ring = make_circles(1500, noise=0.02, factor=0.85, random_state=0)
    vectors = vectors.astype(np.float32)
    index = ExactIndex(vectors)
    graph = NeighbourGraph.build(index, vectors, 40)
    rows = np.arange(100)

    def same_ring(graph, steps):
        found = recommend(
            index,
            graph,
            vectors,
            vectors[rows],
            40,
            steps=steps,
            allowed=lambda queries, found: found != rows[queries][:, np.newaxis],
        )
        return (ring[found.rows] == ring[rows][:, np.newaxis])[found.rows >= 0].mean()

    # Forty neighbours reach over the gap between the rings; a walk along them does not.
    assert same_ring(graph, 0) < 0.9
    assert same_ring(graph.nearest(10), 2) > 0.95


def test_the_choice_of_k_matters_little_with_the_graph(clouds):
    vectors, index, graph = clouds
    group = np.arange(600) // 50
    overlap = choice_overlap(
        index,
        graph,
        vectors,
        np.arange(0, 600, 12),
        ks=(5, 10, 20, 40),
        allowed=lambda rows, found: group[found] != group[rows][:, np.newaxis],
    )
    assert overlap["k"].tolist() == [5, 10, 20, 40]
    assert (overlap["graph"] > 0.85).all()
    assert (overlap["graph"] > overlap["equal"] + 0.15).all()
    # Of nested sets of 5 to 40 the shares are those of their sizes.
    assert overlap["neighbours"][0] == pytest.approx((5 / 10 + 5 / 20 + 5 / 40) / 3)


def test_wrong_arguments(clouds):
    vectors, index, graph = clouds
    with pytest.raises(ValueError, match="n must be at least 1"):
        recommend(index, graph, vectors, vectors[:1], 0)
    with pytest.raises(ValueError, match="k is 700, and there are 600 vectors"):
        recommend(index, graph, vectors, vectors[:1], 1, k=700)
