"""Users' functions: what they are given, what they may give, and all that may go wrong with them."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from concord.errors import InputError
from concord.feedback import Function
from concord.feedback.functions import imported
from concord.types import JSON, Feedback, Message, Prompt, Rate, Score, Unscored, as_prompt, as_turns
from tests.feedback.test_verifiers import rated, value

RULES = """
import os, sys, time

def polite(reply, *, word="please"):
    return word in reply

def everything(prompt, reply, messages, turns, meta, gold, other=5):
    asked, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}
    held = [prompt == "q", reply == "r", messages == [asked], turns == [said]]
    return sum([*held, meta == {"gold": 1, "x": 2}, gold == 1, other == 5])

def columns(reply, **columns):
    return len(columns)

def hangs(reply):
    if reply == "hang":
        time.sleep(60)
    return 1

def dies(reply):
    os._exit(3) if reply == "die" else None
    return 1

def leaves(reply):
    sys.exit("I am leaving")

def raises(reply):
    raise KeyError("no such thing")

def loud(reply):
    print("hello")
    return sys.stdin.read() == ""

def gives(reply, gift):
    gifts = {"none": None, "nan": float("nan"), "inf": float("-inf"), "text": "much", "list": [1.0]}
    return gifts.get(gift, True)

def many(prompts, completions, gold, **rest):
    texts = [said[0]["content"] for said in completions]
    return [None if right is None else float(text == right) for text, right in zip(texts, gold)]

def texts(completions):
    return [len(said) for said in completions]

def few(completions):
    return [1.0]

def blind(prompt):
    return 1

def places(reply, /):
    return 1

