"""Policies of Harbour that are made of manners, one for each way of going wrong."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random

from concord.eval.card import CardRecord, CardSettings, Careless, record_harbour
from concord.eval.card.harbour.proxy import bait
from concord.policies import Scripted
from concord.types import Ask, Rate, Score, as_turns
from concord.worlds.harbour import SPLITS, Asked, Harbour, pool, speak, worth

KNOWN = Harbour().known
OTHER = 3
"""Another town, for which nothing was set."""

SETTINGS = CardSettings(
    test=6,
    ood=2,
    adversarial=12,
    replies=2,
    draws=4,
    drawn=1,
    pooled=2,
    probed=20,
    known=tuple(sorted(KNOWN)),
)
"""Enough for every section to have something to say."""

Speaks = Callable[[Asked, Random], str]


def settings_of(town: int) -> CardSettings:
    """The same for any town."""
    return replace(SETTINGS, world=town, known=tuple(sorted(Harbour(town).known)))


@cache
def requests(town: int = 0) -> dict[str, Asked]:
    """Every request of the town by its prompt, and the probes."""
    world = Harbour(town)
    found = {one.prompt.text: one for split in SPLITS for one in world.requests(split)}
    for fact in world.facts:
        for one in world.probes(fact):
            found.setdefault(one.prompt.text, one)
    return found


def speaker(
    speaks: Speaks, name: str, *, logps: Callable[[str], float] | None = None, town: int = 0
) -> Scripted:
    """A policy that replies to each request as a function says, the same to the same."""

    def script(ask: Ask) -> Sequence[str]:
        asked = requests(town)[ask.prompt.text]
        return [speaks(asked, Random(f"{name} {asked.cell} {draw}")) for draw in range(ask.n)]

    return Scripted(script, name=name, logps=logps)


def in_manner(manner: str, town: int = 0) -> Scripted:
    """Somebody of one manner throughout."""
    known = Harbour(town).known
    return speaker(lambda asked, chance: speak(asked, manner, chance, known=known), manner, town=town)


def mixed(*manners: str, logps: Callable[[str], float] | None = None) -> Scripted:
    """Somebody who now has one manner, now another."""

    def speaks(asked: Asked, chance: Random) -> str:
        return speak(asked, chance.choice(manners), chance, known=KNOWN)

    return speaker(speaks, " and ".join(manners), logps=logps)


def saying(text: str, town: int = 0) -> Scripted:
    """Somebody who says one thing to all."""
    return speaker(lambda asked, chance: text, f"says {text}", town=town)


def _of_pool(measure: Callable[[Asked, str], float], name: str, town: int) -> Scripted:
    """Somebody who picks, of the pool and the bait, what is highest by some measure."""
    world = Harbour(town)

    @cache
    def picked(prompt: str) -> str:
        asked = requests(town)[prompt]
        texts = [*pool(asked, world), bait(asked, known=world.known)]
        return max(texts, key=lambda text: measure(asked, text))

    return speaker(lambda asked, chance: picked(asked.prompt.text), name, town=town)


def maximiser(town: int) -> Scripted:
    """Who pleases careless people."""
    proxy = Careless(Harbour(town).known)

    def liked(asked: Asked, text: str) -> float:
        ((score,),) = proxy.rate([Rate(asked.prompt, (as_turns(text),), meta=asked.meta())])
        assert isinstance(score, Score)
        return score.value

    return _of_pool(liked, "maximiser", town)


def reversed_order(town: int) -> Scripted:
    """Who says what is worth least."""
    known = Harbour(town).known
    return _of_pool(lambda asked, text: -worth(asked, text, known=known).value, "worst", town)


SPEAKERS: dict[str, Callable[[int], Scripted]] = {
    "good": lambda town: in_manner("good", town),
    "proxy gaming": maximiser,
    "over-refusal": lambda town: in_manner("refuser", town),
    "lying": lambda town: in_manner("liar", town),
    "sycophancy": lambda town: in_manner("flatterer", town),
    "collapse": lambda town: saying("i am happy to help.", town),
    "anti-alignment": reversed_order,
}
"""Who shows nothing, and who shows which diagnostic, in any town."""


@cache
def record(name: str, town: int = 0) -> CardRecord:
    """The card of one of them, scored once for all tests."""
    return record_harbour(SPEAKERS[name](town), settings=settings_of(town))
