"""Tile-compressed FITS images, checked before the decoders, which trust what they are given."""

import re
import zlib
from functools import reduce
from io import BytesIO

import numpy as np
from astropy.io import fits

from ..flags import CutoutError
from .hdus import Cards, padded, read_exactly

__all__ = ["read_tiles"]

_TYPES = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1", "NOCOMPRESS")
_WIDTHS = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "M": 16}
# Each tile costs a tenth of a millisecond however small it is; a cube has one for each row.
_MAX_TILES = 2**20
# Deflate cannot pack more tightly than 1 : 1032; below this much there is no danger.
_DEFLATE_RATIO, _HARMLESS = 1032, 2**28
# HCOMPRESS reads on behind a damaged tile: by this many bytes a pixel, with 64 planes of bits.
_HCOMPRESS_MARGIN = 24


def read_tiles(stream, hdu, path):
    """Physical values of a tile-compressed image.

    Parameters
    ----------
    stream : file object
        The unpacked file.
    hdu : Hdu
        The HDU of the image, with `Hdu.tiled`.
    path : str or `~pathlib.Path`
        Name of the file, for messages.

    Returns
    -------
    pixels : numpy.ndarray
        The pixels, the last axis along x.
    header : Cards
        Header of the image that was compressed.

    Raises
    ------
    CutoutError
        If the tiles are damaged, unpack to more than the image holds, or are absurdly many.
    """
    with fits.open(_with_room(stream, hdu, path), memmap=False, uint=False) as hdus:
        header = Cards(hdus[1].header.tostring(endcard=False, padding=False))
        return hdus[1].data, header


class _Damaged(ValueError):
    pass


def _need(condition, reason):
    if not condition:
        raise _Damaged(reason)


def _with_room(stream, hdu, path):
    """A file of this one image, whose tiles are sound, with room for the decoders behind them."""
    data = read_exactly(stream, hdu.data, hdu.size, path)
    try:
        table, margin = _checked(data, hdu)
    except _Damaged as error:
        raise CutoutError(f"{path}: cannot read the tile-compressed image: {error}") from error
    pcount = len(data) + margin - table.size
    text = (
        "".join(
            f"PCOUNT  = {pcount:>20}".ljust(80)
            if hdu.header.text.startswith("PCOUNT  =", i)
            else hdu.header.text[i : i + 80]
            for i in range(0, len(hdu.header.text), 80)
        )
        + "END"
    )
    header = text.encode("latin-1").ljust(padded(len(text)))
    heap = memoryview(data)[table.size :]
    return BytesIO(b"".join((_PRIMARY, header, table, heap, bytes(margin))))


def _checked(data, hdu):
    """Bytes (row, column) of the table for the decoders, and the room they need after the heap."""
    header = hdu.header
    kind = header.get("ZCMPTYPE")
    _need(kind in _TYPES, f"ZCMPTYPE is {kind!r}")
    _need(header.get("ZBITPIX") in (8, 16, 32, 64, -32, -64), "ZBITPIX is not of the standard")
    # These index tables and loops inside the decoders.
    seed = header.get("ZDITHER0", 1)
    _need(type(seed) is int and 0 <= seed <= 10000, f"ZDITHER0 is {seed!r}")
    if kind.startswith("RICE"):
        _need(_setting(header, "BLOCKSIZE", 32) in (8, 16, 32, 64), "the block size is odd")
        _need(_setting(header, "BYTEPIX", 4) in (1, 2, 4), "the bytes of a pixel are odd")
    sizes = _tile_sizes(header, hdu.shape)
    width, rows = header.get("NAXIS1"), header.get("NAXIS2")
    _need(header.get("NAXIS") == 2 and rows >= len(sizes), "there are fewer rows than tiles")
    heap = header.get("THEAP", width * rows)
    _need(type(heap) is int and width * rows <= heap <= len(data), "the heap is out of place")
    margin = heap - width * rows
    if kind == "HCOMPRESS_1":
        margin += _HCOMPRESS_MARGIN * int(sizes.max()) + 4096
    length = len(data) - heap
    whole = np.frombuffer(data, np.uint8, width * rows).reshape(rows, width).copy()
    table = whole[: len(sizes)]
    contents = memoryview(data)[heap:]
    for name, letter, start, wide in _descriptors(header, width):
        item = _WIDTHS[letter]
        cells = table[:, start : start + 2 * wide].copy().view(f">i{wide}").astype(np.int64)
        n, offset = cells[:, 0], cells[:, 1]
        _need((cells >= 0).all() and (n <= length).all(), "a tile is out of the heap")
        _need((offset + n * item <= length).all(), "a tile is out of the heap")
        _need((n * item).sum() <= length, "tiles overlap")
        compressed = name == "COMPRESSED_DATA"
        if name == "GZIP_COMPRESSED_DATA" or (compressed and kind.startswith("GZIP")):
            if (n * item).sum() * _DEFLATE_RATIO > _HARMLESS:
                for size, at, count in zip(sizes, offset, n, strict=True):
                    _check_gzip(contents[at : at + count * item], int(size))
        elif compressed and kind == "PLIO_1":
            _need(letter == "I", "its pixel lists are not of 16 bits")
            for at, count in zip(offset, n, strict=True):
                _check_plio(contents[at : at + 2 * count])
        elif compressed and kind == "HCOMPRESS_1":
            _need(letter == "B", "its tiles are not of bytes")
            for size, at, count in zip(sizes, offset, n, strict=True):
                _check_hcompress(contents[at : at + count], int(size))
            # Now the end of the tile for the decoder is that of the room behind it.
            cells[:, 0] += np.where(n > 0, margin - (heap - width * rows), 0)
            table[:, start : start + 2 * wide] = cells.astype(f">i{wide}").view(np.uint8)
    return whole, margin


