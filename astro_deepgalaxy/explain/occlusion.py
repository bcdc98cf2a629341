"""How much an answer changes when a part of the image is hidden (Zeiler & Fergus 2014)."""

import numpy as np

from .answers import measured

__all__ = ["Occlusion"]

_BATCH = 64


class Occlusion:
    """Slide a patch of empty sky over an image and see what becomes of the answer.

    The sky is the median of the outermost pixels, in each channel. Each pixel gets the mean, over
    the patches that cover it, of the answer without a patch minus the answer with it: where it is
    positive, what is there raises the answer.

    Parameters
    ----------
    engine : object
        An engine, with ``predict(batch)``.
    shape : tuple of int
        Shape of the images, (y, x, channel).
    patch : int, optional
        Side of the patch in pixels; an eighth of the shorter side of the image by default.
    step : int, optional
        Pixels from one place to the next; half a patch by default.

    Raises
    ------
    ValueError
        If the patch does not fit into the image, or the step is longer than it.
    """

    def __init__(self, engine, shape, patch=None, step=None):
        side = min(shape[:2])
        patch = max(1, side // 8) if patch is None else patch
        step = max(1, patch // 2) if step is None else step
        if not 1 <= patch < side:
            raise ValueError(
                f"patch must be at least 1 pixel and less than the {side} of the image; got {patch}"
            )
        if not 1 <= step <= patch:
            raise ValueError(
                f"step must be from 1 to {patch} pixels, the side of the patch, or pixels between "
                f"would be left out; got {step}"
            )
        self.patch, self.step = patch, step
        self._engine = engine
        # Over the borders, so that the pixels there are hidden as often as the others.
        ys, xs = (_places(n, patch, step) for n in shape[:2])
        self._boxes = [(y, x) for y in ys for x in xs]

    @property
    def settings(self):
        """The settings as cards of a FITS header: {keyword: (value, meaning)}."""
        return {
            "PATCH": (self.patch, "[pix] side of the hidden part"),
            "STEP": (self.step, "[pix] from one place to the next"),
        }

    def __call__(self, images, answers):
        """Maps for images.

        Parameters
        ----------
        images : numpy.ndarray
            Images (n, y, x, channel), float32.
        answers : sequence of Answer
            What is explained of each.

        Returns
        -------
        numpy.ndarray
            Maps (n, y, x), float32, in the unit of the answer.
        """
        return np.stack([self._map(*pair) for pair in zip(images, answers, strict=True)])

    def _map(self, image, answer):
        sky = _sky(image)
        before = self._numbers(image[np.newaxis], answer)[0]
        total, count = np.zeros((2, *image.shape[:2]))
        for start in range(0, len(self._boxes), _BATCH):
            boxes = self._boxes[start : start + _BATCH]
            batch = np.repeat(image[np.newaxis], len(boxes), axis=0)
            for hidden, box in zip(batch, boxes, strict=True):
                hidden[box] = sky
            for number, box in zip(self._numbers(batch, answer), boxes, strict=True):
                total[box] += before - number
                count[box] += 1
        return (total / count).astype(np.float32)

    def _numbers(self, batch, answer):
        values = self._engine.predict(batch)[answer.output]
        return np.asarray(measured(values, answer.measure, answer.weights[np.newaxis]))


def _places(n, patch, step):
    """Slices of `n` pixels that a patch covers on its way."""
    count = -(-(n + patch) // step) - 1
    first = (n - patch - (count - 1) * step) // 2
    return [
        slice(max(start, 0), min(start + patch, n))
        for start in range(first, first + count * step, step)
        if start + patch > 0 and start < n
    ]


def _sky(image):
    border = np.ones(image.shape[:2], dtype=bool)
    border[1:-1, 1:-1] = False
    return np.median(image[border], axis=0)
