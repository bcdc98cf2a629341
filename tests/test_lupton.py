import json

import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb

from astro_deepgalaxy import Cutout, Flag, Recipe, read_cutout
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.background import Background
from astro_deepgalaxy.preprocess.lupton import Lupton
from astro_deepgalaxy.preprocess.normalise import Normalise
from astro_deepgalaxy.testing import check_step


def galaxy(seed=0):
    """A galaxy in g, r and i: red in the middle, blue outside, far brighter than white."""
    y, x = np.indices((90, 80))
    away = np.hypot(x - 40, y - 44)
    noise = np.random.default_rng(seed).normal(0, 1, (3, 90, 80))
    bands = ((60, 14), (200, 8), (900, 4))
    return noise + [peak * np.exp(-away / length) for peak, length in bands]


def test_it_keeps_the_promises_of_a_step():
    check_step("lupton", bands=("r", "g", "g"))


@pytest.mark.parametrize("scale", [(), (1.0, 1.3, 2.5)])
@pytest.mark.parametrize("minimum", [0.0, -2.0, 3.0])
@pytest.mark.parametrize(("stretch", "q"), [(5.0, 8.0), (0.5, 20.0), (100.0, 1.0)])
def test_the_same_picture_as_astropy(stretch, q, minimum, scale):
    g, r, i = image = galaxy()
    cutout = Cutout(image, bands=("g", "r", "i"), variance=np.ones((90, 80)), unit="nJy")
    step = Lupton(("i", "r", "g"), stretch=stretch, q=q, minimum=minimum, scale=scale)
    out = step(cutout)
    factor = scale or (1, 1, 1)
    truth = make_lupton_rgb(
        i * factor[0], r * factor[1], g * factor[2], minimum=minimum, stretch=stretch, Q=q
    )
    assert np.abs(out.data - np.moveaxis(truth, -1, 0) / 255).max() < 1 / 255 + 1e-6
    assert out.data.min() >= 0
    assert out.data.max() <= 1
    assert out.bands == ("red", "green", "blue")
    assert out.variance is None
    assert out.unit is None


def test_the_colour_does_not_depend_on_brightness():
    flux = np.geomspace(0.1, 3, 40)
    image = np.array([3 * flux, 2 * flux, flux]).reshape(3, 5, 8)
    out = Lupton(("a", "b", "c"), stretch=5, q=8)(Cutout(image, bands="abc"))
    assert out.data[0].max() < 1
    assert np.allclose(out.data[0] / out.data[2], 3, rtol=1e-4)
    assert np.allclose(out.data[1] / out.data[2], 2, rtol=1e-4)
    assert np.all(np.diff(out.data[0].ravel()) > 0)


def test_what_is_masked_in_any_band_is_black():
    mask = np.zeros((3, 90, 80), bool)
    mask[0, 40:44, 40:44] = True
    image = galaxy()
    image[2, 0, 0] = np.nan
    out = Lupton(("i", "r", "g"))(Cutout(image, bands=("g", "r", "i"), mask=mask))
    assert not out.data[:, 40:44, 40:44].any()
    assert not out.data[:, 0, 0].any()
    assert out.mask[:, 40:44, 40:44].all()
    assert out.mask.sum() == 3 * 17
    assert out.flags == Flag.MISSING_DATA
    assert Lupton(("i", "r", "g"))(Cutout(galaxy(), bands=("g", "r", "i"))).flags == 0


def test_pictures_pass():
    picture = Cutout(np.ones((1, 5, 5)), flags=Flag.PICTURE)
    assert Lupton(("i", "r", "g"))(picture) is picture


def test_a_missing_band_is_named():
    with pytest.raises(CutoutError, match="no band 'i'; it has g, r"):
        Lupton(("i", "r", "g"))(Cutout(np.ones((2, 5, 5)), bands=("g", "r")))


def test_a_recipe_with_it_is_stored():
    recipe = Recipe((Normalise(), Lupton(["i", "r", "g"], scale=[1, 1.2, 1.5])))
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert json.loads(recipe.to_json())["steps"][1]["bands"] == ["i", "r", "g"]


def test_the_galaxies_of_ngc_6976(real_images):
    files = [real_images / f"ngc6976_sdss/reprojected_sdss_{band}.fits.bz2" for band in "irg"]
    planes = [Background()(read_cutout(file)) for file in files]
    cutout = Cutout(
        np.concatenate([plane.data for plane in planes]),
        bands=("i", "r", "g"),
        mask=np.concatenate([plane.mask for plane in planes]),
        wcs=planes[0].wcs,
    )
    out = Lupton(("i", "r", "g"), scale=(1, 1.2, 1.7))(Normalise()(cutout))
    # The spiral is bluer than the two early types.
    early, spiral = out.data[:, 190:200, 272:282], out.data[:, 91:101, 72:82]
    assert min(early.mean(), spiral.mean()) > 0.3
    assert early[0].mean() > 1.2 * early[2].mean()
    assert spiral[2].mean() / spiral[0].mean() > 1.1 * early[2].mean() / early[0].mean()
    # The sky is dark.
    assert np.median(out.data) < 0.15


@pytest.mark.parametrize(
    "options",
    [
        {"bands": ("g", "r")},
        {"bands": (1, 2, 3)},
        {"bands": "grizy"},
        {"bands": "gri", "stretch": 0},
        {"bands": "gri", "q": -1},
        {"bands": "gri", "scale": (1, 2)},
        {"bands": "gri", "scale": (1, 2, 0)},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="lupton"):
        Lupton(**options)


def test_what_is_known_of_the_old_pixels_is_dropped():
    meta = {"psf": [np.ones((3, 3))] * 3, "sky": np.ones((3, 90, 80)), "redshift": 0.1}
    out = Lupton(("i", "r", "g"))(Cutout(galaxy(), bands=("g", "r", "i"), meta=meta))
    assert out.meta == {"redshift": 0.1}
