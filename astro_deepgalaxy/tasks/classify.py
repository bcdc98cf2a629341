"""When did the galaxies pass each other, and how far has the merger come?"""

import json

import numpy as np
from astropy import units as u

from ..flags import Flag
from ..labels import STAGES, TimeScale
from ..metrics.conformal import Conformal
from ..store import BooleanTarget, CategoryTarget, ValueTarget, groups_of
from ..store.targets import numbers
from .base import NetworkTask
from .novelty import Novelty
from .posterior import (
    MASS_RATIO,
    ClassPosterior,
    MixturePosterior,
    bimodal,
    calibrated,
    time_units,
)
from .time_labels import time_target, true_time
from .views import mean_mixture, mean_probability, symmetric_views

__all__ = ["MergerClassifier"]


class MergerClassifier(NetworkTask):
    """The time of a merger since its first pericentre, and its stage, from its image.

    The network gives a probability to each class of a time scale (Cai et al. 2020 use 71). When
    the labels have the columns ``stage``, ``is_merger`` (with both answers) and ``mass_ratio``,
    it learns these too. Intervals are conformalised by simulation on the groups kept aside, when
    there are enough of them. A network that also learns to compress images (``also={"embed":
    {}}``) says how far an image is from all that it was trained on.

    Parameters
    ----------
    backbone : str
        A registered backbone; see ``astro-deepgalaxy plugins list --all``.
    backbone_options : dict, optional
        Options of the backbone, such as ``{"weights": "imagenet"}``.
    recipe : Recipe, optional
        How raw images are prepared; `Recipe.default` of `image_size` if not given.
    image_size : int
        Side of the prepared images in pixels, when `recipe` is not given.
    time_scale : TimeScale, optional
        What the time classes mean; 71 classes of 10 Myr from -190 Myr if not given.
    time_column : str
        Label column that is learned: a time, or whole numbers that are classes already.
    target_width : float
        Training targets are a Gaussian of this width in Myr about the true time; 0 gives
        whole classes, as in Cai et al. (2020).
    time_loss : str, optional
        Loss of the classes: "ranked_probability" and "ordinal" know of their order. By default
        the cross-entropy.
    time_components : int
        If not 0, the network also learns a mixture of so many Gaussians, and the times and
        intervals of catalogues come from this continuous posterior instead of the classes.
    learn : sequence of str
        Columns that are learned beside the time, where the labels have them.
    interval : float
        Probability inside the intervals of time and mass ratio that a catalogue gives, between
        equal tails.
    test_time_augmentation : bool
        Whether predictions are means over the eight turned and mirrored images.
    epochs, batch_size, learning_rate, dropout, noise : int, int, float, float, float
        The usual settings of training; `noise` is the width of Gaussian noise in the network.
    optimizer : str or dict
        A Keras optimizer, or ``{"name": ..., "schedule": "cosine" or "constant", ...}`` with
        its options, such as ``gradient_accumulation_steps``.
    pooling : {"average", "flatten"}
        How the classifier reads the last feature map.
    validation_fraction : float
        Share of the groups (simulations) kept aside to choose the best epoch and to calibrate the
        intervals; 0 for none.
    split : {"group", "image"}
        Whether whole groups are kept aside, or images at random, as in Cai et al. (2020), which
        says little about galaxies never seen.
    augment : bool or dict
        Whether training images are turned, mirrored, shifted, dimmed and made noisier; or the
        options of `~astro_deepgalaxy.store.augment.Augmentation`.
    also : dict, optional
        Further tasks that train the same network at the same time, with their options and the
        weight of their losses: ``{"reconstruct": {"weight": 5.0}}``.
    labelled_fraction : float, optional
        Share of each batch that has labels; by default what chance gives.
    initial_weights : str, optional
        Model folder whose parts are taken over where the network has them.
    freeze : sequence of str
        Parts that are not trained: "encoder", "classifier", "decoder" and so on.
    trainer, engine, trainer_options : str, str, dict
        Registered trainer and engine, and options of the trainer.
    processes : int
        Processes that prepare images.
    seed : int
        Seed of the split, the weights, the order and the augmentation.
    work_folder : str or `~pathlib.Path`, optional
        Where prepared images and checkpoints are kept. A fit that was interrupted goes on there;
        without it they are temporary.
    progress : bool or None
        Show progress bars; None shows them on a terminal only.

    Attributes
    ----------
    network_ : GalaxyNetwork
        The trained network.
    recipe_ : Recipe
        How images are prepared for it.
    time_scale_ : TimeScale
        What its time classes mean.
    training_ : dict
        Groups, history, seed and versions of the training.
    conformal_ : dict of str to Conformal
        What makes the intervals of the columns ``time_since_pericentre`` and ``mass_ratio`` hold;
        without the one that had too few groups aside.
    novelty_ : Novelty or None
        How far images are from the training set; None without a latent.

    Examples
    --------
    ::

        from astro_deepgalaxy import MergerClassifier

        clf = MergerClassifier(backbone="simple").fit("mergers/labels.ecsv")
        catalogue = clf.predict("cutouts/*.fits")
    """

    task = "classify"

    def __init__(
        self,
        backbone="efficientnet_b0",
        *,
        backbone_options=None,
        recipe=None,
        image_size=128,
        time_scale=None,
        time_column="time_since_pericentre",
        target_width=15.0,
        time_loss=None,
        time_components=0,
        learn=("stage", "is_merger", "mass_ratio"),
        interval=0.68,
        test_time_augmentation=False,
        epochs=20,
        batch_size=32,
        learning_rate=1e-3,
        optimizer="adam",
        dropout=0.2,
        noise=0.0,
        pooling="average",
        validation_fraction=0.15,
        split="group",
        augment=True,
        also=None,
        labelled_fraction=None,
        initial_weights=None,
        freeze=(),
        trainer="local",
        trainer_options=None,
        engine="keras",
        processes=1,
        seed=0,
        work_folder=None,
        progress=None,
    ):
        self.backbone = backbone
        self.backbone_options = backbone_options
        self.recipe = recipe
        self.image_size = image_size
        self.time_scale = time_scale
        self.time_column = time_column
        self.target_width = target_width
        self.time_loss = time_loss
        self.time_components = time_components
        self.learn = learn
        self.interval = interval
        self.test_time_augmentation = test_time_augmentation
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.dropout = dropout
        self.noise = noise
        self.pooling = pooling
        self.validation_fraction = validation_fraction
        self.split = split
        self.augment = augment
        self.also = also
        self.labelled_fraction = labelled_fraction
        self.initial_weights = initial_weights
        self.freeze = freeze
        self.trainer = trainer
        self.trainer_options = trainer_options
        self.engine = engine
        self.processes = processes
        self.seed = seed
        self.work_folder = work_folder
        self.progress = progress

    def _targets(self, table):
        self._check_interval()
        self.time_scale_ = scale = self.time_scale or TimeScale()
        target = time_target(table, self.time_column, scale, self.target_width, self.time_loss)
        self.training_median_ = np.nanmedian(true_time(table, self.time_column, scale))
        targets = {"time_class": target}
        if self.time_components:
            targets["time_density"] = ValueTarget(
                self.time_column, self.time_components, **time_units(scale)
            )
        unknown = set(self.learn) - {"stage", "is_merger", "mass_ratio"}
        if unknown:
            raise ValueError(
                f"learn: cannot learn {', '.join(sorted(unknown))}; known are stage, is_merger and "
                "mass_ratio"
            )
        learn = set(self.learn) & set(table.colnames)
        if "stage" in learn and np.isin(np.asarray(table["stage"], dtype=str), STAGES).any():
            targets["stage"] = CategoryTarget(STAGES, "stage")
        if "is_merger" in learn and np.unique(np.ma.compressed(table["is_merger"])).size == 2:
            targets["is_merger"] = BooleanTarget("is_merger")
        if "mass_ratio" in learn and np.isfinite(numbers(table["mass_ratio"], u.one)).any():
            targets["mass_ratio"] = ValueTarget("mass_ratio", components=3, **MASS_RATIO)
        return targets

    def _losses(self):
        return {} if self.time_loss is None else {"time_class": self.time_loss}

    def _loss_weights(self):
        return {"mass_ratio": 0.3, "stage": 0.5}

    def _network(self):
        return {"pooling": self.pooling}

    def _reads(self):
        config = self.network_.config
        return [*config.outputs, *(["z"] if config.latent is not None else [])]

    def _answers(self, engine, images):
        answers = engine.predict(images)
        # A turned image has another latent, another reconstruction: these are not averaged.
        turned = [name for name in answers if name in self.network_.config.outputs]
        if not self.test_time_augmentation or not turned:
            return answers
        _, *others = symmetric_views(images)
        views = [answers, *map(engine.predict, others)]
        mean = dict.fromkeys(_MIXTURES, mean_mixture)
        return answers | {
            name: mean.get(name, mean_probability)([view[name] for view in views])
            for name in turned
        }

    def _columns(self, images, outputs):
        self._check_interval()
        posterior = self.posterior(outputs)
        half = self._half_width("time_since_pericentre")
        classes = outputs["time_class"]
        columns = {
            "time_class": classes.argmax(axis=1).astype(np.int32),
            "time_since_pericentre": posterior.quantile(0.5),
            "time_lower": posterior.quantile(0.5 - half),
            "time_upper": posterior.quantile(0.5 + half),
            "time_probabilities": classes,
        }
        flags = np.where(bimodal(classes), int(Flag.BIMODAL), 0)
        if "stage" in outputs:
            columns["stage"] = np.array(STAGES)[outputs["stage"].argmax(axis=1)]
            columns["stage_probabilities"] = outputs["stage"]
        if "is_merger" in outputs:
            columns["merger_probability"] = outputs["is_merger"][:, 0]
            flags |= np.where(outputs["is_merger"][:, 0] < 0.5, int(Flag.UNLIKELY_MERGER), 0)
        if "mass_ratio" in outputs:
            ratio = self.density("mass_ratio", outputs["mass_ratio"])
            half = self._half_width("mass_ratio")
            for name, q in (("", 0.5), ("_lower", 0.5 - half), ("_upper", 0.5 + half)):
                columns[f"mass_ratio{name}"] = ratio.quantile(q)
        if self.novelty_ is not None:
            columns["novelty"] = self.novelty_.score(outputs["z"])
            flags |= np.where(columns["novelty"] > _NOVEL, int(Flag.OUT_OF_DISTRIBUTION), 0)
        return columns, flags

    def posterior(self, outputs):
        """The distribution of the time from outputs of the network.

        Parameters
        ----------
        outputs : dict of str to numpy.ndarray
            What `outputs` returned, with ``time_density`` if the network has it.

        Returns
        -------
        ClassPosterior or MixturePosterior
            Its ``quantile(q)`` and ``cdf(time)`` are in Myr.
        """
        if "time_density" in self.network_.config.outputs:
            return self.density("time_density", outputs["time_density"])
        return ClassPosterior(self.time_scale_, outputs["time_class"])

    def density(self, name, parameters):
        """The distribution that an output holds the parameters of.

        Parameters
        ----------
        name : {"time_density", "mass_ratio"}
            The output.
        parameters : numpy.ndarray
            Its values (n, 3 K).

        Returns
        -------
        MixturePosterior
        """
        units = {"time_density": time_units(self.time_scale_), "mass_ratio": MASS_RATIO}[name]
        return MixturePosterior(parameters, **units)

    def calibration(self, column):
        """What makes the intervals of a column hold.

        Parameters
        ----------
        column : {"time_since_pericentre", "mass_ratio"}
            The column of the catalogue.

        Returns
        -------
        Conformal or None
            There is none for answers that are made otherwise than those it was made of.
        """
        same = self._calibrated_views == self.test_time_augmentation
        return self.conformal_.get(column) if same else None

    def _half_width(self, column):
        """How far from its middle, in probability, the intervals of a column go."""
        conformal = self.calibration(column)
        return self.interval / 2 if conformal is None else conformal.half_width(self.interval)

    def _after_fit(self, store, job):
        self.conformal_, self.novelty_ = {}, None
        self._calibrated_views = bool(self.test_time_augmentation)
        aside = np.array(job.rows.get("validation", []), dtype=int)
        if self.network_.config.latent is not None:
            known = job.rows["train"] + job.rows.get("unlabelled", [])
            self.novelty_ = Novelty.fit(
                self.outputs(store, ["z"], Novelty.sample(known, job.seed))[1]["z"],
                self.outputs(store, ["z"], aside)[1]["z"] if len(aside) else None,
            )
        if len(aside) == 0 or "group" not in store.table.colnames:
            return
        groups = groups_of(store.table)
        # With split="image" there are other images of these groups in the training set.
        aside = aside[~np.isin(groups[aside], groups[job.rows["train"]])]
        if len(aside) == 0:
            return
        outputs = self.outputs(store, list(self.network_.config.outputs), aside)[1]
        table, groups = store.table[aside], groups[aside]
        time = true_time(table, self.time_column, self.time_scale_)
        known = {"time_since_pericentre": (self.posterior(outputs), time)}
        if "mass_ratio" in outputs:
            ratio = self.density("mass_ratio", outputs["mass_ratio"])
            known["mass_ratio"] = (ratio, numbers(table["mass_ratio"], u.one))
        for column, (posterior, true) in known.items():
            conformal = calibrated(posterior, true, groups, self.interval)
            if conformal is not None:
                self.conformal_[column] = conformal

    def _meta(self):
        return {
            "time_scale": json.dumps(self.time_scale_.to_dict()),
            "interval": self.interval,
            "calibrated": self.calibration("time_since_pericentre") is not None,
            "mass_ratio_calibrated": self.calibration("mass_ratio") is not None,
            "stages": json.dumps(STAGES),
        }

    def _fitted_state(self):
        return {
            "time_scale": self.time_scale_.to_dict(),
            "training_median": self.training_median_.to_value(u.Myr),
            "conformal": {name: each.to_dict() for name, each in self.conformal_.items()},
            "views": self._calibrated_views,
            "novelty": None if self.novelty_ is None else self.novelty_.to_dict(),
        }

    def _restore(self, state):
        self._check_interval()
        self.time_scale = self.time_scale_ = TimeScale(**state["time_scale"])
        self._calibrated_views = state.get("views", bool(self.test_time_augmentation))
        self.training_median_ = state["training_median"] * u.Myr
        self.conformal_ = {
            name: Conformal.from_dict(data) for name, data in state["conformal"].items()
        }
        self.novelty_ = state["novelty"] and Novelty.from_dict(state["novelty"])
        if self.network_.config.outputs["time_class"] != self.time_scale_.n:
            raise ValueError(
                f"the network has {self.network_.config.outputs['time_class']} time classes and "
                f"the time scale {self.time_scale_.n}"
            )

    def _check_interval(self):
        if not 0 < self.interval < 1:
            raise ValueError(f"interval must be between 0 and 1; got {self.interval}")


# The novelty above which an image is flagged: one in a hundred that were never trained on.
_NOVEL = 0.99

_MIXTURES = ("time_density", "mass_ratio")
