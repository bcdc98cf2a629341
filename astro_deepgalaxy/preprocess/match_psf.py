"""All bands as sharp as one another."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma, gaussian_sigma_to_fwhm
from scipy import ndimage
from scipy.fft import fft2, fftshift
from scipy.signal import fftconvolve

from ..flags import CutoutError, Flag
from .steps import Step

__all__ = ["MatchPSF"]

_FLOOR = 1e-4  # of the largest amplitude: frequencies that the own PSF does not pass
_LEAST_SHARE = 0.2  # of the kernel on valid pixels


@dataclass(frozen=True)
class MatchPSF(Step):
    """Convolve each band so that its point-spread function (PSF) becomes a given Gaussian.

    The own PSF of a band is its image in the cutout's ``meta["psf"]``, on the pixels of the
    cutout, or else a Gaussian of `from_fwhm`. The kernel is the ratio of the Fourier transforms
    of the two (`photutils.psf_matching`), without the frequencies that the own PSF does not pass.
    Sources keep their flux and place. ``meta["psf"]`` then holds the Gaussian. Steps that resample
    the pixels, such as ``align`` and ``resize``, drop the images of the PSF: put this step first.

    Attributes
    ----------
    fwhm : float
        Full width at half maximum of the Gaussian in arcsec; at least a pixel.
    from_fwhm : float, dict of str to float, or None
        Width of the own PSF in arcsec, for all bands or by their names, where there is no image
        of it.

    Raises
    ------
    CutoutError
        If the image has no WCS, which gives the size of its pixels; if the PSF of a band is not
        known; if the Gaussian is narrower than a pixel, or needs more than twice the image; or if
        the PSF is wider than the Gaussian. The widths are compared by the area over which each
        spreads the noise of a star, 1 / sum(PSF^2) (King 1983).

    Notes
    -----
    Masked pixels have no weight and stay masked; a pixel is also masked where less than a fifth
    of the kernel lies on valid ones. The variance is convolved with the square of the kernel; the
    covariance between neighbours is ignored. Where the kernel reaches a variance that is not
    finite, it is infinite.
    """

    name: ClassVar[str] = "match_psf"

    fwhm: float
    from_fwhm: dict[str, float] | float | None = None

    def __post_init__(self):
        own = self.from_fwhm
        widths = list(own.values()) if isinstance(own, dict) else [] if own is None else [own]
        for width in (self.fwhm, *widths):
            if not 0 < width < float("inf"):
                raise ValueError(f"match_psf: a width must be positive arcsec; got {width}")

    def __call__(self, cutout):
        """Convolve each band; see `Step`."""
        scale = np.nan if cutout.wcs is None else cutout.pixel_scale.to_value("arcsec")
        if not scale > 0:
            raise CutoutError(
                f"a PSF of {self.fwhm:g} arcsec needs a WCS, for the size of the pixels",
                Flag.PREPROCESS_FAILED,
            )
        if not self.fwhm >= scale:
            raise CutoutError(
                f"a PSF of {self.fwhm:g} arcsec is narrower than the pixels of {scale:.3g}; choose "
                "a larger fwhm",
                Flag.PREPROCESS_FAILED,
            )
        data, mask, psf = cutout.data.copy(), cutout.mask.copy(), []
        variance = None if cutout.variance is None else cutout.variance.copy()
        for i, band in enumerate(cutout.bands):
            kernel, target = self._kernel(self._own(cutout, i, scale), scale, cutout, band)
            psf.append(target)
            valid = ~cutout.mask[i]
            share = fftconvolve(valid.astype(float), kernel, mode="same")
            mask[i] |= share < _LEAST_SHARE
            share = np.where(mask[i], 1, share)
            # The sums of a transform may be beyond float32.
            plane = np.where(valid, data[i], 0).astype(float)
            plane = fftconvolve(plane, kernel, mode="same") / share
            with np.errstate(over="ignore"):  # what float32 cannot hold is masked
                data[i] = np.where(mask[i], np.nan, plane)
            if variance is not None:
                variance[i] = _convolved_variance(variance[i], valid, kernel, share)
        return cutout.replace(
            data=data, mask=mask, variance=variance, meta=cutout.meta | {"psf": psf}
        )

    def _own(self, cutout, i, scale):
        """PSF of a band: an image (y, x), or the sigma of a Gaussian in pixels."""
        images = cutout.meta.get("psf")
        if images is not None:
            if len(images) != len(cutout.bands):
                raise CutoutError(
                    f"the image has {len(cutout.bands)} bands but {len(images)} PSFs; "
                    "put 'match_psf' before the bands are chosen",
                    Flag.PREPROCESS_FAILED,
                )
            if images[i] is not None:
                return np.asarray(images[i], dtype=float)
        band, own = cutout.bands[i], self.from_fwhm
        width = own.get(band) if isinstance(own, dict) else own
        if width is None:
            raise CutoutError(
                f"the PSF of the band {band!r} is not known: give its image in meta['psf'], or "
                "its width in from_fwhm",
                Flag.PREPROCESS_FAILED,
            )
        return width * gaussian_fwhm_to_sigma / scale

    def _kernel(self, own, scale, cutout, band):
        """The matching kernel, and the PSF that results, on the same odd square."""
        sigma = self.fwhm * gaussian_fwhm_to_sigma / scale
        reach = 5 * max(sigma, own if np.ndim(own) == 0 else 0)
        # One that a wrong scale makes wide must not fill the memory.
        if not reach <= max(cutout.shape[1:]):
            raise CutoutError(
                f"a PSF that reaches {reach:.4g} pixels needs more than twice the image; choose a "
                "smaller fwhm, or check the WCS",
                Flag.PREPROCESS_FAILED,
            )
        width = 2 * int(np.ceil(reach)) + 1
        side = max(width, *np.shape(own)) if np.ndim(own) else width
        side += 1 - side % 2
        own = _gaussian(side, own) if np.ndim(own) == 0 else _centred(own, side, band)
        y, x = np.indices(own.shape)
        # Wherever the PSF stands in its image, sources must not move.
        target = _gaussian(side, sigma, ((own * y).sum(), (own * x).sum()))
        if (target**2).sum() > 1.001 * (own**2).sum():
            alike = gaussian_sigma_to_fwhm * scale / np.sqrt(4 * np.pi * (own**2).sum())
            raise CutoutError(
                f"the PSF of the band {band!r} is as wide as a Gaussian of {alike:.3g} arcsec, "
                f"and cannot be made as sharp as {self.fwhm:g}; choose a larger fwhm",
                Flag.PREPROCESS_FAILED,
            )
        return _matching_kernel(own, target), target


def _convolved_variance(variance, valid, kernel, share):
    known = np.isfinite(variance)
    plane = np.where(valid & known, variance, 0).astype(float)
    spread = fftconvolve(plane, kernel**2, mode="same")
    with np.errstate(over="ignore"):
        new = (np.clip(spread, 0, None) / share**2).astype(variance.dtype)
    unknown = valid & ~known
    if unknown.any():
        # Through the Fourier transform one of them would spoil all.
        new[ndimage.maximum_filter(unknown, kernel.shape, mode="constant")] = np.inf
    return new


def _matching_kernel(own, target):
    try:
        from photutils.psf_matching import make_kernel
    except ImportError:
        # photutils before 3.0
        from photutils.psf.matching import create_matching_kernel as make_kernel
    amplitude = np.abs(fft2(own))
    passed = fftshift(amplitude > _FLOOR * amplitude.max()).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return make_kernel(own, target, window=lambda shape: passed)


def _gaussian(side, sigma, centre=None):
    """A Gaussian of unit sum on a square."""
    y0, x0 = ((side - 1) / 2,) * 2 if centre is None else centre
    y, x = np.indices((side, side))
    image = np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * sigma**2))
    return image / image.sum()


def _centred(image, side, band):
    """The image of a PSF with unit sum in the middle of a square."""
    if image.ndim != 2 or not np.isfinite(image).all() or not image.sum() > 0:
        raise CutoutError(
            f"the PSF of the band {band!r} must be a finite image (y, x) with a positive sum",
            Flag.PREPROCESS_FAILED,
        )
    before = [(side - n) // 2 for n in image.shape]
    pad = [(b, side - n - b) for b, n in zip(before, image.shape, strict=True)]
    return np.pad(image / image.sum(), pad)
