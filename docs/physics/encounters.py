"""Two galaxies: conservation laws, orbits, convergence, tails."""

import matplotlib.pyplot as plt
import numpy as np
from common import ORBIT, SOFTENING, STEP, in_parallel

from astro_deepgalaxy.simulate.camera import image_axes, render, smoothing_lengths
from astro_deepgalaxy.simulate.encounter import Encounter
from astro_deepgalaxy.simulate.equilibrium import Equilibrium
from astro_deepgalaxy.simulate.galaxy import DISC
from astro_deepgalaxy.simulate.gravity import KPC_PER_MYR, G
from astro_deepgalaxy.simulate.leapfrog import integrate
from astro_deepgalaxy.simulate.run import Run
from astro_deepgalaxy.simulate.views import logarithmic

# Starts of the lighter companions in the preset 'paper'.
_LIGHT = {
    0.5: {"separation": 40.0, "pericentre": 2.5},
    0.25: {"separation": 30.0, "pericentre": 1.5, "parabolic_fraction": 0.4},
}
_SEEDS = {12_500: 8, 25_000: 6, 50_000: 5, 100_000: 4}


def conservation(_):
    """Energy, momentum and angular momentum of a merger, and its way back."""
    particles = Encounter(**ORBIT).sample(100_000, np.random.default_rng(1), SOFTENING)
    m = particles.masses
    record = []
    for state in integrate(particles, STEP, round(700 / STEP), SOFTENING):
        x, v = state.positions, state.velocities
        record.append((state.time, state.energy(m), *(m @ v), *(m @ np.cross(x, v))))
        if len(record) == 1:
            # What the momenta are compared to: those that the galaxies have without their sign.
            momentum = m @ np.linalg.norm(v, axis=1)
        if round(state.time) == 50:
            there = state
    times, energy, *vectors = np.array(record).T
    drift = energy / energy[0] - 1
    momenta = np.linalg.norm(vectors[:3], axis=0) / momentum
    spin = np.array(vectors[3:])
    turning = np.linalg.norm(spin - spin[:, :1], axis=0) / np.linalg.norm(spin[:, 0])
    steps = round(there.time / STEP)
    back_start = type(particles)(
        there.positions, there.velocities, m, particles.component, particles.galaxy
    )
    *_, back = integrate(back_start, -STEP, steps, SOFTENING)
    moved = np.linalg.norm(there.positions - particles.positions, axis=1)
    missed = np.linalg.norm(back.positions - particles.positions, axis=1)
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6))
    for ax, values, label in (
        (axes[0], drift, "change of the energy"),
        (axes[1], momenta, "net momentum over sum of m|v|"),
        (axes[2], turning, "change of the angular momentum"),
    ):
        ax.plot(times, values)
        ax.set(xlabel="time (Myr)", ylabel=label)
        ax.ticklabel_format(axis="y", scilimits=(0, 0))
    rows = [
        {"quantity": "largest change of the energy", "value": f"{np.abs(drift).max():.1e}"},
        {"quantity": "largest net momentum over the sum of m|v|", "value": f"{momenta.max():.1e}"},
        {"quantity": "largest change of the angular momentum", "value": f"{turning.max():.1e}"},
        {
            "quantity": "after 50 Myr and back: median way gone (kpc)",
            "value": f"{np.median(moved):.2f}",
        },
        {
            "quantity": "after 50 Myr and back: median distance from the start (kpc)",
            "value": f"{np.median(missed):.1e}",
        },
        {
            "quantity": "after 50 Myr and back: 99th percentile (kpc)",
            "value": f"{np.percentile(missed, 99):.1e}",
        },
    ]
    return rows, figure


