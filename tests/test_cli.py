import json
import subprocess
import sys
import warnings

import click
import pytest
from click.testing import CliRunner

from astro_deepgalaxy import plugins
from astro_deepgalaxy.cli import main
from astro_deepgalaxy.plugins import PluginStatus, list_specs
from astro_deepgalaxy.specs import BackboneSpec, CommandSpec, TrainerSpec

HEAVY = ("tensorflow", "keras", "numba", "matplotlib")


@pytest.fixture
def run(monkeypatch):
    """A function that runs ``astro-deepgalaxy`` in this process."""
    monkeypatch.delenv("ASTRO_DEEPGALAXY_DEBUG", raising=False)
    return lambda *args, **kwargs: CliRunner().invoke(main, args, **kwargs)


@pytest.fixture
def offer(monkeypatch):
    """A function that adds a plugin's status to what was discovered."""
    own = tuple(s for s in plugins.plugin_statuses() if s.dist == plugins.BUILTIN)
    added = []

    def offer(dist, *specs, **kwargs):
        added.append(
            PluginStatus(dist, "1.0", "main", specs=specs, **{"state": "active", **kwargs})
        )
        monkeypatch.setattr(plugins, "_discover", lambda: own + tuple(added))

    monkeypatch.setattr(plugins, "_discover", lambda: own)
    return offer


@click.command()
def wave():
    """Wave."""
    click.echo("hello")


@click.command()
def warn():
    """Warn."""
    warnings.warn("careful\n  now", UserWarning, stacklevel=1)


def fail_with(error):
    @click.command()
    def failing():
        """Fail."""
        raise error

    return failing


value_error = fail_with(ValueError("data.txt: expected\n  a number"))
os_error = fail_with(FileNotFoundError(2, "No such file or directory", "data.txt"))
import_error = fail_with(ImportError("the engine 'x' needs y"))
interrupt = fail_with(KeyboardInterrupt())
bug = fail_with(ZeroDivisionError("a bug"))
not_a_command = 3


@pytest.fixture
def command(offer):
    """A function that makes something of this module a command of a plugin, named ``zz``."""
    sys.modules["zz_commands"] = sys.modules[__name__]
    yield lambda name: offer("zz-dist", CommandSpec(name="zz", factory=f"zz_commands:{name}"))
    del sys.modules["zz_commands"]


@pytest.mark.parametrize("code", ["import astro_deepgalaxy", "HELP", "VERSION", "LIST"])
def test_nothing_heavy_is_imported(code):
    calls = {
        "HELP": "main(['--help'], standalone_mode=False)",
        "VERSION": "main(['--version'], standalone_mode=False)",
        "LIST": "main(['plugins', 'list', '--all'], standalone_mode=False)",
    }
    code = f"from astro_deepgalaxy.cli import main; {calls[code]}" if code in calls else code
    code += f"\nimport sys; print('loaded:', *set({HEAVY}) & set(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "loaded:"


def test_help_lists_every_command_with_its_summary(run):
    result = run("--help")
    assert result.exit_code == 0
    for spec in list_specs("command"):
        assert f"{spec.name} " in result.output
        assert spec.summary[:30] in result.output


def test_every_builtin_command_explains_itself(run):
    for status in plugins.plugin_statuses():
        for spec in status.specs:
            if spec.kind == "command" and status.dist == plugins.BUILTIN:
                result = run(spec.name, "--help")
                assert result.exit_code == 0, result.output
                assert "Usage:" in result.output


def test_version(run):
    from importlib.metadata import version

    assert version("astro-deepgalaxy") in run("--version").output


def test_unknown_command(run):
    result = run("pretict")
    assert result.exit_code == 2
    assert "unknown command 'pretict'; did you mean 'predict'?" in result.output


def test_commands_of_plugins_have_their_own_section(run, command):
    command("wave")
    output = run("--help").output
    assert output.index("Commands of plugins:") > output.index("predict")
    assert output.rindex("  zz") > output.index("Commands of plugins:")
    assert run("zz").output == "hello\n"


