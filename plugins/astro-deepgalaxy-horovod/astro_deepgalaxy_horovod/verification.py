"""Proof that Horovod works here: two processes add known numbers.

Run as a module: ``rendezvous`` starts two workers that meet over the loopback interface, without
MPI; ``worker CONTROLLER`` is one of them.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .logged_run import run_logged

__all__ = ["VERIFICATION_SECONDS", "clean_environment", "search_path", "verify"]

VERIFICATION_SECONDS = 300
"""How long two processes may take to load TensorFlow and add a few numbers."""

# A folder of the name of a library, where the user happens to be, must not hide that library.
_PROGRAM = [sys.executable, "-P", "-m", "astro_deepgalaxy_horovod.verification"]
_WORKERS = 2
_NUMBERS = 1000


def verify(controller, log, seconds=VERIFICATION_SECONDS):
    """Let two processes add known numbers by the Horovod that is installed.

    Parameters
    ----------
    controller : {"gloo", "mpi"}
        How they find each other and talk.
    log : path-like
        File that is appended to.
    seconds : float
        After so long they are killed.

    Returns
    -------
    bool
        Whether both got the right sums.
    """
    environment = clean_environment() | {
        "CUDA_VISIBLE_DEVICES": "-1",
        "HOROVOD_CONTROLLER": controller,
        "HOROVOD_CPU_OPERATIONS": controller,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if controller == "gloo":
        command = [*_PROGRAM, "rendezvous"]
    else:
        program = shutil.which("mpirun", path=search_path())
        if program is None:
            return False
        environment |= _mpi_settings(seconds)
        command = [program, "-np", str(_WORKERS), *_PROGRAM, "worker", "mpi"]
    return run_logged(command, log, environment, seconds)


def clean_environment():
    """The environment variables, without those that change how Horovod is built or runs.

    Returns
    -------
    dict
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("HOROVOD_")}


def search_path():
    """Where programs are looked for: beside Python too, as its environment may not be active.

    Returns
    -------
    str
        The value of ``PATH``.
    """
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _mpi_settings(seconds):
    """What makes mpirun start two processes on any machine, whether Open MPI or MPICH."""
    settings = {
        "MPIEXEC_TIMEOUT": f"{seconds:.0f}",
        "OMPI_MCA_hwloc_base_binding_policy": "none",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    if os.geteuid() == 0:
        for name in ("OMPI", "PRTE"):
            settings[f"{name}_ALLOW_RUN_AS_ROOT"] = "1"
            settings[f"{name}_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    return settings


def _rendezvous():
    """Start the workers where they can meet; the exit status says whether all succeeded."""
    from .places import interface_of
    from .rendezvous import rendezvous

    command = [*_PROGRAM, "worker", "gloo"]
    parent = os.getppid()
    workers = []
    with rendezvous([("localhost", _WORKERS)]) as (port, of_rank):
        meeting = {
            "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
            "HOROVOD_GLOO_IFACE": interface_of("127.0.0.1"),
        }
        try:
            for own in of_rank:
                workers.append(subprocess.Popen(command, env=os.environ | meeting | own))
            # One that fails leaves the others waiting for it.
            while any(worker.poll() is None for worker in workers):
                if any(worker.poll() for worker in workers) or os.getppid() != parent:
                    return 1
                time.sleep(0.1)
            return max(abs(worker.returncode) for worker in workers)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def _worker(controller):
    """Add known numbers to those of the other worker; the exit status says whether it went well."""
    import horovod.tensorflow as hvd
    import numpy as np
    import tensorflow as tf

    if not (hvd.mpi_built() if controller == "mpi" else hvd.gloo_built()):
        print(f"this Horovod was built without {controller}")
        return 1
    hvd.init()
    numbers = np.arange(_NUMBERS, dtype=np.float32)
    total = hvd.allreduce(tf.constant(numbers * (1 + hvd.rank())), op=hvd.Sum).numpy()
    size, expected = hvd.size(), numbers * _WORKERS * (_WORKERS + 1) / 2
    hvd.shutdown()
    if size != _WORKERS or not np.array_equal(total, expected):
        print(f"wrong sum of {size} processes: {total[:4]}... instead of {expected[:4]}...")
        return 1
    print("the sum is right")
    return 0


if __name__ == "__main__":
    sys.exit(_rendezvous() if sys.argv[1] == "rendezvous" else _worker(sys.argv[2]))
