"""Bad pixels and cosmic rays."""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from ..flags import CutoutError, Flag
from .sky import sky_statistics
from .steps import Step

__all__ = ["Repair"]

_SMALLEST = 8  # pixels a side: astroscrappy writes beyond the memory of smaller images
_FAR = 1e15  # times the noise: its square is still a number


@dataclass(frozen=True)
class Repair(Step):
    """Fill small defects from their neighbours: masked pixels, and cosmic rays if asked.

    `astropy.convolution.interpolate_replace_nans` fills them with the mean of the good pixels
    around, weighted by a Gaussian. Filled pixels are unmasked, with the flag ``missing_data``.
    Larger holes stay masked as a whole, and so do gaps along the border, where there are
    neighbours on one side only.

    Attributes
    ----------
    largest : int
        The widest defect that is filled, in pixels across: the side of the largest square that
        fits inside. A bad column is one pixel across, however long it is.
    sigma : float
        Standard deviation of the Gaussian in pixels.
    cosmic_rays : bool
        Find cosmic rays first, by the Laplacian edge detection of van Dokkum (2001) as in the
        package astroscrappy, which must be installed. Pictures are not searched, nor images of
        less than eight pixels a side, in which nothing says how sharp a star is.
    nsigma : float
        How far above the noise a cosmic ray must be.
    contrast : float
        How much sharper than a star it must be. Raise it where stars are eaten, as in images
        whose point-spread function is hardly two pixels wide.
    gain : float or None
        Electrons per unit of the pixels, for the noise of bright sources in an image without
        variance. When None, the noise of the sky is taken everywhere.

    Notes
    -----
    The variance of a filled pixel is that of the weighted mean, plus the weighted mean square of
    the neighbours about it: how much they differ says how wrong the mean may be. It is never
    below the typical variance of the neighbours, so that a guess does not count more than a
    measurement.
    """

    name: ClassVar[str] = "repair"

    largest: int = 2
    sigma: float = 1.0
    cosmic_rays: bool = False
    nsigma: float = 4.5
    contrast: float = 5.0
    gain: float | None = None

    def __post_init__(self):
        if not 1 <= self.largest <= 15 or not 0.5 <= self.sigma <= 10:
            raise ValueError(
                "repair: largest must be from 1 to 15 and sigma from 0.5 to 10 pixels; "
                f"got {self.largest} and {self.sigma}"
            )
        if not self.nsigma > 0 or not self.contrast > 0:
            raise ValueError(
                "repair: nsigma and contrast must be positive; "
                f"got {self.nsigma} and {self.contrast}"
            )
        if self.gain is not None and not self.gain > 0:
            raise ValueError(f"repair: gain must be positive; got {self.gain}")

    def __call__(self, cutout):
        """Fill the defects of each band; see `Step`."""
        search = self.cosmic_rays and not cutout.flags & Flag.PICTURE
        if not search and not cutout.mask.any():
            return cutout
        data, mask, flags = cutout.data.copy(), cutout.mask.copy(), cutout.flags
        variance = None if cutout.variance is None else cutout.variance.copy()
        for band in range(len(data)):
            noise = None if variance is None else variance[band]
            if search:
                mask[band] |= self._find_cosmic_rays(data[band], mask[band], noise)
            filled = _narrow(mask[band], self.largest)
            if not filled.any():
                continue
            plane = np.where(mask[band], np.nan, data[band])
            data[band] = np.where(filled, self._interpolated(plane), data[band])
            if noise is not None:
                with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
                    noise[filled] = self._variance(plane, noise, data[band], filled)
            mask[band] &= ~filled
            flags |= Flag.MISSING_DATA
        return cutout.replace(data=data, mask=mask, variance=variance, flags=flags)

    @property
    def _kernel(self):
        from astropy.convolution import Gaussian2DKernel

        # It reaches a good pixel from the middle of the widest defect.
        radius = max(int(np.ceil(3 * self.sigma)), (self.largest + 1) // 2)
        return Gaussian2DKernel(self.sigma, x_size=2 * radius + 1).array

    def _interpolated(self, plane):
        from astropy.convolution import interpolate_replace_nans

        with warnings.catch_warnings():
            # Large holes stay empty: that is intended.
            warnings.simplefilter("ignore", AstropyUserWarning)
            return interpolate_replace_nans(plane, self._kernel, boundary="fill", fill_value=np.nan)

    def _variance(self, plane, variance, repaired, filled):
        """Variance of the filled pixels, in the order of `numpy.nonzero`."""
        kernel, (y, x) = self._kernel, np.nonzero(filled)

        def around(values):
            values = np.pad(values.astype(float), kernel.shape[0] // 2)
            return sliding_window_view(values, kernel.shape)[y, x]

        good = np.isfinite(plane)
        weight = kernel * around(good)
        weight /= weight.sum(axis=(1, 2), keepdims=True)
        differ = around(np.where(good, plane, 0)) - repaired[y, x, np.newaxis, np.newaxis]
        known = around(np.where(good, variance, 0))
        return (weight**2 * known + weight * differ**2).sum(axis=(1, 2))

    def _find_cosmic_rays(self, plane, bad, variance):
        """Where cosmic rays are, (y, x) of bool."""
        if min(plane.shape) < _SMALLEST:
            return np.zeros_like(bad)
        try:
            from astroscrappy import detect_cosmics
        except ImportError as error:
            raise CutoutError(
                "finding cosmic rays needs astroscrappy: pip install 'astro-deepgalaxy[steps]'",
                Flag.PREPROCESS_FAILED,
            ) from error
        level, noise = sky_statistics(plane[~bad])
        if not noise > 0:
            return np.zeros_like(bad)
        # A dead pixel would look like the foot of a sharp peak.
        narrow = _narrow(bad, self.largest)
        if narrow.any():
            plane = np.where(narrow, self._interpolated(np.where(bad, np.nan, plane)), plane)
        # In units of the noise, whatever the unit of the pixels is.
        scaled = np.where(bad & ~narrow, 0, (plane.astype(float) - level) / noise)
        if variance is not None:
            expected = variance.astype(float) / noise**2
            expected[bad | np.isnan(expected)] = 1
        elif self.gain is not None:
            expected = 1 + np.clip(scaled, 0, None) / (self.gain * noise)
        else:
            expected = np.ones_like(scaled)
        with _openmp().limit(limits=1, user_api="openmp"):
            found, _ = detect_cosmics(
                np.clip(scaled, -_FAR, _FAR).astype(np.float32),
                inmask=bad,
                invar=np.clip(expected, 0, _FAR).astype(np.float32),
                sigclip=self.nsigma,
                objlim=self.contrast,
                satlevel=np.inf,
            )
        return found.astype(bool)


@cache
def _openmp():
    """What limits the threads of astroscrappy, which must be imported by now.

    A batch keeps every core busy with an image of its own. Threads of OpenMP that wait for one
    another then spin, and a search takes ten times as long.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _narrow(bad, largest):
    """Which bad pixels belong to defects that are at most `largest` pixels across."""
    side = largest + 1
    # Beyond the border there is nothing either.
    padded = np.pad(bad, side, constant_values=True).view(np.uint8)
    wide = ndimage.grey_opening(padded, size=(side, side))[side:-side, side:-side].view(bool)
    holes, n = ndimage.label(bad, np.ones((3, 3)))
    large = np.zeros(n + 1, dtype=bool)
    large[holes[wide]] = True
    large[0] = True
    return ~large[holes]
