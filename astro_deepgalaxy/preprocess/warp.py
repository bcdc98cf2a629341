"""Averaging an image over the pixels of another grid on the sky."""

import numba
import numpy as np

from ..celestial import icrs_to_pixel, pixel_to_icrs
from ..flags import CutoutError, Flag

__all__ = ["average_onto"]

_TOLERANCE = 0.01  # of a pixel, for the mapping between the nodes of a coarse grid
_FIRST_STEP = 16


def average_onto(data, mask, variance, wcs, new_wcs, shape, least=0.5):
    """Average an image over the pixels of another grid; surface brightness is conserved.

    A new pixel is the mean of bilinear samples of the old image, spread evenly over its area and
    no farther apart than the old pixels: larger pixels are averages, without aliasing. Where one
    sample is enough it is interpolated by cubic convolution (Keys 1981), which blurs less, unless
    a masked pixel or the border is near. The mapping between the grids is computed at a coarse
    grid of nodes and interpolated to a hundredth of a pixel, as SWarp does (Bertin et al. 2002).

    Parameters
    ----------
    data : numpy.ndarray
        Pixels (band, y, x), float32.
    mask : numpy.ndarray of bool
        Pixels without weight, (band, y, x).
    variance : numpy.ndarray or None
        Variance of each pixel, (band, y, x).
    wcs, new_wcs : `~astropy.wcs.WCS`
        Old and new WCS.
    shape : tuple of int
        New shape (y, x).
    least : float
        Share of valid old pixels that a new pixel needs.

    Returns
    -------
    data : numpy.ndarray
        New pixels (band, y, x), float32; NaN where masked.
    mask : numpy.ndarray of bool
        Where there was too little to average.
    variance : numpy.ndarray or None
        Variance of the averages, from the squares of the weights; covariance is ignored.

    Raises
    ------
    CutoutError
        If the image is smaller than a new pixel.
    """
    nodes, step = _mapping(wcs, new_wcs, shape)
    sides = _sides(nodes, step)
    sides = sides[np.isfinite(sides)]
    samples = max(1, int(np.ceil(min(np.median(sides), 1e6) - 1e-3))) if sides.size else 1
    if samples > max(data.shape[1:]):
        raise CutoutError(
            "the whole image is smaller than one pixel of the new grid; check its WCS",
            Flag.PREPROCESS_FAILED,
        )
    new = np.empty((len(data), *shape), dtype=np.float32)
    for i in range(len(data)):
        # A masked pixel has no weight, but not even 0 times NaN is nothing.
        masked = bool(mask[i].any())
        plane = np.where(mask[i], np.float32(0), data[i]) if masked else data[i]
        _average(plane, mask[i], masked, nodes, step, samples, least, new[i])
    new_variance = None
    if variance is not None:
        new_variance = new.copy()
        for i in range(len(data)):
            _average_variance(variance[i], mask[i], nodes, step, samples, new_variance[i])
    return new, np.isnan(new), new_variance


