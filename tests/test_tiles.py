import pytest
from astropy.table import MaskedColumn, Table

from astro_deepgalaxy.preprocess.tiles import Tile, list_tiles


@pytest.fixture
def folder(tmp_path):
    for name in ("d[1]", "d1"):
        (tmp_path / name).mkdir()
        for tile in ("b.fits", "a.fits", "c[2].fits"):
            (tmp_path / name / tile).touch()
    return tmp_path


def files(folder, names):
    return [tile.file.removeprefix(f"{folder}/") for tile in list_tiles({"r": names}, {})]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d[1]/?.fits", ["d[1]/a.fits", "d[1]/b.fits"]),
        ("d[1]/?.fits[SCI]", ["d[1]/a.fits[SCI]", "d[1]/b.fits[SCI]"]),
        ("d[1]/?.fits[1]", ["d[1]/a.fits[1]", "d[1]/b.fits[1]"]),
        ("d[1-3]/a*", ["d1/a.fits"]),
        ("*/a.fits", ["d1/a.fits", "d[1]/a.fits"]),
        ("d1/c[2].fits", ["d1/c[2].fits"]),
        ("d1/c[2].fits[SCI]", ["d1/c[2].fits[SCI]"]),
        ("d1/none.fits", ["d1/none.fits"]),
    ],
)
def test_globs_and_brackets(folder, pattern, found):
    assert files(folder, f"{folder}/{pattern}") == found


def test_globs_that_match_nothing(folder):
    with pytest.raises(ValueError, match=r"no file matches .*d\[1\]/x\*\.fits"):
        files(folder, f"{folder}/d[1]/x*.fits")


@pytest.mark.parametrize("column", ["band", "file"])
@pytest.mark.parametrize("empty", ["", "  ", None])
def test_a_row_without_a_file_or_band_is_named(column, empty):
    columns = {"band": ["g", "r", "i"], "file": ["g.fits", "r.fits", "i.fits"]}
    values = columns[column]
    mask = [False, empty is None, False]
    columns[column] = MaskedColumn([values[0], empty or "", values[2]], mask=mask)
    with pytest.raises(ValueError, match=f"row 2 of the table of tiles has no {column}$"):
        list_tiles(Table(columns), {})


def test_a_table_of_tiles(tmp_path):
    (tmp_path / "tiles.csv").write_text("band,file,weight,psf\ng,a.fits[1],w.fits,\nr,b.fits,,\n")
    tiles = list_tiles(tmp_path / "tiles.csv", {})
    assert tiles == (
        Tile("g", f"{tmp_path}/a.fits[1]", f"{tmp_path}/w.fits"),
        Tile("r", f"{tmp_path}/b.fits"),
    )
