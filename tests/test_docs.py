"""Every example of the README and the documentation is run, page by page."""

import contextlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
# Run from end to end by `tox -e quickstart` and when Horovod is built, and in small by tests.
LONG = ("quickstart", "horovod")
BLOCK = re.compile(
    r"^\.\. code-block:: (console|python|toml)\n((?:   :.*\n)*)\n((?:(?: {3}.*)?\n)+)", re.M
)


def blocks(page):
    for match in BLOCK.finditer(page.read_text(encoding="utf-8") + "\n"):
        yield match[1], "\n".join(line[3:] for line in match[3].splitlines())


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a small survey of mergers, its store and a model, as the pages assume."""
    from astro_deepgalaxy import MergerClassifier, Recipe
    from astro_deepgalaxy.preprocess.batch import preprocess_batch
    from astro_deepgalaxy.simulate.imaging import RealTelescope, write_images
    from astro_deepgalaxy.simulate.plan import SurveyPlan
    from astro_deepgalaxy.simulate.survey import run_survey

    folder = tmp_path_factory.mktemp("desk")
    plan = SurveyPlan.model_validate(
        {
            "run": {"particles": 1000, "snapshots": 5, "step": 10.0},
            "images": {"pixels": 48, "cameras": 2},
            "simulations": [{"mass_ratio": [0.5, 0.75, 1.0]}],
        }
    )
    with contextlib.chdir(folder):
        # Relative, as on the pages: a store knows the files it was made of.
        run_survey("simulations", plan, processes=1, progress=False)
        labels = write_images("simulations", "mergers", RealTelescope(), processes=1)
        store = preprocess_batch(labels, Recipe.default(64), "mergers.zarr", progress=False)
        small = {"filters": [16, 8, 8, 4, 4]}
        also = {"reconstruct": small, "embed": small | {"latent_size": 4, "hidden": 16}}
        model = MergerClassifier(
            "simple", epochs=1, validation_fraction=0.0, also=also, progress=False
        )
        model.fit(store).save("my_model")
        model.save("astro-deepgalaxy-quickstart/model")
        write_tiles()
    return folder


def write_tiles():
    """Two bands of two tiles with some galaxies, their catalogue, and cutouts without labels."""
    from astropy.io import fits
    from astropy.table import QTable

    from astro_deepgalaxy.celestial import tangent_wcs

    Path("tiles").mkdir()
    rng = np.random.default_rng(0)
    whole = rng.normal(10, 1, (300, 500)).astype(np.float32)
    x, y = rng.uniform(40, 460, 12), rng.uniform(40, 260, 12)
    v, w = np.mgrid[:300, :500]
    for a, b in zip(x, y, strict=True):
        whole += 100 * np.exp(-np.hypot(w - a, v - b) / 3)
    matrix = np.diag([-0.2, 0.2]) / 3600
    for band in "gr":
        for i, first in enumerate((0, 230)):
            header = tangent_wcs(150.0, 2.0, matrix, 250 - first, 150).to_header()
            part = whole[:, first : first + 270]
            fits.writeto(f"tiles/{band}_{i}.fits", part, header)
            fits.writeto(f"tiles/weight_{band}_{i}.fits", np.ones_like(part), header)
    sky = tangent_wcs(150.0, 2.0, matrix, 250, 150).pixel_to_world(x, y)
    QTable({"ra": sky.ra, "dec": sky.dec}).write("catalogue.fits")
    Path("sky").mkdir()
    for i, (a, b) in enumerate(zip(x.astype(int), y.astype(int), strict=True)):
        fits.writeto(f"sky/{i}.fits", whole[b - 32 : b + 32, a - 32 : a + 32])


def _is_glob(word):
    # BAND=FILES stands in quotes: the command itself looks for the files.
    return "*" in word and "=" not in word


def run_console(text):
    from astro_deepgalaxy.cli import main

    for line in text.replace("\\\n", "").splitlines():
        if not line.startswith("$ astro-deepgalaxy "):
            continue
        words = shlex.split(line.removeprefix("$ astro-deepgalaxy "))
        if words[0] in LONG:
            continue
        globbed = [
            name
            for word in words
            for name in (sorted(map(str, Path().glob(word))) if _is_glob(word) else [word])
        ]
        result = CliRunner().invoke(main, globbed)
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page, desk, monkeypatch):
    monkeypatch.chdir(desk)
    namespace = {}
    found = list(blocks(page))
    if not found:
        pytest.skip("no example on this page")
    if page.stem == "horovod" and find_spec("horovod") is None:
        pytest.skip("Horovod is not built")
    for language, text in found:
        if language == "toml":
            named = re.match(r"# (\S+\.toml)$", text, re.M)
            name = named[1] if named else "run.toml"
            Path(name).write_text(text, encoding="utf-8")
        elif language == "console":
            run_console(text)
        else:
            exec(compile(text, str(page), "exec"), namespace)


def test_ci_runs_the_command_of_the_readme():
    command = "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox"
    readme = (ROOT / "README.rst").read_text(encoding="utf-8").splitlines()
    assert f"   $ {command}" in readme
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_hook_is_documented():
    from astro_deepgalaxy import hookspecs

    text = (ROOT / "docs" / "plugins.rst").read_text(encoding="utf-8")
    hooks = [name for name in vars(hookspecs) if name.startswith("register_")]
    assert len(hooks) == 8
    for name in hooks:
        assert f".. autofunction:: astro_deepgalaxy.hookspecs.{name}\n" in text
