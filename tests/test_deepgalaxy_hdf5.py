import json
import os
import pickle
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy import CutoutStore, Flag, Recipe
from astro_deepgalaxy.cli import main
from astro_deepgalaxy.flags import FAILED, CutoutError
from astro_deepgalaxy.labels import TimeScale
from astro_deepgalaxy.preprocess.batch import preprocess_batch
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.store import TimeTarget
from astro_deepgalaxy.store.augment import Augmentation
from astro_deepgalaxy.store.deepgalaxy_hdf5 import DeepGalaxyFile, parse_group_name
from astro_deepgalaxy.store.deepgalaxy_writer import group_name, write_deepgalaxy_hdf5
from astro_deepgalaxy.store.loader import batches

RATIOS = st.floats(1e-30, 1e30)


def original(
    path, dtype="float16", groups=("s_1_m_1", "s_0.25_m_1.5"), cameras=3, n=4, end=(1,), nx=10
):
    """A file as the original DeepGalaxy writes it, made without the package; and its images."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (len(groups), cameras, n, 12, nx), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        for name, by_camera in zip(groups, images, strict=True):
            group = file.create_group(name)
            for camera, pixels in enumerate(by_camera):
                stored = pixels if dtype == "uint8" else (pixels / 255).astype(dtype)
                group[f"images_camera_{camera:02d}"] = stored.reshape(*pixels.shape, *end)
                group[f"t_myr_camera_{camera:02d}"] = 5.0 * np.arange(n) + 100
    return images / 255


def data_set(n_snapshots=3, n_cameras=2, size=8):
    """Images and labels of two simulations, snapshot by snapshot as a survey makes them."""
    rows = [
        (group, *ratios, camera, snapshot)
        for group, ratios in (("run_7", (1.0, 0.5)), ("run_3", (0.25, 1.25)))
        for snapshot in range(n_snapshots)
        for camera in range(n_cameras)
    ]
    names = ("group", "size_ratio", "mass_ratio", "camera", "snapshot")
    labels = QTable(rows=rows, names=names)
    labels["time_since_start"] = 5e-3 * labels["snapshot"] * u.Gyr
    images = np.random.default_rng(1).random((len(rows), size, size + 2), dtype=np.float32)
    return images, labels


def unchanged(labels, **columns):
    """A copy of the labels with some columns replaced."""
    labels = labels.copy()
    for name, values in columns.items():
        labels[name] = values
    return labels


@pytest.mark.parametrize("end", [(1,), ()])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float16", 3e-4), ("float32", 1e-7), ("uint8", 1e-7)]
)
def test_a_file_of_the_original_is_read(tmp_path, dtype, tolerance, end):
    truth = original(tmp_path / "d.h5", dtype, end=end)
    file = DeepGalaxyFile(tmp_path / "d.h5")
    assert len(file) == len(file.labels) == 2 * 3 * 4
    assert "24 images of 2 simulations" in repr(file)
    groups = ["s_1_m_1", "s_0.25_m_1.5"]
    for row, label in enumerate(file.labels):
        snapshot = label["snapshot"]
        image = file.image(row)
        assert image.dtype == np.float32
        expected = truth[groups.index(label["group"]), label["camera"], snapshot]
        np.testing.assert_allclose(image, expected, atol=tolerance)
        assert label["time_since_start"] == (100 + 5 * snapshot) * u.Myr
        ratios = {"s_1_m_1": (1, 1), "s_0.25_m_1.5": (0.25, 1.5)}[label["group"]]
        assert (label["size_ratio"], label["mass_ratio"]) == ratios
    assert file.labels["id"][0] == "s_0.25_m_1.5_camera_00_000"
    assert len(set(file.labels["id"])) == len(file)


def test_times_are_the_classes_of_the_paper(tmp_path):
    original(tmp_path / "d.h5")
    labels = DeepGalaxyFile(tmp_path / "d.h5").labels
    target = TimeTarget(TimeScale.paper(), width=0, column="time_since_start")
    classes = target.encode(labels)[0].argmax(axis=1)
    np.testing.assert_array_equal(classes, labels["snapshot"] + 20)


def test_images_come_in_the_order_of_time(tmp_path):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        for camera, times in {"00": [10.0, 0.0, 5.0], "01": [10.0, 5.0]}.items():
            file[f"s_1_m_1/t_myr_camera_{camera}"] = np.array(times, dtype=np.float32)
            pixels = np.float16(times).reshape(-1, 1, 1, 1) / 100
            file[f"s_1_m_1/images_camera_{camera}"] = np.broadcast_to(pixels, (len(times), 6, 6, 1))
        file["notes/of_the_author"] = 3
    file = DeepGalaxyFile(tmp_path / "d.h5")
    assert file.labels["time_since_start"].to_value(u.Myr).tolist() == [0, 5, 10, 5, 10]
    # A snapshot has one number, whichever cameras saw it.
    assert file.labels["snapshot"].tolist() == [0, 1, 2, 1, 2]
    means = [100 * file.image(row).mean() for row in range(5)]
    np.testing.assert_allclose(means, [0, 5, 10, 5, 10], rtol=1e-3)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 5e-4), ("uint8", 0.5001 / 255)])
def test_round_trip(tmp_path, dtype, tolerance):
    images, labels = data_set()
    order = np.random.default_rng(0).permutation(len(labels))
    # A generator: nothing may ask for all of the images.
    write_deepgalaxy_hdf5(tmp_path / "d.h5", (images[i] for i in order), labels[order], dtype)
    file = DeepGalaxyFile(tmp_path / "d.h5")
    names = {"run_7": "s_1_m_0.5", "run_3": "s_0.25_m_1.25"}
    for image, label in zip(images, labels, strict=True):
        wanted = (file.labels["group"] == names[label["group"]]) & (
            file.labels["camera"] == label["camera"]
        )
        [row] = np.flatnonzero(wanted & (file.labels["snapshot"] == label["snapshot"]))
        np.testing.assert_allclose(file.image(row), image, atol=tolerance)
        assert file.labels["time_since_start"][row] == label["time_since_start"]
        assert file.labels["mass_ratio"][row] == label["mass_ratio"]
    with h5py.File(tmp_path / "d.h5") as plain:
        assert set(plain) == set(names.values())
        assert set(plain["s_1_m_0.5"]) == {
            f"{kind}_camera_{camera:02d}" for kind in ("images", "t_myr") for camera in range(2)
        }
        stored = plain["s_1_m_0.5/images_camera_01"]
        assert (stored.shape, stored.dtype) == ((3, 8, 10, 1), dtype)
        assert (stored.chunks, stored.compression) == ((1, 8, 10, 1), "gzip")
        assert plain["s_1_m_0.5/t_myr_camera_01"][:].tolist() == [0, 5, 10]


def test_the_images_of_a_store_are_written(blob_store, tmp_path):
    rows = range(9)
    labels = QTable({"group": ["a"] * 9, "size_ratio": np.ones(9), "mass_ratio": np.ones(9)})
    labels["camera"], labels["snapshot"] = np.arange(9) // 3, np.arange(9) % 3
    labels["time_since_start"] = labels["snapshot"] * 5.0 * u.Myr
    write_deepgalaxy_hdf5(tmp_path / "d.h5", (blob_store.load([row])[0] for row in rows), labels)
    file = DeepGalaxyFile(tmp_path / "d.h5")
    np.testing.assert_allclose(file.image(8), blob_store.load([8])[0, :, :, 0], atol=5e-4)


@given(RATIOS, RATIOS)
def test_group_names_parse_to_what_they_say(size, mass):
    name = group_name(size, mass)
    np.testing.assert_allclose(parse_group_name(name), (size, mass), rtol=5.1e-6)
    assert group_name(*parse_group_name(name)) == name


@given(st.text("s_m.0123456789e+-ns\u0661 "))
def test_a_group_name_parses_or_is_refused(name):
    try:
        ratios = parse_group_name(name)
    except ValueError as error:
        assert repr(name) in str(error)  # noqa: PT017
    else:
        assert all(0 < ratio < np.inf for ratio in ratios)


def test_group_names_of_the_original():
    values = (0.25, 0.5, 0.75, 1, 1.25, 1.5)
    names = {group_name(size, mass) for size in values for mass in values}
    assert len(names) == 36
    assert {"s_1_m_1", "s_0.25_m_1.5", "s_1.25_m_0.75"} < names


@pytest.mark.parametrize("name", ["s_0_m_1", "s_1e999_m_1", "s_nan_m_1", "s_-1_m_1", "s_1_m_1x"])
def test_names_that_are_no_simulation(name):
    with pytest.raises(ValueError, match="two positive ratios"):
        parse_group_name(name)


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_ratios_must_be_positive(value):
    with pytest.raises(ValueError, match="mass_ratio must be positive"):
        group_name(1, value)


def test_two_simulations_of_the_same_ratios_are_refused(tmp_path):
    images, labels = data_set()
    labels = unchanged(labels, size_ratio=1.0, mass_ratio=0.5)
    with pytest.raises(ValueError, match=r"'run_7' and 'run_3'.*room for only one s_1_m_0\.5"):
        write_deepgalaxy_hdf5(tmp_path / "d.h5", images, labels)
    # Ratios that only differ after the digits of the name are the same to the layout.
    labels["mass_ratio"] = np.where(labels["group"] == "run_7", 0.5, 0.5000001)
    with pytest.raises(ValueError, match="room for only one"):
        write_deepgalaxy_hdf5(tmp_path / "d.h5", images, labels)
    assert not list(tmp_path.iterdir())


def bad_labels():
    _, labels = data_set()
    masked = labels.copy()
    masked["camera"] = np.ma.masked_equal(masked["camera"], 1)
    repeated = np.where(np.arange(len(labels)) == 2, 0, labels["snapshot"])
    return {
        "column 'camera' is missing": labels[[c for c in labels.colnames if c != "camera"]],
        "no rows": labels[:0],
        "has gaps": masked,
        "is both": unchanged(labels, size_ratio=np.arange(len(labels)) + 1.0),
        "must not be negative": unchanged(labels, camera=labels["camera"] - 1),
        "times must be finite": unchanged(labels, time_since_start=np.nan * u.Myr),
        "each snapshot must stand in one row": unchanged(labels, snapshot=repeated),
        "times must grow": unchanged(labels, time_since_start=-labels["time_since_start"]),
    }


@pytest.mark.parametrize("message", bad_labels())
def test_bad_labels_are_refused(tmp_path, message):
    images, _ = data_set()
    with pytest.raises(ValueError, match=message):
        write_deepgalaxy_hdf5(tmp_path / "d.h5", images, bad_labels()[message])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((8, 10), np.nan), "finite and in"),
        (np.full((8, 10), 1.001), "finite and in"),
        (np.full((8, 10), -1e-6), "finite and in"),
        (np.zeros((10, 8)), r"must be \(8, 10\) like the first"),
        (np.zeros((8, 10, 3)), "got the shape"),
        (np.zeros(8), "got the shape"),
        (None, "row 4"),
        ("words", "not an image"),
    ],
)
def test_a_bad_image_is_named_and_nothing_is_left(tmp_path, bad, message):
    images, labels = data_set()
    with pytest.raises(ValueError, match=f"row 4: .*{message}" if message != "row 4" else message):
        write_deepgalaxy_hdf5(tmp_path / "d.h5", [*images[:4], bad, *images[5:]], labels)
    assert not list(tmp_path.iterdir())


def test_as_many_images_as_labels(tmp_path):
    images, labels = data_set()
    for some, message in ((images[:-1], "11 images for 12"), ([*images, 0], "more images than")):
        with pytest.raises(ValueError, match=message):
            write_deepgalaxy_hdf5(tmp_path / "d.h5", some, labels)
    with pytest.raises(ValueError, match="dtype must be"):
        write_deepgalaxy_hdf5(tmp_path / "d.h5", images, labels, "float64")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
def test_a_killed_writer_leaves_no_file(tmp_path):
    code = f"""
