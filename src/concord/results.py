"""What every measurement returns: costs, results and the scorecard. Import them from `concord.types`.

    Usage           what answering or judging has cost; adds up
    Result          one measured number, with its interval, what it rests on and where it stands
    Scorecard       all that is known of one model after one method

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite

from concord.errors import InputError, explain

__all__ = ["Challenge", "Interval", "JudgeRecord", "Ledger", "Result", "Scorecard", "Usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What answering or judging cost; adds up with +."""

    calls: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            new_tokens=self.new_tokens + other.new_tokens,
            cost=self.cost + other.cost,
            seconds=self.seconds + other.seconds,
        )


class Challenge(Enum):
    """The seven research challenges; each is a section of the scorecard."""

    EFFICACY = "efficacy"
    GENERALISATION = "generalisation"
    EFFICIENCY = "efficiency"
    INTERPRETABILITY = "interpretability"
    TAX = "alignment tax"
    OVERSIGHT = "scalable oversight"
    GAMING = "specification gaming"


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies, at the given level of confidence, and how that was reckoned."""

    low: float
    high: float
    level: float = field(default=0.95, kw_only=True)
    how: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            wrong, accepted = "an interval runs from low to high", "two numbers, the lower one first"
            do = "exchange the ends, or give no interval where none could be reckoned"
            raise InputError(explain(wrong, found=(self.low, self.high), accepted=accepted, do=do))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measured number. `value` is None when nothing could be measured; `failures` says how often.

    `n` counts what the value rests on, `unit` says what it counts in, `how` how it was measured. `at` holds
    the coordinates that set it apart from results of the same name: its split, person, step, or the x of a
    curve. `reading` says which reading of the model's utility U_A it rests on (its log-probabilities, a
    judge's choice, ...), empty where it rests on none; two readings are never ranked together. `why_none`
    says in a sentence why there is no value, where that is known, and what would give one.
    """

    name: str
    value: float | None
    n: int
    interval: Interval | None = None
    unit: str = ""
    failures: int = 0
    how: str = ""
    challenge: Challenge | None = None
    higher_is_better: bool | None = None
    at: Mapping[str, str | float] = field(default_factory=dict[str, str | float])
    reading: str = ""
    why_none: str = ""

    def __post_init__(self) -> None:
        if self.n < 0 or self.failures < 0:
            wrong, accepted = f"counts of {self.name} are below zero", "0 and above"
            do = "count again: n what the value rests on, failures what could not be measured"
            raise InputError(explain(wrong, found=(self.n, self.failures), accepted=accepted, do=do))
        if self.value is not None and self.why_none:
            wrong, accepted = f"{self.name} has a value and a reason why it has none", "one of the two"
            raise InputError(
                explain(wrong, found=self.why_none, accepted=accepted, do="leave the reason out")
            )
        if self.value is not None and self.n == 0:
            wrong, accepted = f"{self.name} has a value but rests on nothing", "n of 1 or more with a value"
            do = "give n, or None for the value"
            raise InputError(explain(wrong, found=self.value, accepted=accepted, do=do))
        for name, place in self.at.items():
            if not isinstance(place, str) and not isfinite(place):
                wrong, accepted = f"{self.name} stands at no {name}", "text, or a finite number"
                do = "leave that coordinate out"
                raise InputError(explain(wrong, found=place, accepted=accepted, do=do))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord:
    """Who judged, by its `Feedback.id`, and how far that judge can be trusted."""

    id: str
    swap_conflict: float | None = None
    position_bias: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a scorecard or a run has cost, counted in everything that costs; None where it is not known."""

    usage: Usage = field(default_factory=Usage)
    flops: float | None = None
    """Floating-point operations of a training, those of references and teachers among them."""
    labels: int | None = None
    """Judgements of people, or of whoever stood in for them: each vote, score or example is one."""
    models_loaded: int | None = None
    """Models that were in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """All that is known of one model after one method: results by challenge, and what they cost."""

    model: str
    """The `Policy.id` of what was measured."""
    results: tuple[Result, ...]
    base: str | None = None
    method: str | None = None
    seed: int | None = None
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of each data set to the hash of its content."""
    ledger: Ledger = field(default_factory=Ledger)
    judges: tuple[JudgeRecord, ...] = ()
    leaves_covered: tuple[str, ...] = ()
    """The leaves of the taxonomy of alignment that these results speak of."""
    kl_to_base: Result | None = None
    length: Mapping[str, float] = field(default_factory=dict[str, float])
    """Mean reply length, of the model and of the base."""
    warnings: tuple[str, ...] = ()

    def section(self, challenge: Challenge) -> tuple[Result, ...]:
        """The results that answer one challenge."""
        return tuple(result for result in self.results if result.challenge is challenge)
