"""Harbour as plain files, for tools that know nothing of Concord.

    python -m scripts.files [FOLDER]          (make files)

Prints the files, one a line, with their rows.
"""

import argparse
from pathlib import Path
from typing import Any

from concord.worlds.harbour import SPLITS, Harbour, write_world

__all__ = ["main"]


def main() -> None:
    """Write, and say what."""
    parser = argparse.ArgumentParser(prog="python -m scripts.files", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/harbour"))
    parser.add_argument("--seed", type=int, default=0, help="of the town")
    parser.add_argument("--talk", type=int, default=20_000, help="items of the talk to pretrain on")
    parser.add_argument("--split", action="append", choices=SPLITS, help="these alone; may be repeated")
    given: Any = parser.parse_args()
    splits = given.split or SPLITS
    for path in write_world(Harbour(given.seed), given.folder, splits=splits, talk=given.talk):
        with path.open("rb") as lines:
            print(f"{sum(1 for _ in lines):8,} {path}", flush=True)


if __name__ == "__main__":
    main()
