"""Damaged FITS files and pictures by number, and what reading them leads to.

``python tests/fuzz_files.py --number 10000 --seed 0`` reads that many. Each must give an image or a
`CutoutError` that names the file, within 5 s and 2 GiB; all else is printed with the number that
makes the file again: ``--first NUMBER --number 1``.
"""

import argparse
import bz2
import gzip
import multiprocessing
import re
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

MAX_SECONDS = 5
MAX_BYTES = 2 * 2**30
_BLOCK = 2880

_KEYS = (
    "SIMPLE BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 NAXIS4 EXTEND XTENSION PCOUNT GCOUNT GROUPS BSCALE "
    "BZERO BLANK BUNIT FILTER BAND0 BANDS SATURATE SATLEVEL EXTNAME INHERIT WCSAXES CTYPE1 CTYPE2 "
    "CTYPE3 CRVAL1 CRVAL2 CRPIX1 CRPIX2 CDELT1 CDELT2 CROTA2 CUNIT1 CUNIT2 CD1_1 CD1_2 CD2_1 "
    "CD2_2 CD1_3 PC1_1 PC1_2 PC2_1 PC2_2 PC3_1 PC001001 LONPOLE LATPOLE PV1_0 PV1_1 PV1_2 PV2_1 "
    "PV2_5 PV1_39 PV2_99 EQUINOX RADESYS EPOCH DATE-OBS MJD-OBS A_ORDER B_ORDER AP_ORDER BP_ORDER "
    "A_2_0 B_0_2 A_9_9 CPDIS1 D2IMARR D2IMDIS1 PS1_0 ZIMAGE ZSIMPLE ZTENSION ZBITPIX ZNAXIS "
    "ZNAXIS1 ZNAXIS2 ZNAXIS3 ZTILE1 ZTILE2 ZTILE3 ZCMPTYPE ZNAME1 ZVAL1 ZNAME2 ZVAL2 ZQUANTIZ "
    "ZDITHER0 ZBLANK ZMASKCMP ZPCOUNT THEAP TFIELDS TFORM1 TFORM2 TTYPE1 TTYPE2 TDIM1 TNULL1 END"
)
_VALUES = (
    "0 1 2 3 -1 7 8 -8 16 -16 32 64 -64 128 255 999 1000 9999 10000 32768 65536 100000 2147483647 "
    "2147483648 -2147483648 4294967296 9223372036854775807 -9223372036854775808 "
    "18446744073709551616 1E38 -1E38 1E308 -1E308 1E-308 1E999 0.0 -0.0 0.5 1.5D3 90.0 -90.0 "
    "180.0 360.0 NaN -NaN Inf T F (1,2) 'abc' '' '1' 'NaN' 'RA---TAN' 'DEC--TAN' 'RA---TAN-SIP' "
    "'DEC--TAN-SIP' 'RA---TPV' 'RA---ZPN' 'DEC--ZPN' 'GLON-CAR' 'GLAT-CAR' 'RA---TNX' 'RA---XXX' "
    "'FREQ' 'VELO-LSR' 'WAVE-LOG' 'STOKES' 'RA---TAB' 'HPLN-TAN' 'deg' 'arcsec' 'Hz' 'furlong' "
    "'ICRS' 'FK4' 'IMAGE' 'BINTABLE' 'TABLE' 'RICE_1' 'GZIP_1' 'GZIP_2' 'HCOMPRESS_1' 'PLIO_1' "
    "'NOCOMPRESS' 'BLOCKSIZE' 'BYTEPIX' 'SCALE' 'SMOOTH' 'SUBTRACTIVE_DITHER_1' '1PB(9)' '1QB(9)' "
    "'1PI(9)' '2PB(9)' '1PJ(9)' '99999999A' '1D' 'COMPRESSED_DATA' 'UNCOMPRESSED_DATA' "
    "'GZIP_COMPRESSED_DATA' '(9,9)' 1858-11-17 'lookup' '9999-99-99'"
)


_POWERS = (
    "10**N_m m**N mN 10^N_m 10**-N_m 10+N_m 10**(N)_m 10**N.0_m 10**(N/7)_m m**(N/3) km**N km-N_s "
    "1eN_Jy 1e-N_Jy N_Jy N.NeN_Jy N**N_m sqrt(m**N) (10**N_m)**N ((km**N)**N)**N mag(10**N_m) "
    "mag**N (m**N/s**N)**N"
)


