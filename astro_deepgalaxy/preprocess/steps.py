"""What a step of a recipe is, and what several of them need to know of the sky."""

import warnings
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from scipy import ndimage

__all__ = ["Step", "detect", "sky"]


@dataclass(frozen=True)
class Step:
    """Base of the steps: frozen data, and a call that maps a Cutout to a new Cutout.

    A step keeps the mask, the variance, the WCS and the flags right. It raises
    `~astro_deepgalaxy.flags.CutoutError` when it cannot work on an image.
    """

    name: ClassVar[str] = ""

    def __call__(self, cutout):
        """Apply the step.

        Parameters
        ----------
        cutout : Cutout
            Image; not changed.

        Returns
        -------
        Cutout
        """
        raise NotImplementedError

    def to_dict(self):
        """The step as JSON data, ``{"step": name, ...fields}``."""
        return {"step": self.name, **asdict(self)}


def sky(pixels):
    """Level and noise of the sky among pixels of which some belong to sources.

    The level is the sigma-clipped median. The noise is taken from the pixels below it, where
    there are no sources.

    Parameters
    ----------
    pixels : numpy.ndarray
        Finite values.

    Returns
    -------
    level, noise : float
        The noise is a standard deviation.
    """
    # Some ten thousand pixels tell as much as all of them.
    kept = pixels[:: max(1, len(pixels) // 20_000)]
    for _ in range(5):
        level = np.median(kept)
        noise = 1.4826 * np.median(level - kept[kept <= level])
        inside = kept[np.abs(kept - level) <= 3 * noise]
        if len(inside) in (0, len(kept)):
            break
        kept = inside
    return float(level), float(noise)


def detect(plane, mask, nsigma=2.0, smoothing=1.5, n_pixels=12):
    """Label the sources of an image.

    Parameters
    ----------
    plane : numpy.ndarray
        Pixels (y, x).
    mask : numpy.ndarray of bool
        Pixels not to use.
    nsigma : float
        Threshold above the sky in units of the noise of the smoothed image.
    smoothing : float
        Standard deviation, in pixels, of the Gaussian the image is smoothed with.
    n_pixels : int
        Smallest source.

    Returns
    -------
    numpy.ndarray of int
        Label of each pixel, 0 for sky.
    """
    from photutils.segmentation import detect_sources

    good = ~mask
    if not good.any():
        return np.zeros(plane.shape, dtype=int)
    level, _ = sky(plane[good])
    smooth = ndimage.gaussian_filter(np.where(mask, level, plane), smoothing, mode="nearest")
    level, noise = sky(smooth[good])
    # An image without noise, such as a picture with a black sky, still has a faintest source.
    noise = max(noise, 2e-3 * float(np.ptp(smooth[good])))
    if noise == 0:
        return np.zeros(plane.shape, dtype=int)
    from photutils.utils.exceptions import NoDetectionsWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        segments = detect_sources(smooth, level + nsigma * noise, n_pixels, mask=mask)
    return np.zeros(plane.shape, dtype=int) if segments is None else segments.data
