import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable
from hypothesis import given, settings
from hypothesis import strategies as st
from test_deepgalaxy_hdf5 import original

from astro_deepgalaxy.store import CutoutStore, JoinedStores, TimeTarget, open_stores
from astro_deepgalaxy.store.deepgalaxy_hdf5 import DeepGalaxyFile
from astro_deepgalaxy.store.loader import batches


def make(path, columns, shape=(6, 5, 1), shard_rows=4, attributes=None):
    """A store of noise with these columns."""
    table = QTable(columns)
    if "group" not in table.colnames:
        table["group"] = table["id"]
    store = CutoutStore.create(path, len(table), shape, attributes, shard_rows)
    rng = np.random.default_rng(len(str(path)))
    for shard in store.pending:
        rows = store.rows_of(shard)
        images = rng.random((rows.stop - rows.start, *shape), dtype=np.float32)
        store.write_shard(shard, images, table[rows])
    return store


@pytest.fixture
def three(tmp_path):
    """Stores of 10, 3 and 9 images, of which only the first and the last have labels."""
    return [
        make(tmp_path / f"{name}.zarr", {"id": [f"{name}{i}" for i in range(n)], **more(n)}, **size)
        for name, n, more, size in (
            ("a", 10, lambda n: {"t": np.arange(n) * u.Myr}, {}),
            ("b", 3, lambda n: {}, {"shard_rows": 2}),
            ("c", 9, lambda n: {"t": np.arange(n) * u.Gyr}, {"shard_rows": 9}),
        )
    ]


def test_rows_follow_on_each_other(three):
    joined = JoinedStores(three)
    assert len(joined) == len(joined.table) == 22
    assert joined.image_shape == (6, 5, 1)
    assert joined.path == [store.path for store in three]
    assert "22 images" in repr(joined)
    assert joined.table["id"][[0, 9, 10, 12, 13, 21]].tolist() == [
        "a0",
        "a9",
        "b0",
        "b2",
        "c0",
        "c8",
    ]
    whole = np.concatenate([store.load(range(len(store))) for store in three])
    assert np.array_equal(joined.load(range(22)), whole)
    nested = JoinedStores([JoinedStores(three[:2]), three[2]])
    assert nested.path == joined.path
    assert nested.table["id"].tolist() == joined.table["id"].tolist()


@settings(deadline=None, max_examples=30)
@given(rows=st.lists(st.integers(0, 21), max_size=30))
def test_rows_are_read_in_any_order(shared, rows):
    joined, whole = shared
    assert np.array_equal(joined.load(rows), whole[np.array(rows, dtype=int)])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    stores = [
        make(folder / name, {"id": [f"{name}{i}" for i in range(n)]}, shard_rows=k)
        for name, n, k in (("a", 10, 4), ("b", 3, 2), ("c", 9, 9))
    ]
    return JoinedStores(stores), np.concatenate([store.load(range(len(store))) for store in stores])


def test_rows_that_are_not_there(three):
    for row in (-1, 22):
        with pytest.raises(ValueError, match="within 0 and 21"):
            JoinedStores(three).load([3, row])


def test_batches_of_several_stores(three):
    joined, rows = JoinedStores(three), np.array([21, 0, 11, 5, 14])
    seen = list(batches(joined, rows, {"time": TimeTarget(column="t")}, 2))
    images = np.concatenate([x for x, _, _ in seen])
    assert np.array_equal(images, joined.load(rows))
    # 8 and 1 Gyr are outside the scale, and b has no times at all.
    assert np.concatenate([w["time"] for _, _, w in seen]).tolist() == [0, 1, 0, 1, 0]


