"""The largest memory of a process and its children, from ``/proc``: Linux only."""

from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil

__all__ = ["PeakMemory"]


class PeakMemory:
    """The largest memory of this process and its children, shared pages counted once."""

    def __enter__(self):
        self._peak = np.zeros(2)
        self._end = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._end.set()
        self._thread.join()

    def mebibytes(self):
        return dict(zip(("peak_mib", "anonymous_mib"), self._peak / 2**20, strict=True))

    def _watch(self):
        this = psutil.Process()
        while True:
            found = [_memory(process) for process in [this, *this.children(recursive=True)]]
            self._peak = np.maximum(self._peak, np.sum(found, axis=0))
            if self._end.wait(0.05):
                return


def _memory(process):
    """Bytes of a process: its share of all its pages, and of those that no file backs."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # it has ended
        return 0, 0
    kibibytes = {name: int(rest.split()[0]) for name, rest in (x.split(":") for x in lines)}
    anonymous = kibibytes["Pss_Anon"] + kibibytes["Pss_Shmem"]
    return 1024 * kibibytes["Pss"], 1024 * anonymous
