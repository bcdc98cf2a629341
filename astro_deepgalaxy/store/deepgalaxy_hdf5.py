"""The HDF5 layout of the original DeepGalaxy (Cai et al. 2020), written and read.

A group ``s_{size}_m_{mass}`` for each simulation, after the size and mass ratios of its two
galaxies, holds for each camera ``images_camera_00`` (n, y, x, 1) and ``t_myr_camera_00`` (n,):
the time of each image in Myr since the start of the run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from astropy import units as u
from astropy.table import QTable

from ..cutout import Cutout
from ..flags import CutoutError, Flag
from ..io import Source
from ..jobs import atomic_path

__all__ = ["DeepGalaxyFile", "group_name", "parse_group_name", "write_deepgalaxy_hdf5"]

_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
_GROUP = re.compile(f"s_{_NUMBER}_m_{_NUMBER}")
_IMAGES = re.compile("images_(camera_([0-9]{1,6}))")
_COLUMNS = ("group", "size_ratio", "mass_ratio", "camera", "snapshot", "time_since_start")


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
    >>> from astro_deepgalaxy.store.deepgalaxy_hdf5 import group_name
    >>> group_name(0.25, 1)
    's_0.25_m_1'
    """
    for name, value in (("size_ratio", size_ratio), ("mass_ratio", mass_ratio)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} must be positive and finite; got {value}")
    return f"s_{float(size_ratio):g}_m_{float(mass_ratio):g}"


def parse_group_name(name):
    """Ratios in the name of a simulation's group.

    Parameters
    ----------
    name : str
        Name such as ``s_0.25_m_1.5``.

    Returns
    -------
    size_ratio, mass_ratio : float

    Raises
    ------
    ValueError
        If it is not such a name, or a ratio is not positive and finite.
    """
    match = _GROUP.fullmatch(name)
    ratios = tuple(map(float, match.groups())) if match else (0.0,)
    if not all(0 < ratio < np.inf for ratio in ratios):
        raise ValueError(f"{name!r} is not s_{{size}}_m_{{mass}} with two positive ratios")
    return ratios


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
            pixels = _checked(image, f"row {written - 1}", shape)
            if shape is None:
                shape = pixels.shape
                _make_datasets(file, times, shape, dtype)
            name, index = places[written - 1]
            file[name][index, :, :, 0] = np.rint(255 * pixels) if dtype == "uint8" else pixels
        if written < len(places):
            raise ValueError(f"{path}: {written} images for {len(places)} rows of labels")


def _plan(labels):
    """Where the image of each row goes (dataset, index), and the times of each (group, camera)."""
    missing = [name for name in _COLUMNS if name not in labels.colnames]
    if missing or len(labels) == 0:
        what = f"the column {missing[0]!r} is missing" if missing else "there are no rows"
        raise ValueError(f"labels: {what}; the columns are {labels.colnames}")
    for name in _COLUMNS:
        if np.any(getattr(labels[name], "mask", False)):
            raise ValueError(f"labels: the column {name!r} has gaps")
    simulations, names = {}, {}
    for group, size, mass in zip(*(labels[name] for name in _COLUMNS[:3]), strict=True):
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


def _checked(image, what, shape=None):
    """An image as float32 (y, x); ValueError if it is none in [0, 1] or of another shape."""
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


