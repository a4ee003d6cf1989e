"""The world itself: its facts, its requests by split, its words.

    world = Harbour(seed=0)
    world.requests("test", families=["facts"], each=20)

All is a pure function of the seed. Nothing in it depends on a policy.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from concord.errors import InputError, explain, nearest
from concord.messages import is_count
from concord.worlds.harbour.cells import SPLITS, Split, cells
from concord.worlds.harbour.manners import MANNERS, speak
from concord.worlds.harbour.requests import Asked, ask
from concord.worlds.harbour.sentences import SENTENCES
from concord.worlds.harbour.templates import (
    FAMILIES,
    LIKES,
    QUESTIONS,
    STATES,
    SYSTEMS,
    TEMPLATES,
    TROUBLES,
    WISHES,
)
from concord.worlds.harbour.town import Fact, Town, keyed, town_of
from concord.worlds.harbour.words import DEEDS, MARKS, SLOTS, split

__all__ = ["COPIES", "Harbour", "pool", "vocabulary"]

COPIES: Mapping[str, int] = {"aims": 2, "copy": 2, "reverse": 2, "count": 2, "summary": 2}
"""How many requests are made of a cell, by kind, where chance leaves much open; of others one."""


@dataclass(frozen=True)
class Harbour:
    """The town of a seed, and all that is asked in it."""

    seed: int = 0

    def __post_init__(self) -> None:
        if not is_count(self.seed):
            wrong, do = "the seed of Harbour is not a count", "take any whole number"
            raise InputError(explain(wrong, found=self.seed, accepted="0 or above", do=do))

    @property
    def town(self) -> Town:
        """What is true, and what of it is told."""
        return town_of(self.seed)

    @property
    def facts(self) -> Mapping[str, Fact]:
        """All facts, by name."""
        return self.town.facts

    @property
    def known(self) -> frozenset[str]:
        """The names of the facts that the town's talk tells."""
        return self.town.known

    @property
    def entities(self) -> Mapping[str, tuple[str, ...]]:
        """People, ships, places and the rest, by their kind."""
        return SLOTS

    def requests(
        self, split: str, *, families: Collection[str] | None = None, each: int | None = None, times: int = 1
    ) -> list[Asked]:
        """What is asked in a split, in the order of the families.

        No prompt comes twice, and none comes in two splits.

        each: takes at most so many of a family
        times: makes so many times as many of each cell, where chance leaves something open, as lists to copy
        """
        if split not in SPLITS:
            do = "name one of these"
            raise InputError(
                explain("Harbour has no such split", found=split, accepted=nearest(split, SPLITS), do=do)
            )
        if each is not None and not is_count(each):
            wrong, do = "the number of requests is not a count", "leave it out to take all"
            raise InputError(explain(wrong, found=each, accepted="0 or more, or None", do=do))
        if not is_count(times, 1):
            wrong, do = "`times` is no such count", "leave it out to make each once"
            raise InputError(explain(wrong, found=times, accepted="a whole number from 1", do=do))
        wanted = FAMILIES if families is None else families
        if odd := [family for family in wanted if family not in FAMILIES]:
            wrong, accepted = "Harbour has no such family of requests", nearest(odd[0], FAMILIES)
            raise InputError(explain(wrong, found=odd[0], accepted=accepted, do="name one of these"))
        chosen: list[Asked] = []
        for family in FAMILIES:
            if family in wanted:
                chosen += _few(_asked(self.seed, split, family, times), each)
        return chosen

    def probes(self, fact: str) -> list[Asked]:
        """The everyday questions for a fact, whatever their split, to find out whether a base knows it.

        They measure knowledge; to train on them would be to train on the test.
        """
        if fact not in self.facts:
            wrong, accepted = "Harbour has no such fact", nearest(fact, self.facts)
            raise InputError(explain(wrong, found=fact, accepted=accepted, do="name it as `Fact.name` does"))
        relation, _, subject = fact.partition(" ")
        return [
            ask(self.town, template.name, subject, keyed(self.seed, "probe", template.name, subject))
            for template in TEMPLATES.values()
            if not template.room and (template.kind, template.about) in (("fact", relation), (relation, ""))
        ]


def _few(asked: tuple[Asked, ...], most: int | None) -> list[Asked]:
    """At most so many, drawn by their prompts, so that fewer are always among more."""
    if most is None or len(asked) <= most:
        return list(asked)
    drawn = sorted(range(len(asked)), key=lambda place: keyed("few", asked[place].prompt.text).random())
    return [asked[place] for place in sorted(drawn[:most])]


@lru_cache(maxsize=256)
def _asked(seed: int, split: Split, family: str, times: int) -> tuple[Asked, ...]:
    town = town_of(seed)
    made: dict[str, Asked] = {}
    for template, entity in cells(seed)[split]:
        if template.family != family:
            continue
        for copy in range(times * COPIES.get(template.kind, 1)):
            chance = keyed(seed, "ask", template.name, entity, copy)
            asked = ask(town, template.name, entity, chance, split=split)
            made.setdefault(asked.prompt.text, asked)
    return tuple(made.values())


def pool(asked: Asked, world: Harbour, k: int = 8, seed: int = 0) -> list[str]:
    """A fixed pool of k different replies to a request, over all manners; fewer where there are no more.

    It depends on the request and the seed alone, on no policy, and a larger pool begins with the smaller.
    """
    chance = keyed(world.seed, "pool", seed, asked.prompt.text)
    manners, found = list(MANNERS), dict[str, None]()
    for _ in range(4):
        chance.shuffle(manners)
        for manner in manners:
            found.setdefault(speak(asked, manner, chance, known=world.known))
    return list(found)[:k]


_SLOT = re.compile(r"\{\w+\}")


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """Every word that can be asked or said in Harbour, marks first: what a tokenizer must know."""
    patterns = [pattern for ways in SENTENCES.values() for pattern in ways]
    patterns += [template.pattern.replace(" | ", " ") for template in TEMPLATES.values()]
    patterns += [
        *SYSTEMS.values(),
        *(text for texts in QUESTIONS.values() for text in texts),
        "maybe i think that in short,",
        "yes, no.",
    ]
    found = {word for pattern in patterns for word in split(_SLOT.sub(" ", pattern))}
    found |= {word for words in (*SLOTS.values(), DEEDS, TROUBLES) for word in words}
    found |= {word for words in (*WISHES, *LIKES, *STATES) for word in split(words)}
    return (*MARKS, *sorted(found - {*MARKS}))
