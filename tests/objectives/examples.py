"""Random records for any objective, built from its signature alone."""

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from concord.objectives import describe
from concord.tensors import (
    Logits,
    Pairs,
    PairValues,
    Ranked,
    RankedRewards,
    Record,
    ReferencedPairs,
    ReferencedRanked,
    ReferencedReplies,
    ReferencedTokens,
    Replies,
    RewardPairs,
    Rewards,
    Rollouts,
    RunningMean,
    StepLogits,
    Tokens,
    Values,
)

B, K, V = 5, 4, 7  # unequal on purpose: equal ones would hide a wrong broadcast
LENGTHS = (3, 1, 4, 2, 5)


class Maker:
    """Draws records and inputs of one size, from one seed, in one dtype."""

    def __init__(self, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        self.leaves: list[Tensor] = []

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        # Drawn in float64 whatever the dtype, so that the same seed means the same numbers.
        return (scale * torch.randn(*shape, generator=self.rng, dtype=torch.float64)).to(self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.rng, dtype=torch.float64).to(self.dtype)

    def integers(self, *shape: int) -> Tensor:
        return torch.randint(2, 40, shape, generator=self.rng)

    def leaf(self, value: Tensor) -> Tensor:
        self.leaves.append(value.detach().clone().requires_grad_())
        return self.leaves[-1]

    def replies(self, kind: type = ReferencedReplies, *, trained: bool = True) -> Any:
        length = self.integers(B)
        logp = -(length.to(self.dtype) * (0.2 + self.uniform(B)))
        ref = logp + self.normal(B, scale=2.0)
        logp = self.leaf(logp) if trained else logp
        return Replies(logp, length) if kind is Replies else ReferencedReplies(logp, length, ref)

    def ranked(self, kind: type) -> Any:
        mask = torch.ones(B, K, dtype=torch.bool)
        mask[1, 3] = mask[2, 2:] = False
        common = {"utility": self.normal(B, K), "mask": mask}
        if kind is RankedRewards:
            return RankedRewards(reward=self.leaf(self.normal(B, K)), **common)
        length = self.integers(B, K)
        logp = -(length.to(self.dtype) * (0.2 + self.uniform(B, K)))
        ref = {"ref": logp + self.normal(B, K)} if kind is ReferencedRanked else {}
        return kind(logp=self.leaf(logp), length=length, **common, **ref)

    def flat(self, kind: type) -> Any:
        owner = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
        n = len(owner)
        common: dict[str, Any] = {"owner": owner, "num_replies": len(LENGTHS)}
        if kind is Values:
            fields: dict[str, Any] = {
                "old": self.normal(n),
                "returns": self.normal(n),
                "value": self.leaf(self.normal(n)),
            }
        elif kind is StepLogits:
            fields = {"logit": self.leaf(self.normal(n)), "label": self.uniform(n)}
        else:
            logp = -self.uniform(n) - 0.1
            fields = {"logp": self.leaf(logp)}
            if issubclass(kind, Rollouts):
                fields |= {"old": logp + self.normal(n, scale=0.3), "advantage": self.normal(n)}
            if issubclass(kind, ReferencedTokens):
                fields |= {"ref": logp + self.normal(n, scale=0.3)}
        return kind(**common, **fields)

    def record(self, kind: Any) -> Any:
        if kind is Logits:
            return self.leaf(self.normal(sum(LENGTHS), V))
        if kind in (Pairs, ReferencedPairs):
            side = Replies if kind is Pairs else ReferencedReplies
            return kind(self.replies(side), self.replies(side))
        if kind is RewardPairs:
            return RewardPairs(self.leaf(self.normal(B)), self.leaf(self.normal(B)))
        if kind is Rewards:
            return Rewards(self.leaf(self.normal(B)))
        if kind in (Replies, ReferencedReplies):
            return self.replies(kind)
        return self.ranked(kind) if kind in (Ranked, ReferencedRanked, RankedRewards) else self.flat(kind)

    def given(self, name: str, hint: Any, record: Any) -> Any:
        """One input, by the name it has in the closed list."""
        rows = len(record.owner if isinstance(record, Tokens | Values) else record)
        match name:
            case "desirable":
                return torch.tensor([True, False, True, True, False])
            case "preference":
                return self.uniform(rows)
            case "mismatched":
                return self.replies(trained=False)
            case "psi" | "collision" | "margins" | "scores":
                return PairValues(self.normal(rows), self.normal(rows))
            case "shown":
                return torch.arange(K)[None] == (torch.arange(B) % 2)[:, None]
            case "target":
                return self.replies(Replies)
            case "state":
                one = RunningMean(self.normal(1)[0].abs(), torch.tensor(3))
                return (one, one) if get_args(hint) else one
            case "teacher" | "teacher_ref":
                return self.normal(rows, V)
            case "old" | "log_target":
                return -5 * self.uniform(rows) - 1
            case "strength" | "utility" | "reward":
                return self.normal(rows)
        raise AssertionError(f"no example of an input {name!r}: add one here")


def make(
    objective: Callable[..., Any],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    optional: bool = False,
) -> tuple[Any, dict[str, Any], list[Tensor]]:
    """A record, the inputs (also those that may be left out, if asked) and the trained leaves."""
    maker = Maker(seed=seed, dtype=dtype)
    card, hints = describe(objective), get_type_hints(objective)
    record = maker.record(card.record)
    names = [name for name in card.inputs if optional or name not in card.optional]
    return record, {name: maker.given(name, hints[name], record) for name in names}, maker.leaves


def losses(objective: Callable[..., Any], record: Any, inputs: dict[str, Any], **knobs: Any) -> Tensor:
    """The losses alone, of an objective with or without state."""
    out = objective(record, **inputs, **knobs)
    return out[0] if isinstance(out, tuple) else out


def take(value: Any, index: Tensor, *, like: Any) -> Any:
    """Some rows of an input or of the record itself; rows of a flat record `like` are its replies."""
    if isinstance(value, Record):
        return value if isinstance(value, RunningMean) else value.rows(index)
    if isinstance(value, tuple):
        return value
    if isinstance(like, Tokens | Values | StepLogits):
        return value[like.token_index(index)]
    return value[index]
