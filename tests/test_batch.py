import json
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from click.testing import CliRunner
from PIL import Image

from astro_deepgalaxy import CutoutStore, Flag, Recipe
from astro_deepgalaxy.cli.preprocess import preprocess
from astro_deepgalaxy.flags import FAILED
from astro_deepgalaxy.io import resolve_inputs, write_table
from astro_deepgalaxy.preprocess.batch import iterate_prepared, prepare, preprocess_batch
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.stretch import Stretch
from astro_deepgalaxy.specs import ReaderSpec

RECIPE = Recipe.default(size=24)


def galaxy(seed, n=60):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:n, :n] - n / 2
    return (300 * np.exp(-np.hypot(x, y) / 4) + rng.normal(50, 2, (n, n))).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Four images that can be used, and every kind that cannot."""
    folder = tmp_path / "images"
    folder.mkdir()
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (30.0, -10.0), (30.5, 30.5)
    wcs.wcs.cdelt = -1e-4, 1e-4
    for i in range(2):
        fits.writeto(folder / f"a{i}.fits", galaxy(i), wcs.to_header())
    cube = np.stack([galaxy(7), galaxy(8), galaxy(9)])
    fits.writeto(folder / "cube.fits.gz", cube)
    Image.fromarray(np.clip(galaxy(3), 0, 255).astype(np.uint8)).save(folder / "picture.png")
    (folder / "empty.fits").touch()
    fits.writeto(folder / "nan.fits", np.full((20, 20), np.nan))
    fits.writeto(folder / "line.fits", np.ones(30))
    (folder / "words.jpg").write_text("no picture")
    (folder / "cut.fits").write_bytes((folder / "a0.fits").read_bytes()[:9000])
    return folder


BROKEN = {"empty", "nan", "line", "words", "cut", "missing"}


def inputs(folder):
    return [folder, folder / "missing.fits"]


def test_one_row_for_each_input(folder, tmp_path):
    store = preprocess_batch(inputs(folder), RECIPE, tmp_path / "s.zarr", progress=False)
    table = store.table
    assert table["id"].tolist() == [s.id for s in resolve_inputs(inputs(folder))[0]]
    failed = (table["flags"] & int(FAILED)) != 0
    assert set(table["id"][failed].tolist()) == BROKEN
    assert store.image_shape == (24, 24, 1)
    for image, row in zip(store.images[:], table, strict=True):
        if row["id"] in BROKEN:
            assert row["id"] in row["reason"]
            assert not image.any()
        else:
            assert row["reason"] == ""
            assert 0 <= image.min() < 0.1 < 0.9 < image.max() <= 1
    flags = dict(zip(table["id"].tolist(), table["flags"].tolist(), strict=True))
    assert flags["nan"] & Flag.NO_DATA
    assert flags["cut"] & Flag.UNREADABLE
    assert flags["picture"] & Flag.PICTURE
    a = table[table["id"] == "a0"]
    assert a["ra"][0].to_value(u.deg) == pytest.approx(30, abs=2e-4)
    assert a["dec"][0].to_value(u.deg) == pytest.approx(-10, abs=2e-4)
    assert np.isnan(table["ra"][table["id"] == "cube"][0])
    assert store.attributes["recipe"] == RECIPE.to_dict()


def test_processes_and_streaming_make_no_difference(folder, tmp_path):
    one = preprocess_batch(inputs(folder), RECIPE, tmp_path / "one.zarr", progress=False)
    two = preprocess_batch(
        inputs(folder), RECIPE, tmp_path / "two.zarr", processes=2, progress=False
    )
    files = [
        {p.relative_to(s.path): p.read_bytes() for p in s.path.rglob("*") if p.is_file()}
        for s in (one, two)
    ]
    assert files[0] == files[1]
    sources, _ = resolve_inputs(inputs(folder))
    for i, (image, row) in enumerate(iterate_prepared(sources, RECIPE)):
        assert row["id"] == one.table["id"][i]
        if image is not None:
            assert np.array_equal(image, one.images[i])


def test_larger_images_too_are_the_same_for_any_number_of_processes(tmp_path):
    # Large enough for matrix products to use threads where they may.
    images = [galaxy(i, 600) for i in range(3)]
    recipe = Recipe.default(size=256)
    one, two = (
        preprocess_batch(images, recipe, tmp_path / f"{p}.zarr", processes=p, progress=False)
        for p in (1, 2)
    )
    assert np.array_equal(one.images[:], two.images[:])


def test_an_interrupted_batch_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("astro_deepgalaxy.preprocess.batch._SHARD_BYTES", 4 * 4 * 24**2)
    images = [galaxy(i) for i in range(10)]
    whole = preprocess_batch(images, RECIPE, tmp_path / "whole.zarr", progress=False)
    assert whole.n_shards == 3
    written, real = [], CutoutStore.write_shard

    def dies(self, shard, *args):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(shard)
        real(self, shard, *args)

    monkeypatch.setattr(CutoutStore, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        preprocess_batch(images, RECIPE, tmp_path / "parted.zarr", progress=False)
    monkeypatch.setattr(CutoutStore, "write_shard", real)
    assert CutoutStore.open(tmp_path / "parted.zarr").pending == [2]
    again = preprocess_batch(images, RECIPE, tmp_path / "parted.zarr", progress=False)
    assert np.array_equal(again.images[:], whole.images[:])
    assert again.table["id"].tolist() == whole.table["id"].tolist()


def test_another_recipe_or_other_images_are_refused(folder, tmp_path):
    output = tmp_path / "s.zarr"
    preprocess_batch(folder / "a0.fits", RECIPE, output, progress=False)
    other = Recipe([*RECIPE.steps[:-1], Stretch(percentile=90)])
    with pytest.raises(ValueError, match="another recipe"):
        preprocess_batch(folder / "a0.fits", other, output, progress=False)
    with pytest.raises(ValueError, match="another set of images"):
        preprocess_batch(folder / "a1.fits", RECIPE, output, progress=False)


def test_labels_are_joined_by_row(folder, tmp_path):
    labels = QTable(
        {
            "file": ["a1.fits", "missing.fits", "a0.fits"],
            "id": ["one", "two", "three"],
            "time_since_pericentre": [10.0, 20.0, 30.0] * u.Myr,
            "group": ["x", "y", "z"],
        }
    )
    write_table(labels, folder / "labels.ecsv")
    store = preprocess_batch(folder / "labels.ecsv", RECIPE, tmp_path / "s.zarr", progress=False)
    assert store.table["id"].tolist() == ["one", "two", "three"]
    assert store.table["group"].tolist() == ["x", "y", "z"]
    assert store.table["time_since_pericentre"].unit == u.Myr
    assert store.table["flags"][1] & Flag.UNREADABLE
    with pytest.raises(ValueError, match="row by row"):
        preprocess_batch(folder / "a0.fits", RECIPE, tmp_path / "t.zarr", labels=labels)


def test_a_picture_keeps_the_position_of_its_table(folder):
    table = QTable({"file": [str(folder / "picture.png")], "ra": [5.0], "dec": [6.0]})
    _, row = prepare(resolve_inputs(table)[0][0], RECIPE)
    assert (row["ra"], row["dec"]) == (5, 6)


def test_an_image_of_another_shape_is_a_flagged_row(tmp_path):
    recipe = Recipe([Crop(size=20, unit="pixel", on="centre"), Stretch()])
    images = [galaxy(0), np.stack([galaxy(1), galaxy(2)]), galaxy(3)]
    store = preprocess_batch(images, recipe, tmp_path / "s.zarr", progress=False)
    assert ((store.table["flags"] & int(Flag.PREPROCESS_FAILED)) != 0).tolist() == [0, 1, 0]
    assert "(20, 20, 2)" in store.table["reason"][1]


def breaking_reader(path):
    raise RuntimeError("this reader is broken")


def test_a_readers_own_error_is_a_flagged_row(folder, monkeypatch):
    spec = ReaderSpec(name="odd", factory=f"{__name__}:breaking_reader", suffixes=(".odd",))
    monkeypatch.setattr(ReaderSpec, "load", lambda self: breaking_reader)
    monkeypatch.setattr("astro_deepgalaxy.io.read.list_specs", lambda kind: [spec])
    image, row = prepare(resolve_inputs("x.odd")[0][0], RECIPE)
    assert image is None
    assert row["flags"] == Flag.UNREADABLE
    assert "this reader is broken" in row["reason"]


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="none of the 2 images"):
        preprocess_batch([tmp_path / "a.fits", tmp_path / "b.fits"], RECIPE, tmp_path / "s.zarr")


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_command(folder, tmp_path, options, code):
    output = str(tmp_path / "s.zarr")
    arguments = [str(folder), "-o", output, "--size", "24", "--json", *options]
    result = CliRunner().invoke(preprocess, arguments)
    assert result.exit_code == code
    summary = json.loads(result.stdout.strip().splitlines()[-1])
    report = output.replace(".zarr", ".html")
    assert summary == {"store": output, "rows": 9, "failed": 5, "report": report}
    assert "a0" in Path(report).read_text(encoding="utf-8")
    assert CutoutStore.open(output).image_shape == (24, 24, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.zarr"], "Missing argument"),
        (["a.fits"], "Missing option '-o'"),
        (["a.fits", "-o", "."], "expected the name of a folder to make, such as cutouts.zarr"),
        (["a.fits", "-o", "../.."], "expected the name of a folder"),
        (["a.fits", "-o", "x.zarr", "--size", "64", "--recipe", "r.toml"], "--recipe or --size"),
        (["a.fits", "-o", "x.zarr", "--size", "0"], "'--size': 0 is not in the range x>=1"),
        (["a.fits", "-o", "x.zarr", "--processes", "-1"], "-1 is not in the range x>=0"),
    ],
)
def test_command_refuses_wrong_use(arguments, message):
    result = CliRunner().invoke(preprocess, arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_each_store_has_its_own_report(folder, tmp_path):
    for name, page in (
        ("survey.v1", "survey.v1.html"),
        ("survey.v2", "survey.v2.html"),
        ("survey.zarr/", "survey.html"),
    ):
        arguments = [str(folder / "a0.fits"), "-o", f"{tmp_path}/{name}", "--size", "24"]
        arguments += ["--processes", "1"]
        result = CliRunner().invoke(preprocess, arguments)
        assert f"quality report: {tmp_path / page}" in result.output
        title = f"<title>Quality of {name.rstrip('/')}</title>"
        assert title in (tmp_path / page).read_text(encoding="utf-8")
        # The next run replaces its own page.
        (tmp_path / page).write_text(f"{title} of old")
        CliRunner().invoke(preprocess, arguments)
        assert "of old" not in (tmp_path / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["page", "folder"])
def test_what_is_no_report_is_not_overwritten(folder, tmp_path, kind):
    page = tmp_path / "s.html"
    if kind == "page":
        page.write_text("<!doctype html><title>My thesis</title>")
    else:
        page.mkdir()
    output = str(tmp_path / "s.zarr")
    arguments = [str(folder / "a0.fits"), "-o", output, "--size", "24", "--json"]
    result = CliRunner().invoke(preprocess, [*arguments, "--processes", "1"])
    assert result.exit_code == 0
    assert json.loads(result.stdout.strip().splitlines()[-1])["report"] is None
    assert f"{page}: is not a quality report and stays as it is" in result.stderr
    assert page.is_dir() or "My thesis" in page.read_text()


def test_real_images_of_all_kinds(real_images, tmp_path):
    files = [
        *sorted(real_images.glob("sdss_pawlik/small/*.fits"))[:12],
        *sorted(real_images.glob("decals_gz/example_*")),
        *sorted(real_images.glob("galaxy_zoo_mergers/*.jpg"))[:6],
    ]
    store = preprocess_batch(files, Recipe.default(32), tmp_path / "s.zarr", progress=False)
    failed = (store.table["flags"] & int(FAILED)) != 0
    assert store.table["id"][failed].tolist() == ["example_incomplete"]
    images = store.images[:]
    assert images.min() >= 0
    assert images.max() <= 1
    assert (images[~failed].max(axis=(1, 2, 3)) > 0.9).all()
    assert np.isfinite(store.table["ra"].value[:12]).all()


def test_other_labels_of_the_same_images_are_another_data_set(tmp_path):
    images = [np.random.default_rng(i).random((32, 32)) for i in range(3)]
    recipe = Recipe.default(16)
    labels = QTable({"group": ["a", "b", "c"], "separation": [1.0, 2.0, 3.0] * u.kpc})

    def run(table):
        return preprocess_batch(images, recipe, tmp_path / "s.zarr", labels=table, progress=False)

    run(labels)
    assert run(labels.copy()).table["separation"][2] == 3 * u.kpc
    for name, value in (("group", "d"), ("separation", 4 * u.kpc)):
        changed = labels.copy()
        changed[name][1] = value
        with pytest.raises(ValueError, match="another set of images and labels"):
            run(changed)
