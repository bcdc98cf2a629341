import warnings

import numpy as np
import pytest
from astropy.convolution import convolve
from astropy.modeling.models import Gaussian2D, Moffat2D
from astropy.wcs import WCS

from astro_deepgalaxy import Cutout, read_cutout
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess.align import Align
from astro_deepgalaxy.preprocess.match_psf import MatchPSF
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.testing import check_step

SCALE = 0.4
SIDE = 121


def tan(scale=SCALE):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 2.0
    wcs.wcs.crpix = 60, 60
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    return wcs


def gaussian(fwhm, x=60.0, y=60.0, side=SIDE):
    """A star of unit flux, FWHM in arcsec, at pixel (x, y)."""
    sigma = fwhm / SCALE / 2.3548200450309493
    rows, columns = np.mgrid[:side, :side]
    return Gaussian2D(1 / (2 * np.pi * sigma**2), x, y, sigma, sigma)(columns, rows)


def moffat(fwhm, side, beta=3.0, x=None, y=None):
    gamma = fwhm / SCALE / 2 / np.sqrt(2 ** (1 / beta) - 1)
    rows, columns = np.mgrid[:side, :side]
    x, y = ((side - 1) / 2 if value is None else value for value in (x, y))
    image = Moffat2D(1, x, y, gamma, beta)(columns, rows)
    return image / image.sum()


def test_it_keeps_the_promises_of_a_step():
    check_step("match_psf", fwhm=2.0, from_fwhm={"g": 1.2, "r": 1.5})
    check_step("match_psf", fwhm=1.5, from_fwhm=1.0)


@pytest.mark.parametrize("own", [1.0, 1.3, 1.95, 2.0])
def test_a_star_gets_the_width(own):
    # Off the middle of a pixel, so that a shift would show.
    star = 1000 * gaussian(own, 57.3, 62.8)
    out = MatchPSF(fwhm=2.0, from_fwhm=own)(Cutout(star, wcs=tan()))
    truth = 1000 * gaussian(2.0, 57.3, 62.8)
    assert np.allclose(out.data[0], truth, atol=2e-3 * truth.max())
    assert out.data.sum() == pytest.approx(1000, rel=1e-4)


@pytest.mark.parametrize("side", [41, 40, 25])
def test_a_star_from_the_image_of_its_psf(side):
    star = 500 * moffat(1.2, SIDE, x=55.0, y=63.0)
    psf = moffat(1.2, side) * 7
    cutout = Cutout(star, wcs=tan(), meta={"psf": [psf.astype(">f4")], "redshift": 0.1})
    out = MatchPSF(fwhm=1.8)(cutout)
    truth = 500 * gaussian(1.8, 55, 63)
    # What the image of the PSF cuts off stays in the wings.
    assert np.abs(out.data[0] - truth).max() < 0.02 * truth.max()
    assert out.meta["redshift"] == 0.1
    made = out.meta["psf"][0]
    assert made.sum() == pytest.approx(1)
    assert made.max() == pytest.approx(truth.max() / 500, rel=0.03 if side % 2 else 0.2)


def test_two_bands_have_the_same_colour_everywhere():
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = 100 * np.exp(-np.hypot((x - 60) / 1.5, y - 58) / 4)
    blue = convolve(disc, gaussian(1.6, 20, 20, 41), boundary="extend")
    red = convolve(2.5 * disc, moffat(1.0, 41), boundary="extend")
    meta = {"psf": [None, moffat(1.0, 41)]}
    cutout = Cutout([blue, red], bands=("g", "r"), wcs=tan(), meta=meta)
    out = MatchPSF(fwhm=2.0, from_fwhm={"g": 1.6})(cutout)
    bright = disc > 2
    before = (cutout.data[1] / cutout.data[0])[bright]
    after = (out.data[1] / out.data[0])[bright]
    assert np.ptp(before) > 0.15
    assert np.ptp(after) < 0.03
    assert np.allclose(after, 2.5, rtol=0.01)


