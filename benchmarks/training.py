"""Training the classifier through the package, against bare `model.fit` on the same arrays."""

import tempfile
import time
from pathlib import Path

import numpy as np

REFERENCE = "bare fit"
_EPOCHS = 4


def run(quick):
    """Time some epochs of each, in the same process.

    Parameters
    ----------
    quick : bool
        Fewer images.

    Returns
    -------
    list of dict
        One row per backbone and image size.
    """
    cases = [("simple", 64, 768 if quick else 4096)]
    if not quick:
        cases.append(("efficientnet_b0", 96, 512))
    return [_compare(*case) for case in cases]


def _compare(backbone, size, n):
    import keras

    from astro_deepgalaxy.labels import STAGES
    from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig
    from astro_deepgalaxy.store import CategoryTarget, TimeTarget
    from astro_deepgalaxy.trainers import TrainingJob
    from astro_deepgalaxy.trainers.local import LocalTrainer

    batch_size = 64
    targets = {"time_class": TimeTarget(), "stage": CategoryTarget(STAGES, "stage")}
    config = NetworkConfig((size, size, 1), {"time_class": 71, "stage": 5}, backbone)
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder) / "store.zarr", n, size)
        images = store.load(np.arange(n))
        labels = {name: target.encode(store.table)[0] for name, target in targets.items()}

        job = TrainingJob(
            network=config.to_dict(),
            store=str(store.path),
            rows={"train": list(range(n))},
            targets={name: target.to_dict() for name, target in targets.items()},
            checkpoint=str(Path(folder) / "training"),
            augment={},
            epochs=_EPOCHS,
            batch_size=batch_size,
        )
        ours = LocalTrainer(progress=False).fit(job).images_per_second

        model = GalaxyNetwork(config).classify
        losses = dict.fromkeys(targets, "categorical_crossentropy")
        model.compile("adam", losses, jit_compile=False)
        clock = _Clock()
        model.fit(images, labels, batch_size, _EPOCHS, verbose=0, callbacks=[clock.callback()])
        bare = n / float(np.median(np.diff(clock.ends)))
    return {
        "name": REFERENCE,
        "ours": ours,
        "reference": bare,
        "ratio": ours / bare,
        "unit": "images/s",
        "note": f"{backbone} at {size} px, batch {batch_size}, Keras {keras.__version__}; "
        "ours also augments, and writes a checkpoint every epoch",
    }


class _Clock:
    """When each epoch ended."""

    def __init__(self):
        self.ends = []

    def callback(self):
        import keras

        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.ends.append(time.perf_counter())
        )


def _store(path, n, size):
    from astropy import units as u
    from astropy.table import QTable

    from astro_deepgalaxy.labels import STAGES
    from astro_deepgalaxy.store import CutoutStore

    rng = np.random.default_rng(0)
    store = CutoutStore.create(path, n, (size, size, 1))
    for shard in store.pending:
        rows = store.rows_of(shard)
        m = rows.stop - rows.start
        table = QTable(
            {
                "id": [f"image{i}" for i in range(rows.start, rows.stop)],
                "time_since_pericentre": rng.uniform(-190, 520, m) * u.Myr,
                "stage": rng.choice(STAGES, m),
            }
        )
        store.write_shard(shard, rng.random((m, size, size, 1), dtype=np.float32), table)
    return store
