import json

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from click.testing import CliRunner
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError

from astro_deepgalaxy import Cutout, GalaxyEmbedder, SimilaritySearch, preprocess_batch
from astro_deepgalaxy.cli import main
from astro_deepgalaxy.io import read_table
from astro_deepgalaxy.metrics.similarity import masked_ssim, source_mask
from astro_deepgalaxy.preprocess import Recipe
from astro_deepgalaxy.preprocess.bands import Bands
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.preprocess.stretch import Stretch
from astro_deepgalaxy.search import LatentSet
from astro_deepgalaxy.tasks.inputs import prepared
from astro_deepgalaxy.tasks.latents import embed

N = 240


class Components:
    """A model whose latent are the principal components of the pixels."""

    def __init__(self, store, digest="abc"):
        self.recipe_ = Recipe.from_dict(store.attributes["recipe"])
        self.digest_ = digest
        self._shape = store.image_shape
        self._pca = PCA(4, random_state=0).fit(store.load(range(N)).reshape(N, -1))

    def _answered(self, images, names, rows=None):
        for about, image in prepared(images, rows, self.recipe_, progress=False):
            good = [] if image is None else [0]
            batch = np.zeros((len(good), *self._shape)) if image is None else image[np.newaxis]
            z = self._pca.transform(batch.reshape(1, -1)) if good else np.zeros((0, 4))
            yield [about], np.array(good, dtype=int), batch, {"z": z}


def raw(blob_images, time, seed=9):
    """Images as they come from a telescope."""
    return [100 * image[..., 0] for image in blob_images(np.array(time), seed=seed)]


@pytest.fixture(scope="module")
def store(tmp_path_factory, blob_images):
    """Blobs in eight groups whose width tells the time, prepared by a recipe."""
    time = np.random.default_rng(2).uniform(-190, 520, N)
    images = raw(blob_images, time, seed=0)
    images[5] = np.full((32, 32), np.nan)
    images = [Cutout(image, id=f"blob{i}") for i, image in enumerate(images)]
    labels = QTable(
        {
            "id": [f"blob{i}" for i in range(N)],
            "group": [f"group{i % 8}" for i in range(N)],
            "time_since_pericentre": time * u.Myr,
            "mass_ratio": np.linspace(0.25, 1.5, N),
            "camera": np.arange(N) % 14,
            "stage": np.where(time < 100, "approaching", "merged"),
        }
    )
    recipe = Recipe([Bands(), Crop(size=32, unit="pixel", on="centre"), Resize(size=32), Stretch()])
    path = tmp_path_factory.mktemp("search") / "store.zarr"
    return preprocess_batch(images, recipe, path, labels=labels, progress=False)


@pytest.fixture(scope="module")
def model(store):
    return Components(store)


@pytest.fixture(scope="module")
def search(store, model):
    return SimilaritySearch(model).fit(store)


def test_what_is_known_of_a_match_comes_with_it(search, store):
    matches = search.query(store, rows=[3, 77])
    assert isinstance(matches, QTable)
    assert matches["query"].tolist() == ["blob3"] * 6 + ["blob77"] * 6
    assert matches["rank"].tolist() == [1, 2, 3, 4, 5, 6] * 2
    assert not (matches["query"] == matches["match"]).any()
    table = store.table[[int(name[4:]) for name in matches["match"]]]
    for name in ("group", "mass_ratio", "camera", "stage"):
        assert np.array_equal(matches[name], table[name])
    assert (matches["time_since_pericentre"] == table["time_since_pericentre"]).all()
    z = search.latents_.vectors
    assert search.latents_.table["id"][matches["match_row"]].tolist() == matches["match"].tolist()
    own = search.latents_.table["id"].tolist().index("blob77")
    away = np.linalg.norm(z[matches["match_row"][6:]] - z[own], axis=1)
    assert np.allclose(matches["distance"][6:], away, rtol=1e-4)
    assert (matches["score"] > 0).all()
    assert matches["score"][:6].sum() < 1
    provenance = json.loads(matches.meta["provenance"])
    assert provenance["model"] == "abc"
    assert provenance["index"]["name"] == "astro-deepgalaxy/exact"


