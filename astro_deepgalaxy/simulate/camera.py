"""Cameras around a simulation: directions, projection and rendering of the stars."""

from functools import cache

import numpy as np
from numba import get_num_threads, njit, prange
from scipy.spatial import cKDTree

__all__ = ["camera_directions", "image_axes", "render", "smoothing_lengths"]

_REACH = 3.0  # a kernel ends at three standard deviations
_ITERATIONS = 300  # after which the directions no longer move
_SMALLEST = 0.5  # standard deviation of the narrowest kernel in pixels


def camera_directions(n):
    """Directions to look from, spread evenly over half of the sphere.

    No two of them are opposite or nearly so: without dust, opposite views are mirror images of
    each other. Starting from a spiral, the directions repel each other, as if every camera and
    its antipode carried the same charge; the result is always the same.

    Parameters
    ----------
    n : int
        Number of cameras.

    Returns
    -------
    numpy.ndarray
        Unit vectors from the simulation towards the cameras, (n, 3).

    Raises
    ------
    ValueError
        If there is no camera.
    """
    if n < 1:
        raise ValueError(f"there must be at least one camera; got {n}")
    return _repelled(n).copy()


@cache
def _repelled(n):
    k = np.arange(n)
    z = 1 - (k + 0.5) / n
    turn = k * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - z**2)
    directions = np.column_stack([across * np.cos(turn), across * np.sin(turn), z])
    for iteration in range(_ITERATIONS):
        force = np.zeros((n, 3))
        for sign in (1, -1):
            difference = directions[:, np.newaxis] - sign * directions
            distance = np.linalg.norm(difference, axis=2)
            np.fill_diagonal(distance, np.inf)
            force += (difference / distance[..., np.newaxis] ** 3).sum(axis=1)
        force -= directions * (force * directions).sum(axis=1, keepdims=True)
        directions = directions + force * (0.1 / n * 0.99**iteration)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.where(directions[:, 2:] < 0, -1, 1)


def image_axes(direction, roll=0.0):
    """Axes of the image that a camera takes.

    Parameters
    ----------
    direction : array_like
        Unit vector towards the camera, (3,).
    roll : float
        Angle by which the camera is turned about its line of sight, in radians.

    Returns
    -------
    numpy.ndarray
        Unit vectors along x (to the right) and y (up) of the image, (2, 3).
    """
    direction = np.asarray(direction, dtype=float)
    helper = np.array([0.0, 0.0, 1.0]) if abs(direction[2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    right = np.cross(helper, direction)
    right /= np.linalg.norm(right)
    up = np.cross(direction, right)
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([cos * right + sin * up, cos * up - sin * right])


def smoothing_lengths(positions, neighbours=24, largest=4.0):
    """Widths of the kernels that stand for the stars: narrow where stars are many.

    Parameters
    ----------
    positions : numpy.ndarray
        Positions in kpc, (n, 3).
    neighbours : int
        The width is half the distance to the neighbour of this number.
    largest : float
        Largest width in kpc.

    Returns
    -------
    numpy.ndarray
        Standard deviation of each kernel in kpc, (n,).
    """
    k = min(neighbours, len(positions) - 1)
    distance, _ = cKDTree(positions).query(positions, k=[k + 1], workers=get_num_threads())
    return np.minimum(0.5 * distance[:, 0], largest)


def render(positions, light, widths, axes, fields, pixels, aims=None):
    """Images of the stars by several cameras.

    Every star is a Gaussian. What falls outside a camera's field is lost; the rest of the light
    is conserved.

    Parameters
    ----------
    positions : numpy.ndarray
        Positions in kpc, (n, 3).
    light : numpy.ndarray
        Light of each star, in any unit, (n,).
    widths : numpy.ndarray
        Standard deviation of each kernel in kpc, (n,).
    axes : array_like
        Image axes of each camera, (camera, 2, 3), see `image_axes`.
    fields : array_like
        Side of each camera's square field in kpc, (camera,).
    pixels : int
        Pixels a side.
    aims : array_like, optional
        Where each camera looks, in kpc, (camera, 3); by default at the origin.

    Returns
    -------
    numpy.ndarray
        Light in each pixel, (camera, y, x), float32.
    """
    axes = np.asarray(axes, dtype=np.float64)
    projected = np.einsum("cak,nk->can", axes, np.asarray(positions, dtype=np.float64))
    if aims is not None:
        projected -= np.einsum("cak,ck->ca", axes, np.asarray(aims))[..., np.newaxis]
    return _splat(
        projected,
        np.asarray(light, dtype=np.float64),
        np.asarray(widths, dtype=np.float64),
        np.asarray(fields, dtype=np.float64),
        pixels,
    )


@njit(cache=True, parallel=True, fastmath=True)
def _splat(projected, light, widths, fields, pixels):
    n_cameras, n = projected.shape[0], projected.shape[2]
    images = np.zeros((n_cameras, pixels, pixels), dtype=np.float32)
    for c in prange(n_cameras):
        scale = fields[c] / pixels
        longest = int(2 * _REACH * max(widths.max() / scale, _SMALLEST)) + 2
        across = np.empty(longest, dtype=np.float32)
        along = np.empty(longest, dtype=np.float32)
        for p in range(n):
            # In pixels, the middle of the first pixel being 0.
            x = projected[c, 0, p] / scale + 0.5 * (pixels - 1)
            y = projected[c, 1, p] / scale + 0.5 * (pixels - 1)
            sigma = max(widths[p] / scale, _SMALLEST)
            reach = _REACH * sigma
            x0, x1 = int(np.ceil(x - reach)), int(np.floor(x + reach))
            y0, y1 = int(np.ceil(y - reach)), int(np.floor(y + reach))
            if x1 < 0 or y1 < 0 or x0 >= pixels or y0 >= pixels:
                continue
            # The sampled kernel is normalised, so that coarse pixels do not change the light.
            each = light[p] / (_kernel(across, x0, x1, x, sigma) * _kernel(along, y0, y1, y, sigma))
            left, right = max(x0, 0), min(x1, pixels - 1) + 1
            for j in range(max(y0, 0), min(y1, pixels - 1) + 1):
                row = np.float32(each * along[j - y0])
                target = images[c, j, left:right]
                for i in range(right - left):
                    target[i] += row * across[i + left - x0]
    return images


@njit(cache=True, fastmath=True)
def _kernel(values, first, last, centre, sigma):
    """Fill in a Gaussian at the pixels from first to last; returns the sum."""
    total = 0.0
    for i in range(first, last + 1):
        value = np.exp(-0.5 * ((i - centre) / sigma) ** 2)
        values[i - first] = value
        total += value
    return total
