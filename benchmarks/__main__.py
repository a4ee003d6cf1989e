"""Run the benchmarks, or those that are named."""

import argparse
import importlib
import json
import pkgutil
import shlex
import sys
from pathlib import Path

import benchmarks
from benchmarks.record import HELPERS, Findings, show, write
from benchmarks.train_work import WORKLOADS
from concord.errors import InputError, explain, nearest

__all__ = ["main", "measured", "names", "standing"]

RESULTS = Path(__file__).parent / "results"


def names() -> list[str]:
    """The benchmarks there are: modules of this folder with a function `measure`; of `train`, workloads."""
    found = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    return sorted(found - {*HELPERS, "train"}) + list(WORKLOADS)


def measured(name: str, *, quick: bool) -> Findings:
    """What one of them finds."""
    if name in WORKLOADS:
        from benchmarks import train

        return train.measure(name, quick=quick)
    return importlib.import_module(f"benchmarks.{name}").measure(quick=quick)


def standing(folder: Path = RESULTS) -> list[str]:
    """What is kept of the workloads of training, as lines of a table for the documentation."""
    lines = ["| workload | here | TRL | times as fast | memory | of the peak |", "|---|---|---|---|---|---|"]
    for name in WORKLOADS:
        if (file := folder / f"{name}.json").is_file():
            kept = json.loads(file.read_text(encoding="utf-8"))
            one = kept["summary"]
            rates = f"{one['ours']:.2f} /s | {one['peer']:.2f} /s, {kept['settings']['setting of TRL']}"
            shares = f"{one['memory_ratio']:.2f} | {one['peak_share']:.2f}"
            lines.append(f"| `{name}` | {rates} | {one['ratio']:.1f} | {shares} |")
    return lines


def main() -> None:
    """Run, show and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names())}; none means all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs; keeps no results"
    )
    parser.add_argument(
        "--standing", action="store_true", help="run nothing; print what is kept of training as a table"
    )
    given = parser.parse_args()
    if given.standing:
        print("\n".join(standing()))
        return
    known = names()
    for name in given.names:
        if name not in known:
            wrong, do = "there is no such benchmark", "name one of these"
            raise SystemExit(
                str(InputError(explain(wrong, found=name, accepted=nearest(name, known), do=do)))
            )
    for name in given.names or known:
        findings = measured(name, quick=given.quick)
        show(findings)
        if not given.quick:
            command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
            write(RESULTS / f"{name}.json", findings, command=command)


if __name__ == "__main__":
    main()
