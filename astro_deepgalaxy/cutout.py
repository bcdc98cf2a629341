"""The image that every stage hands to the next."""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import NDData, VarianceUncertainty

from .celestial import local_frame
from .flags import Flag

__all__ = ["Cutout"]


class Cutout(NDData):
    """A small image of the sky in one or more bands.

    Parameters
    ----------
    data : array_like
        Pixels, (y, x) or (band, y, x); kept as (band, y, x) float32.
    id : str
        Name of the image, unique in its batch.
    file : str
        Where the image came from (empty for an array).
    bands : sequence of str, optional
        A name per band; ``("",)`` for a single band without a name.
    mask : array_like of bool, optional
        True where a pixel must not be used; (y, x) or (band, y, x). Pixels that are not finite
        are always masked.
    variance : array_like, optional
        Variance of each pixel, (y, x) or (band, y, x), in the square of `unit`.
        The covariance that resampling creates between pixels is ignored.
    wcs : `~astropy.wcs.WCS`, optional
        Two-dimensional celestial WCS, shared by all bands.
    unit : unit-like, optional
        Unit of the pixels.
    flags : Flag, optional
        Quality flags so far; every step keeps them.
    meta : dict, optional
        Whatever else is known. Preprocessing steps use the keys ``position`` (to cut around: a
        `~astropy.coordinates.SkyCoord`, or ICRS degrees (ra, dec)), ``redshift``, ``psf`` (a list
        with an image (y, x) of the point-spread function for each band, on the pixels of the
        cutout) and ``sky`` (background of the mosaic, (band, y, x)). A step that resamples the
        pixels drops the last two.

    Raises
    ------
    ValueError
        If the shapes of data, mask, variance or bands disagree, or the WCS is not celestial.
    """

    def __init__(
        self,
        data,
        *,
        id="",
        file="",
        bands=None,
        mask=None,
        variance=None,
        wcs=None,
        unit=None,
        flags=0,
        meta=None,
    ):
        data = np.asarray(data, dtype=np.float32)
        if data.ndim == 2:
            data = data[np.newaxis]
        if data.ndim != 3 or 0 in data.shape:
            raise ValueError(
                f"cutout {id!r}: pixels must be (y, x) or (band, y, x) and not empty; "
                f"got the shape {data.shape}"
            )
        bands = tuple(bands) if bands is not None else _default_bands(len(data))
        if len(bands) != len(data):
            raise ValueError(f"cutout {id!r}: {len(data)} bands of pixels but {len(bands)} names")
        if wcs is not None and not (wcs.naxis == 2 and wcs.has_celestial):
            raise ValueError(f"cutout {id!r}: the WCS must be two-dimensional and celestial")
        mask = _as_planes(mask, data.shape, bool, f"cutout {id!r}: mask") | ~np.isfinite(data)
        if variance is not None:
            variance = VarianceUncertainty(
                _as_planes(variance, data.shape, np.float32, f"cutout {id!r}: variance")
            )
        super().__init__(data, mask=mask, uncertainty=variance, wcs=wcs, unit=unit, meta=meta)
        self.id = str(id)
        self.file = str(file)
        self.bands = bands
        self.flags = Flag(int(flags))

    @property
    def shape(self):
        """Shape of the pixels, (band, y, x)."""
        return self.data.shape

    @property
    def variance(self):
        """Variance of the pixels as an array (band, y, x), or None."""
        return None if self.uncertainty is None else self.uncertainty.array

    @property
    def pixel_scale(self):
        """Root of the solid angle of a pixel in the middle (arcsec), or None without a WCS."""
        if self.wcs is None:
            return None
        _, ny, nx = self.shape
        matrix = local_frame(self.wcs, (nx - 1) / 2, (ny - 1) / 2)[2]
        return float(np.sqrt(abs(np.linalg.det(matrix)))) * 3600 * u.arcsec

    @property
    def centre(self):
        """Sky position of the middle of the image (SkyCoord), or None without a WCS."""
        if self.wcs is None:
            return None
        _, ny, nx = self.shape
        return self.wcs.pixel_to_world((nx - 1) / 2, (ny - 1) / 2)

    @property
    def position(self):
        """Position to cut around (SkyCoord), or None if none was given."""
        position = self.meta.get("position")
        return SkyCoord(*position, unit="deg") if isinstance(position, tuple) else position

    def replace(self, **changes):
        """Copy of the cutout with some of the constructor's arguments changed.

        Parameters
        ----------
        **changes
            Any argument of the constructor. What is not named is shared with this cutout.

        Returns
        -------
        Cutout
        """
        kept = {
            "data": self.data,
            "id": self.id,
            "file": self.file,
            "bands": self.bands,
            "mask": self.mask,
            "variance": self.variance,
            "wcs": self.wcs,
            "unit": self.unit,
            "flags": self.flags,
            "meta": dict(self.meta),
        }
        return type(self)(**(kept | changes))

    def flagged(self, flag):
        """Copy of the cutout with a flag added.

        Parameters
        ----------
        flag : Flag
            One or more flags.

        Returns
        -------
        Cutout
        """
        return self.replace(flags=self.flags | flag)

    def __repr__(self):
        scale = self.pixel_scale
        where = "no WCS" if scale is None else f"{scale:.3f} a pixel"
        return f"<Cutout {self.id!r} {self.shape} bands={self.bands} {where} flags={self.flags!r}>"


def _default_bands(n):
    return ("",) if n == 1 else tuple(str(i) for i in range(n))


def _as_planes(plane, shape, dtype, what):
    """`plane` as an array (band, y, x): a single (y, x) plane is shared by all bands."""
    plane = np.asarray(False if plane is None else plane, dtype=dtype)
    if plane.ndim and plane.shape not in (shape, shape[1:]):
        raise ValueError(f"{what} has the shape {plane.shape}; expected {shape} or {shape[1:]}")
    return np.broadcast_to(plane, shape).copy()
