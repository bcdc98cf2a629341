"""Workers that stay, and do and tell what they are asked."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

from ..launch import gloo_environment
from ..places import remote_command
from ..rendezvous import rendezvous

__all__ = ["Crew"]

_MODULE = f"{__package__}.measured_worker"


class Crew:
    """Processes that run `measured_worker`; a context manager.

    Parameters
    ----------
    places : list of Place
        Where they run.
    cores : list of list of int or None
        Numbers of the cores of each; None leaves it all of its host.
    environment : dict of str to str
        Variables to set for them.
    together : bool
        Join them by Horovod.
    """

    def __init__(self, places, cores, environment, together):
        self.places, self.cores, self.together = places, cores, together
        self.environment = {"TF_CPP_MIN_LOG_LEVEL": "2"} | environment
        self._stack = contextlib.ExitStack()
        self._workers = []

    def __enter__(self):
        with self._stack:
            told = [{}] * len(self.places)
            if self.together:
                slots = {}
                for place in self.places:
                    slots[place.host] = slots.get(place.host, 0) + 1
                port, told = self._stack.enter_context(rendezvous(list(slots.items())))
                told = [t | gloo_environment(self.places, port) for t in told]
            self._stack.callback(self._end)
            for place, cores, variables in zip(self.places, self.cores, told, strict=True):
                self._workers.append(self._start(place, cores, variables))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def begin(self, role, patience=600, **network):
        """Tell them what they are.

        Parameters
        ----------
        role : str
            One of those of `measured_worker`.
        patience : float
            Seconds to wait for them.
        **network
            What they train.

        Returns
        -------
        dict
            What the first one tells about itself.
        """
        return self._ask({"role": role, **network}, self._workers, patience)[0]

    def ask(self, do, only=None, patience=600, **how):
        """Have them do something.

        Parameters
        ----------
        do : str
            What.
        only : int, optional
            Ask so many of them; by default all.
        patience : float
            Seconds to wait for them.
        **how
            More about it.

        Returns
        -------
        list of dict
            What each answers.
        """
        return self._ask({"do": do, **how}, self._workers[:only], patience)

    @contextlib.contextmanager
    def at_rest(self):
        """Stop those on this machine, background threads included, until the end of the block."""
        here = [
            worker.process
            for place, worker in zip(self.places, self._workers, strict=True)
            if place.local
        ]
        for process in here:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in here:
                process.send_signal(signal.SIGCONT)

    def _start(self, place, cores, variables):
        variables = self.environment | variables
        if cores is not None:
            variables["ASTRO_DEEPGALAXY_CORES"] = ",".join(map(str, cores))
        words = [sys.executable, "-m", _MODULE]
        if not place.local:
            words = remote_command(place.host, words, variables)
            words.remove("-tt")  # a terminal would repeat what it is told
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the stack
        self._stack.callback(log.close)
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | variables,
            start_new_session=True,
        )
        return _Worker(process, log)

    def _ask(self, question, workers, patience):
        line = (json.dumps(question) + "\n").encode()
        for worker in workers:
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.write(line)
                worker.process.stdin.flush()
        end = time.monotonic() + patience
        answers = {}
        while len(answers) < len(workers):
            waiting = {w.process.stdout: i for i, w in enumerate(workers) if i not in answers}
            ready = select.select(list(waiting), [], [], max(0.0, end - time.monotonic()))[0]
            if not ready:
                raise RuntimeError(
                    f"no answer from worker {', '.join(map(str, waiting.values()))} in "
                    f"{patience:g} s"
                )
            for stream in ready:
                rank = waiting[stream]
                text = stream.readline()
                if not text:
                    raise RuntimeError(f"worker {rank} died: {workers[rank].why()}")
                answer = json.loads(text)
                if "error" in answer:
                    raise RuntimeError(f"worker {rank} failed: {answer['error']}")
                answers[rank] = answer
        return [answers[rank] for rank in range(len(workers))]

    def _end(self):
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.process.stdin.close()
        end = time.monotonic() + 10
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.1, end - time.monotonic()))
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
            worker.process.stdout.close()
        self._workers = []


class _Worker:
    """A process and what it prints."""

    def __init__(self, process, log):
        self.process, self.log = process, log

    def why(self):
        """The last line that it printed, or how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with status {self.process.returncode}"
