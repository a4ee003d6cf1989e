"""The world: requests by split and family, pools, words."""

from typing import Any

import pytest

from concord.errors import InputError
from concord.worlds import harbour
from concord.worlds.harbour import FAMILIES, ROOMS, SPLITS, Harbour, pool, vocabulary, worth
from concord.worlds.harbour.words import split

WORLD = Harbour()


def test_the_world_is_a_function_of_its_seed() -> None:
    assert Harbour(2).requests("test") == Harbour(2).requests("test")
    assert [one.prompt for one in Harbour(2).requests("test")] != [
        one.prompt for one in WORLD.requests("test")
    ]
    assert WORLD.known == WORLD.town.known
    assert "mara" in WORLD.entities["person"]


def test_requests_by_family_and_number() -> None:
    few = WORLD.requests("test", families=["sums", "facts"], each=5)
    assert [one.family for one in few] == ["facts"] * 5 + ["sums"] * 5
    more = WORLD.requests("test", families=["sums"], each=9)
    assert {one.cell for one in few[5:]} <= {one.cell for one in more}
    assert len(WORLD.requests("train")) > 1000


@pytest.mark.parametrize(
    ("split", "families", "message"),
    [("tset", None, "did you mean 'test'"), ("test", ["sum"], "no such family")],
)
def test_what_is_not_there_is_named(split: str, families: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WORLD.requests(split, families=families)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None, True])
def test_seeds_are_counts(seed: Any) -> None:
    with pytest.raises(InputError, match="the seed of Harbour is not a count"):
        Harbour(seed=seed)


def test_seeds_may_be_large() -> None:
    assert len(Harbour(seed=10**18).facts) == len(Harbour().facts)


@pytest.mark.parametrize("each", [-1, 1.5, "2"])
def test_numbers_of_requests_are_counts(each: Any) -> None:
    with pytest.raises(InputError, match="the number of requests is not a count"):
        Harbour().requests("test", each=each)


@pytest.mark.parametrize("times", [0, 1.5, True])
def test_requests_are_made_a_count_of_times(times: Any) -> None:
    with pytest.raises(InputError, match=r"`times` is no such count; .* accepted: a whole number from 1"):
        Harbour().requests("test", times=times)


def test_more_of_each_cell_are_other_requests_of_the_same_cells_and_split() -> None:
    once = {one.prompt.text: one for name in SPLITS for one in WORLD.requests(name)}
    often = [one for name in SPLITS for one in WORLD.requests(name, times=4)]
    assert len({one.prompt.text for one in often}) == len(often) > 2 * len(once)
    assert [one for one in often if one.prompt.text in once] == [*once.values()]
    assert {(one.split, one.template, one.entity) for one in often} == {
        (one.split, one.template, one.entity) for one in once.values()
    }
    few = WORLD.requests("train", families=["facts"], times=4)
    assert few == WORLD.requests("train", families=["facts"])


def test_every_word_that_is_asked_is_in_the_vocabulary() -> None:
    known = {*vocabulary()}
    for name in SPLITS:
        for asked in WORLD.requests(name):
            assert {word for turn in asked.prompt.messages for word in split(turn.text)} <= known


def test_pools_are_fixed_varied_and_begin_with_smaller_ones() -> None:
    for asked in WORLD.requests("test")[::23]:
        replies = pool(asked, WORLD, 8)
        assert replies == pool(asked, WORLD, 8)
        assert replies[:4] == pool(asked, WORLD, 4)
        assert len(replies) == len({*replies}) >= 5
        values = [worth(asked, reply).value for reply in replies]
        assert max(values) - min(values) > 0.3
        assert {word for reply in replies for word in split(reply)} <= {*vocabulary()}


def test_rooms_are_named_and_described() -> None:
    assert len(ROOMS) == 7
    assert all(len(line) > 20 for line in ROOMS.values())
    assert ROOMS.keys().isdisjoint(FAMILIES)


def test_all_that_is_public_is_there() -> None:
    assert all(hasattr(harbour, name) for name in harbour.__all__)


def test_probes_ask_for_one_fact_in_every_everyday_way() -> None:
    asked = WORLD.probes("home mara")
    assert asked[0].prompt.text == "where does mara live?"
    assert len(asked) == 3
    assert {one["fact"] for one in asked} == {"home mara"}
    customs = WORLD.probes("norm swim east 3")
    assert {one["fact"] for one in customs} == {"norm swim east 3"}
    assert len(customs) == 3
    with pytest.raises(InputError, match="no such fact"):
        WORLD.probes("home nobody")
