import json
import re
import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from astro_deepgalaxy import Flag, MergerClassifier, TimeScale
from astro_deepgalaxy.evaluation import evaluate, scorecard
from astro_deepgalaxy.io import read_table, write_table
from astro_deepgalaxy.preprocess import Recipe
from astro_deepgalaxy.tasks.posterior import bimodal


@pytest.fixture(scope="module")
def blob_table(blob_images):
    """A function: blobs as raw images in memory, with their labels."""
    return lambda n=240, seed=3: _blob_table(blob_images, n, seed)


def _blob_table(blob_images, n, seed):
    rng = np.random.default_rng(seed)
    time = rng.uniform(-190, 520, n)
    images = [100 * image[..., 0] for image in blob_images(time, size=48, seed=seed)]
    labels = QTable(
        {
            "id": [f"blob{i}" for i in range(n)],
            "group": [f"group{i % 6}" for i in range(n)],
            "time_since_pericentre": time * u.Myr,
            "stage": np.where(time < 165, "approaching", "merged"),
        }
    )
    return images, labels


@pytest.fixture(scope="module")
def raw(blob_table):
    return blob_table()


@pytest.fixture(scope="module")
def fitted(raw):
    """A classifier of raw images whose sizes, left as they are, tell the time."""
    from astro_deepgalaxy.preprocess.bands import Bands
    from astro_deepgalaxy.preprocess.crop import Crop
    from astro_deepgalaxy.preprocess.resize import Resize
    from astro_deepgalaxy.preprocess.stretch import Stretch

    images, labels = raw
    recipe = Recipe([Bands(), Crop(size=48, unit="pixel", on="centre"), Resize(size=32), Stretch()])
    classifier = MergerClassifier(
        "simple", recipe=recipe, epochs=12, learning_rate=3e-3, progress=False, seed=1
    )
    return classifier.fit(images, labels)


def test_unseen_images_are_timed_well_below_the_baseline(fitted, blob_table):
    images, labels = blob_table(60, seed=8)
    catalogue = fitted.predict(images)
    labels["id"] = catalogue["id"]
    card = scorecard(catalogue, labels, fitted.training_median_)
    assert card.time.median < card.time.baseline / 3
    assert card.stage_accuracy > 0.8
    assert card.failed == 0


def test_catalogue_columns(fitted, raw):
    catalogue = fitted.predict(raw[0][:5])
    assert isinstance(catalogue, QTable)
    assert catalogue["time_since_pericentre"].unit == u.Myr
    assert (catalogue["time_lower"] < catalogue["time_since_pericentre"]).all()
    assert (catalogue["time_since_pericentre"] < catalogue["time_upper"]).all()
    assert catalogue["time_probabilities"].shape == (5, 71)
    assert np.allclose(catalogue["time_probabilities"].sum(axis=1), 1, atol=1e-5)
    assert (catalogue["time_class"] == catalogue["time_probabilities"].argmax(axis=1)).all()
    assert TimeScale(**json.loads(catalogue.meta["time_scale"])) == TimeScale()
    assert catalogue.meta["calibrated"] is False
    provenance = json.loads(catalogue.meta["provenance"])
    assert Recipe.from_dict(provenance["recipe"]) == fitted.recipe_
    assert provenance["versions"]["astro-deepgalaxy"]


def test_a_broken_image_is_a_flagged_row(fitted, raw, tmp_path):
    (tmp_path / "empty.fits").touch()
    catalogue = fitted.predict(
        [raw[0][0], tmp_path / "empty.fits", np.full((40, 40), np.nan), tmp_path / "no.fits"]
    )
    assert len(catalogue) == 4
    assert np.isfinite(catalogue["time_since_pericentre"]).tolist() == [True, False, False, False]
    assert catalogue["time_class"][1] == -1
    assert catalogue["flag_names"][1] == "unreadable"
    assert "empty.fits" in catalogue["reason"][1]
    assert catalogue["flags"][2] & int(Flag.NO_DATA)
    assert "no.fits" in catalogue["reason"][3]


def test_an_image_of_another_shape_is_a_flagged_row(fitted, raw, monkeypatch):
    from astro_deepgalaxy.preprocess.stretch import Stretch

    monkeypatch.setattr(fitted, "recipe_", Recipe([Stretch()]))
    catalogue = fitted.predict([raw[0][0]])
    assert catalogue["flags"][0] & int(Flag.PREPROCESS_FAILED)
    assert "the network takes (32, 32, 1)" in catalogue["reason"][0]


