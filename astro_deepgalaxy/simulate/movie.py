"""A simulation as a movie."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..jobs import atomic_path
from .views import image_plan, logarithmic, snapshot_views

__all__ = ["MOVIE_SUFFIXES", "frames", "write_movie"]

MOVIE_SUFFIXES = (".gif", ".mp4")
"""What names of movies end in."""


_BAR = 20.0  # kpc
_BLACK_BODY = ((0, 0, 0), (70, 25, 60), (190, 80, 60), (250, 190, 110), (255, 255, 240))


def frames(simulation, camera=0, pixels=256, field=None):
    """Pictures of a simulation in order of time, with the time and a scale bar.

    Parameters
    ----------
    simulation : Simulation
        The simulation; it need not be finished.
    camera : int
        Number of the camera.
    pixels : int
        Side of a picture.
    field : float, optional
        Side of the field of view in kpc; by default as planned (the middle of a range).

    Yields
    ------
    `PIL.Image.Image`

    Raises
    ------
    ValueError
        If there is no snapshot yet or no such camera.
    """
    if field is None:
        planned = simulation.plan.images.field
        field = planned if isinstance(planned, float) else 0.5 * (planned.low + planned.high)
    images = image_plan(simulation.plan, pixels=pixels, field=field)
    n = len(simulation.snapshots)
    if n == 0:
        raise ValueError(f"{simulation.folder}: has no snapshots yet; see 'simulate status'")
    if not 0 <= camera < images.cameras:
        raise ValueError(f"camera must be from 0 to {images.cameras - 1}; got {camera}")
    for number in range(n):
        brightness = snapshot_views(simulation, number, images, [camera])[0]
        time = number * simulation.plan.interval
        yield _annotated(_coloured(brightness), f"{time:.0f} Myr", field)


def write_movie(path, pictures, frames_per_second=12):
    """Write pictures as a movie.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        A file ending in ``.gif``, or in ``.mp4`` with the package imageio-ffmpeg.
    pictures : iterable of `PIL.Image.Image`
        In order, all of one size.
    frames_per_second : int
        Speed.

    Raises
    ------
    ValueError
        If the ending is another.
    ImportError
        If imageio-ffmpeg is needed and missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".gif":
        first, *rest = (p.quantize(64, dither=Image.Dither.NONE) for p in pictures)
        with atomic_path(path) as partial:
            first.save(
                partial,
                format="GIF",
                save_all=True,
                append_images=rest,
                duration=round(1000 / frames_per_second),
                loop=0,
                optimize=True,
            )
    elif suffix == ".mp4":
        try:
            import imageio_ffmpeg
        except ImportError as error:
            raise ImportError(
                f"{path}: MP4 needs imageio-ffmpeg: pip install 'astro-deepgalaxy[movie]', or "
                "choose a name ending in .gif"
            ) from error
        pictures = iter(pictures)
        first = next(pictures)
        with atomic_path(path) as partial:
            writer = imageio_ffmpeg.write_frames(
                str(partial), first.size, fps=frames_per_second, macro_block_size=2
            )
            writer.send(None)
            for image in (first, *pictures):
                writer.send(np.ascontiguousarray(image))
            writer.close()
    else:
        raise ValueError(f"{path}: a movie must end in .gif or .mp4")


def _coloured(brightness):
    """Logarithmic surface brightness in the colours of a black body, (y, x, 3) uint8, y down."""
    level = logarithmic(brightness)[::-1]
    steps = np.linspace(0, 1, len(_BLACK_BODY))
    colours = [np.interp(level, steps, channel) for channel in zip(*_BLACK_BODY, strict=True)]
    return np.stack(colours, axis=-1).round().astype(np.uint8)


def _annotated(pixels, text, field):
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    side = image.width
    margin = side // 24
    draw.text((margin, margin), text, fill="white", font_size=max(10, side // 16))
    length = _BAR / field * side
    y = side - margin
    draw.line([(margin, y), (margin + length, y)], fill="white", width=max(1, side // 128))
    draw.text(
        (margin, y - max(10, side // 20) * 1.4),
        f"{_BAR:.0f} kpc",
        fill="white",
        font_size=max(9, side // 20),
    )
    return image
