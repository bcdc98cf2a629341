"""Several stores seen as one."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.table import QTable, vstack
from astropy.utils.masked import Masked

from .cutout_store import CutoutStore

__all__ = ["JoinedStores", "open_stores"]

# What is true of a simulation as a whole, and tells two of the same name apart.
_OF_A_SIMULATION = (
    *("kind", "mass_ratio", "size_ratio", "start_separation", "pericentre", "parabolic_fraction"),
    *("primary_inclination", "primary_argument", "secondary_inclination", "secondary_argument"),
    "distance_ratio",
)


def open_stores(paths):
    """Open a store, or several as one.

    Parameters
    ----------
    paths : str, `~pathlib.Path` or sequence of these
        Folders of stores, or HDF5 files (.h5, .hdf5) in the layout of the original DeepGalaxy.

    Returns
    -------
    CutoutStore, DeepGalaxyFile or JoinedStores
        The last for a sequence of more than one.

    Raises
    ------
    ValueError
        If there is no path, no store at one, or they do not go together.
    """
    if isinstance(paths, str | Path):
        return _open(Path(paths))
    stores = [_open(Path(path)) for path in paths]
    return stores[0] if len(stores) == 1 else JoinedStores(stores)


def _open(path):
    if path.suffix.lower() in (".h5", ".hdf5"):
        from .deepgalaxy_hdf5 import DeepGalaxyFile

        return DeepGalaxyFile(path)
    return CutoutStore.open(path)


class JoinedStores:
    """Several stores with images of one shape and recipe, seen as one for reading.

    The rows of the second store follow on those of the first, and so on.

    Parameters
    ----------
    stores : sequence of CutoutStore
        The stores, or what reads like one.

    Attributes
    ----------
    path : list of `~pathlib.Path`
        The paths of the stores.
    image_shape : tuple of int
        Shape of an image, (y, x, channel).
    shard_rows : int
        Images that are best read together.
    attributes : dict
        Those of the first store.

    Raises
    ------
    ValueError
        If there is no store, or two have images of another shape or recipe; names both.
    """

    def __init__(self, stores):
        self.stores = [part for store in stores for part in getattr(store, "stores", [store])]
        if not self.stores:
            raise ValueError("there are no stores to join: give at least one path")
        first = self.stores[0]
        for store in self.stores[1:]:
            both = f"{first.path} and {store.path} cannot be joined"
            if store.image_shape != first.image_shape:
                raise ValueError(
                    f"{both}: their images are {first.image_shape} and {store.image_shape}; "
                    "prepare both with one recipe"
                )
            if store.attributes.get("recipe") != first.attributes.get("recipe"):
                raise ValueError(
                    f"{both}: their images were prepared with different recipes; prepare both "
                    "with one"
                )
        self.path = [store.path for store in self.stores]
        self.image_shape = first.image_shape
        self.shard_rows = max(store.shard_rows for store in self.stores)
        self.attributes = first.attributes
        self._starts = np.cumsum([0, *map(len, self.stores)])
        self._table = None

    def __len__(self):
        return int(self._starts[-1])

    def __repr__(self):
        paths = ", ".join(map(str, self.path))
        return f"<JoinedStores {paths}: {len(self)} images {self.image_shape}>"

    @property
    def table(self):
        """Label table of all stores (QTable, one row per image, in order).

        A store without a column has gaps there: NaN, an empty text, or a masked number or
        truth. An id that an earlier store has gets the name of its store put in front; so does
        a group, unless the labels of both say that they are the same simulation, or not enough
        to tell.

        Raises
        ------
        ValueError
            If a store is not finished, or a column is of different kinds in two of them.
        """
        if self._table is None:
            table = _stack([QTable(store.table) for store in self.stores], self.path)
            self._table = _separate(table, self._starts, self.path)
        return self._table

    def load(self, rows):
        """Read some images into memory.

        Parameters
        ----------
        rows : array_like of int
            Row numbers, in any order.

        Returns
        -------
        numpy.ndarray
            Images (row, y, x, channel), float32.
        """
        rows = np.asarray(rows, dtype=int)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise ValueError(f"rows must be within 0 and {len(self) - 1}")
        out = np.empty((len(rows), *self.image_shape), dtype=np.float32)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for i in np.unique(owner):
            here = owner == i
            out[here] = self.stores[i].load(rows[here] - self._starts[i])
        return out


def _separate(whole, starts, paths):
    """The joined table, in which other images and simulations have other names."""
    ids, groups = [], []
    known_ids, known_groups, seen = set(), {}, Counter()
    for (start, stop), path in zip(pairwise(starts), paths, strict=True):
        table = whole[start:stop]
        seen[path.stem] += 1
        store = path.stem if seen[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}"
        new = [f"{store}/{name}" if name in known_ids else name for name in table["id"].tolist()]
        known_ids.update(new)
        ids += new
        if "group" not in whole.colnames:
            continue
        name_of = {}
        for name, about in _simulations(table).items():
            known = known_groups.setdefault(name, [])
            name_of[name] = next((other for other, what in known if _agree(what, about)), None)
            if name_of[name] is None:
                name_of[name] = f"{store}/{name}" if known else name
                known.append((name_of[name], about))
        groups += [name_of[name] for name in np.asarray(table["group"], dtype=str)]
    whole["id"] = ids
    if groups:
        whole["group"] = groups
    return whole


def _simulations(table):
    """What the labels say of each group as a whole."""
    columns = [name for name in _OF_A_SIMULATION if name in table.colnames]
    _, first = np.unique(table["group"], return_index=True)
    found = {}
    for row in table[first]["group", *columns]:
        values = {name: str(row[name]) for name in columns}
        found[str(row["group"])] = {k: v for k, v in values.items() if v and v[:3] != "nan"}
    return found


def _agree(one, other):
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def _stack(tables, paths):
    whole = tables[0]
    for table, path in zip(tables[1:], paths[1:], strict=True):
        try:
            whole = vstack([whole, table], join_type="outer", metadata_conflicts="silent")
        except ValueError as error:
            raise ValueError(
                f"the label tables of {paths[0]} and {path} cannot be joined: {error}"
            ) from error
    for name in whole.colnames:
        column = whole[name]
        if isinstance(column, Masked):
            whole[name] = column.filled(np.nan)
        elif column.dtype.kind in "Uf" and hasattr(column, "mask"):
            whole[name] = np.asarray(column.filled("" if column.dtype.kind == "U" else np.nan))
    return whole
