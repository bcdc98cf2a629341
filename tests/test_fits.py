import bz2
import gzip
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Flag, read_cutout
from astro_deepgalaxy.flags import CutoutError
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


def test_a_plain_image(write):
    data = image()
    path = write("m51.fits", fits.PrimaryHDU(data, sky_header(BUNIT="Jy", FILTER="r")))
    cutout = read_fits(path)
    assert np.array_equal(cutout.data, data[np.newaxis])
    assert (cutout.id, cutout.file, cutout.bands) == ("m51", str(path), ("r",))
    assert (cutout.unit, cutout.flags) == (u.Jy, 0)
    assert not cutout.mask.any()
    sky = cutout.wcs.pixel_to_world(14, 9)
    assert np.allclose([sky.ra.deg, sky.dec.deg], [150, 2])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_packed_files(write, suffix, pack):
    path = write("a.b.fits", fits.PrimaryHDU(image(), sky_header()))
    packed = path.with_name(path.name + suffix)
    packed.write_bytes(pack(path.read_bytes()))
    cutout = read_cutout(packed)
    assert cutout.id == "a.b"
    assert np.array_equal(cutout.data[0], image())


def test_tile_compressed(write):
    data = np.arange(1200, dtype=np.int16).reshape(30, 40)
    path = write(
        "tiles.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type="RICE_1")
    )
    cutout = read_cutout(path)
    assert cutout.id == "tiles"
    assert np.array_equal(cutout.data[0], data)


def test_extensions(write):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(3))])
    path = write(
        "many.fits",
        fits.PrimaryHDU(),
        table,
        fits.ImageHDU(image(), name="SCI"),
        fits.ImageHDU(image(seed=1), name="ERR"),
    )
    assert np.array_equal(read_fits(path).data[0], image())
    for chosen in (read_fits(path, "ERR"), read_fits(path, 3), read_fits(f"{path}[err]")):
        assert np.array_equal(chosen.data[0], image(seed=1))
    assert np.array_equal(read_cutout(f"{path}[3]").data[0], image(seed=1))
    assert read_cutout(f"{path}[3]").id == "many"
    with pytest.raises(CutoutError, match=r"no extension 'WHT'; it has .*SCI, ERR"):
        read_fits(path, "WHT")
    with pytest.raises(CutoutError, match="not an image"):
        read_fits(path, 1)


@pytest.mark.parametrize(
    ("cards", "bands"),
    [
        ({"BAND0": "g", "BAND1": "r", "BAND2": "z"}, ("g", "r", "z")),
        ({"BANDS": "grz"}, ("g", "r", "z")),
        ({}, ("0", "1", "2")),
        ({"FILTER": "r"}, ("0", "1", "2")),
    ],
)
def test_bands_of_a_cube(write, cards, bands):
    path = write("cube.fits", fits.PrimaryHDU(image((3, 20, 30)), sky_header(**cards)))
    cutout = read_fits(path)
    assert cutout.bands == bands
    assert cutout.wcs.naxis == 2
    assert cutout.centre.ra.deg == pytest.approx(150, abs=1e-3)


def test_degenerate_axes_are_dropped(write):
    path = write("radio.fits", fits.PrimaryHDU(image((1, 1, 20, 30))))
    assert read_fits(path).shape == (1, 20, 30)


@pytest.mark.parametrize("zero", [0, 32768])
@pytest.mark.parametrize("packed", [False, True])
def test_scaling_and_blank(write, zero, packed):
    stored = np.arange(-300, 300, dtype=np.int16).reshape(20, 30)
    header = fits.Header({"BLANK": -7})
    make = fits.CompImageHDU if packed else fits.PrimaryHDU
    hdu = make(stored, header)
    path = write("scaled.fits", *([fits.PrimaryHDU(), hdu] if packed else [hdu]))
    # Scaling cards added to what is stored already, as instruments write them.
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
        hdus[-1].header["BSCALE"] = 2.0 if not zero else 1.0
        hdus[-1].header["BZERO"] = float(zero) if zero else 10.0
    cutout = read_fits(path)
    expected = stored * (1.0 if zero else 2.0) + (zero or 10.0)
    blank = stored == -7
    assert np.array_equal(cutout.mask[0], blank)
    assert np.allclose(cutout.data[0][~blank], expected[~blank])


