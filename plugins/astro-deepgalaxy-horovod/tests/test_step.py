"""The step of a worker, with the exchange played by the test."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")


@pytest.fixture
def made(job):
    """Everything that a step needs, and a batch."""
    from astro_deepgalaxy_horovod.step import TrainingStep, WeightedLosses

    from astro_deepgalaxy.store.joined import open_stores
    from astro_deepgalaxy.store.loader import batches
    from astro_deepgalaxy.trainers.compiled import build_network, make_optimizer
    from astro_deepgalaxy.trainers.local import training_data

    def make(job, add=list, parts=1):
        rows, options = training_data(job)
        data = batches(open_stores(job.store), rows, **options)
        model = build_network(job).model(list(options["targets"]))
        optimizer = make_optimizer({"name": "sgd", "learning_rate": 0.5}, 1)
        model.compile(optimizer=optimizer, jit_compile=False)
        optimizer.build(model.trainable_variables)
        losses = WeightedLosses(job)
        step = TrainingStep(model, optimizer, losses, add, data.element_spec, parts)
        return model, step, next(iter(data))

    return make


def _scale(weights):
    return [[1 / max(float(tf.reduce_sum(w)), 1), 1.0] for w in weights.values()]


def test_is_the_step_of_keras(plain_job, made):
    """Against Keras's own train_on_batch, a second implementation."""
    from astro_deepgalaxy.trainers.compiled import build_network, compile_model

    model, step, (images, values, weights) = made(plain_job)
    report, _ = step(images, values, weights, _scale(weights), 1.0, 0.0)
    from dataclasses import replace

    other = replace(plain_job, optimizer={"name": "sgd", "learning_rate": 0.5})
    theirs, _ = compile_model(other, build_network(other), 1)
    loss = theirs.train_on_batch(images, values, weights)
    assert report.numpy()[-2] == pytest.approx(np.ravel(loss)[0], rel=1e-5)
    for mine, reference in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, reference, atol=1e-6)


def test_parts_of_a_batch_add_up(plain_job, made):
    whole, step, batch = made(plain_job)
    scale = _scale(batch[2])
    report, _ = step(*batch, scale, 1.0, 0.0)
    parted, step, _ = made(plain_job, parts=3)
    again, _ = step(*batch, scale, 1.0, 0.0)
    np.testing.assert_allclose(again, report, rtol=1e-5)
    for mine, reference in zip(parted.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(mine, reference, atol=1e-6)


def test_statistics_move_by_the_share_of_each_worker(job, made):
    """Two workers, one after the other: the statistics are those of a mean over the images."""
    sent = []

    def note(tensors):
        sent.append([t.numpy() for t in tensors])
        return tensors

    tf.config.run_functions_eagerly(True)
    try:
        model, step, (images, values, weights) = made(job, add=note)
        before = model.get_weights()
        step(images, values, weights, _scale(weights), 1.0, 0.0)
        model.set_weights(before)
        step(images, values, weights, _scale(weights), 0.25, 0.0)
    finally:
        tf.config.run_functions_eagerly(False)
    n = len(model.trainable_variables)
    assert len(step.statistics) == 4  # a mean and a variance of each of two batch norms
    for whole, quarter in zip(sent[0][n:-1], sent[1][n:-1], strict=True):
        np.testing.assert_allclose(quarter, whole / 4, atol=1e-7)
    assert max(np.abs(moved).max() for moved in sent[0][n:-1]) > 1e-3


def test_a_worker_without_images_does_not_count(job, made):
    sent = []

    def note(tensors):
        sent.append([t.numpy() for t in tensors])
        return tensors

    tf.config.run_functions_eagerly(True)
    try:
        _, step, (images, values, weights) = made(job, add=note)
        step(images, values, weights, _scale(weights), 0.0, 1.0)
    finally:
        tf.config.run_functions_eagerly(False)
    assert all((tensor == 0).all() for tensor in sent[0][:-1])
    np.testing.assert_array_equal(sent[0][-1], [0, 0, 0, 1])  # it can still ask to stop
