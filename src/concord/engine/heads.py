"""Further heads on hidden states: values, rewards, steps.

Each is one linear map to one number, in float32. A value head stands beside the head of a policy and gives
the value of the state before each predicted token. A reward head scores the last token of a reply, a step
head the last token of each step: places that a line marks, found by position, for a padding token may stand
inside a reply. Rewards are stored as transformers stores them, so a checkpoint goes both ways.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from concord.engine import probe
from concord.engine.logprobs import Layout, hidden_states, lay
from concord.engine.model import body, causal, text_config
from concord.engine.start import Choice, start
from concord.engine.support import check_bare, check_wrapped
from concord.engine.switch import own_kernel
from concord.engine.targets import Line
from concord.errors import CapabilityError, InputError, NotFoundError, Said, explain
from concord.tensors import PerToken

__all__ = [
    "RewardHead",
    "ScalarHead",
    "Scores",
    "StepHead",
    "ValueHead",
    "hidden_size",
    "mark_last",
]


class ScalarHead(nn.Module):
    """One number for each hidden state, in float32 whatever the states are."""

    at: ClassVar[Literal["targets", "marks"]] = "targets"

    def __init__(self, size: int, *, bias: bool = False) -> None:
        """Begin at zero: the first values are 0, and the first step decides."""
        super().__init__()
        self.score = nn.Linear(size, 1, bias=bias)
        nn.init.zeros_(self.score.weight)

    def forward(self, states: Tensor) -> PerToken:
        """One number for each state."""
        with torch.autocast(states.device.type, enabled=False):
            bias = None if self.score.bias is None else self.score.bias.float()
            return nn.functional.linear(states.float(), self.score.weight.float(), bias)[:, 0]

    def save(self, folder: Path) -> Path:
        """Write the head as `head.safetensors`, under the names that transformers gives it."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "head.safetensors"
        save_file({name: weight.cpu().contiguous() for name, weight in self.state_dict().items()}, file)
        return file

    def load(self, file: Path) -> None:
        """Take the head out of a file of safetensors, which may hold a whole model."""
        try:
            with safe_open(file, "pt") as held:
                names: list[str] = held.keys()
                found = {name: held.get_tensor(name) for name in names if name.startswith("score.")}
        except (OSError, SafetensorError) as error:
            wrong, accepted = f"no head can be read ({error})", "a whole file of safetensors"
            do = "check the path, or save the head again"
            raise NotFoundError(explain(wrong, found=str(file), accepted=accepted, do=do)) from error
        wanted = {name: list(weight.shape) for name, weight in self.state_dict().items()}
        given = {name: list(weight.shape) for name, weight in found.items()}
        if given != wanted:
            wrong = f"{file} does not hold this head"
            do = "save it with `save`, or with transformers as a sequence classifier of one label"
            raise InputError(explain(wrong, found=Said(str(given)), accepted=str(wanted), do=do))
        self.load_state_dict(found)


class ValueHead(ScalarHead):
    """The value of the state before each predicted token."""


class RewardHead(ScalarHead):
    """The score of a reply, at its last token."""

    at = "marks"


class StepHead(ScalarHead):
    """The logit that a step is right, at its last token."""

    at = "marks"

    def __init__(self, size: int) -> None:
        """A bias, for most steps are right."""
        super().__init__(size, bias=True)
        nn.init.zeros_(self.score.bias)


def mark_last(lines: Sequence[Line], *, padding: int | None = None) -> list[Line]:
    """The same lines with their last tokens marked: where a reward model looks.

    With `padding`, the last token that is another: where transformers looks. It matters for checkpoints whose
    padding token also ends their replies, which were trained on the token before.
    """
    marked: list[Line] = []
    for number, line in enumerate(lines):
        real = np.flatnonzero(line.ids != padding) if padding is not None else np.arange(len(line.ids))
        if not len(real):
            wrong, accepted = "a reply without tokens cannot be scored", "at least one token a line"
            found, do = Said(f"nothing in line {number}"), "leave it out"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        marked.append(replace(line, marks=real[-1:]))
    return marked