def test_a_batch_of_nothing_but_broken_images(fitted, tmp_path):
    catalogue = fitted.predict([tmp_path / "a.fits", tmp_path / "b.fits"])
    assert len(catalogue) == 2
    assert not np.isfinite(catalogue["time_since_pericentre"]).any()
    assert catalogue["stage"].tolist() == ["", ""]


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
def test_catalogue_round_trips(fitted, raw, tmp_path, suffix):
    catalogue = fitted.predict([*raw[0][:3], tmp_path / "missing.fits"])
    path = tmp_path / f"catalogue.{suffix}"
    write_table(catalogue, path)
    again = read_table(path)
    assert again.colnames == catalogue.colnames
    assert again["time_lower"].unit == u.Myr
    assert np.array_equal(again["time_lower"].value, catalogue["time_lower"].value, equal_nan=True)
    assert np.array_equal(again["stage"], catalogue["stage"])
    assert np.allclose(again["time_probabilities"], catalogue["time_probabilities"], equal_nan=True)
    assert json.loads(again.meta["provenance"]) == json.loads(catalogue.meta["provenance"])
    assert again.meta["calibrated"] is False


@pytest.mark.parametrize("suffix", ["csv", "vot", "parquet"])
def test_catalogue_in_plainer_formats(fitted, raw, tmp_path, suffix):
    catalogue = fitted.predict([*raw[0][:2], tmp_path / "missing.fits"])
    path = tmp_path / f"catalogue.{suffix}"
    write_table(catalogue, path)
    again = read_table(path)
    assert len(again) == 3
    assert np.isnan(np.ma.filled(np.ma.asarray(again["sky_ra"]), np.nan)).all()
    assert again["stage"].tolist() == catalogue["stage"].tolist()
    first = again["time_probabilities_0"] if suffix == "csv" else again["time_probabilities"][:, 0]
    expected = catalogue["time_probabilities"][:2, 0]
    assert np.allclose(np.ma.asarray(first)[:2], expected, rtol=1e-5)


def test_a_saved_model_gives_the_same_answers(fitted, raw, tmp_path):
    digest = fitted.save(tmp_path / "model")
    loaded = MergerClassifier.load(tmp_path / "model")
    ours, theirs = fitted.predict(raw[0][:8]), loaded.predict(raw[0][:8])
    assert np.array_equal(ours["time_probabilities"], theirs["time_probabilities"])
    assert loaded.get_params()["backbone"] == "simple"
    assert json.loads(theirs.meta["provenance"])["model"] == digest
    assert {p.name for p in (tmp_path / "model").iterdir()} == {
        "config.json",
        "encoder.weights.h5",
        "classifier.weights.h5",
    }


def test_saving_replaces_a_model_but_nothing_else(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("dear")
    with pytest.raises(ValueError, match="not a model folder"):
        fitted.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    fitted.save(folder)
    return folder


def tamper_config(folder):
    config = json.loads((folder / "config.json").read_text())
    config["recipe"]["steps"] = []
    (folder / "config.json").write_text(json.dumps(config))


def tamper_weights(folder):
    path = folder / "encoder.weights.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (tamper_config, "does not match its own hash"),
        (tamper_weights, r"encoder\.weights\.h5: does not match the hash"),
        (lambda f: (f / "classifier.weights.h5").unlink(), "weight file is missing"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "not the configuration of a model"),
    ],
)
def test_a_damaged_model_is_refused(saved, tmp_path, damage, message):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    damage(folder)
    with pytest.raises(ValueError, match=message):
        MergerClassifier.load(folder)


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda c: c["network"].update(backbone="evil"),
        lambda c: c["network"].update(surprise=1),
        lambda c: c["network"]["outputs"].update(stage=-3),
        lambda c: c["network"].update(input_shape=[1, 2]),
        lambda c: c.pop("network"),
        lambda c: c.update(files=None),
        lambda c: c["files"].update({"../elsewhere.weights.h5": "0"}),
        lambda c: c["recipe"].update(steps=[{"step": "os.system"}]),
        lambda c: c["tasks"]["classify"].pop("parameters"),
        lambda c: c["tasks"]["classify"]["parameters"].update(interval=7),
        lambda c: c["tasks"]["classify"].update(state={}),
        lambda c: c["tasks"]["classify"]["state"]["time_scale"].update(n=70),
        lambda c: c["tasks"]["classify"]["state"]["time_scale"].update(n="many"),
        lambda c: c.update(tasks={"other": {"parameters": {}, "state": {}}}),
        lambda c: c.update(training=None),
    ],
)
def test_a_configuration_of_nonsense_is_refused_in_a_sentence(saved, tmp_path, nonsense):
    from astro_deepgalaxy.tasks.model_folder import _digest

    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    config = json.loads((folder / "config.json").read_text())
    nonsense(config)
    config["digest"] = _digest(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=re.escape(str(folder))):
        MergerClassifier.load(folder)


