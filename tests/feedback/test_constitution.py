"""Constitutions: what may be one, and draws that a seed and nothing else decides."""

from collections import Counter
from pathlib import Path

import pytest

from concord.errors import InputError, NotFoundError
from concord.feedback import Constitution, Drawn, Principle, read_constitution

OURS = read_constitution()
JUDGED = [str(number) for number in range(200)]


def test_the_one_that_comes_along() -> None:
    assert len(OURS.principles) == 13
    assert OURS["truth"].priority == 1
    assert all(len(one.text.split()) > 10 and one.scope and one.text.isascii() for one in OURS.principles)
    assert {scope for one in OURS.principles for scope in one.scope} == {
        "harmlessness",
        "helpfulness",
        "honesty",
    }


def test_the_same_seed_draws_the_same_in_any_order_of_asking() -> None:
    first = {judged: OURS.draw(judged, seed=3) for judged in JUDGED}
    again = {judged: read_constitution().draw(judged, seed=3) for judged in reversed(JUDGED)}
    assert first == again
    others = [OURS.draw(judged, seed=4) for judged in JUDGED]
    assert sum(one != other for one, other in zip(first.values(), others, strict=True)) > 150


def test_each_principle_is_drawn_as_often_as_any_other() -> None:
    seen = Counter(one.id for judged in JUDGED for one in OURS.draw(judged))
    # A share of 1/13 of 200 draws: 15.4 with a standard deviation of 3.8.
    assert all(2 <= seen[name] <= 32 for name in OURS.ids)


@pytest.mark.parametrize("count", [1, 3])
def test_taking_a_principle_out_changes_only_what_used_it(count: int) -> None:
    fewer = OURS.without("truth")
    changed = 0
    for judged in JUDGED:
        before, after = OURS.draw(judged, count=count), fewer.draw(judged, count=count)
        held = OURS["truth"] in before
        changed += held
        assert (before != after) == held
        assert {one.id for one in before} - {"truth"} <= {one.id for one in after}
    assert changed


def test_draws_come_in_order_of_priority_and_within_a_scope() -> None:
    for judged in JUDGED[:50]:
        drawn = OURS.draw(judged, count=4, scope="honesty")
        assert [one.priority for one in drawn] == sorted(one.priority for one in drawn)
        assert all("honesty" in one.scope for one in drawn)
        assert len({*drawn}) == 4
    assert len(OURS.draw("x", count=99)) == 13
    everywhere = Principle(id="all", text="always")
    assert everywhere in Constitution((everywhere, *OURS.principles)).within("honesty")


def test_what_a_row_is_judged_by() -> None:
    drawn = Drawn(OURS, count=2, seed=1)
    assert drawn.of("a", meta={"scope": "honesty"}) == OURS.draw("a", count=2, seed=1, scope="honesty")
    # A row that names no kind of prompt that the principles know is of every kind.
    for meta in ({}, {"scope": None}, {"scope": "cooking"}, {"kind": "honesty"}):
        assert drawn.of("a", meta=meta) == OURS.draw("a", count=2, seed=1)
    by_kind = Drawn(OURS, count=2, seed=1, column="kind")
    assert by_kind.of("a", meta={"kind": "honesty"}) == OURS.draw("a", count=2, seed=1, scope="honesty")
    assert len({drawn.id, by_kind.id, Drawn(OURS).id, Drawn(OURS.without("truth")).id}) == 4


def test_ids_are_of_content() -> None:
    assert OURS.id == read_constitution().id
    assert OURS.id != OURS.without("truth").id
    one = Principle(id="a", text="b")
    assert Constitution((one,)).id != Constitution((Principle(id="a", text="b", priority=2),)).id


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- id: a\n  text: b\n- id: a\n  text: c\n", "two principles have one id; found 'a'"),
        ("- id: a\n", "principle 1: text is missing"),
        ("- id: a\n  text: b\n- id: c\n  txt: d\n", "principle 2: txt is no field of a principle"),
        ("- a\n", "principle 1: id is missing"),
        ("id: a\n", "no list of principles"),
        ("[]\n", "a constitution has no principle"),
        ("- id: a\n  text: ' '\n", "a principle has no text"),
        ("- id: a\n  text: b\n  priority: 0\n", "the priority of a is no rank; found 0"),
        ("- id: a\n  text: b\n  scope: honesty\n", "the scope of a is no list of names"),
        ("- [", "is not YAML"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_constitution(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="a constitution cannot be read"):
        read_constitution(tmp_path / "none.yaml")
    with pytest.raises(NotFoundError, match=r"no principle of this id; .*did you mean 'truth'\?"):
        OURS["truht"]
    with pytest.raises(NotFoundError, match="no principle of this id"):
        OURS.without("truht")
    with pytest.raises(
        NotFoundError, match="for this kind of prompt; found 'cooking'; accepted: harmlessness"
    ):
        OURS.draw("a", scope="cooking")
    with pytest.raises(InputError, match="no principle is drawn; found 0"):
        OURS.draw("a", count=0)


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "- id: a\n  text: >\n    be\n    brief\n- {id: b, text: be kind, scope: [x], priority: 2}\n"
    )
    assert read_constitution(path) == Constitution(
        (Principle(id="a", text="be brief"), Principle(id="b", text="be kind", scope=("x",), priority=2))
    )
