"""A small survey: complete, resumable to the byte, and true to its labels."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS

from astro_deepgalaxy.labels import LABEL_COLUMNS, STAGES, check_labels
from astro_deepgalaxy.simulate.encounter import kepler_start
from astro_deepgalaxy.simulate.survey import (
    Survey,
    random_encounter,
    random_observation,
    simulate_survey,
)

SURVEY = Survey(
    simulations=2, particles=2000, snapshots=10, cameras=2, pixels=32, duration=400.0, step=4.0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished survey."""
    folder = tmp_path_factory.mktemp("survey")
    simulate_survey(folder, SURVEY, progress=False)
    return folder


@pytest.fixture(scope="module")
def labels(folder):
    return QTable.read(folder / "labels.ecsv")


def digests(folder):
    """Digest of every file in a folder, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_table_describes_every_image(folder, labels):
    assert len(labels) == 2 * 10 * 2
    assert set(labels.colnames) == {column.name for column in LABEL_COLUMNS}
    check_labels(labels)
    for column in LABEL_COLUMNS:
        if column.unit:
            assert labels[column.name].unit == u.Unit(column.unit)
    assert {str(path.relative_to(folder)) for path in folder.glob("images/*")} == set(
        labels["file"]
    )
    assert labels["id"][0] == "sim_000_snap_000_cam_00"
    assert labels["file"][-1] == "images/sim_001_snap_009_cam_01.fits"
    assert set(labels["group"]) == {"sim_000", "sim_001"}
    assert set(labels["stage"]) <= set(STAGES)


def test_times_count_from_each_first_pericentre(labels):
    for group in np.unique(labels["group"]):
        rows = labels[(labels["group"] == group) & (labels["camera"] == 0)]
        time = rows["time_since_pericentre"].to_value(u.Myr)
        np.testing.assert_allclose(np.diff(time), 400 / 9, atol=4)
        assert time[0] < -80
        # The separation has its first minimum next to time zero, and decides the first stage.
        separation = rows["separation"].to_value(u.kpc)
        until_return = time < 80
        assert abs(time[until_return][separation[until_return].argmin()]) < 25
        assert ((rows["stage"] == "approaching") == (time < -30)).all()
    assert (labels["projected_separation"] <= labels["separation"] * 1.0001).all()


def test_images_are_observed_mergers(folder, labels):
    for row in labels[::7]:
        data, header = fits.getdata(folder / row["file"], header=True)
        assert data.shape == (32, 32)
        assert data.dtype.name == "float32"
        assert np.isfinite(data).all()
        assert header["REDSHIFT"] == pytest.approx(row["redshift"])
        assert WCS(header).has_celestial
        sky = np.median(data)
        noise = 1.48 * np.median(np.abs(data - sky))
        assert data.max() > sky + 10 * noise
        text = repr(header)
        assert str(row["stage"]) not in text


def test_images_differ_in_place_scale_and_roll(folder, labels):
    headers = [fits.getheader(folder / file) for file in labels["file"]]
    for key in ("CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "SEEING"):
        assert len({header[key] for header in headers}) == len(headers)
    redshift = np.array(labels["redshift"])
    assert 0.02 <= redshift.min() < redshift.max() <= 0.08


def test_provenance(labels):
    assert json.loads(labels.meta["survey"])["particles"] == 2000
    drift = json.loads(labels.meta["energy_drift"])
    assert len(drift) == 2
    assert 0 < max(drift) < 0.06  # coarse in step and particles
    assert "astro-deepgalaxy" in json.loads(labels.meta["versions"])


def test_resumed_and_repeated_surveys_are_the_same_to_the_byte(folder, tmp_path):
    before = digests(folder)
    # What kill -9 leaves: the second simulation half done, a torn file, no final table.
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    (half / "labels.ecsv").unlink()
    (half / "parts" / "sim_001.ecsv").unlink()
    for image in sorted(half.glob("images/sim_001*"))[5:]:
        image.unlink()
    torn = half / "images" / ".partial-1-sim_001_snap_009_cam_00.fits"
    torn.write_bytes(b"SIMPLE")
    kept = half / "images" / "sim_000_snap_000_cam_00.fits"
    untouched = kept.stat().st_mtime_ns
    simulate_survey(half, SURVEY, progress=False)
    assert digests(half) == before
    assert kept.stat().st_mtime_ns == untouched


def test_another_seed_gives_other_images(folder, tmp_path):
    other = Survey(**(vars(SURVEY) | {"seed": 2, "simulations": 1}))
    simulate_survey(tmp_path, other, progress=False)
    before, after = digests(folder / "images"), digests(tmp_path / "images")
    assert not set(before.values()) & set(after.values())


def test_a_folder_with_another_survey_is_refused(folder):
    before = digests(folder)
    with pytest.raises(ValueError, match=r"particles=2000, not 3000"):
        simulate_survey(folder, Survey(**(vars(SURVEY) | {"particles": 3000})))
    assert digests(folder) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("simulations", 0),
        ("particles", 10),
        ("snapshots", 1),
        ("cameras", 0),
        ("pixels", 2.5),
        ("duration", -1.0),
        ("step", 0.0),
        ("step", 500.0),
        ("seed", -1),
    ],
)
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        Survey(**{name: value})


def test_random_streams_are_all_different():
    survey = Survey()
    keys = [(), (0,), (1,), (0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert len({survey.random(*key).integers(2**62) for key in keys}) == len(keys)


def test_random_draws_stay_in_their_ranges():
    rng = np.random.default_rng(1)
    encounters = [random_encounter(rng) for _ in range(300)]
    for encounter in encounters:
        assert 0.5 <= encounter.mass_ratio <= 1.5
        assert 3 <= encounter.pericentre <= 7
        kepler_start(1e12, encounter.separation, encounter.pericentre, encounter.parabolic_fraction)
    # Discs turned at random in space: the cosine of the inclination is uniform.
    cosines = np.cos(np.radians([encounter.primary_disc[0] for encounter in encounters]))
    assert abs(cosines.mean()) < 0.1
    assert cosines.var() == pytest.approx(1 / 3, abs=0.06)
    declinations = np.array([random_observation(rng).dec for _ in range(300)])
    assert np.sin(np.radians(declinations)).var() == pytest.approx(1 / 3, abs=0.06)
