"""The WCS of FITS images."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from fits_samples import assert_same_sky, by_astropy, image, sky_header
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Flag
from astro_deepgalaxy.io.fits import read_fits
from astro_deepgalaxy.io.hdus import Cards
from astro_deepgalaxy.io.header_wcs import celestial_wcs


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
        {"CD1_1": 10**60},
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


SKY = {
    "CTYPE1": "'RA---TAN'",
    "CTYPE2": "'DEC--TAN'",
    "CRVAL1": "1.501E+02",
    "CRVAL2": "2.2E+00",
    "CRPIX1": "1.5E+01",
    "CRPIX2": "1.0E+01",
    "CDELT1": "-1.0E-04",
    "CDELT2": "1.0E-04",
}


def by_cards(cards, *more, leave_out=()):
    """WCS of cards as they stand in a file, and whether it is suspect."""
    records = [f"{key:8}= {value:>20}" for key, value in cards.items() if key not in leave_out]
    header = Cards("".join(record.ljust(80) for record in [*records, *more]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return celestial_wcs(header, (20, 30))


@pytest.mark.parametrize("letter", ["D", "d", "e"])
def test_exponents_of_any_letter(letter):
    cards = SKY | {"RADESYS": "'FK4'", "EQUINOX": "1.95E+03"}
    header = fits.Header.fromstring("".join(f"{k:8}= {v:>20}".ljust(80) for k, v in cards.items()))
    numbers = {
        k: v.replace("E+", f"{letter}+").replace("E-", f"{letter}-") for k, v in cards.items()
    }
    texts = {key: value for key, value in cards.items() if value.startswith("'")}
    wcs, suspect = by_cards(numbers | texts)
    assert not suspect
    assert_same_sky(wcs, WCS(header), (20, 30))


@pytest.mark.parametrize("key", ["EQUINOX", "RADESYS", "CROTA2", "LONPOLE", "CUNIT1", "CD1_3"])
@pytest.mark.parametrize("value", ["", "/ not known", "' '"])
def test_an_empty_card_is_none(key, value):
    wcs, suspect = by_cards(SKY, f"{key:8}= {value}")
    assert not suspect
    assert_same_sky(wcs, by_cards(SKY)[0], (20, 30))


@pytest.mark.parametrize("card", ["EQUINOX = 'J2000'", "EPOCH   = 'today'", "EQUINOX = NaN"])
def test_an_equinox_that_is_none_takes_no_wcs_away(card):
    wcs, suspect = by_cards(SKY, card)
    assert not suspect
    assert_same_sky(wcs, by_cards(SKY)[0], (20, 30))


@pytest.mark.parametrize(
    ("card", "coupled"),
    [
        ("CD1_3   = 0 / of 3 axes", False),
        ("PC3_2   = 0.0D+00 / [2]", False),
        ("PC3_2   = 1E-5 / none", True),
        ("CD1_3   = '0'", True),
    ],
)
def test_axes_are_coupled_by_values_not_comments(card, coupled):
    wcs, suspect = by_cards(SKY, card)
    assert (wcs is None) == coupled
    assert not suspect


PLACES = ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"]


@pytest.mark.parametrize("left_out", [["CRVAL1", "CRVAL2"], ["CRPIX1", "CRPIX2"], ["CRPIX2"]])
def test_a_place_that_is_guessed_is_doubtful(left_out):
    wcs, suspect = by_cards(SKY, leave_out=left_out)
    assert wcs is not None
    assert suspect


@pytest.mark.parametrize("left_out", [[], PLACES])
def test_without_a_scale_there_is_no_wcs(left_out):
    assert by_cards(SKY, leave_out=["CDELT1", "CDELT2", *left_out])[0] is None
    scaled, _ = by_cards(SKY, "CD1_1   = -1E-4", "CD2_2   = 1E-4", leave_out=["CDELT1", "CDELT2"])
    assert_same_sky(scaled, by_cards(SKY)[0], (20, 30))


def test_a_distortion_that_is_not_known_is_doubtful():
    # IRAF keeps its coefficients in WAT cards, which wcslib does not read here.
    wcs, suspect = by_cards(SKY | {"CTYPE1": "'RA---TNX'", "CTYPE2": "'DEC--TNX'"})
    assert wcs is not None
    assert suspect


def test_sip_of_an_order_with_a_point():
    cards = SKY | {"CTYPE1": "'RA---TAN-SIP'", "CTYPE2": "'DEC--TAN-SIP'"}
    cards |= {"A_ORDER": "2", "B_ORDER": "2", "A_2_0": "1.0E-04", "B_0_2": "1.0E-04"}
    whole, _ = by_cards(cards)
    wcs, suspect = by_cards(cards | {"A_ORDER": "2.0", "B_ORDER": "2.", "A_2_0": "1.0D-04"})
    assert not suspect
    assert wcs.sip is not None
    assert_same_sky(wcs, whole, (20, 30))


@pytest.mark.parametrize("value", ["2.5", "'two'", "10", "T"])
def test_sip_of_no_order_is_left_out(value):
    cards = SKY | {"CTYPE1": "'RA---TAN-SIP'", "CTYPE2": "'DEC--TAN-SIP'"}
    wcs, suspect = by_cards(cards | {"A_ORDER": value, "B_ORDER": "2", "A_2_0": "1.0E-04"})
    assert wcs.sip is None
    assert suspect


@pytest.mark.parametrize("frame", ["GAPPT", "FK5/J2000", "local"])
def test_a_frame_that_is_not_known_is_doubtful(frame):
    wcs, suspect = by_cards(SKY | {"RADESYS": f"'{frame}'"})
    assert suspect
    assert_same_sky(wcs, by_cards(SKY)[0], (20, 30))
    cards = SKY | {"CTYPE1": "'GLON-TAN'", "CTYPE2": "'GLAT-TAN'"}
    galactic, suspect = by_cards(cards | {"RADESYS": f"'{frame}'"})
    assert not suspect
    assert_same_sky(galactic, by_cards(cards)[0], (20, 30))


def test_a_frame_in_lower_case():
    wcs, suspect = by_cards(SKY | {"RADECSYS": "'fk4'"})
    assert not suspect
    assert_same_sky(wcs, by_cards(SKY | {"RADESYS": "'FK4'"})[0], (20, 30))


@pytest.mark.parametrize(
    ("lon", "lat"), [("HPLN", "HPLT"), ("MALN", "MALT"), ("SLON", "SLAT"), ("TLON", "TLAT")]
)
def test_other_spheres_are_not_the_sky(lon, lat):
    wcs, _ = by_cards(SKY | {"CTYPE1": f"'{lon}-TAN'", "CTYPE2": f"'{lat}-TAN'"})
    assert wcs is None


def test_ecliptic_positions_are_doubtful():
    assert by_cards(SKY | {"CTYPE1": "'ELON-TAN'", "CTYPE2": "'ELAT-TAN'"})[1]


def test_a_place_told_twice_is_doubtful():
    wcs, suspect = by_cards(SKY, "CRVAL1  = 151.1")
    assert wcs.wcs.crval[0] == 150.1
    assert suspect
