"""A set of images by their latents, with what is known of each."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, QTable, vstack

from ..indexes.vectors import as_vectors
from ..io.tables import read_table, write_table
from ..jobs import atomic_folder
from ..labels import LABEL_COLUMNS
from ..store.joined import open_stores

__all__ = ["LatentSet", "same_model"]

_FORMAT = "astro_deepgalaxy latents"
_VERSION = 1
_PLACE = ("store", "store_row")
_KEPT = {*_PLACE, *(column.name for column in LABEL_COLUMNS)}
_BOOLEAN = {column.name for column in LABEL_COLUMNS if column.kind == "bool"}


@dataclass(frozen=True)
class LatentSet:
    """Latents of images, and a row of labels for each.

    Parameters
    ----------
    vectors : array_like
        Latents (n, L), kept as float32; they may be memory-mapped.
    table : `~astropy.table.Table`
        A row for each, with a column ``id``. Of the others the columns of the label table
        (`~astro_deepgalaxy.labels.LABEL_COLUMNS`) are kept, and ``store`` and ``store_row``: in
        which of the stores the image is, and in which of its rows.
    model : str
        Digest of the model that made the latents; empty when it was not saved.
    stores : sequence of str
        Paths of the stores that hold the images; empty when there are none.

    Raises
    ------
    ValueError
        If the table does not fit the vectors, has no column ``id``, or a vector is not finite.
    """

    vectors: np.ndarray
    table: QTable
    model: str = ""
    stores: tuple = field(default=())

    def __post_init__(self):
        vectors = as_vectors(self.vectors, what="latents")
        table = QTable(self.table, copy=False)
        if "id" not in table.colnames:
            raise ValueError(f"latents: the table has no column 'id'; it has {table.colnames}")
        if len(table) != len(vectors):
            raise ValueError(
                f"latents: {len(vectors)} vectors, and {len(table)} rows of the table; each "
                "vector needs its row"
            )
        table = table[[name for name in table.colnames if name in _KEPT]]
        table.meta.clear()
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "model", str(self.model or ""))
        object.__setattr__(self, "stores", tuple(str(path) for path in self.stores))

    def __len__(self):
        return len(self.vectors)

    def __getitem__(self, rows):
        """Some of the set, as a set.

        Parameters
        ----------
        rows : slice or array_like
            Rows, or which of them as booleans.

        Returns
        -------
        LatentSet
        """
        rows = rows if isinstance(rows, slice) else np.atleast_1d(rows)
        return replace(self, vectors=self.vectors[rows], table=self.table[rows])

    def column(self, name):
        """A column of the table as a plain array; gaps are NaN, -1 or empty.

        Parameters
        ----------
        name : str
            A column of `~astro_deepgalaxy.labels.LABEL_COLUMNS`.

        Returns
        -------
        numpy.ndarray or `~astropy.units.Quantity`
            With gaps alone, if the table does not have the column.
        """
        known = next(column for column in LABEL_COLUMNS if column.name == name)
        gap = {"str": "", "int": -1, "float": np.nan, "bool": False}[known.kind]
        if name not in self.table.colnames:
            values = np.full(len(self), gap)
        else:
            values = self.table[name]
            if hasattr(values, "filled"):
                values = values.filled(gap)
            if isinstance(values, u.Quantity):
                values = values.to_value(known.unit or u.one)
            values = np.asarray(values)
        return values << u.Unit(known.unit) if known.unit else values

    def images(self, rows):
        """Read images of the set from the stores they came from.

        Parameters
        ----------
        rows : array_like of int
            Rows of the set.

        Returns
        -------
        numpy.ndarray
            Images (row, y, x, channel) in [0, 1], float32.

        Raises
        ------
        ValueError
            If the set was not made from stores, or one of them is gone.
        """
        rows = np.asarray(rows, dtype=int)
        if not set(_PLACE) <= set(self.table.colnames):
            raise ValueError("these latents were not made from a store: they have no images")
        which, row = (np.asarray(self.table[name])[rows] for name in _PLACE)
        if (which < 0).any():
            raise ValueError("some of these latents were not made from a store: no images")
        parts = {i: open_stores(self.stores[i]).load(row[which == i]) for i in np.unique(which)}
        shapes = {part.shape[1:] for part in parts.values()}
        if len(shapes) > 1:
            raise ValueError(f"the stores of these latents hold images of the shapes {shapes}")
        images = np.empty((len(rows), *shapes.pop()), dtype=np.float32)
        for i, part in parts.items():
            images[which == i] = part
        return images

    def append(self, other):
        """The set followed by another.

        Parameters
        ----------
        other : LatentSet
            Latents of the same model.

        Returns
        -------
        LatentSet

        Raises
        ------
        ValueError
            If they were made by another model or have another length, or an id is in both.
        """
        same_model(self.model, other.model, "the latents to append")
        twice = np.intersect1d(self.table["id"], other.table["id"])
        if len(twice):
            raise ValueError(
                f"the latents to append: {len(twice)} images are there already, such as "
                f"{str(twice[0])!r}"
            )
        added = as_vectors(other.vectors, self.vectors.shape[1], "the latents to append")
        first, second = self.table, other.table.copy()
        if "store" in second.colnames:
            second["store"] = np.where(second["store"] < 0, -1, second["store"] + len(self.stores))
        table = vstack([first, second], metadata_conflicts="silent")
        for name in set(_PLACE) & set(table.colnames):
            table[name] = np.ma.filled(np.ma.asarray(table[name]), -1)
        return replace(
            self,
            vectors=np.concatenate([self.vectors, added]),
            table=table,
            stores=(*self.stores, *other.stores),
        )

    def save(self, folder):
        """Write the set as a folder, whole or not at all.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            The folder; a set that stands there is replaced, anything else is refused.

        Raises
        ------
        ValueError
            If `folder` exists and is not a set of latents.
        """
        check_folder(folder)
        with atomic_folder(folder) as partial:
            self.write(partial)

    def write(self, folder):
        """Write the files of the set into a folder that is being made.

        Parameters
        ----------
        folder : `~pathlib.Path`
            An existing folder.
        """
        np.save(folder / "vectors.npy", self.vectors, allow_pickle=False)
        table = self.table.copy()
        for name in table.colnames:
            if name in _BOOLEAN and np.ma.is_masked(table[name]):
                # FITS has no gaps among true and false, but among numbers.
                table[name] = MaskedColumn(table[name], dtype=np.int16)
        write_table(table, folder / "table.fits")
        config = {
            "format": _FORMAT,
            "version": _VERSION,
            "model": self.model,
            "stores": list(self.stores),
            "vectors": list(self.vectors.shape),
        }
        text = json.dumps(config, indent=1) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder):
        """Read a set; its vectors are mapped into memory.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save` wrote.

        Returns
        -------
        LatentSet

        Raises
        ------
        ValueError
            If it is not a set of latents, or damaged.
        """
        folder = Path(folder)
        config = _config(folder)
        if config is None:
            raise ValueError(
                f"{folder}: not a folder of latents; make one with 'astro-deepgalaxy index'"
            )
        if config.get("version") != _VERSION:
            raise ValueError(
                f"{folder}: has the layout {config.get('version')!r}; this package reads layout "
                f"{_VERSION}"
            )
        try:
            vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{folder / 'vectors.npy'}: cannot be read: {error}") from error
        if list(vectors.shape) != config["vectors"]:
            raise ValueError(
                f"{folder / 'vectors.npy'}: has the shape {list(vectors.shape)}, and config.json "
                f"says {config['vectors']}; make the folder again"
            )
        table = read_table(folder / "table.fits")
        for name in _BOOLEAN & set(table.colnames):
            if table[name].dtype.kind == "i":
                table[name] = MaskedColumn(table[name], dtype=bool)
        return cls(vectors, table, config["model"], config["stores"])


def same_model(ours, theirs, what):
    """Refuse latents that are not of the same model.

    Parameters
    ----------
    ours, theirs : str
        Digests of the models; empty for one that was not saved.
    what : str
        What is to be added or looked for.

    Raises
    ------
    ValueError
        If the digests differ; the message names both.
    """
    if ours != theirs:
        ours, theirs = (
            f"the model {d}" if d else "a model that was not saved" for d in (ours, theirs)
        )
        raise ValueError(
            f"{what}: made by {theirs}, and the latents of the set by {ours}; latents of two "
            "models cannot be compared"
        )


def check_folder(folder):
    """Refuse to replace something that is not a folder of latents.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder to be written.

    Raises
    ------
    ValueError
        If it exists and is something else.
    """
    folder = Path(folder)
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and _config(folder) is None:
        raise ValueError(f"{folder}: exists and is not a folder of latents; choose another name")


def _config(folder):
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and config.get("format") == _FORMAT else None
