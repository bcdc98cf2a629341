"""The costs of communication, from measured allreduces."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from .allreduce import Layout, Link
from .compute_times import ComputeTimes
from .performance_model import Costs, PerformanceModel

__all__ = ["Allreduce", "calibrate", "predict"]

_FIRST = {"call": 3e-4, "hop": 3e-5, "message": 1e-5, "byte": 5e-10, "copy": 2e-10, "carry": 1e-9}
_LINK = {"bandwidth": 1e10, "latency": 3e-5}


@dataclass(frozen=True)
class Allreduce:
    """An allreduce that was measured.

    Attributes
    ----------
    layout : Layout
        Of the workers.
    nbytes : int
        What they added up.
    tensors : int
        In how many arrays.
    cycle_time : float
        Seconds between two looks of the background thread.
    seconds : float
        How long it took, on average, begun at a random time of the cycle.
    """

    layout: Layout
    nbytes: int
    tensors: int
    cycle_time: float
    seconds: float


def predict(measured, costs):
    """How long an allreduce should have taken.

    Parameters
    ----------
    measured : Allreduce
        The allreduce.
    costs : Costs
        What communication costs.

    Returns
    -------
    float
        Seconds.
    """
    model = PerformanceModel(
        ComputeTimes([1.0]), costs, measured.nbytes, measured.tensors, measured.cycle_time
    )
    return sum(model.exchange(measured.layout))


def calibrate(measured, costs=None):
    """Find the costs with which the model comes closest to measured allreduces.

    The sum of the squared logarithms of predicted over measured times is smallest.

    Parameters
    ----------
    measured : list of Allreduce
        They should differ in size and in the number of workers. What joins the hosts is as their
        layouts say, up to the latency that emulating it adds.
    costs : Costs, optional
        Given these, find what joins the hosts instead.

    Returns
    -------
    costs : Costs
        Without that of the background thread's cycles.
    between : Link
        The link between hosts, or what has to be added to the latency of the layouts'.
    error : float
        Root of the mean squared logarithm that is left: about the relative error.
    """
    first = {}
    if costs is None:
        emulated = any(m.layout.shared_cores and m.layout.hosts > 1 for m in measured)
        first = {k: v for k, v in _FIRST.items() if k != "carry" or emulated}
    if any(m.layout.hosts > 1 for m in measured):
        first |= {k: v for k, v in _LINK.items() if k == "latency" or costs is not None}
    times = np.log([m.seconds for m in measured])

    def read(logarithms):
        found = dict(zip(first, np.exp(logarithms).tolist(), strict=True))
        link = Link(found.pop("bandwidth", float("inf")), found.pop("latency", 0.0))
        return costs or Costs(**found), link

    def residuals(logarithms):
        found, link = read(logarithms)
        through = [replace(m, layout=joined(m.layout, link)) for m in measured]
        return np.log([predict(m, found) for m in through]) - times

    found = least_squares(residuals, np.log(list(first.values())), diff_step=1e-3)
    return *read(found.x), float(np.sqrt(np.mean(found.fun**2)))


def joined(layout, link):
    """A layout whose hosts are joined by its own link and another one, one after the other.

    Parameters
    ----------
    layout : Layout
        Where workers run.
    link : Link
        What is added.

    Returns
    -------
    Layout
    """
    own = layout.between
    between = Link(min(own.bandwidth, link.bandwidth), own.latency + link.latency)
    return replace(layout, between=between)
