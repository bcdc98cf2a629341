"""Reprojection to a common scale and orientation."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from astropy import units as u

from ..celestial import icrs_to_pixel, pixel_to_icrs, position_degrees, tangent_wcs
from ..flags import CutoutError, Flag
from .limits import LARGEST_SIDE, check_shape
from .steps import Step
from .warp import average_onto

__all__ = ["Align", "is_flux"]

_METHODS = ("average", "interp", "adaptive", "exact")
_CONSERVED = ("auto", "flux", "brightness")


@dataclass(frozen=True)
class Align(Step):
    """Reproject an image north up, east left, to a given pixel scale.

    Without a WCS an image keeps its pixels, with the flag ``no_wcs``; without a redshift where
    one is needed, likewise with ``no_redshift``. ``meta["psf"]`` and ``meta["sky"]``, which are on
    the old pixels, are dropped.

    Attributes
    ----------
    pixel_scale : float or None
        Arcseconds a pixel.
    kpc_per_pixel : float or None
        Or kiloparsecs a pixel, at the cutout's ``meta["redshift"]`` (Planck 2018 cosmology).
    size : int or None
        Side of the result in pixels, about the cutout's ``meta["position"]`` or else the middle
        of the image; None for all of the image.
    method : {"average", "interp", "adaptive", "exact"}
        The mean over each new pixel (`~astro_deepgalaxy.preprocess.warp.average_onto`), which is
        by far the fastest; or a function of `reproject`: bilinear interpolation, anti-aliased
        (DeForest 2004), or exact overlap of spherical polygons.
    conserve : {"auto", "flux", "brightness"}
        ``flux`` for pixels that hold a flux or counts, ``brightness`` for a flux per solid angle;
        ``auto`` goes by the unit of the image, and takes an image without unit for fluxes.

    Notes
    -----
    The variance of an average is that of its squared weights. The functions of `reproject` take
    the variance as they take pixels; that of an average is then divided by the number of old
    pixels in a new one, and ``interp``, which does not average, gives an upper limit. The
    covariance that resampling makes between neighbours is ignored.
    """

    name: ClassVar[str] = "align"

    pixel_scale: float | None = None
    kpc_per_pixel: float | None = None
    size: int | None = None
    method: str = "average"
    conserve: str = "auto"

    def __post_init__(self):
        if (self.pixel_scale is None) == (self.kpc_per_pixel is None):
            raise ValueError("align: give either pixel_scale (arcsec) or kpc_per_pixel")
        scale = self.kpc_per_pixel if self.pixel_scale is None else self.pixel_scale
        if not 0 < scale < float("inf"):
            raise ValueError(f"align: the scale must be positive; got {scale}")
        if self.size is not None and not 4 <= self.size <= LARGEST_SIDE:
            raise ValueError(f"align: size must be 4 to {LARGEST_SIDE} pixels; got {self.size}")
        if self.method not in _METHODS or self.conserve not in _CONSERVED:
            raise ValueError(
                f"align: method must be one of {_METHODS} and conserve one of {_CONSERVED}; "
                f"got {self.method!r} and {self.conserve!r}"
            )

    def __call__(self, cutout):
        """Reproject; see `Step`."""
        if cutout.wcs is None:
            return cutout.flagged(Flag.NO_WCS)
        scale = self._scale(cutout)
        if scale is None:
            return cutout.flagged(Flag.NO_REDSHIFT)
        wcs, shape = self._target(cutout, scale)
        data, mask, variance = self._reproject(cutout, wcs, shape, scale)
        if mask.all():
            raise CutoutError("the image has no valid pixel", Flag.NO_DATA)
        if self._conserves_flux(cutout):
            ratio = np.float32((scale / cutout.pixel_scale.to_value(u.arcsec)) ** 2)
            data = data * ratio
            variance = None if variance is None else variance * ratio**2
        flags = cutout.flags
        if self.size is not None and mask.any():
            flags |= Flag.EDGE
        meta = {key: value for key, value in cutout.meta.items() if key not in ("psf", "sky")}
        return cutout.replace(
            data=data, mask=mask, variance=variance, wcs=wcs, flags=flags, meta=meta
        )

    def _conserves_flux(self, cutout):
        return is_flux(cutout.unit) if self.conserve == "auto" else self.conserve == "flux"

    def _scale(self, cutout):
        """New pixel scale in arcsec, or None when the redshift is not known."""
        if self.pixel_scale is not None:
            return self.pixel_scale
        redshift = cutout.meta.get("redshift")
        if redshift is None or not redshift > 0:
            return None
        from astropy.cosmology import Planck18

        return self.kpc_per_pixel * Planck18.arcsec_per_kpc_proper(redshift).to_value("arcsec/kpc")

    def _target(self, cutout, scale):
        """A tangential WCS with north up, and the shape of the result."""
        _, ny, nx = cutout.shape
        ra, dec = (float(a) for a in pixel_to_icrs(cutout.wcs, (nx - 1) / 2, (ny - 1) / 2))
        matrix = np.diag([-scale / 3600, scale / 3600])
        if self.size is not None:
            check_shape((self.size, self.size), len(cutout.bands), "aligned,")
            position = cutout.meta.get("position")
            if position is not None:
                ra, dec = position_degrees(position)
            middle = (self.size - 1) / 2
            return tangent_wcs(ra, dec, matrix, middle, middle), (self.size, self.size)
        wcs = tangent_wcs(ra, dec, matrix, 0, 0)
        corners = pixel_to_icrs(
            cutout.wcs, [-0.5, nx - 0.5, -0.5, nx - 0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5]
        )
        half = np.ceil(np.max(np.abs(icrs_to_pixel(wcs, *corners)), axis=1) + 0.5)
        shape = 2 * half[::-1] + 1
        check_shape(shape, len(cutout.bands), f"at {scale:g} arcsec a pixel")
        shape = tuple(shape.astype(int).tolist())
        return tangent_wcs(ra, dec, matrix, *half), shape

    def _reproject(self, cutout, wcs, shape, scale):
        """Pixels, mask and variance on the new grid, surface brightness being conserved."""
        if self.method == "average":
            return average_onto(cutout.data, cutout.mask, cutout.variance, cutout.wcs, wcs, shape)
        # Masked pixels have no weight, instead of spreading over the kernel of every neighbour.
        planes = [np.where(cutout.mask, 0, cutout.data)]
        if cutout.mask.any():
            planes.append((~cutout.mask).astype(np.float32))
        if cutout.variance is not None:
            planes.append(np.where(cutout.mask, 0, cutout.variance))
        planes, footprint = self._call_reproject(np.concatenate(planes), cutout.wcs, wcs, shape)
        n = len(cutout.bands)
        share = planes[n : 2 * n] if cutout.mask.any() else np.ones((n, *shape))
        mask = ~(footprint[:n] >= 0.5) | ~(share >= 0.5)
        share = np.where(mask, 1, share)
        data, variance = np.where(mask, np.nan, planes[:n] / share), None
        if cutout.variance is not None:
            ratio = (scale / cutout.pixel_scale.to_value(u.arcsec)) ** 2
            averaged = 1.0 if self.method == "interp" else max(ratio, 1.0)
            variance = planes[-n:] / share / averaged
        return data, mask, variance

    def _call_reproject(self, planes, wcs_in, wcs_out, shape):
        """Pixels and footprint."""
        import reproject

        function = getattr(reproject, f"reproject_{self.method}")
        if self.method == "exact":
            pairs = [function((p, wcs_in), wcs_out, shape_out=shape) for p in planes]
            return np.array([p for p, _ in pairs]), np.array([f for _, f in pairs])
        options = {"order": "bilinear"}
        if self.method == "adaptive":
            # A border pixel counts while half of its kernel is on the image.
            options = {"kernel": "gaussian", "boundary_mode": "ignore_threshold"}
        return function((planes, wcs_in), wcs_out, shape_out=(len(planes), *shape), **options)


@lru_cache
def is_flux(unit):
    """Whether pixels of a unit hold a flux, and not a flux per solid angle such as MJy / sr.

    Parameters
    ----------
    unit : `~astropy.units.Unit` or None
        The unit; None for fluxes.

    Returns
    -------
    bool
    """
    power = 0.0
    for base, p in zip(getattr(unit, "bases", ()), getattr(unit, "powers", ()), strict=True):
        if base.is_equivalent(u.sr):
            power += p
        elif base.is_equivalent(u.rad):
            power += p / 2
    return power > -1
