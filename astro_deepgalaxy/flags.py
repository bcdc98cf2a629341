"""Quality flags: one frozen list drives the bits, the decoder and the documentation."""

from dataclasses import dataclass
from enum import IntFlag

__all__ = ["FLAGS", "CutoutError", "Flag", "FlagDefinition", "decode_flags"]


@dataclass(frozen=True)
class FlagDefinition:
    """What one bit of a flag mask means.

    Attributes
    ----------
    bit : int
        Position of the bit, counted from 0. Never reused: old catalogues stay readable.
    name : str
        Readable name, as it stands in a catalogue.
    summary : str
        One sentence for the documentation.
    """

    bit: int
    name: str
    summary: str


FLAGS = (
    FlagDefinition(
        0, "unreadable", "The file could not be read as an image; the row has no result."
    ),
    FlagDefinition(1, "preprocess_failed", "A step of the recipe failed; the row has no result."),
    FlagDefinition(2, "no_data", "The image has no finite, unmasked pixel; the row has no result."),
    FlagDefinition(3, "missing_data", "Part of the image is masked; the gaps were filled."),
    FlagDefinition(
        4, "no_wcs", "The image has no celestial WCS; its pixels were kept as they are."
    ),
    FlagDefinition(5, "picture", "A JPEG or PNG: counts as stretched already, and is not again."),
    FlagDefinition(6, "no_source", "No source was detected; the crop is centred on the image."),
    FlagDefinition(7, "no_redshift", "No redshift was given, so the image was not put in kpc."),
    FlagDefinition(8, "edge", "The crop reaches over the border of the image."),
    FlagDefinition(9, "background_unreliable", "Too few pixels free of sources: one sky level."),
    FlagDefinition(10, "time_outside_scale", "The label's time is outside the time scale."),
    FlagDefinition(11, "bimodal", "The time posterior has two separate peaks."),
    FlagDefinition(12, "saturated", "Pixels of the image are at the detector's saturation level."),
    FlagDefinition(13, "background_residual", "After sky subtraction the sky is not flat."),
    FlagDefinition(14, "no_central_source", "No source was detected near the position or middle."),
    FlagDefinition(
        15, "wcs_suspect", "The WCS is doubtful: distorted against its own type, or odd scales."
    ),
    FlagDefinition(
        16, "cutout_background", "The recipe wants the sky of a mosaic; it was that of the cutout."
    ),
    FlagDefinition(
        17, "worker_died", "The process that prepared the image died; the row has no result."
    ),
    FlagDefinition(
        18, "out_of_distribution", "Nothing the model was trained on looks like the image."
    ),
    FlagDefinition(19, "unlikely_merger", "More likely not a merger: its time means little."),
)

Flag = IntFlag("Flag", {definition.name.upper(): 1 << definition.bit for definition in FLAGS})
Flag.__doc__ = "Bit mask over `FLAGS`, for example ``Flag.NO_WCS | Flag.PICTURE``."

FAILED = Flag.UNREADABLE | Flag.PREPROCESS_FAILED | Flag.NO_DATA | Flag.WORKER_DIED
"""Flags that say a row carries no result."""


def decode_flags(mask):
    """Names of the flags set in a bit mask.

    Parameters
    ----------
    mask : int
        Bit mask over `FLAGS`.

    Returns
    -------
    str
        The names in the order of their bits, joined by ``;`` (empty when none is set).

    Examples
    --------
    >>> from astro_deepgalaxy.flags import Flag, decode_flags
    >>> decode_flags(Flag.NO_WCS | Flag.PICTURE)
    'no_wcs;picture'
    """
    return ";".join(definition.name for definition in FLAGS if int(mask) >> definition.bit & 1)


class CutoutError(ValueError):
    """One image cannot be used: in a batch this becomes a flagged row, and the rest goes on.

    Parameters
    ----------
    message : str
        One sentence that names the file or step, what was expected and what to do.
    flag : Flag
        Why, as a flag of the row.
    """

    def __init__(self, message, flag=Flag.UNREADABLE):
        super().__init__(message)
        self.flag = flag