class Scores(nn.Module):
    """A sequence classifier of one label (`AutoModelForSequenceClassification`), as scores of marked tokens.

    Like `LogProbs` it is wrapped whole.
    """

    def __init__(
        self, model: nn.Module, *, layout: Choice = "auto", longest: int = 0, tokens: int = 0
    ) -> None:
        """Take a model with the head it came with, and choose its layout as `start` does, by the same trial.

        `refused` says what spoke against the forest; `stilled` holds the dropout that was set to zero.
        """
        super().__init__()
        check_bare(model)
        _score_of(model)
        started = start(_Speaking(model), layout=layout, longest=longest, tokens=tokens)
        self.model = model
        self.layout: Literal["forest", "rows"] = started.engine.layout
        self.limits = started.engine.limits
        self.trial, self.refused, self.stilled = started.trial, started.refused, started.stilled
        _check_score(model)

    def lay(self, lines: Sequence[Line]) -> Layout:
        """Lay marked sequences out as this model takes them."""
        return lay(self.model, lines, self.layout, self.limits)

    def forward(self, *, layout: Layout) -> PerToken:
        """One number for each mark, in the order of the lines."""
        check_wrapped(self, self.model, _score_of(self.model), layout)
        self.limits.check(layout)
        marks = layout.targets.marks
        if marks is None:
            wrong, found = "no token is marked to be scored", Said("lines without marks")
            do = "mark the last token of each reply (`mark_last`), or the ends of its steps"
            raise InputError(explain(wrong, found=found, accepted="lines with `marks`", do=do))
        return _scored(self.model, hidden_states(self.model, layout)[marks])


class _Speaking(nn.Module):
    """The body of a classifier under a head drawn by chance, for a trial that knows causal models only."""

    base_model_prefix = "body"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        inner, self.body, self.config = causal(model), body(model), causal(model).config
        like = next(self.body.parameters())
        size, vocabulary = hidden_size(model), int(text_config(model).vocab_size)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(vocabulary, size, generator=generator) * 2 / size**0.5
        self.out = nn.Linear(size, vocabulary, bias=False, device="meta")
        self.out.weight = nn.Parameter(drawn.to(like))
        for name in ("_supports_sdpa", "_supports_attention_backend", "_can_set_attn_implementation"):
            setattr(self, name, getattr(inner, name, None))

    def get_output_embeddings(self) -> nn.Module:
        return self.out

    def forward(self, input_ids: Tensor, *, use_cache: bool = False) -> Any:
        states = self.body(input_ids=input_ids, use_cache=use_cache).last_hidden_state
        return CausalLMOutput(logits=self.out(states))


def _score_of(model: nn.Module) -> nn.Module:
    """The head of a sequence classifier, if it gives one number."""
    inner = causal(model)
    found = getattr(inner, "score", None)
    labels = int(getattr(inner.config, "num_labels", 0) or 0)
    if not isinstance(found, nn.Module) or labels != 1:
        wrong, accepted = "this is no reward model", "a causal sequence classifier of one label"
        do = "load it with AutoModelForSequenceClassification and num_labels=1"
        said = Said(f"{type(inner).__name__} with {labels} labels")
        raise CapabilityError(explain(wrong, found=said, accepted=accepted, do=do))
    return found


def _scored(model: nn.Module, states: Tensor) -> Tensor:
    """Scores of hidden states, in float32 where the head is: in bfloat16, rewards near 10 are 1/16 apart."""
    score, device = _score_of(model), states.device.type
    # Of a head that an adapter trains, the copy that is trained decides.
    weights = [weight for weight in score.parameters() if weight.requires_grad] or [*score.parameters()]
    full = all(weight.dtype == torch.float32 for weight in weights)
    with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and not full):
        return score(states.float() if full else states)[:, 0].float()


def _check_score(model: nn.Module) -> None:
    """Refuse a classifier whose scores are not what its head makes of the hidden states where it looks."""
    inner = causal(model)
    padding = getattr(text_config(model), "pad_token_id", None)
    like = next(body(model).parameters())
    half = like.dtype in (torch.bfloat16, torch.float16)
    right: list[Tensor] = []
    found: list[Tensor] = []
    # A head in float32 on a body of half precision runs in transformers under autocast only.
    autocast = torch.autocast(like.device.type, like.dtype if half else None, enabled=half)
    with torch.no_grad(), own_kernel(model), autocast:
        for row in mark_last(probe.lines(model), padding=padding):
            ids = torch.from_numpy(row.ids)[None].to(like.device)
            states = body(model)(input_ids=ids, use_cache=False).last_hidden_state[0]
            right.append(inner(input_ids=ids, use_cache=False).logits[0].float())
            found.append(_scored(model, states[row.marks]))
    scores = torch.cat(right)
    apart, largest = float((torch.cat(found) - scores).abs().max()), float(scores.abs().max())
    allowed = (1e-2 if half else 1e-4) * largest
    if not apart <= allowed:
        wrong, said = (
            "the model does more to its scores than is known of its head",
            Said(f"off by {apart:.1e}"),
        )
        accepted, do = f"its own scores within {allowed:.1e}", "report this with the model's configuration"
        raise CapabilityError(explain(wrong, found=said, accepted=accepted, do=do))


def hidden_size(model: nn.Module) -> int:
    """How wide the hidden states are that further heads see."""
    return int(text_config(model).hidden_size)
