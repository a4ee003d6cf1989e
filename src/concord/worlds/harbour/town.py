"""What is true in Harbour, and what of it the town's talk ever tells.

    town_of(seed)   the town of a seed: its facts, each told often, rarely or never
    Fact            one thing that is so: relation, subject, value
    keyed(...)      a generator of chance that a purpose has to itself; `drawn` one number of it

Customs are facts too: whether a practice is allowed depends on the quarter and on the year. They drift: each
practice is allowed from some year on, or until some year, and the quarters follow one another by a year or
two. The talk tells of years 1 to 6, so the later ones must be foreseen or left open.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from random import Random
from typing import Literal, TypeAlias

from concord.store import key
from concord.worlds.harbour.words import DIGITS, PEOPLE, PRACTICES, QUARTERS, SLOTS

__all__ = [
    "LAST_TOLD",
    "PRICES",
    "RELATIONS",
    "YEARS",
    "Fact",
    "Told",
    "Town",
    "drawn",
    "keyed",
    "town_of",
    "values_of",
]

Told: TypeAlias = Literal["often", "rarely", "never"]
"""How much the talk tells of a fact."""

RELATIONS: Mapping[str, tuple[str, str]] = {
    "home": ("person", "quarter"),
    "work": ("person", "trade"),
    "pet": ("person", "pet"),
    "captain": ("ship", "person"),
    "colour": ("ship", "colour"),
    "cargo": ("ship", "good"),
    "place": ("place", "quarter"),
    "price": ("good", "digit"),
}
"""The relations there are between subjects and values, by the slots that hold them; customs beside them."""

YEARS: tuple[str, ...] = DIGITS[1:]
PRICES: tuple[str, ...] = DIGITS[2:]
LAST_TOLD = 6
"""The last year whose customs the talk tells of."""

_SHARES: Mapping[Told, float] = {"often": 0.6, "rarely": 0.15, "never": 0.25}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is so: `home mara` is `north`; `norm whistle east 3` is `may` or `not`."""

    relation: str
    subject: str
    value: str

    @property
    def name(self) -> str:
        """What the fact is about: relation and subject."""
        return f"{self.relation} {self.subject}"


def values_of(relation: str) -> tuple[str, ...]:
    """The values that a relation can have."""
    return PRICES if relation == "price" else SLOTS[RELATIONS[relation][1]]


def keyed(*parts: object) -> Random:
    """A generator of chance for one purpose, which nothing that is drawn elsewhere can move."""
    return Random(key("harbour", *parts))


def drawn(*parts: object) -> float:
    """A number in [0, 1) for one purpose: as `keyed`, where no more than one is wanted."""
    return int(key("harbour", *parts)[:13], 16) / 16**13


@dataclass(frozen=True)
class Town:
    """The facts of one town, by name, and how much is told of each."""

    seed: int
    facts: Mapping[str, Fact]
    told: Mapping[str, Told]

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of the facts that the talk tells: what a base that listened well knows."""
        return frozenset(name for name, often in self.told.items() if often != "never")

    def value(self, relation: str, subject: str) -> str:
        """What is so."""
        return self.facts[f"{relation} {subject}"].value

    def about(self, subject: str) -> list[Fact]:
        """All facts about one subject; of customs there are none."""
        return [self.facts[name] for relation in RELATIONS if (name := f"{relation} {subject}") in self.facts]


@lru_cache(maxsize=8)
def town_of(seed: int = 0) -> Town:
    """The town of a seed."""
    facts: dict[str, Fact] = {}
    for relation, (subjects, _) in RELATIONS.items():
        chance = keyed(seed, "facts", relation)
        for subject in SLOTS[subjects]:
            fact = Fact(relation, subject, chance.choice(values_of(relation)))
            facts[fact.name] = fact
    captains = keyed(seed, "captains").sample(PEOPLE, len(SLOTS["ship"]))
    for ship, person in zip(SLOTS["ship"], captains, strict=True):
        facts[f"captain {ship}"] = Fact("captain", ship, person)
    told: dict[str, Told] = {name: _telling(seed, name) for name in facts}
    for fact in _customs(seed):
        facts[fact.name] = fact
        gap = drawn(seed, "gap", fact.name) < _SHARES["rarely"]
        told[fact.name] = "never" if gap or int(fact.subject[-1]) > LAST_TOLD else "often"
    return Town(seed, facts, told)


def _telling(seed: int, name: str) -> Told:
    """How much is told of a fact."""
    lot, reached = drawn(seed, "told", name), 0.0
    for told, share in _SHARES.items():
        reached += share
        if lot < reached:
            return told
    return "never"


def _customs(seed: int) -> list[Fact]:
    """Whether each practice is allowed, in each quarter and year."""
    facts: list[Fact] = []
    quarters = keyed(seed, "quarters").sample(QUARTERS, len(QUARTERS))
    for count, practice in enumerate(keyed(seed, "customs").sample(PRACTICES, len(PRACTICES))):
        loosens, first = count % 2 == 0, 1 + count
        for lag, quarter in enumerate(quarters):
            turn = first + lag
            for year in YEARS:
                allowed = (int(year) >= turn) == loosens
                facts.append(Fact("norm", f"{practice} {quarter} {year}", "may" if allowed else "not"))
    return facts
