"""Saturation of FITS images."""

import numpy as np
import pytest
from astropy.io import fits
from fits_samples import image, sky_header

from astro_deepgalaxy import Flag
from astro_deepgalaxy.io.fits import read_fits
from astro_deepgalaxy.io.hdus import Cards
from astro_deepgalaxy.io.saturation import saturation_level


def star(top=60000.0, dtype=np.float32):
    """A star on noise whose middle is cut off at a level."""
    y, x = np.mgrid[:64, :64]
    return np.minimum(1e6 * np.exp(-np.hypot(x - 30, y - 30)) + image((64, 64)), top).astype(dtype)


def noise(top):
    data = image((64, 64))
    data[5:7, 5] = top
    return data


@pytest.mark.parametrize(
    ("data", "cards", "level", "saturated"),
    [
        (noise(500.0), {"SATURATE": 500.0}, 500.0, True),
        (noise(499.0), {"SATURATE": 500}, 500.0, False),
        (noise(500.0), {"SATLEVEL": 400.0}, 400.0, True),
        (noise(np.inf), {"SATURATE": 500.0}, 500.0, False),
        # A level that is none counts as no card, and a level makes the rest of no account.
        (noise(500.0), {"SATURATE": 0.0}, None, False),
        (noise(500.0), {"SATURATE": "high"}, None, False),
        (star(), {"SATURATE": 65000.0}, 65000.0, False),
        (noise(32767).astype(np.int16), {}, None, True),
        (noise(32766).astype(np.int16), {}, None, False),
        (noise(65535).astype(np.uint16), {}, None, True),
        (noise(65534).astype(np.uint16), {}, None, False),
        (noise(255).astype(np.uint8), {}, None, True),
        (star(), {}, None, True),
        (star(dtype=np.int32), {}, None, True),
        (np.stack([image((64, 64)), star()]), {}, None, True),
        (star(np.inf), {}, None, False),
        # Neither noise of few counts, clipped simulations, masks nor flat images.
        (np.random.default_rng(0).poisson(0.5, (99, 99)).astype(np.int16), {}, None, False),
        (np.maximum(image((64, 64)) - 300, 0), {}, None, False),
        (np.clip(image((64, 64)), 95, 105), {}, None, False),
        ((star() > 300).astype(np.float32), {}, None, False),
        (np.full((9, 9), 3.0), {}, None, False),
    ],
)
def test_saturation(write, data, cards, level, saturated):
    header = sky_header(**cards)
    cutout = read_fits(write("a.fits", fits.PrimaryHDU(data, header)))
    assert saturation_level(Cards(header.tostring(endcard=False, padding=False))) == level
    # A level in units of the pixels would go stale with the first step that scales them.
    assert not cutout.meta
    assert cutout.flags == (saturated and Flag.SATURATED)


@pytest.mark.parametrize("scale", [{"BSCALE": 0.5}, {"BZERO": 100.0}])
def test_a_range_that_was_stretched_is_not_saturated(write, scale):
    path = write("a.fits", fits.PrimaryHDU(noise(32767).astype(np.int16), sky_header()))
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header.update(scale)
    assert read_fits(path).flags == 0
