"""Evaluations of models whose answers are known, and of a small one that was trained."""

import html
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from click.testing import CliRunner
from scipy.stats import norm

from astro_deepgalaxy import MergerClassifier, TimeScale
from astro_deepgalaxy.evaluation import evaluate, write_evaluation
from astro_deepgalaxy.evaluation.real_pairs import read_pairs
from astro_deepgalaxy.evaluation.signal_to_noise import signal_to_noise
from astro_deepgalaxy.labels import STAGES
from astro_deepgalaxy.metrics import Conformal, groups_needed
from astro_deepgalaxy.preprocess.stretch import Stretch
from astro_deepgalaxy.tasks.posterior import ClassPosterior

SCALE = TimeScale()
SCATTER = 30.0


class Store:
    """Labels of 60 simulations of 80 images, 12 of them of isolated galaxies, and their pixels."""

    path = "known.zarr"
    image_shape = (16, 16, 1)

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        n, group = 4800, np.arange(4800) // 80
        merger = group < 48
        self.time = rng.uniform(-150, 480, n)
        self.attributes = {}
        self.table = QTable(
            {
                "id": [f"image{i}" for i in range(n)],
                "group": [f"sim{i:02d}" for i in group],
                "flags": np.zeros(n, dtype=np.int32),
                "time_since_pericentre": np.where(merger, self.time, np.nan) * u.Myr,
                "stage": np.where(
                    merger, np.array(STAGES)[np.digitize(self.time, [-30, 30, 180, 330])], ""
                ),
                "is_merger": merger,
                "mass_ratio": np.where(merger, np.array([0.25, 0.5, 1])[group % 3], np.nan),
                "primary_tilt": rng.uniform(0, 90, n) * u.deg,
            }
        )
        self.images = np.abs(rng.normal(0, 0.05, (n, 16, 16, 1))).astype(np.float32)
        self.images[:, 6:10, 6:10] = 1

    def __len__(self):
        return len(self.table)

    def load(self, rows):
        return self.images[rows]


class Model:
    """Posteriors about the true time whose width is `stated` times the scatter of their middle.

    Simulations 0 to 3 modulo 6 were trained on, those of 4 calibrated; of 5 nothing is known.
    """

    task, digest_, time_column = "classify", "0123abc", "time_since_pericentre"
    time_scale_, training_median_ = SCALE, 150 * u.Myr
    network_ = SimpleNamespace(config=SimpleNamespace(outputs={"time_class": 71}, latent=None))

    def __init__(self, store, stated=1.0, split="group"):
        self.table = store.table
        rng = np.random.default_rng(9)
        side = np.arange(len(store)) // 80 % 6
        self.middle = store.time + SCATTER * rng.normal(size=len(store)) * np.where(
            side < 4, 0.2, 1
        )
        below = norm.cdf((SCALE.edges.value - self.middle[:, np.newaxis]) / (stated * SCATTER))
        self.probabilities = np.diff(below, axis=1)
        self.probabilities /= self.probabilities.sum(axis=1, keepdims=True)
        self.merger = np.where(store.table["is_merger"], 0.8, 0.2) + rng.normal(0, 0.1, len(store))
        names = np.asarray(store.table["group"])
        self.training_ = {
            "groups": {
                "train": np.unique(names[side < 4]).tolist(),
                "validation": np.unique(names[side == 4]).tolist(),
            },
            "split": split,
            # Of a random split one in seven images was left out.
            "ids": store.table["id"][(side < 4) & (np.arange(len(store)) % 7 > 0)].tolist(),
            "backbone": "simple",
            "history": {"loss": [2.0, 1.0]},
            "best_epoch": 1,
        }
        aside = (side == 4) & np.asarray(store.table["is_merger"])
        place = SCALE.cdf(self.probabilities[aside], store.time[aside] * u.Myr)
        self.conformal = Conformal.fit(place, names[aside])

    def set_params(self, engine):
        return self

    def calibration(self, column):
        return {"time_since_pericentre": self.conformal}[column]

    def posterior(self, outputs):
        return ClassPosterior(SCALE, outputs["time_class"])

    def predict(self, store, rows):
        posterior = ClassPosterior(SCALE, self.probabilities[rows])
        catalogue = QTable(
            {
                "id": self.table["id"][rows],
                "flags": self.table["flags"][rows],
                "time_class": posterior.probabilities.argmax(axis=1),
                "time_since_pericentre": posterior.quantile(0.5),
                "time_lower": posterior.quantile(0.16),
                "time_upper": posterior.quantile(0.84),
                "time_probabilities": posterior.probabilities,
                "stage": self.table["stage"][rows],
                "merger_probability": np.clip(self.merger[rows], 0, 1),
            }
        )
        catalogue.meta["time_scale"] = json.dumps(SCALE.to_dict())
        return catalogue


