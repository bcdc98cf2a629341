"""Work that survives being killed: whole files or none, and processes that may die."""

import os
import shutil
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from pathlib import Path

__all__ = [
    "OwnProcess",
    "WorkerDiedError",
    "Workers",
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

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    lock.touch()  # where nothing can be written it says so, which the lock does not
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"{path}: another process is writing it; wait for it to end") from error
    lock.unlink(missing_ok=True)


class WorkerDiedError(RuntimeError):
    """A process that did some of the work was killed, or crashed."""


class Workers:
    """Who does the work: this process, others of this machine, or those of a cluster.

    Parameters
    ----------
    processes : int
        Number of processes; 0 for one on each core, 1 for this process.
    scheduler : str, optional
        Address of a Dask scheduler whose workers are used instead.
    """

    def __init__(self, processes=1, scheduler=None):
        from joblib import cpu_count

        self.processes, self.scheduler = processes or cpu_count(), scheduler

    @property
    def are_here(self):
        """Whether the work is done in this process."""
        return self.processes == 1 and self.scheduler is None

    def run(self, function, tasks, ordered=False):
        """Call a function for each of many tasks; some are under way ahead of the caller.

        Parameters
        ----------
        function : callable
            What to call.
        tasks : iterable of tuple
            Its arguments.
        ordered : bool
            Give the results in the order of the tasks, and not as they come.

        Yields
        ------
        object
            What the function returned.

        Raises
        ------
        WorkerDiedError
            If a process died; results of tasks under way are lost.
        ValueError
            If no scheduler answers.
        ImportError
            If there is no Dask for it.
        """
        if self.are_here:
            for task in tasks:
                yield function(*task)
            return
        from joblib import Parallel, delayed

        with self._client(), self._backend():
            pool = Parallel(
                None if self.scheduler else self.processes,
                batch_size=1,
                pre_dispatch="2*n_jobs",
                return_as="generator" if ordered else "generator_unordered",
            )
            here = os.getcwd()
            try:
                yield from pool(delayed(_in_folder)(here, function, *task) for task in tasks)
            except Exception as error:
                if _is_death(error):
                    raise WorkerDiedError("a process that did the work died") from error
                raise

    def _client(self):
        if self.scheduler is None:
            return nullcontext()
        try:
            from dask.distributed import Client
        except ImportError as error:
            raise ImportError(
                "a scheduler needs Dask: pip install 'astro-deepgalaxy[cluster]'"
            ) from error
        try:
            return Client(self.scheduler, timeout="5s")
        except (OSError, ValueError) as error:
            raise ValueError(f"no Dask scheduler answers at {self.scheduler}") from error

    def _backend(self):
        from joblib import parallel_config

        if self.scheduler is None:
            return parallel_config("loky", inner_max_num_threads=1)
        return parallel_config("dask")


class OwnProcess:
    """A process that does one thing after the other, and is replaced when it dies.

    Use it in a ``with`` block.
    """

    def __init__(self):
        self._pool = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._pool is not None:
            self._pool.shutdown()

    def call(self, function, *arguments):
        """Call a function there.

        Parameters
        ----------
        function : callable
            What to call.
        *arguments
            Its arguments.

        Returns
        -------
        object
            What it returned.

        Raises
        ------
        WorkerDiedError
            If the process died of it.
        """
        from joblib.externals.loky import ProcessPoolExecutor

        if self._pool is None:
            self._pool = ProcessPoolExecutor(1)
        try:
            return self._pool.submit(_in_folder, os.getcwd(), function, *arguments).result()
        except Exception as error:
            if not _is_death(error):
                raise
            self._pool.shutdown()
            self._pool = None
            raise WorkerDiedError("the process died") from error


def _is_death(error):
    # Dask's own error, without importing Dask to name it.
    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


def _in_folder(folder, function, *arguments):
    # A worker may have been started elsewhere; names of files are relative to this folder.
    if os.getcwd() != folder:
        os.chdir(folder)
    return function(*arguments)
