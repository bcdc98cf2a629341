from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from astro_deepgalaxy import MergerClassifier, TimeScale
from astro_deepgalaxy.run_config import read_run_config
from astro_deepgalaxy.store import ClassTarget
from astro_deepgalaxy.store.deepgalaxy_hdf5 import DeepGalaxyFile
from astro_deepgalaxy.trainers import TrainingJob
from astro_deepgalaxy.trainers.compiled import build_network, compile_model, make_optimizer

PAPER = Path(__file__).parents[1] / "runs" / "paper.toml"
CAMERAS, SNAPSHOTS, FIRST = 14, 4, 30.0


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """The paper's data set in small: two simulations from 30 Myr on, 14 cameras, float16."""
    path = tmp_path_factory.mktemp("paper") / "paper.hdf5"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 15.5
    with h5py.File(path, "w") as file:
        for name in ("s_1_m_1", "s_0.5_m_1.25"):
            for camera in range(CAMERAS):
                times = FIRST + 5 * np.arange(SNAPSHOTS)
                width = 2 + np.arange(SNAPSHOTS)[:, None, None]
                images = np.exp(-np.hypot(x, y) / width) * rng.uniform(0.8, 1)
                group = file.require_group(name)
                group[f"images_camera_{camera:02d}"] = images[..., None].astype("f2")
                group[f"t_myr_camera_{camera:02d}"] = times
    return path


def test_the_run_has_the_settings_of_the_paper():
    config = read_run_config(PAPER)
    assert TimeScale(**config.time.model_dump(include={"origin", "start", "step", "n"})) == (
        TimeScale.paper()
    )
    assert config.network.backbone == "efficientnet_b4"
    assert config.network.backbone_options == {"weights": "imagenet", "batch_norm_momentum": 0.9}
    assert config.network.noise > 0
    training = config.training
    optimizer = make_optimizer(training.optimizer | {"learning_rate": training.learning_rate}, 1000)
    optimizer.build([])
    optimizer.iterations.assign(900)
    assert isinstance(optimizer, keras.optimizers.Adadelta)
    assert float(optimizer.learning_rate) == 8.0


def test_classes_are_those_of_the_original_loader(data_set):
    store = DeepGalaxyFile(data_set)
    classes, weights = ClassTarget(71, "snapshot").encode(store.table)
    time = store.table["time_since_start"].to_value("Myr")
    assert (weights == 1).all()
    assert np.array_equal(classes[:, 0], (time / 5).astype(int) - int(FIRST / 5))


@pytest.fixture(scope="module")
def trained(data_set):
    """The output folder of the paper's run with a small network, for one epoch."""
    from astro_deepgalaxy.cli import main

    text = PAPER.read_text(encoding="utf-8")
    for old, new in (
        ('"efficientnet_b4"', '"simple"'),
        ('weights = "imagenet", ', ""),
        ("epochs = 20", "epochs = 1"),
    ):
        assert old in text
        text = text.replace(old, new)
    run = data_set.with_name("run.toml")
    run.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, ["train", str(run)])
    assert result.exit_code == 0, result.output
    return data_set.with_name("paper-model")


