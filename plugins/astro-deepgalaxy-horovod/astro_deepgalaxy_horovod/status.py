"""What a worker says of itself: a small file that the one who started it can read."""

import json
import os
import socket
import time
from pathlib import Path

from astro_deepgalaxy.jobs import atomic_path

__all__ = ["Status", "count_statuses", "read_status", "read_statuses"]

_SECONDS = 1.0  # between two files of the first worker, at most that often
_OTHERS_SECONDS = 5.0


class Status:
    """The status file of a worker.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the status files of a run.
    rank : int
        Number of the worker.
    """

    def __init__(self, folder, rank):
        self.folder, self.rank = Path(folder), rank
        self._about = {"host": socket.gethostname(), "pid": os.getpid()}
        self._written = 0.0

    def write(self, state, **more):
        """Write the file.

        Parameters
        ----------
        state : str
            "starting", "training", "stopped", "done" or "failed".
        **more
            Further JSON data.
        """
        self._written = time.monotonic()
        data = self._about | {"rank": self.rank, "state": state} | more
        with atomic_path(self.folder / f"worker_{self.rank:05d}.json") as partial:
            partial.write_text(json.dumps(data), encoding="utf-8")

    def due(self):
        """Whether it is time for another file."""
        seconds = _OTHERS_SECONDS if self.rank else _SECONDS
        return time.monotonic() - self._written > seconds


def read_status(folder, rank):
    """The status of a worker.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the status files.
    rank : int
        Number of the worker.

    Returns
    -------
    dict or None
        None before it has said anything.
    """
    try:
        return json.loads((Path(folder) / f"worker_{rank:05d}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def count_statuses(folder):
    """How many workers have said anything.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the status files.

    Returns
    -------
    int
    """
    return sum(1 for _ in Path(folder).glob("worker_*.json"))


def read_statuses(folder):
    """The status of all workers of a run.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the status files.

    Returns
    -------
    dict of int to dict
        By number of the worker.
    """
    ranks = sorted(int(path.stem.split("_")[1]) for path in Path(folder).glob("worker_*.json"))
    found = {rank: read_status(folder, rank) for rank in ranks}
    return {rank: status for rank, status in found.items() if status is not None}
