"""Image files as streams of bytes: only regular files, and never more than the limit unpacked."""

import bz2
import gzip
import os
import stat
import zlib
from contextlib import contextmanager
from io import BytesIO

from ..flags import CutoutError

__all__ = ["is_packed", "open_regular", "open_unpacked"]

_WHOLE = 2**26
_STEP = 2**20
_PACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}


@contextmanager
def open_regular(path):
    """Open a regular file; a small one is read at once.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file.

    Yields
    ------
    file object
        Its bytes.

    Raises
    ------
    CutoutError
        If there is no such file, it cannot be opened, or it is a folder, a pipe or a device.
    """
    try:
        # Looked at before it is opened: a pipe without a writer would block for ever.
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise CutoutError(f"{path}: is {kind}; expected a file")
        stream = open(path, "rb", buffering=0 if status.st_size <= _WHOLE else -1)  # noqa: SIM115
    except CutoutError:
        raise
    except FileNotFoundError as error:
        raise CutoutError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CutoutError(f"{path}: cannot be opened: {reason}") from error
    with stream:
        yield BytesIO(stream.read()) if status.st_size <= _WHOLE else stream


def is_packed(path):
    """Whether a file is packed with gzip or bzip2, by its content.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        A regular file.

    Returns
    -------
    bool
    """
    with open(path, "rb") as stream:
        return stream.read(3).startswith(tuple(_PACKERS))


@contextmanager
def open_unpacked(path, limit):
    """Open a regular file and unpack it, if it is packed with gzip or bzip2.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file; its content says whether it is packed.
    limit : int
        The most bytes that a packed file may unpack to.

    Yields
    ------
    file object
        The bytes of the image.

    Raises
    ------
    CutoutError
        As `open_regular`, or if the packed file is damaged, truncated or unpacks to more.
    """
    with open_regular(path) as stream:
        start = stream.read(3)
        stream.seek(0)
        packer = next((p for magic, p in _PACKERS.items() if start.startswith(magic)), None)
        if packer is None:
            yield stream
            return
        with packer(stream) as packed:
            unpacked = _Unpacked(packed, limit, path)
            yield unpacked
            unpacked.forget()


class _Unpacked:
    """The unpacked bytes of a file, of which no more are made than are asked for."""

    def __init__(self, packed, limit, path):
        self._packed, self._limit, self._path = packed, limit, path
        self._bytes = bytearray()
        self._place = 0

    def seek(self, place):
        self._place = place

    def read(self, size):
        end = self._place + size
        if end > self._limit:
            raise CutoutError(
                f"{self._path}: unpacks to more than {self._limit} bytes; unpack it first, or "
                "raise max_image_pixels"
            )
        try:
            while len(self._bytes) < end and (part := self._packed.read(_STEP)):
                self._bytes += part
        except (OSError, EOFError, zlib.error) as error:
            raise CutoutError(
                f"{self._path}: the packed file is damaged or truncated: {error}"
            ) from error
        content = bytes(memoryview(self._bytes)[self._place : end])
        self._place += len(content)
        return content

    def forget(self):
        """Give the memory back, whoever still holds the stream."""
        self._bytes = bytearray()
