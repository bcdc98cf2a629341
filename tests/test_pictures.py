import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from astro_deepgalaxy import Flag, read_cutout
from astro_deepgalaxy.config import conf
from astro_deepgalaxy.flags import CutoutError
from astro_deepgalaxy.io.pictures import read_picture


def colours(shape=(12, 17), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_colour(tmp_path):
    pixels = colours()
    Image.fromarray(pixels).save(tmp_path / "arp 244.png")
    cutout = read_cutout(tmp_path / "arp 244.png")
    assert cutout.id == "arp 244"
    assert cutout.bands == ("red", "green", "blue")
    assert cutout.flags == Flag.PICTURE | Flag.NO_WCS
    # The last row of a picture is the bottom; that of an image in FITS is the top.
    assert np.allclose(cutout.data, pixels[::-1].transpose(2, 0, 1) / 255)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey(tmp_path, mode):
    picture = Image.fromarray(colours()).convert("L").convert(mode)
    picture.save(tmp_path / "grey.png")
    cutout = read_picture(tmp_path / "grey.png")
    assert cutout.bands == ("grey",)
    truth = np.asarray(picture.convert("L"))[::-1] / 255
    assert np.allclose(cutout.data[0], truth)


@pytest.mark.parametrize("top", [65535, 200])
def test_sixteen_bits(tmp_path, top):
    pixels = np.linspace(0, top, 300).astype(np.uint16).reshape(15, 20)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    cutout = read_picture(tmp_path / "deep.png")
    assert cutout.bands == ("grey",)
    assert np.allclose(cutout.data[0], pixels[::-1] / 65535, atol=1e-6)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK"])
def test_other_modes_are_colour(tmp_path, mode):
    picture = Image.fromarray(colours()).convert(mode)
    name = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(name)
    with Image.open(name) as again:
        truth = np.asarray(again.convert("RGB"))[::-1].transpose(2, 0, 1) / 255
    cutout = read_picture(name)
    assert cutout.bands == ("red", "green", "blue")
    assert np.allclose(cutout.data, truth)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera(tmp_path, suffix, orientation):
    pixels = np.kron(colours((3, 4)), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif)
    # Which row and column of the scene the first row and column of the file are.
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }[orientation]
    found = read_picture(tmp_path / f"a.{suffix}").data
    expected = upright[::-1].transpose(2, 0, 1) / 255
    assert found.shape == expected.shape
    # What JPEG loses is far less than one patch differs from another.
    assert np.abs(found - expected).mean() < (1e-6 if suffix == "png" else 0.02)


def test_damaged_tags_are_no_harm(tmp_path):
    Image.fromarray(colours((16, 16))).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    plain = read_picture(tmp_path / "a.jpg").data
    tags = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 9
    segment = b"\xff\xe1" + struct.pack(">H", len(tags) + 2) + tags
    (tmp_path / "a.jpg").write_bytes(content[:2] + segment + content[2:])
    assert np.array_equal(read_picture(tmp_path / "a.jpg").data, plain)


def test_content_counts_when_the_suffix_says_nothing(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.dat")
    assert read_cutout(tmp_path / "picture.dat").flags & Flag.PICTURE


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.fromarray(colours((30, 40))).save(tmp_path / "big.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("was decoded"))
    with (
        conf.set_temp("max_picture_pixels", 1199),
        pytest.raises(CutoutError, match=r"40 x 30.*1199.*max_picture_pixels") as caught,
    ):
        read_picture(tmp_path / "big.png")
    assert caught.value.flag == Flag.UNREADABLE


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"words" * 99])
def test_broken_pictures(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(CutoutError, match=r"broken\.jpg") as caught:
        read_cutout(path)
    assert caught.value.flag == Flag.UNREADABLE
    with pytest.raises(CutoutError, match="no such file"):
        read_picture(tmp_path / "missing.png")


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(["a.png", "a.jpg", "p.jpg"]), st.floats(0, 0.98))
def test_a_cut_off_picture_is_never_half_read(tmp_path_factory, name, part):
    folder = tmp_path_factory.mktemp("cut")
    picture = Image.fromarray(colours((64, 64)))
    picture.save(folder / name, **({"progressive": True} if name == "p.jpg" else {}))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(part * len(content))])
    with pytest.raises(CutoutError):
        read_picture(folder / name)


def test_a_bomb_is_no_picture(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "bomb.png")
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    content[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(CutoutError, match=r"bomb\.png.*exceeds limit"):
        read_picture(tmp_path / "bomb.png")


def test_scans_without_end_are_no_picture(tmp_path):
    Image.fromarray(colours((64, 64))).save(tmp_path / "a.jpg", progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    assert read_picture(tmp_path / "a.jpg").shape == (3, 64, 64)
    last = content[content.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(content[:-2] + 500 * last + content[-2:])
    with pytest.raises(CutoutError, match=r"a\.jpg.*scans"):
        read_picture(tmp_path / "a.jpg")


def test_other_formats_are_no_pictures(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png", format="TIFF")
    with pytest.raises(CutoutError, match="not a JPEG or PNG"):
        read_picture(tmp_path / "a.png")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path / "loop.jpg", tmp_path):
        with pytest.raises(CutoutError, match=path.name):
            read_picture(path)


def test_real_pictures(real_images):
    twin = read_cutout(real_images / "decals_gz" / "example_a.jpeg")
    original = read_cutout(real_images / "decals_gz" / "example_a.fits.gz")
    grey = twin.data.mean(axis=0)
    flux = np.nan_to_num(original.data.mean(axis=0))
    # The picture stands as the image does: turned over, the two would differ.
    match, turned = (
        np.corrcoef(np.arcsinh(50 * flux).ravel(), g.ravel())[0, 1] for g in (grey, grey[::-1])
    )
    assert match > turned + 0.05