import os, signal, sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_deepgalaxy_hdf5 import data_set, write_deepgalaxy_hdf5
images, labels = data_set()
def until_killed():
    yield from images[:7]
    os.kill(os.getpid(), signal.SIGKILL)
write_deepgalaxy_hdf5({str(tmp_path / "d.h5")!r}, until_killed(), labels)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "d.h5").exists()
    # The next one is not disturbed by what was left.
    write_deepgalaxy_hdf5(tmp_path / "d.h5", *data_set())
    assert len(DeepGalaxyFile(tmp_path / "d.h5")) == 12


def change(path, how):
    """Spoil the file of `original` in one way."""
    images, times = "s_1_m_1/images_camera_01", "s_1_m_1/t_myr_camera_01"
    with h5py.File(path, "a") as file:
        if how in ("no times", "short times", "text", "not finite", "table of times", "group"):
            del file[times]
        if how in ("text", "flat", "cube", "thin", "integers", "complex", "virtual", "external"):
            del file[images]
        if how == "short times":
            file[times] = np.arange(3.0)
        elif how == "not finite":
            file[times] = [0, 5, np.nan, 15]
        elif how == "table of times":
            file[times] = np.zeros((4, 2))
        elif how == "group":
            file.create_group(times)
        elif how == "text":
            file[times] = ["a", "b", "c", "d"]
            file[images] = np.zeros((4, 6, 6, 1), dtype=np.float16)
        elif how in ("flat", "cube", "thin"):
            shape = {"flat": (4, 6), "cube": (4, 6, 6, 3), "thin": (4, 0, 6, 1)}[how]
            file[images] = np.zeros(shape)
        elif how in ("integers", "complex"):
            file[images] = np.zeros((4, 6, 6, 1), dtype={"integers": int}.get(how, complex))
        elif how == "virtual":
            layout = h5py.VirtualLayout((4, 6, 6, 1), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "secret", (4, 6, 6, 1))
            file.create_virtual_dataset(images, layout)
        elif how == "external":
            parts = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(images, (4, 6, 6, 1), "u1", external=parts)
        elif how == "soft link":
            file["s_1_m_1/images_camera_07"] = h5py.SoftLink("/" + images)
        elif how == "external link":
            file["s_1_m_1/deep/er"] = h5py.ExternalLink("other.h5", "secret")
        elif how == "linked group":
            file["s_1.5_m_1.5"] = h5py.SoftLink("/s_1_m_1")
        elif how == "zero":
            file.move("s_1_m_1", "s_0_m_1")
        elif how == "dataset":
            file["s_1.5_m_1"] = 3
        elif how == "named type":
            file["s_1_m_1/images_camera_09"] = np.dtype("f2")
            file["s_1_m_1/t_myr_camera_09"] = [0.0]
        elif how == "no space":
            file["s_1_m_1/images_camera_09"] = h5py.Empty("f2")
            file["s_1_m_1/t_myr_camera_09"] = [0.0]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no times", "s_1_m_1/t_myr_camera_01 is missing"),
        ("short times", "s_1_m_1/t_myr_camera_01 must be 4 numbers"),
        ("table of times", "s_1_m_1/t_myr_camera_01 must be 4 numbers"),
        ("text", "s_1_m_1/t_myr_camera_01 must be 4 numbers"),
        ("not finite", "s_1_m_1/t_myr_camera_01 has times that are not finite"),
        ("group", "s_1_m_1/t_myr_camera_01 is not a dataset"),
        ("flat", "s_1_m_1/images_camera_01 must be"),
        ("cube", "s_1_m_1/images_camera_01 must be"),
        ("thin", "s_1_m_1/images_camera_01 must be"),
        ("integers", "s_1_m_1/images_camera_01 must be of floats or uint8"),
        ("complex", "s_1_m_1/images_camera_01 must be of floats or uint8"),
        ("virtual", "s_1_m_1/images_camera_01 is stored in another file"),
        ("external", "s_1_m_1/images_camera_01 is stored in another file"),
        ("soft link", "s_1_m_1/images_camera_07 is a soft or external link"),
        ("external link", "s_1_m_1/deep/er is a soft or external link"),
        ("linked group", "s_1.5_m_1.5 is a soft or external link"),
        ("zero", "'s_0_m_1' is not s_{size}_m_{mass}"),
        ("dataset", "s_1.5_m_1 is not a group"),
        ("named type", "s_1_m_1/images_camera_09 is not a dataset"),
        ("no space", "s_1_m_1/images_camera_09 is empty"),
    ],
)
def test_other_layouts_are_refused(tmp_path, how, message):
    original(tmp_path / "d.h5")
    change(tmp_path / "d.h5", how)
    with pytest.raises(ValueError) as caught:
        DeepGalaxyFile(tmp_path / "d.h5")
    assert str(caught.value).startswith(f"{tmp_path / 'd.h5'}: {message}")
    assert "\n" not in str(caught.value)


