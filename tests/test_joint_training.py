"""Several tasks on one network, labelled and unlabelled images, and what stops a training."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from astro_deepgalaxy import (
    GalaxyEmbedder,
    ImageReconstructor,
    MergerClassifier,
    Recipe,
    load_model,
)
from astro_deepgalaxy.flags import Flag
from astro_deepgalaxy.store import CutoutStore, groups_of, split_by_group
from astro_deepgalaxy.tasks.novelty import Novelty
from astro_deepgalaxy.tasks.training_plan import training_job

SMALL = {
    "backbone": "simple",
    "backbone_options": {"filters": [4, 8, 8]},
    "epochs": 2,
    "batch_size": 64,
    "progress": False,
}
ALSO = {
    "reconstruct": {"weight": 5.0, "filters": [8, 8, 4]},
    "embed": {"latent_size": 4, "hidden": 16},
}


@pytest.fixture(scope="module")
def joint(blob_store, tmp_path_factory):
    """A classifier that was trained together with the other tasks, and its folder."""
    classifier = MergerClassifier(**SMALL, also=ALSO, validation_fraction=0.4).fit(blob_store)
    folder = tmp_path_factory.mktemp("joint") / "model"
    classifier.save(folder)
    return classifier, folder


def test_a_joint_model_is_loaded_as_each_of_its_tasks(joint, blob_store):
    classifier, folder = joint
    rows = [5, 3, 400]
    z = GalaxyEmbedder.load(folder).predict(blob_store, rows=rows)["z"]
    assert z.shape == (3, 4)
    again = ImageReconstructor.load(folder).predict(blob_store, rows=rows)
    assert (again["reconstruction_error"] > 0).all()
    main = load_model(folder)
    assert isinstance(main, MergerClassifier)
    assert np.array_equal(
        main.predict(blob_store, rows=rows)["time_probabilities"],
        classifier.predict(blob_store, rows=rows)["time_probabilities"],
    )
    assert np.array_equal(main.outputs(blob_store, ["z"], rows)[1]["z"], z)


def test_a_model_of_one_task_is_not_loaded_as_another(blob_store, tmp_path):
    ImageReconstructor(**SMALL).fit(blob_store).save(tmp_path / "fcae")
    with pytest.raises(ValueError, match="model of the task 'reconstruct', not 'embed'"):
        GalaxyEmbedder.load(tmp_path / "fcae")


def test_an_image_unlike_all_others_is_novel(joint, blob_store):
    classifier, _ = joint
    rng = np.random.default_rng(0)
    usual = classifier.predict(blob_store, rows=np.arange(0, 600, 7))["novelty"]
    z = classifier.outputs(blob_store, ["z"], np.arange(50))[1]["z"]
    far = classifier.novelty_.score(z + 100 * rng.standard_normal(z.shape))
    assert (far == 1).all()
    assert (usual > 0.99).mean() < 0.05


def test_a_classifier_takes_over_and_freezes_an_encoder(joint, blob_store):
    _, folder = joint
    classifier = MergerClassifier(**SMALL, initial_weights=str(folder), freeze=("encoder",))
    classifier.fit(blob_store)
    before = load_model(folder).network_
    for old, new in zip(before.encoder.weights, classifier.network_.encoder.weights, strict=True):
        assert np.array_equal(old.numpy(), new.numpy())
    kernels = (
        net.classifier.get_layer("time_class").kernel for net in (before, classifier.network_)
    )
    assert not np.array_equal(*(kernel.numpy() for kernel in kernels))


def test_weights_of_another_architecture_are_refused(joint, blob_store):
    _, folder = joint
    other = SMALL | {"backbone_options": {"filters": [4, 8, 16]}}
    with pytest.raises(ValueError, match=r"encoder.weights.h5: not the weights of the encoder"):
        MergerClassifier(**other, initial_weights=str(folder)).fit(blob_store)


def test_a_frozen_part_must_exist(blob_store):
    with pytest.raises(ValueError, match="cannot freeze decoder: the network has the parts"):
        MergerClassifier(**SMALL, freeze=("decoder",)).fit(blob_store)


def test_rows_without_labels_move_the_decoder_but_not_the_classifier(blob_store):
    rows = np.arange(0, 64)
    settings = SMALL | {"epochs": 1, "augment": False}
    also = {"reconstruct": {"filters": [8, 8, 4]}}

    def trained(unlabelled, weight):
        model = MergerClassifier(
            **settings,
            also={"reconstruct": also["reconstruct"] | {"weight": weight}},
            validation_fraction=0.0,
            initial_weights=None,
            freeze=("encoder",),
        )
        return model.fit(blob_store, rows=rows, unlabelled=unlabelled)

    alone, more = trained(None, 1.0), trained(np.arange(100, 164), 1.0)
    assert more.training_["images"] == {"train": 64, "unlabelled": 64}
    deepest = "stage1_0_conv"
    kernels = [net.network_.decoder.get_layer(deepest).kernel.numpy() for net in (alone, more)]
    assert not np.array_equal(*kernels)


def test_unlabelled_images_need_a_task_that_learns_from_them(blob_store):
    with pytest.raises(ValueError, match="unlabelled images teach this model nothing"):
        MergerClassifier(**SMALL).fit(
            blob_store, rows=np.arange(300), unlabelled=np.arange(400, 500)
        )


def test_a_row_is_labelled_or_not(blob_store):
    model = MergerClassifier(**SMALL, also={"reconstruct": {}})
    with pytest.raises(ValueError, match="cannot be both"):
        model.fit(blob_store, rows=np.arange(300), unlabelled=np.arange(299, 310))


def test_a_loss_that_is_not_a_number_names_its_images(blob_store, tmp_path):
    path = tmp_path / "bad.zarr"
    bad = CutoutStore.create(path, 64, (32, 32, 1), {}, shard_rows=64)
    images = blob_store.load(np.arange(64))
    images[17] = np.nan
    bad.write_shard(0, images, blob_store.table[:64])
    work = tmp_path / "work"
    model = MergerClassifier(
        **(SMALL | {"batch_size": 8}), augment=False, validation_fraction=0.0, work_folder=work
    )
    with pytest.raises(ValueError, match="not a number in epoch 1, batch"):
        model.fit(bad)
    found = json.loads((work / "training" / "nan_batch.json").read_text())
    assert "blob17" in found["ids"]
    assert len(found["ids"]) == 8


def test_class_numbers_are_learned_and_checked(blob_store, tmp_path):
    store = CutoutStore.create(tmp_path / "c.zarr", 600, (32, 32, 1), {}, shard_rows=600)
    table = blob_store.table.copy()
    table["number"] = np.arange(600) % 71
    store.write_shard(0, blob_store.load(np.arange(600)), table)
    catalogue = MergerClassifier(**SMALL, time_column="number").fit(store).predict(store, rows=[1])
    assert catalogue["time_class"].shape == (1,)
    table["number"] = np.arange(600) % 80
    wrong = CutoutStore.create(tmp_path / "w.zarr", 600, (32, 32, 1), {}, shard_rows=600)
    wrong.write_shard(0, blob_store.load(np.arange(600)), table)
    with pytest.raises(ValueError, match="has the class 71, and the time scale has the classes 0"):
        MergerClassifier(**SMALL, time_column="number").fit(wrong)


def test_a_mixture_gives_continuous_times(blob_store):
    model = MergerClassifier(**SMALL, time_components=3, test_time_augmentation=True)
    catalogue = model.fit(blob_store).predict(blob_store, rows=np.arange(40))
    assert (catalogue["time_lower"] < catalogue["time_since_pericentre"]).all()
    assert (catalogue["time_since_pericentre"] < catalogue["time_upper"]).all()
    assert catalogue["time_since_pericentre"].unit == u.Myr


def test_test_time_augmentation_is_blind_to_the_symmetries(joint, blob_store, tmp_path):
    classifier, _ = joint
    image = blob_store.load([0])[0] + np.linspace(0, 0.3, 32)[:, None, None].astype(np.float32)
    views = [image, image[::-1], image[:, ::-1], image.transpose(1, 0, 2)]
    store = CutoutStore.create(tmp_path / "v.zarr", 4, (32, 32, 1), {})
    table = blob_store.table[:4]
    store.write_shard(0, np.clip(np.stack(views), 0, 1), table)
    classifier.set_params(test_time_augmentation=True)
    blind = classifier.predict(store)["time_probabilities"]
    classifier.set_params(test_time_augmentation=False)
    plain = classifier.predict(store)["time_probabilities"]
    assert np.abs(blind - blind[0]).max() < 1e-5 < np.abs(plain - plain[0]).max()


@pytest.fixture(scope="module")
def with_ratios(blob_store, tmp_path_factory):
    """A classifier that also learned the mass ratio, where it is known, and its store."""
    table = blob_store.table.copy()
    time = table["time_since_pericentre"].value
    table["is_merger"] = time > 100
    table["mass_ratio"] = np.where(time > 0, np.clip(time / 520, 0.1, 1), np.nan)
    path = tmp_path_factory.mktemp("ratios") / "m.zarr"
    store = CutoutStore.create(path, 600, (32, 32, 1), {}, shard_rows=600)
    store.write_shard(0, blob_store.load(np.arange(600)), table)
    settings = SMALL | {"epochs": 12, "learning_rate": 5e-3}
    return MergerClassifier(**settings, validation_fraction=0.4).fit(store), store


def test_is_merger_and_mass_ratio_are_learned_where_they_are_known(with_ratios):
    model, store = with_ratios
    catalogue, table = model.predict(store), store.table
    time = table["time_since_pericentre"].value
    right = (catalogue["merger_probability"] > 0.5) == table["is_merger"]
    assert right.mean() > 0.9
    unlikely = (catalogue["flags"] & int(Flag.UNLIKELY_MERGER)) != 0
    assert np.array_equal(unlikely, catalogue["merger_probability"] < 0.5)
    late = time > 200
    assert np.median(np.abs(catalogue["mass_ratio"] - np.asarray(table["mass_ratio"]))[late]) < 0.15
    assert (catalogue["mass_ratio_lower"] < catalogue["mass_ratio_upper"]).all()


def test_intervals_of_the_mass_ratio_are_calibrated_too(with_ratios, tmp_path):
    fitted, store = with_ratios
    fitted.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    calibration = model.conformal_["mass_ratio"]
    assert calibration.to_dict() == fitted.conformal_["mass_ratio"].to_dict()
    assert calibration.groups == 4
    half = calibration.half_width(model.interval)
    assert abs(half - model.interval / 2) > 0.01  # the network's own would not do
    rows = [0, 7, 300]
    catalogue = model.predict(store, rows=rows)
    assert catalogue.meta["mass_ratio_calibrated"]
    own = model.density("mass_ratio", model.outputs(store, ["mass_ratio"], rows)[1]["mass_ratio"])
    for side, place in (("lower", 0.5 - half), ("upper", 0.5 + half)):
        assert np.allclose(own.cdf(catalogue[f"mass_ratio_{side}"]), place, atol=1e-3)


def test_intervals_are_calibrated_when_enough_groups_are_aside(joint, blob_store):
    classifier, _ = joint
    assert classifier.conformal_["time_since_pericentre"].groups == 4
    assert classifier.predict(blob_store, rows=[0]).meta["calibrated"]
    classifier.set_params(interval=0.95)
    with pytest.raises(ValueError, match="calibration groups"):
        classifier.predict(blob_store, rows=[0])
    classifier.set_params(interval=0.68)


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"nope": {}}, "unknown task 'nope'"),
        ({"embed": {"latnt_size": 4}}, "'embed' has no parameter 'latnt_size'; it has weight, al"),
        ({"embed": {"weight": -1}}, "the weight of 'embed' must be 0 or more; got -1"),
        ({"embed": {"weight": "much"}}, "the weight of 'embed' must be 0 or more; got 'much'"),
        (["embed"], "also must be {task: {option: value}}; got"),
        ({"classify": {}}, "two tasks train the output stage, time_class"),
        (
            {"reconstruct": {"filters": [8, 8, 4]}, "embed": {"filters": [4, 4, 4]}},
            "want another decoder",
        ),
    ],
)
def test_tasks_that_do_not_go_together_are_refused(blob_store, also, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MergerClassifier(**SMALL, also=also).fit(blob_store)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "nope"}, "unknown backbone 'nope'"),
        ({"engine": "nope"}, "unknown engine 'nope'"),
        ({"optimizer": {"schedule": "constant"}}, "optimizer must be the name"),
        ({"augment": {"spin": 3}}, "known options are flip"),
        ({"recipe": Recipe.default(32)}, "not made with the recipe of this MergerClassifier"),
        ({"initial_weights": "."}, "no encoder.weights.h5 to start from"),
        ({"time_loss": "sparse_categorical_crossentropy"}, "set target_width to 0"),
    ],
)
def test_wrong_settings_are_refused_before_training(blob_store, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MergerClassifier(**(SMALL | settings)).fit(blob_store)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": np.arange(600) < 50}, "rows must be a list of row numbers (of a mask"),
        ({"rows": [0, 600]}, "rows must be within 0 and 599"),
        ({"rows": [0], "unlabelled": [-1]}, "unlabelled must be within 0 and 599"),
        ({"labels": QTable({"id": ["a"]})}, "labels are for raw images"),
    ],
)
def test_rows_and_labels_must_fit_the_store(blob_store, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MergerClassifier(**SMALL).fit(blob_store, **given)


def test_rows_of_no_store_and_no_rows_at_all(joint, blob_store):
    classifier, _ = joint
    with pytest.raises(ValueError, match="rows must be within 0 and 599"):
        classifier.predict(blob_store, rows=[-1])
    about, outputs = classifier.outputs(blob_store, ["z", "time_class"], rows=[])
    assert len(about) == 0
    assert outputs["z"].shape == (0, 4)
    assert outputs["time_class"].shape == (0, 71)
    raw = MergerClassifier()
    raw.network_, raw.recipe_ = classifier.network_, Recipe.default(32)
    with pytest.raises(ValueError, match="these are not the images of a store"):
        raw.outputs(np.zeros((40, 40)), ["z"], rows=[0])


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (np.arange(8) * u.Gyr + 9 * u.Gyr, "inside the time scale, which goes from -190 Myr to"),
        (np.arange(8) * u.kpc, "'time' has the unit kpc; Myr is needed"),
        (np.arange(8.0), "'time' has the unit none; Myr is needed"),
        (["late"] * 8, "the label column 'time' does not hold numbers"),
        (np.full(8, -1), "no image has a time in the label column 'time'"),
    ],
)
def test_times_that_cannot_be_learned_are_refused(time, message):
    with pytest.raises(ValueError, match=message):
        MergerClassifier(time_column="time")._targets(QTable({"time": time}))


def test_class_numbers_that_are_not_known_do_not_count():
    table = QTable({"number": [70, -1, -1, 70, 69], "stage": [""] * 5})
    model = MergerClassifier(time_column="number")
    assert list(model._targets(table)) == ["time_class"]  # of the stages none is known
    assert model.training_median_ == 515 * u.Myr
    with pytest.raises(ValueError, match="'ordinal' is for times, and the label column 'number'"):
        MergerClassifier(time_column="number", time_loss="ordinal")._targets(table)


def test_nothing_of_the_groups_aside_is_seen_without_labels(blob_store, tmp_path):
    model, also = MergerClassifier(**SMALL, validation_fraction=0.3), ImageReconstructor()
    rows, others = np.arange(0, 300), np.arange(300, 600)
    job = training_job([(model, 1.0), (also, 1.0)], blob_store, rows, others, tmp_path)
    groups = groups_of(blob_store.table)
    aside, unlabelled = (set(groups[job.rows[name]]) for name in ("validation", "unlabelled"))
    assert len(aside) == 3
    assert unlabelled == set(groups) - aside


def test_settings_may_be_numbers_of_numpy(blob_store, tmp_path):
    settings = {"epochs": np.int64(3), "seed": np.int32(5), "learning_rate": np.float32(0.5)}
    model = MergerClassifier(**(SMALL | settings), interval=np.float32(0.5))
    job = training_job([(model, 1.0)], blob_store, np.arange(600), np.arange(0), tmp_path)
    assert (job.epochs, job.seed, job.optimizer["learning_rate"]) == (3, 5, 0.5)
    assert model._plain_parameters()["interval"] == 0.5


def test_a_loaded_model_can_be_trained_again_as_it_was(joint):
    again = load_model(joint[1])
    assert again.time_scale == again.time_scale_
    assert again.get_params()["also"] == ALSO


def test_views_are_averaged_of_answers_only(joint, blob_store):
    classifier, _ = joint
    names = ["time_class", "reconstruction", "z"]
    plain = classifier.outputs(blob_store, names, rows=[3])[1]
    classifier.set_params(test_time_augmentation=True)
    turned = classifier.outputs(blob_store, names, rows=[3])[1]
    # The intervals were calibrated without these views.
    meta = classifier.predict(blob_store, rows=[3]).meta
    classifier.set_params(test_time_augmentation=False)
    assert not np.array_equal(plain["time_class"], turned["time_class"])
    assert np.array_equal(plain["reconstruction"], turned["reconstruction"])
    assert np.array_equal(plain["z"], turned["z"])
    assert not meta["calibrated"]


def test_groups_that_were_trained_on_calibrate_nothing(joint, blob_store):
    model = load_model(joint[1])
    rows = {"train": list(range(0, 100)), "validation": list(range(100, 200))}
    model._after_fit(blob_store, SimpleNamespace(rows=rows, seed=0))
    assert model.conformal_ == {}
    assert not model.predict(blob_store, rows=[0]).meta["calibrated"]


def test_one_usual_image_still_tells_near_from_far():
    z = np.random.default_rng(0).standard_normal((50, 3))
    novelty = Novelty.fit(z[1:], z[:1])
    assert novelty.score(np.stack([z[1], z[0] + 100])).tolist() == [0.0, 1.0]
    again = Novelty.from_dict(json.loads(json.dumps(novelty.to_dict())))
    assert np.array_equal(again.references, novelty.references)


def test_a_validation_loss_that_is_not_a_number_stops_too(blob_store, tmp_path):
    bad = CutoutStore.create(tmp_path / "bad.zarr", 64, (32, 32, 1), {}, shard_rows=64)
    images = blob_store.load(np.arange(64))
    images[[row for row in range(64) if row % 10 == 3]] = np.nan
    bad.write_shard(0, images, blob_store.table[:64])
    seed = next(
        seed for seed in range(100) if 3 in split_by_group(bad.table["group"], 0.2, seed)[1]
    )
    work = tmp_path / "work"
    model = MergerClassifier(
        **(SMALL | {"batch_size": 8}), validation_fraction=0.2, seed=seed, work_folder=work
    )
    with pytest.raises(ValueError, match="validation loss is not a number in epoch 1, batch"):
        model.fit(bad)
    found = json.loads((work / "training" / "nan_batch.json").read_text())
    assert found["split"] == "validation"
    assert {"blob3", "blob13"} & set(found["ids"])


def test_a_store_is_not_both_labelled_and_unlabelled(blob_store):
    with pytest.raises(ValueError, match="is given with its labels already"):
        MergerClassifier(**SMALL, also=ALSO).fit(blob_store, unlabelled=blob_store.path)
