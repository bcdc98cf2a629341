"""Conformance checks for authors of plugins: one call per thing that a plugin offers.

Each check raises AssertionError with a sentence that says what is wrong. They work under any test
runner, and ``astro-deepgalaxy plugins check NAME`` runs them from the command line.
"""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np

from .flags import CutoutError, Flag
from .plugins import get_spec

__all__ = ["check_backbone", "check_command", "check_reader", "check_spec", "check_step"]


def check_spec(spec, name=None):
    """Run the check of a spec's kind; where there is none, see that its factory is callable.

    Parameters
    ----------
    spec : Spec
        What a plugin offers.
    name : str, optional
        The qualified name by which the spec is found, where its own name is not enough.

    Returns
    -------
    str
        What could not be checked; empty when all was.

    Raises
    ------
    AssertionError
        If the check fails.
    """
    check = _CHECKS.get(spec.kind)
    factory = _attempt(f"{spec.kind} {spec.name!r}: loading", spec.load)
    _require(callable(factory), f"{spec.kind} {spec.name!r}: {spec.factory} is not callable")
    if spec.kind == "step":
        try:
            factory()
        except (TypeError, ValueError) as error:
            return f"only loaded, as it needs parameters: {error}"
    if check is None:
        return "only loaded"
    check(name or spec.name)
    return ""


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
    label, factory, spec = _resolve("backbone", backbone)
    channels = tuple(spec.channels) if spec is not None else ()
    if input_shape is None:
        side = 64 if spec is None else max(64, spec.min_size)
        input_shape = (side, side, channels[0] if channels else 1)

    def build(shape):
        return _attempt(f"{label}: building for {shape}", lambda: factory(shape, **options))

    model = build(tuple(input_shape))
    _check_maps(label, model, tuple(input_shape))
    _check_values(label, model, tuple(input_shape))
    _check_gradients(label, model, tuple(input_shape))

    ny, nx, n = input_shape
    larger = (2 * ny, 2 * nx, n)
    other = build(larger)
    shapes, other_shapes = ([tuple(w.shape) for w in m.weights] for m in (model, other))
    _require(
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

    _require(isinstance(model, keras.Model), f"{label}: returned {type(model)}, not a keras.Model")
    _require(
        getattr(model, "inputs", None) and isinstance(model.output, dict),
        f"{label}: must be a functional model with a dict of outputs",
    )
    _require(len(model.inputs) == 1, f"{label}: takes {len(model.inputs)} inputs instead of one")
    _require(
        tuple(model.inputs[0].shape) == (None, *shape),
        f"{label}: its input has the shape {model.inputs[0].shape}; expected {(None, *shape)}, "
        "with the batch left open",
    )
    maps = model.output
    expected = {f"stage{i}" for i in range(1, len(maps) + 1)}
    _require(
        maps and set(maps) == expected,
        f"{label}: its outputs are {sorted(maps)}; expected stage1, stage2, ... without gaps",
    )
    last = 1
    for i in range(1, len(maps) + 1):
        size = tuple(maps[f"stage{i}"].shape)
        _require(
            len(size) == 4 and None not in size[1:],
            f"{label}: stage{i} has the shape {size}; expected a map (n, y, x, channel)",
        )
        whole = all(a % b == 0 for a, b in zip(shape, size[1:3], strict=False))
        strides = {a // b for a, b in zip(shape, size[1:3], strict=False)}
        _require(
            whole and len(strides) == 1,
            f"{label}: stage{i} has {size[1]} x {size[2]} pixels for images of {shape[0]} x "
            f"{shape[1]}; one whole stride must lead from the one to the other",
        )
        stride = strides.pop()
        _require(stride > last, f"{label}: stage{i} has stride {stride}, not more than {last}")
        last = stride


def _check_values(label, model, shape):
    import keras

    images = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    images[1], images[2] = 0, 1

    def maps(batch):
        outputs = _attempt(f"{label}: calling it", lambda: model(batch, training=False))
        return {name: keras.ops.convert_to_numpy(values) for name, values in outputs.items()}

    together, again, alone = maps(images), maps(images), maps(images[:1])
    for name, values in together.items():
        _require(np.isfinite(values).all(), f"{label}: {name} is not finite for images in [0, 1]")
        _require(
            np.array_equal(values, again[name]),
            f"{label}: {name} differs when the same images are given twice",
        )
        scale = np.abs(values[0]).max() + 1e-12
        _require(
            np.abs(alone[name] - values[:1]).max() <= 1e-3 * scale,
            f"{label}: {name} of an image depends on the others in the batch",
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
    _require(not unreached, f"{label}: no gradient reaches {', '.join(unreached[:3])}")


def check_step(step, **parameters):
    """Check that a preprocessing step keeps its promises.

    It is a frozen dataclass derived from `~astro_deepgalaxy.preprocess.Step` that survives JSON,
    leaves its input alone, always does the same, keeps id, file, flags, variance and mask
    consistent, and keeps the WCS right: a source stays at its place on the sky. What it cannot
    work on is a `~astro_deepgalaxy.flags.CutoutError`.

    Parameters
    ----------
    step : str or type
        Registered name, or the step's class.
    **parameters
        Fields of the step.

    Raises
    ------
    AssertionError
        If the step fails.
    """
    from .cutout import Cutout
    from .preprocess import Step

    label, factory, spec = _resolve("step", step)
    _require(
        isinstance(factory, type) and issubclass(factory, Step),
        f"{label}: must be a class derived from astro_deepgalaxy.preprocess.Step",
    )
    _require(
        dataclasses.is_dataclass(factory) and factory.__dataclass_params__.frozen,
        f"{label}: must be a frozen dataclass",
    )
    if spec is not None:
        _require(
            factory.name == spec.name,
            f"{label}: its class is named {factory.name!r}; a recipe could not find it again",
        )
    step = _attempt(f"{label}: making it", lambda: factory(**parameters))
    data = _attempt(f"{label}: to_dict as JSON", lambda: json.loads(json.dumps(step.to_dict())))
    data.pop("step", None)
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    _require(
        factory(**lists) == step,
        f"{label}: is not the same after it was written as JSON and read back",
    )

    image, position = _sky_image()
    before = image.replace(data=image.data.copy(), mask=image.mask.copy())
    after = _attempt(f"{label}: applying it", lambda: step(image))
    _require(isinstance(after, Cutout), f"{label}: returned {type(after)}, not a Cutout")
    _require(
        np.array_equal(before.data, image.data, equal_nan=True)
        and np.array_equal(before.mask, image.mask)
        and before.flags == image.flags
        and np.array_equal(before.wcs.wcs.crpix, image.wcs.wcs.crpix),
        f"{label}: changed the image that it was given",
    )
    again = step(image)
    _require(
        np.array_equal(after.data, again.data, equal_nan=True),
        f"{label}: does not give the same result twice",
    )
    _require(
        (after.id, after.file) == (image.id, image.file), f"{label}: lost the image's id or file"
    )
    _require(image.flags in after.flags, f"{label}: lost flags of the image")
    if after.variance is not None:
        _require(
            (after.variance[~after.mask] >= 0).all(),
            f"{label}: the variance of valid pixels is negative or not a number",
        )
    if after.shape == image.shape:
        _require(after.mask.any(), f"{label}: lost the mask")
    _require(
        np.isfinite(after.data[~after.mask]).all(),
        f"{label}: pixels that are not masked are not finite",
    )
    if after.wcs is not None:
        x, y = after.wcs.world_to_pixel(position)
        found = _centroid(after)
        away = np.hypot(found[1] - x, found[0] - y)
        limit = 1 + float(image.pixel_scale / after.pixel_scale)
        _require(
            away < limit,
            f"{label}: moved a source by {away:.1f} pixels on the sky: its WCS is wrong",
        )

    bare = image.replace(wcs=None, variance=None, flags=image.flags | Flag.NO_WCS)
    empty = image.replace(data=np.full(image.shape, np.nan), mask=None)
    for name, odd in {"without WCS and variance": bare, "without a valid pixel": empty}.items():
        try:
            _require(isinstance(step(odd), Cutout), f"{label}: returned no Cutout for one {name}")
        except CutoutError:
            pass
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(
                f"{label}: raises {type(error).__name__} on an image {name}: {error}; "
                "raise CutoutError for what cannot be done"
            ) from error


def _sky_image():
    """A galaxy off the middle of a noisy two-band image, and where it is on the sky."""
    from astropy.wcs import WCS

    from .cutout import Cutout

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 20.0
    wcs.wcs.crpix = 40.0, 36.0
    turn = np.deg2rad(20)
    wcs.wcs.cd = (0.4 / 3600) * np.array(
        [[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    ny, nx, y0, x0 = 72, 80, 40.0, 33.0
    y, x = np.mgrid[:ny, :nx]
    galaxy = 10 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * 3.0**2))
    noise = np.random.default_rng(2).normal(5, 0.05, (2, ny, nx))
    mask = np.zeros((ny, nx), dtype=bool)
    mask[5:8, 60:64] = True
    image = Cutout(
        galaxy * np.array([1, 0.7])[:, np.newaxis, np.newaxis] + noise,
        id="sky",
        file="sky.fits",
        bands=("g", "r"),
        mask=mask,
        variance=np.full((ny, nx), 0.05**2),
        wcs=wcs,
        unit="adu",
        flags=Flag.MISSING_DATA,
    )
    return image, wcs.pixel_to_world(x0, y0)


def _centroid(cutout):
    light = np.where(cutout.mask, cutout.data[~cutout.mask].min(), cutout.data).mean(axis=0)
    light = np.clip(light - (light.min() + light.max()) / 2, 0, None)
    y, x = np.indices(light.shape)
    return (y * light).sum() / light.sum(), (x * light).sum() / light.sum()


def check_reader(reader, path=None, **options):
    """Check that a reader returns cutouts, and one kind of error for what it cannot read.

    Parameters
    ----------
    reader : str or callable
        Registered name, or ``factory(path, **options) -> Cutout``.
    path : str or path-like, optional
        A file that it can read. Without one only the errors are checked.
    **options
        Options of the reader.

    Raises
    ------
    AssertionError
        If the reader fails.
    """
    from .cutout import Cutout

    label, factory, spec = _resolve("reader", reader)
    suffix = "" if path is None else "".join(Path(path).suffixes)
    if spec is not None:
        _require(spec.suffixes, f"{label}: declares no suffixes, so no file would come to it")
        wrong = [s for s in spec.suffixes if not s.startswith(".") or s != s.lower()]
        _require(not wrong, f"{label}: the suffixes {wrong} must be lower case with a dot")
        suffix = suffix or spec.suffixes[0]
    good = b""
    if path is not None:
        cutout = _attempt(f"{label}: reading {path}", lambda: factory(path, **options))
        _require(isinstance(cutout, Cutout), f"{label}: returned {type(cutout)}, not a Cutout")
        _require(cutout.id, f"{label}: left the id empty")
        _require(
            cutout.file == str(path), f"{label}: says file={cutout.file!r} instead of {str(path)!r}"
        )
        _require((~cutout.mask).any(), f"{label}: found no valid pixel in {path}")
        again = factory(path, **options)
        _require(
            np.array_equal(cutout.data, again.data, equal_nan=True),
            f"{label}: does not read the same pixels twice",
        )
        good = Path(path).read_bytes()
    noise = np.random.default_rng(3).bytes(4096)
    cases = {"empty": b"", "noise": noise, "text": b"not an image\n", "missing": None}
    with tempfile.TemporaryDirectory() as folder:
        for case, content in {**cases, "truncated": good[: len(good) // 2]}.items():
            if case == "truncated" and not good:
                continue
            file = Path(folder) / f"{case}{suffix}"
            if content is not None:
                file.write_bytes(content)
            try:
                factory(file, **options)
            except CutoutError as error:
                _require(
                    file.name in str(error),
                    f"{label}: its error for a bad file does not name it: {error}",
                )
            except Exception as error:
                raise AssertionError(
                    f"{label}: raises {type(error).__name__} for a file that is {case}; "
                    "one bad image must be a CutoutError"
                ) from error
            else:
                # A picture cut in half may still show something, the others never do.
                _require(case == "truncated", f"{label}: reads an image from a file that is {case}")


def check_command(command):
    """Check that a command loads and explains itself.

    Parameters
    ----------
    command : str or callable
        Registered name, or the click command.

    Raises
    ------
    AssertionError
        If the command fails.
    """
    import click
    from click.testing import CliRunner

    label, command, _ = _resolve("command", command)
    _require(isinstance(command, click.Command), f"{label}: is not a click command")
    _require(command.help, f"{label}: has no help text")
    result = CliRunner().invoke(command, ["--help"])
    _require(result.exit_code == 0, f"{label}: --help fails: {result.output}")


_CHECKS = {
    "backbone": check_backbone,
    "step": check_step,
    "reader": check_reader,
    "command": check_command,
}


def _resolve(kind, thing):
    """Label for messages, factory, and spec (None for a factory that is given directly)."""
    if isinstance(thing, str):
        spec = _attempt(f"{kind} {thing!r}", lambda: get_spec(kind, thing))
        factory = _attempt(f"{kind} {thing!r}: loading", spec.load)
        _require(callable(factory), f"{kind} {thing!r}: {spec.factory} is not callable")
        return f"{kind} {thing!r}", factory, spec
    _require(callable(thing), f"{kind}: expected a name or a factory, got {thing!r}")
    return f"{kind} {getattr(thing, '__name__', type(thing).__name__)!r}", thing, None


def _attempt(what, action):
    try:
        return action()
    except Exception as error:
        raise AssertionError(f"{what} failed: {type(error).__name__}: {error}") from error


def _require(condition, message):
    if not condition:
        raise AssertionError(message)
