"""What a worker says of itself: a small file that the one who started it can read."""

import json
import os
import socket
import time
from pathlib import Path

from astro_deepgalaxy.jobs import atomic_path

__all__ = ["Status", "read_statuses"]

_SECONDS = 1.0  # between two files, at most that often


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
        """Whether a second has passed since the last file."""
        return time.monotonic() - self._written > _SECONDS


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
    found = {}
    for path in sorted(Path(folder).glob("worker_*.json")):
        try:
            status = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found[status["rank"]] = status
    return found
