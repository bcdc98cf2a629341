"""Checks of trainers, engines and tasks: on small images whose answer can be seen."""

import tempfile
from pathlib import Path

import numpy as np

from .report import attempt, require, resolve

__all__ = ["check_engine", "check_task", "check_trainer"]

_SIZE = 32
_N = 96
_FILTERS = [4, 8, 8]


def check_trainer(trainer, **options):
    """Check that a trainer runs a job, keeps what it promises and can be called again.

    It returns weights that the network of the job loads and a finite loss for each epoch, which
    falls on an easy problem; the same job given again is not trained again; another job in the
    same checkpoint folder is a ValueError.

    Parameters
    ----------
    trainer : str or callable
        Registered name, or ``factory(**options)``.
    **options
        Options of the trainer.

    Raises
    ------
    AssertionError
        If the trainer fails.
    """
    from ..network import GalaxyNetwork, NetworkConfig

    label, factory, _ = resolve("trainer", trainer)
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder) / "store.zarr")
        runner = attempt(f"{label}: making it", lambda: factory(**options))
        job = _job(store, Path(folder) / "checkpoint")
        result = attempt(f"{label}: fit", lambda: runner.fit(job))
        for name in ("loss", "val_loss"):
            values = result.history.get(name, [])
            require(
                len(values) == job.epochs and np.isfinite(values).all(),
                f"{label}: history[{name!r}] must hold a finite number for each of the "
                f"{job.epochs} epochs; it is {values}",
            )
        loss = result.history["loss"]
        require(loss[-1] < loss[0], f"{label}: the loss did not fall on an easy problem: {loss}")
        require(
            0 <= result.best_epoch < job.epochs,
            f"{label}: best_epoch is {result.best_epoch}, not one of {job.epochs} epochs from 0",
        )
        network = GalaxyNetwork(NetworkConfig.from_dict(job.network))
        attempt(f"{label}: loading its weights", lambda: network.load_weights(result.weights))
        again = attempt(f"{label}: fit of a finished job", lambda: runner.fit(job))
        require(
            again.history == result.history,
            f"{label}: a finished job given again has another history",
        )
        other = _job(store, Path(folder) / "checkpoint", seed=job.seed + 1)
        try:
            runner.fit(other)
        except ValueError:
            pass
        else:
            raise AssertionError(
                f"{label}: trained another job into the same checkpoint folder; refuse it with a "
                "ValueError"
            )


def check_engine(engine, tolerance=0.01, **options):
    """Check that an engine gives the network's own answers.

    Parameters
    ----------
    engine : str or callable
        Registered name, or ``factory(network, outputs=None, **options)``.
    tolerance : float
        Largest difference of a probability from Keras.
    **options
        Options of the engine.

    Raises
    ------
    AssertionError
        If the engine fails.
    """
    import keras

    from ..network import GalaxyNetwork, NetworkConfig

    label, factory, _ = resolve("engine", engine)
    keras.utils.set_random_seed(0)
    network = GalaxyNetwork(NetworkConfig(**_network()))
    images = np.random.default_rng(0).random((5, _SIZE, _SIZE, 1), dtype=np.float32)
    for names in (None, ["feature_map", "stage"]):
        asked = {} if names is None else {"outputs": names}
        runner = attempt(
            f"{label}: making it with {asked}",
            lambda asked=asked: factory(network, **asked, **options),
        )
        expected = network.model(names or list(network.config.outputs))(images, training=False)
        for n in (5, 1, 3):
            found = attempt(
                f"{label}: predict of {n} images",
                lambda n=n, runner=runner: runner.predict(images[:n]),
            )
            require(
                set(found) == set(expected),
                f"{label}: its outputs are {sorted(found)}; expected {sorted(expected)}",
            )
            for name, values in expected.items():
                require(
                    isinstance(found[name], np.ndarray)
                    and found[name].shape == (n, *values.shape[1:]),
                    f"{label}: {name!r} must be an array of the shape {(n, *values.shape[1:])}",
                )
                away = float(np.abs(found[name] - keras.ops.convert_to_numpy(values)[:n]).max())
                require(
                    away <= tolerance,
                    f"{label}: {name!r} of {n} images differs from Keras by {away:.2g}",
                )


