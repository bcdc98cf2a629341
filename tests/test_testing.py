"""Plugins that are broken on purpose must be caught by the conformance checks."""

from dataclasses import dataclass, field
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import layers

from astro_deepgalaxy import testing
from astro_deepgalaxy.cutout import Cutout
from astro_deepgalaxy.engines.keras import KerasEngine
from astro_deepgalaxy.flags import CutoutError, Flag
from astro_deepgalaxy.io.fits import read_fits
from astro_deepgalaxy.plugins import get_spec
from astro_deepgalaxy.preprocess import Step
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.specs import BackboneSpec
from astro_deepgalaxy.tasks.classify import MergerClassifier
from astro_deepgalaxy.testing import check_engine, check_task, check_trainer
from astro_deepgalaxy.trainers.local import LocalTrainer

SHAPE = (16, 24, 1)


def stage(x, channels=4, **options):
    return layers.Conv2D(channels, 3, **{"strides": 2, "padding": "same"} | options)(x)


def sound(input_shape):
    image = keras.Input(input_shape)
    first = stage(image)
    return keras.Model(image, {"stage1": first, "stage2": stage(layers.ReLU()(first))})


def two_inputs(input_shape):
    images = [keras.Input(input_shape), keras.Input(input_shape)]
    return keras.Model(images, {"stage1": stage(layers.Add()(images))})


def fixed_batch(input_shape):
    image = keras.Input(batch_shape=(3, *input_shape))
    return keras.Model(image, {"stage1": stage(image)})


def one_tensor(input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, stage(image))


def wrong_names(input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, {"stage0": stage(image), "stage1": stage(stage(image))})


def valid_padding(input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, {"stage1": stage(image, padding="valid")})


def same_stride_twice(input_shape):
    image = keras.Input(input_shape)
    first = stage(image)
    return keras.Model(image, {"stage1": first, "stage2": stage(first, strides=1)})


def uneven_strides(input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, {"stage1": stage(image, strides=(2, 4))})


def vector(input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, {"stage1": layers.Flatten()(image)})


