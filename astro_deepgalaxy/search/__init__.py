"""Neighbours in the latent: sets of latents, their graph, and what is recommended from it."""

from .graph import NeighbourGraph, neighbour_weights
from .latents import LatentSet
from .recommend import Recommendations, choice_overlap, recommend

__all__ = [
    "LatentSet",
    "NeighbourGraph",
    "Recommendations",
    "choice_overlap",
    "neighbour_weights",
    "recommend",
]
