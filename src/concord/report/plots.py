"""Curves and histograms as SVG, each in two widths: text must stay readable on a phone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from concord.report.blocks import Axis, Curve, Histogram, Mark, Point, Series
from concord.report.markup import Markup, el, join
from concord.report.numbers import number, whole
from concord.report.scales import Scale, scale_of

__all__ = ["COLOURS", "curve_notes", "drawable", "drawn_curve", "drawn_histogram", "named_axis"]

COLOURS = 6
"""How many colours there are; line seven begins again, dashed."""

_MOST_POINTS = 400  # more are not seen apart; each stretch keeps its first, lowest, highest and last
_MOST_TITLES = 120
_MOST_DOTS = 24
_TOP, _BOTTOM, _RIGHT = 12, 26, 14


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plane of one drawing: its size, scales, and what to call it."""

    width: float
    height: float
    x: Scale
    y: Scale
    class_: str


_SIZES = (("wide", 720.0, 280.0, 9, 5), ("slim", 350.0, 230.0, 4, 4))


def drawn_curve(curve: Curve) -> Markup:
    """A curve in both widths."""
    points = [point for series in curve.series for point in series.points]
    ends = [end for point in points for end in (point.y, point.low, point.high) if end is not None]
    xs = [point.x for point in points]
    words = _curve_words(curve)
    return join(*(_curve(curve, frame, words) for frame in _frames(xs, ends, curve.x, curve.y, zero=False)))


def drawn_histogram(histogram: Histogram) -> Markup:
    """A histogram as outlines in both widths, groups above each other in place, not stacked."""
    tops = [count for group in histogram.groups for count in group.counts]
    frames = _frames(histogram.edges, tops, histogram.x, histogram.y, zero=True)
    return join(*(_histogram(histogram, frame) for frame in frames))


def curve_notes(curve: Curve) -> str:
    """What of a curve could not be drawn, in words; nothing where all was."""
    lost = sum(len(series.points) - len(drawable(curve, series)) for series in curve.series)
    return f"{lost:,} points have no place on these scales and are not drawn." if lost else ""


def named_axis(axis: Axis) -> str:
    """An axis by its label and unit."""
    return f"{axis.label} ({axis.unit})" if axis.unit else axis.label


# --- the plane --------------------------------------------------------------------------------------------


def _frames(xs: Iterable[float], ys: Sequence[float], x: Axis, y: Axis, *, zero: bool) -> Iterator[_Frame]:
    xs = list(xs)
    for class_, width, height, across, upwards in _SIZES:
        # Room on the left for the longest label of the y axis, whatever it is.
        down = scale_of(ys, height - _BOTTOM, _TOP, most=upwards, log=y.log, zero=zero and not y.log)
        left = 12 + 6.6 * max((len(label) for _, label in down.ticks), default=1)
        along = scale_of(xs, left, width - _RIGHT, most=across, log=x.log, tight=True)
        yield _Frame(width, height, along, down, class_)


def _svg(frame: _Frame, words: str, *children: Markup) -> Markup:
    return el(
        "svg",
        *children,
        class_=f"plot {frame.class_}",
        viewBox=f"0 0 {frame.width:g} {frame.height:g}",
        role="img",
        aria_label=words,
    )


def _axes(frame: _Frame) -> Iterator[Markup]:
    left, right, floor = frame.x.start, frame.x.stop, frame.y.start
    for value, label in frame.y.ticks:
        at = frame.y.place(value)
        yield el("line", x1=left, x2=right, y1=at, y2=at, class_="grid")
        yield el("text", label, x=left - 6, y=at + 4, class_="end")
    yield el("line", x1=left, x2=right, y1=floor, y2=floor, class_="base")
    for value, label in frame.x.ticks:
        at = frame.x.place(value)
        yield el("line", x1=at, x2=at, y1=floor, y2=floor + 4, class_="base")
        outside = at + 3.3 * len(label) > frame.width
        yield el(
            "text", label, x=frame.width if outside else at, y=floor + 18, class_="end" if outside else "mid"
        )


