"""What the tests share: the real images, and small stores with a known answer."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_addoption(parser):
    """The option that checks every shipped backbone."""
    parser.addoption("--all-backbones", action="store_true", help="check every shipped backbone")


@pytest.fixture(scope="session")
def real_images():
    """Folder of real images, from ASTRO_DEEPGALAXY_TEST_DATA; the test is skipped without it."""
    folder = os.environ.get("ASTRO_DEEPGALAXY_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ASTRO_DEEPGALAXY_TEST_DATA does not name a folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def blob_images():
    """A function of times in Myr: round blobs whose width grows with time."""
    return _blob_images


def _blob_images(time, size=32, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    sigma = 2 + (np.asarray(time) + 190) / 100
    images = np.exp(-(x**2 + y**2) / (2 * sigma[:, np.newaxis, np.newaxis] ** 2))
    images = images + 0.02 * rng.standard_normal(images.shape)
    return np.clip(images, 0, 1)[..., np.newaxis].astype(np.float32)


@pytest.fixture(scope="session")
def blob_store(tmp_path_factory):
    """A store of 600 blobs in 10 groups, in three shards, with labels."""
    from astro_deepgalaxy.labels import STAGES
    from astro_deepgalaxy.store import CutoutStore

    rng = np.random.default_rng(1)
    n = 600
    time = rng.uniform(-190, 520, n)
    images = _blob_images(time)
    store = CutoutStore.create(tmp_path_factory.mktemp("blobs") / "store.zarr", n, (32, 32, 1))
    stage = np.array(STAGES)[((time + 190) / 142.001).astype(int)]
    table = QTable(
        {
            "id": [f"blob{i}" for i in range(n)],
            "file": [""] * n,
            "flags": np.zeros(n, dtype=np.int32),
            "reason": [""] * n,
            "ra": np.full(n, np.nan) * u.deg,
            "dec": np.full(n, np.nan) * u.deg,
            "group": [f"group{i % 10}" for i in range(n)],
            "time_since_pericentre": time * u.Myr,
            "stage": stage,
        }
    )
    for shard in store.pending:
        rows = store.rows_of(shard)
        store.write_shard(shard, images[rows], table[rows])
    return store


@pytest.fixture
def write(tmp_path):
    """A function that writes HDUs to a file."""

    def write(name, *hdus):
        path = tmp_path / name
        fits.HDUList(list(hdus)).writeto(path, output_verify="silentfix")
        return path

    return write
