"""A survey of simulations as a validated TOML file: what is simulated, and how it is looked at."""

import hashlib
import itertools
import math
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ..toml_models import Section, parse_toml, read_toml
from .choices import Angles, Range, Values, draw
from .encounter import ChancePair, Encounter, Isolated, particle_counts
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
_MOST = 100_000  # simulations


class GalaxyPlan(Section):
    """The primary: fields of `Galaxy`, and factors on its mass and size."""

    mass: Values = Field(1.0, description="Factor on all masses.")
    size: Values = Field(1.0, description="Factor on all lengths.")
    disc_mass: Values = Field(Galaxy.disc_mass, description="In Msun; 0 for none.")
    disc_scale: Values = Field(Galaxy.disc_scale, description="Exponential scale length in kpc.")
    disc_height: Values = Field(Galaxy.disc_height, description="z0 of sech^2(z / z0) in kpc.")
    bulge_mass: Values = Field(Galaxy.bulge_mass, description="In Msun; 0 for none.")
    bulge_scale: Values = Field(Galaxy.bulge_scale, description="Hernquist scale radius in kpc.")
    halo_mass: Values = Field(Galaxy.halo_mass, description="In Msun.")
    halo_scale: Values = Field(Galaxy.halo_scale, description="NFW scale radius in kpc.")
    halo_truncation: Values = Field(Galaxy.halo_truncation, description="Truncation radius in kpc.")
    toomre_q: Values = Field(Galaxy.toomre_q, description="Toomre's stability parameter.")


class Simulations(Section):
    """Some simulations of one kind.

    Every field takes a number, a list (all combinations of the lists are simulated) or
    ``{low = ..., high = ...}`` (drawn at random for each simulation).
    """

    kind: Literal["merger", "flyby", "isolated", "chance pair"] = Field(
        "merger", description="What is simulated."
    )
    number: int = Field(
        1, ge=1, le=_MOST, description="Simulations of each combination of the lists."
    )
    mass_ratio: Values = Field(1.0, description="Mass of the secondary over the primary's.")
    size_ratio: Values | None = Field(
        None, description="Its size over the primary's; by default the cube root of the mass ratio."
    )
    separation: Values = Field(50.0, description="Distance at the start in kpc.")
    pericentre: Values = Field(5.0, description="Pericentre of the two-body orbit in kpc.")
    parabolic_fraction: Values = Field(
        0.6, description="Orbital energy: speed at the start over the parabolic speed."
    )
    primary_inclination: Angles = Field(30.0, description="Inclination of the disc in degrees.")
    primary_argument: Angles = Field(0.0, description="Argument of the pericentre in degrees.")
    secondary_inclination: Angles = Field(60.0, description="Inclination of the disc in degrees.")
    secondary_argument: Angles = Field(30.0, description="Argument of the pericentre in degrees.")
    distance_ratio: Values = Field(1.3, description="Of a chance companion over the primary's.")
    apparent_separation: Values = Field(20.0, description="Of a chance pair, in kpc.")
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
        choices = [value if isinstance(value, list) else [value] for value in values]
        total = self.number * math.prod(map(len, choices))
        if total > _MOST:
            raise ValueError(f"there may be at most {_MOST} simulations; got {total}")
        grid = itertools.product(*choices)
        systems = []
        for combination in grid:
            for _ in range(self.number):
                generator = rng(len(systems))
                drawn = [
                    draw(value, name, generator)
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
        if self.kind == "flyby" and system.parabolic_fraction <= 1:
            raise ValueError(
                "parabolic_fraction must exceed 1 for a flyby (slower galaxies come back); got "
                f"{system.parabolic_fraction}"
            )
        if self.kind == "merger" and system.parabolic_fraction > 1:
            raise ValueError(
                "parabolic_fraction must be at most 1 for a merger (the galaxies would not come "
                f'back; say kind = "flyby"); got {system.parabolic_fraction}'
            )
        return system


class RunPlan(Section):
    """How each simulation is run."""

    particles: int = Field(
        100_000, ge=400, le=10**9, description="Particles of a simulation in all."
    )
    duration: float = Field(700.0, gt=0, le=1e5, description="Length of a run in Myr.")
    snapshots: int = Field(
        71, ge=2, le=100_000, description="Snapshots, evenly spaced from 0 to the end."
    )
    softening: float = Field(0.3, gt=0, le=100, description="Plummer softening length in kpc.")
    opening: float = Field(0.6, gt=0, le=1, description="Opening angle of the tree.")
    step: float | None = Field(
        None,
        ge=1e-3,
        description="Longest time step in Myr; by default as the densest centre needs.",
    )


class ImagePlan(Section):
    """How the snapshots are looked at, unless a command says otherwise."""

    pixels: int = Field(256, ge=16, le=8192, description="Side of an image in pixels.")
    cameras: int = Field(14, ge=1, le=1000, description="Directions, no two of them opposite.")
    turned: bool = Field(
        False, description="Turn the directions at random for each simulation, all together."
    )
    field: Values = Field(100.0, description="Side of the image in kpc; a range varies by image.")
    disc_mass_to_light: float = Field(1.5, gt=0, description="Of disc stars, in solar units (r).")
    bulge_mass_to_light: float = Field(3.0, gt=0, description="Of bulge stars.")

    @model_validator(mode="after")
    def _positive_field(self):
        if isinstance(self.field, list):
            raise ValueError("field must be a number or a range; got a list")
        low, high = (
            (self.field.low, self.field.high) if isinstance(self.field, Range) else [self.field] * 2
        )
        if not 1 <= low <= high <= 10_000:
            raise ValueError("field must be from 1 to 10,000 kpc")
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
    def digest(self):
        """Digest of what is simulated, whatever way it is looked at (str)."""
        text = self.model_dump_json(exclude={"images"})
        return hashlib.sha256(text.encode()).hexdigest()

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
        for planned in plan.planned():
            particle_counts(planned.system.galaxies, plan.run.particles)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return plan


_SYSTEMS = {
    "merger": Encounter,
    "flyby": Encounter,
    "isolated": Isolated,
    "chance pair": ChancePair,
}
# First of the random keys, so that drawing a plan and running it share no numbers.
_DRAW = 2**31
