"""Fourteen images of one snapshot, against splatting the same kernels with NumPy."""

import time

import numpy as np

REFERENCE = "NumPy"


def run(quick):
    """Time both on the stars of a model encounter.

    Parameters
    ----------
    quick : bool
        Smaller images only.

    Returns
    -------
    list of dict
        One row per size of the images.
    """
    from astro_deepgalaxy.simulate.camera import (
        camera_directions,
        image_axes,
        render,
        smoothing_lengths,
    )
    from astro_deepgalaxy.simulate.encounter import Encounter

    particles = Encounter(separation=30.0).sample(100_000, np.random.default_rng(1), 0.3)
    positions = particles.positions[particles.stars]
    light = particles.masses[particles.stars]
    axes = [image_axes(direction) for direction in camera_directions(14)]
    rows = []
    for pixels in (256,) if quick else (256, 2048):

        def ours(pixels=pixels):
            widths = smoothing_lengths(positions)
            return render(positions, light, widths, axes, [100.0] * 14, pixels)

        ours()
        times = []
        for _ in range(3):
            start = time.perf_counter()
            images = ours()
            times.append(time.perf_counter() - start)
        # One camera of the reference, and a part of the stars: the time grows with both.
        every = 20
        widths = smoothing_lengths(positions)
        start = time.perf_counter()
        one = _numpy(positions[::every], light[::every], widths[::every], axes[0], 100.0, pixels)
        reference = (time.perf_counter() - start) * every * 14
        some = render(
            positions[::every], light[::every], widths[::every], axes[:1], [100.0], pixels
        )[0]
        error = np.abs(one - some).max() / some.max()
        rows.append(
            {
                "name": REFERENCE,
                "ours": float(np.median(times)),
                "reference": reference,
                "ratio": reference / float(np.median(times)),
                "unit": "s for 14 images",
                "note": f"{len(positions)} stars, {pixels} pixels, neighbours included; the "
                f"reference from a twentieth of the stars; largest difference {error:.0e}; "
                f"{images.nbytes / 2**20:.0f} MiB",
            }
        )
    return rows


def _numpy(positions, light, widths, axes, field, pixels):
    """The same image, star by star."""
    image = np.zeros((pixels, pixels))
    scale = field / pixels
    grid = np.arange(pixels)
    for place, flux, width in zip(positions @ axes.T, light, widths, strict=True):
        centre = place / scale + 0.5 * (pixels - 1)
        sigma = max(width / scale, 0.5)
        first, last = np.ceil(centre - 3 * sigma).astype(int), np.floor(centre + 3 * sigma)
        profiles = []
        for middle, low, high in zip(centre, first, last.astype(int), strict=True):
            profiles.append(np.exp(-0.5 * ((np.arange(low, high + 1) - middle) / sigma) ** 2))
        across, along = profiles
        kernel = flux * np.outer(along / along.sum(), across / across.sum())
        rows, columns = (low + np.arange(len(p)) for low, p in zip(first, profiles, strict=True))
        inside_y, inside_x = np.isin(columns, grid), np.isin(rows, grid)
        image[np.ix_(columns[inside_y], rows[inside_x])] += kernel[np.ix_(inside_y, inside_x)]
    return image
