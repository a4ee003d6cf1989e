"""What a server is capable of besides answering, found out by trying it with a token each."""

from concord.errors import UnavailableError
from concord.messages import Prompt, as_prompt, as_turns
from concord.policies.calls import Caller, Heard
from concord.policies.readings import Malformed, replies_of, scored
from concord.policies.troubles import Refusal
from concord.policies.wires import echo_of, request_of, route_of
from concord.seam import Ask, Capability, Reply, Sampling

__all__ = ["found_out"]

_UNTOLD = (401, 402, 429)  # refusals that say nothing of what a server can do
_CHAT = as_prompt("Say yes.")
_TEXT = Prompt(as_turns("The sky is", role="user"), plain=True)


async def found_out(caller: Caller) -> Capability:
    """Try log-probabilities and echoing; raises UnavailableError where nobody answers.

    LP: alternatives are reported with a chat, or there is no chat and they are reported with a text. SCORE: a
    text is echoed with the log-probabilities of what was sent.
    """
    able = Capability.API
    for prompt in (_CHAT, _TEXT):
        ask = Ask(prompt, sampling=Sampling(max_tokens=1, top_logps=1))
        tried = await caller.post(route_of(prompt), request_of(ask), trial=True)
        if isinstance(tried, Heard):
            able |= Capability.LP if _reported(tried, ask) else able
            break
        _raise_untold(tried)
    else:
        # Neither way leads anywhere, which is hardly for want of log-probabilities.
        ask = Ask(_CHAT, sampling=Sampling(max_tokens=1))
        plainly = await caller.post(route_of(_CHAT), request_of(ask))
        if isinstance(plainly, Refusal):
            raise UnavailableError(plainly.reason)
    return able | await _echoing(caller)


async def _echoing(caller: Caller) -> Capability:
    ask = Ask(_TEXT, given=(as_turns(" blue"),))
    body, before, reply = echo_of(ask, ask.given[0])
    tried = await caller.post("completions", body, trial=True)
    if isinstance(tried, Refusal):
        _raise_untold(tried)
        return Capability(0)
    try:
        scored(tried.data, ask, ask.given[0], before=before, reply=reply)
    except Malformed:
        return Capability(0)
    return Capability.SCORE


def _reported(heard: Heard, ask: Ask) -> bool:
    """Whether an answer has the log-probabilities that were asked for."""
    try:
        return all(isinstance(one, Reply) for one in replies_of(heard.data, ask, wanted=1))
    except Malformed:
        return False


def _raise_untold(refusal: Refusal) -> None:
    """A server that answers nothing at all has shown nothing; one that breaks off at a trial has."""
    if refusal.status in _UNTOLD or (refusal.fatal and not refusal.status):
        raise UnavailableError(refusal.reason)
