"""Timing real steps: with one worker and several, with Horovod and without, in one run."""

import contextlib
from dataclasses import replace

import numpy as np

from ..places import Place, check_hosts, places
from ..tuning import horovod_environment
from .allreduce import Layout
from .calibration import Allreduce
from .crew import Crew

__all__ = ["exchanges", "first_places", "step_times"]

_SWEEP = (4_000, 400_000, 4_000_000, 16_000_000)
_SWEEP_CYCLE = 0.001
_LONGEST_TURN = 1800


def first_places(settings, workers):
    """Where the first workers run, hosts filled one after the other.

    Parameters
    ----------
    settings : Settings
        With the hosts.
    workers : int
        How many.

    Returns
    -------
    list of Place
    """
    found = places(settings)[:workers]
    slots = {place.host: 0 for place in found}
    for place in found:
        slots[place.host] += 1
    return [Place(p.rank, p.host, p.slot, slots[p.host]) for p in found]


def step_times(settings, counts, steps, network, turns=5, say=print):
    """Time the steps of a network in every way that is to be compared.

    Whoever is not being timed is stopped. The ways take turns, several times.

    Parameters
    ----------
    settings : Settings
        With the hosts, and the cores of each worker.
    counts : list of int
        Numbers of workers.
    steps : int
        Steps of each way in each of its turns.
    network : dict
        ``backbone``, ``pixels`` and ``batch``.
    turns : int
        How often each way has its turn.
    say : callable
        Is told how it goes.

    Returns
    -------
    seconds : dict of str to numpy.ndarray
        Times of the steps, (turn, step): ``fit``, of Keras with the cores of all workers of a
        host; ``bound``, of the trainer's step on the cores of one worker, without Horovod;
        ``silent``, of the most workers, that do not talk, (turn, step, worker); and
        ``horovod N``, of N workers.
    about : dict
        ``nbytes`` and ``tensors`` that workers exchange in a step.
    """
    most = max(counts)
    found = first_places(settings, most)
    cores = check_hosts(found, settings)
    # A worker has the same cores however many there are.
    own = [place.cores(cores[place.host], settings.cores) for place in found]
    of_host = [core for numbers in own[: found[0].slots] for core in numbers]
    # Those that are stopped for their turn are not lost.
    patient = replace(settings, stall_seconds=_LONGEST_TURN)
    environment = horovod_environment(patient, 2**24)
    ways = {
        "fit": ("fit", found[:1], [of_host], False),
        "silent": ("step", found, own, False),
    }
    for number in counts:
        where = first_places(settings, number)
        ways[f"horovod {number}"] = ("horovod", where, own[:number], True)
    with contextlib.ExitStack() as stack:
        crews, about = {}, {}
        for name, (role, where, bound, together) in ways.items():
            say(f"starting {name}")
            crews[name] = stack.enter_context(Crew(where, bound, environment, together))
            about |= crews[name].begin(role, **network)
        seconds = {}
        for turn in range(turns):
            say(f"turn {turn + 1} of {turns}")
            for name, crew in crews.items():
                with contextlib.ExitStack() as resting:
                    for other in crews.values():
                        if other is not crew:
                            resting.enter_context(other.at_rest())
                    if name == "silent":
                        times = _ask(crew, steps, 1)[:, 0]
                        seconds.setdefault("bound", []).append(times)
                        seconds.setdefault(name, []).append(_ask(crew, steps))
                    else:
                        seconds.setdefault(name, []).append(_ask(crew, steps).max(axis=1))
    return {name: np.array(turns) for name, turns in seconds.items()}, about


def _ask(crew, steps, only=None):
    # The first step after a rest finds everything cold.
    answers = crew.ask("steps", only=only, number=steps + 1)
    return np.array([answer["seconds"][1:] for answer in answers]).T


def exchanges(settings, counts, repeats=12, say=print):
    """Time allreduces of several sizes among several numbers of workers, each on its own cores.

    Parameters
    ----------
    settings : Settings
        With the hosts.
    counts : list of int
        Numbers of workers.
    repeats : int
        Allreduces of each size.
    say : callable
        Is told how it goes.

    Returns
    -------
    list of Allreduce
        What joins the hosts is not known of them.
    """
    measured = []
    cores = check_hosts(places(settings), settings)
    for number in counts:
        say(f"allreduces of {number} workers")
        found = first_places(settings, number)
        own = [place.cores(cores[place.host], settings.cores) for place in found]
        environment = {"HOROVOD_CYCLE_TIME": f"{1000 * _SWEEP_CYCLE:g}"}
        with Crew(found, own, environment, together=True) as crew:
            crew.begin("exchange")
            for nbytes in _SWEEP:
                answers = crew.ask("allreduce", nbytes=nbytes, repeats=repeats)
                seconds = np.max([answer["seconds"] for answer in answers], axis=0)
                measured.append(
                    Allreduce(
                        Layout(number, found[0].slots),
                        nbytes,
                        20,
                        _SWEEP_CYCLE,
                        float(np.median(seconds)),
                    )
                )
    return measured
