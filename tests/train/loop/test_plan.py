"""Plans lose no row, keep to their budget, and give every rank as much to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.train.loop.plan import plan_rows, plan_step

SIZES = st.lists(st.integers(1, 200), min_size=1, max_size=40)


@given(SIZES, st.integers(1, 600), st.integers(1, 4))
def test_a_plan_is_a_partition_within_its_budget(sizes: list[int], budget: int, ranks: int) -> None:
    plan = plan_step(sizes, budget=budget, ranks=ranks)
    places = [place for rank in plan.parts for part in rank for place in part]
    assert sorted(places) == list(range(len(sizes)))
    assert len(plan.parts) == ranks
    assert {len(rank) for rank in plan.parts} == {plan.passes}
    for rank in plan.parts:
        for part in rank:
            alone = len(part) == 1 and part[0] in plan.over
            assert alone or sum(sizes[place] for place in part) <= budget
    assert set(plan.over) == {place for place, size in enumerate(sizes) if size > budget}


@given(SIZES, st.integers(1, 600), st.integers(1, 4))
def test_no_rank_waits_for_nothing(sizes: list[int], budget: int, ranks: int) -> None:
    plan = plan_step(sizes, budget=budget, ranks=ranks)
    # A pass in which nobody has a row would be wasted by everybody.
    assert all(any(rank[number] for rank in plan.parts) for number in range(plan.passes))
    assert plan == plan_step(sizes, budget=budget, ranks=ranks)


def test_what_fits_goes_in_one_pass_and_loads_are_even() -> None:
    assert plan_step([3, 5, 4], budget=12).parts == (((0, 1, 2),),)
    plan = plan_step([10, 9, 8, 7, 6, 5], budget=24, ranks=2)
    loads = [[sum([10, 9, 8, 7, 6, 5][place] for place in part) for part in rank] for rank in plan.parts]
    assert loads in ([[23], [22]], [[22], [23]])


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 200)), min_size=1, max_size=40),
    st.integers(1, 900),
    st.integers(1, 4),
)
def test_padded_rows_stay_in_the_budget_with_their_padding(
    shapes: list[tuple[int, int]], budget: int, ranks: int
) -> None:
    plan = plan_rows(shapes, budget=budget, ranks=ranks)
    places = [place for rank in plan.parts for part in rank for place in part]
    assert sorted(places) == list(range(len(shapes)))
    assert {len(rank) for rank in plan.parts} == {plan.passes}
    assert all(any(rank[number] for rank in plan.parts) for number in range(plan.passes))
    for part in (part for rank in plan.parts for part in rank if part):
        padded = sum(shapes[place][0] for place in part) * max(shapes[place][1] for place in part)
        assert padded <= budget or (len(part) == 1 and part[0] in plan.over)


@pytest.mark.parametrize("wrong", [{"budget": 0}, {"budget": 4, "ranks": 0}])
def test_no_budget_and_no_rank_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least one token and one rank"):
        plan_step([1], **wrong)
