import subprocess
import sys

import pytest

from astro_deepgalaxy.jobs import alone, atomic_folder, atomic_path, check_space


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


TAKE = """
import sys
from astro_deepgalaxy.jobs import alone
try:
    with alone(sys.argv[1]):
        print("taken")
except ValueError as error:
    print(error)
"""


def take(path):
    """What another process says that wants to write."""
    done = subprocess.run(
        [sys.executable, "-c", TAKE, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "s.zarr"
    with alone(path):
        assert take(path) == f"{path}: another process is writing it; wait for it to end"
        # The one that was refused has not taken the lock away.
        assert "another process" in take(path)
    assert take(path) == "taken"
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_no_lock(tmp_path):
    with pytest.raises(RuntimeError), alone(tmp_path / "new" / "s.zarr"):
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []


def test_the_lock_is_held_until_its_file_is_gone(tmp_path, monkeypatch):
    from filelock import FileLock

    seen, release = [], FileLock.release

    def look(self, *args, **kwargs):
        seen.append(list(tmp_path.iterdir()))
        release(self, *args, **kwargs)

    monkeypatch.setattr(FileLock, "release", look)
    with alone(tmp_path / "s.zarr"):
        pass
    assert seen[0] == []


def test_the_folder_one_is_in(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with alone("."):
        assert "another process" in take(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_was_being_replaced_when_killed_is_put_back(tmp_path):
    from astro_deepgalaxy.jobs import sweep_partial

    (tmp_path / ".old-12-best").mkdir()
    (tmp_path / ".old-12-best" / "weights").write_text("older")
    (tmp_path / ".partial-12-best").mkdir()
    sweep_partial(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
    (tmp_path / ".old-13-best").mkdir()
    sweep_partial(tmp_path)
    assert (tmp_path / "best" / "weights").read_text() == "older"
    assert [p.name for p in tmp_path.iterdir()] == ["best"]
