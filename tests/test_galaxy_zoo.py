import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.utils.exceptions import AstropyUserWarning
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

from astro_deepgalaxy.cli import main
from astro_deepgalaxy.io import read_table, resolve_inputs, write_table
from astro_deepgalaxy.io.galaxy_zoo import (
    certain_mergers,
    galaxy_zoo_kinds,
    read_galaxy_zoo,
)
from astro_deepgalaxy.io.image_match import match_images
from astro_deepgalaxy.io.tables import exact_ids

GZ1 = (
    "OBJID,RA,DEC,NVOTE,P_EL,P_CW,P_ACW,P_EDGE,P_DK,P_MG,P_CS,P_EL_DEBIASED,P_CS_DEBIASED,SPIRAL,"
    "ELLIPTICAL,UNCERTAIN"
)
# The first row of the published table.
FIRST = "587727178986356823,00:00:00.41,-10:22:25.7,59,0.61,0.034,0.0,0.153,0.153,{},0.186,0.9,0.1"
ANSWERS = (3, 2, 2, 2, 4, 2, 3, 7, 3, 3, 6)
KAGGLE = [f"Class{q}.{a + 1}" for q, n in enumerate(ANSWERS, 1) for a in range(n)]
# Two rows of the challenge's solutions.
SOLUTIONS = {
    100008: "0.383147 0.616853 0 0 0.616853 0.038452149 0.578400851 0.418397819 0.198455181 0 "
    "0.104752126 0.512100874 0 0.054453 0.945547 0.201462524 0.181684476 0 0 0.0272265 0 0.0272265 "
    "0 0 0 0 0 0 0.279952491 0.138445328 0 0 0.092885571 0 0 0 0.325512248",
    100143: "0.269843 0.730157 0 0.730157 0 0 0 0 0 0 0 0 0 0.410635 0.589365 0 0 0.269843 0 0 "
    "0.034116788 0 0.136878196 0.239640016 0 0.56142867 0 0.16872833 0 0 0 0 0 0 0 0 0",
}
DECALS = {
    "ra": 172.5,
    "dec": -0.07,
    "redshift": 0.07,
    "smooth-or-featured_total-votes": 40,
    "smooth-or-featured_smooth_fraction": 0.75,
    "smooth-or-featured_featured-or-disk_fraction": 0.2,
    "smooth-or-featured_artifact_fraction": 0.05,
    "merging_total-votes": 38,
    "merging_merger_fraction": 0.0,
    "merging_major-disturbance_fraction": 0.0,
    "wrong_size_warning": False,
}
T01 = "t01_smooth_or_features_"
GZ2 = {
    f"{T01}a01_smooth": 0.3,
    f"{T01}a02_features_or_disk": 0.7,
    f"{T01}a03_star_or_artifact": 0.0,
    "t06_odd_a14_yes": 0.5,
    "t08_odd_feature_a21_disturbed": 0.0,
    "t08_odd_feature_a24_merger": 0.0,
}


def gz1(path, votes, ids=None):
    """A table like the published one, with these merger votes."""
    rows = [FIRST.format(vote) + ",0,0,1" for vote in votes]
    if ids is not None:
        rows = [
            row.replace("587727178986356823", str(id_)) for row, id_ in zip(rows, ids, strict=True)
        ]
    path.write_text("\n".join([GZ1, *rows]) + "\n")
    return path


def kaggle(path, rows):
    """A table like the solutions; rows without values are those of galaxy 100008."""
    lines = [",".join(["GalaxyID", *KAGGLE])]
    for id_, values in rows.items():
        lines.append(",".join([str(id_), *(values or SOLUTIONS[100008]).split()]))
    path.write_text("\n".join(lines) + "\n")
    return path


def decals(path, **changes):
    columns = {"iauname": ["J112953.88-000427.4"]} | {k: [v] for k, v in DECALS.items()}
    columns |= {key.replace("__", "-"): [value] for key, value in changes.items()}
    Table({key: value for key, value in columns.items() if value != [None]}).write(path)
    return path


