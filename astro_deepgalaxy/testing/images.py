"""Checks of what handles images: readers and preprocessing steps."""

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np

from ..flags import CutoutError, Flag
from .report import attempt, require, resolve

__all__ = ["check_reader", "check_step"]

_SPOILED = "with one variance that is not a number"
_DESCRIBED = "with a PSF and a sky in its meta"
_PSFS = [np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256] * 2


def check_step(step, **parameters):
    """Check that a preprocessing step keeps its promises.

    It is a frozen dataclass derived from `~astro_deepgalaxy.preprocess.Step` that survives JSON,
    leaves its input alone, always does the same, keeps id, file, flags, variance and mask
    consistent, and keeps the WCS right: a source stays at its place on the sky. A variance that is
    not a number does not spread over the image, and ``meta["psf"]`` is not kept on other pixels
    than its own. What it cannot work on, such as an image of a few pixels, is a
    `~astro_deepgalaxy.flags.CutoutError`.

    Parameters
    ----------
    step : str or type
        Registered name, or the step's class.
    **parameters
        Fields of the step.

    Raises
    ------
    AssertionError
        If the step fails.
    """
    from ..cutout import Cutout
    from ..preprocess import Step

    label, factory, spec = resolve("step", step)
    require(
        isinstance(factory, type) and issubclass(factory, Step),
        f"{label}: must be a class derived from astro_deepgalaxy.preprocess.Step",
    )
    require(
        dataclasses.is_dataclass(factory) and factory.__dataclass_params__.frozen,
        f"{label}: must be a frozen dataclass",
    )
    if spec is not None:
        require(
            factory.name == spec.name,
            f"{label}: its class is named {factory.name!r}; a recipe could not find it again",
        )
    step = attempt(f"{label}: making it", lambda: factory(**parameters))
    data = attempt(f"{label}: to_dict as JSON", lambda: json.loads(json.dumps(step.to_dict())))
    data.pop("step", None)
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    require(
        factory(**lists) == step,
        f"{label}: is not the same after it was written as JSON and read back",
    )

    image, position = _sky_image()
    before = image.replace(data=image.data.copy(), mask=image.mask.copy())
    after = attempt(f"{label}: applying it", lambda: step(image))
    require(isinstance(after, Cutout), f"{label}: returned {type(after)}, not a Cutout")
    require(
        np.array_equal(before.data, image.data, equal_nan=True)
        and np.array_equal(before.mask, image.mask)
        and before.flags == image.flags
        and np.array_equal(before.wcs.wcs.crpix, image.wcs.wcs.crpix),
        f"{label}: changed the image that it was given",
    )
    again = step(image)
    require(
        np.array_equal(after.data, again.data, equal_nan=True),
        f"{label}: does not give the same result twice",
    )
    require(
        (after.id, after.file) == (image.id, image.file), f"{label}: lost the image's id or file"
    )
    require(image.flags in after.flags, f"{label}: lost flags of the image")
    if after.variance is not None:
        require(
            (after.variance[~after.mask] >= 0).all(),
            f"{label}: the variance of valid pixels is negative or not a number",
        )
    if after.shape == image.shape:
        require(after.mask.any(), f"{label}: lost the mask")
    require(
        np.isfinite(after.data[~after.mask]).all(),
        f"{label}: pixels that are not masked are not finite",
    )
    if after.wcs is not None:
        x, y = after.wcs.world_to_pixel(position)
        found = _centroid(after)
        away = np.hypot(found[1] - x, found[0] - y)
        limit = 1 + float(image.pixel_scale / after.pixel_scale)
        require(
            away < limit,
            f"{label}: moved a source by {away:.1f} pixels on the sky: its WCS is wrong",
        )

    results = {}
    for name, odd in _odd_images(image).items():
        try:
            results[name] = result = step(odd)
            require(isinstance(result, Cutout), f"{label}: returned no Cutout for one {name}")
        except CutoutError:
            pass
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(
                f"{label}: raises {type(error).__name__} on an image {name}: {error}; "
                "raise CutoutError for what cannot be done"
            ) from error
    spoiled = results.get(_SPOILED)
    if after.variance is not None and spoiled is not None and spoiled.variance is not None:
        known = np.isfinite(after.variance) & ~after.mask
        require(
            not known.any() or (np.isfinite(spoiled.variance) & ~spoiled.mask).any(),
            f"{label}: a variance that is not a number spreads over the whole image",
        )
    described = results.get(_DESCRIBED)
    if described is not None and described.wcs is not None and "psf" in described.meta:
        ratio = float(described.pixel_scale / image.pixel_scale)
        require(
            abs(ratio - 1) < 0.01 or described.meta["psf"] is not _PSFS,
            f"{label}: kept meta['psf'], which is on the pixels of before; resample it or drop it",
        )


