"""How far an image is from all that a model was trained on, by its latent."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

__all__ = ["Novelty"]

_REFERENCES = 1000
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Novelty:
    """Distances in z to the training set, as a share of what is usual.

    The distance of an image is the mean distance to its five nearest among up to a thousand
    training images (Sun et al. 2022). The score is the share of usual images, never trained on,
    that are nearer: 0.99 is farther out than 99 % of them.

    Attributes
    ----------
    references : numpy.ndarray
        Latents of training images, (m, L).
    usual : numpy.ndarray
        Distances of usual images in ascending order.
    """

    references: np.ndarray
    usual: np.ndarray

    @staticmethod
    def sample(rows, seed=0):
        """Rows whose latents are to be the references: all, or a thousand at random."""
        rows = np.asarray(rows, dtype=int)
        if len(rows) <= _REFERENCES:
            return rows
        return np.sort(np.random.default_rng(seed).choice(rows, _REFERENCES, replace=False))

    @classmethod
    def fit(cls, references, usual=None):
        """Learn what distances are usual.

        Parameters
        ----------
        references : numpy.ndarray
            Latents of training images, (m, L); rows that are not finite are left out.
        usual : numpy.ndarray, optional
            Latents of images like them that were not trained on, (n, L). Without them the
            references are measured against each other, each without itself.

        Returns
        -------
        Novelty
        """
        references = references[np.isfinite(references).all(axis=1)]
        if usual is None:
            k = min(_NEIGHBOURS, len(references) - 1)
            distances = KDTree(references).query(references, k + 1)[0][:, 1:].mean(axis=1)
        else:
            usual = usual[np.isfinite(usual).all(axis=1)]
            distances = _distances(references, usual)
        grid = np.quantile(distances, np.linspace(0, 1, np.clip(len(distances), 2, 1001)))
        # JSON keeps what was measured, not the digits of its rounding.
        return cls(np.round(references, 4).astype(np.float32), np.round(grid, 5))

    def score(self, z):
        """Novelty of images.

        Parameters
        ----------
        z : numpy.ndarray
            Latents (n, L).

        Returns
        -------
        numpy.ndarray
            (n,), in [0, 1].
        """
        if len(z) == 0:
            return np.zeros(0)
        return np.interp(
            _distances(self.references, z),
            self.usual,
            np.linspace(0, 1, len(self.usual)),
        )

    def to_dict(self):
        """The references and distances as JSON data."""
        return {
            "references": np.round(self.references.astype(float), 4).tolist(),
            "usual": self.usual.tolist(),
        }

    @classmethod
    def from_dict(cls, data):
        """Rebuild from what `to_dict` returned."""
        return cls(np.array(data["references"], dtype=np.float32), np.array(data["usual"]))


def _distances(references, z):
    k = min(_NEIGHBOURS, len(references))
    return KDTree(references).query(z, np.arange(1, k + 1))[0].mean(axis=1)
