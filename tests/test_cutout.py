import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS

from astro_deepgalaxy import Cutout, Flag


def tan_wcs(scale=0.5):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 2.0
    wcs.wcs.crpix = 10.5, 8.5
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    return wcs


def test_one_plane_becomes_one_band():
    cutout = Cutout(np.ones((4, 5)))
    assert cutout.shape == (1, 4, 5)
    assert cutout.data.dtype == np.float32
    assert cutout.bands == ("",)


def test_not_finite_is_masked():
    data = np.ones((4, 5))
    data[1, 2] = np.nan
    data[3, 0] = np.inf
    assert np.argwhere(Cutout(data).mask).tolist() == [[0, 1, 2], [0, 3, 0]]


def test_a_single_mask_is_shared_by_all_bands():
    mask = np.zeros((4, 5), dtype=bool)
    mask[2, 2] = True
    assert Cutout(np.ones((3, 4, 5)), mask=mask).mask.sum() == 3


def test_pixel_scale_and_centre_follow_the_wcs():
    cutout = Cutout(np.ones((16, 20)), wcs=tan_wcs())
    assert u.isclose(cutout.pixel_scale, 0.5 * u.arcsec)
    assert cutout.centre.ra.deg == pytest.approx(150)
    assert cutout.centre.dec.deg == pytest.approx(2)
    assert Cutout(np.ones((4, 4))).pixel_scale is None


def test_replace_keeps_the_rest():
    cutout = Cutout(np.ones((4, 5)), id="a", file="a.fits", unit="adu", variance=np.ones((4, 5)))
    changed = cutout.replace(data=2 * cutout.data).flagged(Flag.NO_WCS)
    assert (changed.id, changed.file, changed.unit) == ("a", "a.fits", u.adu)
    assert changed.flags == Flag.NO_WCS
    assert cutout.flags == 0
    assert np.array_equal(changed.variance, cutout.variance)
    assert (cutout.data == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": np.ones(5)}, r"\(y, x\) or \(band, y, x\)"),
        ({"data": np.ones((0, 5))}, "not empty"),
        ({"data": np.ones((2, 4, 5)), "bands": ["g"]}, "2 bands of pixels but 1 names"),
        ({"data": np.ones((4, 5)), "mask": np.zeros((5, 4), bool)}, "mask has the shape"),
        ({"data": np.ones((4, 5)), "variance": np.ones(3)}, "variance has the shape"),
        ({"data": np.ones((4, 5)), "wcs": WCS(naxis=3)}, "celestial"),
    ],
)
def test_contradictions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cutout(arguments.pop("data"), **arguments)
