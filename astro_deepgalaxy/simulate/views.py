"""What cameras see of a snapshot: the light of its stars, projected."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from ..toml_models import checked
from .camera import camera_directions, image_axes, render, smoothing_lengths
from .choices import Range
from .galaxy import BULGE
from .plan import ImagePlan

__all__ = ["Stars", "View", "image_plan", "logarithmic", "snapshot_views"]

_FAINTEST = 1e6  # Lsun / kpc^2
_BRIGHTEST = 3e9
_INSIDE = 0.3  # of the field, how far from the middle of the image one galaxy is at most
# First of the random keys, apart from those of plans, simulations and images.
_TURN, _AIM = 2**31 + 1, 2**31 + 2


def image_plan(plan, **changes):
    """The way a survey's snapshots are looked at, with changes.

    Parameters
    ----------
    plan : SurveyPlan
        The survey.
    **changes
        Fields of its section ``images``; None leaves one as it is.

    Returns
    -------
    ImagePlan

    Raises
    ------
    ValueError
        If a value is out of range.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    return checked(plan.images.model_dump() | changes, ImagePlan, "images")


class View(NamedTuple):
    """How a camera looks at a snapshot.

    Attributes
    ----------
    camera : int
        Number of the camera.
    axes : numpy.ndarray
        Image axes, (2, 3).
    field : float
        Side of the image in kpc.
    """

    camera: int
    axes: np.ndarray
    field: float


class Stars:
    """The stars of a snapshot, ready to be looked at.

    Parameters
    ----------
    simulation : Simulation
        The simulation.
    snapshot : Snapshot
        One of its snapshots.
    images : ImagePlan
        How to look at it.
    """

    def __init__(self, simulation, snapshot, images):
        masses, component, self.galaxy = simulation.stars()
        ratio = np.where(component == BULGE, images.bulge_mass_to_light, images.disc_mass_to_light)
        self.light = masses / ratio
        self.plan, self.planned, self.images = simulation.plan, simulation.planned, images
        self.positions = snapshot.positions.astype(float)
        self.centres = snapshot.centres
        self._apparent_distance_ratio = getattr(self.planned.system, "distance_ratio", None)
        if self._apparent_distance_ratio is None:
            self.widths = smoothing_lengths(self.positions)
            return
        # A chance pair: each around its own centre, the second as much smaller and fainter as
        # it is farther away.
        self.widths = np.empty(len(self.positions))
        for number, scale in enumerate((1.0, 1 / self._apparent_distance_ratio)):
            its = self.galaxy == number
            self.positions[its] = (self.positions[its] - self.centres[number]) * scale
            self.light[its] *= scale**2
            self.widths[its] = smoothing_lengths(self.positions[its])

    def view(self, camera, rng, roll=0.0):
        """How a camera looks at the stars.

        Parameters
        ----------
        camera : int
            Its number.
        rng : numpy.random.Generator
            Draws the field of view, if it is planned as a range.
        roll : float
            Angle in radians by which the camera is turned about its line of sight.

        Returns
        -------
        View
        """
        axes = image_axes(camera_directions(self.images.cameras)[camera], roll)
        if self.images.turned:
            turn = self.plan.random(_TURN, self.planned.number)
            axes = Rotation.random(None, turn).apply(axes)
        field = self.images.field
        field = field.draw(rng) if isinstance(field, Range) else field
        return View(camera, axes, float(field))

    def render(self, views, pixels):
        """Images of the stars.

        Parameters
        ----------
        views : sequence of View
            How to look.
        pixels : int
            Pixels a side.

        Returns
        -------
        numpy.ndarray
            Light in solar luminosities a pixel, (view, y, x), float32.
        """
        if self._apparent_distance_ratio is not None:
            return np.concatenate([self._render([v], pixels, self._apart(v)) for v in views])
        return self._render(views, pixels, self.positions)

    def _render(self, views, pixels, positions):
        aims = [self._aim(view, positions.mean(axis=0)) for view in views]
        axes, fields = [view.axes for view in views], [view.field for view in views]
        return render(positions, self.light, self.widths, axes, fields, pixels, aims)

    def _aim(self, view, middle):
        """The middle of the stars, or as near to it as keeps one of two galaxies in the image."""
        if self.planned.kind not in ("merger", "flyby"):
            return middle
        chosen = self._random(view).integers(2)
        offset = (self.centres[chosen] - middle) @ view.axes.T
        beyond = max(0.0, 1 - _INSIDE * view.field / np.linalg.norm(offset))
        return middle + beyond * offset @ view.axes

    def _apart(self, view):
        """Positions of a chance pair, the companion in a random direction in the image."""
        angle = self._random(view).uniform(0, 2 * np.pi)
        apart = self.planned.system.apparent_separation * np.array([np.cos(angle), np.sin(angle)])
        return self.positions + np.outer(self.galaxy == 1, apart @ view.axes)

    def _random(self, view):
        """Random numbers of a camera, the same for all snapshots."""
        return self.plan.random(_AIM, self.planned.number, view.camera)


def snapshot_views(simulation, number, images, cameras=None):
    """Ideal images of a snapshot.

    Parameters
    ----------
    simulation : Simulation
        The simulation.
    number : int
        Number of the snapshot.
    images : ImagePlan
        How to look at it.
    cameras : sequence of int, optional
        Their numbers; by default all.

    Returns
    -------
    numpy.ndarray
        Surface brightness in Lsun / kpc^2, (camera, y, x), float32.
    """
    stars = Stars(simulation, simulation.snapshot(number), images)
    cameras = range(images.cameras) if cameras is None else cameras
    rngs = [simulation.plan.random(simulation.planned.number, number, c) for c in cameras]
    views = [stars.view(camera, rng) for camera, rng in zip(cameras, rngs, strict=True)]
    area = (np.array([view.field for view in views]) / images.pixels) ** 2
    light = stars.render(views, images.pixels) / area[:, np.newaxis, np.newaxis]
    return light.astype(np.float32)


def logarithmic(brightness):
    """Surface brightness as a picture shows it.

    Parameters
    ----------
    brightness : numpy.ndarray
        In Lsun / kpc^2, of any shape.

    Returns
    -------
    numpy.ndarray
        The logarithm, from 0 at 10^6 Lsun / kpc^2 (about 27 mag / arcsec^2 nearby) to 1 at
        3 x 10^9; float32 of the same shape.
    """
    level = np.log(np.maximum(brightness, _FAINTEST) / _FAINTEST)
    return np.clip(level / np.log(_BRIGHTEST / _FAINTEST), 0, 1).astype(np.float32)
