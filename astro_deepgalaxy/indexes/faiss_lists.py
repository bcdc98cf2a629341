"""The approximate index: faiss looks in the lists of vectors around a query."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .exact import ExactIndex
from .vectors import as_vectors, check_neighbours

__all__ = ["FaissIndex"]

_SAMPLE = 500  # vectors whose neighbours are compared with the true ones
_TESTED = 10
_GATHERED = 2**22  # numbers of candidates that are compared at once


class FaissIndex:
    """Nearest neighbours by Euclidean distance among a million vectors and more.

    The vectors are sorted into lists around the centres of a k-means clustering and kept with
    half precision (an inverted file; Sivic & Zisserman 2003, Johnson, Douze & Jegou 2021). A
    query looks through some of the lists: as many as it takes to find the share `recall` of the
    ten true neighbours of a sample. The candidates are compared again with the vectors in full
    precision, so that the distances are exact. On disk the lists are mapped into memory.

    Parameters
    ----------
    vectors : array_like, optional
        Vectors (n, L) to begin with.
    recall : float
        Share of the true neighbours to be found in the sample, more than 0 and at most 1.
    threads : int
        Threads that work at once. More than one pay where as many cores are idle; where they are
        not, each waits for the others.

    Attributes
    ----------
    probes : int
        Lists that a query looks through.

    Raises
    ------
    ImportError
        If faiss is not installed.
    ValueError
        If the recall or the number of threads is out of its range.
    """

    def __init__(self, vectors=None, recall=0.998, threads=1):
        if not 0 < recall <= 1:
            raise ValueError(f"recall must be more than 0 and at most 1; got {recall}")
        if threads < 1:
            raise ValueError(f"threads must be at least 1; got {threads}")
        self._faiss = _import_faiss()
        self.recall = recall
        self.threads = threads
        self.probes = 0
        self._vectors = self._lists = self._file = None
        self._trained = 0
        if vectors is not None:
            self.add(vectors)

    def __len__(self):
        return 0 if self._vectors is None else len(self._vectors)

    def add(self, vectors):
        """Append vectors; their rows follow those of the ones before.

        The centres of the lists are found anew when the set has doubled since they were.

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
            self._vectors = as_vectors(vectors)
            new = self._vectors
        else:
            new = as_vectors(vectors, self._vectors.shape[1])
            self._own_lists()
            self._vectors = np.concatenate([self._vectors, new])
        if len(self) == 0:
            return
        if len(self) > 2 * self._trained:
            self._train()
        else:
            with self._working():
                self._lists.add(new)

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
        distances = np.empty((len(vectors), k), dtype=np.float32)
        rows = np.empty((len(vectors), k), dtype=np.int64)
        candidates = min(len(self), k + max(k, _TESTED))
        # Farther neighbours lie in more lists than the sample's ten.
        probes = min(self._lists.nlist, self.probes * max(1, k // _TESTED))
        parameters = self._faiss.SearchParametersIVF(nprobe=probes)
        step = max(1, _GATHERED // (candidates * vectors.shape[1]))
        for start in range(0, len(vectors), step):
            part = slice(start, start + step)
            with self._working():
                _, found = self._lists.search(vectors[part], candidates, params=parameters)
            distances[part], rows[part] = self._compare(vectors[part], found, k)
        short = np.flatnonzero(~np.isfinite(distances[:, -1]))
        if len(short):  # the lists did not hold enough
            distances[short], rows[short] = ExactIndex(self._vectors).query(vectors[short], k)
        return distances, rows

    def save(self, folder):
        """Write the lists; the vectors are kept by whoever owns them.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            An existing folder.
        """
        config = {"trained": self._trained, "probes": self.probes, "rows": len(self)}
        (Path(folder) / "lists.json").write_text(json.dumps(config) + "\n", encoding="utf-8")
        if self._lists is not None:
            self._faiss.write_index(self._lists, str(Path(folder) / "lists.faiss"))

    def load(self, folder, vectors):
        """Take up what `save` wrote; the lists are mapped into memory.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save` wrote.
        vectors : numpy.ndarray
            The vectors that were in the index, (n, L); they may be memory-mapped.

        Raises
        ------
        ValueError
            If the files are missing or damaged, or belong to other vectors.
        """
        vectors, file = as_vectors(vectors), Path(folder) / "lists.faiss"
        try:
            config = json.loads((Path(folder) / "lists.json").read_text(encoding="utf-8"))
            self._trained, self.probes = int(config["trained"]), int(config["probes"])
            lists = self._read(file, self._faiss.IO_FLAG_MMAP_IFC) if len(vectors) else None
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{file}: cannot be read; build the index again: {error}") from error
        if lists is not None and (lists.ntotal, lists.d) != vectors.shape:
            raise ValueError(
                f"{file}: holds {lists.ntotal} vectors of {lists.d} numbers, and is given "
                f"{len(vectors)} of {vectors.shape[1]}; build the index again"
            )
        self._vectors, self._lists, self._file = vectors, lists, file

    @contextmanager
    def _working(self):
        """The number of threads, which faiss keeps for the whole process."""
        before = self._faiss.omp_get_max_threads()
        self._faiss.omp_set_num_threads(self.threads)
        try:
            yield
        finally:
            self._faiss.omp_set_num_threads(before)

    def _read(self, file, flags=0):
        return self._faiss.read_index(str(file), flags)

    def _own_lists(self):
        """Lists in memory: to add to mapped ones ends the process."""
        if self._file is None:
            return
        try:
            self._lists = self._read(self._file)
            known = self._lists.ntotal == len(self._vectors)
        except RuntimeError:
            known = False
        self._file = None
        if not known:  # the file was replaced meanwhile
            self._train()

    def _train(self):
        n, size = self._vectors.shape
        # faiss wants 39 vectors for each centre.
        lists = int(max(1, min(4 * np.sqrt(n), n / 2 / 39)))
        self._lists = self._faiss.index_factory(size, f"IVF{lists},SQfp16")
        # The sample stands for queries, to which no centre was drawn.
        sample = np.linspace(0, n - 1, min(n // 2, _SAMPLE)).astype(int)
        with self._working():
            self._lists.train(np.delete(self._vectors, sample, axis=0))
            self._lists.add(self._vectors)
        self._trained = n
        self.probes = self._fewest_probes(self._vectors[sample])

    def _fewest_probes(self, sample):
        """Lists that must be looked through to find enough of the neighbours of a sample."""
        n, lists = len(self), self._lists.nlist
        # A vector itself is found by any search.
        k = min(n, _TESTED + 1)
        true = ExactIndex(self._vectors).query(sample, k)[1][:, 1:]

        def enough(probes):
            self.probes = probes
            found = self.query(sample, k)[1]
            common = (found[:, :, np.newaxis] == true[:, np.newaxis]).any(axis=1)
            return common.size == 0 or common.mean() >= self.recall

        low, high = 0, 1
        while high < lists and not enough(high):
            low, high = high, min(lists, 2 * high)
        while high - low > max(1, low // 8):
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high

    def _compare(self, vectors, rows, k):
        """The nearest k of the candidates by their vectors; infinity where there are too few."""
        away = self._vectors[np.maximum(rows, 0)] - vectors[:, np.newaxis]
        distances = np.sqrt(np.einsum("nkl,nkl->nk", away, away))
        distances[rows < 0] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


def _import_faiss():
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "the index 'faiss' needs faiss: pip install 'astro-deepgalaxy[search]'"
        ) from error
    return faiss
