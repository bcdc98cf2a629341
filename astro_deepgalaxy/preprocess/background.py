"""Sky subtraction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from ..flags import CutoutError, Flag
from .mesh import measure_mesh
from .sky import WORKING_SIZE, bin_plane, find_sources, of_peak, sky_statistics
from .sources import pixel_position
from .steps import Step

__all__ = ["Background"]

_ENGINES = ("photutils", "sep")
_SCOPES = ("cutout", "mosaic")
_ENOUGH_SKY = 0.15
_CENTRAL = 0.1  # of the longer side: how far from the middle a source may be
_UNEVEN = 0.5  # of the noise: the scatter of the boxes about the smooth sky that gives a flag


@dataclass(frozen=True)
class Background(Step):
    """Subtract the sky, measured on a mesh of boxes with the sources masked.

    Sources are found in an image binned to about 128 pixels a side from which a tilted plane has
    been taken away. Then the sky is measured in boxes of all pixels that are left: the result is
    that of `photutils.background.Background2D` with the same mask, see
    `~astro_deepgalaxy.preprocess.mesh.measure_mesh`. Pictures are treated like the rest, so that
    galaxies stand on black in all of them. The variance is kept: the error of the sky is far
    below that of a pixel.

    An image with too little sky between its sources, or too small for a mesh, gets one level for
    all of it and, in the first case, the flag ``background_unreliable``. Sky that is still
    uneven sets ``background_residual``, and an image without a source near its position or
    middle ``no_central_source``.

    Attributes
    ----------
    box_size : int
        Side of a box of the mesh in pixels; at most a third of the image.
    nsigma : float
        Pixels this many times the noise above the sky, and those near them, are masked. With 0
        no source is masked, as in a plain call of Background2D.
    engine : {"photutils", "sep"}
        Whose estimate: that of photutils, or of the library ``sep`` (Barbary 2016), which must
        be installed.
    scope : {"cutout", "mosaic"}
        Where the sky is measured: in the cutout, or once for the mosaics it comes from, so that
        large galaxies do not lose their outskirts. An image of its own has no mosaic: its own
        sky is subtracted, with the flag ``cutout_background``.
    """

    name: ClassVar[str] = "background"

    box_size: int = 64
    nsigma: float = 2.0
    engine: str = "photutils"
    scope: str = "cutout"

    def __post_init__(self):
        if self.box_size < 8 or not self.nsigma >= 0:
            raise ValueError(
                "background: box_size must be at least 8 pixels and nsigma not negative; "
                f"got {self.box_size} and {self.nsigma}"
            )
        if self.engine not in _ENGINES or self.scope not in _SCOPES:
            raise ValueError(
                f"background: engine must be one of {_ENGINES} and scope one of {_SCOPES}; "
                f"got {self.engine!r} and {self.scope!r}"
            )

    def __call__(self, cutout):
        """Subtract the sky of each band; see `Step`."""
        flags = cutout.flags
        if self.scope == "mosaic":
            meta = dict(cutout.meta)
            sky = meta.pop("sky", None)
            if sky is not None:
                return cutout.replace(data=cutout.data - sky, meta=meta)
            flags |= Flag.CUTOUT_BACKGROUND
        planes = []
        for plane, mask in zip(cutout.data, cutout.mask, strict=True):
            level, found = self._level(plane, mask, cutout)
            planes.append(plane - level)
            flags |= found
        return cutout.replace(data=np.array(planes), flags=flags)

    def _level(self, plane, mask, cutout):
        """Sky (an image or a number), and flags."""
        if mask.all():
            return 0.0, Flag.BACKGROUND_UNRELIABLE
        tilt, sources, flags = 0.0, None, Flag(0)
        if self.nsigma > 0:
            tilt, sources, flags = self._sources(plane, mask, cutout)
            if sources is None:
                return sky_statistics(plane[~mask])[0], flags
            mask = mask | sources
        box = min(self.box_size, min(plane.shape) // 3)
        if box < 8:
            return sky_statistics(plane[~mask])[0], flags
        if self.engine == "sep":
            return _sep(plane - tilt, mask, box) + tilt, flags
        mesh = measure_mesh(plane - tilt, mask, box)
        if mesh is None:
            # Every box has more sources than sky.
            return sky_statistics(plane[~mask])[0], flags
        if mesh.residual > _UNEVEN:
            flags |= Flag.BACKGROUND_RESIDUAL
        return mesh.image() + tilt, flags

    def _sources(self, plane, mask, cutout):
        """A tilted plane of sky, where the sources are (None: nearly everywhere), and flags."""
        # The sources are found in binned pixels, which is many times faster.
        factor = max(1, round(max(plane.shape) / WORKING_SIZE))
        small, valid = bin_plane(plane, ~mask, factor)
        if not valid.any():
            return 0.0, None, Flag.BACKGROUND_UNRELIABLE
        terms, noise = _tilted_plane(small, valid)
        level = terms[0]
        tilt = _plane(terms, small.shape)
        flat = small - tilt
        sources = find_sources(flat, valid, self.nsigma, of_peak(flat, valid)) > 0
        flags = Flag(0) if _is_central(sources, cutout, factor) else Flag.NO_CENTRAL_SOURCE
        # The wings of a galaxy reach further than what is detected of it.
        sources = ndimage.binary_dilation(sources, iterations=max(2, min(small.shape) // 32))
        if (valid & ~sources).mean() < _ENOUGH_SKY:
            return 0.0, None, flags | Flag.BACKGROUND_UNRELIABLE
        large = sources.repeat(factor, axis=0).repeat(factor, axis=1)
        large = large[: plane.shape[0], : plane.shape[1]]
        # The spline through the boxes is flat at the border: a slope is taken out before.
        slope = np.ptp(tilt) > noise
        return _plane(terms, plane.shape, factor) if slope else level, large, flags


def _tilted_plane(image, valid):
    """The plane through the sky, so that a gradient is not taken for a source.

    Least squares, clipped at three times the noise. Level, slopes along x and y over the longer
    side, and the noise.
    """
    # Every third pixel of every third row is plenty for three numbers.
    y, x = (a[::3, ::3] / max(image.shape) for a in np.indices(image.shape, dtype=np.float32))
    use = valid[::3, ::3]
    pixels = image[::3, ::3][use].astype(float)
    if pixels.size < 30:
        level, noise = sky_statistics(image[valid])
        return (level, 0.0, 0.0), noise
    terms = np.stack([np.ones(pixels.size), x[use], y[use]])
    use, c = np.ones(pixels.size, dtype=bool), np.zeros(3)
    for _ in range(10):
        used = terms[:, use]
        c = np.linalg.lstsq(used @ used.T, used @ pixels[use], rcond=None)[0]
        left = pixels - c @ terms
        level, noise = sky_statistics(left[use])
        c[0] += level
        kept = np.abs(left - level) <= 3 * noise
        if kept.sum() < 0.05 * pixels.size or (kept == use).all():
            break
        use = kept
    return tuple(c), noise


def _plane(terms, shape, factor=1):
    """The plane at the pixels of an image that is `factor` times finer."""
    longest = -(-max(shape) // factor)
    y, x = (((np.arange(n) + 0.5) / factor - 0.5) / longest for n in shape)
    level, along_x, along_y = (np.float32(c) for c in terms)
    return level + along_x * x.astype(np.float32) + along_y * y.astype(np.float32)[:, np.newaxis]


def _is_central(sources, cutout, factor):
    """Whether a source is near the position, or the middle."""
    middle = tuple((n - 1) / 2 for n in cutout.shape[1:])
    y, x = ((c + 0.5) / factor - 0.5 for c in pixel_position(cutout) or middle)
    reach = max(3.0, _CENTRAL * max(sources.shape))
    rows, columns = (slice(max(0, round(c - reach)), max(0, round(c + reach) + 1)) for c in (y, x))
    return bool(sources[rows, columns].any())


def _sep(plane, mask, box):
    """The sky as the library sep finds it."""
    try:
        import sep
    except ImportError as error:
        raise CutoutError(
            "the engine 'sep' needs the library sep; try: pip install sep",
            Flag.PREPROCESS_FAILED,
        ) from error
    plane = np.ascontiguousarray(np.where(mask, 0, plane), dtype=np.float32)
    return sep.Background(plane, mask=mask, bw=box, bh=box, fw=3, fh=3).back()
