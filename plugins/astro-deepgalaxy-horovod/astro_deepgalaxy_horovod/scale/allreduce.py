"""How long messages of an allreduce are on their way.

`gloo_ring` follows the ring allreduce of Gloo, which Horovod's Gloo build uses, send by send. It
makes the 2 (W - 1) / W transfers of every byte of any ring (Patarasuk & Yuan 2009, *J. Parallel
Distrib. Comput.* 69, 117), but waits twice as long for latency, as a segment is sent when its
receiver has said that it is ready. `halving_doubling` is the alternative of MPI libraries
(Thakur, Rabenseifner & Gropp 2005, *Int. J. High Perform. Comput. Appl.* 19, 49).
"""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

__all__ = ["Layout", "Link", "gloo_ring", "halving_doubling"]

_SEGMENT = 2**20  # bytes that Gloo sends at once, at most


@dataclass(frozen=True)
class Link:
    """A way for messages.

    Attributes
    ----------
    bandwidth : float
        Bits per second, in each direction.
    latency : float
        Seconds.
    """

    bandwidth: float = float("inf")
    latency: float = 0.0


@dataclass(frozen=True)
class Layout:
    """Where workers run. The first host has the first ranks.

    Attributes
    ----------
    workers : int
        How many.
    per_host : int
        Workers on each host; the last one may have fewer.
    between : Link
        What joins each host to the others.
    shared_cores : int or None
        Cores that all workers share; None if each has its own.
    """

    workers: int
    per_host: int
    between: Link = Link()
    shared_cores: int | None = None

    @property
    def hosts(self):
        """Number of hosts."""
        return -(-self.workers // self.per_host)

    @property
    def crowding(self):
        """Workers for each core, and at least 1."""
        return max(1.0, self.workers / (self.shared_cores or self.workers))

    def of(self, workers):
        """The same place with another number of workers.

        Parameters
        ----------
        workers : int
            How many.

        Returns
        -------
        Layout
        """
        return replace(self, workers=workers)


def gloo_ring(nbytes, layout, hop, item=4, start=None):
    """Follow the ring allreduce of Gloo's ``allreduce.cc``.

    The array is cut into at least two segments for each worker, of at most 1 MiB. A worker has two
    of them under way to the one before it, and sends one when that has announced that it is ready.
    Between hosts, what is announced waits until the segments before it are through the cable.

    Parameters
    ----------
    nbytes : int
        Size of the array that is added up.
    layout : Layout
        Where the workers run.
    hop : float
        Seconds that a message takes besides what the links between hosts take.
    item : int
        Bytes of a number.
    start : numpy.ndarray, optional
        When each worker begins, in seconds; by default at once.

    Returns
    -------
    end : numpy.ndarray
        When each worker is done, in seconds.
    messages : float
        Messages that a worker sends, on average.
    """
    workers = layout.workers
    rank = np.arange(workers)
    now = np.zeros(workers) if start is None else np.array(start, dtype=float)
    if workers == 1:
        return now, 0.0
    host = rank // layout.per_host
    before = np.roll(rank, 1)
    apart = host != host[before]
    first_of_host = host * layout.per_host  # the one that sends to another host
    latency = hop + np.where(apart, layout.between.latency, 0.0)
    per_byte = np.where(apart, 8 / layout.between.bandwidth, 0.0)

    each = max(2, ceil(ceil(nbytes / _SEGMENT) / workers))
    segments = each * workers
    size = ceil(ceil(nbytes / segments) / item) * item
    free = np.full(workers, -np.inf)
    latest = [(np.full(workers, np.inf), free)] * 3  # when segments were ready, when gone
    messages = 0
    for first in (rank + 1, rank):  # reduce-scatter, then allgather
        arrived = []
        for i in range(segments - each + 2):
            if i >= 2:
                now = np.maximum(now, arrived[i - 2])
            if i >= segments - each:
                continue
            length = np.clip(nbytes - (first * each + i) % segments * size, 0, size)
            for _ in range(2):
                announced = now
                for ready, gone in latest:
                    before_it = ready[first_of_host] < now
                    announced = np.where(before_it, np.maximum(now, gone[first_of_host]), announced)
                told = np.where(apart, announced[before], now[before])
                ready = np.maximum(now, told + latency)
                sent = np.maximum(ready, free) + length * per_byte
                # Once more: its host may have begun to send this segment before.
                latest[2] = (ready, sent)
            latest = [*latest[1:], latest[2]]
            free = np.where((length > 0) & apart, sent, free)
            arrival = np.where(length > 0, sent + latency, -np.inf)
            arrived.append(np.roll(arrival, -1))  # at the worker before
            messages += np.count_nonzero(length)
    return now, messages / workers


def halving_doubling(nbytes, layout, hop, item=4, start=None):
    """Recursive halving and doubling, whose waits for latency grow with the logarithm only.

    Parameters
    ----------
    nbytes, layout, hop, item, start
        As for `gloo_ring`.

    Returns
    -------
    end, messages
        As from `gloo_ring`.
    """
    workers = layout.workers
    now = np.zeros(workers) if start is None else np.array(start, dtype=float)
    rounds = int(np.ceil(np.log2(workers)))
    seconds, part = 0.0, nbytes
    for distance in 2 ** np.arange(rounds)[::-1]:
        part /= 2
        seconds += 2 * hop
        if distance >= layout.per_host:
            # All workers of a host share its cable.
            through = 8 * part * min(layout.per_host, workers) / layout.between.bandwidth
            seconds += 2 * (layout.between.latency + through)
    return np.full(workers, now.max() + seconds), 2.0 * rounds
