"""Files that appear whole or not at all, written by one process at a time."""

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "alone",
    "atomic_folder",
    "atomic_path",
    "check_space",
    "sweep_partial",
]


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


def sweep_partial(folder):
    """Remove what writers that were killed left behind.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder whose unfinished files, at any depth, nobody is writing now.
    """
    for pattern in (".partial-*", "*.partial"):
        for path in Path(folder).rglob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    # Killed between the two renames of `atomic_folder`: the older folder is the one that counts.
    for path in Path(folder).rglob(".old-*"):
        replaced = path.with_name(path.name.split("-", 2)[2])
        if replaced.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.replace(path, replaced)


@contextmanager
def alone(path):
    """Keep other processes of this machine from writing the same file or folder.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        What will be written.

    Raises
    ------
    ValueError
        If another process is at it.
    OSError
        If nothing can be written there.
    """
    from filelock import FileLock, Timeout

    place = Path(os.path.abspath(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = place.with_name(f".{place.name}.lock")
    lock.touch()  # where nothing can be written it says so, which the lock does not
    holder = FileLock(lock)
    try:
        holder.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"{path}: another process is writing it; wait for it to end") from error
    try:
        yield
    finally:
        # While it is held: afterwards it may be another's. Windows removes it on release.
        with suppress(PermissionError):
            lock.unlink(missing_ok=True)
        holder.release()
