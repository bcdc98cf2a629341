import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from scipy.stats import norm

from astro_deepgalaxy.store import CategoryTarget, TimeTarget, target_from_dict
from astro_deepgalaxy.store.augment import Augmentation
from astro_deepgalaxy.store.loader import batches


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


def test_flips_keep_the_pixels_and_the_original():
    images = np.random.default_rng(0).random((20, 8, 8, 1), dtype=np.float32)
    before = images.copy()
    out = Augmentation(shift=0, noise=0, brightness=0)(images, np.random.default_rng(1))
    assert np.array_equal(images, before)
    assert np.allclose(np.sort(out.reshape(20, -1)), np.sort(images.reshape(20, -1)))
    symmetries = {
        image.tobytes()
        for image in Augmentation(shift=0, noise=0, brightness=0)(
            np.repeat(images[:1], 200, axis=0), np.random.default_rng(1)
        )
    }
    assert len(symmetries) == 8


def test_shift_moves_a_source_by_whole_pixels():
    image = np.zeros((1, 20, 20, 1), dtype=np.float32)
    image[0, 10, 10, 0] = 1
    shifted = Augmentation(flip=False, shift=0.2, noise=0, brightness=0)
    rng = np.random.default_rng(3)
    places = np.array([np.argwhere(shifted(image, rng)[0, ..., 0])[0] for _ in range(200)])
    assert np.abs(places - 10).max() == 4
    assert len(np.unique(places, axis=0)) > 40


def test_augmented_images_stay_in_range():
    images = np.random.default_rng(0).random((20, 8, 8, 3), dtype=np.float32)
    out = Augmentation(noise=0.5, brightness=0.9)(images, np.random.default_rng(1))
    assert out.dtype == np.float32
    assert 0 <= out.min() < out.max() <= 1


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


@pytest.mark.parametrize("in_memory", [True, False])
def test_shuffled_epochs_differ_yet_hold_every_row(blob_store, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr("astro_deepgalaxy.store.loader._IN_MEMORY_BYTES", 0)
    rows = np.arange(50, 550)
    epochs = [
        np.concatenate([x for x, _ in read(
            batches(blob_store, rows, targets(), 64, epochs=range(e, e + 1), shuffle=True, seed=3)
        )])
        for e in (0, 1)
    ]  # fmt: skip
    assert not np.array_equal(*epochs)
    expected = np.sort(blob_store.load(rows).sum(axis=(1, 2, 3)))
    for images in epochs:
        assert np.array_equal(np.sort(images.sum(axis=(1, 2, 3))), expected)


def test_a_later_epoch_is_the_same_without_the_earlier_ones(blob_store):
    options = {"shuffle": True, "augment": Augmentation(), "seed": 5}
    rows = range(100)
    both = read(batches(blob_store, rows, targets(), 50, epochs=range(2), **options))
    second = read(batches(blob_store, rows, targets(), 50, epochs=range(1, 2), **options))
    for (x, y), (x2, y2) in zip(both[2:], second, strict=True):
        assert np.array_equal(x, x2)
        assert np.array_equal(y, y2)


def test_no_rows_no_batches(blob_store):
    with pytest.raises(ValueError, match="no rows"):
        batches(blob_store, [], targets(), 8)
