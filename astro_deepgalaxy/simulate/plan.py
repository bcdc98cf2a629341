"""A survey of simulations as a validated TOML file: what is simulated, and how it is looked at."""

import itertools
import math
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ..toml_models import Section, parse_toml, read_toml
from .encounter import ChancePair, Encounter, Isolated
from .galaxy import Galaxy

__all__ = [
    "PRESETS",
    "Planned",
    "SurveyPlan",
    "image_bytes",
    "preset_toml",
    "read_plan",
    "read_preset",
]

PRESETS = ("paper", "diverse", "controls", "first-look")
"""Names of the plans that come with the package."""

_STEPS_PER_CROSSING = 6.0


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


Values = float | list[float] | Range
Angles = float | list[float] | Range | Literal["random"]


def _values(default, description):
    return Field(default, description=description, union_mode="left_to_right")


class GalaxyPlan(Section):
    """The primary: fields of `Galaxy`, and factors on its mass and size."""

    mass: Values = _values(1.0, "Factor on all masses.")
    size: Values = _values(1.0, "Factor on all lengths.")
    disc_mass: Values = _values(Galaxy.disc_mass, "In Msun; 0 for none.")
    disc_scale: Values = _values(Galaxy.disc_scale, "Exponential scale length in kpc.")
    disc_height: Values = _values(Galaxy.disc_height, "Height z0 of sech^2(z / z0) in kpc.")
    bulge_mass: Values = _values(Galaxy.bulge_mass, "In Msun; 0 for none.")
    bulge_scale: Values = _values(Galaxy.bulge_scale, "Hernquist scale radius in kpc.")
    halo_mass: Values = _values(Galaxy.halo_mass, "In Msun.")
    halo_scale: Values = _values(Galaxy.halo_scale, "NFW scale radius in kpc.")
    halo_truncation: Values = _values(Galaxy.halo_truncation, "Truncation radius in kpc.")
    toomre_q: Values = _values(Galaxy.toomre_q, "Toomre's stability parameter.")


class Simulations(Section):
    """Some simulations of one kind.

    Every field takes a number, a list (all combinations of the lists are simulated) or
    ``{low = ..., high = ...}`` (drawn at random for each simulation).
    """

    kind: Literal["merger", "flyby", "isolated", "chance pair"] = Field(
        "merger", description="What is simulated."
    )
    number: int = Field(1, ge=1, description="Simulations of each combination of the lists.")
    mass_ratio: Values = _values(1.0, "Mass of the secondary over the primary's.")
    size_ratio: Values | None = _values(
        None, "Its size over the primary's; by default the cube root of the mass ratio."
    )
    separation: Values = _values(50.0, "Distance at the start in kpc.")
    pericentre: Values = _values(5.0, "Pericentre of the two-body orbit in kpc.")
    parabolic_fraction: Values = _values(
        0.6, "Orbital energy: speed at the start over the parabolic speed."
    )
    primary_inclination: Angles = _values(30.0, "Inclination of the disc in degrees.")
    primary_argument: Angles = _values(0.0, "Argument of the pericentre in degrees.")
    secondary_inclination: Angles = _values(60.0, "Inclination of the disc in degrees.")
    secondary_argument: Angles = _values(30.0, "Argument of the pericentre in degrees.")
    distance_ratio: Values = _values(1.3, "Distance of a chance companion over the primary's.")
    apparent_separation: Values = _values(20.0, "Of a chance pair, in kpc.")
    primary: GalaxyPlan = Field(GalaxyPlan(), description="The first galaxy.")

    @model_validator(mode="after")
    def _fields_of_the_kind(self):
        known = {"kind", "number", "primary", *_SYSTEMS[self.kind].__dataclass_fields__}
        for name in self.model_fields_set:
            default = type(self).model_fields[name].default
            if name not in known and getattr(self, name) != default:
                raise ValueError(f"{name}: a simulation of the kind {self.kind!r} has none")
        return self

    def systems(self, rng):
        """The systems to simulate, with the random ones drawn.

        Parameters
        ----------
        rng : callable
            Gives the `numpy.random.Generator` of the simulation of a number in this section.

        Returns
        -------
        list of Encounter, Isolated or ChancePair

        Raises
        ------
        ValueError
            If a combination is impossible; the field is named.
        """
        fields = [name for name in _SYSTEMS[self.kind].__dataclass_fields__ if name != "primary"]
        places = [(self, name) for name in fields]
        places += [(self.primary, name) for name in GalaxyPlan.model_fields]
        values = [getattr(section, name) for section, name in places]
        grid = itertools.product(*(v if isinstance(v, list) else [v] for v in values))
        systems = []
        for combination in grid:
            for _ in range(self.number):
                generator = rng(len(systems))
                drawn = [
                    _draw(value, name, generator)
                    for value, (_, name) in zip(combination, places, strict=True)
                ]
                systems.append(self._system(fields, drawn))
        return systems

    def _system(self, fields, drawn):
        values = dict(zip(fields, drawn, strict=False))
        galaxy = dict(zip(GalaxyPlan.model_fields, drawn[len(fields) :], strict=True))
        mass, size = galaxy.pop("mass"), galaxy.pop("size")
        for name, value in (("mass", mass), ("size", size)):
            if not value > 0:
                raise ValueError(f"primary.{name} must be positive; got {value}")
        primary = Galaxy(**galaxy).scaled(mass, size)
        system = _SYSTEMS[self.kind](primary=primary, **values)
        if self.kind == "merger" and system.parabolic_fraction > 1:
            raise ValueError(
                "parabolic_fraction must be at most 1 for a merger (the galaxies would not come "
                f'back; say kind = "flyby"); got {system.parabolic_fraction}'
            )
        return system


