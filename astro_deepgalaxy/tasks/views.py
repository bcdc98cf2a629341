"""Test-time augmentation: one answer from several views of an image."""

import numpy as np
from scipy.special import logsumexp

__all__ = ["mean_mixture", "mean_probability", "symmetric_views"]


def symmetric_views(images):
    """The images turned by multiples of 90 degrees and mirrored.

    Parameters
    ----------
    images : numpy.ndarray
        (n, y, x, channel).

    Yields
    ------
    numpy.ndarray
        The eight symmetries of a square, the images themselves first; four if they are no squares.
    """
    for number in range(8 if images.shape[1] == images.shape[2] else 4):
        view = images[:, ::-1] if number & 1 else images
        view = view[:, :, ::-1] if number & 2 else view
        yield view.transpose(0, 2, 1, 3) if number & 4 else view


def mean_probability(views):
    """Mean of probabilities, each (n, class)."""
    return np.mean(views, axis=0)


def mean_mixture(views):
    """The mixture of mixtures, given by their raw parameters, each (n, 3 K).

    Parameters
    ----------
    views : list of numpy.ndarray
        Logits of the weights, means, logarithms of the widths.

    Returns
    -------
    numpy.ndarray
        The same of all components, (n, 3 K views).
    """
    parts = [np.split(view, 3, axis=1) for view in views]
    logits = [part[0] - logsumexp(part[0], axis=1, keepdims=True) for part in parts]
    return np.concatenate(
        [*logits, *(part[1] for part in parts), *(part[2] for part in parts)], axis=1
    )
