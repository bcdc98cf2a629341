import os

import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable

from astro_deepgalaxy.io import read_table, write_table


@pytest.mark.parametrize("suffix", [".fits", ".csv", ".parquet", ".ecsv", ".vot"])
def test_names_that_are_not_utf8_are_written(tmp_path, suffix):
    names = [os.fsdecode(b"caf\xe9.fits"), "café.fits", "plain.fits", os.fsdecode(b"\xff\xfe")]
    gaps = MaskedColumn(names, mask=[False, False, True, False])
    table = QTable({"file": names, "gaps": gaps, "pair": np.array([names, names[::-1]]).T})
    if suffix in (".parquet", ".vot"):
        table.remove_column("pair")
    write_table(table, tmp_path / f"t{suffix}")
    read = read_table(tmp_path / f"t{suffix}")
    expected = [r"caf\xe9.fits", "café.fits", "plain.fits", r"\xff\xfe"]
    assert read["file"].tolist() == expected
    if suffix in (".csv", ".ecsv"):
        assert read["gaps"].tolist() == [*expected[:2], "", expected[3]]
    # The caller's table is as it was.
    assert table["file"].tolist() == names


def test_whole_numbers_with_gaps_keep_their_digits(tmp_path):
    import pyarrow
    from pyarrow import parquet

    ids = [1237648720693755918, None, 7]
    parquet.write_table(
        pyarrow.table({"id": ids, "merger": [True, None, False], "ra": [1.5, None, 2.5]}),
        tmp_path / "t.parquet",
    )
    table = read_table(tmp_path / "t.parquet")
    assert table["id"].dtype.kind == "i"
    assert table["id"].tolist() == ids
    assert table["merger"].mask.tolist() == [False, True, False]
    assert np.isnan(table["ra"][1])