def test_files_that_are_something_else(tmp_path):
    file = tmp_path / "d.h5"
    for content, message in ((None, "no such file"), (b"", "not an HDF5"), (b"words" * 99, "not")):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ValueError, match=f"d.h5: {message}"):
            DeepGalaxyFile(file)
    original(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"d\.h5: .*truncated"):
        DeepGalaxyFile(file)
    for groups in ((), ("weights",), ("S_1_M_1",)):
        original(file, groups=groups)
        with pytest.raises(ValueError, match="no images in the layout of DeepGalaxy"):
            DeepGalaxyFile(file)
    original(file, n=0)
    with pytest.raises(ValueError, match="no images in the layout of DeepGalaxy"):
        DeepGalaxyFile(file)


def with_bad_images(path):
    """A file in which three images of a camera cannot be used."""
    write_deepgalaxy_hdf5(path, *data_set(5, 2, 32))
    with h5py.File(path, "a") as file:
        images = file["s_1_m_0.5/images_camera_01"]
        images[1, 3, 3, 0] = np.nan
        images[2, 3, 3, 0] = 1.5
        place = images.id.get_chunk_info_by_coord((3, 0, 0, 0)).byte_offset
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 64)


def test_bad_images_are_flagged_rows(tmp_path):
    with_bad_images(tmp_path / "d.h5")
    file = DeepGalaxyFile(tmp_path / "d.h5")
    row = file.labels["id"].tolist().index("s_1_m_0.5_camera_01_002")
    with pytest.raises(CutoutError, match="camera_01, image 2: pixels must be finite and in"):
        file.image(row)
    store = preprocess_batch(
        file.sources(), Recipe.default(24), tmp_path / "s.zarr", file.labels, progress=False
    )
    bad = (store.table["flags"] & int(FAILED)) != 0
    assert store.table["id"][bad].tolist() == [f"s_1_m_0.5_camera_01_{i:03d}" for i in (1, 2, 3)]
    assert "d.h5: s_1_m_0.5/images_camera_01, image 3: cannot be read" in store.table["reason"][-2]
    assert store.load(np.flatnonzero(~bad)).std() > 0


