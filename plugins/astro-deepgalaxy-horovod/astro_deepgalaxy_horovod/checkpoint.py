"""The state of a training after a step, from which it goes on as if it had not been interrupted."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from astro_deepgalaxy.jobs import atomic_folder, sweep_partial

__all__ = ["Checkpoints", "Position", "random_states"]


@dataclass
class Position:
    """Where a training is, and what it has seen.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 0; that of the number of epochs when all is done.
    images : int
        Images that all workers have taken in this epoch.
    sums : list of float
        Sums over them of each output's loss, and of the loss as a whole.
    seconds, exchange : float
        Time spent in this epoch, and the part of it in which workers exchanged or waited.
    history : dict of str to list of float
        Losses after each epoch.
    best_epoch : int
        The epoch whose weights are kept; -1 before the first.
    rates : list of float
        Images a second in each epoch.
    """

    epoch: int = 0
    images: int = 0
    sums: list = field(default_factory=list)
    seconds: float = 0.0
    exchange: float = 0.0
    history: dict = field(default_factory=lambda: {"loss": []})
    best_epoch: int = -1
    rates: list = field(default_factory=list)


class Checkpoints:
    """The checkpoints of a job, each a folder of its own that appears whole; the newest counts.

    Parameters
    ----------
    job : TrainingJob
        The job.
    data : str
        Hash of what it is given to learn from.
    """

    def __init__(self, job, data):
        self.folder, self.digest, self.data = Path(job.checkpoint), job.digest, data

    @property
    def best(self):
        """Folder of the weights that are kept."""
        return self.folder / "best"

    def latest(self):
        """The newest checkpoint.

        Returns
        -------
        folder : `~pathlib.Path` or None
            None before the first.
        state : dict or None
            What `save` was given beside the weights.

        Raises
        ------
        ValueError
            If it is of another job, or one on other labels or initial weights.
        """
        folders = self._folders()
        if not folders:
            if (self.folder / "last").exists():
                raise ValueError(
                    f"{self.folder}: holds a checkpoint of another trainer; remove it or choose "
                    "another folder"
                )
            return None, None
        state = json.loads((folders[-1] / "state.json").read_text(encoding="utf-8"))
        if (state["job"], state["data"]) != (self.digest, self.data):
            raise ValueError(
                f"{self.folder}: holds the checkpoint of another training job; "
                "remove it or choose another folder"
            )
        return folders[-1], state

    def save(self, model, position, random, settings):
        """Write a checkpoint, and remove all but the one before.

        Parameters
        ----------
        model : keras.Model
            The compiled model; its optimizer is kept too.
        position : Position
            Where the training is.
        random : list
            `random_states` of each worker.
        settings : Settings
            Those of the trainer, for the record.
        """
        folders = self._folders()
        number = int(folders[-1].name.split("-")[1]) + 1 if folders else 0
        with atomic_folder(self.folder / f"state-{number:08d}") as partial:
            model.save_weights(partial / "state.weights.h5")
            state = {
                "job": self.digest,
                "data": self.data,
                "position": vars(position),
                "random": random,
                "settings": settings.to_dict(),
            }
            (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        for old in folders[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def keep_best(self, network):
        """Write the weights that are the best so far.

        Parameters
        ----------
        network : GalaxyNetwork
            The network that is trained.
        """
        with atomic_folder(self.best) as partial:
            network.save_weights(partial)

    def sweep(self):
        """Remove what an interrupted run has left."""
        if self.folder.exists():
            sweep_partial(self.folder)

    def _folders(self):
        return sorted(p for p in self.folder.glob("state-*") if (p / "state.json").is_file())


def random_states(model):
    """Where dropout and sampling are in their random numbers.

    Parameters
    ----------
    model : keras.Model
        Any model.

    Returns
    -------
    list of (keras.Variable, list of int)
        Each such variable with its value.
    """
    found = [v for v in model.variables if "seed_generator" in v.path]
    return [(v, np.asarray(v.numpy()).tolist()) for v in found]
