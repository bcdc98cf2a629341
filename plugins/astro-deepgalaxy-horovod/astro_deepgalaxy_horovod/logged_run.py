"""Commands whose output goes to a log, and of whose processes none is left behind."""

import os
import signal
import subprocess
import threading
from contextlib import suppress

import psutil

__all__ = ["run_logged", "stop_tree"]


def run_logged(command, log, environment, seconds=None, on_line=None):
    """Run a command and append what it prints to a log.

    Parameters
    ----------
    command : list of str
        The program and its arguments.
    log : path-like
        File that is appended to.
    environment : dict
        Its environment variables.
    seconds : float, optional
        The command and all its children are killed after so long.
    on_line : callable, optional
        ``on_line(text)`` is called with each line of its output.

    Returns
    -------
    bool
        Whether it ended with success, in time.

    Raises
    ------
    FileNotFoundError
        If there is no such program.
    """
    late = threading.Event()
    with open(log, "a", errors="replace") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

        def give_up():
            late.set()
            stop_tree(process)

        timer = threading.Timer(seconds or threading.TIMEOUT_MAX, give_up)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if on_line is not None:
                    on_line(line)
            process.wait()
        finally:
            timer.cancel()
            stop_tree(process)
        if late.is_set():
            file.write(f"stopped, as it did not end within {seconds:.0f} s\n")
    return process.returncode == 0 and not late.is_set()


def stop_tree(process):
    """Kill a process, its descendants and its session's group.

    Parameters
    ----------
    process : `subprocess.Popen`
        A process that was started with ``start_new_session=True``.
    """
    try:
        tree = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        tree = []
    # The group outlives its leader, and still has its number while it has a member.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in tree:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()
