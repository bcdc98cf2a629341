import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy import CutoutStore
from astro_deepgalaxy.store import split_by_group


def fill(store, shards=None):
    rng = np.random.default_rng(0)
    images = rng.random((len(store), *store.image_shape), dtype=np.float32)
    for shard in store.pending if shards is None else shards:
        rows = store.rows_of(shard)
        ids = [f"galaxy é {i}" for i in range(rows.start, rows.stop)]
        table = QTable({"id": ids, "time_since_pericentre": np.arange(len(ids)) * u.Myr})
        store.write_shard(shard, images[rows], table)
    return images


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_read(tmp_path):
    store = CutoutStore.create(tmp_path / "s.zarr", 10, (4, 5, 2), {"recipe": [1]}, shard_rows=4)
    images = fill(store)
    again = CutoutStore.open(tmp_path / "s.zarr")
    assert again.attributes == {"recipe": [1]}
    assert np.array_equal(again.images[:], images)
    assert again.table["id"][9] == "galaxy é 9"
    assert again.table["time_since_pericentre"].unit == u.Myr
    rows = [9, 0, 5, 5, 3]
    assert np.array_equal(again.load(rows), images[rows])


def test_an_unfinished_store_goes_on_to_the_same_bytes(tmp_path):
    whole = CutoutStore.create(tmp_path / "whole.zarr", 10, (4, 4, 1), shard_rows=4)
    fill(whole)
    parted = CutoutStore.create(tmp_path / "parted.zarr", 10, (4, 4, 1), shard_rows=4)
    fill(parted, shards=[2])
    parted = CutoutStore.create(tmp_path / "parted.zarr", 10, (4, 4, 1), shard_rows=4)
    assert parted.pending == [0, 1]
    with pytest.raises(ValueError, match="2 of 3 shards are not written"):
        _ = parted.table
    fill(parted)
    assert contents(tmp_path / "whole.zarr") == contents(tmp_path / "parted.zarr")


@pytest.mark.parametrize("name", ["s.zarr", "s[1].zarr"])
def test_what_a_killed_writer_left_is_removed_and_a_neighbours_is_not(tmp_path, name):
    own, neighbour = tmp_path / f".partial-123-{name}", tmp_path / f".partial-123-x-{name}"
    for folder in (own, neighbour):
        folder.mkdir()
    CutoutStore.create(tmp_path / name, 10, (4, 4, 1))
    assert not own.exists()
    assert neighbour.exists()


@pytest.mark.parametrize(
    ("n", "shape", "attributes", "message"),
    [
        (11, (4, 4, 1), {"recipe": 1}, "holds 10 images"),
        (10, (5, 4, 1), {"recipe": 1}, "holds 10 images"),
        (10, (4, 4, 1), {"recipe": 2}, "another recipe"),
        (10, (4, 4, 1), {}, "another recipe"),
    ],
)
def test_another_store_in_the_same_place_is_refused(tmp_path, n, shape, attributes, message):
    CutoutStore.create(tmp_path / "s.zarr", 10, (4, 4, 1), {"recipe": 1})
    with pytest.raises(ValueError, match=message):
        CutoutStore.create(tmp_path / "s.zarr", n, shape, attributes)


def test_something_else_is_not_a_store(tmp_path):
    with pytest.raises(ValueError, match="not a cutout store"):
        CutoutStore.open(tmp_path)
    with pytest.raises(ValueError, match="not a cutout store"):
        CutoutStore.open(tmp_path / "missing")


def test_a_shard_takes_exactly_its_rows(tmp_path):
    store = CutoutStore.create(tmp_path / "s.zarr", 10, (4, 4, 1), shard_rows=4)
    with pytest.raises(ValueError, match="shard 2 takes 2 images"):
        store.write_shard(2, np.zeros((4, 4, 4, 1)), QTable({"id": list("abcd")}))
    with pytest.raises(ValueError, match="no shard 3"):
        store.rows_of(3)


@given(st.lists(st.sampled_from("abcdef"), min_size=2).filter(lambda g: len(set(g)) > 1))
def test_a_group_never_stands_on_both_sides(groups):
    kept, aside = split_by_group(groups, 0.3, seed=4)
    assert sorted([*kept, *aside]) == list(range(len(groups)))
    names = np.array(groups)
    assert set(names[kept])
    assert set(names[aside])
    assert not set(names[kept]) & set(names[aside])


def test_one_group_cannot_be_split():
    with pytest.raises(ValueError, match="at least two groups"):
        split_by_group(["a", "a"], 0.5)
