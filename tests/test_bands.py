import numpy as np
import pytest

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.bands import Bands


def cube(bands=("g", "r", "z"), **options):
    planes = np.arange(1.0, len(bands) + 1)[:, np.newaxis, np.newaxis] * np.ones((4, 5))
    return Cutout(planes, bands=bands, **options)


def test_selected_bands_come_in_the_order_asked_for():
    out = Bands(select=("z", "g"))(cube(variance=np.ones((4, 5))))
    assert out.bands == ("z", "g")
    assert out.data[:, 0, 0].tolist() == [3, 1]
    assert out.variance.shape == (2, 4, 5)


def test_luminance():
    out = Bands()(cube(variance=np.full((4, 5), 9.0)))
    assert out.bands == ("luminance",)
    assert np.allclose(out.data, 2)
    # The variance of a mean of three.
    assert np.allclose(out.variance, 3)
    assert np.allclose(Bands(weights={"g": 3, "r": 1})(cube()).data, 1.25)


def test_one_band_is_used_whatever_its_name():
    cutout = Cutout(np.ones((4, 5)), bands=("F814W",))
    assert Bands()(cutout).bands == ("F814W",)
    assert np.array_equal(Bands(select=("r",))(cutout).data, cutout.data)


def test_pictures_use_the_luminance_of_the_eye():
    picture = cube(("red", "green", "blue"), flags=Flag.PICTURE)
    assert np.allclose(Bands()(picture).data, 0.2126 + 2 * 0.7152 + 3 * 0.0722, atol=1e-5)
    assert np.allclose(Bands(select=("r",))(picture).data, Bands()(picture).data)


def test_a_missing_band_names_both_sides():
    with pytest.raises(CutoutError, match=r"'i'.*g, r, z") as caught:
        Bands(select=("g", "i"))(cube())
    assert caught.value.flag == Flag.PREPROCESS_FAILED
    with pytest.raises(CutoutError, match=r"'i'.*g, r, z"):
        Bands(weights={"g": 1, "i": 1})(cube())


def test_masks_of_combined_bands():
    mask = np.zeros((3, 4, 5), dtype=bool)
    mask[0, 1, 1] = True
    out = Bands()(cube(mask=mask))
    assert out.mask.sum() == 1
    assert out.mask[0, 1, 1]
    # A band that is missing altogether is left out.
    mask[2] = True
    out = Bands()(cube(mask=mask))
    assert out.mask.sum() == 1
    assert np.allclose(out.data[~out.mask], 1.5)
    with pytest.raises(CutoutError) as caught:
        Bands()(cube(mask=np.ones((4, 5), dtype=bool)))
    assert caught.value.flag == Flag.NO_DATA


@pytest.mark.parametrize(
    "options",
    [
        {"select": ("g",), "weights": {"g": 1}},
        {"weights": {"g": -1}},
        {"weights": {"g": 0}},
        {"weights": {"g": float("nan")}},
        {"select": ("g", "g")},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="bands"):
        Bands(**options)


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_the_variance_of_other_bands_does_not_count(unknown):
    variance = np.ones((3, 4, 5))
    variance[2] = unknown
    variance[0, 1, 1] = unknown
    out = Bands(weights={"g": 1, "r": 1})(cube(variance=variance))
    others = np.ones((4, 5), dtype=bool)
    others[1, 1] = False
    assert np.allclose(out.variance[0][others], 0.5)
    assert not np.isfinite(out.variance[0, 1, 1])
    # A band that is missing altogether has no variance either.
    mask = np.zeros((3, 4, 5), dtype=bool)
    mask[2] = True
    assert np.allclose(Bands()(cube(variance=variance, mask=mask)).variance[0][others], 0.5)
