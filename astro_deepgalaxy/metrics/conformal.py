"""Intervals whose probability is measured on simulations that the network did not learn from."""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Conformal", "groups_needed"]

_STEPS = 500  # levels, evenly spaced, for which half-widths are kept
_GRID = np.arange(1, 2000) / 2000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Conformal:
    """Intervals of a posterior, conformalised by group.

    The interval of a level runs from the posterior's quantile ``1/2 - s`` to its quantile
    ``1/2 + s``; the half-width s is not half of the level, but what calibration groups ask for,
    of which the network learned nothing. Make one with `fit`.

    Attributes
    ----------
    half_widths : tuple of float
        Half-widths for the levels 1/500, 2/500, ..., as far as the calibration groups allow.
    groups : int
        Number of calibration groups.

    Notes
    -----
    The score of an image is how far its true time y lies from the posterior's median in
    probability, ``|F(y) - 1/2|`` (distributional conformal prediction, Chernozhukov, Wüthrich and
    Zhu 2021). All times with a score up to a limit form one contiguous interval. The limit is a
    quantile of the scores of the calibration images, in which each group has the same weight
    (Dunn, Wasserman and Ramdas 2022), as images of one simulation depend on each other.

    Which quantile is found by leaving groups out, as in the jackknife: the one for which, when
    each group in turn is judged by the limit of the others, the stated share of its images lies
    inside, on the average over groups. So intervals hold what they state for an image of a new
    group, drawn as the calibration groups were, to the accuracy that so many groups allow;
    counting a further group at infinity would guarantee at least as much, and with twenty groups
    give 95 % for 90. Nothing is promised for each group by itself, for a part of the time scale,
    or for galaxies unlike the calibration groups.

    A true time where the posterior is zero has an infinite score: no quantile of it reaches there.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_deepgalaxy.metrics import Conformal
    >>> rng = np.random.default_rng(1)
    >>> below = rng.beta(0.5, 0.5, 3000)  # a posterior that is too narrow
    >>> conformal = Conformal.fit(below, np.arange(3000) // 10)
    >>> print(f"{conformal.half_width(0.68):.2f} instead of 0.34")
    0.44 instead of 0.34
    """

    half_widths: tuple[float, ...]
    groups: int

    @classmethod
    def fit(cls, below, groups):
        """Calibrate a posterior of any kind.

        Parameters
        ----------
        below : array_like
            The posterior's cumulative probability F(y) at the true time, (n,), of images that the
            network did not learn from.
        groups : array_like of str, (n,)
            Simulation or galaxy of each image.

        Returns
        -------
        Conformal

        Raises
        ------
        ValueError
            If the shapes do not fit, there is no image, or a value is not in [0, 1].
        """
        below, groups = np.asarray(below, dtype=float), np.asarray(groups)
        if below.ndim != 1 or below.shape != groups.shape or len(below) == 0:
            raise ValueError(
                "calibration needs as many cumulative probabilities as groups, at least one; got "
                f"shapes {below.shape} and {groups.shape}"
            )
        if not ((below >= -_ROUNDING) & (below <= 1 + _ROUNDING)).all():
            raise ValueError("calibration: a cumulative probability is not between 0 and 1")
        names, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
        score = np.abs(below - 0.5)
        score[score >= 0.5] = np.inf
        weight = 1 / (len(names) * counts[index])
        limits = _quantiles(score, weight, _GRID)
        levels = np.arange(1, _STEPS) / _STEPS
        # What part of a group lies inside, when the others alone set the limit.
        left_out = np.zeros(len(_GRID))
        for group in range(len(names)) if len(names) > 1 else ():
            inside = index == group
            limit = _quantiles(score[~inside], weight[~inside], _GRID)
            found = np.searchsorted(np.sort(score[inside]), limit, side="right")
            left_out += found / (counts[group] * len(names))
        enough = np.append(left_out, np.inf)[np.searchsorted(left_out, levels - _ROUNDING)]
        # Of the quantiles that do equally well the largest: with few groups it is that of one more.
        chosen = np.searchsorted(left_out, enough + _ROUNDING, side="right") - 1
        chosen[np.isinf(enough)] = len(_GRID)
        half_widths = np.append(limits, np.inf)[chosen]
        return cls(tuple(half_widths[np.isfinite(half_widths)].tolist()), len(names))

    def half_width(self, level):
        """How far from the median, in probability, the intervals of a level reach.

        Parameters
        ----------
        level : float
            Probability inside the interval; rounded up to a multiple of 0.002.

        Returns
        -------
        float
            The interval's borders are the posterior's quantiles at 1/2 minus and plus this.

        Raises
        ------
        ValueError
            If the level is not in (0, 0.998], needs more calibration groups, or the posterior was
            zero at too many of the calibration times.
        """
        needed, step = groups_needed(level), _step(level)
        if self.groups < needed:
            raise ValueError(
                f"intervals of level {level:g} need at least {needed} calibration groups "
                f"(simulations or galaxies not trained on); there are {self.groups}: lower the "
                "level, or keep more groups aside"
            )
        if step > len(self.half_widths):
            raise ValueError(
                f"intervals of level {level:g} do not exist: the model gave no probability to too "
                "many true times of its calibration groups; train it less sharply"
            )
        return self.half_widths[step - 1]

    def to_dict(self):
        """The calibration as plain data, for `from_dict`.

        Returns
        -------
        dict
        """
        return {"half_widths": list(self.half_widths), "groups": self.groups}

    @classmethod
    def from_dict(cls, data):
        """Rebuild a calibration from its plain data.

        Parameters
        ----------
        data : dict
            What `to_dict` returned.

        Returns
        -------
        Conformal

        Raises
        ------
        ValueError
            If the data are not those of a calibration.
        """
        try:
            half_widths, groups = tuple(map(float, data["half_widths"])), int(data["groups"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the data of a calibration: {error!r}") from error
        rising = all(a <= b for a, b in zip((0.0, *half_widths), (*half_widths, 0.5), strict=True))
        if not rising or len(half_widths) >= _STEPS:
            raise ValueError(
                "not the data of a calibration: its half-widths must rise between 0 and 0.5"
            )
        return cls(half_widths, groups)


def groups_needed(level):
    """How many calibration groups intervals of a level need.

    Parameters
    ----------
    level : float
        Probability inside the interval; rounded up to a multiple of 0.002.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the level is not in (0, 0.998].

    Examples
    --------
    >>> from astro_deepgalaxy.metrics import groups_needed
    >>> [groups_needed(level) for level in (0.5, 0.68, 0.9, 0.95)]
    [2, 4, 10, 20]
    """
    step = _step(level)
    return math.ceil(_STEPS / (_STEPS - step))


def _quantiles(score, weight, levels):
    """Weighted quantiles of scores; the weights need not add up to one."""
    order = np.argsort(score, kind="stable")
    below = np.cumsum(weight[order])
    last = np.searchsorted(below, levels * below[-1] - _ROUNDING)
    return score[order][np.minimum(last, len(order) - 1)]


def _step(level):
    """Number of the level's half-width, from 1."""
    step = math.ceil(_STEPS * level - _ROUNDING) if np.isfinite(level) else 0
    if not 0 < step < _STEPS:
        raise ValueError(
            f"the level of an interval must be above 0 and at most {1 - 1 / _STEPS:g}; got {level}"
        )
    return step
