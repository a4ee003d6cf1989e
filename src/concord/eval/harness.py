"""Any policy as a model of lm-evaluation-harness: its tasks, asked of local weights and of endpoints.

    from lm_eval import simple_evaluate
    simple_evaluate(model=harness_model(policy), tasks=["arc_easy"])

The harness (EleutherAI; `pip install lm-eval`, tried with 0.4.13) is imported when a model is made, and not
before. Its contexts are continued as they stand; with `apply_chat_template=True` they are the messages of a
chat, which the policy renders itself. The harness has no word for a failure: where an answer is missing the
evaluation ends with the reason, and no number is made up.
"""

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import Any, cast

from concord.errors import (
    CapabilityError,
    InputError,
    Said,
    UnansweredError,
    UnavailableError,
    explain,
    nearest,
)
from concord.types import (
    Ask,
    Capability,
    Message,
    Policy,
    Prompt,
    Reply,
    Sampling,
    Unanswered,
    as_turns,
)

__all__ = ["HarnessModel", "harness_model"]

_CHAT = "concord chat: "  # opens a context that is messages, written as JSON
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_KNOWN = ("until", "do_sample", "temperature", "top_p", "top_k", *_LENGTHS)
_SURE = 1e-6  # how much less than the likeliest token a token that ties with it may have


def harness_model(policy: Policy, *, max_tokens: int = 256) -> Any:
    """The policy as an `lm_eval.api.model.LM`, which `simple_evaluate(model=...)` takes.

    max_tokens: of a reply, where a task does not say
    """
    try:
        base = importlib.import_module("lm_eval.api.model").LM
    except ImportError as error:
        wrong, accepted = "lm-evaluation-harness is not installed", "lm-eval 0.4 or newer"
        raise UnavailableError(
            explain(wrong, found=Said(str(error)), accepted=accepted, do="pip install lm-eval")
        ) from error
    made: Any = type("ConcordModel", (HarnessModel, base), {})
    return made(policy, max_tokens=max_tokens)


