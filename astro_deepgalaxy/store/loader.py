"""Batches for training, from a store to `tf.data`."""

import numpy as np

from .augment import Augmentation

__all__ = ["batches"]

_IN_MEMORY_BYTES = 2**30


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
):
    """Batches of images with their targets, one epoch after the other.

    The order and the augmentation of an epoch depend on the seed and the number of the epoch
    only, so that a run that is resumed at an epoch sees what the uninterrupted one saw.

    Parameters
    ----------
    store : CutoutStore
        Where the images are. Small selections are read into memory once; of larger ones, some
        shards at a time.
    rows : array_like of int
        Row numbers.
    targets : dict of str to target
        What each output of the network learns (`~astro_deepgalaxy.store.TimeTarget`, ...).
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

    Returns
    -------
    `tf.data.Dataset`
        Elements ``(images, {output: target}, {output: weight})``.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    import tensorflow as tf

    rows = np.asarray(rows, dtype=int)
    if len(rows) == 0:
        raise ValueError(f"{store.path}: no rows to make batches of")
    table = store.table[rows]
    encoded = {name: target.encode(table) for name, target in targets.items()}
    image_bytes = 4 * int(np.prod(store.image_shape))
    memory = store.load(rows) if len(rows) * image_bytes <= _IN_MEMORY_BYTES else None
    augment = augment or Augmentation(flip=False, shift=0, noise=0, brightness=0)
    changes = augment != Augmentation(flip=False, shift=0, noise=0, brightness=0)

    def generate():
        for epoch in epochs:
            rng = np.random.default_rng([seed, epoch])
            order = _order(rows, store.shard_rows, rng, shuffle, whole=memory is not None)
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                images = store.load(rows[chosen]) if memory is None else memory[chosen]
                yield (
                    augment(images, rng) if changes else images,
                    {name: values[chosen] for name, (values, _) in encoded.items()},
                    {name: weights[chosen] for name, (_, weights) in encoded.items()},
                )

    signature = (
        tf.TensorSpec((None, *store.image_shape), tf.float32),
        {name: tf.TensorSpec((None, target.size), tf.float32) for name, target in targets.items()},
        {name: tf.TensorSpec((None,), tf.float32) for name in targets},
    )
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)


def _order(rows, shard_rows, rng, shuffle, whole):
    """Order of an epoch as positions in `rows`; mixed within a few shards if not in memory."""
    if not shuffle:
        return np.arange(len(rows))
    if whole:
        return rng.permutation(len(rows))
    shards = rows // shard_rows
    mixed = rng.permutation(np.unique(shards))
    order = []
    for start in range(0, len(mixed), 8):
        here = np.flatnonzero(np.isin(shards, mixed[start : start + 8]))
        order.append(rng.permutation(here))
    return np.concatenate(order)