def bound_to_size(input_shape):
    image = keras.Input(input_shape)
    x = layers.Dense(input_shape[0] * input_shape[1] // 4)(layers.Flatten()(image))
    return keras.Model(
        image, {"stage1": layers.Reshape((input_shape[0] // 2, input_shape[1] // 2, 1))(x)}
    )


def not_finite(input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, {"stage1": stage(keras.ops.log(image))})


def random_each_time(input_shape):
    class Noise(layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x))

    image = keras.Input(input_shape)
    return keras.Model(image, {"stage1": Noise()(stage(image))})


def mixes_the_batch(input_shape):
    image = keras.Input(input_shape)
    x = image - keras.ops.mean(image, axis=0, keepdims=True)
    return keras.Model(image, {"stage1": stage(x)})


def cut_gradient(input_shape):
    image = keras.Input(input_shape)
    first = stage(image)
    return keras.Model(
        image, {"stage1": keras.ops.stop_gradient(first), "stage2": stage(stage(image))}
    )


def raises(input_shape):
    raise RuntimeError("out of luck")


def not_a_model(input_shape):
    return 3


def test_a_sound_backbone_passes():
    testing.check_backbone(sound, SHAPE)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (two_inputs, "takes 2 inputs instead of one"),
        (fixed_batch, "with the batch left open"),
        (one_tensor, "a dict of outputs"),
        (wrong_names, "expected stage1, stage2"),
        (valid_padding, "7 x 11 pixels for images of 16 x 24"),
        (same_stride_twice, "stage2 has stride 2, not more than 2"),
        (uneven_strides, "one whole stride"),
        (vector, "expected a map"),
        (bound_to_size, "weights depend on the image size"),
        (not_finite, "not finite for images in"),
        (random_each_time, "differs when the same images are given twice"),
        (mixes_the_batch, "depends on the others in the batch"),
        (cut_gradient, "no gradient reaches"),
        (raises, "building for .* failed: RuntimeError: out of luck"),
        (not_a_model, "not a keras.Model"),
    ],
)
def test_broken_backbones_are_caught(factory, message):
    with pytest.raises(AssertionError, match=f"backbone '{factory.__name__}': .*{message}"):
        testing.check_backbone(factory, SHAPE)


def test_declared_sizes_and_channels_are_tried(monkeypatch):
    def picky(input_shape):
        if input_shape[-1] == 2 or min(input_shape[:2]) < 32:
            raise ValueError(f"cannot take {input_shape}")
        return sound(input_shape)

    monkeypatch.setitem(globals(), "picky", picky)
    for change in ({"channels": (1, 2), "min_size": 32}, {"min_size": 16}):
        spec = BackboneSpec(name="picky", factory="picky:picky", **change)
        monkeypatch.setattr(type(spec), "load", lambda self: picky)
        monkeypatch.setattr(testing.report, "get_spec", lambda kind, name, spec=spec: spec)
        with pytest.raises(AssertionError, match="cannot take"):
            testing.check_backbone("picky")


@dataclass(frozen=True)
class Sound(Step):
    name: ClassVar[str] = "sound"
    factor: float = 2.0
    levels: tuple = field(default=(1, 2))

    def __call__(self, cutout):
        return cutout.replace(data=cutout.data * self.factor)


class InPlace(Sound):
    def __call__(self, cutout):
        cutout.data[:] *= 2
        return cutout.replace(data=cutout.data)


class Array(Sound):
    def __call__(self, cutout):
        return cutout.data


class Forgetful(Sound):
    def __call__(self, cutout):
        return Cutout(cutout.data, mask=cutout.mask, id=cutout.id, file=cutout.file)


class Anonymous(Sound):
    def __call__(self, cutout):
        return cutout.replace(id="")


class Unmasking(Sound):
    def __call__(self, cutout):
        return cutout.replace(mask=None, data=np.nan_to_num(cutout.data))


class Shifting(Sound):
    def __call__(self, cutout):
        return cutout.replace(data=np.roll(cutout.data, 6, axis=2))


class Fickle(Sound):
    def __call__(self, cutout):
        return cutout.replace(data=cutout.data + np.random.default_rng().normal())


class NeedsWcs(Sound):
    def __call__(self, cutout):
        cutout.wcs.deepcopy()
        return cutout.replace()


class Refuses(Sound):
    def __call__(self, cutout):
        if cutout.wcs is None:
            raise CutoutError("needs a WCS", Flag.PREPROCESS_FAILED)
        return cutout.replace()


class NotData:
    def __call__(self, cutout):
        return cutout


@dataclass
class Mutable:
    def __call__(self, cutout):
        return cutout


@pytest.mark.parametrize("step", [Sound, Refuses])
def test_sound_steps_pass(step):
    testing.check_step(step)
    testing.check_step(step, factor=3.0)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (InPlace, "changed the image that it was given"),
        (Array, "not a Cutout"),
        (Forgetful, "lost flags"),
        (Anonymous, "lost the image's id or file"),
        (Unmasking, "lost the mask"),
        (Shifting, r"moved a source by 6\.0 pixels"),
        (Fickle, "the same result twice"),
        (NeedsWcs, "raises AttributeError on an image without WCS"),
        (NotData, "derived from"),
        (Mutable, "derived from"),
    ],
)
def test_broken_steps_are_caught(step, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_step(step)


def test_shipped_steps_pass():
    for name in ("background", "bands", "crop", "resize", "stretch"):
        testing.check_step(name)
    testing.check_step("align", pixel_scale=0.6)


def test_shipped_readers_pass(real_images):
    testing.check_reader("fits", real_images / "decals_gz" / "example_a.fits.gz")
    testing.check_reader("picture", real_images / "decals_gz" / "example_a.jpeg")


def test_broken_readers_are_caught(tmp_path):
    from astropy.io import fits

    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.ones((8, 8), np.float32)).writeto(path)
    testing.check_reader(read_fits, path)

    def leaky(path):
        return Cutout(fits.getdata(path), id="x", file=str(path))

    def nameless(path):
        return read_fits(path).replace(file="")

    def too_kind(path):
        try:
            return read_fits(path)
        except CutoutError:
            return Cutout(np.zeros((4, 4)), id="x", file=str(path))

    def vague(path):
        try:
            return read_fits(path)
        except CutoutError as error:
            raise CutoutError("something went wrong") from error

    for reader, message in [
        (leaky, "one bad image must be a CutoutError"),
        (nameless, "says file=''"),
        (too_kind, "reads an image from a file that is empty"),
        (vague, "does not name it"),
    ]:
        with pytest.raises(AssertionError, match=message):
            testing.check_reader(reader, path)