def gz2(path, ending="_weighted_fraction", **changes):
    columns = {"dr7objid": [587732591714893851], "ra": [179.0], "dec": [60.0]}
    columns |= {"gz2_class": ["Sc+t"], "total_classifications": [45]}
    columns |= {key + ending: [value] for key, value in (GZ2 | changes).items()}
    Table(columns).write(path)
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not opened")
    return folder


def labels_of(table):
    return [None if value is np.ma.masked else bool(value) for value in table["is_merger"]]


def test_galaxy_zoo_1(tmp_path):
    table = read_galaxy_zoo(gz1(tmp_path / "t.csv", [0.051]))
    assert table["id"].tolist() == table["group"].tolist() == ["587727178986356823"]
    sky = SkyCoord("00:00:00.41", "-10:22:25.7", unit=("hourangle", "deg"))
    assert table["ra"].to_value("deg") == pytest.approx(sky.ra.deg)
    assert table["dec"].to_value("deg") == pytest.approx(sky.dec.deg)
    assert (table["n_votes"][0], table["smooth_fraction"][0]) == (59, 0.61)
    assert (labels_of(table), table["morphology"].tolist()) == ([False], [""])
    table = read_galaxy_zoo(tmp_path / "t.csv", debiased=True)
    assert table["smooth_fraction"][0] == 0.9
    assert table["merger_fraction"][0] == 0.051
    assert table["morphology"].tolist() == ["smooth"]
    assert table.meta["fractions"]["smooth"] == "P_EL_DEBIASED"


def test_south_of_the_equator_by_less_than_a_degree(tmp_path):
    text = gz1(tmp_path / "t.csv", [0]).read_text().replace("-10:22:25.7", "-00:30:00")
    (tmp_path / "t.csv").write_text(text)
    assert read_galaxy_zoo(tmp_path / "t.csv")["dec"][0].to_value("deg") == -0.5


def test_times_of_day_are_right_ascensions(tmp_path):
    # Without fractions of a second, a reader of CSV may take them for times.
    text = gz1(tmp_path / "t.csv", [0]).read_text().replace("00:00:00.41", "12:30:00")
    (tmp_path / "t.csv").write_text(text)
    assert read_galaxy_zoo(tmp_path / "t.csv")["ra"][0].to_value("deg") == pytest.approx(187.5)


def test_the_table_without_spectra_and_lower_case_names(tmp_path):
    (tmp_path / "t.csv").write_text(
        "objid,ra,dec,nvote,p_el,p_cw,p_acw,p_edge,p_dk,p_mg,p_cs\n"
        "587727178986356823,10.5,-3.25,40,0.1,0,0,0,0,0.05,0.85\n"
    )
    table = read_galaxy_zoo(tmp_path / "t.csv")
    assert (table["ra"][0].value, table["dec"][0].value) == (10.5, -3.25)
    assert table["morphology"].tolist() == ["featured"]


def test_votes_between_the_cuts_are_no_label(tmp_path):
    votes = [0.0, 0.19, 0.2, 0.3, 0.4, 0.41, 1.0, "", "nan"]
    table = read_galaxy_zoo(gz1(tmp_path / "t.csv", votes, range(100000, 100009)))
    expected = [False, False, None, None, None, True, True, None, None]
    assert labels_of(table) == expected
    known = certain_mergers(table)
    assert known["is_merger"].dtype == bool
    assert not isinstance(known["is_merger"], np.ma.MaskedArray)
    assert known["is_merger"].tolist() == [label for label in expected if label is not None]


def test_kaggle_solutions_are_shares_of_all_volunteers(tmp_path):
    table = read_galaxy_zoo(kaggle(tmp_path / "t.csv", SOLUTIONS))
    solutions = Table.read(tmp_path / "t.csv")
    answers = [solutions[name] for name in KAGGLE if name.startswith("Class8.")]
    assert np.allclose(np.sum(answers, axis=0), solutions["Class6.1"])
    assert table["merger_fraction"].tolist() == [0.0, 0.239640016]
    assert table["disturbed_fraction"].tolist() == [0.0, 0.034116788]
    assert labels_of(table) == [False, None]
    assert "ra" not in table.colnames