def test_the_variance_is_that_of_the_noise():
    rng = np.random.default_rng(0)
    step = MatchPSF(fwhm=1.6, from_fwhm=1.0)
    images = rng.normal(0, 3, (200, 40, 40))
    outs = [step(Cutout(i, wcs=tan(), variance=np.full((40, 40), 9.0))) for i in images]
    measured = np.var([out.data[0] for out in outs], axis=0)
    assert np.allclose(np.mean(measured / outs[0].variance[0]), 1, atol=0.03)
    # Also at the border, where the kernel is cut off.
    border = np.r_[measured[0], measured[-1]] / np.r_[outs[0].variance[0][0], measured[-1]]
    assert border[:40].mean() == pytest.approx(1, abs=0.15)


def test_masked_pixels_have_no_weight():
    image, mask = np.full((60, 60), 7.0), np.zeros((60, 60), bool)
    mask[20:30, 20:30] = mask[50, 50] = True
    image[mask] = 1e9
    out = MatchPSF(fwhm=2.0, from_fwhm=1.0)(Cutout(image, mask=mask, wcs=tan()))
    assert np.array_equal(out.mask[0], mask)
    assert np.allclose(out.data[0][~mask], 7, rtol=1e-5)


def test_a_lone_pixel_in_a_hole_is_masked():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    mask[30, 30] = False
    out = MatchPSF(fwhm=3.0, from_fwhm=1.0)(Cutout(np.ones((60, 60)), mask=mask, wcs=tan()))
    assert out.mask[0, 30, 30]


def test_sharper_is_not_possible():
    cutout = Cutout([gaussian(1.0), gaussian(1.5)], bands=("g", "r"), wcs=tan())
    step = MatchPSF(fwhm=1.45, from_fwhm={"g": 1.0, "r": 1.5})
    with pytest.raises(CutoutError, match=r"'r' is as wide as a Gaussian of 1\.5 arcsec"):
        step(cutout)
    with pytest.raises(CutoutError, match="larger fwhm"):
        MatchPSF(fwhm=1.0)(Cutout(moffat(1.0, 61), wcs=tan(), meta={"psf": [moffat(1.0, 61)]}))


def test_what_is_not_known_is_said():
    star = gaussian(1.0)
    with pytest.raises(CutoutError, match="WCS"):
        MatchPSF(fwhm=2.0, from_fwhm=1.0)(Cutout(star))
    with pytest.raises(CutoutError, match=r"PSF of the band 'i' is not known.*from_fwhm"):
        MatchPSF(fwhm=2.0, from_fwhm={"g": 1.0})(Cutout(star, bands=("i",), wcs=tan()))
    with pytest.raises(CutoutError, match="WCS"):
        MatchPSF(fwhm=2.0, from_fwhm=1.0)(Cutout(star, wcs=tan(1e-300)))
    with pytest.raises(CutoutError, match="1 bands but 2 PSFs"):
        MatchPSF(fwhm=2.0)(Cutout(star, wcs=tan(), meta={"psf": [star, star]}))
    with pytest.raises(CutoutError, match="finite image"):
        MatchPSF(fwhm=2.0)(Cutout(star, wcs=tan(), meta={"psf": [star * np.nan]}))


