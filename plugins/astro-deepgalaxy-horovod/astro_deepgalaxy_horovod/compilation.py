"""How Horovod is compiled: the tools, the environment and the command."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from .verification import clean_environment, search_path

__all__ = [
    "HOROVOD",
    "RECIPE",
    "build_environment",
    "job_count",
    "missing_packages",
    "missing_tools",
    "wheel_command",
    "write_headers",
]

HOROVOD = "0.28.1"
"""The version that is built: the last one."""

RECIPE = 1
"""Number of the way in which it is built; wheels of another number are not used again."""

JOB_MEMORY = 2 << 30
"""Bytes of memory that compiling one file may take."""

# The one file that includes these has an empty body without a GPU, and TensorFlow's wheels do not
# bring all that they include in turn: empty ones come first on the compiler's path.
_UNUSED_HEADERS = (
    "tensorflow/compiler/tf2xla/xla_op_kernel.h",
    "tensorflow/compiler/tf2xla/xla_op_registry.h",
    "tensorflow/compiler/xla/client/xla_builder.h",
    "tensorflow/compiler/xla/service/custom_call_target_registry.h",
    "tensorflow/compiler/xla/service/hlo.pb.h",
    "tensorflow/compiler/xla/shape.h",
    "tensorflow/compiler/xla/xla_data.pb.h",
)

# What it is, the programs of which one is needed, and the packages of Debian and conda-forge.
_COMPILER = ("a C++ compiler", ("c++", "g++", "clang++"), "g++", "gxx")
_MAKE = ("the program make", ("make",), "make", "make")
_MPI = (
    ("the MPI compiler mpicxx", ("mpicxx",), "libopenmpi-dev", "openmpi-mpicxx"),
    ("the MPI launcher mpirun", ("mpirun",), "openmpi-bin", "openmpi"),
)
_CMAKE_VERSION = (3, 13)
_SETUPTOOLS_LIMIT = 81  # from there on pkg_resources is gone, on which Horovod's setup.py rests


def missing_tools(mpi=False):
    """What compiling needs and is not installed.

    Parameters
    ----------
    mpi : bool
        Whether with MPI.

    Returns
    -------
    list of str
        A sentence for each, with what to install.
    """
    needed = [_COMPILER, _MAKE, *(_MPI if mpi else ())]
    chosen = shlex.split(os.environ.get("CXX", ""))[:1]
    sentences = []
    for what, programs, debian, conda in needed:
        programs = chosen if chosen and what == _COMPILER[0] else programs
        if not any(shutil.which(program, path=search_path()) for program in programs):
            sentences.append(
                f"{what} ({' or '.join(programs)}) is missing: install it by "
                f"'apt install {debian}' or 'conda install -c conda-forge {conda}'"
            )
    return sentences


def missing_packages():
    """What pip must get for building alone.

    Returns
    -------
    list of str
        Requirements; empty when the environment has them all.
    """
    wanted = []
    setuptools = _major("setuptools")
    if setuptools is None or setuptools >= _SETUPTOOLS_LIMIT:
        wanted.append(f"setuptools<{_SETUPTOOLS_LIMIT}")
    if _major("wheel") is None:
        wanted.append("wheel")
    if not _has_cmake():
        wanted.append("cmake")
    return wanted


def job_count():
    """How many files to compile at once: one for each core, if memory allows.

    Returns
    -------
    int
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores, _free_memory() // JOB_MEMORY))


def _free_memory():
    """Bytes that this process and its children may still take."""
    free = psutil.virtual_memory().available
    try:  # a batch system grants less than the machine has
        name = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        group = Path("/sys/fs/cgroup") / name
        return min(free, int((group / "memory.max").read_text()))
    except (OSError, ValueError):
        return free


def write_headers(folder):
    """Write the empty headers that take the place of those TensorFlow does not bring whole.

    Parameters
    ----------
    folder : `~pathlib.Path`
        A folder for the compiler's path.
    """
    for name in _UNUSED_HEADERS:
        header = folder / name
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text("#pragma once\n")


def build_environment(headers, tools, controller, jobs):
    """The environment variables for building the wheel.

    Parameters
    ----------
    headers, tools : `~pathlib.Path`
        Folders of the empty headers and of the tools that only building needs.
    controller : {"gloo", "mpi"}
        What it is built with.
    jobs : int
        Files to compile at once.

    Returns
    -------
    dict
    """
    given = clean_environment()
    return given | {
        "CMAKE_GENERATOR": "Unix Makefiles",
        "CMAKE_POLICY_VERSION_MINIMUM": "3.5",  # CMake 4 refuses Gloo otherwise
        "CXXFLAGS": f"-I{headers} {given.get('CXXFLAGS', '')}".strip(),
        "HOROVOD_WITH_GLOO": "1",
        "HOROVOD_WITH_MPI" if controller == "mpi" else "HOROVOD_WITHOUT_MPI": "1",
        "HOROVOD_WITH_TENSORFLOW": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITHOUT_PYTORCH": "1",
        "MAKEFLAGS": f"-j{jobs}",
        "PATH": f"{tools / 'bin'}{os.pathsep}{search_path()}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(tools), given.get("PYTHONPATH")))),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def wheel_command(folder):
    """The command that builds the wheel.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Where the wheel goes.

    Returns
    -------
    list of str
    """
    # pip's own cache would give a wheel that was built for another TensorFlow.
    options = ["--verbose", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    options += ["--no-binary=horovod", f"--wheel-dir={folder}"]
    return [sys.executable, "-m", "pip", "wheel", *options, f"horovod=={HOROVOD}"]


def _major(distribution):
    try:
        return int(version(distribution).split(".")[0])
    except PackageNotFoundError:
        return None


def _has_cmake():
    program = shutil.which("cmake", path=search_path())
    if program is None:
        return False
    made = subprocess.run([program, "--version"], capture_output=True, text=True)
    numbers = re.search(r"version (\d+)\.(\d+)", made.stdout)
    return numbers is not None and tuple(map(int, numbers.groups())) >= _CMAKE_VERSION
