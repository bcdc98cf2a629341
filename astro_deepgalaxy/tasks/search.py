"""Which known encounters does an image look like?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.table import vstack
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from ..jobs import atomic_folder
from ..plugins import get_spec, provider
from ..search import LatentSet, NeighbourGraph, recommend
from ..search.latents import check_folder, same_model
from .latents import as_model, as_opened, digest_of, embed, embedded
from .matches import by_query, captions, groups_by_id, match_table, most_alike

__all__ = ["SimilaritySearch"]

_QUERIES_SHOWN = 8
_PART = 64


class SimilaritySearch(BaseEstimator):
    """Images that look like an image, with what is known of them.

    A model gives each image a few numbers z, in which images that look alike are neighbours (Cai
    et al. 2020). The set to search is a graph of nearest neighbours; a query is joined to its k
    nearest, and what a short walk from there reaches is recommended
    (`~astro_deepgalaxy.search.recommend`). The choice of k matters little. z keeps the gist of an
    image; so of what was found by it, the most alike in the images themselves come first.

    Parameters
    ----------
    model : NetworkTask, str or `~pathlib.Path`, optional
        A fitted model whose network has a latent, such as a
        `~astro_deepgalaxy.tasks.embed.GalaxyEmbedder`, or the folder of a saved one. Not needed
        when both the set and the queries are latents.
    index : str
        A registered index: ``exact``, or ``faiss`` for large sets.
    index_options : dict, optional
        Options of the index.
    k : int
        Neighbours that each image is joined to.
    steps : int
        Steps of the walk; with 0 the order is that of the distances alone.
    candidates : int
        Images that are found for each query and compared with it: the most alike, by ``ssim``,
        come first. With 0, or where there are no images, the order is that of the walk. Many
        candidates give more likeness; but those that z has first are nearer in time.

    Attributes
    ----------
    latents_ : LatentSet
        The set that is searched.
    index_ : object
        The index of its vectors.
    graph_ : NeighbourGraph
        Their graph.

    Examples
    --------
    ::

        from astro_deepgalaxy import SimilaritySearch

        search = SimilaritySearch("my_model").fit("mergers.zarr")
        matches = search.query("cutouts/*.fits")
        search.figure("cutouts/arp_240.fits").savefig("matches.png")
    """

    task = "search"

    def __init__(
        self, model=None, *, index="exact", index_options=None, k=15, steps=2, candidates=8
    ):
        self.model = model
        self.index = index
        self.index_options = index_options
        self.k = k
        self.steps = steps
        self.candidates = candidates

    def fit(self, images, rows=None):
        """Take up the set that is to be searched.

        Parameters
        ----------
        images : LatentSet, CutoutStore, path, or what the model's ``predict`` takes
            Latents or the folder of saved ones, or images: a store brings its labels with it, and
            without one nothing is known of the images but their names.
        rows : array_like of int, optional
            Rows of a store; all by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the set is not larger than k, no image can be used, or a parameter is wrong.
        """
        # Made first: what is wrong with it should not show after hours of embedding.
        index = get_spec("index", self.index).load()(None, **(self.index_options or {}))
        latents = self._as_latents(images, rows)
        if len(latents) <= self.k:
            raise ValueError(
                f"k is {self.k}, and the set has {len(latents)} images: choose a k below that"
            )
        index.add(latents.vectors)
        self.index_ = index
        self._take(latents)
        return self

    def add(self, images, rows=None):
        """Append to the set.

        Parameters
        ----------
        images, rows
            As in `fit`. Latents must be of the same model, and no id may be there already.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If they were made by another model, or an image is there already.
        """
        self._check_fitted()
        new = self._as_latents(images, rows)
        latents = self.latents_.append(new)
        self.index_.add(new.vectors)
        self._take(latents)
        return self

    def query(self, images, n=6, rows=None, other_groups=False):
        """What images look like.

        An image of the set itself is not recommended for itself.

        Parameters
        ----------
        images : path, glob, folder, Table, array, CutoutStore, LatentSet, or sequence of these
            Raw images, which are prepared by the recipe of the model; a store of that recipe; or
            latents of that model.
        n : int
            Recommendations for each image.
        rows : array_like of int, optional
            Rows of a store or of latents; all by default.
        other_groups : bool
            Recommend only what is of another group (simulation) than the image. The images need
            a column ``group``, or must be in the set.

        Returns
        -------
        `~astropy.table.QTable`
            A row for each recommendation, the best first: ``query``, ``rank`` from 1, ``match``
            with its ``group, time_since_pericentre, mass_ratio, camera, stage``, their
            ``distance`` in z, the ``score`` (the share of what the walk reached), and ``ssim``,
            the similarity inside the sources of the query (NaN where there are no images).
            ``query_row`` and ``match_row`` count in the images and in the set. An image without a
            result is one row of rank 0, with its ``flags`` and ``reason``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no set yet.
        ValueError
            If the model, or the latents, are not those of the set, no group is known where it is
            needed, or n is not at least 1.
        """
        self._check_fitted()
        parts = [table for table, *_ in self._answers(as_opened(images), n, rows, other_groups)]
        if not parts:
            raise ValueError("there is no image to look for")
        matches = vstack(parts, metadata_conflicts="silent")
        matches.meta["provenance"] = json.dumps(
            {
                "task": self.task,
                "model": self.latents_.model,
                "index": provider("index", self.index),
                "k": self.k,
                "steps": self.steps,
                "candidates": self.candidates,
                "other_groups": bool(other_groups),
            },
            sort_keys=True,
        )
        return matches

    def figure(self, images, n=6, rows=None, other_groups=False):
        """Images and what they look like, with the similarity under each.

        Parameters
        ----------
        images, n, rows, other_groups
            As in `query`; the first eight images are shown.

        Returns
        -------
        `~matplotlib.figure.Figure`

        Raises
        ------
        ValueError
            As in `query`, or if no image has a result, or the set has no images.
        """
        from ..figures_search import recommendations

        self._check_fitted()
        shown = []
        for matches, pictures in self._answers(as_opened(images), n, rows, other_groups):
            for picture, query in zip(pictures, by_query(matches), strict=True):
                if query["rank"][0] and picture is not None:
                    found = self.latents_.images(query["match_row"])
                    shown.append((picture, query["query"][0], found, captions(query)))
            if len(shown) >= _QUERIES_SHOWN:
                break
        if not shown:
            raise ValueError("none of the images has a result and a picture to show")
        return recommendations(*zip(*shown[:_QUERIES_SHOWN], strict=True))

    def save(self, folder):
        """Save the set, its index and its graph, whole or not at all.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            The folder; one that stands there is replaced, anything else is refused.

        Raises
        ------
        ValueError
            If `folder` exists and is something else.
        """
        self._check_fitted()
        check_folder(folder)
        model = self.model
        if getattr(self, "_made_with", None) is not None and not self.latents_.model:
            self._check_model(self._made_with, "the set")
        config = {
            "index": self.index,
            "index_options": self.index_options,
            "k": self.k,
            "steps": self.steps,
            "candidates": self.candidates,
            "model": str(Path(model).absolute()) if isinstance(model, str | Path) else None,
            "provider": provider("index", self.index),
        }
        with atomic_folder(folder) as partial:
            self.latents_.write(partial)
            (partial / "index").mkdir()
            self.index_.save(partial / "index")
            np.save(partial / "graph_distances.npy", self.graph_.distances, allow_pickle=False)
            np.save(partial / "graph_rows.npy", self.graph_.rows, allow_pickle=False)
            text = json.dumps(config, indent=1) + "\n"
            (partial / "search.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder, model=None):
        """Load what was saved; vectors, graph and, where it can be, the index are memory-mapped.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save` wrote.
        model : NetworkTask, str or `~pathlib.Path`, optional
            The model, when it is not where it was.

        Returns
        -------
        SimilaritySearch

        Raises
        ------
        ValueError
            If it is not such a folder, or it is damaged.
        """
        folder, latents = Path(folder), LatentSet.load(folder)
        try:
            config = json.loads((folder / "search.json").read_text(encoding="utf-8"))
            graph = [
                np.load(folder / f"graph_{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in ("distances", "rows")
            ]
            search = cls(
                config["model"] if model is None else model,
                **{
                    key: config[key]
                    for key in ("index", "index_options", "k", "steps", "candidates")
                },
            )
            if {part.shape for part in graph} != {(len(latents), search.k)}:
                raise ValueError(f"the graph does not fit {len(latents)} vectors")
        except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder}: holds no index that can be read ({error}); make one with "
                "'astro-deepgalaxy index'"
            ) from error
        factory = get_spec("index", search.index).load()
        search.index_ = factory(None, **(search.index_options or {}))
        search.index_.load(folder / "index", latents.vectors)
        search.latents_, search.graph_ = latents, NeighbourGraph(*graph)
        return search

    def _take(self, latents):
        self.latents_ = latents
        self.graph_ = NeighbourGraph.build(self.index_, latents.vectors, self.k)

    def _as_latents(self, images, rows):
        images = as_opened(images)
        if isinstance(images, str | Path) and (Path(images) / "vectors.npy").exists():
            images = LatentSet.load(images)
        if isinstance(images, LatentSet):
            return images if rows is None else images[rows]
        model = self._fitted_model()
        if hasattr(self, "latents_"):
            self._check_model(model, "images to add")
        self._made_with = model
        return embed(model, images, rows)

    def _check_model(self, model, what):
        if not self.latents_.model and getattr(self, "_made_with", None) is model:
            # It may have been saved since.
            self.latents_ = replace(self.latents_, model=digest_of(model))
        same_model(self.latents_.model, digest_of(model), what)

    def _fitted_model(self):
        """The model, loaded once."""
        if getattr(self, "_loaded_from", None) is not self.model or self.model is None:
            self._loaded, self._loaded_from = as_model(self.model), self.model
        return self._loaded

    def _answers(self, images, n, rows, other_groups):
        """Pairs (table of matches, prepared images) for the images, part by part."""
        if n < 1 or self.candidates < 0:
            raise ValueError(
                f"n must be at least 1 and candidates at least 0; got {n} and {self.candidates}"
            )
        groups = groups_by_id(self.latents_.table, images) if other_groups else {}
        latents, start = self.latents_, 0
        own = {name: row for row, name in enumerate(latents.table["id"].tolist())}
        members = np.asarray(latents.column("group"), dtype=str)
        for about, vectors, pictures in self._embedded(images, rows):
            names = [row["id"] for row in about]
            itself = np.array([own.get(name, -1) for name in names])
            group = np.array([groups.get(name, "") for name in names], dtype=str)
            good = np.flatnonzero(np.isfinite(vectors).all(axis=1))
            if other_groups and (group[good] == "").any():
                name = names[good[group[good] == ""][0]]
                raise ValueError(
                    f"{name}: no group is known of it, which other_groups needs; give the images "
                    "as a table or store with a column 'group'"
                )

            def may(which, found, itself=itself[good], group=group[good]):
                kept = found != itself[which, np.newaxis]
                if other_groups:
                    kept &= members[found] != group[which, np.newaxis]
                return kept

            found = recommend(
                self.index_,
                self.graph_,
                latents.vectors,
                vectors[good],
                max(n, self.candidates),
                k=min(self.k, len(latents)),
                steps=self.steps,
                allowed=may,
            )
            matches = match_table(latents, about, start, good, found, pictures)
            yield most_alike(matches, n, self.candidates), pictures
            start += len(about)

    def _embedded(self, images, rows):
        """What is known, latents and prepared images of the queries, part by part."""
        if not isinstance(images, LatentSet):
            model = self._fitted_model()
            self._check_model(model, "the images to look for")
            yield from embedded(model, images, rows)
            return
        same_model(self.latents_.model, images.model, "the latents to look for")
        rows = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=int)
        for start in range(0, len(rows), _PART):
            part = rows[start : start + _PART]
            about = [{"id": name, "flags": 0, "reason": ""} for name in images.table["id"][part]]
            try:
                pictures = list(images.images(part))
            except ValueError:
                pictures = [None] * len(part)
            yield about, np.array(images.vectors[part]), pictures

    def _check_fitted(self):
        if not hasattr(self, "graph_"):
            raise NotFittedError(
                "this SimilaritySearch has nothing to search yet: call fit, or "
                "SimilaritySearch.load(folder)"
            )
