"""Which rows an objective learns from, read from what it says of itself."""

from dataclasses import dataclass

from concord import tensors
from concord.errors import RecipeError, Said, explain
from concord.objectives.contract import Card
from concord.views import Kind

__all__ = ["COLUMNS", "Wanted", "wanted"]

COLUMNS = frozenset({"log_target", "margins", "old", "psi"})
"""Inputs that are columns of the data, of the same name, with one number for each reply of a row."""

_SAID = frozenset({"scores", "shown", "strength", *COLUMNS})
"""Inputs that a row may be silent about, whatever its kind."""

_SAMPLED = (tensors.Rollouts, tensors.Values, tensors.Groups)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The rows that an objective can use.

    Rows of `kinds` are taken as they are, others converted to the first of these that they can be seen as.
    Without `soft` a pair has to have a winner. `required` are inputs that a row must say something of,
    `optional` those that it may: `scores` and `strength` of a preference, the column `shown` with the place
    (from 0) of the reply that is a demonstration, and `COLUMNS`. `by` is who wants them, for messages.
    """

    kinds: tuple[Kind, ...]
    soft: bool = False
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    by: str = "this objective"

    @property
    def ranks(self) -> bool:
        """Whether replies to one prompt are told apart by what each is worth."""
        return "ranking" in self.kinds

    @property
    def rated(self) -> bool:
        """Whether every reply of a rating has to have its score."""
        return "rating" in self.kinds


def wanted(card: Card) -> Wanted:
    """What an objective learns from: the type of its record says which kind, its inputs what else."""
    required = [name for name in card.inputs if name not in card.optional]
    return Wanted(
        kinds=_kinds(card, required),
        soft="preference" in card.inputs,
        required=tuple(name for name in required if name in _SAID),
        optional=tuple(name for name in card.optional if name in _SAID),
        by=card.name,
    )


def _kinds(card: Card, required: list[str]) -> tuple[Kind, ...]:
    record = card.record
    if record is tensors.Logits:
        return ("demonstration", "dialogue")
    if issubclass(record, _SAMPLED):
        wrong, found = f"{card.name} learns from what the policy itself samples", Said(record.__name__)
        accepted, do = "an objective over given rows", "see `concord methods` for one that the data can feed"
        raise RecipeError(explain(wrong, found=found, accepted=accepted, do=do))
    if issubclass(record, tensors.StepLogits):
        return ("steps",)
    if issubclass(record, tensors.Pairs | tensors.RewardPairs):
        # Who cannot do without a probability speaks of behaviour that people compared stretch by stretch.
        return ("comparison", "segment_comparison") if "preference" in required else ("comparison",)
    if issubclass(record, tensors.Ranked | tensors.RankedRewards):
        return ("rating", "ranking")
    if issubclass(record, tensors.Rewards) or "utility" in required:
        return ("rating",)
    return ("judgement",) if "desirable" in required else ("demonstration", "dialogue")
