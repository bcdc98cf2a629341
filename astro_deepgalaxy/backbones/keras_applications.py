"""The networks of `keras.applications` as backbones, for any number of channels.

Each factory is an attribute of this module named as in `~astro_deepgalaxy.builtin`, such as
``efficientnet_b0``. All share one signature: ``factory(input_shape, weights=None,
batch_norm_momentum=None)``; see `build`.
"""

import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers

from ..builtin import KERAS_APPLICATIONS

__all__ = ["build"]


@dataclass(frozen=True)
class _Family:
    """What a family of `keras.applications` expects of its input.

    ImageNet weights were trained on ``(x - mean) / std`` for x in [0, 1], in the order RGB, or
    BGR; the values are those of each family's `preprocess_input`. Families that also scale inside
    (`inside`) get the inverse of that first. Some leave pixels out at the borders: `same` makes
    all their convolutions and poolings keep them, `pad` completes the first convolution.
    """

    mean: tuple = (0.5, 0.5, 0.5)
    std: tuple = (0.5, 0.5, 0.5)
    bgr: bool = False
    inside: float = 1.0
    options: dict = field(default_factory=dict)
    same: bool = False
    pad: bool = False

    @property
    def affine(self):
        """`mean` and `std` in the order of the first convolution's channels."""
        order = slice(None, None, -1 if self.bgr else 1)
        return np.array(self.mean)[order], np.array(self.std)[order]


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_CAFFE = {
    "mean": (123.68 / 255, 116.779 / 255, 103.939 / 255),
    "std": (1 / 255, 1 / 255, 1 / 255),
    "bgr": True,
}
_RAW = {"options": {"include_preprocessing": False}}
_FAMILIES = {
    "ConvNeXt": _Family(**_IMAGENET, **_RAW),
    "DenseNet": _Family(**_IMAGENET),
    "EfficientNetB": _Family(**_IMAGENET, inside=1 / 255),
    "EfficientNetV2B": _Family(**_IMAGENET, **_RAW),
    "EfficientNetV2": _Family((128 / 255,) * 3, (128 / 255,) * 3, **_RAW),
    "Inception": _Family(same=True),
    "MobileNetV3": _Family(**_RAW),
    "MobileNet": _Family(),
    "NASNet": _Family(pad=True),
    "ResNet": _Family(**_CAFFE),
    "VGG": _Family(**_CAFFE),
    "Xception": _Family(same=True),
}


def _family(application):
    if application.startswith("ResNet") and application.endswith("V2"):
        return _Family()
    return next(f for prefix, f in _FAMILIES.items() if application.startswith(prefix))


def __getattr__(name):
    if name in KERAS_APPLICATIONS:
        factory = partial(build, name)
        factory.__doc__ = build.__doc__
        return factory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *KERAS_APPLICATIONS})


def build(name, input_shape, weights=None, batch_norm_momentum=None):
    """Build one of the networks without its top.

    Parameters
    ----------
    name : str
        Name of the backbone, such as ``efficientnet_b0``.
    input_shape : tuple of int
        Shape of an image, (y, x, channel), with any number of channels.
    weights : {None, "imagenet"} or path-like, optional
        Random weights, those of ImageNet (downloaded by Keras on first use), or a file: a
        ``.weights.h5`` of this backbone or a ``_notop.h5`` as Keras downloads them. Weights made
        for three channels fit any number: see `adapt_kernel`.
    batch_norm_momentum : float, optional
        Momentum of the moving averages in batch normalisation; the family's own when None.
        Small data sets want a lower one.

    Returns
    -------
    keras.Model
        From images in [0, 1] to ``{"stage1": ..., "stageN": ...}``, the last tensor at each
        stride.

    Raises
    ------
    ValueError
        If the weights cannot be had or do not fit.
    """
    model = _untrained(name, input_shape)
    if weights is not None:
        _load(model, name, input_shape, weights)
    if batch_norm_momentum is not None:
        for layer in _leaves(model):
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = batch_norm_momentum
    return model


def _untrained(name, input_shape):
    application = KERAS_APPLICATIONS[name]
    family = _family(application)
    ny, nx, channels = input_shape
    # Some families refuse small images as long as they leave pixels out at the borders.
    image = keras.Input((None, None, channels) if family.same else input_shape, name="image")
    mean, std = family.affine
    x = image
    if channels == 3:
        x = keras.ops.flip(x, axis=-1) if family.bgr else x
    else:
        mean, std = mean.mean(), std.mean()
    scale = 1 / (std * family.inside)
    x = layers.Rescaling(scale.tolist(), (-mean * scale).tolist(), name="scale")(x)
    if family.pad:
        x = layers.ZeroPadding2D(((ny % 2, 1), (nx % 2, 1)), name="pad")(x)
    body = _application(application, include_top=False, weights=None, input_tensor=x)
    if family.same:
        image = keras.Input(input_shape, name="image")
        body = keras.models.clone_model(body, input_tensors=[image], clone_function=_same)
    return keras.Model(body.inputs[0], _stages(body), name=name)


def _application(application, **options):
    with warnings.catch_warnings():
        # About channel counts and sizes that have no ImageNet weights of their own.
        warnings.simplefilter("ignore", UserWarning)
        return getattr(keras.applications, application)(**options, **_family(application).options)


def _same(layer):
    """A copy of a layer that keeps the pixels at the borders."""
    config = layer.get_config()
    if config.get("padding") == "valid":
        config["padding"] = "same"
    return type(layer).from_config(config)


