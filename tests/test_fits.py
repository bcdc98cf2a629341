import bz2
import gzip
import os
import warnings
from math import prod

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from fits_samples import assert_same_sky, by_astropy, image, sky_header
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy import Flag, read_cutout
from astro_deepgalaxy.config import conf
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.io.fits import read_fits
from astro_deepgalaxy.io.hdus import Cards


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


def test_the_filter_of_the_first_header(write):
    first = fits.PrimaryHDU(header=fits.Header({"FILTER": "F200W"}))
    hdus = [first, fits.ImageHDU(image(), name="SCI")]
    assert read_fits(write("a.fits", *hdus)).bands == ("F200W",)
    hdus[1].header["FILTER"] = "F150W"
    path = write("b.fits", *hdus, fits.CompImageHDU(image(), name="PACKED"))
    assert read_fits(path).bands == ("F150W",)
    assert read_fits(path, "PACKED").bands == read_fits(path, -1).bands == ("F200W",)
    first.header = fits.Header({"FILTER1": "CLEAR1L", "FILTER2": "F814W"})
    assert read_fits(write("c.fits", first, fits.ImageHDU(image()))).bands == ("F814W",)


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


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("key", ["BSCALE", "BZERO"])
def test_a_scale_that_is_a_text(write, key, packed):
    stored = np.arange(600, dtype=np.int16).reshape(20, 30)
    hdu = fits.CompImageHDU(stored) if packed else fits.ImageHDU(stored)
    path = write("a.fits", fits.PrimaryHDU(), hdu)
    with fits.open(
        path, mode="update", do_not_scale_image_data=True, disable_image_compression=True
    ) as hdus:
        hdus[1].header[key] = "0"
    with pytest.raises(CutoutError, match=rf"a\.fits.*{key} is '0'; expected a number"):
        read_fits(path)


def test_unsigned_integers_of_64_bits(write):
    data = np.arange(3000, 3600, dtype=np.uint64).reshape(20, 30)
    assert np.array_equal(read_fits(write("u.fits", fits.PrimaryHDU(data))).data[0], data)


def test_nan_is_masked(write):
    data = image()
    data[3, 4] = np.nan
    data[5, 6] = np.inf
    mask = read_fits(write("nan.fits", fits.PrimaryHDU(data))).mask[0]
    assert mask.sum() == 2
    assert mask[3, 4]
    assert mask[5, 6]


@pytest.mark.parametrize(
    "unit",
    [
        "DNs",
        "",
        "10**x furlong",
        "1e400 m",
        "10**9999999 m",
        "10**(9999999) m",
        "10**9999999.0 m",
        "km9999999",
        "1e99999 m",
        "m." * 99 + "s",
        "0 m",
    ],
)
def test_a_unit_that_is_none(write, unit):
    path = write("unit.fits", fits.PrimaryHDU(image(), sky_header(BUNIT=unit)))
    assert read_fits(path).unit is None


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("ELECTRONS", u.electron),
        ("ELECTRONS/S", u.electron / u.s),
        ("electrons / s", u.electron / u.s),
        ("counts/s", u.ct / u.s),
        ("ADU", u.adu),
        ("JY/BEAM", u.Jy / u.beam),
        ("nanomaggies", 1e-9 * u.mgy),
        ("nanomaggy", 1e-9 * u.mgy),
        ("erg/s/cm2/Ang", u.erg / u.s / u.cm**2 / u.AA),
        ("1.2345678e-17 erg", 1.2345678e-17 * u.erg),
        ("10**-17 erg", 1e-17 * u.erg),
        # Upper and lower case are different where the standard knows both.
        ("mJy", 1e-3 * u.Jy),
        ("MJy/sr", 1e6 * u.Jy / u.sr),
        ("mJy/sr", 1e-3 * u.Jy / u.sr),
    ],
)
def test_units_as_instruments_write_them(write, text, unit):
    path = write("unit.fits", fits.PrimaryHDU(image(), sky_header(BUNIT=text)))
    assert (1 * read_fits(path).unit).to_value(unit) == pytest.approx(1, rel=1e-12)


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
        pixels, wcs = by_astropy(path)
        np.testing.assert_array_equal(cutout.data, pixels)
        assert np.array_equal(cutout.mask, ~np.isfinite(pixels))
        assert (cutout.wcs is not None) == wcs.has_celestial
        if cutout.wcs is not None:
            assert_same_sky(cutout.wcs, wcs, cutout.shape[1:])
        # The raw frames of CAFOS have overexposed columns.
        saturated = path.parent.name == "cafos_arp84"
        flags = (not wcs.has_celestial and Flag.NO_WCS) | (saturated and Flag.SATURATED)
        assert cutout.flags == flags
        if path.parent.name == "decals_gz":
            assert cutout.bands == ("g", "r", "z")


