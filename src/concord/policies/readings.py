"""Answers of the OpenAI protocol as replies: choices, tool calls, log-probabilities, and what was echoed.

What does not say what a reply has to is `Malformed`, with the reason; nothing is made up in its place.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ValidationError

from concord.errors import Said, explain
from concord.messages import JSON, Message, ToolCall, Turns
from concord.results import Usage
from concord.seam import Ask, Capability, Finish, Reply, Unanswered

__all__ = ["Malformed", "Weighed", "replies_of", "scored", "shared", "usage_of"]

_Model = TypeVar("_Model", bound=BaseModel)
Weighed: TypeAlias = tuple[tuple[float, ...], tuple[tuple[tuple[str, float], ...], ...]]
"""Log-probabilities of tokens, and the alternatives at each."""

_FINISHES = {
    "stop": Finish.STOP,
    "eos": Finish.STOP,
    "eos_token": Finish.STOP,
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "tool_calls": Finish.TOOL,
    "tool_use": Finish.TOOL,
    "function_call": Finish.TOOL,
    "content_filter": Finish.FILTERED,
    "refusal": Finish.FILTERED,
    "safety": Finish.FILTERED,
}


class Malformed(Exception):
    """An answer that cannot be read as what was asked for, and why."""


class _Function(BaseModel):
    name: str
    arguments: str | dict[str, Any] = "{}"


class _Call(BaseModel):
    id: str | None = None
    function: _Function


class _TextPart(BaseModel):
    text: str


class _Said(BaseModel):
    content: str | list[_TextPart] | None = None
    refusal: str | None = None
    # Not of the protocol, so that what is no text under these names is something else.
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Alternative(BaseModel):
    token: str
    logprob: float


class _Token(_Alternative):
    top_logprobs: list[_Alternative] | None = None


class _Logprobs(BaseModel):
    """Both forms: a list of tokens (chat), and lists side by side (completions)."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(BaseModel):
    index: int | None = None
    finish_reason: str | None = None
    message: _Said | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None


class _Choices(BaseModel):
    choices: list[Any]


class _Counts(BaseModel):
    prompt_tokens: int
    completion_tokens: int = 0


class _Counted(BaseModel):
    usage: _Counts


