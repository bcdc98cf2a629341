import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout, Flag, Recipe, read_cutout
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.preprocess import Step
from astro_deepgalaxy.preprocess import recipe as recipe_module
from astro_deepgalaxy.preprocess.align import Align
from astro_deepgalaxy.preprocess.background import Background
from astro_deepgalaxy.preprocess.bands import Bands
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.preprocess.stretch import Stretch
from astro_deepgalaxy.specs import StepSpec

positive = st.floats(0.01, 1000)
names = st.text(min_size=1, max_size=5)
steps = st.one_of(
    st.builds(Background, box_size=st.integers(8, 500), nsigma=positive),
    st.builds(Align, pixel_scale=positive, method=st.sampled_from(["interp", "exact"])),
    st.builds(Align, kpc_per_pixel=positive, conserve=st.sampled_from(["flux", "brightness"])),
    st.builds(Bands, select=st.lists(names, unique=True, max_size=4).map(tuple)),
    st.builds(Bands, weights=st.dictionaries(names, positive, max_size=4)),
    st.builds(Crop, size=positive, unit=st.sampled_from(["radius", "pixel", "arcsec"])),
    st.builds(Resize, size=st.integers(4, 1000)),
    st.builds(Stretch, percentile=st.floats(51, 100), softening=st.floats(0.001, 1)),
)


@settings(deadline=None)
@given(st.lists(steps, max_size=6))
def test_json_round_trip(chosen):
    recipe = Recipe(chosen)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.digest == recipe.digest
    # A store compares its attributes, which went through JSON, with a fresh description.
    assert json.loads(json.dumps(recipe.to_dict())) == recipe.to_dict()