def fuzz_file(number, seed=0):
    """One damaged file.

    Parameters
    ----------
    number : int
        Which one.
    seed : int
        Of which series.

    Returns
    -------
    name : str
        Name of the file, with the number in it.
    content : bytes
        What to write into it. The same always for the same number and seed.
    """
    rng = np.random.default_rng([seed, number])
    if number % 250 == 249:
        name, content = _pick(rng, _bombs())
        return f"{number:06}_{name}", content
    fits = rng.random() < 0.7
    name, content = _pick(rng, _whole_fits() if fits else _whole_pictures())
    damages = _FITS_DAMAGES if fits else _PICTURE_DAMAGES
    for _ in range(1 + (rng.random() < 0.3)):
        damaged = damages[rng.integers(len(damages))](bytearray(content), rng)
        content = bytes(damaged)
    if fits and rng.random() < 0.15:
        pack, suffix = ((gzip.compress, ".gz"), (bz2.compress, ".bz2"))[rng.integers(2)]
        # Without a time stamp, so that a number always is the same file.
        content = pack(content, mtime=0) if suffix == ".gz" else pack(content)
        name = name.removesuffix(".fz") + suffix
        if rng.random() < 0.5:
            damage = (_flip, _truncate)[rng.integers(2)]
            content = bytes(damage(bytearray(content), rng))
    return f"{number:06}_{name}", content


def _pick(rng, files):
    names = sorted(files)
    name = names[rng.integers(len(names))]
    return name, files[name]


# Whole files.


def _sky(**cards):
    from astropy.io import fits

    header = fits.Header()
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0)
    header.update(CRPIX1=24.0, CRPIX2=20.0, CD1_1=-1e-4, CD1_2=0.0, CD2_1=0.0, CD2_2=1e-4)
    header.update(cards)
    return header


def _sip(suffix):
    cards = {"CTYPE1": f"RA---TAN{suffix}", "CTYPE2": f"DEC--TAN{suffix}"}
    cards |= {"A_ORDER": 3, "B_ORDER": 3, "A_2_0": 1e-6, "B_0_2": -1e-6, "A_1_2": 1e-9}
    return _sky(**cards)


@cache
def _whole_fits():
    """Small sound FITS files of many kinds, by name."""
    from astropy.io import fits

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    blob = 500 * np.exp(-np.hypot(x - 24, y - 20) / 4)
    sky = (blob + rng.normal(100, 5, blob.shape)).astype(np.float32)
    whole = sky.astype(np.int16)
    hdus = {
        "float32.fits": [fits.PrimaryHDU(sky, _sky(BUNIT="Jy", FILTER="r"))],
        "float64.fits": [fits.PrimaryHDU(sky.astype(np.float64), _sky(SATURATE=500.0))],
        "cube.fits": [fits.PrimaryHDU(np.stack([sky] * 3), _sky(BANDS="grz"))],
        "deep.fits": [fits.PrimaryHDU(sky[np.newaxis, np.newaxis], _sky())],
        "int16.fits": [fits.PrimaryHDU(whole, _sky(BLANK=100))],
        "uint16.fits": [fits.PrimaryHDU(whole.astype(np.uint16), _sky())],
        "int64.fits": [fits.PrimaryHDU(whole.astype(np.int64), _sky())],
        "uint8.fits": [fits.PrimaryHDU((sky > 200).astype(np.uint8), _sky())],
        "sip.fits": [fits.PrimaryHDU(sky, _sip("-SIP"))],
        "lost_sip.fits": [fits.PrimaryHDU(sky, _sip(""))],
        "tpv.fits": [fits.PrimaryHDU(sky, _sky(PV1_1=1.0, PV2_1=1.0, PV1_5=1e-3, PV2_7=1e-4))],
        "many.fits": [
            fits.PrimaryHDU(),
            fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(9))]),
            fits.ImageHDU(sky, _sky(), name="SCI"),
            fits.ImageHDU(whole, name="DQ"),
        ],
    }
    for kind in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"):
        tile = (16, 24) if kind == "HCOMPRESS_1" else None
        for suffix, data in (("", whole), ("_float", sky)):
            if suffix and kind == "PLIO_1":
                continue
            hdu = fits.CompImageHDU(data, _sky(), compression_type=kind, tile_shape=tile)
            hdus[f"{kind.lower()}{suffix}.fits.fz"] = [fits.PrimaryHDU(), hdu]
    files = {}
    for name, units in hdus.items():
        stream = BytesIO()
        fits.HDUList(units).writeto(stream)
        # Tiles of gzip carry the time at which they were made.
        files[name] = re.sub(
            rb"(\x1f\x8b\x08\0)....", rb"\1\0\0\0\0", stream.getvalue(), flags=re.DOTALL
        )
    return files


