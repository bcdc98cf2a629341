"""A folder of network-ready images (Zarr) and their label table (FITS), written shard by shard."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import zarr
from astropy.table import vstack

from ..celestial import tangent_wcs
from ..io.tables import read_table, write_table
from ..jobs import atomic_folder, sweep_partial

__all__ = ["CutoutStore"]

_FORMAT = "astro_deepgalaxy cutout store"
_VERSION = 1
_CHUNK_BYTES = 2**17


class CutoutStore:
    """Images of one size with a row of a label table each.

    On disk it is a Zarr v3 group: the array ``images`` (row, y, x, channel) of float32 in [0, 1]
    and, in the folder ``table``, one FITS table per shard. A shard is complete when its table is
    there; the table is written after the images, and each file appears whole or not at all.
    Nothing in the store depends on when or in which order it was written.

    Use `create` or `open`.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        Folder of the store.
    """

    def __init__(self, path):
        self.path = Path(path)
        try:
            group = zarr.open_group(self.path, mode="r")
            if group.attrs.get("format") != _FORMAT:
                raise ValueError("it is some other Zarr group")
            if group.attrs["version"] > _VERSION:
                raise ValueError(f"its layout {group.attrs['version']} is newer than {_VERSION}")
            self.images = group["images"]
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"{self.path}: not a cutout store ({error}); make one with "
                "'astro-deepgalaxy preprocess' or CutoutStore.create"
            ) from error
        self.attributes = dict(group.attrs["attributes"])
        self.shard_rows = int(group.attrs["shard_rows"])
        self._table = None

    @classmethod
    def open(cls, path):
        """Open a store.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            Folder of the store.

        Returns
        -------
        CutoutStore

        Raises
        ------
        ValueError
            If there is no store.
        """
        return cls(path)

    @classmethod
    def create(cls, path, n_rows, image_shape, attributes=None, shard_rows=256):
        """Make a store, or open the unfinished one of the same description to go on with it.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            Folder of the store.
        n_rows : int
            Number of images.
        image_shape : tuple of int
            Shape of an image, (y, x, channel).
        attributes : dict, optional
            Plain data to keep with the images, such as the recipe that made them.
        shard_rows : int
            Images in a shard, the unit of writing.

        Returns
        -------
        CutoutStore

        Raises
        ------
        ValueError
            If a store of another description, or something else, stands there already; the
            attribute ``versions`` may differ, and stays what it was.
        """
        path = Path(path)
        attributes = json.loads(json.dumps(attributes or {}))
        shape = (int(n_rows), *map(int, image_shape))
        if n_rows < 1 or len(shape) != 4:
            raise ValueError(
                f"{path}: a store needs at least one row and images of shape (y, x, channel); "
                f"got {n_rows} rows of {tuple(image_shape)}"
            )
        if path.exists():
            store = cls(path)
            if store.images.shape != shape or store.shard_rows != shard_rows:
                raise ValueError(
                    f"{path}: holds {store.images.shape[0]} images of {store.images.shape[1:]}, "
                    f"not {n_rows} of {shape[1:]}; remove it or choose another folder"
                )
            for key in sorted({*attributes, *store.attributes} - {"versions"}):
                if store.attributes.get(key) != attributes.get(key):
                    raise ValueError(
                        f"{path}: was made with another {key.replace('_', ' ')}; remove it or "
                        "choose another folder"
                    )
            if store.pending:
                sweep_partial(path)
            return store
        unfinished = re.compile(r"\.partial-\d+-" + re.escape(path.name))
        for left in path.parent.glob(".partial-*"):
            if unfinished.fullmatch(left.name):
                shutil.rmtree(left, ignore_errors=True)
        with atomic_folder(path) as partial:
            group = zarr.create_group(
                partial,
                attributes={
                    "format": _FORMAT,
                    "version": _VERSION,
                    "shard_rows": shard_rows,
                    "attributes": attributes,
                },
            )
            group.create_array(
                "images",
                shape=shape,
                dtype="float32",
                chunks=(_chunk_rows(shard_rows, shape), *shape[1:]),
                shards=(shard_rows, *shape[1:]),
                compressors=zarr.codecs.ZstdCodec(level=1),
                dimension_names=("row", "y", "x", "channel"),
            )
            (partial / "table").mkdir()
        return cls(path)

    def __len__(self):
        return self.images.shape[0]

    def __repr__(self):
        left = len(self.pending)
        state = f", {left} shards to write" if left else ""
        return f"<CutoutStore {str(self.path)!r}: {len(self)} images {self.image_shape}{state}>"

    @property
    def image_shape(self):
        """Shape of an image, (y, x, channel)."""
        return self.images.shape[1:]

    @property
    def n_shards(self):
        """Number of shards, written or not."""
        return -(-len(self) // self.shard_rows)

    @property
    def pending(self):
        """Numbers of the shards that are not written yet, in order."""
        return [shard for shard in range(self.n_shards) if not self._table_file(shard).exists()]

    def rows_of(self, shard):
        """Rows that a shard holds.

        Parameters
        ----------
        shard : int
            Shard number.

        Returns
        -------
        slice
        """
        if not 0 <= shard < self.n_shards:
            raise ValueError(f"{self.path}: no shard {shard}; it has {self.n_shards}")
        return slice(shard * self.shard_rows, min((shard + 1) * self.shard_rows, len(self)))

    def write_shard(self, shard, images, table):
        """Write a whole shard.

        Parameters
        ----------
        shard : int
            Shard number.
        images : array_like
            Images of its rows, (row, y, x, channel) in [0, 1].
        table : `~astropy.table.Table`
            The same rows of the label table.

        Raises
        ------
        ValueError
            If the images or the table do not have the rows of that shard.
        """
        rows = self.rows_of(shard)
        images = np.asarray(images, dtype=np.float32)
        expected = (rows.stop - rows.start, *self.image_shape)
        if images.shape != expected or len(table) != expected[0]:
            raise ValueError(
                f"{self.path}: shard {shard} takes {expected[0]} images of {expected[1:]} and as "
                f"many table rows; got images {images.shape} and {len(table)} rows"
            )
        zarr.open_array(self.path / "images", mode="r+")[rows] = images
        write_table(table, self._table_file(shard))
        self._table = None

    @property
    def table(self):
        """Label table of the whole store (QTable, one row per image, in order).

        Raises
        ------
        ValueError
            If shards are still to be written.
        """
        if self._table is None:
            if self.pending:
                raise ValueError(
                    f"{self.path}: {len(self.pending)} of {self.n_shards} shards are not written "
                    "yet; run the command that makes the store again, and it goes on"
                )
            parts = [self.part(shard) for shard in range(self.n_shards)]
            self._table = vstack(parts, metadata_conflicts="silent")
        return self._table

    def part(self, shard):
        """Read the label table of one shard, for work that goes through the store part by part.

        Parameters
        ----------
        shard : int
            Shard number.

        Returns
        -------
        `~astropy.table.QTable`
            The rows `rows_of` names, in order.

        Raises
        ------
        ValueError
            If there is no such shard, or it is still to be written.
        """
        self.rows_of(shard)
        file = self._table_file(shard)
        if not file.exists():
            raise ValueError(
                f"{self.path}: shard {shard} is not written yet; run the command that makes the "
                "store again, and it goes on"
            )
        return read_table(file)

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
        out = np.empty((len(rows), *self.image_shape), dtype=np.float32)
        shards = rows // self.shard_rows
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            block = self.rows_of(int(shard))
            if 4 * len(here) > block.stop - block.start:
                out[here] = self.images[block][rows[here] - block.start]
            else:
                for i in here:
                    out[i] = self.images[int(rows[i])]
        return out

    def wcs(self, row):
        """The WCS of an image: tangential at its middle, with the axes of its pixels there.

        Parameters
        ----------
        row : int
            Row number.

        Returns
        -------
        `~astropy.wcs.WCS` or None
            None for an image without a WCS.
        """
        columns = self.table[row]["ra", "dec", "cd"]
        ra, dec, cd = (np.asarray(value.to_value("deg")) for value in columns)
        if not np.isfinite(cd).all():
            return None
        ny, nx = self.image_shape[:2]
        return tangent_wcs(ra, dec, cd.reshape(2, 2), (nx - 1) / 2, (ny - 1) / 2)

    def _table_file(self, shard):
        return self.path / "table" / f"part-{shard:05d}.fits"


def _chunk_rows(shard_rows, shape):
    """Images that are packed together: small ones one by one would take longer to write."""
    fit = max(1, _CHUNK_BYTES // (4 * shape[1] * shape[2] * shape[3]))
    return math.gcd(2 ** (fit.bit_length() - 1), shard_rows)
