"""Images of simulations on disk: what each camera sees of each snapshot, as FITS and in tables."""

import hashlib
import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from astropy.cosmology import Planck18
from astropy.io import fits
from astropy.table import vstack
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ..io.tables import read_table, write_table
from ..jobs import atomic_path, check_space
from .background import read_background
from .choices import Range
from .labelling import camera_labels, label_table, snapshot_labels
from .observe import Observation, observe
from .plan import image_bytes
from .survey import open_survey, read_versions
from .telescopes import telescope_observation
from .views import Stars

__all__ = [
    "IdealTelescope",
    "RealTelescope",
    "random_observation",
    "write_images",
]

_MOST_PIXELS = 8192


@dataclass(frozen=True)
class IdealTelescope:
    """Images without distance, blur, sky or noise: the surface brightness of the stars."""

    def settings(self):
        """What sets its images apart, as data for JSON (dict)."""
        return {"telescope": type(self).__name__}

    def largest(self, images):
        """Side of the images in pixels (int); see `RealTelescope.largest`."""
        return images.pixels

    def image(self, stars, images, camera, rng):
        """One image; see `write_images`."""
        view = stars.view(camera, rng)
        light = stars.render([view], images.pixels)[0]
        scale = view.field / images.pixels
        middle = (images.pixels + 1) / 2
        cards = [("BUNIT", "solLum kpc-2", "r band"), ("WCSAXES", 2)]
        for axis, name in ((1, "XOFFSET"), (2, "YOFFSET")):
            cards += [
                (f"CTYPE{axis}", name),
                (f"CUNIT{axis}", "kpc"),
                (f"CRPIX{axis}", middle),
                (f"CRVAL{axis}", 0.0),
                (f"CDELT{axis}", scale),
            ]
        cards += [("FILTER", "r"), ("SIMULATE", True, "made by a simulation")]
        header = fits.Header(cards)
        return fits.PrimaryHDU((light / scale**2).astype(np.float32), header), view, {}