def test_pixels_are_those_of_the_recipe_on_a_picture(tmp_path):
    truth = original(tmp_path / "d.h5", "uint8")
    file = DeepGalaxyFile(tmp_path / "d.h5")
    sources = pickle.loads(pickle.dumps(file.sources()))
    store = preprocess_batch(sources, Recipe([Resize(size=12)]), tmp_path / "s.zarr", file.labels)
    cutout = sources[0].read()
    np.testing.assert_allclose(cutout.data[0], truth[1, 0, 0], atol=1e-7)
    assert cutout.flags == Flag.PICTURE | Flag.NO_WCS
    expected = Resize(size=12)(cutout).data[0]
    np.testing.assert_array_equal(store.load([0])[0, :, :, 0], expected)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_training_reads_the_file_as_it_reads_the_store_made_of_it(tmp_path, dtype):
    original(tmp_path / "d.h5", dtype, nx=12)
    file = DeepGalaxyFile(tmp_path / "d.h5")
    recipe = Recipe([Resize(size=12)])
    store = preprocess_batch(file.sources(), recipe, tmp_path / "s.zarr", file.labels)
    assert len(file) == len(store)
    assert file.image_shape == store.image_shape == (12, 12, 1)
    assert file.shard_rows == 4
    assert file.attributes == {}
    assert file.table.colnames == store.table.colnames
    for name in store.table.colnames:
        np.testing.assert_array_equal(file.table[name], store.table[name])
    rows = np.random.default_rng(0).permutation([*range(24), 3, 3])
    # All images of a camera, and one here and there.
    for some in (rows, rows[:1], rows[::5], []):
        np.testing.assert_array_equal(file.load(some), store.load(some))
    options = {"batch_size": 7, "shuffle": True, "augment": Augmentation()}
    targets = {"time": TimeTarget(TimeScale.paper(), width=0, column="time_since_start")}
    both = (batches(source, rows, targets, **options) for source in (file, store))
    for (x, y, w), (x2, y2, w2) in zip(*both, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y["time"], y2["time"])
        np.testing.assert_array_equal(w["time"], w2["time"])


