"""How well mergers are told from other galaxies."""

from dataclasses import asdict, dataclass

import numpy as np
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from .bootstrap import bootstrap_range

__all__ = ["Detection", "detection"]

_BINS = 10
_POINTS = 101


@dataclass(frozen=True)
class Detection:
    """Probabilities of being a merger against the truth.

    Attributes
    ----------
    n, mergers, groups : int
        Images, images of mergers among them, and groups.
    auc, auc_low, auc_high : float
        Area under the ROC curve, and its 95 % range when groups are drawn again.
    brier : float
        Mean squared difference between probability and truth (Brier 1950).
    brier_constant : float
        The same of always giving the share of mergers in these images.
    prevalence : float
        Share of mergers for which purity is given.
    thresholds : list of float
        Probabilities from which an image may be called a merger, rising.
    completeness : list of float
        Share of the mergers that are called so, for each threshold.
    false_positive : list of float
        Share of the others that are called mergers.
    purity : list of float
        Share of mergers among what is called so, where their share of all is `prevalence`.
    stated, measured, counts : list of float, float, int
        Mean probability, share of mergers and number of images in tenths of the probability, as
        far as these hold images.
    """

    n: int
    mergers: int
    groups: int
    auc: float
    auc_low: float
    auc_high: float
    brier: float
    brier_constant: float
    prevalence: float
    thresholds: list[float]
    completeness: list[float]
    false_positive: list[float]
    purity: list[float]
    stated: list[float]
    measured: list[float]
    counts: list[int]

    def to_dict(self):
        """The figures as plain data."""
        return asdict(self)


def detection(probability, is_merger, groups, prevalence, seed=0):
    """Judge probabilities of being a merger.

    Parameters
    ----------
    probability : array_like, (n,)
        Probabilities; rows that are not finite are left out.
    is_merger : array_like of bool, (n,)
        The truth.
    groups : array_like of str, (n,)
        Simulation or galaxy of each image.
    prevalence : float
        Share of mergers on the sky, in (0, 1).
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Detection

    Raises
    ------
    ValueError
        If the prevalence is not in (0, 1), or there are only mergers, or none.

    Notes
    -----
    With the completeness c, the share f of others that are called mergers and the prevalence p,
    the purity is p c / (p c + (1 - p) f).
    """
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence must be between 0 and 1; got {prevalence}")
    probability, truth = np.asarray(probability, dtype=float), np.asarray(is_merger, dtype=bool)
    good = np.isfinite(probability)
    probability, truth, groups = probability[good], truth[good], np.asarray(groups)[good]
    if truth.all() or not truth.any():
        which = "is none but mergers" if truth.any() else "is no merger"
        raise ValueError(
            f"there {which} among the {len(truth)} images with a probability; mergers and others "
            "are needed to tell them apart"
        )

    def area(rows):
        mixed = truth[rows].any() and not truth[rows].all()
        return roc_auc_score(truth[rows], probability[rows]) if mixed else np.nan

    low, high = bootstrap_range(area, groups, resamples=200, seed=seed)
    curve = roc_curve(truth, probability, drop_intermediate=False)
    false_positive, completeness, thresholds = _thinned(*curve)
    called = prevalence * completeness + (1 - prevalence) * false_positive
    bins = np.minimum((_BINS * probability).astype(int), _BINS - 1)
    filled = np.unique(bins)
    share = truth.mean()
    return Detection(
        n=len(truth),
        mergers=int(truth.sum()),
        groups=len(np.unique(groups)),
        auc=float(roc_auc_score(truth, probability)),
        auc_low=float(low),
        auc_high=float(high),
        brier=float(brier_score_loss(truth, probability)),
        brier_constant=float(share * (1 - share)),
        prevalence=float(prevalence),
        thresholds=thresholds.tolist(),
        completeness=completeness.tolist(),
        false_positive=false_positive.tolist(),
        purity=(prevalence * completeness / called).tolist(),
        stated=[float(probability[bins == b].mean()) for b in filled],
        measured=[float(truth[bins == b].mean()) for b in filled],
        counts=[int(np.count_nonzero(bins == b)) for b in filled],
    )


def _thinned(false_positive, completeness, thresholds):
    """A curve with at most some hundred points in each direction, for rising thresholds."""
    steps = np.linspace(0, 1, _POINTS)
    kept = [np.searchsorted(share, steps) for share in (false_positive, completeness)]
    # The first point is that of a threshold above all probabilities.
    kept = np.unique(np.maximum(np.concatenate(kept), 1))[::-1]
    return false_positive[kept], completeness[kept], thresholds[kept]
