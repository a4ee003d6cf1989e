"""From what the engine answers to the record that an objective speaks of: one builder for each record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from concord import tensors
from concord.errors import RecipeError, Said, explain
from concord.tensors import Record
from concord.train.loop.batch import Batch, Marks
from concord.types import Label, StepLabels

__all__ = ["Shape", "desirable", "owners", "record_of", "shape_of", "sizes_of"]


@dataclass(frozen=True)
class Shape:
    """What values a record is made of."""

    of: Literal["tokens", "rewards", "steps", "logits"]
    marks: Marks = "none"
    head: str = ""
    """The further head that gives the values."""


_TOKENS, _LOGITS = Shape("tokens"), Shape("logits")
_REWARDS, _STEPS = Shape("rewards", "ends", "reward"), Shape("steps", "steps", "step")


def shape_of(kind: Any) -> Shape:
    """What values the engine is asked for, for a record of this kind."""
    if kind is tensors.Logits:
        return _LOGITS
    if kind not in _BUILDERS:
        wrong, do = "no loop over given rows makes this record", "use an objective over one of these"
        accepted = ", ".join(sorted(one.__name__ for one in _BUILDERS))
        found = Said(getattr(kind, "__name__", str(kind)))
        raise RecipeError(explain(wrong, found=found, accepted=accepted, do=do))
    if issubclass(kind, tensors.StepLogits):
        return _STEPS
    return _REWARDS if issubclass(kind, _OF_REWARDS) else _TOKENS


def sizes_of(batch: Batch, shape: Shape) -> Tensor:
    """[R] How many values each reply has."""
    return batch.lengths if shape.of in ("tokens", "logits") else batch.marked(shape.marks)


def owners(sizes: Tensor) -> Tensor:
    """The reply that each value belongs to."""
    return torch.arange(len(sizes)).repeat_interleave(sizes)


@dataclass(frozen=True)
class _Given:
    """The values of some rows, with what is needed to make a record of them."""

    batch: Batch
    values: Tensor
    ref: Tensor | None
    shape: Shape

    def on(self, index: Tensor) -> Tensor:
        """A tensor where the values are."""
        return index.to(self.values.device)

    @property
    def owner(self) -> Tensor:
        """The reply of each value."""
        return self.on(owners(sizes_of(self.batch, self.shape)))

    def sums(self, values: Tensor) -> Tensor:
        """The sum of values over each reply, in float32 at least."""
        full = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
        return full.new_zeros(self.batch.replies).index_add(0, self.owner, full)

    def replies(self, which: Tensor | None = None, side: str = "") -> Any:
        """Whole replies, all or some."""
        chosen = slice(None) if which is None else self.on(which)
        length = self.on(self.batch.lengths)[chosen]
        means = self.batch.means
        known = {"mean_length": self.values.new_tensor(means[side])} if side in means else {}
        logp = self.sums(self.values)[chosen]
        if self.ref is None:
            return tensors.Replies(logp, length, **known)
        return tensors.ReferencedReplies(logp, length, ref=self.sums(self.ref)[chosen], **known)

    def tabled(self, numbers: Tensor) -> Tensor:
        """[B, K] from one number for each reply; zero where there is none."""
        table, mask = map(self.on, self.batch.table)
        return numbers[table].masked_fill(~mask, 0)

    @property
    def utility(self) -> dict[str, Tensor]:
        """What rankings know."""
        return {"utility": self.tabled(self.on(self.batch.worth)), "mask": self.on(self.batch.table[1])}


def _replies(given: _Given) -> Any:
    return given.replies()


def _pairs(given: _Given) -> Any:
    made = tensors.Pairs if given.ref is None else tensors.ReferencedPairs
    batch = given.batch
    return made(given.replies(batch.chosen, "chosen"), given.replies(batch.rejected, "rejected"))


def _ranked(given: _Given) -> Any:
    logp, length = given.sums(given.values), given.on(given.batch.lengths)
    known = {"logp": given.tabled(logp), "length": given.tabled(length), **given.utility}
    if given.ref is None:
        return tensors.Ranked(**known)
    return tensors.ReferencedRanked(**known, ref=given.tabled(given.sums(given.ref)))


def _tokens(given: _Given) -> Any:
    known = {"owner": given.owner, "num_replies": given.batch.replies, "logp": given.values}
    if given.ref is None:
        return tensors.Tokens(**known)
    return tensors.ReferencedTokens(**known, ref=given.ref)


def _reward_pairs(given: _Given) -> Any:
    rewards = given.sums(given.values)
    return tensors.RewardPairs(rewards[given.on(given.batch.chosen)], rewards[given.on(given.batch.rejected)])


def _rewards(given: _Given) -> Any:
    return tensors.Rewards(given.sums(given.values))


def _ranked_rewards(given: _Given) -> Any:
    return tensors.RankedRewards(reward=given.tabled(given.sums(given.values)), **given.utility)


def _steps(given: _Given) -> Any:
    labels = [label for row in given.batch.rows for label in _labels(row)]
    label = given.values.new_tensor(labels)
    return tensors.StepLogits(
        owner=given.owner, num_replies=given.batch.replies, logit=given.values, label=label
    )


def _labels(row: Any) -> list[float]:
    """The labels of the steps that were judged, which are those that are marked."""
    known: StepLabels = row.utilities
    return [float(label) for label in known.labels if label is not None]


_Build: TypeAlias = Callable[[_Given], Any]
_OF_REWARDS = (tensors.RewardPairs, tensors.Rewards, tensors.RankedRewards)
_BUILDERS: Mapping[Any, _Build] = {
    tensors.Replies: _replies,
    tensors.ReferencedReplies: _replies,
    tensors.Pairs: _pairs,
    tensors.ReferencedPairs: _pairs,
    tensors.Ranked: _ranked,
    tensors.ReferencedRanked: _ranked,
    tensors.Tokens: _tokens,
    tensors.ReferencedTokens: _tokens,
    tensors.RewardPairs: _reward_pairs,
    tensors.Rewards: _rewards,
    tensors.RankedRewards: _ranked_rewards,
    tensors.StepLogits: _steps,
}


def record_of(kind: Any, batch: Batch, values: Tensor, *, ref: Tensor | None = None) -> Record:
    """The record of some rows. `values` and `ref` lie flat, as the shape of the record has them."""
    return _BUILDERS[kind](_Given(batch, values, ref, shape_of(kind)))


def desirable(batch: Batch) -> Tensor:
    """[R] Whether each reply is a good one."""
    return torch.tensor([isinstance(row.utilities, Label) and row.utilities.desirable for row in batch.rows])
