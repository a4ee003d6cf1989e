"""Edit chains: the documented choice among the cheapest, replayed and written down without loss."""

import json
import random
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.synth.edits import MARKERS, Edit, EditChain, apply_edits, edit_chain, parse, serialise
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "tests" / "objectives" / "vectors.json").read_text(encoding="utf-8"))["vectors"]
VECTOR = next(vector for vector in VECTORS if vector["name"] == "second_thoughts_edit_chain")
SOURCE, TARGET = VECTOR["inputs"]["source"], VECTOR["inputs"]["target"]
COSTS: dict[str, dict[str, float]] = {
    "costs_ins1_del1_rep2": {},
    "costs_1_1_1": {"insert": 1, "delete": 1, "replace": 1},
}

lines = st.lists(st.sampled_from("abc"), max_size=7)
costs = st.sampled_from([0.1, 0.2, 0.3, 1, 1.5, 2, 3])
prices = st.fixed_dictionaries({"insert": costs, "delete": costs, "replace": costs})
tokens = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        [*MARKERS, "->", "@2", "", " ", "\\", "\\20;", "\\;", "<", "</edits", "a\nb", "\u00a0", "\ud800"]
    ),
)
edits = st.one_of(
    st.builds(Edit, at=st.integers(0, 10**6), old=tokens, new=tokens),
    st.builds(Edit, at=st.integers(0, 10**6), old=tokens),
    st.builds(Edit, at=st.integers(0, 10**6), new=tokens),
)


def by_hand(source: Sequence[str], target: Sequence[str], price: dict[str, float]) -> EditChain:
    """The recursion as the specification writes it, in whole tenths."""
    insert, delete, replace = (round(10 * price[name]) for name in ("insert", "delete", "replace"))

    @cache
    def cost(i: int, j: int) -> int:
        ways = [cost(i - 1, j - 1) + (0 if source[i - 1] == target[j - 1] else replace)] if i and j else []
        ways += [cost(i - 1, j) + delete] if i else []
        ways += [cost(i, j - 1) + insert] if j else []
        return min(ways, default=0)

    i, j, chain = len(source), len(target), list[Edit]()
    while i or j:
        both, here = bool(i and j), cost(i, j)
        if both and source[i - 1] == target[j - 1] and here == cost(i - 1, j - 1):
            i, j = i - 1, j - 1
        elif both and source[i - 1] != target[j - 1] and here == cost(i - 1, j - 1) + replace:
            i, j = i - 1, j - 1
            chain.append(Edit(at=i, old=source[i], new=target[j]))
        elif i and here == cost(i - 1, j) + delete:
            i -= 1
            chain.append(Edit(at=i, old=source[i]))
        else:
            j -= 1
            chain.append(Edit(at=i, new=target[j]))
    return EditChain(cost=cost(len(source), len(target)) / 10, edits=tuple(chain[::-1]))


@pytest.mark.parametrize("case", VECTOR["expected"])
def test_worked_value(case: str) -> None:
    expected = VECTOR["expected"][case]
    chain = edit_chain(SOURCE, TARGET, **COSTS[case])
    assert chain.cost == pytest.approx(expected["cost"], abs=1e-6)
    assert [[edit.operation, edit.at, edit.old, edit.new] for edit in chain.edits] == expected["ops"]
    assert apply_edits(SOURCE, chain.edits) == tuple(TARGET)


@given(lines, lines, prices)
def test_chain_is_that_of_the_plain_recursion(source: list[str], target: list[str], price: Any) -> None:
    assert edit_chain(source, target, **price) == by_hand(source, target, price)


@given(st.lists(tokens, max_size=8), st.lists(tokens, max_size=8), prices)
def test_chain_leads_from_source_to_target(source: list[str], target: list[str], price: Any) -> None:
    chain = edit_chain(source, target, **price)
    assert apply_edits(source, chain.edits) == tuple(target)
    assert parse(serialise(chain.edits)) == chain.edits


def test_edges() -> None:
    assert edit_chain([], []) == EditChain(cost=0, edits=())
    assert edit_chain(["a", "b"], ["a", "b"]).edits == ()
    assert edit_chain([], ["a", "b"]).edits == (Edit(at=0, new="a"), Edit(at=0, new="b"))
    assert edit_chain(["a", "b"], []).edits == (Edit(at=0, old="a"), Edit(at=1, old="b"))
    assert edit_chain(["a"], ["b"]).edits == (Edit(at=0, old="a", new="b"),)
    assert edit_chain(["a"], ["b"], replace=3).edits == (Edit(at=0, new="b"), Edit(at=0, old="a"))
    assert edit_chain(["\u00e9"], ["e\u0301"]).cost == 2


def test_costs_are_decimals() -> None:
    assert edit_chain(["a"], ["b"], insert=0.1, delete=0.2, replace=0.3).edits == (
        Edit(at=0, old="a", new="b"),
    )
    assert edit_chain(["a"], ["b"], insert=1e-300, delete=1e200, replace=1e300).cost == 1e200


def test_long_texts_take_a_moment() -> None:
    chance = random.Random(0)
    source = [str(chance.randrange(500)) for _ in range(2000)]
    target = [token if chance.random() < 0.8 else "new" for token in source]
    chain = edit_chain(source, target)
    assert apply_edits(source, chain.edits) == tuple(target)
    assert chain.cost == 2 * target.count("new")


