"""Shape aliases and the batch records that objectives speak in.

Letters: B rows (pairs, or prompts with several replies), K replies a row, R replies, N tokens of all
replies laid end to end, V vocabulary. A record computes once what papers give a name (`ratio`, `margin`),
so that an objective is its equation. Half-precision values are taken up to float32 on entry: a sum of a
thousand bfloat16 log-probabilities is off by a whole nat.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

from concord.errors import NOTHING, InputError, Said, UnavailableError, explain

try:
    import torch
    from jaxtyping import Bool, Float, Int, Real
    from torch import Tensor
except ModuleNotFoundError as missing:
    raise UnavailableError(
        explain(
            f"the mathematics of training needs {missing.name}, which is not installed",
            found=NOTHING,
            accepted="an environment with the extra `train`",
            do='pip install torch (the build for your machine), then pip install "concord-align[train]"',
        )
    ) from missing

__all__ = [
    "Conditional",
    "Count",
    "Distribution",
    "Flat",
    "GroupTable",
    "Groups",
    "Joint",
    "Logits",
    "Members",
    "Owner",
    "Padded",
    "PaddedFlags",
    "PairFlags",
    "PairValues",
    "Pairs",
    "PerCondition",
    "PerGroup",
    "PerPair",
    "PerRank",
    "PerReply",
    "PerToken",
    "RankFlags",
    "RankLengths",
    "RankPairFlags",
    "Ranked",
    "RankedRewards",
    "Record",
    "ReferencedPairs",
    "ReferencedRanked",
    "ReferencedReplies",
    "ReferencedRollouts",
    "ReferencedTokens",
    "Replies",
    "ReplyFlags",
    "ReplyIndex",
    "ReplyLengths",
    "RewardPairs",
    "Rewards",
    "Rollouts",
    "RunningMean",
    "Scalar",
    "StepLogits",
    "TokenFlags",
    "Tokens",
    "TopIndex",
    "TopK",
    "TopLogps",
    "Values",
]

Scalar = Float[Tensor, ""]
Count = Int[Tensor, ""]
PerReply = Float[Tensor, "R"]
PerPair = Float[Tensor, "B"]
PerRank = Float[Tensor, "B K"]
PerToken = Float[Tensor, "N"]
PerGroup = Float[Tensor, "G"]
Padded = Float[Tensor, "R T"]
Members = Float[Tensor, "R M"]
"""What each of M members of an ensemble gives to each reply."""
GroupTable = Float[Tensor, "P G"]
"""One number for each of G replies to each of P prompts."""
Logits = Float[Tensor, "N V"]
"""Next-token logits (or log-probabilities: the two differ by a constant a token) of one chunk."""
TopLogps = Float[Tensor, "N k"]
TopIndex = Int[Tensor, "N k"]
ReplyFlags = Bool[Tensor, "R"]
PairFlags = Bool[Tensor, "B"]
RankFlags = Bool[Tensor, "B K"]
RankPairFlags = Bool[Tensor, "B K K"]
TokenFlags = Bool[Tensor, "N"]
PaddedFlags = Bool[Tensor, "R T"]
ReplyIndex = Int[Tensor, "R"]
"""For each reply the index of the prompt, head or other group it belongs to."""
Owner = Int[Tensor, "N"]
"""For each token (or step) the index of the reply it belongs to."""
ReplyLengths = Real[Tensor, "R"]
RankLengths = Real[Tensor, "B K"]
Distribution = Float[Tensor, "Y"]
"""A number for each reply of those that can be listed; probabilities where it is called a distribution."""
Conditional = Float[Tensor, "C Y"]
"""A distribution over replies for each condition."""
PerCondition = Float[Tensor, "C"]
Joint = Float[Tensor, "X Y C"]
"""A joint distribution of prompts, replies and conditions."""

# Not typing.Self, which run-time checkers of single methods cannot resolve.
Same = TypeVar("Same", bound="Record")
SameRanking = TypeVar("SameRanking", bound="_Ranking")
SameFlat = TypeVar("SameFlat", bound="Flat")


@dataclass(frozen=True)
class Record:
    """A batch of rows: tensors whose first axis counts rows, scalars that all rows share, other records.

    `trained` names the fields that gradients flow into: what the engine computes with the policy.
    """

    trained: ClassVar[tuple[str, ...]] = ()
    _axes: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor) and value.ndim > 0:
                object.__setattr__(self, f.name, _taken_up(f.name, value, trained=f.name in self.trained))
        self._check_rows()

    def _check_rows(self) -> None:
        """One number (or one table row) a row in every field: what would broadcast is refused, at no cost."""
        rows = {f.name: value for f in fields(self) if _rows(value := getattr(self, f.name))}
        if len({tuple(value.shape) for value in rows.values()}) > 1 or any(
            value.ndim != self._axes for value in rows.values()
        ):
            raise InputError(
                explain(
                    f"the fields of {type(self).__name__} differ in shape",
                    found=Said(", ".join(f"{name} {list(value.shape)}" for name, value in rows.items())),
                    accepted="the same shape for all: "
                    + ("[rows]" if self._axes == 1 else "[rows, replies]"),
                    do="give every row one value in every field",
                )
            )

    def __len__(self) -> int:
        values = (getattr(self, f.name) for f in fields(self))
        return next((len(value) for value in values if isinstance(value, Record) or _rows(value)), 0)

    def rows(self: Same, index: slice | Tensor) -> Same:
        """The record of some of its rows; what all rows share is kept as it is."""
        return replace(self, **{f.name: _take(getattr(self, f.name), index) for f in fields(self)})


def _can_look(value: Tensor) -> bool:
    """Whether values may be read: not while a graph is traced, and not where there are none."""
    return not (torch.compiler.is_compiling() or value.is_meta)


def _taken_up(name: str, value: Tensor, *, trained: bool) -> Tensor:
    """The value in a type that can be reckoned in: no half precision, no integers where gradients go."""
    if value.dtype in (torch.bfloat16, torch.float16):
        return value.float()
    if (trained or name in ("ref", "old", "reward", "utility", "label")) and not value.is_floating_point():
        return value.float()
    # Unsigned lengths would wrap when one is taken from another.
    return value.long() if name == "length" and not value.is_floating_point() else value


def _rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _take(value: Any, index: slice | Tensor) -> Any:
    return value.rows(index) if isinstance(value, Record) else value[index] if _rows(value) else value


# --- whole replies ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replies(Record):
    """Replies with `logp`, the sum of their token log-probabilities, and `length`, stop token included.

    `mean_length` is the mean over all rows of the optimizer step. It is fixed when the record is made and
    kept by `rows`, so a token mean over the step can be reckoned one row at a time.
    """

    trained = ("logp",)

    logp: PerReply
    length: ReplyLengths
    mean_length: Scalar | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mean_length is None:
            object.__setattr__(self, "mean_length", self.length.to(self.logp.dtype).mean())
        if _can_look(self.length) and bool((self.length < 1).any()):
            raise InputError(
                explain(
                    "a reply has no token",
                    found=f"length {int(self.length.min())}",
                    accepted="lengths of 1 or more: the stop token counts",
                    do="leave empty replies out, or train on their stop token",
                )
            )

    @property
    def mean(self) -> PerReply:
        """Mean log-probability a token."""
        return self.logp / self.length

    @property
    def token_nll(self) -> PerReply:
        """Each reply's share of the token-mean negative log-likelihood: the mean over rows is that mean."""
        assert self.mean_length is not None
        return -self.logp / self.mean_length


