"""`LogProbs`: the one module through which log-probabilities of replies are computed.

accelerate, DDP, FSDP2, autocast and compile wrap it whole, and call it with a layout as a keyword. Nobody
calls a part of it: what is called past its wrapper silently trains on other gradients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_dataclass

from concord.engine import guards
from concord.engine.attention import NAME, install
from concord.engine.flex import BLOCK
from concord.engine.forest import Forest, plant
from concord.engine.head import (
    Beside,
    ChunkFunction,
    Tile,
    chunk_size,
    linear_logps,
    module_values,
    tile_for,
    untraced,
)
from concord.engine.model import Head, body, head, text_config
from concord.engine.precision import Identity, identify
from concord.engine.rows import Rows, stack
from concord.engine.statistics import is_measured
from concord.engine.statistics import logps as token_logps
from concord.engine.support import check_bare, check_wrapped
from concord.engine.switch import kernel, switch
from concord.engine.targets import Line, Targets
from concord.errors import InputError, Said, explain
from concord.tensors import Owner, PerReply, PerToken, ReferencedReplies, ReferencedTokens, Replies, Tokens

__all__ = ["Kind", "Layout", "LogProbs", "TokenValues", "hidden_states", "lay"]

Layout: TypeAlias = Forest | Rows
Kind: TypeAlias = Literal["forest", "rows"]


@dataclass(frozen=True)
class TokenValues:
    """What was computed for each predicted token of a micro-batch, and which reply it belongs to."""

    logps: PerToken
    owner: Owner
    functions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What chunk functions made of the logits: a tensor or a `TopK`, one row a token."""
    states: Tensor | None = None
    """[N, size] the hidden state that predicts each token, where it was asked for."""
    heads: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """What further heads made of the hidden states: a number for each predicted token, or for each mark."""
    marks: Tensor | None = None
    """[M] the reply that each mark belongs to, where the lines have marks."""

    def sums(self, replies: int) -> PerReply:
        """The summed log-probability of each reply."""
        return self.sum(self.logps, replies)

    def sum(self, values: PerToken, replies: int) -> PerReply:
        """The sum of values, one a token, over each reply; in float32 at least."""
        self._check_count(replies)
        full = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
        return full.new_zeros(replies).index_add(0, self.owner, full)

    def lengths(self, replies: int) -> Tensor:
        """How many predicted tokens each reply has."""
        self._check_count(replies)
        return torch.bincount(self.owner, minlength=replies)

    def replies(self, replies: int, *, ref: PerReply | None = None) -> Replies:
        """The record of whole replies; with the reference's view of them where that is given."""
        logp, length = self.sums(replies), self.lengths(replies)
        return Replies(logp, length) if ref is None else ReferencedReplies(logp, length, ref)

    def tokens(self, replies: int, *, ref: PerToken | None = None) -> Tokens:
        """The record of all tokens, reply after reply; `ref` stands in the order of the targets."""
        self._check_count(replies)
        order = self.order
        known = {"owner": self.owner[order], "num_replies": replies, "logp": self.logps[order]}
        return Tokens(**known) if ref is None else ReferencedTokens(**known, ref=ref[order])

    @property
    def order(self) -> Tensor:
        """The places of the tokens, reply after reply; a reply's own keep the order of its lines."""
        return self.owner.argsort(stable=True)

    def _check_count(self, replies: int) -> None:
        """Refuse fewer replies than there are: some sums would fail, and some tables be longer than asked."""
        last = int(self.owner.max()) if len(self.owner) else -1
        if last >= replies:
            wrong, accepted = "a reply has a number beyond the count of replies", f"{last + 1} or more"
            do = "say how many there are, or number the replies of the lines from 0"
            raise InputError(explain(wrong, found=replies, accepted=accepted, do=do))


# Wrappers look for the tensors of what a module returns, to hang the start of the backward pass on them.
register_dataclass(TokenValues)