def test_galaxy_zoo_2_is_multiplied_down_the_tree(tmp_path):
    odd, merger = 0.410635, 0.239640016
    path = gz2(
        tmp_path / "t.csv",
        t06_odd_a14_yes=odd,
        t08_odd_feature_a24_merger=merger / odd,
        t08_odd_feature_a21_disturbed=0.034116788 / odd,
    )
    table = read_galaxy_zoo(path)
    assert table["id"].tolist() == ["587732591714893851"]
    assert table["merger_fraction"][0] == pytest.approx(merger)
    assert table["disturbed_fraction"][0] == pytest.approx(0.034116788)
    assert labels_of(table) == [None]
    assert table["n_votes"].tolist() == [45]


@pytest.mark.parametrize(
    ("odd", "merger", "disturbed", "label"),
    [
        (0.9, 0.5, 0.0, True),
        (0.5, 0.9, 0.0, True),
        (0.3, 1.0, 0.0, None),
        (0.3, 0.5, 0.0, False),
        (0.6, 0.1, 0.6, None),
        (0.0, np.nan, np.nan, False),
        (np.nan, 0.9, 0.0, None),
    ],
)
def test_galaxy_zoo_2_labels(tmp_path, odd, merger, disturbed, label):
    names = ("t06_odd_a14_yes", "t08_odd_feature_a24_merger", "t08_odd_feature_a21_disturbed")
    changes = dict(zip(names, (odd, merger, disturbed), strict=True))
    assert labels_of(read_galaxy_zoo(gz2(tmp_path / "t.csv", **changes))) == [label]


def test_what_was_seen_comes_before_what_was_debiased(tmp_path):
    path = gz2(tmp_path / "t.fits", "_debiased")
    assert read_galaxy_zoo(path)["featured_fraction"].tolist() == [0.7]
    table = Table.read(path)
    table[f"{T01}a02_features_or_disk_weighted_fraction"] = [0.85]
    table.write(path, overwrite=True)
    assert read_galaxy_zoo(path)["morphology"].tolist() == ["featured"]
    assert read_galaxy_zoo(path, debiased=True)["morphology"].tolist() == [""]


