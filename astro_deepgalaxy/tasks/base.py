"""What all tasks share: from inputs to a store, from a store to a trained network, and back."""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from ..flags import Flag
from ..plugins import get_spec, provider
from ..preprocess import Recipe
from .catalogue import about_table, build_catalogue
from .inputs import prepared, training_images
from .model_folder import read_config, read_model, write_model
from .training_plan import made_trainer, sharing_tasks, training_job, training_record, versions

__all__ = ["NetworkTask", "load_model"]

_PREDICTION_BATCH = 64


class NetworkTask(BaseEstimator):
    """Base of the estimators. A subclass names its task and turns outputs into columns.

    A subclass stores the parameters of its constructor under their names, among them
    ``backbone, backbone_options, recipe, image_size, epochs, batch_size, learning_rate,
    optimizer, dropout, noise, validation_fraction, split, augment, also, labelled_fraction,
    initial_weights, freeze, trainer, trainer_options, engine, processes, seed, work_folder,
    progress``.
    """

    task = ""

    def _targets(self, table):
        """What each output learns from the usable rows of a label table: {output: target}."""
        raise NotImplementedError

    def _losses(self):
        """Losses of outputs that are not those of their targets, by name."""
        return {}

    def _loss_weights(self):
        """Weight of the loss of each output that is not 1."""
        return {}

    def _warm_up(self):
        """Epochs over which the weight of an output's loss grows from zero."""
        return {}

    def _network(self):
        """Fields of the `NetworkConfig` that the task needs beside the outputs."""
        return {}

    def _reads(self):
        """Outputs of the network from which the columns are made."""
        raise NotImplementedError

    def _columns(self, images, outputs):
        """Columns (a dict) and flags (an array) for images and their outputs, {output: array}."""
        raise NotImplementedError

    def _answers(self, engine, images):
        """Outputs for a batch of images."""
        return engine.predict(images)

    def _meta(self):
        """Entries of the catalogue's meta that explain the columns."""
        return {}

    def _after_fit(self, store, job):
        """What is learned from images beside the training set once the network is trained."""

    def _fitted_state(self):
        """JSON data, beside the network, that `_restore` needs."""
        return {}

    def _restore(self, state):
        """Set the fitted attributes from `_fitted_state`."""

    def fit(self, cutouts, labels=None, rows=None, unlabelled=None):
        """Train on images.

        Parameters
        ----------
        cutouts : CutoutStore, `~astropy.table.Table`, path or sequence
            Preprocessed images with their labels; or raw images: a table with a column ``file``
            and the labels, the path of such a table, or files or arrays with `labels`.
        labels : `~astropy.table.Table`, optional
            Labels of raw images, one row each in the same order.
        rows : array_like of int, optional
            Rows of a store to use; all by default.
        unlabelled : CutoutStore, path, or anything that `predict` takes, or array of int, optional
            More images, or more rows of the store, of which no label is used; they teach the
            tasks that need none.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If labels are missing, too few groups are there to split, or a parameter is wrong.
        """
        trainer = made_trainer(self.trainer, self.trainer_options, self.progress)
        for kind in ("backbone", "engine"):
            get_spec(kind, getattr(self, kind))
        others = sharing_tasks(self.also, NetworkTask)
        tasks = [(self, 1.0), *others.values()]
        with ExitStack() as stack:
            if self.work_folder is None:
                work = stack.enter_context(tempfile.TemporaryDirectory(prefix="deepgalaxy-"))
            else:
                work = self.work_folder
            work = Path(work)
            images = training_images(self, cutouts, labels, rows, unlabelled, work)
            store = images[0]
            job = training_job(tasks, *images, work)
            result = trainer.fit(job)
            self.others_ = {name: task for name, (task, _) in others.items()}
            self._take(store, job, result)
            for task, _ in tasks:
                task._after_fit(store, job)
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
        return self._catalogue(inputs, rows, lambda _, *answers: self._columns(*answers))

    def _catalogue(self, inputs, rows, columns):
        """The table of ``columns(about, images, outputs)``, which are as those of `_columns`."""
        about, filled, parts = [], [], []
        for new, where, images, outputs in self._answered(inputs, self._reads(), rows):
            filled.append(where + len(about))
            about += new
            parts.append(columns([new[i] for i in where], images, outputs))
        if not any(len(where) for where in filled):
            parts = [columns([], *self._nothing())]
        filled = np.concatenate([np.array([], dtype=int), *filled])
        catalogue = build_catalogue(about, filled, parts)
        catalogue.meta.update(self._meta())
        catalogue.meta["provenance"] = json.dumps(self._provenance(), sort_keys=True)
        return catalogue

    def outputs(self, inputs, names, rows=None):
        """Outputs of the network for images, as they are.

        Parameters
        ----------
        inputs, rows
            As in `predict`.
        names : sequence of str
            Outputs that `~astro_deepgalaxy.network.GalaxyNetwork.model` knows.

        Returns
        -------
        about : `~astropy.table.QTable`
            ``id, file, sky, flags, reason`` of each input.
        outputs : dict of str to numpy.ndarray
            Each output, (row, ...) float32; NaN in rows without a result.
        """
        self._check_fitted()
        rows_about, parts = [], {}
        for new, where, _, outputs in self._answered(inputs, list(names), rows):
            rows_about += new
            for name in names:
                values = outputs[name]
                part = np.full((len(new), *values.shape[1:]), np.nan, dtype=np.float32)
                part[where] = values
                parts.setdefault(name, []).append(part)
        if not rows_about:
            return about_table([]), self._nothing(names)[1]
        return about_table(rows_about), {k: np.concatenate(v) for k, v in parts.items()}

    def _answered(self, inputs, names, rows=None):
        """Parts of the inputs: what is known of them, which have a result, images, outputs."""
        engine = self._running_engine(tuple(names))
        expected = tuple(self.network_.config.input_shape)
        about, where, images = [], [], []

        def answer():
            if images:
                batch = np.stack(images)
                return about, np.array(where), batch, self._answers(engine, batch)
            batch, outputs = self._nothing(names)
            return about, np.array([], dtype=int), batch, outputs

        for row, image in prepared(inputs, rows, self.recipe_, self.processes, self.progress):
            if image is not None and image.shape != expected:
                row["flags"] |= int(Flag.PREPROCESS_FAILED)
                row["reason"] = (
                    f"{row['file'] or row['id']}: the recipe makes an image of the shape "
                    f"{image.shape} of it, and the network takes {expected}"
                )
                image = None
            if image is not None:
                where.append(len(about))
                images.append(image)
            about.append(row)
            if len(images) == _PREDICTION_BATCH:
                yield answer()
                about, where, images = [], [], []
        if about:
            yield answer()

    def _nothing(self, names=None):
        """No images, and the outputs for them."""
        model = self.network_.model(self._reads() if names is None else names)
        return np.zeros((0, *self.network_.config.input_shape), dtype=np.float32), {
            name: np.zeros((0, *values.shape[1:]), dtype=np.float32)
            for name, values in model.output.items()
        }

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
        tasks = {self.task: self, **self.others_}
        config = {
            "task": self.task,
            "tasks": {
                name: {"parameters": task._plain_parameters(), "state": task._fitted_state()}
                for name, task in tasks.items()
            },
            "recipe": self.recipe_.to_dict() if self.recipe_ is not None else None,
            "training": self.training_,
        }
        digest = write_model(folder, config, self.network_)
        for task in tasks.values():
            task.digest_ = digest
        return digest

    @classmethod
    def load(cls, folder):
        """Load a saved model.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save` wrote. A model that was trained for several tasks is loaded as any.

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
        tasks = config["tasks"]
        if cls.task not in tasks:
            raise ValueError(
                f"it is a model of the task {', '.join(map(repr, tasks))}, not {cls.task!r}"
            )
        recipe = Recipe.from_dict(config["recipe"]) if config["recipe"] else None

        def rebuild(name, factory):
            known = factory._get_param_names()
            given = {k: v for k, v in tasks[name]["parameters"].items() if k in known}
            task = factory(**given)
            task.network_, task.recipe, task.recipe_ = network, recipe, recipe
            task.training_ = dict(config["training"])
            task.digest_ = config["digest"]
            task.others_ = {}
            task._restore(tasks[name]["state"])
            return task

        estimator = rebuild(cls.task, cls)
        estimator.others_ = {
            name: rebuild(name, get_spec("task", name).load()) for name in tasks if name != cls.task
        }
        return estimator

    def _running_engine(self, names):
        """The engine, made once for a network: making it takes longer than many a prediction."""
        wanted = self.engine, self.network_, names
        if getattr(self, "_made_for", None) != wanted:
            self._made = get_spec("engine", self.engine).load()(self.network_, outputs=list(names))
            self._made_for = wanted
        return self._made

    def _check_fitted(self):
        if not hasattr(self, "network_"):
            raise NotFittedError(
                f"this {type(self).__name__} has no network yet: call fit, or {type(self).__name__}"
                ".load(folder)"
            )

    def _take(self, store, job, result):
        """Set the fitted attributes of all tasks from a finished job."""
        from ..network import GalaxyNetwork, NetworkConfig

        network = GalaxyNetwork(NetworkConfig.from_dict(job.network).untrained())
        network.load_weights(result.weights)
        recipe = store.attributes.get("recipe")
        training = training_record(self, store, job, result)
        for task in (self, *self.others_.values()):
            task.network_ = network
            task.recipe_ = Recipe.from_dict(recipe) if recipe else None
            task.training_ = training
            task.digest_ = None
            if task is not self:
                task.others_ = {}

    def _provenance(self):
        return {
            "task": self.task,
            "model": self.digest_,
            "backbone": self.training_["backbone"],
            "engine": provider("engine", self.engine),
            "recipe": self.recipe_.to_dict() if self.recipe_ is not None else None,
            "versions": versions(),
        }

    def _plain_parameters(self):
        """The constructor's parameters as JSON data; objects stand in the fitted state."""
        plain = {}
        for name, value in self.get_params(deep=False).items():
            value = value.item() if isinstance(value, np.generic) else value
            try:
                json.dumps(value)
            except TypeError:
                continue
            plain[name] = value
        plain.pop("work_folder", None)
        return plain


def load_model(folder):
    """Load a saved model as an estimator of the task that it was trained for in the first place.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        A model folder.

    Returns
    -------
    NetworkTask
        A fitted estimator.

    Raises
    ------
    ValueError
        If the folder is not a model, or its task is not installed.
    """
    return get_spec("task", read_config(folder)["task"]).load().load(folder)
