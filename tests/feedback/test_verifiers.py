"""Verifiers of form and of exact answers, and the check against gold answers."""

import pytest

from concord.errors import InputError, RowError
from concord.feedback import Exact, Length, Regex, Tagged, Verifier, check, normalised
from concord.types import (
    JSON,
    Feedback,
    Item,
    Message,
    Origin,
    Rate,
    Score,
    Shown,
    Unscored,
    as_prompt,
    as_turns,
)


def rated(verifier: Feedback, reply: str, **meta: JSON) -> Score | Unscored:
    """What a verifier says of one reply."""
    ((score,),) = verifier.rate([Rate(as_prompt("q"), (as_turns(reply),), meta=meta)])
    return score


def value(verifier: Feedback, reply: str, **meta: JSON) -> float:
    """The value of a reply, which has one."""
    score = rated(verifier, reply, **meta)
    assert isinstance(score, Score)
    return score.value


def test_they_are_feedback_known_by_their_settings() -> None:
    assert isinstance(Regex(pattern="a"), Feedback)
    assert Regex(pattern="a").id == Regex(pattern="a").id
    made: list[Verifier] = [
        Regex(pattern="a"),
        Regex(pattern="b"),
        Regex(pattern="a", wanted=False),
        Exact(),
        Exact(column="gold"),
        Exact(loosely=False),
        Length(most=5),
        Length(most=5, unit="lines"),
        Tagged(),
        Tagged(tags=("answer", "think")),
    ]
    assert len({one.id for one in made}) == len(made)
    assert Regex(pattern="a").id.startswith("regex-")


def test_every_reply_of_every_rate_is_scored_in_order() -> None:
    rates = [Rate(as_prompt("q"), (as_turns("a"), as_turns("b"))), Rate(as_prompt("q"), ())]
    assert [
        [one.value for one in scores if isinstance(one, Score)] for scores in Regex(pattern="b").rate(rates)
    ] == [
        [0.0, 1.0],
        [],
    ]


def test_the_last_turn_of_the_assistant_is_read() -> None:
    turns = (Message("assistant", "calling"), Message("tool", "wrong"), Message("assistant", "right"))
    rate = Rate(as_prompt("q"), (turns, (Message("tool", "right"),)))
    ((first, second),) = Regex(pattern="^right$").rate([rate])
    assert isinstance(first, Score)
    assert isinstance(second, Score)
    assert (first.value, second.value) == (1.0, 0.0)


def test_regex() -> None:
    assert value(Regex(pattern=r"\bsorry\b"), "I am sorry.") == 1
    assert value(Regex(pattern=r"\bsorry\b", wanted=False), "I am sorry.") == 0
    assert value(Regex(pattern=r"a.b"), "a\nb") == 1
    with pytest.raises(InputError, match=r"cannot be read \(missing \), .*re.escape"):
        Regex(pattern="(")
    with pytest.raises(InputError, match="cannot be read"):
        Regex(pattern="a{99999999999}")


@pytest.mark.parametrize(
    ("reply", "held"),
    [
        ("<think>so</think><answer>4</answer>", True),
        (" <think>\nso\n</think>\n\n<answer></answer>\n", True),
        ("Sure. <think>so</think><answer>4</answer>", False),
        ("<think>so</think><answer>4</answer> Bye", False),
        ("<answer>4</answer><think>so</think>", False),
        ("<think>so</think><think>so</think><answer>4</answer>", False),
        ("<think>a <answer>3</answer></think><answer>4</answer>", False),
        ("<think>so<answer>4</answer>", False),
        ("", False),
    ],
)
def test_tagged(reply: str, held: bool) -> None:
    assert value(Tagged(), reply) == held


def test_tags_are_names() -> None:
    for tags in ((), ("a b",), ("",)):
        with pytest.raises(InputError, match="tags of a format cannot be written"):
            Tagged(tags=tags)


@pytest.mark.parametrize(("unit", "size"), [("characters", 36), ("words", 7), ("lines", 2), ("sentences", 3)])
def test_length(unit: str, size: int) -> None:
    reply = "  He paid 3.5 crowns. Why?\n\n(No idea.)\n"
    exactly = Length(least=size, most=size, unit=unit)  # pyright: ignore[reportArgumentType]
    assert value(exactly, reply) == 1
    assert value(Length(least=size + 1, unit=unit), reply) == 0  # pyright: ignore[reportArgumentType]
    assert value(Length(most=size - 1, unit=unit), reply) == 0  # pyright: ignore[reportArgumentType]
    assert rated(exactly, reply) == Score(1.0, why=f"{size} {unit}")


