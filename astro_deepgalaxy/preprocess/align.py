"""Reprojection to a common scale and orientation."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy import units as u
from astropy.wcs import WCS

from ..flags import CutoutError, Flag
from .steps import Step

__all__ = ["Align"]

_METHODS = ("interp", "adaptive", "exact")
_CONSERVED = ("flux", "brightness")
_LARGEST = 8192


@dataclass(frozen=True)
class Align(Step):
    """Reproject an image north up, east left, to a given pixel scale.

    Without a WCS an image keeps its pixels, with the flag ``no_wcs``; without a redshift where
    one is needed, likewise with ``no_redshift``.

    Attributes
    ----------
    pixel_scale : float or None
        Arcseconds a pixel.
    kpc_per_pixel : float or None
        Or kiloparsecs a pixel, at the cutout's ``meta["redshift"]`` (Planck 2018 cosmology).
    method : {"interp", "adaptive", "exact"}
        Function of `reproject`: bilinear interpolation, anti-aliased (DeForest 2004), or exact
        overlap of spherical polygons.
    conserve : {"flux", "brightness"}
        ``flux`` for pixels that hold a flux or counts, ``brightness`` for a flux per solid angle.

    Notes
    -----
    The variance is reprojected as the pixels are. That of an average is then divided by the
    number of old pixels in a new one, which stands for the squared weights; ``interp`` does not
    average, and gives an upper limit. The covariance that resampling makes between neighbours is
    ignored.
    """

    name: ClassVar[str] = "align"

    pixel_scale: float | None = None
    kpc_per_pixel: float | None = None
    method: str = "interp"
    conserve: str = "flux"

    def __post_init__(self):
        if (self.pixel_scale is None) == (self.kpc_per_pixel is None):
            raise ValueError("align: give either pixel_scale (arcsec) or kpc_per_pixel")
        scale = self.kpc_per_pixel if self.pixel_scale is None else self.pixel_scale
        if not 0 < scale < float("inf"):
            raise ValueError(f"align: the scale must be positive; got {scale}")
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
        wcs, shape = _target(cutout, scale)
        ratio = (scale / cutout.pixel_scale.to_value(u.arcsec)) ** 2
        # Masked pixels have no weight, instead of spreading over the kernel of every neighbour.
        valid = (~cutout.mask).astype(np.float32)
        planes = [np.where(cutout.mask, 0, cutout.data)]
        if cutout.mask.any():
            planes.append(valid)
        if cutout.variance is not None:
            planes.append(np.where(cutout.mask, 0, cutout.variance))
        planes, footprint = self._reproject(np.concatenate(planes), cutout.wcs, wcs, shape)
        n = len(cutout.bands)
        share = planes[n : 2 * n] if cutout.mask.any() else np.ones((n, *shape))
        mask = ~(footprint[:n] >= 0.5) | ~(share >= 0.5)
        if mask.all():
            raise CutoutError("the image has no valid pixel", Flag.NO_DATA)
        share = np.where(mask, 1, share)
        data = planes[:n] / share
        variance = None if cutout.variance is None else planes[-n:] / share
        scaled = ratio if self.conserve == "flux" else 1.0
        data = data * scaled
        if variance is not None:
            averaged = 1.0 if self.method == "interp" else max(ratio, 1.0)
            variance = variance * (scaled**2 / averaged)
        return cutout.replace(
            data=np.where(mask, np.nan, data), mask=mask, variance=variance, wcs=wcs
        )

    def _scale(self, cutout):
        """New pixel scale in arcsec, or None when the redshift is not known."""
        if self.pixel_scale is not None:
            return self.pixel_scale
        redshift = cutout.meta.get("redshift")
        if redshift is None or not redshift > 0:
            return None
        from astropy.cosmology import Planck18

        return self.kpc_per_pixel * Planck18.arcsec_per_kpc_proper(redshift).to_value("arcsec/kpc")

    def _reproject(self, planes, wcs_in, wcs_out, shape):
        """Pixels and footprint on the new grid, surface brightness being conserved."""
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


def _target(cutout, scale):
    """A tangential WCS at the middle of the image, north up, and the shape that holds it all."""
    _, ny, nx = cutout.shape
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    centre = cutout.centre.icrs
    wcs.wcs.crval = centre.ra.deg, centre.dec.deg
    wcs.wcs.cdelt = -scale / 3600, scale / 3600
    wcs.wcs.crpix = 1, 1
    corners = cutout.wcs.pixel_to_world(
        [-0.5, nx - 0.5, -0.5, nx - 0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5]
    )
    x, y = wcs.world_to_pixel(corners.icrs)
    half = np.ceil(np.max(np.abs([x, y]), axis=1) + 0.5)
    if not np.isfinite(half).all() or half.max() > _LARGEST:
        raise CutoutError(
            f"at {scale:g} arcsec a pixel the image would be larger than "
            f"{2 * _LARGEST} pixels; crop it first or choose a larger scale",
            Flag.PREPROCESS_FAILED,
        )
    wcs.wcs.crpix = half + 1
    return wcs, (int(2 * half[1] + 1), int(2 * half[0] + 1))
