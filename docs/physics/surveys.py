"""The presets, from finished surveys of them."""

import math
import tempfile
import time
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from astropy.stats import mad_std

from astro_deepgalaxy.simulate.imaging import IdealTelescope, RealTelescope, write_images
from astro_deepgalaxy.simulate.survey import open_survey
from astro_deepgalaxy.simulate.telescopes import telescope_names
from astro_deepgalaxy.simulate.views import Stars, image_plan


def paper(options):
    """The runs of the preset 'paper'."""
    rows = []
    for simulation in open_survey(options.surveys / "paper"):
        history, system = simulation.history(), simulation.planned.system
        end = history.coalescence
        rows.append(
            {
                "simulation": simulation.planned.name,
                "mass ratio": system.mass_ratio,
                "size ratio": system.size_ratio,
                "pericentre (kpc)": f"{history.separation[_at_pericentre(history)]:.1f}",
                "first pericentre (Myr)": f"{history.first_pericentre:.0f}",
                "coalescence (Myr)": "not within 700" if math.isnan(end) else f"{end:.0f}",
                "largest energy change": f"{history.energy_drift:.1e}",
                "step (Myr)": f"{np.diff(history.times[:2])[0]:.2f}",
            }
        )
    return rows, None


def presets(options):
    """Energy and outcome of every preset."""
    rows = []
    for name in ("paper", "diverse", "controls"):
        done = [s for s in open_survey(options.surveys / name) if s.state.status == "done"]
        for kind in dict.fromkeys(s.planned.kind for s in done):
            histories = [s.history() for s in done if s.planned.kind == kind]
            drifts = [history.energy_drift for history in histories]
            coalesced = sum(math.isfinite(history.coalescence) for history in histories)
            rows.append(
                {
                    "preset": name,
                    "kind": kind,
                    "simulations": len(histories),
                    "coalesced": coalesced,
                    "median of the largest energy changes": f"{np.median(drifts):.1e}",
                    "largest of all": f"{max(drifts):.1e}",
                }
            )
    return rows, None


def cost(options):
    """Time and disk of the preset 'paper', stage by stage."""
    folder = options.surveys / "paper"
    simulations = open_survey(folder)
    plan = simulations[0].plan
    n_images = len(simulations) * plan.run.snapshots * plan.images.cameras
    cores = joblib.cpu_count()
    seconds = sum(simulation.state.seconds for simulation in simulations)
    rows = [_stage(f"{len(simulations)} simulations", seconds / cores, folder)]
    with tempfile.TemporaryDirectory(dir=options.surveys) as scratch:
        start = time.perf_counter()
        write_images(folder, scratch, IdealTelescope())
        stage = f"{n_images:,} ideal images of {plan.images.pixels} px"
        rows.append(_stage(stage, time.perf_counter() - start, Path(scratch)))
    return rows, None


def telescopes(options):
    """One merger as every survey sees it, nearby and far away."""
    simulation = open_survey(options.surveys / "paper")[9]  # equal galaxies
    images = image_plan(simulation.plan, field=90.0)
    number = 26
    stars = Stars(simulation, simulation.snapshot(number), images)
    redshifts = (0.05, 0.3)
    names = telescope_names()
    figure, axes = plt.subplots(len(redshifts), len(names), figsize=(9, 3.3))
    for redshift, row in zip(redshifts, axes, strict=True):
        for name, ax in zip(names, row, strict=True):
            telescope = RealTelescope(name, (redshift, redshift))
            hdu, *_ = telescope.image(stars, images, 0, np.random.default_rng(2))
            pixels = hdu.data - np.median(hdu.data)
            noise = mad_std(pixels)
            ax.imshow(
                np.arcsinh(pixels / (3 * noise)), cmap="gray", origin="lower", vmin=-0.7, vmax=5
            )
            ax.set(xticks=[], yticks=[])
            if redshift == redshifts[0]:
                ax.set_title(name)
        row[0].set_ylabel(f"redshift {redshift}")
    return [], figure


def _stage(name, seconds, folder):
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "stage": name,
        f"minutes on {joblib.cpu_count()} cores": f"{seconds / 60:.1f}",
        "GB on the disk": f"{size / 1e9:.2f}",
    }


def _at_pericentre(history):
    return int(np.abs(history.times - history.first_pericentre).argmin())