def test_check_spec_says_what_it_could_not_check():
    assert testing.check_spec(get_spec("step", "resize")) == ""
    assert "needs parameters" in testing.check_spec(get_spec("step", "align"))
    with pytest.raises(AssertionError, match="loading failed: ModuleNotFoundError"):
        testing.check_spec(BackboneSpec(name="zz", factory="zz_absent:zz"))


def test_the_shipped_trainer_engine_and_task_pass():
    check_trainer("local", progress=False)
    check_engine("keras")
    check_task("classify")


class _Forgetful(LocalTrainer):
    """A trainer that does not look whose checkpoints it takes up."""

    def fit(self, job):
        import shutil

        shutil.rmtree(job.checkpoint, ignore_errors=True)
        return super().fit(job)


def test_a_trainer_that_overwrites_another_job_is_caught():
    with pytest.raises(AssertionError, match="trained another job"):
        check_trainer(_Forgetful, progress=False)


class _Shifted(KerasEngine):
    """An engine that is a little off."""

    def predict(self, batch):
        return {name: values + 0.02 for name, values in super().predict(batch).items()}


def test_an_engine_that_is_off_is_caught():
    with pytest.raises(AssertionError, match="differs from Keras by"):
        check_engine(_Shifted)


class _Overwriting(MergerClassifier):
    """A task that changes its parameters."""

    def __init__(self, backbone="simple", *, epochs=2, **parameters):
        super().__init__(backbone, epochs=epochs + 1, **parameters)


def test_a_task_that_changes_its_parameters_is_caught():
    with pytest.raises(AssertionError, match="clone"):
        check_task(_Overwriting)


class KeepsPsf(Sound):
    def __call__(self, cutout):
        return Resize(size=20)(cutout).replace(meta=cutout.meta)


class OneForAll(Sound):
    def __call__(self, cutout):
        variance = cutout.variance
        mean = None if variance is None else np.full_like(variance, variance.mean())
        return cutout.replace(variance=mean)


class NeedsRoom(Sound):
    def __call__(self, cutout):
        cutout.data[:, 4, 4]
        return cutout.replace()


class ExpectsNoMeta(Sound):
    def __call__(self, cutout):
        return cutout.replace(meta={key: float(value) for key, value in cutout.meta.items()})


class RefusesAllThatIsOdd(Sound):
    def __call__(self, cutout):
        if min(cutout.shape[1:]) < 16 or cutout.meta or cutout.mask.all() or cutout.wcs is None:
            raise CutoutError("is odd", Flag.PREPROCESS_FAILED)
        if not np.isfinite(cutout.variance).all():
            raise CutoutError("is odd", Flag.PREPROCESS_FAILED)
        return cutout.replace()


class WithoutVariance(Sound):
    def __call__(self, cutout):
        return cutout.replace(variance=None)


@pytest.mark.parametrize("step", [RefusesAllThatIsOdd, WithoutVariance])
def test_steps_may_refuse_odd_images(step):
    testing.check_step(step)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (KeepsPsf, r"kept meta\['psf'\]"),
        (OneForAll, "spreads over the whole image"),
        (NeedsRoom, "raises IndexError on an image of 1 x 5 pixels"),
        (ExpectsNoMeta, "raises TypeError on an image with a PSF and a sky"),
    ],
)
def test_steps_that_break_on_odd_images_are_caught(step, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_step(step)
