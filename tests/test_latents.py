import json

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable

from astro_deepgalaxy.search import LatentSet
from astro_deepgalaxy.store import CutoutStore


def make(n=6, first=0, model="abc", **columns):
    rng = np.random.default_rng(first)
    table = QTable({"id": [f"image{i}" for i in range(first, first + n)], **columns})
    return LatentSet(rng.normal(size=(n, 4)), table, model)


def store(path, n, value):
    made = CutoutStore.create(path, n, (12, 12, 1))
    images = np.full((n, 12, 12, 1), value) + 0.01 * np.arange(n)[:, None, None, None]
    made.write_shard(0, images, QTable({"id": [f"{path.name}{i}" for i in range(n)]}))
    return made


def test_a_set_survives_saving(tmp_path):
    truth = MaskedColumn([True, False, True, True, False, False], mask=[0, 0, 1, 0, 0, 1])
    latents = make(
        group=["a", "a", "b", "b", "", "c"],
        time_since_pericentre=[1, 2, np.nan, 4, 5, 6] * u.Gyr,
        stage=["merged", "", "separated", "", "", "merged"],
        is_merger=truth,
        camera=MaskedColumn([1, 2, 3, 4, 5, 6], mask=[0, 1, 0, 0, 0, 0]),
        unknown=np.arange(6),
    )
    latents.save(tmp_path / "set")
    again = LatentSet.load(tmp_path / "set")
    assert isinstance(again.vectors.base, np.memmap)
    assert np.array_equal(again.vectors, latents.vectors)
    assert again.model == "abc"
    assert again.table.colnames == [
        *("id", "group", "time_since_pericentre", "stage", "is_merger", "camera")
    ]
    assert again.column("group").tolist() == ["a", "a", "b", "b", "", "c"]
    assert np.allclose(
        again.column("time_since_pericentre").to_value(u.Myr),
        [1000, 2000, np.nan, 4000, 5000, 6000],
        equal_nan=True,
    )
    assert again.column("camera").tolist() == [1, -1, 3, 4, 5, 6]
    assert again.table["is_merger"].dtype == bool
    assert again.table["is_merger"].mask.tolist() == truth.mask.tolist()
    assert again.column("is_merger").tolist() == [True, False, False, True, False, False]


def test_columns_that_are_not_there_are_gaps():
    latents = make(2)
    assert latents.column("group").tolist() == ["", ""]
    assert latents.column("camera").tolist() == [-1, -1]
    assert np.isnan(latents.column("mass_ratio")).all()
    assert latents.column("time_since_pericentre").unit == u.Myr


def test_parts_of_a_set():
    latents = make()
    part = latents[[4, 1]]
    assert part.table["id"].tolist() == ["image4", "image1"]
    assert np.array_equal(part.vectors, latents.vectors[[4, 1]])
    assert part.model == "abc"
    assert len(latents[np.arange(6) > 2]) == 3
    assert latents[2].table["id"].tolist() == ["image2"]


def test_images_come_from_their_stores(tmp_path):
    first, second = store(tmp_path / "a", 3, 0.1), store(tmp_path / "b", 4, 0.5)
    sets = [
        LatentSet(
            np.eye(len(one), 4),
            QTable({"id": one.table["id"], "store": [0] * len(one), "store_row": range(len(one))}),
            stores=[one.path],
        )
        for one in (first, second)
    ]
    latents = sets[0].append(sets[1][[3, 0]])
    assert latents.stores == (str(first.path), str(second.path))
    images = latents.images([4, 2, 3])
    assert np.allclose(images[:, 0, 0, 0], [0.5, 0.12, 0.53])
    latents.save(tmp_path / "set")
    assert np.array_equal(LatentSet.load(tmp_path / "set").images([4, 2, 3]), images)
    with pytest.raises(ValueError, match="were not made from a store"):
        make().images([0])
    mixed = latents.append(make(2, model=""))
    assert np.array_equal(mixed.images([4]), images[:1])
    with pytest.raises(ValueError, match="some of these latents were not made from a store"):
        mixed.images([4, 5])


def test_appending():
    both = make(3, group=["a", "b", "c"]).append(make(2, 3, camera=[7, 8]))
    assert both.table["id"].tolist() == [f"image{i}" for i in range(5)]
    assert both.column("group").tolist() == ["a", "b", "c", "", ""]
    assert both.column("camera").tolist() == [-1, -1, -1, 7, 8]
    assert np.array_equal(both.vectors[3:], make(2, 3).vectors)
    with pytest.raises(ValueError, match="2 images are there already, such as 'image1'"):
        make(3).append(make(3, 1))
    with pytest.raises(ValueError, match=r"by the model xyz.*of the set by the model abc"):
        make(3).append(make(2, 3, model="xyz"))
    with pytest.raises(
        ValueError, match=r"a model that was not saved.*of the set by the model abc"
    ):
        make(3).append(make(2, 3, model=""))
    other = LatentSet(np.zeros((1, 5)), QTable({"id": ["x"]}), "abc")
    with pytest.raises(ValueError, match="have 5 numbers each, and those of the index 4"):
        make(3).append(other)


def test_appended_sets_with_gaps_survive_saving(tmp_path):
    both = make(2, is_merger=[True, False], mass_ratio=[0.5, 1.0]).append(make(2, 2))
    both.save(tmp_path / "set")
    again = LatentSet.load(tmp_path / "set")
    assert again.column("is_merger").tolist() == [True, False, False, False]
    assert again.table["is_merger"].mask.tolist() == [False, False, True, True]
    assert np.allclose(again.column("mass_ratio"), [0.5, 1, np.nan, np.nan], equal_nan=True)


def test_wrong_sets():
    with pytest.raises(ValueError, match="some are not finite; leave out images without a result"):
        LatentSet([[np.nan, 1]], QTable({"id": ["a"]}))
    with pytest.raises(ValueError, match="2 vectors, and 1 rows"):
        LatentSet(np.zeros((2, 3)), QTable({"id": ["a"]}))
    with pytest.raises(ValueError, match="no column 'id'; it has"):
        LatentSet(np.zeros((1, 3)), QTable({"name": ["a"]}))


def test_folders_that_are_none(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").touch()
    with pytest.raises(ValueError, match="exists and is not a folder of latents"):
        make().save(tmp_path / "other")
    with pytest.raises(ValueError, match="not a folder of latents; make one with"):
        LatentSet.load(tmp_path / "other")
    make().save(tmp_path / "set")
    make(3).save(tmp_path / "set")
    assert len(LatentSet.load(tmp_path / "set")) == 3
    file = tmp_path / "set" / "vectors.npy"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"vectors\.npy: cannot be read"):
        LatentSet.load(tmp_path / "set")
    np.save(file, np.zeros((9, 4), dtype=np.float32))
    with pytest.raises(ValueError, match=r"has the shape \[9, 4\], and config.json says \[3, 4\]"):
        LatentSet.load(tmp_path / "set")
    config = tmp_path / "set" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"version": 9}))
    with pytest.raises(ValueError, match="has the layout 9; this package reads layout 1"):
        LatentSet.load(tmp_path / "set")
