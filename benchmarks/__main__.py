"""Run the benchmarks, or those that are named."""

import argparse
import importlib
import pkgutil
import shlex
import sys
from pathlib import Path

import benchmarks
from benchmarks.record import HELPERS, Findings, show, write
from benchmarks.train_work import WORKLOADS
from concord.errors import InputError, explain, nearest

__all__ = ["main", "measured", "names"]

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


def main() -> None:
    """Run, show and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names())}; none means all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs; keeps no results"
    )
    given = parser.parse_args()
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
