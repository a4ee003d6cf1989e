"""Start an engine: choose the layout that is right for a model, and say why.

The forest is tried first; what objects to it, or a trial that fails, sends the model to rows, with the
reason. Rows are tried too: a model whose rows are not its own logits is refused, for nothing right could be
computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from concord.engine.attention import NAME
from concord.engine.guards import impossible, limits, objections
from concord.engine.logprobs import LogProbs
from concord.engine.precision import Stilled, still
from concord.engine.probe import Trial, try_out
from concord.engine.switch import kernel, switch
from concord.errors import CapabilityError, InputError, Said, explain

__all__ = ["Choice", "Started", "start"]

Choice: TypeAlias = Literal["auto", "forest", "rows"]


@dataclass(frozen=True)
class Started:
    """An engine with the trial it passed, and what spoke against the forest, if anything did."""

    engine: LogProbs
    trial: Trial
    refused: tuple[str, ...] = ()
    stilled: Stilled = field(default_factory=lambda: Stilled(()))
    """The dropout that was set to zero, which `restore` gives back to a model that is exported."""

    @property
    def lines(self) -> Iterator[str]:
        """What a person should know, a line each."""
        yield f"layout: {self.engine.layout}"
        for reason in self.refused:
            yield f"not the forest: {reason}"
        yield f"trial: {self.trial.line}"
        if self.stilled.largest:
            yield f"dropout: set to zero (it was up to {self.stilled.largest:g})"


def start(
    model: nn.Module, *, layout: Choice = "auto", longest: int = 0, tokens: int = 0, chunk: int = 0
) -> Started:
    """Make an engine of a model.

    `longest` is the longest sequence there will be, `tokens` the size of the largest forest: the trial
    reaches as far, and what is larger is refused. With 0 for not known, the trial reaches some thousand
    tokens, and speaks for no more. A model that is refused is left as it came.
    """
    _check_asked(layout, longest, tokens)
    if reasons := list(impossible(model)):
        raise _refusal(
            "no layout is right for this model", reasons, "a causal language model", "use another model"
        )
    came, modes = kernel(model), [(module, module.training) for module in model.modules()]
    stilled = still(model)
    # A model that was an engine before is compared with the kernel that transformers would take.
    own = None if came == NAME else came
    try:
        chosen, refused = _chosen(model, layout, _Terms(chunk, longest, tokens, own))
    except BaseException:
        stilled.restore()
        switch(model, came)
        for module, mode in modes:
            module.training = mode
        raise
    return Started(*chosen, tuple(refused), stilled)


def _check_asked(layout: str, longest: int, tokens: int) -> None:
    """Refuse what no engine can be started for."""
    do = "leave it out where it is not known"
    if layout not in get_args(Choice):
        raise InputError(
            explain("there is no such layout", found=layout, accepted="auto, forest or rows", do=do)
        )
    if longest < 0 or longest == 1:
        wrong, accepted = "sequences of this length have nothing to predict", "2 or more, 0 for not known"
        raise InputError(explain(wrong, found=longest, accepted=accepted, do=do))
    if tokens < 0:
        wrong, accepted = "the size of a forest is below zero", "a count of tokens, 0 for not known"
        raise InputError(explain(wrong, found=tokens, accepted=accepted, do=do))


@dataclass(frozen=True)
class _Terms:
    """What an engine is to be started with, and the kernel its model came with."""

    chunk: int
    longest: int
    tokens: int
    own: str | None


_Tried: TypeAlias = tuple[LogProbs, Trial]


def _chosen(model: nn.Module, layout: Choice, terms: _Terms) -> tuple[_Tried, list[str]]:
    """The engine of the first layout that passes, and what spoke against the forest."""
    refused: list[str] = []
    if layout != "rows":
        refused += objections(model, longest=terms.longest)
        if not refused:
            found = _tried(model, "forest", terms)
            if not isinstance(found, str):
                return found, refused
            refused.append(found)
            switch(model, terms.own)
        if layout == "forest":
            accepted = "a model whose attention it can stand in for"
            raise _refusal(
                "the forest is not right for this model", refused, accepted, "leave the layout out"
            )
    found = _tried(model, "rows", terms)
    if isinstance(found, str):
        wrong = "what is computed for this model is not what it computes itself"
        do = "report this with the model's configuration"
        raise _refusal(wrong, [found], "equal log-probabilities", do)
    return found, refused


def _tried(model: nn.Module, layout: Literal["forest", "rows"], terms: _Terms) -> _Tried | str:
    """An engine with the trial it passed, or the reason why there is none."""
    longest, tokens = terms.longest, terms.tokens
    try:
        engine = LogProbs(model, layout=layout, chunk=terms.chunk)
        trial = try_out(engine, longest=longest, tokens=tokens, own=terms.own)
    except (InputError, torch.OutOfMemoryError):
        raise
    except CapabilityError as error:
        # What is accepted, and what to do, is said for the whole.
        return str(error).partition("; accepted:")[0]
    except Exception as error:  # whatever a model that does not fit may raise is a reason, and is said
        return f"its trial failed: {type(error).__name__}: {error}"
    engine.limits = limits(model, longest=longest, tokens=tokens)
    return (engine, trial) if trial.passed else f"on trial it was off: {trial.line}"


def _refusal(wrong: str, reasons: list[str], accepted: str, do: str) -> CapabilityError:
    return CapabilityError(explain(wrong, found=Said("; ".join(reasons)), accepted=accepted, do=do))
