"""The main job from end to end, at a size that takes seconds."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from click.testing import CliRunner

from astro_deepgalaxy import CutoutStore, MergerClassifier
from astro_deepgalaxy.io import read_table
from astro_deepgalaxy.simulate import plan


@pytest.fixture(scope="module")
def small():
    """A survey of the same kind, with few particles, times and cameras."""
    preset = plan.read_preset("first-look")
    run = {"particles": 1000, "snapshots": 8, "step": 10.0}
    images = {"cameras": 2, "pixels": 48}
    small = preset.model_copy(
        update={
            "run": preset.run.model_copy(update=run),
            "images": preset.images.model_copy(update=images),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "read_preset", lambda name: small)
        yield


def run(folder, *options):
    from astro_deepgalaxy.cli.quickstart import quickstart

    arguments = ["-o", str(folder), "--simulations", "5", "--epochs", "2", *options]
    result = CliRunner().invoke(quickstart, arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    return folder, run(folder)


def test_everything_promised_is_there(finished):
    folder, output = finished
    for name in (
        "model/config.json",
        "catalogue.ecsv",
        "catalogue.fits",
        "report.html",
        "report.json",
        "contact_sheet.png",
        "learning_curve.png",
        "predicted_against_true.png",
        "stage_confusion.png",
        "observed/labels.ecsv",
    ):
        assert (folder / name).stat().st_size > 0
    assert "median |error|" in output
    assert "always predicting the training median" in output


def test_the_images_are_observations(finished):
    folder, _ = finished
    labels = read_table(folder / "observed" / "labels.ecsv")
    assert len(labels) == 5 * 8 * 2
    header = fits.getheader(folder / "observed" / labels["file"][0])
    assert WCS(header).has_celestial
    assert header["BUNIT"]
    assert not {"TIME", "STAGE", "TSINCE"} & set(header)


def test_the_simulations_predicted_were_not_trained_on(finished):
    folder, _ = finished
    training = MergerClassifier.load(folder / "model").training_["groups"]
    catalogue = read_table(folder / "catalogue.ecsv")
    predicted = {name.split("_snap")[0] for name in catalogue["id"]}
    assert predicted
    assert not predicted & {*training["train"], *training.get("validation", [])}
    assert len(predicted | {*training["train"], *training.get("validation", [])}) == 5


def test_raw_files_are_treated_as_in_training(finished):
    folder, _ = finished
    catalogue = read_table(folder / "catalogue.fits")
    labels = read_table(folder / "observed" / "labels.ecsv")
    files = dict(zip(labels["id"], labels["file"], strict=True))
    again = MergerClassifier.load(folder / "model").predict(
        [folder / "observed" / files[name] for name in catalogue["id"]]
    )
    assert np.allclose(again["time_probabilities"], catalogue["time_probabilities"], atol=1e-6)
    assert np.array_equal(again["stage"], catalogue["stage"])


def test_the_same_seed_gives_the_same_numbers(finished, small, tmp_path):
    folder, _ = finished
    summary = json.loads(run(tmp_path / "again", "--json").splitlines()[-1])
    first = json.loads((folder / "report.json").read_text())
    assert summary["scorecard"] == first["scorecard"]
    ours, theirs = (CutoutStore.open(f / "store.zarr") for f in (folder, tmp_path / "again"))
    assert np.array_equal(ours.images[:], theirs.images[:])


def test_a_finished_quickstart_is_not_run_again(finished, small):
    folder, output = finished
    before = (folder / "model" / "encoder.weights.h5").read_bytes()
    again = run(folder)
    assert [line for line in again.splitlines() if "Myr" in line] == [
        line for line in output.splitlines() if "Myr" in line
    ]
    assert (folder / "model" / "encoder.weights.h5").read_bytes() == before


def test_too_few_simulations_are_refused(tmp_path):
    from astro_deepgalaxy.cli.quickstart import quickstart

    result = CliRunner().invoke(quickstart, ["-o", str(tmp_path / "x"), "--simulations", "3"])
    assert result.exit_code == 2
    assert "at least 4" in result.output
