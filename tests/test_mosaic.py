import gzip
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import QTable
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from photutils.background import Background2D
from reproject import reproject_interp
from reproject.mosaicking import reproject_and_coadd

from astro_deepgalaxy import CutoutStore, Flag, Recipe
from astro_deepgalaxy.celestial import icrs_to_pixel, pixel_to_icrs
from astro_deepgalaxy.flags import FAILED, CutoutError
from astro_deepgalaxy.preprocess.background import Background
from astro_deepgalaxy.preprocess.batch import preprocess_batch
from astro_deepgalaxy.preprocess.mosaic import Mosaics, Tile
from astro_deepgalaxy.preprocess.mosaic_sky import measure_sky
from astro_deepgalaxy.preprocess.planes import open_plane
from astro_deepgalaxy.preprocess.resize import Resize

N, SCALE = 400, 0.2


def sky_wcs(crpix, angle=0.0, scale=SCALE, crval=(150.0, 2.0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = crval, crpix
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale / 3600
    return wcs


def galaxies(wcs, shape, ratio=1.0):
    """The same galaxies of Gaussian shape at whatever pixels: fluxes a pixel."""
    rng = np.random.default_rng(3)
    ra, dec = pixel_to_icrs(sky_wcs((N / 2, N / 2)), *rng.uniform(0, N, (2, 60)))
    x, y = icrs_to_pixel(wcs, ra, dec)
    image = np.zeros(shape)
    v, w = np.mgrid[: shape[0], : shape[1]]
    for a, b, flux in zip(x, y, rng.uniform(1e3, 1e4, 60), strict=True):
        sigma = 4 * SCALE / (np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600)
        near = (abs(w - a) < 6 * sigma) & (abs(v - b) < 6 * sigma)
        r2 = (w[near] - a) ** 2 + (v[near] - b) ** 2
        image[near] += ratio * flux * np.exp(-r2 / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return image.astype(np.float32)


def write(path, wcs, shape=(N, N), image=None, **cards):
    header = wcs.to_header()
    header.update(cards)
    fits.writeto(path, galaxies(wcs, shape) if image is None else image, header)
    return str(path)


@pytest.fixture(scope="module")
def one_tile(tmp_path_factory):
    return write(tmp_path_factory.mktemp("one") / "r.fits", sky_wcs((N / 2, N / 2)))


@settings(deadline=None, max_examples=50)
@given(x=st.floats(0, N - 1), y=st.floats(0, N - 1), side=st.integers(4, 90))
def test_a_cutout_is_that_of_astropy(one_tile, x, y, side):
    with fits.open(one_tile) as hdus:
        data, wcs = hdus[0].data, WCS(hdus[0].header)
    position = wcs.pixel_to_world(x, y)
    cutout = Mosaics({"r": one_tile}, fov=side * SCALE).cutout(position.ra.deg, position.dec.deg)
    x0, y0 = (round(float(c) - (side - 1) / 2) for c in wcs.world_to_pixel(position))
    middle = x0 + (side - 1) / 2, y0 + (side - 1) / 2
    expected = Cutout2D(data, middle, side, wcs=wcs, mode="partial", fill_value=np.nan)
    assert cutout.shape == (1, side, side)
    assert np.array_equal(cutout.data[0], expected.data, equal_nan=True)
    assert bool(cutout.flags & Flag.EDGE) == bool(np.isnan(expected.data).any())
    there = cutout.wcs.pixel_to_world(3, 1)
    assert there.separation(expected.wcs.pixel_to_world(3, 1)) < 1e-6 * u.arcsec
    assert cutout.file == one_tile


@pytest.mark.parametrize("kind", ["fits", "fits.gz", "fits.fz", "scaled.fits", "double.fits"])
def test_files_of_every_kind(tmp_path, one_tile, kind):
    data, header = fits.getdata(one_tile, header=True)
    path = tmp_path / f"tile.{kind}"
    if kind == "fits.fz":
        hdu = fits.CompImageHDU(data, header, compression_type="GZIP_1", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    elif kind == "scaled.fits":
        hdu = fits.PrimaryHDU(np.round(data).astype(np.int16), header)
        hdu.header["BZERO"], data = 100.0, np.round(data) + 100
        hdu.writeto(path)
    elif kind == "double.fits":
        fits.HDUList(
            [fits.PrimaryHDU(), fits.ImageHDU(data.astype(float), header, name="SCI")]
        ).writeto(path)
        path = f"{path}[SCI]"
    else:
        content = Path(one_tile).read_bytes()
        path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    cutout = Mosaics({"r": str(path)}, fov=10).cutout(150.0, 2.0)
    assert np.array_equal(cutout.data[0], data[174:224, 174:224])


def test_tiles_of_one_grid_are_stitched_without_a_seam(tmp_path):
    whole = galaxies(sky_wcs((N / 2, N / 2)), (N, N))
    for i, (y0, x0) in enumerate([(0, 0), (0, 180), (190, 0), (190, 180)]):
        wcs = sky_wcs((N / 2 - x0, N / 2 - y0))
        write(tmp_path / f"r{i}.fits", wcs, image=whole[y0 : y0 + 210, x0 : x0 + 220])
    mosaics = Mosaics({"r": str(tmp_path / "r*.fits")}, fov=20)
    cutout = mosaics.cutout(150.0, 2.0)
    x0, y0 = (
        round(float(c))
        for c in sky_wcs((N / 2, N / 2)).world_to_pixel(cutout.wcs.pixel_to_world(0, 0))
    )
    assert np.allclose(cutout.data[0], whole[y0 : y0 + 100, x0 : x0 + 100], rtol=1e-6)
    assert not cutout.flags
    assert not cutout.mask.any()


def test_overlapping_frames_agree_with_a_coadd(tmp_path):
    # Three dithered and rotated exposures of the same sky, with noise of their own.
    rng = np.random.default_rng(0)
    frames = []
    for i, (angle, at) in enumerate([(0, (200, 200)), (30, (180.3, 225.8)), (-100, (210, 190.5))]):
        wcs = sky_wcs(at, angle)
        image = galaxies(wcs, (N, N)) + rng.normal(0, 0.5, (N, N)).astype(np.float32)
        frames.append((image, wcs))
        write(tmp_path / f"r{i}.fits", wcs, image=image)
    cutout = Mosaics({"r": str(tmp_path / "r*.fits")}, fov=30).cutout(150.0, 2.0)
    coadd, _ = reproject_and_coadd(
        frames,
        cutout.wcs,
        shape_out=cutout.shape[1:],
        reproject_function=reproject_interp,
        combine_function="mean",
    )
    difference = cutout.data[0] - coadd
    assert np.abs(difference).max() < 0.02 * coadd.max()
    assert cutout.data.sum() == pytest.approx(coadd.sum(), rel=1e-3)
    # And the mean is less noisy than any of them.
    truth = galaxies(cutout.wcs, cutout.shape[1:])
    assert np.std(cutout.data[0] - truth) < 0.42


def test_weights_masks_and_psf(tmp_path):
    wcs = sky_wcs((N / 2, N / 2))
    base = galaxies(wcs, (N, N))
    weight = [np.full((N, N), w, np.float32) for w in (1.0, 3.0)]
    weight[0][:, :150] = 0
    mask = np.zeros((N, N), np.uint8)
    mask[200, 210] = 1
    for i, offset in enumerate((0, 40)):
        write(tmp_path / f"r{i}.fits", wcs, image=base + np.float32(offset))
        write(tmp_path / f"r{i}.w.fits", wcs, image=weight[i])
    write(tmp_path / "mask.fits", wcs, image=mask)
    write(tmp_path / "psf.fits", wcs, image=np.ones((5, 5), np.float32))
    table = QTable(
        {
            "band": ["r", "r"],
            "file": ["r0.fits", "r1.fits"],
            "weight": ["r0.w.fits", "r1.w.fits"],
            "mask": ["mask.fits", ""],
            "psf": ["psf.fits", "psf.fits"],
        }
    )
    table.write(tmp_path / "tiles.ecsv")
    cutout = Mosaics(tmp_path / "tiles.ecsv", fov=40).cutout(150.0, 2.0)
    x0, y0 = (round(float(c)) for c in wcs.world_to_pixel(cutout.wcs.pixel_to_world(0, 0)))
    part = base[y0 : y0 + 200, x0 : x0 + 200]
    assert np.allclose(cutout.data[0, :, 60:], part[:, 60:] + 30, atol=11)
    assert cutout.data[0, 50, 100] == pytest.approx(part[50, 100] + 30, rel=1e-5)
    # Only the second has the left part and the masked pixel.
    assert np.allclose(cutout.data[0, :, : 150 - x0], part[:, : 150 - x0] + 40, rtol=1e-5)
    assert cutout.data[0, 200 - y0, 210 - x0] == pytest.approx(
        part[200 - y0, 210 - x0] + 40, rel=1e-5
    )
    assert cutout.variance[0, 50, 100] == pytest.approx(1 / 4)
    assert cutout.variance[0, 50, 10] == pytest.approx(1 / 3)
    assert cutout.meta["psf"][0].sum() == pytest.approx(1)


def test_bands_of_other_pixels_keep_their_flux(tmp_path):
    fine, coarse = sky_wcs((N / 2, N / 2)), sky_wcs((70, 60), angle=20, scale=0.6)
    sums = []
    for unit in ("MJy", "MJy / arcsec2"):
        files = {}
        for band, wcs, n, scale in (("r", fine, N, SCALE), ("i", coarse, 140, 0.6)):
            area = scale**2 if "arcsec2" in unit else 1
            image = galaxies(wcs, (n, n)) / np.float32(area)
            files[band] = write(tmp_path / f"{band}{len(unit)}.fits", wcs, image=image, BUNIT=unit)
        cutout = Mosaics(files, fov=24).cutout(150.0, 2.0)
        assert cutout.bands == ("r", "i")
        r, i = cutout.data
        sums.append(r.sum())
        # The fluxes stay, or the surface brightness.
        assert i.sum() == pytest.approx(r.sum(), rel=0.01)
        assert np.corrcoef(r.ravel(), i.ravel())[0, 1] > 0.99
    assert sums[1] * SCALE**2 == pytest.approx(sums[0], rel=1e-3)


def test_a_position_that_no_tile_covers(one_tile):
    mosaics = Mosaics({"r": one_tile}, fov=5)
    for ra, dec in ((150.1, 2.0), (330.0, -2.0), (np.nan, 2.0), (150.0, 95.0)):
        with pytest.raises(CutoutError) as caught:
            mosaics.cutout(ra, dec, id="far")
        assert caught.value.flag == Flag.NO_DATA
        assert "far" in str(caught.value)


def test_saturation_comes_from_the_header(tmp_path):
    wcs = sky_wcs((N / 2, N / 2))
    path = write(tmp_path / "r.fits", wcs, SATURATE=20.0)
    data = fits.getdata(path)
    y, x = np.unravel_index(data.argmax(), data.shape)
    ra, dec = pixel_to_icrs(wcs, x, y)
    cutout = Mosaics({"r": path}, fov=5).cutout(float(ra), float(dec))
    assert data.max() > 20
    assert cutout.flags & Flag.SATURATED


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: {"r": str(p / "none.fits")}, "no such file"),
        (lambda p: {"r": str(p / "none*.fits")}, "no file matches"),
        (lambda p: {"r": str(p / "flat.fits")}, "no celestial WCS"),
        (lambda p: {"r": str(p / "cube.fits")}, "image of two axes"),
        (lambda p: {}, "no tiles"),
        (lambda p: [], "expected"),
        (lambda p: QTable({"file": ["a"]}), "no column 'band'"),
    ],
)
def test_wrong_tiles_are_an_error(tmp_path, make, message):
    fits.writeto(tmp_path / "flat.fits", np.ones((20, 20)))
    fits.writeto(tmp_path / "cube.fits", np.ones((3, 20, 20)))
    with pytest.raises(ValueError, match=message):
        Mosaics(make(tmp_path), fov=5)


def test_planes_must_fit(tmp_path, one_tile):
    small = write(tmp_path / "w.fits", sky_wcs((5, 5)), image=np.ones((10, 10), np.float32))
    with pytest.raises(ValueError, match=r"shape \(10, 10\)"):
        Mosaics({"r": one_tile}, fov=5, weight={"r": small})
    with pytest.raises(ValueError, match="2 files of mask"):
        Mosaics({"r": one_tile}, fov=5, mask={"r": [small, small]})
    with pytest.raises(ValueError, match="'g', which has no tiles"):
        Mosaics({"r": one_tile}, fov=5, mask={"g": small})
    with pytest.raises(ValueError, match="positive"):
        Mosaics({"r": one_tile}, fov=-1)


def test_the_sky_of_a_mosaic_is_that_of_photutils(tmp_path):
    wcs = sky_wcs((N / 2, N / 2))
    y, x = np.mgrid[:N, :N]
    rng = np.random.default_rng(1)
    image = (rng.normal(100 + 0.05 * x - 0.02 * y, 2) + galaxies(wcs, (N, N))).astype(np.float32)
    # A bright star far away must not keep fainter sources from being masked.
    image += 6e4 * np.exp(-((x - 30) ** 2 + (y - 370) ** 2) / 8).astype(np.float32)
    tile = Tile("r", write(tmp_path / "r.fits", wcs, image=image))
    measure_sky(tile, Background(box_size=50, nsigma=0), tmp_path / "sky.fits")
    expected = Background2D(image, 50, exclude_percentile=75).background_mesh
    assert np.allclose(fits.getdata(tmp_path / "sky.fits"), expected, atol=0.01)
    # With the sources masked it is nearer to the truth, everywhere.
    measure_sky(tile, Background(box_size=50), tmp_path / "00000.fits")
    cutout = Mosaics([tile], fov=30).with_sky(tmp_path).cutout(150.0, 2.0)
    x, y = (round(float(c)) for c in wcs.world_to_pixel(cutout.wcs.pixel_to_world(0, 0)))
    truth = 100 + 0.05 * np.arange(x, x + 150) - 0.02 * np.arange(y, y + 150)[:, np.newaxis]
    assert np.abs(cutout.meta["sky"][0] - truth).max() < 0.8


def catalogue(n=12):
    rng = np.random.default_rng(5)
    sky = sky_wcs((N / 2, N / 2)).pixel_to_world(*rng.uniform(30, N - 30, (2, n)))
    return QTable(
        {"RAJ2000": sky.ra, "DEJ2000": sky.dec, "ObjID": np.arange(n) + 587722981742084144}
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_catalogue_into_a_store(tmp_path, one_tile, processes):
    table = catalogue()
    table["RAJ2000"][3] = 10 * u.deg
    table.write(tmp_path / "catalogue.fits")
    recipe = Recipe([Resize(size=32)])
    store = preprocess_batch(
        tmp_path / "catalogue.fits",
        recipe,
        tmp_path / "s.zarr",
        mosaics=Mosaics({"r": one_tile}, fov=8),
        processes=processes,
        progress=False,
    )
    rows = store.table
    assert rows["id"].tolist() == table["ObjID"].astype(str).tolist()
    failed = (rows["flags"] & int(FAILED)) != 0
    assert np.flatnonzero(failed).tolist() == [3]
    assert "no tile covers" in rows["reason"][3]
    data, wcs = fits.getdata(one_tile), sky_wcs((N / 2, N / 2))
    for i in (0, 7):
        x, y = wcs.world_to_pixel(SkyCoord(table["RAJ2000"][i], table["DEJ2000"][i]))
        # The WCS of the store leads back to the same pixels of the mosaic.
        sky = store.wcs(i).pixel_to_world([0, 31], [0, 31])
        corner = [float(c[0]) for c in wcs.world_to_pixel(sky)]
        assert np.hypot(corner[0] + 19.5 - 0.125 - x, corner[1] + 19.5 - 0.125 - y) < 0.9
        y0, x0 = (round(c - 0.125) for c in (corner[1], corner[0]))
        assert store.images[i].sum() * 40**2 / 32**2 == pytest.approx(
            data[y0 : y0 + 40, x0 : x0 + 40].sum(), rel=1e-3
        )
    assert store.wcs(3) is None


def test_mosaic_scope_measures_once_and_marks_what_has_no_mosaic(tmp_path, one_tile):
    recipe = Recipe([Background(scope="mosaic"), Resize(size=32)])
    store = preprocess_batch(
        catalogue(),
        recipe,
        tmp_path / "s.zarr",
        mosaics=Mosaics({"r": one_tile}, fov=8),
        progress=False,
    )
    assert (store.path / "sky" / "00000.fits").exists()
    assert not (store.table["flags"] & int(Flag.CUTOUT_BACKGROUND)).any()
    alone = preprocess_batch(one_tile, recipe, tmp_path / "alone.zarr", progress=False)
    assert alone.table["flags"][0] & Flag.CUTOUT_BACKGROUND
    with pytest.raises(ValueError, match="must be the first step"):
        Recipe([Resize(size=32), Background(scope="mosaic")])


def test_a_tile_that_vanishes_is_flagged_rows(tmp_path, one_tile):
    for i, x0 in enumerate((0, 200)):
        data = fits.getdata(one_tile)[:, x0 : x0 + 200]
        write(tmp_path / f"r{i}.fits", sky_wcs((N / 2 - x0, N / 2)), image=data)
    mosaics = Mosaics({"r": str(tmp_path / "r*.fits")}, fov=4)
    (tmp_path / "r1.fits").unlink()
    open_plane.forget()
    store = preprocess_batch(
        catalogue(), Recipe([Resize(size=16)]), tmp_path / "s.zarr", mosaics=mosaics, progress=False
    )
    assert len(store) == 12
    failed = (store.table["flags"] & int(FAILED)) != 0
    assert 0 < failed.sum() < 12
    assert all("r1.fits: no such file" in r for r in store.table["reason"][failed])


def test_a_catalogue_without_positions(tmp_path, one_tile):
    mosaics = Mosaics({"r": one_tile}, fov=8)
    for bad, message in (
        (QTable({"id": [1]}), "no positions"),
        (QTable({"ra": ["10:00:00"], "dec": ["1"]}), "'ra'"),
        ("nothing.fits", "no such table"),
        ([one_tile, one_tile], "one catalogue"),
    ):
        with pytest.raises(ValueError, match=message):
            preprocess_batch(bad, Recipe(()), tmp_path / "s.zarr", mosaics=mosaics)
    with pytest.raises(ValueError, match="needs mosaics"):
        preprocess_batch(catalogue(), Recipe(()), tmp_path / "s.zarr")


def test_the_field_of_a_row_and_duplicate_names(tmp_path, one_tile):
    table = catalogue(4)
    table["ObjID"] = ["a", "b", "a", "c"]
    table["fov"] = [4, 8, 16, 8] * u.arcsec
    store = preprocess_batch(
        table,
        Recipe([Resize(size=20)]),
        tmp_path / "s.zarr",
        mosaics=Mosaics({"r": one_tile}),
        progress=False,
    )
    assert store.table["id"].tolist() == ["a", "b", "a-2", "c"]
    scale = [np.sqrt(abs(np.linalg.det(cd.reshape(2, 2)))) * 3600 for cd in store.table["cd"].value]
    assert np.allclose(scale, [0.2, 0.4, 0.8, 0.4], rtol=1e-3)
    assert isinstance(CutoutStore.open(store.path).wcs(0), WCS)


def test_a_band_without_tiles_there_is_masked(tmp_path, one_tile):
    far = write(tmp_path / "g.fits", sky_wcs((N / 2, N / 2), crval=(151.0, 2.0)))
    cutout = Mosaics({"g": far, "r": one_tile}, fov=5).cutout(150.0, 2.0)
    assert cutout.mask.mean(axis=(1, 2)).tolist() == [1, 0]
    assert cutout.flags & Flag.EDGE


def test_weights_do_not_favour_what_is_blurred(tmp_path):
    for i, shift in enumerate((0.0, 0.5)):
        wcs = sky_wcs((N / 2 + shift, N / 2))
        write(tmp_path / f"r{i}.fits", wcs, image=np.full((N, N), i, np.float32))
        write(tmp_path / f"w{i}.fits", wcs, image=np.ones((N, N), np.float32))
    mosaics = Mosaics(
        {"r": str(tmp_path / "r?.fits")}, fov=8, weight={"r": str(tmp_path / "w?.fits")}
    )
    cutout = mosaics.cutout(150.0, 2.0)
    assert np.allclose(cutout.data, 0.5, atol=1e-3)
    assert (cutout.variance <= 0.5).all()
    assert (cutout.variance > 0.25).all()


def test_weights_that_are_no_weights(tmp_path, one_tile):
    weight = np.ones((N, N), np.float32)
    weight[200, 190:210] = [np.nan, -1, 0, np.inf, 1e-42] * 4
    write(tmp_path / "w.fits", sky_wcs((N / 2, N / 2)), image=weight)
    cutout = Mosaics({"r": one_tile}, fov=8, weight={"r": str(tmp_path / "w.fits")}).cutout(
        150.0, 2.0
    )
    assert cutout.mask.sum() == 20
    assert np.isfinite(cutout.variance[~cutout.mask]).all()


def test_units_are_made_the_same_or_refused(tmp_path):
    wcs = sky_wcs((N / 2, N / 2))
    flat = np.full((N, N), 2.0, np.float32)
    files = {
        name: write(tmp_path / f"{name}.fits", wcs, image=flat, BUNIT=unit, SATURATE=1500.0)
        for name, unit in (("a", "nJy"), ("b", "uJy"), ("c", "MJy / sr"))
    }
    cutout = Mosaics({"a": files["a"], "b": files["b"]}, fov=5).cutout(150.0, 2.0)
    assert cutout.unit == u.nJy
    assert np.allclose(cutout.data[0], 2)
    assert np.allclose(cutout.data[1], 2000)
    assert not cutout.flags & Flag.SATURATED
    # The grid may be that of a tile in another unit.
    write(tmp_path / "d.fits", sky_wcs((5, 5)), (10, 10), image=flat[:10, :10], BUNIT="nJy")
    mixed = Mosaics({"a": [str(tmp_path / "d.fits"), files["b"]]}, fov=5)
    x, y = (float(c) for c in pixel_to_icrs(wcs, 100, 100))
    cutout = mixed.cutout(x, y)
    assert cutout.unit == u.nJy
    assert np.allclose(cutout.data, 2000)
    with pytest.raises(ValueError, match=r"c\.fits is in MJy / sr"):
        Mosaics({"a": files["a"], "c": files["c"]}, fov=5)


def test_a_psf_is_turned_and_scaled_with_its_tile(tmp_path, one_tile):
    y, x = np.mgrid[-15:16, -15:16]
    psf = np.exp(-(x**2) / (2 * 4.0**2) - y**2 / (2 * 2.0**2))
    coarse = sky_wcs((70, 60), angle=90, scale=0.4)
    write(tmp_path / "p.fits", coarse, image=psf.astype(np.float32))
    i = write(tmp_path / "i.fits", coarse, (140, 140))
    mosaics = Mosaics({"r": one_tile, "i": i}, fov=8, psf={"i": str(tmp_path / "p.fits")})
    none, new = mosaics.cutout(150.0, 2.0).meta["psf"]
    assert none is None
    assert new.sum() == pytest.approx(1)
    y, x = np.indices(new.shape) - (np.array(new.shape) - 1).reshape(2, 1, 1) / 2
    # Pixels half as large, and the long axis along y.
    assert np.sqrt((new * y**2).sum()) == pytest.approx(8, rel=0.02)
    assert np.sqrt((new * x**2).sum()) == pytest.approx(4, rel=0.02)
    assert abs((new * x).sum()) < 0.05
    assert abs((new * y).sum()) < 0.05


def test_saturation_goes_with_the_flux_of_a_pixel(tmp_path, one_tile):
    coarse = sky_wcs((70, 60), scale=0.6)
    full = np.full((140, 140), 110.0, np.float32)
    i = write(tmp_path / "i.fits", coarse, image=full, SATURATE=100.0)
    assert Mosaics({"r": one_tile, "i": i}, fov=5).cutout(150.0, 2.0).flags & Flag.SATURATED


def test_another_file_of_the_same_name_is_read_anew(tmp_path, monkeypatch):
    wcs = sky_wcs((N / 2, N / 2))
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "r.fits", wcs, image=np.full((N, N), value, np.float32))
    found = []
    for name in "ab":
        monkeypatch.chdir(tmp_path / name)
        found.append(Mosaics({"r": "r.fits"}, fov=5))
        assert found[-1].cutout(150.0, 2.0).data.max() == "ab".index(name) + 1
    # Wherever the work is done later.
    assert found[0].cutout(150.0, 2.0).data.max() == 1
    (tmp_path / "a" / "r.fits").unlink()
    write(tmp_path / "a" / "r.fits", wcs, image=np.full((N, N), 7, np.float32))
    assert found[0].cutout(150.0, 2.0).data.max() == 7


def test_threads_do_not_mix_tiles_up(tmp_path):
    wcs = sky_wcs((20, 20))
    files = [
        write(tmp_path / f"{i:03d}.fits", wcs, image=np.full((40, 40), i, np.float32))
        for i in range(90)
    ]
    mosaics = [Mosaics({"r": file}, fov=2) for file in files]
    rng = np.random.default_rng(0)

    def cut(i):
        return set(np.unique(mosaics[i].cutout(150.0, 2.0).data)) == {i}

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(cut, rng.integers(0, 90, 2000)))


