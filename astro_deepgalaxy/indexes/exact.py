"""The exact index: scikit-learn compares with every vector."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .vectors import as_vectors, check_neighbours

__all__ = ["ExactIndex"]


class ExactIndex:
    """Nearest neighbours by Euclidean distance, found by comparing with every vector.

    Parameters
    ----------
    vectors : array_like, optional
        Vectors (n, L) to begin with.
    """

    def __init__(self, vectors=None):
        self._vectors = None
        if vectors is not None:
            self.add(vectors)

    def __len__(self):
        return 0 if self._vectors is None else len(self._vectors)

    def add(self, vectors):
        """Append vectors; their rows follow those of the ones before.

        Parameters
        ----------
        vectors : array_like
            Vectors (n, L).

        Raises
        ------
        ValueError
            If they are not finite or of another length than those before.
        """
        if self._vectors is None:
            vectors = as_vectors(vectors)
        else:
            vectors = as_vectors(vectors, self._vectors.shape[1])
            vectors = np.concatenate([self._vectors, vectors])
        self._hold(vectors)

    def query(self, vectors, k):
        """The nearest neighbours of vectors.

        Parameters
        ----------
        vectors : array_like
            Vectors (n, L).
        k : int
            How many neighbours.

        Returns
        -------
        distances : numpy.ndarray
            Euclidean distances in ascending order, (n, k) float32.
        rows : numpy.ndarray
            Rows of the neighbours, (n, k) int64.

        Raises
        ------
        ValueError
            If the vectors do not fit, or the index holds fewer than k.
        """
        check_neighbours(k, len(self))
        vectors = as_vectors(vectors, self._vectors.shape[1])
        if len(vectors) == 0:
            return np.zeros((0, k), dtype=np.float32), np.zeros((0, k), dtype=np.int64)
        distances, rows = self._search.kneighbors(vectors, k)
        return distances.astype(np.float32), rows.astype(np.int64)

    def save(self, folder):
        """Write what the index adds to its vectors: nothing.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            An existing folder.
        """

    def load(self, folder, vectors):
        """Take up what `save` wrote.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save` wrote.
        vectors : numpy.ndarray
            The vectors that were in the index, (n, L); they may be memory-mapped.
        """
        self._hold(as_vectors(vectors))

    def _hold(self, vectors):
        self._vectors = vectors
        self._search = NearestNeighbors(algorithm="brute").fit(vectors) if len(vectors) else None
