import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from sklearn.base import clone
from sklearn.cluster import SpectralClustering
from sklearn.datasets import make_blobs, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from astro_deepgalaxy import CutoutStore, GalaxyClusterer
from astro_deepgalaxy.figures_search import (
    choice_of_k,
    cluster_sheet,
    recommendations,
    spectrum,
)
from astro_deepgalaxy.search import LatentSet


@pytest.fixture(scope="module")
def blobs():
    """Four clouds of eight dimensions, of different sizes."""
    return make_blobs([120, 90, 60, 30], 8, cluster_std=0.8, random_state=3)


@pytest.mark.parametrize("wanted", [None, 4])
def test_clouds_are_found_and_counted(blobs, wanted):
    vectors, truth = blobs
    found = GalaxyClusterer(wanted).fit(vectors)
    assert found.n_clusters_ == 4
    assert adjusted_rand_score(truth, found.labels_) == 1
    assert np.bincount(found.labels_).tolist() == [120, 90, 60, 30]
    assert found.fit_predict(vectors).tolist() == found.labels_.tolist()


def test_crescents_are_told_apart():
    vectors, truth = make_moons(500, noise=0.06, random_state=0)
    found = GalaxyClusterer(2, k=10).fit(vectors)
    assert adjusted_rand_score(truth, found.labels_) > 0.98
    other, other_truth = make_moons(200, noise=0.06, random_state=1)
    assert (found.predict(other) == other_truth).mean() in (
        pytest.approx(1, abs=0.02),
        pytest.approx(0, abs=0.02),
    )


def test_clusters_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 5)) + 2 * rng.integers(0, 3, (400, 1))
    found = GalaxyClusterer(3).fit(vectors)
    theirs = SpectralClustering(3, affinity="precomputed", random_state=0).fit(
        found.graph_.adjacency.toarray()
    )
    assert adjusted_rand_score(theirs.labels_, found.labels_) > 0.9


def test_the_number_hardly_depends_on_k(blobs):
    for k in (5, 10, 20, 29):
        assert GalaxyClusterer(k=k).fit(blobs[0]).n_clusters_ == 4


def test_neighbours_reach_beyond_the_own_simulation():
    # 40 simulations, each a string of like snapshots, half of them in either of two clouds.
    rng = np.random.default_rng(4)
    cloud = np.arange(40) % 2
    starts = rng.normal(size=(40, 6)) + 5 * cloud[:, np.newaxis]
    steps = 0.05 * rng.normal(size=(40, 40, 6))
    vectors = (starts[:, np.newaxis] + steps.cumsum(axis=1)).reshape(-1, 6)
    table = QTable({"id": [f"image{i}" for i in range(1600)]})
    alone = GalaxyClusterer(2).fit(LatentSet(vectors, table, "abc"))
    assert alone.graph_.k == 60
    table["group"] = [f"sim{i // 40}" for i in range(1600)]
    found = GalaxyClusterer(2).fit(LatentSet(vectors, table, "abc"))
    assert found.graph_.k == 80
    assert adjusted_rand_score(np.repeat(cloud, 40), found.labels_) == 1
    # Large simulations do not make the graph too large.
    many = QTable({"id": [f"image{i}" for i in range(3200)], "group": ["one"] * 3200})
    found = GalaxyClusterer(2).fit(LatentSet(rng.normal(size=(3200, 6)), many, "abc"))
    assert found.graph_.k == 300


def test_agreement_and_catalogue(blobs):
    vectors, truth = blobs
    names = np.array(["merged", "approaching", "", "separated"])[truth]
    table = QTable(
        {
            "id": [f"i{i}" for i in range(300)],
            "stage": names,
            "time_since_pericentre": np.arange(300.0) * u.Myr,
        }
    )
    found = GalaxyClusterer(4).fit(LatentSet(vectors, table, "abc"))
    assert found.agreement("stage") == {"nmi": 1, "ari": 1, "n": 240}
    catalogue = found.catalogue()
    assert catalogue.colnames == [
        *("id", "cluster", "typicality", "component", "time_since_pericentre", "stage")
    ]
    assert catalogue["time_since_pericentre"].unit == u.Myr
    with pytest.raises(ValueError, match="no column 'group'"):
        found.agreement("group")
    with pytest.raises(ValueError, match=r"by the model xyz, and the latents .* model abc"):
        found.predict(LatentSet(vectors[:2], table[:2], "xyz"))
    assert np.array_equal(found.predict(found.latents_), found.labels_)