def test_it_is_a_scikit_learn_estimator():
    classifier = MergerClassifier("simple", epochs=3)
    assert clone(classifier).get_params() == classifier.get_params()
    assert classifier.set_params(epochs=5).epochs == 5
    with pytest.raises(NotFittedError, match="call fit"):
        classifier.predict("*.fits")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["id", "time_since_pericentre"], "no column 'group'"),
        (["id", "group"], "no column 'time_since_pericentre'"),
    ],
)
def test_missing_labels_are_named(raw, columns, message):
    images, labels = raw
    with pytest.raises(ValueError, match=message):
        MergerClassifier("simple", image_size=32, progress=False).fit(
            images[:6], labels[columns][:6]
        )


def test_one_group_is_too_few(raw):
    images, labels = raw
    one = labels[:4].copy()
    one["group"] = "same"
    with pytest.raises(ValueError, match="at least two groups"):
        MergerClassifier("simple", image_size=32, progress=False).fit(images[:4], one)


def test_training_and_validation_share_no_group(fitted):
    groups = fitted.training_["groups"]
    assert groups["train"]
    assert groups["validation"]
    assert not set(groups["train"]) & set(groups["validation"])


def test_a_random_split_knows_its_images(blob_store):
    classifier = MergerClassifier(
        "simple",
        backbone_options={"filters": [4, 6]},
        epochs=1,
        split="image",
        validation_fraction=0.2,
        progress=False,
    )
    rows = np.flatnonzero((np.arange(600) % 10 < 7) & (np.arange(600) % 3 > 0))
    classifier.fit(blob_store, rows=rows)
    ids = blob_store.table["id"]
    assert classifier.training_["ids"] == ids[rows].tolist()
    splits = evaluate(classifier, blob_store).sections["splits"]
    assert splits["seen"].groups == 7
    assert splits["seen"].time.n == 7 * 60 - len(rows)
    assert splits["unseen"].time.n == 180


def test_bimodal_means_two_separate_peaks():
    k = np.arange(71)
    one = norm.pdf(k, 30, 6)
    near = norm.pdf(k, 28, 4) + norm.pdf(k, 33, 4)
    two = norm.pdf(k, 15, 4) + 0.8 * norm.pdf(k, 50, 4)
    faint = norm.pdf(k, 15, 4) + 0.2 * norm.pdf(k, 50, 4)
    border = norm.pdf(k, 0, 4) + norm.pdf(k, 70, 4)
    posterior = np.array([one, near, two, faint, border])
    posterior /= posterior.sum(axis=1, keepdims=True)
    assert bimodal(posterior).tolist() == [False, False, True, False, True]


def test_scorecard_needs_the_same_images(fitted, raw):
    images, labels = raw
    catalogue = fitted.predict(images[:3])
    with pytest.raises(ValueError, match="same images in the same order"):
        scorecard(catalogue, labels[1:4], 0 * u.Myr)


def test_real_images_of_all_kinds_give_one_row_each(fitted, real_images, tmp_path):
    truncated = tmp_path / "truncated.fits"
    stamps = sorted((real_images / "sdss_pawlik" / "small").iterdir())[:4]
    truncated.write_bytes(stamps[0].read_bytes()[:4000])
    (tmp_path / "text.fits").write_text("not an image")
    inputs = [
        *stamps,
        *sorted((real_images / "decals_gz").glob("*.fits*")),
        *sorted((real_images / "galaxy_zoo_mergers").glob("*.jpg"))[:4],
        truncated,
        tmp_path / "text.fits",
        tmp_path / "missing.jpg",
    ]
    catalogue = fitted.predict(inputs)
    assert [str(f) for f in catalogue["file"]] == [str(f) for f in inputs]
    good = np.isfinite(catalogue["time_since_pericentre"])
    assert good[:4].all()
    assert not good[-3:].any()
    assert all(catalogue["reason"][~good])
    incomplete = [str(f).endswith("example_incomplete.fits.gz") for f in inputs]
    assert not good[incomplete].any()
    assert np.isfinite(catalogue["sky"].ra[:4]).all()


def test_a_table_of_files_is_an_input(fitted, real_images):
    stamps = sorted((real_images / "sdss_pawlik" / "small").iterdir())[:3]
    catalogue = fitted.predict(Table({"file": [str(s) for s in stamps], "id": ["x", "y", "z"]}))
    assert catalogue["id"].tolist() == ["x", "y", "z"]