@dataclass(frozen=True)
class RealTelescope:
    """Images as a survey would take them.

    The mass-to-light ratios, given in the r band, are used in the survey's band: the stars have
    the colours of the Sun.

    Attributes
    ----------
    survey : str
        Name of a survey, see `~astro_deepgalaxy.simulate.telescopes.telescope_names`; empty for
        circumstances that vary as from night to night, with the number of pixels planned.
    redshift : tuple of float
        Smallest and largest redshift; each image gets one in between.
    psf : numpy.ndarray, optional
        Image of a point source at the pixel scale of the images, in place of the survey's own;
        see `~astro_deepgalaxy.simulate.psf.read_psf`.
    background : str, optional
        FITS file of the real sky, into which the galaxies are put at the file's pixel scale; see
        `~astro_deepgalaxy.simulate.background.read_background`.

    Raises
    ------
    ValueError
        If there is a PSF or a background without the survey that it belongs to.
    """

    survey: str = ""
    redshift: tuple[float, float] = (0.02, 0.08)
    psf: np.ndarray | None = None
    background: str = ""

    def __post_init__(self):
        if not self.survey and (self.psf is not None or self.background):
            raise ValueError(
                "a PSF or a background needs the survey (its name) whose telescope it belongs to"
            )

    @property
    def pixel_scale(self):
        """Side of a pixel in arcsec (float), or None without a survey."""
        if self.background:
            return self._background().pixel_scale
        return telescope_observation(self.survey).pixel_scale if self.survey else None

    def settings(self):
        """What sets its images apart, as data for JSON (dict)."""
        psf = "" if self.psf is None else np.ascontiguousarray(self.psf, dtype="<f8").tobytes()
        return {
            "telescope": f"{type(self).__name__} {self.survey}".strip(),
            "redshift": list(self.redshift),
            "psf": psf and hashlib.sha256(psf).hexdigest(),
            "background": self.background and str(Path(self.background).absolute()),
        }

    def largest(self, images):
        """Side of the largest image; finds out before the first whether all can be taken.

        Parameters
        ----------
        images : ImagePlan
            How to look.

        Returns
        -------
        int
            In pixels.

        Raises
        ------
        ValueError
            If the survey is not known, the PSF or the background cannot be used, or the largest
            image would have too many pixels.
        """
        if not self.survey:
            return images.pixels
        sides = []
        for redshift in self.redshift:  # of those in between, none has smaller pixels in kpc
            observation = self._observation(redshift=redshift)
            largest = images.field.high if isinstance(images.field, Range) else images.field
            pixels, _ = self._sampling(largest, observation)
            if self.background:
                self._background().places((pixels, pixels))
            sides.append(pixels)
        return max(sides)

    def image(self, stars, images, camera, rng):
        """One image; see `write_images`."""
        view = stars.view(camera, rng, roll=rng.uniform(0, 2 * np.pi))
        observation = random_observation(rng, *self.redshift)
        pixels, background = images.pixels, None
        if self.survey:
            place = ("redshift", "ra", "dec", "roll", "sky_angle")
            observation = self._observation(**{key: getattr(observation, key) for key in place})
            # Rendered at the telescope's own sampling, the image need not be resampled.
            pixels, field = self._sampling(view.field, observation)
            view = view._replace(field=field)
            background = self._background() if self.background else None
        light = stars.render([view], pixels)[0]
        hdu = observe(light, view.field / pixels, observation, rng, background)
        return hdu, view, {"redshift": observation.redshift}

    def _observation(self, **changes):
        if self.psf is not None:
            changes |= {"psf_shape": "image", "psf_image": self.psf}
        return telescope_observation(self.survey, **changes)

    def _background(self):
        # Read by each process for itself: a path is easier to hand over than an image.
        return read_background(self.background, telescope_observation(self.survey).band)

    def _sampling(self, field, observation):
        """Pixels a side, and the field in kpc that they make up."""
        arcsec = Planck18.kpc_proper_per_arcmin(observation.redshift).value / 60
        scale = self.pixel_scale * arcsec
        pixels = max(8, math.ceil(field / scale))
        if pixels > _MOST_PIXELS:
            raise ValueError(
                f"a field of {field:.0f} kpc at redshift {observation.redshift:.3g} has "
                f"{pixels} pixels a side; choose a smaller field or a higher redshift"
            )
        return pixels, pixels * scale


def write_images(folder, output, telescope, images=None, processes=None, progress=None):
    """Take images of every finished snapshot of a survey by every camera.

    Finished simulations are kept: the call can be killed at any time and repeated. Simulations
    that are not finished are left out.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Folder of the survey.
    output : str or `~pathlib.Path`
        Gets ``images/*.fits`` and ``labels.ecsv``.
    telescope : IdealTelescope or RealTelescope
        What takes the images.
    images : ImagePlan, optional
        How to look; by default as planned.
    processes : int, optional
        Simulations at once; by default as many as there are cores.
    progress : bool or None
        Show a progress bar; None shows it on a terminal only.

    Returns
    -------
    `~pathlib.Path`
        The label table. The columns are among `~astro_deepgalaxy.labels.LABEL_COLUMNS`; its meta
        holds the plan, the way of looking and the energy drift of each simulation.

    Raises
    ------
    ValueError
        If no simulation is finished, the telescope cannot take the images, or the output holds
        some that were taken in another way.
    """
    output = Path(output)
    simulations = [s for s in open_survey(folder) if s.state.status == "done"]
    if not simulations:
        raise ValueError(f"{folder}: no simulation is finished yet; see 'simulate status'")
    images = images or simulations[0].plan.images
    pixels = telescope.largest(images)
    todo = [s for s in simulations if not _part(output, s).exists()]
    number = sum(len(simulation.snapshots) for simulation in todo) * images.cameras
    check_space(
        output,
        {f"{number} images": number * image_bytes(pixels)},
        "choose fewer pixels or cameras, or another disk",
    )
    with _alone_in(output):
        _claim(output, simulations[0].plan, images, telescope)
        for leftover in output.rglob(".partial-*"):
            leftover.unlink(missing_ok=True)
        _write_missing(simulations, todo, output, telescope, images, processes, progress)
        parts = [read_table(_part(output, simulation)) for simulation in simulations]
        labels = vstack(parts, metadata_conflicts="silent")
        labels.meta = {
            "plan": simulations[0].plan.model_dump_json(),
            "images": images.model_dump_json(),
            "energy_drift": json.dumps([part.meta["energy_drift"] for part in parts]),
            "versions": json.dumps(read_versions(folder)),
        }
        write_table(labels, output / "labels.ecsv")
    return output / "labels.ecsv"


