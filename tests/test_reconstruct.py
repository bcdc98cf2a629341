import json

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from click.testing import CliRunner
from sklearn.exceptions import NotFittedError

from astro_deepgalaxy import CutoutStore, Flag, ImageReconstructor, Recipe
from astro_deepgalaxy.celestial import tangent_wcs
from astro_deepgalaxy.cli import main
from astro_deepgalaxy.io import read_cutout, read_table
from astro_deepgalaxy.metrics.similarity import ssim
from astro_deepgalaxy.preprocess.bands import Bands
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.preprocess.stretch import Stretch
from astro_deepgalaxy.tasks.reconstruct import _file_name

RECIPE = Recipe([Bands(), Crop(size=48, unit="pixel", on="centre"), Resize(size=32), Stretch()])


@pytest.fixture(scope="module")
def fitted(blob_images):
    """A reconstructor of raw blobs; saved, so that it has a digest."""
    images = [100 * image[..., 0] for image in blob_images(np.linspace(-190, 520, 64), size=48)]
    options = {"backbone_options": {"filters": [8, 8]}, "epochs": 24, "learning_rate": 5e-3}
    options |= {"validation_fraction": 0.2, "augment": False, "batch_size": 16, "progress": False}
    return ImageReconstructor("simple", recipe=RECIPE, **options).fit(images)


