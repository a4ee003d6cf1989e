"""Combinations: exact values, the worked vectors, and the rule for what is missing."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.feedback import ByScore, Ensemble, Lexicographic, Pair, Weighted, Worst
from concord.feedback.combine import Combination
from concord.types import Feedback, Rate, Score, Unscored, Usage, as_prompt, as_turns


class Table:
    """Says of each text what a table says, at a cost of one call; of others nothing."""

    def __init__(self, name: str, table: Mapping[str, float]) -> None:
        self.id, self.table = name, table

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [tuple(self.score(turns[0].text) for turns in rate.replies) for rate in rates]

    def score(self, text: str) -> Score | Unscored:
        cost = Usage(calls=1)
        return (
            Score(self.table[text], usage=cost) if text in self.table else Unscored("never seen", usage=cost)
        )


def tables(*rows: Sequence[float]) -> dict[str, Feedback]:
    """One feedback a column; the replies are called a, b, c, ..."""
    columns = zip(*rows, strict=True)
    return {
        f"u{at}": Table(f"u{at}", dict(zip("abcdefgh", column, strict=False)))
        for at, column in enumerate(columns)
    }


def of(feedback: Feedback, replies: str) -> list[float | None]:
    """The values of some replies to one prompt."""
    (scores,) = feedback.rate([Rate(as_prompt("q"), tuple(map(as_turns, replies)))])
    return [one.value if isinstance(one, Score) else None for one in scores]


THREE = ((1.0, 0.1), (0.6, 0.5), (0.2, 0.9))


def test_the_worked_case_of_conflicting_values() -> None:
    assert of(Weighted(tables(*THREE)), "abc") == pytest.approx([1.1, 1.1, 1.1])
    assert of(Worst(tables(*THREE)), "abc") == pytest.approx([0.1, 0.5, 0.2])
    columns = tables(*THREE)
    assert of(Lexicographic(columns), "abc") == [1.0, 0.5, 0.0]
    assert of(Lexicographic({"u1": columns["u1"], "u0": columns["u0"]}), "abc") == [0.0, 0.5, 1.0]


def test_weights() -> None:
    weighted = Weighted(tables((1.0, 2.0)), weights={"u1": -0.5})
    assert of(weighted, "a") == [0.0]
    ((score,),) = weighted.rate([Rate(as_prompt("q"), (as_turns("a"),))])
    assert score == Score(0.0, parts={"u0": 1.0, "u1": 2.0}, usage=Usage(calls=2))


def test_tolerance_lets_the_next_one_speak() -> None:
    replies = tables((1.0, 0.0), (0.95, 1.0), (0.5, 5.0))
    assert of(Lexicographic(replies, tolerance={"u0": 0.1}), "abc") == [0.5, 1.0, 0.0]
    assert of(Lexicographic(replies, tolerance={"u0": 0.01}), "abc") == [1.0, 0.5, 0.0]
    assert of(Lexicographic(replies, tolerance={"u0": 1}), "abc") == [0.0, 0.5, 1.0]


def test_ranks_share_what_ties() -> None:
    replies = tables((1.0,), (1.0,), (0.0,))
    assert of(Lexicographic(replies), "abc") == [0.75, 0.75, 0.0]
    assert of(Lexicographic(replies), "a") == [None]
    assert of(Lexicographic(replies), "az") == [None, None]
    assert of(Lexicographic(replies), "") == []
    judge = ByScore(Lexicographic(replies))
    preferences = [judge.compare([Pair.of("q", *two)])[0] for two in ("ab", "ac", "ca")]
    assert [getattr(one, "preference", None) for one in preferences] == [0.5, 1.0, 0.0]


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 2), min_size=2, max_size=6), st.sampled_from([0, 1]))
def test_no_rule_ranks_a_dominated_reply_first(rows: list[tuple[int, int]], slack: int) -> None:
    replies = "abcdef"[: len(rows)]
    held = tables(*[tuple(map(float, row)) for row in rows])
    for rule in (Weighted(held), Lexicographic(held), Lexicographic(held, tolerance={"u1": slack})):
        values = [value for value in of(rule, replies) if value is not None]
        for row in (row for row, value in zip(rows, values, strict=True) if value == max(values)):
            assert not any(other[0] > row[0] and other[1] > row[1] for other in rows)


def test_ensembles_match_the_worked_vector() -> None:
    rows = ((0.5, 0.9, 0.1, 0.7), (-0.2, 0.1, 0.0, -0.1))
    members = [*tables(*rows).values()]
    assert of(Ensemble(members, cautious=0.5, by="variance"), "ab") == pytest.approx([0.50625, -0.05625])
    assert of(Ensemble(members, cautious=0), "ab") == pytest.approx([0.55, -0.05])
    assert of(Ensemble(members), "ab") == pytest.approx([0.55 - 0.2958039892, -0.05 - 0.1118033989])
    assert of(Worst(tables(*rows)), "ab") == pytest.approx([0.1, -0.2])
    (scores,) = Ensemble(members).rate([Rate(as_prompt("q"), (as_turns("a"),))])
    assert isinstance(scores[0], Score)
    assert scores[0].parts["sd"] == pytest.approx(0.2958039892)
    assert scores[0].parts["member 3"] == 0.1


def combinations(held: Mapping[str, Feedback]) -> list[Combination]:
    return [Weighted(held), Worst(held), Lexicographic(held), Ensemble([*held.values()])]


def test_what_one_could_not_score_is_unscored() -> None:
    held = {"known": Table("k", {"a": 1, "b": 2, "c": 3}), "gap": Table("g", {"a": 1, "c": 3})}
    for one in combinations(held):
        ((a, b, c),) = one.rate([Rate(as_prompt("q"), tuple(map(as_turns, "abc")))])
        name = "member 2" if isinstance(one, Ensemble) else "gap"
        assert b == Unscored(f"{name}: never seen", usage=Usage(calls=2))
        assert isinstance(a, Score)
        assert isinstance(c, Score)
        assert a.value < c.value
        assert a.usage == Usage(calls=2)


def test_scores_too_large_to_be_combined_are_unscored() -> None:
    for one in (
        Weighted(tables((1e308, 1e308))),
        Ensemble([*tables((1e308, -1e308)).values()], by="variance"),
    ):
        ((found,),) = one.rate([Rate(as_prompt("q"), (as_turns("a"),))])
        assert found == Unscored("the scores are too large to be combined", usage=Usage(calls=2))


def test_many_rates_are_one_question_to_each() -> None:
    for one in combinations(tables(*THREE)):
        rates = [Rate(as_prompt("q"), (as_turns("a"), as_turns("b"))), Rate(as_prompt("r"), ())]
        assert [len(scores) for scores in one.rate(rates)] == [2, 0]
        assert one.rate([]) == []


def test_ids_are_of_kind_parts_and_settings() -> None:
    held = tables(*THREE)
    turned = dict(reversed(held.items()))
    members = [*held.values()]
    made = [
        *combinations(held),
        Weighted(held, weights={"u0": 2}),
        Lexicographic(turned),
        Lexicographic(held, tolerance={"u0": 0.1}),
        Ensemble(members, cautious=2),
        Ensemble(members, by="variance"),
    ]
    assert len({one.id for one in made}) == len(made)
    assert Weighted(held).id == Weighted(tables(*THREE), weights={"u0": 1, "u1": 1}).id
    assert all(isinstance(one, Feedback) for one in made)


def test_settings_name_what_is_combined() -> None:
    held = tables(*THREE)
    with pytest.raises(InputError, match="nothing to combine"):
        Worst({})
    with pytest.raises(InputError, match="weight is given for what is not combined; found 'u9'"):
        Weighted(held, weights={"u9": 1})
    with pytest.raises(InputError, match="weight of u0 cannot be used; found nan"):
        Weighted(held, weights={"u0": float("nan")})
    with pytest.raises(InputError, match="tolerance of u0 cannot be used; found -1; accepted: a number of 0"):
        Lexicographic(held, tolerance={"u0": -1})
    with pytest.raises(InputError, match="so cautious; found -1"):
        Ensemble([*held.values()], cautious=-1)
    with pytest.raises(InputError, match="disagreement is not measured so; found 'range'"):
        Ensemble([*held.values()], by="range")  # pyright: ignore[reportArgumentType]