def test_the_similarity_is_that_inside_the_sources(search, store):
    matches = search.query(store, rows=[40])
    image, other = store.load([40, int(matches["match"][2][4:])])
    expected = masked_ssim(image, other, source_mask(image))
    assert matches["ssim"][2] == pytest.approx(expected, abs=1e-6)


def test_a_raw_image_is_told_its_time(search, blob_images):
    time = np.linspace(-100, 450, 12)
    matches = search.query(raw(blob_images, time), n=3)
    found = matches["time_since_pericentre"].to_value(u.Myr).reshape(12, 3)
    assert np.median(np.abs(found - time[:, np.newaxis])) < 30
    assert np.median(matches["ssim"]) > 0.75


def test_a_file_that_cannot_be_read_is_a_row(search, blob_images, tmp_path):
    fits.writeto(tmp_path / "good.fits", raw(blob_images, [50])[0])
    (tmp_path / "empty.fits").touch()
    names = [tmp_path / "empty.fits", tmp_path / "good.fits", tmp_path / "no.fits"]
    matches = search.query(names, n=2)
    assert matches["query"].tolist() == ["empty", "good", "good", "no"]
    assert matches["query_row"].tolist() == [0, 1, 1, 2]
    assert matches["rank"].tolist() == [0, 1, 2, 0]
    assert "empty.fits" in matches["reason"][0]
    assert matches["match"][0] == ""
    assert matches["flags"][0] != 0
    assert np.isnan(matches["distance"][0])
    assert matches["match_row"][0] == -1
    only = search.query([tmp_path / "no.fits"])
    assert only["rank"].tolist() == [0]
    with pytest.raises(ValueError, match="none of the images has a result"):
        search.figure([tmp_path / "no.fits"])


def test_only_other_groups(search, store, blob_images, tmp_path):
    matches = search.query(store, rows=range(0, 60, 7), other_groups=True)
    own = [f"group{int(name[4:]) % 8}" for name in matches["query"]]
    assert not (matches["group"] == own).any()
    latents = search.latents_
    again = search.query(latents, rows=[0, 6], other_groups=True)
    assert np.array_equal(again["match"][:6], matches["match"][:6])
    # A table of files may say the group; without one nothing is known.
    fits.writeto(tmp_path / "raw.fits", raw(blob_images, [50])[0])
    QTable({"id": ["raw"], "file": ["raw.fits"], "group": ["group3"]}).write(tmp_path / "a.ecsv")
    named = search.query(tmp_path / "a.ecsv", other_groups=True)
    assert (named["group"] != "group3").all()
    with pytest.raises(ValueError, match="raw: no group is known of it, which other_groups needs"):
        search.query([tmp_path / "raw.fits"], other_groups=True)


def test_the_most_alike_of_what_was_found_come_first(search, store):
    walk = clone(search).set_params(candidates=0).fit(search.latents_)
    found = walk.query(store, rows=[40, 5, 41], n=8)
    assert (np.diff(found["score"][:8]) <= 0).all()
    for row in (40, 41):
        own = found[found["query"] == f"blob{row}"]
        best = own[np.argsort(-own["ssim"], kind="stable")[:4]]
        matches = search.query(store, rows=[row], n=4)
        assert matches["match"].tolist() == best["match"].tolist()
        assert matches["rank"].tolist() == [1, 2, 3, 4]
    # What is asked for beyond the candidates follows in the order in which it was found.
    few = clone(search).set_params(candidates=3).fit(search.latents_)
    matches = few.query(store, rows=[40], n=6)
    assert set(matches["match"][:3]) == set(found["match"][:3])
    assert matches["match"][3:].tolist() == found["match"][3:6].tolist()


def test_without_the_graph_the_nearest_come_first(store, model):
    search = SimilaritySearch(model, steps=0, candidates=0).fit(store)
    matches = search.query(store, rows=[12], n=10)
    z = search.latents_.vectors
    own = search.latents_.table["id"].tolist().index("blob12")
    order = np.argsort(np.linalg.norm(z - z[own], axis=1))[1:11]
    assert matches["match_row"].tolist() == order.tolist()


