"""What is seen of a training: a progress bar, tables, and the log line of the paper."""

import csv
import logging
from pathlib import Path

from tqdm.auto import tqdm

from astro_deepgalaxy.jobs import atomic_path

__all__ = ["Records"]

logger = logging.getLogger(__name__)


class Records:
    """The records of a run. The first worker writes them.

    Parameters
    ----------
    job : TrainingJob
        What is trained.
    settings : Settings
        How.
    workers, rank : int
        Number of workers, and of this one.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.
    """

    def __init__(self, job, settings, workers, rank, progress):
        self.folder, self.epochs, self.workers = Path(job.checkpoint), job.epochs, workers
        self.first = rank == 0
        self.bar, self.writer = None, None
        shown = None if progress is None else not progress
        self.disable = shown if self.first else True
        if self.first and settings.tensorboard:
            import tensorflow as tf

            self.writer = tf.summary.create_file_writer(str(self.folder / "tensorboard"))

    def now(self, position):
        """Throughput and what an epoch has come to so far.

        Parameters
        ----------
        position : Position
            Where the training is.

        Returns
        -------
        dict
        """
        seconds, images = position.seconds or float("nan"), position.images
        return {
            "epoch": position.epoch,
            "epochs": self.epochs,
            "loss": position.sums[-1] / images if images else None,
            "images_per_second": images / seconds,
            "images_per_second_worker": images / seconds / self.workers,
            "exchange": position.exchange / seconds,
        }

    def step(self, position, step, steps):
        """A step further.

        Parameters
        ----------
        position : Position
            Where the training is.
        step, steps : int
            The step that was taken, and how many an epoch has.
        """
        if not self.first:
            return
        if self.bar is None:
            self.bar = tqdm(
                total=steps * self.epochs,
                initial=steps * position.epoch + step,
                desc=f"train, {self.workers} workers",
                unit="step",
                disable=self.disable,
            )
        self.bar.update()
        self.bar.set_postfix_str(progress_text(self.now(position)), refresh=False)

    def epoch(self, position, losses, rate):
        """An epoch further.

        Parameters
        ----------
        position : Position
            Where the training is, at the end of the epoch.
        losses : dict of str to float
            Losses of the epoch.
        rate : float
            Learning rate of its last step.
        """
        if not self.first:
            return
        now = self.now(position)
        row = {
            "epoch": position.epoch + 1,
            **losses,
            "learning_rate": rate,
            "seconds": position.seconds,
            "images_per_second": now["images_per_second"],
            "images_per_second_worker": now["images_per_second_worker"],
            "exchange": now["exchange"],
        }
        self._table(row)
        line = (
            f"[Performance] Epoch {position.epoch} takes {position.seconds:.2f} seconds. "
            f"Throughput: {now['images_per_second_worker']:.2f} images/sec (per worker), "
            f"{now['images_per_second']:.2f} images/sec (total)"
        )
        logger.info(line)
        with (self.folder / "train_log.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self.writer is not None:
            import tensorflow as tf

            with self.writer.as_default(step=position.epoch + 1):
                for name, value in row.items():
                    if name != "epoch":
                        tf.summary.scalar(name, value)
                self.writer.flush()

    def close(self):
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

    def _table(self, row):
        """Add a row to the table of epochs; what an interrupted run wrote twice is not kept."""
        path, rows = self.folder / "epochs.csv", []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows = [r for r in csv.DictReader(file) if int(r["epoch"]) < row["epoch"]]
        with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows([*rows, row])


def progress_text(now):
    """The throughput in a few words.

    Parameters
    ----------
    now : dict
        What `Records.now` returned, or a status with the same entries.

    Returns
    -------
    str
    """
    return (
        f"epoch {now['epoch'] + 1}/{now['epochs']}, loss {now['loss']:.3f}, "
        f"{now['images_per_second']:.1f} images/s "
        f"({now['images_per_second_worker']:.1f} a worker), "
        f"exchange {now['exchange']:.0%}"
    )