def test_nan_is_masked(write):
    data = image()
    data[3, 4] = np.nan
    data[5, 6] = np.inf
    mask = read_fits(write("nan.fits", fits.PrimaryHDU(data))).mask[0]
    assert mask.sum() == 2
    assert mask[3, 4]
    assert mask[5, 6]


@pytest.mark.parametrize("unit", ["DNs", "ELECTRONS", "", "10**x furlong"])
def test_a_unit_that_is_none(write, unit):
    assert (
        read_fits(write("unit.fits", fits.PrimaryHDU(image(), sky_header(BUNIT=unit)))).unit is None
    )


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


def test_odd_headers_make_no_noise(write):
    path = write("odd.fits", fits.PrimaryHDU(image(), sky_header(RADECSYS="FK5", EQUINOX=2000.0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_fits(path)


def test_what_cannot_be_read(write, tmp_path):
    (tmp_path / "empty.fits").touch()
    (tmp_path / "words.fits").write_text("Dear reader, this is no image.\n" * 200)
    line = write("line.fits", fits.PrimaryHDU(np.ones(50)))
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(3))])
    only_table = write("table.fits", fits.PrimaryHDU(), table)
    deep = write("deep.fits", fits.PrimaryHDU(np.ones((2, 3, 4, 5))))
    for path in (
        tmp_path / "empty.fits",
        tmp_path / "words.fits",
        tmp_path / "missing.fits",
        tmp_path,
        line,
        only_table,
        deep,
    ):
        with pytest.raises(CutoutError) as caught:
            read_fits(path)
        assert caught.value.flag == Flag.UNREADABLE
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_nothing_but_nan(write):
    with pytest.raises(CutoutError, match="finite") as caught:
        read_fits(write("nan.fits", fits.PrimaryHDU(np.full((9, 9), np.nan))))
    assert caught.value.flag == Flag.NO_DATA


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    plain, tiles, packed = (folder / name for name in ("a.fits", "b.fits.fz", "c.fits.gz"))
    fits.PrimaryHDU(image((60, 60)), sky_header()).writeto(plain)
    integers = np.random.default_rng(0).integers(0, 9999, (60, 60)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(integers)]).writeto(tiles)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    return {path: (path.read_bytes(), read_fits(path).data) for path in (plain, tiles, packed)}


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_cut_off_file_is_never_half_read(whole_files, tmp_path_factory, data):
    path = data.draw(st.sampled_from(sorted(whole_files)))
    content, pixels = whole_files[path]
    n = data.draw(st.integers(0, len(content) - 1))
    cut = tmp_path_factory.mktemp("cut") / path.name
    cut.write_bytes(content[:n])
    try:
        found = read_fits(cut).data
    except CutoutError:
        return
    # Only padding was lost.
    assert np.array_equal(found, pixels)


def test_real_files(real_images):
    paths = [*real_images.glob("*/*.fits*"), *real_images.glob("sdss_pawlik/*/*.fits")]
    assert len(paths) > 50
    for path in paths:
        if path.name == "example_incomplete.fits.gz":
            with pytest.raises(CutoutError, match="truncated"):
                read_cutout(path)
            continue
        cutout = read_cutout(path)
        assert np.isfinite(cutout.data[~cutout.mask]).all()
        if path.parent.name == "decals_gz":
            assert cutout.bands == ("g", "r", "z")
            assert cutout.pixel_scale is not None
        if path.parent.name in ("cafos_arp84",):
            assert cutout.flags == Flag.NO_WCS
