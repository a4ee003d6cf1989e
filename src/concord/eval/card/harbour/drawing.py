"""All that a card asks: drawn once, kept, and read by every measure.

    places(settings)            the requests of a card, each with what is new about it
    draw(policy, settings)      the replies of a policy to all of them: a `Drawn`

What a policy is worth is the mean over what it says, so that a few draws at temperature 1 to every request
carry what is compared between models. Many draws to a few requests carry best of n, frequencies and
diversity; the likeliest reply shows what a policy decides: whether it holds when doubted, what it denies.
Each stage is one call, so that a policy can answer all of it together.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Literal, TypeAlias

from concord.eval.card.records import CardSettings, Tell
from concord.eval.reckoning import FEWEST, Labels
from concord.types import Ask, Capability, Item, Policy, Ratings, Reply, Sampling, Unanswered, as_turns
from concord.worlds.harbour import (
    Asked,
    Harbour,
    Stance,
    Worth,
    base_knows,
    features,
    keyed,
    pool,
    stance,
    worth,
)
from concord.worlds.harbour.templates import TEMPLATES
from concord.worlds.harbour.town import LAST_TOLD
from concord.worlds.harbour.words import NEWCOMERS

__all__ = [
    "KINDS",
    "Drawn",
    "Kind",
    "Measure",
    "Place",
    "Valued",
    "as_valued",
    "draw",
    "known_of",
    "look_of",
    "means",
    "nobody",
    "novelty",
    "part_of",
    "places",
    "whether",
    "worth_of",
]

Kind: TypeAlias = Literal["test", "wording", "people", "length", "years", "adversarial"]
KINDS: tuple[Kind, ...] = ("test", "wording", "people", "length", "years", "adversarial")
"""What sets a request apart from what was learned: nothing but its cell, a wording that came up in no
training data, newcomers, a longer list, a later year, or that it is made to lead astray."""


@dataclass(frozen=True, slots=True)
class Place:
    """A request of a card and what is new about it."""

    asked: Asked
    kind: Kind


@dataclass(frozen=True, slots=True)
class Valued:
    """A reply, with what it is worth to the town and what it comes to; both None where none came."""

    reply: Reply | Unanswered
    worth: Worth | None
    stance: Stance | None

    @property
    def text(self) -> str | None:
        """What was said, if anything."""
        return self.reply.text if isinstance(self.reply, Reply) else None

    @property
    def value(self) -> float | None:
        """What it is worth to the town."""
        return self.worth and self.worth.value

    def part(self, name: str) -> float | None:
        """One of the parts of its worth."""
        return self.worth and self.worth.parts[name]


def as_valued(asked: Asked, reply: Reply | Unanswered, known: Set[str]) -> Valued:
    """A reply, valued by gold."""
    if not isinstance(reply, Reply):
        return Valued(reply, None, None)
    return Valued(reply, worth(asked, reply.text, known=known), stance(asked, reply.text))


Measure: TypeAlias = Callable[[Valued], float | None]
"""A number of a reply; None where it has none."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Everything that was asked of a policy, and of its base where there is one.

    said: the likeliest reply at each place
    samples, base: some draws at temperature 1 at each place, by the policy and by its base
    draws: some places, each with many draws, those of `samples` among them
    probes: requests for one fact each, in all everyday wordings, by the fact's name, with the likeliest reply
    """

    settings: CardSettings
    policy: Policy
    before: Policy | None
    known: frozenset[str]
    places: tuple[Place, ...]
    said: tuple[Valued, ...]
    samples: tuple[tuple[Valued, ...], ...]
    base: tuple[tuple[Valued, ...], ...] | None
    draws: Mapping[int, tuple[Valued, ...]]
    probes: Mapping[str, tuple[tuple[Asked, Valued], ...]]

    @property
    def seed(self) -> int:
        """Of resamples."""
        return self.settings.seed

    @property
    def itself(self) -> bool:
        """Whether the base is the policy itself, from which it differs by nothing."""
        return self.before is not None and self.before.id == self.policy.id

    def at(self, *kinds: Kind, families: Set[str] | None = None) -> list[int]:
        """The places of some kinds, and of some families where these are given."""
        return [
            number
            for number, place in enumerate(self.places)
            if place.kind in kinds and (families is None or place.asked.family in families)
        ]

    def first(self, each: int) -> tuple[int, ...]:
        """The first test places of each family."""
        return _few(self.places, each)

    def templates(self, numbers: Sequence[int]) -> tuple[Labels, ...]:
        """What makes replies alike: the template of each place, as clusters.

        Fewer than eight wordings tell nothing of others. Then there are no clusters, and an interval speaks
        of other requests in these wordings.
        """
        labels = [self.places[number].asked.template for number in numbers]
        return (labels,) if len(set(labels)) >= FEWEST else ()

    def values(self, numbers: Sequence[int]) -> list[float | None]:
        """What the policy's draws at each place are worth in the mean."""
        return means(self.samples, numbers, worth_of)

    def values_before(self, numbers: Sequence[int]) -> list[float | None]:
        """The same of the base, where there is one."""
        return means(self.base or (), numbers, worth_of)

    def can(self, capability: Capability, *, both: bool = False) -> bool:
        """Whether the policy can be asked for something; with `both`, whether a base can be, too."""
        able = capability in self.policy.capabilities
        return able and (not both or (self.before is not None and capability in self.before.capabilities))

    @cached_property
    def pools(self) -> Mapping[int, Item]:
        """The fixed pool of each test place, valued by gold: replies that no policy chose."""
        world = Harbour(self.settings.world)
        found: dict[int, Item] = {}
        for number in self.at("test"):
            asked = self.places[number].asked
            texts = pool(asked, world, seed=0)
            scores = tuple(worth(asked, text, known=self.known).value for text in texts)
            found[number] = Item(
                asked.prompt, tuple(map(as_turns, texts)), Ratings(scores), meta=asked.meta()
            )
        return found

    @property
    def replies(self) -> list[Reply | Unanswered]:
        """Every reply of the policy, whatever it was asked for."""
        probed = [said for rows in self.probes.values() for _, said in rows]
        samples = [row for number, row in enumerate(self.samples) if number not in self.draws]
        drawn = [said for row in (*samples, *self.draws.values()) for said in row]
        return [said.reply for said in (*self.said, *drawn, *probed)]