def test_digest_tells_recipes_apart():
    digests = {Recipe.default(size).digest for size in (64, 128)}
    digests |= {Recipe([Crop(), Resize()]).digest, Recipe([Resize(), Crop()]).digest}
    assert len(digests) == 4
    assert all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"steps": [{"step": "resise"}]}, "resize"),
        ({"steps": [{"step": "resize", "sise": 3}]}, "did you mean 'size'"),
        ({"steps": [{"step": "resize", "size": "big"}]}, "must be a number"),
        ({"steps": [{"step": "resize", "size": None}]}, "must be a number"),
        ({"steps": [{"step": "resize", "size": -4}]}, "resize"),
        ({"steps": [{"step": "bands", "select": 3}]}, "bands"),
        ({"steps": [{"step": "bands", "weights": "g"}]}, "bands"),
        ({"steps": [{"step": "align"}]}, "align"),
        ({"steps": [{"step": "align", "pixel_scale": "x"}]}, "align"),
        ({"steps": "resize"}, "expected"),
        ({"version": 99, "steps": []}, "version"),
        ([], "expected"),
    ],
)
def test_what_is_wrong_is_said(data, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(data)


def test_files(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(Recipe.default(32).to_json())
    assert Recipe.read(path) == Recipe.default(32)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"recipe\.json: .*not JSON"):
        Recipe.read(path)
    with pytest.raises(ValueError, match=r"no\.json"):
        Recipe.read(tmp_path / "no.json")


def test_a_recipe_in_toml(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'version = 1\n[[steps]]\nstep = "bands"\nselect = ["r"]\n'
        '[[steps]]\nstep = "resize"\nsize = 48\n'
    )
    recipe = Recipe.read(path)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert [step.name for step in recipe.steps] == ["bands", "resize"]
    assert recipe.steps[1].size == 48
    for text, message in (
        ("steps = [", "not TOML"),
        ('[[steps]]\nstep = "resise"', "resize"),
        ('[[steps]]\nstep = "resize"\nsise = 3', "size"),
        ("size = 3", "expected"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"recipe\.toml: .*{message}"):
            Recipe.read(path)


@dataclasses.dataclass(frozen=True)
class Clumsy(Step):
    name: ClassVar[str] = "clumsy"

    def __call__(self, cutout):
        raise RuntimeError("fell over")


def test_a_failing_step_is_named_with_the_file():
    with pytest.raises(CutoutError, match=r"m51\.fits.*'clumsy'.*fell over") as caught:
        Recipe([Clumsy()])(Cutout(np.ones((8, 8)), file="m51.fits"))
    assert caught.value.flag == Flag.PREPROCESS_FAILED
    with pytest.raises(CutoutError, match=r"m51\.fits.*'bands'.*'i'"):
        Recipe([Bands(select=("i",))])(
            Cutout(np.ones((2, 8, 8)), file="m51.fits", bands=("g", "r"))
        )


def test_an_unregistered_step_cannot_be_recorded():
    with pytest.raises(ValueError, match="clumsy"):
        Recipe([Clumsy()]).to_dict()
    with pytest.raises(ValueError, match="not a step"):
        Recipe([len])


def test_the_raw_image_is_not_changed():
    rng = np.random.default_rng(0)
    data = rng.normal(100, 5, (3, 70, 80))
    cutout = Cutout(data, bands=("g", "r", "z"), variance=np.ones((70, 80)))
    before = cutout.data.copy(), cutout.mask.copy(), cutout.variance.copy()
    Recipe.default(32)(cutout)
    for old, new in zip(before, (cutout.data, cutout.mask, cutout.variance), strict=True):
        assert np.array_equal(old, new)


@pytest.mark.parametrize(
    "name",
    [
        "sdss_pawlik/small/sdsscutout_149.00575+0.3580208_rband.fits",
        "decals_gz/example_a.fits.gz",
        "decals_gz/example_a.jpeg",
        "decals_gz/example_bad_pix.fits.gz",
        "galaxy_zoo_mergers/Arp_241.jpg",
        "cafos_arp84/uamP_0174.fits.gz",
        "misc/photutils-datasets__M51.fits",
    ],
)
def test_real_images_all_look_alike(real_images, name):
    paths = sorted(real_images.glob(name))
    if not paths:
        pytest.skip(f"no {name}")
    out = Recipe.default(64)(read_cutout(paths[0]))
    image = out.data[0]
    assert out.shape == (1, 64, 64)
    assert image.min() >= 0
    assert 0.99 < image.max() <= 1
    # A galaxy on dark sky: bright in the middle, dark in the corners.
    corners = np.median([image[:8, :8], image[:8, -8:], image[-8:, :8], image[-8:, -8:]])
    assert image[20:44, 20:44].mean() > corners + 0.1
    assert corners < 0.25


def test_both_galaxies_of_arp_241_are_whole(real_images):
    """The pair and its two tails stay inside: little light is left on the border."""
    image = Recipe.default(64)(
        read_cutout(real_images / "galaxy_zoo_mergers" / "Arp_241.jpg")
    ).data[0]
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert border.mean() < 0.1
    assert image.mean() > 0.04


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"step": "repair", "cosmic_rays": "no"}, "'cosmic_rays' .* 'repair' must be true or"),
        ({"step": "repair", "cosmic_rays": 1}, "'cosmic_rays' .* 'repair' must be true or"),
        (
            {"step": "resize", "size": 64.5},
            "'size' .*'resize' must be a number without .* 64.5",
        ),
        ({"step": "resize", "size": True}, "'size' of the step 'resize' must be a number"),
        ({"step": "crop", "size": "3"}, "'size' of the step 'crop' must be a number; got '3'"),
        ({"step": "crop", "unit": 3}, "'unit' of the step 'crop' must be text; got 3"),
        ({"step": "bands", "select": ["g", 3]}, "3 in 'select' of the step 'bands' must be text"),
        ({"step": "bands", "weights": {"g": "1"}}, "'1' in 'weights' .*'bands' must be a number"),
        ({"step": "bands", "weights": ["g"]}, "'weights' .*'bands' must be a table"),
        ({"step": "match_psf", "fwhm": 1, "from_fwhm": "x"}, "'from_fwhm' .* table .*or a number"),
        ({"step": "match_psf", "fwhm": 1, "from_fwhm": {"g": "x"}}, "'x' in 'from_fwhm' of the"),
        ({"step": "align", "pixel_scale": [1]}, r"'pixel_scale' .* must be a number; got \[1\]"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(step, message):
    with pytest.raises(ValueError, match=f"^recipe: {message}"):
        Recipe.from_dict({"steps": [step]})


def test_values_stay_as_they_were_written():
    """Whole numbers for others, and lists: the digest of a stored recipe must not change."""
    steps = [
        {"step": "bands", "weights": {"g": 1, "r": 2.5}},
        {"step": "crop", "size": 4},
        {"step": "match_psf", "fwhm": 2, "from_fwhm": 1},
        {"step": "lupton", "bands": ["i", "r", "g"], "scale": [1, 1.2, 2]},
        {"step": "bands", "select": "r"},
    ]
    recipe = Recipe.from_dict({"steps": steps})
    assert recipe.steps[3].scale == (1, 1.2, 2)
    assert recipe.steps[4].select == ("r",)
    stored = json.loads(recipe.to_json())["steps"]
    assert json.dumps(stored[0]["weights"]) == '{"g": 1, "r": 2.5}'
    assert json.dumps([stored[1]["size"], stored[2]["fwhm"], stored[3]["scale"]]) == (
        "[4, 2, [1, 1.2, 2]]"
    )
    assert Recipe.from_json(recipe.to_json()).digest == recipe.digest


@dataclasses.dataclass(frozen=True)
class Stranger(Step):
    name: ClassVar[str] = "stranger"
    levels: tuple[int, ...] = ()
    array: np.ndarray = 3
    whatever: "NoSuchName" = 1  # noqa: F821

    def __call__(self, cutout):
        return cutout


@dataclasses.dataclass(frozen=True)
class Tuples(Step):
    name: ClassVar[str] = "tuples"
    levels: tuple[int, ...] = ()
    array: np.ndarray = 3

    def __call__(self, cutout):
        return cutout


@pytest.mark.parametrize("step", [Stranger, Tuples])
def test_a_step_whose_annotations_are_no_types(monkeypatch, step):
    spec = StepSpec(name=step.name, factory="a_plugin:Step")
    monkeypatch.setattr(StepSpec, "load", lambda self: step)
    monkeypatch.setattr(recipe_module, "get_spec", lambda kind, name: spec)
    data = {"step": step.name, "levels": [1, 2], "array": "anything"}
    made = Recipe.from_dict({"steps": [data]}).steps[0]
    assert made.array == "anything"
    # What can be checked is checked all the same.
    if step is Tuples:
        assert made.levels == (1, 2)
        with pytest.raises(ValueError, match="'x' in 'levels' of the step 'tuples' must be a num"):
            Recipe.from_dict({"steps": [data | {"levels": ["x"]}]})
