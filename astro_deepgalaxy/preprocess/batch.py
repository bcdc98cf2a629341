"""Preparing many images: into a store, or one after the other for prediction."""

import hashlib
import json

import numpy as np
from astropy import units as u
from astropy.table import QTable
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from ..flags import CutoutError, Flag
from ..io import resolve_inputs
from ..labels import check_labels
from ..store import CutoutStore

__all__ = ["iterate_prepared", "prepare", "preprocess_batch"]

_CHUNK = 32


def prepare(source, recipe):
    """Read an image and apply a recipe. Nothing about a single image is raised.

    Parameters
    ----------
    source : Source
        Which image.
    recipe : Recipe
        What to do.

    Returns
    -------
    image : numpy.ndarray or None
        Prepared pixels (y, x, channel), float32; None when the image cannot be used.
    row : dict
        ``id, file, flags, reason, ra, dec``: why it cannot, and the position of its middle in
        degrees; without a WCS, the position given with the source (NaN without one).
    """
    row = {"id": source.id, "file": source.file, "flags": 0, "reason": ""}
    row |= {"ra": source.ra, "dec": source.dec}
    try:
        cutout = source.read()
        row["flags"] = int(cutout.flags)
        cutout = recipe(cutout)
    except CutoutError as error:
        return None, row | {"flags": row["flags"] | int(error.flag), "reason": str(error)}
    except MemoryError:
        flags = row["flags"] | int(Flag.UNREADABLE)
        return None, row | {"flags": flags, "reason": f"{source.file}: too large for the memory"}
    row["flags"] = int(cutout.flags)
    if cutout.centre is not None:
        centre = cutout.centre.icrs
        row |= {"ra": float(centre.ra.deg), "dec": float(centre.dec.deg)}
    image = np.ascontiguousarray(np.moveaxis(cutout.data, 0, -1))
    if not np.isfinite(image).all():
        image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
        row["flags"] |= int(Flag.MISSING_DATA)
    return image, row


def iterate_prepared(sources, recipe, processes=1):
    """Prepare images one after the other, some ahead of the caller in other processes.

    Parameters
    ----------
    sources : sequence of Source
        Which images.
    recipe : Recipe
        What to do.
    processes : int
        Number of processes; 1 works in this one.

    Yields
    ------
    image, row
        As `prepare` returns them, in the order of the sources.
    """
    if processes == 1:
        for source in sources:
            yield prepare(source, recipe)
        return
    chunks = [sources[i : i + _CHUNK] for i in range(0, len(sources), _CHUNK)]
    with Parallel(n_jobs=processes, return_as="generator", pre_dispatch="2*n_jobs") as pool:
        for results in pool(delayed(_prepare_all)(chunk, recipe) for chunk in chunks):
            yield from results


def preprocess_batch(inputs, recipe, output, labels=None, processes=1, progress=None):
    """Prepare images into a store.

    The store has a row for each input, in order. An image that cannot be used is a black image
    whose row has flags and a reason. The call can be killed at any time and repeated: finished
    shards are kept, and the finished store does not depend on the interruption.

    Parameters
    ----------
    inputs : path, glob, folder, Table, or a sequence of these
        Images, see `~astro_deepgalaxy.io.resolve_inputs`. A table's own columns are labels.
    recipe : Recipe
        What to do with each.
    output : str or `~pathlib.Path`
        Folder of the store.
    labels : `~astropy.table.Table`, optional
        Labels of the images, a row for each in the same order, when `inputs` is not a table.
    processes : int
        Number of processes.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.

    Returns
    -------
    CutoutStore

    Raises
    ------
    ValueError
        If the labels do not fit the images, none of the images can be used, or `output` holds
        something else, such as a store of other images or of another recipe.
    """
    sources, table = resolve_inputs(inputs)
    labels = _labels(sources, table if labels is None else labels)
    shape = _image_shape(sources, recipe)
    attributes = {
        "recipe": recipe.to_dict(),
        "recipe_digest": recipe.digest,
        # Going on with other images or labels would mix two data sets in one store.
        "set_of_images_and_labels": _inputs_digest(sources, labels),
    }
    store = CutoutStore.create(output, len(sources), shape, attributes)
    pending = store.pending
    bar = tqdm(
        total=len(sources),
        initial=len(sources) - sum(_length(store.rows_of(shard)) for shard in pending),
        desc="prepare",
        unit="image",
        disable=None if progress is None else not progress,
    )
    todo = [source for shard in pending for source in sources[store.rows_of(shard)]]
    results = iterate_prepared(todo, recipe, processes)
    with bar:
        for shard in pending:
            rows = store.rows_of(shard)
            images = np.zeros((_length(rows), *shape), dtype=np.float32)
            about = []
            for i in range(_length(rows)):
                image, row = next(results)
                if image is not None and image.shape != shape:
                    row["flags"] |= int(Flag.PREPROCESS_FAILED)
                    row["reason"] = (
                        f"{row['file'] or row['id']}: the recipe makes an image of the shape "
                        f"{image.shape} of it and of {shape} of others; end it with a resize, "
                        "and choose or combine bands"
                    )
                elif image is not None:
                    images[i] = image
                about.append(row)
                bar.update()
            store.write_shard(shard, images, _rows_table(about, labels, rows))
    return store


def _prepare_all(sources, recipe):
    return [prepare(source, recipe) for source in sources]


def _length(rows):
    return rows.stop - rows.start


def _labels(sources, labels):
    if labels is None:
        return None
    labels = QTable(labels)
    if len(labels) != len(sources):
        raise ValueError(
            f"there are {len(sources)} images but {len(labels)} rows of labels: they must match "
            "row by row"
        )
    if "id" not in labels.colnames:
        labels["id"] = [source.id for source in sources]
    return check_labels(labels)


def _rows_table(about, labels, rows):
    """What preparing found out about some rows, with their labels."""
    table = QTable()
    for name in ("id", "file", "flags", "reason"):
        dtype = np.int32 if name == "flags" else str
        table[name] = np.array([row[name] for row in about], dtype=dtype)
    for name in ("ra", "dec"):
        table[name] = [row[name] for row in about] * u.deg
    if labels is not None:
        for name in labels.colnames:
            if name not in table.colnames and name != "position":
                table[name] = labels[name][rows]
    return table


def _inputs_digest(sources, labels):
    """SHA-256 of what the images are called, not of their pixels, and of their labels."""
    digest = hashlib.sha256(json.dumps([(s.id, s.file) for s in sources]).encode())
    for name in labels.colnames if labels is not None else ():
        if name != "position":
            values = np.asarray(labels[name])
            text = values.dtype.kind in "UO"
            digest.update(f"{name} {labels[name].unit if not text else ''}".encode())
            digest.update("\n".join(map(str, values)).encode() if text else values.tobytes())
    return digest.hexdigest()


def _image_shape(sources, recipe):
    """Shape of a prepared image, from the first one that can be used."""
    for source in sources:
        image, row = prepare(source, recipe)
        if image is not None:
            return image.shape
    raise ValueError(f"none of the {len(sources)} images can be used; the last: {row['reason']}")
