"""A worker: ``python -m astro_deepgalaxy_horovod.worker FOLDER``, started by `launch`.

The folder has ``run.json`` with the job and the settings; the worker says there how it goes.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

from .allocation import rank_and_size
from .places import interface_of
from .settings import available_cores
from .status import Status, count_statuses

__all__ = ["bind", "end_with_parent", "main", "set_threads", "train"]

_MEETING_SECONDS = 600.0
_PR_SET_PDEATHSIG = 1


def main(folder):
    """Run a worker to its end.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the run.

    Returns
    -------
    int
        Exit status: 0 when the job is done, 3 when it was stopped, 1 when it failed.
    """
    end_with_parent()
    folder = Path(folder)
    bind(_own_cores())
    if "HOROVOD_GLOO_RENDEZVOUS_ADDR" in os.environ:
        interface = interface_of(os.environ["HOROVOD_GLOO_RENDEZVOUS_ADDR"])
        os.environ.setdefault("HOROVOD_GLOO_IFACE", interface)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))

    from astro_deepgalaxy.trainers import TrainingJob

    from .settings import Settings

    job, settings = TrainingJob(**run["job"]), Settings(**run["settings"])
    return train(job, settings, folder, progress=False)


def train(job, settings, folder, progress):
    """Take part in the training of a job.

    Parameters
    ----------
    job : TrainingJob
        What to train.
    settings : Settings
        How.
    folder : `~pathlib.Path`
        Where to say how it goes.
    progress : bool or None
        Show a progress bar in the first worker; None shows it on a terminal only.

    Returns
    -------
    int
        Exit status, as `main`.
    """
    import tensorflow as tf

    set_threads()
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    import horovod.tensorflow as hvd
    from horovod.common.exceptions import HorovodInternalError

    from .elastic import lost_workers, run_elastic
    from .training import StoppedEarly, Training

    rank, workers = rank_and_size()
    status = Status(folder, rank)
    status.write("starting")
    _await(folder, workers)
    hvd.init()
    before = {}
    try:
        if hvd.size() != workers:
            raise ValueError(
                f"Horovod sees {hvd.size()} workers, but {workers} were started: it does not know "
                "who started them; 'astro-deepgalaxy horovod build --mpi' builds it for mpirun"
            )
        training = Training(job, settings, status, progress)
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, training.ask_to_stop)
        if hvd.rank() == 0:
            training.restore()
        if settings.elastic:
            run_elastic(training)
        else:
            with lost_workers():
                training.synchronise()
                training.run()
    except StoppedEarly as stopped:
        status.write("stopped", error=str(stopped))
        return 3
    except HorovodInternalError as error:
        status.write("failed", kind="HorovodInternalError", error=str(error))
        return 1
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]  # TensorFlow says what is wrong at the end
        status.write("failed", kind=type(error).__name__, error=lines[-1])
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    status.write("done")
    hvd.shutdown()
    return 0


def _await(folder, workers):
    """Wait for all to be as far: Horovod gives up at once who comes late to its first meeting."""
    until = time.monotonic() + _MEETING_SECONDS
    while count_statuses(folder) < workers:
        if time.monotonic() > until:
            raise ValueError(
                f"only {count_statuses(folder)} of {workers} workers wrote into {folder} within "
                f"{_MEETING_SECONDS:.0f} s; it must be a folder that all hosts share"
            )
        time.sleep(0.2)


def set_threads():
    """Let TensorFlow have a thread for each core of this process."""
    import tensorflow as tf

    # In a program that has used it before, it is as its author wanted it.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(len(available_cores()))
        tf.config.threading.set_inter_op_parallelism_threads(1)


def end_with_parent():
    """Be killed when the parent is: nobody would watch this process any more."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def bind(cores):
    """Keep this process to some cores; the threads of its libraries are started there.

    Parameters
    ----------
    cores : collection of int
        Numbers of the cores; none leaves it as it is.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(cores) & os.sched_getaffinity(0) or os.sched_getaffinity(0))


def _own_cores():
    """The cores that the launcher has meant for this worker."""
    own = os.environ.get("ASTRO_DEEPGALAXY_CORES", "")
    if ";" in own:  # by MPI all are given the same variables
        own = own.split(";")[rank_and_size()[0]]
    return [int(core) for core in own.split(",") if core]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
