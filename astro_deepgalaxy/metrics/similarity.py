"""How alike two images are: their structural similarity, where there is a source."""

import warnings

import numpy as np
from astropy.stats import sigma_clipped_stats

__all__ = ["masked_ssim", "similarities", "source_mask", "ssim"]

_SMOOTHING = 1.0
_NSIGMA = 3.0
_OF_PEAK = 0.05
_SMALLEST = 12


def ssim(image, other):
    """Structural similarity of two images with values in [0, 1].

    With the windows of Wang et al. (2004), Gaussians of 1.5 pixels, and a data range of 1.

    Parameters
    ----------
    image, other : array_like
        Images of one shape, (y, x) or (y, x, channel), of at least 11 pixels a side.

    Returns
    -------
    float
        1 for equal images; the mean of the channels.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    return float(_ssim_map(image, other).mean())


def masked_ssim(image, other, mask):
    """Structural similarity inside a mask: the mean of its map over the pixels there.

    An empty sky is alike in all images; with it every number would be near 1.

    Parameters
    ----------
    image, other : array_like
        As in `ssim`.
    mask : array_like of bool
        Where to compare, (y, x).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the shapes differ, or the mask is empty.
    """
    similar, mask = _ssim_map(image, other), np.asarray(mask, dtype=bool)
    if mask.shape != similar.shape:
        raise ValueError(f"the mask has the shape {mask.shape}, and the images {similar.shape}")
    if not mask.any():
        raise ValueError("the mask is empty: there is nothing to compare")
    return float(similar[mask].mean())


def source_mask(image):
    """Where the sources of an image are.

    They are the groups of at least 12 pixels which, in the image smoothed by a Gaussian of one
    pixel, are above the sky by three times its noise and by a twentieth of the peak. The sky is
    the clipped median of all pixels.

    Parameters
    ----------
    image : array_like
        Image (y, x) or (y, x, channel); the mean of the channels counts.

    Returns
    -------
    numpy.ndarray of bool
        (y, x). All of the image where nothing stands out.
    """
    from photutils.segmentation import detect_sources
    from photutils.utils.exceptions import NoDetectionsWarning
    from scipy.ndimage import gaussian_filter

    plane = _channels(image).mean(axis=-1)
    plane = gaussian_filter(plane, _SMOOTHING, mode="nearest")
    _, sky, noise = sigma_clipped_stats(plane, sigma=3.0)
    least = sky + max(_NSIGMA * noise, _OF_PEAK * (plane.max() - sky))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = detect_sources(plane, least, _SMALLEST) if least > sky else None
    return np.ones(plane.shape, dtype=bool) if found is None else found.data > 0


def similarities(image, others, mask=None):
    """Similarity of one image to others, inside its sources.

    Parameters
    ----------
    image : array_like
        Image (y, x) or (y, x, channel).
    others : sequence of array_like
        Images of the same shape.
    mask : array_like of bool, optional
        Where to compare, (y, x); the `source_mask` of `image` by default.

    Returns
    -------
    numpy.ndarray
        `masked_ssim` with each of the others.
    """
    mask = source_mask(image) if mask is None else mask
    return np.array([masked_ssim(image, other, mask) for other in others], dtype=float)


def _ssim_map(image, other):
    """Structural similarity around each pixel, the mean of the channels, (y, x)."""
    from skimage.metrics import structural_similarity

    image, other = _channels(image), _channels(other)
    if image.shape != other.shape:
        raise ValueError(f"the images have the shapes {image.shape} and {other.shape}")
    _, similar = structural_similarity(
        image,
        other,
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return similar.mean(axis=-1)


def _channels(image):
    image = np.asarray(image, dtype=float)
    if image.ndim not in (2, 3):
        raise ValueError(f"expected an image (y, x) or (y, x, channel); got {image.shape}")
    return image if image.ndim == 3 else image[..., np.newaxis]
