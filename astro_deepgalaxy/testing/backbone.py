"""Check of a backbone."""

import numpy as np

from .report import attempt, require, resolve

__all__ = ["check_backbone"]


def check_backbone(backbone, input_shape=None, **options):
    """Check that a backbone does what the network expects of it.

    It is functional and fully convolutional, takes one batch (n, y, x, channel) in [0, 1] of any
    length, and returns finite feature maps ``{"stage1": ..., "stageN": ...}`` whose strides divide
    the image and increase. Images do not influence each other, the same image gives the same
    maps, and every trainable weight receives a gradient.

    Parameters
    ----------
    backbone : str or callable
        Registered name, or ``factory(input_shape, **options) -> keras.Model``.
    input_shape : tuple of int, optional
        Shape to build it for, (y, x, channel); its sides must be multiples of the last stride.
        By default 64 x 64, or a multiple of the declared smallest size if that is more.
    **options
        Options of the factory.

    Raises
    ------
    AssertionError
        If the backbone fails.
    """
    label, factory, spec = resolve("backbone", backbone)
    channels = tuple(spec.channels) if spec is not None else ()
    if input_shape is None:
        side = 64 if spec is None else max(64, spec.min_size)
        input_shape = (side, side, channels[0] if channels else 1)

    def build(shape):
        return attempt(f"{label}: building for {shape}", lambda: factory(shape, **options))

    model = build(tuple(input_shape))
    _check_maps(label, model, tuple(input_shape))
    _check_values(label, model, tuple(input_shape))
    _check_gradients(label, model, tuple(input_shape))

    ny, nx, n = input_shape
    larger = (2 * ny, 2 * nx, n)
    other = build(larger)
    shapes, other_shapes = ([tuple(w.shape) for w in m.weights] for m in (model, other))
    require(
        shapes == other_shapes,
        f"{label}: its weights depend on the image size, so it is not fully convolutional "
        f"({shapes} for {input_shape}, {other_shapes} for {larger})",
    )
    other.set_weights(model.get_weights())
    _check_maps(label, other, larger)
    if spec is not None:
        # The other channel counts, or three colours, at the smallest size that is declared.
        for count in set(channels or (1, 3)) - {n}:
            build((spec.min_size, spec.min_size, count))


def _check_maps(label, model, shape):
    import keras

    require(isinstance(model, keras.Model), f"{label}: returned {type(model)}, not a keras.Model")
    require(
        getattr(model, "inputs", None) and isinstance(model.output, dict),
        f"{label}: must be a functional model with a dict of outputs",
    )
    require(len(model.inputs) == 1, f"{label}: takes {len(model.inputs)} inputs instead of one")
    require(
        tuple(model.inputs[0].shape) == (None, *shape),
        f"{label}: its input has the shape {model.inputs[0].shape}; expected {(None, *shape)}, "
        "with the batch left open",
    )
    maps = model.output
    expected = {f"stage{i}" for i in range(1, len(maps) + 1)}
    require(
        maps and set(maps) == expected,
        f"{label}: its outputs are {sorted(maps)}; expected stage1, stage2, ... without gaps",
    )
    last = 1
    for i in range(1, len(maps) + 1):
        size = tuple(maps[f"stage{i}"].shape)
        require(
            len(size) == 4 and None not in size[1:],
            f"{label}: stage{i} has the shape {size}; expected a map (n, y, x, channel)",
        )
        whole = all(a % b == 0 for a, b in zip(shape, size[1:3], strict=False))
        strides = {a // b for a, b in zip(shape, size[1:3], strict=False)}
        require(
            whole and len(strides) == 1,
            f"{label}: stage{i} has {size[1]} x {size[2]} pixels for images of {shape[0]} x "
            f"{shape[1]}; one whole stride must lead from the one to the other",
        )
        stride = strides.pop()
        require(stride > last, f"{label}: stage{i} has stride {stride}, not more than {last}")
        last = stride


def _check_values(label, model, shape):
    import keras

    images = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    images[1], images[2] = 0, 1

    def maps(batch):
        outputs = attempt(f"{label}: calling it", lambda: model(batch, training=False))
        return {name: keras.ops.convert_to_numpy(values) for name, values in outputs.items()}

    values, again, alone = maps(images), maps(images), maps(images[:1])
    # The batch keeps its length, as rounding grows without bound in a deep untrained network.
    images[1:] = images[1:] * 0.5 + 0.2
    beside_others = maps(images)
    for name, found in values.items():
        require(np.isfinite(found).all(), f"{label}: {name} is not finite for images in [0, 1]")
        require(
            np.array_equal(found, again[name]),
            f"{label}: {name} differs when the same images are given twice",
        )
        scale = np.abs(found[0]).max() + 1e-12
        require(
            np.abs(beside_others[name][0] - found[0]).max() <= 1e-3 * scale,
            f"{label}: {name} of an image depends on the others in the batch",
        )
        require(
            alone[name].shape == (1, *found.shape[1:]),
            f"{label}: {name} has the shape {alone[name].shape} for one image",
        )


def _check_gradients(label, model, shape):
    import keras
    import tensorflow as tf

    images = np.random.default_rng(1).random((3, *shape), dtype=np.float32)
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = sum(keras.ops.mean(keras.ops.square(values)) for values in outputs.values())
    weights = model.trainable_weights
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    unreached = [w.path for w, g in zip(weights, gradients, strict=True) if g is None]
    require(not unreached, f"{label}: no gradient reaches {', '.join(unreached[:3])}")
