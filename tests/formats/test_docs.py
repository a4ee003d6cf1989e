"""The page of formats says what the tables of the code say, and its examples are what it says they are."""

import re
from collections.abc import Iterable, Mapping

import pytest

from concord.errors import InputError, RowError
from concord.formats.detect import detect
from concord.formats.mapping import parse_mapping
from concord.formats.roles import ROLE_ALIASES, ROLES
from concord.formats.rows import Row
from concord.formats.shapes import SHAPES, Shape, all_shapes
from concord.formats.sources import split_named
from concord.types import Origin
from tests.conftest import ROOT

MOST = 12  # names of columns that a row of the table has room for
PAGE = ROOT / "docs" / "formats.md"
PLACE = Origin("prefs.jsonl", 3)
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the tests")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def of_shapes(shapes: Iterable[Shape]) -> str:
    rows = [
        (
            f"`{one.name}`",
            one.kind,
            one.summary,
            codes([*(names[0] for names in one.needs.values()), *one.beside]),
        )
        for one in shapes
    ]
    return table(("shape", "kind", "a row is", "columns"), rows)


def names_of(role: str) -> list[str]:
    """The names by which columns are taken for a role, paths left out."""
    found = [name for shape in SHAPES for name in shape.roles.get(role, ()) if "." not in name]
    return list(dict.fromkeys(found))


def first_of(names: list[str]) -> str:
    return codes(names[:MOST]) + (", ..." if len(names) > MOST else "")


def of_roles() -> str:
    also: Mapping[str, list[str]] = {
        role: [name for name, known in ROLE_ALIASES.items() if known == role] for role in ROLES
    }
    rows = [(f"`{role}`", ROLES[role], first_of(names_of(role)), codes(also[role])) for role in ROLES]
    return table(("role", "what it is", "columns taken for it", "other names in a mapping"), rows)


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("shapes", of_shapes(SHAPES)),
        ("shapes by hand", of_shapes(all_shapes()[len(SHAPES) :])),
        ("roles", of_roles()),
    ],
)
def test_the_tables_are_those_of_the_code(part: str, wanted: str) -> None:
    found = re.search(rf"<!-- {part} -->\n(.*?)<!-- end -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert found[1].strip() == wanted.strip(), f"put this into {PAGE.name}:\n{wanted}"


def test_the_mappings_of_the_page_can_be_read() -> None:
    lines = re.findall(r'--map "(.*?)"', PAGE.read_text(encoding="utf-8"))
    assert len(lines) > 5
    for line in lines:
        plan = parse_mapping(line)
        assert parse_mapping(plan.line).line == plan.line


def test_the_messages_of_the_page_are_what_is_said() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    choices = [Row({"prompt": "p", "answer_a": "a", "answer_b": "b", "label": one}, PLACE) for one in (0, 1)]
    with pytest.raises(InputError) as unsure:
        detect(choices)
    plan = parse_mapping("prompt=prompt chosen=chosen rejected=rejected")
    with pytest.raises(RowError) as bad:
        plan.read(Row({"prompt": "Why?", "chosen": "So.", "rejected": None}, PLACE))
    for error in (unsure, bad):
        assert str(error.value) in text


def test_the_splits_of_the_page_are_told() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert split_named("prefs-dev.jsonl") == split_named("dev/part-0.parquet") == "validation"
    assert "`prefs-dev.jsonl` is of the split `validation`, and so is `dev/part-0.parquet`" in text
