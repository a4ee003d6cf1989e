"""Start an engine: choose the layout that is right for a model, and say why.

The forest is tried first; what objects to it, or a trial that fails, sends the model to rows, with the reason.
Rows are tried too: a model whose rows are not its own logits is refused, for nothing right could be computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from concord.engine.guards import objections
from concord.engine.logprobs import LogProbs
from concord.engine.model import text_config
from concord.engine.probe import Trial, try_out
from concord.engine.switch import switch
from concord.errors import CapabilityError, Said, explain

__all__ = ["Started", "start"]

Choice = Literal["auto", "forest", "rows"]


@dataclass(frozen=True)
class Started:
    """An engine with the trial it passed, and what spoke against the forest, if anything did."""

    engine: LogProbs
    trial: Trial
    refused: tuple[str, ...] = ()

    @property
    def lines(self) -> Iterator[str]:
        """What a person should know, a line each."""
        trial = self.trial
        yield f"layout: {self.engine.layout}"
        for reason in self.refused:
            yield f"not the forest: {reason}"
        yield (
            f"trial: log-probabilities within {trial.values:.1e} nats, gradients within {trial.gradients:.1e} of "
            f"the model's own on {trial.tokens} tokens (allowed {trial.tolerance:.1e}; its noise {trial.noise:.1e})"
        )


def start(model: nn.Module, *, layout: Choice = "auto", longest: int = 0, chunk: int = 0) -> Started:
    """Make an engine of a model. `longest` is the longest sequence there will be, 0 if not known."""
    own = getattr(text_config(model), "_attn_implementation", None) or "eager"
    refused: list[str] = []
    if layout != "rows":
        refused += objections(model)
        if not refused:
            engine = LogProbs(model, layout="forest", chunk=chunk)
            try:
                trial = try_out(engine, longest=longest)
            except CapabilityError as error:
                refused.append(str(error))
            else:
                if trial.passed:
                    return Started(engine, trial)
                refused.append(_failed(trial))
        switch(model, own)
        if layout == "forest":
            wrong, accepted = "the forest is not right for this model", "a model whose attention it can stand in for"
            raise CapabilityError(
                explain(wrong, found=Said("; ".join(refused)), accepted=accepted, do="leave the layout out")
            )
    engine = LogProbs(model, layout="rows", chunk=chunk)
    trial = try_out(engine, longest=longest)
    if not trial.passed:
        wrong, accepted = "what is computed for this model is not what it computes itself", "equal log-probabilities"
        do = "report this with the model's configuration"
        raise CapabilityError(explain(wrong, found=Said(_failed(trial)), accepted=accepted, do=do))
    return Started(engine, trial, tuple(refused))


def _failed(trial: Trial) -> str:
    return (
        f"on trial its log-probabilities were off by {trial.values:.1e} nats and its gradients by "
        f"{trial.gradients:.1e}, where {trial.tolerance:.1e} is allowed"
    )
