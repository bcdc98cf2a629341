"""The orbit of two points, as which two galaxies start."""

import math

from .gravity import G

__all__ = ["kepler_start", "pericentre_angle"]


def kepler_start(mass, separation, pericentre, parabolic_fraction):
    """Relative velocity with which two point masses approach a given pericentre.

    Parameters
    ----------
    mass : float
        Sum of the masses in Msun.
    separation : float
        Distance now, in kpc.
    pericentre : float
        Smallest distance to come, in kpc.
    parabolic_fraction : float
        Speed now over the parabolic speed, sqrt(2 G mass / separation).

    Returns
    -------
    radial, tangential : float
        Components of the velocity in km/s; the radial one is negative, or zero if the two start
        at the apocentre.

    Raises
    ------
    ValueError
        If no orbit of that speed has that pericentre.
    """
    speed2 = parabolic_fraction**2 * 2 * G * mass / separation
    at_pericentre2 = speed2 - 2 * G * mass / separation + 2 * G * mass / pericentre
    tangential2 = at_pericentre2 * (pericentre / separation) ** 2
    if tangential2 > speed2:
        raise ValueError(
            f"no orbit with the speed of {parabolic_fraction} parabolic at {separation} kpc comes "
            f"as close as {pericentre} kpc and not closer; choose a smaller pericentre or a "
            "greater parabolic_fraction"
        )
    return -math.sqrt(speed2 - tangential2), math.sqrt(tangential2)


def pericentre_angle(mass, separation, radial, tangential):
    """Angle that two points turn through from now to their first pericentre.

    Parameters
    ----------
    mass : float
        Sum of the masses in Msun.
    separation : float
        Distance now, in kpc.
    radial, tangential : float
        Components of the relative velocity in km/s, from `kepler_start`.

    Returns
    -------
    float
        In degrees, from 0 to 180.
    """
    parameter = (separation * tangential) ** 2 / (G * mass)
    speed2 = radial**2 + tangential**2
    energy = speed2 / 2 - G * mass / separation
    eccentricity = math.sqrt(max(1 + 2 * energy * parameter / (G * mass), 0))
    if eccentricity < 1e-9:
        return 0.0
    cosine = (parameter / separation - 1) / eccentricity
    return math.degrees(math.acos(min(max(cosine, -1), 1)))
