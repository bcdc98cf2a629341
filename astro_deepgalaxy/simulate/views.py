"""What cameras see of a snapshot: the light of its stars, projected."""

import numpy as np

from .camera import camera_directions, image_axes, render, smoothing_lengths
from .galaxy import BULGE
from .plan import ImagePlan, Range

__all__ = ["Stars", "image_plan", "logarithmic", "snapshot_views"]

_FAINTEST = 1e6  # Lsun / kpc^2
_BRIGHTEST = 3e9


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
    return ImagePlan.model_validate(plan.images.model_dump() | changes)


class Stars:
    """The stars of a snapshot, ready to be looked at."""

    def __init__(self, simulation, snapshot, images):
        masses, component, self.galaxy = simulation.stars()
        ratio = np.where(component == BULGE, images.bulge_mass_to_light, images.disc_mass_to_light)
        self.light = masses / ratio
        self.positions = snapshot.positions.astype(float)
        system = simulation.planned.system
        self.distance_ratio = getattr(system, "distance_ratio", None)
        if self.distance_ratio is None:
            self.positions -= self.positions.mean(axis=0)
            self.widths = smoothing_lengths(self.positions)
            return
        # A chance pair: each around its own centre, the second as much smaller and fainter as
        # it is farther away.
        self.apparent_separation = system.apparent_separation
        self.widths = np.empty(len(self.positions))
        for number, centre in enumerate(snapshot.centres):
            its = self.galaxy == number
            self.positions[its] -= centre
            if number == 1:
                self.positions[its] /= self.distance_ratio
                self.light[its] /= self.distance_ratio**2
            self.widths[its] = smoothing_lengths(self.positions[its])

    def view(self, images, camera, rng, roll):
        """Image axes and field of view of one camera."""
        axes = image_axes(camera_directions(images.cameras)[camera], roll)
        field = images.field.draw(rng) if isinstance(images.field, Range) else images.field
        return axes, float(field)

    def render(self, axes, fields, pixels):
        """Light in solar luminosities a pixel, (camera, y, x)."""
        if self.distance_ratio is None:
            return render(self.positions, self.light, self.widths, axes, fields, pixels)
        # The companion's place is fixed in the image, whatever the direction.
        images = []
        for each, field in zip(axes, fields, strict=True):
            positions = self.positions.copy()
            for number, side in ((0, -0.5), (1, 0.5)):
                positions[self.galaxy == number] += side * self.apparent_separation * each[0]
            images.append(render(positions, self.light, self.widths, [each], [field], pixels)[0])
        return np.array(images)


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
    axes, fields = zip(
        *(stars.view(images, c, rng, roll=0.0) for c, rng in zip(cameras, rngs, strict=True)),
        strict=True,
    )
    area = (np.array(fields) / images.pixels) ** 2
    light = stars.render(axes, fields, images.pixels) / area[:, np.newaxis, np.newaxis]
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
