"""The tiles of a mosaic: their images and what belongs to them, by whatever a user names them."""

import glob
from dataclasses import dataclass, fields
from pathlib import Path

from ..io import read_table
from ..io.catalog import match_files
from ..io.columns import names_in
from ..io.fits import split_extension

__all__ = ["Tile", "list_tiles"]


@dataclass(frozen=True)
class Tile:
    """An image of a mosaic, and what belongs to it.

    Attributes
    ----------
    band : str
        Name of the band.
    file : str
        FITS image; ``file.fits[EXT]`` chooses an extension, here and below.
    weight : str
        Inverse variance of the pixels, in units of the image; 0 where there is none.
    mask : str
        Image that is not 0 where a pixel must not be used.
    psf : str
        Image of the point-spread function, in pixels of the tile.
    """

    band: str
    file: str
    weight: str = ""
    mask: str = ""
    psf: str = ""


def list_tiles(tiles, planes):
    """The tiles that a user names.

    Parameters
    ----------
    tiles, planes
        As in `~astro_deepgalaxy.preprocess.mosaic.Mosaics`; `planes` is
        ``{kind: {band: files} or None}``.

    Returns
    -------
    tuple of Tile

    Raises
    ------
    ValueError
        If they are not named in that way, or a glob matches nothing.
    """
    if isinstance(tiles, str | Path):
        table, folder = read_table(tiles), Path(tiles).parent
        return _from_table(table, folder)
    if hasattr(tiles, "colnames"):
        return _from_table(tiles, Path())
    if not isinstance(tiles, dict):
        tiles = list(tiles)
        if not tiles or not all(isinstance(tile, Tile) for tile in tiles):
            raise ValueError("mosaics: expected {band: files}, a table, or a list of Tile")
        return tuple(tiles)
    found = []
    for band, names in tiles.items():
        files = _files(names)
        extra = {}
        for kind, by_band in planes.items():
            if by_band and band in by_band:
                others = _files(by_band[band])
                if kind == "psf" and len(others) == 1:
                    others = others * len(files)
                if len(others) != len(files):
                    raise ValueError(
                        f"mosaics: band {band!r} has {len(files)} tiles but {len(others)} files "
                        f"of {kind}"
                    )
                extra[kind] = others
        for i, file in enumerate(files):
            found.append(Tile(band, file, **{kind: names[i] for kind, names in extra.items()}))
    for kind, by_band in planes.items():
        unknown = set(by_band or ()) - set(tiles)
        if unknown:
            raise ValueError(f"mosaics: {kind} for the band {min(unknown)!r}, which has no tiles")
    if not found:
        raise ValueError("mosaics: there are no tiles")
    return tuple(found)


def _files(names):
    """Paths in order: a glob stands for the files that it matches, sorted."""
    found = []
    for name in [names] if isinstance(names, str | Path) else names:
        name = str(name)
        file, extension = split_extension(name)
        if file.exists() or not glob.has_magic(str(file)):
            found.append(name)
            continue
        matches = match_files(file)
        if not matches:
            raise ValueError(f"mosaics: no file matches {name}")
        suffix = "" if extension is None else f"[{extension}]"
        found += [match + suffix for match in matches]
    return found


def _from_table(table, folder):
    missing = [name for name in ("band", "file") if name not in table.colnames]
    if missing:
        raise ValueError(
            f"mosaics: the table of tiles has no column {missing[0]!r}; it has {table.colnames}"
        )
    names = [field.name for field in fields(Tile) if field.name in table.colnames]
    tiles = []
    columns = [names_in(table, name) for name in names]
    for i, row in enumerate(zip(*columns, strict=True), start=1):
        values = dict(zip(names, row, strict=True))
        for name in ("band", "file"):
            if not values[name]:
                raise ValueError(f"mosaics: row {i} of the table of tiles has no {name}")
        files = {k: str(folder / v) for k, v in values.items() if k != "band" and v}
        tiles.append(Tile(values["band"], **files))
    if not tiles:
        raise ValueError("mosaics: the table of tiles is empty")
    return tuple(tiles)
