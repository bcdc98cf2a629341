"""The celestial WCS of an image from its header, and whether it can be trusted."""

import re

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, Wcsprm

__all__ = ["celestial_wcs"]

_STARTS = {"CT", "CU", "CR", "CD", "CP", "PC", "PV", "LO", "LA", "EQ", "EP", "RA", "D2"}
_STARTS |= {"A_", "AP", "B_", "BP"}
_NUMBER = re.compile(
    r"((?:CRVAL|CRPIX|CDELT|CROTA)[12]|(?:PC|CD)[12]_[12]|PC00[12]00[12]|PV[12]_\d{1,2}"
    r"|LONPOLE|LATPOLE) *="
)
_TEXT = re.compile(r"((?:CTYPE|CUNIT)[12]|RADESYS|RADECSYS|EQUINOX|EPOCH) *=")
_SIP = re.compile(r"[AB]P?_(?:ORDER|\d_\d) *=")
_TABLES = re.compile(r"(?:CPDIS|D2IMDIS)[12] *=|D2IMARR *=")
_COUPLING = re.compile(r"(?:PC|CD)(?:[12]_[3-9]|[3-9]_[12]) *=(.{21})")
_VALUE = re.compile(r" *([+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?) *(?:/|$)")
# The convention ends at the ninth order; more would also take very long to read.
_MAX_SIP_ORDER = 9
# Sides of a pixel in degrees: from 0.1 milliarcsec to a degree.
_MIN_SIDE, _MAX_SIDE = 1e-4 / 3600, 1.0
_MAX_SIDES_RATIO = 1.5
# Beyond these there is no image of the sky.
_LARGEST_SIDE, _LARGEST_RATIO = 90.0, 100.0
_LEAST_AREA = 1e-20
_MAX_CONFLICT = 0.05
# The middle of the image, and its neighbours along both axes; then the corners.
_AROUND_X, _AROUND_Y = np.eye(7)[1:3]


def celestial_wcs(header, shape):
    """WCS of the two image axes.

    Only the cards of these axes are read: other axes, times and tables in a header can do no harm.
    SIP coefficients [1]_ count only where both CTYPE end in ``-SIP``, as the convention has it.

    Parameters
    ----------
    header : str
        The header, 80 characters a card.
    shape : tuple of int
        Shape of the image (y, x).

    Returns
    -------
    wcs : `~astropy.wcs.WCS` or None
        None when there is none that can be used.
    suspect : bool
        Whether it is doubtful: a distortion that is left out (coefficients without ``-SIP`` or of
        no possible order, tables), a CD matrix that contradicts PC or CDELT, pixels more than 1.5
        times longer than wide, smaller than 0.1 mas or larger than a degree, or corners that the
        sky does not map back to within a pixel.

    References
    ----------
    .. [1] Shupe et al. 2005, ASPC 347, 491.
    """
    cards = [header[i : i + 80] for i in range(0, len(header), 80) if header[i : i + 2] in _STARTS]
    texts = [card for card in cards if _TEXT.match(card)]
    numbers = {}
    for card in cards:
        if match := _NUMBER.match(card):
            value = _VALUE.match(card, match.end())
            if value is None:
                # wcslib takes what is no number for zero, which is a place in the sky.
                return None, False
            numbers[match[1]] = float(value[1].upper().replace("D", "E"))
    coupled = (match[1] for match in map(_COUPLING.match, cards) if match)
    if not texts or any(re.search("[1-9]", text) for text in coupled):
        return None, False
    suspect = _conflict(numbers) or any(map(_TABLES.match, cards))
    try:
        needed = "".join(card for card in cards if _TEXT.match(card) or _NUMBER.match(card))
        sip = [card for card in cards if _SIP.match(card)]
        if sip and not _sip_counts(fits.Header.fromstring("".join(texts + sip))):
            sip, suspect = [], True
        wcs = _distorted(needed, sip) if sip or "PV" in needed else _plain(needed)
        if wcs is None or not wcs.has_celestial:
            return None, False
        wcs.pixel_shape = shape[::-1]
        nx, ny = wcs.pixel_shape
        x, y = nx / 2 + _AROUND_X, ny / 2 + _AROUND_Y
        x[3:], y[3:] = (0, nx - 1, 0, nx - 1), (0, 0, ny - 1, ny - 1)
        sky = wcs.all_pix2world(x, y, 0)
        back = wcs.all_world2pix(*sky, 0, quiet=True)
    except Exception:
        # Anything may stand in a header; wcslib raises errors of many kinds.
        return None, False
    lon, lat = np.radians(sky[wcs.wcs.lng]), np.radians(sky[wcs.wcs.lat])
    towards = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    along, across = (towards[:, 1:3] - towards[:, :1]).T
    xx, xy, yy = along @ along, along @ across, across @ across
    short, long = np.degrees(np.sqrt(sorted((xx, yy))))
    area = np.degrees(np.degrees(np.sqrt(max(xx * yy - xy**2, 0))))
    # Written so that what is not a number is not usable either.
    if not (area > _LEAST_AREA and long < min(_LARGEST_SIDE, _LARGEST_RATIO * short)):
        return None, False
    suspect |= long > _MAX_SIDES_RATIO * short or short < _MIN_SIDE or long > _MAX_SIDE
    suspect |= not np.hypot(back[0] - x, back[1] - y).max() < 1
    return wcs, bool(suspect)


def _plain(cards):
    """What WCS makes of cards without distortion, without its reading them three times."""
    parameters = Wcsprm(cards.encode("ascii", "replace"), relax=True)
    if parameters.naxis != 2:
        return None
    wcs = WCS(naxis=2, fix=False)
    wcs.wcs = parameters
    wcs.fix()
    wcs.wcs.set()
    return wcs


def _distorted(cards, sip):
    header = fits.Header.fromstring(cards + "".join(sip))
    return WCS(header, naxis=2)


def _sip_counts(header):
    """Whether CTYPE asks for the distortion, and it is of a possible order."""
    types = [str(header.get(f"CTYPE{i}", "")) for i in (1, 2)]
    orders = [header[key] for key in header if key.endswith("_ORDER")]
    return all(ctype.endswith("-SIP") for ctype in types) and all(
        isinstance(order, int) and 0 <= order <= _MAX_SIP_ORDER for order in orders
    )


def _conflict(numbers):
    """Whether a CD matrix and PC or CDELT disagree."""
    if not any(key.startswith("CD") and key[2] in "12" for key in numbers):
        return False
    cd = np.array([[numbers.get(f"CD{i}_{j}", 0.0) for j in (1, 2)] for i in (1, 2)])
    steps = np.array([numbers.get(f"CDELT{i}", 1.0) for i in (1, 2)])
    if any(key.startswith("PC") for key in numbers):
        pc = [[numbers.get(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
        return np.abs(cd - steps[:, np.newaxis] * pc).max() > _MAX_CONFLICT * np.abs(cd).max()
    # One is what stands for none; without PC a rotation is in CD only.
    sides = np.hypot(*cd.T)
    return bool(
        (steps != 1).any() and (np.abs(np.abs(steps) - sides) > _MAX_CONFLICT * sides).any()
    )
