"""The WCS of FITS images."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Flag
from astro_deepgalaxy.io.fits import read_fits


def image(shape=(20, 30), seed=0):
    return np.random.default_rng(seed).normal(100, 5, shape).astype(np.float32)


def sky_header(**cards):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 150.0, 2.0
    wcs.wcs.cdelt = -1e-4, 1e-4
    wcs.wcs.crpix = 15, 10
    header = wcs.to_header()
    header.update(cards)
    return header


@pytest.fixture
def write(tmp_path):
    """A function that writes HDUs to a file."""

    def write(name, *hdus):
        path = tmp_path / name
        fits.HDUList(list(hdus)).writeto(path, output_verify="silentfix")
        return path

    return write


def by_astropy(path, number=0):
    """Pixels (band, y, x) and WCS of an image, as astropy reads them."""
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False, uint=False) as hdus:
            header, data = hdus[number].header, hdus[number].data
        pixels = np.asarray(data, dtype=np.float32)
        return pixels.reshape(-1, *pixels.shape[-2:]), WCS(header, naxis=2)


def assert_same_sky(found, expected, shape):
    x, y = np.meshgrid(np.linspace(-3, shape[1] + 3, 7), np.linspace(-3, shape[0] + 3, 7))
    ours, theirs = (wcs.pixel_to_world(x, y) for wcs in (found, expected))
    assert ours.is_equivalent_frame(theirs.frame)
    for axis in ("lon", "lat"):
        positions = (getattr(sky.spherical, axis).deg for sky in (ours, theirs))
        np.testing.assert_array_equal(*positions)


@st.composite
def sky_headers(draw):
    """Headers of many projections, frames and forms of the linear terms."""
    lon, lat = draw(st.sampled_from([("RA--", "DEC-"), ("GLON", "GLAT"), ("ELON", "ELAT")]))
    projection = draw(st.sampled_from(["TAN", "SIN", "ARC", "ZEA", "STG", "CAR", "TAN-SIP"]))
    types = [f"{lon}-{projection}", f"{lat}-{projection}"]
    header = fits.Header()
    swapped = draw(st.booleans())
    values = [draw(st.floats(0, 360)), draw(st.floats(-80, 80))]
    for i, (ctype, value) in enumerate(zip(types, values, strict=True)):
        axis = 2 - i if swapped else 1 + i
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = ctype, value
        header[f"CRPIX{axis}"] = draw(st.floats(-50, 100))
    scale, angle = draw(st.floats(1e-6, 1e-3)), np.radians(draw(st.floats(0, 360)))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    form = draw(st.sampled_from(["CD", "PC", "CROTA", "CDELT"]))
    if form != "CD":
        header["CDELT1"], header["CDELT2"] = -scale, scale
    if form == "CROTA":
        header["CROTA2"] = float(np.degrees(angle))
    if form in ("CD", "PC"):
        matrix = turn * np.array([[-1], [1]]) * scale if form == "CD" else turn
        for i in range(2):
            for j in range(2):
                header[f"{form}{i + 1}_{j + 1}"] = matrix[i, j]
    if lon == "RA--":
        frame = {"RADESYS": draw(st.sampled_from(["ICRS", "FK5", "FK4"])), "EQUINOX": 2000.0}
        header.update({key: frame[key] for key in frame if draw(st.booleans())})
    if projection == "TAN-SIP":
        terms = {"A_2_0": 1e-6, "A_0_2": -1e-6, "B_1_1": 2e-6, "AP_2_0": -1e-6, "BP_1_1": -2e-6}
        header.update(A_ORDER=2, B_ORDER=2, AP_ORDER=2, BP_ORDER=2, **terms)
    # Cards that have nothing to do with it.
    header.update({"WCSAXES": 2, "DATE-OBS": "2020-01-01", "MJD-OBS": 58849.0, "FILTER": "r"})
    return header


@settings(deadline=None, max_examples=150)
@given(sky_headers())
def test_the_sky_is_where_astropy_sees_it(tmp_path_factory, header):
    path = tmp_path_factory.mktemp("sky") / "a.fits"
    fits.PrimaryHDU(image(), header).writeto(path)
    cutout = read_fits(path)
    assert not cutout.flags & Flag.NO_WCS
    _, wcs = by_astropy(path)
    assert_same_sky(cutout.wcs, wcs, (20, 30))
    assert (cutout.wcs.sip is None) == (wcs.sip is None)


CD = {"CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4}


SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "B_2_0": 1e-4}


SUFFIXED = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}


@pytest.mark.parametrize(
    ("cards", "suspect"),
    [
        ({}, False),
        (CD | {"CDELT1": 1.0, "CDELT2": 1.0}, False),
        (CD, False),
        (CD | {"CDELT1": 2e-4}, True),
        (CD | {"PC1_1": 0.5}, True),
        ({"CDELT2": 1.4e-4}, False),
        ({"CDELT2": 1.6e-4}, True),
        ({"CDELT1": 1e-9, "CDELT2": 1e-9}, True),
        ({"CDELT1": -1.1, "CDELT2": 1.1}, True),
        (SUFFIXED, False),
        (SUFFIXED | SIP, False),
        (SIP, True),
        ({"CTYPE1": "RA---TAN-SIP"} | SIP, True),
        (SUFFIXED | SIP | {"A_ORDER": 9999}, True),
        # So strong that positions have no single pixel.
        (SUFFIXED | SIP | {"A_2_0": -0.1}, True),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CDELT1": -0.9, "CDELT2": 0.9}, False),
        # The corners are off the hemisphere.
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CDELT1": -9.0, "CDELT2": 9.0}, True),
    ],
)
def test_a_doubtful_wcs(write, cards, suspect):
    cutout = read_fits(write("a.fits", fits.PrimaryHDU(image(), sky_header(**cards))))
    assert cutout.wcs is not None
    assert cutout.flags == (suspect and Flag.WCS_SUSPECT)


def test_sip_without_its_suffix_is_left_out_in_silence(write, capfd):
    path = write("a.fits", fits.PrimaryHDU(image(), sky_header(**SIP)))
    cutout = read_fits(path)
    assert cutout.wcs.sip is None
    plain = read_fits(write("b.fits", fits.PrimaryHDU(image(), sky_header())))
    assert_same_sky(cutout.wcs, plain.wcs, (20, 30))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "PIXEL", "CTYPE2": "PIXEL"},
        {"CTYPE1": "RA---XXX", "CTYPE2": "DEC--XXX"},
        {"CDELT1": 0.0},
        {"CTYPE1": "RA---TAN", "CTYPE2": "RA---TAN"},
        {"CRVAL1": "east"},
    ],
)
def test_a_broken_wcs_is_no_wcs(write, cards):
    cutout = read_fits(write("wcs.fits", fits.PrimaryHDU(image(), sky_header(**cards))))
    assert cutout.wcs is None
    assert cutout.flags == Flag.NO_WCS


@pytest.mark.parametrize(
    "cards",
    [
        {"CTYPE1": "FREQ", "CTYPE2": "VELO-LSR"},
        {"CRVAL1": "150"},
        {"CDELT1": -1e9},
        {"CDELT2": 1.0},
        {"CRPIX1": 1e300},
        {"PC1_1": 1.0, "PC1_2": 1.0, "PC2_1": 1.0, "PC2_2": 1.0},
        {"PC1_3": 0.5},
        {"LONPOLE": "north"},
        {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 0.0, "PV2_1": 0.0},
    ],
)
def test_a_wcs_without_sky_is_none(write, cards):
    cutout = read_fits(write("a.fits", fits.PrimaryHDU(image(), sky_header(**cards))))
    assert cutout.wcs is None
    assert cutout.flags == Flag.NO_WCS


def test_a_number_that_is_none_is_no_place(write):
    path = write("a.fits", fits.PrimaryHDU(image(), sky_header()))
    content = path.read_bytes()
    card = next(content[i : i + 80] for i in range(0, 2880, 80) if content[i:].startswith(b"CRVAL"))
    path.write_bytes(content.replace(card, b"CRVAL1  =                  NaN".ljust(80)))
    assert read_fits(path).wcs is None
