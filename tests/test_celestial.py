import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, Sip
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astro_deepgalaxy.celestial import icrs_to_pixel, local_frame, pixel_to_icrs, tangent_wcs
from astro_deepgalaxy.preprocess.resample import transform_wcs

FRAMES = {
    "ICRS": ("RA---TAN", "DEC--TAN"),
    "FK5": ("RA---SIN", "DEC--SIN"),
    "FK4": ("RA---TAN", "DEC--TAN"),
    "latitude first": ("DEC--TAN", "RA---TAN"),
    "galactic": ("GLON-ZEA", "GLAT-ZEA"),
    "ecliptic": ("ELON-TAN", "ELAT-TAN"),
}


def a_wcs(frame, lon=40.0, lat=30.0, angle=20.0, scale=0.3):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = FRAMES[frame]
    first, second = (lat, lon) if frame == "latitude first" else (lon, lat)
    wcs.wcs.crval, wcs.wcs.crpix = (first, second), (50.0, 60.0)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale / 3600
    if frame in ("FK5", "FK4"):
        wcs.wcs.radesys = frame
    wcs.wcs.set()
    return wcs


@pytest.mark.parametrize("frame", FRAMES)
@settings(deadline=None, max_examples=20)
@given(
    lon=st.floats(0, 360), lat=st.floats(-89, 89), angle=st.floats(0, 360), x=st.floats(-99, 199)
)
def test_positions_are_those_of_astropy(frame, lon, lat, angle, x):
    wcs = a_wcs(frame, lon, lat, angle)
    ra, dec = pixel_to_icrs(wcs, [x, 3.0], [7.0, x])
    sky = wcs.pixel_to_world([x, 3.0], [7.0, x]).icrs
    assert (SkyCoord(ra, dec, unit="deg").separation(sky) < 1e-5 * u.arcsec).all()
    assert np.allclose(icrs_to_pixel(wcs, ra, dec), [[x, 3], [7, x]], atol=1e-3)


def test_distortion_is_followed():
    wcs = a_wcs("ICRS")
    wcs.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
    a = np.zeros((3, 3))
    a[2, 0] = 1e-4
    wcs.sip = Sip(a, a.T, None, None, wcs.wcs.crpix)
    ra, dec = pixel_to_icrs(wcs, [0, 120], [0, 90])
    sky = wcs.pixel_to_world([0, 120], [0, 90])
    assert np.allclose(ra, sky.ra.deg, atol=1e-10)
    assert np.allclose(icrs_to_pixel(wcs, ra, dec), [[0, 120], [0, 90]], atol=1e-3)


def test_behind_the_projection_is_nan():
    wcs = a_wcs("ICRS")
    assert np.isnan(icrs_to_pixel(wcs, 220.0, -30.0)).all()


@settings(deadline=None, max_examples=50)
@given(
    frame=st.sampled_from(sorted(FRAMES)),
    lon=st.floats(0, 360),
    lat=st.floats(-80, 80),
    x=st.floats(0, 100),
    y=st.floats(0, 100),
)
def test_the_local_wcs_is_the_wcs_near_its_point(frame, lon, lat, x, y):
    wcs = a_wcs(frame, lon, lat)
    ra, dec = pixel_to_icrs(wcs, x, y)
    assume(abs(dec) < 85)
    frame = local_frame(wcs, x, y)
    assert frame[:2] == (ra, dec)
    local = tangent_wcs(*frame, x, y)
    there = pixel_to_icrs(wcs, x + np.array([-30, 0, 40]), y + np.array([20, 0, -50]))
    found = icrs_to_pixel(local, *there)
    assert np.allclose(found, [[x - 30, x, x + 40], [y + 20, y, y - 50]], atol=0.02)


def odd_headers():
    base = {"NAXIS": 2, "CRVAL1": 40.0, "CRVAL2": 30.0, "CRPIX1": 5.0, "CRPIX2": 7.0}
    scale = {"CDELT1": -1e-3, "CDELT2": 2e-3}
    tan = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    return [
        base | tan | scale | {"CROTA2": 33.0},
        base | tan | scale | {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
        base | tan | scale | {"EQUINOX": 1950.0, "RADESYS": "FK4", "MJD-OBS": 45000.0},
        base | tan | {"CD1_1": -1e-3, "CD1_2": 2e-4, "CD2_1": 2e-4, "CD2_2": 1e-3},
        base | scale | {"CTYPE1": "GLON-SIN", "CTYPE2": "GLAT-SIN", "LONPOLE": 100.0},
        base | scale | {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 50.0},
        base | scale | {"CTYPE1": "DEC--SZP", "CTYPE2": "RA---SZP", "PV1_1": 2.0, "PV1_2": 30.0},
        base
        | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CD1_1": -1e-3, "CD2_2": 1e-3}
        | {"PV1_1": 1.0, "PV1_4": 0.01, "PV2_1": 1.0, "PV2_5": 0.02},
        base | tan | {"CDELT1": -3.6, "CDELT2": 3.6, "CUNIT1": "arcsec", "CUNIT2": "arcsec"},
    ]


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")
@pytest.mark.parametrize("header", odd_headers(), ids=lambda h: h["CTYPE1"])
def test_other_pixels_of_the_same_projection(header):
    wcs = WCS(fits.Header(header))
    x, y = np.array([0.0, 3, 40]), np.array([5.0, 60, -7])
    before = str(wcs.to_header())
    cut = transform_wcs(wcs, origin=(3, -4), factor=(0.5, 2.0))
    new = pixel_to_icrs(cut, (x - 3 + 0.5) * 0.5 - 0.5, (y + 4 + 0.5) * 2 - 0.5)
    assert np.allclose(new, pixel_to_icrs(wcs, x, y), atol=1e-10)
    assert str(wcs.to_header()) == before
