import json

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from sklearn.exceptions import NotFittedError

from astro_deepgalaxy import GalaxyEmbedder, Recipe
from astro_deepgalaxy.cli import main
from astro_deepgalaxy.figures import latent_grid
from astro_deepgalaxy.io import read_table
from astro_deepgalaxy.preprocess.bands import Bands
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.preprocess.stretch import Stretch

RECIPE = Recipe([Bands(), Crop(size=48, unit="pixel", on="centre"), Resize(size=32), Stretch()])
OPTIONS = {"latent_size": 3, "hidden": 16, "recipe": RECIPE, "progress": False}
OPTIONS |= {"backbone_options": {"filters": [8, 8]}, "validation_fraction": 0}


@pytest.fixture(scope="module")
def blobs(blob_images):
    """Raw blobs, wider and wider."""
    return [100 * image[..., 0] for image in blob_images(np.linspace(-190, 520, 64), size=48)]


@pytest.fixture(scope="module")
def fitted(blobs):
    """An embedder of raw blobs."""
    settings = {"epochs": 15, "learning_rate": 5e-3, "augment": False, "batch_size": 16}
    return GalaxyEmbedder("simple", beta=1e-3, **settings, **OPTIONS).fit(blobs)


@pytest.fixture(scope="module")
def model(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "vae"
    fitted.save(folder)
    return folder


def test_neighbours_in_z_look_alike(fitted, blobs):
    catalogue = fitted.predict(blobs)
    z = np.asarray(catalogue["z"])
    assert z.shape == catalogue["z_error"].shape == (64, 3)
    assert (catalogue["z_error"] > 0).all()
    distances = np.linalg.norm(z[:, np.newaxis] - z, axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = np.abs(distances.argmin(axis=1) - np.arange(64))
    # They stand in order of their width; by chance it would be 21.
    assert np.median(nearest) < 6


def test_columns_are_mean_and_width_of_the_posterior(fitted, blobs):
    catalogue = fitted.predict(blobs[:5])
    _, outputs = fitted.outputs(blobs[:5], ["z", "z_log_variance", "feature_map"])
    assert np.array_equal(catalogue["z"], outputs["z"])
    assert np.allclose(catalogue["z_error"] ** 2, np.exp(outputs["z_log_variance"]), rtol=1e-5)
    by_hand = fitted.network_.latent_encoder(outputs["feature_map"])
    assert np.allclose(catalogue["z"], by_hand["z"], atol=1e-5)
    assert outputs["feature_map"].shape == (5, 8, 8, 8)


def test_a_bad_file_is_a_row_of_nothing(fitted, blobs, tmp_path):
    (tmp_path / "empty.fits").touch()
    inputs = [tmp_path / "empty.fits", blobs[0]]
    catalogue = fitted.predict(inputs)
    assert np.isnan(catalogue["z"]).all(axis=1).tolist() == [True, False]
    assert "empty.fits" in catalogue["reason"][0]
    about, outputs = fitted.outputs(inputs, ["feature_map"])
    assert np.isnan(outputs["feature_map"][0]).all()
    assert np.isfinite(outputs["feature_map"][1]).all()
    assert about["flags"][0]


def test_decoding_is_the_way_of_the_network(fitted, blobs):
    z = np.asarray(fitted.predict(blobs)["z"])
    again = fitted.outputs(blobs, ["latent_reconstruction"])[1]["latent_reconstruction"]
    assert len(z) % 64 == 0
    images = fitted.decode(np.concatenate([z, z[:3]]))  # more than are decoded at once
    assert images.dtype == np.float32
    assert np.allclose(images[:64], again, atol=1e-5)
    assert np.allclose(images[64:], again[:3], atol=1e-5)
    assert np.allclose(fitted.decode(z[0]), again[0], atol=1e-5)
    assert fitted.decode(z.reshape(8, 4, 2, 3)).shape == (8, 4, 2, 32, 32, 1)
    assert fitted.decode(np.zeros((0, 3))).shape == (0, 32, 32, 1)


@pytest.mark.parametrize("z", [np.zeros(4), np.zeros((2, 2)), 0.0, [[0, np.nan, 1]]])
def test_what_is_no_latent(fitted, z):
    with pytest.raises(ValueError, match="z must be finite points of length 3"):
        fitted.decode(z)


def test_the_corners_of_the_grid_are_the_inputs(fitted, blobs):
    chosen = [blobs[i] for i in (0, 20, 40, 63)]
    z = np.asarray(fitted.predict(chosen)["z"])
    again = fitted.outputs(chosen, ["latent_reconstruction"])[1]["latent_reconstruction"]
    grid = fitted.latent_grid(z, (4, 5))
    assert grid.shape == (4, 5, 32, 32, 1)
    for i, corner in enumerate((grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1])):
        assert np.allclose(corner, again[i], atol=1e-5)
    # Between them, by hand: a third down and a quarter to the right.
    top, bottom = 0.75 * z[0] + 0.25 * z[1], 0.75 * z[2] + 0.25 * z[3]
    assert np.allclose(grid[1, 1], fitted.decode(2 / 3 * top + 1 / 3 * bottom), atol=1e-5)
    # Narrow ones are on one side and wide ones on the other.
    light = grid.mean(axis=(2, 3, 4))
    assert light[0, 0] == light.min()
    assert light[-1, -1] == light.max()


def test_the_plane_is_that_of_the_first_two_principal_components(fitted):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    z = rng.normal(size=(500, 3)) * [2.0, 1.0, 0.1] @ basis.T + [0.3, -0.2, 0.1]
    grid = fitted.latent_plane(np.concatenate([z, [[np.nan] * 3]]), (3, 5), extent=1.5)
    assert grid.shape == (3, 5, 32, 32, 1)
    mean, values, vectors = z.mean(axis=0), *np.linalg.eigh(np.cov(z.T))
    assert np.allclose(grid[1, 2], fitted.decode(mean), atol=1e-5)
    for found, i in ((grid[1, [0, -1]], 2), (grid[[0, -1], 2], 1)):
        step = 1.5 * np.sqrt(values[i]) * vectors[:, i]
        ends = fitted.decode(mean + np.array([[-1], [1]]) * step)
        # An eigenvector has no sign.
        assert np.allclose(found, ends, atol=1e-4) or np.allclose(found, ends[::-1], atol=1e-4)
        assert not np.allclose(ends[0], ends[1], atol=1e-3)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("latent_grid", (np.zeros((3, 3)),), r"four points .* got the shape \(3, 3\)"),
        ("latent_grid", (np.zeros((4, 3)), (1, 5)), "at least two rows and two columns"),
        ("latent_grid", (np.full((4, 3), np.nan),), "finite points"),
        ("latent_plane", (np.zeros((2, 3)),), "at least three finite points"),
        ("latent_plane", (np.full((9, 3), np.nan),), "at least three finite points"),
        ("latent_plane", (np.random.default_rng(0).random((9, 2)),), "points of length 3"),
    ],
)
def test_grids_that_cannot_be(fitted, method, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(*arguments)


def test_it_must_be_fitted():
    for call in (lambda e: e.decode([0]), lambda e: e.latent_grid(np.zeros((4, 32)))):
        with pytest.raises(NotFittedError):
            call(GalaxyEmbedder())


@pytest.fixture(scope="module")
def without_images(blobs):
    """An embedder that learned to keep features only."""
    return GalaxyEmbedder("simple", image_weight=0, epochs=1, **OPTIONS).fit(blobs[:16])


def test_without_images_there_is_no_decoder(without_images, blobs):
    assert without_images.network_.parts == ("encoder", "latent_encoder", "latent_decoder")
    assert np.isfinite(without_images.predict(blobs[:3])["z"]).all()
    with pytest.raises(ValueError, match="no decoder; train it with an image_weight above 0"):
        without_images.decode(np.zeros(3))


def test_a_saved_model_gives_the_same_points(fitted, model, blobs):
    loaded = GalaxyEmbedder.load(model)
    z = fitted.predict(blobs[:4])["z"]
    assert np.array_equal(z, loaded.predict(blobs[:4])["z"])
    assert np.array_equal(fitted.decode(z), loaded.decode(z))


@pytest.fixture
def files(blobs, tmp_path):
    paths = [str(tmp_path / f"blob{i}.fits") for i in range(5)]
    for path, i in zip(paths, (0, 20, 40, 50, 63), strict=True):
        fits.writeto(path, blobs[i])
    return paths


@pytest.mark.parametrize(("n", "suffix"), [(4, "ecsv"), (5, "fits")])
def test_command(fitted, model, files, tmp_path, n, suffix):
    output, figure = tmp_path / f"latents.{suffix}", tmp_path / "grid.png"
    (tmp_path / "bad.fits").touch()
    command = ["embed", str(model), *files[:n], str(tmp_path / "bad.fits"), "-o", str(output)]
    result = CliRunner().invoke(main, [*command, "--figure", str(figure)])
    assert result.exit_code == 0, result.output
    assert f"{n + 1} images, 1 of them without a result -> {output}" in result.output
    catalogue = read_table(output)
    assert np.allclose(catalogue["z"][:n], fitted.predict(files[:n])["z"], atol=1e-6)
    assert np.isnan(np.ma.filled(catalogue["z"][n], np.nan)).all()
    assert json.loads(catalogue.meta["provenance"])["model"] == fitted.digest_
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_command_as_json(model, files, tmp_path):
    output = tmp_path / "z.ecsv"
    result = CliRunner().invoke(main, ["embed", str(model), files[0], "-o", str(output), "--json"])
    assert json.loads(result.output) == {"catalogue": str(output), "rows": 1, "failed": 0}


def test_arguments_of_the_command_that_cannot_be(without_images, model, files, tmp_path):
    without_images.save(tmp_path / "model")
    for folder, arguments, message in (
        (model, ["-o", "z.docx"], "z.docx"),
        (model, ["-o", str(tmp_path / "z.ecsv"), "--figure", "x.txt"], "the suffix of a figure"),
        (
            tmp_path / "model",
            ["-o", str(tmp_path / "z.ecsv"), "--figure", str(tmp_path / "x.png")],
            "has no decoder",
        ),
    ):
        result = CliRunner().invoke(main, ["embed", str(folder), files[0], *arguments])
        assert result.exit_code == 1
        assert message in result.output
        assert not (tmp_path / "z.ecsv").exists()


def test_the_figure_has_the_images_where_the_points_are():
    images = np.zeros((2, 3, 4, 5, 1))
    images[0, 2, 1, 3] = 1  # first row, last column, second line of pixels from below
    figure = latent_grid(images)
    ax = figure.axes[0]
    sheet = ax.images[0].get_array()
    assert sheet.shape == (8, 15)
    # Rows of the figure count from below.
    assert np.argwhere(sheet == 1).tolist() == [[4 + 1, 2 * 5 + 3]]
    assert ax.images[0].get_extent() == [0, 3, 0, 2]
    corners = np.arange(4)[:, None, None, None] / 3 * np.ones((4, 4, 5, 1))
    shown = latent_grid(images, corners).axes[0].images[1:]
    places = [(np.unique(i.get_array())[0], *i.get_extent()[::2]) for i in shown]
    assert [(round(3 * v), x > 0, y) for v, x, y in places] == [
        (0, False, 1),
        (1, True, 1),
        (2, False, 0),
        (3, True, 0),
    ]
