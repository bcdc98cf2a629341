"""Preparing images goes on after anything that can stop it, and loses no row."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from cloudpickle import register_pickle_by_value

from astro_deepgalaxy import CutoutStore, Flag, Recipe
from astro_deepgalaxy.flags import FAILED
from astro_deepgalaxy.io import Source
from astro_deepgalaxy.jobs import alone
from astro_deepgalaxy.preprocess import batch
from astro_deepgalaxy.preprocess.batch import iterate_prepared, preprocess_batch

RECIPE = Recipe.default(size=24)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(batch, "_SHARD_BYTES", 4 * 4 * 24**2)
    # Workers get the classes of this file with their tasks: they could not import it.
    register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:60, :60] - 30
    for i in range(60):
        rng = np.random.default_rng(i)
        image = 300 * np.exp(-np.hypot(x, y) / 4) + rng.normal(50, 2, (60, 60))
        fits.writeto(folder / f"a{i:02d}.fits", image.astype(np.float32))
    (folder / "a07.fits").write_bytes(b"spoilt")
    return folder


def content(store):
    return {p.relative_to(store): p.read_bytes() for p in Path(store).rglob("*") if p.is_file()}


# Forks before anything has started a thread; each child is killed at a moment of its own.
KILLER = """
import os, random, signal, sys, time
from astro_deepgalaxy import Recipe
from astro_deepgalaxy.preprocess import batch
import astro_deepgalaxy.preprocess.mesh, photutils.segmentation, photutils.background

batch._SHARD_BYTES = 4 * 4 * 24**2
folder, output = sys.argv[1:]
draw = random.Random(0)

def run(output):
    batch.preprocess_batch(folder, Recipe.default(size=24), output, progress=False)

def child(output):
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        run(output)
        os._exit(0)
    return pid

start = time.monotonic()
os.waitpid(child(output + "-timed"), 0)
whole = time.monotonic() - start
killed = states = finished = 0
left = -1
while killed < 25:
    pid = child(output)
    time.sleep(draw.uniform(0, whole))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        killed += 1
    else:
        # It was faster: from the start again.
        assert status == 0
        finished += 1
        os.rename(output, f"{output}-done-{finished}")
    parts = len(os.listdir(output + "/table")) if os.path.exists(output) else 0
    states += parts != left
    left = parts