def test_the_run_in_small(trained):
    classifier = MergerClassifier.load(trained / "model")
    training = classifier.training_
    images = 2 * CAMERAS * SNAPSHOTS
    assert training["images"] == {"train": images - round(0.2 * images)}
    assert len(training["groups"]["train"]) == 2
    assert np.isfinite(training["history"]["loss"]).all()
    assert training["optimizer"] == {
        "name": "adadelta",
        "learning_rate": 8.0,
        "schedule": "constant",
    }
    assert classifier.time_scale_ == TimeScale.paper()
    assert classifier.network_.config.outputs == {"time_class": 71}
    norms = [
        layer
        for layer in classifier.network_.encoder.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {layer.momentum for layer in norms} == {0.9}


def test_the_images_left_out_are_judged(trained):
    from astro_deepgalaxy.io import read_table

    catalogue = read_table(trained / "catalogue.ecsv")
    assert len(catalogue) == round(0.2 * 2 * CAMERAS * SNAPSHOTS)
    assert np.isfinite(catalogue["time_probabilities"]).all()
    assert (trained / "report.html").is_file()


def make_job(**changes):
    """A job that is only compiled; it needs no store."""
    settings = {
        "network": {
            "input_shape": [32, 32, 1],
            "outputs": {"time_class": 71},
            "backbone": "simple",
            "backbone_options": {"filters": [8, 12]},
        },
        "store": "",
        "rows": {"train": [0]},
        "targets": {"time_class": ClassTarget(71, "snapshot").to_dict()},
        "checkpoint": "",
        "optimizer": {"name": "adadelta", "learning_rate": 8.0},
        "batch_size": 8,
        "seed": 3,
    }
    return TrainingJob(**(settings | changes))


def compiled(job):
    return compile_model(job, build_network(job), 10)[0]


@pytest.fixture
def batch():
    rng = np.random.default_rng(5)
    images = rng.random((8, 32, 32, 1), dtype=np.float32)
    return images, {"time_class": rng.integers(0, 71, (8, 1)).astype(np.float32)}


def test_steps_of_adadelta_are_those_of_zeiler(batch):
    images, targets = batch
    model = compiled(make_job())
    classes = targets["time_class"][:, 0].astype(int)
    squares, updates = None, None
    for _ in range(3):
        with tf.GradientTape() as tape:
            # The model in training, but for the moving averages that it keeps.
            moving = [v.numpy() for v in model.non_trainable_variables]
            probabilities = model(images, training=True)["time_class"]
            loss = -tf.reduce_mean(tf.math.log(tf.gather(probabilities, classes, batch_dims=1)))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        for variable, value in zip(model.non_trainable_variables, moving, strict=True):
            variable.assign(value)
        # Zeiler (2012), algorithm 1, with a learning rate.
        gradients = [g.numpy().astype(float) for g in gradients]
        if squares is None:
            squares = [np.zeros_like(g) for g in gradients]
            updates = [np.zeros_like(g) for g in gradients]
        expected = []
        for i, (gradient, variable) in enumerate(
            zip(gradients, model.trainable_variables, strict=True)
        ):
            squares[i] = 0.95 * squares[i] + 0.05 * gradient**2
            update = -np.sqrt(updates[i] + 1e-7) / np.sqrt(squares[i] + 1e-7) * gradient
            updates[i] = 0.95 * updates[i] + 0.05 * update**2
            expected.append(variable.numpy() + 8 * update)
        found = model.train_on_batch(images, targets)
        assert float(np.ravel(found)[0]) == pytest.approx(float(loss), rel=1e-5)
        for variable, value in zip(model.trainable_variables, expected, strict=True):
            assert np.allclose(variable.numpy(), value, rtol=1e-3, atol=1e-5)


def without_batch_statistics(network):
    for layer in network.encoder.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return network


@pytest.mark.parametrize("name", ["adadelta", "sgd"])
def test_accumulated_batches_are_one_large_batch(batch, name):
    images, targets = batch
    weights = []
    for parts in (1, 4):
        accumulation = {} if parts == 1 else {"gradient_accumulation_steps": parts}
        job = make_job(optimizer={"name": name, "learning_rate": 0.1, **accumulation})
        model, _ = compile_model(job, without_batch_statistics(build_network(job)), 10)
        before = [v.numpy() for v in model.trainable_variables]
        for _ in range(2):
            for part in np.split(np.arange(8), parts):
                model.train_on_batch(images[part], {k: v[part] for k, v in targets.items()})
        weights.append([v.numpy() for v in model.trainable_variables])
    for whole, accumulated, first in zip(*weights, before, strict=True):
        assert not np.array_equal(whole, first)
        assert np.allclose(whole, accumulated, rtol=1e-3, atol=1e-5)


def test_nothing_is_traced_after_the_first_joint_step(blob_store, monkeypatch):
    from astro_deepgalaxy.trainers.callbacks import ProgressBar

    events = []
    step = keras.Model.train_step

    def traced(self, data):
        events.append("trace")
        return step(self, data)

    monkeypatch.setattr(keras.Model, "train_step", traced)
    monkeypatch.setattr(
        ProgressBar, "on_train_batch_end", lambda self, batch, logs=None: events.append("step")
    )
    classifier = MergerClassifier(
        "simple",
        backbone_options={"filters": [4, 6]},
        also={"reconstruct": {}, "embed": {}},
        epochs=2,
        batch_size=32,
        validation_fraction=0.2,
        progress=False,
    )
    classifier.fit(blob_store, rows=np.arange(0, 600, 5))
    assert classifier.training_["images"]["train"] % 32 != 0  # the last batch is a smaller one
    assert set(classifier.training_["history"]) > {"time_class_loss", "reconstruction_loss"}
    first = events.index("step")
    assert "trace" in events[:first]
    assert set(events[first:]) == {"step"}