def _stages(body):
    """The last tensor at each stride, finest first, by following strides through the graph."""
    strides, last = {}, {}
    for operation in body.operations:
        inputs = keras.tree.flatten(operation.input)
        # A pooled vector has stride 0, so that it never decides when it is multiplied with a map.
        stride = max((strides[id(tensor)] for tensor in inputs), default=1)
        for part in getattr(operation, "layers", [operation]):
            if isinstance(part, layers.GlobalAveragePooling2D):
                stride = 0
            stride *= np.max(getattr(part, "strides", None) or 1)
        output = operation.output
        strides[id(output)] = stride
        padding = isinstance(operation, (layers.ZeroPadding2D, layers.Cropping2D))
        if stride > 1 and not padding:
            last[int(stride)] = output
    return {f"stage{i}": last[s] for i, s in enumerate(sorted(last), start=1)}


def _load(model, name, input_shape, weights):
    """Put weights into `model`, from ImageNet or a file."""
    if weights == "imagenet":
        source = _imagenet(name)
    else:
        path = Path(weights)
        if not path.is_file():
            raise ValueError(
                f"{path}: there is no such weight file; give weights=None, 'imagenet' or the path "
                "of a file that ends in .weights.h5"
            )
        source = _from_file(name, input_shape, path)
    try:
        transfer(source, model, _family(KERAS_APPLICATIONS[name]))
    except ValueError as error:
        raise ValueError(f"{weights}: these weights do not fit {name!r}: {error}") from error


def _imagenet(name):
    application = KERAS_APPLICATIONS[name]
    try:
        return _application(
            application, include_top=False, weights="imagenet", input_shape=(224, 224, 3)
        )
    except Exception as error:
        raise ValueError(
            f"the ImageNet weights of {name!r} could not be downloaded ({_first_line(error)}); "
            "connect to the network once, give the path of the file as weights, or weights=None"
        ) from error


def _from_file(name, input_shape, path):
    """A model that holds the weights of a file: made for these channels, or for three."""
    errors = []
    if path.name.endswith(".weights.h5"):
        makers = [partial(_untrained, name, input_shape)]
        if input_shape[-1] != 3:
            makers.append(partial(_untrained, name, (*input_shape[:2], 3)))
    else:
        application = KERAS_APPLICATIONS[name]
        shape = (224, 224, 3)
        makers = [
            partial(_application, application, include_top=False, weights=None, input_shape=shape)
        ]
    for make in makers:
        source = make()
        try:
            with warnings.catch_warnings():
                # Keras only warns of layers that a file does not hold.
                warnings.filterwarnings("error", ".*freshly-initialized")
                source.load_weights(path)
        except Exception as error:  # h5py and Keras raise many kinds
            errors.append(_first_line(error))
        else:
            return source
    raise ValueError(f"{path}: does not hold weights of {name!r}: {errors[0]}")


def transfer(source, target, family):
    """Copy weights between models of one architecture that may differ in their channels.

    Parameters
    ----------
    source, target : keras.Model
        Models whose layers correspond in order.
    family : _Family
        How the family scales its input.

    Raises
    ------
    ValueError
        If the models do not correspond.
    """
    pairs = list(zip(_weighted(source), _weighted(target), strict=True))
    first = next(i for i, (layer, _) in enumerate(pairs) if isinstance(layer, layers.Conv2D))
    for old, new in pairs:
        if old is not pairs[first][0]:
            new.set_weights(old.get_weights())
    old, new = pairs[first]
    kernel, *bias = old.get_weights()
    channels = new.kernel.shape[2]
    if kernel.shape[2] == channels:
        new.set_weights([kernel, *bias])
        return
    if kernel.shape[2] != 3:
        raise ValueError(f"they are for {kernel.shape[2]} channels, not 3 or {channels}")
    kernel, shift = adapt_kernel(kernel, channels, *family.affine)
    new.set_weights([kernel, *(b + shift for b in bias)])
    if not bias:
        norm = pairs[first + 1][1]
        norm.moving_mean.assign(norm.moving_mean - shift)


def adapt_kernel(kernel, channels, mean, std):
    """Make a first convolution for three colours one for any number of channels.

    The kernel is averaged over the colours and rescaled, so that a grey image gives the response
    of the same grey in three colours (up to the border, where padding stands for other values).

    Parameters
    ----------
    kernel : numpy.ndarray
        Kernel (y, x, 3, filter) for colours scaled as ``(x - mean) / std``.
    channels : int
        Channels wanted, all of them scaled by the average `mean` and `std`.
    mean, std : numpy.ndarray
        Scaling of each colour.

    Returns
    -------
    kernel : numpy.ndarray
        Kernel (y, x, channel, filter).
    shift : numpy.ndarray
        What to add to the response of each filter, as the colours have different means.
    """
    per_unit = kernel / std[:, np.newaxis]
    shift = (per_unit * (mean.mean() - mean)[:, np.newaxis]).sum(axis=(0, 1, 2))
    grey = per_unit.sum(axis=2, keepdims=True) * std.mean() / channels
    return np.repeat(grey, channels, axis=2).astype(kernel.dtype), shift.astype(kernel.dtype)


def _weighted(model):
    """Layers with weights, in order; an input normalisation has its place in our own scaling."""
    return [
        layer
        for layer in _leaves(model)
        if layer.weights and not isinstance(layer, layers.Normalization)
    ]


def _leaves(model):
    for layer in model.layers:
        yield from getattr(layer, "layers", [layer])


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]