@pytest.mark.parametrize("name", ["insert", "delete", "replace"])
@pytest.mark.parametrize("cost", [0, -1, float("inf"), float("nan")])
def test_a_cost_is_above_zero(name: str, cost: float) -> None:
    price: dict[str, float] = {name: cost}
    with pytest.raises(InputError, match=rf"costs to {name} is no cost; found {cost}; accepted: a number"):
        edit_chain(["a"], ["b"], **price)


def test_a_string_is_not_a_sequence_of_tokens() -> None:
    with pytest.raises(InputError, match=r"the source is one string.*to do: split it"):
        edit_chain("a b", ["a"])
    with pytest.raises(InputError, match="the target is one string"):
        edit_chain(["a"], "a b")
    with pytest.raises(InputError, match="the source is one string"):
        apply_edits("a b", [])


def test_edits_are_frozen_and_do_something() -> None:
    with pytest.raises(FrozenInstanceError):
        Edit(at=0, old="a").at = 1  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match=r"an edit needs.*found \(0, None, None\)"):
        Edit(at=0)
    with pytest.raises(InputError, match=r"found \(-1, 'a', None\)"):
        Edit(at=-1, old="a")


def test_insertions_stand_before_what_happens_to_a_token() -> None:
    chain = [Edit(at=0, new="x"), Edit(at=0, new="y"), Edit(at=0, old="a"), Edit(at=2, new="z")]
    assert apply_edits(["a", "b"], chain) == ("x", "y", "b", "z")


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([Edit(at=3, new="x")], r"edit 1 \(insert\) has a place.*found 3; accepted: 0 to 2"),
        ([Edit(at=2, old="b")], r"edit 1 \(delete\) has a place.*found 2; accepted: 0 to 1"),
        ([Edit(at=0, old="b", new="c")], r"edit 1 \(replace\) takes away.*found 'b'; accepted: 'a'"),
        ([Edit(at=1, old="b"), Edit(at=0, old="a")], r"edit 2 \(delete\).*found 0; accepted: no place"),
        ([Edit(at=0, old="a"), Edit(at=0, old="a")], r"edit 2 \(delete\).*found 0; accepted: 1 to 1"),
        ([Edit(at=0, old="a"), Edit(at=0, new="x")], "found 0; accepted: 1 to 2; to do: list edits in the"),
    ],
)
def test_edits_that_do_not_fit_are_refused(chain: list[Edit], message: str) -> None:
    with pytest.raises(InputError, match=message):
        apply_edits(["a", "b"], chain)


def test_text_form() -> None:
    text = "<edits> <insert> @2 calmly <replace> @2 hurt -> help <replace> @4 guy -> person </edits>"
    assert serialise(edit_chain(SOURCE, TARGET).edits) == text
    assert parse(text) == edit_chain(SOURCE, TARGET).edits
    assert serialise([]) == "<edits> </edits>"
    assert parse("<edits> </edits>") == ()
    odd = [Edit(at=0, old=""), Edit(at=1, old="a b", new="</edits>"), Edit(at=2, new="a\\<b>")]
    assert serialise(odd) == (
        r"<edits> <delete> @0 \; <replace> @1 a\20;b -> \3c;/edits> <insert> @2 a\5c;<b> </edits>"
    )


@given(st.lists(edits, max_size=4))
def test_text_form_loses_nothing(chain: list[Edit]) -> None:
    text = serialise(chain)
    assert parse(text) == tuple(chain)
    assert not {"<edits>", "</edits>"} & {*text.split(" ")[1:-1]}


@given(st.lists(st.sampled_from([*MARKERS, "@1", "@01", "->", "a", "\\;", "\\41;", "\\20;", ""]), max_size=8))
def test_what_is_read_writes_the_same_text(words: list[str]) -> None:
    text = " ".join(["<edits>", *words, "</edits>"])
    try:
        read = parse(text)
    except InputError:
        return
    assert serialise(read) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "edits stand between <edits> and </edits>; found ''; accepted: <edits> <insert> @2 new"),
        ("<edits>", "edits stand between"),
        ("<edits> </edits> ", "to do: strip what is around them"),
        ("<edits> <insert> @0 a", "edits stand between"),
        ("<edits>  </edits>", "edit 1 cannot be read; found ''"),
        ("<edits> <insert> @0 a <keep> @1 b </edits>", "edit 2 cannot be read; found '<keep> @1 b'"),
        ("<edits> <insert> @0 </edits>", "edit 1 cannot be read; found '<insert> @0'"),
        ("<edits> <replace> @0 a b </edits>", "edit 1 cannot be read"),
        ("<edits> <insert> 0 a </edits>", "an edit has no place; found '0'; accepted: @ and a whole number"),
        ("<edits> <insert> @-1 a </edits>", "an edit has no place"),
        ("<edits> <insert> @007 a </edits>", "an edit has no place"),
        ("<edits> <insert> @\u0661 a </edits>", "an edit has no place"),
        ("<edits> <insert> @0 \\41; </edits>", r"not written as it must be; found .*; accepted: A"),
        ("<edits> <insert> @0 \\ </edits>", r"not written as it must be"),
        ("<edits> <insert> @0 \\110000; </edits>", r"not written as it must be"),
        ("<edits> <insert> @0 <edits> </edits>", r"not written as it must be"),
        ("<edits> <insert> @0 a\n </edits>", r"not written as it must be"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)
