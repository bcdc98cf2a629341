import keras
import numpy as np
import pytest

from astro_deepgalaxy import testing
from astro_deepgalaxy.backbones import keras_applications
from astro_deepgalaxy.builtin import KERAS_APPLICATIONS
from astro_deepgalaxy.plugins import get_spec

CHECKED = ("simple", "efficientnet_b0", "mobilenet")
FAMILIES = (
    "convnext_tiny",
    "densenet121",
    "mobilenet_v3_small",
    "resnet50_v2",
    "vgg16",
    "xception",
)
RNG = np.random.default_rng(0)


def build(name, *args, **kwargs):
    return get_spec("backbone", name).load()(*args, **kwargs)


def maps(model, images):
    outputs = model(images.astype(np.float32), training=False)
    return {name: keras.ops.convert_to_numpy(values) for name, values in outputs.items()}


def test_every_family_of_keras_applications_is_offered():
    names = {
        name for name in dir(keras.applications) if callable(getattr(keras.applications, name))
    }
    assert set(KERAS_APPLICATIONS.values()) == names


def pytest_generate_tests(metafunc):
    every = metafunc.config.getoption("--all-backbones", default=False)
    if "checked" in metafunc.fixturenames:
        metafunc.parametrize("checked", ("simple", *KERAS_APPLICATIONS) if every else CHECKED)
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", KERAS_APPLICATIONS if every else FAMILIES)
    if "scaled" in metafunc.fixturenames:
        metafunc.parametrize("scaled", SCALED if every else ("vgg16", "mobilenet"))
    if "normalised" in metafunc.fixturenames:
        metafunc.parametrize("normalised", NORMALISED if every else ("vgg16", "efficientnet_b0"))


def test_conformance(checked):
    testing.check_backbone(checked)
    keras.backend.clear_session()


