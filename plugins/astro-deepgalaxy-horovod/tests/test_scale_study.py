"""The command and what it writes."""

import json
import subprocess
import sys

import numpy as np
import psutil
import pytest
from astro_deepgalaxy_horovod.places import Place
from astro_deepgalaxy_horovod.scale import study, validate
from astro_deepgalaxy_horovod.scale.allreduce import Layout, Link
from astro_deepgalaxy_horovod.scale.calibration import Allreduce
from astro_deepgalaxy_horovod.scale.command import scale
from astro_deepgalaxy_horovod.scale.compute_times import ComputeTimes
from astro_deepgalaxy_horovod.scale.crew import Crew
from astro_deepgalaxy_horovod.scale.measure import exchanges, first_places, step_times
from astro_deepgalaxy_horovod.scale.performance_model import Costs
from astro_deepgalaxy_horovod.settings import Settings, available_cores
from click.testing import CliRunner

from astro_deepgalaxy.io.tables import read_table

COSTS = Costs(call=1e-4, hop=6e-5, message=2e-5, byte=4e-10, copy=2e-10, cycle=2e-4)


@pytest.fixture
def pretended(monkeypatch):
    """A machine whose times are known."""

    def measured(settings, counts, steps, network, say):
        rng = np.random.default_rng(0)
        seconds = {"fit": rng.normal(0.35, 0.001, (5, steps))}
        seconds["bound"] = rng.normal(0.5, 0.001, (5, steps))
        seconds["silent"] = rng.normal(0.5, 0.001, (5, steps, max(counts)))
        for number in counts:
            seconds[f"horovod {number}"] = rng.normal(0.52, 0.001, (5, steps))
        return seconds, {"nbytes": 16_000_000, "tensors": 300}

    rows = [
        {
            "workers": 16,
            "hosts": hosts,
            "gbit_per_s": 1.0,
            "latency_ms": 0.1,
            "megabytes": 16.0,
            "compute_s": 0.3,
            "predicted_s": 0.42,
            "measured_s": 0.4,
            "predicted_exchange_s": 0.12,
            "measured_exchange_s": 0.1,
        }
        for hosts in (1, 4)
    ]
    found = COSTS, Link(latency=1e-5), 0.05, [Allreduce(Layout(2, 2), 4000, 20, 1e-3, 1e-3)]
    monkeypatch.setattr(study, "step_times", measured)
    monkeypatch.setattr(study, "calibrate_here", lambda *_, **__: found)
    monkeypatch.setattr(study, "validate", lambda *_, **__: rows)
    monkeypatch.setattr("astro_deepgalaxy_horovod.settings.available_cores", lambda: [0, 1])


def _run(*arguments):
    return CliRunner().invoke(scale, [str(a) for a in arguments])


def test_study_writes_tables_figure_and_json(pretended, tmp_path):
    folder = tmp_path / "scaling"
    done = _run("-o", folder, "--project", "4-64")
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "study.json").read_text())
    assert found["ratios"]["efficiency of 2"]["median"] == pytest.approx(0.5 / 0.52, rel=0.01)
    assert found["ratios"]["horovod 2 / fit"]["median"] == pytest.approx(1.346, rel=0.01)
    steps = read_table(folder / "steps.ecsv")
    assert list(steps["name"]) == ["fit", "bound", "silent", "horovod 1", "horovod 2"]
    assert set(steps["kind"]) == {"measured"}
    # The model knows the compute times and the costs: 0.5 s, half a cycle, copies and a ring.
    predicted = steps["predicted_s"][list(steps["name"]).index("horovod 2")]
    assert predicted == pytest.approx(0.5 + 0.005 + 0.01 + 0.0033 + 0.0064, abs=0.003)
    projection = read_table(folder / "projection.ecsv")
    assert set(projection["kind"]) == {"projected"}
    assert set(projection["curve"]) == {"as measured", "as measured, MPI", "as in the paper"}
    assert max(projection["workers"]) == 64
    assert (folder / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "projected" in done.output
    assert "within 5 %" in done.output


def test_study_as_json(pretended, tmp_path):
    done = _run("-o", tmp_path, "--json", "--project", "4-8", "--workers", "2")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["projection"]["kind"] == "projected"
    assert found["projection"]["between"] == {"bandwidth": 1e11, "latency": 2e-6}
    assert found["paper"]["512"] == 0.73


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bandwidth", "fast"], "'100Gbit'"),
        (["--bandwidth", "0Gbit"], "'100Gbit'"),
        (["--latency", "2"], "'2us'"),
        (["--project", "1024-4"], "'4-1024'"),
        (["--workers", "two"], "'1,2,4'"),
        (["--hosts", "a:0"], "a:4,b:4"),
        (["--hosts", "a:2,b:2", "--workers", "8"], "slots for 4 workers"),
    ],
)
def test_wrong_arguments_are_told_before_anything_starts(tmp_path, arguments, said):
    done = _run("-o", tmp_path / "new", *arguments)
    assert done.exit_code != 0
    assert said in (done.output + str(done.exception))
    assert not (tmp_path / "new").exists()


