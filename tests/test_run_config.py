import itertools

import pytest

from astro_deepgalaxy.run_config import RunConfig, default_toml, read_run_config


def write(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_default_file_holds_the_defaults(tmp_path):
    config = read_run_config(write(tmp_path, default_toml()))
    expected = RunConfig(data={"labels": str(tmp_path / "mergers/labels.ecsv")})
    assert config == expected.model_copy(update={"output": str(tmp_path / "merger-model")})


def test_every_key_of_the_default_file_has_a_comment():
    lines = default_toml().splitlines()
    for before, line in itertools.pairwise(lines):
        if " = " in line and not line.startswith("#"):
            assert before.startswith("# ")


def test_paths_are_relative_to_the_file(tmp_path):
    text = 'output = "out"\n[data]\nstore = "a.zarr"\n[training]\ninitial_weights = "old/model"\n'
    config = read_run_config(write(tmp_path, text))
    assert config.training.initial_weights == str(tmp_path / "old/model")
    assert config.data.store == str(tmp_path / "a.zarr")
    assert config.output == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[data]\nstore="a"\n[training]\nepoch = 3\n', "'training.epoch'; did you mean 'epochs'"),
        ('[data]\nstore="a"\n[networks]\n', "unknown key 'networks'; did you mean 'network'"),
        ('[data]\nstore="a"\n[training]\nepochs = 0\n', "training.epochs: .*greater than"),
        ('[data]\nstore="a"\n[training]\nseed = "x"\n', "training.seed: .*integer"),
        ('[data]\nstore="a"\nlabels="b"\n', "either data.labels or data.store"),
        ("[data]\n", "either data.labels or data.store"),
        ("", "the key 'data' is missing"),
        ("[data\n", "cannot be read as TOML"),
    ],
)
def test_wrong_files_are_refused_in_a_sentence(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_run_config(write(tmp_path, text))
    assert "run.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.toml: no such file"):
        read_run_config(tmp_path / "nowhere.toml")


def test_the_command_line_names_the_trainer(tmp_path):
    from astro_deepgalaxy.cli.train import _with_trainer

    text = '[data]\nstore = "a"\n[training]\ntrainer = "horovod"\ntrainer_options = {cores = 2}\n'
    config = read_run_config(write(tmp_path, text))
    assert _with_trainer(config, None, None, None) is config
    same = _with_trainer(config, None, 4, "a:2,b:2").training
    assert same.trainer == "horovod"
    assert same.trainer_options == {"cores": 2, "workers": 4, "hosts": "a:2,b:2"}
    other = _with_trainer(config, "local", None, None).training
    assert (other.trainer, other.trainer_options) == ("local", {})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--resume"], "there is no checkpoint to resume"),
        (["--workers", "2"], "trainer_options: the trainer 'local' got an unexpected"),
        (["--trainer", "horvod"], "unknown trainer 'horvod'"),
    ],
)
def test_what_the_command_line_cannot_ask_for(tmp_path, blob_store, words, sentence):
    import json

    from click.testing import CliRunner

    from astro_deepgalaxy.cli import main

    run = write(tmp_path, f"[data]\nstore = {json.dumps(str(blob_store.path))}\n")
    result = CliRunner().invoke(main, ["train", str(run), *words])
    assert result.exit_code == 1
    assert sentence in result.output
