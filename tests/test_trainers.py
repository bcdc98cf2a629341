import json

import numpy as np
import pytest

from astro_deepgalaxy.labels import STAGES
from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig
from astro_deepgalaxy.store import CategoryTarget, CutoutStore, TimeTarget
from astro_deepgalaxy.trainers import TrainingJob
from astro_deepgalaxy.trainers.local import LocalTrainer


class Killed(Exception):
    pass


def make_job(store, folder, **changes):
    settings = {
        "network": {
            "input_shape": [32, 32, 1],
            "outputs": {"time_class": 71, "stage": 5},
            "backbone": "simple",
            "backbone_options": {"filters": [8, 16, 16]},
            "dropout": 0.3,
        },
        "store": str(store.path),
        "rows": {"train": list(range(256)), "validation": list(range(500, 600))},
        "targets": {
            "time_class": TimeTarget().to_dict(),
            "stage": CategoryTarget(STAGES, "stage").to_dict(),
        },
        "checkpoint": str(folder),
        "augment": {"shift": 0.1},
        "epochs": 3,
        "batch_size": 64,
        "seed": 2,
    }
    return TrainingJob(**(settings | changes))


def weights(result):
    network = GalaxyNetwork(
        NetworkConfig(
            (32, 32, 1),
            {"time_class": 71, "stage": 5},
            "simple",
            {"filters": [8, 16, 16]},
            dropout=0.3,
        )
    )
    network.load_weights(result.weights)
    return [v.numpy() for part in network.parts for v in getattr(network, part).weights]


@pytest.fixture(scope="module")
def uninterrupted(blob_store, tmp_path_factory):
    job = make_job(blob_store, tmp_path_factory.mktemp("whole"))
    return LocalTrainer(progress=False).fit(job)


def test_training_learns(uninterrupted):
    loss = uninterrupted.history["loss"]
    assert len(loss) == len(uninterrupted.history["val_loss"]) == 3
    assert loss[-1] < loss[0]
    assert uninterrupted.best_epoch == int(np.argmin(uninterrupted.history["val_loss"]))


def test_a_killed_job_goes_on_to_the_same_weights(blob_store, uninterrupted, tmp_path, monkeypatch):
    from astro_deepgalaxy.trainers import callbacks

    job = make_job(blob_store, tmp_path / "killed")
    whole_epoch = callbacks.Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise Killed
        whole_epoch(self, epoch, logs)

    monkeypatch.setattr(callbacks.Checkpoint, "on_epoch_end", killed)
    with pytest.raises(Killed):
        LocalTrainer(progress=False).fit(job)
    monkeypatch.undo()
    resumed = LocalTrainer(progress=False).fit(job)
    assert resumed.history == uninterrupted.history
    for ours, theirs in zip(weights(resumed), weights(uninterrupted), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_finished_job_is_not_run_again(blob_store, uninterrupted):
    job = make_job(blob_store, uninterrupted.weights.parent)
    before = (uninterrupted.weights / "encoder.weights.h5").stat().st_mtime_ns
    again = LocalTrainer(progress=False).fit(job)
    assert again.history == uninterrupted.history
    assert (again.weights / "encoder.weights.h5").stat().st_mtime_ns == before


def test_the_checkpoint_of_another_job_is_refused(blob_store, uninterrupted):
    job = make_job(blob_store, uninterrupted.weights.parent, seed=3)
    with pytest.raises(ValueError, match="checkpoint of another training job"):
        LocalTrainer(progress=False).fit(job)


def test_the_checkpoint_of_other_labels_or_weights_is_refused(blob_store, uninterrupted, tmp_path):
    folder = uninterrupted.weights.parent
    table = blob_store.table.copy()
    table["time_since_pericentre"] = table["time_since_pericentre"][::-1]
    other = CutoutStore.create(tmp_path / "other.zarr", 600, (32, 32, 1), shard_rows=600)
    other.write_shard(0, blob_store.load(np.arange(600)), table)
    for job in (
        make_job(other, folder),
        make_job(blob_store, folder, initial_weights=str(uninterrupted.weights)),
    ):
        with pytest.raises(ValueError, match="checkpoint of another training job"):
            LocalTrainer(progress=False).fit(job)


def test_training_starts_from_given_weights(blob_store, uninterrupted, tmp_path):
    optimizer = {"name": "sgd", "learning_rate": 1e-12}
    job = make_job(
        blob_store,
        tmp_path,
        initial_weights=str(uninterrupted.weights),
        optimizer=optimizer,
        epochs=1,
    )
    result = LocalTrainer(progress=False).fit(job)
    kernels = [w for w in weights(uninterrupted) if w.ndim > 1]
    for ours, theirs in zip([w for w in weights(result) if w.ndim > 1], kernels, strict=True):
        assert np.allclose(ours, theirs, atol=1e-6)


def test_a_loss_that_is_not_a_number_stops_the_job(blob_store, tmp_path):
    job = make_job(blob_store, tmp_path, optimizer={"name": "sgd", "learning_rate": 1e30})
    with pytest.raises(ValueError, match="loss is not a number"):
        LocalTrainer(progress=False).fit(job)


def test_jobs_are_data(blob_store, tmp_path):
    job = make_job(blob_store, tmp_path)
    assert TrainingJob.from_json(job.to_json()) == job
    assert json.loads(job.to_json())["epochs"] == 3
    moved = make_job(blob_store, tmp_path / "elsewhere")
    assert moved.digest == job.digest
    assert make_job(blob_store, tmp_path, epochs=4).digest != job.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "at least 1"),
        ({"rows": {"train": []}}, "no rows to train on"),
    ],
)
def test_impossible_jobs_are_refused(blob_store, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_job(blob_store, tmp_path, **changes)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"name": "adamant", "learning_rate": 1}, "unknown optimizer 'adamant'"),
        ({"name": "adam", "learning_rate": 1, "schedule": "jazz"}, "unknown schedule 'jazz'"),
    ],
)
def test_unknown_optimizers_are_refused(blob_store, tmp_path, optimizer, message):
    with pytest.raises(ValueError, match=message):
        LocalTrainer(progress=False).fit(make_job(blob_store, tmp_path, optimizer=optimizer))