def _tile_sizes(header, shape):
    """Pixels of each tile, in the order of the rows."""
    lengths, n_tiles = [], 1
    for i, axis in enumerate(reversed(shape)):
        tile = header.get(f"ZTILE{i + 1}", axis if i == 0 else 1)
        _need(type(tile) is int and 1 <= tile <= 2**31 - 1, f"ZTILE{i + 1} is {tile!r}")
        n = -(-axis // tile)
        n_tiles *= max(n, 1)
        _need(
            n_tiles <= _MAX_TILES,
            f"it has more tiles than the limit of {_MAX_TILES}; unpack it first with funpack",
        )
        lengths.append(np.minimum(tile, axis - tile * np.arange(n)))
    return reduce(np.multiply.outer, reversed(lengths)).ravel()


def _descriptors(header, width):
    """Name, letter, first byte and half the width of every column of variable length."""
    found, start = [], 0
    for i in range(1, header.get("TFIELDS", 0) + 1):
        form = str(header.get(f"TFORM{i}", ""))
        match = re.match(r"\s*(\d*)([LXBAIJEKDCMPQ])([LBAIJEKDCM]?)", form)
        _need(match, f"TFORM{i} is {form!r}")
        repeat, letter = int(match[1] or 1), match[2]
        if letter in "PQ":
            _need(repeat == 1 and match[3], f"TFORM{i} is {form!r}")
            wide = 4 if letter == "P" else 8
            found.append((str(header.get(f"TTYPE{i}", "")).strip(), match[3], start, wide))
            start += 2 * wide
        else:
            start += -(-repeat // 8) if letter == "X" else repeat * _WIDTHS[letter]
    _need(start == width, "its columns do not fill the rows")
    _need(any(name == "COMPRESSED_DATA" for name, *_ in found), "it has no COMPRESSED_DATA")
    return found


def _setting(header, name, default):
    for i in range(1, 10):
        if str(header.get(f"ZNAME{i}", "")).strip().upper() == name:
            return header.get(f"ZVAL{i}", default)
    return default


def _check_gzip(tile, size):
    if not len(tile):
        return
    limit = 8 * size + 64
    try:
        unpacked = zlib.decompressobj(31).decompress(tile, limit + 1)
    except zlib.error as error:
        raise _Damaged(str(error)) from error
    _need(len(unpacked) <= limit, "a tile unpacks to more than its pixels")


def _check_plio(tile):
    """The length of a line list stands at its start, in words of 15 bits."""
    if not len(tile):
        return
    words = np.frombuffer(tile, ">i2", min(len(tile) // 2, 7)).astype(int)
    _need(len(words) >= 3, "a pixel list is too short")
    if words[2] > 0:
        n, first = words[2], 3
    else:
        _need(len(words) >= 5, "a pixel list is too short")
        n, first = (words[4] << 15) + words[3], words[1]
    _need(first >= 0 and 0 <= n <= len(tile) // 2, "a pixel list ends outside its tile")


def _check_hcompress(tile, size):
    """Sides and bit planes of the tile stand at its start; the decoder makes room by ours."""
    if not len(tile):
        return
    _need(len(tile) >= 25 and tile[:2] == b"\xdd\x99", "a tile does not begin as it should")
    nx, ny = np.frombuffer(tile, ">i4", 2, offset=2).astype(int)
    _need(nx > 0 and ny > 0 and nx * ny == size, "a tile is of another size than its place")
    _need(max(tile[22:25]) <= 64, "a tile has absurdly many bits")


_PRIMARY = fits.PrimaryHDU().header.tostring().encode()