class RunPlan(Section):
    """How each simulation is run."""

    particles: int = Field(100_000, ge=400, description="Particles of a simulation in all.")
    duration: float = Field(700.0, gt=0, le=1e5, description="Length of a run in Myr.")
    snapshots: int = Field(71, ge=2, description="Snapshots, evenly spaced from 0 to the end.")
    softening: float = Field(0.3, gt=0, description="Plummer softening length in kpc.")
    opening: float = Field(0.6, gt=0, le=1, description="Opening angle of the tree.")
    step: float | None = Field(
        None, gt=0, description="Longest time step in Myr; by default as the densest centre needs."
    )


class ImagePlan(Section):
    """How the snapshots are looked at, unless a command says otherwise."""

    pixels: int = Field(256, ge=16, le=8192, description="Side of an image in pixels.")
    cameras: int = Field(14, ge=1, le=1000, description="Directions, no two of them opposite.")
    field: Values = _values(100.0, "Side of the field of view in kpc; a range varies by image.")
    disc_mass_to_light: float = Field(1.5, gt=0, description="Of disc stars, in solar units (r).")
    bulge_mass_to_light: float = Field(3.0, gt=0, description="Of bulge stars.")

    @model_validator(mode="after")
    def _positive_field(self):
        if isinstance(self.field, list):
            raise ValueError("field must be a number or a range; got a list")
        if not (self.field.low if isinstance(self.field, Range) else self.field) > 0:
            raise ValueError("field must be positive")
        return self


@dataclass(frozen=True)
class Planned:
    """One simulation of a survey.

    Attributes
    ----------
    number : int
        Its number in the survey.
    kind : str
        ``merger``, ``flyby``, ``isolated`` or ``chance pair``.
    system : Encounter, Isolated or ChancePair
        What is simulated.
    """

    number: int
    kind: str
    system: Encounter | Isolated | ChancePair

    @property
    def name(self):
        """Name of the simulation, the group of its images (str)."""
        return f"sim_{self.number:03d}"


class SurveyPlan(Section):
    """A survey: the sections of the TOML file.

    Attributes
    ----------
    seed : int
        Seed of everything drawn at random.
    run, images : sections
        See the fields of each.
    simulations : list of sections
        What is simulated.
    """

    seed: int = Field(1, ge=0, description="Seed of everything drawn at random.")
    run: RunPlan = RunPlan()
    images: ImagePlan = ImagePlan()
    simulations: list[Simulations] = Field(min_length=1)

    def random(self, *key):
        """Random numbers that depend on the seed and a key alone, not on what was done before.

        Parameters
        ----------
        *key : int
            For instance the numbers of a simulation, a snapshot and a camera.

        Returns
        -------
        numpy.random.Generator
        """
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def planned(self):
        """All simulations, with the random ones drawn; the same at every call.

        Returns
        -------
        list of Planned

        Raises
        ------
        ValueError
            If one is impossible; the section and the field are named.
        """
        planned = []
        for block, section in enumerate(self.simulations):
            try:
                systems = section.systems(lambda number, b=block: self.random(_DRAW, b, number))
            except ValueError as error:
                raise ValueError(f"simulations[{block + 1}]: {error}") from error
            planned += [
                Planned(len(planned) + i, section.kind, system) for i, system in enumerate(systems)
            ]
        return planned

    @property
    def interval(self):
        """Time between snapshots in Myr (float)."""
        return self.run.duration / (self.run.snapshots - 1)

    def steps(self, system):
        """Number of time steps between two snapshots.

        Parameters
        ----------
        system : Encounter, Isolated or ChancePair
            What is simulated.

        Returns
        -------
        int
        """
        longest = self.run.step or min(
            galaxy.crossing_time(self.run.softening) / _STEPS_PER_CROSSING
            for galaxy in system.galaxies
        )
        return max(1, math.ceil(self.interval / longest - 1e-9))


def image_bytes(pixels):
    """Size of a FITS file of one image, 32 bits a pixel (int).

    Parameters
    ----------
    pixels : int
        Side of the image.
    """
    return 2880 * (1 + math.ceil(4 * pixels**2 / 2880))


def read_plan(path):
    """Read and check a plan.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        TOML file.

    Returns
    -------
    SurveyPlan

    Raises
    ------
    ValueError
        If the file is not TOML, a key is unknown, or a value or a combination is impossible; the
        field is named.
    """
    return _checked(read_toml(path, SurveyPlan), path)


def preset_toml(name):
    """Text of a plan that comes with the package.

    Parameters
    ----------
    name : str
        One of `PRESETS`.

    Returns
    -------
    str
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return resources.files(__package__).joinpath("presets", f"{name}.toml").read_text("utf-8")


def read_preset(name):
    """A plan that comes with the package.

    Parameters
    ----------
    name : str
        One of `PRESETS`.

    Returns
    -------
    SurveyPlan
    """
    return _checked(parse_toml(preset_toml(name), SurveyPlan, name), name)


def _checked(plan, name):
    try:
        plan.planned()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return plan


def _draw(value, name, rng):
    if isinstance(value, Range):
        return value.draw(rng)
    if value == "random":
        if name.endswith("inclination"):  # evenly over the sphere
            return math.degrees(math.acos(rng.uniform(-1, 1)))
        return float(rng.uniform(0, 360))
    return value


_SYSTEMS = {
    "merger": Encounter,
    "flyby": Encounter,
    "isolated": Isolated,
    "chance pair": ChancePair,
}
# First of the random keys, so that drawing a plan and running it share no numbers.
_DRAW = 2**31
