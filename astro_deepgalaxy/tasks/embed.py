"""What describes an image in a few numbers?"""

import numpy as np

from ..store import ImageTarget, NoTarget
from .base import NetworkTask

__all__ = ["GalaxyEmbedder"]


class GalaxyEmbedder(NetworkTask):
    """A variational autoencoder of the last feature map: images as points z in a few dimensions.

    Images that look alike get neighbouring z (Cai et al. 2020). The latent learns to bring back
    the feature map, and through the decoder the image, while its posterior is held near a unit
    Gaussian: the beta-VAE of Higgins et al. (2017), whose beta grows from zero.

    Parameters
    ----------
    backbone : str
        A registered backbone; see ``astro-deepgalaxy plugins list --all``.
    backbone_options : dict, optional
        Options of the backbone, such as ``{"weights": "imagenet"}``.
    recipe : Recipe, optional
        How raw images are prepared; `Recipe.default` of `image_size` if not given.
    image_size : int
        Side of the prepared images in pixels, when `recipe` is not given.
    latent_size : int
        Length of z.
    hidden : int
        Width of the dense layers between the feature map and z.
    grid : tuple of int
        Pixels (y, x) to which the feature map is brought.
    beta : float
        Weight of the Kullback-Leibler divergence in nats.
    beta_epochs : float
        Epochs over which it grows to that.
    feature_weight, image_weight : float
        Weights of what is lost of the feature map and of the image. Without the image (0) only
        the encoder and the latent are trained.
    filters : sequence of int, optional
        Channels of the decoder's stages, coarsest first.
    loss : {"mean_absolute_error", "mean_squared_error", "structural"}
        How an image through z differs from the image.
    epochs, batch_size, learning_rate, dropout, noise : int, int, float, float, float
        The usual settings of training.
    optimizer, validation_fraction, split, augment, also, labelled_fraction, initial_weights, freeze
        As of `~astro_deepgalaxy.tasks.classify.MergerClassifier`.
    trainer, engine : str
        Registered trainer and engine.
    trainer_options : dict, optional
        Options of the trainer.
    processes : int
        Processes that prepare images.
    seed : int
        Seed of the split, the weights, the order and the augmentation.
    work_folder : str or `~pathlib.Path`, optional
        Where prepared images and checkpoints are kept. A fit that was interrupted goes on there;
        without it they are temporary.
    progress : bool or None
        Show progress bars; None shows them on a terminal only.

    Attributes
    ----------
    network_, recipe_, training_
        As of `~astro_deepgalaxy.tasks.classify.MergerClassifier`.

    Examples
    --------
    ::

        from astro_deepgalaxy import GalaxyEmbedder

        embedder = GalaxyEmbedder(backbone="simple", latent_size=16).fit("cutouts/*.fits")
        z = embedder.predict("cutouts/*.fits")["z"]
        images = embedder.latent_grid(z[:4])
    """

    task = "embed"

    def __init__(
        self,
        backbone="efficientnet_b0",
        *,
        backbone_options=None,
        recipe=None,
        image_size=128,
        latent_size=32,
        hidden=256,
        grid=(4, 4),
        beta=1e-3,
        beta_epochs=5.0,
        feature_weight=0.1,
        image_weight=10.0,
        filters=None,
        loss="mean_absolute_error",
        epochs=20,
        batch_size=32,
        learning_rate=1e-3,
        optimizer="adam",
        dropout=0.0,
        noise=0.0,
        validation_fraction=0.15,
        split="group",
        augment=True,
        also=None,
        labelled_fraction=None,
        initial_weights=None,
        freeze=(),
        trainer="local",
        trainer_options=None,
        engine="keras",
        processes=1,
        seed=0,
        work_folder=None,
        progress=None,
    ):
        self.backbone = backbone
        self.backbone_options = backbone_options
        self.recipe = recipe
        self.image_size = image_size
        self.latent_size = latent_size
        self.hidden = hidden
        self.grid = grid
        self.beta = beta
        self.beta_epochs = beta_epochs
        self.feature_weight = feature_weight
        self.image_weight = image_weight
        self.filters = filters
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.dropout = dropout
        self.noise = noise
        self.validation_fraction = validation_fraction
        self.split = split
        self.augment = augment
        self.also = also
        self.labelled_fraction = labelled_fraction
        self.initial_weights = initial_weights
        self.freeze = freeze
        self.trainer = trainer
        self.trainer_options = trainer_options
        self.engine = engine
        self.processes = processes
        self.seed = seed
        self.work_folder = work_folder
        self.progress = progress

    def _targets(self, table):
        targets = {"kl": NoTarget(), "feature_error": NoTarget()}
        if self.image_weight:
            targets["latent_reconstruction"] = ImageTarget(self.loss)
        return targets

    def _loss_weights(self):
        return {
            "kl": self.beta,
            "feature_error": self.feature_weight,
            "latent_reconstruction": self.image_weight,
        }

    def _warm_up(self):
        return {"kl": self.beta_epochs} if self.beta_epochs else {}

    def _network(self):
        latent = {"size": self.latent_size, "hidden": self.hidden, "grid": list(self.grid)}
        decoder = {} if self.filters is None else {"filters": list(self.filters)}
        return {"latent": latent, **({"decoder": decoder} if self.image_weight else {})}

    def _reads(self):
        return ["z", "z_log_variance"]

    def _columns(self, images, outputs):
        columns = {
            "z": outputs["z"],
            "z_error": np.exp(0.5 * outputs["z_log_variance"]),
        }
        return columns, np.zeros(len(images), dtype=np.int32)

    def decode(self, z):
        """Images of points in the latent space.

        Parameters
        ----------
        z : array_like
            Points (..., L), such as the column ``z`` of a catalogue.

        Returns
        -------
        numpy.ndarray
            Images (..., y, x, channel) in [0, 1], float32.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no trained network yet.
        ValueError
            If the model has no decoder, or the points have another length or are not finite.
        """
        self._check_fitted()
        network = self.network_
        if network.config.decoder is None:
            raise ValueError(
                "this model cannot make images of z: it has no decoder; train it with an "
                "image_weight above 0"
            )
        size = network.latent_encoder.output["z"].shape[1]
        z = np.asarray(z, dtype=np.float32)
        if z.ndim == 0 or z.shape[-1] != size or not np.isfinite(z).all():
            raise ValueError(
                f"z must be finite points of length {size}; got the shape {z.shape}"
                f"{'' if np.isfinite(z).all() else ' with values that are not finite'}"
            )
        points = z.reshape(-1, size)
        images = np.empty((len(points), *network.config.input_shape), dtype=np.float32)
        for start in range(0, len(points), _DECODED_AT_ONCE):
            part = slice(start, start + _DECODED_AT_ONCE)
            feature_map = network.latent_decoder(points[part], training=False)
            images[part] = network.decoder(feature_map, training=False)
        return images.reshape(*z.shape[:-1], *network.config.input_shape)

    def latent_grid(self, corners, shape=(7, 7)):
        """Images between four points in the latent space, as Fig. 5 of Cai et al. (2020).

        Parameters
        ----------
        corners : array_like
            Four points (4, L): the z of four images, say. The first two come to the ends of the
            first row, the others to those of the last.
        shape : tuple of int
            Rows and columns, at least two of each.

        Returns
        -------
        numpy.ndarray
            Images (row, column, y, x, channel) of the bilinear interpolation between the points.

        Raises
        ------
        ValueError
            If there are not four points, or too few rows or columns; and as `decode`.
        """
        corners = np.asarray(corners, dtype=float)
        if corners.ndim != 2 or len(corners) != 4:
            raise ValueError(f"corners must be four points (4, L); got the shape {corners.shape}")
        down, right = _fractions(shape)
        weights = np.stack(
            [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
        )
        return self.decode(np.einsum("kij,kl->ijl", weights, corners))

    def latent_plane(self, z, shape=(7, 7), extent=2.0):
        """Images of the plane in which points of the latent space differ most.

        Parameters
        ----------
        z : array_like
            Points (n, L), at least three; those that are not finite are left out.
        shape : tuple of int
            Rows and columns, at least two of each.
        extent : float
            How far the plane goes to both sides of the mean, in standard deviations of the points
            along it.

        Returns
        -------
        numpy.ndarray
            Images (row, column, y, x, channel). Columns go along the first principal component,
            from ``-extent`` to ``extent``; rows along the second, from ``extent`` to ``-extent``.

        Raises
        ------
        ValueError
            If there are too few points, rows or columns; and as `decode`.
        """
        from sklearn.decomposition import PCA

        z = np.asarray(z, dtype=float)
        z = z[np.isfinite(z).all(axis=-1)]
        if z.ndim != 2 or min(z.shape) < 2 or len(z) < 3:
            raise ValueError(f"a plane needs at least three finite points (n, L); got {z.shape}")
        down, right = _fractions(shape)
        pca = PCA(2).fit(z)
        steps = extent * np.sqrt(pca.explained_variance_)[:, np.newaxis] * pca.components_
        along = (2 * right - 1)[..., np.newaxis] * steps[0]
        return self.decode(pca.mean_ + along + (1 - 2 * down)[..., np.newaxis] * steps[1])


_DECODED_AT_ONCE = 64


def _fractions(shape):
    """How far down and how far to the right each place of a grid is, in [0, 1]."""
    if len(shape) != 2 or min(shape) < 2:
        raise ValueError(f"a grid needs at least two rows and two columns; got the shape {shape}")
    return np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