def test_cards_of_real_headers(real_images):
    for path in [*real_images.glob("*/*.fits*"), *real_images.glob("sdss_pawlik/small/*7*.fits")]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = fits.getheader(path)
            cards = Cards(header.tostring(endcard=False, padding=False))
            for key in set(header) - {"COMMENT", "HISTORY", "", "CONTINUE"}:
                if len(key) <= 8:
                    assert cards.get(key) == header[key], (path, key)


@pytest.mark.parametrize(
    "record",
    [
        "KEY     =                   42 / an integer",
        "KEY     =                 -042",
        "KEY     =              1.5D-03",
        "KEY     =                1E999",
        "KEY     =                  .5/",
        "KEY     = 'it''s / so  ' / text",
        "KEY     = ''",
        "KEY     =                    T",
        "KEY     = F/",
        "KEY     = (1.0, -2.0)",
        "KEY     = 1 2",
        "KEY     =",
        "KEY     = 'no end",
        "KEY     = \xe9",
        "KEY     =                  NaN",
    ],
)
def test_a_card_is_what_astropy_takes_it_for(record):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = fits.Card.fromstring(record.ljust(80)).value
    except fits.VerifyError:
        expected = None
    if isinstance(expected, fits.card.Undefined):
        expected = None
    found = Cards("".ljust(80) + record.ljust(80)).get("KEY")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("text", ["a" * 200, "it''s" * 25, "a & b" * 30, "short &", "&" * 70])
def test_strings_of_many_cards(text):
    record = fits.Card("KEY", text, "with a comment").image
    header = fits.Header.fromstring("".ljust(80) + record + "END".ljust(80))
    assert Cards(header.tostring(endcard=False, padding=False)).get("KEY") == header["KEY"]


def test_a_string_goes_on_no_longer_than_it_may():
    card = "KEY     = 'a&'".ljust(80)
    assert Cards(card + "COMMENT   'b'".ljust(80)).get("KEY") == "a&"
    assert Cards(card + "CONTINUE  b".ljust(80)).get("KEY") == "a"
    # A header of nothing else would take very long.
    assert Cards(card + "CONTINUE  'b&'".ljust(80) * 30_000).get("KEY") == "a" + 5 * "b" + "&"


@st.composite
def plain_images(draw):
    """Stored pixels of any BITPIX and number of axes, and cards that scale them."""
    kind = draw(st.sampled_from(["u1", "i2", "i4", "i8", "f4", "f8"]))
    shape = (draw(st.integers(2, 6)), draw(st.integers(2, 6)))
    shape = (*draw(st.sampled_from([(), (1,), (3,), (1, 2), (2, 1), (1, 1)])), *shape)
    if kind[0] == "f":
        numbers = st.floats(width=8 * int(kind[1]))
    else:
        limits = np.iinfo(kind)
        numbers = st.integers(int(limits.min), int(limits.max))
    stored = np.array(draw(st.lists(numbers, min_size=prod(shape), max_size=prod(shape))), kind)
    cards = {}
    if draw(st.booleans()):
        cards["BSCALE"] = draw(st.sampled_from([1, 1.0, 2, 0.25, -3.5, 0.0, 1e-30, 1e300]))
    if draw(st.booleans()):
        cards["BZERO"] = draw(st.sampled_from([0, 0.0, 7, -128, 32768, 2.0**31, 2**63, 1e30]))
    if draw(st.booleans()):
        # astropy leaves pixels alone where BLANK is zero; the standard does not.
        own = int(stored.flat[0]) if kind[0] != "f" else 0
        cards["BLANK"] = draw(st.sampled_from([1, -1, 255, own or 1]))
    return stored.reshape(shape), cards


@settings(deadline=None, max_examples=200)
@given(plain_images(), st.integers(0, 2))
def test_plain_images_are_what_astropy_reads(tmp_path_factory, image, before):
    stored, cards = image
    path = tmp_path_factory.mktemp("plain") / "a.fits"
    hdus = [fits.PrimaryHDU()] if before else []
    hdus += [fits.ImageHDU(np.arange(5.0)) for _ in range(before - 1)]
    hdus.append((fits.ImageHDU if before else fits.PrimaryHDU)(stored))
    fits.HDUList(hdus).writeto(path)
    # The cards that scale what is stored, as it is.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        with fits.open(path, mode="update", do_not_scale_image_data=True) as opened:
            opened[-1].header.update(cards)
    pixels, _ = by_astropy(path, before)
    if not np.isfinite(pixels).any():
        with pytest.raises(CutoutError, match="no finite pixel"):
            read_fits(path)
        return
    cutout = read_fits(path)
    np.testing.assert_array_equal(cutout.data, pixels)
    assert np.array_equal(cutout.mask, ~np.isfinite(pixels))


