"""Telescopes of known surveys, read from the table ``telescopes.toml`` beside this file."""

import difflib
import tomllib
from functools import cache
from importlib import resources

from pydantic import Field

from ..toml_models import Section
from .observe import Observation

__all__ = ["Depth", "Telescope", "telescope", "telescope_names", "telescope_observation"]


class Depth(Section):
    """The limiting magnitude that a survey states for its images."""

    magnitude: float = Field(description="AB magnitude of the faintest source.")
    sigma: float = Field(5.0, gt=0, description="Its light over the noise.")
    aperture: float | None = Field(
        None, gt=0, description="Diameter in arcsec; by default the PSF is the weight."
    )
    fraction: float = Field(1.0, gt=0, le=1, description="Share of its light in the aperture.")
    source: str = Field(description="Where the survey says so.")


class Telescope(Section):
    """What a survey sees: fields of `Observation`, and where the numbers come from."""

    summary: str = Field(description="The survey in one line.")
    source: str = Field(description="Papers and documents.")
    depth: Depth = Field(description="Published depth, a check of the other numbers.")
    band: str = Field(description="Name of the band.")
    pixel_scale: float = Field(description="In arcsec.")
    psf_shape: str = Field("moffat", description="``gaussian`` or ``moffat``.")
    psf_fwhm: float = Field(description="In arcsec.")
    psf_beta: float = Field(Observation.psf_beta, description="Index of the Moffat profile.")
    sky_brightness: float = Field(description="In AB mag / arcsec^2.")
    sky_gradient: float = Field(Observation.sky_gradient, description="From side to side.")
    exposure: float = Field(description="In s.")
    zero_point: float = Field(description="AB magnitude of one electron a second.")
    gain: float = Field(description="Electrons per count.")
    read_noise: float = Field(description="In electrons, of all exposures together.")
    solar_magnitude: float = Field(description="Absolute AB magnitude of the Sun in the band.")


@cache
def _telescopes():
    text = resources.files(__package__).joinpath("telescopes.toml").read_text("utf-8")
    return {name: Telescope.model_validate(table) for name, table in tomllib.loads(text).items()}


def telescope_names():
    """Names of the surveys whose telescopes are known.

    Returns
    -------
    list of str
    """
    return list(_telescopes())


def telescope(name):
    """The telescope of a survey.

    Parameters
    ----------
    name : str
        One of `telescope_names`.

    Returns
    -------
    Telescope

    Raises
    ------
    ValueError
        If the survey is not known; the known ones are named.
    """
    known = _telescopes()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown survey {name!r}; {hint}known are {', '.join(known)}")
    return known[name]


def telescope_observation(name, **changes):
    """How a survey observes.

    Parameters
    ----------
    name : str
        One of `telescope_names`.
    **changes
        Fields of `~astro_deepgalaxy.simulate.observe.Observation` that differ, such as the
        redshift and the position.

    Returns
    -------
    `~astro_deepgalaxy.simulate.observe.Observation`

    Raises
    ------
    ValueError
        If the survey is not known or a value is out of range.
    """
    fields = telescope(name).model_dump(exclude={"summary", "source", "depth"})
    return Observation(**(fields | changes))
