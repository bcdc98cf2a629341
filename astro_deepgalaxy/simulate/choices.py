"""Values in a plan: one, several to try in turn, or a range to draw from."""

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from ..toml_models import Section

__all__ = ["Angles", "Range", "Values", "draw"]


class Range(Section):
    """A value that is drawn at random for each simulation."""

    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    log: bool = Field(False, description="Draw the logarithm evenly.")

    @model_validator(mode="after")
    def _ordered(self):
        if not (self.low <= self.high and math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"low must not exceed high; got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be positive with log = true; got {self.low}")
        return self

    def draw(self, rng):
        """A random value (float)."""
        if self.log:
            return float(np.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return float(rng.uniform(self.low, self.high))


def _form(value):
    """Which way of writing a value it is, so that errors speak of that one alone."""
    forms = {list: "list", dict: "range", Range: "range", str: "word"}
    return forms.get(type(value), "number")


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
One = Annotated[Number, Tag("number")]
Several = Annotated[Annotated[list[Number], Field(min_length=1)], Tag("list")]
Drawn = Annotated[Range, Tag("range")]
Values = Annotated[One | Several | Drawn | Annotated[Number, Tag("word")], Discriminator(_form)]
Angles = Annotated[
    One | Several | Drawn | Annotated[Literal["random"], Tag("word")], Discriminator(_form)
]


def draw(value, name, rng):
    """One value.

    Parameters
    ----------
    value : float, Range or str
        As the plan has it, but for lists.
    name : str
        Name of the field: inclinations are drawn evenly over the sphere.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    float
    """
    if isinstance(value, Range):
        return value.draw(rng)
    if value == "random":
        if name.endswith("inclination"):  # evenly over the sphere
            return math.degrees(math.acos(rng.uniform(-1, 1)))
        return float(rng.uniform(0, 360))
    return value
