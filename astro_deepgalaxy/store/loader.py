"""Batches for training, from a store to `tf.data`."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .augment import Augmentation
from .targets import NoTarget

__all__ = ["batches", "encode", "epoch_rows", "ordered", "stream"]

_IN_MEMORY_BYTES = 2**30
_BLOCK_BYTES = 2**28  # read at once of a selection that does not fit
_MIXED_SHARDS = 8  # whose images are mixed with each other then, at least


def batches(
    store,
    rows,
    targets,
    batch_size,
    *,
    epochs=range(1),
    shuffle=False,
    augment=None,
    seed=0,
    labelled_fraction=None,
):
    """Batches of images with their targets, one epoch after the other.

    The order and the augmentation of an epoch depend on the seed and the number of the epoch
    only, so that a run that is resumed at an epoch sees what the uninterrupted one saw.

    Parameters
    ----------
    store : CutoutStore or JoinedStores
        Where the images are, or what reads like one (`~astro_deepgalaxy.store.open_stores`).
        Selections of up to 1 GiB are read into memory once; of larger ones, some shards at a
        time, ahead of their use.
    rows : array_like of int
        Row numbers.
    targets : dict of str to target
        What each output of the network learns (`~astro_deepgalaxy.store.TimeTarget`, ...). A
        target with ``of_image`` true is the image itself as it is given to the network, with
        the weight 1.
    batch_size : int
        Images in a batch; the last one of an epoch is smaller.
    epochs : range
        Numbers of the epochs.
    shuffle : bool
        Whether every epoch has an order of its own.
    augment : Augmentation, optional
        Random changes to the images.
    seed : int
        Seed of the order and the augmentation.
    labelled_fraction : float, optional
        Share of each batch that has a label for one of the targets, in (0, 1). An epoch has as
        many images as without it: labelled ones come again as often as needed, and as others
        are left out for that, only several epochs have each of them.

    Returns
    -------
    `tf.data.Dataset`
        Elements ``(images, {output: target}, {output: weight})``.

    Raises
    ------
    ValueError
        If there are no rows, or none with a label, or none without one, where a share of labelled
        ones is asked for.
    """
    plan = ordered(
        store,
        rows,
        targets,
        batch_size,
        shuffle=shuffle,
        seed=seed,
        labelled_fraction=labelled_fraction,
    )
    return stream(store, rows, targets, plan, epochs=epochs, augment=augment, seed=seed)


def ordered(store, rows, targets, batch_size, *, shuffle=False, seed=0, labelled_fraction=None):
    """The plan that `batches` follows.

    Parameters
    ----------
    store, rows, targets, batch_size, shuffle, seed, labelled_fraction
        As given to `batches`.

    Returns
    -------
    callable
        ``plan(epoch)`` returns a list with, for each batch, the positions of its images in `rows`
        and how often each of them has come before in the epoch, both arrays of int.

    Raises
    ------
    ValueError
        As `batches`.
    """
    rows = np.asarray(rows, dtype=int)
    encoded = {} if labelled_fraction is None else encode(store, rows, targets)
    order = _Order(store, rows, targets, encoded, batch_size, shuffle, seed, labelled_fraction)

    def plan(epoch):
        parts = order.batches(epoch)
        return list(zip(parts, _repeats(parts), strict=True))

    return plan


def stream(store, rows, targets, plan, *, epochs=range(1), augment=None, seed=0):
    """Batches of images with their targets, as a plan has them.

    Parameters
    ----------
    store, rows, targets, epochs, augment, seed
        As given to `batches`.
    plan : callable
        Which images each batch of an epoch has, as `ordered` returns it.

    Returns
    -------
    `tf.data.Dataset`
        Elements ``(images, {output: target}, {output: weight})``.
    """
    import tensorflow as tf

    rows = np.asarray(rows, dtype=int)
    encoded = encode(store, rows, targets)
    of_image = [name for name in targets if name not in encoded]
    memory = store.load(rows) if _in_memory(store, rows) else None
    changes = augment is not None and augment != Augmentation.none()

    def generate():
        for epoch in epochs:
            planned = plan(epoch)
            parts = [chosen for chosen, _ in planned]
            read = _read(store, rows, parts) if memory is None else map(memory.__getitem__, parts)
            for (chosen, again), images in zip(planned, read, strict=True):
                yield (
                    images,
                    {name: values[chosen] for name, (values, _) in encoded.items()},
                    {name: weights[chosen] for name, (_, weights) in encoded.items()},
                    Augmentation.seeds(seed, epoch, rows[chosen], again),
                )

    def finish(images, values, weights, seeds):
        if changes:
            images = augment(images, seeds)
        one = tf.ones(tf.shape(images)[0])
        return (
            images,
            values | dict.fromkeys(of_image, images),
            weights | dict.fromkeys(of_image, one),
        )

    signature = (
        tf.TensorSpec((None, *store.image_shape), tf.float32),
        {name: tf.TensorSpec((None, v.shape[1]), tf.float32) for name, (v, _) in encoded.items()},
        {name: tf.TensorSpec((None,), tf.float32) for name in encoded},
        tf.TensorSpec((None, 2), tf.int64),
    )
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return data.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def epoch_rows(
    store, rows, targets, batch_size, epoch, *, shuffle=False, seed=0, labelled_fraction=None
):
    """The rows of each batch of an epoch of `batches`, to name the images of one.

    Parameters
    ----------
    store, rows, targets, batch_size, shuffle, seed, labelled_fraction
        As given to `batches`.
    epoch : int
        Number of the epoch.

    Returns
    -------
    list of numpy.ndarray of int
        Row numbers of the store, batch by batch.

    Raises
    ------
    ValueError
        As `batches`.
    """
    plan = ordered(
        store,
        rows,
        targets,
        batch_size,
        shuffle=shuffle,
        seed=seed,
        labelled_fraction=labelled_fraction,
    )
    rows = np.asarray(rows, dtype=int)
    return [rows[chosen] for chosen, _ in plan(epoch)]


def encode(store, rows, targets):
    """Values and weights of the targets that come from the label table.

    Parameters
    ----------
    store, rows, targets
        As given to `batches`.

    Returns
    -------
    dict of str to (numpy.ndarray, numpy.ndarray)
        Values (row, ...) and weights (row,) of each such target.
    """
    table = store.table[rows]
    return {
        name: target.encode(table)
        for name, target in targets.items()
        if not getattr(target, "of_image", False)
    }


class _Order:
    """Which images, as positions in the rows, make up each batch of an epoch."""

    def __init__(self, store, rows, targets, encoded, batch_size, shuffle, seed, labelled_fraction):
        if len(rows) == 0:
            raise ValueError(f"{store.path}: no rows to make batches of")
        self.n, self.batch_size, self.shuffle, self.seed = len(rows), batch_size, shuffle, seed
        image_bytes = 4 * int(np.prod(store.image_shape))
        self.in_memory = _in_memory(store, rows)
        self.shards = rows // store.shard_rows
        self.mixed = max(_MIXED_SHARDS, _BLOCK_BYTES // (image_bytes * store.shard_rows))
        self.fraction = labelled_fraction
        if labelled_fraction is None:
            return
        if not 0 < labelled_fraction < 1:
            raise ValueError(f"labelled_fraction must be between 0 and 1; got {labelled_fraction}")
        labelled = np.zeros(self.n, dtype=bool)
        labels = [name for name in encoded if not isinstance(targets[name], NoTarget)]
        for name in labels:
            labelled |= encoded[name][1] > 0
        self.labelled, self.others = np.flatnonzero(labelled), np.flatnonzero(~labelled)
        if len(self.labelled) == 0 or len(self.others) == 0:
            which = "has" if len(self.labelled) == 0 else "lacks"
            raise ValueError(
                f"{store.path}: labelled_fraction mixes images with and without labels, but none "
                f"of the {self.n} rows {which} a label for {', '.join(labels)}; leave it out"
            )

    def batches(self, epoch):
        """Positions of the images of each batch."""
        rng = np.random.default_rng([self.seed, epoch])
        starts = range(0, self.n, self.batch_size)
        if self.fraction is None:
            order = self._mix(np.arange(self.n), rng)
            return [order[start : start + self.batch_size] for start in starts]
        # Spread evenly, so that each batch has its share to within one image.
        labelled = np.diff(np.floor(np.arange(self.n + 1) * self.fraction + 1e-9)) > 0
        order = np.empty(self.n, dtype=int)
        order[labelled] = self._repeat(self.labelled, labelled.sum(), rng)
        order[~labelled] = self._repeat(self.others, (~labelled).sum(), rng)
        parts = [order[start : start + self.batch_size] for start in starts]
        return [rng.permutation(part) for part in parts] if self.shuffle else parts

    def _repeat(self, positions, n, rng):
        """So many of some positions, each coming again only when all have come."""
        rounds = [self._mix(positions, rng) for _ in range(-(-n // len(positions)))]
        return np.concatenate([positions[:0], *rounds])[:n]

    def _mix(self, positions, rng):
        """Some positions in a new order; if not in memory, mixed within a few shards."""
        if not self.shuffle:
            return positions
        if self.in_memory:
            return rng.permutation(positions)
        shards = self.shards[positions]
        mixed = rng.permutation(np.unique(shards))
        windows = [mixed[start : start + self.mixed] for start in range(0, len(mixed), self.mixed)]
        return np.concatenate([rng.permutation(positions[np.isin(shards, w)]) for w in windows])


def _in_memory(store, rows):
    """Whether all images of these rows are read at once."""
    return len(rows) * 4 * int(np.prod(store.image_shape)) <= _IN_MEMORY_BYTES


def _repeats(parts):
    """How often each image of each batch has come before in the epoch."""
    order = np.concatenate(parts)
    by_image = np.argsort(order, kind="stable")
    _, first, counts = np.unique(order[by_image], return_index=True, return_counts=True)
    times = np.empty(len(order), dtype=int)
    times[by_image] = np.arange(len(order)) - np.repeat(first, counts)
    return np.split(times, np.cumsum([len(part) for part in parts])[:-1])


def _read(store, rows, parts):
    """Images of each batch, read many batches at a time while earlier ones are used."""
    batch_bytes = 4 * int(np.prod(store.image_shape)) * len(parts[0])
    size = max(1, _BLOCK_BYTES // batch_bytes)
    blocks = [parts[start : start + size] for start in range(0, len(parts), size)]

    def load(block):
        wanted, places = np.unique(np.concatenate(block), return_inverse=True)
        return store.load(rows[wanted]), np.split(places, np.cumsum([len(p) for p in block])[:-1])

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(load, blocks[0])
        for following in [*blocks[1:], None]:
            images, places = ahead.result()
            if following is not None:
                ahead = pool.submit(load, following)
            yield from (images[place] for place in places)