def test_bad_images_stop_the_reading_with_their_name(tmp_path):
    with_bad_images(tmp_path / "d.h5")
    file = DeepGalaxyFile(tmp_path / "d.h5")
    ids = file.table["id"].tolist()
    bad = [ids.index(f"s_1_m_0.5_camera_01_{i:03d}") for i in (1, 2, 3)]
    good = np.setdiff1d(np.arange(len(file)), [*range(bad[0] - 1, bad[2] + 2)])
    assert len(file.load(good)) == len(good)
    for row, message in zip(bad, ("finite and in", "finite and in", "cannot be read"), strict=True):
        with pytest.raises(CutoutError, match=f"d.h5: s_1_m_0.5/images_camera_01.*{message}"):
            file.load([0, row])


def test_images_of_several_sizes_are_no_store(tmp_path):
    original(tmp_path / "d.h5")
    with h5py.File(tmp_path / "d.h5", "a") as file:
        file["s_1_m_1.5/images_camera_00"] = np.zeros((2, 6, 6), dtype="f2")
        file["s_1_m_1.5/t_myr_camera_00"] = [0.0, 5.0]
    with pytest.raises(ValueError, match=r"_m_1\.5/images_camera_00 .* \(6, 6\).*preprocess"):
        DeepGalaxyFile(tmp_path / "d.h5").load([0])


def test_the_command_line_reads_such_a_file(tmp_path):
    with_bad_images(tmp_path / "Original.H5")
    arguments = ["preprocess", str(tmp_path / "Original.H5"), "-o", str(tmp_path / "s.zarr")]
    done = CliRunner().invoke(main, [*arguments, "--size", "24", "--processes", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["failed"] == 3
    table = CutoutStore.open(tmp_path / "s.zarr").table
    labels = DeepGalaxyFile(tmp_path / "Original.H5").labels
    for name in labels.colnames:
        np.testing.assert_array_equal(table[name], labels[name])
    assert table["time_since_start"].unit == u.Myr
    assert set(table["file"]) == {str(tmp_path / "Original.H5")}


def test_the_command_line_refuses_other_files(tmp_path):
    (tmp_path / "d.h5").write_text("words")
    arguments = ["preprocess", str(tmp_path / "d.h5"), "-o", str(tmp_path / "s.zarr")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "d.h5: not an HDF5 file" in done.stderr
    done = CliRunner().invoke(main, [*arguments, str(tmp_path / "more.fits")])
    assert done.exit_code == 2
    assert "must be the only input" in done.stderr
    assert not (tmp_path / "s.zarr").exists()
