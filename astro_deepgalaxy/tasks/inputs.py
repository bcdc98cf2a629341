"""From what a user hands over to prepared images."""

from pathlib import Path

import numpy as np
from astropy import units as u
from tqdm.auto import tqdm

from ..flags import FAILED
from ..preprocess import Recipe
from ..store import CutoutStore
from ..store.joined import JoinedStores

__all__ = ["as_store", "prepared", "row_numbers", "training_images"]


def as_store(inputs, recipe, path, labels=None, processes=1, progress=None):
    """The store itself, or raw images spilled into one.

    Parameters
    ----------
    inputs : CutoutStore, path, glob, folder, Table, array, or sequence of these
        A store, the path of one, or raw images.
    recipe : Recipe
        How raw images are prepared.
    path : `~pathlib.Path`
        Where raw images are spilled to.
    labels : `~astropy.table.Table`, optional
        Labels of raw images, one row each in the same order.
    processes : int
        Processes that prepare images.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.

    Returns
    -------
    CutoutStore
        Or another object with its interface for reading.

    Raises
    ------
    ValueError
        If labels are given for a store, which has its own, or do not fit the images.
    """
    inputs = _opened(inputs)
    if _is_store(inputs):
        if labels is not None:
            raise ValueError(
                f"{inputs.path}: labels are for raw images, and a store has its own; leave them out"
            )
        return inputs
    from ..preprocess.batch import preprocess_batch

    return preprocess_batch(
        inputs, recipe, path, labels=labels, processes=processes, progress=progress
    )


def training_images(task, cutouts, labels, rows, unlabelled, work):
    """Everything that a task is given to learn from, as one store.

    Parameters
    ----------
    task : NetworkTask
        The task, whose ``recipe, image_size, processes, progress`` count for raw images.
    cutouts, labels, rows, unlabelled
        What its ``fit`` was given.
    work : `~pathlib.Path`
        Folder for the stores of raw images.

    Returns
    -------
    store : CutoutStore or JoinedStores
        All images.
    rows, unlabelled : numpy.ndarray of int
        Its rows with labels, and those without.

    Raises
    ------
    ValueError
        If a store was made with another recipe or is given twice, or there are no such rows.
    """
    recipe = task.recipe or Recipe.default(size=task.image_size)
    spill = {"processes": task.processes, "progress": task.progress}
    store = as_store(cutouts, recipe, work / "store.zarr", labels, **spill)
    theirs = store.attributes.get("recipe")
    if task.recipe is not None and theirs != task.recipe.to_dict():
        raise ValueError(
            f"{store.path}: was not made with the recipe of this {type(task).__name__}; leave "
            "recipe out to take that of the store"
        )
    rows = row_numbers(rows, store)
    if unlabelled is None:
        return store, rows, np.array([], dtype=int)
    if _are_rows(unlabelled):
        return store, rows, row_numbers(unlabelled, store, "unlabelled")
    recipe = Recipe.from_dict(theirs) if theirs else recipe
    more = as_store(unlabelled, recipe, work / "unlabelled.zarr", **spill)
    joined = JoinedStores([store, more])
    if len({Path(path).resolve() for path in joined.path}) < len(joined.path):
        raise ValueError(
            f"{more.path}: is given with its labels already; give its further rows as unlabelled"
        )
    return joined, rows, len(store) + np.arange(len(more))


def prepared(inputs, rows, recipe, processes=1, progress=None):
    """Pairs (about the image, image or None) for the inputs, in order.

    Parameters
    ----------
    inputs : CutoutStore, path, glob, folder, Table, array, or sequence of these
        Prepared or raw images.
    rows : sequence of int or None
        Rows of a store; all by default.
    recipe : Recipe or None
        How the images of the network are prepared.
    processes, progress
        As in `as_store`.

    Yields
    ------
    about : dict
        ``id, file, ra, dec, cd, flags, reason``.
    image : numpy.ndarray or None
        (y, x, channel), or None if the image cannot be used.

    Raises
    ------
    ValueError
        If a store was made with another recipe, or raw images cannot be prepared without one.
    """
    bar = {"desc": "predict", "unit": "image"}
    bar["disable"] = None if progress is None else not progress
    inputs = _opened(inputs)
    if _is_store(inputs):
        theirs = inputs.attributes.get("recipe")
        if theirs != (None if recipe is None else Recipe.to_dict(recipe)):
            raise ValueError(f"{inputs.path}: was not made with the recipe of this model")
        yield from _of_store(inputs, row_numbers(rows, inputs), bar)
        return
    if rows is not None:
        raise ValueError("rows: these are not the images of a store; select them yourself")
    if recipe is None:
        raise ValueError(
            "this model was trained on a store without a recipe: it cannot prepare raw images; "
            "predict on a store instead"
        )
    from ..io.catalog import resolve_inputs
    from ..preprocess.batch import iterate_prepared

    sources, _ = resolve_inputs(inputs)
    images = iterate_prepared(sources, recipe, processes=processes)
    for image, row in tqdm(images, total=len(sources), **bar):
        yield row, image


def row_numbers(rows, store, name="rows"):
    """Check numbers of rows.

    Parameters
    ----------
    rows : array_like of int or None
        The numbers; all rows by default.
    store : CutoutStore
        What they are rows of.
    name : str
        The argument they were given as, for the message.

    Returns
    -------
    numpy.ndarray of int

    Raises
    ------
    ValueError
        If they are not whole numbers, or there are no such rows.
    """
    if rows is None:
        return np.arange(len(store))
    rows = np.asarray(rows)
    if rows.size == 0:
        return np.array([], dtype=int)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a list of row numbers (of a mask: numpy.flatnonzero(mask)); got "
            f"{rows.dtype} of the shape {rows.shape}"
        )
    if not 0 <= rows.min() <= rows.max() < len(store):
        raise ValueError(f"{store.path}: {name} must be within 0 and {len(store) - 1}")
    return rows.astype(int)


def _are_rows(inputs):
    """Whether these are numbers of rows, or a mask of them, and no images."""
    if isinstance(inputs, np.ndarray):
        return inputs.ndim == 1 and inputs.dtype.kind in "iub"
    return (
        isinstance(inputs, list | tuple | range)
        and len(inputs) > 0
        and isinstance(inputs[0], int | np.integer | np.bool_)
    )


def _opened(inputs):
    if isinstance(inputs, str | Path) and (Path(inputs) / "zarr.json").exists():
        return CutoutStore.open(inputs)
    return inputs


def _is_store(inputs):
    return hasattr(inputs, "image_shape") and hasattr(inputs, "load")


_BLOCK = 64


def _of_store(store, rows, bar):
    table = store.table
    for start in tqdm(range(0, len(rows), _BLOCK), **(bar | {"unit": f"{_BLOCK} images"})):
        block = rows[start : start + _BLOCK]
        images = store.load(block)
        for i, image in zip(block, images, strict=True):
            row = {name: table[name][i] for name in ("id", "file", "flags", "reason")}
            places = [name for name in ("ra", "dec", "cd") if name in table.colnames]
            row |= {name: u.Quantity(table[name][i], u.deg).value for name in places}
            yield row, None if int(row["flags"]) & int(FAILED) else image