def test_central_members_are_typical(blobs):
    found = GalaxyClusterer(4).fit(blobs[0])
    for cluster in range(4):
        rows = found.central(cluster, 5)
        members = found.labels_ == cluster
        assert members[rows].all()
        assert (found.typicality_[rows] >= np.median(found.typicality_[members])).all()
        assert (np.diff(found.typicality_[rows]) <= 0).all()


def test_figure(tmp_path, blobs, blob_images):
    vectors, truth = blobs
    images = blob_images(truth * 100.0)
    store = CutoutStore.create(tmp_path / "store", 300, images.shape[1:], shard_rows=300)
    ids = [f"i{i}" for i in range(300)]
    store.write_shard(0, images, QTable({"id": ids}))
    table = QTable({"id": ids, "store": [0] * 300, "store_row": range(300)})
    found = GalaxyClusterer(4).fit(LatentSet(vectors, table, stores=[store.path]))
    figure = found.figure(n=3)
    assert len(figure.axes) == 12
    assert figure.texts[0].get_text() == "cluster 0\n120 images"
    assert np.allclose(
        figure.axes[3].images[0].get_array(), images[found.central(1, 1)[0], ..., 0], atol=1e-6
    )
    with pytest.raises(ValueError, match="were not made from a store"):
        GalaxyClusterer(4).fit(vectors).figure()


def test_latents_from_a_folder(tmp_path, blobs):
    ids = {"id": [str(i) for i in range(300)]}
    LatentSet(blobs[0], ids).save(tmp_path / "latents")
    assert GalaxyClusterer(4).fit(tmp_path / "latents").n_clusters_ == 4


def test_wrong_arguments(blobs):
    vectors = blobs[0]
    with pytest.raises(ValueError, match="must be at least 2; got 1"):
        GalaxyClusterer(1).fit(vectors)
    with pytest.raises(ValueError, match="10 images are too few for k = 15"):
        GalaxyClusterer(k=15).fit(vectors[:10])
    with pytest.raises(ValueError, match=r"40 images are too few for k = 5 .* and 39 clusters"):
        GalaxyClusterer(39, k=5).fit(vectors[:40])
    with pytest.raises(ValueError, match="unknown index"):
        GalaxyClusterer(index="none").fit(vectors)
    with pytest.raises(NotFittedError):
        GalaxyClusterer().predict(vectors)
    with pytest.raises(ValueError, match="have 3 numbers each, and those of the index 8"):
        GalaxyClusterer(4).fit(vectors).predict(np.zeros((1, 3)))
    copy = clone(GalaxyClusterer(5, k=9))
    assert (copy.n_clusters, copy.k) == (5, 9)


def test_figures_show_their_numbers():
    overlap = QTable({"k": [5, 10], "graph": [0.9, 0.8], "nearest": [0.5, 0.6]})
    overlap["equal"] = overlap["neighbours"] = [0.2, 0.3]
    lines = {line.get_label(): line for line in choice_of_k(overlap).axes[0].lines}
    assert len(lines) == 4
    assert lines["walk on the weighted graph"].get_ydata().tolist() == [0.9, 0.8]
    axes = spectrum([0, 0.01, 0.3], 2).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[1, 0], [2, 0.01], [3, 0.3]]
    assert axes.patches[0].get_x() == 2
    with pytest.raises(ValueError, match="at least one cluster"):
        cluster_sheet([], [], [])
    with pytest.raises(ValueError, match="at least one query"):
        recommendations([], [], [], [])
    colour = np.zeros((8, 8, 3))
    one = recommendations([colour], ["a"], [[colour[..., :1]]], [["SSIM 1.00\nx"]])
    assert [ax.images[0].get_array().shape for ax in one.axes] == [(8, 8, 3), (8, 8)]
