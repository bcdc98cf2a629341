"""Real trainings by two processes."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astro_deepgalaxy_horovod.trainer import HorovodTrainer

from astro_deepgalaxy.trainers.local import LocalTrainer

pytestmark = pytest.mark.horovod


def test_two_workers_learn_what_one_learns_of_batches_twice_as_large(plain_job, tmp_path, weights):
    job = replace(
        plain_job, epochs=6, optimizer={"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}
    )
    two = HorovodTrainer(workers=2, rate_scaling="none").fit(job)
    local = replace(job, batch_size=16, checkpoint=str(tmp_path / "local"))
    one = LocalTrainer().fit(local)
    assert one.history["loss"][-1] < one.history["loss"][0]
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(two.history[name], one.history[name], rtol=1e-4)
    assert two.best_epoch == one.best_epoch
    mine, theirs = weights(two.weights), weights(one.weights)
    assert mine.keys() == theirs.keys()
    assert mine
    for name, values in theirs.items():
        np.testing.assert_allclose(mine[name], values, atol=2e-4)


def test_keeps_records(job, tmp_path):
    pytest.importorskip("tensorboard")
    job = replace(job, epochs=2)
    trainer = HorovodTrainer(
        workers=2,
        data="shards",
        reshuffle_every=1,
        accumulate=2,
        autotune=True,
        timeline=str(tmp_path / "t.json"),
        tensorboard=True,
    )
    result = trainer.fit(job)
    with (tmp_path / "checkpoint" / "epochs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["loss"]) for row in rows] == pytest.approx(result.history["loss"])
    # Cosine from 1e-2, times sqrt(2) for Adam after five epochs of warm-up: 3 steps an epoch.
    done = np.array([2, 5])
    cosine = 0.01 * (0.01 + 0.99 * (1 + np.cos(np.pi * (done - 1) / 5)) / 2)
    grown = 1 + (2**0.5 - 1) * done / 15
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == pytest.approx(cosine * grown, rel=1e-4)
    assert 0 < float(rows[1]["exchange"]) < 1
    assert float(rows[1]["images_per_second"]) == pytest.approx(
        2 * float(rows[1]["images_per_second_worker"])
    )
    lines = (tmp_path / "checkpoint" / "train_log.txt").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[Performance] Epoch 0 takes ")
    assert (tmp_path / "t.json").stat().st_size > 0
    assert list((tmp_path / "checkpoint" / "tensorboard").glob("events.*"))
    # As the package's trainers do: the same job again is not trained again, another is refused.
    assert trainer.fit(job).history == result.history
    with pytest.raises(ValueError, match="another training job"):
        trainer.fit(replace(job, seed=99))


def test_is_a_trainer():
    from astro_deepgalaxy.testing import check_trainer

    check_trainer("horovod", workers=2)


def test_workers_that_come_to_different_weights_are_found_out(job, run_worker):
    run_worker("alone")
    with pytest.raises(ChildProcessError, match="different weights in epoch 1: 1 not to those"):
        HorovodTrainer(workers=2).fit(job)


def test_a_loss_that_is_not_a_number(job, tmp_path):
    job = replace(job, optimizer={"name": "sgd", "learning_rate": 1e30})
    with pytest.raises(ValueError, match=r"not a number in epoch \d.*nan_batch\.json"):
        HorovodTrainer(workers=2, rate_scaling="none").fit(job)
    assert (tmp_path / "checkpoint" / "nan_batch.json").exists()


def test_fewer_images_than_workers(job):
    job = replace(job, rows={"train": [3]})
    with pytest.raises(ValueError, match="1 images to train on and 2 workers; ask for at most 1"):
        HorovodTrainer(workers=2).fit(job)


def test_other_hosts_by_ssh(job, ssh_here, monkeypatch, tmp_path):
    trainer = HorovodTrainer(hosts="127.0.0.2:1,127.0.0.3:1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="give the estimator a work_folder"):
        trainer.fit(job)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    result = trainer.fit(replace(job, epochs=1))
    assert np.isfinite(result.history["val_loss"]).all()


def test_from_the_estimator(store, tmp_path):
    from astro_deepgalaxy import MergerClassifier

    classifier = MergerClassifier(
        "simple",
        backbone_options={"filters": [4, 8]},
        epochs=2,
        batch_size=8,
        validation_fraction=0.25,
        trainer="horovod",
        trainer_options={"workers": 2},
        progress=False,
    )
    classifier.fit(store)
    catalogue = classifier.predict(store, rows=[0, 5])
    assert np.isfinite(catalogue["time_since_pericentre"]).all()


def test_all_tasks_at_once_with_images_without_labels(store):
    from astro_deepgalaxy import GalaxyEmbedder

    embedder = GalaxyEmbedder(
        "simple",
        backbone_options={"filters": [4, 8]},
        latent_size=4,
        hidden=8,
        filters=[8, 4],
        also={"reconstruct": {"filters": [8, 4]}, "classify": {}},
        epochs=2,
        batch_size=6,
        validation_fraction=0.25,
        labelled_fraction=0.5,
        trainer="horovod",
        trainer_options={"workers": 2, "data": "shards"},
        progress=False,
    )
    embedder.fit(store, rows=range(40), unlabelled=np.arange(40, 55))
    _, outputs = embedder.outputs(store, ["z", "reconstruction", "time_class"], rows=[56, 57])
    assert outputs["z"].shape == (2, 4)
    assert outputs["time_class"].sum(axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert all(np.isfinite(values).all() for values in outputs.values())


def test_by_mpi(job):
    import horovod.tensorflow as hvd

    if not hvd.mpi_built() or shutil.which("mpirun") is None:
        pytest.skip("Horovod is built without MPI")
    result = HorovodTrainer(workers=2, controller="mpi").fit(job)
    assert result.history["loss"][-1] < result.history["loss"][0]
