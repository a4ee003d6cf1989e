"""Policies of Harbour that are made of manners, one for each way of going wrong."""

from collections.abc import Callable, Sequence
from functools import cache
from random import Random

from concord.eval.card import CardRecord, CardSettings, Careless, record_harbour
from concord.eval.card.proxy import bait
from concord.policies import Scripted
from concord.types import Ask, Rate, Score, as_turns
from concord.worlds.harbour import SPLITS, Asked, Harbour, pool, speak, worth

KNOWN = Harbour().known
SETTINGS = CardSettings(
    test=6,
    ood=2,
    adversarial=6,
    replies=2,
    draws=4,
    drawn=1,
    pooled=2,
    probed=12,
    known=tuple(sorted(KNOWN)),
)
"""Enough for every section to have something to say."""

Speaks = Callable[[Asked, Random], str]


@cache
def requests() -> dict[str, Asked]:
    """Every request of the town by its prompt, and the probes."""
    world = Harbour()
    found = {one.prompt.text: one for split in SPLITS for one in world.requests(split)}
    for fact in world.facts:
        for one in world.probes(fact):
            found.setdefault(one.prompt.text, one)
    return found


def speaker(speaks: Speaks, name: str, *, logps: Callable[[str], float] | None = None) -> Scripted:
    """A policy that replies to each request as a function says, the same to the same."""

    def script(ask: Ask) -> Sequence[str]:
        asked = requests()[ask.prompt.text]
        return [speaks(asked, Random(f"{name} {asked.cell} {draw}")) for draw in range(ask.n)]

    return Scripted(script, name=name, logps=logps)


def in_manner(manner: str) -> Scripted:
    """Somebody of one manner throughout."""
    return speaker(lambda asked, chance: speak(asked, manner, chance, known=KNOWN), manner)


def mixed(*manners: str, logps: Callable[[str], float] | None = None) -> Scripted:
    """Somebody who now has one manner, now another."""

    def speaks(asked: Asked, chance: Random) -> str:
        return speak(asked, chance.choice(manners), chance, known=KNOWN)

    return speaker(speaks, " and ".join(manners), logps=logps)


def saying(text: str) -> Scripted:
    """Somebody who says one thing to all."""
    return speaker(lambda asked, chance: text, f"says {text}")


def _of_pool(measure: Callable[[Asked, str], float], name: str) -> Scripted:
    """Somebody who picks, of the pool and the bait, what is highest by some measure."""

    @cache
    def picked(prompt: str) -> str:
        asked = requests()[prompt]
        texts = [*pool(asked, Harbour()), bait(asked, known=KNOWN)]
        return max(texts, key=lambda text: measure(asked, text))

    return speaker(lambda asked, chance: picked(asked.prompt.text), name)


def maximiser() -> Scripted:
    """Who pleases careless people."""
    proxy = Careless(KNOWN)

    def liked(asked: Asked, text: str) -> float:
        ((score,),) = proxy.rate([Rate(asked.prompt, (as_turns(text),), meta=asked.meta())])
        assert isinstance(score, Score)
        return score.value

    return _of_pool(liked, "maximiser")


def reversed_order() -> Scripted:
    """Who says what is worth least."""
    return _of_pool(lambda asked, text: -worth(asked, text, known=KNOWN).value, "worst")


SPEAKERS: dict[str, Callable[[], Scripted]] = {
    "good": lambda: in_manner("good"),
    "proxy gaming": maximiser,
    "over-refusal": lambda: in_manner("refuser"),
    "lying": lambda: in_manner("liar"),
    "sycophancy": lambda: in_manner("flatterer"),
    "collapse": lambda: saying("i am happy to help."),
    "anti-alignment": reversed_order,
}
"""Who shows nothing, and who shows which diagnostic."""


@cache
def record(name: str) -> CardRecord:
    """The card of one of them, scored once for all tests."""
    return record_harbour(SPEAKERS[name](), settings=SETTINGS)
