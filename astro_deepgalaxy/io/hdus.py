"""The HDUs of a FITS file from their headers alone: what is where, before any pixel is read."""

import re
from dataclasses import dataclass
from math import prod

from astropy.io import fits
from astropy.io.fits.card import Undefined

from ..flags import CutoutError

__all__ = ["Cards", "Hdu", "list_hdus", "padded", "read_exactly"]

_BLOCK = 2880
_END = b"END".ljust(80)
# Guards against files made to keep a reader busy; no real header or file comes near.
_MAX_HEADER_BLOCKS = 1000
_MAX_HDUS = 1000
_MAX_AXES = 999
# The values that nearly all cards have; fits.Card knows the others.
_VALUE = re.compile(
    r"= +(?:'((?:[^']|'')*)'|([TF])|([+-]?\d+)|([+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?))"
    r" *(?:/.*)?",
    re.DOTALL,
)
_CONTINUE = re.compile(r"CONTINUE +'((?:[^']|'')*)' *(?:/.*)?", re.DOTALL)
# No name or unit goes on over more cards.
_MAX_CONTINUED = 5
_BITPIX = (8, 16, 32, 64, -32, -64)


class Cards:
    """The cards of a header, each understood when it is asked for.

    Iterating gives the keywords, each once.

    Parameters
    ----------
    text : str
        The header without END, 80 characters a card.

    Attributes
    ----------
    text : str
        The same.
    repeated : set of str
        Keywords of more than one card.
    """

    def __init__(self, text):
        self.text = text
        self.repeated = set()
        self._places = {}
        for place in range(0, len(text), 80):
            key = text[place : place + 8].rstrip()
            if self._places.setdefault(key, place) != place:
                self.repeated.add(key)

    def __iter__(self):
        return iter(self._places)

    def get(self, key, default=None, damaged=None):
        """Value of the first card of a keyword.

        Parameters
        ----------
        key : str
            The keyword.
        default : object
            What a missing or empty card counts as.
        damaged : object
            What a card counts as that is none; None for the same as `default`.

        Returns
        -------
        object
            A string of many cards is put together, up to six of them.
        """
        place = self._places.get(key)
        if place is None:
            return default
        match = _VALUE.fullmatch(self.text, place + 8, place + 80)
        if match is None:
            damaged = default if damaged is None else damaged
            return _odd_value(self.text[place : place + 80], default, damaged)
        text, logical, whole, real = match.groups()
        if text is not None:
            return self._continued(_unquoted(text), place)
        if logical:
            return logical == "T"
        return int(whole) if whole else float(real.replace("D", "E"))

    def _continued(self, text, place):
        """A string with what the CONTINUE cards after its own add to it."""
        for _ in range(_MAX_CONTINUED):
            place += 80
            if not text.endswith("&") or not self.text.startswith("CONTINUE", place):
                break
            match = _CONTINUE.fullmatch(self.text, place, place + 80)
            text = text[:-1] + (_unquoted(match[1]) if match else "")
        return text


@dataclass(frozen=True)
class Hdu:
    """One header and data unit.

    Attributes
    ----------
    number : int
        Its place in the file, counted from 0.
    name : str
        Its EXTNAME, PRIMARY for the first without one.
    header : Cards
        The header.
    data : int
        Where its data start, in bytes from the start of the file.
    size : int
        Bytes of data, without the padding.
    shape : tuple of int
        Shape of the image, the last axis along x; empty when it holds none.
    bitpix : int
        BITPIX of the data.
    tiled : bool
        Whether the image is tile-compressed.
    """

    number: int
    name: str
    header: Cards
    data: int
    size: int
    shape: tuple[int, ...]
    bitpix: int
    tiled: bool


