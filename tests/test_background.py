import numpy as np
import pytest
from astropy.stats import SigmaClip
from photutils.background import Background2D

from astro_deepgalaxy import Cutout, Flag
from astro_deepgalaxy.celestial import tangent_wcs
from astro_deepgalaxy.io import read_cutout
from astro_deepgalaxy.preprocess.background import Background
from astro_deepgalaxy.preprocess.sky import bin_plane, sky_statistics


def disc(shape, peak=200.0, length=6.0):
    y, x = np.indices(shape)
    return peak * np.exp(-np.hypot(x - shape[1] / 2, y - shape[0] / 2) / length)


@pytest.mark.parametrize("n", [96, 141, 256, 600])
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_a_known_gradient_is_removed_to_within_the_noise(n, slope):
    rng = np.random.default_rng(n)
    y, x = np.indices((n, n)) * (256 / n)
    sky = 1000 + slope * x - 0.5 * slope * y
    galaxy = disc((n, n), length=n / 40)
    out = Background()(Cutout(sky + galaxy + rng.normal(0, 5, (n, n))))
    error = out.data[0] - galaxy
    assert out.flags == 0
    # Binned to 16 boxes, what is left is far below the noise of 5 of a pixel.
    boxes, _ = bin_plane(error, np.ones_like(error, dtype=bool), n // 8)
    assert np.abs(boxes[:8, :8]).max() < 2.5
    assert abs(np.median(error)) < 0.5


def test_the_light_of_a_galaxy_is_kept():
    galaxy = disc((256, 256), 300, 10)
    noise = np.random.default_rng(0).normal(0, 3, galaxy.shape)
    out = Background()(Cutout(500 + galaxy + noise))
    assert out.data[0].sum() == pytest.approx(galaxy.sum(), rel=0.05)


def test_too_little_sky_is_flagged():
    n = 128
    y, x = np.indices((n, n))
    image = 50 * np.exp(-np.hypot(x - 64, y - 64) / 200) + 10 * np.sin(x / 9) * np.sin(y / 7)
    out = Background()(Cutout(image + 5 * np.indices((n, n)).sum(axis=0) % 7 * 40))
    assert np.isfinite(out.data).all()
    mostly = np.ones((n, n), dtype=bool)
    mostly[:8, :8] = False
    out = Background()(Cutout(np.full((n, n), 7.0), mask=mostly))
    assert out.flags & Flag.BACKGROUND_UNRELIABLE
    assert np.allclose(out.data[0, :8, :8], 0)


def test_mask_variance_and_bands_are_kept():
    rng = np.random.default_rng(1)
    data = rng.normal(0, 1, (2, 64, 64)) + np.array([10, 90])[:, np.newaxis, np.newaxis]
    mask = np.zeros((64, 64), dtype=bool)
    mask[5:9] = True
    data[:, mask] = 1e6
    cutout = Cutout(data, bands=("g", "r"), mask=mask, variance=np.ones((64, 64)))
    out = Background()(cutout)
    assert out.bands == ("g", "r")
    assert np.array_equal(out.mask, cutout.mask)
    assert np.array_equal(out.variance, cutout.variance)
    assert np.abs(np.median(out.data[:, ~mask], axis=1)).max() < 0.2


@pytest.mark.parametrize("shape", [(4, 4), (9, 30), (1, 50), (33, 200)])
def test_small_and_long_images(shape):
    out = Background()(Cutout(100 + np.random.default_rng(0).normal(0, 1, shape)))
    assert out.shape == (1, *shape)
    assert abs(np.median(out.data)) < 1.5


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25])
def test_sky_statistics_among_sources(fraction):
    rng = np.random.default_rng(3)
    values = rng.normal(50, 4, 40_000)
    n = int(fraction * len(values))
    values[:n] += rng.exponential(80, n)
    level, sigma = sky_statistics(rng.permutation(values))
    assert level == pytest.approx(50, abs=1.2 if fraction else 0.1)
    assert sigma == pytest.approx(4, rel=0.15)


def test_raw_frame_with_a_strong_gradient(real_images):
    cutout = read_cutout(real_images / "cafos_arp84" / "uamP_0174.fits.gz")
    out = Background()(cutout)
    border = np.ones((8, 8), dtype=bool)
    border[1:-1, 1:-1] = False
    spread = []
    for plane in (cutout.data[0], out.data[0]):
        # Medians of blocks along the border, where there are stars but no galaxy.
        blocks = plane.reshape(8, 128, 8, 128).swapaxes(1, 2).reshape(8, 8, -1)
        level = np.median(blocks, axis=-1)[border]
        spread.append(np.subtract(*np.percentile(level, [90, 10])))
    assert spread[1] < spread[0] / 6


