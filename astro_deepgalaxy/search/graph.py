"""The graph of nearest neighbours, its Laplacian, and what their spectrum shows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components, laplacian
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

__all__ = ["PERPLEXITY", "NeighbourGraph", "neighbour_weights"]

PERPLEXITY = 3.0
"""To how many neighbours a vector is effectively joined, however many were looked for."""

_BISECTIONS = 50
_SMALL = 200  # vectors whose spectrum is found without iterations
_ITERATED = 80  # vectors that are iterated on at least


@dataclass(frozen=True)
class NeighbourGraph:
    """Vectors joined to their nearest neighbours, with weights that hardly depend on how many.

    A neighbour's weight falls with the square of its distance; how fast is found for each vector
    by itself, such that its neighbours count as much as `perplexity` equal ones would
    (`neighbour_weights`). More neighbours than a few times that add next to nothing, so that the
    choice of k matters little. The weights of both directions are averaged.

    Attributes
    ----------
    distances : numpy.ndarray
        Distances to the neighbours in ascending order, (n, k).
    rows : numpy.ndarray
        Rows of the neighbours, (n, k); none is its own.
    perplexity : float
        Effective number of neighbours; with k or more, all k count the same.
    """

    distances: np.ndarray
    rows: np.ndarray
    perplexity: float = PERPLEXITY

    @classmethod
    def build(cls, index, vectors, k, perplexity=PERPLEXITY):
        """Find the neighbours of all vectors of an index.

        Parameters
        ----------
        index : object
            An index that holds the vectors.
        vectors : numpy.ndarray
            The same vectors, (n, L).
        k : int
            Neighbours of each.
        perplexity : float
            Effective number of neighbours.

        Returns
        -------
        NeighbourGraph

        Raises
        ------
        ValueError
            If there are not more than k vectors.
        """
        n = len(vectors)
        if not 1 <= k < n:
            raise ValueError(
                f"k is {k}, and there are {n} vectors: each has {n - 1} others at most"
            )
        distances, rows = index.query(vectors, k + 1)
        # Among equal vectors, or by an approximate index, one may not be its own nearest.
        itself = rows == np.arange(n)[:, np.newaxis]
        itself[~itself.any(axis=1), -1] = True
        others = np.argsort(itself, axis=1, kind="stable")[:, :k]
        return cls(
            np.take_along_axis(distances, others, 1),
            np.take_along_axis(rows, others, 1).astype(np.int32),
            perplexity,
        )

    def __len__(self):
        return len(self.rows)

    @property
    def k(self):
        """Neighbours of each vector."""
        return self.rows.shape[1]

    def nearest(self, k):
        """The graph of fewer neighbours.

        Parameters
        ----------
        k : int
            Neighbours of each vector, at most those of this graph.

        Returns
        -------
        NeighbourGraph
        """
        if not 1 <= k <= self.k:
            raise ValueError(f"k is {k}, and the graph has {self.k} neighbours of each vector")
        return NeighbourGraph(self.distances[:, :k], self.rows[:, :k], self.perplexity)

    @cached_property
    def adjacency(self):
        """Weights of the edges, a symmetric sparse array (n, n)."""
        n = len(self)
        weights = neighbour_weights(self.distances, self.perplexity)
        starts = np.arange(0, self.rows.size + 1, self.k)
        one_way = sparse.csr_array((weights.ravel(), self.rows.ravel(), starts), shape=(n, n))
        return (0.5 * (one_way + one_way.T)).tocsr()

    @cached_property
    def normalised(self):
        """Weights over the roots of the degrees of both ends, a symmetric sparse array (n, n)."""
        degrees = self.adjacency.sum(axis=1)
        scale = sparse.diags_array(1 / np.sqrt(degrees))
        return (scale @ self.adjacency @ scale).tocsr()

    @property
    def laplacian(self):
        """The symmetric normalised Laplacian, a sparse array (n, n)."""
        return laplacian(self.adjacency, normed=True)

    @cached_property
    def components(self):
        """Number of the connected component of each vector, (n,) int."""
        return connected_components(self.adjacency, directed=False)[1]

    def spectrum(self, m):
        """The smallest eigenvalues of the normalised Laplacian.

        As many are zero as there are components, and small ones tell of parts that are joined by
        few edges.

        Parameters
        ----------
        m : int
            How many, fewer than there are vectors.

        Returns
        -------
        eigenvalues : numpy.ndarray
            In ascending order, (m,).
        eigenvectors : numpy.ndarray
            One in each column, (n, m).

        Raises
        ------
        ValueError
            If there are not more than m vectors.
        """
        n = len(self)
        if not 1 <= m < n:
            raise ValueError(f"{m} eigenvalues were asked for, and there are {n} vectors")
        # The largest of the weights are the smallest of the Laplacian, and found faster.
        if n <= max(_SMALL, 2 * m):
            values, vectors = np.linalg.eigh(self.normalised.toarray())
        else:
            values, vectors = self._largest(m)
        order = np.argsort(-values, kind="stable")[:m]
        return np.clip(1 - values[order], 0, 2), vectors[:, order]

    def _largest(self, m):
        """Largest eigenvalues of the normalised weights, with their eigenvectors."""
        # Those of the components are known, and equal ones are what iterations miss.
        n, count = len(self), self.components.max() + 1
        known = np.zeros((n, min(m, count)))
        for i, component in enumerate(np.argsort(-np.bincount(self.components))[:m]):
            here = self.components == component
            known[here, i] = np.sqrt(self.adjacency.sum(axis=1)[here])
        known /= np.linalg.norm(known, axis=0)
        if m <= count:
            return np.ones(m), known
        weights = self.normalised

        def without(x):
            return weights @ x - 2 * known @ (known.T @ x)

        start = np.random.default_rng(0).uniform(-1, 1, n)
        operator = LinearOperator((n, n), matvec=without, dtype=float)
        # Of equal eigenvalues a loose tolerance misses all but the first; but those of parts that
        # hardly touch are so near 1 that their last digits need not settle.
        options = {"which": "LA", "v0": start, "ncv": min(n - 1, max(_ITERATED, 2 * m + 1))}
        try:
            values, vectors = eigsh(operator, m - count, tol=1e-11, maxiter=1000, **options)
        except ArpackNoConvergence:
            values, vectors = eigsh(operator, m - count, tol=1e-8, **options)
        return np.append(np.ones(count), values), np.hstack([known, vectors])


def neighbour_weights(distances, perplexity=PERPLEXITY):
    """How much each of the neighbours of a vector counts.

    The weights are exp(-b d^2) over their sum, with the b at which their entropy is the logarithm
    of the perplexity, as in stochastic neighbour embedding (Hinton & Roweis 2003). They do not
    change when all distances grow alike, and neighbours farther away than the first few add
    little, in any number of dimensions.

    Parameters
    ----------
    distances : array_like
        Distances in ascending order, (n, k).
    perplexity : float
        Effective number of neighbours, at least 1; with k or more, all count the same.

    Returns
    -------
    numpy.ndarray
        Weights (n, k), each row with the sum 1.

    Raises
    ------
    ValueError
        If the perplexity is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_deepgalaxy.search import neighbour_weights
    >>> np.round(neighbour_weights([[1, 1, 1, 5]]), 3)
    array([[0.333, 0.333, 0.333, 0.   ]])
    """
    if not perplexity >= 1:
        raise ValueError(f"perplexity must be at least 1; got {perplexity}")
    distances = np.asarray(distances, dtype=float)
    n, k = distances.shape
    if perplexity >= k:
        return np.full((n, k), 1 / k)
    excess = distances**2 - distances[:, :1] ** 2
    scale = excess[:, min(k - 1, int(np.ceil(perplexity)))]
    scale = np.where(scale > 0, scale, np.maximum(excess[:, -1], np.finfo(float).tiny))
    excess /= scale[:, np.newaxis]
    low, high = np.full((n, 1), -14.0), np.full((n, 1), 14.0)  # of the logarithm of b
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        wide = _entropy(_weights(excess, np.exp(middle))) > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return _weights(excess, np.exp(high))


def _weights(excess, falling):
    weights = np.exp(-falling * excess)
    return weights / weights.sum(axis=1, keepdims=True)


def _entropy(weights):
    return -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1, keepdims=True)
