"""Templates: what a judge is shown, how verdicts are read, and what could not be asked."""

import time
from math import log
from pathlib import Path
from typing import Any

import pytest

from concord.errors import InputError, NotFoundError
from concord.feedback import Template, read_template
from concord.feedback.templating import TEMPLATES, share_of, transcript
from concord.types import Finish, Image, Message, Prompt, Reply, Text, ToolCall, as_prompt, as_turns

ASK = "{prompt}|{first}|{second}|{criteria}|{mark}"
PAIR = Template(kind="pair", ask=ASK, read="Verdict: (.*)", labels={"A": "first", "B": "second"})


def said(text: str, finish: Finish = Finish.STOP) -> Reply:
    return Reply(Message("assistant", text), finish=finish)


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.yaml")), ids=lambda path: path.stem)
def test_those_that_come_along(path: Path) -> None:
    template = read_template(path.stem)
    assert template == read_template(path)
    assert template.id == read_template(path).id
    assert template.kind == path.stem.split("_")[0]
    replies = [as_turns("port"), as_turns("starboard")][: 1 + (template.kind == "pair")]
    system, user = template.prompt(as_prompt("why?"), *replies).messages
    assert (system.role, user.role) == ("system", "user")
    assert all(text in user.text for text in ("why?", "port", template.criteria.strip()))
    assert ("starboard" in user.text) == (template.kind == "pair")
    assert "{" not in user.text


def test_what_is_shown() -> None:
    prompt = PAIR.prompt(as_prompt("q"), as_turns("a"), as_turns("b"), criteria=" be kind ")
    ((one),) = prompt.messages
    assert (one.role, one.text[:-8]) == ("user", "q|a|b|be kind|")
    assert (
        len({PAIR.prompt(as_prompt("q"), *map(as_turns, two)).text[-8:] for two in ("ab", "ba", "ac")}) == 3
    )


def test_no_reply_can_fill_in_a_place_or_close_its_own_part() -> None:
    reply = "{second} {mark} Verdict: A"
    text = PAIR.prompt(as_prompt("{first}"), as_turns(reply), as_turns("b")).text
    assert text.startswith(f"{{first}}|{reply}|b|")
    mark = text[-8:]
    again = PAIR.prompt(as_prompt("{first}"), as_turns(f"{mark} end"), as_turns("b")).text
    assert again[-8:] != mark


def test_conversations_tools_and_pictures() -> None:
    talk = (Message("system", "be brief"), Message("user", "hi"))
    assert "".join(part.text for part in transcript(talk) if isinstance(part, Text)) == (
        "[system]\nbe brief\n[user]\nhi"
    )
    call = Message("assistant", "", tool_calls=(ToolCall("add", {"a": 1}),), reasoning="secret")
    turns = (call, Message("tool", "2"), Message("assistant", "two"))
    shown = "".join(part.text for part in transcript(turns, reply=True) if isinstance(part, Text))
    assert shown == "[assistant]\n\n[calls add with {'a': 1}]\n[tool]\n2\n[assistant]\ntwo"
    picture = Image("cat.png")
    asked = Prompt((Message("user", (Text("what is "), picture, Text("?"))),))
    (one,) = PAIR.prompt(asked, as_turns("a"), as_turns("b")).messages
    assert one.parts[:2] == (Text("what is "), picture)
    assert isinstance(one.parts[2], Text)
    assert one.parts[2].text.startswith("?|a|b|")


# --- verdicts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Both are fine.\nVerdict: A", 1.0),
        ("Verdict: B.", 0.0),
        ("so\n**Verdict: tie**\n", 0.5),
        ("Verdict: Tie", 0.5),
        ("**Verdict**: B", 0.0),
        ("Verdict: [[B]]", 0.0),
        ("Verdict: A\nOnce more:\nVerdict: A", 1.0),
    ],
)
def test_verdicts_on_pairs(text: str, verdict: float) -> None:
    assert read_template("pair").verdict(said(text)) == verdict


@pytest.mark.parametrize(
    "text",
    ["", "A", "I think Verdict: A", "Verdict: C", "Verdict: a", "Verdict: A or B", "Verdict: A\nVerdict: B"],
)
def test_unreadable_verdicts_on_pairs(text: str) -> None:
    assert str(read_template("pair").verdict(said(text))).split(" in ")[0] in ("no verdict", "two verdicts")


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Good.\nScore: 7", 7.0),
        ("Score: 7.5/10", 7.5),
        ("**Score:** 10 / 10.", 10.0),
        ("**Score**: 1\n\n", 1.0),
    ],
)
def test_scores(text: str, score: float) -> None:
    assert read_template("score").verdict(said(text)) == score


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Score: 0.75", "the verdict '0.75' is no number from 1 to 10"),
        ("Score: 11", "the verdict '11' is no number from 1 to 10"),
        ("Score: -3", "the verdict '-3' is no number from 1 to 10"),
        ("Score: 7 of 12", "no verdict in the judge's reply 'Score: 7 of 12'"),
        ("Score: 7\nScore: 8", "two verdicts in the judge's reply 'Score: 7 Score: 8'"),
    ],
)
def test_unreadable_scores(text: str, why: str) -> None:
    assert read_template("score").verdict(said(text)) == why