def _read(cls: type[_Model], data: object) -> _Model:
    try:
        return cls.model_validate(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        wrong, do = "an answer of an endpoint cannot be read", "look whether the address is that of a model"
        found = Said(f"{place}: {first['msg']}")
        raise Malformed(explain(wrong, found=found, accepted="the OpenAI protocol", do=do)) from error


def usage_of(data: Mapping[str, Any]) -> tuple[int, int] | None:
    """How many tokens prompt and replies of an answer have; None where it does not say."""
    try:
        counts = _read(_Counted, data).usage
    except Malformed:
        return None
    prompt, new = counts.prompt_tokens, counts.completion_tokens
    return (prompt, new) if prompt >= 0 and new >= 0 else None


def replies_of(data: Mapping[str, Any], ask: Ask, *, wanted: int) -> list[Reply | Unanswered]:
    """A reply for each choice, or why it is none; in the order of their indices, no more than are wanted."""
    choices = _read(_Choices, data).choices
    if not choices:
        raise Malformed(_unread("an answer without a choice", "a choice for each reply"))
    entries: list[tuple[int, Reply | Unanswered]] = []
    for place, choice in enumerate(choices):
        try:
            read = _read(_Choice, choice)
            entries.append((place if read.index is None else read.index, _reply(read, ask)))
        except Malformed as error:
            entries.append((place, Unanswered(str(error))))
    return [entry for _, entry in sorted(entries, key=lambda one: one[0])][:wanted]


def _reply(choice: _Choice, ask: Ask) -> Reply:
    said = choice.message or _Said(content=choice.text)
    if choice.message is None and choice.text is None:
        raise Malformed(_unread("a choice without a message", "a message, or a text"))
    finish = _FINISHES.get(choice.finish_reason or "")
    if said.refusal:
        finish = Finish.FILTERED
    elif finish is None:
        found = f"the reason {choice.finish_reason!r} for the end of a reply"
        raise Malformed(_unread(found, ", ".join(_FINISHES)))
    text = said.content if isinstance(said.content, str) else "".join(one.text for one in said.content or ())
    called = [*(said.tool_calls or ()), *([_Call(function=said.function_call)] if said.function_call else ())]
    calls = tuple(ToolCall(call.function.name, _arguments(call), id=call.id) for call in called)
    thinking = next(
        (one for one in (said.reasoning_content, said.reasoning) if one and isinstance(one, str)), None
    )
    spoken = said.refusal if said.refusal and not text else text
    message = Message("assistant", spoken, reasoning=thinking, tool_calls=calls)
    # Some servers stop at a call and say no more than that they stopped.
    finish = Finish.TOOL if calls and finish is Finish.STOP else finish
    reply = Reply(message, finish=finish)
    if Capability.LP not in ask.needs or finish is Finish.FILTERED or (calls and choice.logprobs is None):
        return reply
    logps, top = _weighed(choice.logprobs)
    sampling = ask.sampling
    own = sampling.temperature == 1 and sampling.top_p == 1 and sampling.top_k is None
    # Only there is the distribution that was sampled from the model's own, which is what servers report.
    return replace(reply, logps=logps if own else None, top=_cut(top, sampling.top_logps))


def _unread(found: str, accepted: str) -> str:
    wrong, do = "an answer of an endpoint cannot be read", "look whether the address is that of a model"
    return explain(wrong, found=Said(found), accepted=accepted, do=do)


def _arguments(call: _Call) -> Mapping[str, JSON] | str:
    """The arguments of a call, parsed; as the text that they are, where that fails."""
    given = call.function.arguments
    if isinstance(given, dict):
        return given
    try:
        parsed: object = json.loads(given or "{}")
    except (ValueError, RecursionError):
        return given
    return cast("dict[str, JSON]", parsed) if isinstance(parsed, dict) else given


# --- log-probabilities ------------------------------------------------------------------------------------


def _weighed(found: _Logprobs | None) -> Weighed:
    """Log-probabilities in either form."""
    if found is not None and found.content is not None:
        logps = [token.logprob for token in found.content]
        tops = [[(one.token, one.logprob) for one in token.top_logprobs or ()] for token in found.content]
    elif found is not None and found.tokens is not None and found.token_logprobs is not None:
        logps = [math.nan if one is None else one for one in found.token_logprobs]
        tops = _listed(found)
    else:
        raise Malformed(_unread("no log-probabilities, which were asked for", "a server that reports them"))
    return _sound(logps, tops)


def _listed(found: _Logprobs) -> list[list[tuple[str, float]]]:
    tops = found.top_logprobs or [None] * len(found.tokens or ())
    return [list((one or {}).items()) for one in tops]


def _sound(logps: Sequence[float], tops: Sequence[Sequence[tuple[str, float]]]) -> Weighed:
    """Likeliest first; refuses what is no log-probability."""
    values = [*logps, *(logp for top in tops for _, logp in top)]
    if len(tops) != len(logps) or any(math.isnan(one) or one > 1e-3 for one in values):
        raise Malformed(_unread("log-probabilities that are none", "a number of 0 or below for each token"))
    ordered = [tuple(sorted(top, key=lambda one: -one[1])) for top in tops]
    # Rounding may leave a sure token a hair above certainty.
    return tuple(min(0.0, one) for one in logps), tuple(ordered)


def _cut(
    tops: tuple[tuple[tuple[str, float], ...], ...], count: int
) -> tuple[tuple[tuple[str, float], ...], ...] | None:
    """As many alternatives as were asked for: servers add the token itself where it is not among them."""
    if not count:
        return None
    if not all(tops):
        raise Malformed(_unread("no alternatives, which were asked for", "a server that reports them"))
    return tuple(top[:count] for top in tops)


def scored(data: Mapping[str, Any], ask: Ask, turns: Turns, *, before: str, reply: str) -> Reply:
    """What an echoed prompt with a reply behind it says of the tokens of the reply.

    The prompt has to end where a token does. What ends a text is not echoed, so the end of a reply is not
    scored. Its tokens are those of the text as the server splits it behind the prompt.
    """
    choices = _read(_Choices, data).choices
    found = _read(_Choice, choices[0] if choices else None).logprobs
    if found is None or found.tokens is None or found.token_logprobs is None:
        raise Malformed(_unread("no log-probabilities of what was sent", "a server that echoes"))
    start = _behind(found.tokens, before)
    end = _until(found.tokens, start, reply, usage_of(data))
    tops = _listed(found)
    if not len(found.tokens) == len(found.token_logprobs) == len(tops):
        raise Malformed(_unread("lists of other lengths", "one entry for each token"))
    values = [math.nan if one is None else one for one in found.token_logprobs[start:end]]
    logps, top = _sound(values, tops[start:end])
    return Reply(turns[-1], logps=logps, top=_cut(top, ask.sampling.top_logps))


def _behind(tokens: Sequence[str], before: str) -> int:
    """How many tokens spell the prompt, with at most two before it that open every text."""
    for opening in range(3):
        ends = accumulate((len(token) for token in tokens[opening:]), initial=0)
        for count, end in enumerate(ends):
            if end >= len(before):
                if "".join(tokens[opening : opening + count]) == before:
                    return opening + count
                break
    wrong, found = "the prompt does not end where a token of the server does", before[-20:]
    accepted, do = "a prompt whose last token is not joined with the reply", "begin the reply with the blank"
    raise Malformed(explain(wrong, found=found, accepted=accepted, do=do))


def _until(tokens: Sequence[str], start: int, reply: str, counted: tuple[int, int] | None) -> int:
    """Where the reply ends: before what was drawn, as the server counts it, else one token or none."""
    drawn = () if counted is None else (counted[1],)
    for end in (len(tokens) - count for count in (*drawn, 1, 0)):
        spelled = "".join(tokens[start:end])
        # Where a character has several tokens, none of them spells it, and the server's count alone speaks.
        odd = bool(drawn) and ("\ufffd" in spelled or "bytes:" in spelled)
        if spelled == reply or odd:
            return end
    found = f"the echo {''.join(tokens[start:])!r} of {reply!r}"
    raise Malformed(_unread(found, "the text as it was sent"))


# --- what it cost -----------------------------------------------------------------------------------------


def shared(entries: Sequence[Reply | Unanswered], usage: Usage) -> list[Reply | Unanswered]:
    """The entries with what their request cost, so that it adds up over them.

    New tokens are known of all together only, and go by the lengths of the replies; all else stands on the
    first.
    """
    sizes = [1 + (_length(one) if isinstance(one, Reply) else 0) for one in entries]
    total = sum(sizes)
    ends = [round(usage.new_tokens * size / total) for size in accumulate(sizes, initial=0)]
    out: list[Reply | Unanswered] = []
    for place, entry in enumerate(entries):
        opening = Usage() if place else replace(usage, new_tokens=0)
        out.append(replace(entry, usage=opening + Usage(new_tokens=ends[place + 1] - ends[place])))
    return out


def _length(reply: Reply) -> int:
    said = (
        reply.message.reasoning or "",
        reply.text,
        *(str(call.arguments) for call in reply.message.tool_calls),
    )
    return sum(map(len, said))
