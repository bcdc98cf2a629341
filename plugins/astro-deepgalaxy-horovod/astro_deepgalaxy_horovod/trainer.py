"""The trainer that the package finds under the name ``horovod``."""

import json
import os
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning

from astro_deepgalaxy.jobs import alone, atomic_path
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
            return self._result(job, self._checkpoints(job), start)
        checkpoints = self._checkpoints(job)
        if not self._done(checkpoints, job):
            self._check(job)
            with alone(job.checkpoint):
                self._launch(job)
        return self._result(job, checkpoints, start)

    def _check(self, job):
        from .places import places

        found = places(self.settings)
        self._check_images(job, len(found))
        if not all(place.local for place in found):
            self._check_shared(job)
        if self.settings.tensorboard and find_spec("tensorboard") is None:
            raise ValueError(
                "trainer option tensorboard needs the package tensorboard; try: pip install "
                "tensorboard"
            )

    def _check_images(self, job, workers):
        images, others = len(job.rows["train"]), len(job.rows.get("unlabelled", []))
        if images < workers:
            raise ValueError(
                f"there are {images} images to train on and {workers} workers; ask for at most "
                f"{images}"
            )
        if self.settings.data == "shards" and job.labelled_fraction and others < workers:
            raise ValueError(
                f"there are {others} images without labels for {workers} workers, and each needs "
                "one for its share; set data = 'all'"
            )

    def _check_shared(self, job):
        if Path(job.checkpoint).is_relative_to(tempfile.gettempdir()):
            raise ValueError(
                f"{job.checkpoint}: is a folder of this machine only, and the workers need one "
                "that all hosts share; give the estimator a work_folder"
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
        from .allocation import join, name_of_start, own_cores, rank_and_size
        from .launch import LostWorker
        from .status import read_status
        from .tuning import horovod_environment
        from .worker import bind, set_threads, train

        rank, workers = rank_and_size()
        asked = [name for name in ("elastic", "restarts", "hosts") if getattr(self.settings, name)]
        if asked or self.settings.workers not in (None, workers):
            raise ValueError(
                f"{workers} workers were started already: leave out the trainer option "
                f"{' and '.join(asked) or 'workers'}, which is for those that the trainer starts"
            )
        self._check_images(job, workers)
        self._check_shared(job)
        bind(own_cores())
        set_threads()
        for name, value in horovod_environment(self.settings, _gradient_bytes(job)).items():
            os.environ.setdefault(name, value)
        folder = Path(job.checkpoint) / "run" / name_of_start()
        folder.mkdir(parents=True, exist_ok=True)
        join(folder)
        status = train(job, self.settings, folder, self.progress)
        if status == 3:
            raise KeyboardInterrupt("stopped; a checkpoint is there to go on from")
        if status:
            error = (read_status(folder, rank) or {}).get("error", "")
            raise LostWorker(f"worker {rank} lost the others: {error}; start again to go on")
        if rank:
            sys.exit(0)

    def _checkpoints(self, job):
        from astro_deepgalaxy.store.joined import open_stores
        from astro_deepgalaxy.trainers.local import data_digest

        from .checkpoint import Checkpoints

        return Checkpoints(job, data_digest(job, open_stores(job.store)))

    def _done(self, checkpoints, job):
        _, state = checkpoints.latest()
        return state is not None and state["position"]["epoch"] >= job.epochs

    def _result(self, job, checkpoints, start):
        _, state = checkpoints.latest()
        position = state["position"]
        later = position["rates"][1:]
        return TrainingResult(
            weights=checkpoints.best,
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
