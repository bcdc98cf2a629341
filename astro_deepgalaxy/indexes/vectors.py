"""Vectors as an index takes them."""

import numpy as np

__all__ = ["as_vectors", "check_neighbours"]


def as_vectors(vectors, size=None, what="vectors"):
    """Vectors as an array that every index can take; a memory-mapped one stays mapped.

    Parameters
    ----------
    vectors : array_like
        Vectors, (n, L).
    size : int, optional
        The length L that is expected.
    what : str
        What they are, for the error.

    Returns
    -------
    numpy.ndarray
        (n, L), float32, in C order.

    Raises
    ------
    ValueError
        If they are not (n, L), not finite, or of another length.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"{what}: expected an array (n, L); got the shape {vectors.shape}")
    if size is not None and vectors.shape[1] != size:
        raise ValueError(
            f"{what}: have {vectors.shape[1]} numbers each, and those of the index {size}"
        )
    # A sum is finite only if every number is; it needs no second array of their size.
    with np.errstate(over="ignore", invalid="ignore"):
        total = vectors.sum(dtype=float)
    if not np.isfinite(total):
        raise ValueError(f"{what}: some are not finite; leave out images without a result")
    return vectors


def check_neighbours(k, n):
    """Refuse to look for more neighbours than there are.

    Parameters
    ----------
    k : int
        How many are wanted.
    n : int
        How many vectors the index holds.

    Raises
    ------
    ValueError
        If k is not between 1 and n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}, and the index holds {n} vectors: choose k between 1 and {n}")