def test_a_tile_without_sky_makes_do(tmp_path, one_tile):
    write(tmp_path / "r0.fits", sky_wcs((N / 2, N / 2)))
    write(tmp_path / "r1.fits", sky_wcs((-500, -500)), image=np.full((N, N), np.nan, np.float32))
    store = preprocess_batch(
        catalogue(),
        Recipe([Background(scope="mosaic"), Resize(size=32)]),
        tmp_path / "s.zarr",
        mosaics=Mosaics({"r": str(tmp_path / "r?.fits")}, fov=8),
        progress=False,
    )
    assert not (store.table["flags"] & int(FAILED)).any()
    assert not (store.table["flags"] & int(Flag.CUTOUT_BACKGROUND)).any()


def test_many_positions_outside_are_found_out_quickly(tmp_path, one_tile):
    table = QTable({"ra": np.full(3000, 10.0), "dec": np.zeros(3000)})
    table["ra"][-1], table["dec"][-1] = 150.0, 2.0
    store = preprocess_batch(
        table,
        Recipe([Resize(size=8)]),
        tmp_path / "s.zarr",
        mosaics=Mosaics({"r": one_tile}, fov=8),
        processes=2,
        progress=False,
    )
    assert ((store.table["flags"] & int(FAILED)) != 0).sum() == 2999
    with pytest.raises(ValueError, match="side of the cutouts is not known"):
        preprocess_batch(table, Recipe(()), tmp_path / "t.zarr", mosaics=Mosaics({"r": one_tile}))


def test_a_real_field(real_images, tmp_path):
    files = {b: str(real_images / "ngc6976_sdss" / f"reprojected_sdss_{b}.fits.bz2") for b in "gri"}
    mosaics = Mosaics(files, fov=120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.getheader(files["g"]))
    ny, nx = fits.getdata(files["g"]).shape
    middle = wcs.pixel_to_world(nx / 2, ny / 2)
    cutout = mosaics.cutout(middle.ra.deg, middle.dec.deg)
    assert cutout.bands == ("g", "r", "i")
    whole = Cutout2D(fits.getdata(files["r"]), middle, cutout.shape[1], wcs=wcs, mode="partial")
    assert np.corrcoef(cutout.data[1].ravel(), whole.data.ravel())[0, 1] > 0.9
