"""Reductions: from unreduced losses to one number, the third of three menus.

`total` is what is divided by, over the whole optimizer step. Left out, it is counted from what is given.
A loop that splits a step adds up `reduction.counts(...)` of all parts, over all ranks, and passes the sum
as `total`: the parts then add up to the same number whatever the split.
"""

import torch
from torch import Tensor

from concord.objectives.contract import counts
from concord.tensors import Flat, PerGroup, PerReply, PerToken, ReplyFlags, ReplyIndex, Scalar

__all__ = [
    "fixed_length_mean",
    "group_mean",
    "label_sum",
    "row_mean",
    "sequence_mean",
    "sequence_sum",
    "token_mean",
]


def _num_rows(loss: Tensor, tokens: Flat | None = None, **_: object) -> Tensor:
    return torch.tensor(float(len(loss)), device=loss.device)


def _num_replies(loss: PerToken, tokens: Flat, **_: object) -> Tensor:
    return torch.tensor(float(len(tokens)), device=loss.device)


def _by_label(loss: PerReply, *, desirable: ReplyFlags, **_: object) -> Tensor:
    return torch.bincount(desirable.long(), minlength=2).to(loss.dtype)


def _by_group(loss: PerReply, *, group: ReplyIndex, num_groups: int, **_: object) -> Tensor:
    return torch.bincount(group, minlength=num_groups).to(loss.dtype)


@counts(_num_rows)
def token_mean(loss: PerToken, tokens: Flat, *, total: Tensor | float | None = None) -> Scalar:
    """Sum over all tokens, divided by their number: every token counts the same. The default for SFT, DAPO.

    total: number of tokens of the step
    """
    return loss.sum() / (_num_rows(loss) if total is None else total)


@counts(_num_replies)
def sequence_mean(loss: PerToken, tokens: Flat, *, total: Tensor | float | None = None) -> Scalar:
    """Mean over the tokens of each reply, then over replies: every reply counts the same. GRPO as printed.

    total: number of replies of the step
    """
    return tokens.mean(loss).sum() / (_num_replies(loss, tokens) if total is None else total)


@counts(_num_replies)
def sequence_sum(loss: PerToken, tokens: Flat, *, total: Tensor | float | None = None) -> Scalar:
    """Sum over the tokens of each reply, then mean over replies: the likelihood of whole replies. RLOO.

    total: number of replies of the step
    """
    return loss.sum() / (_num_replies(loss, tokens) if total is None else total)


@counts(_num_replies)
def fixed_length_mean(
    loss: PerToken, tokens: Flat, *, max_length: int, total: Tensor | float | None = None
) -> Scalar:
    """Sum over tokens divided by a length that no reply can influence: Dr. GRPO.

    max_length: the longest reply that may be sampled
    total: number of replies of the step
    """
    return sequence_sum(loss, tokens, total=total) / max_length


@counts(_num_rows)
def row_mean(loss: PerReply, *, total: Tensor | float | None = None) -> Scalar:
    """Mean over rows: pairs, replies, rankings, or positions of a chunk of logits.

    total: number of rows of the step
    """
    return loss.sum() / (_num_rows(loss) if total is None else total)


@counts(_by_label)
def label_sum(loss: PerReply, *, desirable: ReplyFlags, total: PerGroup | None = None) -> Scalar:
    """Mean over good replies plus mean over bad ones, whatever their numbers; an absent kind adds nothing.

    desirable: whether each reply is a good one
    total: numbers of bad and of good replies of the step
    """
    sizes = _by_label(loss, desirable=desirable) if total is None else total
    return (loss / sizes[desirable.long()]).sum()


@counts(_by_group)
def group_mean(
    loss: PerReply, *, group: ReplyIndex, num_groups: int, total: PerGroup | None = None
) -> Scalar:
    """Mean over groups of the mean in each, empty groups left out: MAH-DPO's mean over heads.

    group: which group each row belongs to
    num_groups: how many groups there are, those of other parts of the step included
    total: number of rows of the step in each group
    """
    sizes = _by_group(loss, group=group, num_groups=num_groups) if total is None else total
    return (loss / sizes[group]).sum() / (sizes > 0).sum()