@pytest.mark.parametrize(
    ("changes", "label", "morphology"),
    [
        ({}, False, "smooth"),
        ({"merging_merger_fraction": 0.71}, True, "smooth"),
        ({"merging_merger_fraction": 0.7}, None, "smooth"),
        ({"merging_merger_fraction": 0.3}, None, "smooth"),
        ({"merging_major__disturbance_fraction": 0.61}, True, "smooth"),
        (
            {"merging_merger_fraction": 0.2, "merging_major__disturbance_fraction": 0.2},
            None,
            "smooth",
        ),
        ({"merging_total__votes": 9, "merging_merger_fraction": 0.9}, None, "smooth"),
        ({"merging_total__votes": 9}, None, "smooth"),
        (
            {"merging_total__votes": None, "smooth__or__featured_total__votes": None},
            False,
            "smooth",
        ),
        ({"smooth__or__featured_total__votes": 4}, False, ""),
        ({"wrong_size_warning": True}, None, ""),
        ({"merging_merger_fraction": np.nan, "merging_total__votes": 0}, None, "smooth"),
        ({"smooth__or__featured_smooth_fraction": 0.7}, False, ""),
        (
            {
                "smooth__or__featured_smooth_fraction": 0.1,
                "smooth__or__featured_artifact_fraction": 0.8,
            },
            False,
            "artifact",
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "fits"])
def test_decals(tmp_path, suffix, changes, label, morphology):
    table = read_galaxy_zoo(decals(tmp_path / f"t.{suffix}", **changes))
    assert (labels_of(table), table["morphology"].tolist()) == ([label], [morphology])
    assert table["id"].tolist() == ["J112953.88-000427.4"]
    assert table["redshift"].tolist() == [0.07]
    assert table["ra"][0].to_value("deg") == 172.5


def test_the_earlier_decals_campaigns_asked_something_else(tmp_path):
    path = decals(tmp_path / "t.csv", merging_major__disturbance_fraction=None)
    with pytest.raises(ValueError, match=r"decals lacks merging_major-disturbance_fraction"):
        read_galaxy_zoo(path)


def test_merging_pairs_are_all_mergers(tmp_path):
    (tmp_path / "t.csv").write_text(
        "object1,object2,ra1,dec1,ra2,dec2,specz1\n"
        "587736523764334706,587736523764334707,218.8,5.36,218.79,5.35,0.0289\n"
    )
    table = read_galaxy_zoo(tmp_path / "t.csv")
    assert labels_of(table) == [True]
    assert (table["redshift"][0], table["dec"][0].value) == (0.0289, 5.36)


def test_a_table_of_no_known_kind(tmp_path):
    (tmp_path / "t.csv").write_text("objid,sample,asset_id\n1,original,2\n")
    with pytest.raises(ValueError, match=r"t\.csv: is not a known Galaxy Zoo") as error:
        read_galaxy_zoo(tmp_path / "t.csv")
    for kind in galaxy_zoo_kinds():
        assert f"{kind} lacks " in str(error.value)
    assert "gz1 lacks P_MG, P_EL, P_CS;" in str(error.value)
    with pytest.raises(ValueError, match=r"gz2 lacks dr7objid, t06_odd_a14_yes") as error:
        read_galaxy_zoo(tmp_path / "t.csv", kind="gz2")
    assert "gz1" not in str(error.value)
    with pytest.raises(ValueError, match=r"'gz3'; did you mean 'gz\d'\? known are \['gz1'"):
        read_galaxy_zoo(tmp_path / "t.csv", kind="gz3")


def test_a_table_of_two_kinds_must_be_named(tmp_path):
    table = Table.read(gz2(tmp_path / "gz2.csv"))
    for name in ("objid", "p_mg", "p_el", "p_cs"):
        table[name] = [0.5] if name != "objid" else [5]
    table.write(tmp_path / "both.csv")
    with pytest.raises(ValueError, match=r"several kinds; name one of \['gz1', 'gz2'\]"):
        read_galaxy_zoo(tmp_path / "both.csv")
    assert read_galaxy_zoo(tmp_path / "both.csv", kind="gz1")["id"].tolist() == ["5"]


@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_files_that_cannot_be_read(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    with pytest.raises(ValueError, match=r"no such table|known endings"):
        read_galaxy_zoo(path)
    path.write_bytes(b"\x00\xff\n")
    with pytest.raises(ValueError, match=rf"t\.{suffix}: "):
        read_galaxy_zoo(path)
    with pytest.raises(ValueError, match=r"gz1\.csv: cannot be read as a table: .*none at all"):
        read_galaxy_zoo(gz1(tmp_path / "gz1.csv", ["none at all"]))
    with pytest.raises(ValueError, match="no rows"):
        read_galaxy_zoo(gz1(tmp_path / "gz1.csv", []))


def test_positions_that_are_none(tmp_path):
    text = gz1(tmp_path / "t.csv", [0]).read_text().replace("00:00:00.41", "00:00:00:41")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match="'RA' is no position"):
        read_galaxy_zoo(tmp_path / "t.csv")


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "fits", "fits.gz", "vot", "parquet", "ecsv"])
@pytest.mark.parametrize("kind", [np.int64, str])
def test_ids_survive_every_format(tmp_path, suffix, kind):
    ids = np.array([587722981742084144, 1237678620102623480, 587722981742084145])
    columns = {"OBJID": ids.astype(kind)} | dict.fromkeys(("P_MG", "P_EL", "P_CS"), [0.1] * 3)
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv.gz":
        import gzip

        Table(columns).write(tmp_path / "t.csv")
        path.write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    elif suffix == "fits.gz":
        Table(columns).write(path, format="fits")
    else:
        write_table(Table(columns), path)
    table = read_galaxy_zoo(path)
    assert [int(id_) for id_ in table["id"]] == ids.tolist()
    assert table["merger_fraction"].tolist() == [0.1] * 3
    assert "ra" not in table.colnames


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, unique=True))
def test_any_whole_number_is_kept_in_csv(numbers):
    assume(any(number % 1000 for number in numbers))
    with tempfile.TemporaryDirectory() as folder:
        path = gz1(Path(folder) / "t.csv", [0.1] * len(numbers), numbers)
        assert read_galaxy_zoo(path)["id"].tolist() == [str(number) for number in numbers]


