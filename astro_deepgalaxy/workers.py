"""Processes that do the work, and may die of it."""

import os
import threading
import time
import warnings
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import cache

__all__ = ["OwnProcess", "WorkerDiedError", "Workers", "connect"]

_WATCH = 0.5  # seconds between two looks at whether the parent lives


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
            # A worker of a cluster has a parent of its own.
            here, parent = os.getcwd(), None if self.scheduler else os.getpid()
            results = pool(delayed(_in_folder)(here, parent, function, *task) for task in tasks)
            try:
                # "yield from" would close them outside of what follows.
                for result in results:  # noqa: UP028
                    yield result
            except Exception as error:
                if _is_death(error):
                    raise WorkerDiedError("a process that did the work died") from error
                raise
            finally:
                # A caller that has enough need not hear of what was under way.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    results.close()

    def _client(self):
        if self.scheduler is None:
            return nullcontext()
        try:
            return connect(self.scheduler)
        except (OSError, ValueError) as error:
            raise ValueError(f"no Dask scheduler answers at {self.scheduler}") from error

    def _backend(self):
        from joblib import parallel_config

        if self.scheduler is None:
            return parallel_config("loky", inner_max_num_threads=1)
        return parallel_config("dask")


def connect(scheduler):
    """A client of a Dask scheduler, to be used in a ``with`` block.

    Parameters
    ----------
    scheduler : str
        Its address, ``tcp://...``.

    Returns
    -------
    dask.distributed.Client

    Raises
    ------
    ImportError
        If there is no Dask.
    OSError
        If no scheduler answers.
    """
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ImportError(
            "a scheduler needs Dask: pip install 'astro-deepgalaxy[cluster]'"
        ) from error
    return Client(scheduler, timeout="5s")


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
            place = os.getcwd(), os.getpid()
            return self._pool.submit(_in_folder, *place, function, *arguments).result()
        except Exception as error:
            if not _is_death(error):
                raise
            self._pool.shutdown()
            self._pool = None
            raise WorkerDiedError("the process died") from error


def _is_death(error):
    # Dask's own error, without importing Dask to name it.
    return isinstance(error, BrokenProcessPool) or type(error).__name__ == "KilledWorker"


def _in_folder(folder, parent, function, *arguments):
    _end_with(parent)
    # A worker may have been started elsewhere; names of files are relative to this folder.
    if os.getcwd() != folder:
        os.chdir(folder)
    return function(*arguments)


@cache
def _end_with(parent):
    """Let this process end soon after its parent, if that is who hands out the work.

    Otherwise a worker whose parent was killed waits for minutes to hand over its result. Linux
    can send a signal instead, but does so already when the thread ends that started the worker.
    """
    if os.getppid() == parent:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent):
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)