def orbit(_):
    """The approach of live galaxies against the orbit of rigid ones."""
    rows = []
    figure, ax = plt.subplots(figsize=(4.6, 3))
    ratios = (0.5, 1.0, 1.5)
    approaches = in_parallel(approach, [{"ratio": ratio} for ratio in ratios])
    for ratio, (encounter, history) in zip(ratios, approaches, strict=True):
        rigid = rigid_orbit(encounter, history.times)
        line = ax.plot(history.times, history.separation, label=f"mass ratio {ratio}")[0]
        ax.plot(history.times, rigid, ls=":", color=line.get_color())
        for near in (90.0, 70.0, 50.0, 30.0):
            at = int(np.flatnonzero(rigid < near)[0])
            rows.append(
                {
                    "mass ratio": ratio,
                    "rigid separation (kpc)": f"{rigid[at]:.2f}",
                    "live separation (kpc)": f"{history.separation[at]:.2f}",
                    "difference (%)": f"{100 * (history.separation[at] / rigid[at] - 1):+.1f}",
                }
            )
    ax.plot([], [], ls=":", color="0.4", label="rigid galaxies")
    ax.set(xlabel="time (Myr)", ylabel="separation of the centres (kpc)", ylim=(0, None))
    ax.legend()
    return rows, figure


def convergence(_):
    """Pericentre and coalescence against particle number, step, opening angle and mass ratio."""
    same = {"n": 25_000, "seed": 0}
    cases = [
        *(("particles", n, {"n": n, "seed": i}) for n, k in _SEEDS.items() for i in range(k)),
        *(("step (Myr)", f"{f * STEP:.2f}", same | {"step": f * STEP}) for f in (0.25, 0.5, 2)),
        *(("opening angle", angle, same | {"opening": angle}) for angle in (0.3, 0.45, 0.8)),
        *(
            ("mass ratio", ratio, same | orbit | {"mass_ratio": ratio, "seed": i})
            for ratio, orbit in _LIGHT.items()
            for i in range(6)
        ),
    ]
    histories = in_parallel(follow, [arguments for *_, arguments in cases])
    groups = {}
    for (name, value, _), history in zip(cases, histories, strict=True):
        groups.setdefault((name, value), []).append(history)
    rows = []
    figure, ax = plt.subplots(figsize=(4.6, 3))
    for (name, value), group in groups.items():
        first = [history.first_pericentre for history in group]
        end = [history.coalescence for history in group]
        rows.append(
            {
                "varied": name,
                "value": f"{value:,}" if name == "particles" else value,
                "runs": len(group),
                "first pericentre (Myr)": _mean(first),
                "coalescence (Myr)": _mean(end),
                "largest energy change": f"{max(h.energy_drift for h in group):.1e}",
            }
        )
        if name == "particles":
            ax.plot([value] * len(end), end, "o", color="C0", ms=4)
            ax.plot([value] * len(end), first, "o", color="C1", ms=4)
    ax.plot([], [], "o", color="C0", label="coalescence")
    ax.plot([], [], "o", color="C1", label="first pericentre")
    ax.set(xscale="log", xlabel="particles", ylabel="time (Myr)", ylim=(0, None))
    ax.legend()
    return rows, figure


def tails(_):
    """Prograde and retrograde discs (Toomre & Toomre 1972)."""
    inclinations = (0.0, 45.0, 90.0, 180.0)
    rows = []
    figure, axes = plt.subplots(1, 4, figsize=(9, 2.5))
    found = in_parallel(tail, [{"inclination": inclination} for inclination in inclinations])
    for ax, inclination, (positions, share) in zip(axes, inclinations, found, strict=True):
        x = positions - positions.mean(axis=0)
        light = np.full(len(x), 8e10 / len(x) / 1.5)
        size, field = 256, 120.0
        axis = [image_axes([0, 0, 1.0])]
        image = render(x, light, smoothing_lengths(x), axis, [field], size)[0]
        ax.imshow(
            logarithmic(image / (field / size) ** 2),
            origin="lower",
            cmap="inferno",
            extent=[-field / 2, field / 2] * 2,
        )
        ax.set(title=f"inclination {inclination:.0f}°", xticks=[-50, 0, 50], yticks=[])
        rows.append(
            {
                "inclination (deg)": f"{inclination:.0f}",
                "disc stars farther than 20 kpc from either centre (%)": f"{100 * share:.1f}",
            }
        )
    axes[0].set_xlabel("kpc")
    return rows, figure