def test_the_same_sky_by_two_telescopes(real_images):
    folder = real_images / "scarlet_hsc_hst"
    psf_hsc = read_cutout(folder / "PSF_HSC.fits").data
    psf_hst = read_cutout(folder / "PSF_HST.fits").data
    hsc = read_cutout(folder / "Cut_HSC.fits").replace(meta={"psf": list(psf_hsc)})
    hst = read_cutout(folder / "Cut_HST.fits").replace(meta={"psf": list(psf_hst)})
    step = MatchPSF(fwhm=1.2)
    wide, sharp = step(hsc), step(hst)
    # The i band of HSC is nearest to F814W. The pixels of HST are put on those of HSC.
    y, x = np.mgrid[8:42, 8:42]
    columns, rows = hst.wcs.world_to_pixel(wide.wcs.pixel_to_world(x, y))
    inside = (np.minimum(rows, columns) > 20) & (np.maximum(rows, columns) < 229)
    rows, columns = (np.round(v[inside]).astype(int) for v in (rows, columns))

    def correlation(a, b):
        return np.corrcoef(a.data[2][y[inside], x[inside]], b.data[0][rows, columns])[0, 1]

    assert inside.sum() > 500
    assert correlation(wide, sharp) > 0.99
    assert correlation(wide, sharp) > correlation(hsc, hst) + 0.02
    # Every PSF, convolved as its image was, becomes the same Gaussian.
    for band, psf in enumerate(psf_hsc):
        star = Cutout(np.pad(psf, 15), wcs=hsc.wcs, meta={"psf": [psf]})
        made = step(star).data[0][15:-15, 15:-15]
        target = wide.meta["psf"][band]
        side = len(target)
        middle = (slice((side - 31) // 2, (side + 31) // 2),) * 2
        assert np.abs(made - target[middle] * psf.sum()).max() < 2e-3 * made.max()


@pytest.mark.parametrize(
    "options",
    [
        {"fwhm": 0},
        {"fwhm": float("nan")},
        {"fwhm": 1, "from_fwhm": -1},
        {"fwhm": 1, "from_fwhm": {"g": 0}},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="match_psf"):
        MatchPSF(**options)


def test_one_unknown_variance_spoils_the_pixels_around_it_only():
    variance = np.full((60, 60), 4.0)
    step = MatchPSF(fwhm=2.0, from_fwhm=1.0)
    truth = step(Cutout(np.ones((60, 60)), wcs=tan(), variance=variance)).variance[0]
    for unknown in (np.nan, np.inf):
        variance[20, 30] = unknown
        out = step(Cutout(np.ones((60, 60)), wcs=tan(), variance=variance)).variance[0]
        y, x = np.nonzero(np.isinf(out))
        # The Gaussian reaches five sigma.
        reach = int(np.ceil(5 * 2.0 / SCALE / 2.3548))
        assert (y.min(), y.max(), x.min(), x.max()) == (
            20 - reach,
            20 + reach,
            30 - reach,
            30 + reach,
        )
        known = np.isfinite(out)
        assert known.sum() == 3600 - (2 * reach + 1) ** 2
        assert np.allclose(out[known], truth[known], rtol=1e-5)
        mask = variance != 4
        hidden = step(Cutout(np.ones((60, 60)), wcs=tan(), variance=variance, mask=mask))
        assert np.isfinite(hidden.variance).all()


def test_a_gaussian_narrower_than_a_pixel():
    with pytest.raises(CutoutError, match=r"0\.01 arcsec is narrower than the pixels of 0\.4"):
        MatchPSF(fwhm=0.01, from_fwhm=0.001)(Cutout(np.ones((20, 20)), wcs=tan()))


@pytest.mark.parametrize("scale", [1e-2, 1e-7])
def test_a_wrong_scale_does_not_fill_the_memory(scale):
    with pytest.raises(CutoutError, match="more than twice the image"):
        MatchPSF(fwhm=2.0, from_fwhm=1.0)(Cutout(np.ones((20, 20)), wcs=tan(scale)))


def test_pixels_near_the_limits_of_float32():
    image = np.random.default_rng(1).uniform(1, 2, (60, 60))
    step = MatchPSF(fwhm=2.0, from_fwhm=1.0)
    truth = step(Cutout(image, wcs=tan()))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        large = step(Cutout(image * 1e38, wcs=tan(), variance=np.full((60, 60), 3e38)))
    assert np.allclose(large.data / 1e38, truth.data, rtol=1e-5)
    assert (large.variance > 0).all()


@pytest.mark.parametrize(
    "step", [Align(pixel_scale=0.5), Align(pixel_scale=SCALE, size=SIDE), Resize(size=60)]
)
def test_the_image_of_a_psf_is_not_used_on_other_pixels(step):
    star = 500 * moffat(1.2, SIDE)
    meta = {"psf": [moffat(1.2, 41)], "sky": np.ones((1, SIDE, SIDE)), "redshift": 0.1}
    cutout = step(Cutout(star, wcs=tan(), meta=meta))
    assert cutout.meta == {"redshift": 0.1}
    with pytest.raises(CutoutError, match="PSF of the band '' is not known"):
        MatchPSF(fwhm=1.8)(cutout)