@dataclass(frozen=True)
class ReferencedReplies(Replies):
    """Replies with `ref`, the log-probability of the same tokens under the reference."""

    ref: PerReply

    @property
    def ratio(self) -> PerReply:
        """Log-ratio of policy to reference, over the whole reply: the papers' rho."""
        return self.logp - self.ref

    @property
    def mean_ratio(self) -> PerReply:
        """Log-ratio of policy to reference, a token."""
        return self.ratio / self.length


@dataclass(frozen=True)
class Pairs(Record):
    """Chosen and rejected replies to the same prompts."""

    chosen: Replies
    rejected: Replies

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.chosen) != len(self.rejected):
            raise InputError(
                explain(
                    "a pair has two sides",
                    found=f"{len(self.chosen)} chosen and {len(self.rejected)} rejected replies",
                    accepted="as many of each, in the same order",
                    do="drop the rows that lost a side, or make them single replies",
                )
            )


@dataclass(frozen=True)
class ReferencedPairs(Pairs):
    """Chosen and rejected replies, with the reference's view of both."""

    chosen: ReferencedReplies
    rejected: ReferencedReplies

    @property
    def margin(self) -> PerPair:
        """How much further the policy has moved towards the chosen than towards the rejected reply."""
        return self.chosen.ratio - self.rejected.ratio


