"""From images, through a model, to their latents."""

from pathlib import Path

import numpy as np
from astropy.table import QTable

from ..flags import FAILED
from ..search import LatentSet
from ..store.joined import open_stores

__all__ = ["as_model", "as_opened", "digest_of", "embed", "embedded"]

_SUFFIXES = (".h5", ".hdf5")


def as_model(model):
    """A fitted model that gives latents.

    Parameters
    ----------
    model : NetworkTask, str or `~pathlib.Path`
        The estimator, or the folder of a saved one.

    Returns
    -------
    NetworkTask

    Raises
    ------
    ValueError
        If there is none, or its network has no latent.
    """
    if model is None:
        raise ValueError(
            "images need a model to embed them: give model=, an embedder or its folder"
        )
    if isinstance(model, str | Path):
        from .base import load_model

        model = load_model(model)
    network = getattr(model, "network_", None)
    if network is not None and network.config.latent is None:
        raise ValueError(
            f"the model ({type(model).__name__}) has no latent z: train a GalaxyEmbedder, or a "
            "classifier with also={'embed': {}}"
        )
    return model


def as_opened(images):
    """The images, with a store opened if they are the path of one.

    Parameters
    ----------
    images : object
        What a task takes for images.

    Returns
    -------
    object
        A store, or `images` as they are.
    """
    if isinstance(images, list | tuple) and len(images) == 1 and _is_store(images[0]):
        images = images[0]
    if isinstance(images, list | tuple) and images and all(map(_is_store, images)):
        return open_stores(images)
    return open_stores(images) if _is_store(images) else images


def _is_store(path):
    if not isinstance(path, str | Path):
        return False
    return (Path(path) / "zarr.json").exists() or Path(path).suffix.lower() in _SUFFIXES


def digest_of(model):
    """Digest of a saved model; empty when it was not saved."""
    return getattr(model, "digest_", None) or ""


def embedded(model, images, rows=None):
    """Embed images part by part.

    Parameters
    ----------
    model : NetworkTask
        A fitted model whose network has a latent.
    images, rows
        As `~astro_deepgalaxy.tasks.base.NetworkTask.predict` takes them.

    Yields
    ------
    about : list of dict
        ``id, file, ra, dec, flags, reason`` of each image.
    vectors : numpy.ndarray
        Latents, (n, L) float32; NaN without a result.
    pictures : list of numpy.ndarray or None
        The prepared images; None without a result.
    """
    for about, where, pictures, outputs in model._answered(images, ["z"], rows):
        found = outputs["z"]
        vectors = np.full((len(about), found.shape[1]), np.nan, dtype=np.float32)
        prepared = [None] * len(about)
        for i, picture, z in zip(where, pictures, found, strict=True):
            vectors[i], prepared[i] = z, picture
        yield about, vectors, prepared


def embed(model, images, rows=None):
    """Latents of images, with their labels if they come from a store.

    Parameters
    ----------
    model : NetworkTask, str or `~pathlib.Path`
        A fitted model whose network has a latent, or its folder.
    images : CutoutStore, path, or what `~astro_deepgalaxy.tasks.base.NetworkTask.predict` takes
        The images. Those without a result are left out.
    rows : array_like of int, optional
        Rows of a store; all by default.

    Returns
    -------
    LatentSet

    Raises
    ------
    ValueError
        If no image has a result, or the model has no latent.
    """
    model, images = as_model(model), as_opened(images)
    parts = list(_without_pictures(embedded(model, images, rows)))
    about = [row for part, _ in parts for row in part]
    vectors = np.concatenate([part for _, part in parts]) if parts else np.zeros((0, 1))
    good = np.isfinite(vectors).all(axis=1)
    good &= [(int(row["flags"]) & int(FAILED)) == 0 for row in about]
    if not good.any():
        reason = next((row["reason"] for row in about if row["reason"]), "there is none")
        raise ValueError(f"none of the {len(about)} images could be embedded: {reason}")
    if hasattr(images, "image_shape"):
        rows = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=int)
        table = QTable(images.table[rows[good]])
        owners = getattr(images, "stores", [images])
        starts = np.cumsum([0, *map(len, owners)])
        table["store"] = np.searchsorted(starts, rows[good], side="right") - 1
        table["store_row"] = rows[good] - starts[table["store"]]
        stores = [Path(store.path).absolute() for store in owners]
    else:
        table = QTable({"id": np.array([row["id"] for row in about], dtype=str)[good]})
        table["file"] = np.array([row["file"] for row in about], dtype=str)[good]
        stores = ()
    return LatentSet(vectors[good], table, digest_of(model), stores)


def _without_pictures(parts):
    for about, vectors, _ in parts:
        yield about, vectors
