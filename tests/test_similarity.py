import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from astro_deepgalaxy.metrics.agreement import cluster_agreement
from astro_deepgalaxy.metrics.similarity import masked_ssim, similarities, source_mask, ssim


@pytest.fixture(scope="module")
def galaxy():
    """A galaxy in the lower left of an empty image."""
    y, x = np.mgrid[:64, :64]
    return np.exp(-((y - 20) ** 2 + (x - 16) ** 2) / 50)


def test_equal_images_are_one(galaxy):
    assert ssim(galaxy, galaxy) == pytest.approx(1)
    assert masked_ssim(galaxy, galaxy, galaxy > 0.2) == pytest.approx(1)


def test_flat_images_follow_the_formula():
    one, two, c1 = 0.6, 0.4, 0.01**2
    expected = (2 * one * two + c1) / (one**2 + two**2 + c1)
    assert ssim(np.full((16, 16), one), np.full((16, 16), two)) == pytest.approx(expected)


def test_inside_a_mask_only_what_is_there_counts(galaxy):
    other = galaxy.copy()
    other[40:, 40:] = np.random.default_rng(0).random((24, 24))
    left = np.arange(64) < 30
    mask = np.broadcast_to(left, (64, 64))
    assert masked_ssim(galaxy, other, mask) == pytest.approx(1)
    assert masked_ssim(galaxy, other, ~mask) < 0.7
    whole = ssim(galaxy, other)
    parts = [masked_ssim(galaxy, other, m) for m in (mask, ~mask)]
    assert whole == pytest.approx(np.average(parts, weights=[30, 34]))


def test_the_mask_is_where_the_galaxy_is(galaxy):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for noise in (0, 0.02):
        mask = source_mask(galaxy + noise * rng.normal(size=galaxy.shape))
        assert mask[20, 16]
        assert not mask[np.hypot(y - 20, x - 16) > 25].any()
        assert mask[np.hypot(y - 20, x - 16) < 8].all()
    assert source_mask(np.zeros((20, 20))).all()
    colour = np.stack([galaxy, 0.5 * galaxy, 0 * galaxy], axis=-1)
    assert np.array_equal(source_mask(colour), source_mask(galaxy))


def test_the_empty_sky_does_not_count(galaxy):
    turned = galaxy[::-1, ::-1]
    assert ssim(galaxy, turned) > 0.6
    assert similarities(galaxy, [galaxy, turned])[1] < 0.35
    assert similarities(galaxy, [galaxy, turned])[0] == pytest.approx(1)
    assert similarities(galaxy[..., np.newaxis], []).shape == (0,)


def test_images_that_do_not_fit(galaxy):
    with pytest.raises(ValueError, match="the images have the shapes"):
        ssim(galaxy, galaxy[:32])
    with pytest.raises(ValueError, match="the mask has the shape"):
        masked_ssim(galaxy, galaxy, np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="the mask is empty"):
        masked_ssim(galaxy, galaxy, galaxy > 2)
    with pytest.raises(ValueError, match=r"expected an image \(y, x\)"):
        ssim(galaxy[0], galaxy[0])


def test_agreement_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c", ""], 200)
    clusters = np.where(rng.random(200) < 0.3, rng.integers(0, 3, 200), labels == "a")
    known = labels != ""
    found = cluster_agreement(clusters, labels)
    assert found["n"] == known.sum()
    assert found["nmi"] == normalized_mutual_info_score(labels[known], clusters[known])
    assert found["ari"] == adjusted_rand_score(labels[known], clusters[known])
    assert cluster_agreement([2, 2, 0], ["x", "x", "y"]) == {"nmi": 1, "ari": 1, "n": 3}
    with pytest.raises(ValueError, match="no image has a label"):
        cluster_agreement([0, 1], np.ma.array(["a", "b"], mask=True))
    with pytest.raises(ValueError, match="2 clusters were given, and 1 labels"):
        cluster_agreement([0, 1], ["a"])