@pytest.fixture(scope="module")
def store():
    return Store()


@pytest.fixture(scope="module")
def known(store):
    return evaluate(Model(store, stated=0.5), store)


class Page(HTMLParser):
    """Text and headings of a page; a tag that is not closed is an error."""

    def __init__(self, path):
        super().__init__()
        self.open, self.headings, self.pictures = [], [], []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        assert not self.open
        plain = re.sub(r"<style>.*?</style>|<[^>]+>", " ", self.html, flags=re.S)
        self.text = " ".join(html.unescape(plain).split())

    def handle_starttag(self, tag, attributes):
        if tag == "h2":
            self.headings.append(dict(attributes)["id"])
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_two_sides_are_told_apart(known):
    seen, unseen = known.sections["splits"]["seen"], known.sections["splits"]["unseen"]
    assert (seen.groups, unseen.groups) == (32, 8)
    # The median of |normal| is 0.6745 of its width.
    assert unseen.time.median == pytest.approx(0.6745 * SCATTER, rel=0.15)
    assert seen.time.median == pytest.approx(0.6745 * SCATTER / 5, rel=0.15)
    assert unseen.median_range[0] < unseen.time.median < unseen.median_range[1]
    assert seen.accuracy.top_1 > unseen.accuracy.top_1
    # The true class is the most probable one when the middle falls into it.
    chance = norm.cdf(5 / SCATTER) - norm.cdf(-5 / SCATTER)
    assert unseen.accuracy.top_1 == pytest.approx(chance, abs=0.04)
    assert known.about["images"] == 10 * 80
    assert known.scorecard.time == unseen.time


def test_the_calibration_repairs_a_narrow_posterior(known):
    intervals = known.sections["intervals"]
    for level, plain in zip((0.5, 0.68, 0.9, 0.95), intervals.plain, strict=True):
        expected = 2 * norm.cdf(norm.ppf((1 + level) / 2) / 2) - 1
        assert plain.share == pytest.approx(expected, abs=0.05)
    assert [c if isinstance(c, str) else c.level for c in intervals.calibrated] == [
        0.5,
        0.68,
        intervals.calibrated[2],
        intervals.calibrated[3],
    ]
    for row in intervals.calibrated[:2]:
        assert row.low - 0.05 <= row.level <= row.high + 0.05
    assert f"at least {groups_needed(0.9)} calibration groups" in intervals.calibrated[2]
    assert f"at least {groups_needed(0.95)} calibration groups" in intervals.calibrated[3]


def test_a_calibrated_posterior_is_found_to_be(store):
    intervals = evaluate(Model(store), store).sections["intervals"]
    for row in intervals.plain:
        assert row.low - 0.02 <= row.level <= row.high + 0.02
    quantiles = intervals.quantiles
    assert np.allclose(quantiles.share, quantiles.levels, atol=0.06)


def test_mergers_at_a_prevalence(store):
    rare, common = (
        evaluate(Model(store), store, prevalence=p).sections["mergers"] for p in (0.01, 0.5)
    )
    assert rare.auc == common.auc > 0.99
    assert max(rare.purity[:50]) < max(common.purity[:50])
    assert rare.mergers == 8 * 80


