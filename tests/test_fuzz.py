"""Damaged files lead to an image or to a sentence, never to more: see fuzz_files.py."""

import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).with_name("fuzz_files.py")


def fuzz(*options):
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_damaged_files():
    done = fuzz("--number", 300, "--seed", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    # Files that are all refused, or all sound, would show nothing.
    counts = dict(pair.split(": ") for pair in done.stdout.splitlines()[0].split(", "))
    assert "violation" not in counts
    assert min(int(counts["image"]), int(counts["refused"])) > 50


def test_a_number_is_always_the_same_file(tmp_path):
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        assert fuzz("--first", 40, "--number", 60, "--keep", folder).returncode == 0
        # What carries the time of day differs from one second to the next.
        time.sleep(1)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert len(contents[0]) == 60
    assert contents[0] == contents[1]
