"""What must be alike in all workers: ``python -m astro_deepgalaxy_horovod.about``."""

import json
import platform
import socket
from importlib.metadata import version

from .settings import available_cores

__all__ = ["about", "check_alike", "difference"]

_PACKAGES = (
    "astro-deepgalaxy",
    "astro-deepgalaxy-horovod",
    "horovod",
    "keras",
    "numpy",
    "tensorflow",
)


def about():
    """Where this is, and the versions of what a worker needs.

    Returns
    -------
    dict
        ``host``, the ``address`` it takes itself to have, ``cores`` (their numbers) and
        ``packages``.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "host": platform.node(),
        "address": _own_address(),
        "cores": available_cores(),
        "packages": {"python": python} | {name: version(name) for name in _PACKAGES},
    }


def _own_address():
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "unknown"


def difference(own, other):
    """What is different in another place, in words.

    Parameters
    ----------
    own, other : dict
        What `about` returns here and there.

    Returns
    -------
    str
        Empty if nothing is.
    """
    for name, number in own["packages"].items():
        there = other["packages"].get(name, "none")
        if there != number:
            return f"{name} {there}, but {own['host']} has {number}"
    return ""


def check_alike(workers):
    """Refuse workers of which some have other versions of a package.

    Parameters
    ----------
    workers : list of dict
        What `about` returned in each worker.

    Raises
    ------
    ValueError
        If there are differences.
    """
    for rank, other in enumerate(workers):
        found = difference(workers[0], other)
        if found:
            raise ValueError(
                f"worker {rank} on {other['host']} has {found}, where worker 0 runs; install the "
                "same version on all hosts"
            )


if __name__ == "__main__":
    print(json.dumps(about()))
