import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout
from astro_deepgalaxy.io import read_table, resolve_inputs, write_table
from astro_deepgalaxy.io.catalog import Source, _unique_ids


@pytest.fixture
def folder(tmp_path):
    for name in ("b.fits", "a.fits.gz", "c.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"not opened")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.fits").write_bytes(b"")
    return tmp_path


def ids(inputs):
    return [source.id for source in resolve_inputs(inputs)[0]]


def test_folders_globs_and_paths(folder):
    assert ids(folder) == ["a", "b", "c"]
    assert ids(str(folder / "*.fits*")) == ["a", "b"]
    assert ids(str(folder / "**" / "*.fits")) == ["b", "d"]
    assert ids([folder / "c.JPG", str(folder / "*.fits")]) == ["c", "b"]
    assert ids(folder / "missing.fits") == ["missing"]


def test_extensions_are_not_globs(folder):
    (source,), _ = resolve_inputs(f"{folder}/b.fits[SCI]")
    assert source.file == f"{folder}/b.fits[SCI]"
    assert source.id == "b"


@pytest.mark.parametrize("inputs", ["*.nothing", "deeper/empty", []])
def test_nothing_is_an_error(folder, inputs):
    (folder / "deeper" / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image|no file|empty"):
        resolve_inputs(str(folder / inputs) if inputs else inputs)


def test_what_is_no_input_is_refused():
    with pytest.raises(TypeError, match="int"):
        resolve_inputs([3])


def test_pixels_in_memory():
    image = np.ones((8, 9))
    ccd = CCDData(2 * image, unit="adu", uncertainty=StdDevUncertainty(3 * image))
    cutout = Cutout(image, id="m51")
    sources, table = resolve_inputs([image, ccd, cutout, image])
    assert table is None
    assert [source.id for source in sources] == ["image", "image-2", "m51", "image-3"]
    read = sources[1].read()
    assert read.unit == u.adu
    assert np.allclose(read.variance, 9)
    assert read.id == "image-2"
    assert resolve_inputs(np.ones((3, 8, 9)))[0][0].read().shape == (3, 8, 9)


@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "b", ""]), min_size=1))
def test_ids_become_unique_and_stay_so(names):
    made = [source.id for source in _unique_ids([Source(name) for name in names])]
    assert len(set(made)) == len(names)
    assert [s.id for s in _unique_ids([Source(name) for name in made])] == made
    for name in set(names):
        assert made[names.index(name)] == name


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "fits", "vot", "parquet"])
def test_tables_of_files(folder, suffix):
    table = QTable(
        {
            "file": ["b.fits", "deeper/d.fits"],
            "id": ["é", "two"],
            "ra": [10.5, 200.0],
            "dec": [-3.0, 4.0],
            "redshift": [0.02, np.nan],
        }
    )
    write_table(table, folder / f"list.{suffix}")
    sources, read = resolve_inputs(folder / f"list.{suffix}")
    assert [source.id for source in sources] == ["é", "two"]
    assert [source.file for source in sources] == [
        str(folder / "b.fits"),
        str(folder / "deeper" / "d.fits"),
    ]
    assert (sources[0].ra, sources[0].dec, sources[0].redshift) == (10.5, -3.0, 0.02)
    assert np.isnan(sources[1].redshift)
    assert len(read) == 2


def test_units_and_sky_positions():
    table = QTable({"file": ["a.fits"], "ra": [1.0] * u.hourangle, "dec": [60.0] * u.arcmin})
    (source,), _ = resolve_inputs(table)
    assert (source.ra, source.dec) == pytest.approx((15, 1))
    sky = SkyCoord([0.0], [90.0], unit="deg", frame="galactic")
    (source,), _ = resolve_inputs(QTable({"file": ["a.fits"], "position": sky}))
    assert source.dec == pytest.approx(27.13, abs=0.01)


def test_gaps_in_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("file,ra,dec\na.fits,,\nb.fits,3,4\n")
    sources, _ = resolve_inputs(tmp_path / "t.csv")
    assert np.isnan(sources[0].ra)
    assert sources[1].ra == 3


def test_bad_tables(tmp_path):
    (tmp_path / "t.csv").write_text("name\na\n")
    with pytest.raises(ValueError, match=r"no column 'file'.*name"):
        resolve_inputs(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="no such table"):
        resolve_inputs(tmp_path / "missing.csv")
    (tmp_path / "t.fits").write_bytes(b"SIMPLE  =" * 9)
    with pytest.raises(ValueError, match=r"t\.fits: cannot be read"):
        read_table(tmp_path / "t.fits")
    with pytest.raises(ValueError, match="known endings"):
        read_table(tmp_path / "t.xlsx")


def test_a_fits_image_is_not_a_table(tmp_path):
    other = Table({"x": [1.0]})
    hdus = fits.HDUList(
        [fits.PrimaryHDU(), fits.table_to_hdu(other), fits.ImageHDU(np.ones((5, 6)))]
    )
    hdus.writeto(tmp_path / "mixed.fits")
    (source,), table = resolve_inputs(tmp_path / "mixed.fits")
    assert table is None
    assert source.read().shape == (1, 5, 6)


def test_several_tables(folder):
    for name in ("one", "two"):
        write_table(QTable({"file": ["b.fits"], "group": [name]}), folder / f"{name}.ecsv")
    sources, table = resolve_inputs([folder / "one.ecsv", folder / "two.ecsv"])
    assert [source.id for source in sources] == ["b", "b-2"]
    assert table["group"].tolist() == ["one", "two"]
    assert resolve_inputs([folder / "one.ecsv", folder / "b.fits"])[1] is None


@pytest.mark.parametrize("suffix", [".fits", ".csv", ".parquet", ".ecsv"])
def test_gaps_between_true_and_false_are_not_lost(tmp_path, suffix):
    gaps = MaskedColumn([True, False, True], mask=[False, True, False])
    table = QTable({"id": ["a", "b", "c"], "is_merger": gaps})
    path = tmp_path / f"t{suffix}"
    if suffix == ".ecsv":
        write_table(table, path)
        assert read_table(path)["is_merger"].mask.tolist() == [False, True, False]
        return
    with pytest.raises(ValueError, match="'is_merger' of true and false has gaps"):
        write_table(table, path)
    assert not path.exists()
