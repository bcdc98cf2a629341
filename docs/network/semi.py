"""Does it help to look at images without labels?"""

import numpy as np
from astropy import units as u
from data import split, stores
from scipy.stats import t

from astro_deepgalaxy import MergerClassifier

SEEDS = (1, 2, 3)
SHARE = 0.05


def semi(options):
    """A twentieth of the simulations labelled, with and without the others' images."""
    store = stores(options, "sdss", kinds=("mergers",))
    train, unseen = split(store)
    groups = np.asarray(store.table["group"], dtype=str)
    time = u.Quantity(store.table["time_since_pericentre"][unseen]).to_value(u.Myr)
    number = max(2, round(SHARE * len(np.unique(groups))))
    rows, differences = [], []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        named = rng.choice(np.unique(groups[train]), number, replace=False)
        labelled = train[np.isin(groups[train], named)]
        errors = {}
        for arm in ("labels alone", "with the others' images"):
            folder = options.work / f"semi_{seed}_{'with' if 'with' in arm else 'without'}"
            others = np.setdiff1d(train, labelled)
            reconstruct = {"weight": 5.0, "filters": [32, 16, 8, 4, 4]}
            # The same for both, and no less than one pass through all images.
            steps = -(-max(options.semi_images, len(train)) // 64)
            n = len(labelled) + (len(others) if "with" in arm else 0)
            model = MergerClassifier(
                "simple",
                epochs=max(1, round(steps / -(-n // 64))),
                batch_size=64,
                learning_rate=2e-3,
                validation_fraction=0.0,
                also={"reconstruct": reconstruct},
                labelled_fraction=0.5 if "with" in arm else None,
                seed=seed,
                work_folder=folder,
            )
            model.fit(store, rows=labelled, unlabelled=others if "with" in arm else None)
            catalogue = model.predict(store, rows=unseen)
            errors[arm] = np.abs(catalogue["time_since_pericentre"].value - time)
        good = np.isfinite(time)
        medians = {arm: np.median(error[good]) for arm, error in errors.items()}
        differences.append(np.subtract(*medians.values()))
        rows.append(
            {
                "seed": seed,
                "labelled simulations": number,
                **{f"median absolute error, {arm} (Myr)": f"{v:.0f}" for arm, v in medians.items()},
                "gain (Myr)": f"{differences[-1]:.1f}",
            }
        )
    mean, error = np.mean(differences), np.std(differences, ddof=1) / np.sqrt(len(differences))
    half = t.ppf(0.975, len(differences) - 1) * error
    rows.append(
        {
            **dict.fromkeys(rows[0], ""),
            "seed": "mean, and its 95 % range",
            "gain (Myr)": f"{mean:.1f} ({mean - half:.1f} to {mean + half:.1f})",
        }
    )
    return rows, None
