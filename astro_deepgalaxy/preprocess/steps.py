"""What a step of a recipe is."""

from dataclasses import asdict, dataclass
from typing import ClassVar

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Base of the steps: frozen data, and a call that maps a Cutout to a new Cutout.

    A step keeps the mask, the variance, the WCS and the flags right. It raises
    `~astro_deepgalaxy.flags.CutoutError` when it cannot work on an image.
    """

    name: ClassVar[str] = ""

    def __call__(self, cutout):
        """Apply the step.

        Parameters
        ----------
        cutout : Cutout
            Image; not changed.

        Returns
        -------
        Cutout
        """
        raise NotImplementedError

    def to_dict(self):
        """The step as JSON data, ``{"step": name, ...fields}``."""
        return {"step": self.name, **asdict(self)}
