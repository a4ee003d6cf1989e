"""Results as tables, curves and pages, from records and from the directory of a run."""

from pathlib import Path

import pytest

from concord.errors import RunError
from concord.report.blocks import (
    Callout,
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
from concord.report.html import page_html
from concord.report.results import from_results, results_curve, results_page
from concord.results import Challenge, Interval, Result
from concord.run import Run
from tests.report.reading import read_page

LOSS = Result(
    name="loss",
    value=0.5,
    n=10,
    interval=Interval(0.4, 0.6, how="bootstrap"),
    unit="nats",
    at={"step": 3, "seed": "a"},
)
NONE = Result(
    name="truth", value=None, n=0, failures=4, how="by a judge", reading="judge", higher_is_better=True
)


def heads(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def test_a_table_has_the_columns_that_are_needed() -> None:
    table = from_results([LOSS, LOSS])
    assert heads(table) == ["name", "step", "seed", "value", "n"]
    assert table.columns[3].unit == "nats"
    assert table.rows[0] == ("loss", 3, "a", Measured(0.5, LOSS.interval, ""), 10)
    assert table.notes == ("In brackets: 95% interval, bootstrap.",)


def test_a_table_of_different_results_says_what_each_is() -> None:
    table = from_results([LOSS, NONE], caption="All")
    assert heads(table) == ["name", "step", "seed", "value", "n", "unit", "better", "reading", "failures"]
    assert table.columns[3].unit == ""
    missing = Measured(None, None, "Nothing could be measured: 4 failures.")
    assert table.rows[1] == (Noted("truth", "by a judge"), "", "", missing, 0, "", "higher", "judge", 4)


def test_no_results_make_a_table_too() -> None:
    assert from_results([]).rows == ()
    page = read_page(page_html(Page("T", "", (from_results([]), results_curve([], "step")))))
    assert "No rows." in page.text
    assert len(page.all("svg", "plot")) == 2


def test_a_curve_has_a_line_for_each_setting_and_says_what_it_lost() -> None:
    def at(step: float, seed: str, value: float | None) -> Result:
        return Result(name="loss", value=value, n=1, unit="nats", at={"step": step, "seed": seed})

    curve = results_curve([at(2, "a", 0.2), at(1, "a", 0.1), at(1, "b", 0.3), at(3, "b", None), NONE], "step")
    assert curve.series == (
        Series("seed a", (Point(1, 0.1), Point(2, 0.2))),
        Series("seed b", (Point(1, 0.3),)),
    )
    assert curve.caption == "2 results have no value or no number as step."
    assert (curve.y.label, curve.y.unit, curve.title) == ("loss", "nats", "loss")
    assert results_curve([LOSS], "step").series[0].points == (Point(3, 0.5, 0.4, 0.6),)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.open(tmp_path, name="trial", recipe="a: 1\n", resolved={"a": 1}, inputs={})
    made.write_results([LOSS, Result(name="tax", value=1.0, n=2, challenge=Challenge.TAX)])
    return made


def test_a_page_from_the_directory_of_a_run(run: Run) -> None:
    run.mark("finished")
    run.close()
    page = results_page(run.path)
    assert page.title == "trial"
    kinds = [type(block) for block in page.blocks]
    assert kinds == [Facts, Heading, Table, Heading, Table]
    assert [block.text for block in page.blocks if isinstance(block, Heading)] == ["Alignment tax", "Results"]
    assert "0.50 [0.40, 0.60]" in read_page(page_html(page)).text


def test_a_page_says_how_a_run_ended(run: Run, tmp_path: Path) -> None:
    run.mark("failed", reason="no memory")
    run.close()
    (callout,) = (block for block in results_page(run.path).blocks if isinstance(block, Callout))
    assert (callout.severity, callout.detail) == ("stop", "no memory")
    with Run.open(tmp_path, name="new", recipe="a: 2\n", resolved={"a": 2}, inputs={}) as new:
        blocks = results_page(new.path).blocks
        assert any(isinstance(block, Paragraph) for block in blocks)
        assert any(isinstance(block, Callout) and block.severity == "note" for block in blocks)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a whole run directory"):
        results_page(tmp_path)
