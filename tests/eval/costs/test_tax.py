"""The tax: by hand, of a model against itself, and what several models gain for it."""

from collections.abc import Sequence
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.costs.tax import Tradeoff, hypervolume, pareto_front, tax, tax_results
from concord.policies.scripted import Scripted
from concord.types import Challenge, Item, Rate, Result, Score, Unanswered, Unscored, as_prompt

BASE = {"count": [1.0, 1.0, 1.0, 0.0] * 10, "copy": [8.0, 10.0, 9.0, None] * 5}
ALIGNED = {"count": [1.0, 0.0, 1.0, 0.0] * 10, "copy": [8.5, 11.0, 9.0, 9.0] * 5}

models = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8).map(
    lambda points: [Tradeoff(f"m{place}", float(a), float(b)) for place, (a, b) in enumerate(points)]
)


class Right:
    """A feedback that finds a reply right where it is the one wanted."""

    def __init__(self, name: str = "right", times: float = 1.0) -> None:
        self.id, self.times = name, times

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [
            tuple(Score(self.times * (turns[0].text == rate.meta["wanted"])) for turns in rate.replies)
            for rate in rates
        ]


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {f"{one.name} {one.at['capability']}" if one.name == "tax" else one.name: one for one in results}


def test_each_capability_by_hand() -> None:
    found = named(tax_results(BASE, ALIGNED))
    assert found["tax count"].value == 0.25
    assert (found["tax copy"].value, found["tax copy"].n, found["tax copy"].failures) == (-0.5, 15, 5)
    for one in found.values():
        assert (one.higher_is_better, one.challenge) == (False, Challenge.TAX)
        assert one.interval is not None


def test_summaries_are_in_standard_deviations_of_items() -> None:
    found = named(tax_results(BASE, ALIGNED))
    count = 0.25 / sqrt((0.75 * 0.25 + 0.5 * 0.5) / 2)
    copy = -0.5 / sqrt((2 / 3 + 3.5 / 3) / 2)
    assert found["mean_tax"].value == pytest.approx((count + copy) / 2)
    assert found["worst_tax"].value == pytest.approx(count)
    assert found["worst_tax"].at == {"capability": "count"}
    assert (found["worst_tax"].n, found["worst_tax"].failures) == (55, 5)
    # So the unit of a capability does not matter, where it would to a mean of taxes.
    times = (
        {name: [one and 100 * one for one in row] for name, row in BASE.items()},
        {name: [one and 100 * one for one in row] for name, row in ALIGNED.items()},
    )
    mixed = named(tax_results({**BASE, "copy": times[0]["copy"]}, {**ALIGNED, "copy": times[1]["copy"]}))
    assert mixed["mean_tax"].value == pytest.approx(found["mean_tax"].value)


def test_a_model_pays_no_tax_to_itself() -> None:
    for one in tax_results(BASE, BASE, same=True):
        assert one.value == 0
        assert one.interval is not None
        assert (one.interval.low, one.interval.high) == (0, 0)
    base = Scripted("one", name="one model")
    for one in tax({"echo": [Item(as_prompt("one"), meta={"wanted": "one"})]}, base, base, Right()):
        assert one.interval is not None
        assert (one.value, one.interval.low, one.interval.high) == (0, 0, 0)


def test_two_models_that_are_equal_on_a_few_items_may_differ_on_others() -> None:
    for one in tax_results({"echo": [1.0] * 3}, {"echo": [1.0] * 3}):
        assert (one.value, one.interval) == (0, None)
        assert "no interval" in one.how
    one, *rest = tax_results({"echo": [1.0, 0.0] * 20}, {"echo": [1.0, 0.0] * 20})
    assert one.interval is not None
    assert -0.1 < one.interval.low < 0 < one.interval.high < 0.1
    assert [each.interval for each in rest] == [None, None]


def test_exchanging_the_models_negates_the_tax() -> None:
    one, two = named(tax_results(BASE, ALIGNED)), named(tax_results(ALIGNED, BASE))
    for name in ("tax count", "tax copy", "mean_tax"):
        assert one[name].value == pytest.approx(-(two[name].value or 0.0))
    assert two["worst_tax"].at == {"capability": "copy"}


