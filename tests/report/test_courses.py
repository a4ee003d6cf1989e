"""Logged rows as curves and key figures: what stands together, what is smoothed, what leaves a gap."""

from math import inf, isnan, nan

from hypothesis import given
from hypothesis import strategies as st

from concord.report.blocks import Curve, Heading, Mark, Measured, Noted, Paragraph, Table
from concord.report.courses import course_blocks, key_figures, smoothed

Row = dict[str, float]


def curves(rows: list[Row]) -> dict[str, Curve]:
    return {one.title: one for one in course_blocks(rows) if isinstance(one, Curve)}


def steps(count: int, **values: float) -> list[Row]:
    named = {name.replace("__", "/"): value for name, value in values.items()}
    return [{"step": step, **named} for step in range(1, count + 1)]


def test_training_and_held_out_stand_in_one_drawing() -> None:
    rows = [*steps(4, loss=0.7), {"step": 2, "eval_loss": 0.6}, {"step": 4, "eval_loss": 0.5}]
    (curve,) = curves(rows).values()
    assert [series.name for series in curve.series] == ["training", "held out"]
    assert [(point.x, point.y) for point in curve.series[1].points] == [(2, 0.6), (4, 0.5)]
    alone = curves(steps(4, loss=0.7))["Loss"]
    assert [series.name for series in alone.series] == [""]


def test_both_sides_stand_in_one_drawing_by_name() -> None:
    rows = steps(30, rewards__chosen=0.1, rewards__rejected=-0.1)
    rows.append({"step": 30, "eval_rewards/chosen": 0.05})
    curve = curves(rows)["Implicit rewards of both sides"]
    assert [series.name for series in curve.series] == ["chosen", "rejected", "chosen, held out"]
    assert all(point.low is None for series in curve.series for point in series.points), "bands would overlap"


def test_held_out_rows_have_no_line_for_the_reference() -> None:
    rows = steps(4, logps__chosen=-9.0, logps__ref_chosen=-8.0)
    rows.append({"step": 4, "eval_logps/chosen": -9.0, "eval_logps/ref_chosen": -8.0})
    names = [series.name for series in curves(rows)["Likelihood of both sides"].series]
    assert names == ["chosen", "chosen, reference", "chosen, held out"]


def test_every_number_is_drawn_and_counters_are_not() -> None:
    rows = steps(3, loss=1.0, mine=2.0, epoch=0.5, num_tokens=7.0, step_time=0.1, memory_mb=9.0)
    rows.append({"step": 3, "eval_theirs": 1.0})
    assert set(curves(rows)) == {"Loss", "mine", "theirs", "Memory"}
    headings = [one.text for one in course_blocks(rows) if isinstance(one, Heading)]
    assert headings == ["Curves", "Learning", "Also logged", "The machine"]
    assert list(course_blocks([])) == []


def test_few_points_are_drawn_as_they_are_and_many_are_smoothed() -> None:
    few = curves(steps(19, loss=1.0))["Loss"].series[0].points
    assert [point.x for point in few] == list(range(1, 20))
    assert few[0].low is None
    rows = steps(200, loss=1.0, grad_norm=1.0, learning_rate=1e-6)
    many = curves(rows)
    assert len(many["Loss"].series[0].points) < 60
    assert len(many["Length of the gradient"].series[0].points) == 200, "its peaks are what it is for"
    assert any(
        isinstance(one, Paragraph) and "over 9 logged steps" in one.text for one in course_blocks(rows)
    )


def test_a_smoothed_point_holds_the_least_and_the_most_around_it() -> None:
    course = list(enumerate([1.0, 2.0, 9.0, 4.0, 5.0, 6.0]))
    points = smoothed(course, 5)
    assert [point.x for point in points] == [0, 2, 4, 5]
    second = points[1]
    assert (second.y, second.low, second.high) == (4.2, 1.0, 9.0)
    assert smoothed(course, 5, band=False)[1].low is None
    assert points[-1].y == 5.0


@given(st.lists(st.floats(-1e3, 1e3) | st.sampled_from([nan, inf]), min_size=1, max_size=60))
def test_smoothing_leaves_a_gap_for_what_is_no_number_and_stays_within_bounds(values: list[float]) -> None:
    points = smoothed(list(enumerate(values)), 5)
    assert [point.x for point in points] == sorted({point.x for point in points})
    broken = [value for value in values if isnan(value) or value == inf]
    gaps = [point for point in points if isnan(point.y) or point.y == inf]
    assert bool(broken) == bool(gaps)
    for point in points:
        if point.low is not None and point.high is not None:
            assert point.low - 1e-9 <= point.y <= point.high + 1e-9


def test_epochs_are_marked_where_they_begin() -> None:
    rows = [{"step": step, "loss": 1.0, "epoch": step / 4} for step in range(1, 13)]
    assert curves(rows)["Loss"].marks == (Mark(4, "epoch 2 from step"), Mark(8, "epoch 3 from step"))
    many = [{"step": step, "loss": 1.0, "epoch": float(step)} for step in range(1, 13)]
    assert curves(many)["Loss"].marks == ()


def test_key_figures_have_intervals_and_held_out_values() -> None:
    rows = [{"step": step, "loss": step / 2} for step in range(1, 21)]
    (table,) = key_figures(rows)
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == ["figure", "first steps", "last steps"]
    name, first, last = table.rows[0]
    assert name == Noted("loss", "what is minimised")
    assert isinstance(first, Measured)
    assert isinstance(last, Measured)
    assert first.interval is not None
    assert (first.value, last.value) == (1.5, 9.0)
    (table,) = key_figures([*rows, {"step": 10, "eval_loss": 0.95}, {"step": 20, "eval_loss": 0.9}])
    assert isinstance(table, Table)
    assert table.rows[0][3:] == (0.95, 0.9)


def test_nothing_logged_is_said() -> None:
    assert list(key_figures([])) == [Paragraph("Nothing has been logged yet.")]
    (table,) = key_figures([{"step": 1, "loss": nan}])
    assert isinstance(table, Table)
    assert table.rows[0][1] == Measured(None, None, "No step of these has a finite value.")
