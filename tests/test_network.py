import keras
import numpy as np
import pytest
import tensorflow as tf

from astro_deepgalaxy.labels import STAGES
from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig
from astro_deepgalaxy.network.losses import get_loss
from astro_deepgalaxy.store import CategoryTarget, ImageTarget, NoTarget, TimeTarget
from astro_deepgalaxy.store.loader import batches
from astro_deepgalaxy.trainers import TrainingJob, local
from astro_deepgalaxy.trainers.compiled import build_network, compile_model

OUTPUTS = {"time_class": 71, "stage": 5}
WHOLE = {"decoder": {}, "latent": {"size": 3, "hidden": 8}}


def network(size=32, **changes):
    settings = {"backbone": "simple", "backbone_options": {"filters": [4, 8]}}
    return GalaxyNetwork(NetworkConfig((size, size, 1), OUTPUTS, **(settings | changes)))


def pixels(n, size=32, seed=0):
    return np.random.default_rng(seed).random((n, size, size, 1), dtype=np.float32)


def numbers(outputs):
    return {name: keras.ops.convert_to_numpy(values) for name, values in outputs.items()}


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


def test_every_output_by_hand():
    net, images = network(**WHOLE), pixels(3)
    names = net.outputs
    found = numbers(net.model(names)(images, training=False))
    assert list(found) == list(names)
    feature_map = net.encoder(images, training=False)["stage2"]
    posterior = net.latent_encoder(feature_map)
    through = net.latent_decoder(posterior["z"])
    expected = {
        **net.classifier(feature_map),
        **posterior,
        "feature_map": feature_map,
        "reconstruction": net.decoder(feature_map, training=False),
        "latent_reconstruction": net.decoder(through, training=False),
    }
    for name, values in numbers(expected).items():
        assert np.allclose(found[name], values, atol=1e-5), name
    mean, log_variance = found["z"], found["z_log_variance"]
    kl = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(axis=1)
    assert np.allclose(found["kl"][:, 0], kl, rtol=1e-4, atol=1e-6)
    # One at a time is the same as all at once.
    for name in ("reconstruction", "latent_reconstruction"):
        alone = numbers(net.model([name])(images, training=False))
        assert np.allclose(alone[name], found[name], atol=1e-5)


def test_a_model_holds_only_the_parts_it_needs():
    net = network(**WHOLE)
    names = {
        "time_class": {"encoder", "classifier"},
        "feature_map": {"encoder"},
        "z": {"encoder", "latent_encoder", "latent_decoder"},
        "reconstruction": {"encoder", "decoder"},
        "latent_reconstruction": {"encoder", "latent_encoder", "latent_decoder", "decoder"},
    }
    for name, parts in names.items():
        expected = {id(v) for part in parts for v in getattr(net, part).trainable_variables}
        trained = {id(v) for v in net.model([name]).trainable_variables}
        assert trained <= expected
        assert trained >= {id(v) for v in net.encoder.trainable_variables}
    with pytest.raises(ValueError, match=r"no output 'magnitude'; it has time_class, stage, f"):
        net.model(["z", "magnitude"])
    with pytest.raises(ValueError, match="no output 'z'"):
        network(decoder={}).model(["z"])


