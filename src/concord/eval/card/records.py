"""What a scorecard of Harbour is made with and leaves behind: settings, and the values of every prompt.

    CardSettings   how much is asked: requests of each family, draws, seed
    CardRecord     a card with the values of each prompt, so that cards can be compared prompt by prompt

Both are plain records, which `concord.wire` writes as JSON.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from concord.errors import InputError, explain
from concord.messages import is_count
from concord.types import Scorecard

__all__ = ["CARD_FORMAT", "CardPrompt", "CardRecord", "CardSettings", "Tell"]

CARD_FORMAT = 7
"""Counts the changes after which the same policy gets another card."""

Tell: TypeAlias = Callable[[float, str], None]
"""Hears how much is done, as a share, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSettings:
    """How much is asked, and of which town. Cards of other settings cannot be compared prompt by prompt.

    world: the seed of the town
    test, adversarial: requests of each family in these splits
    ood: requests of each family and kind of novelty (wording, people, length, years)
    replies: draws at temperature 1 to every request
    draws: draws at temperature 1 to some requests, half of them the largest n of best of n
    drawn: requests of each family of the test split that have these
    pooled: requests of each family of the test split whose fixed pools are scored, where the policy can
    probed: facts that are asked for in every wording there is
    max_tokens: where a reply is cut; good replies are far shorter
    known: the names of the facts that the base knows; those of the base that is shipped, if left out
    seed: of draws and resamples
    """

    world: int = 0
    test: int = 12
    adversarial: int = 24
    ood: int = 4
    replies: int = 4
    draws: int = 64
    drawn: int = 2
    pooled: int = 6
    probed: int = 40
    max_tokens: int = 64
    known: tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for one in fields(self):
            least = 0 if one.name in ("world", "seed") else 2 if one.name in ("draws", "test") else 1
            value = getattr(self, one.name)
            if one.name != "known" and not is_count(value, least):
                wrong, accepted = f"`{one.name}` of a card is no such count", f"a whole number from {least}"
                raise InputError(explain(wrong, found=value, accepted=accepted, do="give such a number"))
        if self.draws < self.replies:
            wrong = "there are fewer draws to some requests than to every"
            accepted = f"{self.replies} or more"
            raise InputError(explain(wrong, found=self.draws, accepted=accepted, do="raise `draws`"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPrompt:
    """A request of a card: where it belongs, what was asked, and the likeliest reply, if one came.

    `kind` says what sets it apart from what was learned: test (nothing but its cell), wording, people,
    length, years, adversarial.
    """

    kind: str
    family: str
    template: str
    entity: str
    level: int
    text: str
    reply: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardRecord:
    """A card with what it rests on: the values of each prompt by name, None where there is none.

    Every row of `values` is as long as `prompts`, and in their order.
    """

    card: Scorecard
    settings: CardSettings
    world: str
    prompts: tuple[CardPrompt, ...]
    values: Mapping[str, tuple[float | None, ...]] = field(
        default_factory=dict[str, tuple[float | None, ...]]
    )
