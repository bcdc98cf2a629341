"""How long a step of many workers takes, and of what that is made up.

A step of W workers lasts as long as the slowest of them computes, and then

* until Horovod's background threads look for finished gradients, half a cycle on average
  (Sergeev & Del Balso 2018, arXiv:1802.05799);
* until they have agreed which gradients all workers have, by an allreduce of a few bytes;
* until the gradients are copied together, added up over the workers, and copied back.

All gradients travel as one group, which leaves when the last of them is known: nothing of it
overlaps with computing. While a worker computes, the background thread takes its share of the core.
"""

from dataclasses import dataclass, replace

import numpy as np

from .allreduce import gloo_ring, halving_doubling
from .compute_times import ComputeTimes, expected_largest_normal

__all__ = ["Costs", "PerformanceModel", "StepParts"]

_ALGORITHMS = {"ring": gloo_ring, "halving_doubling": halving_doubling}
_STATUS_BITS = 3
_SETTLED = 4  # idle cycles after which the workers keep step


@dataclass(frozen=True)
class Costs:
    """What communication costs, in seconds; `calibrate` finds it.

    Attributes
    ----------
    call : float
        An allreduce, however small.
    hop : float
        Until a message from worker to worker is noticed.
    message : float
        Core time of a message, however small.
    byte : float
        A byte that is sent, received and added.
    copy : float
        A byte that is copied into the buffer of all gradients, and back.
    cycle : float
        Core time of a cycle of the background thread in which there is nothing to do.
    carry : float
        Core time in which a byte is carried between hosts, if those are emulated and the cores
        have to do that too.
    """

    call: float
    hop: float
    message: float
    byte: float
    copy: float
    cycle: float = 0.0
    carry: float = 0.0

    def with_cycle(self, seconds):
        """The same with another time of a cycle.

        Parameters
        ----------
        seconds : float
            Of core time.

        Returns
        -------
        Costs
        """
        return replace(self, cycle=seconds)


@dataclass(frozen=True)
class StepParts:
    """What a step is made up of, in seconds.

    Attributes
    ----------
    compute : float
        Mean of one worker.
    stragglers : float
        How much longer the slowest worker takes.
    thread : float
        What the background thread takes of the core meanwhile.
    cycle : float
        Until the background thread looks.
    agreement : float
        Until all workers know that all are ready.
    allreduce : float
        Until the gradients are added up.
    input : float
        Until the next images are there, if the step waits for them.
    """

    compute: float
    stragglers: float
    thread: float
    cycle: float
    agreement: float
    allreduce: float
    input: float = 0.0

    @property
    def total(self):
        """Seconds of the step."""
        return sum(vars(self).values())

    def limit(self, reference):
        """Name of the part that has grown most.

        Parameters
        ----------
        reference : StepParts
            Of fewer workers.

        Returns
        -------
        str
        """
        before = vars(reference)
        return max(before, key=lambda name: getattr(self, name) - before[name])


@dataclass(frozen=True)
class PerformanceModel:
    """Predicts the steps of workers.

    Attributes
    ----------
    compute : ComputeTimes
        How long one worker computes.
    costs : Costs
        What communication costs.
    nbytes : int
        Bytes that all workers add up in a step.
    tensors : int
        Number of arrays among which they are.
    cycle_time : float
        Seconds between two looks of the background thread.
    algorithm : {"ring", "halving_doubling"}
        How workers add up: as Gloo does, or as an MPI library does.
    input_seconds : float
        Time in which the images of a step are read and prepared, beside the computing.
    host_spread : float
        Standard deviation of the speed of hosts, as a share of it: differences that last.
    """

    compute: ComputeTimes
    costs: Costs
    nbytes: int
    tensors: int
    cycle_time: float
    algorithm: str = "ring"
    input_seconds: float = 0.0
    host_spread: float = 0.0

    def step(self, layout):
        """A step of the workers.

        Parameters
        ----------
        layout : Layout
            Where they run.

        Returns
        -------
        StepParts
        """
        compute = self.compute.mean
        slowest = self.compute.largest(layout.workers)
        slowest *= 1 + self.host_spread * expected_largest_normal(layout.hosts)
        cycle, agreement, allreduce = self.exchange(layout)
        parts = StepParts(
            compute=compute,
            stragglers=slowest - compute,
            thread=slowest * min(1.0, self.costs.cycle / (2 * cycle)) if cycle else 0.0,
            cycle=cycle,
            agreement=agreement,
            allreduce=allreduce,
        )
        return replace(parts, input=max(0.0, self.input_seconds - parts.total))

    def exchange(self, layout):
        """What happens after the slowest worker has its gradients.

        Parameters
        ----------
        layout : Layout
            Where they run.

        Returns
        -------
        cycle, agreement, allreduce : float
            Seconds until the background thread looks, until all know, and until it is done.
        """
        words = 8 * -(-(self.tensors + _STATUS_BITS) // 64)
        begun, period = np.zeros(layout.workers), self.cycle_time
        for _ in range(_SETTLED):
            again = np.maximum(self._travel(words, layout, 8, begun), begun + self.cycle_time)
            period, begun = float((again - begun).mean()), again
        agreed = self._travel(words, layout, 8, begun)
        done = self._travel(self.nbytes, layout, 4, agreed)
        copying = (self.costs.call + self.costs.copy * self.nbytes) * layout.crowding
        agreement = float((agreed - begun).mean())
        return period / 2, agreement, float((done - agreed).mean()) + copying

    def _travel(self, nbytes, layout, item, start):
        """When the workers are done: by the wires or by the cores, whichever takes longer."""
        costs = self.costs
        end, messages = _ALGORITHMS[self.algorithm](nbytes, layout, costs.hop, item, start)
        share = 2 * (layout.workers - 1) / layout.workers
        core = (costs.byte * share * nbytes + costs.message * messages) * layout.crowding
        if layout.hosts > 1 and layout.shared_cores:
            core += costs.carry * layout.hosts * share * nbytes / layout.shared_cores
        return np.maximum(end, start + core)
