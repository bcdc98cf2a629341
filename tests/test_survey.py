"""Surveys of simulations: complete, resumable to the last bit, and clear about failure."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from astro_deepgalaxy.cli import main
from astro_deepgalaxy.simulate import simulation as simulation_module
from astro_deepgalaxy.simulate.plan import SurveyPlan
from astro_deepgalaxy.simulate.survey import claim, open_survey, run_survey

DATA = {
    "seed": 5,
    "run": {"particles": 1200, "duration": 300.0, "snapshots": 6, "softening": 0.5, "step": 4.0},
    "images": {"pixels": 32, "cameras": 2},
    "simulations": [
        {"mass_ratio": [0.5, 1.0], "separation": 30.0},
        {"kind": "isolated"},
    ],
}
PLAN = SurveyPlan.model_validate(DATA)
TOML = """
seed = 5
[run]
particles = 1200
duration = 300.0
snapshots = 6
softening = 0.5
step = 4.0
[images]
pixels = 32
cameras = 2
[[simulations]]
mass_ratio = [0.5, 1.0]
separation = 30.0
[[simulations]]
kind = "isolated"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished survey."""
    folder = tmp_path_factory.mktemp("survey") / "simulations"
    states = run_survey(folder, PLAN, processes=1, progress=False)
    assert [state.status for state in states] == ["done"] * 3
    return folder


def snapshots(folder):
    """Contents of every snapshot in a survey, by name."""
    found = {}
    for path in sorted(Path(folder).rglob("snap_*.h5")):
        with h5py.File(path) as file:
            digest = hashlib.sha256()
            for name in sorted(file):
                digest.update(file[name][()].tobytes())
            digest.update(repr(file.attrs["time"]).encode())
        found[str(path.relative_to(folder))] = digest.hexdigest()
    return found


def test_every_snapshot_is_there_and_nothing_else(folder):
    assert len(snapshots(folder)) == 3 * 6
    for simulation in open_survey(folder):
        files = {path.name for path in simulation.folder.iterdir()}
        assert files == {".lock", "state.json", "stars.h5", "history.ecsv", "snapshots"}
        times = [simulation.snapshot(i).time for i in range(6)]
        np.testing.assert_allclose(times, np.arange(6) * 60.0)
        masses, component, galaxy = simulation.stars()
        assert len(masses) == len(component) == len(galaxy) == len(simulation.snapshot(0).positions)
        assert simulation.history().energy_drift < 0.05
        assert not list(simulation.folder.rglob(".partial-*"))


def test_a_finished_survey_is_left_alone(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run_survey(folder, PLAN, processes=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_processes_give_the_same_snapshots(folder, tmp_path):
    run_survey(tmp_path / "parallel", PLAN, processes=2, progress=False)
    assert snapshots(tmp_path / "parallel") == snapshots(folder)


def test_a_dask_cluster_gives_the_same_snapshots(folder, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        local_directory=tmp_path / "workers",
    ) as cluster:
        states = run_survey(
            tmp_path / "cluster", PLAN, scheduler=cluster.scheduler_address, progress=False
        )
    assert [state.status for state in states] == ["done"] * 3
    assert os.getpid() not in {state.pid for state in states}
    assert snapshots(tmp_path / "cluster") == snapshots(folder)


def test_a_silent_scheduler_is_an_error(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
        run_survey(tmp_path, PLAN, scheduler="tcp://127.0.0.1:9", progress=False)


def test_kill_9_and_again(folder, tmp_path):
    plan = tmp_path / "grid.toml"
    plan.write_text(TOML, encoding="utf-8")
    start = "from astro_deepgalaxy.cli import main; main()"
    command = [sys.executable, "-c", start, "simulate", "survey", str(plan)]
    # What is left of this small simulation takes some tens of milliseconds: on a busy machine it
    # may be over before the kill.
    for attempt in range(5):
        target = tmp_path / f"killed {attempt}"
        process = subprocess.Popen([*command, "-o", str(target), "--processes", "1"])
        second = target / "simulations" / "sim_001" / "snapshots" / "snap_002.h5"
        end = time.monotonic() + 60
        while not second.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        states = [s.state for s in open_survey(target)]
        if states[1].status != "done":
            break
    assert states[0].status == "done"
    assert states[1].status == "interrupted"
    assert 0 < states[1].time < 300
    kept = target / "simulations" / "sim_000" / "snapshots" / "snap_005.h5"
    untouched = kept.stat().st_mtime_ns, second.stat().st_mtime_ns
    # A torn file, as a kill in the middle of writing leaves it.
    (second.parent / ".partial-1-snap_004.h5").write_bytes(b"torn")
    states = run_survey(target, PLAN, processes=1, progress=False)
    assert [state.status for state in states] == ["done"] * 3
    assert snapshots(target) == snapshots(folder)
    assert kept.stat().st_mtime_ns == untouched[0]
    assert not list(target.rglob(".partial-*"))


def test_two_commands_on_one_survey_share_the_work(folder, tmp_path):
    target = tmp_path / "shared"
    plan = tmp_path / "grid.toml"
    plan.write_text(TOML, encoding="utf-8")
    start = "from astro_deepgalaxy.cli import main; main()"
    command = [sys.executable, "-c", start, "simulate", "survey", str(plan)]
    commands = [
        subprocess.Popen([*command, "-o", str(target), "--processes", n], stderr=subprocess.PIPE)
        for n in ("1", "2")
    ]
    for process in commands:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert snapshots(target) == snapshots(folder)


def test_a_killed_worker_is_survived(folder, tmp_path):
    target = tmp_path / "worker"
    claim(target, PLAN)
    killed = []

    def kill():
        for _ in range(3000):
            running = [s.state for s in open_survey(target) if s.state.status == "running"]
            if running and running[0].time > 0:
                os.kill(running[0].pid, signal.SIGKILL)
                killed.append(running[0].pid)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    states = run_survey(target, PLAN, processes=2, progress=False)
    thread.join()
    assert killed
    assert killed[0] != os.getpid()
    assert [state.status for state in states] == ["done"] * 3
    assert snapshots(target) == snapshots(folder)


def test_lost_and_damaged_files_are_made_again(folder, tmp_path, caplog):
    target = tmp_path / "damaged"
    shutil.copytree(folder, target)
    first, second, third = open_survey(target)
    first.snapshot_file(3).unlink()
    second.snapshot_file(0).unlink()
    (second.folder / "checkpoint.h5").write_bytes(b"torn")
    (third.folder / "history.ecsv").unlink()
    for simulation in (first, second, third):
        assert simulation.state.status == "interrupted"
        assert "missing" in simulation.state.reason
    states = run_survey(target, PLAN, processes=1, progress=False)
    assert [state.status for state in states] == ["done"] * 3
    assert "checkpoint.h5: is no checkpoint" in caplog.text
    assert snapshots(target) == snapshots(folder)


def test_a_checkpoint_without_its_snapshots_starts_afresh(folder, tmp_path, monkeypatch):
    target = tmp_path / "halved"

    def stop(simulation, number):
        if number == 4:
            raise RuntimeError("stop")
        return original(simulation, number)

    original = simulation_module.Simulation.snapshot_file
    monkeypatch.setattr(simulation_module.Simulation, "snapshot_file", stop)
    run_survey(target, PLAN, processes=1, progress=False)
    monkeypatch.undo()
    simulation = open_survey(target)[0]
    assert simulation.state.reason == "RuntimeError: stop"
    assert (simulation.folder / "checkpoint.h5").exists()
    simulation.snapshot_file(1).unlink()
    run_survey(target, PLAN, processes=1, progress=False)
    assert snapshots(target) == snapshots(folder)


def test_the_way_of_looking_may_change(folder, tmp_path):
    target = tmp_path / "copy"
    shutil.copytree(folder, target)
    other = PLAN.model_copy(update={"images": PLAN.images.model_copy(update={"pixels": 64})})
    run_survey(target, other, progress=False)
    assert open_survey(target)[0].plan.images.pixels == 64


def test_a_failed_simulation_does_not_stop_the_others(folder, tmp_path, monkeypatch):
    target = tmp_path / "failing"
    original = simulation_module.write_snapshot

    def full_disk(path, snapshot):
        if "sim_001" in str(path) and "snap_003" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(path, snapshot)

    monkeypatch.setattr(simulation_module, "write_snapshot", full_disk)
    states = run_survey(target, PLAN, processes=1, progress=False)
    assert [state.status for state in states] == ["done", "failed", "done"]
    assert "no space left on the disk" in states[1].reason
    assert states[1].time == 120
    # After space is made, it goes on from where it was.
    monkeypatch.undo()
    states = run_survey(target, PLAN, processes=1, progress=False)
    assert [state.status for state in states] == ["done"] * 3
    assert snapshots(target) == snapshots(folder)


def test_a_really_full_disk(tmp_path):
    """On a file system of a megabyte, if this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    try:
        plan = SurveyPlan.model_validate(DATA | {"simulations": [{"separation": 30.0}]})
        images = plan.images.model_copy(update={"pixels": 16, "cameras": 1})
        plan = plan.model_copy(update={"images": images})
        (disk / "ballast").write_bytes(bytes(150_000))
        states = run_survey(disk / "s", plan, processes=1, progress=False)
        assert states[0].status in ("failed", "running")
        assert states[0].time < 300
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        states = run_survey(disk / "s", plan, processes=1, progress=False)
        assert states[0].status == "done"
        run_survey(tmp_path / "whole", plan, processes=1, progress=False)
        assert snapshots(disk / "s") == snapshots(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_another_survey_is_refused(folder):
    other = SurveyPlan.model_validate(DATA | {"seed": 6})
    with pytest.raises(ValueError, match=r"another seed \(5, not 6\)"):
        run_survey(folder, other)
    other = SurveyPlan.model_validate(DATA | {"run": DATA["run"] | {"particles": 3000}})
    with pytest.raises(ValueError, match=r"run\.particles \(1200, not 3000\)"):
        run_survey(folder, other)


def test_more_images_than_the_disk_holds_are_refused(tmp_path):
    plan = SurveyPlan.model_validate(
        DATA | {"images": {"pixels": 8192, "cameras": 1000}, "simulations": [{"number": 300}]}
    )
    with pytest.raises(ValueError, match=r"GB left; reduce images\.pixels"):
        claim(tmp_path / "huge", plan)
    assert not (tmp_path / "huge").exists()


def test_status_shows_each_simulation(folder):
    result = CliRunner().invoke(main, ["simulate", "status", str(folder)])
    assert result.exit_code == 0
    assert result.output.count("done") == 4
    assert "300 of 300 Myr" in result.output
    result = CliRunner().invoke(main, ["simulate", "status", str(folder), "--json"])
    summary = json.loads(result.output)
    assert summary["status"] == {"done": 3}
    assert [s["kind"] for s in summary["simulations"]] == ["merger", "merger", "isolated"]


def test_a_folder_without_survey_is_named(tmp_path):
    result = CliRunner().invoke(main, ["simulate", "status", str(tmp_path)])
    assert result.exit_code == 1
    assert "holds no survey of simulations" in result.output


def test_a_damaged_plan_or_state_is_no_traceback(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    state = copy / "simulations" / "sim_000" / "state.json"
    for text in ("{", "[]", '{"status": "done", "pid": "x"}', '{"status": "done", "time": null}'):
        state.write_text(text, encoding="utf-8")
        assert open_survey(copy)[0].state.status == "planned"
    (copy / "plan.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"plan\.json: cannot be read"):
        open_survey(copy)


def test_command_needs_one_plan(tmp_path):
    for arguments in ([], ["grid.toml", "--preset", "paper"]):
        result = CliRunner().invoke(main, ["simulate", "survey", *arguments, "-o", str(tmp_path)])
        assert result.exit_code == 2
        assert "either a plan" in result.output
    result = CliRunner().invoke(main, ["simulate", "presets"])
    assert "paper         36 simulations" in result.output
    result = CliRunner().invoke(main, ["simulate", "presets", "controls"])
    assert "chance pair" in result.output
