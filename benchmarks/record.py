"""What a benchmark found, as a table on the terminal and as JSON beside the others."""

import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from concord.durable import write_json
from concord.manifest import build_manifest

__all__ = ["HELPERS", "Findings", "Row", "alternated", "rates", "show", "write"]

HELPERS = ("__main__", "record", "rows", "train_ours", "train_peer", "train_run", "train_work")
"""The modules of this folder that are no benchmarks."""

Row = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Findings:
    """A title, tables by name (each a list of rows with the same columns), what was set, and what to know.

    `summary` is printed last, as a line of JSON for scripts.
    """

    title: str
    tables: Mapping[str, Sequence[Row]]
    settings: Mapping[str, Any]
    notes: Sequence[str] = ()
    summary: Mapping[str, Any] = field(default_factory=dict[str, Any])


def alternated(candidates: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each candidate, run in turns, so that whatever else the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            begun = perf_counter()
            run()
            seconds[name].append(perf_counter() - begun)
    return seconds


def rates(seconds: Mapping[str, Sequence[float]], rows: int) -> list[Row]:
    """Rows a second at the median, with the slowest and the fastest repeat."""
    return [
        {
            "what": name,
            "rows/s": round(rows / median(each)),
            "slowest": round(rows / max(each)),
            "fastest": round(rows / min(each)),
            "median seconds": round(median(each), 2),
        }
        for name, each in seconds.items()
    ]


def show(findings: Findings) -> None:
    """Print the tables."""
    console = Console()
    console.print(f"[bold]{findings.title}[/bold]")
    for name, rows in findings.tables.items():
        table = Table(title=name, title_justify="left")
        for column in rows[0]:
            table.add_column(column, justify="left" if column == "what" else "right")
        for row in rows:
            table.add_row(
                *(f"{value:,}" if isinstance(value, int | float) else value for value in row.values())
            )
        console.print(table)
    for note in findings.notes:
        console.print(f"- {note}")
    if findings.summary:
        print(json.dumps(findings.summary), flush=True)


def write(path: Path, findings: Findings, *, command: str) -> None:
    """Keep what was found, with the command, the machine and the versions."""
    manifest = build_manifest(inputs={})
    versions = manifest["versions"] | {"trl": importlib.metadata.version("trl")}
    kept = {
        "title": findings.title,
        "command": command,
        "date": manifest["started"],
        "hardware": manifest["hardware"],
        "versions": versions,
        "settings": dict(findings.settings),
        "tables": {name: [dict(row) for row in rows] for name, rows in findings.tables.items()},
        "notes": list(findings.notes),
        **({"summary": dict(findings.summary)} if findings.summary else {}),
    }
    path.parent.mkdir(exist_ok=True)
    write_json(path, kept)