def test_errors_in_their_bins(known):
    assert [row.name for row in known.sections["error_by_stage"]] == list(STAGES)
    assert [row.position for row in known.sections["error_by_mass_ratio"]] == [1.0]
    assert len(known.sections["error_by_primary_tilt"]) == 6
    assert sum(row.n for row in known.sections["error_by_signal_to_noise"]) == 8 * 80


def test_the_report(known, tmp_path):
    page = Page(write_evaluation(tmp_path, known, "Blobs & <mergers>"))
    assert page.headings == [
        "splits",
        "times",
        "intervals",
        "dependences",
        "confusion",
        "mergers",
        "lookalikes",
        "pairs",
        "training",
    ]
    assert "Blobs &amp; &lt;mergers&gt;" in page.html
    assert all(src.startswith("data:image/png;base64,") for src in page.pictures)
    files = {path.stem for path in tmp_path.glob("*.png")}
    assert len(page.pictures) == len(files)
    assert {"predicted_against_true", "stage_confusion", "learning_curve", "roc"} <= files
    assert "Simulations never seen" in page.text
    assert "Not available: no table of real galaxies with published times was given." in page.text
    data = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert data["splits"]["unseen"]["time"]["median"] == known.scorecard.time.median
    assert data["scorecard"] == known.scorecard.to_dict()
    assert data["not_available"] == known.missing
    assert np.sum(data["confusion"]) == 8 * 80


