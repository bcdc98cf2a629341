"""The celestial WCS of an image from its header, and whether it can be trusted."""

import re
from functools import lru_cache
from math import isfinite, nan

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, Wcsprm

__all__ = ["celestial_wcs"]

_KEYS = re.compile(
    r"(?P<text>(?:CTYPE|CUNIT)[12]|RADEC?SYS|EQUINOX|EPOCH)"
    r"|(?P<number>(?:CRVAL|CRPIX|CDELT|CROTA)[12]|(?:PC|CD)[12]_[12]|PC00[12]00[12]"
    r"|PV[12]_\d{1,2}|LONPOLE|LATPOLE)"
    r"|(?P<coupling>(?:PC|CD)(?:[12]_[3-9]|[3-9]_[12]))"
    r"|(?P<sip>[AB]P?_(?:ORDER|\d_\d))"
    r"|(?P<table>(?:CPDIS|D2IMDIS)[12]|D2IMARR)"
)
_TYPES, _PLACE = {"CTYPE1", "CTYPE2"}, {"CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"}
_FRAMES = ("ICRS", "FK5", "FK4", "FK4-NO-E")
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
    header : Cards
        Header of the image.
    shape : tuple of int
        Shape of the image (y, x).

    Returns
    -------
    wcs : `~astropy.wcs.WCS` or None
        None when there is none that can be used.
    suspect : bool
        Whether it is doubtful: a distortion that is left out (coefficients without ``-SIP`` or of
        no possible order, tables, TNX, ZPX), no CRVAL or CRPIX, more than one card of a keyword, a
        frame that astropy does not know and takes for ICRS, a CD matrix that contradicts PC or
        CDELT, pixels more than 1.5 times longer than wide, smaller than 0.1 mas or larger than a
        degree, or corners that the sky does not map back to within a pixel.

    References
    ----------
    .. [1] Shupe et al. 2005, ASPC 347, 491.
    """
    kinds = {kind: {} for kind in _KEYS.groupindex}
    for key in filter(_kind, header):
        kind = _kind(key)
        # wcslib takes what is no number for zero, which is a place in the sky.
        value = header.get(key, damaged=None if kind == "text" else nan)
        if value not in (None, ""):
            kinds[kind][key] = value
    texts, numbers, coupling, sip, tables = kinds.values()
    scaled = any(key.startswith(("CD", "PC")) for key in numbers)
    if any(coupling.values()) or not (scaled and texts.keys() >= _TYPES and _finite(numbers)):
        return None, False
    types = [str(texts[key]) for key in _TYPES]
    suspect = _conflict(numbers) or bool(tables) or not numbers.keys() >= _PLACE
    suspect |= any(ctype.endswith(("TNX", "ZPX")) for ctype in types)
    suspect |= not header.repeated.isdisjoint(numbers)
    if sip and not (all(ctype.endswith("-SIP") for ctype in types) and _possible(sip)):
        sip, suspect = {}, True
    frames = {key: str(texts.pop(key)).upper() for key in texts.keys() & {"RADESYS", "RADECSYS"}}
    texts |= {key: frame for key, frame in frames.items() if frame in _FRAMES}
    text = "".join(_card(*item) for item in (texts | numbers | sip).items())
    try:
        wcs = WCS(fits.Header.fromstring(text), naxis=2) if sip or "PV" in text else _plain(text)
        if wcs is None or not wcs.has_celestial or wcs.wcs.lngtyp not in ("RA", "GLON", "ELON"):
            return None, False
        suspect |= wcs.wcs.lngtyp == "ELON"
        suspect |= wcs.wcs.lngtyp == "RA" and not set(_FRAMES).issuperset(frames.values())
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


@lru_cache(maxsize=1000)
def _kind(key):
    """Which kind of a keyword it is; None for one that does not matter here."""
    match = _KEYS.fullmatch(key)
    return match and match.lastgroup


def _finite(numbers):
    return all(type(n) in (int, float) and isfinite(n) for n in numbers.values())


def _possible(sip):
    """Whether the distortion is of an order that exists."""
    orders = (sip[key] for key in sip if key.endswith("_ORDER"))
    return _finite(sip) and all(n in range(_MAX_SIP_ORDER + 1) for n in orders)


def _card(key, value):
    """A card as wcslib understands it, which reads no further than the D of an exponent."""
    if isinstance(value, str):
        value = "'{:8}'".format(value.replace("'", "''"))
    else:
        value = repr(value).upper()
    return f"{key:8}= {value:>20}".ljust(80)[:80]


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


def _conflict(numbers):
    """Whether a CD matrix and PC or CDELT disagree."""
    if not any(key.startswith("CD") and key[2] in "12" for key in numbers):
        return False
    cd = np.array([[numbers.get(f"CD{i}_{j}", 0) for j in (1, 2)] for i in (1, 2)], dtype=float)
    steps = np.array([numbers.get(f"CDELT{i}", 1) for i in (1, 2)], dtype=float)
    if any(key.startswith("PC") for key in numbers):
        pc = [[float(numbers.get(f"PC{i}_{j}", i == j)) for j in (1, 2)] for i in (1, 2)]
        return np.abs(cd - steps[:, np.newaxis] * pc).max() > _MAX_CONFLICT * np.abs(cd).max()
    # One is what stands for none; without PC a rotation is in CD only.
    sides = np.hypot(*cd.T)
    return bool(
        (steps != 1).any() and (np.abs(np.abs(steps) - sides) > _MAX_CONFLICT * sides).any()
    )