def test_pairing_narrows_the_interval() -> None:
    paired = named(tax_results(BASE, ALIGNED))["tax count"].interval
    shifted = {**ALIGNED, "count": ALIGNED["count"][1:] + ALIGNED["count"][:1]}
    apart = named(tax_results(BASE, shifted))["tax count"].interval
    assert paired is not None
    assert apart is not None
    assert paired.high - paired.low < 0.7 * (apart.high - apart.low)


def test_clusters_by_capability() -> None:
    count = [place // 8 for place in range(40)]
    plain, shared = tax_results(BASE, ALIGNED), tax_results(BASE, ALIGNED, clusters={"count": (count,)})
    assert [one.value for one in plain] == [one.value for one in shared]
    assert plain[0].interval != shared[0].interval
    assert plain[1].interval == shared[1].interval
    with pytest.raises(InputError, match="a set that is not there; found 'cuont'"):
        tax_results(BASE, ALIGNED, clusters={"cuont": (count,)})


def test_items_that_all_score_alike_have_no_standard_deviation() -> None:
    found = named(tax_results({"one": [1.0] * 9}, {"one": [0.1] * 9}))
    assert found["tax one"].value == 0.9
    for name in ("mean_tax", "worst_tax"):
        assert found[name].value is None
        assert "one score for all items" in found[name].why_none
    none = named(tax_results({"one": [None]}, {"one": [1.0]}))
    assert "no item has a score of both models" in none["mean_tax"].why_none
    assert tax_results({}, {}) == []


def test_both_models_are_asked_alike() -> None:
    items = [Item(as_prompt(text), meta={"wanted": text}) for text in ("one", "two", "three")]
    base = Scripted(lambda ask: ask.prompt.text, name="base")
    policy = Scripted({"one": "one", "two": "2", "three": Unanswered("busy")}, name="policy")
    sets = {"echo": items, "first": items[:1]}
    found = named(tax(sets, policy, base, {"echo": Right(), "first": Right("other", 7.0)}))
    assert (found["tax echo"].value, found["tax echo"].n, found["tax echo"].failures) == (0.5, 2, 1)
    assert found["tax first"].value == 0
    assert base.asks == policy.asks
    assert {ask.sampling.temperature for ask in base.asks} == {0}
    assert len(base.asks) == 4


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="different capabilities; found copy"):
        tax_results(BASE, {"count": ALIGNED["count"]})
    with pytest.raises(InputError, match="differ in number"):
        tax_results(BASE, {**ALIGNED, "copy": [1.0]})
    with pytest.raises(InputError, match=r"not finite; found Tradeoff\(name='a', gain=nan"):
        pareto_front([Tradeoff("a", float("nan"), 0.0)])


# --- several models ---------------------------------------------------------------------------------------


def test_the_front_by_hand() -> None:
    a, b, c, d = Tradeoff("a", 1, 0.5), Tradeoff("b", 2, 0.8), Tradeoff("c", 0.5, 0.6), Tradeoff("d", 2, 0.9)
    assert pareto_front([d, c, b, a]) == [a, b]
    assert hypervolume([a, b, c, d]) == pytest.approx(0.5 + 0.2)
    assert pareto_front([a, Tradeoff("e", 1, 0.5)]) == [a, Tradeoff("e", 1, 0.5)]


def test_a_single_model_has_the_product_of_its_margins() -> None:
    one = Tradeoff("one", 3.0, -0.5)
    assert hypervolume([one], gain=1.0, tax=0.25) == pytest.approx(2.0 * 0.75)
    assert hypervolume([one], gain=3.0) == hypervolume([one], tax=-0.5) == hypervolume([]) == 0


@given(models)
def test_the_front_beats_all_others_and_none_of_its_own(points: list[Tradeoff]) -> None:
    front = pareto_front(points)
    assert front
    for one in points:
        better = [o for o in front if o.gain >= one.gain and o.tax <= one.tax]
        assert better
        strictly = [o for o in points if o.gain >= one.gain and o.tax <= one.tax and o != one]
        beaten = any(o.gain > one.gain or o.tax < one.tax for o in strictly)
        assert (one in front) is not beaten


@given(models)
def test_the_area_is_that_of_unit_squares(points: list[Tradeoff]) -> None:
    # A unit square at (x, y) is covered where a model gains more than x and pays no more than y.
    covered = sum(
        any(one.gain >= x + 1 and one.tax <= y for one in points) for x in range(6) for y in range(6)
    )
    assert hypervolume(points, gain=0.0, tax=6.0) == covered
