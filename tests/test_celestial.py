import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, Sip
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astro_deepgalaxy.celestial import icrs_to_pixel, local_frame, pixel_to_icrs, tangent_wcs

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