@cache
def _whole_pictures():
    """Small sound pictures of many kinds, by name."""
    from PIL import Image

    rng = np.random.default_rng(1)
    y, x = np.mgrid[:48, :56]
    grey = 200 * np.exp(-np.hypot(x - 28, y - 24) / 9) + rng.uniform(0, 30, x.shape)
    colour = Image.fromarray(np.stack([grey, grey * 0.8, grey * 0.6], axis=-1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x010E] = "a galaxy " * 5000
    pictures = {
        "colour.jpg": (colour, {}),
        "progressive.jpg": (colour, {"progressive": True}),
        "exif.jpg": (colour, {"exif": exif}),
        "grey.jpg": (colour.convert("L"), {}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "colour.png": (colour, {}),
        "clear.png": (colour.convert("RGBA"), {}),
        "palette.png": (colour.convert("P"), {"transparency": b"\x00\x80\xff"}),
        "bits.png": (colour.convert("1"), {}),
        "deep.png": (Image.fromarray((grey * 256).astype(np.uint16)), {}),
    }
    files = {}
    for name, (picture, options) in pictures.items():
        stream = BytesIO()
        picture.save(stream, "PNG" if name.endswith("png") else "JPEG", **options)
        files[name] = stream.getvalue()
    return files


@cache
def _bombs():
    """Small files that claim, or unpack to, far more than an image, by name."""
    from astropy.io import fits

    zeros = bytes(2**24)
    small = _whole_fits()["float32.fits"]
    files = {
        f"bomb.fits{suffix}": start + pack(zeros) * 80
        for suffix, pack, start in (
            (".gz", lambda data: gzip.compress(data, mtime=0), gzip.compress(small, mtime=0)),
            (".bz2", bz2.compress, bz2.compress(small)),
        )
    }
    claim = fits.Header([("SIMPLE", True), ("BITPIX", -64), ("NAXIS", 2)])
    claim.update(NAXIS1=2**20, NAXIS2=2**20)
    files["claim.fits"] = claim.tostring().encode() + bytes(_BLOCK)
    # A table of a gigabyte before the image.
    skipped = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 1), ("NAXIS1", 2**30)])
    skipped = skipped.tostring().encode()
    files["behind.fits.gz"] = gzip.compress(skipped, mtime=0) + gzip.compress(zeros, mtime=0) * 80
    files["behind.fits.bz2"] = bz2.compress(skipped) + bz2.compress(zeros) * 80
    files["sparse.fits.gz"] = gzip.compress(claim.tostring().encode(), mtime=0)
    files["cards.fits"] = small[:80] + b"COMMENT so on and so on".ljust(80) * 400_000
    empty = fits.ImageHDU().header.tostring().encode()
    files["extensions.fits"] = fits.PrimaryHDU().header.tostring().encode() + empty * 20_000
    tile = gzip.compress(bytes(2**26), mtime=0) * 8
    table = fits.BinTableHDU.from_columns(
        [fits.Column("COMPRESSED_DATA", "1PB()", array=[np.frombuffer(tile, np.uint8)])]
    )
    table.header.update(ZIMAGE=True, ZCMPTYPE="GZIP_1", ZBITPIX=16, ZNAXIS=2, ZTILE1=64, ZTILE2=64)
    table.header.update(ZNAXIS1=64, ZNAXIS2=64)
    stream = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(stream)
    files["tile.fits.fz"] = stream.getvalue()
    for name, side, colour in (("grey", 2**15, 0), ("colour", 2**31 - 1, 2)):
        rows = zlib.compress(bytes(2**22))
        files[f"{name}.png"] = b"".join(
            [
                b"\x89PNG\r\n\x1a\n",
                _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)),
                _chunk(b"IDAT", rows),
                _chunk(b"IEND", b""),
            ]
        )
    picture = _whole_pictures()["colour.png"]
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))
    profile = _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26)))
    files["words.png"] = picture[:33] + text * 8 + picture[33:]
    files["profile.png"] = picture[:33] + profile + picture[33:]
    scans = _whole_pictures()["progressive.jpg"]
    # Larger than it is, and its last pass over all pixels again and again.
    frame = scans.index(b"\xff\xc2")
    sized = scans[: frame + 5] + struct.pack(">HH", 9000, 9000) + scans[frame + 9 :]
    files["scans.jpg"] = sized[:-2] + sized[sized.rindex(b"\xff\xda") : -2] * 3000 + sized[-2:]
    plain = _whole_pictures()["colour.jpg"]
    segment = b"\xff\xe1\xff\xffExif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(256)) * 255
    files["exif.jpg"] = plain[:2] + segment[: 2 + 65535] * 200 + plain[2:]
    return files