def test_blank_may_be_zero(write):
    stored = np.arange(600, dtype=np.int16).reshape(20, 30)
    mask = read_fits(write("a.fits", fits.PrimaryHDU(stored, fits.Header({"BLANK": 0})))).mask
    assert mask[0, 0, 0]
    assert mask.sum() == 1


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "f4"])
def test_tiles_are_what_astropy_reads(write, kind, dtype):
    if kind == "PLIO_1" and dtype in ("u2", "f4"):
        pytest.skip("astropy writes no such pixel lists")
    data = np.abs(image((56, 72))).astype(dtype)
    hdu = fits.CompImageHDU(data, sky_header(), compression_type=kind, tile_shape=(16, 32))
    path = write("tiles.fits.fz", fits.PrimaryHDU(), hdu)
    pixels, wcs = by_astropy(path, 1)
    cutout = read_fits(path)
    np.testing.assert_array_equal(cutout.data, pixels)
    assert_same_sky(cutout.wcs, wcs, data.shape)


@pytest.mark.parametrize(
    ("n", "message"),
    [(2**17, "fewer rows than tiles"), (2**21, r"tiles than the limit of 1048576")],
)
def test_so_many_tiles(write, n, message):
    hdu = fits.CompImageHDU(np.ones((30, 40), np.int16), tile_shape=(1, 40))
    path = write("a.fits.fz", fits.PrimaryHDU(), hdu)
    with fits.open(path, mode="update", disable_image_compression=True) as hdus:
        hdus[1].header["ZNAXIS2"] = n
    with pytest.raises(CutoutError, match=rf"a\.fits\.fz.*{message}"):
        read_fits(path)


def test_a_huge_image_is_refused_by_its_header(tmp_path):
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2)])
    header.update(NAXIS1=30000, NAXIS2=20000)
    plain, packed = tmp_path / "a.fits", tmp_path / "a.fits.gz"
    plain.write_text(header.tostring())
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        with pytest.raises(CutoutError, match=r"30000 x 20000.*max_image_pixels"):
            read_fits(path)
    # Within the limit, only the pixels are missing.
    with conf.set_temp("max_image_pixels", 10**9), pytest.raises(CutoutError, match="truncated"):
        read_fits(plain)


def test_the_limit_counts_all_bands_and_tiles(write):
    cube = write("a.fits", fits.PrimaryHDU(image((3, 20, 30))))
    tiles = write("b.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(image((60, 30))))
    for path in (cube, tiles):
        with conf.set_temp("max_image_pixels", 1800):
            read_fits(path)
        with conf.set_temp("max_image_pixels", 1799), pytest.raises(CutoutError, match="1799"):
            read_fits(path)


def test_a_packed_file_is_unpacked_no_further_than_needed(write):
    path = write("a.fits", fits.PrimaryHDU(image(), sky_header()))
    packed = path.with_suffix(".fits.gz")
    zeros = gzip.compress(bytes(2**20))
    packed.write_bytes(gzip.compress(path.read_bytes()) + 9 * zeros)
    with conf.set_temp("max_image_pixels", 2**20):
        assert read_fits(packed).shape == (1, 20, 30)
        line = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 1), ("NAXIS1", 9 * 2**20)])
        packed.write_bytes(gzip.compress(line.tostring().encode()) + 9 * zeros)
        with pytest.raises(CutoutError, match="unpacks to more than"):
            read_fits(packed)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "loop.fits").symlink_to(tmp_path / "loop.fits")
    for name in ("pipe.fits", "loop.fits", "", "a" * 300 + ".fits", "a\0b.fits"):
        for read in (read_fits, read_cutout):
            with pytest.raises(CutoutError, match=tmp_path.name) as caught:
                read(f"{tmp_path}/{name}")
            assert caught.value.flag == Flag.UNREADABLE
    with pytest.raises(CutoutError, match="a pipe or a device"):
        read_fits("/dev/zero")
    (tmp_path / "link.fits").symlink_to(tmp_path / "whole.fits")
    fits.PrimaryHDU(image()).writeto(tmp_path / "whole.fits")
    assert read_fits(tmp_path / "link.fits").shape == (1, 20, 30)
