"""From what a user hands over to prepared images."""

from pathlib import Path

from astropy import units as u
from tqdm.auto import tqdm

from ..flags import FAILED
from ..preprocess import Recipe
from ..store import CutoutStore

__all__ = ["as_store", "prepared"]


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
    """
    if hasattr(inputs, "image_shape") and hasattr(inputs, "load"):
        return inputs
    if isinstance(inputs, str | Path) and (Path(inputs) / "zarr.json").exists():
        return CutoutStore.open(inputs)
    from ..preprocess.batch import preprocess_batch

    return preprocess_batch(
        inputs, recipe, path, labels=labels, processes=processes, progress=progress
    )


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
    if isinstance(inputs, str | Path) and (Path(inputs) / "zarr.json").exists():
        inputs = CutoutStore.open(inputs)
    if hasattr(inputs, "image_shape") and hasattr(inputs, "load"):
        theirs = inputs.attributes.get("recipe")
        if theirs != (None if recipe is None else Recipe.to_dict(recipe)):
            raise ValueError(f"{inputs.path}: was not made with the recipe of this model")
        yield from _of_store(inputs, range(len(inputs)) if rows is None else rows, bar)
        return
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


_BLOCK = 64


def _of_store(store, rows, bar):
    table, rows = store.table, list(rows)
    for start in tqdm(range(0, len(rows), _BLOCK), **(bar | {"unit": f"{_BLOCK} images"})):
        block = rows[start : start + _BLOCK]
        images = store.load(block)
        for i, image in zip(block, images, strict=True):
            row = {name: table[name][i] for name in ("id", "file", "flags", "reason")}
            places = [name for name in ("ra", "dec", "cd") if name in table.colnames]
            row |= {name: u.Quantity(table[name][i], u.deg).value for name in places}
            yield row, None if int(row["flags"]) & int(FAILED) else image
