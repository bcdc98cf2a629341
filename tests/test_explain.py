import copy

import keras
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Flag, MergerClassifier, Recipe, TimeScale
from astro_deepgalaxy.celestial import tangent_wcs
from astro_deepgalaxy.explain import explain, explain_each
from astro_deepgalaxy.explain.answers import measured
from astro_deepgalaxy.explain.grad_cam import GradCAM
from astro_deepgalaxy.explain.occlusion import Occlusion
from astro_deepgalaxy.explain.placement import Placement, feature_placement
from astro_deepgalaxy.network import GalaxyNetwork, NetworkConfig
from astro_deepgalaxy.plugins import get_spec
from astro_deepgalaxy.preprocess.bands import Bands
from astro_deepgalaxy.preprocess.crop import Crop
from astro_deepgalaxy.preprocess.resize import Resize
from astro_deepgalaxy.preprocess.stretch import Stretch

SIZE = 64
OUTPUTS = {"time_class": 71, "stage": 5}


@pytest.fixture(scope="module")
def fitted(blob_images):
    """A classifier of raw blobs with all outputs, hardly trained."""
    rng = np.random.default_rng(4)
    n = 48
    time = rng.uniform(-190, 520, n)
    labels = QTable(
        {
            "id": [f"blob{i}" for i in range(n)],
            "group": [f"group{i % 6}" for i in range(n)],
            "time_since_pericentre": time * u.Myr,
            "stage": np.where(time < 165, "approaching", "merged"),
            "is_merger": time > 0,
            "mass_ratio": rng.uniform(0.2, 1, n),
        }
    )
    recipe = Recipe([Bands(), Crop(size=48, unit="pixel", on="centre"), Resize(size=32), Stretch()])
    images = [100 * image[..., 0] for image in blob_images(time, size=48)]
    classifier = MergerClassifier(
        "simple",
        backbone_options={"filters": [8, 16, 24]},
        recipe=recipe,
        epochs=1,
        validation_fraction=0,
        progress=False,
    )
    return classifier.fit(images, labels)


@pytest.fixture
def raw(tmp_path):
    """A function that writes a raw image of one blob at a place in the sky."""

    def raw(name, sky, scale=0.5):
        wcs = tangent_wcs(150.0, 2.0, np.diag([-scale, scale]) / 3600, 30, 22)
        x, y = sky.to_pixel(wcs)
        v, w = np.mgrid[:48, :48]
        fits.writeto(
            tmp_path / name,
            100 * np.exp(-np.hypot(v - y, w - x) / 2).astype(np.float32),
            wcs.to_header(),
        )
        return tmp_path / name

    return raw


class Corner(keras.layers.Layer):
    """What lies outside a rectangle of an image is dropped."""

    def __init__(self, ys, xs):
        super().__init__()
        self.window = np.zeros((SIZE, SIZE, 1), dtype=np.float32)
        self.window[ys, xs] = 1

    def call(self, image):
        return image * self.window

    def compute_output_shape(self, shape):
        return shape


def synthetic(*layers, outputs=None, activations=None):
    """A network of these layers, of an average pooling and of weights that like light."""
    net = GalaxyNetwork(
        NetworkConfig(
            (SIZE, SIZE, 1), outputs or OUTPUTS, activations=activations or {}, backbone="simple"
        )
    )
    image = keras.Input((SIZE, SIZE, 1))
    x = image
    for layer in layers:
        x = layer(x)
    net.encoder = keras.Model(image, {"stage1": x})
    for layer in net.classifier.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            kernel[:] = 0
            kernel[:, -1] = 5
            layer.set_weights([kernel, bias])
    return net


def estimator(fitted, net):
    """The classifier with another network, which sees its images as they are."""
    other = copy.copy(fitted)
    other.network_, other.recipe_ = net, Recipe([Stretch(percentile=100, softening=1)])
    other._made_for = None
    return other


