"""One force call, the accelerations of all particles, against pytreegrav's tree."""

import subprocess
import sys
import time

import numpy as np

REFERENCE = "pytreegrav"


def run(quick):
    """Time both on the particles of a model encounter, with errors from direct summation.

    Both run with their default opening angles, with which the reference errs five times as much,
    and with two pairs of angles at which ours errs no more than the reference.

    Parameters
    ----------
    quick : bool
        Fewer particles.

    Returns
    -------
    list of dict
        One row per comparison.
    """
    if quick:
        return [_compare(REFERENCE, 20_000, 0.8, 0.7)]
    alike = [_compare(REFERENCE, 100_000, *angles) for angles in ((0.8, 0.7), (0.6, 0.4))]
    defaults = _compare(f"{REFERENCE}, defaults", 100_000, 0.6, 0.7)
    return [*alike, defaults, _merger(defaults["reference"])]


def _compare(name, n, opening, theta):
    import pytreegrav

    from astro_deepgalaxy.simulate.encounter import Encounter
    from astro_deepgalaxy.simulate.gravity import (
        KPC_PER_MYR,
        G,
        accelerations,
        direct_accelerations,
    )

    particles = Encounter(separation=30.0).sample(n, np.random.default_rng(1))
    x, m = particles.positions, particles.masses
    # The two soften with different kernels: next to none makes them answer the same question.
    softening = 1e-3

    def ours():
        return accelerations(x, m, softening, opening)[0]

    def theirs():
        return pytreegrav.Accel(x, m, G=G, theta=theta, method="tree", parallel=True) * KPC_PER_MYR

    true, _ = direct_accelerations(x, m, softening)
    our_error, their_error = _errors(ours(), true), _errors(theirs(), true)
    seconds = {"ours": [], "theirs": []}
    for _ in range(5):
        for whose, call in (("ours", ours), ("theirs", theirs)):
            start = time.perf_counter()
            call()
            seconds[whose].append(time.perf_counter() - start)
    ours_ms, theirs_ms = (1e3 * float(np.median(times)) for times in seconds.values())
    return {
        "name": name,
        "ours": ours_ms,
        "reference": theirs_ms,
        "ratio": theirs_ms / ours_ms,
        "unit": "ms a force call",
        "note": f"{n} particles, openings {opening} and {theta}; force error, median and "
        "99th percentile: "
        f"ours {_percent(our_error)}"
        f" (with the potential, at no extra cost), {REFERENCE} {_percent(their_error)}",
    }


def _merger(reference_ms):
    """A merger of 100,000 particles over 700 Myr, in a process of its own for its memory."""
    result = subprocess.run([sys.executable, "-c", _MERGER], check=True, capture_output=True)
    seconds, steps, kilobytes = map(float, result.stdout.split())
    reference = steps * reference_ms / 1000
    return {
        "name": f"{REFERENCE}, merger",
        "ours": seconds,
        "reference": reference,
        "ratio": reference / seconds,
        "unit": "s a merger",
        "note": f"100000 particles, {steps:.0f} steps; the reference: its forces alone; "
        f"peak memory of ours {kilobytes / 2**20:.2f} GiB",
    }


_MERGER = """
import resource, time
import numpy as np
from astro_deepgalaxy.simulate.plan import read_preset
from astro_deepgalaxy.simulate.run import Run
plan = read_preset("paper")
system = next(
    p.system for p in plan.planned() if p.system.mass_ratio == p.system.size_ratio == 1
)
particles = system.sample(100_000, np.random.default_rng(1), plan.run.softening)
every = plan.steps(system)
run = Run(particles, plan.interval / every, plan.run.softening)
start = time.perf_counter()
steps = every * (plan.run.snapshots - 1)
run.advance(steps)
seconds = time.perf_counter() - start
print(seconds, steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _errors(found, true):
    error = np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)
    return np.percentile(error, [50, 99])


def _percent(errors):
    return " and ".join(f"{100 * error:.3f} %" for error in errors)