def list_hdus(stream, path):
    """The HDUs of a file, one after the other.

    Parameters
    ----------
    stream : file object
        The unpacked file.
    path : str or `~pathlib.Path`
        Its name, for messages.

    Yields
    ------
    Hdu

    Raises
    ------
    CutoutError
        If a header is damaged, or there are absurdly many cards or HDUs.
    """
    start = 0
    for number in range(_MAX_HDUS):
        stream.seek(start)
        text = _header_text(stream, path)
        first = "XTENSION=" if number else "SIMPLE  ="
        if not text.startswith(first):
            if number:
                # What follows the last HDU is none of ours.
                return
            raise CutoutError(f"{path}: cannot be read as FITS: it does not begin with SIMPLE")
        hdu = _hdu(Cards(text), start + padded(len(text) + 80), number, path)
        yield hdu
        start = hdu.data + padded(hdu.size)
    raise CutoutError(f"{path}: has more than {_MAX_HDUS} extensions; only so many are searched")


def read_exactly(stream, start, size, path):
    """Bytes from some place on.

    Parameters
    ----------
    stream : file object
        The unpacked file.
    start, size : int
        Where, and how many.
    path : str or `~pathlib.Path`
        Name of the file, for messages.

    Returns
    -------
    bytes

    Raises
    ------
    CutoutError
        If the file ends before.
    """
    stream.seek(start)
    content = stream.read(size)
    if len(content) < size:
        raise CutoutError(
            f"{path}: truncated: {size} bytes of data should follow the header, "
            f"there are {len(content)}"
        )
    return content


def padded(size):
    """Length of something in a file, in bytes, with the rest of its last block.

    Parameters
    ----------
    size : int
        Its length without.

    Returns
    -------
    int
    """
    return -(-size // _BLOCK) * _BLOCK


def _header_text(stream, path):
    """Text of the header that starts here, without END; empty where none starts."""
    text = b""
    for _ in range(_MAX_HEADER_BLOCKS):
        block = stream.read(_BLOCK)
        end = block.find(_END)
        while end % 80 and end >= 0:
            end = block.find(_END, end + 1)
        if end >= 0:
            return (text + block[:end]).decode("latin-1")
        text += block
        if len(block) < _BLOCK:
            break
    if not text.startswith((b"SIMPLE  =", b"XTENSION=")):
        return ""
    raise CutoutError(
        f"{path}: cannot be read as FITS, it may be truncated or damaged: a header has no end"
    )


def _hdu(header, data, number, path):
    bitpix = header.get("BITPIX")
    if bitpix not in _BITPIX or type(bitpix) is not int:
        raise CutoutError(f"{path}: damaged: BITPIX is {bitpix!r}; expected one of {_BITPIX}")
    axes = _axes(header, "NAXIS", path)
    groups = number == 0 and header.get("GROUPS") is True and axes[:1] == (0,)
    elements = prod(axes[1:] if groups else axes) if axes else 0
    gcount, pcount = _count(header, "GCOUNT", 1, path), _count(header, "PCOUNT", 0, path)
    size = abs(bitpix) // 8 * gcount * (pcount + elements) if axes else 0
    kind = str(header.get("XTENSION", "IMAGE")).strip()
    tiled = kind in ("BINTABLE", "A3DTABLE") and header.get("ZIMAGE") is True
    if tiled:
        shape = _axes(header, "ZNAXIS", path)[::-1]
    else:
        shape = axes[::-1] if kind in ("IMAGE", "IUEIMAGE") and not groups else ()
    name = str(header.get("EXTNAME", "" if number else "PRIMARY")).strip()
    return Hdu(number, name, header, data, size, shape, bitpix, tiled)


def _unquoted(text):
    return text.replace("''", "'").rstrip()


def _odd_value(record, default, damaged):
    try:
        value = fits.Card.fromstring(record).value
    except Exception:
        return damaged
    return default if isinstance(value, Undefined) else value


def _axes(header, key, path):
    """Lengths of the axes, the first along x."""
    n = _count(header, key, None, path)
    if n > _MAX_AXES:
        raise CutoutError(f"{path}: damaged: {key} is {n}; expected at most {_MAX_AXES}")
    return tuple(_count(header, f"{key}{i + 1}", None, path) for i in range(n))


def _count(header, key, default, path):
    value = header.get(key, default)
    if type(value) is not int or value < 0:
        raise CutoutError(f"{path}: damaged: {key} is {value!r}; expected a whole number")
    return value
