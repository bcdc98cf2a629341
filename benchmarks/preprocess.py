"""A folder of FITS cutouts to network-ready images, against the loop that a good user writes."""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

PIXELS, ALIGNED, SCALE = 256, 128, 0.2


def run(quick):
    """Time background, flux-conserving alignment and stretch, and compare the results.

    Parameters
    ----------
    quick : bool
        Fewer images.

    Returns
    -------
    list of dict
        The rows: ``loop`` against `reproject_adaptive`, ``loop, interp`` against
        `reproject_interp`, both for one core; ``cores``, the gain from all of them over one.
    """
    from joblib import cpu_count

    from astro_deepgalaxy import Recipe
    from astro_deepgalaxy.io import resolve_inputs
    from astro_deepgalaxy.preprocess.align import Align
    from astro_deepgalaxy.preprocess.background import Background
    from astro_deepgalaxy.preprocess.batch import preprocess_batch
    from astro_deepgalaxy.preprocess.prepare import prepare_all
    from astro_deepgalaxy.preprocess.stretch import Stretch

    n, n_loop = (96, 12) if quick else (1000, 60)
    steps = (
        Background(box_size=64, nsigma=0),
        Align(pixel_scale=2 * SCALE, size=ALIGNED),
        Stretch(),
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = _write(Path(folder), n)
        sources, _ = resolve_inputs(files)
        masked = (Background(box_size=64), *steps[1:])
        prepare_all(sources[:4], Recipe(steps))
        prepare_all(sources[:4], Recipe(masked))
        ours = _best(lambda: prepare_all(sources, Recipe(steps))) / n
        ours_masked = _best(lambda: prepare_all(sources, Recipe(masked))) / n
        times = {}
        for method in ("adaptive", "interp"):
            times[method] = (
                _best(lambda m=method: [_loop(f, m) for f in files[:n_loop]], 2) / n_loop
            )
        times["masked"] = _best(lambda: [_loop(f, "adaptive", True) for f in files[:n_loop]], 2)
        times["masked"] /= n_loop
        note = _agreement(files[:n_loop], steps)
        unit = "images/s on one core"
        for name, mine, reference, text in (
            ("loop", ours, times["adaptive"], f"Background2D, reproject_adaptive; {note}"),
            ("loop, interp", ours, times["interp"], "Background2D, reproject_interp"),
            (
                "loop, sources masked",
                ours_masked,
                times["masked"],
                "ours finds and masks the sources, the loop by detect_sources; adaptive",
            ),
        ):
            rows.append(
                {
                    "name": name,
                    "ours": 1 / mine,
                    "reference": 1 / reference,
                    "ratio": reference / mine,
                    "unit": unit,
                    "note": f"{PIXELS} to {ALIGNED} pixels, reading included; {text}",
                }
            )
        rows.append(_cores(preprocess_batch, files, Recipe(steps), Path(folder), cpu_count()))
    return rows


def _cores(preprocess_batch, files, recipe, folder, cores):
    """The gain from all cores, workers that are running already."""
    files = files * max(1, 1000 // len(files))
    times = {}
    for processes in (1, cores):
        for i in range(2):
            start = time.perf_counter()
            preprocess_batch(
                files, recipe, folder / f"{processes}-{i}.zarr", processes=processes, progress=False
            )
            times[processes] = time.perf_counter() - start
    return {
        "name": "cores",
        "ours": len(files) / times[cores],
        "reference": len(files) / times[1],
        "ratio": times[1] / times[cores],
        "unit": "images/s into a store",
        "note": f"{cores} processes against one; {len(files)} images, store included",
    }


def _best(function, repeats=3):
    """Shortest of some times, in seconds: others on the machine only add to it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _write(folder, n):
    """Images of a galaxy, some stars, a sloping sky and noise, turned against north."""
    from astropy.io import fits

    from astro_deepgalaxy.celestial import tangent_wcs

    y, x = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
    files = []
    for i in range(n):
        rng = np.random.default_rng(i)
        image = rng.normal(100 + 0.01 * x, 2).astype(np.float32)
        image += 200 * np.exp(-np.hypot(x - 126, y - 130) / 8)
        for cx, cy, peak in rng.uniform((20, 20, 50), (236, 236, 500), (8, 3)):
            near = (slice(int(cy) - 12, int(cy) + 13), slice(int(cx) - 12, int(cx) + 13))
            image[near] += peak * np.exp(-((x[near] - cx) ** 2 + (y[near] - cy) ** 2) / 8)
        angle = np.radians(rng.uniform(-5, 5))
        c, s = np.cos(angle), np.sin(angle)
        matrix = np.array([[-c, s], [s, c]]) * SCALE / 3600
        wcs = tangent_wcs(150 + 0.01 * i, 2.0, matrix, (PIXELS - 1) / 2, (PIXELS - 1) / 2)
        files.append(str(folder / f"{i:05d}.fits"))
        fits.writeto(files[-1], image, wcs.to_header())
    return files


def _loop(file, method, masked=False):
    """One image by the libraries as their documentation has it."""
    import reproject
    from astropy.io import fits
    from astropy.stats import SigmaClip
    from astropy.visualization import AsinhStretch
    from astropy.wcs import WCS
    from photutils.background import Background2D
    from photutils.segmentation import detect_sources, detect_threshold

    with fits.open(file, memmap=False) as hdus:
        data, wcs = hdus[0].data.astype(np.float32), WCS(hdus[0].header)
    mask = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if masked:
            found = detect_sources(data, detect_threshold(data, 2), 12)
            mask = None if found is None else found.make_source_mask()
        clip = SigmaClip(3, maxiters=10)
        sky = Background2D(data, 64, mask=mask, sigma_clip=clip, exclude_percentile=75).background
    new = _target(wcs)
    shape = {"shape_out": (ALIGNED, ALIGNED)}
    if method == "adaptive":
        image, _ = reproject.reproject_adaptive((data - sky, wcs), new, conserve_flux=True, **shape)
    else:
        image, _ = reproject.reproject_interp((data - sky, wcs), new, **shape)
        image *= 4  # flux a pixel
    top = np.nanpercentile(image, 99.7)
    return AsinhStretch(0.02)(np.clip(np.nan_to_num(image) / top, 0, 1)), image, sky


def _target(wcs):
    """North up at the middle of the image."""
    from astropy.wcs import WCS

    middle = wcs.pixel_to_world((PIXELS - 1) / 2, (PIXELS - 1) / 2)
    new = WCS(naxis=2)
    new.wcs.ctype = "RA---TAN", "DEC--TAN"
    new.wcs.crval = middle.ra.deg, middle.dec.deg
    new.wcs.crpix = (ALIGNED + 1) / 2, (ALIGNED + 1) / 2
    new.wcs.cdelt = -2 * SCALE / 3600, 2 * SCALE / 3600
    return new


def _agreement(files, steps):
    """How far our sky and our flux are from those of the loop, the largest of some images."""
    from astro_deepgalaxy.io import read_cutout

    sky_apart, flux_apart = [], []
    for file in files:
        cutout = read_cutout(file)
        flat = steps[0](cutout)
        aligned = steps[1](flat)
        _, image, sky = _loop(file, "adaptive")
        sky_apart.append(np.abs(cutout.data[0] - flat.data[0] - sky).max() / 2)
        both = np.isfinite(image) & ~aligned.mask[0]
        flux_apart.append(abs(aligned.data[0][both].sum() / image[both].sum() - 1))
    return (
        f"sky within {max(sky_apart):.2%} of its noise everywhere, flux within "
        f"{max(flux_apart):.2%}"
    )
