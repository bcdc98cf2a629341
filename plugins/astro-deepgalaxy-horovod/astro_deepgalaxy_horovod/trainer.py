"""The trainer that the package finds under the name ``horovod``."""

import json
import os
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from astro_deepgalaxy.jobs import atomic_path
from astro_deepgalaxy.trainers import TrainingResult

from .settings import Settings

__all__ = ["HorovodTrainer"]


class HorovodTrainer:
    """Train in several processes, here or on several hosts.

    Given outside of any allocation, it starts the workers itself, watches them and returns when
    they have ended. In a program that `horovodrun`, `mpirun` or `srun` has started several times,
    each copy is a worker; the first one goes on after `fit`, and the others end there.

    A job that was interrupted goes on from its last checkpoint when it is given again.

    Parameters
    ----------
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.
    **options
        The fields of `~astro_deepgalaxy_horovod.settings.Settings`.

    Raises
    ------
    ValueError
        If there is no such option, or a value is wrong.
    """

    def __init__(self, progress=None, **options):
        self.progress = progress
        self.settings = Settings.from_options(options)

    def fit(self, job):
        """Run a job; its batch size is that of one worker.

        Parameters
        ----------
        job : TrainingJob
            What to train.

        Returns
        -------
        TrainingResult
            The weights kept are those of the epoch with the least validation loss, or of the
            last epoch when there is no validation split.

        Raises
        ------
        ValueError
            If the workers cannot be started as asked for, there are fewer images than workers,
            the checkpoint folder belongs to another job, or the loss stops being a number.
        LostWorker
            If a worker was lost, and no restart was asked for or left.
        KeyboardInterrupt
            If it was interrupted; a checkpoint was saved.
        """
        from .allocation import inside_allocation

        start = time.perf_counter()
        if inside_allocation():
            self._take_part(job)
            return self._result(job, start)
        checkpoints = self._checkpoints(job)
        if self._done(checkpoints, job):
            return self._result(job, start)
        self._check(job)
        self._launch(job)
        return self._result(job, start)

    def _check(self, job):
        from .places import places

        workers, images = len(places(self.settings)), len(job.rows["train"])
        if images < workers:
            raise ValueError(
                f"there are {images} images to train on and {workers} workers; ask for at most "
                f"{images}"
            )
        if self.settings.tensorboard and find_spec("tensorboard") is None:
            raise ValueError(
                "trainer option tensorboard needs the package tensorboard; try: pip install "
                "tensorboard"
            )

    def _launch(self, job):
        from .launch import LostWorker, launch

        folder = Path(job.checkpoint) / "run"
        data = json.loads(job.to_json())
        stores = [job.store] if isinstance(job.store, str) else job.store
        data["store"] = [os.path.abspath(path) for path in stores]
        data["checkpoint"] = os.path.abspath(job.checkpoint)
        if job.initial_weights:
            data["initial_weights"] = os.path.abspath(job.initial_weights)
        if isinstance(job.store, str):
            data["store"] = data["store"][0]
        with atomic_path(folder / "run.json") as partial:
            partial.write_text(json.dumps({"job": data, "settings": self.settings.to_dict()}))
        for left in range(self.settings.restarts, -1, -1):
            try:
                return launch(folder, self.settings, _gradient_bytes(job), self.progress)
            except LostWorker as error:
                if not left:
                    raise
                warnings.warn(f"{error} [restarting]", AstropyUserWarning, stacklevel=2)

    def _take_part(self, job):
        from .allocation import join, own_cores, rank_and_size
        from .worker import bind, train

        folder = Path(job.checkpoint) / "run"
        folder.mkdir(parents=True, exist_ok=True)
        bind(own_cores())
        join(folder)
        rank, workers = rank_and_size()
        if len(job.rows["train"]) < workers:
            raise ValueError(
                f"there are {len(job.rows['train'])} images to train on and {workers} workers"
            )
        status = train(job, self.settings, folder, self.progress)
        if status == 3:
            raise KeyboardInterrupt("stopped; a checkpoint is there to go on from")
        if status or rank:
            sys.exit(status)

    def _checkpoints(self, job):
        from astro_deepgalaxy.store.joined import open_stores
        from astro_deepgalaxy.trainers.local import data_digest

        from .checkpoint import Checkpoints

        checkpoints = Checkpoints(job, data_digest(job, open_stores(job.store)))
        checkpoints.latest()
        return checkpoints

    def _done(self, checkpoints, job):
        _, state = checkpoints.latest()
        return state is not None and state["position"]["epoch"] >= job.epochs

    def _result(self, job, start):
        _, state = self._checkpoints(job).latest()
        position = state["position"]
        later = position["rates"][1:]
        return TrainingResult(
            weights=Path(job.checkpoint) / "best",
            history=position["history"],
            best_epoch=position["best_epoch"],
            seconds=time.perf_counter() - start,
            images_per_second=float(np.median(later)) if later else np.nan,
        )


def _gradient_bytes(job):
    """Bytes of the trainable weights, from which all that is exchanged follows."""
    from astro_deepgalaxy.trainers.compiled import build_network

    model = build_network(job).model(list(job.targets))
    return 4 * int(sum(np.prod(v.shape) for v in model.trainable_variables))