def test_units_of_bandwidth_and_latency(pretended, tmp_path):
    link = ["--bandwidth", "25Gbit", "--latency", "0.5ms"]
    done = _run("-o", tmp_path, "--json", "--project", "4-8", *link)
    assert json.loads(done.stdout)["projection"]["between"] == {
        "bandwidth": 2.5e10,
        "latency": 5e-4,
    }


def test_first_workers_fill_the_hosts():
    found = first_places(Settings(hosts="a:2,b:2"), 3)
    assert [(p.host, p.slot, p.slots) for p in found] == [("a", 0, 2), ("a", 1, 2), ("b", 0, 1)]


def test_command_imports_nothing_heavy():
    program = (
        "import sys, astro_deepgalaxy_horovod.scale.command\n"
        "print([m for m in ('tensorflow', 'keras', 'horovod', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture
def crew_of_one():
    """A function that starts one worker with an environment and asks it to begin."""

    def begin(backbone, environment):
        with Crew([Place(0, "localhost", 0, 1)], [None], environment, together=False) as crew:
            crew.begin("step", backbone=backbone, pixels=32, batch=2)

    return begin


def test_a_worker_that_cannot_do_it_says_why(crew_of_one):
    with pytest.raises(RuntimeError, match=r"worker 0 failed: .*no_such"):
        crew_of_one("no_such", {})


def test_a_worker_that_dies_is_told(crew_of_one):
    with pytest.raises(RuntimeError, match="worker 0 died"):
        crew_of_one("simple", {"PYTHONHOME": "/nowhere"})


@pytest.mark.horovod
def test_real_steps_are_timed():
    settings = Settings(workers=2, cycle_time=2.0)
    network = {"backbone": "simple", "pixels": 32, "batch": 4}
    seconds, about = step_times(settings, [2], 2, network, turns=2, say=lambda _: None)
    assert {name: times.shape for name, times in seconds.items()} == {
        "fit": (2, 2),
        "bound": (2, 2),
        "silent": (2, 2, 2),
        "horovod 2": (2, 2),
    }
    assert all((times > 0).all() for times in seconds.values())
    assert about["nbytes"] > 4 * 71 * 5


@pytest.mark.horovod
def test_real_exchanges_are_timed():
    small, *_, large = exchanges(Settings(workers=2), [2], repeats=3, say=lambda _: None)
    assert small.seconds < large.seconds < 2
    assert small.layout.workers == 2


@pytest.mark.horovod
def test_exchanges_between_hosts(ssh_here):
    settings = Settings(hosts="localhost:1,127.0.0.2:1")
    small, *_ = exchanges(settings, [2], repeats=2, say=lambda _: None)
    assert small.layout.hosts == 2


def test_workers_at_rest_do_not_outlive_who_started_them():
    program = (
        "import time\n"
        "from astro_deepgalaxy_horovod.places import Place\n"
        "from astro_deepgalaxy_horovod.scale.crew import Crew\n"
        "with Crew([Place(0, 'localhost', 0, 1)], [None], {}, False) as crew:\n"
        "    time.sleep(3)\n"
        "    with crew.at_rest():\n"
        "        time.sleep(1)\n"
        "        print(crew._workers[0].process.pid, flush=True)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        worker = psutil.Process(int(process.stdout.readline()))
        assert worker.status() == psutil.STATUS_STOPPED
        process.kill()
    psutil.wait_procs([worker], timeout=10)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


@pytest.mark.horovod
def test_steps_that_were_not_fitted_to_are_predicted(monkeypatch):
    monkeypatch.setattr(validate, "_LOOPBACK", (2, 4))
    monkeypatch.setattr(validate, "why_not", lambda: "not here")
    monkeypatch.setattr(validate, "_UNSEEN", ((6, 6, Link(), 8_000_000),))
    cores = len(available_cores())
    costs, emulation, *_ = validate.calibrate_here(cores, repeats=5, say=lambda _: None)
    compute = ComputeTimes(np.random.default_rng(2).normal(1, 0.02, 100))
    (row,) = validate.validate(compute, costs, emulation, cores, steps=6, say=lambda _: None)
    assert row["predicted_s"] == pytest.approx(row["measured_s"], rel=0.2)
    assert row["measured_s"] > row["compute_s"]