def test_a_random_split_of_images_is_called_that(store, tmp_path):
    model = Model(store, split="image")
    of_seen_groups = np.flatnonzero(np.arange(len(store)) // 80 % 6 < 4)
    evaluation = evaluate(model, store, rows=of_seen_groups)
    assert set(evaluation.sections["splits"]) == {"seen"}
    assert not np.isin(evaluation.catalogue["id"], model.training_["ids"]).any()
    assert len(evaluation.catalogue) == np.count_nonzero(of_seen_groups % 7 == 0)
    assert evaluation.about["left_out_at_random"]
    page = Page(write_evaluation(tmp_path, evaluation))
    assert "on images left out at random" in page.text
    assert "never seen in training" not in page.text


def test_one_report_has_both_splits(store, tmp_path):
    evaluation = evaluate(Model(store, split="image"), store)
    both = evaluation.sections["splits"]
    row = np.arange(len(store))
    left_out = (row // 80 % 6 < 4) & (row % 7 == 0)
    assert both["seen"].time.n == np.count_nonzero(left_out & store.table["is_merger"])
    assert both["seen"].time.median < both["unseen"].time.median
    assert evaluation.groups.tolist() == evaluate(Model(store), store).groups.tolist()
    page = Page(write_evaluation(tmp_path, evaluation))
    assert "Left out at random" in page.text
    assert "on galaxies never seen in training" in page.text


def test_only_groups_trained_on_are_nothing_to_judge_by(store):
    for split, rows in (("group", np.arange(80)), ("image", np.arange(1, 7))):
        with pytest.raises(ValueError, match=r"known\.zarr: holds no image of a group"):
            evaluate(Model(store, split=split), store, rows)


def test_one_group_has_figures_and_no_ranges(store, tmp_path):
    rows = np.flatnonzero(store.table["group"] == "sim05")
    evaluation = evaluate(Model(store), store, rows)
    assert np.isnan(evaluation.sections["splits"]["unseen"].median_range).all()
    assert "is none but mergers" in evaluation.missing["mergers"]
    page = Page(write_evaluation(tmp_path, evaluation))
    assert "nan" not in page.text
    assert json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)


def test_what_is_not_there_is_said(store, tmp_path):
    class Embedder(Model):
        task = "embed"

        def predict(self, store, rows):
            return QTable(super().predict(store, rows)["id", "flags"])

    evaluation = evaluate(Embedder(store), store)
    assert not evaluation.sections
    assert evaluation.scorecard is None
    reason = "the model, of the task 'embed', does not predict times"
    assert evaluation.missing["splits"] == evaluation.missing["error_by_stage"] == reason
    page = Page(write_evaluation(tmp_path, evaluation))
    assert page.text.count(reason) >= 4


def test_columns_that_are_missing_are_named(store):
    poor = Store()
    poor.table.remove_columns(["stage", "mass_ratio", "is_merger"])
    model = Model(store)
    missing = evaluate(model, poor).missing
    assert missing["error_by_mass_ratio"] == "the labels have no column 'mass_ratio'"
    assert missing["mergers"] == "the labels have no column 'is_merger'"
    poor.table.remove_column("time_since_pericentre")
    assert "no column 'time_since_pericentre'" in evaluate(model, poor).missing["scorecard"]


@pytest.mark.parametrize("prevalence", [0, 1, 5, np.nan])
def test_a_prevalence_is_a_share(store, prevalence):
    with pytest.raises(ValueError, match="prevalence must be between 0 and 1"):
        evaluate(Model(store), store, prevalence=prevalence)


def test_signal_to_noise_is_what_the_images_were_given():
    """Noise of known depth, stretched by the recipe's own step."""
    from astro_deepgalaxy.cutout import Cutout

    rng = np.random.default_rng(0)
    expected = np.array([3, 10, 50, 300])
    images = []
    for ratio in expected:
        image = rng.normal(0, 1, (128, 128))
        image[56:72, 56:72] += ratio
        images.append(Stretch()(Cutout(image[np.newaxis])).data[0])
    plain = np.stack(images)[..., np.newaxis].astype(np.float32)
    store = SimpleNamespace(
        image_shape=(128, 128, 1),
        attributes={"recipe": {"steps": [{"step": "stretch", "softening": 0.02}]}},
        table={"flags": np.zeros(4, dtype=int)},
        load=lambda rows: plain[rows],
    )
    ratio = signal_to_noise(store, np.arange(4))
    # The top is the percentile 99.7, above the mean of the source by its noise.
    assert ratio == pytest.approx(expected + 1, rel=0.2)
    # Without a stretch the pixels are what they are.
    store.attributes = {}
    plain[:] = np.abs(rng.normal(0, 0.01, plain.shape))
    plain[:, 60:68, 60:68] = 1
    assert signal_to_noise(store, np.arange(4)) == pytest.approx(100, rel=0.1)
    plain[:, :16] = plain[:, -16:] = 0
    assert np.isinf(signal_to_noise(store, [0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,time\na.jpg,3\n", "needs the columns 'file' and 't_min'"),
        ("name,t_min\na,3\n", "needs the columns 'file' and 't_min'"),
        ("file,t_min\na.jpg,long ago\n", "must be times in Myr"),
    ],
)
def test_a_table_of_pairs_is_checked_first(store, tmp_path, text, message):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        evaluate(Model(store), store, pairs=tmp_path / "pairs.csv")


def test_units_of_published_times(tmp_path):
    (tmp_path / "pairs.csv").write_text("file,t_min_Myr\na.jpg,30\nb.jpg,\n")
    assert read_pairs(tmp_path / "pairs.csv")["t_min"][0] == 30 * u.Myr
    assert np.isnan(read_pairs(tmp_path / "pairs.csv")["t_min"][1])
    table = QTable({"file": ["a.jpg"], "t_min": [0.2] * u.Gyr})
    table.write(tmp_path / "pairs.ecsv")
    assert read_pairs(tmp_path / "pairs.ecsv")["t_min"][0] == 200 * u.Myr


@pytest.mark.parametrize("sign", [1, -1])
def test_real_pairs_are_put_in_their_order(store, real_images, sign):
    """A model that knows the published times, and one that has them the wrong way round."""
    table = real_images / "galaxy_zoo_mergers" / "pairs.csv"

    class Oracle(Model):
        def predict(self, images, rows=None):
            if rows is not None:
                return super().predict(images, rows)
            time = sign * read_pairs(images)["t_min"]
            time[3] = np.nan
            names = [f"pair{i}" for i in range(len(time))]
            width = 50 * u.Myr
            return QTable(
                {
                    "id": names,
                    "time_since_pericentre": time,
                    "time_lower": time - width,
                    "time_upper": time + width,
                }
            )

    pairs = evaluate(Oracle(store), store, pairs=table).sections["pairs"]
    assert pairs.correlation.rho == pytest.approx(sign)
    assert (pairs.correlation.n, pairs.failed) == (30, 1)
    assert pairs.to_dict()["pairs"][0] == {"name": "pair0", "predicted": 0.0, "published": 0.0}


@pytest.fixture(scope="module")
def trained(blob_store, tmp_path_factory):
    """The folder of a model that learned from eight of the ten groups of blobs."""
    rows = np.flatnonzero(~np.isin(blob_store.table["group"], ["group3", "group7"]))
    classifier = MergerClassifier(
        "simple",
        also={"embed": {"latent_size": 4, "image_weight": 0.0}},
        epochs=3,
        learning_rate=3e-3,
        validation_fraction=0.5,
        progress=False,
        seed=1,
    )
    folder = tmp_path_factory.mktemp("blobs") / "model"
    classifier.fit(blob_store, rows=rows).save(folder)
    return folder


def run(*arguments):
    from astro_deepgalaxy.cli import main

    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def test_the_command(trained, blob_store, tmp_path):
    result = run(trained, blob_store.path, "-o", tmp_path)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    assert "median |error| on 2 unseen groups" in result.output
    assert "not available, mergers: the model does not tell mergers" in result.output
    data = json.loads((tmp_path / "report.json").read_text())
    assert set(data["scorecard"]["groups"]) == {"group3", "group7"}
    assert data["splits"]["unseen"]["time"]["median"] < data["splits"]["unseen"]["time"]["baseline"]
    assert data["splits"]["seen"]["groups"] == 4
    assert data["intervals"]["calibrated"][0]["groups"] == 2
    assert "calibration groups" in data["intervals"]["calibrated"][2]["not_available"]
    alike = data["lookalikes"]
    assert (alike["queries"], alike["searched"]) == (120, 360)
    assert alike["random"] < alike["six_elsewhere"] < 1
    assert alike["time_difference"] < 150
    assert data["clusters"]["n"] == 120
    assert 0 < data["clusters"]["nmi"] < 1
    page = Page(tmp_path / "report.html")
    assert "adjusted Rand index" in page.text
    assert (tmp_path / "recommendations.png").exists()


def test_the_command_without_the_images_trained_on(store, tmp_path, monkeypatch):
    monkeypatch.setattr("astro_deepgalaxy.tasks.base.load_model", lambda folder: Model(store))
    monkeypatch.setattr("astro_deepgalaxy.store.joined.open_stores", lambda paths: store)
    result = run(tmp_path, "known.zarr", "-o", tmp_path, "--rows", "unseen", "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.output.splitlines()[-1])
    assert set(data["evaluation"]["splits"]) == {"unseen"}
    assert data["evaluation"]["about"]["images_of_groups_trained_on"] == 0


def test_wrong_arguments_end_in_a_sentence(trained, blob_store, tmp_path):
    (tmp_path / "pairs.csv").write_text("x\n1\n")
    for arguments, message in (
        ((trained, tmp_path, "-o", tmp_path), "not a cutout store"),
        ((tmp_path, blob_store.path, "-o", tmp_path), "not a model folder"),
        (
            (trained, blob_store.path, "-o", tmp_path, "--pairs", tmp_path / "pairs.csv"),
            "needs the columns",
        ),
        ((trained, blob_store.path, "-o", tmp_path, "--prevalence", "2"), "prevalence"),
    ):
        result = run(*arguments)
        assert result.exit_code in (1, 2)
        assert message in result.output
        assert "Traceback" not in result.output
