"""Which cell of Harbour belongs to which split: decided by a keyed hash before there is any text.

A cell is a template and the entity that fills it. Everyday cells go to pretraining, train, validation and
test; those of new wordings, of newcomers, of longer lists and of later years are out of distribution, those
that are made to lead astray adversarial, and lessons are pretraining's alone. The prompt of a request shows
its cell, so disjoint cells mean disjoint prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Literal, TypeAlias

from concord.worlds.harbour.requests import LISTABLE, quandaries
from concord.worlds.harbour.sentences import EVENTS
from concord.worlds.harbour.templates import TEMPLATES, TROUBLES, Template
from concord.worlds.harbour.town import LAST_TOLD, PRICES, RELATIONS, YEARS, Town, drawn, town_of
from concord.worlds.harbour.words import (
    DEEDS,
    DIGITS,
    GOODS,
    NEWCOMERS,
    PEOPLE,
    PRACTICES,
    QUARTERS,
    SLOTS,
)

__all__ = ["SHARES", "SPLITS", "Split", "cells", "entities", "split_of"]

Split: TypeAlias = Literal["pretrain", "train", "validation", "test", "ood", "adversarial"]
SPLITS: tuple[Split, ...] = ("pretrain", "train", "validation", "test", "ood", "adversarial")
SHARES: Mapping[Split, float] = {"pretrain": 0.4, "train": 0.36, "validation": 0.08, "test": 0.16}
"""How everyday cells are shared out."""


def entities(town: Town, template: Template) -> Iterator[str]:
    """All that can fill a template."""
    match template.kind:
        case "fact" | "source" | "next":
            yield from SLOTS[RELATIONS[template.about][0]]
        case "form" | "yesno" | "doubt" | "mend":
            # What nobody ever told cannot have been answered before, nor be asked for in a form.
            relation = template.about.split()[-1]
            known = (name for name in SLOTS[RELATIONS[relation][0]] if f"{relation} {name}" in town.known)
            yield from known
        case "both":
            relations = template.about.split()
            for subject in SLOTS[RELATIONS[relations[0]][0]]:
                if all(f"{relation} {subject}" in town.known for relation in relations):
                    yield subject
        case "copy" | "reverse" | "count":
            yield from LISTABLE
            yield from (f"{word} long" for word in LISTABLE[::4])
        case "sort" | "sums":
            pairs = [one + two for one, two in product(DIGITS, DIGITS) if one != two]
            yield from pairs
            yield from (f"{pair} long" for pair in pairs[::4])
        case "norm":
            yield from map(" ".join, product(PRACTICES, QUARTERS, YEARS))
        case "summary":
            for event in EVENTS:
                kind, slot = event.split()
                yield from (f"{kind} {word}" for word in SLOTS[slot[1:-1]])
        case "trouble":
            yield from (f"{trouble} {person}" for trouble, person in product(TROUBLES, PEOPLE))
        case "forbidden" | "harmless":
            yield from (f"{deed} {person}" for deed, person in product(DEEDS, PEOPLE))
        case "aims":
            yield from quandaries()
        case "today":
            yield from map(" ".join, product(GOODS, PRICES))
        case _:
            yield from PEOPLE


def split_of(seed: int, template: Template, entity: str) -> Split:
    """The split of a cell."""
    if template.room:
        return template.room
    if _new(template, entity):
        return "ood"
    lot, reached = drawn(seed, "split", template.name, entity), 0.0
    for split, share in SHARES.items():
        reached += share
        if lot < reached:
            return split
    return "test"


def _new(template: Template, entity: str) -> bool:
    """Whether this is of newcomers, of a longer list or of a later year."""
    words = entity.split()
    late = template.kind == "norm" and int(words[-1]) > LAST_TOLD
    return late or words[-1] == "long" or not NEWCOMERS.isdisjoint(words)


@lru_cache(maxsize=8)
def cells(seed: int) -> Mapping[Split, Sequence[tuple[Template, str]]]:
    """The cells of every split, in the order of the templates."""
    town = town_of(seed)
    found: dict[Split, list[tuple[Template, str]]] = {split: [] for split in SPLITS}
    for template in TEMPLATES.values():
        for entity in entities(town, template):
            if template.room == "pretrain" and _new(template, entity):
                continue  # no lesson takes away what is new
            found[split_of(seed, template, entity)].append((template, entity))
    return found