def means(rows: Sequence[Sequence[Valued]], numbers: Sequence[int], of: Measure) -> list[float | None]:
    """The mean of something over the draws at each of some places; None where no draw has it.

    What did not come at a place is left out there: a card that lacks many replies warns of it.
    """
    found: list[float | None] = []
    for number in numbers:
        values = [value for said in rows[number] if (value := of(said)) is not None]
        found.append(fmean(values) if values else None)
    return found


def worth_of(said: Valued) -> float | None:
    """What a reply is worth to the town."""
    return said.value


def part_of(name: str) -> Measure:
    """One of the parts of what a reply is worth."""
    return lambda said: said.part(name)


def whether(kind: Stance) -> Measure:
    """Whether a reply comes to something, as 0 or 1."""
    return lambda said: None if said.stance is None else float(said.stance == kind)


def look_of(name: str) -> Measure:
    """What a careless eye sees of a reply."""
    return lambda said: None if said.text is None else features(said.text)[name]


# --- what is asked ----------------------------------------------------------------------------------------


def novelty(asked: Asked) -> Kind | None:
    """What sets a request apart from what was learned; None where more than one thing does."""
    if asked.split == "test":
        return "test"
    if asked.split == "adversarial":
        return "adversarial"
    words = asked.entity.split()
    late = asked.kind == "norm" and int(words[-1]) > LAST_TOLD
    new: Mapping[Kind, bool] = {
        "wording": bool(TEMPLATES[asked.template].room),
        "people": not NEWCOMERS.isdisjoint(words),
        "length": words[-1] == "long",
        "years": late,
    }
    kinds: list[Kind] = [kind for kind in KINDS if new.get(kind)]
    return kinds[0] if len(kinds) == 1 else None


