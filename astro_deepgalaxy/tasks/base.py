"""What all tasks share: from inputs to a store, from a store to a trained network, and back."""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from astropy import units as u
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from tqdm.auto import tqdm

from ..flags import FAILED, Flag
from ..plugins import get_spec, provider
from ..preprocess import Recipe
from ..store import CutoutStore, split_by_group
from ..store.augment import Augmentation
from ..trainers import TrainingJob
from .catalogue import build_catalogue
from .model_folder import read_model, write_model

__all__ = ["NetworkTask"]

_PREDICTION_BATCH = 64


class NetworkTask(BaseEstimator):
    """Base of the estimators. A subclass names its task and turns outputs into columns.

    A subclass stores the parameters of its constructor under their names, among them
    ``backbone, backbone_options, recipe, image_size, epochs, batch_size, learning_rate, dropout,
    validation_fraction, augment, trainer, trainer_options, engine, processes, seed, work_folder,
    progress``.
    """

    task = ""

    def _targets(self, table):
        """What each output learns from the usable rows of a label table: {output: target}."""
        raise NotImplementedError

    def _columns(self, outputs):
        """Columns (a dict) and flags (an array) for outputs of the network, {output: array}."""
        raise NotImplementedError

    def _meta(self):
        """Entries of the catalogue's meta that explain the columns."""
        raise NotImplementedError

    def _fitted_state(self):
        """JSON data, beside the network, that `_restore` needs."""
        raise NotImplementedError

    def _restore(self, state):
        """Set the fitted attributes from `_fitted_state`."""
        raise NotImplementedError

    def fit(self, cutouts, labels=None, rows=None):
        """Train on labelled images.

        Parameters
        ----------
        cutouts : CutoutStore, `~astropy.table.Table`, path or sequence
            Preprocessed images with their labels; or raw images: a table with a column ``file``
            and the labels, the path of such a table, or files or arrays with `labels`.
        labels : `~astropy.table.Table`, optional
            Labels of raw images, one row each in the same order.
        rows : array_like of int, optional
            Rows of a store to use; all by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If labels are missing, too few groups are there to split, or a parameter is wrong.
        """
        trainer = get_spec("trainer", self.trainer).load()(
            **({"progress": self.progress} if self.trainer == "local" else {}),
            **(self.trainer_options or {}),
        )
        with ExitStack() as stack:
            if self.work_folder is None:
                work = stack.enter_context(tempfile.TemporaryDirectory(prefix="deepgalaxy-"))
            else:
                work = self.work_folder
            work = Path(work)
            store = self._as_store(cutouts, labels, work)
            job = self._job(store, rows, work)
            result = trainer.fit(job)
            self._take(store, job, result)
        return self

    def predict(self, inputs, rows=None):
        """Answer for images, one row each.

        Parameters
        ----------
        inputs : path, glob, folder, Table, array, NDData, sequence of these, or CutoutStore
            Raw images, prepared by the model's own recipe; or a store made with that recipe.
        rows : array_like of int, optional
            Rows of a store; all by default.

        Returns
        -------
        `~astropy.table.QTable`
            A row per input, in order. A file that cannot be used has flags and a reason.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no trained network yet.
        ValueError
            If the inputs name no image at all, or a store has another recipe.
        """
        self._check_fitted()
        engine = self._running_engine()
        about = {name: [] for name in ("id", "file", "ra", "dec", "flags", "reason")}
        parts, part_rows, images = [], [], []

        def flush():
            if images:
                parts.append(self._columns(engine.predict(np.stack(images))))
                images.clear()

        expected = tuple(self.network_.config.input_shape)
        for i, (row, image) in enumerate(self._prepared(inputs, rows)):
            if image is not None and image.shape != expected:
                row["flags"] |= int(Flag.PREPROCESS_FAILED)
                row["reason"] = (
                    f"{row['file'] or row['id']}: the recipe makes an image of the shape "
                    f"{image.shape} of it, and the network takes {expected}"
                )
                image = None
            for name, values in about.items():
                values.append(row[name])
            if image is not None:
                part_rows.append(i)
                images.append(image)
            if len(images) == _PREDICTION_BATCH:
                flush()
        flush()
        if not parts:
            parts = [self._columns(self._no_outputs())]
        catalogue = build_catalogue(about, part_rows, parts)
        catalogue.meta.update(self._meta())
        catalogue.meta["provenance"] = json.dumps(self._provenance(), sort_keys=True)
        return catalogue

    def save(self, folder):
        """Save the trained model as a folder of data.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            The folder. A model that stands there is replaced.

        Returns
        -------
        str
            Hash of the model.
        """
        self._check_fitted()
        config = {
            "task": self.task,
            "parameters": self._plain_parameters(),
            "recipe": self.recipe_.to_dict() if self.recipe_ is not None else None,
            "state": self._fitted_state(),
            "training": self.training_,
        }
        self.digest_ = write_model(folder, config, self.network_)
        return self.digest_

    @classmethod
    def load(cls, folder):
        """Load a saved model.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save` wrote.

        Returns
        -------
        NetworkTask
            A fitted estimator.

        Raises
        ------
        ValueError
            If the folder is not a model of this task, or anything in it was changed.
        """
        try:
            return cls._rebuild(*read_model(folder))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            if str(folder) in str(error):
                raise
            raise ValueError(
                f"{folder}: config.json does not describe a model that this package can build: "
                f"{type(error).__name__}: {error}"
            ) from error

    @classmethod
    def _rebuild(cls, config, network):
        """A fitted estimator from what a model folder holds."""
        if config["task"] != cls.task:
            raise ValueError(f"it is a model of the task {config['task']!r}, not {cls.task!r}")
        known = cls._get_param_names()
        estimator = cls(**{k: v for k, v in config["parameters"].items() if k in known})
        estimator.network_ = network
        estimator.recipe_ = Recipe.from_dict(config["recipe"]) if config["recipe"] else None
        estimator.training_ = dict(config["training"])
        estimator.digest_ = config["digest"]
        estimator._restore(config["state"])
        return estimator

    def _running_engine(self):
        """The engine, made once for a network: making it takes longer than many a prediction."""
        wanted = self.engine, self.network_
        if getattr(self, "_made_for", None) != wanted:
            self._made = get_spec("engine", self.engine).load()(self.network_)
            self._made_for = wanted
        return self._made

    def _check_fitted(self):
        if not hasattr(self, "network_"):
            raise NotFittedError(
                f"this {type(self).__name__} has no network yet: call fit, or {type(self).__name__}"
                ".load(folder)"
            )

    def _as_store(self, cutouts, labels, work):
        """The store itself, or raw images spilled into one."""
        if isinstance(cutouts, CutoutStore):
            return cutouts
        if isinstance(cutouts, str | Path) and (Path(cutouts) / "zarr.json").exists():
            return CutoutStore.open(cutouts)
        from ..preprocess.batch import preprocess_batch

        return preprocess_batch(
            cutouts,
            self.recipe or Recipe.default(size=self.image_size),
            work / "store.zarr",
            labels=labels,
            processes=self.processes,
            progress=self.progress,
        )

    def _job(self, store, rows, work):
        table = store.table
        rows = np.arange(len(store)) if rows is None else np.asarray(rows, dtype=int)
        rows = rows[(np.asarray(table["flags"])[rows] & int(FAILED)) == 0]
        if len(rows) == 0:
            raise ValueError(f"{store.path}: none of the images chosen for training is usable")
        if "group" not in table.colnames:
            raise ValueError(
                "the labels have no column 'group' (the simulation or galaxy each image shows); "
                "without it images of one galaxy would be both trained and tested on"
            )
        targets = self._targets(table[rows])
        labelled = np.zeros(len(rows), dtype=bool)
        for target in targets.values():
            labelled |= target.encode(table[rows])[1] > 0
        rows = rows[labelled]
        if len(rows) == 0:
            raise ValueError(f"{store.path}: no image has a label that the model can learn")
        split = {"train": rows.tolist()}
        if self.validation_fraction:
            kept, aside = split_by_group(table["group"][rows], self.validation_fraction, self.seed)
            split = {"train": rows[kept].tolist(), "validation": rows[aside].tolist()}
        return TrainingJob(
            network={
                "input_shape": list(store.image_shape),
                "outputs": {name: target.size for name, target in targets.items()},
                "backbone": self.backbone,
                "backbone_options": dict(self.backbone_options or {}),
                "dropout": self.dropout,
            },
            store=str(store.path),
            rows=split,
            targets={name: target.to_dict() for name, target in targets.items()},
            checkpoint=str(work / "training"),
            augment=Augmentation().to_dict() if self.augment else None,
            optimizer={
                "name": "adam",
                "learning_rate": self.learning_rate,
                "schedule": "cosine",
            },
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def _take(self, store, job, result):
        """Set the fitted attributes from a finished job."""
        from ..network import GalaxyNetwork, NetworkConfig

        network = GalaxyNetwork(NetworkConfig.from_dict(job.network).untrained())
        network.load_weights(result.weights)
        table = store.table
        self.network_ = network
        self.recipe_ = (
            Recipe.from_dict(store.attributes["recipe"]) if "recipe" in store.attributes else None
        )
        self.training_ = {
            "groups": {
                name: np.unique(np.asarray(table["group"][rows], dtype=str)).tolist()
                for name, rows in job.rows.items()
            },
            "images": {name: len(rows) for name, rows in job.rows.items()},
            "history": result.history,
            "best_epoch": result.best_epoch,
            "seconds": round(result.seconds, 1),
            "seed": job.seed,
            "optimizer": job.optimizer,
            "augment": job.augment,
            "versions": _versions(),
            "backbone": provider("backbone", self.backbone),
            "trainer": provider("trainer", self.trainer),
        }
        self.digest_ = None

    def _prepared(self, inputs, rows):
        """Pairs (about the image, image or None) for the inputs, in order."""
        bar = {"desc": "predict", "unit": "image"}
        bar["disable"] = None if self.progress is None else not self.progress
        if isinstance(inputs, CutoutStore):
            if self.recipe_ is None or inputs.attributes.get("recipe") != self.recipe_.to_dict():
                raise ValueError(f"{inputs.path}: was not made with the recipe of this model")
            table = inputs.table
            rows = range(len(inputs)) if rows is None else rows
            for i in tqdm(rows, **bar):
                row = {name: table[name][i] for name in ("id", "file", "flags", "reason")}
                row |= {name: u.Quantity(table[name][i], u.deg).value for name in ("ra", "dec")}
                failed = int(row["flags"]) & int(FAILED)
                yield row, None if failed else inputs.images[int(i)]
            return
        if self.recipe_ is None:
            raise ValueError(
                "this model was trained on a store without a recipe: it cannot prepare raw images; "
                "predict on a store instead"
            )
        from ..io.catalog import resolve_inputs
        from ..preprocess.batch import iterate_prepared

        sources, _ = resolve_inputs(inputs)
        prepared = iterate_prepared(sources, self.recipe_, processes=self.processes)
        for image, row in tqdm(prepared, total=len(sources), **bar):
            yield row, image

    def _no_outputs(self):
        return {
            name: np.zeros((0, size), dtype=np.float32)
            for name, size in self.network_.config.outputs.items()
        }

    def _provenance(self):
        return {
            "task": self.task,
            "model": self.digest_,
            "backbone": self.training_["backbone"],
            "engine": provider("engine", self.engine),
            "recipe": self.recipe_.to_dict() if self.recipe_ is not None else None,
            "versions": _versions(),
        }

    def _plain_parameters(self):
        """The constructor's parameters as JSON data; objects stand in the fitted state."""
        plain = {}
        for name, value in self.get_params(deep=False).items():
            try:
                json.dumps(value)
            except TypeError:
                continue
            plain[name] = value
        plain.pop("work_folder", None)
        return plain


def _versions():
    from importlib.metadata import version

    names = ("astro-deepgalaxy", "tensorflow", "keras", "numpy", "astropy", "photutils")
    return {name: version(name) for name in names}
