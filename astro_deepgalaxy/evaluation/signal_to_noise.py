"""How far the galaxies of a store stand out from the noise of their sky."""

import numpy as np

from ..flags import Flag

__all__ = ["signal_to_noise"]

_BLOCK = 256
_HALF_NORMAL_MEDIAN = 0.6745


def signal_to_noise(store, rows):
    """Signal-to-noise ratio of a pixel at the top of each image.

    Parameters
    ----------
    store : CutoutStore
        The images.
    rows : array_like of int
        Rows of the store.

    Returns
    -------
    numpy.ndarray
        The ratio for each of the rows, (row,); infinite for an image without noise and NaN for
        one without pixels.

    Notes
    -----
    The top is what the stretch made one, the percentile 99.7 of the pixels by default. The noise
    is measured along the four borders, an eighth of the sides wide, as the median of the pixels
    above zero over 0.6745: it is the median of the absolute deviation from a sky of zero, of which
    the stretch cut the lower half off. The second lowest of the borders counts, so that neither a
    neighbour nor an empty border does. The arcsinh of a store's recipe is undone for this; images
    of a store that tells none, and pictures, are taken as they are. Several channels are averaged
    first. The arcsinh turns over with the noise, which hides most of it: expect the ratio to be
    right within some 20 %.
    """
    rows = np.asarray(rows, dtype=int)
    softening = _softening(store)
    linear = np.asarray(store.table["flags"])[rows] & int(Flag.PICTURE) != 0
    ny, nx = (max(1, n // 8) for n in store.image_shape[:2])
    noise, top = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        images = store.load(rows[part]).mean(axis=-1, dtype=float)
        borders = images[:, :ny], images[:, -ny:], images[:, :, :nx], images[:, :, -nx:]
        levels = np.array([[_above_zero(pixels) for pixels in border] for border in borders])
        noise[part] = np.sort(levels, axis=0)[1]
        top[part] = np.percentile(images, 99.7, axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = top * _HALF_NORMAL_MEDIAN / noise
        if softening is None:
            return plain
        return np.where(linear, plain, 1 / _unstretched(noise, softening))


def _above_zero(pixels):
    bright = pixels[pixels > 0]
    return np.median(bright) if len(bright) else 0.0


def _softening(store):
    """Softening of the arcsinh of a store's recipe; None if there is none."""
    recipe = store.attributes.get("recipe") or {}
    for step in recipe.get("steps", []):
        if step.get("step") == "stretch":
            return step["softening"]
    return None


def _unstretched(level, softening):
    """Noise over the top, from the stretched median of the noise above zero."""
    noise = np.geomspace(1e-6, 3, 2000)
    # As in the stretch: the arcsinh turns over at twice the noise if that is more.
    turn = np.clip(2 * noise, softening, 1)
    levels = np.arcsinh(_HALF_NORMAL_MEDIAN * noise / turn) / np.arcsinh(1 / turn)
    return np.interp(level, levels, noise, left=0.0)