def test_rounded_ids_are_refused():
    for text in ("5.87722981742084e+17", "587722981742084144.0", "12.5"):
        with pytest.raises(ValueError, match=f"ID has lost digits.*{re.escape(text)}"):
            exact_ids(np.array(["100008", text]), "ID")
    assert exact_ids(np.array(["100008.0", " 1e5 ", "J1.5+2"]), "ID").tolist() == [
        "100008",
        "100000",
        "J1.5+2",
    ]
    with pytest.raises(ValueError, match="ID is empty in 1 rows"):
        exact_ids(np.array(["1", ""]), "ID")


def test_the_first_row_of_a_galaxy_counts(tmp_path):
    path = gz1(tmp_path / "t.csv", [0.9, 0.3, 0.0], [222222, 111111, 222222])
    with pytest.warns(AstropyUserWarning, match="1 rows are of a galaxy .* 222222; the first"):
        table = read_galaxy_zoo(path)
    assert table["id"].tolist() == ["222222", "111111"]
    assert labels_of(table) == [True, None]


def test_images_are_found_by_the_ids_in_their_names(tmp_path):
    ids = ["587722981742084144", "58772298174208414", "J112953.88-000427.4", "J112953.88-000427"]
    found = {
        "587722981742084144.JPG": 0,
        "a/sdss_587722981742084144-r.fits.gz": 0,
        "58772298174208414.r.png": 1,
        "J112/J112953.88-000427.4.jpg": 2,
        "gz_J112953.88-000427.4_grz.fits.fz": 2,
        "J112953.88-000427.jpeg": 3,
        "5877229817420841440.jpg": None,
        "x587722981742084144.jpg": None,
        "J112953.88-000427.45.jpg": None,
        "J112953.88-000427.4b.jpg": None,
        "587722981742084144_58772298174208414.jpg": None,
    }
    for name, row in found.items():
        folder = touch(tmp_path / name.replace("/", "-"), name, "587722981742084144.txt")
        touch(folder, "._587722981742084144.jpg", ".cache/587722981742084144.jpg")
        match = match_images(QTable({"id": ids}), folder)
        assert match.table["id"].tolist() == ([] if row is None else [ids[row]]), name
        assert match.images_without_row == ([name] if row is None else [])
        assert match.rows_without_image == [id_ for i, id_ in enumerate(ids) if i != row]
        for file in match.table["file"]:
            assert Path(file) == folder / name


@given(
    st.lists(st.text("0123456789", min_size=6, max_size=20), min_size=1, unique=True),
    st.lists(st.integers(0, 5), min_size=1, max_size=4),
    st.data(),
)
def test_no_part_of_a_number_is_an_id(ids, cuts, data):
    # Some ids begin or end like others.
    ids = [*dict.fromkeys([*ids, *(id_[cut:] for id_ in ids for cut in cuts if len(id_) > 11)])]
    words = st.sampled_from([*ids, *(id_ + "0" for id_ in ids), "sdss", "r", "42"])
    marks = st.sampled_from(["_", "-", ".", " "])
    stem = data.draw(words)
    for _ in range(data.draw(st.integers(0, 3))):
        stem += data.draw(marks) + data.draw(words)
    holds = {word for word in re.split("[_. -]", stem) if word in ids}
    with tempfile.TemporaryDirectory() as folder:
        match = match_images(QTable({"id": ids}), touch(Path(folder), f"{stem}.jpg"))
    assert match.table["id"].tolist() == (sorted(holds) if len(holds) == 1 else [])


def test_short_numbers_in_a_name_are_no_ids(tmp_path):
    folder = touch(tmp_path, "cutout_424.jpg", "17.jpg")
    match = match_images(QTable({"id": ["424", "17"]}), folder)
    assert match.table["id"].tolist() == ["17"]
    assert match.images_without_row == ["cutout_424.jpg"]


