"""Keep a finished comparison of our own, so that `likewise which` cites it: `python -m benchmarks.record FOLDER NAME LABEL`.

FOLDER is what `likewise compare --size standard` (or thorough) left, NAME the file's name in the package, and LABEL says in
a few words what was compared, such as "a red mug". Base, judge, date and machine come from the folder. A folder whose
verdict is not what its scores say is refused. Record anew when the judge changes, to which a test holds what ships.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from likewise.comparison.evidence.recording import HERE, record, recorded


def main() -> None:
    """Record one, and print what is recorded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("label")
    parser.add_argument("--into", type=Path, default=HERE, metavar="FOLDER", help="where; else the package")
    wish = parser.parse_args()
    print(record(wish.folder, wish.name, wish.label, wish.into))
    for one in recorded(wish.into):
        print(one.source())


if __name__ == "__main__":
    main()
