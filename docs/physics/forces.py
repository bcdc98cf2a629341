"""Errors and cost of the forces."""

import math
import time

import matplotlib.pyplot as plt
import numpy as np
from common import SOFTENING

from astro_deepgalaxy.simulate.encounter import Encounter
from astro_deepgalaxy.simulate.gravity import accelerations, direct_accelerations


def forces(_):
    """Errors of the tree against direct summation."""
    rng = np.random.default_rng(1)
    n = 30_000
    radius = 5.0 / np.sqrt(rng.uniform(0.001, 0.999, n) ** (-2 / 3) - 1)
    direction = rng.normal(size=(n, 3))
    plummer = direction * (radius / np.linalg.norm(direction, axis=1))[:, None]
    radius, angle = rng.gamma(2, 3.0, n), rng.uniform(0, 2 * np.pi, n)
    disc = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.normal(0, 0.3, n)])
    pair = Encounter(separation=30.0).sample(n, rng)
    even = np.full(n, 1e7)
    rows = []
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True)
    for ax, (name, x, m) in zip(
        axes,
        (
            ("Plummer sphere", plummer, even),
            ("thin disc", disc, even),
            ("two galaxies", pair.positions, pair.masses),
        ),
        strict=True,
    ):
        true, _ = direct_accelerations(x, m, SOFTENING)
        for opening in (0.4, 0.6, 0.8):
            found, _ = accelerations(x, m, SOFTENING, opening)
            error = np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)
            median, most = np.percentile(error, [50, 99])
            rows.append(
                {
                    "system": name,
                    "opening angle": opening,
                    "median error (%)": f"{100 * median:.3f}",
                    "99th percentile (%)": f"{100 * most:.3f}",
                }
            )
            ax.plot(np.sort(100 * error), np.linspace(0, 1, n), label=f"opening {opening}")
        ax.set(xscale="log", xlim=(3e-3, 3), title=name, xlabel="force error (%)")
        ax.axvline(0.1, color="0.8", lw=0.8, zorder=0)
    axes[0].set_ylabel("share of particles below")
    axes[0].legend()
    return rows, figure


def scaling(_):
    """Time of a force call against the number of particles."""
    rows = []
    numbers = (10_000, 30_000, 100_000, 300_000, 1_000_000)
    figure, ax = plt.subplots(figsize=(4.4, 3))
    seconds = []
    for n in numbers:
        particles = Encounter(separation=30.0).sample(n, np.random.default_rng(1), SOFTENING)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            accelerations(particles.positions, particles.masses, SOFTENING)
            times.append(time.perf_counter() - start)
        seconds.append(float(np.median(times[1:])))
        rows.append(
            {
                "particles": f"{n:,}",
                "force call (s)": f"{seconds[-1]:.3f}",
                "ns / (N log2 N)": f"{1e9 * seconds[-1] / (n * math.log2(n)):.0f}",
            }
        )
    ax.plot(numbers, seconds, "o-")
    law = np.array([n * math.log2(n) for n in numbers])
    ax.plot(numbers, law / law[2] * seconds[2], ls=":", color="0.4", label="N log N")
    ax.set(xscale="log", yscale="log", xlabel="particles", ylabel="force call (s)")
    ax.legend()
    return rows, figure
