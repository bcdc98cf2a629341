"""Whether images that are neighbours in the latent look alike and belong together."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from matplotlib.figure import Figure

from ..labels import STAGES
from ..metrics.similarity import similarities
from ..tasks.cluster import GalaxyClusterer
from ..tasks.latents import as_model, embed
from ..tasks.search import SimilaritySearch
from .quality import spread

__all__ = ["Lookalikes", "judge_clusters", "judge_lookalikes"]

_QUERIES = 200
_CLUSTERED = 5000
_SHOWN = 4


@dataclass(frozen=True)
class Lookalikes:
    """How much the recommendations for images look like them.

    Attributes
    ----------
    queries, searched : int
        Images that others were looked for, and images among which.
    first, six : float
        Mean structural similarity of the first recommendation, and of the first six, inside the
        sources of the image. They may be of the same simulation, as in Cai et al. (2020).
    first_elsewhere, six_elsewhere : float
        The same of recommendations from other simulations only.
    random : float
        The same of an image of another simulation drawn at random.
    time_difference, time_difference_elsewhere : float
        Median difference in time to the first recommendation in Myr, anywhere and from other
        simulations.
    figure : `~matplotlib.figure.Figure`
        Some of the images with their recommendations from other simulations.
    """

    queries: int
    searched: int
    first: float
    six: float
    first_elsewhere: float
    six_elsewhere: float
    random: float
    time_difference: float
    time_difference_elsewhere: float
    figure: Figure

    def to_dict(self):
        """The figures as plain data."""
        return {name: value for name, value in vars(self).items() if name != "figure"}


def judge_lookalikes(model, store, judged, everything):
    """Look for what looks like images of groups that the model never saw.

    Parameters
    ----------
    model : NetworkTask
        A model whose network has a latent.
    store : CutoutStore
        The images.
    judged, everything : JudgedImages
        Images of which at most 200, evenly spread, are the queries, and images among which their
        likes are looked for.

    Returns
    -------
    Lookalikes

    Raises
    ------
    ValueError
        If the network has no latent, or there are too few images.
    """
    latents = embed(as_model(model), store, everything.rows)
    search = SimilaritySearch(model).fit(latents)
    row_of = {name: row for row, name in enumerate(latents.table["id"].tolist())}
    own = np.array([row_of[name] for name in judged.labels["id"].tolist() if name in row_of])
    own = spread(own, _QUERIES)
    anywhere = search.query(latents, rows=own)
    elsewhere = search.query(latents, rows=own, other_groups=True)
    time = latents.column("time_since_pericentre").to_value(u.Myr)

    def summary(matches):
        first = matches[matches["rank"] == 1]
        away = np.abs(time[first["match_row"]] - time[own[first["query_row"]]])
        away = away[np.isfinite(away)]
        likeness = _mean(first["ssim"]), _mean(matches["ssim"][matches["rank"] > 0])
        return (*likeness, float(np.median(away)) if len(away) else np.nan)

    first, six, difference = summary(anywhere)
    first_elsewhere, six_elsewhere, difference_elsewhere = summary(elsewhere)
    return Lookalikes(
        queries=len(own),
        searched=len(latents),
        first=first,
        six=six,
        first_elsewhere=first_elsewhere,
        six_elsewhere=six_elsewhere,
        random=_random(latents, own),
        time_difference=difference,
        time_difference_elsewhere=difference_elsewhere,
        figure=search.figure(latents, rows=spread(own, _SHOWN), other_groups=True),
    )


def judge_clusters(model, store, judged):
    """Agreement of clusters in the latent with the stages.

    Parameters
    ----------
    model : NetworkTask
        A model whose network has a latent.
    store : CutoutStore
        The images.
    judged : JudgedImages
        Images with a stage, of which at most 5000, evenly spread, are clustered.

    Returns
    -------
    dict of str to float
        ``nmi``, ``ari`` and ``n`` as of `~astro_deepgalaxy.metrics.agreement.cluster_agreement`,
        and ``clusters``, as many as there are stages.

    Raises
    ------
    ValueError
        If the network has no latent, or there are too few images with a stage.
    """
    model = as_model(model)
    if "stage" not in judged.labels.colnames:
        raise ValueError("the labels have no column 'stage'")
    stage = np.ma.filled(np.ma.asarray(judged.labels["stage"]).astype(str), "")
    n = len(np.unique(stage[np.isin(stage, STAGES)]))
    if n < 2:
        raise ValueError("clusters can be compared with two stages or more")
    latents = embed(model, store, spread(judged.rows[np.isin(stage, STAGES)], _CLUSTERED))
    return GalaxyClusterer(n).fit(latents).agreement("stage") | {"clusters": n}


def _random(latents, own):
    """Mean similarity of images to one of another group each."""
    rng = np.random.default_rng(0)
    groups = np.asarray(latents.column("group"), dtype=str)
    others = [np.flatnonzero(groups != groups[row]) for row in own]
    pairs = [(row, rng.choice(o)) for row, o in zip(own, others, strict=True) if len(o)]
    if not pairs:
        return np.nan
    images = latents.images(np.ravel(pairs)).reshape(-1, 2, *latents.images(own[:1]).shape[1:])
    return _mean([similarities(image, [other])[0] for image, other in images])


def _mean(values):
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan
