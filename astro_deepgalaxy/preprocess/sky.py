"""The sky level and its noise, and what stands out from it."""

import warnings

import numpy as np

__all__ = ["WORKING_SIZE", "bin_plane", "find_sources", "of_peak", "sky_statistics"]

WORKING_SIZE = 128
"""Sources and the sky are looked for in images binned to about this many pixels a side."""

_SAMPLE = 20_000
_SMOOTHING = 1.5
_SMALLEST_SOURCE = 12
_WHITE = 0.2  # noise from pixel to pixel over that of the sky, in an image that has noise


def sky_statistics(values):
    """Level and noise of the sky among pixels of which some show sources.

    Pixels are clipped at three sigma about their median until none is left to clip. Sources make
    the bright side longer, so sigma is measured on the faint side alone.

    Parameters
    ----------
    values : numpy.ndarray
        Finite pixels, of any shape; of many, an evenly spread sample is used.

    Returns
    -------
    level, sigma : float
        Median and standard deviation; both NaN without pixels.
    """
    values = np.ravel(values)
    if values.size == 0:
        return np.nan, np.nan
    ordered = np.sort(values[:: max(1, values.size // _SAMPLE)]).astype(float)
    low, high = 0, len(ordered)
    for _ in range(20):
        level = ordered[(low + high) // 2]
        # 15.87 % of a normal distribution are more than one sigma below its median.
        sigma = level - ordered[low + int(0.1587 * (high - low))]
        new_low = np.searchsorted(ordered, level - 3 * sigma, side="left")
        new_high = np.searchsorted(ordered, level + 3 * sigma, side="right")
        if (new_low, new_high) == (low, high):
            break
        low, high = new_low, new_high
    return float(level), float(sigma)


def bin_plane(plane, valid, factor):
    """Average blocks of pixels.

    Parameters
    ----------
    plane : numpy.ndarray
        Pixels (y, x).
    valid : numpy.ndarray of bool
        Which of them count, (y, x).
    factor : int
        Side of a block. Blocks at the upper ends of the axes may be cut off by the border.

    Returns
    -------
    binned : numpy.ndarray
        Mean of the valid pixels of each block; 0 where there are none.
    valid : numpy.ndarray of bool
        Whether at least half of a whole block is valid.
    """
    if factor == 1:
        return np.where(valid, plane, 0).astype(np.float32), valid
    count = _block_sums(valid.astype(np.float32), factor)
    binned = _block_sums(np.where(valid, plane, 0).astype(np.float32), factor)
    return binned / np.maximum(count, 1), count >= factor**2 / 2


def _block_sums(plane, factor):
    pad = [(0, -n % factor) for n in plane.shape]
    if any(after for _, after in pad):
        plane = np.pad(plane, pad)
    ny, nx = plane.shape
    rows = plane.reshape(ny // factor, factor, nx).sum(axis=1)
    # Adding strided columns is several times faster than a sum over a short last axis.
    total = rows[:, ::factor].copy()
    for i in range(1, factor):
        total += rows[:, i::factor]
    return total


def find_sources(plane, valid, threshold, of_peak=0.01):
    """Find what stands out from a flat sky.

    Parameters
    ----------
    plane : numpy.ndarray
        Pixels (y, x).
    valid : numpy.ndarray of bool
        Which of them count.
    threshold : float
        Least brightness above the sky, in units of the noise of the slightly smoothed image.
    of_peak : float
        Least brightness as a fraction of the peak, for images with next to no noise.

    Returns
    -------
    numpy.ndarray of int
        Number of the segment at each pixel, 0 for sky; (y, x).
    """
    from photutils.segmentation import detect_sources
    from photutils.utils.exceptions import NoDetectionsWarning
    from scipy.ndimage import gaussian_filter

    labels = np.zeros(plane.shape, dtype=int)
    if not valid.any():
        return labels
    level, _ = sky_statistics(plane[valid])
    smooth = gaussian_filter(np.where(valid, plane, level), _SMOOTHING, mode="nearest")
    level, sigma = sky_statistics(smooth[valid])
    least = max(threshold * sigma, of_peak * float(smooth[valid].max() - level))
    if least == 0:
        return labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        found = detect_sources(smooth, level + least, _SMALLEST_SOURCE, mask=~valid)
    return labels if found is None else found.data


def of_peak(plane, valid):
    """Least brightness, as a fraction of the peak, of what is taken for a source to mask.

    Parameters
    ----------
    plane : numpy.ndarray
        Pixels (y, x).
    valid : numpy.ndarray of bool
        Which of them count.

    Returns
    -------
    float
        Zero where the faint pixels differ from their neighbours as noise does: then the noise is
        the measure, however bright the brightest star. A hundredth for a smooth image.
    """
    _, sigma = sky_statistics(plane[valid])
    steps, both = np.diff(plane[::4], axis=1), valid[::4, 1:] & valid[::4, :-1]
    apart = 1.0484 * np.median(np.abs(steps[both])) if both.any() else 0.0
    return 0.0 if apart > _WHITE * sigma > 0 else 0.01