class DeepGalaxyFile:
    """A file in the layout of the original DeepGalaxy, opened for reading.

    Images are read when they are asked for. Groups with other names are ignored. Files that lead
    to other files (soft and external links, external and virtual datasets) are refused, as they
    could show what is not theirs.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        HDF5 file with images of floats in [0, 1] or of uint8, (n, y, x, 1) or (n, y, x).

    Attributes
    ----------
    path : `~pathlib.Path`
        The file.
    labels : `~astropy.table.QTable`
        A row per image, by simulation, camera and time: ``id``, ``group``, ``size_ratio``,
        ``mass_ratio``, ``camera``, ``snapshot`` (rank of the time in the simulation) and
        ``time_since_start`` in Myr.

    Raises
    ------
    ValueError
        If there is no such file or it has another layout; names the file and the group.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file() or not h5py.is_hdf5(self.path):
            what = "not an HDF5 file" if self.path.is_file() else "no such file"
            raise ValueError(f"{self.path}: {what}")
        try:
            with h5py.File(self.path, "r") as file:
                _refuse_links(file)
                cameras = [camera for name in file for camera in _cameras(name, file[name])]
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
            # What h5py raises on damaged files is of many kinds.
            raise ValueError(" ".join(f"{self.path}: {error}".split())) from error
        if not cameras:
            raise ValueError(
                f"{self.path}: no images in the layout of DeepGalaxy: groups s_{{size}}_m_{{mass}} "
                "with datasets images_camera_00 and t_myr_camera_00"
            )
        self._make_rows(sorted(cameras))

    def _make_rows(self, cameras):
        group_times = {}
        for camera in cameras:
            group_times.setdefault(camera.group, []).append(camera.times)
        group_times = {group: np.unique(np.concatenate(t)) for group, t in group_times.items()}
        columns = {name: [] for name in ("id", *_COLUMNS)}
        self._sources = []
        for camera in cameras:
            order = np.argsort(camera.times, kind="stable")
            times = camera.times[order]
            ids = [f"{camera.group}_{camera.suffix}_{index:03d}" for index in order]
            self._sources += [
                _StoredImage(name, str(self.path), dataset=camera.dataset, index=int(index))
                for name, index in zip(ids, order, strict=True)
            ]
            columns["id"] += ids
            columns["snapshot"].append(np.searchsorted(group_times[camera.group], times))
            columns["time_since_start"].append(times)
            for name in ("group", "size_ratio", "mass_ratio", "camera"):
                columns[name] += [getattr(camera, name)] * len(times)
        columns["snapshot"] = np.concatenate(columns["snapshot"])
        columns["time_since_start"] = np.concatenate(columns["time_since_start"]) * u.Myr
        self.labels = QTable(columns)

    def __len__(self):
        return len(self._sources)

    def __repr__(self):
        groups = len(set(self.labels["group"]))
        return f"<DeepGalaxyFile {str(self.path)!r}: {len(self)} images of {groups} simulations>"

    def image(self, row):
        """Read an image.

        Parameters
        ----------
        row : int
            Row of `labels`.

        Returns
        -------
        numpy.ndarray
            Pixels (y, x) in [0, 1], float32.

        Raises
        ------
        ~astro_deepgalaxy.flags.CutoutError
            If it is damaged or not in [0, 1].
        """
        return self._sources[row].pixels()

    def sources(self):
        """The images as inputs of `~astro_deepgalaxy.preprocess.batch.preprocess_batch`.

        Returns
        -------
        list of `~astro_deepgalaxy.io.Source`
            One for each row of `labels`, not read yet. They count as pictures, stretched already.
        """
        return list(self._sources)


@dataclass(frozen=True)
class _StoredImage(Source):
    """An image in such a file, still to be read."""

    dataset: str = ""
    index: int = 0

    def pixels(self):
        what = f"{self.file}: {self.dataset}, image {self.index}"
        try:
            # Opened for each image: the source can be sent to another process.
            with h5py.File(self.file, "r") as file:
                image = file[self.dataset][self.index]
        except (OSError, RuntimeError, KeyError, IndexError, ValueError) as error:
            raise CutoutError(" ".join(f"{what}: cannot be read: {error}".split())) from error
        if image.dtype == np.uint8:
            image = image.astype(np.float32) / 255
        try:
            return _checked(image, what)
        except ValueError as error:
            raise CutoutError(str(error)) from error

    def read(self):
        # Images in [0, 1] have been stretched by whoever rendered them, like a picture.
        flags = Flag.PICTURE | Flag.NO_WCS
        image = Cutout(self.pixels(), id=self.id, file=self.file, flags=flags)
        return Source(self.id, self.file, image, self.ra, self.dec, self.redshift).read()


@dataclass(frozen=True, order=True)
class _Camera:
    size_ratio: float
    mass_ratio: float
    group: str
    camera: int
    suffix: str  # as it is written, such as camera_00
    times: np.ndarray

    @property
    def dataset(self):
        return f"{self.group}/images_{self.suffix}"


def _refuse_links(file):
    def visit(name, link):
        return None if link.type == h5py.h5l.TYPE_HARD else name

    found = file.id.links.visit(visit, info=True)
    if found is not None:
        name = found.decode(errors="replace")
        raise ValueError(f"{name} is a soft or external link, and links are not followed")


def _cameras(name, group):
    """The cameras of a group of the file; none if it is no simulation."""
    if not _GROUP.fullmatch(name):
        return
    if not isinstance(group, h5py.Group):
        raise ValueError(f"{name} is not a group")
    for key in group:
        if not (match := _IMAGES.fullmatch(key)):
            continue
        images, times = f"{name}/{key}", f"{name}/t_myr_{match[1]}"
        if f"t_myr_{match[1]}" not in group:
            raise ValueError(f"{times} is missing: the times in Myr of {images}")
        shape, dtype = _shape_and_dtype(group[key], images)
        if len(shape) not in (3, 4) or shape[3:] not in ((), (1,)) or 0 in shape[1:]:
            raise ValueError(f"{images} must be (n, y, x, 1) or (n, y, x); it is {shape}")
        if dtype.kind != "f" and dtype != np.uint8:
            raise ValueError(f"{images} must be of floats or uint8; it is of {dtype}")
        t_shape, t_dtype = _shape_and_dtype(group[f"t_myr_{match[1]}"], times)
        if t_shape != shape[:1] or t_dtype.kind not in "fiu":
            raise ValueError(
                f"{times} must be {shape[0]} numbers, one for each of {images}; it is of the "
                f"shape {t_shape} and of {t_dtype}"
            )
        values = group[f"t_myr_{match[1]}"][()].astype(float)
        if not np.isfinite(values).all():
            raise ValueError(f"{times} has times that are not finite")
        if len(values):
            yield _Camera(*parse_group_name(name), name, int(match[2]), match[1], values)


def _shape_and_dtype(dataset, name):
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} is stored in another file, and other files are not opened")
    if dataset.shape is None:
        raise ValueError(f"{name} is empty")
    return dataset.shape, dataset.dtype