def test_contested_commands_are_listed_by_their_full_names(run, offer):
    for dist in ("zz-one", "zz-two"):
        offer(dist, CommandSpec(name="zz", factory="a:b"), CommandSpec(name="train", factory="a:b"))
    output = run("--help").output
    for name in ("zz-one/zz", "zz-two/zz", "zz-one/train"):
        assert name in output
    result = run("zz")
    assert result.exit_code == 2
    assert "choose one of: zz-one/zz, zz-two/zz" in result.output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "ImportError: zz_commands:absent: there is no such callable"),
        ("not_a_command", "TypeError: zz_commands:not_a_command is not a click command"),
    ],
)
def test_a_command_that_cannot_be_loaded(run, command, name, message):
    command(name)
    assert run("--help").exit_code == 0
    result = run("zz")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert message in result.output
    assert isinstance(run("--debug", "zz").exception, (ImportError, TypeError))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("value_error", "Error: data.txt: expected a number\n"),
        ("os_error", "Error: [Errno 2] No such file or directory: 'data.txt'\n"),
        ("import_error", "Error: the engine 'x' needs y\n"),
    ],
)
def test_errors_are_one_line(run, command, name, message):
    command(name)
    result = run("zz")
    assert (result.exit_code, result.output) == (1, message)
    assert isinstance(run("--debug", "zz").exception, (ValueError, OSError, ImportError))
    debug = run("zz", env={"ASTRO_DEEPGALAXY_DEBUG": "1"})
    assert isinstance(debug.exception, (ValueError, OSError, ImportError))


def test_warnings_are_one_line(run, command):
    command("warn")
    assert run("zz").output == "Warning: careful now\n"


def test_a_bug_is_not_hidden(run, command):
    command("bug")
    assert isinstance(run("zz").exception, ZeroDivisionError)


def test_ctrl_c(run, command):
    command("interrupt")
    result = run("zz")
    assert (result.exit_code, result.output) == (130, "Interrupted\n")


def test_plugins_list_shows_what_is_wrong(run, offer):
    assert "No plugins are installed" in run("plugins", "list").output
    offer("zz-good", BackboneSpec(name="zz-net", factory="a:b", summary="A net"), note="taken")
    offer("zz-bad", state="failed", error="cannot be loaded: E: x; there is no hook y")
    output = run("plugins", "list").output
    assert "zz-good 1.0  (main: active)" in output
    assert "backbone  zz-net  A net" in output
    for sentence in ("taken", "cannot be loaded: E: x", "there is no hook y"):
        assert f"  ! {sentence}\n" in output
    assert "efficientnet_b0" not in output
    assert "efficientnet_b0" in run("plugins", "list", "--all").output


def test_plugins_list_as_json(run, offer):
    offer("zz-good", BackboneSpec(name="zz-net", factory="a:b"))
    (data,) = json.loads(run("plugins", "list", "--json").output)
    assert data["offers"][0]["qualified"] == "zz-good/zz-net"
    everything = json.loads(run("plugins", "list", "--all", "--json").output)
    assert everything[0]["dist"] == "astro-deepgalaxy"
    assert len(everything[0]["offers"]) > 50


def test_plugins_list_marks_what_cannot_be_used(run, offer):
    offer(
        "zz-good",
        TrainerSpec(name="far", factory="a:b", requires=("zz_absent",), install="zz-tool build"),
        TrainerSpec(name="near", factory="a:b", requires=("json",), install="zz-tool build"),
    )
    output = run("plugins", "list").output
    assert "! far is unavailable: zz_absent is not installed; try: zz-tool build\n" in output
    assert "near is unavailable" not in output
    (data,) = json.loads(run("plugins", "list", "--json").output)
    said = [(o["available"], o["missing"], o["install"]) for o in data["offers"]]
    assert said == [(False, ["zz_absent"], "zz-tool build"), (True, [], "")]


def test_plugins_check(run, command, offer):
    command("wave")
    result = run("plugins", "check", "zz-dist")
    assert result.exit_code == 0
    assert "2 checks, 0 failed" in result.output
    offer("zz-bad", CommandSpec(name="bad", factory="zz_commands:absent"), error="no hook y")
    result = run("plugins", "check", "zz_bad", "--json")
    assert result.exit_code == 1
    rows = json.loads(result.output)
    assert [row["passed"] for row in rows] == [False, False]
    assert rows[0]["note"] == "no hook y"
    assert "there is no such callable" in rows[1]["note"]
    assert run("plugins", "check", "zz-bad/bad").exit_code == 1


def test_plugins_check_of_one_thing(run):
    result = run("plugins", "check", "resize")
    assert result.exit_code == 0
    assert "pass  step      resize" in result.output
    result = run("plugins", "check", "zzz")
    assert result.exit_code == 1
    assert "'zzz' is neither an installed plugin" in result.output
