"""Training the classifier through the package, against bare `model.fit` on the same arrays."""

import tempfile
import time
from pathlib import Path

import numpy as np

REFERENCE = "bare fit"


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
    cases = [("simple", 64, 1024 if quick else 4096)]
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

        def ours(epochs):
            job = TrainingJob(
                network=config.to_dict(),
                store=str(store.path),
                rows={"train": list(range(n))},
                targets={name: target.to_dict() for name, target in targets.items()},
                checkpoint=str(Path(folder) / f"training-{epochs}"),
                augment={},
                epochs=epochs,
                batch_size=batch_size,
            )
            return LocalTrainer(progress=False).fit(job).seconds

        def bare(epochs):
            start = time.perf_counter()
            model = GalaxyNetwork(config).classify
            losses = dict.fromkeys(targets, "categorical_crossentropy")
            model.compile("adam", losses, jit_compile=False)
            model.fit(images, labels, batch_size, epochs, verbose=0)
            return time.perf_counter() - start

        # What a run of 1 epoch takes is building and tracing; what 5 more add is training.
        extra = {f: f(6) - f(1) for f in (bare, ours)}
    rates = {f: 5 * n / seconds for f, seconds in extra.items()}
    return {
        "name": REFERENCE,
        "ours": rates[ours],
        "reference": rates[bare],
        "ratio": rates[ours] / rates[bare],
        "unit": "images/s",
        "note": f"{backbone} at {size} px, batch {batch_size}, Keras {keras.__version__}; "
        "ours also augments, and writes a checkpoint every epoch",
    }


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
