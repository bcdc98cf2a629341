"""What building does on machines that lack something, without compiling anything."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from click.testing import CliRunner

pytest.importorskip("astro_deepgalaxy_horovod", reason="the plugin is not installed")

from astro_deepgalaxy_horovod import build, compilation, verification
from astro_deepgalaxy_horovod.build import BuildError, build_horovod, cache_folder
from astro_deepgalaxy_horovod.cli import horovod
from astro_deepgalaxy_horovod.logged_run import run_logged


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that makes a PATH of programs which do nothing, or what a script says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(compilation, "search_path", lambda: str(folder))
    monkeypatch.delenv("CXX", raising=False)

    def programs(*names, script="exit 0"):
        for name in names:
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    return programs


@pytest.fixture
def machine(tmp_path, monkeypatch, programs):
    """A machine whose pip and Horovod are played: set what works, and see what was run."""

    class Machine:
        installed = None  # whether there is a Horovod
        works = ()  # answers of the verification, one after the other
        runs = ()  # commands of pip
        pip = staticmethod(lambda command, log: True)

        def __init__(self):
            self.cache = tmp_path / "cache"
            self.runs = []

        def build(self, **options):
            return build_horovod(cache=self.cache, **options)

    made = Machine()
    programs("g++", "make", "cmake", script="echo cmake version 3.25.1")

    def run(command, log, environment, seconds=None, on_line=None):
        made.runs.append(command)
        with open(log, "a") as file:
            file.write(f"$ {' '.join(command)}\n")
        if "wheel" in command and (ok := made.pip(command, log)):
            folder = Path(next(o for o in command if o.startswith("--wheel-dir=")).split("=")[1])
            folder.mkdir()
            (folder / "horovod-0.28.1-py3-none-any.whl").write_text("a wheel")
            on_line("[ 50%] Building CXX object")
        else:
            ok = made.pip(command, log)
        made.installed = made.installed or (ok and "install" in command)
        return ok

    def verify(controller, log):
        answer, made.works = made.works[0], made.works[1:]
        return answer

    monkeypatch.setattr(build, "run_logged", run)
    monkeypatch.setattr(build, "verify", verify)
    monkeypatch.setattr(build, "version", lambda name: {"tensorflow": "2.21.0"}.get(name, "0.28.1"))
    monkeypatch.setattr(build, "missing_packages", list)
    monkeypatch.setattr(
        build, "find_spec", lambda name: made.installed if name == "horovod" else find_spec(name)
    )
    return made


def test_one_that_works_is_left_alone(machine):
    machine.installed, machine.works = True, [True]
    made = machine.build()
    assert (made.source, made.wheel, machine.runs) == ("environment", "", [])


def test_compiled_once_and_then_taken_from_the_cache(machine):
    machine.works = [True]
    percents = []
    made = machine.build(progress=percents.append)
    assert made.source == "compiled"
    assert percents == [50]
    assert Path(made.wheel).read_text() == "a wheel"
    assert [command[3] for command in machine.runs] == ["wheel", "install", "install"]

    machine.installed, machine.works, machine.runs = None, [True], []
    again = machine.build()
    assert (again.source, again.wheel) == ("cache", made.wheel)
    assert [command[3] for command in machine.runs] == ["install", "install"]


def test_a_wheel_of_the_cache_that_does_not_work_is_made_anew(machine):
    machine.works = [True]
    wheel = Path(machine.build().wheel)
    wheel.write_text("of a machine that was")
    machine.installed, machine.works = True, [False, False, True]
    assert machine.build().source == "compiled"
    assert wheel.read_text() == "a wheel"


def test_force_compiles_what_works(machine):
    machine.installed, machine.works = True, [True]
    assert machine.build(force=True).source == "compiled"


def test_not_ready_unless_two_processes_can_add(machine):
    machine.works = [False]
    with pytest.raises(BuildError, match="two processes could not add known numbers") as caught:
        machine.build()
    assert caught.value.log.name == "build.log"


def test_the_compiler_s_first_error_is_said(machine):
    def fail(command, log):
        with open(log, "a") as file:
            file.write("warning: errors: none\n/a/b.cc:3:10: fatal error: x/y.h: No such file\n")
            file.write("compilation terminated.\nERROR: Failed to build one or more wheels\n")

    machine.pip = fail
    message = r"could not be compiled: fatal error: x/y\.h: No such file$"
    with pytest.raises(BuildError, match=message):
        machine.build()
    result = CliRunner().invoke(horovod, ["build", "--cache", str(machine.cache)])
    assert result.exit_code == 1
    *tail, sentence = result.stderr.strip().splitlines()
    assert tail[-1] == "ERROR: Failed to build one or more wheels"
    assert sentence.startswith("Error: Horovod 0.28.1 could not be compiled: fatal error")
    assert Path(sentence.split("the whole log is ")[1]).is_file()
    assert "Traceback" not in result.output
    assert not list(machine.cache.glob("**/*.whl"))


def test_what_cmake_says_is_said(machine):
    def fail(command, log):
        with open(log, "a") as file:
            file.write("CMake Error at a.cmake:6 (message):\n  The C++ compiler\n\n")
            file.write('    "/usr/bin/false"\n\n  is not able to compile.\n\nERROR: Failed\n')

    machine.pip = fail
    with pytest.raises(BuildError, match=r'The C.. compiler "/usr/bin/false" is not able to comp'):
        machine.build()


def test_as_json(machine):
    machine.works = [True]
    result = CliRunner().invoke(horovod, ["build", "--cache", str(machine.cache), "--json"])
    data = json.loads(result.stdout)
    assert data["source"] == "compiled"
    assert (data["horovod"], data["tensorflow"], data["controller"]) == ("0.28.1", "2.21.0", "gloo")


def test_tools_that_pip_cannot_get(machine, monkeypatch):
    monkeypatch.setattr(build, "missing_packages", lambda: ["cmake"])

    def offline(command, log):
        with open(log, "a") as file:
            file.write("ERROR: No matching distribution found for cmake\n")

    machine.pip = offline
    with pytest.raises(BuildError, match=r"needs cmake, which pip could not get: ERROR: No match"):
        machine.build()


def test_missing_compiler_and_make(programs, machine):
    (Path(compilation.search_path()) / "g++").unlink()
    with pytest.raises(BuildError, match=r"a C\+\+ compiler .* is missing: .*'apt install g\+\+'"):
        machine.build()
    (Path(compilation.search_path()) / "make").unlink()
    assert len(compilation.missing_tools()) == 2


def test_missing_mpi(programs):
    programs("g++", "make", "mpirun")
    assert compilation.missing_tools() == []
    (sentence,) = compilation.missing_tools(mpi=True)
    assert "mpicxx" in sentence
    assert "apt install libopenmpi-dev" in sentence
    assert "conda install -c conda-forge openmpi-mpicxx" in sentence


def test_the_compiler_that_is_asked_for(programs, monkeypatch):
    programs("g++", "make")
    monkeypatch.setenv("CXX", "mycc -std=c++17")
    assert "mycc" in compilation.missing_tools()[0]
    programs("mycc")
    assert compilation.missing_tools() == []


@pytest.mark.parametrize(
    ("installed", "cmake", "expected"),
    [
        ({"setuptools": "80.9.0", "wheel": "0.45"}, "cmake version 3.25.1", []),
        ({"setuptools": "80.9.0", "wheel": "0.45"}, "cmake version 4.1.0-rc1", []),
        ({"setuptools": "80.9.0", "wheel": "0.45"}, "cmake version 3.5.2", ["cmake"]),
        ({"setuptools": "81.0", "wheel": "0.45"}, None, ["setuptools<81", "cmake"]),
        ({}, "cmake version 3.25.1", ["setuptools<81", "wheel"]),
    ],
)
def test_packages_for_building(programs, monkeypatch, installed, cmake, expected):
    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(compilation, "version", version)
    if cmake:
        programs("cmake", script=f"echo {cmake}")
    assert compilation.missing_packages() == expected


def test_without_tensorflow_or_pip(monkeypatch, tmp_path):
    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(build, "version", version)
    with pytest.raises(BuildError, match=r"TensorFlow is not installed .* 'pip install tensor"):
        build_horovod(cache=tmp_path)
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match="has no pip"):
        build_horovod(cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_kind_of_environment_has_its_folder(tmp_path, monkeypatch):
    folders = {
        cache_folder(tmp_path, tensorflow, controller)
        for tensorflow in ("2.20.0", "2.21.0")
        for controller in ("gloo", "mpi")
    }
    monkeypatch.setattr(build, "RECIPE", build.RECIPE + 1)
    folders.add(cache_folder(tmp_path, "2.21.0", "gloo"))
    monkeypatch.setattr(build, "HOROVOD", "0.29.0")
    folders.add(cache_folder(tmp_path, "2.21.0", "gloo"))
    assert len(folders) == 6
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default = cache_folder(None, "2.21.0", "gloo")
    assert default.parent == tmp_path / "astro-deepgalaxy" / "horovod"


def test_empty_headers_come_first(tmp_path, monkeypatch):
    monkeypatch.setenv("HOROVOD_GPU_OPERATIONS", "NCCL")
    monkeypatch.setenv("CXXFLAGS", "-O2")
    monkeypatch.setenv("PYTHONPATH", "/own")
    headers, tools = tmp_path / "include", tmp_path / "tools"
    compilation.write_headers(headers)
    made = [path.relative_to(headers) for path in headers.glob("**/*.h")]
    assert len(made) == 7
    assert all(path.parts[:2] == ("tensorflow", "compiler") for path in made)

    gloo = compilation.build_environment(headers, tools, "gloo", 3)
    assert gloo["CXXFLAGS"] == f"-I{headers} -O2"
    assert gloo["MAKEFLAGS"] == "-j3"
    assert gloo["PYTHONPATH"] == f"{tools}{os.pathsep}/own"
    assert gloo["PATH"].startswith(str(tools / "bin"))
    assert gloo["HOROVOD_WITHOUT_MPI"] == "1"
    assert "HOROVOD_GPU_OPERATIONS" not in gloo
    mpi = compilation.build_environment(headers, tools, "mpi", 3)
    assert mpi["HOROVOD_WITH_MPI"] == "1"
    assert "HOROVOD_WITHOUT_MPI" not in mpi


def test_the_wheel_comes_from_source_and_no_cache_of_pip(tmp_path):
    command = compilation.wheel_command(tmp_path)
    assert command[:4] == [sys.executable, "-m", "pip", "wheel"]
    assert command[-1] == "horovod==0.28.1"
    assert {"--no-cache-dir", "--no-binary=horovod", "--no-build-isolation"} < set(command)


@pytest.mark.parametrize(("gib", "cores", "jobs"), [(1, 8, 1), (5, 8, 2), (64, 8, 8), (64, 1, 1)])
def test_jobs_fit_into_memory(monkeypatch, gib, cores, jobs):
    monkeypatch.setattr(compilation, "_free_memory", lambda: gib << 30)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert compilation.job_count() == jobs


def test_a_run_that_takes_too_long_leaves_nothing_behind(tmp_path):
    script = textwrap.dedent(
        """
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        apart = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
        )
        print(os.getpid(), child.pid, apart.pid, flush=True)
        time.sleep(600)
        """
    )
    start, log, seen = time.monotonic(), tmp_path / "log", []
    command = [sys.executable, "-c", script]
    assert not run_logged(command, log, dict(os.environ), seconds=2, on_line=seen.append)
    assert time.monotonic() - start < 30
    pids = [int(pid) for pid in seen[0].split()]
    assert len(pids) == 3
    for _ in range(100):
        alive = [p for p in pids if psutil.pid_exists(p)]
        alive = [p for p in alive if psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive
    assert "did not end within 2 s" in log.read_text()


def test_a_run_says_whether_it_succeeded(tmp_path):
    log = tmp_path / "log"
    assert run_logged([sys.executable, "-c", "print('fine')"], log, dict(os.environ))
    assert not run_logged([sys.executable, "-c", "1 / 0"], log, dict(os.environ))
    text = log.read_text()
    assert "fine\n" in text
    assert "ZeroDivisionError" in text


def test_the_commands_import_nothing_heavy():
    code = (
        "import sys, astro_deepgalaxy_horovod\n"
        "from astro_deepgalaxy_horovod.cli import horovod\n"
        "horovod(['--help'], standalone_mode=False)\n"
        "print(sorted({'tensorflow', 'keras', 'horovod', 'numpy'} & set(sys.modules)))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip().splitlines()[-1] == "[]"
    assert "build " in made.stdout


@pytest.mark.parametrize(
    ("size", "factor", "built", "status"),
    [(2, 3, True, 0), (2, 1, True, 1), (1, 3, True, 1), (2, 3, False, 1)],
)
def test_a_worker_takes_nothing_but_the_right_sum(monkeypatch, size, factor, built, status):
    horovod_of = SimpleNamespace(
        Sum="sum",
        init=lambda: None,
        shutdown=lambda: None,
        rank=lambda: 0,
        size=lambda: size,
        gloo_built=lambda: built,
        allreduce=lambda x, op: SimpleNamespace(numpy=lambda: x * factor),
    )
    monkeypatch.setitem(sys.modules, "horovod", SimpleNamespace(tensorflow=horovod_of))
    monkeypatch.setitem(sys.modules, "horovod.tensorflow", horovod_of)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(constant=lambda x: x))
    assert verification._worker("gloo") == status


@pytest.mark.horovod
@pytest.mark.parametrize("controller", ["gloo", "mpi"])
def test_two_processes_add(tmp_path, controller):
    log = tmp_path / "log"
    if controller == "mpi" and not shutil.which("mpirun"):
        pytest.skip("there is no mpirun")
    added = verification.verify(controller, log)
    if controller == "mpi" and "this Horovod was built without mpi" in log.read_text():
        assert not added
        pytest.skip("this Horovod was built without MPI")
    assert added, log.read_text()
    assert log.read_text().count("the sum is right") == 2


@pytest.mark.horovod
def test_a_worker_that_dies_takes_the_other_with_it(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\n"
        "rank = os.environ.get('HOROVOD_RANK')\n"
        "if rank is not None:\n"
        f"    open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close()\n"
        "    time.sleep(600 if rank == '0' else 2)\n"
        "    os._exit(3)\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    start = time.monotonic()
    assert not verification.verify("gloo", tmp_path / "log")
    assert time.monotonic() - start < 60
    pids = [int(file.name) for file in tmp_path.iterdir() if file.name.isdigit()]
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
