"""The seam to whatever compares two replies: `Pair` in, `Verdict` or `Unscored` out.

A `Feedback` says what each reply is worth; a `PairJudge` says which of two is better, which is what people
and language models are asked most. `ByScore` makes the second of the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

from concord.errors import InputError, explain
from concord.messages import is_number
from concord.types import (
    JSON,
    Feedback,
    Prompt,
    PromptLike,
    Rate,
    Turns,
    TurnsLike,
    Unscored,
    Usage,
    as_prompt,
    as_turns,
)

__all__ = ["ByScore", "Pair", "PairJudge", "Verdict"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to one prompt, in the order in which they are shown. `meta` is as in `Rate`."""

    prompt: Prompt
    first: Turns
    second: Turns
    meta: Mapping[str, JSON] = field(default_factory=dict[str, JSON])

    @property
    def swapped(self) -> Self:
        """The same two replies, shown in the other order."""
        return replace(self, first=self.second, second=self.first)

    @classmethod
    def of(
        cls,
        prompt: PromptLike,
        first: TurnsLike,
        second: TurnsLike,
        *,
        meta: Mapping[str, JSON] | None = None,
    ) -> Self:
        """A pair from what people write."""
        return cls(as_prompt(prompt), as_turns(first), as_turns(second), meta or {})


@dataclass(frozen=True, slots=True)
class Verdict:
    """How probable it is that the first reply is the better one: 1, 0.5 for a tie, 0, or between.

    `parts` holds the preferences that this one is made of, by name; `principles` are the ids of those the
    pair was judged by.
    """

    preference: float
    why: str = ""
    usage: Usage = field(default_factory=Usage)
    parts: Mapping[str, float] = field(default_factory=dict[str, float], kw_only=True)
    principles: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not (is_number(self.preference) and 0 <= self.preference <= 1):
            wrong, accepted = "the preference of a verdict is a probability", "0 to 1; 0.5 for a tie"
            do = "give Unscored(reason) where there is no verdict"
            raise InputError(explain(wrong, found=self.preference, accepted=accepted, do=do))

    @property
    def swapped(self) -> Self:
        """The same verdict about the pair in the other order."""
        parts = {name: 1 - share for name, share in self.parts.items()}
        return replace(self, preference=1 - self.preference, parts=parts)


@runtime_checkable
class PairJudge(Protocol):
    """Anything that says which of two replies is better. Threads, batching and `id` are as in `Feedback`."""

    @property
    def id(self) -> str:
        """The identity of what judges, as in `Feedback.id`."""
        ...

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Verdict | Unscored]:
        """Judge all, in order, each as it is shown: a verdict, or why there is none."""
        ...


class ByScore:
    """A feedback as a judge of pairs: the reply that is worth more is the better one, equal ones tie.

    Both replies are rated in one `Rate`, so feedback that orders replies among themselves can be used.
    Where one of them has no score there is no verdict.
    """

    def __init__(self, feedback: Feedback) -> None:
        self.feedback = feedback

    @property
    def id(self) -> str:
        """That of the feedback: it is the same source of judgement."""
        return self.feedback.id

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Verdict | Unscored]:
        """Rate the replies of all pairs in one call, and compare."""
        rates = [Rate(pair.prompt, (pair.first, pair.second), meta=pair.meta) for pair in pairs]
        verdicts: list[Verdict | Unscored] = []
        for first, second in self.feedback.rate(rates):
            usage = first.usage + second.usage
            if isinstance(first, Unscored) or isinstance(second, Unscored):
                reasons = [one.reason for one in (first, second) if isinstance(one, Unscored)]
                verdicts.append(Unscored("; ".join(dict.fromkeys(reasons)), usage=usage))
                continue
            preference = (1 + (first.value > second.value) - (first.value < second.value)) / 2
            verdicts.append(Verdict(preference, f"{first.value:g} against {second.value:g}", usage))
        return verdicts
