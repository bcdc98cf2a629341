"""Point-spread functions: profiles against astropy's, images from files good and bad."""

import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling.functional_models import Gaussian2D, Moffat2D

from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.simulate.psf import centred_psf, psf, read_psf


def write(path, data, **cards):
    """A FITS file with an image."""
    fits.PrimaryHDU(np.asarray(data, dtype=float), fits.Header(cards)).writeto(path)
    return path


@pytest.mark.parametrize("shape", ["gaussian", "moffat"])
@pytest.mark.parametrize("beta", [2.0, 4.765])
@pytest.mark.parametrize("fwhm", [0.8, 2.0, 5.0])
def test_psf_is_astropys_profile(shape, fwhm, beta):
    kernel = psf(shape, fwhm, beta)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 1
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], rtol=1e-9)
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-9)
    if shape == "gaussian":
        sigma = fwhm / 2.354820045
        model = Gaussian2D(1, 0, 0, sigma, sigma)
    else:
        model = Moffat2D(1, 0, 0, alpha=beta)
        model.gamma = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
        assert model.fwhm == pytest.approx(fwhm)
    # Each pixel is the mean of the profile over its area.
    half, fine = kernel.shape[0] // 2, 40
    offset = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    profile = model(offset[:, None], offset[None, :])
    pixels = profile.reshape(2 * half + 1, fine, -1, fine).mean(axis=(1, 3))
    np.testing.assert_allclose(kernel, pixels / pixels.sum(), atol=0.005 * kernel.max())


@pytest.mark.parametrize("shape", [(5, 5), (6, 6), (4, 7)])
def test_the_centre_of_a_psf_is_the_pixel_half_way(shape):
    image = np.zeros(shape)
    image[shape[0] // 2, shape[1] // 2] = 4.0
    centred = centred_psf(image)
    assert all(side % 2 for side in centred.shape)
    middle = tuple(side // 2 for side in centred.shape)
    assert centred[middle] == centred.sum() == 1


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"PIXSCALE": 0.2},
        {"PIXELSCL": "0.2001"},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600},
    ],
)
def test_a_psf_from_a_file(tmp_path, cards):
    image = np.arange(1.0, 31).reshape(6, 5)
    found = read_psf(write(tmp_path / "p.fits", image, **cards), 0.2)
    assert found.shape == (7, 5)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found[:6], image / image.sum(), rtol=1e-6)
    assert (found[6] == 0).all()


def test_a_psf_from_an_extension(tmp_path):
    path = tmp_path / "p.fits"
    hdus = [fits.PrimaryHDU(np.ones((9, 9))), fits.ImageHDU(np.ones((3, 3)), name="PSF")]
    hdus[0].header["PIXSCALE"] = 0.2
    fits.HDUList(hdus).writeto(path)
    assert read_psf(f"{path}[PSF]", 0.2).shape == (3, 3)
    # What the primary header says holds for the extension.
    with pytest.raises(CutoutError, match=r"pixels of 0\.2 arcsec, but the images have 0\.4"):
        read_psf(f"{path}[PSF]", 0.4)


@pytest.mark.parametrize(
    ("data", "cards", "words"),
    [
        (np.ones((5, 5)), {"PIXSCALE": 0.25}, "0.25 arcsec, but the images have 0.2 arcsec"),
        (np.ones((5, 5)), {"PIXSCALE": "wide"}, "PIXSCALE must be a number; got 'wide'"),
        (np.ones((2, 5, 5)), {}, "must be one image"),
        (np.ones(5), {}, "no image"),
        (np.zeros((5, 5)), {}, "sum of its pixels must be positive"),
        (-np.ones((5, 5)), {}, "sum of its pixels must be positive"),
        (np.where(np.eye(5), np.nan, 1), {}, "must be finite"),
    ],
)
def test_files_that_are_no_psf_are_refused(tmp_path, data, cards, words):
    path = write(tmp_path / "p.fits", data, **cards)
    with pytest.raises(CutoutError) as caught:
        read_psf(path, 0.2)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_garbage_is_refused(tmp_path):
    path = tmp_path / "p.fits"
    path.write_bytes(b"not a FITS file at all")
    with pytest.raises(CutoutError, match="cannot be read as FITS"):
        read_psf(path, 0.2)
    with pytest.raises(CutoutError, match="no such file"):
        read_psf(tmp_path / "missing.fits", 0.2)


def test_the_psf_of_hubble(real_images):
    image = read_psf(real_images / "scarlet_hsc_hst" / "PSF_HST.fits", 0.03)
    y, x = (np.indices(image.shape) - np.reshape(image.shape, (2, 1, 1)) // 2) * 0.03
    inside = image[np.hypot(x, y) < 0.5].sum()
    assert 0.85 < inside < 1
    with pytest.raises(CutoutError, match="5 planes"):
        read_psf(real_images / "scarlet_hsc_hst" / "PSF_HSC.fits", 0.168)