@dataclass(frozen=True)
class PairValues(Record):
    """One number for each side of each pair: annotations, margins, a statistic."""

    chosen: PerPair
    rejected: PerPair

    @property
    def gap(self) -> PerPair:
        """Chosen minus rejected."""
        return self.chosen - self.rejected


@dataclass(frozen=True)
class RewardPairs(PairValues):
    """What a reward model being trained gives to each side of each pair."""

    trained = ("chosen", "rejected")


@dataclass(frozen=True)
class Rewards(Record):
    """What a reward model being trained gives to single replies."""

    trained = ("reward",)

    reward: PerReply


# --- several replies to each prompt -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Ranking(Record):
    """What records of K-way rows share: utilities, and a mask where a row has fewer than K replies."""

    _axes = 2

    utility: PerRank
    mask: RankFlags = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.mask is None:  # pyright: ignore[reportUnnecessaryComparison]
            object.__setattr__(self, "mask", torch.ones_like(self.utility, dtype=torch.bool))
        super().__post_init__()

    @property
    def best(self) -> RankFlags:
        """Flags the reply of highest utility in each row; of equals, the first; none where a row is empty."""
        top = self.utility.masked_fill(~self.mask, -torch.inf).argmax(-1, keepdim=True)
        return torch.zeros_like(self.mask).scatter(-1, top, True) & self.mask

    @property
    def better(self) -> RankPairFlags:
        """Flags the ordered pairs (i, j) of a row in which reply i is truly better than reply j."""
        both = self.mask[:, :, None] & self.mask[:, None, :]
        return both & (self.utility[:, :, None] > self.utility[:, None, :])

    @property
    def count(self) -> PerPair:
        """How many replies each row has."""
        return self.mask.sum(-1).to(self.utility.dtype)

    def sorted(self: SameRanking) -> SameRanking:
        """Each row best first, absent replies last; equals keep their order."""
        key = self.utility.masked_fill(~self.mask, -torch.inf)
        order = key.argsort(dim=-1, descending=True, stable=True)
        return replace(self, **{f.name: getattr(self, f.name).gather(-1, order) for f in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Ranked(_Ranking):
    """K replies to each prompt with their utilities; `mask` is False where a row has fewer."""

    trained = ("logp",)

    logp: PerRank
    length: RankLengths

    @property
    def mean(self) -> PerRank:
        """Mean log-probability a token; zero for absent replies."""
        return (self.logp / self.length.clamp(min=1)).masked_fill(~self.mask, 0.0)


@dataclass(frozen=True, kw_only=True)
class ReferencedRanked(Ranked):
    """K replies to each prompt with utilities and the reference's view of each."""

    ref: PerRank

    @property
    def ratio(self) -> PerRank:
        """Log-ratio of policy to reference; zero for absent replies."""
        return (self.logp - self.ref).masked_fill(~self.mask, 0.0)


@dataclass(frozen=True, kw_only=True)
class RankedRewards(_Ranking):
    """What a reward model being trained gives to K replies a prompt whose order is known."""

    trained = ("reward",)

    reward: PerRank


# --- flat tokens ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Flat(Record):
    """Values of all replies laid end to end; `owner[n]` is the reply that value n belongs to.

    Replies stand one after the other, so `owner` never falls. `num_replies` counts empty ones as well.
    """

    owner: Owner
    num_replies: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _can_look(self.owner) or not len(self.owner):
            return
        falls = bool((self.owner[1:] < self.owner[:-1]).any())
        if falls or int(self.owner.max()) >= self.num_replies:
            raise InputError(
                explain(
                    "values do not stand with their replies",
                    found="an owner smaller than the one before it" if falls else f"owner {self.owner.max()}",
                    accepted=f"owners from 0 to {self.num_replies - 1}, all values of a reply together",
                    do="sort values by owner, and count all replies in num_replies, empty ones too",
                )
            )

    @classmethod
    def from_padded(cls: type[SameFlat], *, mask: PaddedFlags, **values: Tensor) -> SameFlat:
        """From padded [R, T] values and the mask of true tokens; [R] values are spread over their tokens."""
        owner = mask.nonzero()[:, 0]
        flat = {k: v[mask] if v.ndim == 2 else v[owner] for k, v in values.items()}
        return cls(owner=owner, num_replies=len(mask), **flat)

    @property
    def length(self) -> ReplyLengths:
        """Number of tokens of each reply."""
        return torch.bincount(self.owner, minlength=self.num_replies)

    @property
    def position(self) -> Owner:
        """The place of each token within its reply, from 0."""
        start = self.length.cumsum(0) - self.length
        return torch.arange(len(self.owner), device=self.owner.device) - start[self.owner]

    @property
    def last(self) -> TokenFlags:
        """Flags the last token of each reply."""
        return self.position == self.length[self.owner] - 1

    def sum(self, values: PerToken) -> PerReply:
        """Sum over the tokens of each reply."""
        return values.new_zeros(self.num_replies).index_add(0, self.owner, values)

    def at_last(self, values: PerReply) -> PerToken:
        """Each reply's value at its last token, zero elsewhere."""
        return self.spread(values).masked_fill(~self.last, 0.0)

    def discounted_sum(self, values: PerToken, *, gamma: float) -> PerReply:
        """Sum over the tokens of each reply, the one at place t weighing gamma^t."""
        return self.sum(values * values.new_tensor(gamma).pow(self.position))

    def mean(self, values: PerToken) -> PerReply:
        """Mean over the tokens of each reply; zero for an empty one."""
        return self.sum(values) / self.length.clamp(min=1)

    def spread(self, values: PerReply) -> PerToken:
        """Each reply's value at each of its tokens."""
        return values[self.owner]

    def later(self, values: PerToken) -> PerToken:
        """The value at the next token of the same reply; zero after the last."""
        return values.roll(-1).masked_fill(self.last, 0.0)

    def padded(self, values: PerToken) -> Padded:
        """Values as [R, T], zero where a reply has no token."""
        width = int(self.length.max()) if len(self.owner) else 0
        return values.new_zeros(self.num_replies, width).index_put((self.owner, self.position), values)

    def token_index(self, index: slice | Tensor) -> Owner:
        """The places of the tokens of some replies: to cut inputs along with the record."""
        kept = torch.arange(self.num_replies, device=self.owner.device)[index]
        rank = self.owner.new_full((self.num_replies,), self.num_replies)
        rank[kept] = torch.arange(len(kept), device=self.owner.device)
        order = rank[self.owner].argsort(stable=True)
        return order[rank[self.owner[order]] < self.num_replies]

    def rows(self: SameFlat, index: slice | Tensor) -> SameFlat:
        """The record of some replies, with their tokens, numbered anew."""
        places = self.token_index(index)
        sizes = torch.bincount(self.owner, minlength=self.num_replies)[index]
        owner = torch.arange(len(sizes), device=self.owner.device).repeat_interleave(sizes)
        flat = {f.name: _take(getattr(self, f.name), places) for f in fields(self)}
        return replace(self, **flat | {"owner": owner, "num_replies": len(sizes)})

    def __len__(self) -> int:
        return self.num_replies


@dataclass(frozen=True, kw_only=True)
class Tokens(Flat):
    """Log-probabilities of the tokens of replies, laid end to end."""

    trained = ("logp",)

    logp: PerToken


@dataclass(frozen=True, kw_only=True)
class ReferencedTokens(Tokens):
    """Tokens with `ref`, their log-probabilities under the reference."""

    ref: PerToken

    @property
    def ratio(self) -> PerToken:
        """Log-ratio of policy to reference at each token."""
        return self.logp - self.ref


@dataclass(frozen=True, kw_only=True)
class Rollouts(Tokens):
    """Sampled tokens: `old` log-probabilities of the policy that sampled, and the advantage of each token."""

    old: PerToken
    advantage: PerToken

    @property
    def importance(self) -> PerToken:
        """Probability ratio of policy to sampler at each token; its log is kept within 20 nats."""
        return (self.logp - self.old).clamp(-20, 20).exp()

    @property
    def sequence_importance(self) -> PerToken:
        """Geometric mean of the ratio over each reply, at each of its tokens."""
        return self.spread(self.mean(self.logp - self.old).clamp(-20, 20).exp())


@dataclass(frozen=True, kw_only=True)
class ReferencedRollouts(Rollouts, ReferencedTokens):
    """Sampled tokens with the reference's view of them."""


@dataclass(frozen=True, kw_only=True)
class Values(Flat):
    """A critic's value of the state before each token, what it was when sampled, and the returns."""

    trained = ("value",)

    value: PerToken
    old: PerToken
    returns: PerToken


@dataclass(frozen=True, kw_only=True)
class StepLogits(Flat):
    """Reasoning steps of replies, laid end to end: the head's logit that a step is right, and its label."""

    trained = ("logit",)

    logit: PerToken
    label: PerToken


@dataclass(frozen=True)
class Groups(Record):
    """Rewards of replies, and the prompt each reply answers. Groups may differ in size."""

    reward: PerReply
    group: ReplyIndex
    num_groups: int

    @classmethod
    def of(cls, rewards: GroupTable) -> "Groups":
        """From a table with a row for each prompt."""
        group = torch.arange(len(rewards), device=rewards.device).repeat_interleave(rewards.shape[1])
        return cls(rewards.flatten(), group, len(rewards))

    @property
    def size(self) -> PerReply:
        """Number of replies in the group of each reply."""
        return self.sum(torch.ones_like(self.reward))

    def sum(self, values: PerReply) -> PerReply:
        """Sum over the group of each reply, at each reply."""
        return values.new_zeros(self.num_groups).index_add(0, self.group, values)[self.group]

    @property
    def lowest(self) -> PerReply:
        """Lowest reward of the group of each reply."""
        start = self.reward.new_full((self.num_groups,), torch.inf)
        return start.scatter_reduce(0, self.group, self.reward, "amin")[self.group]

    @property
    def mean(self) -> PerReply:
        """Mean reward of the group of each reply; of equal rewards exactly that reward."""
        # Summed above the lowest: equal rewards must not differ from their mean by a rounding error, which
        # a division by their deviation would blow up.
        return self.lowest + self.sum(self.reward - self.lowest) / self.size

    def std(self, *, ddof: int = 1) -> PerReply:
        """Standard deviation of rewards in the group of each reply; zero where there are too few."""
        squares = self.sum((self.reward - self.mean).square())
        return (squares / (self.size - ddof).clamp(min=1)).sqrt()


@dataclass(frozen=True)
class TopK(Record):
    """The k likeliest tokens at each position and their log-probabilities; what is left is one bucket."""

    _axes = 2

    index: TopIndex
    logp: TopLogps

    @property
    def rest(self) -> PerToken:
        """Log of the probability outside the k tokens."""
        inside = self.logp.logsumexp(-1).clamp(max=-torch.finfo(self.logp.dtype).eps)
        return torch.log(-torch.expm1(inside))


@dataclass(frozen=True)
class RunningMean(Record):
    """A mean that is carried from step to step, with the number of values it rests on."""

    mean: Scalar
    count: Count

    @classmethod
    def empty(cls, like: Tensor) -> "RunningMean":
        """A mean of nothing, zero, on the device of `like`."""
        return cls(like.new_zeros(()), torch.zeros((), dtype=torch.long, device=like.device))

    def updated(self, values: PerReply, *, window: int | None = None) -> "RunningMean":
        """The mean after more values, without gradient. Older values fade once there are `window` of them."""
        count = self.count + len(values)
        shift = (values.detach() - self.mean).sum() / count.clamp(min=1)
        return RunningMean(self.mean + shift, count if window is None else count.clamp(max=window))