@pytest.fixture(scope="module")
def model(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "fcae"
    fitted.save(folder)
    return folder


@pytest.fixture
def raw(tmp_path):
    """A function that writes a blob at a place in the sky, off the middle of its image."""

    def raw(name, ra=150.0, dec=20.0, turn=30.0):
        angle = np.radians(turn)
        matrix = [[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        wcs = tangent_wcs(ra, dec, np.array(matrix) * 0.5 / 3600, 30.0, 34.0)
        y, x = np.mgrid[:60, :70]
        image = 100 * np.exp(-((x - 30) ** 2 + (y - 34) ** 2) / 18)
        path = tmp_path / name
        fits.writeto(path, image.astype(np.float32), wcs.to_header())
        return path

    return raw


def test_it_learns_the_images(fitted, blob_images):
    images = [100 * image[..., 0] for image in blob_images(np.array([-100.0, 200.0, 450.0]), 48, 5)]
    catalogue = fitted.predict(images)
    assert fitted.training_["history"]["loss"][-1] < fitted.training_["history"]["loss"][0] / 3
    again = fitted.outputs(images, ["reconstruction"])[1]["reconstruction"]
    seen = np.stack([np.moveaxis(RECIPE(read_cutout(image)).data, 0, -1) for image in images])
    for i in range(3):
        assert catalogue["reconstruction_ssim"][i] == pytest.approx(ssim(seen[i], again[i]))
        error = np.abs(seen[i] - again[i]).mean()
        assert abs(catalogue["reconstruction_error"][i] - error) < 1e-6
    # Giving the mean image is no match.
    mean = np.abs(seen - seen.mean(axis=0)).mean()
    assert catalogue["reconstruction_error"].max() < mean / 2


def test_the_residual_lies_on_the_sky(fitted, model, raw, tmp_path):
    path = raw("turned.fits")
    catalogue = fitted.reconstruct([path], tmp_path / "out")
    assert catalogue["residual"].tolist() == ["turned_residual.fits"]
    with fits.open(tmp_path / "out" / "turned_residual.fits") as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "RECONSTRUCTION"]
        residual, image, again = (hdu.data for hdu in hdus)
        headers = [hdu.header for hdu in hdus]
    assert np.array_equal(residual, image - again)
    assert residual.shape == (32, 32)
    assert np.array_equal(image, RECIPE(read_cutout(path)).data[0])
    for header in headers:
        # Where the blob is in the prepared image is where it is in the input.
        x, y = WCS(header).world_to_pixel_values(150.0, 20.0)
        peak = np.unravel_index(image.argmax(), image.shape)
        assert np.hypot(y - peak[0], x - peak[1]) < 1
        for dx, dy in ((0, 0), (31, 0), (0, 31)):
            ours = WCS(header).pixel_to_world(dx, dy)
            theirs = RECIPE(read_cutout(path)).wcs.pixel_to_world(dx, dy)
            assert ours.separation(theirs) < 0.001 * u.arcsec
        assert header["OBJECT"] == "turned"
        assert header["FILE"] == str(path)
        assert (
            header["MODEL"]
            == fitted.digest_
            == json.loads((model / "config.json").read_text())["digest"]
        )
        assert header["RECIPE"] == RECIPE.digest[:12]
        assert header["SSIM"] == catalogue["reconstruction_ssim"][0]
        assert header["MAE"] == pytest.approx(catalogue["reconstruction_error"][0])


def test_bad_files_are_flagged_rows_without_a_residual(fitted, raw, tmp_path):
    (tmp_path / "empty.fits").touch()
    inputs = [raw("good.fits"), tmp_path / "empty.fits", tmp_path / "none.fits", np.ones((40, 40))]
    catalogue = fitted.reconstruct(inputs, tmp_path / "out")
    assert [bool(name) for name in catalogue["residual"]][:3] == [True, False, False]
    assert catalogue["flags"][1] & int(Flag.UNREADABLE)
    assert np.isnan(catalogue["reconstruction_ssim"][1])
    assert "none.fits" in catalogue["reason"][2]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {name for name in catalogue["residual"] if name}
    only = fitted.reconstruct([tmp_path / "empty.fits"], tmp_path / "out2")
    assert only["residual"].tolist() == [""]


def test_an_image_without_a_place_in_the_sky_has_no_wcs(fitted, tmp_path):
    catalogue = fitted.reconstruct([np.eye(60)], tmp_path)
    header = fits.getheader(tmp_path / catalogue["residual"][0])
    assert not WCS(header).has_celestial


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A store of two-band images with names of all kinds, and its model."""
    names = ["../../etc/passwd", "NGC 1", "ngc_1", "ngc_1", "ngc_1-2", "ζ", "", "a" * 200]
    store = CutoutStore.create(
        tmp_path_factory.mktemp("colours") / "store.zarr", len(names), (32, 32, 2)
    )
    table = QTable(
        {
            "id": names,
            "file": ["x\ny"] * len(names),
            "flags": np.array([0, 0, int(Flag.NO_DATA), 0, 0, 0, 0, 0], dtype=np.int32),
            "reason": [""] * len(names),
            "ra": np.full(len(names), np.nan) * u.deg,
            "dec": np.full(len(names), np.nan) * u.deg,
        }
    )
    images = np.random.default_rng(0).random((len(names), 32, 32, 2), dtype=np.float32)
    store.write_shard(0, images, table)
    options = {"backbone_options": {"filters": [4]}, "epochs": 1, "progress": False}
    return store, ImageReconstructor("simple", validation_fraction=0, **options).fit(store)


def test_names_of_files(colours, tmp_path):
    store, reconstructor = colours
    out = tmp_path / "a" / "b" / "c"
    catalogue = reconstructor.reconstruct(store, out)
    names = catalogue["residual"].tolist()
    assert names[:2] == ["etc_passwd_residual.fits", "NGC_1_residual.fits"]
    assert names[2] == ""
    assert names[3:7] == [
        *("ngc_1-2_residual.fits", "ngc_1-2-2_residual.fits"),
        *("image_residual.fits", "image-2_residual.fits"),
    ]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in written) == sorted(filter(None, names))
    assert {path.parent for path in written} == {out}
    with fits.open(out / names[5]) as hdus:
        assert hdus[0].data.shape == (2, 32, 32)
        assert hdus["IMAGE"].header["OBJECT"] == "\\u03b6"
        assert np.array_equal(hdus["IMAGE"].data, np.moveaxis(store.load([5])[0], -1, 0))


def test_names_are_never_used_twice():
    ids = ["a", "A", "a-2", "a", "a-2", "a-2-2", "a-3", "a"]
    taken = {}
    names = [_file_name(name, taken).lower() for name in ids]
    assert len(set(names)) == len(ids)


def test_rows_of_a_store(colours, tmp_path):
    store, reconstructor = colours
    catalogue = reconstructor.reconstruct(store, tmp_path, rows=[4, 1])
    assert catalogue["id"].tolist() == ["ngc_1-2", "NGC 1"]
    assert len(list(tmp_path.iterdir())) == 2
    assert len(reconstructor.reconstruct(store, tmp_path, rows=[])) == 0


def test_its_own_files_are_replaced_and_no_others(fitted, raw, tmp_path):
    path = raw("m51.fits")
    fitted.reconstruct([path], tmp_path)
    catalogue = fitted.reconstruct([path], tmp_path)
    assert catalogue["residual"].tolist() == ["m51_residual.fits"]
    fits.writeto(tmp_path / "m51_residual.fits", np.ones((3, 3)), overwrite=True)
    with pytest.raises(ValueError, match=r"m51_residual\.fits: exists and is not a residual that"):
        fitted.reconstruct([path], tmp_path)
    assert fits.getdata(tmp_path / "m51_residual.fits").shape == (3, 3)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file: no such folder can be made"):
        fitted.reconstruct([path], tmp_path / "file")


def test_an_interrupted_write_leaves_nothing(fitted, raw, tmp_path, monkeypatch):
    path = raw("x.fits")

    def full(self, name, *_, **__):
        with open(name, "wb") as file:
            file.write(b"SIMPLE")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", full)
    with pytest.raises(OSError, match="No space left"):
        fitted.reconstruct([path], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_it_must_be_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        ImageReconstructor().reconstruct("*.fits", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command(model, raw, tmp_path):
    good, out = [str(raw(f"{name}.fits")) for name in "ab"], tmp_path / "out"
    (tmp_path / "bad.fits").write_text("no")
    command = ["reconstruct", str(model), *good, str(tmp_path / "bad.fits"), "-o", str(out)]
    figure = tmp_path / "figure.png"
    result = CliRunner().invoke(main, [*command, "--figure", str(figure), "--strict"])
    assert result.exit_code == 1, result.output
    assert f"3 images, 1 of them without a result -> {out}" in result.output
    catalogue = read_table(out / "reconstructions.ecsv")
    assert catalogue["residual"].tolist() == ["a_residual.fits", "b_residual.fits", ""]
    assert figure.read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(main, [*command, "--json"])
    assert json.loads(result.output) == {"folder": str(out), "rows": 3, "failed": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "x.docx"], "x.docx: the suffix of a figure chooses its format"),
        (["--engine", "kerras"], "did you mean 'keras'"),
    ],
)
def test_arguments_of_the_command_that_cannot_be(model, raw, tmp_path, arguments, message):
    out = tmp_path / "out"
    command = ["reconstruct", str(model), str(raw("a.fits")), "-o", str(out), *arguments]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert message in result.output


def test_the_figure_shows_what_is_left():
    from astro_deepgalaxy.figures import reconstructions

    images = np.random.default_rng(0).random((2, 8, 8, 1))
    again = images.copy()
    again[1, 2, 3] -= 0.5
    figure = reconstructions(images, again, ["one", "two"])
    shown = [ax.images[0].get_array() for ax in figure.axes[:6]]
    assert np.array_equal(shown[0], images[0, ..., 0])
    assert np.array_equal(shown[3], again[1, ..., 0])
    assert not shown[4].any()
    assert np.argmax(shown[5]) == 2 * 8 + 3
    assert [ax.get_ylabel() for ax in figure.axes[0:6:2]] == ["image", "reconstruction", "residual"]
    with pytest.raises(ValueError, match="at least one image"):
        reconstructions([], [])


def test_real_stamps(fitted, real_images, tmp_path):
    stamps = sorted((real_images / "sdss_pawlik" / "small").glob("*.fits*"))[:3]
    catalogue = fitted.reconstruct(stamps, tmp_path)
    for path, name in zip(stamps, catalogue["residual"], strict=True):
        middle = read_cutout(path).wcs.pixel_to_world(70, 70)
        x, y = WCS(fits.getheader(tmp_path / name)).world_to_pixel(middle)
        assert np.hypot(x - 15.5, y - 15.5) < 1.5
