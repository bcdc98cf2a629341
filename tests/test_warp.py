import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reproject import reproject_adaptive, reproject_exact

from astro_deepgalaxy.celestial import icrs_to_pixel, pixel_to_icrs, tangent_wcs
from astro_deepgalaxy.preprocess.warp import _mapping, average_onto


def grid(n, scale, angle=0.0, mirrored=False, at=(30.0, -10.0)):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.array([[-c, s], [s, c]]) * scale / 3600
    if mirrored:
        matrix[:, 0] *= -1
    return tangent_wcs(*at, matrix, (n - 1) / 2, (n - 1) / 2)


def blobs(n=128):
    y, x = np.mgrid[:n, :n] / n
    image = np.zeros((n, n))
    for cx, cy, sigma, peak in ((0.4, 0.5, 0.06, 3), (0.6, 0.42, 0.03, 5), (0.55, 0.6, 0.02, 4)):
        image += peak * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return image.astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(0.1, 2.0), angle=st.floats(0, 360), mirrored=st.booleans())
def test_flux_and_pixels_of_reproject(scale, angle, mirrored):
    image, n = blobs(), int(50 / scale)
    old, new = grid(128, 0.3, angle, mirrored), grid(n, scale)
    data, mask, _ = average_onto(image[None], image[None] > 99, None, old, new, (n, n))
    flux = np.nansum(data) * (scale / 0.3) ** 2
    assert flux == pytest.approx(image.sum(), rel=2e-3)
    if scale < 0.8:
        # At larger pixels the adaptive function itself departs from the true flux.
        adaptive, _ = reproject_adaptive((image, old), new, shape_out=(n, n), conserve_flux=True)
        assert flux == pytest.approx(np.nansum(adaptive), rel=1e-2)
    exact, _ = reproject_exact((image, old), new, shape_out=(n, n))
    inside = ~mask[0] & np.isfinite(exact)
    # Sharper than the exact overlap where new pixels are smaller: bilinear, not nearest.
    assert np.abs(data[0] - exact)[inside].max() < 0.12 * image.max()
    if scale > 0.6:
        assert np.abs(data[0] - exact)[inside].max() < 0.02 * image.max()


def test_the_coarse_mapping_is_exact_enough_far_from_the_tangent_point():
    image, n = blobs(), 100
    old = tangent_wcs(30, 60, np.diag([-0.3, 0.3]) / 3600, 20_000, 15_000)
    ra, dec = pixel_to_icrs(old, 63.5, 63.5)
    new = grid(n, 0.4, at=(float(ra), float(dec)))
    nodes, step = _mapping(old, new, (n, n))
    assert step > 1
    every = np.stack(
        icrs_to_pixel(old, *pixel_to_icrs(new, *np.meshgrid(np.arange(n), np.arange(n)))), axis=-1
    )
    for j, i in ((8, 8), (50, 3), (77, 91)):
        v, u = j / step, i / step
        b, a = int(v), int(u)
        v, u = v - b, u - a
        corner = nodes[b : b + 2, a : a + 2]
        between = np.einsum("i,j,ijk", [1 - v, v], [1 - u, u], corner)
        assert np.allclose(between, every[j, i], atol=0.01)
    data, _, _ = average_onto(image[None], image[None] > 99, None, old, new, (n, n))
    assert np.nansum(data) * (0.4 / 0.3) ** 2 == pytest.approx(image.sum(), rel=2e-3)


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.3])
def test_variance_is_that_of_the_noise(scale):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, (60, 50, 50)).astype(np.float32)
    n = int(12 / scale)
    data, mask, variance = average_onto(
        noise, noise > 99, np.full_like(noise, 4), grid(50, 0.3, 33), grid(n, scale), (n, n)
    )
    whole = ~mask.any(axis=0)
    ratio = np.var(data, axis=0)[whole] / variance[0][whole]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


def test_masked_pixels_have_no_weight():
    image = np.ones((1, 60, 60), dtype=np.float32)
    mask = np.zeros(image.shape, dtype=bool)
    image[0, 20:30, 20:30], mask[0, 20:30, 20:30] = np.nan, True
    data, new_mask, variance = average_onto(
        image, mask, np.ones_like(image), grid(60, 0.3, 10), grid(40, 0.5), (40, 40)
    )
    assert np.allclose(data[~new_mask], 1)
    assert np.isfinite(variance[~new_mask]).all()
    assert new_mask[0].sum() == pytest.approx(40**2 - (60 * 0.6) ** 2 + 36, abs=30)


def test_no_overlap_is_all_masked():
    image = blobs()[None]
    far = grid(20, 0.3, at=(31.0, -10.0))
    _, mask, _ = average_onto(image, image > 99, None, grid(128, 0.3), far, (20, 20))
    assert mask.all()


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_interpolation_keeps_a_star_sharp(angle):
    n, sigma = 40, 1.3
    old, new = grid(n, 0.3, angle), grid(n, 0.3)
    new = tangent_wcs(30.0, -10.0, new.wcs.cd, (n - 1) / 2 + 0.5, (n - 1) / 2 + 0.3)

    def star(wcs):
        x, y = icrs_to_pixel(wcs, 30.0, -10.0)
        v, w = np.mgrid[:n, :n]
        return np.exp(-((w - x) ** 2 + (v - y) ** 2) / (2 * sigma**2)).astype(np.float32)

    image = star(old)[None]
    data, mask, _ = average_onto(image, image > 9, None, old, new, (n, n))
    error = np.abs(data[0] - star(new))[~mask[0]].max()
    assert error < 0.04  # bilinear: 0.12
