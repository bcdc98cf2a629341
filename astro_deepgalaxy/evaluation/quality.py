"""How good the images of a store are, as far as flags and a look at their middle can tell."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..flags import FAILED, FLAGS, Flag

__all__ = ["FLAG_COST", "QUALITY", "StoreQuality", "measure_quality", "spread"]

_KIND = (
    Flag.PICTURE
    | Flag.NO_WCS
    | Flag.NO_REDSHIFT
    | Flag.CUTOUT_BACKGROUND
    | Flag.TIME_OUTSIDE_SCALE
    | Flag.BIMODAL
)

QUALITY = Flag(sum(1 << definition.bit for definition in FLAGS)) & ~(FAILED | _KIND)
"""Flags that make an image worse: not those of a kind of input, or of a label."""

FLAG_COST = 0.25
"""What each of them takes off the score of an image."""

_SAMPLE = 4096  # images whose pixels are looked at
_DOUBTFUL = 256  # and of those with most flags, which an even sample could miss
_MOST_REASONS = 10_000  # so that strange files cannot fill the memory
_LONGEST = 500  # letters of a reason that count: the search for names takes the square of it
_NAME = re.compile(r"[^\s'\"(]*(?:/|\\|\w\.[A-Za-z])[^\s'\"):;,]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class StoreQuality:
    """What `measure_quality` finds.

    Attributes
    ----------
    flags : numpy.ndarray
        Flags of each row, int64.
    missing : numpy.ndarray
        Share of missing pixels of each row, float32.
    reasons : `~collections.Counter`
        How many images cannot be used for which reason, without the names and numbers in it.
    examples : dict of str to str
        One of the reasons as it was given, for each of those.
    measured : numpy.ndarray
        Numbers of the usable rows whose pixels were looked at, in the order of their score, the
        worst first.
    levels : numpy.ndarray
        Median brightness of their middle and of their border, (row, 2).
    score : numpy.ndarray
        Their score.
    """

    flags: np.ndarray
    missing: np.ndarray
    reasons: Counter
    examples: dict
    measured: np.ndarray
    levels: np.ndarray
    score: np.ndarray

    @property
    def usable(self):
        """Numbers of the rows that have a result."""
        return np.flatnonzero(self.flags & int(FAILED) == 0)


def measure_quality(store):
    """Go through a store, part by part, for its flags, reasons, and a score of its images.

    Parameters
    ----------
    store : CutoutStore
        A finished store with the columns that
        `~astro_deepgalaxy.preprocess.batch.preprocess_batch` writes.

    Returns
    -------
    StoreQuality

    Raises
    ------
    ValueError
        If shards are still to be written, or the label table lacks a column.

    Notes
    -----
    The score of a usable image is its contrast, less the share of its pixels that is missing,
    less `FLAG_COST` for each flag of `QUALITY`. Contrast is the median brightness of the middle,
    a quarter of the sides long, less that of the border, an eighth of the sides wide; of several
    channels, their mean. The score says that something stands in the middle, on an empty sky, and
    not what.

    In a store of more than 4096 usable images only 4096, evenly spread, get a score, and the 256
    with most flags and missing pixels.
    """
    flags = np.zeros(len(store), dtype=np.int64)
    missing = np.zeros(len(store), dtype=np.float32)
    reasons, examples = Counter(), {}
    for shard in range(store.n_shards):
        part, rows = store.part(shard), store.rows_of(shard)
        lacking = {"id", "file", "flags", "reason", "missing_fraction"} - set(part.colnames)
        if lacking:
            raise ValueError(
                f"{store.path}: the table has no column {', '.join(sorted(lacking))}; use a store "
                "that 'astro-deepgalaxy preprocess' or preprocess_batch made"
            )
        flags[rows] = part["flags"]
        missing[rows] = np.nan_to_num(np.asarray(part["missing_fraction"]))
        failed = part[flags[rows] & int(FAILED) != 0]
        for name, file, reason in zip(failed["id"], failed["file"], failed["reason"], strict=True):
            kind = _common(str(reason), str(file), str(name))
            if kind not in reasons and len(reasons) >= _MOST_REASONS:
                kind = "other reasons"
            reasons[kind] += 1
            examples.setdefault(kind, str(reason))
    usable = np.flatnonzero(flags & int(FAILED) == 0)
    cost = missing[usable] + FLAG_COST * np.bitwise_count(flags[usable] & int(QUALITY))
    doubtful = usable[np.argsort(-cost, kind="stable")[:_DOUBTFUL]]
    measured = np.union1d(spread(usable, _SAMPLE), doubtful)
    levels = _levels(store, measured)
    score = levels[:, 0] - levels[:, 1] - cost[np.searchsorted(usable, measured)]
    order = np.argsort(score, kind="stable")
    return StoreQuality(
        flags, missing, reasons, examples, measured[order], levels[order], score[order]
    )


def spread(rows, n):
    """At most n of some rows, evenly spread over them.

    Parameters
    ----------
    rows : numpy.ndarray
        Row numbers.
    n : int
        How many.

    Returns
    -------
    numpy.ndarray
    """
    if len(rows) <= n:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n).round().astype(int)]


def _common(reason, file, name):
    """A reason without the names and numbers that tell it from like ones."""
    for own in (file, Path(file).name, name):
        if own and own in reason:
            reason = re.sub(rf"(?<!\w){re.escape(own)}(?!\w)", "…", reason)
    reason = _NUMBER.sub("#", _NAME.sub("…", reason[:_LONGEST]))
    return reason.removeprefix("…: ") or "no reason given"


def _levels(store, rows):
    """Median brightness of the middle and of the border, (row, 2)."""
    sides = store.image_shape[:2]
    middle = tuple(slice(3 * n // 8, n - 3 * n // 8) for n in sides)
    border = np.ones(sides, dtype=bool)
    border[tuple(slice(max(1, n // 8), n - max(1, n // 8)) for n in sides)] = False
    levels = np.empty((len(rows), 2), dtype=np.float32)
    shards = rows // store.shard_rows
    for shard in np.unique(shards):
        here = shards == shard
        images = np.nan_to_num(store.load(rows[here])).mean(axis=-1)
        levels[here, 0] = np.median(images[:, *middle], axis=(1, 2))
        levels[here, 1] = np.median(images[:, border], axis=1)
    return levels
