"""Images written in the layout of the original DeepGalaxy (Cai et al. 2020)."""

import h5py
import numpy as np
from astropy import units as u

from ..jobs import atomic_path

__all__ = ["LABELS", "checked_image", "group_name", "write_deepgalaxy_hdf5"]

LABELS = ("group", "size_ratio", "mass_ratio", "camera", "snapshot", "time_since_start")


def group_name(size_ratio, mass_ratio):
    """Name of a simulation's group.

    Parameters
    ----------
    size_ratio, mass_ratio : float
        Ratios of the two galaxies; six significant digits are kept.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a ratio is not positive and finite.

    Examples
    --------
    >>> from astro_deepgalaxy.store.deepgalaxy_writer import group_name
    >>> group_name(0.25, 1)
    's_0.25_m_1'
    """
    for name, value in (("size_ratio", size_ratio), ("mass_ratio", mass_ratio)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} must be positive and finite; got {value}")
    return f"s_{float(size_ratio):g}_m_{float(mass_ratio):g}"


def write_deepgalaxy_hdf5(path, images, labels, dtype="float16"):
    """Write images in the layout of the original DeepGalaxy.

    One image is in memory at a time. The file appears whole or not at all.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        File to write.
    images : iterable of array_like
        Images (y, x) or (y, x, 1) in [0, 1], all of one shape, in the order of the labels; a
        generator will do.
    labels : `~astropy.table.Table`
        A row per image, in any order, with the columns ``group``, ``size_ratio``,
        ``mass_ratio``, ``camera``, ``snapshot`` and ``time_since_start`` (Myr since the start of
        the run).
    dtype : {"float16", "uint8"}
        Type of the pixels in the file; as uint8, 255 stands for 1.

    Raises
    ------
    ValueError
        If a column or an image is missing, an image is not such an image (the message names its
        row), two simulations have the same ratios, or times do not grow with the snapshot.
    """
    if dtype not in ("float16", "uint8"):
        raise ValueError(f"dtype must be 'float16' or 'uint8'; got {dtype!r}")
    places, times = _plan(labels)
    shape, written = None, 0
    # A chunk is an image and is written once: a cache in each dataset would only fill the memory.
    with atomic_path(path) as partial, h5py.File(partial, "w", rdcc_nbytes=0) as file:
        for written, image in enumerate(images, 1):
            if written > len(places):
                raise ValueError(f"{path}: more images than the {len(places)} rows of labels")
            pixels = checked_image(image, f"row {written - 1}", shape)
            if shape is None:
                shape = pixels.shape
                _make_datasets(file, times, shape, dtype)
            name, index = places[written - 1]
            file[name][index, :, :, 0] = np.rint(255 * pixels) if dtype == "uint8" else pixels
        if written < len(places):
            raise ValueError(f"{path}: {written} images for {len(places)} rows of labels")


def _plan(labels):
    """Where the image of each row goes (dataset, index), and the times of each (group, camera)."""
    missing = [name for name in LABELS if name not in labels.colnames]
    if missing or len(labels) == 0:
        what = f"the column {missing[0]!r} is missing" if missing else "there are no rows"
        raise ValueError(f"labels: {what}; the columns are {labels.colnames}")
    for name in LABELS:
        if np.any(getattr(labels[name], "mask", False)):
            raise ValueError(f"labels: the column {name!r} has gaps")
    simulations, names = {}, {}
    for group, size, mass in zip(*(labels[name] for name in LABELS[:3]), strict=True):
        group, name = str(group), group_name(float(size), float(mass))
        if simulations.setdefault(name, group) != group:
            raise ValueError(
                f"the simulations {simulations[name]!r} and {group!r} have the same size and mass "
                f"ratios: the layout has room for only one {name}"
            )
        if names.setdefault(group, name) != name:
            raise ValueError(f"the simulation {group!r} is both {names[group]} and {name}")
    time = u.Quantity(labels["time_since_start"], u.Myr).value
    snapshot = np.asarray(labels["snapshot"], dtype=int)
    camera = np.asarray(labels["camera"], dtype=int)
    if camera.min() < 0 or not np.isfinite(time).all():
        raise ValueError("labels: cameras must not be negative, and times must be finite")
    rows = {}
    for row in np.lexsort((snapshot, camera)):
        rows.setdefault((names[str(labels["group"][row])], int(camera[row])), []).append(row)
    places, times = [None] * len(labels), {}
    for (name, number), here in rows.items():
        times[name, number] = time[here]
        if (np.diff(snapshot[here]) < 1).any() or (np.diff(time[here]) <= 0).any():
            raise ValueError(
                f"labels: {name}, camera {number}: each snapshot must stand in one row, and times "
                "must grow with its number"
            )
        for index, row in enumerate(here):
            places[row] = f"{name}/images_camera_{number:02d}", index
    return places, times


def _make_datasets(file, times, shape, dtype):
    for (name, camera), values in times.items():
        group = file.require_group(name)
        group.create_dataset(f"t_myr_camera_{camera:02d}", data=values)
        group.create_dataset(
            f"images_camera_{camera:02d}",
            shape=(len(values), *shape, 1),
            dtype=dtype,
            chunks=(1, *shape, 1),
            shuffle=True,
            compression="gzip",
        )


def checked_image(image, what, shape=None):
    """Check an image for the layout.

    Parameters
    ----------
    image : array_like
        Image (y, x) or (y, x, 1).
    what : str
        What the message calls it.
    shape : tuple of int, optional
        Shape (y, x) that it must have.

    Returns
    -------
    numpy.ndarray
        Image (y, x), float32.

    Raises
    ------
    ValueError
        If it is no image in [0, 1], or has another shape.
    """
    try:
        pixels = np.asarray(image, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what}: not an image: {error}") from error
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or 0 in pixels.shape or shape not in (None, pixels.shape):
        expected = "(y, x)" if shape is None else f"{shape} like the first"
        raise ValueError(f"{what}: the image must be {expected}; got the shape {pixels.shape}")
    # Written so that NaN is refused too.
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"{what}: pixels must be finite and in [0, 1]; they reach from {pixels.min():g} to "
            f"{pixels.max():g}"
        )
    return pixels
