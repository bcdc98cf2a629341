"""The performance model against workers that it was not fitted to."""

import contextlib

import numpy as np

from .allreduce import Layout, Link
from .calibration import Allreduce, calibrate, joined
from .emulated import TENSORS, EmulatedCrew
from .namespaces import EmulatedHosts, why_not
from .performance_model import PerformanceModel

__all__ = ["calibrate_here", "validate"]

_SWEEP = (4_000, 400_000, 4_000_000, 16_000_000)
_SWEEP_CYCLE, _CYCLE = 0.001, 0.02
_HOSTS = 4
_LOOPBACK = (2, 4, 8)  # fitted
_SHAPE = Link(1e9, 1e-3)  # fitted, with a worker on each host
_UNSEEN = (  # workers, workers on a host, link, bytes
    (16, 16, Link(), 16_000_000),
    (16, 16, Link(), 4_000_000),
    (4, 1, Link(3e8, 2e-4), 16_000_000),
    (4, 1, Link(2e9, 5e-4), 16_000_000),
    (8, 2, Link(1e9, 2e-4), 16_000_000),
    (8, 2, Link(1e9, 5e-3), 4_000_000),
    (16, 4, Link(2e9, 1e-4), 16_000_000),
    (16, 4, Link(5e8, 2e-3), 4_000_000),
    (16, 4, Link(1e9, 2e-3), 16_000_000),
)


def calibrate_here(shared_cores, repeats=10, say=print):
    """Find the costs of communication from a few workers on this machine.

    Parameters
    ----------
    shared_cores : int
        Cores of this machine.
    repeats : int
        Allreduces of each kind.
    say : callable
        Is told how it goes.

    Returns
    -------
    costs : Costs
        What communication costs.
    emulation : Link
        What emulating hosts adds to the latency between them.
    error : float
        Relative error that is left.
    measured : list of Allreduce
        What it was found from.
    """
    measured, idle = [], []
    layouts = [Layout(w, w, Link(), shared_cores) for w in _LOOPBACK]
    why = why_not()
    if not why:
        layouts += [Layout(_HOSTS, 1, link, shared_cores) for link in (Link(), _SHAPE)]
    for layout in layouts:
        say(f"calibrating: {described(layout)}")
        with _crew(layout, _SWEEP_CYCLE) as crew:
            for nbytes in _SWEEP:
                seconds = float(np.median(crew.allreduce(nbytes, repeats)))
                measured.append(Allreduce(layout, nbytes, TENSORS, _SWEEP_CYCLE, seconds))
        if layout.hosts == 1:
            with _crew(layout, _CYCLE) as crew:
                idle.append(crew.idle(1.0) * _CYCLE)
    costs, emulation, error = calibrate(measured)
    costs = costs.with_cycle(min(idle))
    return costs, emulation, error, measured


def validate(compute, costs, emulation, shared_cores, steps=12, seconds=0.3, seed=0, say=print):
    """Predict steps of emulated workers, and measure them.

    Parameters
    ----------
    compute : ComputeTimes
        The distribution of their compute times.
    costs, emulation
        From `calibrate_here`.
    shared_cores : int
        Cores of this machine.
    steps : int
        Steps of each kind.
    seconds : float
        What their mean compute time is scaled to.
    seed : int
        Of the compute times.
    say : callable
        Is told how it goes.

    Returns
    -------
    list of dict
        For each kind of workers what they were, and ``predicted`` and ``measured`` seconds of a
        step, and of what it is longer than computing.
    """
    compute = compute.scaled(seconds / compute.mean)
    rng = np.random.default_rng(seed)
    rows, why = [], why_not()
    for workers, per_host, link, nbytes in _UNSEEN:
        layout = Layout(workers, per_host, link, shared_cores)
        if why and layout.hosts > 1:
            say(f"not validated: {described(layout)}: {why}")
            continue
        say(f"validating: {described(layout)}, {nbytes / 1e6:g} MB")
        model = PerformanceModel(compute, costs, nbytes, TENSORS, _CYCLE)
        parts = model.step(joined(layout, emulation))
        with _crew(layout, _CYCLE) as crew:
            waits = compute.draw((workers, steps), rng)
            measured = crew.steps(waits, nbytes)
        rows.append(
            {
                "workers": workers,
                "hosts": layout.hosts,
                "gbit_per_s": link.bandwidth / 1e9,
                "latency_ms": 1e3 * link.latency,
                "megabytes": nbytes / 1e6,
                "compute_s": compute.mean,
                # The sleep of an emulated worker leaves its core to the background thread.
                "predicted_s": parts.total - parts.thread,
                "measured_s": float(np.median(measured)),
                "predicted_exchange_s": parts.cycle + parts.agreement + parts.allreduce,
                "measured_exchange_s": float(np.median(measured - waits.max(axis=0))),
            }
        )
    return rows


def described(layout):
    """A layout in words.

    Parameters
    ----------
    layout : Layout
        Where workers run.

    Returns
    -------
    str
    """
    if layout.hosts == 1:
        return f"{layout.workers} workers on one host"
    link = layout.between
    rate = "unlimited" if np.isinf(link.bandwidth) else f"{link.bandwidth / 1e9:g} Gbit/s"
    return (
        f"{layout.workers} workers on {layout.hosts} hosts, {rate}, {1e3 * link.latency:g} ms apart"
    )


@contextlib.contextmanager
def _crew(layout, cycle_time):
    with contextlib.ExitStack() as stack:
        hosts = None
        if layout.hosts > 1:
            hosts = stack.enter_context(EmulatedHosts(layout.hosts))
        crew = stack.enter_context(EmulatedCrew(layout.workers, hosts, cycle_time))
        if hosts is not None:
            link = layout.between
            hosts.shape(0.0 if np.isinf(link.bandwidth) else link.bandwidth, link.latency)
        yield crew
