"""A map of what an answer rests on, and its FITS file and picture."""

from dataclasses import dataclass, field

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from ..flags import decode_flags
from ..jobs import atomic_path

__all__ = ["Explanation"]


@dataclass(frozen=True)
class Explanation:
    """What an answer about one image rests on.

    Attributes
    ----------
    id, file : str
        Name and file of the image.
    image : numpy.ndarray or None
        The image as the network sees it, (y, x, channel) float32; None if it cannot be used.
    map : numpy.ndarray or None
        The map on the same pixels, (y, x) float32: positive where what is there raises the answer.
    wcs : `~astropy.wcs.WCS` or None
        WCS of these pixels.
    method : str
        ``grad-cam`` or ``occlusion``.
    settings : dict of str to (value, str)
        Settings of the method and what they mean, by FITS keyword.
    output, answer : str
        The output of the network, and which number of it is explained.
    value : float
        That number for the image.
    unit : `~astropy.units.UnitBase`
        Unit of the number and of the map.
    prediction : str
        The prediction in words, as in the catalogue.
    model : str
        Hash of the model; empty if it was never saved.
    flags : int
        Flags of the image.
    reason : str
        Why there is no map; empty if there is one.
    """

    id: str
    file: str
    image: np.ndarray | None = None
    map: np.ndarray | None = None
    wcs: WCS | None = None
    method: str = ""
    settings: dict = field(default_factory=dict)
    output: str = ""
    answer: str = ""
    value: float = np.nan
    unit: u.UnitBase = u.dimensionless_unscaled
    prediction: str = ""
    model: str = ""
    flags: int = 0
    reason: str = ""

    def write_fits(self, path):
        """Write the image and, in the extension ``MAP``, the map; both with the WCS.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            The file; an older one is replaced.

        Raises
        ------
        ValueError
            If there is no map.
        """
        self._check()
        ny, nx, channels = self.image.shape
        plane = self.image.reshape(ny, nx) if channels == 1 else np.moveaxis(self.image, -1, 0)
        header = fits.Header() if self.wcs is None else self.wcs.to_header()
        unit = self.unit.to_string("fits")
        cards = [
            _card("OBJECT", self.id, "name of the image"),
            _card("FILE", self.file, "where it was read"),
            _card("METHOD", self.method, "how the map was made"),
            *(_card(key, value, meaning) for key, (value, meaning) in self.settings.items()),
            _card("OUTPUT", self.output, "output of the network"),
            _card("ANSWER", self.answer, "what is explained"),
            _card("VALUE", self.value, f"[{unit}] the answer" if unit else "the answer"),
            _card("PREDICT", self.prediction, "the prediction"),
            _card("MODEL", self.model, "SHA-256 of the model"),
            _card("FLAGS", self.flags, decode_flags(self.flags)),
        ]
        primary = fits.PrimaryHDU(plane, header)
        primary.header["BUNIT"] = ("", "as the network sees it, in [0, 1]")
        layer = fits.ImageHDU(self.map, header, name="MAP")
        layer.header["BUNIT"] = (unit, "of the answer")
        for hdu in (primary, layer):
            hdu.header.extend(cards)
        with atomic_path(path) as partial:
            fits.HDUList([primary, layer]).writeto(partial, overwrite=True)

    def figure(self):
        """The image in grey, and beside it the same under the map in colour.

        Returns
        -------
        `~matplotlib.figure.Figure`

        Raises
        ------
        ValueError
            If there is no map.
        """
        from .overlay import overlay

        self._check()
        return overlay(self)

    def write_png(self, path):
        """Write `figure` as a picture.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            The file; an older one is replaced.

        Raises
        ------
        ValueError
            If there is no map.
        """
        figure = self.figure()
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=150)

    def _check(self):
        if self.map is None:
            raise ValueError(f"there is no map of {self.id!r}: {self.reason}")


def _card(keyword, value, comment):
    """A card; what FITS headers do not allow in a text is escaped, and no comment is cut."""
    if isinstance(value, str):
        value = ascii(value)[1:-1]
    elif not np.isfinite(value):
        value = str(value)
    short = len(str(value).replace("'", "''")) + len(comment) <= 64
    return fits.Card(keyword, value, comment if short else "")