def check_task(task, **parameters):
    """Check that a task is an estimator, adds the columns it declares, and survives saving.

    A registered task that declares no targets is given images without any labels.

    Parameters
    ----------
    task : str or type
        Registered name, or the estimator's class.
    **parameters
        Parameters of its constructor, to make the check quick.

    Raises
    ------
    AssertionError
        If the task fails.
    """
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError

    label, factory, spec = resolve("task", task)
    settings = {
        "backbone": "simple",
        "backbone_options": {"filters": _FILTERS},
        "epochs": 2,
        "validation_fraction": 0.25,
        "progress": False,
    }
    estimator = attempt(f"{label}: making it", lambda: factory(**(settings | parameters)))
    copy = attempt(f"{label}: sklearn.base.clone", lambda: clone(estimator))
    require(
        copy.get_params(deep=False) == estimator.get_params(deep=False),
        f"{label}: its constructor must store its parameters as they are",
    )
    with tempfile.TemporaryDirectory() as folder:
        labels = spec is None or bool(spec.targets)
        store = _store(Path(folder) / "store.zarr", labels)
        try:
            estimator.predict(store)
        except NotFittedError:
            pass
        else:
            raise AssertionError(f"{label}: predicts before it is fitted; raise NotFittedError")
        fitted = attempt(f"{label}: fit", lambda: estimator.fit(store))
        require(fitted is estimator, f"{label}: fit must return the estimator itself")
        rows = [3, 1, 50]
        catalogue = attempt(f"{label}: predict", lambda: estimator.predict(store, rows=rows))
        require(
            list(catalogue["id"]) == list(store.table["id"][rows]),
            f"{label}: the catalogue must have a row for each image, in order",
        )
        missing = set(spec.columns if spec is not None else ()) - set(catalogue.colnames)
        require(not missing, f"{label}: declares the columns {sorted(missing)} but adds none")
        attempt(f"{label}: save", lambda: estimator.save(Path(folder) / "model"))
        names = [path.name for path in (Path(folder) / "model").iterdir()]
        require(
            all(name == "config.json" or name.endswith(".weights.h5") for name in names),
            f"{label}: a saved model is config.json and weights alone; it has {sorted(names)}",
        )
        loaded = attempt(f"{label}: load", lambda: factory.load(Path(folder) / "model"))
        again = loaded.predict(store, rows=rows)
        for name in spec.columns if spec is not None else ():
            require(
                np.array_equal(np.asarray(catalogue[name]), np.asarray(again[name])),
                f"{label}: the column {name!r} differs after saving and loading",
            )


def _network():
    return {
        "input_shape": (_SIZE, _SIZE, 1),
        "outputs": {"time_class": 71, "stage": 5},
        "backbone": "simple",
        "backbone_options": {"filters": _FILTERS},
    }


def _job(store, checkpoint, seed=0):
    from ..labels import STAGES
    from ..store import CategoryTarget, TimeTarget
    from ..trainers import TrainingJob

    return TrainingJob(
        network=_network() | {"input_shape": [_SIZE, _SIZE, 1]},
        store=str(store.path),
        rows={"train": list(range(72)), "validation": list(range(72, _N))},
        targets={
            "time_class": TimeTarget().to_dict(),
            "stage": CategoryTarget(STAGES, "stage").to_dict(),
        },
        checkpoint=str(checkpoint),
        epochs=3,
        batch_size=16,
        optimizer={"name": "adam", "learning_rate": 5e-3},
        seed=seed,
    )


def _store(path, labels=True):
    """Blobs in four groups; the wider, the later."""
    from astropy import units as u
    from astropy.table import QTable

    from ..labels import STAGES
    from ..preprocess import Recipe
    from ..store import CutoutStore

    time = np.random.default_rng(1).uniform(-190, 520, _N)
    y, x = np.mgrid[:_SIZE, :_SIZE] - (_SIZE - 1) / 2
    width = (2 + (time + 190) / 100)[:, np.newaxis, np.newaxis]
    images = np.exp(-(x**2 + y**2) / (2 * width**2))[..., np.newaxis]
    # The recipe is for the record: it is what a model needs to be saved whole.
    attributes = {"recipe": Recipe.default(_SIZE).to_dict()}
    store = CutoutStore.create(path, _N, (_SIZE, _SIZE, 1), attributes)
    table = QTable(
        {
            "id": [f"blob{i}" for i in range(_N)],
            "file": [""] * _N,
            "flags": np.zeros(_N, dtype=np.int32),
            "reason": [""] * _N,
            "ra": np.full(_N, np.nan) * u.deg,
            "dec": np.full(_N, np.nan) * u.deg,
        }
    )
    if labels:
        table["group"] = [f"group{i % 4}" for i in range(_N)]
        table["time_since_pericentre"] = time * u.Myr
        table["stage"] = np.array(STAGES)[((time + 190) / 142.001).astype(int)]
    for shard in store.pending:
        rows = store.rows_of(shard)
        store.write_shard(shard, images[rows], table[rows])
    return store
