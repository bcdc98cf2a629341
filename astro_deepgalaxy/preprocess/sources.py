"""The galaxies that an image is about, among all its sources."""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from ..celestial import icrs_to_pixel, position_degrees
from ..flags import CutoutError, Flag
from .sky import WORKING_SIZE, bin_plane, find_sources, sky_statistics

__all__ = ["Sources", "find_galaxies", "mean_plane", "pixel_position"]

_NSIGMA = 2.0
_OF_PEAK = 0.01
_OF_PEAK_PICTURE = 0.06  # a stretched picture shows fainter things, and less noise
_CENTRAL = 0.2  # of the longer side: how far from the middle brightness counts less
_REACH = 2.0  # of the radius of the chosen source: how far off a companion may be


@dataclass(frozen=True)
class Sources:
    """The sources of an image binned to about 128 pixels a side, and those that are chosen.

    Attributes
    ----------
    labels : numpy.ndarray of int
        Number of the segment at each binned pixel, 0 for sky; (y, x).
    excess : numpy.ndarray
        Brightness above the sky, the mean of the bands, 0 where there is none; (y, x).
    valid : numpy.ndarray of bool
        Which binned pixels count, (y, x).
    main : int
        Number of the chosen source.
    chosen : numpy.ndarray of bool
        Where the chosen source and its companions are, (y, x).
    level : float
        The sky, the mean of the bands.
    factor : int
        Side of a binned pixel in pixels of the image.
    """

    labels: np.ndarray
    excess: np.ndarray
    valid: np.ndarray
    main: int
    chosen: np.ndarray
    level: float
    factor: int

    @cached_property
    def light(self):
        """The positive part of the brightness above the sky, (y, x)."""
        return np.clip(self.excess, 0, None)

    @cached_property
    def centre(self):
        """Centre of the chosen source and its companions, (y, x) in binned pixels.

        Weighted by the root of the light, so that a bright nucleus does not draw it away from its
        companion.
        """
        y, x = np.nonzero(self.chosen)
        weight = self.weight
        return np.array([np.average(y, weights=weight), np.average(x, weights=weight)])

    @cached_property
    def weight(self):
        """Root of the light at the chosen pixels, in the order of `numpy.nonzero`."""
        return np.sqrt(self.light[self.chosen] + 1e-12)

    def enlarge(self, plane, shape):
        """A plane of binned pixels on the pixels of the image.

        Parameters
        ----------
        plane : numpy.ndarray
            Binned pixels (y, x).
        shape : tuple of int
            Pixels of the image along y and x.

        Returns
        -------
        numpy.ndarray
            The value of the binned pixel in which each pixel lies, (y, x).
        """
        y, x = (np.arange(n) // self.factor for n in shape)
        return plane[y[:, np.newaxis], x]


def mean_plane(cutout):
    """The mean of the bands.

    Parameters
    ----------
    cutout : Cutout
        Image.

    Returns
    -------
    plane : numpy.ndarray
        Pixels (y, x); a masked pixel counts as zero.
    valid : numpy.ndarray of bool
        Where any band is valid, (y, x).
    """
    return np.where(cutout.mask, 0, cutout.data).mean(axis=0), ~cutout.mask.all(axis=0)


def pixel_position(cutout):
    """Where ``meta["position"]`` lies.

    Parameters
    ----------
    cutout : Cutout
        Image.

    Returns
    -------
    tuple of float or None
        Pixel (y, x), counted from 0; None without a position or a WCS.
    """
    position = cutout.meta.get("position")
    if position is None or cutout.wcs is None:
        return None
    x, y = icrs_to_pixel(cutout.wcs, *position_degrees(position))
    return (float(y), float(x)) if np.isfinite([x, y]).all() else None


def find_galaxies(cutout, deblend=False):
    """Find the sources of an image, and choose those that it is about.

    The chosen source is the one at the cutout's ``meta["position"]``, or the brightest: sources
    near the middle of the image are preferred, as light counts less by a Gaussian of a fifth of
    the longer side. Its companions are sources with at least a tenth of the light and a fifth of
    the area, whose border is not farther away than two radii of the chosen source.

    Parameters
    ----------
    cutout : Cutout
        Image.
    deblend : bool
        Part sources that touch, where there is a saddle between them. Needs scikit-image.

    Returns
    -------
    Sources or None
        None when nothing stands out from the sky.

    Raises
    ------
    CutoutError
        If scikit-image is needed and missing.
    """
    factor = max(1, round(max(cutout.shape[1:]) / WORKING_SIZE))
    plane, valid = bin_plane(*mean_plane(cutout), factor)
    stretched = bool(cutout.flags & Flag.PICTURE)
    labels = find_sources(plane, valid, _NSIGMA, _OF_PEAK_PICTURE if stretched else _OF_PEAK)
    if not labels.any():
        return None
    level, _ = sky_statistics(plane[valid])
    excess = np.where(valid, plane - level, 0)
    if deblend:
        labels = _deblended(labels, excess)
    position = pixel_position(cutout)
    if position is not None:
        position = (np.array(position) + 0.5) / factor - 0.5
    main, chosen = _choose(labels, np.clip(excess, 0, None), position)
    return Sources(labels, excess, valid, main, chosen, level, factor)


def _deblended(labels, excess):
    """The segments, those with several peaks parted at their saddles."""
    try:
        import skimage.segmentation  # noqa: F401
    except ImportError as error:
        raise CutoutError(
            "parting sources that touch needs scikit-image: pip install 'astro-deepgalaxy[steps]'",
            Flag.PREPROCESS_FAILED,
        ) from error
    from photutils.segmentation import SegmentationImage, deblend_sources

    # Saddles between grains of noise are none: a source holds a hundredth of the light.
    smooth = ndimage.gaussian_filter(excess, 1.0, mode="nearest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parted = deblend_sources(
            smooth, SegmentationImage(labels), 12, contrast=0.01, progress_bar=False
        )
    return parted.data


def _choose(labels, light, position):
    """Number of the chosen source, and where it and its companions are, (y, x) of bool."""
    n = labels.max() + 1
    flux = np.bincount(labels.ravel(), light.ravel(), n)
    area = np.bincount(labels.ravel(), minlength=n)
    y, x = np.indices(labels.shape)
    if position is None:
        # Whoever cuts out a galaxy puts it near the middle; the brightest star may be anywhere.
        middle = (np.array(labels.shape) - 1) / 2
        away = np.hypot(y - middle[0], x - middle[1]) / max(labels.shape)
        central = light * np.exp(-0.5 * (away / _CENTRAL) ** 2)
        score = np.bincount(labels.ravel(), central.ravel(), n)
        score[0] = -1
        main = int(score.argmax())
    else:
        away = np.hypot(y - position[0], x - position[1])
        main = int(labels.ravel()[np.where(labels > 0, away, np.inf).argmin()])
    gap = np.full(n, np.inf)
    np.minimum.at(gap, labels.ravel(), ndimage.distance_transform_edt(labels != main).ravel())
    near = gap <= _REACH * np.sqrt(area[main] / np.pi)
    kept = near & (flux >= 0.1 * flux[main]) & (area >= 0.2 * area[main])
    kept[0], kept[main] = False, True
    return main, kept[labels]