def _write_missing(simulations, todo, output, telescope, images, processes, progress):
    processes = min(processes or joblib.cpu_count(), len(todo)) or 1
    bar = tqdm(
        total=len(simulations),
        initial=len(simulations) - len(todo),
        desc="images",
        unit="simulation",
        disable=None if progress is None else not progress,
    )
    threads = max(1, joblib.cpu_count() // processes)
    with bar, joblib.parallel_config("loky", inner_max_num_threads=threads):
        results = joblib.Parallel(processes, return_as="generator_unordered")(
            joblib.delayed(_write_simulation)(s, output.absolute(), telescope, images) for s in todo
        )
        for _ in results:
            bar.update()


def random_observation(rng, nearest=0.02, farthest=0.08):
    """Circumstances such as a survey of nearby galaxies meets.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    nearest, farthest : float
        Smallest and largest redshift.

    Returns
    -------
    Observation
        Exposure, seeing and sky vary as from night to night.
    """
    return Observation(
        redshift=float(rng.uniform(nearest, farthest)),
        ra=float(rng.uniform(0, 360)),
        dec=float(np.degrees(np.arcsin(rng.uniform(-1, 1)))),
        roll=float(rng.uniform(0, 360)),
        psf_fwhm=float(rng.uniform(1.0, 1.6)),
        sky_brightness=float(rng.uniform(20.8, 21.4)),
        sky_gradient=float(rng.uniform(0, 0.03)),
        sky_angle=float(rng.uniform(0, 360)),
        exposure=float(100 * 10 ** rng.uniform(0, 1)),
    )


def _part(output, simulation):
    return output / "parts" / f"{simulation.planned.name}.ecsv"


@contextmanager
def _alone_in(output):
    """No other process writes images there meanwhile."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"{output}: another process is writing images there") from error


def _claim(output, plan, images, telescope):
    """Write down how the images of a folder are taken, or check that it is in this way."""
    path = output / "images.json"
    wanted = {
        "simulations": plan.digest,
        "images": images.model_dump(),
        **telescope.settings(),
    }
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
        if found.get("simulations") != plan.digest:
            raise ValueError(f"{output}: holds images of other simulations; choose another folder")
        for name, value in wanted.items():
            if found.get(name) != value:
                raise ValueError(
                    f"{output}: holds images taken with {name} = {found.get(name)}, not {value}; "
                    "choose another folder"
                )
        return
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def _write_simulation(simulation, output, telescope, images):
    history = simulation.history()
    name = simulation.planned.name
    rows = []
    for number in range(len(simulation.snapshots)):
        snapshot = simulation.snapshot(number)
        stars = Stars(simulation, snapshot, images)
        truth = snapshot_labels(simulation, history, snapshot, number)
        for camera in range(images.cameras):
            rng = simulation.plan.random(simulation.planned.number, number, camera)
            hdu, view, more = telescope.image(stars, images, camera, rng)
            title = f"{name}_snap_{number:03d}_cam_{camera:02d}"
            file = f"images/{title}.fits"
            with atomic_path(output / file) as partial:
                hdu.writeto(partial)
            seen = camera_labels(simulation, snapshot, view)
            rows.append({"id": title, "file": file, **truth, **seen, **more})
    table = label_table(rows)
    table.meta["energy_drift"] = history.energy_drift
    write_table(table, _part(output, simulation))