def scene(seed=0, at=(128, 128), n=256, noise=3.0, length=8):
    """Noise on a flat sky, a galaxy, and a mask with holes."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((n, n))
    galaxy = 300 * np.exp(-np.hypot(x - at[1], y - at[0]) / length)
    return Cutout(rng.normal(100, noise, (n, n)) + galaxy, mask=rng.random((n, n)) < 0.02)


def test_without_a_mask_of_sources_it_is_background2d():
    cutout = scene()
    out = Background(nsigma=0)(cutout)
    expected = Background2D(
        cutout.data[0],
        64,
        mask=cutout.mask[0],
        sigma_clip=SigmaClip(3, maxiters=10),
        exclude_percentile=75,
    ).background
    assert np.abs(cutout.data[0] - out.data[0] - expected).max() < 5e-3 * 3


def test_a_mask_of_sources_brings_it_nearer_to_the_truth():
    cutout = scene(length=16)
    errors = [
        np.abs(cutout.data[0] - Background(nsigma=nsigma)(cutout).data[0] - 100).max()
        for nsigma in (0, 2)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_bright_star_does_not_switch_the_mask_off():
    rng = np.random.default_rng(1)
    n = 512
    y, x = np.indices((n, n))
    image = rng.normal(100, 2, (n, n))
    for cx, cy in rng.uniform(20, n - 20, (60, 2)):
        image += 60 * np.exp(-np.hypot(x - cx, y - cy) / 6)
    star = 6e4 * np.exp(-((x - 40) ** 2 + (y - 470) ** 2) / 8)
    skies = [(c - Background()(Cutout(c)).data[0]) for c in (image, image + star)]
    far = np.hypot(x - 40, y - 470) > 100
    assert np.abs(skies[1] - skies[0])[far].max() < 0.3
    assert np.abs(skies[1] - 100)[far].mean() < 0.4


def test_the_engine_sep():
    sep = pytest.importorskip("sep")
    cutout = scene()
    out = Background(nsigma=0, engine="sep")(cutout)
    expected = sep.Background(
        np.where(cutout.mask[0], 0, cutout.data[0]), mask=cutout.mask[0], bw=64, bh=64
    ).back()
    assert np.allclose(cutout.data[0] - out.data[0], expected, atol=1e-3)
    masked = Background(engine="sep")(cutout)
    assert np.abs(cutout.data[0] - masked.data[0] - 100).max() < 1.0


@pytest.mark.parametrize("at", [(128, 128), (60, 200)])
def test_a_source_near_the_middle_or_the_position(at):
    out = Background()(scene(at=at))
    assert bool(out.flags & Flag.NO_CENTRAL_SOURCE) == (at != (128, 128))
    wcs = tangent_wcs(30, 10, np.diag([-1, 1]) / 3600, 0, 0)
    position = wcs.pixel_to_world(at[1], at[0])
    there = scene(at=at).replace(wcs=wcs, meta={"position": position})
    assert not Background()(there).flags & Flag.NO_CENTRAL_SOURCE
    # Also as numbers, the way catalogues give it.
    there = there.replace(meta={"position": (position.ra.deg, position.dec.deg)})
    assert not Background()(there).flags & Flag.NO_CENTRAL_SOURCE
    assert there.position.separation(position).arcsec < 1e-6


def test_uneven_sky_is_flagged():
    cutout = scene()
    steps = 12 * ((np.indices((256, 256)) // 64).sum(axis=0) % 2)
    assert not Background(nsigma=0)(cutout).flags & Flag.BACKGROUND_RESIDUAL
    uneven = cutout.replace(data=cutout.data + steps.astype(np.float32))
    assert Background(nsigma=0)(uneven).flags & Flag.BACKGROUND_RESIDUAL


def test_the_sky_of_a_mosaic_is_taken_once():
    cutout = scene()
    step = Background(scope="mosaic")
    out = step(cutout.replace(meta={"sky": np.full(cutout.shape, 7.0)}))
    assert np.allclose(out.data, cutout.data - 7)
    assert "sky" not in out.meta
    assert not out.flags
    alone = step(cutout)
    assert alone.flags == Flag.CUTOUT_BACKGROUND
    assert np.array_equal(alone.data, Background()(cutout).data)


@pytest.mark.parametrize(
    "options", [{"box_size": 2}, {"nsigma": -1}, {"engine": "magic"}, {"scope": "sky"}]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match="background: "):
        Background(**options)
