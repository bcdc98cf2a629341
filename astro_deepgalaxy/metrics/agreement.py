"""How well clusters agree with labels."""

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

__all__ = ["cluster_agreement"]


def cluster_agreement(clusters, labels):
    """Agreement of clusters with labels, by two measures that need no matching of names.

    Parameters
    ----------
    clusters : array_like
        Cluster of each image, (n,).
    labels : array_like
        Label of each, (n,); images with an empty one are left out.

    Returns
    -------
    dict of str to float
        ``nmi``, the normalised mutual information, from 0 to 1; ``ari``, the Rand index adjusted
        for chance (Hubert & Arabie 1985), 0 by chance and at most 1; ``n``, the images compared.

    Raises
    ------
    ValueError
        If the lengths differ, or no image has a label.
    """
    clusters, labels = np.asarray(clusters), np.ma.filled(np.ma.asarray(labels).astype(str), "")
    if clusters.shape != labels.shape:
        raise ValueError(f"{len(clusters)} clusters were given, and {len(labels)} labels")
    known = labels != ""
    if not known.any():
        raise ValueError("no image has a label to compare its cluster with")
    pair = labels[known], clusters[known]
    return {
        "nmi": float(normalized_mutual_info_score(*pair)),
        "ari": float(adjusted_rand_score(*pair)),
        "n": int(known.sum()),
    }