def test_missing_labels_are_gaps(tmp_path):
    labels = {
        "id": ["m0", "m1"],
        "time": [5.0, np.nan] * u.Myr,
        "mass_ratio": [0.5, np.nan],
        "stage": ["merged", ""],
        "camera": [0, 3],
        "is_merger": [True, False],
        "cd": np.ones((2, 4)) * u.deg,
    }
    sky = {"id": ["zoo"], "cd": np.full((1, 4), 3600.0) * u.arcsec, "redshift": [0.1]}
    table = JoinedStores([make(tmp_path / "m", labels), make(tmp_path / "z", sky)]).table
    assert np.array_equal(table["time"].to_value("Myr"), [5, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(table["mass_ratio"], [0.5, np.nan, np.nan], equal_nan=True)
    assert np.array_equal(table["redshift"], [np.nan, np.nan, 0.1], equal_nan=True)
    assert table["stage"].tolist() == ["merged", "", ""]
    assert np.array_equal(table["cd"].to_value("deg"), np.ones((3, 4)))
    for name, values in (("camera", [0, 3]), ("is_merger", [True, False])):
        # Neither 0 nor False would say that it is not known.
        assert isinstance(table[name], MaskedColumn)
        assert table[name].mask.tolist() == [False, False, True]
        assert table[name][:2].tolist() == values


def test_simulations_of_the_same_name_are_told_apart(tmp_path):
    def survey(name, mass_ratio, **more):
        ids = [f"{group}_{camera}" for group in ("sim_0", "sim_1") for camera in range(2)]
        columns = {"id": ids, "group": [name[:5] for name in ids]}
        if mass_ratio is not None:
            columns["mass_ratio"] = np.repeat(mass_ratio, 2)
        return make(tmp_path / f"{name}.zarr", columns | more)

    mergers = survey("mergers", [0.5, 0.25])
    others = survey("others", [0.75, 0.25], kind=["flyby"] * 2 + ["merger"] * 2)
    again = survey("again", [0.75, 0.25])
    unknown = survey("unknown", None)
    table = JoinedStores([mergers, others, again, unknown]).table
    # sim_0 of the second is another one, of which the third has more images; of sim_1 all agree.
    # The last one does not say: it counts as the first, so that no split can part the two.
    assert table["group"][::2].tolist() == (
        ["sim_0", "sim_1", "others/sim_0", "sim_1", "others/sim_0", "sim_1", "sim_0", "sim_1"]
    )
    assert table["id"][[0, 4, 9]].tolist() == ["sim_0_0", "others/sim_0_0", "again/sim_0_1"]
    assert len(set(table["id"])) == 16
    twice = JoinedStores([mergers, mergers, mergers]).table
    assert twice["id"][[3, 7, 11]].tolist() == ["sim_1_1", "mergers-2/sim_1_1", "mergers-3/sim_1_1"]
    assert set(twice["group"]) == {"sim_0", "sim_1"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"shape": (5, 6, 1)}, r"\(6, 5, 1\) and \(5, 6, 1\)"),
        ({"attributes": {"recipe": {"size": 3}}}, "different recipes"),
    ],
)
def test_stores_that_do_not_go_together(tmp_path, other, message):
    one = make(tmp_path / "one", {"id": ["a"]}, attributes={"recipe": {"size": 2}})
    two = make(tmp_path / "two", {"id": ["a"]}, **{"attributes": {"recipe": {"size": 2}}, **other})
    with pytest.raises(ValueError, match=f"one and .*two cannot be joined: .*{message}"):
        open_stores([one.path, str(two.path)])


def test_tables_that_do_not_go_together(tmp_path):
    one = make(tmp_path / "one", {"id": ["a"], "t": [1.0] * u.Myr})
    for i, bad in enumerate(([1.0] * u.kpc, ["x"])):
        two = make(tmp_path / f"two{i}", {"id": ["b"], "t": bad})
        with pytest.raises(ValueError, match=f"tables of .*one and .*two{i} cannot be joined"):
            JoinedStores([one, two]).table  # noqa: B018


def test_paths_are_opened_as_what_they_are(three, tmp_path):
    original(tmp_path / "d.H5", cameras=1)
    assert isinstance(open_stores(three[0].path), CutoutStore)
    assert isinstance(open_stores([str(three[0].path)]), CutoutStore)
    assert isinstance(open_stores(str(tmp_path / "d.H5")), DeepGalaxyFile)
    joined = open_stores([store.path for store in three])
    assert isinstance(joined, JoinedStores)
    assert joined.path == [store.path for store in three]
    with pytest.raises(ValueError, match="no stores to join"):
        open_stores([])
    with pytest.raises(ValueError, match="not a cutout store"):
        open_stores([three[0].path, tmp_path / "nothing"])


def test_files_of_the_original_are_joined_with_stores(tmp_path):
    original(tmp_path / "d.h5", cameras=1)
    store = make(tmp_path / "s", {"id": ["x"], "camera": [4]}, shape=(12, 10, 1))
    joined = open_stores([tmp_path / "d.h5", store.path])
    assert joined.table["time_since_start"].unit == u.Myr
    assert np.isnan(joined.table["time_since_start"][-1])
    assert np.array_equal(joined.load([8, 0])[0], store.load([0])[0])
    assert np.array_equal(
        joined.load([8, 0])[1, ..., 0], DeepGalaxyFile(tmp_path / "d.h5").image(0)
    )
