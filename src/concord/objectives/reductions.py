"""Reductions: from unreduced losses to one number, the third of three menus.

`total` is the denominator over the whole optimizer step. Left out, it is counted from what is given; a
loop that splits a step gives it, so that the parts add up to the same number whatever the split.
"""

import torch

from concord.tensors import PerGroup, PerReply, PerToken, ReplyFlags, ReplyIndex, Scalar, Tokens

__all__ = [
    "fixed_length_mean",
    "group_mean",
    "label_sum",
    "row_mean",
    "sequence_mean",
    "sequence_sum",
    "token_mean",
]


def token_mean(loss: PerToken, tokens: Tokens, *, total: float | None = None) -> Scalar:
    """Sum over all tokens, divided by their number: every token counts the same. The default for SFT, DAPO.

    total: number of tokens of the step
    """
    return loss.sum() / (len(loss) if total is None else total)


def sequence_mean(loss: PerToken, tokens: Tokens, *, total: float | None = None) -> Scalar:
    """Mean over the tokens of each reply, then over replies: every reply counts the same. GRPO as printed.

    total: number of replies of the step
    """
    return tokens.mean(loss).sum() / (len(tokens) if total is None else total)


def sequence_sum(loss: PerToken, tokens: Tokens, *, total: float | None = None) -> Scalar:
    """Sum over the tokens of each reply, then mean over replies: the likelihood of whole replies. RLOO.

    total: number of replies of the step
    """
    return loss.sum() / (len(tokens) if total is None else total)


def fixed_length_mean(
    loss: PerToken, tokens: Tokens, *, max_length: int, total: float | None = None
) -> Scalar:
    """Sum over tokens divided by a length that no reply can influence: Dr. GRPO.

    max_length: the longest reply that may be sampled
    total: number of replies of the step
    """
    return sequence_sum(loss, tokens, total=total) / max_length


def row_mean(loss: PerReply, *, total: float | None = None) -> Scalar:
    """Mean over rows: pairs, replies, rankings, or positions of a chunk of logits.

    total: number of rows of the step
    """
    return loss.sum() / (len(loss) if total is None else total)


def label_sum(loss: PerReply, *, desirable: ReplyFlags, totals: tuple[float, float] | None = None) -> Scalar:
    """Mean over good replies plus mean over bad ones, whatever their numbers; an absent kind adds nothing.

    desirable: whether each reply is a good one
    totals: numbers of (bad, good) replies of the step
    """
    counts = torch.bincount(desirable.long(), minlength=2) if totals is None else loss.new_tensor(totals)
    return (loss / counts.clamp(min=1).to(loss.dtype)[desirable.long()]).sum()


def group_mean(loss: PerReply, *, group: ReplyIndex, totals: PerGroup | None = None) -> Scalar:
    """Mean over groups of the mean in each, empty groups left out: MAH-DPO's mean over heads.

    group: which group each row belongs to
    totals: number of rows of the step in each group
    """
    counts = torch.bincount(group).to(loss.dtype) if totals is None else totals
    return (loss / counts[group]).sum() / (counts > 0).sum()
