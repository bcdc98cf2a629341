"""How long a user waits before anything happens, against importing TensorFlow at once."""

import json
import subprocess
import sys
import time
from statistics import median

HEAVY = ("tensorflow", "keras", "numba", "matplotlib", "astropy", "scipy", "numpy")
PACKAGE = "import astro_deepgalaxy"
HELP = """import sys
sys.argv = ["astro-deepgalaxy", "--help"]
from astro_deepgalaxy.cli import main
"""
TENSORFLOW = "import tensorflow"


def run(quick):
    """Time fresh interpreters, less the time of one that does nothing.

    Parameters
    ----------
    quick : bool
        Fewer repetitions.

    Returns
    -------
    list of dict
        Rows for the import and for ``astro-deepgalaxy --help``, in milliseconds.
    """
    light, heavy = (9, 2) if quick else (25, 7)
    idle = _seconds("pass", light)
    tensorflow = _seconds(TENSORFLOW, heavy) - idle
    rows = []
    for name, code, ending in (
        ("import astro_deepgalaxy", PACKAGE, ""),
        ("astro-deepgalaxy --help", HELP, "main()"),
    ):
        seconds = _seconds(code + ending, light) - idle
        rows.append(
            {
                "name": name,
                "ours": 1e3 * seconds,
                "reference": 1e3 * tensorflow,
                "ratio": tensorflow / seconds,
                "unit": "ms",
                "note": f"reference: {TENSORFLOW}; beyond {1e3 * idle:.0f} ms of the interpreter; "
                f"loads {_loaded(code, ending)}",
            }
        )
    return rows


def _seconds(code, repetitions):
    """Median wall time of a fresh interpreter."""
    seconds = []
    for i in range(repetitions + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        if i:  # the first one fills the caches
            seconds.append(time.perf_counter() - start)
    return median(seconds)


def _loaded(code, ending):
    """What the code imports: the heavy modules by name, and how many in all."""
    watch = "import sys, json, atexit; before = set(sys.modules)\n"
    tell = "atexit.register(lambda: print(json.dumps(sorted(set(sys.modules) - before))))\n"
    done = subprocess.run(
        [sys.executable, "-c", watch + tell + code + "\n" + ending],
        check=True,
        capture_output=True,
        text=True,
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    heavy = [name for name in HEAVY if name in modules]
    return f"{len(modules)} modules, of the heavy ones {', '.join(heavy) or 'none'}"
