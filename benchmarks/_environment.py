"""Environments of the benchmarks' own, for references that do not belong in that of the package.

Such a reference brings pins of its own, and packages that nothing else here needs: Cutana an old
ipykernel, a user interface and a good thirty others. It is installed apart and run as another
process.
"""

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

__all__ = ["environment"]


def environment(name, requirements):
    """Make a virtual environment, once, and tell its Python.

    Parameters
    ----------
    name : str
        Its folder in ``astro_deepgalaxy/benchmarks`` of the user's cache (``XDG_CACHE_HOME``, or
        ``~/.cache``).
    requirements : iterable of str
        What pip installs, pinned: ``"cutana==0.4.0"``. The environment is made anew when they, or
        the version of this Python, are not those that it was made with.

    Returns
    -------
    `~pathlib.Path`
        The interpreter of the environment.

    Raises
    ------
    ImportError
        If pip cannot install the requirements; the message ends with what it said.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "astro_deepgalaxy" / "benchmarks" / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Written last: an environment whose making was interrupted does not have it.
    finished = folder / "finished.txt"
    wanted = "\n".join([f"python {sys.version}", *requirements])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if finished.exists() and finished.read_text(encoding="utf-8") == wanted and python.exists():
            return python
        print(f"installing {', '.join(requirements)} in {folder}", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], name)
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements], name)
        finished.write_text(wanted, encoding="utf-8")
    return python


def _run(command, name):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ImportError(
            f"the environment {name!r} of the benchmarks could not be made "
            f"({' '.join(command[1:])}): {' '.join(said)}"
        )