class HarnessModel:
    """What the harness asks of a model, asked of a policy. `harness_model` makes it one of the harness's own.

    Log-probabilities are those of a continuation alone: what a policy adds for the end of a reply is found
    out by a trial, and taken off. Whether greedy decoding would say a continuation needs the likeliest
    alternatives (LP); a policy without them is taken never to say it, which tasks that score by it show.
    """

    def __init__(self, policy: Policy, *, max_tokens: int = 256) -> None:
        super().__init__()
        self.policy, self.max_tokens = policy, max_tokens
        self._ends: dict[bool, int | None] = {}

    @property
    def tokenizer_name(self) -> str:
        """Who answers; the harness keeps requests by it."""
        return self.policy.id

    def chat_template(self, chat_template: bool | str = False) -> str:
        """What the harness writes down of the template, which is the policy's own."""
        return f"that of {self.policy.id}" if chat_template else ""

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """The messages as a context; whether the last one is to be gone on with shows in who says it."""
        del add_generation_prompt
        return _CHAT + json.dumps([dict(one) for one in chat_history])

    # --- likelihoods --------------------------------------------------------------------------------------

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-probability of each continuation, and whether greedy decoding would say it."""
        del disable_tqdm
        pairs = [_parted(str(one.args[0]), str(one.args[1])) for one in requests]
        return [(fsum(logps), greedy) for logps, greedy in self._weighed(pairs)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text from its beginning on, as far as the policy's context goes."""
        del disable_tqdm
        return [fsum(logps) for logps, _ in self._weighed([("", str(one.args[0])) for one in requests])]

    def _weighed(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[tuple[float, ...], bool]]:
        """Continuations with one context are asked about together, so that it is read once."""
        if Capability.SCORE not in self.policy.capabilities:
            wrong, accepted = "the policy does not say how likely given texts are", "the capability SCORE"
            do, who = (
                "take tasks that generate, a local model, or an endpoint that echoes",
                Said(self.policy.id),
            )
            raise CapabilityError(explain(wrong, found=who, accepted=accepted, do=do))
        told = Sampling(top_logps=1) if Capability.LP in self.policy.capabilities else Sampling()
        by: dict[str, list[int]] = {}
        for place, (context, _) in enumerate(pairs):
            by.setdefault(context, []).append(place)
        asks = [
            Ask(_prompt(context), given=tuple(as_turns(pairs[at][1]) for at in places), sampling=told)
            for context, places in by.items()
        ]
        found: list[tuple[tuple[float, ...], bool]] = [((), False)] * len(pairs)
        answers = self.policy.answer(asks) if asks else ()
        for (context, places), answer in zip(by.items(), answers, strict=True):
            end = self._end(chat=context.startswith(_CHAT))
            for at, reply in zip(places, answer, strict=True):
                found[at] = _read(reply, end)
        return found

    def _end(self, *, chat: bool) -> int | None:
        """The token that this policy puts at the end of a given reply, as one that says nothing shows."""
        if chat not in self._ends:
            prompt = Prompt((Message("user", "Say yes."),), plain=not chat)
            ((reply,),) = self.policy.answer([Ask(prompt, given=(as_turns(""),))])
            tokens = reply.tokens if isinstance(reply, Reply) else None
            self._ends[chat] = tokens[-1] if tokens else None
        return self._ends[chat]

    # --- replies ------------------------------------------------------------------------------------------

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The reply to each context, up to what a task says ends it."""
        del disable_tqdm
        asks = [Ask(_prompt(str(one.args[0])), sampling=self._sampling(one.args[1])) for one in requests]
        answers = self.policy.answer(asks) if asks else ()
        return [_came(answer[0]).text for answer in answers]

    def _sampling(self, settings: Mapping[str, Any]) -> Sampling:
        """How a task wants a reply drawn: greedily, unless it says that it samples."""
        if odd := [name for name in settings if name not in _KNOWN]:
            wrong, do = "a task sets what a policy is not told", "leave it out of gen_kwargs"
            raise InputError(explain(wrong, found=odd[0], accepted=nearest(odd[0], _KNOWN), do=do))
        until = settings.get("until") or ()
        lengths = [int(settings[name]) for name in _LENGTHS if settings.get(name) is not None]
        given = settings.get("temperature")
        sampled = bool(settings.get("do_sample", bool(given)))
        top_p, top_k = settings.get("top_p"), settings.get("top_k")
        return Sampling(
            temperature=(1.0 if given is None else float(given)) if sampled else 0.0,
            top_p=1.0 if top_p is None else float(top_p),
            top_k=int(top_k) if top_k else None,
            max_tokens=lengths[0] if lengths else self.max_tokens,
            stop=tuple(one for one in ([until] if isinstance(until, str) else until) if one),
        )


def _parted(context: str, continuation: str) -> tuple[str, str]:
    """A context without the blanks at its end, which begin the continuation: tokens open with a blank."""
    bare = context if context.startswith(_CHAT) else context.rstrip()
    return bare, context[len(bare) :] + continuation


def _prompt(context: str) -> Prompt:
    """A context as it stands, or the messages that it is."""
    if context.startswith(_CHAT):
        said = cast("Iterable[Mapping[str, Any]]", json.loads(context.removeprefix(_CHAT)))
        return Prompt(tuple(Message(one["role"], one["content"]) for one in said))
    return Prompt((Message("user", context),), plain=True)


def _came(answer: Reply | Unanswered) -> Reply:
    if isinstance(answer, Unanswered):
        wrong, accepted = (
            "a request of the harness got no answer",
            "an answer to each, as it counts no failures",
        )
        do = "mend what is wrong, or leave the task or its longest rows out"
        raise UnansweredError(explain(wrong, found=Said(answer.reason), accepted=accepted, do=do))
    return answer


def _read(answer: Reply | Unanswered, end: int | None) -> tuple[tuple[float, ...], bool]:
    """The log-probabilities of a continuation without its end, and whether each token is the likeliest."""
    reply = _came(answer)
    logps, tokens, top = reply.logps or (), reply.tokens, reply.top
    if end is not None and tokens and tokens[-1] == end:
        logps = logps[:-1]
    likeliest = [one[0][1] for one in top or () if one]
    greedy = len(likeliest) >= len(logps) and all(
        logp >= best - _SURE for logp, best in zip(logps, likeliest, strict=False)
    )
    return logps, greedy
