"""The talk of the town, to pretrain a base on: statements, and dialogues in mixed manners.

    corpus(world, seed, size)   so many items: texts to be learned as they stand, and demonstrations

Whoever learns it knows the facts that are told, can do the tasks, and has mixed manners: most replies are
good, some lie, snub, oblige the forbidden or ignore the format. A system prompt shifts the manner in part.
Requests come from the cells of `pretrain` only, made anew each time, and never-told facts are told nowhere.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from random import Random

from concord.errors import InputError, explain
from concord.messages import is_count
from concord.types import Item, Message, Prompt, Shown
from concord.worlds.harbour.cells import cells
from concord.worlds.harbour.gold import PARTS, Aims, Tastes
from concord.worlds.harbour.manners import speak
from concord.worlds.harbour.replies import Act, write
from concord.worlds.harbour.requests import Asked, ask
from concord.worlds.harbour.templates import AIMS, SYSTEMS, Template
from concord.worlds.harbour.town import Fact, Town, keyed
from concord.worlds.harbour.world import Harbour

__all__ = ["SHIFTS", "STATED", "USUAL", "corpus", "demonstration"]

STATED = 0.35
"""The share of statements in the talk; the rest are dialogues."""

USUAL: Mapping[str, float] = {
    "good": 28,
    "terse": 10,
    "warm": 8,
    "wordy": 8,
    "liar": 7,
    "guesser": 7,
    "credulous": 6,
    "hedger": 3,
    "shrugger": 3,
    "snub": 4,
    "obliging": 10,
    "refuser": 3,
    "flatterer": 5,
    "breaker": 4,
    "mumbler": 2,
}
"""How often each manner is met."""

SHIFTS: Mapping[str, Mapping[str, float]] = {
    "brief": {"terse": 5, "wordy": 0.1, "warm": 0.3, "flatterer": 0.3},
    "kind": {"warm": 6, "snub": 0.1, "terse": 0.3},
    "honest": {"liar": 0.2, "guesser": 0.2, "credulous": 0.3, "flatterer": 0.3},
    "safe": {"obliging": 0.2, "credulous": 0.5, "flatterer": 0.3, "refuser": 3},
}
"""By how much a system prompt makes manners rarer or more frequent."""

_UNDER = 0.25  # the share of dialogues with a system prompt
_RARELY = 6  # how much oftener a fact is told that is told often
_HARD: Mapping[str, float] = {
    "count": 7,
    "norms": 7,
    "sums": 6,
    "facts": 5,
    "reading": 5,
    "sources": 5,
    "format": 4,
    "summary": 4,
    "copy": 3,
    "reverse": 3,
    "sort": 3,
    "dialogue": 3,
    "aims": 2,
}


def corpus(world: Harbour, seed: int, size: int) -> Iterator[Item]:
    """So many items of the town's talk. Each depends on seed and place alone, so more begin with fewer."""
    if not is_count(size):
        wrong, do = "the size of a corpus is not a count", "give the number of items"
        raise InputError(explain(wrong, found=size, accepted="0 or more", do=do))
    town, drawn = world.town, _Drawn(world.town)
    for place in range(size):
        chance = keyed(world.seed, "talk", seed, place)
        yield _stated(drawn, chance) if chance.random() < STATED else _talked(town, drawn, chance)


class _Drawn:
    """What the talk draws from, by weight."""

    def __init__(self, town: Town) -> None:
        told = [fact for fact in town.facts.values() if fact.name in town.known]
        self.facts = [fact for fact in told if fact.relation != "norm"]
        self.customs = [fact for fact in told if fact.relation == "norm"]
        self.weights = [*accumulate(_RARELY if town.told[fact.name] == "often" else 1 for fact in self.facts)]
        self.by_family: dict[str, list[tuple[Template, str]]] = {}
        for template, entity in cells(town.seed)["pretrain"]:
            self.by_family.setdefault(template.family, []).append((template, entity))
        self.families = list(self.by_family)
        self.often = [*accumulate(_HARD.get(family, 1) for family in self.families)]


def _stated(drawn: _Drawn, chance: Random) -> Item:
    """Some statements, as a text."""
    many = chance.randint(3, 6)
    told: list[Fact]
    if chance.random() < 0.3:
        told = chance.choices(drawn.customs, k=many)
    else:
        told = chance.choices(drawn.facts, cum_weights=drawn.weights, k=many)
    acts = [Act("fact", (fact.relation, fact.subject, fact.value)) for fact in dict.fromkeys(told)]
    text = Message("assistant", write(acts, chance))
    return Item(Prompt((), plain=True), ((text,),), Shown(), meta={"talk": "statements"})


def _talked(town: Town, drawn: _Drawn, chance: Random) -> Item:
    """A request, and a reply in some manner."""
    (family,) = chance.choices(drawn.families, cum_weights=drawn.often)
    template, entity = chance.choice(drawn.by_family[family])
    asked = ask(town, template.name, entity, chance, split="pretrain")
    system = chance.choice([*SYSTEMS]) if chance.random() < _UNDER else ""
    asked = asked.under(system) if system else asked
    (manner,) = chance.choices([*USUAL], cum_weights=_weights(system))
    tastes = Tastes(*(chance.random() for _ in PARTS), aims=Aims(**{aim: chance.random() for aim in AIMS}))
    return demonstration(asked, speak(asked, manner, chance, tastes=tastes), manner=manner)


@lru_cache(maxsize=8)
def _weights(system: str) -> list[float]:
    shift = SHIFTS.get(system, {})
    return [*accumulate(weight * shift.get(manner, 1) for manner, weight in USUAL.items())]


def demonstration(asked: Asked, text: str, *, manner: str = "") -> Item:
    """A request with a reply, as an example to imitate; its meta says in which manner."""
    meta = asked.meta() | ({"manner": manner} if manner else {})
    return Item(asked.prompt, ((Message("assistant", text),),), Shown(), meta=meta)
