"""Further heads on hidden states: values, rewards, steps.

Each is one linear map to one number, in float32. A value head stands beside the head of a policy and gives
the value of the state before each predicted token. A reward head scores the last token of a reply, a step
head the last token of each step: places that a line marks, found by position, never by looking for a
padding token (which may stand inside a reply). Rewards are stored as transformers stores them, so a
checkpoint goes both ways.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from concord.engine import guards
from concord.engine.attention import NAME
from concord.engine.flex import BLOCK
from concord.engine.forest import plant
from concord.engine.logprobs import Layout, hidden_states
from concord.engine.model import body, causal, text_config
from concord.engine.rows import stack
from concord.engine.switch import switch
from concord.engine.targets import Line
from concord.errors import CapabilityError, InputError, Said, explain

__all__ = ["RewardHead", "ScalarHead", "Scores", "StepHead", "ValueHead", "hidden_size", "mark_last"]


class ScalarHead(nn.Module):
    """One number for each hidden state, in float32 whatever the states are."""

    at: ClassVar[Literal["targets", "marks"]] = "targets"

    def __init__(self, size: int, *, bias: bool = False) -> None:
        """Begin at zero: the first values are 0, and the first step decides."""
        super().__init__()
        self.score = nn.Linear(size, 1, bias=bias)
        nn.init.zeros_(self.score.weight)

    def forward(self, states: Tensor) -> Tensor:
        """One number for each state."""
        with torch.autocast(states.device.type, enabled=False):
            bias = None if self.score.bias is None else self.score.bias.float()
            return nn.functional.linear(states.float(), self.score.weight.float(), bias)[:, 0]

    def save(self, folder: Path) -> Path:
        """Write the head as `head.safetensors`, under the names that transformers gives it; returns the
        file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "head.safetensors"
        save_file(
            {name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}, file
        )
        return file

    def load(self, file: Path) -> None:
        """Take the head out of a file of safetensors, which may hold a whole model."""
        found = {name: weight for name, weight in load_file(file).items() if name.startswith("score.")}
        held = {name: list(weight.shape) for name, weight in self.state_dict().items()}
        given = {name: list(weight.shape) for name, weight in found.items()}
        if given != held:
            wrong = f"{file} does not hold this head"
            do = "save it with `save`, or with transformers as a sequence classifier of one label"
            raise InputError(explain(wrong, found=Said(str(given)), accepted=str(held), do=do))
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


def mark_last(lines: Sequence[Line]) -> list[Line]:
    """The same lines with their last tokens marked: where a reward model looks."""
    if empty := [number for number, line in enumerate(lines) if not len(line.ids)]:
        wrong, accepted = "a reply without tokens cannot be scored", "at least one token a line"
        raise InputError(explain(wrong, found=Said(f"lines {empty}"), accepted=accepted, do="leave it out"))
    return [replace(line, marks=np.array([len(line.ids) - 1])) for line in lines]


class Scores(nn.Module):
    """A sequence classifier of one label (`AutoModelForSequenceClassification`), as the scores of marked
    tokens."""

    def __init__(self, model: nn.Module, *, layout: Literal["forest", "rows"] = "forest") -> None:
        """Take a model as it is, with the head it came with."""
        super().__init__()
        self.model = model
        self.layout = layout
        self.limits = guards.limits(model)
        _score_of(model)
        if layout == "forest":
            if reasons := [*guards.objections(model)]:
                wrong, accepted = (
                    "the forest is not right for this model",
                    "a model whose attention it stands in for",
                )
                found = Said("; ".join(reasons))
                raise CapabilityError(
                    explain(wrong, found=found, accepted=accepted, do="use the rows layout")
                )
            switch(model, NAME)

    def lay(self, lines: Sequence[Line]) -> Layout:
        """Lay marked sequences out as this model takes them."""
        if self.layout == "forest":
            on_cpu = next(self.model.parameters()).device.type == "cpu"
            return plant(lines, multiple=1 if on_cpu else BLOCK)
        return stack(lines, thresholds=self.limits.thresholds)

    def forward(self, *, layout: Layout) -> Tensor:
        """One number for each mark, in the order of the lines."""
        self.limits.check(layout)
        marks = layout.targets.marks
        if marks is None:
            wrong, found = "no token is marked to be scored", Said("lines without marks")
            do = "mark the last token of each reply (`mark_last`), or the ends of its steps"
            raise InputError(explain(wrong, found=found, accepted="lines with `marks`", do=do))
        scores: Tensor = _score_of(self.model)(hidden_states(self.model, layout)[marks])
        return scores[:, 0].float()


_NAMES = ("score", "classifier")


def _score_of(model: nn.Module) -> Any:
    """The head of a sequence classifier, if it gives one number."""
    inner = causal(model)
    found = next((head for name in _NAMES if isinstance(head := getattr(inner, name, None), nn.Module)), None)
    labels = int(getattr(inner.config, "num_labels", 0) or 0)
    if found is None or labels != 1 or not isinstance(body(model), nn.Module):
        wrong = "this is no reward model"
        said = Said(f"{type(inner).__name__} with {labels} labels")
        do = "load it with AutoModelForSequenceClassification and num_labels=1"
        raise CapabilityError(
            explain(wrong, found=said, accepted="a sequence classifier of one label", do=do)
        )
    return found


def hidden_size(model: nn.Module) -> int:
    """How wide the hidden states are that further heads see."""
    return int(text_config(model).hidden_size)
