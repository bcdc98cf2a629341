"""Changes to training images under which the answer stays the same."""

from dataclasses import asdict, dataclass

import numpy as np

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Random changes to a batch of training images.

    Attributes
    ----------
    flip : bool
        Mirror, and turn by a multiple of 90 degrees: the eight symmetries of a square.
    shift : float
        Largest shift along y and x as a fraction of the side; the border is repeated.
    noise : float
        Standard deviation of added Gaussian noise is drawn in [0, noise]; pixels are in [0, 1].
    brightness : float
        Pixels are multiplied by a factor drawn in [1 - brightness, 1 + brightness].
    """

    flip: bool = True
    shift: float = 0.05
    noise: float = 0.03
    brightness: float = 0.1

    def __post_init__(self):
        for name in ("shift", "noise", "brightness"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"augmentation: {name} must be in [0, 1); got {value}")

    def __call__(self, images, rng):
        """Augment a batch.

        Parameters
        ----------
        images : numpy.ndarray
            Batch (n, y, x, channel) in [0, 1]; not changed.
        rng : numpy.random.Generator
            Where the random numbers come from.

        Returns
        -------
        numpy.ndarray
            Batch of the same shape, in [0, 1].
        """
        n, ny, nx, _ = images.shape
        out = np.empty_like(images)
        symmetry = rng.integers(0, 8 if ny == nx else 4, n) if self.flip else np.zeros(n, int)
        largest = np.array([self.shift * ny, self.shift * nx])
        shifts = np.rint(rng.uniform(-largest, largest, (n, 2))).astype(int)
        for i, image in enumerate(images):
            if symmetry[i] & 1:
                image = image[::-1]
            if symmetry[i] & 2:
                image = image[:, ::-1]
            if symmetry[i] & 4:
                image = image.transpose(1, 0, 2)
            dy, dx = shifts[i]
            rows = np.clip(np.arange(ny) - dy, 0, ny - 1)
            columns = np.clip(np.arange(nx) - dx, 0, nx - 1)
            out[i] = image[rows][:, columns]
        if self.brightness:
            out *= rng.uniform(1 - self.brightness, 1 + self.brightness, (n, 1, 1, 1))
        if self.noise:
            sigma = rng.uniform(0, self.noise, (n, 1, 1, 1)).astype(np.float32)
            out += sigma * rng.standard_normal(out.shape, dtype=np.float32)
        return np.clip(out, 0, 1, out=out)

    def to_dict(self):
        """The options as plain data."""
        return asdict(self)
