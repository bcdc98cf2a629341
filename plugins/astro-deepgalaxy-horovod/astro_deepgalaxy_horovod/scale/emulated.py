"""Workers whose computing is a sleep, and whose gradients travel for real through Horovod."""

import contextlib
import multiprocessing.connection
import os
import time

import numpy as np

from ..rendezvous import rendezvous
from .namespaces import INTERFACE, enter, inside, rename_host

__all__ = ["EmulatedCrew", "TENSORS"]

TENSORS = 20
_PATIENCE = 300.0  # seconds for an answer


class EmulatedCrew:
    """Emulated workers on this machine; a context manager.

    Parameters
    ----------
    workers : int
        How many, dealt evenly to the hosts.
    hosts : EmulatedHosts, optional
        Namespaces that they run in; by default they share this machine's own loopback.
    cycle_time : float
        Seconds between two looks of Horovod's background thread.
    """

    def __init__(self, workers, hosts=None, cycle_time=0.02):
        self.workers, self.hosts, self.cycle_time = workers, hosts, cycle_time
        number = 1 if hosts is None else min(hosts.number, workers)
        self.per_host = -(-workers // number)
        if self.per_host * number != workers:
            raise ValueError(f"{workers} workers cannot be dealt evenly to {number} hosts")
        self.slots = [(f"host{i}", self.per_host) for i in range(number)]
        self._stack = contextlib.ExitStack()
        self._members = []

    def __enter__(self):
        with self._stack:
            where = contextlib.nullcontext() if self.hosts is None else inside(self.hosts.names[0])
            with where:
                port, told = self._stack.enter_context(rendezvous(self.slots))
            shared = {
                "HOROVOD_GLOO_RENDEZVOUS_ADDR": (
                    "127.0.0.1" if self.hosts is None else self.hosts.address(0)
                ),
                "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
                "HOROVOD_GLOO_IFACE": "lo" if self.hosts is None else INTERFACE,
                "HOROVOD_GLOO_TIMEOUT_SECONDS": "120",
                "HOROVOD_CONTROLLER": "gloo",
                "HOROVOD_CPU_OPERATIONS": "gloo",
                "HOROVOD_CYCLE_TIME": f"{1000 * self.cycle_time:g}",
            }
            cores = sorted(os.sched_getaffinity(0))
            context = multiprocessing.get_context("forkserver")
            # TensorFlow is imported once, and the workers are copies of the process that did.
            context.set_forkserver_preload(["horovod.tensorflow"])
            self._stack.callback(self._stop)
            for rank, variables in enumerate(told):
                host = rank // self.per_host
                place = self.hosts and (self.hosts.names[host], self.hosts.address(host))
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work,
                    args=(theirs, shared | variables, place, cores[rank % len(cores)]),
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._members.append((process, ours))
            self._answers()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def allreduce(self, nbytes, repeats):
        """Time allreduces one after the other.

        Parameters
        ----------
        nbytes : int
            Size of what is added up.
        repeats : int
            How often, after two that do not count.

        Returns
        -------
        numpy.ndarray
            Seconds of each, of the worker that it took longest.
        """
        return self._ask("allreduce", nbytes, repeats + 2)[2:]

    def steps(self, compute, nbytes):
        """Time steps, each a sleep and an allreduce.

        Parameters
        ----------
        compute : numpy.ndarray
            Seconds of each sleep, (worker, step).
        nbytes : int
            Size of what is added up.

        Returns
        -------
        numpy.ndarray
            Seconds of each step.
        """
        # The first one brings all of them together.
        compute = np.concatenate([np.full((self.workers, 1), compute.mean()), compute], axis=1)
        return self._ask("steps", [row.tolist() for row in compute], nbytes)[1:]

    def idle(self, seconds):
        """Core time that the background thread takes when there is nothing to do.

        Parameters
        ----------
        seconds : float
            For how long to look.

        Returns
        -------
        float
            Mean share of a core of each worker.
        """
        return float(self._ask("idle", seconds, reduce=np.mean)[0])

    def _ask(self, what, *arguments, reduce=np.max):
        for rank, (_, pipe) in enumerate(self._members):
            each = [a[rank] if isinstance(a, list) else a for a in arguments]
            pipe.send((what, *each))
        return reduce(self._answers(), axis=0)

    def _answers(self):
        rank_of = {pipe: rank for rank, (_, pipe) in enumerate(self._members)}
        answers, end = {}, time.monotonic() + _PATIENCE
        while len(answers) < self.workers:
            waiting = [pipe for pipe, rank in rank_of.items() if rank not in answers]
            ready = multiprocessing.connection.wait(waiting, max(0.0, end - time.monotonic()))
            if not ready:
                ranks = ", ".join(str(rank_of[pipe]) for pipe in waiting)
                raise RuntimeError(f"no answer from emulated worker {ranks} in {_PATIENCE:g} s")
            for pipe in ready:
                try:
                    answer = pipe.recv()
                except (EOFError, OSError) as error:
                    raise RuntimeError(f"emulated worker {rank_of[pipe]} died") from error
                if isinstance(answer, str):
                    raise RuntimeError(f"emulated worker {rank_of[pipe]} failed: {answer}")
                answers[rank_of[pipe]] = answer
        return np.array([answers[rank] for rank in range(self.workers)])

    def _stop(self):
        for _, pipe in self._members:
            with contextlib.suppress(OSError):
                pipe.send(None)
        end = time.monotonic() + 10
        for process, pipe in self._members:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()
        self._members = []


def _work(pipe, variables, place, core):
    """What an emulated worker does."""
    try:
        if place is not None:
            namespace, address = place
            enter(namespace)
            rename_host(address)
        os.sched_setaffinity(0, {core})
        os.environ |= variables
        import horovod.tensorflow as hvd
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        hvd.init()

        def add(nbytes):
            number = max(1, nbytes // 4 // TENSORS)
            arrays = [tf.zeros([number]) for _ in range(TENSORS)]
            return lambda: hvd.grouped_allreduce(arrays, op=hvd.Sum)[-1].numpy()

        pipe.send([])
        while True:
            asked = pipe.recv()
            if asked is None:
                break
            pipe.send(_ANSWERS[asked[0]](add, *asked[1:]))
        hvd.shutdown()
    except EOFError:
        pass
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(f"{type(error).__name__}: {error}")


def _allreduce(add, nbytes, repeats):
    together = add(nbytes)
    rng = np.random.default_rng(0)  # the same for all workers
    seconds = []
    for _ in range(repeats):
        time.sleep(rng.uniform(0.005, 0.025))  # no fixed phase to the cycles
        start = time.perf_counter()
        together()
        seconds.append(time.perf_counter() - start)
    return seconds


def _steps(add, compute, nbytes):
    together = add(nbytes)
    seconds = []
    for wait in compute:
        start = time.perf_counter()
        time.sleep(wait)
        together()
        seconds.append(time.perf_counter() - start)
    return seconds


def _idle(_, seconds):
    start = time.process_time()
    time.sleep(seconds)
    return [(time.process_time() - start) / seconds]


_ANSWERS = {"allreduce": _allreduce, "steps": _steps, "idle": _idle}
