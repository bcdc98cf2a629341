"""From a raw image to what the network sees, by a recorded recipe."""

from .recipe import Recipe
from .steps import Step

__all__ = ["Recipe", "Step"]
