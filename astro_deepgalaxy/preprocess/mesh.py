"""The sky on a mesh of boxes: what photutils' Background2D finds, in a fraction of its time."""

from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
from scipy import ndimage

__all__ = ["Mesh", "box_levels", "interpolate", "measure_mesh", "smooth_mesh"]

EXCLUDE_PERCENTILE = 75.0

_CLIP = 3.0
_ITERATIONS = 10


@dataclass(frozen=True)
class Mesh:
    """Sky level in the boxes of an image.

    Attributes
    ----------
    level : numpy.ndarray
        Level of each box, gaps filled and smoothed, (box along y, box along x).
    raw : numpy.ndarray
        The same as measured; NaN where too few pixels were free.
    noise : numpy.ndarray
        Standard deviation of the clipped pixels of each box; NaN likewise.
    box : int
        Side of a box in pixels.
    shape : tuple of int
        Shape of the image, (y, x).
    """

    level: np.ndarray
    raw: np.ndarray
    noise: np.ndarray
    box: int
    shape: tuple[int, int]

    def image(self):
        """The level at every pixel, (y, x) of float32; see `interpolate`."""
        return interpolate(self.level, self.box, self.shape)

    @property
    def residual(self):
        """Root mean square of measured minus smoothed levels, in units of the noise."""
        centres = [
            np.minimum(np.arange(n) * self.box + self.box // 2, m - 1)
            for n, m in zip(self.level.shape, self.shape, strict=True)
        ]
        y, x = (
            _spline(n, m, self.box)[c]
            for n, m, c in zip(self.level.shape, self.shape, centres, strict=True)
        )
        apart = (self.raw - y @ self.level @ x.T) / np.where(self.noise > 0, self.noise, np.inf)
        return float(np.sqrt(np.nanmean(apart**2)))


def interpolate(level, box, shape, rows=slice(None), columns=slice(None)):
    """A cubic spline through the levels of boxes, within their range.

    Parameters
    ----------
    level : numpy.ndarray
        Level of each box, (box along y, box along x), float32.
    box : int
        Side of a box in pixels.
    shape : tuple of int
        Shape of the image, (y, x).
    rows, columns : slice
        Part of the image.

    Returns
    -------
    numpy.ndarray
        Level at each pixel of the part, (y, x), float32.
    """
    y, x = (
        _spline(n, m, box)[part]
        for n, m, part in zip(level.shape, shape, (rows, columns), strict=True)
    )
    # The spline does not keep constants to the last digit; the mean is kept out of it.
    mean = np.float32(level.mean())
    return np.clip(mean + y @ (level - mean) @ x.T, level.min(), level.max())


def measure_mesh(plane, mask, box, exclude_percentile=EXCLUDE_PERCENTILE, filter_size=3):
    """Measure the sky in boxes, as `photutils.background.Background2D` does.

    Pixels of a box are clipped at three sigma about their median; the level is SExtractor's
    estimate of their mode (Bertin & Arnouts 1996). Boxes with too few pixels are filled from
    their neighbours, and a median filter runs over the boxes.

    Parameters
    ----------
    plane : numpy.ndarray
        Pixels (y, x), float32.
    mask : numpy.ndarray of bool or None
        Pixels to leave out, (y, x); pixels that are not finite always are.
    box : int
        Side of a box in pixels; boxes at the upper ends of the axes may be cut off.
    exclude_percentile : float
        Boxes that lose more than this percentage of their pixels are left out.
    filter_size : int
        Side of the median filter in boxes.

    Returns
    -------
    Mesh or None
        None when no box has enough pixels.
    """
    raw, noise = box_levels(plane, mask, box, exclude_percentile)
    return smooth_mesh(raw, noise, box, plane.shape, filter_size)


def box_levels(plane, mask, box, exclude_percentile=EXCLUDE_PERCENTILE):
    """The first half of `measure_mesh`: level and noise of each box.

    Parameters
    ----------
    plane, mask, box, exclude_percentile
        As in `measure_mesh`.

    Returns
    -------
    level, noise : numpy.ndarray
        (box along y, box along x); NaN where too few pixels are left.
    """
    ny, nx = (-(-n // box) for n in plane.shape)
    pixels = np.where(mask, np.float32(np.nan), plane) if mask is not None else plane
    if (ny * box, nx * box) != plane.shape:
        pad = [(0, m * box - n) for m, n in zip((ny, nx), plane.shape, strict=True)]
        pixels = np.pad(pixels, pad, constant_values=np.nan)
    boxes = pixels.reshape(ny, box, nx, box).transpose(0, 2, 1, 3).reshape(ny * nx, box * box)
    boxes = np.sort(boxes, axis=-1)  # NaN come last
    level, noise, kept = (a.reshape(ny, nx) for a in _clipped(boxes))
    few = kept <= (1 - exclude_percentile / 100) * box**2
    return np.where(few, np.nan, level), np.where(few, np.nan, noise)


def smooth_mesh(raw, noise, box, shape, filter_size=3):
    """The second half of `measure_mesh`: fill the gaps between boxes and smooth.

    Parameters
    ----------
    raw, noise : numpy.ndarray
        What `box_levels` found.
    box : int
        Side of a box in pixels.
    shape : tuple of int
        Shape of the image, (y, x).
    filter_size : int
        Side of the median filter in boxes.

    Returns
    -------
    Mesh or None
        None when there is no box at all.
    """
    if np.isnan(raw).all():
        return None
    smooth = _median_filter(_fill(raw), filter_size)
    return Mesh(smooth.astype(np.float32), raw, noise, box, tuple(shape))


@numba.njit(cache=True, nogil=True)
def _clipped(boxes):
    """Mode, standard deviation and number of clipped pixels of rows in ascending order."""
    n_boxes = len(boxes)
    level, noise = np.full(n_boxes, np.nan), np.full(n_boxes, np.nan)
    kept = np.zeros(n_boxes, np.int64)
    for b in range(n_boxes):
        row = boxes[b]
        low, high = 0, len(row)
        while high > 0 and not np.isfinite(row[high - 1]):
            high -= 1
        while low < high and not np.isfinite(row[low]):
            low += 1
        if low == high:
            continue
        zero = np.float64(row[(low + high) // 2])
        total, square = 0.0, 0.0
        for i in range(low, high):
            d = row[i] - zero
            total += d
            square += d * d
        for _ in range(_ITERATIONS):
            n = high - low
            median = 0.5 * (row[low + (n - 1) // 2] + np.float64(row[low + n // 2])) - zero
            mean = total / n
            reach = _CLIP * np.sqrt(max(square / n - mean * mean, 0.0))
            if reach == 0:
                # All the same, but for rounding.
                break
            before = n
            while row[low] - zero < median - reach:
                d = row[low] - zero
                total -= d
                square -= d * d
                low += 1
            while row[high - 1] - zero > median + reach:
                d = row[high - 1] - zero
                total -= d
                square -= d * d
                high -= 1
            if high - low == before:
                break
        n = high - low
        median = 0.5 * (row[low + (n - 1) // 2] + np.float64(row[low + n // 2])) - zero
        mean = total / n
        sigma = np.sqrt(max(square / n - mean * mean, 0.0))
        kept[b], noise[b] = n, sigma
        if sigma == 0:
            level[b] = zero + mean
        elif abs(mean - median) >= 0.3 * sigma:
            level[b] = zero + median
        else:
            level[b] = zero + 2.5 * median - 1.5 * mean
    return level, noise, kept


def _fill(raw):
    """Boxes that were left out take the mean of the others, weighted by inverse distance."""
    gaps = np.isnan(raw)
    if not gaps.any():
        return raw
    from photutils.utils import ShepardIDWInterpolator

    known = np.column_stack(np.nonzero(~gaps))
    filled = raw.copy()
    filled[gaps] = ShepardIDWInterpolator(known, raw[~gaps])(
        np.column_stack(np.nonzero(gaps)), n_neighbors=10, power=1.0
    )
    return filled


def _median_filter(level, size):
    if size == 1:
        return level
    padded = np.pad(level, size // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    ordered = np.sort(windows.reshape(*level.shape, -1), axis=-1)
    n = np.count_nonzero(~np.isnan(ordered), axis=-1)[..., np.newaxis]
    middle = [np.take_along_axis(ordered, i, axis=-1)[..., 0] for i in ((n - 1) // 2, n // 2)]
    return 0.5 * (middle[0] + middle[1])


@lru_cache(maxsize=64)
def _spline(n, size, box):
    """Matrix (size, n) from the levels of n boxes to pixels: the spline is linear in them."""
    units = [ndimage.zoom(e, box, order=3, mode="reflect", grid_mode=True) for e in np.eye(n)]
    return np.ascontiguousarray(np.transpose(units)[:size], dtype=np.float32)