def test_the_first_image_of_a_galaxy_is_taken(tmp_path):
    folder = touch(tmp_path, "b/100008.jpg", "a/100008.png", "c_100008.fits")
    match = match_images(QTable({"id": ["100008"]}), folder)
    assert match.table["file"].tolist() == [str(folder / "a/100008.png")]
    assert match.duplicates == ["b/100008.jpg", "c_100008.fits"]


def test_the_mapping_of_galaxy_zoo_2(tmp_path):
    (tmp_path / "map.csv").write_text(
        "objid,sample,asset_id\n587722981736120347,original,1\n"
        "587732591714893851,original,58957\n587732591714893851,stripe82,295305\n"
    )
    table = read_galaxy_zoo(gz2(tmp_path / "t.csv"))
    folder = touch(tmp_path / "images", "1.jpg", "58957.jpg", "295305.jpg", "big_58957.jpg")
    match = match_images(table, folder, tmp_path / "map.csv")
    assert match.table["file"].tolist() == [str(folder / "295305.jpg")]
    assert match.duplicates == ["58957.jpg"]
    assert match.images_without_row == ["1.jpg", "big_58957.jpg"]
    with pytest.raises(ValueError, match=r"t\.csv: is not the mapping"):
        match_images(table, folder, tmp_path / "t.csv")


def test_a_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"holds no image; known endings are .*\.fits.*\.jpg"):
        match_images(QTable({"id": ["100008"]}), touch(tmp_path, "100008.txt"))


def test_files_are_relative_to_the_label_table(tmp_path):
    folder = touch(tmp_path / "images", "100008.jpg")
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere/deep")
    for place in (tmp_path, tmp_path / "images", tmp_path / "link"):
        match = match_images(QTable({"id": ["100008"]}), folder, relative_to=place)
        write_table(match.table, place / "labels.ecsv")
        (source,), _ = resolve_inputs(place / "labels.ecsv")
        assert not os.path.isabs(match.table["file"][0])
        assert os.path.samefile(source.file, folder / "100008.jpg")
        assert source.id == "100008"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("ASTRO_DEEPGALAXY_DEBUG", raising=False)
    return lambda *args: CliRunner().invoke(main, ["galaxy-zoo", *map(str, args)])


def test_the_command(run, tmp_path):
    ids = [587722981742084144, 587722981742084145, 587722981742084146, 587722981742084147]
    table = gz1(tmp_path / "t.csv", [0.9, 0.3, 0.0, 0.1], ids)
    names = [f"{id_}.jpg" for id_ in ids[:3]]
    folder = touch(tmp_path / "images", *names, f"{ids[0]}.png", "m51.jpg")
    result = run(
        table, folder, "-o", tmp_path / "out/labels.ecsv", "--unmatched", tmp_path / "u.csv"
    )
    assert result.exit_code == 0, result.output
    assert "2 images with labels" in result.output
    assert "1 are of mergers, 1 uncertain (left out)" in result.output
    assert "1 images fit no galaxy or several: m51.jpg\n" in result.output
    assert f"1 galaxies have no image: {ids[3]}\n" in result.output
    labels = read_table(tmp_path / "out/labels.ecsv")
    assert labels.colnames[:2] == ["file", "id"]
    assert labels["id"].tolist() == [str(ids[0]), str(ids[2])]
    assert labels["is_merger"].tolist() == [True, False]
    assert labels["file"].tolist() == [f"../images/{names[0]}", f"../images/{names[2]}"]
    rows = [tuple(map(str, row)) for row in read_table(tmp_path / "u.csv")]
    assert rows == [
        ("image without galaxy", "m51.jpg"),
        ("further image", f"{ids[0]}.png"),
        ("galaxy without image", str(ids[3])),
    ]


def test_uncertain_galaxies_are_kept_without_a_label(run, tmp_path):
    table = gz1(tmp_path / "t.csv", [0.9, 0.3], [100008, 100009])
    folder = touch(tmp_path / "images", "100008.jpg", "100009.jpg")
    out = tmp_path / "labels.ecsv"
    result = run(table, folder, "-o", out, "--keep-uncertain", "--json")
    summary = json.loads(result.output)
    assert (summary["labels"], summary["mergers"], summary["uncertain"]) == (2, 1, 1)
    assert summary["kind"] == "gz1"
    labels = read_table(out)
    assert "is_merger" not in labels.colnames
    assert labels["merger_fraction"].tolist() == [0.9, 0.3]