def sees(net, tensor, cell):
    """First and last row of the image that a cell depends on, by brute force."""
    import tensorflow as tf

    model, rng = keras.Model(net.input, tensor), np.random.default_rng(0)
    total = 0
    for _ in range(2):
        image = tf.constant(rng.random((1, *net.input_shape[1:]), dtype=np.float32))
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = tf.reduce_sum(tf.abs(model(image, training=False)[0, cell, cell]))
        total = total + np.abs(tape.gradient(value, image).numpy()[0, ..., 0])
    rows = np.flatnonzero(total.max(axis=1))
    return rows[0], rows[-1]


@pytest.mark.parametrize(
    ("backbone", "size", "stage"),
    [
        ("simple", 128, "stage3"),
        ("simple", 129, "stage4"),
        ("vgg16", 64, "stage2"),
        ("resnet50", 128, "stage2"),
        ("mobilenet", 128, "stage3"),
    ],
)
def test_a_cell_is_placed_in_the_middle_of_what_it_sees(backbone, size, stage):
    net = get_spec("backbone", backbone).load()((size, size, 1))
    tensor = net.output[stage]
    cell = tensor.shape[1] // 2
    first, last = sees(net, tensor, cell)
    assert first > 0
    assert last < size - 1
    place = feature_placement(net, tensor)
    assert place.first[0] + cell * place.step[0] == (first + last) / 2
    assert place.first[0] == place.first[1]


