"""Telescopes of the surveys: complete, sourced, and as deep as the surveys say they are."""

import math

import numpy as np
import pytest
from click.testing import CliRunner

from astro_deepgalaxy.cli import main
from astro_deepgalaxy.simulate.observe import observe
from astro_deepgalaxy.simulate.telescopes import telescope, telescope_names, telescope_observation

NAMES = ["sdss", "decals", "hsc", "hst-acs", "euclid-vis", "lsst"]


def test_the_surveys_are_known():
    assert telescope_names() == NAMES
    result = CliRunner().invoke(main, ["simulate", "observe", "--surveys"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(len(line) < 100 for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_have_sources(name):
    one = telescope(name)
    assert len(one.source) > 100
    assert one.depth.source
    assert "\n" not in one.source + one.summary


@pytest.mark.parametrize("name", NAMES)
def test_noise_of_an_image_gives_the_published_depth(name):
    """The noise is measured in an image of the empty sky, the depth is the survey's own."""
    observation = telescope_observation(name, sky_gradient=0.0)
    depth = telescope(name).depth
    rng = np.random.default_rng(1)
    hdu = observe(np.zeros((300, 300)), 1.0, observation, rng)
    # The image has another pixel scale, on which the noise of readout per area depends.
    scale = observation.pixel_scale
    kpc = 1.0 * scale / (abs(hdu.header["CD1_1"] + 1j * hdu.header["CD1_2"]) * 3600)
    hdu = observe(np.zeros((300, 300)), kpc, observation, rng)
    noise = hdu.data.astype(float).std()
    if depth.aperture is None:
        pixels = 2.266 * (observation.psf_fwhm / scale) ** 2
    else:
        pixels = math.pi / 4 * (depth.aperture / scale) ** 2
    limit = depth.sigma * noise * math.sqrt(pixels) / depth.fraction
    magnitude = hdu.header["MAGZERO"] - 2.5 * math.log10(limit)
    assert magnitude == pytest.approx(depth.magnitude, abs=0.3)


def test_changes_and_mistakes():
    observation = telescope_observation("sdss", redshift=0.3, psf_fwhm=1.0)
    assert (observation.redshift, observation.psf_fwhm) == (0.3, 1.0)
    assert observation.exposure == 53.9
    with pytest.raises(ValueError, match=r"unknown survey 'sds'; did you mean 'sdss'\? known are"):
        telescope_observation("sds")
    with pytest.raises(ValueError, match="gain"):
        telescope_observation("sdss", gain=0)


def test_sky_of_sdss_has_the_counts_of_its_frames(real_images):
    """The raw frames hold 1000 counts of bias and the sky."""
    from astro_deepgalaxy.io import read_cutout

    files = sorted((real_images / "sdss_pawlik" / "small").glob("*.fits"))[:20]
    frames = np.median([np.median(read_cutout(file).data) for file in files]) - 1000
    one = telescope("sdss")
    sky = 10 ** (0.4 * (one.zero_point - one.sky_brightness)) * one.exposure * one.pixel_scale**2
    assert sky / one.gain == pytest.approx(frames, rel=0.25)
