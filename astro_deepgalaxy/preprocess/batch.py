"""Preparing many images: into a store, or one after the other for prediction."""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import QTable
from tqdm.auto import tqdm

from ..flags import Flag
from ..io import resolve_inputs
from ..jobs import alone, check_space
from ..labels import check_labels
from ..store import CutoutStore
from ..workers import OwnProcess, WorkerDiedError, Workers
from .mosaic_sky import measure_sky
from .prepare import failed_row, first_shape, prepare, prepare_all, prepare_each

__all__ = ["iterate_prepared", "preprocess_batch"]

_CHUNK = 32
_SHARD_BYTES = 2**24
_SHARDS = 32  # a batch has at least as many, so that processes and restarts have something to share


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
        As `~astro_deepgalaxy.preprocess.prepare.prepare` returns them, in the order of the
        sources. An image that kills its process is a row with the flag ``worker_died``.
    """
    workers = Workers(processes)
    if workers.are_here:
        for source in sources:
            yield prepare(source, recipe)
        return
    chunks = [slice(i, i + _CHUNK) for i in range(0, len(sources), _CHUNK)]
    while chunks:
        tasks = ((sources[chunk], recipe) for chunk in list(chunks))
        try:
            for results in workers.run(prepare_all, tasks, ordered=True):
                chunks.pop(0)
                yield from results
        except WorkerDiedError:
            with OwnProcess() as process:
                yield from _carefully(sources[chunks.pop(0)], recipe, process)


def preprocess_batch(
    inputs,
    recipe,
    output,
    labels=None,
    processes=1,
    progress=None,
    mosaics=None,
    scheduler=None,
):
    """Prepare images into a store.

    The store has a row for each input, in order. An image that cannot be used is a black image
    whose row has flags and a reason; so is one that kills the process which works on it, unless
    that is this process. The call can be killed at any time and repeated: finished shards are
    kept, and the finished store is the same, byte by byte, as without the interruption, and for
    any number of processes.

    Parameters
    ----------
    inputs : path, glob, folder, Table, or a sequence of these
        Images, see `~astro_deepgalaxy.io.resolve_inputs`. A table's own columns are labels. With
        `mosaics`, a catalogue of positions or the file of one.
    recipe : Recipe
        What to do with each.
    output : str or `~pathlib.Path`
        Folder of the store.
    labels : `~astropy.table.Table`, optional
        Labels of the images, a row for each in the same order, when `inputs` is not a table.
    processes : int
        Number of processes; 0 for one on each core.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.
    mosaics : Mosaics, optional
        Where the cutouts of a catalogue come from.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do the work, with the files and the store at
        the same paths. `processes` does not count then.

    Returns
    -------
    CutoutStore

    Raises
    ------
    ValueError
        If the labels do not fit the images, none of the images can be used, `output` holds
        something else, such as a store of other images or of another recipe, another process is
        writing it, or it cannot be written.
    """
    sources, table = resolve_inputs(inputs, mosaics)
    if mosaics is not None and mosaics.fov is None and "fov" not in table.colnames:
        raise ValueError(
            "the side of the cutouts is not known: give fov in arcsec, or a column 'fov'"
        )
    if mosaics is not None and labels is not None:
        raise ValueError("with mosaics, the labels are the other columns of the catalogue")
    labels = _labels(sources, table if labels is None else labels)
    output = Path(output)
    try:
        with alone(output):
            workers = Workers(processes, scheduler)
            store = _create(sources, labels, recipe, output, mosaics, workers)
            if mosaics is not None and recipe.uses_mosaic_sky and store.pending:
                folder = store.path.absolute() / "sky"
                _measure_skies(folder, mosaics, recipe, workers, progress)
                sources = sources.on(mosaics.with_sky(folder))
            with _bar(store, progress) as bar:
                _fill(store, sources, labels, recipe, workers, bar)
    except OSError as error:
        raise ValueError(
            f"{output}: cannot be written: {error.strerror or error}; make room or choose another "
            "folder, and run the same command again: it goes on"
        ) from error
    return store


def _create(sources, labels, recipe, output, mosaics, workers):
    """The store, new or to be gone on with."""
    attributes = {
        "recipe": recipe.to_dict(),
        "recipe_digest": recipe.digest,
        # Going on with other images or labels would mix two data sets in one store.
        "set_of_images_and_labels": _inputs_digest(sources, labels, mosaics),
        "versions": {
            name: version(name) for name in ("astro-deepgalaxy", "astropy", "numpy", "photutils")
        },
    }
    if mosaics is not None:
        attributes["field_of_view_and_bands"] = {"bands": list(mosaics.bands), "fov": mosaics.fov}
    if output.exists():
        shape = CutoutStore.open(output).image_shape
    else:
        shape = _image_shape(sources, recipe, workers)
        check_space(
            output,
            {"images": 4 * len(sources) * np.prod(shape)},
            "choose another disk or a smaller size",
        )
    fit = max(1, _SHARD_BYTES // (4 * int(np.prod(shape))))
    rows = min(fit, max(32, -(-len(sources) // _SHARDS)))
    rows -= rows % 8 if rows > 8 else 0  # so that images can be packed together
    return CutoutStore.create(output, len(sources), shape, attributes, shard_rows=rows)


def _measure_skies(folder, mosaics, recipe, workers, progress):
    """Write the background of each tile that has none yet."""
    tasks = [
        (tile, recipe.steps[0], folder / f"{i:05d}.fits") for i, tile in enumerate(mosaics.located)
    ]
    tasks = [task for task in tasks if not task[2].exists()]
    bar = {"total": len(tasks), "desc": "background", "unit": "tile"}
    with tqdm(**bar, disable=None if progress is None else not progress) as bar:
        try:
            for _ in workers.run(measure_sky, tasks):
                bar.update()
        except WorkerDiedError:
            with OwnProcess() as process:
                for task in tasks:
                    # What kills this one too is a tile without sky: its cutouts make do.
                    with suppress(WorkerDiedError):
                        process.call(measure_sky, *task)


def _fill(store, sources, labels, recipe, workers, bar):
    """Write the shards that are missing."""
    count = bar.update if workers.are_here else None
    while store.pending:
        tasks = (
            (
                store,
                shard,
                sources[store.rows_of(shard)],
                recipe,
                _part(labels, store, shard),
                count,
            )
            for shard in store.pending
        )
        try:
            for n in workers.run(_write_shard, tasks):
                if count is None:
                    bar.update(n)
        except WorkerDiedError:
            # It took the others with it, and one of those at work had the image that did it:
            # they are repeated one by one, apart from this process.
            bar.update(_done(store) - bar.n)
            with OwnProcess() as process:
                for shard in store.pending[: 2 * max(2, workers.processes)]:
                    results = _carefully(sources[store.rows_of(shard)], recipe, process)
                    bar.update(_write(store, shard, results, _part(labels, store, shard)))


def _write_shard(store, shard, sources, recipe, labels, count):
    def results():
        for result in prepare_each(sources, recipe):
            yield result
            if count is not None:
                count()

    return _write(store, shard, results(), labels)


def _write(store, shard, results, labels):
    images = np.zeros((_length(store.rows_of(shard)), *store.image_shape), dtype=np.float32)
    about = []
    for i, (image, row) in enumerate(results):
        if image is not None and image.shape != store.image_shape:
            row["flags"] |= int(Flag.PREPROCESS_FAILED)
            row["reason"] = (
                f"{row['file'] or row['id']}: the recipe makes an image of the shape "
                f"{image.shape} of it and of {store.image_shape} of others; end it with a resize, "
                "and choose or combine bands"
            )
        elif image is not None:
            images[i] = image
        about.append(row)
    store.write_shard(shard, images, _rows_table(about, labels))
    return len(about)


def _carefully(sources, recipe, process):
    """As `prepare_all`, image by image in another process: it may die."""
    for source in sources:
        for last in (False, True):
            # A death for want of memory, beside other processes, need not happen again.
            try:
                yield process.call(prepare, source, recipe)
                break
            except WorkerDiedError:
                if last:
                    reason = "its process died twice, for want of memory or by a crash"
                    name = source.file or source.id
                    yield None, failed_row(source, Flag.WORKER_DIED, f"{name}: {reason}")


def _bar(store, progress):
    return tqdm(
        total=len(store),
        initial=_done(store),
        desc="prepare",
        unit="image",
        disable=None if progress is None else not progress,
    )


def _done(store):
    return len(store) - sum(_length(store.rows_of(shard)) for shard in store.pending)


def _length(rows):
    return rows.stop - rows.start


def _part(labels, store, shard):
    return None if labels is None else labels[store.rows_of(shard)]


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


def _rows_table(about, labels):
    """What preparing found out about some rows, with their labels."""
    table = QTable()
    for name, dtype in (
        ("id", str),
        ("file", str),
        ("flags", np.int32),
        ("reason", str),
        ("missing_fraction", np.float32),
    ):
        table[name] = np.array([row[name] for row in about], dtype=dtype)
    for name in ("ra", "dec", "cd"):
        table[name] = np.array([row[name] for row in about], dtype=float) * u.deg
    if labels is not None:
        for name in labels.colnames:
            if name not in table.colnames and name != "position":
                table[name] = labels[name]
    return table


def _inputs_digest(sources, labels, mosaics):
    """SHA-256 of what the images are called, not of their pixels, and of their labels."""
    digest = hashlib.sha256()
    # Many at a time: a million small updates take as long as a million small images.
    for start in range(0, len(sources), 4096):
        keys = [source.key for source in sources[start : start + 4096]]
        digest.update(json.dumps(keys).encode())
    if mosaics is not None:
        digest.update(json.dumps(mosaics.to_dict(), sort_keys=True).encode())
    for name in labels.colnames if labels is not None else ():
        if name != "position":
            values = np.asarray(labels[name])
            text = values.dtype.kind in "UO"
            digest.update(f"{name} {labels[name].unit if not text else ''}".encode())
            for start in range(0, len(values), 4096):
                part = values[start : start + 4096]
                digest.update(
                    "\n".join(map(str, part)).encode("utf-8", "surrogateescape")
                    if text
                    else part.tobytes()
                )
    return digest.hexdigest()


def _image_shape(sources, recipe, workers):
    """Shape of a prepared image, from the first one that can be used."""
    reason = "its process died"
    # One image is most often enough; where many are of no use, they are tried many at a time.
    start, size, count = 0, 1, 1
    while start < len(sources):
        parts = [slice(start + i * size, start + (i + 1) * size) for i in range(count)]
        tasks = ((sources[part], recipe) for part in parts if part.start < len(sources))
        try:
            for shape, why in list(workers.run(first_shape, tasks, ordered=True)):
                if shape is not None:
                    return shape
                reason = why
        except WorkerDiedError:
            pass
        start += count * size
        size, count = _CHUNK, 8 * workers.processes
    raise ValueError(f"none of the {len(sources)} images can be used; the last: {reason}")
