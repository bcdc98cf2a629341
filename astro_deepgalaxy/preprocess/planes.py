"""Windows of large FITS images, read without the rest of the file."""

import atexit
import os
import threading
import warnings
from functools import cached_property

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..celestial import local_frame
from ..config import conf
from ..flags import CutoutError
from ..io import read_cutout
from ..io.files import is_packed, open_unpacked
from ..io.fits import DTYPES, choose_hdu, image_unit, physical_values, split_extension
from ..io.hdus import list_hdus
from ..io.header_wcs import celestial_wcs
from ..io.saturation import saturation_level

__all__ = ["Plane", "open_plane"]

_OPEN_FILES = 64


class Plane:
    """An image of two axes in a FITS file that stays on disk.

    Windows of plain files are read as such, and tile-compressed ones tile by tile. A file that
    is packed with gzip or bzip2 is unpacked into memory. Use `open_plane`.

    Parameters
    ----------
    name : str
        File, with ``[EXT]`` for an extension; by default the first image of two axes.

    Attributes
    ----------
    shape : tuple of int
        (y, x).
    wcs : `~astropy.wcs.WCS` or None
        Celestial WCS.
    pixel_scale : float
        Arcseconds a pixel at the middle; NaN without a WCS.
    unit : `~astropy.units.Unit` or None
        Unit of the pixels.
    saturation : float or None
        Saturation level from the header, in that unit.

    Raises
    ------
    CutoutError
        If there is no such image.
    """

    def __init__(self, name):
        self.name = str(name)
        path, extension = split_extension(name)
        if not path.is_file():
            raise CutoutError(f"{path}: no such file")
        self._path, self._identity = path, _identity(path)
        self._file = self._packed = self._hdus = None
        try:
            if is_packed(path):
                self._packed = read_cutout(name)
                self._describe(self._packed.data.shape[1:], self._packed.wcs, self._packed.unit)
                with open_unpacked(path, 4 * conf.max_image_pixels) as stream:
                    hdu = choose_hdu(list_hdus(stream, path), extension, self.name)
                    self.saturation = saturation_level(hdu.header)
                if len(self._packed.data) > 1:
                    raise CutoutError(f"{self.name}: is a cube, not an image of two axes")
                return
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (until closed)
            hdu = self._hdu = choose_hdu(list_hdus(self._file, path), extension, self.name)
            if len(hdu.shape) != 2:
                raise CutoutError(f"{self.name}: is a cube, not an image of two axes")
            if hdu.tiled:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", AstropyWarning)
                    self._hdus = fits.open(path, memmap=False, lazy_load_hdus=True)
                    self._section = self._hdus[hdu.number].section
            elif os.fstat(self._file.fileno()).st_size < hdu.data + hdu.size:
                raise CutoutError(f"{self.name}: truncated: the file ends before its pixels do")
            wcs, _ = celestial_wcs(hdu.header, hdu.shape)
            self._describe(hdu.shape, wcs, image_unit(str(hdu.header.get("BUNIT", ""))))
            self.saturation = saturation_level(hdu.header)
        except CutoutError:
            self.close()
            raise
        except Exception as error:
            self.close()
            # A damaged file raises errors of many kinds.
            text = f"{self.name}: cannot be read as a FITS image: {error}"
            raise CutoutError(" ".join(text.split())) from error

    def _describe(self, shape, wcs, unit):
        self.shape, self.wcs, self.unit = shape, wcs, unit
        self.pixel_scale = np.nan
        if wcs is not None:
            matrix = local_frame(wcs, (shape[1] - 1) / 2, (shape[0] - 1) / 2)[2]
            self.pixel_scale = 3600 * np.sqrt(abs(np.linalg.det(matrix)))

    def read(self, rows, columns):
        """Read a window.

        Parameters
        ----------
        rows, columns : slice
            Range of pixels inside the image.

        Returns
        -------
        numpy.ndarray
            Pixels (y, x) of float32; NaN where there is none.

        Raises
        ------
        CutoutError
            If the file cannot be read there.
        """
        if self._packed is not None:
            return self._packed.data[0, rows, columns]
        try:
            if self._hdus is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", AstropyWarning)
                    return np.asarray(self._section[rows, columns], dtype=np.float32)
            stored = self._stored(rows, columns)
            return np.asarray(physical_values(stored, self._hdu), dtype=np.float32)
        except Exception as error:
            text = f"{self.name}: cannot be read, it may be truncated: {error}"
            raise CutoutError(" ".join(text.split())) from error

    def _stored(self, rows, columns):
        """The pixels of a window as they stand in the file."""
        dtype = np.dtype(DTYPES[self._hdu.bitpix])
        n, width = rows.stop - rows.start, columns.stop - columns.start
        step = self.shape[1] * dtype.itemsize
        start = self._hdu.data + rows.start * step + columns.start * dtype.itemsize
        descriptor = self._file.fileno()
        if width == self.shape[1]:
            raw = os.pread(descriptor, step * n, start)
        else:
            # A memory map would count every page it ever touched as memory of the process.
            size = width * dtype.itemsize
            raw = b"".join(os.pread(descriptor, size, start + i * step) for i in range(n))
        return np.frombuffer(raw, dtype).reshape(n, width)

    @cached_property
    def psf(self):
        """The image as a point-spread function whose sum is one, (y, x)."""
        psf = self.read(slice(0, self.shape[0]), slice(0, self.shape[1]))
        if not np.isfinite(psf).all() or not psf.sum() > 0:
            raise CutoutError(f"{self.name}: is not the image of a point-spread function")
        return psf / psf.sum()

    @property
    def is_stale(self):
        """Whether the file is gone, or another stands in its place."""
        try:
            return _identity(self._path) != self._identity
        except OSError:
            return True

    def close(self):
        """Close the file."""
        for opened in (self._hdus, self._file):
            if opened is not None:
                opened.close()


def _identity(path):
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns, status.st_size


class _Opened(threading.local):
    """The planes that are open in this thread; the ones used longest ago are closed."""

    def __init__(self):
        self.planes = {}

    def __del__(self):
        self.forget()

    def forget(self):
        """Close all."""
        while self.planes:
            self.planes.popitem()[1].close()

    def __call__(self, name):
        plane = self.planes.pop(name, None)
        if plane is not None and plane.is_stale:
            plane.close()
            plane = None
        if plane is None:
            while len(self.planes) >= _OPEN_FILES:
                self.planes.pop(next(iter(self.planes))).close()
            plane = Plane(name)
        self.planes[name] = plane
        return plane


open_plane = _Opened()
"""Open a `Plane` by its name, or give the one that this thread has open already."""
atexit.register(open_plane.forget)
