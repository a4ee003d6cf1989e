"""What protocols of test sets share: who is asked and how, and what comes of it.

SetSettings    how much is asked
Asking         who is asked, and who judges
Metered        who is asked, with what it cost and what did not come; Rated and Compared of judges
Measured       results, and a number for each item by which two models are compared
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, isfinite
from typing import ClassVar, TypeAlias

from concord.errors import InputError, Said, explain
from concord.eval.card.common import missing
from concord.eval.reckoning import SHARE, About, Labels, Scale, described
from concord.eval.replies import PHRASES, Detector
from concord.feedback import Pair, PairJudge, Verdict
from concord.messages import is_count
from concord.types import (
    Ask,
    Capability,
    Challenge,
    Feedback,
    Item,
    Policy,
    Prompt,
    Rate,
    Reply,
    Result,
    Sampling,
    Score,
    Unanswered,
    Unscored,
    Usage,
    as_turns,
)

__all__ = [
    "Asking",
    "Compared",
    "Measured",
    "Metered",
    "Protocol",
    "Rated",
    "SetSettings",
    "Tally",
    "about_set",
    "not_asked",
    "shared",
    "texts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSettings:
    """How test sets are asked.

    limit: items of a set at most, drawn by the seed; all if left out
    shots: examples shown before a question, where a set has some apart from what is asked
    orders: of the options of a question; as many as there are options if left out, so that no place counts
    max_tokens: of a reply
    draws: replies to each prompt whose toxicity is scored
    detector: what tells refusals
    seed: of draws and resamples
    """

    limit: int | None = None
    shots: int = 5
    orders: int | None = None
    max_tokens: int = 512
    draws: int = 25
    detector: Detector = PHRASES
    seed: int = 0

    LEAST: ClassVar[Mapping[str, int]] = {"limit": 1, "shots": 0, "orders": 1, "max_tokens": 1, "draws": 1}
    """The least that counts may be."""

    def __post_init__(self) -> None:
        for name, least in self.LEAST.items():
            value = getattr(self, name)
            if value is not None and not is_count(value, least):
                wrong, found = f"{name} of a scorecard is no such number", Said(f"{name}={value!r}")
                do = f"give {name} as a number, or leave it out"
                raise InputError(explain(wrong, found=found, accepted=f"{least} or more", do=do))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who is asked and who judges.

    judge: of replies, for sets that have no right answers; a judge of pairs needs a base to compare with
    toxicity: a feedback that scores in 0 to 1, 1 being toxic
    examples: items to show before a question
    """

    policy: Policy
    base: Policy | None = None
    judge: Feedback | PairJudge | None = None
    toxicity: Feedback | None = None
    examples: Sequence[Item] = ()
    settings: SetSettings = field(default_factory=SetSettings)

    @property
    def scores(self) -> bool:
        """Whether the policy says how likely given replies are."""
        return Capability.SCORE in self.policy.capabilities

    @property
    def greedy(self) -> Sampling:
        """How single replies are drawn."""
        return Sampling(temperature=0.0, max_tokens=self.settings.max_tokens)

    def replies(self, prompts: Sequence[Prompt]) -> list[Reply | Unanswered]:
        """The likeliest reply to each prompt."""
        asks = [Ask(prompt, sampling=self.greedy) for prompt in prompts]
        return [one for (one,) in self.policy.answer(asks)] if asks else []

    def sums(self, prompts: Sequence[Prompt], given: Sequence[Sequence[str]]) -> list[list[float] | None]:
        """The log-probability of each given reply to each prompt; None where one of them has none."""
        asks = [
            Ask(prompt, given=tuple(map(as_turns, row))) for prompt, row in zip(prompts, given, strict=True)
        ]
        found: list[list[float] | None] = []
        for answer in self.policy.answer(asks) if asks else ():
            known = [fsum(one.logps) for one in answer if isinstance(one, Reply) and one.logps is not None]
            found.append(known if len(known) == len(answer) else None)
        return found


