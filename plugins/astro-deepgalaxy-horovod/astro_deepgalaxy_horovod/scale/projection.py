"""The performance model past the machine that it was calibrated on, and what limits it there."""

from dataclasses import replace

import numpy as np

from .allreduce import Layout
from .paper import BATCH, PIXELS, REFERENCE

__all__ = ["ADVICE", "as_in_paper", "project", "worker_counts"]

ADVICE = {
    "stragglers": "the slowest worker; even out the hosts, or give each worker a larger batch",
    "thread": "Horovod's background thread on the workers' cores; lengthen HOROVOD_CYCLE_TIME",
    "cycle": "the wait for Horovod's next look; shorten HOROVOD_CYCLE_TIME",
    "agreement": "the latency of Horovod's agreement, twice around the ring; fewer workers with "
    "more cores each, or the MPI controller",
    "latency": "the latency of the ring, four times around it; fewer workers with more cores each, "
    "or MPI, whose rounds grow with the logarithm only",
    "bandwidth": "the bandwidth between hosts; a larger batch, or gradient accumulation",
    "input": "reading images; more cores for the input, or a local copy of the store",
}


def worker_counts(first, last):
    """Numbers of workers, each twice the one before.

    Parameters
    ----------
    first, last : int
        The range.

    Returns
    -------
    list of int
    """
    counts = [first]
    while counts[-1] * 2 <= last:
        counts.append(counts[-1] * 2)
    return counts


def as_in_paper(model, pixels, batch):
    """The model for the images and the batch of the paper.

    Compute times are taken to grow in proportion to the pixels of a batch, with the same spread.

    Parameters
    ----------
    model : PerformanceModel
        For other images.
    pixels, batch : int
        Size and number of those.

    Returns
    -------
    PerformanceModel
    """
    factor = (PIXELS / pixels) ** 2 * BATCH / batch
    return replace(model, compute=model.compute.scaled(factor))


def project(model, per_host, between, counts):
    """Steps of many workers, each with cores of its own.

    Parameters
    ----------
    model : PerformanceModel
        Calibrated.
    per_host : int
        Workers on a host.
    between : Link
        What joins the hosts.
    counts : list of int
        Numbers of workers.

    Returns
    -------
    list of dict
        A row for each number of workers: the parts of a step in seconds, ``efficiency`` against
        the `REFERENCE` of the paper, and the part that has grown most since,
        ``limit``.
    """
    layout = Layout(REFERENCE, per_host, between)
    reference = model.step(layout)
    rows = []
    for workers in counts:
        there = layout.of(workers)
        parts = model.step(there)
        rows.append(
            {
                "workers": workers,
                "kind": "projected",
                "efficiency": reference.total / parts.total,
                "step_s": parts.total,
                **{f"{name}_s": seconds for name, seconds in vars(parts).items()},
                "limit": _limit(model, there, parts, reference),
            }
        )
    return rows


def _limit(model, layout, parts, reference):
    """What costs most against the reference; of an allreduce, whether latency or bandwidth."""
    if parts.total <= reference.total:
        return ""
    limit = parts.limit(reference)
    if limit != "allreduce":
        return limit
    free = replace(layout, between=replace(layout.between, bandwidth=np.inf))
    wires = replace(model.costs, byte=0.0, copy=0.0)
    without = sum(replace(model, costs=wires).exchange(free)[2:])
    return "latency" if without > parts.allreduce / 2 else "bandwidth"
