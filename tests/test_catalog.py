import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

from astro_deepgalaxy import Cutout
from astro_deepgalaxy.io import read_table, resolve_inputs, write_table
from astro_deepgalaxy.io.catalog import Source, _unique_ids, match_files
from astro_deepgalaxy.io.columns import unique_names


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


def catalogue(**columns):
    """What `resolve_inputs` makes of a catalogue; the mosaics are not looked at."""
    n = len(next(iter(columns.values())))
    columns = {"ra": np.arange(float(n)), "dec": np.zeros(n), **columns}
    return resolve_inputs(QTable(columns), mosaics=object())


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "csv", "parquet"])
def test_gaps_in_quantities_are_gaps(tmp_path, suffix):
    table = QTable(
        {
            "file": ["a.fits", "b.fits"],
            "ra": Masked([10.0, 20.0], mask=[False, True]) * u.deg,
            "dec": Masked([30.0, 40.0], mask=[False, True]) * u.deg,
            "fov": Masked([0.5, 2.0], mask=[True, False]) * u.arcmin,
        }
    )
    write_table(table, tmp_path / f"t.{suffix}")
    for read in (table, read_table(tmp_path / f"t.{suffix}")):
        if suffix == "csv" and read is not table:
            read["fov"].unit = u.arcmin  # this format has no units
        for sources in (resolve_inputs(read)[0], resolve_inputs(read, mosaics=object())[0]):
            assert (sources[0].ra, sources[0].dec) == (10, 30)
            assert np.isnan([sources[0].fov, sources[1].ra, sources[1].dec]).all()
            assert sources[1].fov == 120


def test_gaps_in_positions_and_whole_numbers():
    sky = SkyCoord(Masked([10.0, 20.0], mask=[False, True]) * u.deg, [1, 2] * u.deg)
    sources, _ = resolve_inputs(QTable({"file": ["a", "b"], "position": sky}))
    assert sources[0].ra == pytest.approx(10)
    assert np.isnan(sources[1].ra)
    sources, _ = catalogue(fov=Masked([3, 4], mask=[True, False]))
    assert np.isnan(sources[0].fov)
    assert sources[1].fov == 4


def test_a_magnitude_is_no_redshift():
    sources, table = catalogue(z=[17.2, 18.1])
    assert np.isnan([source.redshift for source in sources]).all()
    assert table["z"].tolist() == [17.2, 18.1]
    sources, _ = catalogue(z=[17.2, 18.1], Redshift=[0.1, 0.2])
    assert [source.redshift for source in sources] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["M 51", "M 82"], ["M 51", "M 82"]),
        (["spiral", "spiral"], ["1", "2"]),
        (["M 51", " "], ["1", "2"]),
        (MaskedColumn(["M 51", "M 82"], mask=[True, False]), ["1", "2"]),
    ],
)
@pytest.mark.parametrize("called", ["name", "NAME"])
def test_names_are_ids_where_they_can_be(called, names, ids):
    sources, table = catalogue(**{called: names})
    assert [source.id for source in sources] == ids
    assert (called in table.colnames) == (ids == ["1", "2"])
    assert table["id"].tolist() == ids


@pytest.mark.parametrize(
    "ids",
    [
        ["a", "", "  ", "b"],
        MaskedColumn(["a", "x", "x", "b"], mask=[0, 1, 1, 0]),
        MaskedColumn([b"a", b"", b"x", b"b"], mask=[0, 0, 1, 0]),
    ],
)
def test_rows_without_an_id(ids):
    sources, table = catalogue(objid=ids)
    assert [source.id for source in sources] == ["a", "2", "3", "b"]
    assert table["id"].tolist() == ["a", "2", "3", "b"]
    files = ["m51.fits", "m81.fits.gz", "m82.fits", "m83.fits"]
    sources, _ = resolve_inputs(QTable({"file": files, "id": ids}))
    assert [source.id for source in sources] == ["a", "m81", "m82", "b"]


def test_numbers_without_a_value_are_no_ids():
    assert [s.id for s in catalogue(id=[7.0, np.nan])[0]] == ["7.0", "2"]
    masked = MaskedColumn([7, 8], mask=[True, False])
    assert [s.id for s in catalogue(id=masked)[0]] == ["1", "8"]


def test_many_names_that_are_the_same():
    n = 200_000  # by trying every number it would take hours
    made = unique_names(["", "-3", *[""] * n])
    assert made[:5] == ["", "-3", "-2", "-4", "-5"]
    assert made[-1] == f"-{n + 2}"
    assert len(set(made)) == n + 2


def test_columns_that_the_store_writes_are_kept():
    given = {
        "file": ["x", "y"],
        "FLAGS": [1, 2],
        "reason": ["p", "q"],
        "cd": [3.0, 4.0],
        "missing_fraction": [5.0, 6.0],
        "catalogue_cd": [7.0, 8.0],
    }
    sources, table = catalogue(**given)
    assert [source.file for source in sources] == ["", ""]
    kept = {name: f"catalogue_{name}" for name in given}
    kept.update(cd="catalogue_catalogue_cd", catalogue_cd="catalogue_cd")
    for name, new in kept.items():
        assert table[new].tolist() == given[name]
    assert set(table.colnames) == {"id", "ra", "dec", *kept.values()}


def test_folders_with_brackets(tmp_path):
    for name in ("d[1]", "d1", "d2"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / f"in {name}.fits").touch()
    assert ids(f"{tmp_path}/d[1]/**/*.fits") == ["in d[1]"]
    assert ids(f"{tmp_path}/d[12]/*/*.fits") == ["in d1", "in d2"]
    assert match_files(f"{tmp_path}/d[3]/*.fits") == []


def test_globs_are_relative_to_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.fits", "a.fits"):
        (tmp_path / name).touch()
    assert match_files("*.fits") == ["a.fits", "b.fits"]