def test_strides_of_each_family(family):
    model = build(family, (64, 96, 2))
    first = 4 if family.startswith("convnext") else 2
    strides = first * 2 ** np.arange(len(model.output))
    assert strides[-1] == 32
    for i, stride in enumerate(strides, start=1):
        assert model.output[f"stage{i}"].shape[1:3] == (64 // stride, 96 // stride)


def test_any_number_of_convolutions_in_each_stage():
    model = build("simple", (32, 32, 1), filters=[4, 6, 8], convolutions=[1, 3, 2])
    shapes = [w.shape for w in model.weights if len(w.shape) == 4]
    channels = [(1, 4), (4, 6), (6, 6), (6, 6), (6, 8), (8, 8)]
    assert shapes == [(3, 3, *pair) for pair in channels]
    assert [m.shape[1] for m in model.output.values()] == [16, 8, 4]
    twice = build("simple", (32, 32, 1), filters=[4, 6], convolutions=2)
    assert sum(len(w.shape) == 4 for w in twice.weights) == 4
    for wrong in ([1, 2], [1, 0, 1], 0):
        with pytest.raises(ValueError, match="at least 1, for each of the 3 stages; got"):
            build("simple", (32, 32, 1), filters=[4, 6, 8], convolutions=wrong)


def test_odd_sizes():
    for name in ("simple", "mobilenet_v2"):
        sizes = [m.shape[1:3] for m in build(name, (45, 33, 1)).output.values()]
        assert sizes[-1] == (2, 2)


def test_batch_norm_momentum():
    model = build("mobilenet", (32, 32, 1), batch_norm_momentum=0.8)
    momenta = {x.momentum for x in model.layers if isinstance(x, keras.layers.BatchNormalization)}
    assert momenta == {0.8}


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


SCALED = {
    "vgg16": lambda x: keras.applications.vgg16.preprocess_input(255 * x),
    "resnet50": lambda x: keras.applications.resnet.preprocess_input(255 * x),
    "mobilenet": lambda x: keras.applications.mobilenet.preprocess_input(255 * x),
    "densenet121": lambda x: keras.applications.densenet.preprocess_input(255 * x),
    # This family divides by 255 itself, and normalises only with its ImageNet weights.
    "efficientnet_b0": lambda x: 255 * (x - MEAN) / STD,
    "efficientnetv2_b0": lambda x: (x - MEAN) / STD,
    "efficientnetv2_s": lambda x: 255 * x / 128 - 1,
    "convnext_tiny": lambda x: (x - MEAN) / STD,
}


def test_three_colours_reach_the_network_as_in_keras(scaled):
    name, expected = scaled, SCALED[scaled]
    model = build(name, (32, 32, 3))
    inside = name.startswith(("efficientnetv2", "convnext"))
    extra = {"include_preprocessing": False} if inside else {}
    original = getattr(keras.applications, KERAS_APPLICATIONS[name])(
        include_top=False, weights=None, input_shape=(32, 32, 3), **extra
    )
    family = keras_applications._family(KERAS_APPLICATIONS[name])
    keras_applications.transfer(original, model, family)
    images = RNG.random((2, 32, 32, 3))
    reference = original(expected(images.copy()).astype(np.float32), training=False)
    reference = keras.ops.convert_to_numpy(reference)
    ours = maps(model, images)[f"stage{len(model.output)}"]
    assert np.abs(reference).max() > 0
    assert np.allclose(ours, reference, rtol=1e-3, atol=1e-4 * np.abs(reference).max())


@pytest.fixture
def colour_weights(tmp_path):
    """A function that writes weights of a three-colour backbone, and returns model and file."""

    def write(name):
        model = build(name, (32, 32, 3))
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                shape = layer.moving_mean.shape
                layer.moving_mean.assign(RNG.normal(0, 0.3, shape))
                layer.moving_variance.assign(RNG.uniform(0.5, 2, shape))
        path = tmp_path / f"{name}.weights.h5"
        model.save_weights(path)
        return model, path

    return write


@pytest.mark.parametrize("channels", [1, 5])
def test_a_grey_image_means_the_same_in_any_number_of_channels(colour_weights, channels):
    colour, path = colour_weights("mobilenet")
    other = build("mobilenet", (32, 32, channels), weights=path)
    grey = RNG.random((2, 32, 32, 1))
    expected = maps(colour, grey.repeat(3, axis=-1))
    for name, values in maps(other, grey.repeat(channels, axis=-1)).items():
        assert np.allclose(values, expected[name], rtol=1e-4, atol=1e-5 * values.max())


NORMALISED = {
    "vgg16": "block1_conv1",
    "efficientnet_b0": "stem_bn",
    "efficientnetv2_b0": "stem_bn",
    "densenet121": "conv1_bn",
    "resnet50": "conv1_bn",
}


def test_colours_with_different_means(colour_weights, normalised):
    name, layer = normalised, NORMALISED[normalised]
    # The border is left out: zeros around the scaled image stand for other values there.
    colour, path = colour_weights(name)
    grey = build(name, (32, 32, 1), weights=path)
    image = RNG.random((1, 32, 32, 1)).astype(np.float32)
    first = [keras.Model(m.input, m.get_layer(layer).output) for m in (colour, grey)]
    expected = keras.ops.convert_to_numpy(first[0](image.repeat(3, axis=-1)))[:, 4:-4, 4:-4]
    found = keras.ops.convert_to_numpy(first[1](image))[:, 4:-4, 4:-4]
    assert np.allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert np.ptp(expected) > 0


def test_adapted_kernel_by_direct_summation():
    kernel = RNG.normal(size=(3, 3, 3, 4))
    adapted, shift = keras_applications.adapt_kernel(kernel, 5, MEAN, STD)
    patch = RNG.random((3, 3))
    colours = (patch[..., np.newaxis] - MEAN) / STD
    bands = np.repeat((patch[..., np.newaxis] - MEAN.mean()) / STD.mean(), 5, axis=-1)
    expected = np.einsum("yxc,yxcf->f", colours, kernel)
    assert np.allclose(np.einsum("yxc,yxcf->f", bands, adapted) + shift, expected)


def test_weights_of_the_same_channels_are_read_as_they_are(colour_weights):
    model, path = colour_weights("vgg16")
    again = build("vgg16", (64, 48, 3), weights=str(path))
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_files_in_the_layout_of_keras_downloads(tmp_path):
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    original = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(224, 224, 3)
    )
    path = tmp_path / "mobilenet_v2_notop.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, original)
    model = build("mobilenet_v2", (32, 32, 1), weights=path)
    kernel = original.get_layer("Conv1").kernel.numpy()
    assert np.allclose(model.get_layer("Conv1").kernel.numpy(), kernel.sum(2, keepdims=True))
    last = model.get_layer("Conv_1").kernel.numpy()
    assert np.array_equal(last, original.get_layer("Conv_1").kernel.numpy())


def test_weights_that_cannot_be_had(tmp_path, colour_weights, monkeypatch):
    with pytest.raises(ValueError, match=r"nowhere\.weights\.h5: there is no such weight file"):
        build("mobilenet", (32, 32, 1), weights=tmp_path / "nowhere.weights.h5")
    _, path = colour_weights("vgg16")
    with pytest.raises(ValueError, match="does not hold weights of 'vgg19'"):
        build("vgg19", (32, 32, 1), weights=path)
    broken = tmp_path / "broken.weights.h5"
    broken.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match="does not hold weights of 'mobilenet'"):
        build("mobilenet", (32, 32, 1), weights=broken)

    def offline(**kwargs):
        raise Exception("URL fetch failure on https://example.org: None -- no network")

    original = keras.applications.MobileNet
    monkeypatch.setattr(
        keras.applications,
        "MobileNet",
        lambda **kw: offline() if kw["weights"] == "imagenet" else original(**kw),
    )
    with pytest.raises(ValueError, match=r"could not be downloaded \(URL fetch failure .*connect"):
        build("mobilenet", (32, 32, 1), weights="imagenet")