def _marks(marks: Iterable[Mark], frame: _Frame) -> Iterator[Markup]:
    for mark in marks:
        if frame.x.holds(mark.x) and frame.x.low <= mark.x <= frame.x.high:
            at = frame.x.place(mark.x)
            right_half = at > (frame.x.start + frame.x.stop) / 2
            yield el("line", x1=at, x2=at, y1=_TOP, y2=frame.y.start, class_="mark")
            beside = at - 5 if right_half else at + 5
            yield el(
                "text",
                f"{mark.label}: {whole(mark.x)}",
                x=beside,
                y=_TOP + 9,
                class_="end" if right_half else None,
            )


def _colour(at: int) -> str:
    return f"s{at % COLOURS}" + (" dash" if at >= COLOURS else "")


def _path(places: Iterable[tuple[float, float]]) -> str:
    # A blank where the next number is its own separator would save bytes and be harder to check.
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


# --- curves -----------------------------------------------------------------------------------------------


def _curve(curve: Curve, frame: _Frame, words: str) -> Markup:
    lines = [_line(series, at, frame, curve) for at, series in enumerate(curve.series)]
    bands = [band for line in lines for band in line[0]]
    strokes = [stroke for line in lines for stroke in line[1]]
    return _svg(frame, words, *_axes(frame), *bands, *_marks(curve.marks, frame), *strokes)


def _line(series: Series, at: int, frame: _Frame, curve: Curve) -> tuple[list[Markup], list[Markup]]:
    """Bands and strokes of one series; each stretch between gaps is a line of its own."""
    bands: list[Markup] = []
    strokes: list[Markup] = []
    shown: list[Point] = []
    for stretch in _stretches(series.points, frame):
        points = _thinned(stretch, frame)
        shown += points
        places = [(frame.x.place(point.x), frame.y.place(point.y)) for point in points]
        if any(point.low is not None for point in points):
            outline = [*_edge(points, frame, "high"), *reversed(_edge(points, frame, "low"))]
            bands.append(el("path", d=_path(outline) + "Z", class_=f"band {_colour(at)}"))
        if len(places) > 1:
            strokes.append(el("path", d=_path(places), class_=f"line {_colour(at)}"))
    if len(shown) <= _MOST_TITLES:
        dots = len(shown) <= _MOST_DOTS or not strokes  # points without a line between them must be seen
        strokes += [_dot(point, series.name, at, frame, curve, seen=dots) for point in shown]
    return bands, strokes


def drawable(curve: Curve, series: Series) -> list[Point]:
    """The points of a line that have a place on the axes of its curve."""
    across, upwards = (Scale(1, 2, 0, 1, axis.log, ()) for axis in (curve.x, curve.y))
    return [point for point in series.points if across.holds(point.x) and upwards.holds(point.y)]


def _stretches(points: Sequence[Point], frame: _Frame) -> list[list[Point]]:
    stretches: list[list[Point]] = [[]]
    for point in points:
        if frame.x.holds(point.x) and frame.y.holds(point.y):
            stretches[-1].append(point)
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def _thinned(points: list[Point], frame: _Frame) -> list[Point]:
    """No more points than can be seen: of those in one place the first, lowest, highest and last."""
    if len(points) <= _MOST_POINTS:
        return points
    columns: dict[int, list[Point]] = {}
    width = (frame.x.stop - frame.x.start) / (_MOST_POINTS / 4)
    for point in points:
        columns.setdefault(int((frame.x.place(point.x) - frame.x.start) / width), []).append(point)
    kept: list[Point] = []
    for column in columns.values():
        lowest, highest = min(column, key=lambda p: p.y), max(column, key=lambda p: p.y)
        chosen = {id(one) for one in (column[0], lowest, highest, column[-1])}
        kept += [one for one in column if id(one) in chosen]
    return kept


