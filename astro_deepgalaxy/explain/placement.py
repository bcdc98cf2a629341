"""Where in the image the cells of a feature map look."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from scipy.ndimage import map_coordinates

__all__ = ["Placement", "feature_placement"]


@dataclass(frozen=True)
class Placement:
    """Centres of what the cells of a feature map see: ``first + step * cell`` along each axis.

    Attributes
    ----------
    first : tuple of float
        Pixel coordinates (y, x) of the centre of cell (0, 0), counted from 0.
    step : tuple of float
        Pixels (y, x) from one cell to the next.
    """

    first: tuple[float, float] = (0.0, 0.0)
    step: tuple[float, float] = (1.0, 1.0)

    def onto_image(self, cells, shape):
        """Interpolate values of the cells at the pixels of the image.

        Parameters
        ----------
        cells : array_like
            Values (y, x) of the cells.
        shape : tuple of int
            Shape (y, x) of the image.

        Returns
        -------
        numpy.ndarray
            Map (y, x), float32: linear between the centres of the cells, and beyond the outermost
            ones what these have.
        """
        at = [
            (np.arange(n) - first) / step
            for n, first, step in zip(shape, self.first, self.step, strict=True)
        ]
        grid = np.meshgrid(*at, indexing="ij")
        cells = np.asarray(cells, dtype=np.float32)
        return map_coordinates(cells, grid, order=1, mode="nearest")


def feature_placement(encoder, feature_map):
    """Where the cells of a feature map look, by the geometry of the layers before it.

    Padding need not be the same on both sides: a 3x3 convolution of stride 2 that keeps the size
    of an even image pads only its end, so that its first output is centred on pixel 1, not 0.5.
    Over five stages this adds up to half a cell. The centre is that of the receptive field, as if
    there were no border (Araujo et al. 2019, https://doi.org/10.23915/distill.00021). Where
    branches with different centres meet, it is their mean.

    Parameters
    ----------
    encoder : keras.Model
        From an image to its feature maps.
    feature_map : keras.KerasTensor
        One of its tensors (n, y, x, channel).

    Returns
    -------
    Placement
    """
    places = {id(encoder.inputs[0]): Placement()}
    for operation in encoder.operations:
        if isinstance(operation, layers.InputLayer):
            continue
        output = operation.output
        # A pooled vector that is multiplied with a map says nothing about places.
        before = [t for t in keras.tree.flatten(operation.input) if id(t) in places]
        alike = [t for t in before if _size(t) == _size(output)] or before
        if not alike or len(output.shape) != 4:
            continue
        place, size = _mean([places[id(tensor)] for tensor in alike]), _size(alike[0])
        parts = getattr(operation, "layers", [operation])
        for part in parts:
            after = part.compute_output_shape((None, *size, 1)) if len(parts) > 1 else output.shape
            place = _after(part, place, size, after[1:3])
            size = after[1:3]
        places[id(output)] = place
    return places[id(feature_map)]


def _after(layer, place, size, new_size):
    """Placement after a layer that makes a map of `new_size` of one of `size`."""
    if isinstance(layer, layers.ZeroPadding2D):
        return _moved(place, [-before for before, _ in layer.padding])
    if isinstance(layer, layers.Cropping2D):
        return _moved(place, [before for before, _ in layer.cropping])
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if kernel is None or isinstance(layer, layers.Conv2DTranspose):
        # Whatever it is, it resamples the same field.
        strides = [n / m for n, m in zip(size, new_size, strict=True)]
        return _moved(place, [(s - 1) / 2 for s in strides], strides)
    dilation = getattr(layer, "dilation_rate", (1, 1))
    shift = []
    for n, m, k, s, d in zip(size, new_size, kernel, layer.strides, dilation, strict=True):
        width = (k - 1) * d + 1
        pad = max((m - 1) * s + width - n, 0) // 2 if layer.padding == "same" else 0
        shift.append((width - 1) / 2 - pad)
    return _moved(place, shift, layer.strides)


def _moved(place, shift, strides=(1, 1)):
    first = [f + s * d for f, s, d in zip(place.first, place.step, shift, strict=True)]
    step = [s * stride for s, stride in zip(place.step, strides, strict=True)]
    return Placement(tuple(map(float, first)), tuple(map(float, step)))


def _mean(places):
    first = np.mean([place.first for place in places], axis=0)
    return Placement(tuple(first.tolist()), places[0].step)


def _size(tensor):
    return tuple(tensor.shape[1:3]) if len(tensor.shape) == 4 else None
