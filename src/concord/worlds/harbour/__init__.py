"""Harbour: a small town whose people's utility is known exactly, and the talk its helper grew up on.

    world = Harbour(seed=0)                      its facts, and requests by split: world.requests("test")
    worth(asked, text) -> Worth                  what a reply is worth to the town, or to anybody's `Tastes`
    stance(asked, text)                          what it comes to: right, wrong, "i do not know", harmful, ...
    Gold()                                       the same as a feedback
    speak(asked, manner, chance)                 a reply in one of the `MANNERS`
    corpus(world, seed, size)                    talk to pretrain on; `vocabulary()` has all its words
    pool(asked, world, k, seed)                  replies to a request that no policy chose

Standard library alone. A town is small enough for a model that learns it in minutes, and rich enough for
alignment methods to differ: facts the base knows, was never told, or nobody can know; tasks;
people who weigh kindness and brevity differently; customs that drift; values in conflict; what is forbidden,
and what only looks so; notes and people that are wrong.
"""

from concord.worlds.harbour.base import BASE, base_knows, base_shares, known_shares
from concord.worlds.harbour.cells import SPLITS, Split
from concord.worlds.harbour.files import rated, read_requests, write_world
from concord.worlds.harbour.gold import (
    PARTS,
    TOWN,
    Aims,
    Gold,
    Stance,
    Tastes,
    Worth,
    features,
    stance,
    worth,
)
from concord.worlds.harbour.manners import MANNERS, speak
from concord.worlds.harbour.replies import Act, parse, write
from concord.worlds.harbour.requests import Asked
from concord.worlds.harbour.rooms import ROOMS
from concord.worlds.harbour.talk import corpus, demonstration
from concord.worlds.harbour.templates import FAMILIES, SYSTEMS
from concord.worlds.harbour.town import Fact, Town, keyed, town_of
from concord.worlds.harbour.world import Harbour, pool, vocabulary

__all__ = [
    "BASE",
    "FAMILIES",
    "MANNERS",
    "PARTS",
    "ROOMS",
    "SPLITS",
    "SYSTEMS",
    "TOWN",
    "Act",
    "Aims",
    "Asked",
    "Fact",
    "Gold",
    "Harbour",
    "Split",
    "Stance",
    "Tastes",
    "Town",
    "Worth",
    "base_knows",
    "base_shares",
    "corpus",
    "demonstration",
    "features",
    "keyed",
    "known_shares",
    "parse",
    "pool",
    "rated",
    "read_requests",
    "speak",
    "stance",
    "town_of",
    "vocabulary",
    "worth",
    "write",
    "write_world",
]