def _edge(points: Sequence[Point], frame: _Frame, end: str) -> list[tuple[float, float]]:
    """One border of a band, held inside the plane where it is endless."""
    border: list[tuple[float, float]] = []
    for point in points:
        given: float | None = getattr(point, end)
        value = point.y if given is None else given
        least = frame.y.low if end == "low" else frame.y.high
        border.append((frame.x.place(point.x), frame.y.place(value if frame.y.holds(value) else least)))
    return border


def _dot(point: Point, name: str, at: int, frame: _Frame, curve: Curve, *, seen: bool) -> Markup:
    spread = (
        "" if point.low is None or point.high is None else f" [{number(point.low)}, {number(point.high)}]"
    )
    words = f"{name}: {curve.y.label} {number(point.y)}{spread} at {curve.x.label} {whole(point.x)}"
    return el(
        "circle",
        el("title", words),
        cx=frame.x.place(point.x),
        cy=frame.y.place(point.y),
        r=2.5 if seen else 6.0,
        class_=f"dot {_colour(at)}" if seen else "hit",
    )


def _curve_words(curve: Curve) -> str:
    parts = [f"Line chart: {curve.title}. {named_axis(curve.y)} by {named_axis(curve.x)}."]
    for series in curve.series:
        known = drawable(curve, series)
        if not known:
            parts.append(f"{series.name}: nothing to draw.")
            continue
        least, most = min(known, key=lambda p: p.y), max(known, key=lambda p: p.y)
        first, last = known[0], known[-1]
        course = f"from {number(first.y)} at {whole(first.x)} to {number(last.y)} at {whole(last.x)}"
        parts.append(f"{series.name}: {course}, lowest {number(least.y)}, highest {number(most.y)}.")
    return " ".join(parts)


# --- histograms -------------------------------------------------------------------------------------------


def _histogram(histogram: Histogram, frame: _Frame) -> Markup:
    parts: list[Markup] = []
    floor = frame.y.start
    bins = list(pairwise([frame.x.place(edge) for edge in histogram.edges]))
    for at, group in enumerate(histogram.groups):
        tops = [frame.y.place(count) if frame.y.holds(count) else floor for count in group.counts]
        steps = [(x, top) for (left, right), top in zip(bins, tops, strict=True) for x in (left, right)]
        outline = [(bins[0][0], floor), *steps, (bins[-1][1], floor)]
        parts.append(el("path", d=_path(outline) + "Z", class_=f"band {_colour(at)}"))
        parts.append(el("path", d=_path(outline), class_=f"line {_colour(at)}"))
    names = [f"{group.name} " if group.name else "" for group in histogram.groups]
    hits: list[Markup] = []
    for at, (low, high) in enumerate(pairwise(histogram.edges)):
        counts = (
            f"{name}{whole(group.counts[at])}" for name, group in zip(names, histogram.groups, strict=True)
        )
        words = f"{whole(low)} to {whole(high)}: {', '.join(counts)} {histogram.y.label}"
        left, right = bins[at]
        box = {"x": left, "y": _TOP, "width": right - left, "height": floor - _TOP}
        hits.append(el("rect", el("title", words), class_="hit", **box))
    drawn = (*_axes(frame), *parts, *_marks(histogram.marks, frame), *hits)
    return _svg(frame, _histogram_words(histogram), *drawn)


def _histogram_words(histogram: Histogram) -> str:
    parts = [f"Histogram: {histogram.title}. {named_axis(histogram.y)} by {named_axis(histogram.x)}."]
    bins = list(pairwise(histogram.edges))
    for group in histogram.groups:
        name = f"{group.name}: " if group.name else ""
        fullest = max(range(len(bins)), key=lambda at: group.counts[at])
        low, high = bins[fullest]
        parts.append(
            f"{name}{whole(sum(group.counts))} in all, most ({whole(group.counts[fullest])})"
            f" from {whole(low)} to {whole(high)}."
        )
    return " ".join(parts)
