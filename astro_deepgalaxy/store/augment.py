"""Changes to training images under which the answer stays the same."""

from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Augmentation"]

# What is drawn for an image, before its stars: adding an option does not change the other draws.
_DRAWS = ("symmetry", "resampled", "angle", "zoom", "dy", "dx", "blur", "brightness", "noise")
_DRAWS += ("stars",)


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training images, each image's own.

    They are TensorFlow operations, and what is drawn for an image depends on its seed alone: not
    on the other images of its batch, nor on how many are worked on at once. The geometry is one
    bilinear resampling; what comes in from beyond the border is the image mirrored at it, so
    that sky goes on as sky. Then come stars, blur, brightness and noise; in the end pixels are
    clipped to [0, 1].

    The defaults are for stretched images of galaxies, of which the sky has no preferred
    direction and the telescope no fixed seeing.

    Attributes
    ----------
    flip : bool
        Mirror, and turn by a multiple of 90 degrees: the eight symmetries of a square, or the
        four of a rectangle.
    rotation : float
        Turn by up to this many degrees either way; True is 180, any angle.
    zoom : float
        Enlarge by a factor between ``1 / (1 + zoom)`` and ``1 + zoom``.
    shift : float
        Largest shift along y and x as a fraction of the side.
    resampled : float
        Share of the images that are turned, zoomed and moved by parts of a pixel. Interpolation
        smooths noise, and the images of a prediction are not interpolated: the others are only
        flipped and moved by whole pixels, which keeps their pixels as they are.
    blur : float
        Largest standard deviation in pixels of a Gaussian that widens the PSF.
    stars : int
        Most foreground stars that are put in: round Gaussians, anywhere, white.
    star_width : tuple of float
        Least and largest standard deviation of a star in pixels, before the blur.
    star_brightness : tuple of float
        Least and largest peak of a star.
    noise : float
        Standard deviation of added Gaussian noise is drawn in [0, noise]; pixels are in [0, 1].
    brightness : float
        Pixels are multiplied by a factor drawn in [1 - brightness, 1 + brightness].

    Raises
    ------
    ValueError
        If an option is out of its range.

    Examples
    --------
    >>> from astro_deepgalaxy.store.augment import Augmentation
    >>> exact = Augmentation(rotation=0, zoom=0, blur=0, stars=0, noise=0, brightness=0)
    >>> exact == Augmentation(**exact.to_dict())
    True
    """

    flip: bool = True
    rotation: float = 180.0
    zoom: float = 0.1
    shift: float = 0.05
    resampled: float = 0.5
    blur: float = 1.0
    stars: int = 2
    star_width: tuple[float, float] = (0.8, 2.0)
    star_brightness: tuple[float, float] = (0.1, 1.0)
    noise: float = 0.03
    brightness: float = 0.1

    def __post_init__(self):
        # A frozen dataclass is set like this; JSON knows no tuples.
        set_ = object.__setattr__
        if isinstance(self.rotation, bool):
            set_(self, "rotation", 180.0 if self.rotation else 0.0)
        for name in ("star_width", "star_brightness"):
            low, high = limits = tuple(getattr(self, name))
            set_(self, name, limits)
            if not 0 < low <= high < np.inf:
                raise ValueError(
                    f"augmentation: {name} must be two positive numbers, the lower one first; got "
                    f"{limits}"
                )
        for name in ("zoom", "shift", "noise", "brightness"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"augmentation: {name} must be in [0, 1); got {value}")
        for name, largest in (("rotation", 180), ("resampled", 1), ("blur", 20), ("stars", 100)):
            value = getattr(self, name)
            if not 0 <= value <= largest:
                raise ValueError(f"augmentation: {name} must be in [0, {largest}]; got {value}")
        if self.stars != int(self.stars):
            raise ValueError(f"augmentation: stars must be a whole number; got {self.stars}")

    @classmethod
    def none(cls):
        """The augmentation that changes nothing.

        Returns
        -------
        Augmentation
        """
        off = dict.fromkeys(("rotation", "zoom", "shift", "blur", "noise", "brightness"), 0.0)
        return cls(flip=False, stars=0, **off)

    @staticmethod
    def seeds(seed, epoch, rows, again=0):
        """Seeds of images, for calling the augmentation.

        Parameters
        ----------
        seed, epoch : int
            Seed of the run, and number of the epoch.
        rows : array_like of int, (n,)
            Numbers of the images in their store.
        again : array_like of int, (n,)
            How often each image has come before in the epoch: it is changed anew each time.

        Returns
        -------
        numpy.ndarray of int64, (n, 2)
        """
        # Rows are far below 2**40, and noise is drawn with 2**40 added.
        rows = np.asarray(rows, dtype=np.int64) + 2**41 * np.asarray(again, dtype=np.int64)
        run = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64).view(np.int64)
        return np.stack([np.broadcast_to(run, rows.shape), rows], axis=-1)

    def __call__(self, images, seeds):
        """Augment a batch.

        Parameters
        ----------
        images : array_like
            Batch (n, y, x, channel) in [0, 1].
        seeds : array_like of int64, (n, 2)
            A seed for each image, as `seeds` makes them.

        Returns
        -------
        `tf.Tensor`
            Batch of the same shape, float32 in [0, 1].
        """
        import tensorflow as tf

        images = tf.convert_to_tensor(images, tf.float32)
        shape = images.shape[1:]

        def draw(seed):
            uniform = tf.random.stateless_uniform([len(_DRAWS) + 4 * self.stars], seed)
            if not self.noise:
                return uniform, tf.zeros(0)
            # Rows are far below 2**40: no image draws what another one does.
            return uniform, tf.random.stateless_normal(shape, tf.add(seed, (0, 2**40)))

        uniform, normal = tf.map_fn(
            draw, tf.cast(seeds, tf.int64), fn_output_signature=(tf.float32, tf.float32)
        )
        drawn = dict(zip(_DRAWS, tf.unstack(uniform[:, : len(_DRAWS)], axis=1), strict=True))
        if self.flip or self.shift or (self.resampled and (self.rotation or self.zoom)):
            images = self._move(images, drawn)
        if self.stars:
            images += self._stars(uniform[:, len(_DRAWS) :], drawn["stars"], shape)
        if self.blur:
            images = _blur(images, self.blur * drawn["blur"], self.blur)
        if self.brightness:
            images *= _each(1 + self.brightness * (2 * drawn["brightness"] - 1))
        if self.noise:
            images += _each(self.noise * drawn["noise"]) * normal
        images = tf.clip_by_value(images, 0, 1)
        return tf.ensure_shape(images, (None, *shape))

    def to_dict(self):
        """The options as plain data.

        Returns
        -------
        dict
            Accepted by ``Augmentation(**data)``.
        """
        return asdict(self)

    def _move(self, images, drawn):
        """The geometry, in one resampling."""
        import tensorflow as tf

        ny, nx = images.shape[1:3]
        interpolated = self.resampled and (self.rotation or self.zoom)
        free = tf.cast(drawn["resampled"] < (self.resampled if interpolated else 0), tf.float32)
        angle = free * np.radians(self.rotation) * (2 * drawn["angle"] - 1)
        scale = tf.exp(-free * np.log1p(self.zoom) * (2 * drawn["zoom"] - 1))
        dy = self.shift * ny * (2 * drawn["dy"] - 1)
        dx = self.shift * nx * (2 * drawn["dx"] - 1)
        dy, dx = (d + (1 - free) * (tf.round(d) - d) for d in (dy, dx))
        symmetry = tf.cast((8 if ny == nx else 4) * drawn["symmetry"] * self.flip, tf.int32)
        flip_y, flip_x, swap = ((symmetry // bit) % 2 == 1 for bit in (1, 2, 4))
        # Rows of the matrix from places (x, y) in the new image to places in the old one. Whole
        # steps and quarter turns are whole numbers here, and the interpolation then exact.
        cos, sin = scale * tf.cos(angle), scale * tf.sin(angle)
        x = tf.where(flip_x, -1.0, 1.0) * tf.where(swap, [sin, cos], [cos, -sin])
        y = tf.where(flip_y, -1.0, 1.0) * tf.where(swap, [cos, -sin], [sin, cos])
        middle = (nx - 1) / 2, (ny - 1) / 2
        centre = middle[0] + dx, middle[1] + dy
        zero = tf.zeros_like(dx)
        transforms = tf.stack(
            [
                *(x[0], x[1], middle[0] - x[0] * centre[0] - x[1] * centre[1]),
                *(y[0], y[1], middle[1] - y[0] * centre[0] - y[1] * centre[1]),
                *(zero, zero),
            ],
            axis=1,
        )
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms,
            output_shape=[ny, nx],
            interpolation="BILINEAR",
            fill_mode="REFLECT",
            fill_value=0.0,
        )

    def _stars(self, uniform, number, shape):
        """Light of the stars, (n, y, x, 1)."""
        import tensorflow as tf

        y, x, width, peak = tf.unstack(tf.reshape(uniform, (-1, self.stars, 4)), axis=2)
        width = self.star_width[0] + width * (self.star_width[1] - self.star_width[0])
        low, high = self.star_brightness
        there = tf.range(self.stars, dtype=tf.float32) < tf.floor(
            (self.stars + 1) * number[:, tf.newaxis]
        )
        peak = tf.where(there, low + peak * (high - low), 0)

        def profile(place, n):
            distance = tf.range(n, dtype=tf.float32) - (n * place - 0.5)[..., tf.newaxis]
            return tf.exp(-((distance / width[..., tf.newaxis]) ** 2) / 2)

        across = peak[..., tf.newaxis] * profile(x, shape[1])
        return tf.matmul(profile(y, shape[0]), across, transpose_a=True)[..., tf.newaxis]


def _blur(images, sigma, largest):
    """Gaussian blur of each image with its own width in pixels, mirrored at the border."""
    import tensorflow as tf

    ny, nx, channels = images.shape[1:]
    radius = min(int(4 * largest + 0.5), ny, nx)
    place = tf.range(-radius, radius + 1, dtype=tf.float32)
    kernel = tf.exp(-((place[:, tf.newaxis] / tf.maximum(sigma, 1e-3)) ** 2) / 2)
    kernel = tf.repeat(kernel / tf.reduce_sum(kernel, axis=0), channels, axis=1)
    # The images side by side as the channels of one: each then has a kernel of its own.
    planes = tf.reshape(tf.transpose(images, (1, 2, 0, 3)), (1, ny, nx, tf.shape(kernel)[1]))
    edge = (radius, radius)
    planes = tf.pad(planes, ((0, 0), edge, edge, (0, 0)), "SYMMETRIC")
    for shape in ((-1, 1), (1, -1)):
        taps = tf.reshape(kernel, (*shape, tf.shape(kernel)[1], 1))
        planes = tf.nn.depthwise_conv2d(planes, taps, (1, 1, 1, 1), "VALID")
    return tf.transpose(tf.reshape(planes, (ny, nx, -1, channels)), (2, 0, 1, 3))


def _each(values):
    """A number for each image, to be combined with (n, y, x, channel)."""
    return values[:, None, None, None]
