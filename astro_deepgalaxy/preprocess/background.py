"""Sky subtraction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

from ..flags import Flag
from .resample import resampling_matrix
from .sky import WORKING_SIZE, bin_plane, find_sources, sky_statistics
from .steps import Step

__all__ = ["Background"]

_ENOUGH_SKY = 0.15


@dataclass(frozen=True)
class Background(Step):
    """Subtract the sky, estimated on a mesh with the sources masked.

    `photutils.background.Background2D` does the estimate, after a tilted plane has been taken
    away, on an image binned to about 128 pixels a side. An image with too little sky between its
    sources, or too small for a mesh, gets one level for all of it and, in the first case, the
    flag ``background_unreliable``. Pictures are treated like the rest, so that galaxies stand on
    black in all of them. The variance is kept: the error of the sky is far below that of a pixel.

    Attributes
    ----------
    box_size : int
        Side of a box of the mesh in pixels; at most a third of the image.
    nsigma : float
        Pixels this many times the noise above the sky, and those near them, are masked.
    """

    name: ClassVar[str] = "background"

    box_size: int = 64
    nsigma: float = 2.0

    def __post_init__(self):
        if self.box_size < 8 or self.nsigma <= 0:
            raise ValueError(
                "background: box_size must be at least 8 pixels and nsigma positive; "
                f"got {self.box_size} and {self.nsigma}"
            )

    def __call__(self, cutout):
        """Subtract the sky of each band; see `Step`."""
        planes, reliable = [], True
        for plane, mask in zip(cutout.data, cutout.mask, strict=True):
            level, enough = self._level(plane, mask)
            planes.append(plane - level)
            reliable &= enough
        flags = cutout.flags if reliable else cutout.flags | Flag.BACKGROUND_UNRELIABLE
        return cutout.replace(data=np.array(planes), flags=flags)

    def _level(self, plane, mask):
        """Sky (an image or a number), and whether there was enough of it."""
        if mask.all():
            return 0.0, False
        # The sky is smooth: it is measured on binned pixels, which is many times faster.
        factor = max(1, round(max(plane.shape) / WORKING_SIZE))
        small, valid = bin_plane(plane, ~mask, factor)
        if not valid.any():
            return sky_statistics(plane[~mask])[0], False
        tilt = _tilted_plane(small, valid)
        flat = small - tilt
        sources = find_sources(flat, valid, self.nsigma) > 0
        # The wings of a galaxy reach further than what is detected of it.
        sources = ndimage.binary_dilation(sources, iterations=max(2, min(flat.shape) // 32))
        free = valid & ~sources
        if free.mean() < _ENOUGH_SKY:
            return sky_statistics(small[valid])[0], False
        mesh = _mesh(flat, ~free, self.box_size / factor)
        if mesh is None:
            return sky_statistics(small[free])[0], True
        return _enlarge(tilt + mesh, factor, plane.shape), True


def _tilted_plane(image, valid):
    """The plane through the sky, so that a gradient is not taken for a source.

    Least squares, clipped at three times the noise.
    """
    y, x = np.indices(image.shape, dtype=np.float32) / max(image.shape)
    terms = np.stack([np.ones_like(x), x, y])
    # Every second pixel of every second row is plenty for three numbers.
    sparse = terms[:, ::2, ::2][:, valid[::2, ::2]].astype(float)
    pixels = image[::2, ::2][valid[::2, ::2]].astype(float)
    if pixels.size < 30:
        return np.full_like(image, sky_statistics(image[valid])[0])
    use, c = np.ones(pixels.size, dtype=bool), np.zeros(3)
    for _ in range(10):
        used = sparse[:, use]
        c = np.linalg.lstsq(used @ used.T, used @ pixels[use], rcond=None)[0]
        left = pixels - c @ sparse
        level, noise = sky_statistics(left[use])
        c[0] += level
        kept = np.abs(left - level) <= 3 * noise
        if kept.sum() < 0.05 * pixels.size or (kept == use).all():
            break
        use = kept
    return np.tensordot(c, terms, axes=1).astype(np.float32)


def _mesh(flat, mask, box):
    """Background2D of a binned image, or None where it has no box with enough sky."""
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MedianBackground

    box = min(round(box), min(flat.shape) // 3)
    if box < 8:
        return None
    try:
        return Background2D(
            flat,
            box,
            mask=mask,
            filter_size=3,
            exclude_percentile=75,
            sigma_clip=SigmaClip(3, maxiters=3),
            bkg_estimator=MedianBackground(sigma_clip=None),
        ).background
    except ValueError:
        # Every box has more sources than sky.
        return None


def _enlarge(sky, factor, shape):
    """The sky of binned pixels at every pixel, interpolated linearly."""
    if factor == 1:
        return sky
    y, x = (resampling_matrix(n, n * factor)[:m] for n, m in zip(sky.shape, shape, strict=True))
    return y @ sky.astype(np.float32) @ x.T