def test_the_noise_is_on_the_images_in_training_only():
    net, images = network(noise=0.1, **WHOLE), pixels(2)
    model = net.model(["feature_map"])
    plain = numbers(model(images, training=False))["feature_map"]
    assert np.allclose(plain, net.encoder(images, training=False)["stage2"], atol=1e-6)
    first, second = (numbers(model(images, training=True))["feature_map"] for _ in range(2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("size", [96, 128, 256])
def test_all_parts_fit_any_image_size(tmp_path, size):
    first, second = (network(n, backbone_options={"filters": [4] * 5}, **WHOLE) for n in (64, size))
    first.save_weights(tmp_path)
    second.load_weights(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{part}.weights.h5" for part in first.parts
    }
    found = numbers(second.model(second.outputs)(pixels(1, size), training=False))
    assert found["reconstruction"].shape == found["latent_reconstruction"].shape
    assert found["reconstruction"].shape == (1, size, size, 1)
    assert found["z"].shape == (1, 3)


TARGETS = {
    "time_class": TimeTarget(),
    "stage": CategoryTarget(STAGES, "stage"),
    "reconstruction": ImageTarget("mean_squared_error"),
    "kl": NoTarget(),
    "feature_error": NoTarget(),
    "latent_reconstruction": ImageTarget(),
}


def job(store, folder, names=tuple(TARGETS), **changes):
    outputs = {name: size for name, size in OUTPUTS.items() if name in names}
    settings = {
        "network": NetworkConfig(
            (32, 32, 1), outputs, "simple", {"filters": [4, 8]}, **WHOLE
        ).to_dict(),
        "store": str(store.path),
        "rows": {"train": list(range(40)), "validation": list(range(500, 510))},
        "targets": {name: TARGETS[name].to_dict() for name in names},
        "checkpoint": str(folder),
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
    }
    return TrainingJob(**(settings | changes))


WEIGHTS = {"time_class": 2.0, "reconstruction": 10.0, "kl": 0.01, "latent_reconstruction": 3.0}


def batch(n=6, labelled=6):
    """Images with targets for all outputs; the last ones have no labels."""
    rng, images = np.random.default_rng(1), pixels(n)
    known = (np.arange(n) < labelled).astype(np.float32)
    values, weights = {}, {}
    for name, target in TARGETS.items():
        values[name], weights[name] = np.zeros((n, 1), "f4"), np.ones(n, "f4")
        if isinstance(target, ImageTarget):
            values[name] = images
        elif not isinstance(target, NoTarget):
            values[name] = rng.dirichlet(np.ones(target.size), n).astype(np.float32)
            weights[name] = known
    return images, values, weights


def test_the_joint_loss_is_the_sum_of_its_parts(blob_store, tmp_path):
    net = build_network(job(blob_store, tmp_path))
    images, values, weights = batch(labelled=4)

    def loss(names):
        model, _ = compile_model(job(blob_store, tmp_path, names, loss_weights=WEIGHTS), net, 1)
        predicted = model(images, training=False)
        targets, counted = ({k: data[k] for k in names} for data in (values, weights))
        return float(model.compute_loss(images, targets, predicted, counted)), numbers(predicted)

    joint, outputs = loss(list(TARGETS))
    total = 0.0
    for name, target in TARGETS.items():
        each = keras.ops.convert_to_numpy(get_loss(target.loss)(values[name], outputs[name]))
        each = each.reshape(len(each), -1).mean(axis=1)
        by_hand = WEIGHTS.get(name, 1.0) * np.average(each, weights=weights[name])
        assert np.allclose(loss([name])[0], by_hand, rtol=1e-4), name
        total += by_hand
    assert np.allclose(joint, total, rtol=1e-5)


@pytest.fixture(scope="module")
def trained(blob_store, tmp_path_factory):
    """A joint training with two frozen parts, and what was seen of it."""
    run = job(
        blob_store,
        tmp_path_factory.mktemp("joint"),
        frozen=["encoder", "latent_encoder"],
        loss_weights={"kl": 0.3},
        warm_up={"kl": 1.5, "feature_error": 3.0},
    )
    seen = {"traces": [], "traces_after": [], "weights": []}
    warm = local.WarmUp.on_train_batch_begin

    def watched(self, number, logs=None):
        seen["traces_after"].append(len(seen["traces"]))
        warm(self, number, logs)
        seen["weights"].append([float(self.weights[k]) for k in ("kl", "feature_error")])

    def counted(*args):
        model, growing = compile_model(*args)
        model.train_step = _noting(model.train_step, seen["traces"])
        return model, growing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local.WarmUp, "on_train_batch_begin", watched)
        patch.setattr(local, "compile_model", counted)
        result = local.LocalTrainer(progress=False).fit(run)
    seen["traces_after"].append(len(seen["traces"]))
    return run, result, seen


def _noting(step, traces):
    # A step is run as Python only while its graph is made.
    def noting(data):
        traces.append(step)
        return step(data)

    return noting


def test_nothing_is_traced_again_after_the_first_step(trained):
    _, _, seen = trained
    before, *after = seen["traces_after"]
    assert before == 0
    assert len(after) == 9  # the last batch of an epoch has 8 images, the others 16
    assert len(set(after)) == 1


def test_losses_that_warm_up_grow_to_their_weights(trained):
    done = np.arange(9) / 3
    expected = [0.3 * np.minimum(1, done / 1.5), np.minimum(1, done / 3)]
    assert np.allclose(trained[2]["weights"], np.transpose(expected))


def test_frozen_parts_stay_as_they_are_to_the_bit(trained):
    run, result, _ = trained
    before, after = build_network(run), GalaxyNetwork(NetworkConfig.from_dict(run.network))
    after.load_weights(result.weights)
    for part in after.parts:
        pairs = zip(getattr(before, part).weights, getattr(after, part).weights, strict=True)
        same = [np.array_equal(a, b) for a, b in pairs]
        # The moving averages too.
        assert all(same) if part in run.frozen else not any(same)


def test_a_part_that_is_not_there_cannot_be_frozen(blob_store, tmp_path):
    with pytest.raises(ValueError, match="cannot freeze classifer: the network has the parts enc"):
        build_network(job(blob_store, tmp_path, frozen=["classifer"]))


def test_images_without_labels_teach_the_decoder_and_not_the_classifier(blob_store, tmp_path):
    # With a fixed encoder, or the normalisation over the batch would mix the images.
    run = job(blob_store, tmp_path, frozen=["encoder"])
    net = build_network(run)
    model, _ = compile_model(run, net, 1)

    def gradients(images, values, weights):
        with tf.GradientTape() as tape:
            predicted = model(images, training=False)
            loss = model.compute_loss(images, values, predicted, weights)
        parts = {"classifier": net.classifier, "decoder": net.decoder}
        found = tape.gradient(
            loss, {k: [v.value for v in p.trainable_variables] for k, p in parts.items()}
        )
        return {k: np.concatenate([np.ravel(g) for g in gs]) for k, gs in found.items()}

    images, values, weights = batch(labelled=3)
    reference = gradients(images, values, weights)
    assert all(np.any(g) for g in reference.values())
    other = {name: np.array(v) for name, v in values.items()}
    for name in OUTPUTS:
        other[name][3:] = np.roll(other[name][3:], 1, axis=1)
    for name, found in gradients(images, other, weights).items():
        assert np.array_equal(found, reference[name])
    images = np.concatenate([images[:3], pixels(3, seed=5)])
    for name in ("reconstruction", "latent_reconstruction"):
        values[name] = images
    changed = gradients(images, values, weights)
    assert np.allclose(changed["classifier"], reference["classifier"], atol=1e-7)
    assert not np.allclose(changed["decoder"], reference["decoder"], rtol=1e-2)


def test_labels_of_unlabelled_images_are_not_looked_at(blob_store, tmp_path):
    rows = {"train": [5, 6, 7], "unlabelled": [1, 2]}
    found, options = local.training_data(job(blob_store, tmp_path, rows=rows))
    assert found.tolist() == [5, 6, 7, 1, 2]
    data = batches(blob_store, found, **(options | {"shuffle": False, "batch_size": 5}))
    images, values, weights = next(iter(data))
    for name in OUTPUTS:
        assert weights[name].numpy().tolist() == [1, 1, 1, 0, 0]
    for name in ("reconstruction", "kl", "feature_error", "latent_reconstruction"):
        assert weights[name].numpy().tolist() == [1] * 5
    assert np.array_equal(values["reconstruction"], images)
