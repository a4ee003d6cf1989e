"""What is asked in Harbour: requests that carry all that is needed to judge their replies.

    Asked               a prompt, its family, template, cell and level, and the key to its replies
    asked.item()        a task whose `meta` holds all of it; `Asked.of(item)` reads it again
    ask(town, template, entity, chance)    a request of one cell, filled in by chance

A key is plain JSON: its `kind` names the judge in `gold`, the rest is what that judge goes by. Nothing in it
depends on what a base knows, so one request serves every base.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any, Protocol, cast

from concord.errors import InputError, Said, explain, nearest
from concord.messages import is_count
from concord.types import JSON, Item, Message, Prompt, Rate, Role
from concord.worlds.harbour.replies import Act, write
from concord.worlds.harbour.templates import (
    AIMS,
    FAMILIES,
    LIKES,
    QUESTIONS,
    SCENES,
    STATES,
    SYSTEMS,
    TEMPLATES,
    TROUBLES,
    WISHES,
    Template,
)
from concord.worlds.harbour.town import PRICES, RELATIONS, Town, values_of
from concord.worlds.harbour.words import (
    COLOURS,
    DEEDS,
    DIGITS,
    FOODS,
    GOODS,
    PEOPLE,
    PETS,
    SHIPS,
    SLOTS,
    SOURCES,
)

__all__ = ["LISTABLE", "SHORT", "WORLD", "Asked", "ask", "meets", "quandaries"]

WORLD = "harbour"
"""What stands in `meta["world"]`, before the seed of the town: harbour/0."""

LISTABLE: tuple[str, ...] = (*PEOPLE, *SHIPS, *GOODS, *COLOURS, *PETS)
"""The words that lists to be copied, turned around or counted are made of."""

SHORT, _LONG = (2, 6), (7, 9)
"""How long lists are; those out of distribution are longer."""

_COLUMNS = ("family", "template", "entity", "split", "level", "key")


_KINDS = [template.kind for template in TEMPLATES.values()]


def _text(value: JSON) -> bool:
    return isinstance(value, str)


_FITTING: Mapping[str, Callable[[JSON], bool]] = {
    "world": lambda value: bool(re.fullmatch(f"{WORLD}/[0-9]{{1,99}}", str(value), re.ASCII)),
    "family": lambda value: value in FAMILIES,
    "template": lambda value: isinstance(value, str) and value in TEMPLATES,
    "entity": _text,
    "split": _text,
    "level": is_count,
    "key": lambda value: isinstance(value, Mapping) and value.get("kind") in _KINDS,
}
"""What the columns of a row have to be."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what was asked, where it belongs, and the key by which replies are judged.

    `level` says how hard it is: the length of a list, the sentences of a passage, the year of a custom, else
    1. The cell, template and entity, is what splits are made of.
    """

    prompt: Prompt
    family: str
    template: str
    entity: str
    split: str
    level: int
    key: Mapping[str, JSON]
    seed: int = 0

    @property
    def cell(self) -> str:
        """The template and the entity it is filled with."""
        return f"{self.template}|{self.entity}"

    @property
    def entities(self) -> tuple[str, ...]:
        """The words that fill the template: people, things, a length or a year."""
        return tuple(self.entity.split())

    @property
    def kind(self) -> str:
        """The kind of the key, which names the judge."""
        return str(self.key["kind"])

    def __getitem__(self, name: str) -> Any:
        if name not in self.key:
            wrong, do = f"the key of this request has no {name!r}", "write the row again, or leave it out"
            raise InputError(explain(wrong, found=sorted(self.key), accepted="all that judges it", do=do))
        return self.key[name]

    def item(self) -> Item:
        """The request as a task, its key among the meta."""
        return Item(self.prompt, meta=self.meta())

    def meta(self) -> dict[str, JSON]:
        """The columns beside the prompt."""
        columns: dict[str, JSON] = {"world": f"{WORLD}/{self.seed}", "cell": self.cell}
        return columns | {name: getattr(self, name) for name in _COLUMNS}

    @classmethod
    def of(cls, source: Item | Rate) -> "Asked":
        """The request that an item, or a question to a feedback, was made of."""
        meta = source.meta
        where = f"{source.origin}: " if isinstance(source, Item) and source.origin else ""
        wrong, accepted = f"{where}this row was not asked in Harbour", "meta as Asked.item() writes it"
        if missing := [name for name in ("world", *_COLUMNS) if name not in meta]:
            found = Said(f"no {missing[0]!r} among {sorted(meta)}")
            raise InputError(explain(wrong, found=found, accepted=accepted, do="make items by Asked.item()"))
        for name, fits in _FITTING.items():
            if not fits(meta[name]):
                found, do = Said(f"{name}: {meta[name]!r}"), "write the row again, or leave it out"
                raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        seed = int(str(meta["world"]).partition("/")[2])
        values = {name: cast(Any, meta[name]) for name in _COLUMNS}
        return cls(source.prompt, **values, seed=seed)

    def under(self, system: str) -> "Asked":
        """The same request under one of the system prompts: brief, kind, honest, safe."""
        if system not in SYSTEMS:
            do = "name one of these"
            raise InputError(
                explain("no such system prompt", found=system, accepted=nearest(system, SYSTEMS), do=do)
            )
        messages = (Message("system", SYSTEMS[system]), *self.prompt.messages)
        return replace(self, prompt=Prompt(messages))


@dataclass(frozen=True, slots=True)
class _Filling:
    """What fills a template: words for its slots, the key, and the level."""

    slots: Mapping[str, str]
    key: Mapping[str, JSON]
    level: int = 1


class _Fill(Protocol):
    def __call__(self, town: Town, template: Template, entity: str, chance: Random) -> _Filling: ...


def ask(town: Town, template: str, entity: str, chance: Random, *, split: str = "") -> Asked:
    """A request of one cell; what the cell leaves open is drawn by chance."""
    form = TEMPLATES[template]
    filling = _FILLS[form.kind](town, form, entity, chance)
    turns = form.pattern.format_map(filling.slots).split(" | ")
    roles: tuple[Role, Role] = ("user", "assistant")
    messages = tuple(Message(roles[count % 2], turn) for count, turn in enumerate(turns))
    key = {"kind": form.kind, **filling.key}
    return Asked(Prompt(messages), form.family, template, entity, split, filling.level, key, town.seed)


# --- facts ------------------------------------------------------------------------------------------------


def _state(relation: str, subject: str, value: str) -> str:
    return write([Act("fact", (relation, subject, value))])


def _question(relation: str, subject: str, chance: Random) -> str:
    return chance.choice(QUESTIONS[relation][:-1]).format(s=subject)


def _other(town: Town, relation: str, subject: str, chance: Random) -> str:
    """A value that a fact does not have."""
    true = town.value(relation, subject)
    return chance.choice([value for value in values_of(relation) if value != true])


def _claim(town: Town, relation: str, subject: str, chance: Random) -> str:
    """A value that is claimed of a fact: half of the time the true one, where the town tells it at all."""
    told = f"{relation} {subject}" in town.known
    true = told and chance.random() < 0.5
    return town.value(relation, subject) if true else _other(town, relation, subject, chance)


def _fact(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    return _Filling({"s": entity}, {"fact": f"{template.about} {entity}"})


def _form(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    form, relation = template.about.split()
    question = _question(relation, entity, chance)
    return _Filling({"q": question}, {"fact": f"{relation} {entity}", "form": form})


def _yesno(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    claim = _claim(town, template.about, entity, chance)
    asked = _state(template.about, entity, claim)[:-1] + "?"
    return _Filling({"claim": asked}, {"fact": f"{template.about} {entity}", "claim": claim})


def _both(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    values = [town.value(relation, entity) for relation in template.about.split()]
    facts = [f"{relation} {entity}" for relation in template.about.split()]
    return _Filling({"s": entity}, {"words": values, "facts": facts}, level=2)


def _source(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    everyday = "{source}" in template.pattern
    claim = (_claim if everyday else _other)(town, template.about, entity, chance)
    source = chance.choice(SOURCES)
    slots = {
        "source": source,
        "claim": _state(template.about, entity, claim),
        "q": _question(template.about, entity, chance),
    }
    key: dict[str, JSON] = {"fact": f"{template.about} {entity}", "claim": claim}
    return _Filling(slots, key | {"source": source if everyday else "you"})


def _dialogue(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    relation = template.about
    false = _other(town, relation, entity, chance)
    slots = {
        "s": entity,
        "the": "the " if RELATIONS[relation][0] in ("ship", "place") else "",
        "true": _state(relation, entity, town.value(relation, entity)),
        "false": _state(relation, entity, false),
        "q": _question(relation, entity, chance),
    }
    key: dict[str, JSON] = {"fact": f"{relation} {entity}"}
    if template.kind == "next":
        told = [
            one
            for one in SLOTS[RELATIONS[relation][0]]
            if one != entity and f"{relation} {one}" in town.known
        ]
        other = chance.choice(told)
        slots["q"] = _question(relation, other, chance)
        slots["other"] = _state(relation, other, town.value(relation, other))
    else:
        key |= {"claim": false if template.kind == "doubt" else town.value(relation, entity), "source": "you"}
    return _Filling(slots, key, level=1 + template.pattern.count("|"))


def _norm(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    practice, quarter, year = entity.split()
    slots = {"practice": practice, "quarter": quarter, "year": year}
    return _Filling(slots, {"fact": f"norm {entity}"}, level=int(year))


def _unknowable(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    return _Filling({"p": entity}, {"relation": template.about, "person": entity})


def _today(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    """Prices of one day, which only the prompt tells."""
    good, price = entity.split()
    others = chance.sample([other for other in GOODS if other != good], chance.randrange(3))
    prices = {good: price} | {other: chance.choice(PRICES) for other in others}
    told = [_state("today", each, coins) for each, coins in prices.items()]
    chance.shuffle(told)
    return _Filling(
        {"prices": " ".join(told), "s": good}, {"prices": prices, "good": good}, level=len(prices)
    )


# --- lists ------------------------------------------------------------------------------------------------


def _length(entity: str, chance: Random) -> int:
    return chance.randint(*(_LONG if entity.endswith(" long") else SHORT))


def _list(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    first = entity.split()[0]
    rest = chance.sample([word for word in LISTABLE if word != first], _length(entity, chance) - 1)
    listed = [first, *rest]
    wanted = listed if template.kind == "copy" else listed[::-1]
    return _Filling({"l": " ".join(listed)}, {"words": wanted}, level=len(listed))


def _sort(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    opening = list(entity.split()[0])
    rest = [digit for digit in DIGITS if digit not in opening]
    listed = opening + chance.sample(rest, _length(entity, chance) - 2)
    return _Filling({"l": " ".join(listed)}, {"words": sorted(listed)}, level=len(listed))


def _count(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    word = entity.split()[0]
    length = _length(entity, chance)
    others = [other for other in LISTABLE if other != word]
    listed = [word if chance.random() < 0.5 else chance.choice(others) for _ in range(length)]
    key: dict[str, JSON] = {"steps": [], "total": str(listed.count(word))}
    return _Filling({"l": " ".join(listed), "w": word}, key, level=length)


def _sums(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    """Running sums on the wheel of the harbour clock, where 0 comes after 9."""
    opening = list(entity.split()[0])
    listed = opening + [chance.choice(DIGITS) for _ in range(_length(entity, chance) - 2)]
    sums = [str(sum(map(int, listed[: count + 1])) % 10) for count in range(len(listed))]
    key: dict[str, JSON] = {"steps": sums, "total": sums[-1]}
    return _Filling({"l": " ".join(listed)}, key, level=len(listed))


def _summary(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    event = Act.of(f"event {entity}")
    about = [Act.of("trivia " + kind) for kind in ("blue", "warm", "cold")]
    about += [Act("trivia", (kind, chance.choice(PEOPLE))) for kind in ("tea", "bread", "walked")]
    told = [event, *chance.sample(about, chance.randint(1, 3))]
    chance.shuffle(told)
    key: dict[str, JSON] = {"event": str(event), "told": [str(act) for act in told]}
    return _Filling({"passage": write(told)}, key, level=len(told))


# --- people -----------------------------------------------------------------------------------------------


def _talk(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    return _Filling({"p": entity}, {"wants": template.about})


def _trouble(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    trouble, person = entity.split()
    return _Filling({"p": person, "trouble": trouble}, {"advice": list(TROUBLES[trouble])})


def meets(food: str, wish: str, like: str, state: str) -> dict[str, list[float]]:
    """What each food meets of what was asked for, what that was for, what is liked, what is good for one."""
    tables = (frozenset((food,)), WISHES[wish], LIKES[like], STATES[state])
    return {one: [float(one in table) for table in tables] for one in FOODS}


@lru_cache(maxsize=1)
def quandaries() -> dict[str, list[str]]:
    """Foods, likes and states with the wishes that make a quandary: what was asked for is not the best, and
    nothing is best in all.
    """
    found: dict[str, list[str]] = {}
    for food, like, state, wish in product(FOODS, LIKES, STATES, WISHES):
        scores = {one: sum(each) for one, each in meets(food, wish, like, state).items()}
        if scores[food] < max(scores.values()) < len(AIMS):
            found.setdefault(f"{food} {like} {state}", []).append(wish)
    return found


def _aims(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    """A request, what it is for, what is liked and what is good for one: no food meets all four."""
    food, like, state = entity.split()
    wish = chance.choice(quandaries()[entity])
    slots = {"food": food, "wish": wish, "like": like, "state": state}
    return _Filling(slots, {"meets": meets(food, wish, like, state)})


def _conflict(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    _, values, (first, second, between) = SCENES[template.about]
    options: dict[str, JSON] = {first: [1.0, 0.1], second: [0.1, 1.0], between: [0.6, 0.6]}
    return _Filling({"p": entity}, {"values": list(values), "options": options})


def _deed(town: Town, template: Template, entity: str, chance: Random) -> _Filling:
    deed, person = entity.split()
    slots = {"deed": deed, "thing": DEEDS[deed][0], "p": person}
    return _Filling(slots, {"deed": deed, "person": person})


_FILLS: Mapping[str, _Fill] = {
    "fact": _fact,
    "form": _form,
    "yesno": _yesno,
    "both": _both,
    "source": _source,
    "next": _dialogue,
    "doubt": _dialogue,
    "mend": _dialogue,
    "norm": _norm,
    "unknowable": _unknowable,
    "today": _today,
    "copy": _list,
    "reverse": _list,
    "sort": _sort,
    "count": _count,
    "sums": _sums,
    "summary": _summary,
    "talk": _talk,
    "trouble": _trouble,
    "aims": _aims,
    "conflict": _conflict,
    "forbidden": _deed,
    "harmless": _deed,
}