def follow(n, seed, step=STEP, opening=0.6, **orbit):
    """History of an encounter."""
    encounter = Encounter(**(ORBIT | orbit))
    run = Run(encounter.sample(n, np.random.default_rng(seed), SOFTENING), step, SOFTENING, opening)
    run.advance(round(700 / step))
    return run.history


def approach(ratio, n=50_000):
    """An encounter from afar, with its history until after the first pericentre."""
    encounter = Encounter(
        mass_ratio=ratio, separation=110.0, pericentre=10.0, parabolic_fraction=0.8
    )
    run = Run(encounter.sample(n, np.random.default_rng(2), SOFTENING), 2.0, SOFTENING)
    run.advance(250)
    return encounter, run.history


def rigid_orbit(encounter, times):
    """Separation of two rigid galaxies, by the pull of one's spheres on the other's particles."""
    first, second = encounter.galaxies
    rng = np.random.default_rng(0)
    field = Equilibrium(first, SOFTENING)
    cloud = second.sample(16_000, 4000, 20_000, rng, SOFTENING)
    distances = np.geomspace(0.5, 150, 120)
    pull = []
    for distance in distances:
        x = cloud.positions + np.array([distance, 0, 0])
        r = np.linalg.norm(x, axis=1)
        inward = np.interp(r, field.radii, G * field.attracting_mass / field.radii**2)
        pull.append(cloud.masses @ (inward * x[:, 0] / r) / cloud.masses.sum())
    # Relative acceleration: the pull per mass of the second, shared between both.
    pull = np.array(pull) * (1 + second.mass / first.mass)
    start = encounter.sample(2000, rng, SOFTENING)
    x, v = (
        np.average(vectors[start.galaxy == 1], axis=0, weights=start.masses[start.galaxy == 1])
        - np.average(vectors[start.galaxy == 0], axis=0, weights=start.masses[start.galaxy == 0])
        for vectors in (start.positions, start.velocities)
    )
    found = [np.linalg.norm(x)]
    fine = 20
    for step in np.diff(times):
        for _ in range(fine):
            dt = step / fine
            for half in (True, False):
                r = np.linalg.norm(x)
                v = v - np.interp(r, distances, pull) * x / r * KPC_PER_MYR * (0.5 * dt)
                if half:
                    x = x + v * KPC_PER_MYR * dt
        found.append(np.linalg.norm(x))
    return np.array(found)


def tail(inclination, n=60_000, step=STEP):
    """Stars of two discs 140 Myr after a passage: positions, and the share torn out."""
    encounter = Encounter(
        separation=50.0,
        pericentre=10.0,
        parabolic_fraction=0.9,
        primary_inclination=inclination,
        secondary_inclination=inclination,
    )
    particles = encounter.sample(n, np.random.default_rng(4), SOFTENING)
    run = Run(particles, step, SOFTENING)
    run.advance(round(60 / step))
    while np.isnan(run.history.first_pericentre):
        run.advance(10)
    run.advance(round((run.history.first_pericentre + 140 - run.time) / step))
    centres = run.snapshot().centres
    disc = particles.component == DISC
    x = run.state.positions[disc]
    nearest = np.min([np.linalg.norm(x - centre, axis=1) for centre in centres], axis=0)
    # Five scale lengths hold 96 % of an undisturbed disc.
    return run.snapshot().positions, float((nearest > 20.0).mean())


def _mean(values):
    """Mean and scatter of the times that there are."""
    found = [value for value in values if not np.isnan(value)]
    text = f"{np.mean(found):.1f}" if found else "none"
    if len(found) > 1:
        text += f" +- {np.std(found, ddof=1):.1f}"
    return text if len(found) == len(values) else f"{text} ({len(found)} of {len(values)})"
