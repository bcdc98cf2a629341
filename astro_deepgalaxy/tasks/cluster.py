"""What kinds of images are there?"""

from pathlib import Path

import numpy as np
from astropy.table import QTable
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from ..indexes.vectors import as_vectors
from ..metrics.agreement import cluster_agreement
from ..plugins import get_spec
from ..search import LatentSet, NeighbourGraph, neighbour_weights
from ..search.graph import PERPLEXITY
from ..search.latents import same_model
from .matches import LABELS

__all__ = ["GalaxyClusterer"]

_NEIGHBOURS = 60, 300


class GalaxyClusterer(ClusterMixin, BaseEstimator):
    """Clusters of images that look alike: spectral clustering of their latents.

    The latents are joined to their nearest neighbours
    (`~astro_deepgalaxy.search.NeighbourGraph`), with weights as of a third as many: with few, the
    snapshots of one simulation, which follow on each other, would be clusters. The eigenvectors
    of the normalised Laplacian with the smallest eigenvalues, each image's scaled to length 1,
    are clustered by k-means (Ng, Jordan & Weiss 2002).

    Parameters
    ----------
    n_clusters : int, optional
        Number of clusters, at least 2; by default as many as there are eigenvalues below the
        widest gap between them (von Luxburg 2007).
    k : int, optional
        Neighbours that each image is joined to. By default twice as many as a group (simulation)
        usually has images, so that an image has neighbours of other groups, within 60 and 300; a
        tenth of the images where that is less, and at least 5.
    index : str
        A registered index.
    index_options : dict, optional
        Options of the index.
    max_clusters : int
        Most clusters that are chosen by the gap.
    seed : int
        Seed of the k-means.

    Attributes
    ----------
    labels_ : numpy.ndarray of int
        Cluster of each image, (n,), from 0 for the largest.
    n_clusters_ : int
        Number of clusters.
    eigenvalues_ : numpy.ndarray
        The smallest eigenvalues of the Laplacian.
    typicality_ : numpy.ndarray
        How near each image is to the middle of its cluster among the eigenvectors, (n,): 1 in the
        middle, falling with the distance.
    latents_ : LatentSet
        The images.
    graph_ : NeighbourGraph
        Their graph.

    Examples
    --------
    ::

        from astro_deepgalaxy import GalaxyClusterer

        clusterer = GalaxyClusterer(n_clusters=5).fit("latents")
        clusterer.agreement("stage")
        clusterer.figure().savefig("clusters.png")
    """

    def __init__(
        self,
        n_clusters=None,
        *,
        k=None,
        index="exact",
        index_options=None,
        max_clusters=20,
        seed=0,
    ):
        self.n_clusters = n_clusters
        self.k = k
        self.index = index
        self.index_options = index_options
        self.max_clusters = max_clusters
        self.seed = seed

    def fit(self, latents, y=None):
        """Find the clusters.

        Parameters
        ----------
        latents : LatentSet, str, `~pathlib.Path` or array_like
            Latents, the folder of saved ones, or an array (n, L).
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are not more images than k or than clusters, or a parameter is wrong.
        """
        latents = _as_set(latents)
        factory = get_spec("index", self.index).load()
        wanted = self.max_clusters if self.n_clusters is None else self.n_clusters
        if wanted < 2:
            raise ValueError(f"n_clusters and max_clusters must be at least 2; got {wanted}")
        k = _neighbours(latents) if self.k is None else self.k
        if len(latents) <= max(k, wanted + 1 if self.n_clusters else 3):
            raise ValueError(
                f"{len(latents)} images are too few for k = {k} neighbours of each and "
                f"{self.n_clusters or 'some'} clusters"
            )
        self.latents_ = latents
        self.index_ = factory(latents.vectors, **(self.index_options or {}))
        self.graph_ = NeighbourGraph.build(self.index_, latents.vectors, k, max(PERPLEXITY, k / 3))
        values, vectors = self.graph_.spectrum(min(wanted + 1, len(latents) - 1))
        self.eigenvalues_ = values
        self.n_clusters_ = self.n_clusters or int(np.diff(values)[1:].argmax()) + 2
        places = vectors[:, : self.n_clusters_]
        places = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
        means = KMeans(self.n_clusters_, n_init=10, random_state=self.seed).fit(places)
        order = np.argsort(-np.bincount(means.labels_, minlength=self.n_clusters_), kind="stable")
        self.labels_ = np.argsort(order)[means.labels_]
        away = np.linalg.norm(places - means.cluster_centers_[means.labels_], axis=1)
        self.typicality_ = 1 / (1 + away)
        return self

    def predict(self, latents):
        """Clusters of other images: those of their nearest neighbours, by their weights.

        Parameters
        ----------
        latents : LatentSet, str, `~pathlib.Path` or array_like
            As in `fit`; those of another model are refused.

        Returns
        -------
        numpy.ndarray of int
            Cluster of each, (n,).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there are no clusters yet.
        ValueError
            If the latents are those of another model or have another length.
        """
        self._check_fitted()
        if isinstance(latents, LatentSet | str | Path):
            latents = _as_set(latents)
            same_model(self.latents_.model, latents.model, "the latents to predict")
            latents = latents.vectors
        vectors = as_vectors(latents, self.latents_.vectors.shape[1], "the latents to predict")
        distances, rows = self.index_.query(vectors, self.graph_.k)
        weights = neighbour_weights(distances, self.graph_.perplexity)
        votes = np.zeros((len(vectors), self.n_clusters_))
        np.add.at(votes, (np.arange(len(vectors))[:, np.newaxis], self.labels_[rows]), weights)
        return votes.argmax(axis=1)

    def agreement(self, column):
        """How well the clusters agree with a column of labels.

        Parameters
        ----------
        column : str
            Column of the images' table, such as ``stage`` or ``group``.

        Returns
        -------
        dict of str to float
            As of `~astro_deepgalaxy.metrics.agreement.cluster_agreement`.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        self._check_fitted()
        table = self.latents_.table
        if column not in table.colnames:
            raise ValueError(f"the latents have no column {column!r}; they have {table.colnames}")
        return cluster_agreement(self.labels_, table[column])

    def central(self, cluster, n=8):
        """The most typical images of a cluster.

        Parameters
        ----------
        cluster : int
            Number of the cluster.
        n : int
            How many.

        Returns
        -------
        numpy.ndarray of int
            Their rows, the most typical first.
        """
        self._check_fitted()
        members = np.flatnonzero(self.labels_ == cluster)
        return members[np.argsort(-self.typicality_[members], kind="stable")[:n]]

    def catalogue(self):
        """The clusters as a table.

        Returns
        -------
        `~astropy.table.QTable`
            A row for each image: ``id, cluster, typicality, component`` (of the graph) and what
            is known of it.
        """
        self._check_fitted()
        table = QTable()
        table["id"] = np.asarray(self.latents_.table["id"], dtype=str)
        table["cluster"] = self.labels_.astype(np.int32)
        table["typicality"] = self.typicality_
        table["component"] = self.graph_.components.astype(np.int32)
        for name in LABELS:
            if name in self.latents_.table.colnames:
                table[name] = self.latents_.column(name)
        return table

    def figure(self, n=8):
        """A sheet with the most typical images of each cluster.

        Parameters
        ----------
        n : int
            Images of each.

        Returns
        -------
        `~matplotlib.figure.Figure`

        Raises
        ------
        ValueError
            If the latents were not made from a store, or it is gone.
        """
        from ..figures_search import cluster_sheet

        self._check_fitted()
        rows = [self.central(i, n) for i in range(self.n_clusters_)]
        sizes = np.bincount(self.labels_, minlength=self.n_clusters_)
        names = [f"cluster {i}\n{size} images" for i, size in enumerate(sizes)]
        groups = np.asarray(self.latents_.column("group"), dtype=str)
        captions = [groups[some].tolist() for some in rows]
        return cluster_sheet([self.latents_.images(some) for some in rows], names, captions)

    def _check_fitted(self):
        if not hasattr(self, "labels_"):
            raise NotFittedError("this GalaxyClusterer has no clusters yet: call fit")


def _as_set(latents):
    if isinstance(latents, LatentSet):
        return latents
    if isinstance(latents, str | Path):
        return LatentSet.load(latents)
    latents = as_vectors(latents, what="latents")
    return LatentSet(latents, {"id": [str(i) for i in range(len(latents))]})


def _neighbours(latents):
    groups = np.asarray(latents.column("group"), dtype=str)
    images = np.unique(groups[groups != ""], return_counts=True)[1]
    wanted = np.clip(2 * np.median(images) if len(images) else 0, *_NEIGHBOURS)
    return min(int(wanted), max(5, len(latents) // 10))