CONSTANT = 5
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module `their_rules` in the folder that one works in."""
    (tmp_path / "their_rules.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("their_rules", None)


def reason(score: Score | Unscored) -> str:
    """Why there is no score."""
    assert isinstance(score, Unscored)
    return score.reason


def test_a_function_here() -> None:
    def words(reply: str, most: int = 2) -> bool:
        return len(reply.split()) <= most

    verifier = Function(words, settings={"most": 1}, name="words")
    assert isinstance(verifier, Feedback)
    assert (value(verifier, "one"), value(verifier, "one two")) == (1.0, 0.0)
    assert value(Function(words), "one two", most=5) == 1  # a parameter that a column is named like


@pytest.mark.usefixtures("rules")
def test_what_a_function_is_given() -> None:
    with Function("their_rules:everything") as everything:
        ((score,),) = everything.rate([Rate(as_prompt("q"), (as_turns("r"),), meta={"gold": 1, "x": 2})])
        assert score == Score(7.0)
        assert reason(rated(everything, "r")) == "the row has no column 'gold', which the function wants"
    with Function("their_rules:polite", settings={"word": "kindly"}) as polite:
        assert (value(polite, "kindly go", word="x"), value(polite, "please go")) == (1.0, 0.0)
    with Function("their_rules:columns") as columns:
        assert value(columns, "r", a=1, b=2) == 2


@pytest.mark.usefixtures("rules")
def test_what_goes_wrong_has_a_reason() -> None:
    with Function("their_rules:raises") as raises:
        assert reason(rated(raises, "r")) == "KeyError: 'no such thing' (their_rules.py, line 28)"
    with Function("their_rules:leaves") as leaves:
        assert reason(rated(leaves, "r")).startswith("SystemExit: I am leaving")
    with Function("their_rules:gives") as gives:
        assert reason(rated(gives, "r", gift="none")) == "the function gave None"
        assert reason(rated(gives, "r", gift="nan")) == "the function gave nan"
        assert reason(rated(gives, "r", gift="inf")) == "the function gave -inf"
        assert "could not convert string to float" in reason(rated(gives, "r", gift="text"))
        assert reason(rated(gives, "r", gift="list")) == "the function gave a list where a number is wanted"
        assert value(gives, "r", gift="true") == 1


@pytest.mark.usefixtures("rules")
def test_a_function_that_hangs_is_stopped_and_goes_on() -> None:
    with Function("their_rules:hangs", timeout=1) as hangs:
        start = time.monotonic()
        rate = Rate(as_prompt("q"), (as_turns("a"), as_turns("hang"), as_turns("b")))
        assert hangs.rate([rate]) == [(Score(1.0), Unscored("the function took longer than 1 s"), Score(1.0))]
        assert time.monotonic() - start < 20


@pytest.mark.usefixtures("rules")
def test_a_function_that_ends_its_process_costs_one_score() -> None:
    with Function("their_rules:dies") as dies:
        rate = Rate(as_prompt("q"), (as_turns("a"), as_turns("die"), as_turns("b")))
        why = "the process of the function ended by itself, with code 3"
        assert dies.rate([rate]) == [(Score(1.0), Unscored(why), Score(1.0))]


@pytest.mark.usefixtures("rules")
def test_printing_and_reading_do_no_harm() -> None:
    with Function("their_rules:loud") as loud:
        assert value(loud, "r") == 1


@pytest.mark.usefixtures("rules")
def test_reward_functions_of_trl() -> None:
    talks = [
        Rate(as_prompt("q"), (as_turns("a"), as_turns("b")), meta={"gold": "a"}),
        Rate(as_prompt("q"), ()),
        Rate(as_prompt("q"), (as_turns("c"),)),
    ]
    with Function("their_rules:many") as many:
        assert many.rate(talks) == [(Score(1.0), Score(0.0)), (), (Unscored("the function gave None"),)]
        assert many.rate([]) == []
    plain = Prompt((Message("user", "Once"),), plain=True)
    with Function("their_rules:texts") as texts:
        assert texts.rate([Rate(plain, (as_turns("abc"),)), talks[2]]) == [(Score(3.0),), (Score(1.0),)]
    with Function("their_rules:few") as few:
        ((first, second),) = few.rate(talks[:1])
        assert reason(first) == reason(second) == "the function gave no list of 2 numbers, one for each reply"


def test_a_function_here_may_be_one_of_trl() -> None:
    def reward(completions: list[Any], gold: list[JSON], **_: Any) -> list[float]:
        return [float(one[0]["content"] == right) for one, right in zip(completions, gold, strict=True)]

    rate = Rate(as_prompt("q"), (as_turns("a"), as_turns("b")), meta={"gold": "a"})
    assert Function(reward).rate([rate]) == [(Score(1.0), Score(0.0))]


@pytest.mark.usefixtures("rules")
def test_ids_are_of_source_and_settings(tmp_path: Path) -> None:
    first = Function("their_rules:polite").id
    assert first == Function("their_rules:polite").id
    assert first != Function("their_rules:polite", settings={"word": "x"}).id
    assert first != Function("their_rules:columns").id
    (tmp_path / "other_rules.py").write_text(RULES + "\n# changed\n")
    assert first != Function("other_rules:polite").id
    del sys.modules["other_rules"]


def test_ids_of_functions_here() -> None:
    def longer(reply: str) -> int:
        return len(reply)

    most = 5

    def bounded(reply: str) -> bool:
        return len(reply) < most

    assert Function(longer).id == Function(longer).id
    assert Function(bounded).id != Function(bounded).id, "what it closes over cannot be hashed"
    assert Function(bounded, name="bounded").id == "bounded"


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("their_rules", "this names no function"),
        ("their_rules:polite()", "this names no function"),
        ("no_such_rules:polite", "no_such_rules cannot be imported"),
        ("their_rules:polit", r"no function of this name; found 'polit'.*did you mean 'polite'\?"),
        ("their_rules:CONSTANT", "no function of this name"),
    ],
)
def test_paths(path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        imported(path)


@pytest.mark.usefixtures("rules")
def test_what_could_not_be_called_is_refused() -> None:
    with pytest.raises(InputError, match="does not look at the reply; found prompt"):
        Function("their_rules:blind")
    with pytest.raises(InputError, match="called with arguments by name; found 'reply'"):
        Function("their_rules:places")
    with pytest.raises(InputError, match=r"takes no such setting; found 'words'.*did you mean 'word'\?"):
        Function("their_rules:polite", settings={"words": "x"})
    with pytest.raises(InputError, match="takes no such setting; found 'reply'"):
        Function("their_rules:columns", settings={"reply": "x"})
    for timeout in (0, -1, float("nan")):
        with pytest.raises(InputError, match="this timeout cannot be kept"):
            Function("their_rules:polite", timeout=timeout)
    with pytest.raises(InputError, match="a function that is named by its path"):
        Function(len, timeout=5)


def test_a_function_to_be_awaited_is_refused() -> None:
    async def slow(reply: str) -> float:
        return float(len(reply))

    with pytest.raises(InputError, match="a function that is to be awaited gives no number"):
        Function(slow)