def test_lengths_have_an_order_and_a_unit() -> None:
    with pytest.raises(InputError, match=r"no length lies between these; found \(5, 4\)"):
        Length(least=5, most=4)
    with pytest.raises(InputError, match=r"did you mean 'words'\?"):
        Length(unit="word")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The U.S.A!", "usa"),
        ("  Paris\n", "paris"),
        ("**Paris**.", "Paris"),
        ("New York, NY", "new york ny"),
        ("don't", "Don\u2019t"),
        ("\uff21\uff22", "ab"),
        ("\u22125", "-5"),
        ("an apple", "apple"),
    ],
)
def test_normalised_alike(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("5", "-5"), ("3.5", "35"), ("C++", "C"), ("10:30", "1030"), ("?", "!")]
)
def test_normalised_apart(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_exact() -> None:
    assert value(Exact(), "the Paris.", answer="Paris") == 1
    assert value(Exact(loosely=False), "Paris.", answer="Paris") == 0
    assert value(Exact(loosely=False), " Paris\n", answer="Paris") == 1
    assert value(Exact(), "Rome", answer=["Roma", "Rome"]) == 1
    assert value(Exact(), "12", answer=12) == 1
    assert value(Exact(column="gold"), "Rome", gold="Paris") == 0


def test_an_answer_may_stand_within_a_reply() -> None:
    within = Exact(within=r"<answer>(.*?)</answer>")
    assert value(within, "<answer>no</answer> or <answer>Paris</answer>", answer="Paris") == 1
    assert value(Exact(within=r"[A-Z]\w+"), "it is Paris now", answer="Paris") == 1
    assert rated(within, "Paris", answer="Paris") == Score(
        0.0, parts={"answered": 0.0}, why="no text can be read"
    )


def test_no_reply_and_a_wrong_one_differ() -> None:
    assert rated(Exact(), " ", answer="Paris") == Score(
        0.0, parts={"answered": 0.0}, why="no text can be read"
    )
    assert rated(Exact(), "Rome", answer="Paris") == Score(0.0, parts={"answered": 1.0}, why="read rome")


@pytest.mark.parametrize("gold", [None, [], {}, [{}]])
def test_a_row_without_gold_is_unscored(gold: JSON) -> None:
    assert isinstance(rated(Exact(), "Paris", answer=gold), Unscored)
    assert rated(Exact(), "Paris") == Unscored("the row has no 'answer' to hold the reply against")


# --- before use -------------------------------------------------------------------------------------------


def row(reply: str, gold: JSON, line: int) -> Item:
    """A demonstration with its gold answer."""
    return Item(
        as_prompt("q"), (as_turns(reply),), Shown(), meta={"answer": gold}, origin=Origin("rows.jsonl", line)
    )


def test_a_verifier_passes_its_gold_answers() -> None:
    assert check(Exact(), [row("Paris", "paris", 1), row("Rome", "Rome", 2)]) == 2
    bare = Item(as_prompt("q"), meta={"answer": "Paris"})
    assert check(Exact(), [bare], column="answer") == 1


def test_a_verifier_that_fails_them_is_refused_by_row() -> None:
    rows = [row("Paris", "Paris", 1), row("Rome", "Paris", 2), row("Oslo", None, 3)]
    with pytest.raises(RowError) as caught:
        check(Exact(), rows)
    said = str(caught.value)
    assert "rows.jsonl:2 gets 0 (read rome); rows.jsonl:3 is not scored: the row has no 'answer'" in said
    assert "found 2 of 3 fail; accepted: a score of 1 or more for every row" in said
    with pytest.raises(RowError, match="; and 3 more; found 8 of 8 fail"):
        check(Exact(), [row("Rome", "Paris", line) for line in range(8)])


def test_a_check_needs_gold_replies() -> None:
    with pytest.raises(RowError, match="no row to check"):
        check(Exact(), [])
    with pytest.raises(RowError, match=r"row 1 has no gold reply; found the columns answer and 0 replies"):
        check(Exact(), [Item(as_prompt("q"), meta={"answer": "x"})])
    with pytest.raises(RowError, match=r"rows.jsonl:1 has no gold reply; .* a text in 'gold'"):
        check(Exact(), [row("Rome", "Rome", 1)], column="gold")