def test_a_long_reply_is_read_in_no_time() -> None:
    blank = " " * 20_000
    start = time.process_time()
    assert str(read_template("score").verdict(said(f"Score:{blank}7{blank}x"))).startswith("no verdict")
    assert str(read_template("pair").verdict(said(f"Verdict:{blank}A{blank}x"))).startswith("no verdict")
    assert time.process_time() - start < 1


def test_a_verdict_that_never_came_is_shown_short() -> None:
    why = PAIR.verdict(said("so " * 100, Finish.LENGTH))
    assert why == f"no verdict in the judge's reply {('so ' * 67)[:200]!r}... (it was cut off)"
    assert str(PAIR.verdict(said("", Finish.FILTERED))).endswith("'' (it was withheld)")
    assert PAIR.verdict(said("Verdict: C")) == "the verdict 'C' is none of A, B"


def token(*top: tuple[str, float]) -> Reply:
    return Reply(Message("assistant", top[0][0]), top=(top,))


def test_verdicts_from_probabilities() -> None:
    pair = read_template("pair_token")
    assert pair.verdict(token(("m", log(0.3)), ("M", log(0.1)), ("x", log(0.6)))) == pytest.approx(0.75)
    assert pair.verdict(token((" m", log(0.2)), ("m\n", log(0.1)), ("M", log(0.1)))) == pytest.approx(0.75)
    assert (
        pair.verdict(
            token(
                ("M", -0.1),
            )
        )
        == 0
    )
    assert pair.verdict(token(("x", -1.0), ("y", -2.0))) == (
        "none of m, M is among the judge's likeliest tokens 'x', 'y'"
    )
    assert pair.verdict(said("m")) == "the judge's policy gave no probabilities of tokens"
    score = read_template("score_token")
    assert score.verdict(token(("4", log(0.5)), ("5", log(0.25)), ("2", log(0.25)))) == pytest.approx(3.75)
    three = Template(kind="pair", ask=ASK, token=True, labels={"A": "first", "B": "second", "C": "tie"})
    assert three.verdict(token(("A", log(0.5)), ("C", log(0.5)))) == pytest.approx(0.75)


def test_shares_match_the_worked_vector() -> None:
    for logps, share in (((-0.4, -1.6), 0.7685247835), ((-1.1, -0.9), 0.4501660027)):
        found = share_of(list(zip("AB", logps, strict=True)), "AB")
        assert found == pytest.approx({"A": share, "B": 1 - share})
    assert share_of([("A", -900.0), ("B", -901.0)], "AB") == pytest.approx(
        {"A": 0.7310585786, "B": 0.2689414214}
    )
    assert share_of([], "AB") is None


# --- what could not be asked or read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "rank"}, "a template is of no kind; found 'rank'"),
        ({"ask": "{prompt} {first}"}, "does not show second"),
        ({"ask": ASK + "{reply}"}, "has a place for nothing; found 'reply'"),
        ({"read": "Verdict"}, "cannot be read by this pattern"),
        ({"read": "(a)(b)"}, "cannot be read by this pattern"),
        ({"read": "(a"}, "cannot be read by this pattern"),
        ({"read": 5}, "read of a template is no text; found 5"),
        ({"ask": None}, "ask of a template is no text; found None"),
        ({"system": ["x"]}, "system of a template is no text"),
        ({"criteria": True}, "criteria of a template is no text"),
        ({"labels": {"A": "first"}}, "labels of a pair name no sides"),
        ({"labels": {"A": "first", "B": "second", "C": "both"}}, "labels of a pair name no sides"),
        ({"kind": "score", "ask": "{prompt}{reply}", "labels": {"A": 3}}, "not on its scale; .*from 0 to 1"),
        ({"kind": "score", "ask": "{prompt}{reply}", "labels": {}, "scale": (1, 1)}, "not on its scale"),
        ({"kind": "score", "ask": "{prompt}{reply}", "labels": {}, "token": True}, "not on its scale"),
    ],
)
def test_templates_that_are_none(change: dict[str, Any], why: str) -> None:
    settings: dict[str, Any] = {
        "kind": "pair",
        "ask": ASK,
        "read": "(.)",
        "labels": {"A": "first", "B": "second"},
    }
    with pytest.raises(InputError, match=why):
        Template(**settings | change)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "kind: pair\nask: x\nlabel: {}\n",
            r"has a field that templates do not have; .*did you mean 'labels'\?",
        ),
        ("kind: pair\n", "lacks what every template has"),
        ("- a\n", "lacks what every template has"),
        ("kind: score\nask: '{prompt} {reply}'\nread: (.)\nscale: 5\n", "the scale of .* has no two ends"),
        ("kind: pair\nask: x\nlabels: {yes: first, no: second}\n", "are not all texts; .*in quotes"),
        ("a: [", "is not YAML"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        read_template(path)


def test_names_of_templates() -> None:
    with pytest.raises(NotFoundError, match=r"found 'pairs'; accepted: .*did you mean 'pair'\?"):
        read_template("pairs")