def test_nothing_left_over_is_an_empty_table(run, tmp_path):
    table = gz1(tmp_path / "t.csv", [0.9], [100008])
    folder = touch(tmp_path / "images", "100008.jpg")
    result = run(table, folder, "-o", tmp_path / "l.ecsv", "--unmatched", tmp_path / "u.ecsv")
    assert result.exit_code == 0, result.output
    assert len(read_table(tmp_path / "u.ecsv")) == 0
    assert "no image" not in result.output


@pytest.mark.parametrize(
    ("vote", "name", "output", "message"),
    [
        (0.9, "12.jpg", "l.ecsv", "no image is named after a galaxy of .*'12.jpg'.*'100008'.*map"),
        (0.3, "100008.jpg", "l.ecsv", "none of the 1 galaxies .* --keep-uncertain"),
        (0.9, "100008.jpg", "l.txt", "cannot write a table"),
    ],
)
def test_the_command_says_what_is_wrong(run, tmp_path, vote, name, output, message):
    table = gz1(tmp_path / "t.csv", [vote], [100008])
    result = run(table, touch(tmp_path / "images", name), "-o", tmp_path / output)
    assert result.exit_code == 1
    assert re.search(message, result.output)
    assert not (tmp_path / output).exists()


def test_real_pictures_of_the_kaggle_challenge(run, real_images, tmp_path):
    from astro_deepgalaxy import Recipe
    from astro_deepgalaxy.preprocess.batch import preprocess_batch

    folder = real_images / "gz2_kaggle"
    pictures = sorted(path.stem for path in folder.glob("*.jpg"))
    merger = SOLUTIONS[100143].replace("0.239640016", "0.41")
    rows = {id_: merger if i % 2 else None for i, id_ in enumerate(pictures[3:])}
    table = kaggle(tmp_path / "training_solutions_rev1.csv", {999999: None} | rows)
    result = run(table, folder, "-o", tmp_path / "labels.ecsv", "--json")
    summary = json.loads(result.output)
    assert summary["labels"] == len(pictures) - 3
    assert summary["mergers"] == len(rows) // 2
    assert (summary["images_without_row"], summary["rows_without_image"]) == (3, 1)
    labels = read_table(tmp_path / "labels.ecsv")
    write_table(labels[:4], tmp_path / "few.ecsv")
    store = preprocess_batch(
        tmp_path / "few.ecsv", Recipe.default(32), tmp_path / "s.zarr", progress=False
    )
    assert store.table["id"].tolist() == store.table["group"].tolist() == pictures[3:7]
    assert store.table["is_merger"].tolist() == [False, True, False, True]
    assert store.table["reason"].tolist() == [""] * 4
    assert store.load([0, 1, 2, 3]).std(axis=(1, 2, 3)).min() > 0.01


def test_real_merging_pairs_by_their_sdss_ids(real_images, tmp_path):
    pairs = read_table(real_images / "galaxy_zoo_mergers" / "pairs.csv")
    pairs = pairs[~np.ma.getmaskarray(pairs["sdss_id"])]
    assert len(pairs) == 30
    folder = tmp_path / "images"
    folder.mkdir()
    for row in pairs:
        name = f"{row['sdss_id']}.jpg"
        (folder / name).symlink_to(real_images / "galaxy_zoo_mergers" / str(row["file"]))
    columns = {"objid": pairs["sdss_id"], "ra": pairs["ra"], "dec": pairs["dec"]}
    columns |= {"p_mg": np.full(len(pairs), 0.8)} | dict.fromkeys(("p_el", "p_cs"), pairs["z"])
    write_table(QTable(columns), tmp_path / "zooSpec.fits")
    table = read_galaxy_zoo(tmp_path / "zooSpec.fits")
    match = match_images(table, folder)
    assert (match.images_without_row, match.rows_without_image) == ([], [])
    assert all(match.table["is_merger"])
    sources, _ = resolve_inputs(match.table)
    for source, pair in zip(sources, pairs, strict=True):
        assert source.id == str(pair["sdss_id"])
        assert (source.ra, source.dec) == (pair["ra"], pair["dec"])
        assert Path(source.file).resolve().name == pair["file"]
    assert sources[0].read().shape[0] == 3


