"""The rows of a training run as curves and key figures: what was logged, smoothed and as it was."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from statistics import fmean

from concord.eval.course.curves import Course, course_of, ends_of, mean_of
from concord.report.blocks import (
    Axis,
    Block,
    Cell,
    Column,
    Curve,
    Heading,
    Mark,
    Measured,
    Noted,
    Paragraph,
    Point,
    Series,
    Table,
)

__all__ = ["course_blocks", "key_figures", "smoothed"]

_Row = Mapping[str, float]

_MEANINGS: Mapping[str, str] = {
    "loss": "what is minimised",
    "rewards/accuracies": "share of pairs whose better reply has the higher implicit reward",
    "rewards/margins": "how far the implicit reward of the better reply is ahead",
    "rewards/chosen": "implicit reward of better replies",
    "rewards/rejected": "implicit reward of worse replies",
    "logps/chosen": "log-probability of better replies, in nats a reply",
    "logps/rejected": "log-probability of worse replies, in nats a reply",
    "accuracy": "share judged as labelled",
    "margin": "how far the reward of the better reply is ahead",
    "mean_reward": "mean reward of all replies",
    "nll_loss": "negative log-likelihood of a token, in nats",
    "kl": "distance from the reference",
    "objective/kl": "distance from the reference, in nats a reply",
    "grad_norm": "length of the gradient, before clipping",
}
_FEWEST, _WINDOWS, _LEAST = (
    20,
    25,
    5,
)  # points from which on curves are smoothed; windows a run; points in one
_MOST_EPOCHS = 6
# What runs are told by, not what they are about.
_COUNTERS = frozenset({"step", "epoch", "num_tokens", "step_time"})


@dataclass(frozen=True, slots=True)
class _Plot:
    """Which numbers stand in one drawing, under which title; a name that was not logged is left out."""

    title: str
    axis: Axis
    names: Mapping[str, str]


_BY_LOSS = (
    _Plot("Loss", Axis("loss"), {"loss": ""}),
    _Plot("Likelihood of a token", Axis("negative log-likelihood", "nats"), {"nll_loss": ""}),
    _Plot("How often the better reply leads", Axis("share of pairs"), {"rewards/accuracies": ""}),
    _Plot("How often it is right", Axis("share"), {"accuracy": ""}),
    _Plot("By how much the better reply leads", Axis("margin"), {"rewards/margins": "", "margin": ""}),
    _Plot(
        "Implicit rewards of both sides",
        Axis("reward"),
        {"rewards/chosen": "chosen", "rewards/rejected": "rejected"},
    ),
    _Plot(
        "Likelihood of both sides",
        Axis("log-probability", "nats a reply"),
        {
            "logps/chosen": "chosen",
            "logps/rejected": "rejected",
            "logps/ref_chosen": "chosen, reference",
            "logps/ref_rejected": "rejected, reference",
        },
    ),
    _Plot("Distance from the reference", Axis("KL", "nats"), {"objective/kl": "a reply", "kl": ""}),
)
_BY_MACHINE = (
    _Plot("Length of the gradient", Axis("norm before clipping"), {"grad_norm": ""}),
    _Plot("Learning rate", Axis("rate"), {"learning_rate": ""}),
    _Plot("Speed", Axis("tokens a second"), {"tokens_per_second": ""}),
    _Plot("Speed in rows", Axis("rows a second"), {"rows_per_second": ""}),
    _Plot("Memory", Axis("peak memory", "MB"), {"memory_mb": ""}),
)
_EXACT = frozenset(
    {"learning_rate", "memory_mb", "grad_norm"}
)  # without chance in them, or told by their peaks


def key_figures(rows: Sequence[_Row]) -> Iterator[Block]:
    """The first and the last quarter of the steps side by side, with held-out values where there are any."""
    cells: list[tuple[Cell, ...]] = []
    for name, meaning in _MEANINGS.items():
        if course := course_of(rows, name):
            held = course_of(rows, f"eval_{name}")
            trained = (_mean(part) for part in ends_of(course))
            kept = (held[0][1], held[-1][1]) if held else (None, None)
            cells.append((Noted(name, meaning), *trained, *kept))
    if not cells:
        yield Paragraph("Nothing has been logged yet.")
        return
    heads = ["figure", "first steps", "last steps", "held out, first", "held out, last"]
    wide = len(heads) if any(row[-1] is not None for row in cells) else len(heads) - 2
    note = "First and last steps are a quarter of the run each; in brackets: 95% intervals of their means."
    yield Table(tuple(map(Column, heads[:wide])), tuple(row[:wide] for row in cells), notes=(note,))


def _mean(values: Sequence[float]) -> Measured:
    one = mean_of(values)
    return Measured(one.value, one.interval, "" if values else "No step of these has a finite value.")


def course_blocks(rows: Sequence[_Row]) -> Iterator[Block]:
    """Every logged number as a curve, training and held out in one drawing."""
    known = {name for plot in (*_BY_LOSS, *_BY_MACHINE) for name in plot.names} | _COUNTERS
    names = dict.fromkeys(name.removeprefix("eval_") for row in rows for name in row)
    others = [_Plot(name, Axis(name), {name: ""}) for name in names if name not in known]
    if not names:
        return
    yield Heading("Curves")
    window = _window(len(course_of(rows, "loss")))
    if window > 1:
        yield Paragraph(
            f"Lines are means over {window} logged steps, and bands go from the least to the most of them."
        )
    marks = _epochs(rows)
    for heading, plots in (("Learning", _BY_LOSS), ("Also logged", others), ("The machine", _BY_MACHINE)):
        curves = [curve for plot in plots if (curve := _curve(plot, rows, marks)) is not None]
        if curves:
            yield Heading(heading, 2)
            yield from curves


def _curve(plot: _Plot, rows: Sequence[_Row], marks: tuple[Mark, ...]) -> Curve | None:
    logged = {name: course for name in plot.names if (course := course_of(rows, name))}
    # A reference stays as it is, whatever is held out.
    moving = [name for name in plot.names if "ref_" not in name]
    held = {name: course for name in moving if (course := course_of(rows, f"eval_{name}"))}
    alone = len(logged) < 2
    series: list[Series] = []
    for name, course in logged.items():
        window = 1 if name in _EXACT else _window(len(course))
        label = plot.names[name] or ("training" if held else "")
        series.append(Series(label, smoothed(course, window, band=alone)))
    for name, course in held.items():
        label = ", ".join(filter(None, (plot.names[name], "held out")))
        series.append(Series(label, tuple(Point(step, value) for step, value in course)))
    if not series:
        return None
    return Curve(plot.title, Axis("step"), plot.axis, tuple(series), marks=marks)


def smoothed(course: Course, window: int, *, band: bool = True) -> tuple[Point, ...]:
    """Means of the values around each point, two points to a window; what is no number leaves a gap.

    band: whether a point holds the least and the most of its window
    """
    if window == 1:
        return tuple(Point(step, value) for step, value in course)
    reach = window // 2
    # Gaps are kept wherever they are: between two points they would be lost.
    points = {step: Point(step, value) for step, value in course if not isfinite(value)}
    for at in (*range(0, len(course), reach), len(course) - 1):
        step, value = course[at]
        around = [one for _, one in course[max(0, at - reach) : at + reach + 1] if isfinite(one)]
        if isfinite(value):
            ends = (min(around), max(around)) if band else (None, None)
            points[step] = Point(step, fmean(around), *ends)
    return tuple(points[step] for step in sorted(points))


def _window(points: int) -> int:
    return 1 if points < _FEWEST else max(_LEAST, points // _WINDOWS) | 1


def _epochs(rows: Sequence[_Row]) -> tuple[Mark, ...]:
    """Where each epoch but the first begins."""
    marks: list[Mark] = []
    course = course_of(rows, "epoch")
    for (_, before), (step, now) in pairwise(course):
        if isfinite(now) and int(now) > int(before) and step < course[-1][0]:
            marks.append(Mark(step, f"epoch {int(now) + 1} from step"))
    return tuple(marks) if len(marks) < _MOST_EPOCHS else ()
