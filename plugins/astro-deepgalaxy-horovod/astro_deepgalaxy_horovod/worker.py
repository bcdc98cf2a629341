"""A worker: ``python -m astro_deepgalaxy_horovod.worker FOLDER``, started by `launch`.

The folder has ``run.json`` with the job and the settings; the worker says there how it goes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from .allocation import rank_and_size
from .places import interface_of
from .status import Status, read_statuses

__all__ = ["bind", "main", "train"]

_MEETING_SECONDS = 600.0


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

    tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    tf.config.threading.set_inter_op_parallelism_threads(1)
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
    try:
        training = Training(job, settings, status, progress)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, training.ask_to_stop)
        if hvd.rank() == 0:
            training.checkpoints.sweep()
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
    status.write("done")
    hvd.shutdown()
    return 0


def _await(folder, workers):
    """Wait for all to be as far: Horovod gives up at once who comes late to its first meeting."""
    until = time.monotonic() + _MEETING_SECONDS
    while len(read_statuses(folder)) < workers and time.monotonic() < until:
        time.sleep(0.1)


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
