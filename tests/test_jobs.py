import pytest

from astro_deepgalaxy.jobs import atomic_folder, atomic_path, check_space


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "table.fits.gz"
    with atomic_path(path) as partial:
        assert partial.name.endswith(".fits.gz")
        partial.write_text("first")
        assert not path.exists()
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half of the sec")
        raise RuntimeError
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model"
    for text in ("first", "second"):
        with atomic_folder(path) as partial:
            (partial / "weights").write_text(text)
    with pytest.raises(RuntimeError), atomic_folder(path) as partial:
        (partial / "weights").write_text("half")
        raise RuntimeError
    assert (path / "weights").read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_work_that_the_disk_cannot_hold_is_refused(tmp_path):
    folder = tmp_path / "not" / "yet" / "there"
    check_space(folder, {"images": 1e3}, "take fewer")
    with pytest.raises(ValueError, match=r"1e\+06 GB are needed \(1e\+06 for images, 0 for the"):
        check_space(folder, {"images": 1e15, "the rest": 0}, "take fewer")
    assert not (tmp_path / "not").exists()