def _mapping(wcs, new_wcs, shape):
    """Old pixel coordinates (x, y) at every `step` pixels of the new grid, from pixel (0, 0)."""
    step = _FIRST_STEP
    while True:
        ny, nx = (-(-(n - 1) // step) + 1 if n > 1 else 2 for n in shape)
        y, x = np.mgrid[:ny, :nx] * float(step)
        if step == 1:
            return np.stack(icrs_to_pixel(wcs, *pixel_to_icrs(new_wcs, x, y)), axis=-1), step
        middle_y, middle_x = y[:-1, :-1] + step / 2, x[:-1, :-1] + step / 2
        at = [np.concatenate([a.ravel(), b.ravel()]) for a, b in ((x, middle_x), (y, middle_y))]
        found = np.stack(icrs_to_pixel(wcs, *pixel_to_icrs(new_wcs, *at)), axis=-1)
        nodes = found[: ny * nx].reshape(ny, nx, 2)
        middles = found[ny * nx :].reshape(ny - 1, nx - 1, 2)
        between = 0.25 * (nodes[:-1, :-1] + nodes[1:, :-1] + nodes[:-1, 1:] + nodes[1:, 1:])
        error = np.abs(between - middles)
        # A border of the sky between two nodes leaves NaN: only a finer grid can follow it.
        if (error <= _TOLERANCE).all() or np.isnan(nodes).all():
            return nodes, step
        step //= 2


def _sides(nodes, step):
    """Old pixels on the side of a new one, the longer of both axes, at each node."""
    along = np.hypot(*np.moveaxis(np.diff(nodes, axis=1), -1, 0))[:-1]
    across = np.hypot(*np.moveaxis(np.diff(nodes, axis=0), -1, 0))[:, :-1]
    return np.maximum(along, across) / step


@numba.njit(cache=True, nogil=True, inline="always")
def _cubic(x):
    """Weight of a pixel at a distance (Keys 1981, a = -1/2)."""
    x = abs(x)
    if x <= 1:
        return (1.5 * x - 2.5) * x * x + 1
    if x < 2:
        return ((-0.5 * x + 2.5) * x - 4) * x + 2
    return 0.0


@numba.njit(cache=True, nogil=True)
def _whole(mask, masked, q, p):
    """Whether the sixteen pixels about a place are there and valid."""
    if q < 1 or p < 1 or q + 2 >= mask.shape[0] or p + 2 >= mask.shape[1]:
        return False
    if masked:
        for s in range(q - 1, q + 3):
            for t in range(p - 1, p + 3):
                if mask[s, t]:
                    return False
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _average(data, mask, masked, nodes, step, samples, least, new):
    """Fill `new` with the averages of one band."""
    ny, nx = data.shape
    height, width = new.shape
    total, weight = np.empty(width), np.empty(width)
    for j in range(height):
        total[:] = 0.0
        weight[:] = 0.0
        b = min(j // step, nodes.shape[0] - 2)
        for k in range(samples):
            v = (j + (k + 0.5) / samples - 0.5) / step - b
            for a in range(nodes.shape[1] - 1):
                first = a * step
                last = width if a == nodes.shape[1] - 2 else min(first + step, width)
                x0 = (1 - v) * nodes[b, a, 0] + v * nodes[b + 1, a, 0]
                y0 = (1 - v) * nodes[b, a, 1] + v * nodes[b + 1, a, 1]
                dx = ((1 - v) * nodes[b, a + 1, 0] + v * nodes[b + 1, a + 1, 0] - x0) / step
                dy = ((1 - v) * nodes[b, a + 1, 1] + v * nodes[b + 1, a + 1, 1] - y0) / step
                for i in range(first, last):
                    x, y = x0 + (i - first) * dx, y0 + (i - first) * dy
                    if not (-samples - 1 < x < nx + samples and -samples - 1 < y < ny + samples):
                        continue
                    for m in range(samples):
                        u = i - first + (m + 0.5) / samples - 0.5
                        x, y = x0 + u * dx, y0 + u * dy
                        if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
                            continue
                        # Out to the border of an outermost pixel its value holds.
                        x = min(max(x, 0.0), nx - 1.0)
                        y = min(max(y, 0.0), ny - 1.0)
                        p, q = min(int(x), nx - 2), min(int(y), ny - 2)
                        fx, fy = x - p, y - q
                        if samples == 1 and _whole(mask, masked, q, p):
                            for s in range(4):
                                line = 0.0
                                for t in range(4):
                                    line += _cubic(t - 1 - fx) * data[q + s - 1, p + t - 1]
                                total[i] += _cubic(s - 1 - fy) * line
                            weight[i] += 1.0
                            continue
                        w00, w01 = (1 - fy) * (1 - fx), (1 - fy) * fx
                        w10, w11 = fy * (1 - fx), fy * fx
                        if masked:
                            w00 = 0.0 if mask[q, p] else w00
                            w01 = 0.0 if mask[q, p + 1] else w01
                            w10 = 0.0 if mask[q + 1, p] else w10
                            w11 = 0.0 if mask[q + 1, p + 1] else w11
                        total[i] += (
                            w00 * data[q, p]
                            + w01 * data[q, p + 1]
                            + w10 * data[q + 1, p]
                            + w11 * data[q + 1, p + 1]
                        )
                        weight[i] += w00 + w01 + w10 + w11
        for i in range(width):
            enough = weight[i] >= least * samples * samples
            new[j, i] = total[i] / weight[i] if enough else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _average_variance(variance, mask, nodes, step, samples, new):
    """Fill `new`, which is NaN where no average is, with the variance of the averages."""
    ny, nx = variance.shape
    # The weights that the samples of a new pixel give to the old ones about it.
    size = 2
    weights = np.zeros((size, size))
    for j in range(new.shape[0]):
        b = min(j // step, nodes.shape[0] - 2)
        for i in range(new.shape[1]):
            if np.isnan(new[j, i]):
                continue
            a = min(i // step, nodes.shape[1] - 2)
            n = samples * samples
            xs, ys = np.empty(n), np.empty(n)
            for k in range(samples):
                v = (j + (k + 0.5) / samples - 0.5) / step - b
                for m in range(samples):
                    u = (i + (m + 0.5) / samples - 0.5) / step - a
                    for c in range(2):
                        low = (1 - v) * nodes[b, a, c] + v * nodes[b + 1, a, c]
                        high = (1 - v) * nodes[b, a + 1, c] + v * nodes[b + 1, a + 1, c]
                        if c == 0:
                            xs[k * samples + m] = low + u * (high - low)
                        else:
                            ys[k * samples + m] = low + u * (high - low)
            left = min(max(int(xs.min()), 0), nx - 2)
            bottom = min(max(int(ys.min()), 0), ny - 2)
            if samples == 1 and _whole(mask, True, bottom, left):
                fx, fy, total = xs[0] - left, ys[0] - bottom, 0.0
                for s in range(4):
                    for t in range(4):
                        w = _cubic(s - 1 - fy) * _cubic(t - 1 - fx)
                        total += w * w * variance[bottom + s - 1, left + t - 1]
                new[j, i] = total
                continue
            size = int(max(xs.max() - left, ys.max() - bottom)) + 3
            if size > len(weights):
                weights = np.zeros((size, size))
            weights[:] = 0.0
            for s in range(n):
                x, y = xs[s], ys[s]
                if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
                    continue
                x = min(max(x, 0.0), nx - 1.0)
                y = min(max(y, 0.0), ny - 1.0)
                p, q = min(int(x), nx - 2), min(int(y), ny - 2)
                fx, fy = x - p, y - q
                weights[q - bottom, p - left] += (1 - fy) * (1 - fx)
                weights[q - bottom, p - left + 1] += (1 - fy) * fx
                weights[q - bottom + 1, p - left] += fy * (1 - fx)
                weights[q - bottom + 1, p - left + 1] += fy * fx
            total, weight = 0.0, 0.0
            for q in range(len(weights)):
                for p in range(len(weights)):
                    w = weights[q, p]
                    if w > 0 and not mask[bottom + q, left + p]:
                        weight += w
                        total += w * w * variance[bottom + q, left + p]
            new[j, i] = total / (weight * weight)
