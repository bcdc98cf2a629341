"""Horovod, built for the TensorFlow that is installed.

Horovod comes as source alone, and needs help to compile against a current TensorFlow. The wheel
is kept in a cache, so that the next environment of the same kind only installs it.
"""

import os
import re
import shutil
import sys
import sysconfig
import time
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from astro_deepgalaxy.jobs import alone, atomic_path

from .compilation import (
    HOROVOD,
    RECIPE,
    build_environment,
    job_count,
    missing_packages,
    missing_tools,
    wheel_command,
    write_headers,
)
from .logged_run import run_logged
from .verification import clean_environment, verify

__all__ = ["TITLES", "Build", "BuildError", "build_horovod", "cache_folder"]

TITLES = {"gloo": "Gloo", "mpi": "MPI"}
"""What the controllers are called."""

_ERROR = re.compile(r"(?:(?:fatal )?\berror: |CMake Error|\bERROR: |\b\w+Error: ).*")


class BuildError(RuntimeError):
    """Horovod cannot be built, installed or used.

    Attributes
    ----------
    log : `~pathlib.Path` or None
        What was printed until then.
    """

    def __init__(self, message, log=None):
        super().__init__(message)
        self.log = log


@dataclass(frozen=True)
class Build:
    """A Horovod that works.

    Attributes
    ----------
    horovod, tensorflow : str
        Their versions.
    controller : {"gloo", "mpi"}
        What was proven to work.
    source : {"environment", "cache", "compiled"}
        Whether it was there already, came from a wheel in the cache, or was compiled.
    wheel : str
        Path of the wheel; empty when it was there already.
    seconds : float
        How long that took.
    log : str
        Path of the log.
    """

    horovod: str
    tensorflow: str
    controller: str
    source: str
    wheel: str
    seconds: float
    log: str


def build_horovod(mpi=False, cache=None, force=False, say=None, progress=None):
    """Install Horovod in this environment, and prove that it works.

    Parameters
    ----------
    mpi : bool
        Build it with MPI as well as Gloo, and prove it by ``mpirun``.
    cache : path-like, optional
        Folder of wheels and logs, by default in the user's cache folder.
    force : bool
        Compile it even where it works already or the cache has it.
    say : callable, optional
        ``say(sentence)`` is called with what is done next.
    progress : callable, optional
        ``progress(percent)`` is called while it compiles.

    Returns
    -------
    Build

    Raises
    ------
    BuildError
        If something is missing or fails; a sentence says what to do.
    """
    start, say = time.monotonic(), say or (lambda sentence: None)
    controller = "mpi" if mpi else "gloo"
    tensorflow = _tensorflow_version()
    folder = cache_folder(cache, tensorflow, controller)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"

    def done(source, wheel=""):
        return Build(
            horovod=version("horovod"),
            tensorflow=tensorflow,
            controller=controller,
            source=source,
            wheel=str(wheel),
            seconds=time.monotonic() - start,
            log=str(log),
        )

    with alone(folder):
        log.write_text("")
        if not force and find_spec("horovod") is not None:
            say(f"Trying the Horovod that is installed with {TITLES[controller]}")
            if verify(controller, log):
                return done("environment")
        wheel = None if force else next(folder.glob("horovod-*.whl"), None)
        if wheel is not None:
            say(f"Installing {wheel}")
            _install(wheel, log)
            if verify(controller, log):
                return done("cache", wheel)
        missing = missing_tools(mpi)
        if missing:
            raise BuildError(f"Horovod cannot be built: {'; '.join(missing)}")
        wheel = _compile(folder, controller, tensorflow, log, say, progress)
        _install(wheel, log)
        say("Letting two processes add known numbers")
        if not verify(controller, log):
            raise BuildError(
                f"Horovod {HOROVOD} was built for TensorFlow {tensorflow}, but two processes "
                f"could not add known numbers by it with {TITLES[controller]}: {_reason(log)}",
                log,
            )
        return done("compiled", wheel)


