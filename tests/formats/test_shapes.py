"""Every shape: detected, read, said in one line that reads the same, and written and read again."""

from dataclasses import replace

import pytest

from concord.errors import InputError
from concord.formats.detect import detect
from concord.formats.mapping import parse_mapping
from concord.formats.roles import ROLES
from concord.formats.rows import Row
from concord.formats.shapes import SHAPES, all_shapes
from concord.formats.writing import to_row
from concord.types import Item, Preference
from concord.views import Comparison, view
from tests.formats.fixtures import CASES, Case, as_text, first_item, rows_of

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def read(rows: list[Row]) -> list[Item]:
    plan = detect(rows)
    return [item for row in rows for item in plan.read(row)]


@each_case
def test_detected_and_read(case: Case) -> None:
    rows = rows_of(*case.rows)
    plan = detect(rows)
    assert (plan.shape.name, plan.kind, plan.line) == (case.shape, case.kind, case.line)
    assert plan.read(rows[0])[0] == first_item(case)
    for row in rows[1:]:
        assert plan.read(row)


# Bytes have no place in a table of text.
IN_TEXT = {
    name: case
    for name, case in CASES.items()
    if not any(isinstance(value, bytes) for row in case.rows for value in row.values())
}


@pytest.mark.parametrize("case", IN_TEXT.values(), ids=IN_TEXT.keys())
def test_detected_and_read_from_a_table_of_text(case: Case) -> None:
    whole = [row for row in case.rows if row.get("answer") != ""]  # an empty cell is no reply
    rows = rows_of(*map(as_text, whole), textual=True)
    assert detect(rows).shape.name == case.shape
    expected = [item for row in rows_of(*whole) for item in parse_mapping(case.line).read(row)]
    for plan in (detect(rows), parse_mapping(case.line, ())):
        again = [item for row in rows for item in plan.read(row)]
        assert [replace(item, meta={}) for item in again] == [replace(item, meta={}) for item in expected]


@each_case
def test_the_line_says_the_same(case: Case) -> None:
    rows = rows_of(*case.rows)
    expected = read(rows)
    for plan in (parse_mapping(case.line), parse_mapping(case.line, rows)):
        assert [item for row in rows for item in plan.read(row)] == expected
        assert parse_mapping(plan.line).line == plan.line
    assert [item for row in rows for item in parse_mapping(f"shape={case.shape}", rows).read(row)] == expected


@each_case
def test_every_column_is_shown(case: Case) -> None:
    shown = detect(rows_of(*case.rows)).shown
    columns = {name for row in case.rows for name in row}
    assert columns == {name.partition(".")[0] for name, _ in shown}
    kept = {name for name, becomes in shown if "meta" in becomes}
    assert {name for name in case.rows[0] if name.startswith("x")} <= kept


@each_case
def test_written_and_read_as_our_own(case: Case) -> None:
    items = read(rows_of(*case.rows))
    again = read(rows_of(*(to_row(item, shape="concord") for item in items)))
    assert [replace(item, origin=None) for item in again] == [replace(item, origin=None) for item in items]


def unfit(item: Item) -> bool:
    """Whether TRL has no columns for what is known of an item: ties, votes and aspects."""
    known = item.utilities
    return isinstance(known, Preference) and bool(known.first == 0.5 or known.votes or known.aspects)


def better_first(item: Item) -> Item:
    """The item without its origin, the better reply first."""
    seen = view(item)
    return (
        seen.better_first.item(meta=item.meta) if isinstance(seen, Comparison) else replace(item, origin=None)
    )


@each_case
def test_written_and_read_with_the_columns_of_trl(case: Case) -> None:
    for item in read(rows_of(*case.rows)):
        if unfit(item):
            with pytest.raises(InputError, match=r'^rows.jsonl:\d: .*shape="concord"'):
                to_row(item)
            continue
        [again] = read(rows_of(to_row(item)))
        assert better_first(again) == better_first(item)


def test_every_shape_has_a_case() -> None:
    assert {shape.name for shape in SHAPES} - {"concord"} == {case.shape for case in CASES.values()}


@pytest.mark.parametrize("shape", all_shapes(), ids=lambda shape: shape.name)
def test_shapes_are_sound(shape: object) -> None:
    known = next(one for one in all_shapes() if one is shape)
    assert sum(one.name == known.name for one in all_shapes()) == 1
    assert known.summary
    assert all(names for names in known.roles.values())
    assert all(role in ROLES or role.startswith("aspect.") for role in known.roles)
    assert len({len(known.needs[role]) for role in known.together}) <= 1
    assert known.columns