def _odd_images(image):
    """Images that a step must be able to work on or refuse, by what is odd about them."""
    variance = image.variance.copy()
    variance[0, 30, 30] = np.nan
    odd = {
        "without WCS and variance": image.replace(
            wcs=None, variance=None, flags=image.flags | Flag.NO_WCS
        ),
        "without a valid pixel": image.replace(data=np.full(image.shape, np.nan), mask=None),
        _SPOILED: image.replace(variance=variance),
        _DESCRIBED: image.replace(meta={"psf": _PSFS, "sky": np.full(image.shape, 5.0)}),
    }
    for height, width in ((1, 5), (3, 3)):
        few = slice(None), slice(30, 30 + height), slice(30, 30 + width)
        odd[f"of {height} x {width} pixels"] = image.replace(
            data=image.data[few], mask=image.mask[few], variance=image.variance[few]
        )
    return odd


def _sky_image():
    """A galaxy off the middle of a noisy two-band image, and where it is on the sky."""
    from astropy.wcs import WCS

    from ..cutout import Cutout

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 20.0
    wcs.wcs.crpix = 40.0, 36.0
    turn = np.deg2rad(20)
    wcs.wcs.cd = (0.4 / 3600) * np.array(
        [[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    ny, nx, y0, x0 = 72, 80, 40.0, 33.0
    y, x = np.mgrid[:ny, :nx]
    galaxy = 10 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * 3.0**2))
    noise = np.random.default_rng(2).normal(5, 0.05, (2, ny, nx))
    mask = np.zeros((ny, nx), dtype=bool)
    mask[5:8, 60:64] = True
    image = Cutout(
        galaxy * np.array([1, 0.7])[:, np.newaxis, np.newaxis] + noise,
        id="sky",
        file="sky.fits",
        bands=("g", "r"),
        mask=mask,
        variance=np.full((ny, nx), 0.05**2),
        wcs=wcs,
        unit="adu",
        flags=Flag.MISSING_DATA,
    )
    return image, wcs.pixel_to_world(x0, y0)


def _centroid(cutout):
    light = np.where(cutout.mask, cutout.data[~cutout.mask].min(), cutout.data).mean(axis=0)
    light = np.clip(light - (light.min() + light.max()) / 2, 0, None)
    y, x = np.indices(light.shape)
    return (y * light).sum() / light.sum(), (x * light).sum() / light.sum()


def check_reader(reader, path=None, **options):
    """Check that a reader returns cutouts, and one kind of error for what it cannot read.

    Parameters
    ----------
    reader : str or callable
        Registered name, or ``factory(path, **options) -> Cutout``.
    path : str or path-like, optional
        A file that it can read. Without one only the errors are checked.
    **options
        Options of the reader.

    Raises
    ------
    AssertionError
        If the reader fails.
    """
    from ..cutout import Cutout

    label, factory, spec = resolve("reader", reader)
    suffix = "" if path is None else "".join(Path(path).suffixes)
    if spec is not None:
        require(spec.suffixes, f"{label}: declares no suffixes, so no file would come to it")
        wrong = [s for s in spec.suffixes if not s.startswith(".") or s != s.lower()]
        require(not wrong, f"{label}: the suffixes {wrong} must be lower case with a dot")
        suffix = suffix or spec.suffixes[0]
    good = b""
    if path is not None:
        cutout = attempt(f"{label}: reading {path}", lambda: factory(path, **options))
        require(isinstance(cutout, Cutout), f"{label}: returned {type(cutout)}, not a Cutout")
        require(cutout.id, f"{label}: left the id empty")
        require(
            cutout.file == str(path), f"{label}: says file={cutout.file!r} instead of {str(path)!r}"
        )
        require((~cutout.mask).any(), f"{label}: found no valid pixel in {path}")
        again = factory(path, **options)
        require(
            np.array_equal(cutout.data, again.data, equal_nan=True),
            f"{label}: does not read the same pixels twice",
        )
        good = Path(path).read_bytes()
    noise = np.random.default_rng(3).bytes(4096)
    cases = {"empty": b"", "noise": noise, "text": b"not an image\n", "missing": None}
    with tempfile.TemporaryDirectory() as folder:
        for case, content in {**cases, "truncated": good[: len(good) // 2]}.items():
            if case == "truncated" and not good:
                continue
            file = Path(folder) / f"{case}{suffix}"
            if content is not None:
                file.write_bytes(content)
            try:
                factory(file, **options)
            except CutoutError as error:
                require(
                    file.name in str(error),
                    f"{label}: its error for a bad file does not name it: {error}",
                )
            except Exception as error:
                raise AssertionError(
                    f"{label}: raises {type(error).__name__} for a file that is {case}; "
                    "one bad image must be a CutoutError"
                ) from error
            else:
                # A picture cut in half may still show something, the others never do.
                require(case == "truncated", f"{label}: reads an image from a file that is {case}")
