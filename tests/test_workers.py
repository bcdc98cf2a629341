import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from astro_deepgalaxy import workers
from astro_deepgalaxy.workers import OwnProcess, WorkerDiedError, Workers


def test_results_come_from_other_processes_and_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(Workers(2).run(pow, [(2, k) for k in range(20)], ordered=True)) == [
        2**k for k in range(20)
    ]
    assert set(Workers(2).run(os.getcwd, [()] * 3)) == {str(tmp_path)}
    assert os.getpid() not in set(Workers(2).run(os.getpid, [()] * 3))
    assert set(Workers(1).run(os.getpid, [()] * 3)) == {os.getpid()}


def test_a_caller_that_has_enough_is_not_warned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = Workers(2).run(time.sleep, [(0.1,)] * 20)
        assert next(results) is None
        results.close()


def test_a_death_is_an_error_and_another_process_goes_on():
    with pytest.raises(WorkerDiedError):
        list(Workers(2).run(os._exit, [(1,)]))
    with OwnProcess() as process:
        with pytest.raises(WorkerDiedError):
            process.call(os._exit, 1)
        assert process.call(pow, 2, 3) == 8
        with pytest.raises(ValueError, match="invalid literal"):
            process.call(int, "x")


def test_a_process_of_another_parent_is_not_watched(monkeypatch):
    monkeypatch.setattr(workers.threading, "Thread", None)  # an error if one is started
    for parent in (None, os.getpid(), 2**30):
        assert workers._in_folder(os.getcwd(), parent, pow, 2, 3) == 8


# Tells who does the work, and then does it for so long that somebody has to end it.
ENDLESS = """
import os, sys, time
from astro_deepgalaxy.workers import OwnProcess, Workers

sleep = "import os, time; open(f'{os.getpid()}', 'w').close(); time.sleep(300)"
if sys.argv[1] == "own":
    with OwnProcess() as process:
        process.call(exec, sleep, {})
else:
    list(Workers(2).run(exec, [(sleep, {})] * 2))
"""


def is_running(pid):
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize(("kind", "n"), [("own", 1), ("pool", 2)])
def test_workers_end_when_their_parent_is_killed(tmp_path, kind, n):
    parent = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, kind], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: len(list(tmp_path.iterdir())) == n, 60)
        pids = [int(path.name) for path in tmp_path.iterdir()]
        assert all(map(is_running, pids))
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not any(map(is_running, pids)), 30)
