"""The model that is to time mergers it has never seen."""

import numpy as np
from astropy import units as u
from data import split, stores, trainer
from sklearn.model_selection import GroupKFold

from astro_deepgalaxy import MergerClassifier
from astro_deepgalaxy.evaluation import evaluate
from astro_deepgalaxy.evaluation.real_pairs import judge_pairs
from astro_deepgalaxy.figures import predicted_against_true
from astro_deepgalaxy.labels import STAGES
from astro_deepgalaxy.metrics import Conformal, bootstrap_range, detection

LEVELS = (0.5, 0.68, 0.9, 0.95)


def headline(options):
    """Errors on unseen simulations when each galaxy is seen at its own size."""
    store = stores(options, "sdss")
    train, unseen = split(store)
    model = _trained(options, "headline", store, train)
    return _judged(model, store, unseen)


def splits(options):
    """One model, judged by images that were left out at random and by whole simulations."""
    store = stores(options, "kpc")
    train, _ = split(store)
    kept = np.random.default_rng(1).choice(train, 4 * len(train) // 5, replace=False)
    model = _trained(options, "splits", store, np.sort(kept), split="image", epochs=10)
    sides, rows = evaluate(model, store).sections["splits"], []
    for name, side in (("images at random", sides["seen"]), ("simulations", sides["unseen"])):
        low, high = side.median_range
        rows.append(
            {
                "held out": name,
                "images": side.time.n,
                "right of 71 classes": f"{side.accuracy.top_1:.3f}",
                "among the top 5": f"{side.accuracy.top_5:.3f}",
                "within 2 classes": f"{side.accuracy.within_2:.3f}",
                "median absolute error (Myr)": f"{side.time.median:.1f}",
                "95 % range": f"{low:.1f} to {high:.1f}",
            }
        )
    return rows, None


def headline_kpc(options):
    """The same when redshifts are known, so that all are seen in kpc; goes on from the first."""
    store = stores(options, "kpc")
    train, unseen = split(store)
    start = str(options.work / "headline" / "model")
    model = _trained(
        options,
        "headline_kpc",
        store,
        train,
        epochs=3 * options.epochs // 2,
        initial_weights=start,
        augment={"zoom": 0.0},
    )
    return _judged(model, store, unseen)


def sky(options):
    """Real pairs with times that others found by modelling them (Holincheck et al. 2016)."""
    if options.real is None:
        raise SystemExit("sky: give --real")
    model = MergerClassifier.load(options.work / "headline" / "model")
    pairs = judge_pairs(model, options.real / "galaxy_zoo_mergers" / "pairs.csv")
    order = pairs.correlation
    row = {
        "pairs": order.n,
        "Spearman's rho of predicted and published time": f"{order.rho:.2f}",
        "95 % range": f"{order.low:.2f} to {order.high:.2f}",
    }
    return [row], None


def _trained(options, name, store, rows, **settings):
    """A classifier of that name, trained when it is not there."""
    folder = options.work / name
    if not (folder / "model").exists():
        classifier = MergerClassifier(
            "simple",
            backbone_options={
                "filters": [16, 32, 64, 128, 256],
                "convolutions": [1, 2, 2, 2, 2],
                # Of batches as small as these, a shorter memory would be mostly noise.
                "batch_norm_momentum": 0.99,
            },
            image_size=128,
            time_loss="ordinal",
            learning_rate=1.5e-3,
            optimizer={"name": "adamw", "weight_decay": 0.05},
            dropout=0.3,
            validation_fraction=0.15,
            test_time_augmentation=True,
            interval=0.68,
            seed=1,
            **{"epochs": options.epochs, **trainer(options), **settings},
            work_folder=folder,
        )
        classifier.fit(store, rows=rows).save(folder / "model")
    return MergerClassifier.load(folder / "model")


def _times(model, store, rows):
    """Catalogue of the rows, true times in Myr, where they are inside the scale, and groups."""
    catalogue, labels = model.predict(store, rows=rows), store.table[rows]
    time = u.Quantity(labels["time_since_pericentre"]).to_value(u.Myr)
    known = np.isfinite(time) & (model.time_scale_.classify(time * u.Myr) >= 0)
    return catalogue, time, known, np.asarray(labels["group"], dtype=str)


def _judged(classifier, store, unseen):
    catalogue, time, known, groups = _times(classifier, store, unseen)
    scale = classifier.time_scale_
    error = np.abs(catalogue["time_since_pericentre"].value - time)
    constant = np.abs(classifier.training_median_.value - time)
    rows = [
        _row("median absolute error (Myr)", error[known], groups[known], np.median, "at most 25"),
        _row(
            "its 90th percentile (Myr)",
            error[known],
            groups[known],
            _ninetieth,
            "",
        ),
        _row(
            "always the training median: the same median (Myr)",
            constant[known],
            groups[known],
            np.median,
            "",
        ),
    ]
    stages = np.asarray(store.table["stage"][unseen], dtype=str)
    for stage in STAGES:
        here = known & (stages == stage)
        rows.append(_row(f"median while {stage} (Myr)", error[here], groups[here], np.median, ""))
    probabilities = catalogue["time_probabilities"][known]
    rows += _coverage(probabilities, time[known] * u.Myr, groups[known], scale)
    found = detection(
        catalogue["merger_probability"],
        np.asarray(store.table["is_merger"][unseen], bool),
        groups,
        0.05,
    )
    rows.append(
        {
            "quantity": "is_merger: area under the ROC curve",
            "value": f"{found.auc:.3f}",
            "95 % range": f"{found.auc_low:.3f} to {found.auc_high:.3f}",
            "goal": "",
        }
    )
    figure = predicted_against_true(
        catalogue["time_since_pericentre"][known],
        time[known] * u.Myr,
        catalogue["time_lower"][known],
        catalogue["time_upper"][known],
        groups[known],
    )
    return rows, figure


def _coverage(probabilities, time, groups, scale):
    """Coverage in five folds of the unseen simulations: calibrated on four, measured on one."""
    below = scale.cdf(probabilities, time)
    inside = {level: np.full(len(time), np.nan) for level in LEVELS}
    plain = {level: np.abs(below - 0.5) <= level / 2 for level in LEVELS}
    for known, held in GroupKFold(5).split(below, groups=groups):
        conformal = Conformal.fit(below[known], groups[known])
        for level in LEVELS:
            try:
                half = conformal.half_width(level)
            except ValueError:  # too few simulations for this level
                continue
            inside[level][held] = np.abs(below[held] - 0.5) <= half
    rows = []
    for level in LEVELS:
        if np.isfinite(inside[level]).all():
            rows.append(
                _row(
                    f"coverage of {level:.0%} intervals",
                    inside[level],
                    groups,
                    np.mean,
                    f"{level:.0%} in the range",
                )
            )
        rows.append(
            _row(f"the same before calibration, {level:.0%}", plain[level], groups, np.mean, "")
        )
    return rows


def _row(name, values, groups, statistic, goal):
    low, high = bootstrap_range(lambda chosen: statistic(values[chosen]), groups)
    return {
        "quantity": name,
        "value": f"{statistic(values):.3g}",
        "95 % range": f"{low:.3g} to {high:.3g}",
        "goal": goal,
    }


def _ninetieth(values):
    return np.percentile(values, 90)
