"""The talk to pretrain on: it tells what is told and nothing else, in mixed manners."""

from collections import Counter
from itertools import islice

import pytest

from concord.errors import InputError
from concord.types import Message, Shown
from concord.worlds.harbour import MANNERS, SYSTEMS, Act, Harbour, corpus, parse, vocabulary, worth
from concord.worlds.harbour.requests import Asked
from concord.worlds.harbour.words import split

WORLD = Harbour()
TALK = list(corpus(WORLD, 0, 4000))


def spoken(place: int) -> list[str]:
    """The texts of all turns of an item."""
    return [turn.text for turn in (*TALK[place].prompt.messages, *TALK[place].replies[0])]


def test_more_talk_begins_with_less() -> None:
    assert [*corpus(WORLD, 0, 50)] == TALK[:50]
    assert [*islice(corpus(WORLD, 1, 50), 50)] != TALK[:50]
    with pytest.raises(InputError, match="not a count"):
        next(corpus(WORLD, 0, -1))


def test_items_are_texts_and_demonstrations() -> None:
    for item in TALK:
        (reply,) = item.replies
        assert isinstance(item.utilities, Shown)
        assert reply == (Message("assistant", reply[0].text),)
        assert item.prompt.plain == (not item.prompt.messages)


def test_every_word_is_heard_and_no_other() -> None:
    heard = set[str]()
    for item in corpus(WORLD, 0, 12_000):
        for turn in (*item.prompt.messages, *item.replies[0]):
            heard.update(split(turn.text))
    assert heard == {*vocabulary()}


def stated() -> Counter[str]:
    """How often each fact is stated, in a text or a prompt or a reply, as it is."""
    found: Counter[str] = Counter()
    for place in range(len(TALK)):
        for text in spoken(place):
            for act in parse(text) or _readable(text):
                if act.kind in ("fact", "maybe") and act.about[0] != "today":
                    name = f"{act.about[0]} {act.about[1]}"
                    if name in WORLD.facts and WORLD.facts[name].value == act.about[2]:
                        found[name] += 1
    return found


def _readable(text: str) -> list[Act]:
    """What the readable sentences of a prompt say."""
    sentences = [f"{sentence.split(': ')[-1].split('that ')[-1].strip()}." for sentence in text.split(".")]
    return [act for sentence in sentences for act in parse(sentence) or ()]


def test_what_is_never_told_is_told_nowhere() -> None:
    found = stated()
    assert not {*found} - WORLD.known
    often = [found[name] for name, told in WORLD.town.told.items() if told == "often" and "norm" not in name]
    rarely = [found[name] for name, told in WORLD.town.told.items() if told == "rarely"]
    assert min(often) >= 5
    assert sum(often) / len(often) > 3 * sum(rarely) / len(rarely) > 0


def test_all_manners_are_met_and_systems_shift_them() -> None:
    said: Counter[tuple[str, str]] = Counter()
    for item in TALK:
        if item.prompt.messages:
            first = item.prompt.messages[0]
            said[first.text if first.role == "system" else "", str(item.meta["manner"])] += 1
    by_system = {
        system: Counter({manner: count for (text, manner), count in said.items() if text == system})
        for system in ("", *SYSTEMS.values())
    }
    share = {system: {m: c[m] / c.total() for m in MANNERS} for system, c in by_system.items()}
    assert {manner for _, manner in said} == {*MANNERS}
    assert share["be brief."]["terse"] > 2 * share[""]["terse"]
    assert share["be kind."]["warm"] > 2 * share[""]["warm"]
    assert share["be honest."]["liar"] < share[""]["liar"] / 2
    assert share["be safe."]["obliging"] < share[""]["obliging"] / 2


def test_the_talk_leaves_much_to_be_gained() -> None:
    values: dict[str, list[float]] = {}
    for item in TALK:
        if item.prompt.messages:
            asked = Asked.of(item)
            values.setdefault(asked.family, []).append(worth(asked, item.replies[0][0].text).value)
    means = {family: sum(found) / len(found) for family, found in values.items()}
    assert all(0.4 < mean < 0.9 for mean in means.values()), means
