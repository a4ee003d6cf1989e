"""What of one split stands in another, planted and counted."""

import random

import pytest

from concord.data.auditing.audit import audit
from concord.data.auditing.records import Audit, AuditSettings
from concord.types import Image, Item, Message, Prompt, Text, ToolCall, as_prompt, as_turns
from tests.data.auditing.planted import compared, sentence


def share(found: Audit, of: str, former: str = "train", later: str = "test") -> float | None:
    result = found.result("leak", **{"of": of, "from": former, "into": later})
    assert result is not None
    return result.value


def test_leaks_of_prompts_of_replies_and_of_likeness_are_told_apart() -> None:
    chance = random.Random(0)
    known = [(sentence(chance, 30), sentence(chance, 20), sentence(chance, 20), 1.0) for _ in range(40)]
    fresh = [(sentence(chance, 30), sentence(chance, 20), sentence(chance, 20), 1.0) for _ in range(6)]
    whole = known[0]
    prompt_only = (known[1][0], sentence(chance, 20), sentence(chance, 20), 1.0)
    nearly = (known[2][0] + " Please.", sentence(chance, 20), sentence(chance, 20), 1.0)
    reply_only = (sentence(chance, 30), known[3][1], sentence(chance, 20), 1.0)
    found = audit(
        {"test": compared([*fresh, whole, prompt_only, nearly, reply_only]), "train": compared(known)}
    )
    assert share(found, "prompts") == 2 / 10
    assert share(found, "prompts with a reply") == 1 / 10
    assert share(found, "near prompts") == 3 / 10


def test_texts_without_a_prompt_leak_as_replies() -> None:
    chance = random.Random(1)
    texts = [Item(Prompt(()), (as_turns(sentence(chance, 20)),)) for _ in range(10)]
    found = audit({"train": texts[:8], "test": texts[6:]}, settings=AuditSettings(near=False))
    assert share(found, "prompts") is None
    assert share(found, "prompts with a reply") == 0.5


def test_no_split_is_passed_over() -> None:
    chance = random.Random(2)
    rows = [(sentence(chance, 9), sentence(chance, 9), sentence(chance, 9), 1.0) for _ in range(10)]
    splits = {f"test{number}": compared(rows[number : number + 1]) for number in range(9)}
    found = audit({**splits, "train": compared(rows)}, settings=AuditSettings(near=False))
    assert [share(found, "prompts", "train", name) for name in splits] == [1.0] * 9


def _asked(way: str, number: int) -> Item:
    reply = as_turns(f"The answer is {number**9}.")
    match way:
        case "pictures":
            seen = (Text("What is shown here?"), Image(f"{number}.png"))
            return Item(as_prompt(Message("user", seen)), (reply,))
        case "pictures beside":
            return Item(as_prompt("What is shown here?"), (reply,), meta={"images": [f"{number}.png"]})
        case "tokens":
            return Item(Prompt((), tokens=(number, 2, 3)), (reply,))
        case _:
            return Item(
                Prompt((Message("system", "Be number " + "ix"[number % 2] * (number + 1)),)), (reply,)
            )


@pytest.mark.parametrize("way", ["pictures", "pictures beside", "tokens", "system"])
def test_prompts_that_differ_in_more_than_letters_are_not_nearly_the_same(way: str) -> None:
    train, test = [_asked(way, number) for number in range(8)], [_asked(way, 7), _asked(way, 80)]
    found = audit({"train": train, "test": test})
    assert share(found, "prompts") == 0.5
    for result in (
        one for one in found.results if one.name == "near_duplicates" and one.at["of"] == "prompts"
    ):
        assert not result.value
    for result in (one for one in found.results if one.at.get("of") == "near prompts"):
        assert result.value == 0.5


def test_replies_that_think_or_call_otherwise_are_not_nearly_the_same() -> None:
    chance = random.Random(3)
    thinking = [Message("assistant", "42", reasoning=sentence(chance, 20)) for _ in range(5)]
    calling = [
        Message("assistant", "I look.", tool_calls=(ToolCall("search", {"for": sentence(chance, 9)}),))
        for _ in range(5)
    ]
    items = [Item(as_prompt(sentence(chance, 9)), ((one,),)) for one in thinking + calling]
    result = audit({"train": items}).result("near_duplicates", of="replies")
    assert result is not None
    assert (result.value, result.n) == (0, 10)