def _chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


# Ways to damage a file: each takes its bytes and a random generator, and returns bytes.


def _flip(content, rng):
    for at in rng.integers(0, max(len(content), 1), rng.integers(1, 30)):
        if at < len(content):
            content[at] ^= 1 << int(rng.integers(8))
    return content


def _flip_start(content, rng):
    start = content[:_BLOCK]
    content[:_BLOCK] = _flip(start, rng)
    return content


def _truncate(content, rng):
    return content[: int(rng.integers(0, max(len(content), 1)))]


def _truncate_at_block(content, rng):
    return content[: _BLOCK * int(rng.integers(0, max(len(content) // _BLOCK, 1)))]


def _noise(content, rng):
    at, n = int(rng.integers(0, max(len(content), 1))), int(rng.integers(1, 300))
    content[at : at + n] = rng.bytes(n)
    return content


def _fill(content, rng):
    at, n = int(rng.integers(0, max(len(content), 1))), int(rng.integers(1, 3000))
    content[at : at + n] = bytes([int(rng.choice([0, 32, 127, 255]))]) * n
    return content


def _insert(content, rng):
    at = int(rng.integers(0, max(len(content), 1)))
    return content[:at] + rng.bytes(int(rng.integers(1, 200))) + content[at:]


def _repeat(content, rng):
    at, n = int(rng.integers(0, max(len(content), 1))), int(rng.integers(1, 3000))
    return content[: at + n] + content[at : at + n] * int(rng.integers(1, 5)) + content[at + n :]


def _headers(content):
    """Where the cards of all headers are."""
    found = []
    for start in range(0, len(content), _BLOCK):
        if content[start : start + 8] in (b"SIMPLE  ", b"XTENSION"):
            for at in range(start, len(content) - 79, 80):
                if content[at : at + 4] == b"END ":
                    break
                found.append(at)
    return found


def _cards(content, rng):
    """Absurd values of cards that are there, or cards that were not."""
    places = _headers(content)
    for _ in range(rng.integers(1, 5)):
        if not places:
            break
        key, value = rng.choice(_KEYS.split()), rng.choice(_VALUES.split())
        own = [at for at in places if content[at : at + 8].decode("latin-1").strip() == key]
        # Mostly not in the place of a card without which there is no image.
        at = int(rng.choice(own or places[5:] or places))
        content[at : at + 80] = f"{key:8}= {value:>20}"[:80].ljust(80).encode("latin-1", "replace")
    return content


def _units(content, rng):
    """A unit of any power, which may be more than a parser can work out."""
    places = [at for at in _headers(content) if content[at : at + 8] == b"BUNIT   "]
    places = places or _headers(content)[5:]
    if places:
        number = 10 ** int(rng.integers(0, 25)) - int(rng.integers(0, 2))
        form = rng.choice(_POWERS.split()).replace("N", str(number)).replace("_", " ")
        at = int(rng.choice(places))
        content[at : at + 80] = f"BUNIT   = '{form}'".ljust(80).encode()
    return content


def _numbers(content, rng):
    """Special values among the pixels."""
    code = (">f4", ">f8", ">i2", ">i4")[rng.integers(4)]
    special = {
        "f": [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0],
        "i": [-32768, 32767, 0, -1],
    }[code[1]]
    size = int(code[2])
    n = max((len(content) - _BLOCK) // size, 1)
    first, last = sorted(rng.integers(0, n, 2))
    every = int(rng.integers(1, 20))
    for at in range(int(first), int(last), every):
        value = np.array(special[rng.integers(len(special))], code).tobytes()
        content[_BLOCK + at * size : _BLOCK + (at + 1) * size] = value
    return content


def _swap(content, rng):
    """Pixels in the wrong order of bytes."""
    size = int(rng.choice([2, 4, 8]))
    start = _BLOCK * int(rng.integers(1, 4))
    body = content[start : len(content) - (len(content) - start) % size]
    swapped = np.frombuffer(bytes(body), np.uint8).reshape(-1, size)[:, ::-1]
    return content[:start] + swapped.tobytes() + content[start + len(body) :]


def _flip_table(content, rng):
    """The descriptors and the start of the heap of tile-compressed images."""
    starts = [at for at in range(0, len(content), _BLOCK) if content[at : at + 8] == b"XTENSION"]
    if not starts:
        return _flip(content, rng)
    places = _headers(content)
    table = -(-(places[-1] + 160) // _BLOCK) * _BLOCK
    part = content[table : table + int(rng.choice([16, 64, 320, 1000]))]
    return content[:table] + _flip(part, rng) + content[table + len(part) :]


def _sides(content, rng):
    """Another size of a picture than it has."""
    side = struct.pack(">H", int(rng.choice([0, 1, 2, 7, 100, 3000, 12000])))
    frames = [at for m in (b"\xff\xc0", b"\xff\xc2") if (at := content.find(m)) >= 0]
    if frames:
        at = frames[0] + 5 + 2 * int(rng.integers(2))
        content[at : at + 2] = side
    elif len(content) > 33:
        at = 16 + 4 * int(rng.integers(2))
        content[at : at + 4] = b"\0\0" + side
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return content


_ANYWHERE = (_flip, _flip_start, _truncate, _noise, _fill, _insert, _repeat)
_FITS_DAMAGES = (
    *_ANYWHERE,
    _truncate_at_block,
    _numbers,
    _swap,
    _flip_table,
    _flip_table,
    _units,
    *[_cards] * 7,
)
_PICTURE_DAMAGES = (*_ANYWHERE, _sides)


# Reading them.


def _recipes():
    """Recipes that end with pixels of 24 a side; each file is prepared with one of them."""
    from astro_deepgalaxy import Recipe
    from astro_deepgalaxy.preprocess.align import Align
    from astro_deepgalaxy.preprocess.background import Background
    from astro_deepgalaxy.preprocess.crop import Crop
    from astro_deepgalaxy.preprocess.match_psf import MatchPSF
    from astro_deepgalaxy.preprocess.repair import Repair
    from astro_deepgalaxy.preprocess.resize import Resize
    from astro_deepgalaxy.preprocess.stretch import Stretch

    end = [Resize(size=24), Stretch()]
    return [
        # Half the resolution of the sound files.
        Recipe([Background(), Align(pixel_scale=0.72), *end]),
        Recipe([Crop(size=8, unit="arcsec"), *end]),
        Recipe([Repair(cosmic_rays=True), Background(), *end]),
        Recipe([MatchPSF(fwhm=2.0, from_fwhm=1.2), *end]),
    ]


def read_one(path, recipe):
    """Read and prepare a file.

    Parameters
    ----------
    path : `~pathlib.Path`
        The file.
    recipe : Recipe
        What to do with the image.

    Returns
    -------
    outcome : str
        ``image``, ``refused`` (not readable) or ``failed`` (not preparable).

    Raises
    ------
    Exception
        Whatever reading or preparing raised but `CutoutError`, and AssertionError if the result is
        not as promised.
    """
    from astro_deepgalaxy import Cutout, read_cutout
    from astro_deepgalaxy.flags import CutoutError
    from astro_deepgalaxy.io import Source
    from astro_deepgalaxy.preprocess.batch import prepare

    refusal = ""
    try:
        cutout = read_cutout(path)
    except CutoutError as error:
        refusal = str(error)
        assert_sentence(refusal, path)
    else:
        assert isinstance(cutout, Cutout)
        assert cutout.data.dtype == np.float32
        assert np.isfinite(cutout.data[~cutout.mask]).all()
    image, row = prepare(Source("a", str(path)), recipe)
    if image is None:
        assert row["reason"]
        return "refused" if refusal else "failed"
    assert not refusal
    assert image.shape[:2] == (24, 24)
    assert np.isfinite(image).all()
    return "image"


def assert_sentence(message, path):
    """A message is one sentence with the name of the file."""
    assert path.name in message, f"does not name the file: {message}"
    assert "\n" not in message, f"more than a line: {message!r}"
    assert len(message) < 600, f"no sentence: {message}"


def _work(link, folder, seed):
    """In a child: read the files whose numbers come, and tell what came of each."""
    import warnings

    warnings.simplefilter("ignore")
    recipes = _recipes()
    _whole_fits(), _whole_pictures(), _bombs()
    baseline = _peak()
    _limit(baseline)
    link.send("ready")
    while (number := link.recv()) is not None:
        name, content = fuzz_file(number, seed)
        path = Path(folder) / name
        path.write_bytes(content)
        del content
        link.send("go")
        try:
            outcome = read_one(path, recipes[number % len(recipes)])
        except BaseException as error:
            place = _place(error.__traceback__)
            outcome = f"{type(error).__name__} in {place}: {' '.join(str(error).split())[:200]}"
        path.unlink()
        link.send((outcome, _peak() - baseline))


def _place(trace):
    """Where in the package an error was raised."""
    places = []
    while trace is not None:
        places.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    ours = [(f, n) for f, n in places if "astro_deepgalaxy" in f] or places
    return f"{Path(ours[-1][0]).name}:{ours[-1][1]}"


def _peak():
    """Most memory that this process had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _limit(baseline):
    # Far above what is allowed, so that going over it is seen, and the machine is safe.
    limit = baseline + 16 * MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def run(numbers, seed=0, progress=False):
    """Read damaged files in a child process, under watch.

    Parameters
    ----------
    numbers : iterable of int
        Which files.
    seed : int
        Of which series.
    progress : bool
        Show a progress bar.

    Returns
    -------
    counts : `~collections.Counter`
        How many were ``image``, ``refused``, ``failed`` and ``violation``.
    violations : list of str
        A line for each file that crashed, hung, took too much memory or raised something else.
    slowest : tuple of float and int
        The longest time in seconds, and the number of that file.
    """
    from tqdm.auto import tqdm

    counts, violations, slowest = Counter(), [], (0.0, -1)
    context = multiprocessing.get_context("spawn")
    child = link = None
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(numbers, disable=not progress, unit="file"):
            if child is None:
                link, other = context.Pipe()
                child = context.Process(target=_work, args=(other, folder, seed), daemon=True)
                child.start()
                other.close()
                link.recv()
            link.send(number)
            problem = None
            try:
                link.recv()
                start = time.monotonic()
                if link.poll(MAX_SECONDS):
                    outcome, memory = link.recv()
                    slowest = max(slowest, (time.monotonic() - start, number))
                    if outcome not in ("image", "refused", "failed"):
                        problem = outcome
                    if memory > MAX_BYTES:
                        problem = f"took {memory / 2**30:.1f} GiB"
                else:
                    problem = f"took more than {MAX_SECONDS} s"
            except EOFError:
                problem = "the process died"
            counts["violation" if problem else outcome] += 1
            if problem:
                name, _ = fuzz_file(number, seed)
                violations.append(f"--seed {seed} --first {number} ({name}): {problem}")
                # Neither a hung process nor one with a high peak of memory can go on.
                child.kill()
                child.join()
                child = None
        if child is not None:
            link.send(None)
            child.join()
    return counts, violations, slowest


def main():
    """Read the files that the command line asks for; the exit status is 1 on a violation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=10_000, help="how many files")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="write the files to this folder instead")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.number)
    if options.keep:
        for number in numbers:
            name, content = fuzz_file(number, options.seed)
            (options.keep / name).write_bytes(content)
        return 0
    counts, violations, (seconds, number) = run(numbers, options.seed, progress=True)
    print(", ".join(f"{name}: {n}" for name, n in sorted(counts.items())))
    print(f"slowest: {seconds:.2f} s, number {number}")
    print(*violations, sep="\n")
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
