import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, vstack
from scipy.stats import norm

from astro_deepgalaxy.labels import TimeScale
from astro_deepgalaxy.store import (
    BooleanTarget,
    CategoryTarget,
    ClassTarget,
    ImageTarget,
    NoTarget,
    TimeTarget,
    ValueTarget,
    target_from_dict,
)
from astro_deepgalaxy.store.augment import Augmentation
from astro_deepgalaxy.store.loader import batches, epoch_rows


def test_time_target_is_a_gaussian_over_the_classes():
    target, weight = TimeTarget(width=15).encode(
        QTable({"time_since_pericentre": [100.0, np.nan, 900.0] * u.Myr})
    )
    edges = TimeTarget().scale.edges.value
    assert np.allclose(target[0], np.diff(norm.cdf(edges, 100, 15)), atol=1e-6)
    assert weight.tolist() == [1, 0, 0]
    assert not target[1:].any()


def test_time_target_of_no_width_is_one_class():
    target, _ = TimeTarget(width=0).encode(QTable({"time_since_pericentre": [100.0] * u.Myr}))
    assert target.sum() == 1
    assert target[0, 29] == 1


def test_category_target_leaves_unknown_names_out():
    target, weight = CategoryTarget(("a", "b"), "kind").encode(QTable({"kind": ["b", "", "a"]}))
    assert target.tolist() == [[0, 1], [0, 0], [1, 0]]
    assert weight.tolist() == [1, 0, 1]


@pytest.mark.parametrize("target", [TimeTarget(width=3), CategoryTarget(("a", "b"), "kind")])
def test_targets_survive_as_data(target):
    assert target_from_dict(target.to_dict()) == target


def read(dataset):
    return [(x.numpy(), y["stage"].numpy()) for x, y, _ in dataset]


def targets():
    from astro_deepgalaxy.labels import STAGES

    return {"stage": CategoryTarget(STAGES, "stage")}


def test_batches_pair_images_with_their_labels(blob_store):
    rows = np.arange(0, 600, 7)
    seen = read(batches(blob_store, rows, targets(), 32))
    images = np.concatenate([x for x, _ in seen])
    labels = np.concatenate([y for _, y in seen])
    assert np.array_equal(images, blob_store.load(rows))
    assert np.array_equal(labels, targets()["stage"].encode(blob_store.table[rows])[0])


@pytest.fixture(params=["in memory", "by shard"])
def place(request, monkeypatch):
    """Where the images come from: both ways must do."""
    if request.param == "by shard":
        monkeypatch.setattr("astro_deepgalaxy.store.loader._IN_MEMORY_BYTES", 0)
        monkeypatch.setattr("astro_deepgalaxy.store.loader._BLOCK_BYTES", 2**19)


def test_shuffled_epochs_differ_yet_hold_every_row(blob_store, place):
    rows = np.arange(50, 550)
    options = {"shuffle": True, "seed": 3}
    epochs = []
    for epoch in range(2):
        dataset = batches(
            blob_store, rows, targets(), 64, epochs=range(epoch, epoch + 1), **options
        )
        images = np.concatenate([x for x, _ in read(dataset)])
        epochs.append(np.concatenate(epoch_rows(blob_store, rows, targets(), 64, epoch, **options)))
        assert np.array_equal(images, blob_store.load(epochs[-1]))
    assert not np.array_equal(*epochs)
    for epoch in epochs:
        assert np.array_equal(np.sort(epoch), rows)


def test_a_later_epoch_is_the_same_without_the_earlier_ones(blob_store, place):
    options = {"shuffle": True, "augment": Augmentation(), "seed": 5}
    rows = range(100)
    both = read(batches(blob_store, rows, targets(), 50, epochs=range(2), **options))
    second = read(batches(blob_store, rows, targets(), 50, epochs=range(1, 2), **options))
    for (x, y), (x2, y2) in zip(both[2:], second, strict=True):
        assert np.array_equal(x, x2)
        assert np.array_equal(y, y2)


@pytest.mark.parametrize("threads", [1, 8])
def test_an_epoch_is_that_of_its_rows_and_seeds(blob_store, threads):
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    rows, augment = np.arange(300, 400), Augmentation()
    dataset = batches(
        *(blob_store, rows, {"image": ImageTarget(), **targets()}, 32),
        epochs=range(4, 5), shuffle=True, augment=augment, seed=2,
    )  # fmt: skip
    seen = list(dataset.with_options(options))
    order = epoch_rows(blob_store, rows, targets(), 32, 4, shuffle=True, seed=2)
    assert [len(images) for images, _, _ in seen] == [32, 32, 32, 4]
    for chosen, (images, values, weights) in zip(order, seen, strict=True):
        alone = chosen[-2:]
        expected = augment(blob_store.load(alone), augment.seeds(2, 4, alone))
        np.testing.assert_allclose(images[-2:], expected, atol=1e-5)
        # What the network is to draw is what it is shown.
        assert np.array_equal(values["image"], images)
        assert np.array_equal(weights["image"], np.ones(len(chosen)))
        labels = targets()["stage"].encode(blob_store.table[chosen])[0]
        assert np.array_equal(values["stage"], labels)


class FewLabels:
    """Labels of the rows whose numbers are given, as a target."""

    size = 1

    def __init__(self, *known):
        self.known = np.array(known)

    def encode(self, table):
        number = np.array([int(name.removeprefix("blob")) for name in table["id"]])
        return number[:, np.newaxis].astype("f4"), np.isin(number, self.known).astype("f4")