def test_saved_and_loaded_it_answers_the_same(search, store, model, tmp_path):
    search.save(tmp_path / "latents")
    again = SimilaritySearch.load(tmp_path / "latents", model)
    assert isinstance(again.graph_.distances, np.memmap)
    first, second = (one.query(store, rows=[3, 100]) for one in (search, again))
    for name in ("match", "distance", "score", "ssim"):
        assert np.array_equal(first[name], second[name])
    (tmp_path / "latents" / "graph_rows.npy").unlink()
    with pytest.raises(ValueError, match="holds no index that can be read"):
        SimilaritySearch.load(tmp_path / "latents")
    search.latents_.save(tmp_path / "bare")
    with pytest.raises(ValueError, match="make one with 'astro-deepgalaxy index'"):
        SimilaritySearch.load(tmp_path / "bare")


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_appending(store, model, tmp_path, index):
    if index == "faiss":
        pytest.importorskip("faiss")
    part = SimilaritySearch(model, index=index).fit(store, rows=range(200))
    part.save(tmp_path / "latents")
    grown = SimilaritySearch.load(tmp_path / "latents", model).add(store, rows=range(200, N))
    grown.save(tmp_path / "latents")
    again = SimilaritySearch.load(tmp_path / "latents", model)
    whole = SimilaritySearch(model).fit(store)
    first, second = (one.query(store, rows=[7, 220]) for one in (again, whole))
    assert first["match"].tolist() == second["match"].tolist()
    assert np.allclose(first["score"], second["score"], atol=1e-5)
    assert np.allclose(first["ssim"], second["ssim"])
    with pytest.raises(ValueError, match="images are there already, such as"):
        again.add(store, rows=[210])


