"""The training of a job, as each worker runs it."""

import hashlib
import json
import math
import time
from copy import deepcopy
from pathlib import Path

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf

from astro_deepgalaxy.jobs import atomic_path
from astro_deepgalaxy.store import target_from_dict
from astro_deepgalaxy.store.joined import open_stores
from astro_deepgalaxy.store.loader import batches
from astro_deepgalaxy.trainers.compiled import build_network, make_optimizer
from astro_deepgalaxy.trainers.local import data_digest

from .about import about, check_alike
from .checkpoint import Checkpoints, Position, random_states
from .records import Records
from .sharing import Sharing
from .step import TrainingStep, WeightedLosses

__all__ = ["StoppedEarly", "Training"]


def add_over_workers(tensors):
    """Sums of tensors over all workers."""
    return hvd.grouped_allreduce(tensors, op=hvd.Sum)


class StoppedEarly(Exception):
    """The training was asked to stop, and has saved where it is."""


class Training:
    """A network, its optimizer and where they are in a job.

    Parameters
    ----------
    job : TrainingJob
        What to train; its batch size is that of one worker.
    settings : Settings
        How.
    status : Status
        Where to say how it goes.
    progress : bool or None
        Show a progress bar in the first worker.
    """

    def __init__(self, job, settings, status, progress=False):
        self.job, self.settings, self.status, self.progress = job, settings, status, progress
        self.store = open_stores(job.store)
        self.network = build_network(job)
        self.targets = {name: target_from_dict(data) for name, data in job.targets.items()}
        self.model = self.network.model(list(self.targets))
        # The rate is set before each step: it depends on the number of workers.
        options = job.optimizer | {"schedule": "constant"}
        self.model.compile(optimizer=make_optimizer(options, 1), jit_compile=False)
        self.model.optimizer.build(self.model.trainable_variables)
        self.checkpoints = None
        self.position = Position()
        self.random = None
        self.stop = False
        self.losses = WeightedLosses(job)
        self._evaluate = tf.function(self._evaluated, reduce_retracing=True)

    def restore(self):
        """Take up the newest checkpoint, if there is one. Only the first worker does."""
        self.checkpoints = Checkpoints(self.job, data_digest(self.job, self.store))
        self.checkpoints.sweep()
        folder, state = self.checkpoints.latest()
        if folder is not None:
            self.model.load_weights(folder / "state.weights.h5")
            self.position = Position(**state["position"])
            self.random = state["random"]

    def synchronise(self):
        """Give every worker the weights and the place of the first one."""
        check_alike(hvd.allgather_object(about()))
        hvd.broadcast_variables([v.value for v in self._shared()], root_rank=0)
        known = (self.checkpoints, self.position, self.random)
        self.checkpoints, self.position, self.random = hvd.broadcast_object(known, 0)

    def snapshot(self):
        """What `revert` goes back to: weights and place, in memory."""
        return [v.numpy() for v in self._shared()], deepcopy(self.position), self.random

    def revert(self, snapshot):
        """Go back to a snapshot.

        Parameters
        ----------
        snapshot : tuple
            What `snapshot` returned.
        """
        values, position, self.random = snapshot
        for variable, value in zip(self._shared(), values, strict=True):
            variable.assign(value)
        self.position = deepcopy(position)

    def run(self, commit=None):
        """Train to the end of the job.

        Parameters
        ----------
        commit : callable, optional
            Called when a checkpoint has been written.

        Raises
        ------
        StoppedEarly
            If a worker was asked to stop.
        ValueError
            If a loss is not a number.
        RuntimeError
            If workers have come to different weights.
        """
        self.rank, self.workers = hvd.rank(), hvd.size()
        self.status.rank, self.commit = self.rank, commit
        self.sharing = Sharing(self.store, self.job, self.settings, self.workers)
        self.steps = self.sharing.steps
        self.clock = make_optimizer(self.job.optimizer, self.steps * self.job.epochs)
        self._draw_own()
        self._begin_at_a_step()
        self._take_step = self._aside = None
        self.records = Records(self.job, self.settings, self.workers, self.rank, self.progress)
        try:
            data, dealt = None, None
            while self.position.epoch < self.job.epochs:
                deal = self.sharing.deal(self.position.epoch)
                if data is None or deal != dealt:
                    data, dealt = self._data(), deal
                self._epoch(data)
        finally:
            self.records.close()

    def ask_to_stop(self, *_):
        """Have all workers stop after the step that is under way. A signal handler."""
        self.stop = True

    def _shared(self):
        """Variables that are the same for all workers."""
        return [
            v
            for v in [*self.model.variables, *self.model.optimizer.variables]
            if "seed_generator" not in v.path
        ]

    def _draw_own(self):
        """Give each worker random numbers of its own."""
        own = random_states(self.model)
        if self.random is not None and len(self.random) == self.workers:
            values = self.random[self.rank]
        elif self.rank or self.position.epoch or self.position.images:
            numbers = [self.job.seed, self.rank, self.position.epoch, self.position.images]
            values = [
                np.random.SeedSequence([*numbers, i]).generate_state(2) for i in range(len(own))
            ]
        else:
            values = [value for _, value in own]
        for (variable, _), value in zip(own, values, strict=True):
            variable.assign(np.array(value, dtype=variable.dtype))

    def _begin_at_a_step(self):
        """Forget the part of a step that is left over where there were more workers before."""
        position, first = self.position, self._first_step()
        counts = self.sharing.epoch(position.epoch).counts if position.images else np.zeros((0, 1))
        images = int(counts[:first].sum())
        if position.images:
            position.sums = [total * images / position.images for total in position.sums]
        position.images = images

    def _first_step(self):
        """The step of this epoch to go on with."""
        done = np.cumsum(self.sharing.epoch(self.position.epoch).counts.sum(axis=1))
        return int(np.searchsorted(done, self.position.images, side="right"))

    def _data(self):
        epoch, stop = self.position.epoch, self.position.epoch + 1
        while stop < self.job.epochs and self.sharing.deal(stop) == self.sharing.deal(epoch):
            stop += 1
        data = self.sharing.stream(self.rank, epoch, self._first_step(), stop)
        if self._take_step is None:
            self._take_step = TrainingStep(
                self.model,
                self.model.optimizer,
                self.losses,
                add_over_workers,
                data.element_spec,
                self.settings.accumulate,
                timed=not self.settings.deterministic,
            )
        return iter(data)

    def _epoch(self, data):
        position, plan = self.position, self.sharing.epoch(self.position.epoch)
        asked = 0.0
        for step in range(self._first_step(), self.steps):
            start = time.perf_counter()
            images, values, weights = next(data)
            counts = plan.counts[step]
            scale = np.stack([plan.scales[step], self._loss_weights(step)], axis=1)
            self._set_rate(step)
            report, exchange = self._take_step(
                images, values, weights, scale, counts[self.rank] / counts.sum(), float(self.stop)
            )
            report = report.numpy()
            losses, asked = report[:-1].tolist(), report[-1]
            if not math.isfinite(losses[-1]):
                self._not_a_number("train", step, self.sharing.images(position.epoch, step))
            number = int(counts.sum())
            position.sums = [
                total + number * loss
                for total, loss in zip(position.sums or [0.0] * len(losses), losses, strict=True)
            ]
            position.images += number
            position.exchange += float(exchange)
            position.seconds += time.perf_counter() - start
            self._say(step)
            last = step == self.steps - 1
            if not last:
                every = self.settings.checkpoint_steps
                if asked or (every and (step + 1) % every == 0):
                    self._compare()
                    self._save()
            if asked and not last:
                raise StoppedEarly(f"epoch {position.epoch + 1}, step {step + 1}")
        self._end_of_epoch()
        if asked and position.epoch < self.job.epochs:
            raise StoppedEarly(f"the end of epoch {position.epoch}")

    def _end_of_epoch(self):
        position = self.position
        self._compare()
        means = [total / position.images for total in position.sums]
        found = self._named(means)
        found |= {f"val_{name}": value for name, value in self._validate().items()}
        for name, value in found.items():
            position.history.setdefault(name, []).append(value)
        position.rates.append(position.images / position.seconds)
        self.records.epoch(position, found, float(self.model.optimizer.learning_rate))
        watched = position.history.get("val_loss", [])
        better = not watched or position.best_epoch < 0 or watched[-1] < min(watched[:-1])
        if better:
            position.best_epoch = position.epoch
            if self.rank == 0:
                self.checkpoints.keep_best(self.network)
        position.epoch += 1
        position.images, position.sums, position.seconds, position.exchange = 0, [], 0.0, 0.0
        self._save()

    def _named(self, values):
        """Losses as a history has them: each output's, if there are several, and the whole."""
        *each, whole = values
        found = {"loss": whole}
        if len(each) > 1:
            names = (f"{name}_loss" for name in self.losses.names)
            found |= dict(zip(names, each, strict=True))
        return found

    def _loss_weights(self, step=None):
        """Weight of each output's loss in a step, or in the end."""
        weights = np.array([self.job.loss_weights.get(name, 1.0) for name in self.targets])
        if step is not None:
            done = self.position.epoch + step / self.steps
            over = [self.job.warm_up.get(name, 0.0) for name in self.targets]
            weights *= [min(1.0, done / epochs) if epochs else 1.0 for epochs in over]
        return weights

    def _set_rate(self, step):
        done = self.position.epoch * self.steps + step
        self.clock.iterations.assign(done)
        factor = self.settings.rate_factor(self.job.optimizer["name"], self.workers)
        over = self.settings.warm_up_epochs * self.steps
        grown = min(1.0, done / over) if over else 1.0
        rate = float(self.clock.learning_rate) * (1 + (factor - 1) * grown)
        self.model.optimizer.learning_rate = rate

    def _validate(self):
        """Losses of the validation images, of which each worker takes a part."""
        rows = self.job.rows.get("validation", [])
        if not rows:
            return {}
        mine = np.array_split(np.array(rows), self.workers)[self.rank]
        sums = np.zeros((2, len(self.targets)))
        if len(mine):
            if self._aside is None:
                self._aside = batches(self.store, mine, self.targets, self.job.batch_size)
            for batch in self._aside:
                sums += self._evaluate(*batch).numpy()
        sums, weights = hvd.allreduce(tf.constant(sums), op=hvd.Sum).numpy()
        means = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
        whole = float((means * self._loss_weights()).sum())
        if not math.isfinite(whole):
            self._not_a_number("validation", 0, np.array(rows))
        return self._named([*means.tolist(), whole])

    def _evaluated(self, images, values, weights):
        sums = self.losses(values, self.model(images, training=False), weights)
        return tf.stack([sums, [tf.reduce_sum(weights[name]) for name in self.losses.names]])

    def _compare(self):
        """Raise if any worker has other weights than the rest."""
        digests = [hashlib.sha256(v.numpy().tobytes()).digest() for v in self._shared()]
        whole = hashlib.sha256(b"".join(digests)).digest()
        if len(set(hvd.allgather_object(whole))) == 1:
            return
        everybody = hvd.allgather_object(digests)
        paths = [v.path for v in self._shared()]
        different = [
            i for i, column in enumerate(zip(*everybody, strict=True)) if len(set(column)) > 1
        ]
        others = [r for r, own in enumerate(everybody) if own != everybody[0]]
        raise RuntimeError(
            f"the workers have come to different weights in epoch {self.position.epoch + 1}: "
            f"{', '.join(map(str, others))} not to those of worker 0, in {len(different)} of "
            f"{len(paths)} variables, first in {paths[different[0]]}; the gradients are not added "
            "up, so nothing was saved since"
        )

    def _save(self):
        random = hvd.allgather_object([value for _, value in random_states(self.model)])
        self.random = random
        if self.rank == 0:
            self.checkpoints.save(self.model, self.position, random, self.settings)
        hvd.allreduce(tf.zeros(()))  # nobody goes on, or ends, before it is written
        if self.commit is not None:
            self.commit()

    def _not_a_number(self, split, step, rows):
        path = Path(self.job.checkpoint) / "nan_batch.json"
        ids = np.asarray(self.store.table["id"][rows], dtype=str).tolist()
        found = {"split": split, "epoch": self.position.epoch, "batch": step, "ids": ids}
        if self.rank == 0:
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        raise ValueError(
            f"training stopped: the {split} loss is not a number in epoch "
            f"{self.position.epoch + 1}, batch {step + 1}; {path} names its images; lower the "
            f"learning rate ({self.job.optimizer['learning_rate']})"
        )

    def _say(self, step):
        self.records.step(self.position, step, self.steps)
        if self.status.due():
            if self.rank == 0 and (self.status.folder / "stop").exists():
                self.ask_to_stop()
            self.status.write(
                "training", step=step, steps=self.steps, **self.records.now(self.position)
            )