@pytest.mark.parametrize(("fraction", "batch_size"), [(0.07, 16), (0.9, 50)])
def test_each_batch_has_its_share_of_labels(blob_store, place, fraction, batch_size):
    rows = np.arange(100, 500)
    few = {"few": FewLabels(101, 250, 300, 444), "image": ImageTarget(), "loss": NoTarget()}
    options = {"labelled_fraction": fraction, "shuffle": True}
    shares, others = [], []
    for epoch in range(2):
        seen = list(
            batches(blob_store, rows, few, batch_size, epochs=range(epoch, epoch + 1), **options)
        )
        expected = epoch_rows(blob_store, rows, few, batch_size, epoch, **options)
        assert len(seen) == len(expected) == -(-len(rows) // batch_size)
        for (images, values, weights), chosen in zip(seen, expected, strict=True):
            known = np.isin(chosen, few["few"].known)
            assert abs(known.sum() - fraction * len(chosen)) < 1 + 1e-6
            assert np.array_equal(weights["few"], known)
            assert np.array_equal(values["few"][:, 0], chosen)
            assert np.array_equal(images, blob_store.load(chosen))
        shares.append(np.concatenate(expected))
        others.append(shares[-1][~np.isin(shares[-1], few["few"].known)])
    # Labelled ones take turns, the others come once at most, and other ones in other epochs.
    counts = [np.count_nonzero(shares[0] == row) for row in few["few"].known]
    assert max(counts) - min(counts) <= 1
    assert len(np.unique(others[0])) == len(others[0])
    assert not np.array_equal(*shares)


def test_an_image_that_comes_again_in_an_epoch_is_changed_anew(blob_store):
    rows, few = np.arange(100, 140), {"few": FewLabels(101, 120)}
    options = {"labelled_fraction": 0.5, "shuffle": True, "seed": 3}
    augment = Augmentation()
    data = batches(blob_store, rows, few, 8, augment=augment, **options)
    images = np.concatenate([images for images, _, _ in data])
    order = np.concatenate(epoch_rows(blob_store, rows, few, 8, 0, **options))
    again = images[order == 101]
    assert len(again) == 10
    assert len(np.unique(again.reshape(10, -1), axis=0)) == 10
    # The first time is what it would be in an epoch without repetition.
    expected = augment(blob_store.load([101]), augment.seeds(3, 0, [101]))[0]
    np.testing.assert_allclose(again[0], expected, atol=1e-5)


def test_a_share_of_labels_needs_both_kinds(blob_store):
    rows = range(10, 20)
    for known, message in (([1], "none of the 10 rows has"), (range(600), "none .* lacks")):
        with pytest.raises(ValueError, match=message):
            batches(blob_store, rows, {"few": FewLabels(*known)}, 4, labelled_fraction=0.5)
    with pytest.raises(ValueError, match="labelled_fraction must be between 0 and 1; got 1"):
        batches(blob_store, rows, {"few": FewLabels(10)}, 4, labelled_fraction=1)


def test_a_network_is_traced_once(blob_store):
    import tensorflow as tf

    @tf.function
    def step(iterator):
        images, values, _ = next(iterator)
        return tf.reduce_sum(images) + tf.reduce_sum(values["stage"])

    dataset = batches(blob_store, range(70), targets(), 32, epochs=range(3), augment=Augmentation())
    iterator = iter(dataset)
    for _ in range(9):
        step(iterator)
    assert step.experimental_get_tracing_count() == 1


def test_large_stores_are_not_held_in_memory(blob_store, place, monkeypatch):
    largest = 0
    load = type(blob_store).load

    def counted(store, rows):
        nonlocal largest
        largest = max(largest, len(rows))
        return load(store, rows)

    monkeypatch.setattr(type(blob_store), "load", counted)
    in_memory = sum(1 for _ in batches(blob_store, range(600), targets(), 50, shuffle=True)) == 12
    assert in_memory
    from astro_deepgalaxy.store import loader

    assert largest == (600 if loader._IN_MEMORY_BYTES else 2**19 // (4 * 32 * 32) // 50 * 50)


def test_no_rows_no_batches(blob_store):
    with pytest.raises(ValueError, match="no rows"):
        batches(blob_store, [], targets(), 8)


@pytest.mark.parametrize(
    "target",
    [
        TimeTarget(column="time"),
        ClassTarget(71, "time", TimeScale()),
        ClassTarget(9, "class"),
        CategoryTarget(("merged",), "stage"),
        BooleanTarget("is_merger"),
        ValueTarget("mass_ratio", log=True),
        ValueTarget("time", unit="Myr"),
    ],
    ids=lambda target: f"{target.kind} {target.column}",
)
def test_rows_that_come_from_a_table_without_the_column_have_no_label(target):
    known = QTable(
        {
            "id": ["a"],
            "time": [5.0] * u.Myr,
            "class": [3],
            "stage": ["merged"],
            "is_merger": [False],
            "mass_ratio": [0.5],
        }
    )
    values, weights = target.encode(vstack([known, QTable({"id": ["b"]})]))
    assert weights.tolist() == [1, 0]
    assert not np.ma.isMaskedArray(weights)
    assert np.isfinite(np.asarray(values)).all()
