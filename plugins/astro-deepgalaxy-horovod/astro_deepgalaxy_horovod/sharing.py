"""Which images each worker takes in each step, and how much they count."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from astro_deepgalaxy.store.loader import encode, ordered, stream
from astro_deepgalaxy.trainers.local import training_data

__all__ = ["EpochPlan", "Share", "Sharing"]


@dataclass(frozen=True)
class Share:
    """The images that a worker draws from.

    Attributes
    ----------
    rows : numpy.ndarray of int
        Row numbers of the store.
    options : dict
        What `~astro_deepgalaxy.trainers.local.training_data` says of them.
    weights : numpy.ndarray
        How much each image counts for each output of the job, (output, row).
    """

    rows: np.ndarray
    options: dict
    weights: np.ndarray


@dataclass(frozen=True)
class EpochPlan:
    """What all workers do in an epoch.

    Attributes
    ----------
    parts : list of list of (numpy.ndarray, numpy.ndarray)
        For each step and worker the positions of its images in its share, and how often each of
        them has come before; empty for a worker that has none left.
    counts : numpy.ndarray of int
        Number of images, (step, worker).
    scales : numpy.ndarray
        What the weighted sum of each output's loss over the images of a step is multiplied by to
        give their mean, (step, output); 0 where no image has a label.
    """

    parts: list
    counts: np.ndarray
    scales: np.ndarray


class Sharing:
    """How the images of a job are dealt to workers. Every worker knows what all of them do.

    With ``data = "all"`` a step takes the images that one worker would have taken with a batch so
    many times as large, in the same order and with the same augmentation. With ``"shards"`` each
    worker has a share of its own, of whole shards of the store as far as that goes, so that it
    reads few files that another reads too.

    Parameters
    ----------
    store : CutoutStore or JoinedStores
        Where the images are.
    job : TrainingJob
        What to train; its batch size is that of one worker.
    settings : Settings
        How to share.
    workers : int
        Number of workers.
    """

    def __init__(self, store, job, settings, workers):
        self.store, self.job, self.workers = store, job, workers
        self.sharded, self.every = settings.data == "shards", settings.reshuffle_every
        # The next epoch is planned while the last batches of this one are used.
        self._shares_of = lru_cache(2)(self._shares)
        self.epoch = lru_cache(3)(self._epoch)

    @property
    def steps(self):
        """Steps of an epoch, the same for all workers and epochs."""
        return len(self.epoch(0).parts)

    def deal(self, epoch):
        """How often the shares have been dealt anew before an epoch."""
        return epoch // self.every if self.sharded and self.every else 0

    def share(self, rank, epoch):
        """What a worker draws from in an epoch.

        Parameters
        ----------
        rank, epoch : int
            Numbers of the worker and of the epoch.

        Returns
        -------
        Share
        """
        return self._shares_of(self.deal(epoch))[rank if self.sharded else 0]

    def images(self, epoch, step):
        """Rows of the store that all workers together take in a step.

        Parameters
        ----------
        epoch, step : int
            Numbers of the epoch and of the step in it.

        Returns
        -------
        numpy.ndarray of int
        """
        parts = self.epoch(epoch).parts[step]
        return np.concatenate(
            [self.share(rank, epoch).rows[part[0]] for rank, part in enumerate(parts)]
        )

    def stream(self, rank, epoch, first_step, stop):
        """The batches of a worker from a step of an epoch on.

        Parameters
        ----------
        rank : int
            Number of the worker.
        epoch, first_step : int
            Where to begin.
        stop : int
            Number of the epoch to end before; the shares must be the same until then.

        Returns
        -------
        `tf.data.Dataset`
            Elements as those of `~astro_deepgalaxy.store.loader.batches`. In a step for which a
            worker has no image left it gets one, which is not to count.
        """
        share = self.share(rank, epoch)
        nothing = np.zeros(1, dtype=int), np.zeros(1, dtype=int)

        def plan(number):
            own = [parts[rank] for parts in self.epoch(number).parts]
            own = [part if len(part[0]) else nothing for part in own]
            return own[first_step if number == epoch else 0 :]

        return stream(
            self.store,
            share.rows,
            share.options["targets"],
            plan,
            epochs=range(epoch, stop),
            augment=share.options["augment"],
            seed=share.options["seed"],
        )

    def _epoch(self, epoch):
        shares = self._shares_of(self.deal(epoch))
        size = self.job.batch_size * (1 if self.sharded else self.workers)
        planned = [self._ordered(share, size)(epoch) for share in shares]
        if not self.sharded:
            pieces = [[np.array_split(v, self.workers) for v in batch] for batch in planned[0]]
            planned = [
                [(chosen[rank], again[rank]) for chosen, again in pieces]
                for rank in range(self.workers)
            ]
            shares = shares * self.workers
        steps = max(map(len, planned))
        none = np.zeros(0, dtype=int)
        padded = [batches + [(none, none)] * (steps - len(batches)) for batches in planned]
        parts = [list(step) for step in zip(*padded, strict=True)]
        totals = np.array(
            [
                sum(s.weights[:, part[0]].sum(axis=1) for s, part in zip(shares, step, strict=True))
                for step in parts
            ]
        )
        return EpochPlan(
            parts=parts,
            counts=np.array([[len(part[0]) for part in step] for step in parts]),
            scales=np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0),
        )

    def _ordered(self, share, size):
        order = {name: share.options[name] for name in ("shuffle", "seed", "labelled_fraction")}
        return ordered(self.store, share.rows, share.options["targets"], size, **order)

    def _shares(self, deal):
        shares = []
        for job in self._deal(deal) if self.sharded else [self.job]:
            rows, options = training_data(job)
            encoded = encode(self.store, rows, options["targets"])
            one = np.ones(len(rows))
            weights = [encoded[n][1] if n in encoded else one for n in options["targets"]]
            shares.append(Share(rows, options, np.array(weights)))
        return shares

    def _deal(self, deal):
        """The job as each worker sees it: its part of the labelled images and of the others."""
        rng = np.random.default_rng([self.job.seed, deal])
        dealt = {}
        for split in ("train", "unlabelled"):
            rows = np.array(self.job.rows.get(split, []), dtype=int)
            shards = rows // self.store.shard_rows
            order = rng.permutation(shards.max(initial=0) + 1)
            # Shard by shard, and then cut into equal parts.
            rows = rows[np.lexsort((rows, order[shards]))]
            dealt[split] = np.array_split(rows, self.workers)
        return [
            replace(
                self.job,
                rows=self.job.rows | {name: parts[rank].tolist() for name, parts in dealt.items()},
            )
            for rank in range(self.workers)
        ]
