"""When did the galaxies pass each other, and how far has the merger come?"""

import json

import numpy as np
from astropy import units as u
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ..flags import Flag
from ..labels import STAGES, TimeScale
from ..store import CategoryTarget, TimeTarget
from .base import NetworkTask

__all__ = ["MergerClassifier"]


class MergerClassifier(NetworkTask):
    """The time of a merger since its first pericentre, and its stage, from its image.

    The network gives a probability to each class of a time scale (Cai et al. 2020 use 71) and,
    when the labels have a column ``stage``, to each stage.

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
    target_width : float
        Training targets are a Gaussian of this width in Myr about the true time; 0 gives
        one-hot classes.
    epochs, batch_size, learning_rate, dropout : int, int, float, float
        The usual settings of training.
    validation_fraction : float
        Share of the groups (simulations) kept aside to choose the best epoch; 0 for none.
    augment : bool
        Whether training images are turned, mirrored, shifted, dimmed and made noisier.
    interval : float
        Probability inside the time interval that a catalogue gives, between equal tails.
    trainer, engine : str
        Registered trainer and engine.
    trainer_options : dict, optional
        Options of the trainer.
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
        target_width=15.0,
        epochs=20,
        batch_size=32,
        learning_rate=1e-3,
        dropout=0.2,
        validation_fraction=0.15,
        augment=True,
        interval=0.68,
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
        self.target_width = target_width
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.validation_fraction = validation_fraction
        self.augment = augment
        self.interval = interval
        self.trainer = trainer
        self.trainer_options = trainer_options
        self.engine = engine
        self.processes = processes
        self.seed = seed
        self.work_folder = work_folder
        self.progress = progress

    def _targets(self, table):
        self._check_interval()
        if "time_since_pericentre" not in table.colnames:
            raise ValueError(
                "the labels have no column 'time_since_pericentre' (in Myr); they have "
                f"{table.colnames}"
            )
        self.time_scale_ = self.time_scale or TimeScale()
        targets = {"time_class": TimeTarget(self.time_scale_, self.target_width)}
        if "stage" in table.colnames:
            targets["stage"] = CategoryTarget(STAGES, "stage")
        time = u.Quantity(table["time_since_pericentre"])
        inside = self.time_scale_.classify(time) >= 0
        self.training_median_ = np.median(time[inside]) if inside.any() else np.nan * u.Myr
        return targets

    def _columns(self, outputs):
        posterior = outputs["time_class"]
        tail = (1 - self.interval) / 2
        columns = {
            "time_class": posterior.argmax(axis=1).astype(np.int32),
            "time_since_pericentre": self.time_scale_.quantile(posterior, 0.5),
            "time_lower": self.time_scale_.quantile(posterior, tail),
            "time_upper": self.time_scale_.quantile(posterior, 1 - tail),
            "time_probabilities": posterior,
        }
        if "stage" in outputs:
            columns["stage"] = np.array(STAGES)[outputs["stage"].argmax(axis=1)]
            columns["stage_probabilities"] = outputs["stage"]
        flags = np.where(_bimodal(posterior), int(Flag.BIMODAL), 0)
        return columns, flags

    def _meta(self):
        return {
            "time_scale": json.dumps(self.time_scale_.to_dict()),
            "interval": self.interval,
            "calibrated": False,
            "stages": json.dumps(STAGES),
        }

    def _fitted_state(self):
        return {
            "time_scale": self.time_scale_.to_dict(),
            "training_median": self.training_median_.to_value(u.Myr),
        }

    def _restore(self, state):
        self._check_interval()
        self.time_scale_ = TimeScale(**state["time_scale"])
        self.training_median_ = state["training_median"] * u.Myr
        if self.network_.config.outputs["time_class"] != self.time_scale_.n:
            raise ValueError(
                f"the network has {self.network_.config.outputs['time_class']} time classes and "
                f"the time scale {self.time_scale_.n}"
            )

    def _check_interval(self):
        if not 0 < self.interval < 1:
            raise ValueError(f"interval must be between 0 and 1; got {self.interval}")


def _bimodal(posterior):
    """Whether a posterior has a second peak, apart from the first, of at least half its height.

    The posterior is smoothed over two classes; a peak counts when it stands out from the valley
    beside it by half of the highest peak.
    """
    smooth = gaussian_filter1d(posterior, 2.0, axis=1, mode="constant")
    padded = np.pad(smooth, ((0, 0), (1, 1)))
    return np.array(
        [len(find_peaks(row, prominence=0.5 * row.max())[0]) > 1 for row in padded], dtype=bool
    )
