"""From logits to tokens: temperature, truncation, and the log-probability of what was really drawn.

One uniform number decides each token, by inverting the cumulative distribution. So what a draw says depends
on its own numbers alone, wherever it stands in a batch, and the last bits of logits matter only where the
number falls next to a boundary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from concord.seam import Sampling
from concord.store import key
from concord.tensors import Logits, Owner, PerToken, TokenFlags

__all__ = ["Picked", "chance", "pick", "shaped"]


@dataclass(frozen=True)
class Picked:
    """The next token of each row, and its log-probability under the distribution it was drawn from."""

    tokens: Owner
    logps: PerToken
    broken: TokenFlags
    """Where the logits are no distribution, so that the token means nothing."""


def chance(sampling: Sampling, prompt: Sequence[int], number: int) -> np.random.Generator:
    """The uniform numbers of one draw.

    With a seed they are decided by it, the prompt and the number of the draw: the same question has the same
    replies, two prompts under one seed have numbers of their own, and the first of many replies are those of
    few. Without one, torch's global generator gives it, so that `torch.manual_seed` and checkpoints rule.
    """
    if sampling.seed is None:
        return np.random.default_rng(int(torch.randint(1 << 62, ())))
    return np.random.default_rng(int(key("draw", sampling.seed, [*prompt], number), 16))


def shaped(logits: Logits, samplings: Sequence[Sampling]) -> Logits:
    """Log-probabilities of the distribution that each row is drawn from; what is ruled out has -inf.

    Temperature first, then `top_k`, then `top_p` of what is left: the fewest likeliest tokens that together
    have that probability. Of equals the one of the lower id comes first. Temperature 0 is the likeliest
    token alone, certain: its log-probability is 0.
    """
    warmth = _column(logits, [sampling.temperature or 1.0 for sampling in samplings], torch.float64)
    logits = logits.float()
    # Below the largest, so that no temperature, however low, divides into infinity minus infinity.
    scores = ((logits - logits.amax(-1, keepdim=True)) / warmth).float()
    size = logits.shape[-1]
    kept = [1 if sampling.temperature == 0 else min(sampling.top_k or size, size) for sampling in samplings]
    if any(count < size for count in kept) or any(sampling.top_p < 1 for sampling in samplings):
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        places = torch.arange(size, device=logits.device)
        ordered = ordered.masked_fill(places >= _column(logits, kept), -torch.inf)
        mass = _column(logits, [sampling.top_p for sampling in samplings], torch.float64)
        before = functional.pad(ordered.double().softmax(-1).cumsum(-1)[:, :-1], (1, 0))
        # At 1 rounding alone could say that the mass is reached.
        ordered = ordered.masked_fill((before >= mass) & (mass < 1), -torch.inf)
        scores = torch.empty_like(scores).scatter(-1, order, ordered)
    return scores.log_softmax(-1)


def pick(logits: Logits, samplings: Sequence[Sampling], uniforms: Sequence[float]) -> Picked:
    """Draw the next token of each row by its own uniform number from 0 to below 1."""
    total = logits.float().logsumexp(-1)
    broken = ~total.isfinite()
    logps = shaped(logits.masked_fill(broken[:, None], 0.0), samplings)
    reached = logps.double().exp().cumsum(-1)
    whole = reached[:, -1]
    # Below the whole, also after rounding: then a token is found, and one that has a probability.
    sought = torch.minimum(_column(logits, uniforms, torch.float64)[:, 0] * whole, whole.nextafter(whole * 0))
    tokens = torch.searchsorted(reached, sought[:, None], right=True)
    return Picked(tokens[:, 0], logps.gather(-1, tokens)[:, 0], broken)


def _column(logits: Tensor, values: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
    """One number for each row, to stand against its logits."""
    return torch.tensor(values, dtype=dtype, device=logits.device)[:, None]
