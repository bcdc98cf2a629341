"""Being one of several workers that somebody else has started."""

import atexit
import json
import os
import re
import socket
import time

from astro_deepgalaxy.jobs import atomic_path

from .places import Place, interface_of
from .settings import available_cores

__all__ = ["inside_allocation", "join", "name_of_start", "own_cores", "rank_and_size"]

_PAIRS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
_WAIT = 300.0  # seconds for the first worker to say where it is


def rank_and_size():
    """Number of this worker and of all, from what the starter has set.

    Returns
    -------
    (int, int)
        (0, 1) when nobody has.
    """
    for rank, size in _PAIRS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def inside_allocation():
    """Whether this program is one of several workers.

    Returns
    -------
    bool
        False in the batch script of an allocation of Slurm, which starts the workers itself.
    """
    if "HOROVOD_RANK" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ:
        return True
    return rank_and_size()[1] > 1 and ("PMI_RANK" in os.environ or "SLURM_STEP_ID" in os.environ)


def name_of_start():
    """A name that all workers of this start share, and those of no other start have.

    Returns
    -------
    str
    """
    known = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "PMIX_NAMESPACE")
    known += ("HOROVOD_GLOO_RENDEZVOUS_PORT",)
    parts = [os.environ[name] for name in known if name in os.environ]
    return re.sub(r"[^\w.-]", "_", "start-" + ".".join(parts))


def join(folder):
    """Find the other workers, where the starter has not told them of each other.

    `horovodrun` does, and `mpirun` where Horovod is built with MPI. For `srun` and Gloo, the
    first worker opens the meeting point, and writes where it is.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Folder that all workers share.

    Raises
    ------
    ValueError
        If the first worker is not heard of.
    """
    import horovod.tensorflow as hvd

    if "HOROVOD_RANK" in os.environ or hvd.mpi_built():
        return
    if "SLURM_LOCALID" not in os.environ:
        raise ValueError(
            "this Horovod is built without MPI and cannot join what mpirun has started: build it "
            "with 'astro-deepgalaxy horovod build --mpi', or use srun or horovodrun"
        )
    rank, size = rank_and_size()
    local, here = int(os.environ["SLURM_LOCALID"]), _tasks_here()
    node, nodes = int(os.environ["SLURM_NODEID"]), int(os.environ["SLURM_NNODES"])
    path = folder / "meeting_point.json"
    if rank == 0:
        _open_meeting_point(path, size)
    until = time.monotonic() + _WAIT
    while True:
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            break
        if time.monotonic() > until:
            raise ValueError(
                f"worker {rank} waited {_WAIT:.0f} s for worker 0 to write {path}; the folder must "
                "be one that all hosts share"
            )
        time.sleep(0.2)
    address = socket.gethostbyname(found["host"]) if nodes > 1 else "127.0.0.1"
    if nodes > 1 and address.startswith("127."):
        raise ValueError(
            f"{found['host']} takes itself to be {address}, where other hosts cannot reach it; "
            "give it its address in the network in its /etc/hosts"
        )
    os.environ |= {
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(size),
        "HOROVOD_LOCAL_RANK": str(local),
        "HOROVOD_LOCAL_SIZE": str(here),
        "HOROVOD_CROSS_RANK": str(node),
        "HOROVOD_CROSS_SIZE": str(nodes),
        "HOROVOD_HOSTNAME": socket.gethostname(),
        "HOROVOD_GLOO_IFACE": interface_of(address),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(found["port"]),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }


def own_cores():
    """Cores for this worker, where the starter has left it all of its host.

    Returns
    -------
    list of int
        None at all where the starter has chosen already, as Slurm does.
    """
    cores = available_cores()
    for rank, size in (
        ("HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ):
        if rank in os.environ and len(cores) == os.cpu_count():
            return Place(0, "", int(os.environ[rank]), int(os.environ[size])).cores(cores)
    return []


def _tasks_here():
    """Tasks on this node: SLURM_TASKS_PER_NODE is, say, ``4(x3),2``."""
    counts = []
    for part in os.environ["SLURM_TASKS_PER_NODE"].split(","):
        number, _, times = part.rstrip(")").partition("(x")
        counts += [int(number)] * int(times or 1)
    return counts[int(os.environ["SLURM_NODEID"])]


def _open_meeting_point(path, size):
    from .rendezvous import rendezvous

    # It stays open until this process ends.
    opened = rendezvous([(socket.gethostname(), size)])
    port, _ = opened.__enter__()
    atexit.register(opened.__exit__, None, None, None)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps({"host": socket.gethostname(), "port": port}))
