import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import Planck18
from astropy.wcs import WCS

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.config import conf
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.io import read_cutout
from astro_deepgalaxy.preprocess.align import Align
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resize import Resize


def turned(n=90, scale=0.5, angle=35.0):
    """A WCS turned by an angle and mirrored, so that east is on the right."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 200.0, 60.0
    wcs.wcs.crpix = n / 2, n / 2
    wcs.wcs.cd = np.array([[c, s], [-s, c]]) * scale / 3600
    return wcs


def star(n=90, at=(55.4, 38.7), sigma=2.5):
    y, x = np.mgrid[:n, :n]
    return 100 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("method", ["average", "interp", "adaptive", "exact"])
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_flux_and_position_of_a_star(method, scale):
    wcs = turned()
    cutout = Cutout(star(), wcs=wcs)
    out = Align(pixel_scale=scale, method=method)(cutout)
    light = np.where(out.mask, 0, out.data)[0]
    assert light.sum() == pytest.approx(star().sum(), rel=0.01)
    y, x = np.indices(light.shape)
    found = (x * light).sum() / light.sum(), (y * light).sum() / light.sum()
    assert np.allclose(found, out.wcs.world_to_pixel(wcs.pixel_to_world(55.4, 38.7)), atol=0.1)
    assert out.pixel_scale.to_value(u.arcsec) == pytest.approx(scale)


def test_north_is_up_and_east_is_left():
    out = Align(pixel_scale=0.5)(Cutout(star(), wcs=turned()))
    middle = out.centre
    north = out.wcs.world_to_pixel(middle.directional_offset_by(0 * u.deg, 5 * u.arcsec))
    east = out.wcs.world_to_pixel(middle.directional_offset_by(90 * u.deg, 5 * u.arcsec))
    half = (np.array(out.shape[:0:-1]) - 1) / 2
    assert np.allclose(north - half, (0, 10), atol=0.01)
    assert np.allclose(east - half, (-10, 0), atol=0.01)


def test_a_star_through_align_crop_and_resize():
    wcs = turned()
    position = wcs.pixel_to_world(55.4, 38.7)
    cutout = Cutout(star(), wcs=wcs, meta={"position": position})
    out = Align(pixel_scale=0.7)(cutout)
    out = Resize(size=50)(Crop(size=20, unit="arcsec", on="position")(out))
    light = np.where(out.mask, 0, out.data)[0]
    y, x = np.indices(light.shape)
    found = (x * light).sum() / light.sum(), (y * light).sum() / light.sum()
    assert np.allclose(found, out.wcs.world_to_pixel(position), atol=0.1)


def test_kiloparsecs_a_pixel():
    cutout = Cutout(star(), wcs=turned(), meta={"redshift": 0.03})
    out = Align(kpc_per_pixel=0.5)(cutout)
    scale = Planck18.kpc_proper_per_arcmin(0.03).to_value("kpc/arcsec")
    assert out.pixel_scale.to_value(u.arcsec) * scale == pytest.approx(0.5)


@pytest.mark.parametrize("redshift", [None, 0.0, -0.1, float("nan")])
def test_without_a_redshift(redshift):
    cutout = Cutout(star(), wcs=turned(), meta={"redshift": redshift})
    out = Align(kpc_per_pixel=0.5)(cutout)
    assert out.flags == Flag.NO_REDSHIFT
    assert np.array_equal(out.data, cutout.data)


def test_without_a_wcs():
    out = Align(pixel_scale=1.0)(Cutout(star()))
    assert out.flags == Flag.NO_WCS
    assert np.array_equal(out.data[0], star().astype(np.float32))


def test_masked_pixels_do_not_leak():
    image = np.ones((90, 90))
    image[40:50, 40:50] = 1e6
    mask = image > 10
    cutout = Cutout(image, mask=mask, wcs=turned())
    for method in ("average", "interp", "adaptive", "exact"):
        out = Align(pixel_scale=0.5, method=method)(cutout)
        assert np.allclose(out.data[~out.mask], 1, atol=0.01)
        assert out.mask[0, out.shape[1] // 2, out.shape[2] // 2]
        # All but the hole; a rim of a pixel about it and about the border may be lost.
        assert 8000 - 4 * 12 - 4 * 90 / 2 < (~out.mask).sum() < 8100


@pytest.mark.parametrize("conserve", ["flux", "brightness"])
@pytest.mark.parametrize(
    ("method", "scale", "least"), [("interp", 0.3, 0.3), ("interp", 1.5, 0.3), ("exact", 1.5, 0.4)]
)
def test_variance_is_that_of_the_noise_or_a_little_more(conserve, method, scale, least):
    wcs = turned(60)
    rng = np.random.default_rng(0)
    step = Align(pixel_scale=scale, method=method, conserve=conserve)
    noise = rng.normal(0, 2, (40, 60, 60)).astype(np.float32)
    # Independent images as bands: each is resampled by the same weights.
    bands = [str(i) for i in range(40)]
    out = step(Cutout(noise, bands=bands, wcs=wcs, variance=np.full((60, 60), 4.0)))
    whole = ~out.mask.any(axis=0)
    seen = np.var(out.data, axis=0)[whole]
    assert least < np.median(seen / out.variance[0][whole]) < 1.1


def test_a_size_is_cut_about_the_position():
    wcs = turned()
    position = wcs.pixel_to_world(55.4, 38.7)
    out = Align(pixel_scale=0.5, size=31)(Cutout(star(), wcs=wcs, meta={"position": position}))
    assert out.shape == (1, 31, 31)
    assert np.allclose(out.wcs.world_to_pixel(position), 15)
    assert out.data[0].argmax() == 15 * 31 + 15
    assert not out.flags & Flag.EDGE
    wide = Align(pixel_scale=0.5, size=200)(Cutout(star(), wcs=wcs))
    assert wide.flags & Flag.EDGE
    assert wide.mask[0, 0, 0]


@pytest.mark.parametrize(
    ("unit", "is_flux"),
    [(None, True), ("adu", True), ("Jy", True), ("MJy / sr", False), ("W / (m2 arcsec2)", False)],
)
def test_what_is_conserved_goes_by_the_unit(unit, is_flux):
    image = np.ones((90, 90))
    out = Align(pixel_scale=1.0)(Cutout(image, wcs=turned(), unit=unit))
    assert np.allclose(out.data[~out.mask], 4 if is_flux else 1, rtol=1e-3)


def test_a_scale_that_makes_a_giant_is_refused():
    with pytest.raises(CutoutError, match="larger"):
        Align(pixel_scale=1e-3)(Cutout(star(), wcs=turned()))


def test_two_telescopes_see_the_same_sky(real_images):
    folder = real_images / "scarlet_hsc_hst"
    hsc = read_cutout(folder / "Cut_HSC.fits")
    hst = Align(pixel_scale=0.168, method="adaptive")(read_cutout(folder / "Cut_HST.fits"))
    light = np.where(hst.mask, 0, hst.data)[0]
    bright = np.unravel_index(light.argmax(), light.shape)
    x, y = hsc.wcs.world_to_pixel(hst.wcs.pixel_to_world(bright[1], bright[0]))
    near = hsc.data.sum(axis=0)[int(y) - 3 : int(y) + 5, int(x) - 3 : int(x) + 5]
    assert near.max() > np.percentile(hsc.data.sum(axis=0), 97)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pixel_scale": 1, "kpc_per_pixel": 1},
        {"pixel_scale": -1},
        {"pixel_scale": 1, "method": "magic"},
        {"pixel_scale": float("nan")},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="align"):
        Align(**options)


def test_no_more_pixels_than_the_limit():
    with conf.set_temp("max_image_pixels", 10**6), pytest.raises(CutoutError, match="larger scale"):
        Align(pixel_scale=0.02)(Cutout(np.ones((60, 60)), wcs=turned()))
    with conf.set_temp("max_image_pixels", 10**3), pytest.raises(CutoutError, match="100 x 100"):
        Align(pixel_scale=1.0, size=100)(Cutout(np.ones((60, 60)), wcs=turned()))
