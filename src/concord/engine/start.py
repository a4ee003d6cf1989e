"""Start an engine: choose the layout that is right for a model, and say why.

The forest is tried first; what objects to it, or a trial that fails, sends the model to rows, with the
reason. Rows are tried too: a model whose rows are not its own logits is refused, for nothing right could be
computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import nn

from concord.engine.guards import impossible, limits, objections
from concord.engine.logprobs import LogProbs
from concord.engine.precision import Stilled, still
from concord.engine.probe import Trial, try_out
from concord.engine.switch import kernel, switch
from concord.errors import CapabilityError, Said, explain

__all__ = ["Choice", "Started", "start"]

Choice: TypeAlias = Literal["auto", "forest", "rows"]


@dataclass(frozen=True)
class Started:
    """An engine with the trial it passed, and what spoke against the forest, if anything did."""

    engine: LogProbs
    trial: Trial
    refused: tuple[str, ...] = ()
    stilled: Stilled = Stilled(())
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


def start(model: nn.Module, *, layout: Choice = "auto", longest: int = 0, chunk: int = 0) -> Started:
    """Make an engine of a model. `longest` is the longest sequence there will be, 0 if not known."""
    if reasons := list(impossible(model)):
        raise _refusal(
            "no layout is right for this model", reasons, "a causal language model", "use another model"
        )
    own, stilled = kernel(model), still(model)
    refused: list[str] = []
    if layout != "rows":
        refused += objections(model, longest=longest)
        if not refused:
            engine, trial, reason = _tried(model, "forest", chunk, longest, own)
            if engine is not None and trial is not None:
                return Started(engine, trial, (), stilled)
            refused.append(reason)
            switch(model, own)
        if layout == "forest":
            accepted = "a model whose attention it can stand in for"
            raise _refusal(
                "the forest is not right for this model", refused, accepted, "leave the layout out"
            )
    engine, trial, reason = _tried(model, "rows", chunk, longest, own)
    if engine is None or trial is None:
        wrong = "what is computed for this model is not what it computes itself"
        raise _refusal(
            wrong, [reason], "equal log-probabilities", "report this with the model's configuration"
        )
    return Started(engine, trial, tuple(refused), stilled)


def _tried(
    model: nn.Module, layout: Literal["forest", "rows"], chunk: int, longest: int, own: str | None
) -> tuple[LogProbs | None, Trial | None, str]:
    """An engine with the trial it passed, or the reason why there is none."""
    try:
        engine = LogProbs(model, layout=layout, chunk=chunk)
        trial = try_out(engine, longest=longest, own=own)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model that does not fit may raise is a reason, and is said
        return None, None, f"its trial failed: {type(error).__name__}: {error}"
    engine.limits = limits(model, longest=longest)
    return (engine, trial, "") if trial.passed else (None, None, f"on trial it was off: {trial.line}")


def _refusal(wrong: str, reasons: list[str], accepted: str, do: str) -> CapabilityError:
    return CapabilityError(explain(wrong, found=Said("; ".join(reasons)), accepted=accepted, do=do))