class LogProbs(nn.Module):
    """A causal language model, seen as the log-probabilities of given replies."""

    def __init__(
        self,
        model: nn.Module,
        *,
        layout: Kind = "forest",
        chunk: int = 0,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        """Take a model as it is; `chunk` tokens at a time meet the head (0: as many as suit its vocabulary).

        `heads` are further heads on the same hidden states (`concord.engine.heads`): they belong to this
        module, so whatever wraps it has their gradients too.
        """
        super().__init__()
        if chunk < 0:
            wrong, accepted = "a chunk of the head has a size below zero", "0 for the default, or a count"
            raise InputError(explain(wrong, found=chunk, accepted=accepted, do="leave it out"))
        if layout not in get_args(Kind):
            wrong, accepted = "there is no such layout", "forest or rows"
            raise InputError(explain(wrong, found=layout, accepted=accepted, do="name one of them"))
        check_bare(model)
        self.model = model
        self.layout: Kind = layout
        self.heads = nn.ModuleDict(heads or {})
        self.chunk = chunk
        self.limits = guards.limits(model)
        # Refused at once, not at the first step.
        head(model)
        if layout == "forest":
            switch(model, NAME)
        elif kernel(model) == NAME:
            # It was an engine over forests before: rows go through a kernel of the model's own.
            switch(model, None)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come out of a file in another process, where transformers does not know the attention yet."""
        super().__setstate__(state)
        install()

    @property
    def head(self) -> Head:
        """The head as it is now: adapters and resized embeddings may have come since the start."""
        return head(self.model)

    @property
    def identity(self) -> Identity:
        """All that decides the values this engine gives, for keys of the store; it reads every weight."""
        return self.identify()

    def identify(self, *, weights: str = "") -> Identity:
        """The identity, where the hash of the weights may be known (`precision.hashed`)."""
        kernel = str(getattr(text_config(self.model), "_attn_implementation", None))
        path = "fused" if self.head.plain else f"module: {', '.join(self.head.objections)}"
        return identify(self.model, layout=self.layout, kernel=kernel, head=path, weights=weights)

    def lay(self, lines: Sequence[Line]) -> Layout:
        """Lay sequences out as this model takes them, and where it is."""
        return lay(self.model, lines, self.layout, self.limits)

    def forward(
        self,
        *,
        layout: Layout,
        functions: Mapping[str, ChunkFunction] | None = None,
        beside: Mapping[str, Beside] | None = None,
        states: bool = False,
    ) -> TokenValues:
        """Log-probabilities of all targets; what `functions` make of the logits of each, `beside` others'.

        `states` asks for the hidden states that predict the targets.
        """
        self._check(layout)
        targets: Targets = layout.targets
        hidden = hidden_states(self.model, layout)
        picked = hidden[targets.where]
        found = self._values(picked, targets.labels, dict(functions or {}), beside)
        marks = None if targets.marks is None else hidden[targets.marks]
        heads: dict[str, Tensor] = {}
        for name, module in self.heads.items():
            # No view of anything else: FSDP2 hangs its backward on what is returned, and warns of views.
            heads[name] = module(marks if _at_marks(name, module, marks) else picked).clone()
        logps = found.pop("")
        return TokenValues(logps, targets.owner, found, picked if states else None, heads, targets.mark_owner)

    # Only layers are worth compiling: the head is large products, and what is checked differs each time.
    @untraced
    def _check(self, layout: Layout) -> None:
        made, wanted = type(layout).__name__, Forest if self.layout == "forest" else Rows
        if not isinstance(layout, wanted):
            wrong, accepted = "an engine was given a layout that is not its own", wanted.__name__
            do = "make it with `lay` of the engine that is called"
            raise InputError(explain(wrong, found=Said(made), accepted=accepted, do=do))
        check_wrapped(self, self.model, self.head.module, layout)
        self.limits.check(layout)

    @untraced
    def _values(
        self,
        picked: Tensor,
        labels: Tensor,
        functions: dict[str, ChunkFunction],
        beside: Mapping[str, Beside] | None,
    ) -> dict[str, Any]:
        """Log-probabilities under the name "", and what functions give under theirs."""
        now = self.head
        vocabulary = int(text_config(self.model).vocab_size)
        size = self.chunk or chunk_size(vocabulary, picked.device)
        if not now.plain or not all(map(is_measured, functions.values())):
            everything = {"": token_logps, **functions}
            return module_values(now, picked, labels, everything, beside=beside, size=size)
        linear: Any = now.module
        tile: Tile = tile_for(vocabulary, picked.device, rows=self.chunk)
        found: dict[str, Any] = {"": linear_logps(picked, linear.weight, labels, bias=linear.bias, tile=tile)}
        if functions:
            # Without a graph nothing is computed again: this costs one product more, and no memory.
            with torch.no_grad():
                found |= module_values(now, picked, labels, functions, beside=beside, size=size)
        return found


def lay(model: nn.Module, lines: Sequence[Line], layout: Kind, limits: guards.Limits) -> Layout:
    """Lay sequences out for a model, on the device of its first weights, which are its embeddings."""
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    if layout == "forest":
        laid = plant(lines, multiple=1 if device.type == "cpu" else BLOCK)
    else:
        laid = stack(lines, thresholds=limits.thresholds)
    vocabulary = int(text_config(model).vocab_size)
    # Asked here, where ids are at hand: on a GPU a token that has no embedding ends the process.
    if (largest := int(laid.ids.max())) >= vocabulary:
        wrong, accepted = "a token is not in the vocabulary of the model", f"0 to {vocabulary - 1}"
        do = "use the model's own tokenizer, or resize the embeddings of the model"
        raise InputError(explain(wrong, found=largest, accepted=accepted, do=do))
    return laid.to(device)


def _at_marks(name: str, module: nn.Module, marks: Tensor | None) -> bool:
    """Whether a further head looks at marks; refused where the lines have none."""
    wants = getattr(module, "at", "targets") == "marks"
    if wants and marks is None:
        wrong, found = (
            f"the head {name!r} is to score places that were not marked",
            Said("lines without marks"),
        )
        accepted, do = "lines with `marks`", "mark the last token of each reply, or the ends of its steps"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return wants


def hidden_states(model: nn.Module, layout: Layout) -> Tensor:
    """The last hidden states of all tokens of a layout, flat: [places, size]."""
    network = body(model)
    if isinstance(layout, Forest):
        before = len(layout.calls)
        given = {"input_ids": layout.ids[None], "position_ids": layout.positions[None], "forest": layout}
        hidden = _last(network(**given, use_cache=False))
        untraced(guards.check_calls)(layout, model, since=before)
        return hidden.flatten(0, 1)
    bands = layout.bands or ((0, len(layout.ids), layout.ids.shape[1]),)
    parts: list[Tensor] = []
    for first, last, width in bands:
        given = {
            "input_ids": layout.ids[first:last, :width],
            "attention_mask": layout.mask[first:last, :width],
            "position_ids": layout.positions[first:last, :width],
        }
        part = _last(network(**given, use_cache=False))
        if width < layout.ids.shape[1]:
            part = nn.functional.pad(part, (0, 0, 0, layout.ids.shape[1] - width))
        parts.append(part.flatten(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _last(out: Any) -> Tensor:
    hidden: Tensor = out.last_hidden_state
    return hidden
