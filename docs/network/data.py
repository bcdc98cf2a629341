"""The simulations, their images and the stores that the experiments learn from."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from astro_deepgalaxy import Recipe, preprocess_batch
from astro_deepgalaxy.preprocess.align import Align
from astro_deepgalaxy.preprocess.background import Background
from astro_deepgalaxy.preprocess.bands import Bands
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.preprocess.stretch import Stretch
from astro_deepgalaxy.store.joined import open_stores

HERE = Path(__file__).parent
SIZE = 128
KINDS = ("mergers", "controls")
FIELD = Recipe((Bands(), Resize(size=SIZE), Stretch()))
# Where the images of a store come from, and how they are prepared: each galaxy at its own size;
# with its redshift known, all galaxies in kpc; or the field as it was rendered.
LOOKS = {
    "sdss": ("sdss", Recipe.default(SIZE)),
    "kpc": (
        "sdss",
        Recipe((Bands(), Background(), Align(kpc_per_pixel=0.8, size=SIZE), Stretch())),
    ),
    "field": ("ideal", FIELD),
}


def prepare(options):
    """Simulate, observe as SDSS would with noise and without, and prepare the images."""
    work, rows = options.work, []
    for kind in KINDS:
        _command("simulate", "survey", HERE / f"{kind}.toml", "-o", work / kind)
        observe = ("simulate", "observe", work / kind, "--survey", "sdss")
        _command(*observe, "--redshift", "0.04", "0.08", "-o", work / f"{kind}_sdss")
        render = ("simulate", "render", work / kind, "--pixels", "160", "--field", "100")
        _command(*render, "--cameras", "2", "-o", work / f"{kind}_ideal")
        for look, (images, recipe) in LOOKS.items():
            labels = work / f"{kind}_{images}" / "labels.ecsv"
            store = preprocess_batch(labels, recipe, work / f"{kind}_{look}.zarr", processes=2)
            rows.append(_counted(f"{kind}, {look}", store))
    _command("simulate", "survey", HERE / "dense.toml", "-o", work / "dense")
    render = ("simulate", "render", work / "dense", "--pixels", "160", "--field", "100")
    _command(*render, "--cameras", "3", "-o", work / "dense_ideal")
    labels = work / "dense_ideal" / "labels.ecsv"
    store = preprocess_batch(labels, FIELD, work / "dense_field.zarr", processes=2)
    rows.append(_counted("every 5 Myr, field", store))
    if options.real:
        files = [
            str(path)
            for folder in ("sdss_pawlik", "galaxy_zoo_mergers", "gz2_kaggle")
            for path in sorted((options.real / folder).rglob("*"))
            if path.suffix in (".fits", ".jpg")
        ]
        store = preprocess_batch(files, FIELD, work / "real.zarr", processes=2)
        rows.append({"images": "real", "simulations": "", "number": len(store), "unusable": ""})
    return rows, None


def stores(options, look, kinds=KINDS):
    """Stores of the simulated images as one."""
    return open_stores([options.work / f"{kind}_{look}.zarr" for kind in kinds])


def real(options):
    """Store of the real images, or None without them."""
    path = options.work / "real.zarr"
    return open_stores(path) if path.exists() else None


def split(store):
    """Rows of the simulations that are trained on, and of the third that is not."""
    groups = np.asarray(store.table["group"], dtype=str)
    unseen = np.unique(groups)[2::3]
    aside = np.isin(groups, unseen)
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def trainer(options, batch_size=16):
    """Parameters of an estimator that train it in one process or several, of one batch in all."""
    if options.workers == 1:
        return {"batch_size": batch_size}
    return {
        "batch_size": batch_size // options.workers,
        "trainer": "horovod",
        "trainer_options": {
            "workers": options.workers,
            "data": "shards",
            "reshuffle_every": 4,
            "rate_scaling": "none",
        },
    }


def _counted(name, store):
    return {
        "images": name,
        "simulations": len(np.unique(np.asarray(store.table["group"], dtype=str))),
        "number": len(store),
        "unusable": int((store.table["reason"] != "").sum()),
    }


def _command(*words):
    program = Path(sys.executable).parent / "astro-deepgalaxy"
    subprocess.run([str(program), *map(str, words)], check=True)
