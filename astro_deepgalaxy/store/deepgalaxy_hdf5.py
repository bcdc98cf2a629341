"""Images read in the HDF5 layout of the original DeepGalaxy (Cai et al. 2020).

A group ``s_{size}_m_{mass}`` for each simulation, after the size and mass ratios of its two
galaxies, holds for each camera ``images_camera_00`` (n, y, x, 1) and ``t_myr_camera_00`` (n,):
the time of each image in Myr since the start of the run.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from astropy import units as u
from astropy.table import QTable

from ..cutout import Cutout
from ..flags import CutoutError, Flag
from ..io import Source
from .deepgalaxy_writer import LABELS, checked_image

__all__ = ["DeepGalaxyFile", "parse_group_name"]

_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
_GROUP = re.compile(f"s_{_NUMBER}_m_{_NUMBER}")
_IMAGES = re.compile("images_(camera_([0-9]{1,6}))")
# Images in [0, 1] have been stretched by whoever rendered them, like a picture.
_FLAGS = Flag.PICTURE | Flag.NO_WCS


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


class DeepGalaxyFile:
    """A file in the layout of the original DeepGalaxy, opened for reading.

    It reads like a `~astro_deepgalaxy.store.CutoutStore`, so that networks can be trained on it
    as it is. Images are read when they are asked for. Groups with other names are ignored. Files
    that lead to other files (soft and external links, external and virtual datasets) are refused,
    as they could show what is not theirs.

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
    table : `~astropy.table.QTable`
        The labels with the columns that a store has beside them.
    shard_rows : int
        Images that are best read together: those of one camera.
    attributes : dict
        Empty: no recipe made the images.

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
        self.shard_rows = max(len(camera.times) for camera in cameras)
        self.attributes = {}
        self._shapes = {camera.dataset: (*camera.shape, 1) for camera in cameras}
        self._make_rows(sorted(cameras))

    def _make_rows(self, cameras):
        group_times = {}
        for camera in cameras:
            group_times.setdefault(camera.group, []).append(camera.times)
        group_times = {group: np.unique(np.concatenate(t)) for group, t in group_times.items()}
        columns = {name: [] for name in ("id", *LABELS)}
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
        n = len(self)
        self.table = QTable(
            {
                "id": self.labels["id"],
                "file": [str(self.path)] * n,
                "flags": np.full(n, int(_FLAGS), dtype=np.int32),
                "reason": [""] * n,
                "missing_fraction": np.zeros(n, dtype=np.float32),
                "ra": np.full(n, np.nan) * u.deg,
                "dec": np.full(n, np.nan) * u.deg,
                "cd": np.full((n, 4), np.nan) * u.deg,
                **{name: self.labels[name] for name in LABELS},
            }
        )

    def __len__(self):
        return len(self._sources)

    def __repr__(self):
        groups = len(set(self.labels["group"]))
        return f"<DeepGalaxyFile {str(self.path)!r}: {len(self)} images of {groups} simulations>"

    @property
    def image_shape(self):
        """Shape of an image, (y, x, 1).

        Raises
        ------
        ValueError
            If the images have several shapes.
        """
        (first, shape), *others = self._shapes.items()
        for name, other in others:
            if other != shape:
                raise ValueError(
                    f"{self.path}: the images of {first} are {shape[:2]} and those of {name} "
                    f"{other[:2]}; give the file to 'astro-deepgalaxy preprocess', which brings "
                    "them to one size"
                )
        return shape

    def load(self, rows):
        """Read some images into memory.

        Parameters
        ----------
        rows : array_like of int
            Row numbers, in any order.

        Returns
        -------
        numpy.ndarray
            Images (row, y, x, 1) in [0, 1], float32.

        Raises
        ------
        ~astro_deepgalaxy.flags.CutoutError
            If one is damaged or not in [0, 1]; preprocessing the file flags such images.
        """
        sources = [self._sources[row] for row in np.asarray(rows, dtype=int)]
        out = np.empty((len(sources), *self.image_shape), dtype=np.float32)
        by_camera = {}
        for place, source in enumerate(sources):
            by_camera.setdefault(source.dataset, []).append((source.index, place))
        for name, wanted in by_camera.items():
            with _opened(self.path, name) as stored:
                # A chunk may hold pieces of many images: it is better unpacked only once.
                images = stored[()] if 4 * len(wanted) > len(stored) else stored
                for index, place in sorted(wanted):
                    out[place, :, :, 0] = _pixels(images[index], sources[place].title)
        return out

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

    @property
    def title(self):
        return f"{self.file}: {self.dataset}, image {self.index}"

    def pixels(self):
        # Opened for each image: the source can be sent to another process.
        with _opened(self.file, self.dataset, f", image {self.index}") as stored:
            return _pixels(stored[self.index], self.title)

    def read(self):
        image = Cutout(self.pixels(), id=self.id, file=self.file, flags=_FLAGS)
        return Source(self.id, self.file, image, self.ra, self.dec, self.redshift).read()


@contextmanager
def _opened(path, dataset, part=""):
    """A dataset to read from; what goes wrong meanwhile is a CutoutError."""
    try:
        with h5py.File(path, "r") as file:
            yield file[dataset]
    except CutoutError:
        raise
    except (OSError, RuntimeError, KeyError, IndexError, ValueError) as error:
        message = f"{path}: {dataset}{part}: cannot be read: {error}"
        raise CutoutError(" ".join(message.split())) from error


def _pixels(stored, what):
    """An image of a file as float32 (y, x); CutoutError if it cannot be used."""
    if stored.dtype == np.uint8:
        stored = stored.astype(np.float32) / 255
    try:
        return checked_image(stored, what)
    except ValueError as error:
        raise CutoutError(str(error)) from error


@dataclass(frozen=True, order=True)
class _Camera:
    size_ratio: float
    mass_ratio: float
    group: str
    camera: int
    suffix: str  # as it is written, such as camera_00
    times: np.ndarray
    shape: tuple[int, int]  # of an image, (y, x)

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
            yield _Camera(
                *parse_group_name(name), name, int(match[2]), match[1], values, shape[1:3]
            )


def _shape_and_dtype(dataset, name):
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} is stored in another file, and other files are not opened")
    if dataset.shape is None:
        raise ValueError(f"{name} is empty")
    return dataset.shape, dataset.dtype
