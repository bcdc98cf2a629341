"""Images of simulations: complete, repeatable, true to their labels, and in their units."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import Planck18
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from click.testing import CliRunner
from filelock import FileLock
from PIL import Image
from scipy.ndimage import gaussian_filter

from astro_deepgalaxy.cli import main
from astro_deepgalaxy.io import read_table
from astro_deepgalaxy.labels import LABEL_COLUMNS, STAGES, check_labels
from astro_deepgalaxy.simulate.camera import camera_directions, image_axes
from astro_deepgalaxy.simulate.imaging import (
    IdealTelescope,
    RealTelescope,
    random_observation,
    write_images,
)
from astro_deepgalaxy.simulate.movie import frames, write_movie
from astro_deepgalaxy.simulate.plan import SurveyPlan
from astro_deepgalaxy.simulate.survey import open_survey, run_survey
from astro_deepgalaxy.simulate.telescopes import telescope
from astro_deepgalaxy.simulate.views import Stars, image_plan, logarithmic, snapshot_views
from astro_deepgalaxy.store.deepgalaxy_hdf5 import DeepGalaxyFile

PLAN = SurveyPlan.model_validate(
    {
        "seed": 2,
        "run": {
            "particles": 2000,
            "duration": 400.0,
            "snapshots": 9,
            "softening": 0.5,
            "step": 4.0,
        },
        "images": {"pixels": 32, "cameras": 3, "field": {"low": 80.0, "high": 120.0}},
        "simulations": [
            {
                "mass_ratio": [0.75, 1.0],
                "size_ratio": 1.0,
                "separation": 30.0,
                "pericentre": 2.0,
                "parabolic_fraction": 0.4,
            },
            {"kind": "isolated"},
            {"kind": "chance pair", "distance_ratio": 2.0, "apparent_separation": 30.0},
            {"kind": "flyby", "parabolic_fraction": 1.6, "pericentre": 20.0},
        ],
    }
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A finished survey of every kind."""
    folder = tmp_path_factory.mktemp("survey") / "simulations"
    run_survey(folder, PLAN, processes=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def observed(survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("observed")
    write_images(survey, folder, RealTelescope(), processes=1, progress=False)
    return folder


@pytest.fixture(scope="module")
def labels(observed):
    return read_table(observed / "labels.ecsv")


def digests(folder):
    """Digest of every file in a folder, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_table_describes_every_image(observed, labels):
    assert len(labels) == 5 * 9 * 3
    assert labels.colnames == [column.name for column in LABEL_COLUMNS]
    check_labels(labels)
    for column in LABEL_COLUMNS:
        if column.unit:
            assert labels[column.name].unit == u.Unit(column.unit)
    files = {str(path.relative_to(observed)) for path in observed.glob("images/*.fits")}
    assert files == set(labels["file"])
    assert labels["id"][0] == "sim_000_snap_000_cam_00"
    assert labels["file"][-1] == "images/sim_004_snap_008_cam_02.fits"
    assert list(np.unique(labels["group"])) == [f"sim_{i:03d}" for i in range(5)]


def test_times_count_from_each_first_pericentre(labels):
    for group in ("sim_000", "sim_001"):
        rows = labels[(labels["group"] == group) & (labels["camera"] == 0)]
        time = rows["time_since_pericentre"].to_value(u.Myr)
        np.testing.assert_allclose(np.diff(time), 50)
        separation = rows["separation"].to_value(u.kpc)
        until_return = time < 70
        assert abs(time[until_return][separation[until_return].argmin()]) <= 25
        assert ((rows["stage"] == "approaching") == (time < -30)).all()
        assert set(rows["stage"]) <= set(STAGES)
        ratio = rows["time_dynamical"] * (time[0] / rows["time_dynamical"][0])
        np.testing.assert_allclose(ratio, time)
        error = rows["time_since_pericentre_error"].to_value(u.Myr)
        assert (error > 0).all()
        assert (error < 30).all()
    merged = labels[labels["coalesced"]]
    assert len(merged)
    total = merged["time_since_pericentre"] + merged["time_to_coalescence"]
    for group in np.unique(merged["group"]):
        assert np.ptp(total[merged["group"] == group].to_value(u.Myr)) < 1e-6
    np.testing.assert_allclose(
        merged["time_to_coalescence"] / merged["coalescence_dynamical"],
        (merged["time_since_pericentre"] / merged["time_dynamical"]),
    )


def test_what_is_no_merger_is_labelled_so(labels):
    kinds = {kind: labels[labels["kind"] == kind] for kind in np.unique(labels["kind"])}
    assert set(kinds) == {"merger", "isolated", "chance pair", "flyby"}
    assert kinds["merger"]["is_merger"].all()
    for kind in ("isolated", "chance pair", "flyby"):
        assert not kinds[kind]["is_merger"].any()
        assert not kinds[kind]["coalesced"].any()
    for kind in ("isolated", "chance pair"):
        for name in ("time_since_pericentre", "time_to_coalescence", "separation"):
            assert np.isnan(kinds[kind][name].value).all()
        assert set(kinds[kind]["stage"]) == {""}
    assert np.isfinite(kinds["flyby"]["time_since_pericentre"].value).all()
    assert np.isfinite(kinds["merger"]["distance_ratio"]).sum() == 0
    assert (kinds["chance pair"]["distance_ratio"] == 2).all()
    np.testing.assert_allclose(kinds["chance pair"]["projected_separation"].value, 30)


def test_geometry_of_the_labels(survey, labels):
    rows = labels[labels["group"] == "sim_000"]
    assert (rows["projected_separation"] <= rows["separation"] * 1.0001).all()
    # Seen from three directions, the squares add up as the directions lie.
    simulation = open_survey(survey)[0]
    directions = camera_directions(3)
    for number in (0, 4):
        snapshot = simulation.snapshot(number)
        for camera in range(3):
            row = rows[(rows["snapshot"] == number) & (rows["camera"] == camera)][0]
            along = snapshot.offset @ directions[camera]
            expected = np.sqrt(snapshot.offset @ snapshot.offset - along**2)
            assert row["projected_separation"].value == pytest.approx(expected)
            cosine = abs(snapshot.spins[1] @ directions[camera])
            assert row["secondary_tilt"].value == pytest.approx(np.degrees(np.arccos(cosine)))


def test_images_are_observed_galaxies(observed, labels):
    for row in labels[::11]:
        data, header = fits.getdata(observed / row["file"], header=True)
        assert data.shape == (32, 32)
        assert data.dtype.name == "float32"
        assert np.isfinite(data).all()
        assert header["REDSHIFT"] == pytest.approx(row["redshift"])
        assert WCS(header).has_celestial
        sky = np.median(data)
        noise = 1.48 * np.median(np.abs(data - sky))
        assert data.max() > sky + 10 * noise
        text = repr(header)
        for word in (*STAGES, row["kind"]):
            assert word not in text


def test_images_differ_in_place_scale_and_roll(observed, labels):
    headers = [fits.getheader(observed / file) for file in labels["file"]]
    for key in ("CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "SEEING"):
        assert len({header[key] for header in headers}) == len(headers)
    redshift = np.array(labels["redshift"])
    assert 0.02 <= redshift.min() < redshift.max() <= 0.08
    field = labels["field"].to_value(u.kpc)
    assert 80 <= field.min() < 90 < 110 < field.max() <= 120


def test_provenance(labels):
    assert json.loads(labels.meta["plan"])["run"]["particles"] == 2000
    drift = json.loads(labels.meta["energy_drift"])
    assert len(drift) == 5
    assert 0 < max(drift) < 0.06  # coarse in step and particles
    assert "astro-deepgalaxy" in json.loads(labels.meta["versions"])


def test_interrupted_and_repeated_images_are_the_same_to_the_byte(survey, observed, tmp_path):
    before = digests(observed)
    half = tmp_path / "half"
    shutil.copytree(observed, half)
    (half / "labels.ecsv").unlink()
    (half / "parts" / "sim_001.ecsv").unlink()
    for image in sorted(half.glob("images/sim_001*"))[5:]:
        image.unlink()
    (half / "images" / ".partial-1-x.fits").write_bytes(b"SIMPLE")
    kept = half / "images" / "sim_000_snap_000_cam_00.fits"
    untouched = kept.stat().st_mtime_ns
    write_images(survey, half, RealTelescope(), processes=2, progress=False)
    assert digests(half) == before
    assert kept.stat().st_mtime_ns == untouched


def test_images_taken_otherwise_are_not_mixed(survey, observed):
    with pytest.raises(ValueError, match="telescope = RealTelescope, not IdealTelescope"):
        write_images(survey, observed, IdealTelescope(), progress=False)
    other = image_plan(PLAN, pixels=64)
    with pytest.raises(ValueError, match="holds images taken with images"):
        write_images(survey, observed, RealTelescope(), other, progress=False)
    with (
        FileLock(observed / ".lock"),
        pytest.raises(ValueError, match="another process is writing images there"),
    ):
        write_images(survey, observed, RealTelescope(), progress=False)


def test_images_of_other_simulations_are_not_mixed(survey, observed, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(survey, other)
    plan = json.loads((other / "plan.json").read_text(encoding="utf-8"))
    plan["plan"]["seed"] += 1
    (other / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(ValueError, match="holds images of other simulations"):
        write_images(other, observed, RealTelescope(), progress=False)


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A field of noise in nanomaggies with pixels of 1 arcsec."""
    path = tmp_path_factory.mktemp("field") / "field.fits"
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [200.0, -5.0]
    wcs.wcs.cdelt = [-1 / 3600, 1 / 3600]
    header = wcs.to_header()
    header.update({"BUNIT": "nanomaggy", "FILTER": "r", "EXPTIME": 54.0})
    pixels = np.random.default_rng(1).normal(0, 0.03, (300, 400)).astype(np.float32)
    fits.PrimaryHDU(pixels, header).writeto(path)
    return path


@pytest.mark.parametrize("name", ["sdss", "lsst"])
def test_images_of_a_named_survey(survey, tmp_path, name):
    scale = telescope(name).pixel_scale
    camera = RealTelescope(name, (0.1, 0.2))
    images = image_plan(PLAN, cameras=1)
    path = write_images(survey, tmp_path, camera, images, processes=1, progress=False)
    table = read_table(path)
    assert ((table["redshift"] > 0.1) & (table["redshift"] < 0.2)).all()
    assert len({fits.getheader(tmp_path / file)["CRVAL1"] for file in table["file"]}) == len(table)
    for row in table[::7]:
        data, header = fits.getdata(tmp_path / row["file"], header=True)
        cd = np.array([[header[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
        assert np.sqrt(abs(np.linalg.det(cd))) * 3600 == pytest.approx(scale)
        # The field of the label is that of the image, no smaller than planned.
        arcsec = Planck18.arcsec_per_kpc_proper(row["redshift"]).value * row["field"].value
        assert data.shape == (round(arcsec / scale),) * 2
        assert 80 <= row["field"].value <= 120 * 1.05
        assert header["FILTER"] == "r"
        assert header["SEEING"] == telescope(name).psf_fwhm


def test_simulations_in_a_real_field(survey, tmp_path, field):
    images = image_plan(PLAN, cameras=1, field=60.0)
    command = ["simulate", "observe", str(survey), "-o", str(tmp_path / "o"), "--survey", "sdss"]
    command += ["--background", str(field), "--redshift", "0.03", "0.05", "--cameras", "1"]
    command += ["--field", "60", "--processes", "2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    table = read_table(tmp_path / "o" / "labels.ecsv")
    pixels, wcs = fits.getdata(field), WCS(fits.getheader(field))
    masses, component, _ = open_survey(survey)[2].stars()
    light = (masses / np.where(component == 0, 1.5, 3.0)).sum()
    places = set()
    for row in table:
        data, header = fits.getdata(tmp_path / "o" / row["file"], header=True)
        x, y = wcs.world_to_pixel(WCS(header).pixel_to_world(0, 0))
        x, y, side = round(float(x)), round(float(y)), len(data)
        places.add((x, y))
        added = (data - pixels[y : y + side, x : x + side]).sum(dtype=float)
        if row["kind"] == "isolated":  # nothing of it is outside of the image
            absolute = 22.5 - 2.5 * np.log10(added) - Planck18.distmod(row["redshift"]).value
            assert absolute == pytest.approx(4.65 - 2.5 * np.log10(light), abs=0.05)
        assert header["BUNIT"] == "nanomaggy"
        assert header["REDSHIFT"] == pytest.approx(row["redshift"])
        for word in (*STAGES, row["kind"]):
            assert word not in repr(header)
    assert len(places) > 0.9 * len(table)
    # The same again, whatever the number of processes; but not with another sky.
    again = RealTelescope("sdss", (0.03, 0.05), background=str(field))
    write_images(survey, tmp_path / "again", again, images, processes=1, progress=False)
    assert digests(tmp_path / "again" / "images") == digests(tmp_path / "o" / "images")
    other = tmp_path / "other.fits"
    shutil.copy(field, other)
    for camera, words in (
        (RealTelescope("sdss", (0.03, 0.05), background=str(other)), "background"),
        (RealTelescope("sdss", (0.03, 0.05)), "background"),
        (RealTelescope("decals", (0.03, 0.05), background=str(field)), "telescope"),
        (RealTelescope("sdss", (0.03, 0.05), np.ones((3, 3)), str(field)), "psf"),
        (RealTelescope("sdss", (0.03, 0.06), background=str(field)), "redshift"),
    ):
        with pytest.raises(ValueError, match=f"holds images taken with {words} = "):
            write_images(survey, tmp_path / "again", camera, images, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--survey", "sdds"], "did you mean 'sdss'?"),
        (["--survey", "sdss", "--pixels", "64"], "--pixels does not go with --survey"),
        (["--psf", "{psf}"], "--psf needs --survey"),
        (["--background", "{field}"], "--background needs --survey"),
        (["--survey", "sdss", "--background", "{psf}"], "has no celestial WCS"),
        (["--survey", "sdss", "--background", "missing.fits"], "missing.fits: cannot be opened"),
        (["--survey", "sdss", "--background", "{field}", "--redshift", "0.005", "0.1"], "not fit"),
        (["--survey", "sdss", "--psf", "{psf}"], "pixels of 1 arcsec, but the images have 0.396"),
        (["--survey", "sdss", "--redshift", "0.0005", "0.1"], "choose a smaller field"),
        (["--redshift", "0.1", "0.05"], "--redshift takes a smaller and a larger"),
    ],
)
def test_what_cannot_be_observed_is_refused_first(survey, tmp_path, field, options, words):
    psf = tmp_path / "psf.fits"
    fits.PrimaryHDU(np.ones((5, 5)), fits.Header({"PIXSCALE": 1.0})).writeto(psf)
    options = [option.format(psf=psf, field=field) for option in options]
    output = tmp_path / "o"
    result = CliRunner().invoke(
        main, ["simulate", "observe", str(survey), "-o", str(output), *options]
    )
    assert result.exit_code != 0
    assert words in result.output
    assert not output.exists()


def test_a_psf_of_ones_own(survey, tmp_path, field):
    """At the pixel scale of the background, if there is one."""
    psf = tmp_path / "psf.fits"
    fits.PrimaryHDU(np.ones((5, 5)), fits.Header({"PIXSCALE": 1.0})).writeto(psf)
    command = ["simulate", "observe", str(survey), "-o", str(tmp_path / "o"), "--survey", "sdss"]
    command += ["--psf", str(psf), "--background", str(field), "--cameras", "1"]
    command += ["--redshift", "0.05", "0.08"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "o" / "images.json").read_text(encoding="utf-8"))
    assert len(told["psf"]) == 64
    assert told["background"] == str(field)


def test_images_that_the_disk_cannot_hold_are_refused(survey, tmp_path):
    images = image_plan(PLAN, pixels=8192, cameras=1000)
    with pytest.raises(ValueError, match=r"o: 1\.21e\+04 GB are needed \(.* for 45000 images\)"):
        write_images(survey, tmp_path / "o", IdealTelescope(), images)
    assert not (tmp_path / "o").exists()


def test_ideal_images_hold_all_the_light(survey, tmp_path):
    images = image_plan(PLAN, pixels=64, cameras=2, field=400.0, disc_mass_to_light=2.0)
    path = write_images(survey, tmp_path, IdealTelescope(), images, processes=1, progress=False)
    table = QTable.read(path)
    assert "redshift" not in table.colnames
    simulations = {s.planned.name: s for s in open_survey(survey)}
    for group in ("sim_000", "sim_002"):
        masses, component, _ = simulations[group].stars()
        light = (masses / np.where(component == 0, 2.0, 3.0)).sum()
        for row in table[(table["group"] == group)][:3]:
            data, header = fits.getdata(tmp_path / row["file"], header=True)
            assert u.Unit(header["BUNIT"]) == u.Lsun / u.kpc**2
            wcs = WCS(header)
            assert [str(unit) for unit in wcs.wcs.cunit] == ["kpc", "kpc"]
            left, right = (wcs.pixel_to_world_values(x, 31.5)[0] for x in (-0.5, 63.5))
            assert (float(left), float(right)) == (-200, 200)
            area = (400 / 64) ** 2
            assert data.sum(dtype=float) * area == pytest.approx(light, rel=2e-3)


def test_a_chance_companion_is_smaller_fainter_and_in_its_place(survey):
    simulation = open_survey(survey)[3]
    images = image_plan(PLAN, pixels=200, cameras=3, field=100.0)
    masses, component, galaxy = simulation.stars()
    light = masses / np.where(component == 0, 1.5, 3.0)
    y, x = np.mgrid[:200, :200] * 0.5 - 49.75
    angles = []
    for image in snapshot_views(simulation, 0, images):
        smooth = gaussian_filter(image, 4)
        primary = np.array([x.flat[smooth.argmax()], y.flat[smooth.argmax()]])
        rest = np.where(np.hypot(x - primary[0], y - primary[1]) > 15, smooth, 0)
        companion = np.array([x.flat[rest.argmax()], y.flat[rest.argmax()]])
        offset = companion - primary
        assert np.hypot(*offset) == pytest.approx(30, abs=1.5)
        angles.append(np.degrees(np.arctan2(*offset[::-1])))
        along = ((x - primary[0]) * offset[0] + (y - primary[1]) * offset[1]) / (offset @ offset)
        for half, number, scale in ((along < 0.5, 0, 1.0), (along >= 0.5, 1, 2.0)):
            total = image[half].sum(dtype=float) * 0.25
            assert total == pytest.approx(light[galaxy == number].sum() / scale**2, rel=0.1)
    assert np.ptp(angles) > 30  # in another direction for every camera


def test_one_galaxy_at_least_is_in_the_image(survey):
    simulation = open_survey(survey)[4]  # the flyby, far apart in the end
    images = image_plan(PLAN, pixels=64, cameras=6, field=60.0)
    snapshot = simulation.snapshot(8)
    assert np.linalg.norm(snapshot.offset) > 100
    masses, component, galaxy = simulation.stars()
    light = masses / np.where(component == 0, 1.5, 3.0)
    lightest = min(light[galaxy == number].sum() for number in (0, 1))
    for image in snapshot_views(simulation, 8, images):
        assert image.sum(dtype=float) * (60 / 64) ** 2 > 0.7 * lightest


def test_cameras_turn_with_the_simulation_if_asked(survey):
    first, second = open_survey(survey)[:2]
    images = image_plan(PLAN, pixels=16, cameras=3)
    turned = images.model_copy(update={"turned": True})
    sights = []
    for simulation in (first, second):
        stars, again, fixed = (
            Stars(simulation, simulation.snapshot(number), how)
            for number, how in ((0, turned), (3, turned), (0, images))
        )
        views = [
            [each.view(camera, np.random.default_rng(0)) for camera in range(3)]
            for each in (stars, again, fixed)
        ]
        sight = [[np.cross(*view.axes) for view in some] for some in views]
        np.testing.assert_allclose(sight[0], sight[1])
        np.testing.assert_allclose(sight[2], camera_directions(3), atol=1e-12)
        # All of them turn together.
        np.testing.assert_allclose(np.inner(sight[0], sight[0]), np.inner(sight[2], sight[2]))
        sights.append(sight[0])
    assert np.abs(np.subtract(*sights)).max() > 0.2


def test_views_are_those_of_the_cameras(survey):
    simulation = open_survey(survey)[0]
    images = image_plan(PLAN, pixels=128, field=160.0)
    views = snapshot_views(simulation, 0, images)
    assert views.shape == (3, 128, 128)
    assert (snapshot_views(simulation, 0, images, [2])[0] == views[2]).all()
    snapshot = simulation.snapshot(0)
    masses, component, _ = simulation.stars()
    y, x = np.mgrid[:128, :128] * 1.25 - 79.375
    weights = masses / np.where(component == 0, 1.5, 3.0)
    centred = snapshot.positions - snapshot.positions.mean(axis=0)
    for view, direction in zip(views, camera_directions(3), strict=True):
        expected = np.average(centred @ image_axes(direction).T, axis=0, weights=weights)
        found = [(view * x).sum() / view.sum(), (view * y).sum() / view.sum()]
        np.testing.assert_allclose(found, expected, atol=0.6)


def test_logarithmic_pictures():
    np.testing.assert_allclose(logarithmic(np.array([0, 1e6, 3e9, 1e12])), [0, 0, 1, 1])
    assert logarithmic(np.array([np.sqrt(1e6 * 3e9)]))[0] == pytest.approx(0.5)


def test_a_survey_without_finished_simulations_is_refused(tmp_path):
    from astro_deepgalaxy.simulate.survey import claim

    claim(tmp_path / "s", PLAN)
    with pytest.raises(ValueError, match="no simulation is finished"):
        write_images(tmp_path / "s", tmp_path / "o", IdealTelescope())
    with pytest.raises(ValueError, match="has no snapshots yet"):
        list(frames(open_survey(tmp_path / "s")[0]))


def test_declinations_cover_the_sky_evenly():
    rng = np.random.default_rng(1)
    declinations = np.array([random_observation(rng).dec for _ in range(300)])
    assert np.sin(np.radians(declinations)).var() == pytest.approx(1 / 3, abs=0.06)


def test_export_and_back(survey, tmp_path):
    # The layout is for encounters only: a survey with others is refused, one of them goes.
    result = CliRunner().invoke(main, ["simulate", "export", str(survey), str(tmp_path / "x.h5")])
    assert result.exit_code == 1
    assert "sim_002 is of the kind 'isolated'" in result.output
    plan = PLAN.model_copy(update={"simulations": PLAN.simulations[:1]})
    pair = tmp_path / "pair"
    run_survey(pair, plan, processes=1, progress=False)
    target = tmp_path / "deepgalaxy.h5"
    result = CliRunner().invoke(
        main, ["simulate", "export", str(pair), str(target), "--pixels", "48", "--cameras", "2"]
    )
    assert result.exit_code == 0, result.output
    found = DeepGalaxyFile(target)
    assert len(found) == 2 * 9 * 2
    assert set(found.labels["group"]) == {"s_1_m_0.75", "s_1_m_1"}
    np.testing.assert_allclose(
        np.unique(found.labels["time_since_start"].to_value(u.Myr)), np.arange(9) * 50
    )
    row = int(
        np.flatnonzero((found.labels["mass_ratio"] == 1.0) & (found.labels["camera"] == 1))[3]
    )
    images = image_plan(plan, pixels=48, cameras=2)
    expected = logarithmic(snapshot_views(open_survey(pair)[1], 3, images))[1]
    np.testing.assert_allclose(found.image(row), expected, atol=1e-3)
    store = tmp_path / "store.zarr"
    result = CliRunner().invoke(main, ["preprocess", str(target), "-o", str(store)])
    assert result.exit_code == 0, result.output


def test_movies(survey, tmp_path):
    gif, sheet = tmp_path / "m.gif", tmp_path / "m.png"
    result = CliRunner().invoke(
        main,
        [
            "simulate",
            "movie",
            str(survey),
            "sim_001",
            "-o",
            str(gif),
            "--sheet",
            str(sheet),
            "--pixels",
            "64",
        ],
    )
    assert result.exit_code == 0, result.output
    with Image.open(gif) as movie:
        assert movie.n_frames == 9
        assert movie.size == (64, 64)
        first = np.asarray(movie.convert("L"))
        movie.seek(8)
        assert (np.asarray(movie.convert("L")) != first).mean() > 0.05
    with Image.open(sheet) as page:
        assert page.width > page.height > 100
    with pytest.raises(ValueError, match=r"must end in \.gif or \.mp4"):
        write_movie(tmp_path / "m.avi", [])
    for wrong in (["-o", "m.avi"], ["--sheet", "m.xyz"], ["--fps", "0"], ["--pixels", "5"]):
        result = CliRunner().invoke(main, ["simulate", "movie", str(survey), *wrong])
        assert result.exit_code == 2
        assert wrong[1] in result.output
    result = CliRunner().invoke(main, ["simulate", "movie", str(survey), "sim_9"])
    assert "known are sim_000 to sim_004" in result.output


def test_mp4(survey, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "m.mp4"
    write_movie(path, frames(open_survey(survey)[0], pixels=64))
    meta = next(ffmpeg.read_frames(str(path)))
    assert meta["size"] == (64, 64)
    assert meta["duration"] == pytest.approx(9 / 12, abs=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["render", "--pixels", "1"],
            "images: pixels: Input should be greater than",
        ),
        (["render", "--cameras", "0"], "images: cameras: Input should be"),
        (["render", "--field", "1e-6"], "field must be from 1 to 10,000 kpc"),
        (["render", "--field", "inf"], "field: Input should be a finite number"),
        (["observe", "--redshift", "0.02", "inf"], "--redshift takes"),
        (["observe", "--redshift", "0.5", "0.1"], "--redshift takes"),
    ],
)
def test_impossible_ways_of_looking_are_one_sentence(survey, tmp_path, options, words):
    command, *rest = options
    output = tmp_path / "o"
    result = CliRunner().invoke(main, ["simulate", command, str(survey), "-o", str(output), *rest])
    assert result.exit_code in (1, 2)
    assert words in result.output
    assert "pydantic" not in result.output
    assert not output.exists()