@given(
    first=st.tuples(st.floats(0, 8), st.floats(0, 8)),
    step=st.tuples(st.floats(1, 16), st.floats(1, 16)),
    slope=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_a_plane_is_interpolated_exactly_between_the_cells(first, step, slope):
    place = Placement(first, step)
    at = [f + s * np.arange(n) for f, s, n in zip(first, step, (5, 6), strict=True)]
    cells = slope[0] * at[0][:, np.newaxis] + slope[1] * at[1]
    image = place.onto_image(cells, (40, 50))
    y, x = (
        np.clip(np.arange(n), a[0], a[-1])[shape]
        for n, a, shape in ((40, at[0], np.s_[:, np.newaxis]), (50, at[1], np.s_[:]))
    )
    assert np.allclose(image, slope[0] * y + slope[1] * x, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sharpness=st.floats(0.1, 4))
def test_the_measures_are_those_of_the_catalogue(seed, sharpness):
    rng, scale = np.random.default_rng(seed), TimeScale()
    posterior = np.exp(sharpness * rng.standard_normal((3, scale.n)))
    posterior /= posterior.sum(axis=1, keepdims=True)
    values = posterior.astype(np.float32)
    edges = scale.edges.value.astype(np.float32)[np.newaxis]
    median = np.asarray(measured(values, "median", edges))
    assert np.allclose(median, scale.quantile(posterior, 0.5).value, atol=0.02)
    mean = np.asarray(measured(values, "mean", scale.centres.value.astype(np.float32)[np.newaxis]))
    assert np.allclose(mean, posterior @ scale.centres.value, atol=0.02)
    first = np.eye(scale.n, dtype=np.float32)[:1]
    assert np.allclose(measured(values, "log", first), np.log(posterior[:, 0]), atol=1e-4)


def test_the_gradient_of_the_median_is_its_slope():
    import tensorflow as tf

    scale = TimeScale()
    posterior = np.exp(-(((np.arange(71) - 30.3) / 9) ** 2))
    posterior = tf.constant((posterior / posterior.sum())[np.newaxis], tf.float32)
    edges = scale.edges.value.astype(np.float32)[np.newaxis]
    with tf.GradientTape() as tape:
        tape.watch(posterior)
        median = measured(posterior, "median", edges)
    gradient = tape.gradient(median, posterior).numpy()[0]
    for k in (5, 30, 60):
        moved = posterior.numpy().astype(float)
        moved[0, k] += 1e-4
        slope = (scale.quantile(moved, 0.5) - scale.quantile(posterior.numpy(), 0.5)).value / 1e-4
        assert np.allclose(gradient[k], slope[0], rtol=0.02)


BRIGHT = {"corner": (np.s_[48:], np.s_[:16]), "middle": (np.s_[24:40], np.s_[40:56])}


@pytest.mark.parametrize("method", ["grad-cam", "occlusion"])
@pytest.mark.parametrize("place", BRIGHT)
def test_the_map_peaks_where_the_network_looks(fitted, method, place):
    """All of the image is bright, and the network looks at one part of it only."""
    ys, xs = BRIGHT[place]
    stride = 8
    net = synthetic(Corner(ys, xs), keras.layers.AveragePooling2D(stride))
    images = np.random.default_rng(1).uniform(0.5, 1, (1, SIZE, SIZE)).astype(np.float32)
    images[:, [0, -1]] = images[:, :, [0, -1]] = 0  # the sky
    (found,) = explain(estimator(fitted, net), list(images), method, "stage", "merged")
    y, x = np.unravel_index(found.map.argmax(), found.map.shape)
    assert ys.start - stride <= y < (ys.stop or SIZE) + stride
    assert (xs.start or 0) - stride <= x < xs.stop + stride
    outside = np.ones((SIZE, SIZE), dtype=bool)
    far = 2 * stride
    outside[
        max(ys.start - far, 0) : (ys.stop or SIZE) + far,
        max((xs.start or 0) - far, 0) : xs.stop + far,
    ] = False
    assert np.abs(found.map[outside]).max() < 1e-6 * found.map.max()


@pytest.mark.parametrize("flip", [np.s_[:, ::-1], np.s_[:, :, ::-1]])
@pytest.mark.parametrize("method", ["grad-cam", "occlusion"])
def test_the_map_of_a_mirrored_image_is_mirrored(fitted, method, flip):
    net = synthetic(keras.layers.AveragePooling2D(4))
    image = np.random.default_rng(2).random((1, SIZE, SIZE), dtype=np.float32)
    model = estimator(fitted, net)
    (plain,), (mirrored,) = (explain(model, list(i), method) for i in (image, image[flip]))
    assert np.ptp(plain.map) > 0.1  # Myr
    assert np.allclose(plain.map[np.newaxis][flip][0], mirrored.map, atol=2e-3)


def test_grad_cam_by_hand():
    """Behind an average pooling and a softmax the gradient is known."""
    net = synthetic(keras.layers.AveragePooling2D(8), keras.layers.Conv2D(3, 1))
    dense = net.classifier.get_layer("stage")
    rng = np.random.default_rng(3)
    dense.set_weights([rng.standard_normal((3, 5)), rng.standard_normal(5)])
    images = rng.random((5, SIZE, SIZE, 1), dtype=np.float32)
    cells = np.asarray(net.encoder(images)["stage1"])
    p = np.asarray(net.classify(images)["stage"])
    kernel = dense.get_weights()[0]
    for signed in (True, False):
        answers = [FakeAnswer("stage", "log", w, signed) for w in np.eye(5, dtype=np.float32)]
        maps = GradCAM(net)(images, answers)
        assert maps.max() > 0
        for i in range(5):
            expected = cells[i] @ (kernel[:, i] - kernel @ p[i]) / 8**2
            expected = expected if signed else np.maximum(expected, 0)
            # The middle of 8 pixels is between the fourth and the fifth.
            found = np.mean([maps[i, a::8, b::8] for a in (3, 4) for b in (3, 4)], axis=0)
            if np.ptp(expected) > 0:
                assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98
            corners = expected[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert np.allclose(maps[i, [0, 0, -1, -1], [0, -1, 0, -1]], corners, atol=1e-6)


class FakeAnswer:
    """What a map is asked for."""

    def __init__(self, output, measure, weights, signed=False):
        self.output, self.measure, self.weights, self.signed = output, measure, weights, signed


class Counter:
    """An engine whose answer is the light in the image."""

    def predict(self, batch):
        return {"light": batch.sum(axis=(1, 2))}


@pytest.mark.parametrize(("patch", "step"), [(None, None), (5, 2), (7, 7), (3, 1)])
def test_occlusion_measures_the_light_that_it_hides(patch, step):
    """Each pixel has the mean of the light under the patches that cover it."""
    shape = (20, 23, 1)
    rng = np.random.default_rng(5)
    image = np.zeros(shape, dtype=np.float32)
    image[1:-1, 1:-1] = rng.random((18, 21, 1))
    occlusion = Occlusion(Counter(), shape, patch, step)
    patch, step = occlusion.patch, occlusion.step
    answer = FakeAnswer("light", "mean", np.ones(1, dtype=np.float32))
    (found,) = occlusion(image[np.newaxis], [answer])
    padded = np.pad(image[..., 0], patch)
    expected, count = np.zeros((2, *padded.shape))
    # The same patches on a larger canvas, placed so that they lie evenly about the image.
    starts = [patch + (n - patch - (-(-(n + patch) // step) - 2) * step) // 2 for n in shape[:2]]
    for y in range(starts[0], patch + shape[0], step):
        for x in range(starts[1], patch + shape[1], step):
            box = np.s_[y : y + patch, x : x + patch]
            expected[box] += padded[box].sum()
            count[box] += 1
    inner = np.s_[patch : patch + shape[0], patch : patch + shape[1]]
    assert (count[inner] > 0).all()
    assert np.allclose(found, expected[inner] / count[inner], atol=1e-4)


def test_hiding_sky_by_sky_changes_nothing(fitted):
    image = np.full((1, SIZE, SIZE, 1), 0.3, dtype=np.float32)
    image[0, 20:30, 20:30] = 1
    net = synthetic(keras.layers.AveragePooling2D(4))
    engine = get_spec("engine", "keras").load()(net)
    answer = FakeAnswer("stage", "log", np.eye(5, dtype=np.float32)[4])
    (found,) = Occlusion(engine, image.shape[1:])(image, [answer])
    assert np.abs(found[45:, 45:]).max() < 1e-6
    assert found[24:26, 24:26].min() > 1e-3


def test_all_answers_of_a_classifier(fitted, blob_images):
    image = 100 * blob_images([100.0], size=48)[0, ..., 0]
    catalogue = fitted.predict([image])

    def one(output, of=None, method="grad-cam"):
        (found,) = explain(fitted, [image], method, output, of)
        assert found.map.shape == (32, 32)
        assert found.map.dtype == np.float32
        assert np.ptp(found.map) > 0

        return found

    median = one("time_class")
    assert np.isclose(median.value, catalogue["time_since_pericentre"][0].value, atol=0.1)
    assert median.unit == u.Myr
    assert f"{median.value:.0f} Myr" in median.prediction
    posterior, scale = catalogue["time_probabilities"][0], TimeScale()
    assert np.isclose(one("time_class", "mean").value, posterior @ scale.centres.value, atol=0.1)
    assert np.isclose(one("time_class", 30).value, np.log(posterior[30]), atol=1e-3)
    inside = one("time_class", "interval").value
    assert np.isclose(np.exp(inside), catalogue.meta["interval"], atol=1e-3)
    stages = catalogue["stage_probabilities"][0]
    found = one("stage")
    assert np.isclose(found.value, np.log(stages.max()), atol=1e-3)
    assert str(catalogue["stage"][0]) in found.answer
    assert np.isclose(one("stage", "merged", "occlusion").value, np.log(stages[-1]), atol=1e-3)
    p = catalogue["merger_probability"][0]
    assert np.isclose(one("is_merger").value, np.log(max(p, 1 - p)), atol=1e-3)
    assert np.isclose(one("is_merger", "yes").value, np.log(p), atol=1e-3)
    raw = fitted.outputs([image], ["mass_ratio"])[1]["mass_ratio"]
    weights, means, _ = fitted.density("mass_ratio", raw).components
    assert np.isclose(one("mass_ratio").value, np.sum(weights * means), atol=1e-3)


def test_a_finer_feature_map(fitted, blob_images):
    image = 100 * blob_images([100.0], size=48)[0, ..., 0]
    (found,) = explain(fitted, [image], stage="stage2")
    assert found.settings["STAGE"][0] == "stage2"
    bends = np.abs(np.diff(found.map, 2, axis=0)).max(axis=1)
    kinks = 1 + np.flatnonzero(bends > 1e-4 * bends.max())
    # A line from one cell to the next: convolutions of stride 2 look at the pixels 3, 7, 11, ...
    assert set(kinks) <= set(range(3, 32, 4))
    assert len(kinks) > 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "time"}, "no output 'time' to explain; it has time_class, stage"),
        ({"output": "stage", "of": "later"}, "has no answer 'later'.*approaching"),
        ({"output": "time_class", "of": 71}, "has no answer 71.*median, mean, interval"),
        ({"output": "mass_ratio", "of": "median"}, "it has mean"),
        ({"method": "lime"}, "unknown method 'lime'; known are grad-cam, occlusion"),
        ({"stage": "stage9"}, "has no 'stage9'; its feature maps are stage1, stage2"),
        ({"patch": 4}, "'patch' is not a setting of the method 'grad-cam', which has stage"),
        ({"method": "occlusion", "stage": "stage1"}, "which has patch, step"),
        ({"method": "occlusion", "patch": 32}, "less than the 32 of the image; got 32"),
        ({"method": "occlusion", "patch": 0}, "at least 1 pixel"),
        ({"method": "occlusion", "patch": 4, "step": 5}, "step must be from 1 to 4 pixels"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(fitted, options, message):
    with pytest.raises(ValueError, match=message):
        explain_each(fitted, ["nothing.fits"], **options)


def test_outputs_without_a_meaning_are_refused(fitted):
    net = synthetic(keras.layers.AveragePooling2D(4), outputs={"x": 3}, activations={"x": "linear"})
    with pytest.raises(ValueError, match="'x' holds raw numbers"):
        explain(estimator(fitted, net), ["a.fits"])
    none = GalaxyNetwork(NetworkConfig((SIZE, SIZE, 1), {}, backbone="simple"))
    with pytest.raises(ValueError, match="no classifier"):
        explain(estimator(fitted, none), ["a.fits"])


def test_a_fits_layer_is_where_the_image_is_in_the_sky(fitted, raw, tmp_path):
    """The blob, the peak of the map of a network that likes light, and the sky agree."""
    sky = SkyCoord(150.0 * u.deg - 4 * u.arcsec, 2.0 * u.deg + 3 * u.arcsec)
    net = synthetic(keras.layers.AveragePooling2D(2))
    model = estimator(fitted, net)
    model.recipe_ = Recipe(
        [Bands(), Crop(size=40, unit="pixel", on="centre"), Resize(size=SIZE), Stretch()]
    )
    (found,) = explain(model, [raw("a.fits", sky)], output="stage", of="merged")
    found.write_fits(tmp_path / "map.fits")
    with fits.open(tmp_path / "map.fits") as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "MAP"]
        image, layer = hdus
        assert np.array_equal(image.data, found.image[..., 0])
        assert np.array_equal(layer.data, found.map)
        for hdu in hdus:
            y, x = np.unravel_index(hdu.data.argmax(), hdu.data.shape)
            apart = WCS(hdu.header).pixel_to_world(x, y).separation(sky)
            assert apart < 2 * 0.5 * 40 / SIZE * u.arcsec
        header = layer.header
        assert header["METHOD"] == "grad-cam"
        assert header["OUTPUT"] == "stage"
        assert "'merged'" in header["ANSWER"]
        assert header["STAGE"] == "stage1"
        assert u.Unit(header["BUNIT"]) == u.one
        assert header["VALUE"] == pytest.approx(found.value)


def test_an_image_without_wcs_has_none_and_says_so(fitted, blob_images, tmp_path):
    (found,) = explain(fitted, [100 * blob_images([100.0], size=48)[0, ..., 0]])
    found.write_fits(tmp_path / "map.fits")
    header = fits.getheader(tmp_path / "map.fits", "MAP")
    assert "CTYPE1" not in header
    assert header["FLAGS"] & int(Flag.NO_WCS)
    assert "no_wcs" in header.comments["FLAGS"]
    assert header["BUNIT"] == "Myr"


def test_several_channels_are_planes_of_the_fits_image(tmp_path):
    from astro_deepgalaxy.explain import Explanation

    image = np.random.default_rng(0).random((8, 9, 3), dtype=np.float32)
    found = Explanation("a\nü", "b.fits", image, image[..., 0], prediction="ü" * 200)
    assert np.isnan(found.value)
    found.write_fits(tmp_path / "map.fits")
    with fits.open(tmp_path / "map.fits") as hdus:
        assert np.array_equal(hdus[0].data, np.moveaxis(image, -1, 0))
        assert hdus["MAP"].header["OBJECT"] == r"a\n\xfc"
    found.write_png(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_a_store(fitted, raw, tmp_path):
    from astro_deepgalaxy.preprocess.batch import preprocess_batch

    skies = [SkyCoord(150.0 * u.deg, 2.0 * u.deg + a * u.arcsec) for a in (0, 2, 4)]
    files = [raw(f"{i}.fits", sky) for i, sky in enumerate(skies)]
    files[1].write_text("not an image")
    store = preprocess_batch(files, fitted.recipe_, tmp_path / "s.zarr", progress=False)
    found = explain(fitted, store, rows=[2, 1])
    assert [f.id for f in found] == ["2", "1"]
    assert found[0].wcs.to_header() == store.wcs(2).to_header()
    again = explain(fitted, files[2:])[0]
    assert np.allclose(found[0].map, again.map, atol=1e-5)
    assert found[0].wcs.to_header() == again.wcs.to_header()


def test_a_broken_image_has_a_reason_and_the_others_go_on(fitted, raw, tmp_path):
    good = raw("good.fits", SkyCoord(150 * u.deg, 2 * u.deg))
    (tmp_path / "bad.fits").write_text("not an image")
    bad, found = explain(fitted, [tmp_path / "bad.fits", good], "occlusion")
    assert bad.map is None
    assert "bad.fits" in bad.reason
    assert bad.flags & int(Flag.UNREADABLE)
    assert found.map is not None
    for write in (bad.write_fits, bad.write_png):
        with pytest.raises(ValueError, match=r"no map of 'bad'.*bad\.fits"):
            write(tmp_path / "map")
    assert not (tmp_path / "map").exists()


def test_command(fitted, raw, tmp_path):
    from astro_deepgalaxy.cli import main

    digest = fitted.save(tmp_path / "model")
    good = raw("good one.fits", SkyCoord(150 * u.deg, 2 * u.deg))
    (tmp_path / "bad.fits").write_text("not an image")
    words = ["explain", tmp_path / "model", good, tmp_path / "bad.fits", "-o", tmp_path / "why"]
    run = lambda *more: CliRunner().invoke(main, [*map(str, words), *more])  # noqa: E731
    result = run("--method", "occlusion", "--output", "stage", "--patch", "8")
    assert result.exit_code == 0, result.output
    assert "2 images, 1 of them without a map" in result.output
    table = QTable.read(tmp_path / "why" / "explanations.ecsv")
    assert np.ma.filled(table["map"], "").tolist() == ["00000_good_one.fits", ""]
    assert "bad.fits" in table["reason"][1]
    header = fits.getheader(tmp_path / "why" / table["map"][0], "MAP")
    assert header["MODEL"] == digest
    assert (header["PATCH"], header["STEP"]) == (8, 4)
    assert (tmp_path / "why" / table["picture"][0]).read_bytes().startswith(b"\x89PNG")
    assert run("--strict").exit_code == 1
    wrong = run("--output", "colour")
    assert wrong.exit_code == 1
    assert "no output 'colour' to explain" in wrong.output


def test_real_images(fitted, real_images, tmp_path):
    stamps = sorted((real_images / "sdss_pawlik" / "small").iterdir())[:2]
    pictures = sorted((real_images / "galaxy_zoo_mergers").glob("*.jpg"))[:2]
    for i, found in enumerate(explain(fitted, [*stamps, *pictures])):
        found.write_fits(tmp_path / "map.fits")
        wcs = WCS(fits.getheader(tmp_path / "map.fits", "MAP"))
        assert wcs.has_celestial == (i < 2)
        assert np.isfinite(found.map).all()
        assert "Myr" in found.prediction
