import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy
from sklearn.neighbors import kneighbors_graph

from astro_deepgalaxy.indexes.exact import ExactIndex
from astro_deepgalaxy.search import NeighbourGraph, neighbour_weights


def build(vectors, k, **options):
    vectors = np.asarray(vectors, dtype=np.float32)
    return NeighbourGraph.build(ExactIndex(vectors), vectors, k, **options)


@pytest.fixture(scope="module")
def cloud():
    return np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, (3, 12), elements=st.floats(0.01, 100)),
    st.floats(1.5, 9),
    st.floats(0.01, 100),
)
def test_weights_have_the_entropy_of_the_perplexity(distances, perplexity, factor):
    distances = np.sort(distances + 0.05 * np.arange(12), axis=1)
    weights = neighbour_weights(distances, perplexity)
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(np.exp(entropy(weights, axis=1)), perplexity, rtol=1e-3)
    assert (np.diff(weights, axis=1) <= 1e-12).all()
    assert np.allclose(neighbour_weights(factor * distances, perplexity), weights, atol=1e-6)


def test_weights_of_few_or_equal_neighbours():
    assert np.allclose(neighbour_weights([[1, 2, 3]], 3), 1 / 3)
    assert np.allclose(neighbour_weights([[2, 2, 2, 2, 9]], 3), [[0.25] * 4 + [0]])
    assert np.allclose(neighbour_weights([[0, 0, 0, 0, 0]], 3), 0.2)
    with pytest.raises(ValueError, match=r"perplexity must be at least 1; got 0\.5"):
        neighbour_weights([[1, 2]], 0.5)


def test_more_neighbours_hardly_change_the_weights(cloud):
    few, many = build(cloud, 12), build(cloud, 60)
    change = abs(few.adjacency - many.adjacency).sum() / few.adjacency.sum()
    assert change < 0.1
    equal = [build(cloud, k, perplexity=np.inf).adjacency for k in (12, 60)]
    assert abs(equal[0] - equal[1]).sum() / equal[0].sum() > 1
    # The spectrum of one is that of the other.
    assert np.allclose(few.spectrum(8)[0], many.spectrum(8)[0], atol=0.01)


def test_edges_are_those_of_scikit_learn(cloud):
    graph = build(cloud, 7)
    theirs = kneighbors_graph(cloud, 7, mode="connectivity")
    assert ((graph.adjacency > 0) != (theirs + theirs.T > 0)).nnz == 0
    assert abs(graph.adjacency - graph.adjacency.T).max() == 0
    assert graph.adjacency.diagonal().sum() == 0
    assert np.isclose(graph.adjacency.sum(), len(cloud))


def test_a_vector_is_not_its_own_neighbour_among_equal_ones():
    vectors = np.repeat(np.random.default_rng(0).normal(size=(20, 3)), 4, axis=0)
    graph = build(vectors, 6)
    assert (graph.rows != np.arange(80)[:, np.newaxis]).all()
    assert (np.diff(np.sort(graph.rows, axis=1), axis=1) > 0).all()
    assert (graph.distances[:, :3] < 1e-6).all()
    assert np.isfinite(graph.normalised.data).all()


def test_laplacian_is_its_definition(cloud):
    graph = build(cloud, 7)
    weights = graph.adjacency.toarray()
    degrees = weights.sum(axis=1)
    expected = np.eye(len(cloud)) - weights / np.sqrt(np.outer(degrees, degrees))
    assert np.allclose(graph.laplacian.toarray(), expected, atol=1e-6)
    assert np.allclose(np.eye(len(cloud)) - graph.normalised.toarray(), expected, atol=1e-6)


def test_spectrum_of_a_ring_is_known():
    n = 300
    angle = 2 * np.pi * np.arange(n) / n
    graph = build(np.stack([np.cos(angle), np.sin(angle)], axis=1), 2, perplexity=np.inf)
    values, vectors = graph.spectrum(7)
    expected = 1 - np.cos(2 * np.pi * np.array([0, 1, 1, 2, 2, 3, 3]) / n)
    assert np.allclose(values, expected, atol=1e-9)
    assert np.allclose(graph.laplacian @ vectors, vectors * values, atol=1e-7)


@pytest.mark.parametrize("n", [60, 600])
def test_components_are_the_zeros_of_the_spectrum(n):
    rng = np.random.default_rng(1)
    groups = np.arange(n) % 3
    graph = build(rng.normal(size=(n, 4)) + 100 * groups[:, np.newaxis], 10)
    assert graph.components.max() == 2
    assert all(len(set(graph.components[groups == i])) == 1 for i in range(3))
    values, _ = graph.spectrum(5)
    assert (values[:3] < 1e-8).all()
    assert values[3] > 1e-4


def test_a_graph_of_fewer_neighbours(cloud):
    graph = build(cloud, 20)
    assert (abs(graph.nearest(8).adjacency - build(cloud, 8).adjacency)).max() < 1e-6
    with pytest.raises(ValueError, match="k is 21, and the graph has 20"):
        graph.nearest(21)


def test_too_few_vectors():
    with pytest.raises(ValueError, match="k is 5, and there are 5 vectors: each has 4 others"):
        build(np.eye(5), 5)
    with pytest.raises(ValueError, match="5 eigenvalues were asked for"):
        build(np.eye(5), 2).spectrum(5)


def test_equal_eigenvalues_are_all_found():
    rng = np.random.default_rng(2)
    graph = build(rng.normal(size=(900, 4)) + 100 * (np.arange(900) % 9)[:, np.newaxis], 8)
    values, vectors = graph.spectrum(14)
    dense = np.linalg.eigvalsh(graph.laplacian.toarray())[:14]
    assert np.allclose(values, dense, atol=1e-6)
    assert np.allclose(vectors.T @ vectors, np.eye(14), atol=1e-6)
    assert np.allclose(graph.laplacian @ vectors, vectors * values, atol=1e-6)
    assert np.allclose(graph.spectrum(6)[0], 0)