def places(settings: CardSettings) -> tuple[Place, ...]:
    """The requests of a card. More of them hold the fewer, since each is drawn by its own prompt."""
    world = Harbour(settings.world)
    limits: dict[Kind, int] = dict.fromkeys(KINDS, settings.ood)
    limits |= {"test": settings.test, "adversarial": settings.adversarial}
    # Few families have lists or customs, so that more of each are needed to say anything.
    limits |= {"length": 2 * settings.ood, "years": 4 * settings.ood}
    groups: dict[tuple[Kind, str], list[Asked]] = {}
    for split in ("test", "ood", "adversarial"):
        for asked in world.requests(split):
            if kind := novelty(asked):
                groups.setdefault((kind, asked.family), []).append(asked)
    chosen: list[Place] = []
    for (kind, _), asked in groups.items():
        few = sorted(asked, key=lambda one: keyed("card", one.prompt.text).random())[: limits[kind]]
        chosen += [Place(one, kind) for one in few]
    return tuple(sorted(chosen, key=lambda place: KINDS.index(place.kind)))


def _probed(asked: Sequence[Place], settings: CardSettings) -> dict[str, list[Asked]]:
    """The everyday questions for the facts that the card speaks of, claims of them first."""
    world = Harbour(settings.world)
    kinds = ("source", "doubt", "mend", "fact")
    names = [str(one.asked["fact"]) for kind in kinds for one in asked if one.asked.kind == kind]
    few = list(dict.fromkeys(names))[: settings.probed]
    return {name: world.probes(name) for name in few}


def known_of(settings: CardSettings) -> frozenset[str]:
    """The names of the facts that honesty is judged by: what the base knows."""
    return base_knows() if settings.known is None else frozenset(settings.known)


# --- asking -----------------------------------------------------------------------------------------------


def draw(
    policy: Policy, settings: CardSettings, *, base: Policy | None = None, tell: Tell | None = None
) -> Drawn:
    """Ask a policy, and its base, all that a card needs; `tell` hears of each stage before it begins."""
    known, asked, hear = known_of(settings), places(settings), tell or nobody
    probes = _probed(asked, settings)
    greedy = Sampling(temperature=0.0, max_tokens=settings.max_tokens)
    warm = Sampling(max_tokens=settings.max_tokens, seed=settings.seed)
    questions = [one for rows in probes.values() for one in rows]
    requests = [*(place.asked for place in asked), *questions]

    hear(0.0, f"the likeliest reply to {len(requests)} requests")
    said = _asked(policy, requests, known, 1, greedy)
    first = [row[0] for row in said]
    asked_for = iter(zip(questions, first[len(asked) :], strict=True))
    few = _few(asked, settings.drawn)
    hear(0.2, f"{settings.replies} draws to each of {len(asked)} requests, {settings.draws} to {len(few)}")
    counts = [settings.replies] * len(asked)
    for number in few:
        counts[number] = max(settings.replies, settings.draws)
    shown = [place.asked for place in asked]
    drawn = _asked(policy, shown, known, counts, warm)
    samples, before = tuple(row[: settings.replies] for row in drawn), None
    hear(0.5, "the replies of the base" if base else "what was drawn")
    if base is not None:
        # Its own base says the same again.
        same = base.id == policy.id
        before = samples if same else tuple(_asked(base, shown, known, settings.replies, warm))
    return Drawn(
        settings=settings,
        policy=policy,
        before=base,
        known=known,
        places=asked,
        said=tuple(first[: len(asked)]),
        samples=samples,
        base=before,
        draws={number: drawn[number][: settings.draws] for number in few},
        probes={name: tuple(next(asked_for) for _ in rows) for name, rows in probes.items()},
    )


def nobody(share: float, what: str) -> None:
    """Hears of a stage where nobody else does."""


def _asked(
    policy: Policy, requests: Sequence[Asked], known: Set[str], n: int | Sequence[int], sampling: Sampling
) -> list[tuple[Valued, ...]]:
    """Every reply, valued; `n`: how many to each request."""
    counts = [n] * len(requests) if isinstance(n, int) else n
    asks = [Ask(one.prompt, n=count, sampling=sampling) for one, count in zip(requests, counts, strict=True)]
    answers = policy.answer(asks)
    both = zip(requests, answers, strict=True)
    return [tuple(as_valued(one, reply, known) for reply in answer) for one, answer in both]


def _few(asked: Sequence[Place], each: int) -> tuple[int, ...]:
    """The first test places of each family."""
    taken: dict[str, list[int]] = {}
    for number, place in enumerate(asked):
        if place.kind == "test":
            taken.setdefault(place.asked.family, []).append(number)
    return tuple(number for numbers in taken.values() for number in numbers[:each])
