"""One galaxy left alone."""

import matplotlib.pyplot as plt
import numpy as np
from common import SOFTENING, STEP, in_parallel

from astro_deepgalaxy.simulate.encounter import Isolated
from astro_deepgalaxy.simulate.galaxy import BULGE, DISC, HALO
from astro_deepgalaxy.simulate.gravity import KPC_PER_MYR, accelerations
from astro_deepgalaxy.simulate.run import Run


def equilibrium(_):
    """An isolated galaxy of 100,000 particles."""
    times, *half_mass, height, virial = isolated(100_000)
    names = ("disc", "bulge", "halo")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9))
    for name, radius in zip(names, half_mass, strict=True):
        left.plot(times, radius / radius[0], label=name)
    left.axhspan(0.95, 1.05, color="0.93", zorder=0)
    left.set(xlabel="time (Myr)", ylabel="half-mass radius over its first", ylim=(0.88, 1.12))
    left.legend()
    right.plot(times, virial)
    right.axhspan(0.98, 1.02, color="0.93", zorder=0)
    right.set(xlabel="time (Myr)", ylabel="virial ratio 2 T / |W|", ylim=(0.95, 1.05))
    rows = [
        {
            "time (Myr)": f"{times[i]:.0f}",
            **{
                f"{name} half-mass radius (kpc)": f"{radius[i]:.2f}"
                for name, radius in zip(names, half_mass, strict=True)
            },
            "disc z_rms (kpc)": f"{height[i]:.3f}",
            "virial ratio": f"{virial[i]:.3f}",
        }
        for i in range(0, len(times), 2)
    ]
    return rows, figure


def thickening(_):
    """Growth of the disc's height with the number of particles."""
    numbers = (10_000, 25_000, 50_000, 100_000, 200_000)
    rows = []
    figure, ax = plt.subplots(figsize=(4.4, 3))
    for n, (times, *_, height, _v) in zip(
        numbers, in_parallel(isolated, [{"n": n} for n in numbers]), strict=True
    ):
        ax.plot(times, height, label=f"{n:,}")
        rows.append(
            {
                "particles": f"{n:,}",
                "z_rms at the start (kpc)": f"{height[0]:.3f}",
                "after 700 Myr (kpc)": f"{height[-1]:.3f}",
                "growth (%)": f"{100 * (height[-1] / height[0] - 1):.0f}",
            }
        )
    ax.set(xlabel="time (Myr)", ylabel="height of the disc, z_rms (kpc)", ylim=(0.2, None))
    ax.legend(title="particles")
    return rows, figure


def isolated(n):
    """A galaxy left alone for 700 Myr: its state every 50 Myr."""
    particles = Isolated().sample(n, np.random.default_rng(3), SOFTENING)
    m, component = particles.masses, particles.component
    run = Run(particles, STEP, SOFTENING)
    states = []
    for i in range(15):
        run.advance(55 if i else 0)
        snapshot = run.snapshot()
        x = run.state.positions - snapshot.centres[0]
        half_mass = [
            np.median(np.linalg.norm(x[component == kind], axis=1)) for kind in (DISC, BULGE, HALO)
        ]
        # Above the disc's own plane: it may tilt a little.
        height = (x[component == DISC] @ snapshot.spins[0]).std()
        kinetic = 0.5 * m @ (run.state.velocities**2).sum(axis=1)
        pull, _ = accelerations(run.state.positions, m, SOFTENING)
        virial = m @ (run.state.positions * pull).sum(axis=1) / KPC_PER_MYR
        states.append((run.time, *half_mass, height, -2 * kinetic / virial))
    return np.array(states).T
