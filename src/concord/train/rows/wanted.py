"""Which rows an objective learns from, read from what it says of itself."""

from collections.abc import Iterator
from dataclasses import dataclass

from concord import tensors
from concord.errors import RecipeError, Said, explain
from concord.objectives.contract import Card
from concord.views import Kind

__all__ = ["COLUMNS", "Wanted", "wanted"]

COLUMNS = frozenset({"log_target", "margins", "old", "psi"})
"""Inputs that are columns of the data, of the same name, with one number for each reply of a row."""

_SAID = frozenset({"shown", "strength", *COLUMNS})
"""Inputs that a row may be silent about, whatever its kind."""

_PARTIAL = frozenset({"scores"})
"""Inputs that stand for what is missing in some rows: there, a number that is none."""

_WEIGHTS = ("desirable_weight", "undesirable_weight")
_FEW = 8  # rows of a step that are few where they are compared with each other

_SAMPLED = (tensors.Rollouts, tensors.Values, tensors.Groups)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The rows that an objective can use.

    Rows of `kinds` are taken as they are, others converted to the first of these that they can be seen as.
    Without `soft` a pair has to have a winner. `required` are inputs that a row must say something of,
    `optional` those that it may: `scores` and `strength` of a preference, the column `shown` with the place
    (from 0) of the reply that is a demonstration, and `COLUMNS`. Of `partly` it is enough that some rows say
    something. `by` is who wants them, for messages.

    `gaps` says that it may matter by how much replies to a prompt differ, not only which is better. With
    `standard`, scores are brought to mean 0 and deviation 1. `weights` are those of good and of bad replies,
    where an objective has both. `advice` is to be said whatever the rows are.
    """

    kinds: tuple[Kind, ...]
    soft: bool = False
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
    gaps: bool = False
    standard: bool = False
    weights: tuple[float, float] | None = None
    advice: tuple[str, ...] = ()
    by: str = "this objective"

    @property
    def ranks(self) -> bool:
        """Whether replies to one prompt are told apart by what each is worth."""
        return "ranking" in self.kinds

    @property
    def rated(self) -> bool:
        """Whether every reply of a rating has to have its score."""
        return "rating" in self.kinds


def wanted(card: Card, *, batch_size: int = 0) -> Wanted:
    """What an objective learns from: the type of its record says which kind, its inputs what else.

    `batch_size` is how many rows a step has, where that is known.
    """
    required = [name for name in card.inputs if name not in card.optional]
    kinds = _kinds(card, required)
    weights = [float(card.knobs[name]) for name in _WEIGHTS if name in card.knobs]
    return Wanted(
        kinds=kinds,
        soft="preference" in card.inputs,
        required=tuple(name for name in required if name in _SAID),
        optional=tuple(name for name in card.optional if name in _SAID | _PARTIAL),
        partly=tuple(name for name in required if name in _PARTIAL),
        gaps="ranking" in kinds,
        # A reward is a product of states without a bias, and begins at 0.
        standard=card.record is tensors.Rewards and "utility" in required,
        weights=(weights[0], weights[1]) if len(weights) == len(_WEIGHTS) else None,
        advice=tuple(_advice(card, batch_size)),
        by=card.name,
    )


def _advice(card: Card, batch_size: int) -> Iterator[str]:
    """What is to be said of steps of so many rows."""
    if card.coupled and 0 < batch_size < _FEW:
        yield (
            f"a step of {batch_size} is small for {card.name}, which looks at all rows of a step together:"
            f" take a batch_size of {_FEW} or more"
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