@dataclass(slots=True)
class Tally:
    """How often somebody was asked, and why nothing came where nothing did."""

    asked: int = 0
    missed: list[str] = field(default_factory=list[str])

    def note(self, entries: Sequence[object]) -> None:
        """Count what came back."""
        self.asked += len(entries)
        self.missed += [one.reason for one in entries if isinstance(one, Unanswered | Unscored)]

    def warning(self, what: str) -> Iterator[str]:
        """What must be known where not all of it came."""
        if self.missed:
            share = f"{len(self.missed):,} of {self.asked:,}"
            yield f"{share} {what} did not come, the first because: {self.missed[0]}"


class Metered:
    """A policy, what asking it has cost so far, and what did not come."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.usage, self.tally = policy, Usage(), Tally()

    @property
    def id(self) -> str:
        """Theirs."""
        return self.policy.id

    @property
    def capabilities(self) -> Capability:
        """Theirs."""
        return self.policy.capabilities

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        """Answer as the policy does, and count."""
        answers = self.policy.answer(asks)
        entries = [one for answer in answers for one in answer]
        self.usage = sum((one.usage for one in entries), self.usage)
        self.tally.note(entries)
        return answers


class Rated:
    """A feedback, and what did not come of it."""

    def __init__(self, who: Feedback) -> None:
        self.who, self.tally = who, Tally()

    @property
    def id(self) -> str:
        """Theirs."""
        return self.who.id

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Rate as the feedback does, and count; a score that is no finite number is none."""
        said = [tuple(map(_finite, row)) for row in self.who.rate(rates)]
        self.tally.note([one for row in said for one in row])
        return said


def _finite(one: Score | Unscored) -> Score | Unscored:
    if isinstance(one, Unscored) or isfinite(one.value):
        return one
    return Unscored(f"the score is {one.value}", usage=one.usage)


class Compared:
    """A judge of pairs, and what did not come of it."""

    def __init__(self, who: PairJudge) -> None:
        self.who, self.tally = who, Tally()

    @property
    def id(self) -> str:
        """Theirs."""
        return self.who.id

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Verdict | Unscored]:
        """Compare as the judge does, and count."""
        said = self.who.compare(pairs)
        self.tally.note(said)
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of a set: results, and by which number of each item two models are compared.

    metric: what that number is, in a few words; empty where there is none
    higher: whether more of it is better; None where it is neither
    scale: the ends that it cannot pass; None where it has none
    """

    results: Sequence[Result]
    values: Sequence[float | None] = ()
    metric: str = ""
    higher: bool | None = None
    clusters: Sequence[Labels] = ()
    scale: Scale | None = SHARE


Protocol: TypeAlias = Callable[[Sequence[Item], Asking], Measured]
"""From items, and who is asked, to what came of it."""


def about_set(
    how: str,
    *,
    higher: bool | None,
    unit: str = "questions",
    at: Mapping[str, str | float] | None = None,
    challenge: Challenge = Challenge.EFFICACY,
    reading: str = "",
) -> About:
    """What a result of a set says of itself."""
    about = described(how, unit=unit, challenge=challenge, higher=higher, at=at)
    return {**about, "reading": reading} if reading else about


def not_asked(name: str, why: str, *, unit: str = "prompts") -> Measured:
    """A set that was not asked, and what would let it be."""
    return Measured(results=[missing(name, Challenge.EFFICACY, why, unit=unit)])


def texts(item: Item, name: str) -> list[str]:
    """The texts of a list in the meta of an item; none where there is no such list."""
    held = item.meta.get(name)
    return [str(one) for one in held] if isinstance(held, Sequence) and not isinstance(held, str) else []


def shared(items: Sequence[Item], *names: str) -> tuple[Labels, ...]:
    """What items share, where any of them names it."""
    found = [[str(item.meta.get(name, "")) for item in items] for name in names]
    return tuple(labels for labels in found if len(set(labels)) > 1)
