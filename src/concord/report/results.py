"""From results to blocks: a table, a curve, and a page for the results of any run."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from concord.report.blocks import (
    Axis,
    Block,
    Callout,
    Cell,
    Column,
    Curve,
    Facts,
    Heading,
    Measured,
    Noted,
    Page,
    Paragraph,
    Point,
    Series,
    Table,
)
from concord.results import Challenge, Interval, Result
from concord.run import Run

__all__ = ["from_results", "results_curve", "results_page"]


def from_results(results: Sequence[Result], *, caption: str = "") -> Table:
    """A table of results: name, coordinates, value with interval, n and, where there are any, failures.

    How each was measured is a footnote, as is why there is no value. A unit that all share stands
    in the head.
    """
    places = list(dict.fromkeys(name for result in results for name in result.at))
    units = {result.unit for result in results}
    optional: dict[str, list[Cell]] = {
        "unit": [result.unit for result in results] if len(units) > 1 else [],
        "better": [_better(result) for result in results],
        "reading": [result.reading for result in results],
        "failures": [result.failures for result in results],
    }
    shown = {name: cells for name, cells in optional.items() if any(cells)}
    columns = (
        Column("name"),
        *map(Column, places),
        Column("value", units.pop() if len(units) == 1 else ""),
        Column("n"),
        *map(Column, shown),
    )
    rows = tuple(
        (
            Noted(result.name, result.how) if result.how else result.name,
            *(result.at.get(place, "") for place in places),
            Measured(result.value, result.interval, _reason(result)),
            result.n,
            *(cells[at] for cells in shown.values()),
        )
        for at, result in enumerate(results)
    )
    return Table(columns, rows, caption=caption, notes=_intervals(results))


def results_curve(results: Sequence[Result], x: str, *, title: str = "", log: bool = False) -> Curve:
    """Results of one name over one of their coordinates; each setting of the others is a line."""
    lines: dict[str, list[Point]] = {}
    for result in results:
        at = result.at.get(x)
        if isinstance(at, str) or at is None or result.value is None:
            continue
        line = ", ".join(f"{name} {place}" for name, place in result.at.items() if name != x)
        ends = (result.interval.low, result.interval.high) if result.interval else (None, None)
        lines.setdefault(line, []).append(Point(at, result.value, *ends))
    name, unit = (results[0].name, results[0].unit) if results else ("value", "")
    series = tuple(Series(line, tuple(sorted(points, key=lambda p: p.x))) for line, points in lines.items())
    lost = len(results) - sum(len(points) for points in lines.values())
    caption = f"{lost:,} results have no value or no number as {x}." if lost else ""
    return Curve(title or name, Axis(x, log=log), Axis(name, unit), series, caption=caption)


def results_page(directory: str | Path) -> Page:
    """The results of a run, by challenge, from nothing but its directory."""
    run = Run(directory)
    status, results = run.status(), run.read_results()
    facts = (("Run", run.name), ("Identity", run.id[:12]), ("State", status.state), ("Results", len(results)))
    blocks: list[Block] = [Facts(facts)]
    match status.state:
        case "finished":
            pass
        case "failed":
            do = "Look at the reason, then start it again."
            blocks.append(Callout("stop", "The run failed", status.reason, do))
        case "stopped":
            blocks.append(
                Callout("warn", "The run was stopped", status.reason, "Start it again: it resumes.")
            )
        case "new" | "running":
            blocks.append(Callout("note", "The run is not finished", "What follows is what it has so far."))
    if not results:
        blocks.append(Paragraph("There are no results yet."))
    order: dict[Challenge | None, int] = {challenge: at for at, challenge in enumerate((*Challenge, None))}
    by_challenge = sorted(results, key=lambda result: order[result.challenge])
    for challenge, members in groupby(by_challenge, key=lambda result: result.challenge):
        name = challenge.value.capitalize() if challenge else "Results"
        blocks += [Heading(name), from_results(list(members))]
    return Page(run.name, f"Results of the run in {run.path.name}", tuple(blocks))


def _better(result: Result) -> Cell:
    return {None: "", True: "higher", False: "lower"}[result.higher_is_better]


def _reason(result: Result) -> str:
    if result.value is not None:
        return ""
    if result.why_none:
        return result.why_none
    failed = f"Nothing could be measured: {result.failures:,} failures."
    return failed if result.failures else "There was nothing to measure."


def _intervals(results: Sequence[Result]) -> tuple[str, ...]:
    """What the brackets mean: level and method, each kind once."""
    kinds = dict.fromkeys(_kind(result.interval) for result in results if result.interval)
    return (f"In brackets: {'; '.join(kinds)}.",) if kinds else ()


def _kind(interval: Interval) -> str:
    return f"{100 * interval.level:g}% interval" + (f", {interval.how}" if interval.how else "")
