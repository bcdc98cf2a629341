"""What does an image look like when only its features are kept?"""

import re
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..celestial import image_wcs
from ..flags import decode_flags
from ..io.cards import card
from ..jobs import atomic_path
from ..metrics.similarity import ssim
from ..store import ImageTarget
from .base import NetworkTask

__all__ = ["ImageReconstructor"]


class ImageReconstructor(NetworkTask):
    """A fully convolutional autoencoder: encoder E and decoder D of Cai et al. (2020).

    It learns from images alone. What the last feature map does not keep is missing from the
    reconstruction; the residual shows it.

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
    filters : sequence of int, optional
        Channels of the decoder's stages, coarsest first.
    loss : {"mean_absolute_error", "mean_squared_error", "structural"}
        How a reconstruction differs from its image.
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

        from astro_deepgalaxy import ImageReconstructor

        fcae = ImageReconstructor(backbone="simple").fit("cutouts/*.fits")
        catalogue = fcae.reconstruct("cutouts/*.fits", "residuals")
    """

    task = "reconstruct"

    def __init__(
        self,
        backbone="efficientnet_b0",
        *,
        backbone_options=None,
        recipe=None,
        image_size=128,
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
        return {"reconstruction": ImageTarget(self.loss)}

    def _network(self):
        return {"decoder": {} if self.filters is None else {"filters": list(self.filters)}}

    def _reads(self):
        return ["reconstruction"]

    def _columns(self, images, outputs):
        again = outputs["reconstruction"]
        columns = {
            "reconstruction_ssim": np.array(
                [ssim(*pair) for pair in zip(images, again, strict=True)], dtype=float
            ),
            "reconstruction_error": np.abs(images - again).mean(axis=(1, 2, 3)),
        }
        return columns, np.zeros(len(images), dtype=np.int32)

    def reconstruct(self, inputs, folder, rows=None):
        """Reconstruct images and write what is left of them as FITS files.

        The files are on the pixels that the network sees, with their WCS, not on those of the
        input: to bring the residual there it would have to be interpolated, and its noise with
        it. Their unit is that of the recipe's stretch, not of flux.

        Parameters
        ----------
        inputs : path, glob, folder, Table, array, NDData, sequence of these, or CutoutStore
            Raw images, prepared by the model's own recipe; or a store made with that recipe.
        folder : str or `~pathlib.Path`
            Where the files go. It is made if need be; residuals of an earlier call that have the
            same names are replaced.
        rows : array_like of int, optional
            Rows of a store; all by default.

        Returns
        -------
        `~astropy.table.QTable`
            That of `predict` with a column ``residual``: the name of the file in `folder`, made
            of the id of the image and empty where the image cannot be used. In the file, the
            primary image is the residual, image minus reconstruction, (y, x) or (channel, y, x);
            the extensions ``IMAGE`` and ``RECONSTRUCTION`` hold both.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no trained network yet.
        ValueError
            If the folder cannot be made, or another file has the name of a residual; and as
            `predict`.
        """
        self._check_fitted()
        folder, taken = Path(folder), {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{folder}: no such folder can be made: {error.strerror}") from error

        def columns(about, images, outputs):
            found, flags = self._columns(images, outputs)
            names = [_file_name(str(row["id"]), taken) for row in about]
            scores = zip(found["reconstruction_ssim"], found["reconstruction_error"], strict=True)
            for name, row, image, again, (similarity, error) in zip(
                names, about, images, outputs["reconstruction"], scores, strict=True
            ):
                cards = [
                    *_about(row),
                    card("SSIM", float(similarity), "structural similarity"),
                    card("MAE", float(error), "mean absolute error"),
                    card("MODEL", self.digest_ or "", "SHA-256 of the model"),
                    card("RECIPE", self.recipe_.digest[:12] if self.recipe_ else "", "its hash"),
                ]
                wcs = image_wcs(row["ra"], row["dec"], row.get("cd", [np.nan] * 4), image.shape)
                _write_fits(folder / name, image, again, wcs, cards)
            return {**found, "residual": np.array(names, dtype=str)}, flags

        return self._catalogue(inputs, rows, columns)


_CREATOR = "astro_deepgalaxy reconstruct"


def _file_name(id, taken):
    """A name made of an id that is plain and that no other image has."""
    stem = re.sub(r"[^A-Za-z0-9._+-]+", "_", id)[:80].strip("._") or "image"
    name, number = stem, taken.get(stem.lower(), 1)
    while number > 1 and name.lower() in taken:
        name, number = f"{stem}-{number}", number + 1
    taken[name.lower()] = 2
    taken[stem.lower()] = max(number, 2)
    return f"{name}_residual.fits"


def _about(row):
    return (
        card("OBJECT", str(row["id"]), "name of the image"),
        card("FILE", str(row["file"]), "where it was read"),
        card("FLAGS", int(row["flags"]), decode_flags(int(row["flags"]))),
        card("CREATOR", _CREATOR),
    )


def _write_fits(path, image, again, wcs, cards):
    """Write a residual with the image and its reconstruction, (y, x, channel)."""
    if path.exists() and not _is_residual(path):
        raise ValueError(
            f"{path}: exists and is not a residual that this package wrote; choose another folder"
        )
    header = fits.Header() if wcs is None else wcs.to_header()
    header.extend(cards)
    planes = [
        np.moveaxis(pixels, -1, 0) if pixels.shape[-1] > 1 else pixels[..., 0]
        for pixels in (image - again, image, again)
    ]
    with atomic_path(path) as partial:
        fits.HDUList(
            [
                fits.PrimaryHDU(planes[0], header),
                fits.ImageHDU(planes[1], header, name="IMAGE"),
                fits.ImageHDU(planes[2], header, name="RECONSTRUCTION"),
            ]
        ).writeto(partial, overwrite=True)


def _is_residual(path):
    try:
        return fits.getval(path, "CREATOR") == _CREATOR
    except (OSError, KeyError):
        return False
