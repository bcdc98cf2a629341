import sys

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.sources import find_galaxies, mean_plane, pixel_position


def discs(shape, *blobs, noise=1.0):
    """Exponential discs (x, y, peak, scale length) on noise."""
    y, x = np.indices(shape)
    image = np.random.default_rng(0).normal(0, noise, shape)
    for x0, y0, peak, length in blobs:
        image += peak * np.exp(-np.hypot(x - x0, y - y0) / length)
    return image


@settings(deadline=None, max_examples=40)
@given(st.integers(40, 300), st.integers(40, 300))
def test_binned_pixels_are_put_back_where_they_were(ny, nx):
    image = discs((ny, nx), (nx / 2, ny / 2, 200, min(ny, nx) / 12), noise=0.1)
    found = find_galaxies(Cutout(image))
    plane = np.random.default_rng(1).random(found.labels.shape)
    enlarged = found.enlarge(plane, image.shape)
    assert enlarged.shape == image.shape
    for y, x in ((0, 0), (ny - 1, nx - 1), (ny // 3, nx // 2)):
        assert enlarged[y, x] == plane[y // found.factor, x // found.factor]


@pytest.mark.parametrize("size", [100, 256, 640])
def test_the_centre_of_a_lone_disc(size):
    x, y = size * 0.44, size * 0.57
    found = find_galaxies(Cutout(discs((size, size), (x, y, 300, size / 30))))
    centre = (found.centre + 0.5) * found.factor - 0.5
    assert np.allclose(centre, (y, x), atol=0.01 * size)
    assert found.chosen[tuple(np.round(found.centre).astype(int))]
    assert found.level == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ((150, 128, 60, 5), True),  # a companion
        ((150, 128, 200, 0.8), False),  # too small: a star
        ((240, 128, 60, 5), False),  # too far away
    ],
)
def test_what_a_companion_is(second, kept):
    found = find_galaxies(Cutout(discs((256, 256), (100, 128, 300, 6), second)))
    x, y = second[:2]
    assert found.labels[y // 2, x // 2] > 0
    assert found.chosen[y // 2, x // 2] == kept


def test_the_source_at_a_position_is_chosen():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cdelt = -1e-4, 1e-4
    image = discs((256, 256), (128, 128, 300, 6), (30, 220, 30, 4))
    cutout = Cutout(image, wcs=wcs, meta={"position": wcs.pixel_to_world(32, 219)})
    assert np.allclose(pixel_position(cutout), (219, 32))
    assert np.allclose(find_galaxies(cutout).centre, (110, 15), atol=1)
    assert pixel_position(Cutout(image, wcs=wcs)) is None
    assert pixel_position(cutout.replace(wcs=None)) is None


def test_the_mean_of_the_bands_where_any_is_valid():
    data = np.array([[[1.0, np.nan, np.nan]], [[3.0, 4.0, np.nan]]])
    plane, valid = mean_plane(Cutout(data))
    assert plane.tolist() == [[2, 2, 0]]
    assert valid.tolist() == [[True, True, False]]


def test_empty_sky_has_none():
    assert find_galaxies(Cutout(np.zeros((50, 50)))) is None
    assert find_galaxies(Cutout(np.full((50, 50), np.nan))) is None


def test_touching_sources_are_parted_when_asked():
    pytest.importorskip("skimage")
    image = discs((128, 128), (60, 64, 300, 5), (88, 64, 200, 3))
    assert find_galaxies(Cutout(image)).labels.max() == 1
    found = find_galaxies(Cutout(image), deblend=True)
    first, second = found.labels[64, 60], found.labels[64, 88]
    assert first != second
    assert found.main == first
    # The light between them goes to the nearer one.
    assert found.labels[64, 68] == first
    assert found.labels[64, 84] == second


def test_parting_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(CutoutError, match=r"scikit-image.*pip install") as error:
        find_galaxies(Cutout(discs((64, 64), (32, 32, 300, 3))), deblend=True)
    assert error.value.flag == Flag.PREPROCESS_FAILED
