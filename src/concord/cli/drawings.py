"""Curves and histograms with the letters of a terminal; in plain ASCII, where it writes no others."""

from itertools import pairwise

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from concord.cli.terminal import paragraph
from concord.report.blocks import Curve, Histogram, Mark, Point
from concord.report.numbers import number, whole
from concord.report.plots import curve_notes, drawable, named_axis
from concord.report.scales import Scale, scale_of
from concord.report.words import one_line, visible

__all__ = ["bar", "draw_curve", "draw_histogram"]

_LEVELS = (
    "\N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER HALF BLOCK}"
    "\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"
)
_PARTS = (
    "\N{LEFT ONE EIGHTH BLOCK}\N{LEFT ONE QUARTER BLOCK}\N{LEFT THREE EIGHTHS BLOCK}\N{LEFT HALF BLOCK}"
    "\N{LEFT FIVE EIGHTHS BLOCK}\N{LEFT THREE QUARTERS BLOCK}\N{LEFT SEVEN EIGHTHS BLOCK}"
)
_ASCII_LEVELS = "_.-=+*#@"
_MOST_ROWS = 16
_WIDEST = 60


def bar(length: float, width: int, out: Console) -> str:
    """A bar of a length in [0, 1], filled up with blanks; anything above nothing can be seen."""
    if not _drawable(out):
        cells = round(length * width)
        return ".".ljust(width) if not cells and length > 0 else ("#" * cells).ljust(width)
    eighths = max(round(8 * length * width), int(length > 0))
    full, part = divmod(eighths, 8)
    return (_LEVELS[-1] * full + (_PARTS[part - 1] if part else "")).ljust(width)


def draw_curve(out: Console, curve: Curve) -> None:
    """Each line of a curve as a row of small bars, on one scale, with where it starts and ends."""
    paragraph(out, one_line(curve.title), style="bold")
    paragraph(out, f"{one_line(named_axis(curve.y))} by {one_line(named_axis(curve.x))}", style="dim")
    known = [(one_line(series.name), drawable(curve, series)) for series in curve.series]
    every = [point for _, points in known for point in points]
    if not every:
        paragraph(out, "Nothing to draw.", style="dim")
    else:
        width = min(out.width, _WIDEST)
        across = scale_of([point.x for point in every], 0, width, most=5, log=curve.x.log, tight=True)
        upwards = scale_of([point.y for point in every], 0, 8, most=5, log=curve.y.log)
        for name, points in known:
            if points:
                _line(out, name, points, across, upwards)
        paragraph(out, f"Scale: {upwards.ticks[0][1]} to {upwards.ticks[-1][1]}.", style="dim")
    for mark in curve.marks:
        paragraph(out, f"{one_line(mark.label)} at {whole(mark.x)}.", style="dim")
    for note in filter(None, (curve.caption, curve_notes(curve))):
        paragraph(out, visible(note), style="dim")


def _line(out: Console, name: str, points: list[Point], across: Scale, upwards: Scale) -> None:
    """The name, the bars, and the ends in numbers; where several points share a place, their mean."""
    width = int(across.stop)
    places: list[list[float]] = [[] for _ in range(width)]
    for point in points:
        places[min(int(across.place(point.x)), width - 1)].append(upwards.place(point.y))
    levels = _LEVELS if _drawable(out) else _ASCII_LEVELS
    drawn = "".join(levels[min(int(sum(one) / len(one)), 7)] if one else " " for one in places)
    if name:
        paragraph(out, name)
    out.print(Text(drawn.rstrip(), style="cyan"))
    first, last = points[0], points[-1]
    least, most = min(points, key=lambda p: p.y), max(points, key=lambda p: p.y)
    ends = f"{_at(first)} to {_at(last)}"
    paragraph(out, f"{ends}; lowest {_at(least)}, highest {_at(most)}", style="dim")


def _at(point: Point) -> str:
    return f"{number(point.y)} at {whole(point.x)}"


def draw_histogram(out: Console, histogram: Histogram) -> None:
    """Bars that lie, a row for each bin; neighbours are added up where there are many."""
    paragraph(out, one_line(histogram.title), style="bold")
    bins = len(histogram.edges) - 1
    every = -(-bins // _MOST_ROWS)
    starts = [*range(0, bins, every), bins]
    counts = [[sum(group.counts[low:high]) for low, high in pairwise(starts)] for group in histogram.groups]
    labels = [f"{whole(histogram.edges[a])} to {whole(histogram.edges[b])}" for a, b in pairwise(starts)]
    names = [one_line(group.name) for group in histogram.groups]
    numbers = [[whole(count) for count in group] for group in counts]
    top = max((count for group in counts for count in group), default=0) or 1
    # The head stands over the labels; a name as wide as it must be, so that columns stay columns.
    head = one_line(named_axis(histogram.x))
    left = max(map(cell_len, [head, *labels]))
    digits = [max(map(len, column)) for column in numbers]
    room = out.width - left - sum(size + 4 for size in digits)
    length = min(room // max(len(counts), 1), 40)
    if length < 4:
        left, length = max(map(cell_len, labels)), 0
    sizes = [
        max(length + 2 + size if length else size, cell_len(name))
        for name, size in zip(names, digits, strict=True)
    ]
    heads = "  ".join(name + " " * (size - cell_len(name)) for name, size in zip(names, sizes, strict=True))
    paragraph(out, f"{head}{' ' * max(left - cell_len(head), 0)}  {heads}".rstrip(), style="dim")
    marks = sorted(histogram.marks, key=lambda mark: mark.x)
    for at, label in enumerate(labels):
        while marks and marks[0].x <= histogram.edges[starts[at]]:
            _mark(out, marks.pop(0), histogram.edges[starts[at]])
        line = Text(f"{' ' * (left - len(label))}{label}")
        for column, (values, size) in enumerate(zip(counts, sizes, strict=True)):
            drawn = bar(values[at] / top, length, out) if length else ""
            told = f"{numbers[column][at]:>{digits[column]}}"
            cell = f"{drawn}  {told}" if drawn else told
            line.append("  ").append(
                cell + " " * (size - len(cell)), style="cyan" if column % 2 == 0 else "yellow"
            )
        line.rstrip()
        out.print(line)
    for mark in marks:
        _mark(out, mark, histogram.edges[-1])
    paragraph(out, f"Counts: {one_line(named_axis(histogram.y))}.", style="dim")
    if histogram.caption:
        paragraph(out, visible(histogram.caption), style="dim")


def _mark(out: Console, mark: Mark, edge: float) -> None:
    """A rule below the bin that a mark stands in, or, where that begins at it, above it."""
    where = "" if mark.x == edge else ", beyond all" if mark.x > edge else ", within the bin above"
    words = f"-- {one_line(mark.label)}: {whole(mark.x)}{where} --"
    paragraph(out, words.ljust(min(out.width, _WIDEST), "-"), style="bold")


def _drawable(out: Console) -> bool:
    """Whether what is written to can hold the blocks."""
    try:
        (_LEVELS + _PARTS).encode(out.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