def test_latents_of_another_model_are_refused(search, store):
    other = Components(store, digest="xyz")
    message = r"made by the model xyz, and the latents of the set by the model abc"
    for refused in (
        lambda: SimilaritySearch(other).fit(search.latents_).query(store, rows=[0]),
        lambda: search.query(LatentSet(np.zeros((1, 4)), {"id": ["a"]}, "xyz")),
        lambda: SimilaritySearch(other).fit(search.latents_).add(store, rows=[5]),
        lambda: search.add(LatentSet(np.zeros((1, 4)), {"id": ["a"]}, "xyz")),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


def test_a_model_that_is_saved_after_the_search_was_made(store, tmp_path):
    model = Components(store, digest=None)
    search = SimilaritySearch(model).fit(store)
    assert search.latents_.model == ""
    model.digest_ = "late"
    search.query(store, rows=[1])
    search.save(tmp_path / "latents")
    assert LatentSet.load(tmp_path / "latents").model == "late"


def test_a_set_without_images(search):
    bare = LatentSet(search.latents_.vectors, {"id": search.latents_.table["id"]}, "abc")
    alone = SimilaritySearch().fit(bare)
    matches = alone.query(bare, rows=[2])
    assert np.isnan(matches["ssim"]).all()
    assert np.isnan(matches["time_since_pericentre"]).all()
    assert matches["group"].tolist() == [""] * 6
    with pytest.raises(ValueError, match="none of the images has a result and a picture"):
        alone.figure(bare, rows=[2])
    with pytest.raises(ValueError, match="images need a model to embed them"):
        alone.query("image.fits")


def test_figure(search, store):
    figure = search.figure(store, rows=[3, 77], n=4, other_groups=True)
    assert len(figure.axes) == 10
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("blob3") == 1
    matches = search.query(store, rows=[3], n=4, other_groups=True)
    assert f"SSIM {matches['ssim'][0]:.2f}" in texts
    time = matches["time_since_pericentre"][0].to_value(u.Myr)
    assert any(f"{time:+.0f} Myr" in t and matches["group"][0] in t for t in texts)
    shown = figure.axes[1].images[0].get_array()
    assert np.allclose(shown, store.load([int(matches["match"][0][4:])])[0, ..., 0])
    assert len(search.figure(store, rows=range(6, 20), n=1).axes) == 16


def test_embedding_a_store(store, model):
    latents = embed(model, store)
    assert len(latents) == N - 1  # one image is broken
    assert "blob5" not in latents.table["id"]
    assert np.allclose(latents.images([5, 0])[0], store.load([6])[0])
    some = embed(model, store, rows=[9, 5, 2])
    assert some.table["id"].tolist() == ["blob9", "blob2"]
    assert np.allclose(some.images([0]), store.load([9]))
    with pytest.raises(ValueError, match=r"none of the 1 images could be embedded: .*blob5"):
        embed(model, store, rows=[5])


def test_wrong_arguments(store, model, search):
    with pytest.raises(ValueError, match="k is 15, and the set has 10 images"):
        SimilaritySearch(model).fit(store, rows=range(6, 16))
    with pytest.raises(ValueError, match="unknown index 'exakt'; did you mean 'exact'"):
        SimilaritySearch(model, index="exakt").fit(store)
    with pytest.raises(TypeError):
        SimilaritySearch(model, index_options={"lists": 3}).fit(store)
    with pytest.raises(ValueError, match="n must be at least 1"):
        search.query(store, n=0, rows=[0])
    with pytest.raises(ValueError, match="candidates at least 0; got 6 and -1"):
        SimilaritySearch(model, candidates=-1).fit(search.latents_).query(store, rows=[0])
    with pytest.raises(NotFittedError, match="nothing to search yet"):
        SimilaritySearch().query(store)
    with pytest.raises(ValueError, match="there is no image to look for"):
        search.query(search.latents_, rows=[])
    copy = clone(SimilaritySearch(k=7, steps=1))
    assert (copy.k, copy.steps, copy.index) == (7, 1, "exact")


def test_commands(store, tmp_path, monkeypatch, blob_images):
    monkeypatch.chdir(tmp_path)
    embedder = GalaxyEmbedder(
        "simple",
        backbone_options={"filters": [4, 8]},
        latent_size=4,
        image_weight=0,
        epochs=1,
        validation_fraction=0,
        progress=False,
    )
    digest = embedder.fit(store).save("model")
    other = embedder.set_params(seed=1).save("other")
    fits.writeto("raw.fits", raw(blob_images, [50])[0])

    def run(line, code=0):
        result = CliRunner().invoke(main, line.split())
        assert result.exit_code == code, result.output
        return result.output

    path = store.path
    assert "239 images, 4 numbers each, in " in run(f"index model {path} -o latents")
    assert "1 images, 0 of them without" in run("search latents raw.fits -o m.ecsv --figure m.png")
    assert len(read_table("m.ecsv")) == 6
    assert (tmp_path / "m.png").stat().st_size > 10_000
    summary = json.loads(run("search latents raw.fits none.fits -n 2 -o m.fits --json"))
    assert summary == {"matches": "m.fits", "images": 2, "failed": 1}
    run(f"search latents {path} -o all.ecsv -n 1 --other-groups")
    matches = read_table("all.ecsv")
    assert (matches["rank"] == 0).sum() == 1
    assert "cluster" in run("cluster latents -o c.ecsv -n 3 --figure c.png")
    assert set(read_table("c.ecsv")["cluster"]) == {0, 1, 2}
    agreement = json.loads(run("cluster latents -o c.ecsv --json"))["agreement"]
    assert set(agreement) == {"stage", "group"}

    assert "are there already" in run(f"index model {path} -o latents --append", 1)
    refusal = run("search latents raw.fits -o m.ecsv --model other", 1)
    assert digest in refusal
    assert other in refusal
    assert "unknown index 'fast'" in run(f"index model {path} -o l --index fast", 1)
    assert "cannot write a table with the suffix" in run("search latents raw.fits -o m.txt", 1)
    assert "not a folder of latents" in run("cluster model -o c.ecsv", 1)