run(output)
print(killed, states)
"""


def test_killed_at_25_moments_the_store_is_the_same(images, tmp_path):
    whole = preprocess_batch(images, RECIPE, tmp_path / "whole.zarr", progress=False)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(images), str(tmp_path / "killed.zarr")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    killed, states = map(int, done.stdout.split())
    assert killed == 25
    assert states > 3
    expected = content(whole.path)
    for store in tmp_path.glob("killed.zarr*"):
        assert content(store) == expected, store
    assert not list(tmp_path.glob(".*"))


class Deadly(Source):
    """An image that kills whoever reads it."""

    def read(self):
        os.kill(os.getpid(), signal.SIGKILL)


class DeadlyOnce(Source):
    """The first who reads it is killed, as by a shortage of memory."""

    def read(self):
        marker = Path(self.file)
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Source(self.id, image=np.random.default_rng(0).random((30, 30))).read()


def with_deaths(images, tmp_path):
    files = [Source(p.stem, str(p)) for p in sorted(images.glob("*.fits"))]
    files[0] = Deadly("deadly 0")
    files[30] = Deadly("deadly 30")
    files[31] = Deadly("deadly 31")
    files[45] = DeadlyOnce("once", str(tmp_path / "marker"))
    return files


def test_a_worker_that_dies_costs_one_row(images, tmp_path):
    sources = with_deaths(images, tmp_path)
    store = preprocess_batch(sources, RECIPE, tmp_path / "s.zarr", processes=2, progress=False)
    assert store.table["id"].tolist() == [source.id for source in sources]
    flags = store.table["flags"]
    died = np.flatnonzero(flags & int(Flag.WORKER_DIED))
    assert died.tolist() == [0, 30, 31]
    assert "deadly 30: its process died twice" in store.table["reason"][30]
    assert np.flatnonzero(flags & int(FAILED)).tolist() == [0, 7, 30, 31]
    assert store.images[45].any()


def test_prediction_outlives_a_worker(images, tmp_path):
    sources = with_deaths(images, tmp_path)
    rows = [row for _, row in iterate_prepared(sources, RECIPE, processes=2)]
    assert [row["id"] for row in rows] == [source.id for source in sources]
    assert [i for i, row in enumerate(rows) if row["flags"] & Flag.WORKER_DIED] == [0, 30, 31]


def test_a_cluster_makes_the_same_store(images, tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    here = preprocess_batch(images, RECIPE, tmp_path / "here.zarr", progress=False)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, protocol="tcp://"
    ) as cluster:
        there = preprocess_batch(
            images,
            RECIPE,
            tmp_path / "there.zarr",
            progress=False,
            scheduler=cluster.scheduler_address,
        )
    assert content(there.path) == content(here.path)
    with pytest.raises(ValueError, match="no Dask scheduler answers"):
        preprocess_batch(
            images, RECIPE, tmp_path / "x.zarr", scheduler="tcp://127.0.0.1:9", progress=False
        )


def test_files_that_vanish_are_rows(images, tmp_path):
    files = sorted(images.glob("*.fits"))[:9]
    gone = [*files, tmp_path / "gone.fits"]
    store = preprocess_batch(gone, RECIPE, tmp_path / "s.zarr", progress=False)
    assert len(store) == 10
    assert "gone.fits: no such file" in store.table["reason"][9]


def test_a_full_disk_stops_with_a_sentence_and_goes_on_later(images, tmp_path):
    # What a full disk does to a writer, without one: no file may grow beyond a limit.
    script = (
        "import sys, resource\n"
        "from astro_deepgalaxy import Recipe\n"
        "from astro_deepgalaxy.preprocess import batch\n"
        "batch._SHARD_BYTES = 4 * 4 * 24**2\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    batch.preprocess_batch(sys.argv[1], Recipe.default(size=24), sys.argv[2])\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    output = tmp_path / "s.zarr"
    done = subprocess.run(
        [sys.executable, "-c", script, str(images), str(output)], capture_output=True, text=True
    )
    assert done.stdout.startswith(f"{output}: cannot be written: File too large"), done.stderr
    assert "run the same command again" in done.stdout
    again = preprocess_batch(images, RECIPE, output, progress=False)
    whole = preprocess_batch(images, RECIPE, tmp_path / "whole.zarr", progress=False)
    assert content(again.path) == content(whole.path)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_a_disk_that_is_too_small_is_refused_at_once(images, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})()
    monkeypatch.setattr("astro_deepgalaxy.jobs.shutil.disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="GB are needed"):
        preprocess_batch(images, RECIPE, tmp_path / "s.zarr", progress=False)
    assert not (tmp_path / "s.zarr").exists()


def test_places_that_cannot_be_written(images, tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file" / "s.zarr", Path("/proc/s.zarr")):
        with pytest.raises(ValueError, match="cannot be written"):
            preprocess_batch(images, RECIPE, output, progress=False)
    with pytest.raises(ValueError, match="not a cutout store"):
        preprocess_batch(images, RECIPE, tmp_path / "file", progress=False)
    assert (tmp_path / "file").read_bytes() == b""


def test_two_writers_of_one_store(images, tmp_path):
    with alone(tmp_path / "s.zarr"), pytest.raises(ValueError, match="another process"):
        preprocess_batch(images, RECIPE, tmp_path / "s.zarr", progress=False)


def test_another_recipe_leaves_the_store_as_it_was(images, tmp_path):
    store = preprocess_batch(images, RECIPE, tmp_path / "s.zarr", progress=False)
    before = content(store.path)
    with pytest.raises(ValueError, match="another recipe"):
        preprocess_batch(images, Recipe(RECIPE.steps[:-1]), store.path, progress=False)
    assert content(store.path) == before
    assert CutoutStore.open(store.path).attributes["recipe"] == RECIPE.to_dict()
    assert set(store.attributes["versions"]) >= {"astro-deepgalaxy", "numpy"}