def cache_folder(cache, tensorflow, controller):
    """Folder of the wheel for one kind of environment.

    Parameters
    ----------
    cache : path-like or None
        Folder of all of them, by default in the user's cache folder.
    tensorflow : str
        The version of TensorFlow.
    controller : {"gloo", "mpi"}
        What it is built with.

    Returns
    -------
    `~pathlib.Path`
    """
    if cache is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(home) / "astro-deepgalaxy" / "horovod"
    python = f"{sys.implementation.name}{sys.version_info.major}.{sys.version_info.minor}"
    parts = (HOROVOD, f"recipe{RECIPE}", python, sysconfig.get_platform(), tensorflow, controller)
    return Path(cache) / "-".join(parts)


def _tensorflow_version():
    if sys.platform == "win32":
        raise BuildError("Horovod does not run on Windows; use Linux, or Linux under Windows")
    if find_spec("pip") is None:
        raise BuildError("this environment has no pip: install it by 'python -m ensurepip'")
    try:
        return version("tensorflow")
    except PackageNotFoundError:
        raise BuildError(
            "TensorFlow is not installed in this environment, and Horovod is built for the one "
            "that is: install it by 'pip install tensorflow'"
        ) from None


def _compile(folder, controller, tensorflow, log, say, progress):
    """Build the wheel into a folder of the cache."""
    jobs = job_count()
    say(
        f"Compiling Horovod {HOROVOD} for TensorFlow {tensorflow} with {TITLES[controller]}, "
        f"{jobs} files at a time: this takes minutes"
    )

    def follow(line):
        percent = re.match(r"\s*\[\s*(\d+)%\]", line)
        if percent and progress is not None:
            progress(int(percent.group(1)))

    with TemporaryDirectory(prefix="horovod-") as scratch:
        scratch = Path(scratch)
        headers, tools = scratch / "include", scratch / "tools"
        write_headers(headers)
        _get_build_packages(tools, log)
        environment = build_environment(headers, tools, controller, jobs)
        if not run_logged(wheel_command(scratch / "wheel"), log, environment, on_line=follow):
            raise BuildError(f"Horovod {HOROVOD} could not be compiled: {_reason(log)}", log)
        (made,) = (scratch / "wheel").glob("horovod-*.whl")
        wheel = folder / made.name
        with atomic_path(wheel) as partial:
            shutil.copyfile(made, partial)
    return wheel


def _get_build_packages(folder, log):
    """Put what only building needs, and the environment lacks, into a folder."""
    wanted = missing_packages()
    folder.mkdir()
    if not wanted:
        return
    command = [sys.executable, "-m", "pip", "install", "--no-deps", f"--target={folder}"]
    if not run_logged([*command, *wanted], log, clean_environment()):
        raise BuildError(
            f"building Horovod needs {', '.join(wanted)}, which pip could not get: {_reason(log)}",
            log,
        )


def _install(wheel, log):
    """Install the wheel, and what it needs where that is missing."""
    pip = [sys.executable, "-m", "pip", "install"]
    # Both: the second alone would keep an installed one, the first alone does not look at needs.
    for options in (["--force-reinstall", "--no-deps"], []):
        if not run_logged([*pip, *options, str(wheel)], log, clean_environment()):
            raise BuildError(f"{wheel} could not be installed: {_reason(log)}", log)
    invalidate_caches()


def _reason(log):
    """The first line of the log's last command that speaks of an error."""
    lines = log.read_text(errors="replace").splitlines()
    last = max((i for i, line in enumerate(lines) if line.startswith("$ ")), default=0)
    for i, line in enumerate(lines[last:], start=last):
        if found := _ERROR.search(line):
            # CMake says where first, and what in the lines after.
            more = [text.strip() for text in lines[i + 1 : i + 7]] if "CMake" in line else []
            return " ".join(filter(None, [found.group().strip(), *more]))
    return lines[-1].strip() if lines else "nothing was printed"
