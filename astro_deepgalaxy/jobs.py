"""Writing that survives being killed: a file or folder appears whole or not at all."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_folder", "atomic_path", "check_space"]


@contextmanager
def atomic_path(path):
    """A temporary file name that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file to write. Its folder is made if need be; an older file is replaced.

    Yields
    ------
    `~pathlib.Path`
        A name in the same folder that ends in the same suffixes, so that writers which look at
        the suffix (``.fits.gz``, ``.weights.h5``) do the same thing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path):
    """A temporary folder that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The folder to write. An older folder of that name is replaced at the end.

    Yields
    ------
    `~pathlib.Path`
        An empty folder beside `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            old = path.with_name(f".old-{os.getpid()}-{path.name}")
            os.replace(path, old)
            os.replace(partial, path)
            shutil.rmtree(old)
        else:
            os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_space(folder, needed, advice):
    """Refuse work that the disk cannot hold, before it begins.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Where the files will go; it need not exist yet.
    needed : dict of str to float
        Bytes needed for each kind of file.
    advice : str
        What to do if there is too little, for the message.

    Raises
    ------
    ValueError
        If there is less space left than needed.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    total, free = sum(needed.values()), shutil.disk_usage(place).free
    if total > free:
        parts = ", ".join(f"{size / 1e9:.3g} for {what}" for what, size in needed.items())
        raise ValueError(
            f"{folder}: {total / 1e9:.3g} GB are needed ({parts}), and {place} has "
            f"{free / 1e9:.3g} GB left; {advice}"
        )
