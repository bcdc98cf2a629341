import inspect
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import version
from pathlib import Path

import pytest

from astro_deepgalaxy import hookspecs, plugins, specs
from astro_deepgalaxy.plugins import PluginWarning, get_spec, list_specs, plugin_statuses, provider

GOOD = """
from astro_deepgalaxy import hookimpl
from astro_deepgalaxy.specs import BackboneSpec, CommandSpec, EngineSpec

@hookimpl
def register_backbones():
    return [BackboneSpec(name={name!r}, factory="{module}:make", summary="of {module}")]

def make(input_shape):
    return "{module}"
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that puts a distribution with one plugin module on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("ASTRO_DEEPGALAXY_PLUGINS", raising=False)
    made = []

    def install(dist, source, entries=None, version="1.0"):
        module = dist.replace("-", "_")
        made.append(module)
        (tmp_path / f"{module}.py").write_text(source.replace("{module}", module))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        lines = "".join(f"{e} = {m}\n" for e, m in (entries or {"main": module}).items())
        (info / "entry_points.txt").write_text(f"[astro_deepgalaxy]\n{lines}")
        plugins.reload_plugins()

    yield install
    for module in made:
        sys.modules.pop(module, None)
    plugins.reload_plugins()


def good(name):
    return GOOD.replace("{name!r}", repr(name))


def status_of(dist):
    return next(status for status in plugin_statuses() if status.dist == dist)


def test_every_hook_has_its_kind():
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    assert set(plugins.HOOKS) == {name for name, _ in functions}
    kinds = {spec_type.kind for spec_type in specs.Spec.__subclasses__()}
    assert set(plugins.KINDS) == kinds


def test_builtins_are_registered_through_the_hooks():
    own = status_of("astro-deepgalaxy")
    assert own.state == "active"
    assert not own.error
    assert own.version == version("astro-deepgalaxy")
    assert plugin_statuses()[0] == own
    assert get_spec("backbone", "simple") in own.specs


def test_names_forgive_case_and_dashes():
    spec = get_spec("backbone", "efficientnet_b0")
    for name in ("EfficientNet-B0", "astro-deepgalaxy/efficientnet_b0", "Astro_DeepGalaxy/SIMPLE"):
        found = get_spec("backbone", name)
        assert found is (spec if "b0" in name.lower() else get_spec("backbone", "simple"))


def test_list_takes_a_pattern():
    names = [spec.name for spec in list_specs("backbone", "*ResNet50*")]
    assert names == ["resnet50", "resnet50_v2"]


def test_unknown_name_and_kind():
    with pytest.raises(ValueError, match=r"'efficientnetb0'; did you mean 'efficientnet_b0'\?"):
        get_spec("backbone", "efficientnetb0")
    with pytest.raises(ValueError, match=r"known are: .*resnet50, .*simple"):
        get_spec("backbone", "zzz")
    with pytest.raises(ValueError, match="unknown kind 'backbones'; known are backbone"):
        list_specs("backbones")


def test_a_plugin_is_found_and_loaded(install):
    install("zz-good", good("zz-net"))
    assert status_of("zz-good").state == "active"
    assert get_spec("backbone", "zz_net").load()(None) == "zz_good"
    assert provider("backbone", "ZZ-Net") == {"name": "zz-good/zz-net", "version": "1.0"}


def test_nothing_of_a_plugin_but_its_module_is_imported(install):
    install("zz-lazy", good("zz-net").replace("{module}:make", "zz_not_there:make"))
    with pytest.raises(ModuleNotFoundError, match="zz_not_there"):
        get_spec("backbone", "zz-net").load()


def test_a_missing_requirement_is_said_when_it_is_loaded(install):
    source = good("zz-net").replace("summary=", "requires=('zz_missing.part', 'json'), summary=")
    install("zz-needy", source)
    with pytest.raises(ImportError, match=r"'zz-net' needs zz_missing.part, .* pip install zz_mis"):
        get_spec("backbone", "zz-net").load()


def test_a_spec_says_how_to_install_what_it_needs(install):
    needs = "requires=('zz_missing', 'json'), install='zz-build', summary="
    install("zz-needy", good("zz-net").replace("summary=", needs))
    spec = get_spec("backbone", "zz-net")
    assert spec.missing == ("zz_missing",)
    assert spec.remedy == "zz-build"
    with pytest.raises(ImportError, match=r"needs zz_missing, .* not installed; try: zz-build"):
        spec.load()
    present = specs.TrainerSpec(name="t", factory="a:b", requires=("json",), install="zz-build")
    assert (present.missing, present.remedy) == ((), "")


def test_a_factory_that_is_not_there(install):
    install("zz-typo", good("zz-net").replace(":make", ":mkae"))
    with pytest.raises(ImportError, match="zz_typo:mkae: there is no such callable"):
        get_spec("backbone", "zz-net").load()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('boom\\nsecond line')", "cannot be loaded: RuntimeError: boom"),
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("import zz_absent", "cannot be loaded: ModuleNotFoundError: No module named 'zz_absent'"),
        ("def (", "cannot be loaded: SyntaxError"),
        ("x = 1", "it implements no hook; known are register_backbones"),
    ],
)
def test_a_plugin_that_cannot_be_imported(install, source, message):
    install("zz-good", good("zz-net"))
    install("aa-bad", source)
    with pytest.warns(PluginWarning, match=r"plugin aa-bad:main is failed") as caught:
        status = status_of("aa-bad")
    assert len(caught) == 1
    assert status.state == "failed"
    assert status.error.startswith(message)
    assert "second line" not in status.error
    assert get_spec("backbone", "zz-net")
    assert get_spec("backbone", "simple")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        plugin_statuses()


def test_ctrl_c_is_not_a_broken_plugin(install):
    install("aa-slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugin_statuses()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('boom')", "register_engines failed: RuntimeError: boom"),
        ("raise SystemExit", "register_engines failed: SystemExit"),
        ("yield EngineSpec(name='e', factory='a:b')\n    1 / 0", "failed: ZeroDivisionError"),
        ("return None", "failed: TypeError: 'NoneType' object is not iterable"),
        (
            "return [CommandSpec(name='c', factory='a:b')]",
            "which is no EngineSpec",
        ),
        ("return ['engine']", "it offers 'engine', which is no EngineSpec"),
        ("return [EngineSpec(name='No Name', factory='a:b')]", "the name 'No Name' must be"),
    ],
)
def test_a_hook_that_fails_takes_only_itself_down(install, body, message):
    install("zz-half", good("zz-net") + f"\n@hookimpl\ndef register_engines():\n    {body}\n")
    with pytest.warns(PluginWarning, match="zz-half:main is partial"):
        status = status_of("zz-half")
    assert message in status.error
    assert status.hooks == ("register_backbones", "register_engines")
    assert [spec.name for spec in status.specs] == ["zz-net"]
    assert get_spec("backbone", "zz-net") is status.specs[0]
    assert "e" not in [spec.name for spec in list_specs("engine")]


def test_misspelt_and_unmarked_hooks_are_reported(install):
    source = good("zz-net") + (
        "\n@hookimpl\ndef register_backbone():\n    return []\n"
        "\ndef register_engines():\n    return []\n"
    )
    install("zz-misspelt", source)
    with pytest.warns(PluginWarning, match="zz-misspelt"):
        status = status_of("zz-misspelt")
    assert "no hook register_backbone: did you mean register_backbones?" in status.error
    assert "register_engines is not marked with @astro_deepgalaxy.hookimpl" in status.error
    assert status.state == "partial"
    assert get_spec("backbone", "zz-net")


def test_only_a_misspelt_hook(install):
    source = good("zz-net").replace("register_backbones", "register_bakcbones")
    install("zz-misspelt", source)
    with pytest.warns(PluginWarning, match="did you mean register_backbones"):
        assert status_of("zz-misspelt").state == "failed"


def test_an_ambiguous_name_lists_the_choices(install):
    install("zz-one", good("zz-net"))
    install("zz-two", good("zz_net"))
    with pytest.raises(ValueError, match="choose one of: zz-one/zz-net, zz-two/zz_net"):
        get_spec("backbone", "zz-net")
    assert get_spec("backbone", "zz-two/zz-net").load()(None) == "zz_two"
    assert provider("backbone", "ZZ_one/zz_net")["name"] == "zz-one/zz-net"
    assert "also claimed by zz-two: use 'zz-one/zz-net'" in status_of("zz-one").note
    assert status_of("zz-two").state == "active"


def test_builtin_names_are_reserved(install):
    install("aa-thief", good("simple"))
    assert get_spec("backbone", "simple").factory.startswith("astro_deepgalaxy.")
    assert get_spec("backbone", "aa-thief/simple").load()(None) == "aa_thief"
    note = status_of("aa-thief").note
    assert "also claimed by astro-deepgalaxy: use 'aa-thief/simple'" in note
    assert not status_of("astro-deepgalaxy").note


def test_the_same_name_twice_in_one_distribution(install):
    install("zz-twice", good("zz-net").replace("return [", "return 2 * ["))
    with pytest.warns(PluginWarning, match="offers the backbone 'zz-net' twice"):
        assert len(status_of("zz-twice").specs) == 1
    assert get_spec("backbone", "zz-net")


def test_several_entry_points_are_loaded_in_order(install):
    source = good("zz-net").replace("@hookimpl", "import zz_log\nzz_log.seen.append(1)\n@hookimpl")
    install("zz-log", "seen = []", {})
    install("zz-b", source.replace("zz_log.seen.append(1)", "zz_log.seen.append('b')"))
    install("zz-a", source.replace("zz_log.seen.append(1)", "zz_log.seen.append('a')"))
    with pytest.warns(PluginWarning):  # zz-log is no plugin
        entries = [(s.dist, s.entry) for s in plugin_statuses() if s.dist.startswith("zz-")]
    assert entries == [("zz-a", "main"), ("zz-b", "main"), ("zz-log", "main")]
    import zz_log

    assert zz_log.seen == ["a", "b"]


def test_one_module_under_two_entry_points(install):
    install("zz-double", good("zz-net"), {"first": "zz_double", "second": "zz_double"})
    with pytest.warns(PluginWarning, match="zz-double:second is failed"):
        assert get_spec("backbone", "zz-net")


def test_an_entry_point_that_is_no_module(install):
    install("zz-class", "class Plugin:\n    pass\nnumber = 3", {"a": "zz_class:number"})
    with pytest.warns(PluginWarning, match="implements no hook"):
        assert status_of("zz-class").state == "failed"


@pytest.mark.parametrize(
    ("allowed", "active"),
    [("", []), ("zz_two", ["zz-two"]), (" ZZ-two ,zz-one", ["zz-one", "zz-two"])],
)
def test_allow_list(install, monkeypatch, allowed, active):
    install("zz-one", good("one"))
    install("zz-two", good("two"))
    monkeypatch.setenv("ASTRO_DEEPGALAXY_PLUGINS", allowed)
    statuses = [s for s in plugin_statuses() if s.dist.startswith("zz-")]
    assert [s.dist for s in statuses if s.state == "active"] == active
    blocked = [s for s in statuses if s.state == "blocked"]
    assert len(blocked) == 2 - len(active)
    assert all("allow-list" in s.error for s in blocked)
    assert ("zz_one" in sys.modules) == ("zz-one" in active)
    assert get_spec("backbone", "simple")


def test_damaged_metadata_of_a_stranger(install, tmp_path):
    install("zz-good", good("zz-net"))
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_bytes(b"[astro_deepgalaxy]\n\xff\xfe = = =\n[[[")
    plugins.reload_plugins()
    assert get_spec("backbone", "zz-net")


def test_importing_is_light():
    code = (
        "import sys; from astro_deepgalaxy import plugins; plugins.list_specs('backbone')\n"
        "heavy = {'tensorflow', 'keras', 'numba', 'matplotlib', 'astropy', 'numpy'}\n"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_example_plugin(install):
    folder = Path(__file__).parents[1] / "plugins" / "astro-deepgalaxy-tinynet"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    # Under another name, as the plugin itself may be installed too.
    dist, module = f"{project['name']}-copy", "astro_deepgalaxy_tinynet"
    source = (folder / f"{module}.py").read_text().replace(module, "{module}")
    entries = project["entry-points"]["astro_deepgalaxy"]
    install(dist, source, {e: m.replace(module, f"{module}_copy") for e, m in entries.items()})
    status = status_of(dist)
    assert (status.state, status.entry) == ("active", "tinynet")
    assert get_spec("backbone", f"{dist}/tinynet").load().__module__ == f"{module}_copy"
