"""How often classes in order are right, or nearly."""

from dataclasses import asdict, dataclass

import numpy as np
from sklearn.metrics import top_k_accuracy_score

__all__ = ["ClassAccuracy", "class_accuracy"]


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy of class probabilities.

    Attributes
    ----------
    n : int
        Images.
    top_1 : float
        Share of images whose most probable class is the true one.
    top_5 : float
        Share of images whose true class is among the five most probable.
    within_2 : float
        Share of images whose most probable class is at most two from the true one.
    """

    n: int
    top_1: float
    top_5: float
    within_2: float

    def to_dict(self):
        """The figures as plain data."""
        return asdict(self)


def class_accuracy(probabilities, true):
    """Accuracy of the probabilities of classes that stand in an order.

    Parameters
    ----------
    probabilities : array_like
        Class probabilities, (n, class); rows that are not finite are left out.
    true : array_like of int
        True classes, (n,); rows with -1, of which no class is known, are left out.

    Returns
    -------
    ClassAccuracy

    Raises
    ------
    ValueError
        If no row is left, or a class number is larger than the number of classes.
    """
    probabilities, true = np.asarray(probabilities), np.asarray(true)
    good = np.isfinite(probabilities).all(axis=1) & (true >= 0)
    if not good.any():
        raise ValueError("no image has both class probabilities and a true class")
    probabilities, true = probabilities[good], true[good]
    n_classes = probabilities.shape[1]
    if true.max() >= n_classes:
        raise ValueError(f"a true class is {true.max()}; the classes are 0 to {n_classes - 1}")
    guess = probabilities.argmax(axis=1)
    top_5 = 1.0
    if n_classes > 5:
        top_5 = top_k_accuracy_score(true, probabilities, k=5, labels=range(n_classes))
    return ClassAccuracy(
        n=len(true),
        top_1=float(np.mean(guess == true)),
        top_5=float(top_5),
        within_2=float(np.mean(np.abs(guess - true) <= 2)),
    )
