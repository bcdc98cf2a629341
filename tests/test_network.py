import keras
import numpy as np
import pytest

from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig

OUTPUTS = {"time_class": 71, "stage": 5}


def network(size=32, **changes):
    settings = {"backbone": "simple", "backbone_options": {"filters": [4, 8]}}
    return GalaxyNetwork(NetworkConfig((size, size, 1), OUTPUTS, **(settings | changes)))


def test_outputs_are_probabilities():
    images = np.random.default_rng(0).random((3, 32, 32, 1), dtype=np.float32)
    outputs = network().classify(images)
    assert {name: tuple(values.shape) for name, values in outputs.items()} == {
        "time_class": (3, 71),
        "stage": (3, 5),
    }
    for values in outputs.values():
        assert np.allclose(keras.ops.sum(values, axis=1), 1, atol=1e-5)


def test_the_parts_share_their_weights():
    net = network()
    images = np.random.default_rng(0).random((2, 32, 32, 1), dtype=np.float32)
    by_hand = net.classifier(net.encoder(images)["stage2"])
    assert np.allclose(by_hand["stage"], net.classify(images)["stage"], atol=1e-6)
    net.encoder.trainable_weights[0].assign_add(
        0.1 * np.ones(net.encoder.trainable_weights[0].shape)
    )
    assert not np.allclose(by_hand["stage"], net.classify(images)["stage"], atol=1e-6)


def test_weights_fit_another_image_size(tmp_path):
    first, second = network(32), network(48)
    first.save_weights(tmp_path)
    second.load_weights(tmp_path)
    for part in first.parts:
        pairs = zip(getattr(first, part).weights, getattr(second, part).weights, strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize(
    "other",
    [
        {"backbone_options": {"filters": [4, 8, 8]}},
        {"backbone_options": {"filters": [4, 16]}},
        {"backbone": "mobilenet_v2", "backbone_options": {}},
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, other):
    network().save_weights(tmp_path)
    with pytest.raises(ValueError, match=r"encoder\.weights\.h5: not the weights of the encoder"):
        network(**other).load_weights(tmp_path)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"encoder\.weights\.h5: not the weights"):
        network().load_weights(tmp_path)


def test_flatten_is_tied_to_the_image_size():
    net = network(pooling="flatten")
    assert net.classifier.input_shape == (None, 8, 8, 8)
    assert net.classifier.get_layer("stage").kernel.shape == (8 * 8 * 8, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "simpel"}, "did you mean 'simple'"),
        ({"size": 16}, "at least 32 pixels a side; these have 16 x 16"),
        ({"pooling": "max"}, "unknown pooling 'max'"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _ = network(**changes).classify


def test_configurations_survive_as_data():
    config = NetworkConfig((64, 48, 2), OUTPUTS, "simple", {"weights": "imagenet", "filters": [4]})
    assert NetworkConfig.from_dict(config.to_dict()) == config
    assert config.untrained().backbone_options == {"filters": [4]}
