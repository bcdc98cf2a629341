"""Every task on every family of backbones; `--all-backbones` checks all that are shipped."""

import keras
import numpy as np
import tensorflow as tf
from test_backbones import CHECKED, FAMILIES

from astro_deepgalaxy.builtin import KERAS_APPLICATIONS
from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig
from astro_deepgalaxy.testing import check_task

TASKS = ("classify", "reconstruct", "embed")


def pytest_generate_tests(metafunc):
    every = metafunc.config.getoption("--all-backbones", default=False)
    if "task" in metafunc.fixturenames:
        names = ("simple", *KERAS_APPLICATIONS) if every else ("simple",)
        metafunc.parametrize(("backbone", "task"), [(b, t) for b in names for t in TASKS])
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", () if every else [*CHECKED[1:], *FAMILIES])


def test_conformance(backbone, task):
    options = {} if backbone == "simple" else {"backbone_options": {}}
    check_task(task, backbone=backbone, **options)
    keras.backend.clear_session()


def test_a_step_of_all_tasks_together_reaches_every_part(family):
    """The conformance in short, without making graphs: that takes minutes for all families."""
    config = NetworkConfig(
        (32, 32, 1), {"time_class": 71, "stage": 5}, family, decoder={}, latent={"size": 4}
    )
    net = GalaxyNetwork(config)
    model = net.model(net.outputs)
    images = np.random.default_rng(0).random((4, 32, 32, 1), dtype=np.float32)
    with tf.GradientTape() as tape:
        found = model(images, training=True)
        loss = sum(tf.reduce_mean(tf.square(values - 0.5)) for values in found.values())
    assert np.isfinite(loss)
    assert found["reconstruction"].shape == found["latent_reconstruction"].shape == images.shape
    assert found["z"].shape == (4, 4)
    variables = {part: getattr(net, part).trainable_variables for part in net.parts}
    gradients = tape.gradient(loss, {k: [v.value for v in part] for k, part in variables.items()})
    for part, found in gradients.items():
        names = [v.path for v, g in zip(variables[part], found, strict=True) if g is None]
        assert not names, f"nothing reaches {names} of the {part}"
        assert all(np.isfinite(g).all() for g in found)
        assert any(np.any(g) for g in found)
    keras.backend.clear_session()