@pytest.mark.parametrize("suffix", ["csv", "ecsv"])
def test_positions_with_blanks_and_gaps(tmp_path, suffix):
    positions = [
        ("", ""),
        (" 01:00:00", " -00:30:00"),
        ("12:30:00 ", ""),
        ("02:00:00", "+01:00:00"),
    ]
    ids = [587722981742084144 + i for i in range(4)]
    columns = {"OBJID": [str(id_) for id_ in ids], "RA": [], "DEC": []}
    for ra, dec in positions:
        columns["RA"].append(ra)
        columns["DEC"].append(dec)
    columns |= dict.fromkeys(("P_MG", "P_EL", "P_CS"), [0.1] * 4)
    write_table(Table(columns), tmp_path / f"t.{suffix}")
    table = read_galaxy_zoo(tmp_path / f"t.{suffix}")
    nan = np.nan
    assert np.allclose(table["ra"].to_value("deg"), [nan, 15, 187.5, 30], equal_nan=True)
    assert np.allclose(table["dec"].to_value("deg"), [nan, -0.5, nan, 1], equal_nan=True)


@pytest.mark.parametrize(
    "ids",
    [
        ["587727178986357000", "587722981742084000"],
        ["587727178986357000", "587722981742084000", "100008", "J1.5+2", ""],
        ["1234567890123450", "1234567890123460", "1234567890123470"] * 5
        + ["1234567890123410", "1234567890123420", "1234567890123430"],
    ],
)
def test_ids_that_a_spreadsheet_rounded_are_refused(ids):
    with pytest.raises(ValueError, match=r"ID has lost digits.* after the 15th.*spreadsheets"):
        exact_ids(np.array(ids), "ID")


@pytest.mark.parametrize(
    "ids",
    [
        # One of a thousand ends so.
        ["587727178986357000"] * 3,
        ["587727178986357000", "587722981742084144"],
        ["1234567890123450", "1234567890123460"],
        ["100000", "200000", "300000000000000"],
    ],
)
def test_ids_that_end_in_zeros_by_chance_are_kept(ids):
    assert exact_ids(np.array(ids), "ID").tolist() == ids


def test_only_regular_files_are_images(tmp_path):
    touch(tmp_path, "100009.jpg", "deep.jpg/100010.jpg")
    (tmp_path / "100008.jpg").mkdir()
    os.mkfifo(tmp_path / "100007.jpg")
    (tmp_path / "100006.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "100005.jpg").symlink_to(tmp_path / "100009.jpg")
    ids = [str(id_) for id_ in range(100005, 100011)]
    match = match_images(QTable({"id": ids}), tmp_path)
    assert match.table["id"].tolist() == ["100005", "100009", "100010"]
    assert match.images_without_row == []
    assert match.rows_without_image == ["100006", "100007", "100008"]


def test_names_that_are_not_utf8(run, tmp_path):
    ids = [587722981742084144, 587722981742084145]
    table = gz1(tmp_path / "t.csv", [0.9, 0.0], ids)
    folder = touch(tmp_path / "images", f"{ids[0]}.jpg")
    for name in (b"587722981742084145_\xe9.jpg", b"\xff.jpg"):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(b"")
    labels, rest = tmp_path / "labels.ecsv", tmp_path / "rest.csv"
    result = run(table, folder, "-o", labels, "--unmatched", rest, "--json")
    assert result.exit_code == 0, result.output
    assert [Path(file).name for file in read_table(labels)["file"]] == [
        f"{ids[0]}.jpg",
        r"587722981742084145_\xe9.jpg",
    ]
    assert read_table(rest)["name"].tolist() == [r"\xff.jpg"]
