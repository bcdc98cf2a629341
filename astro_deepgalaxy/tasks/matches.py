"""The table of what images look like."""

import numpy as np
from astropy import units as u
from astropy.table import QTable

from ..metrics.similarity import similarities

__all__ = ["LABELS", "by_query", "captions", "groups_by_id", "match_table", "most_alike"]

LABELS = ("group", "time_since_pericentre", "mass_ratio", "camera", "stage")
"""What is said of an image of a set, beside its name."""


def match_table(latents, about, start, good, found, pictures):
    """The matches of some queries, and a row for each query without one.

    Parameters
    ----------
    latents : LatentSet
        The set that was searched.
    about : list of dict
        ``id, flags, reason`` of each query.
    start : int
        Number of the first query.
    good : numpy.ndarray of int
        The queries, counted in `about`, that were looked for.
    found : Recommendations
        What is recommended for these.
    pictures : list of numpy.ndarray or None
        The prepared image of each query, where there is one.

    Returns
    -------
    `~astropy.table.QTable`
        As `~astro_deepgalaxy.tasks.search.SimilaritySearch.query` describes it.
    """
    chosen = found.rows >= 0
    which, rank = np.nonzero(chosen)
    rows, which = found.rows[chosen], good[which]
    without = np.setdiff1d(np.arange(len(about)), which)
    number = np.concatenate([which, without])
    order = np.argsort(number, kind="stable")
    number = number[order]

    def column(values, gap):
        return np.concatenate([values, np.full(len(without), gap)])[order]

    def known(name, kind):
        return np.array([row[name] for row in about], dtype=kind)[number]

    table = QTable()
    table["query"] = known("id", str)
    table["rank"] = column(rank + 1, 0)
    table["match"] = column(np.asarray(latents.table["id"], dtype=str)[rows], "")
    for name in LABELS:
        values = latents.column(name)[rows]
        if isinstance(values, u.Quantity):
            table[name] = column(values.value, np.nan) << values.unit
        else:
            table[name] = column(values, {"U": "", "i": -1, "f": np.nan}[values.dtype.kind])
    table["distance"] = column(found.distances[chosen], np.nan)
    table["score"] = column(found.scores[chosen], np.nan)
    table["ssim"] = column(_similarities(latents, pictures, which, rows), np.nan)
    table["query_row"] = start + number
    table["match_row"] = column(rows, -1)
    table["flags"] = known("flags", np.int32)
    table["reason"] = known("reason", str)
    return table


def _similarities(latents, pictures, which, rows):
    """Similarity of each match to its query; NaN where there are no images of one shape."""
    similar = np.full(len(rows), np.nan)
    if len(rows) == 0:
        return similar
    unique, where = np.unique(rows, return_inverse=True)
    try:
        images = latents.images(unique)[where]
    except (ValueError, OSError):
        return similar
    for query in np.unique(which):
        here = which == query
        if pictures[query] is not None and pictures[query].shape == images.shape[1:]:
            similar[here] = similarities(pictures[query], images[here])
    return similar


def most_alike(matches, n, candidates):
    """The matches of each query that look most like it, the most alike first.

    Parameters
    ----------
    matches : `~astropy.table.QTable`
        What `match_table` returned.
    n : int
        Matches of each query to keep.
    candidates : int
        How many of each are compared by ``ssim``; those without one keep their order.

    Returns
    -------
    `~astropy.table.QTable`
    """
    rank = np.array(matches["rank"])  # counts up within each query, before as after
    alike = np.where(rank <= candidates, np.nan_to_num(matches["ssim"], nan=-1), -1)
    matches = matches[np.lexsort((rank, -alike, matches["query_row"]))]
    matches["rank"] = rank
    return matches[rank <= n]


def groups_by_id(known, images):
    """Group of each image, by its id.

    Parameters
    ----------
    known : `~astropy.table.QTable`
        Labels of the set that is searched.
    images : object
        What is looked for: anything with a ``table``, or files with a table of labels.

    Returns
    -------
    dict of str to str
    """
    table = getattr(images, "table", None)
    if table is None and not isinstance(images, np.ndarray):
        from ..io.catalog import resolve_inputs

        table = resolve_inputs(images)[1]
    groups = {}
    for labels in (known, table):
        if labels is not None and {"id", "group"} <= set(labels.colnames):
            groups |= zip(labels["id"].tolist(), np.asarray(labels["group"], str), strict=True)
    return groups


def by_query(matches):
    """The matches of each query.

    Parameters
    ----------
    matches : `~astropy.table.QTable`
        What `match_table` returned.

    Returns
    -------
    list of `~astropy.table.QTable`
        One for each query, in order.
    """
    starts = np.flatnonzero(np.diff(matches["query_row"], prepend=-1))
    return [matches[a:b] for a, b in zip(starts, [*starts[1:], len(matches)], strict=True)]


def captions(matches):
    """What stands under each match in a figure.

    Parameters
    ----------
    matches : `~astropy.table.QTable`
        Matches of a query.

    Returns
    -------
    list of str
        Lines with the similarity, the simulation, its time and mass ratio, and its stage.
    """
    texts = []
    for row in matches:
        time, ratio = row["time_since_pericentre"].to_value(u.Myr), float(row["mass_ratio"])
        known = [f"{time:+.0f} Myr"] if np.isfinite(time) else ["no known time"]
        if np.isfinite(ratio):
            known.append(f"mass 1:{1 / ratio:.2g}" if ratio < 1 else f"mass {ratio:.2g}:1")
        alike = f"SSIM {row['ssim']:.2f}"
        if not np.isfinite(row["ssim"]):
            alike = f"distance {row['distance']:.2g}"
        lines = [alike, row["group"] or row["match"], ", ".join(known), row["stage"]]
        texts.append("\n".join(line for line in lines if line))
    return texts
