"""A training run as plain data, so that any trainer can launch, shard or resume it."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["TrainingJob", "TrainingResult"]


@dataclass(frozen=True)
class TrainingJob:
    """What to train, on what and how; every field is JSON data.

    Attributes
    ----------
    network : dict
        `~astro_deepgalaxy.network.NetworkConfig` as plain data.
    store : str or list of str
        Folder of the `~astro_deepgalaxy.store.CutoutStore`; of several, rows are counted on.
    rows : dict of str to list of int
        Row numbers of the splits: ``train``, and if there are any, ``unlabelled``, which is
        trained on without its labels, and ``validation``.
    targets : dict of str to dict
        What each output learns, as plain data.
    checkpoint : str
        Folder for checkpoints and the trained weights.
    initial_weights : str or None
        Folder of weights to start from; parts without a file there start afresh.
    frozen : list of str
        Parts of the network that are not trained.
    augment : dict or None
        Options of `~astro_deepgalaxy.store.augment.Augmentation`.
    losses : dict of str to str
        Loss of each output, by a name that `~astro_deepgalaxy.network.losses.get_loss` knows;
        that of the target where not named.
    loss_weights : dict of str to float
        Weight of each output's loss; 1 where not named.
    warm_up : dict of str to float
        Epochs over which the weight of an output's loss grows from zero.
    labelled_fraction : float or None
        Share of a batch that has labels; by default what chance gives.
    optimizer : dict
        ``{"name": Keras optimizer, "learning_rate": float, "schedule": "cosine" or "constant",
        ...}``; further entries are options of the optimizer.
    epochs : int
        Passes over the training rows.
    batch_size : int
        Images in a batch.
    seed : int
        Seed of the initial weights, the order and the augmentation.
    """

    network: dict
    store: str | list[str]
    rows: dict[str, list[int]]
    targets: dict[str, dict]
    checkpoint: str
    initial_weights: str | None = None
    frozen: list[str] = field(default_factory=list)
    augment: dict | None = None
    losses: dict[str, str] = field(default_factory=dict)
    loss_weights: dict[str, float] = field(default_factory=dict)
    warm_up: dict[str, float] = field(default_factory=dict)
    labelled_fraction: float | None = None
    optimizer: dict = field(
        default_factory=lambda: {"name": "adam", "learning_rate": 1e-3, "schedule": "cosine"}
    )
    epochs: int = 20
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self):
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f"training job: epochs and batch_size must be at least 1; "
                f"got {self.epochs} and {self.batch_size}"
            )
        if not self.rows.get("train"):
            raise ValueError("training job: there are no rows to train on")

    def to_json(self):
        """The job as JSON text. The order of the outputs is kept: initial weights depend on it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text):
        """Rebuild a job.

        Parameters
        ----------
        text : str
            What `to_json` returned.

        Returns
        -------
        TrainingJob
        """
        return cls(**json.loads(text))

    @property
    def digest(self):
        """SHA-256 of all that decides the result; where the files lie does not."""
        data = asdict(self)
        for place in ("store", "checkpoint", "initial_weights"):
            del data[place]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class TrainingResult:
    """What a trainer returns.

    Attributes
    ----------
    weights : `~pathlib.Path`
        Folder with a weight file for each part of the network.
    history : dict of str to list of float
        ``loss`` and, with a validation split, ``val_loss`` after each epoch; with several
        outputs also the loss of each, not weighted, as ``time_class_loss`` (of one that warms up
        a trainer may give it with the weight that it had).
    best_epoch : int
        Number of the epoch, from 0, whose weights were kept.
    seconds : float
        Time spent in this call.
    images_per_second : float
        Training images a second in this call, checkpoints included, validation and the first
        epoch (which builds the graph) left out; NaN when there was no second epoch.
    """

    weights: Path
    history: dict[str, list[float]]
    best_epoch: int
    seconds: float
    images_per_second: float = math.nan
