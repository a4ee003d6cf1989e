"""Requests carry all that is needed to judge their replies, through items and back."""

import pytest

from concord import wire
from concord.errors import InputError
from concord.types import Item, Prompt, Rate, as_prompt
from concord.worlds.harbour import SPLITS, Asked, Harbour, keyed, town_of
from concord.worlds.harbour.requests import ask, meets, quandaries
from concord.worlds.harbour.templates import SYSTEMS, TEMPLATES
from concord.worlds.harbour.words import FOODS, split

WORLD = Harbour()
ALL = [asked for name in SPLITS for asked in WORLD.requests(name)]


def test_a_request_comes_back_from_its_item_and_from_json() -> None:
    for asked in ALL[::17]:
        assert Asked.of(asked.item()) == asked
        assert Asked.of(wire.loads(Item, wire.dumps(asked.item()))) == asked
        assert Asked.of(Rate(asked.prompt, (), meta=asked.item().meta)) == asked


def test_an_item_from_elsewhere_is_refused() -> None:
    with pytest.raises(InputError, match="not asked in Harbour"):
        Asked.of(Item(as_prompt("hello")))


def test_a_system_prompt_is_put_before_it() -> None:
    asked = ALL[0].under("kind")
    assert [turn.role for turn in asked.prompt.messages] == ["system", "user"]
    assert asked.prompt.messages[0].text == SYSTEMS["kind"]
    assert asked.key == ALL[0].key
    with pytest.raises(InputError, match="no such system prompt"):
        ALL[0].under("rude")


def test_prompts_are_short_and_end_with_the_user() -> None:
    for asked in ALL:
        assert asked.prompt.messages[-1].role == "user"
        assert 2 <= len(asked.prompt.text.split()) <= 60


def test_every_cell_shows_in_its_prompt() -> None:
    for asked in ALL:
        words = {*split(asked.prompt.text)}
        spoken = [word for word in asked.entities if word != "long" and not word.isdigit()]
        assert {*spoken[asked.family == "summary" :]} <= words


def made(template: str, entity: str, seed: int = 0) -> Asked:
    """A request of a cell."""
    return ask(town_of(0), template, entity, keyed(seed))


def test_keys_of_lists() -> None:
    asked = made("reverse/0", "tea")
    shown = asked.prompt.text.split(": ")[1].rstrip(".").split()
    assert asked["words"] == shown[::-1]
    assert shown[0] == "tea"
    assert asked.level == len(shown)
    asked = made("sort/0", "72")
    assert asked["words"] == sorted(asked.prompt.text.split(": ")[1].rstrip(".").split())


def test_keys_of_sums() -> None:
    asked = made("sums/0", "58 long")
    shown = [*map(int, asked.prompt.text.split(": ")[1].rstrip(".").split())]
    assert asked["steps"] == [str(sum(shown[: count + 1]) % 10) for count in range(len(shown))]
    assert asked["total"] == asked["steps"][-1]
    assert 7 <= asked.level <= 9


def test_the_key_of_counting() -> None:
    asked = made("count/0", "tea")
    assert asked["total"] == str(asked.prompt.text.split(": ")[1].rstrip(".").split().count("tea"))


def test_what_nobody_tells_is_claimed_by_nobody_in_truth() -> None:
    for asked in ALL:
        name = asked.key.get("fact")
        if asked.kind in ("source", "yesno") and name not in WORLD.known:
            assert asked["claim"] != WORLD.facts[str(name)].value


def test_claims_are_true_half_of_the_time() -> None:
    claims = [a["claim"] == WORLD.facts[a["fact"]].value for a in ALL if a.kind == "yesno"]
    assert 0.4 < sum(claims) / len(claims) < 0.6


def test_in_a_quandary_nothing_is_best_in_all() -> None:
    assert len(quandaries()) >= 30
    for entity, wishes in quandaries().items():
        food, like, state = entity.split()
        for wish in wishes:
            scores = meets(food, wish, like, state)
            assert {*scores} == {*FOODS}
            assert sum(scores[food]) < max(map(sum, scores.values())) < 4
            assert scores[food][0] == 1


def test_dialogues_alternate() -> None:
    for asked in ALL:
        roles = [turn.role for turn in asked.prompt.messages]
        assert roles == [("user", "assistant")[count % 2] for count in range(len(roles))]
        assert isinstance(asked.prompt, Prompt)
        assert len(roles) == 1 + TEMPLATES[asked.template].pattern.count(" | ")
