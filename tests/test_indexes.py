import sys

import numpy as np
import pytest

from astro_deepgalaxy.indexes.exact import ExactIndex
from astro_deepgalaxy.plugins import get_spec
from astro_deepgalaxy.testing import check_index

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def clustered():
    """Vectors in 80 clusters, and queries like them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(80, 16))

    def draw(n):
        noise = 0.4 * rng.normal(size=(n, 16))
        return (centres[rng.integers(0, 80, n)] + noise).astype(np.float32)

    return draw(6000), draw(50)


def true_neighbours(vectors, queries, k):
    away = np.linalg.norm(vectors.astype(float) - queries[:, np.newaxis].astype(float), axis=2)
    rows = np.argsort(away, axis=1)[:, :k]
    return np.take_along_axis(away, rows, 1), rows


@pytest.mark.parametrize("name", ["exact", "faiss"])
def test_shipped_indexes_pass(name):
    check_index(name)


@pytest.mark.parametrize("name", ["exact", "faiss"])
def test_neighbours_are_those_of_brute_force(clustered, name):
    vectors, queries = clustered
    distances, rows = get_spec("index", name).load()(vectors).query(queries, 10)
    true_distances, true_rows = true_neighbours(vectors, queries, 10)
    found = [len(np.intersect1d(*pair)) for pair in zip(rows, true_rows, strict=True)]
    assert np.mean(found) >= 9.9
    # Whatever is found, its distance is exact.
    away = np.linalg.norm(vectors[rows] - queries[:, np.newaxis], axis=2)
    assert np.allclose(distances, away, atol=1e-4)
    if name == "exact":
        assert np.array_equal(rows, true_rows)
        assert np.allclose(distances, true_distances, atol=1e-4)


def test_far_neighbours_are_found_too(clustered):
    vectors, queries = clustered
    index = get_spec("index", "faiss").load()(vectors)
    assert index.probes < index._lists.nlist / 4
    rows = index.query(queries[:20], 500)[1]
    true = true_neighbours(vectors, queries[:20], 500)[1]
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(rows, true, strict=True)]) > 450
    # All of them: more than the lists that are looked through hold.
    everything = index.query(queries[:2], len(vectors))[1]
    assert np.array_equal(np.sort(everything, axis=1), [np.arange(len(vectors))] * 2)


def test_lists_are_mapped_and_appended_to(clustered, tmp_path):
    vectors, queries = clustered
    factory = get_spec("index", "faiss").load()
    index = factory(vectors[:5000])
    index.save(tmp_path)
    loaded = factory()
    loaded.load(tmp_path, vectors[:5000])
    centres = loaded._lists.quantizer.reconstruct_n(0, 5)
    loaded.add(vectors[5000:])
    assert len(loaded) == 6000
    assert np.array_equal(loaded._lists.quantizer.reconstruct_n(0, 5), centres)
    true = true_neighbours(vectors, queries, 10)[1]
    found = loaded.query(queries, 10)[1]
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found, true, strict=True)]) > 9.8


def test_lists_are_made_anew_when_the_set_has_doubled(clustered):
    vectors, _ = clustered
    index = get_spec("index", "faiss").load()(vectors[:1000])
    few = index._lists.nlist
    index.add(vectors[1000:1900])
    assert index._lists.nlist == few
    index.add(vectors[1900:2100])
    assert index._lists.nlist > few


def test_appending_after_the_file_was_replaced(clustered, tmp_path):
    vectors, queries = clustered
    factory = get_spec("index", "faiss").load()
    factory(vectors[:3000]).save(tmp_path)
    loaded = factory()
    loaded.load(tmp_path, vectors[:3000])
    (tmp_path / "lists.faiss").unlink()
    factory(vectors[:2000]).save(tmp_path)
    loaded.add(vectors[3000:3100])
    assert len(loaded) == 3100
    true = true_neighbours(vectors[:3100], queries, 5)[1]
    found = loaded.query(queries, 5)[1]
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found, true, strict=True)]) > 4.8


def test_damaged_or_foreign_lists_are_refused(clustered, tmp_path):
    vectors, _ = clustered
    factory = get_spec("index", "faiss").load()
    factory(vectors[:3000]).save(tmp_path)
    with pytest.raises(ValueError, match=r"holds 3000 vectors of 16 numbers, and is given 2000"):
        factory().load(tmp_path, vectors[:2000])
    file = tmp_path / "lists.faiss"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"lists\.faiss: cannot be read; build the index again"):
        factory().load(tmp_path, vectors[:3000])
    file.unlink()
    with pytest.raises(ValueError, match="build the index again"):
        factory().load(tmp_path, vectors[:3000])


def test_wrong_arguments():
    faiss = get_spec("index", "faiss").load()
    with pytest.raises(ValueError, match=r"recall must be more than 0 and at most 1; got 1\.5"):
        faiss(recall=1.5)
    with pytest.raises(ValueError, match="threads must be at least 1; got 0"):
        faiss(threads=0)
    for index in (ExactIndex(np.zeros((3, 2))), faiss(np.zeros((3, 2)))):
        with pytest.raises(ValueError, match="k is 4, and the index holds 3 vectors"):
            index.query(np.zeros((1, 2)), 4)
        with pytest.raises(ValueError, match="have 3 numbers each, and those of the index 2"):
            index.add(np.zeros((1, 3)))
        with pytest.raises(ValueError, match="not finite"):
            index.add(np.full((1, 2), np.nan))
        with pytest.raises(ValueError, match=r"expected an array \(n, L\)"):
            index.query(np.zeros(2), 1)
    with pytest.raises(ValueError, match="unknown index 'fais'; did you mean 'faiss'"):
        get_spec("index", "fais")


def test_what_to_install_without_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install 'astro-deepgalaxy\[search\]'"):
        get_spec("index", "faiss").load()()


class _Squared(ExactIndex):
    """Distances that are not Euclidean."""

    def query(self, vectors, k):
        distances, rows = super().query(vectors, k)
        return distances**2, rows


class _Forgetful(ExactIndex):
    """Vectors that are added take the place of the others."""

    def add(self, vectors):
        self._hold(np.asarray(vectors, dtype=np.float32))


class _Blind(ExactIndex):
    """Random rows with their true distances."""

    def query(self, vectors, k):
        super().query(vectors, k)
        rng = np.random.default_rng(0)
        rows = np.array([rng.choice(len(self), k, replace=False) for _ in vectors])
        away = np.linalg.norm(self._vectors[rows] - vectors[:, np.newaxis], axis=2)
        order = np.argsort(away, axis=1)
        return np.take_along_axis(away, order, 1), np.take_along_axis(rows, order, 1)


class _Generous(ExactIndex):
    """Gives what it has when more is asked for."""

    def query(self, vectors, k):
        return super().query(vectors, min(k, len(self)))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (_Squared, "differ from Euclidean ones"),
        (_Forgetful, "has the length 250, not 600"),
        (_Blind, "of the 1 nearest neighbours"),
        (_Generous, "does not refuse more neighbours than vectors"),
    ],
)
def test_a_faulty_index_is_caught(factory, message):
    with pytest.raises(AssertionError, match=message):
        check_index(factory)
