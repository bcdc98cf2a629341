"""What the tests of training in several processes share."""

import importlib.util
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

PIXELS = 32
IMAGES = 60

_PLAIN = '''
"""A backbone without batch normalisation: what it learns does not depend on how a batch is cut."""
from astro_deepgalaxy import hookimpl
from astro_deepgalaxy.specs import BackboneSpec


@hookimpl
def register_backbones():
    return [BackboneSpec(name="plain", factory="plain_backbone:plain", min_size=8)]


def plain(input_shape, width=8):
    import keras
    from keras import layers

    image = keras.Input(input_shape)
    x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(image)
    y = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    return keras.Model(image, {"stage1": x, "stage2": y})
'''

# A worker that takes its time, so that something can happen to it meanwhile.
_SLOW = """
import sys, time
import astro_deepgalaxy_horovod.worker as worker
import astro_deepgalaxy_horovod.step as step

take = step.TrainingStep.__call__
step.TrainingStep.__call__ = lambda self, *given: (time.sleep(0.3), take(self, *given))[1]
sys.exit(worker.main(sys.argv[1]))
"""

# A worker whose gradients are never added to those of the others.
_ALONE = """
import sys
import astro_deepgalaxy_horovod.training as training
import astro_deepgalaxy_horovod.worker as worker

training.add_over_workers = list
sys.exit(worker.main(sys.argv[1]))
"""

needs_horovod = pytest.mark.skipif(
    importlib.util.find_spec("horovod") is None, reason="Horovod is not built"
)


def pytest_collection_modifyitems(items):
    """Skip what is marked ``horovod`` where it is not built."""
    for item in items:
        if "horovod" in item.keywords and item.path.parent == Path(__file__).parent:
            item.add_marker(needs_horovod)


@pytest.fixture(autouse=True)
def patience(request):
    """Fail a test of several processes that comes to no end."""
    if "horovod" not in request.keywords:
        yield
        return

    def give_up(*_):
        raise TimeoutError("the test came to no end within 400 s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(400)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run_worker(monkeypatch, tmp_path):
    """Have workers run another program: "slow" or "alone"."""

    def use(name):
        from astro_deepgalaxy_horovod import launch

        script = tmp_path / f"{name}_worker.py"
        script.write_text({"slow": _SLOW, "alone": _ALONE}[name])
        monkeypatch.setattr(
            launch, "worker_command", lambda folder: [sys.executable, str(script), str(folder)]
        )

    return use


@pytest.fixture
def ssh_here(monkeypatch, tmp_path):
    """An ssh that runs the command here, or fails for the host "127.0.0.9"."""
    program = tmp_path / "ssh"
    program.write_text(
        "#!/bin/bash\n"
        'while [ "${1:0:1}" = - ]; do if [ "$1" = -o ]; then shift; fi; shift; done\n'
        'if [ "$1" = 127.0.0.9 ]; then echo "Connection refused" >&2; exit 255; fi\n'
        'shift; exec bash -c "$*"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def plain_backbone(tmp_path_factory):
    """Install a backbone as a distribution of its own that this process and workers find."""
    import astro_deepgalaxy.plugins as plugins

    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain_backbone.py").write_text(_PLAIN)
    about = folder / "plain_backbone-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plain-backbone\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[astro_deepgalaxy]\nplain = plain_backbone\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        plugins.reload_plugins()
        yield "plain"
    plugins.reload_plugins()


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Blobs, the wider the later; some without a label."""
    from astro_deepgalaxy.preprocess import Recipe
    from astro_deepgalaxy.store import CutoutStore

    path = tmp_path_factory.mktemp("images") / "store.zarr"
    time = np.random.default_rng(1).uniform(-190, 520, IMAGES)
    y, x = np.mgrid[:PIXELS, :PIXELS] - (PIXELS - 1) / 2
    width = (2 + (time + 190) / 100)[:, np.newaxis, np.newaxis]
    images = np.exp(-(x**2 + y**2) / (2 * width**2))[..., np.newaxis]
    attributes = {"recipe": Recipe.default(PIXELS).to_dict()}
    made = CutoutStore.create(path, IMAGES, (PIXELS, PIXELS, 1), attributes, shard_rows=8)
    table = QTable(
        {
            "id": [f"blob{i}" for i in range(IMAGES)],
            "file": [""] * IMAGES,
            "flags": np.zeros(IMAGES, dtype=np.int32),
            "reason": [""] * IMAGES,
            "ra": np.full(IMAGES, np.nan) * u.deg,
            "dec": np.full(IMAGES, np.nan) * u.deg,
            "group": [f"group{i % 5}" for i in range(IMAGES)],
            "time_since_pericentre": np.where(np.arange(IMAGES) % 7 == 3, np.nan, time) * u.Myr,
            "mass_ratio": np.linspace(0.2, 1, IMAGES),
        }
    )
    for shard in made.pending:
        rows = made.rows_of(shard)
        made.write_shard(shard, images[rows], table[rows])
    return made


@pytest.fixture
def job(store, tmp_path):
    """A small job with two outputs, of which one is not known of every image."""
    from astro_deepgalaxy.store import TimeTarget, ValueTarget
    from astro_deepgalaxy.trainers import TrainingJob

    return TrainingJob(
        network={
            "input_shape": [PIXELS, PIXELS, 1],
            "outputs": {"time_class": 71, "mass_ratio": 9},
            "activations": {"mass_ratio": "linear"},
            "backbone": "simple",
            "backbone_options": {"filters": [4, 8]},
            "dropout": 0.2,
        },
        store=str(store.path),
        rows={"train": list(range(45)), "validation": list(range(45, IMAGES))},
        targets={
            "time_class": TimeTarget().to_dict(),
            "mass_ratio": ValueTarget("mass_ratio").to_dict(),
        },
        augment={"zoom": 0.1},
        checkpoint=str(tmp_path / "checkpoint"),
        epochs=3,
        batch_size=8,
        optimizer={"name": "adam", "learning_rate": 1e-2, "schedule": "cosine"},
        seed=4,
    )


@pytest.fixture
def plain_job(job, plain_backbone):
    """The same for a network without batch normalisation and dropout."""
    network = job.network | {"backbone": "plain", "backbone_options": {}, "dropout": 0.0}
    return replace(job, network=network)


@pytest.fixture(scope="session")
def weights():
    """A function that returns all arrays of the weight files in a folder."""
    import h5py

    def read(folder):
        found = {}

        def note(path, name, item):
            if isinstance(item, h5py.Dataset):
                found[path, name] = item[()]

        for path in sorted(folder.glob("*.weights.h5")):
            with h5py.File(path) as file:
                file.visititems(partial(note, path.name))
        assert found
        return found

    return read
