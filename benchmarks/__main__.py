"""``python -m benchmarks [NAME ...] [--quick] [--json FILE]``, from the root of the repository."""

import argparse
import difflib
import json
import os
import pkgutil
import sys
import time
from importlib import import_module
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

NAMES = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name[0] != "_"]
COLUMNS = ("name", "ours", "reference", "unit", "ratio", "note")


def main(arguments=None):
    """Run benchmarks and print one table for each.

    Parameters
    ----------
    arguments : list of str, optional
        Command line; that of the process by default.

    Returns
    -------
    int
        Exit status: 0 when every benchmark ran.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time the package against the alternatives; the ratio is how many times "
        "better ours is (1 = equal).",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="smaller cases, under 50 s for one")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            parser.error(f"unknown benchmark {name!r}; {hint}known are: {', '.join(NAMES)}")
    rows, failed = [], []
    for name in options.names or NAMES:
        start = time.perf_counter()
        try:
            found = list(import_module(f"benchmarks.{name}").run(options.quick))
        except ImportError as error:  # a reference that is not installed
            failed.append(name)
            print(f"{name}: cannot run: {error}\n", file=sys.stderr)
            continue
        print(f"{name} ({time.perf_counter() - start:.0f} s)")
        print(table(found), end="\n\n", flush=True)
        rows += [{"benchmark": name, **row} for row in found]
    if options.json:
        partial = Path(f"{options.json}.partial")
        partial.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        partial.replace(options.json)
    return 1 if failed else 0


def table(rows):
    """Rows as aligned text.

    Parameters
    ----------
    rows : list of dict
        With the keys `COLUMNS`.

    Returns
    -------
    str
    """
    cells = [COLUMNS] + [tuple(_text(row[column]) for column in COLUMNS) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(["", *(c.ljust(w) for c, w in zip(line, widths, strict=True))]).rstrip()
        for line in cells
    )


def _text(value):
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
