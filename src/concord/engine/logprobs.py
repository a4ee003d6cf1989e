"""`LogProbs`: the one module through which log-probabilities of replies are computed.

accelerate, DDP, FSDP2, autocast and compile wrap it whole, and call it with a layout as a keyword. Nobody calls
a part of it: what is called past its wrapper silently trains on other gradients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from concord.engine import guards
from concord.engine.attention import NAME
from concord.engine.forest import Forest, plant
from concord.engine.head import ChunkFunction, linear_logps, module_values
from concord.engine.model import Head, body, head, text_config
from concord.engine.rows import Rows, stack
from concord.engine.switch import switch
from concord.engine.targets import Line
from concord.errors import InputError, explain
from concord.tensors import Owner, PerToken

__all__ = ["Layout", "LogProbs", "TokenValues"]

Layout: TypeAlias = Forest | Rows
LOGITS_BYTES = 48 << 20  # of one chunk of the head, in float32: about what fits the caches and no more


@dataclass(frozen=True)
class TokenValues:
    """What was computed for each predicted token of a micro-batch, and which reply it belongs to."""

    logps: PerToken
    owner: Owner
    functions: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def sums(self, replies: int) -> Tensor:
        """The summed log-probability of each reply."""
        return self.logps.new_zeros(replies).index_add(0, self.owner, self.logps)


class LogProbs(nn.Module):
    """A causal language model, seen as the log-probabilities of given replies."""

    def __init__(self, model: nn.Module, *, layout: Literal["forest", "rows"] = "forest", chunk: int = 0) -> None:
        """Take a model as it is; `chunk` tokens at a time meet the head (0: as many as suit its vocabulary)."""
        super().__init__()
        if chunk < 0:
            wrong, accepted = "a chunk of the head has a size below zero", "0 for the default, or a count"
            raise InputError(explain(wrong, found=chunk, accepted=accepted, do="leave it out"))
        self.model = model
        self.layout = layout
        self.head: Head = head(model)
        vocabulary = int(text_config(model).vocab_size)
        self.chunk = chunk or max(32, LOGITS_BYTES // (4 * vocabulary))
        if layout == "forest":
            switch(model, NAME)

    def lay(self, lines: Sequence[Line]) -> Layout:
        """Lay sequences out as this model takes them."""
        return plant(lines) if self.layout == "forest" else stack(lines)

    def forward(
        self, *, layout: Layout, functions: Mapping[str, ChunkFunction] | None = None
    ) -> TokenValues:
        """Log-probabilities of all targets; and what `functions` make of the logits of each."""
        targets = layout.targets
        hidden = self._hidden(layout)
        picked = hidden.reshape(-1, hidden.shape[-1])[targets.where]
        extra: dict[str, Tensor] = {}
        if self.head.plain and not functions:
            linear = self.head.module
            logps = linear_logps(
                picked, linear.weight, targets.labels, bias=linear.bias, size=self.chunk
            )
        else:
            wanted = {"": _logps, **(functions or {})}
            extra = module_values(self.head, picked, targets.labels, wanted, size=self.chunk)
            logps = extra.pop("")
        return TokenValues(logps, targets.owner, extra)

    def _hidden(self, layout: Layout) -> Tensor:
        network = body(self.model)
        if isinstance(layout, Forest):
            before = len(layout.calls)
            out = network(
                input_ids=layout.ids[None], position_ids=layout.positions[None], use_cache=False, forest=layout
            )
            guards.check_calls(layout, self.model, since=before)
        else:
            out = network(
                input_ids=layout.ids, attention_mask=layout.mask, position_ids=layout.positions, use_cache=False
            )
        hidden: Tensor = out.last_hidden_state
        return hidden


def _logps(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-probability of each label."""
    return logits.gather(-1, labels[:, None])[:, 0] - torch.logsumexp(logits, -1)
