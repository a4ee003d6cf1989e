"""What an endpoint says when it does not answer, in words of what to do about it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from concord.errors import Said, explain, nearest
from concord.policies.patience import RETRIED
from concord.policies.service import Service
from concord.results import Usage

__all__ = ["FATAL", "Refusal", "broken_off", "forbidden", "refused", "unreachable", "unserved"]

FATAL = frozenset({301, 302, 303, 307, 308, 401, 402, 404, 405})
"""The statuses that every further request would get too, so that none is sent."""

_FILTERED = re.compile("content_filter|content_policy|moderation|safety_violation")
_LONGEST = 180  # characters of what a server says that a message repeats
_LATER = "try again later: what was answered is kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request brought no reply, and what it cost all the same."""

    reason: str
    status: int = 0
    """0 where there was none."""
    said: str = ""
    """What the server said about it."""
    again: bool = False
    """Another try may bring what this one did not."""
    fatal: bool = False
    """Every other request would bring no reply either."""
    tried: int = 1
    """How often it was tried before it was given up."""
    filtered: bool = False
    """It was the prompt that the server would not answer."""
    usage: Usage = field(default_factory=Usage)


def refused(status: int, body: str, service: Service, *, moved: str = "") -> Refusal:
    """What a status and the body that came with it mean. `moved`: where a redirection leads to."""
    said, code = _said(body)
    at, found = f"{service.model!r} at {service.base_url}", _found(status, said)
    accepted, fatal = "an answer", status in FATAL
    match status:
        case 401 | 403 if not service.key_env:
            wrong, accepted = f"{at} wants a key", "a key in an environment variable"
            do = "name the variable with key_env, or set OPENAI_BASE_URL to this address and OPENAI_API_KEY"
        case 401 | 403:
            wrong, accepted = f"{at} refuses the key", f"a key in {service.key_env} that has the right"
            do = f"look at ${service.key_env}, and at what the key may be used for"
        case 402:
            wrong, do = f"{at} wants to be paid first", "look at the account there"
        case 429 if "quota" in code or "billing" in code:
            wrong, do, fatal = f"{at} has no quota left", "look at the account there", True
        case 429:
            wrong, do = f"{at} is asked too often", "lower concurrency, or have more patience"
        case _ if moved:
            wrong, found, do = f"{service.base_url} has moved", moved, "give the address that it leads to"
        case _ if status in RETRIED:
            wrong, do = f"{at} is overloaded or broken", _LATER
        case _:
            wrong, accepted = f"{at} refuses this request", "what this server takes"
            do = "change what the server names, in the prompt, the sampling or Service.extra"
    return Refusal(
        reason=explain(wrong, found=found, accepted=accepted, do=do),
        status=status,
        said=said,
        again=status in RETRIED and not fatal,
        fatal=fatal,
        filtered=status in (400, 403, 422) and bool(_FILTERED.search(code)),
    )


def _found(status: int, said: str) -> Said:
    return Said(f"status {status}" + (f": {said!r}" if said else ""))


def _said(text: str) -> tuple[str, str]:
    """The message and the code in the body of an error; its beginning, where it is no JSON."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return _short(re.sub(r"<[^>]*>", " ", text)), ""
    if isinstance(data, list):  # Google's wrapping
        data = next(iter(cast("list[Any]", data)), "")
    error: Any = cast("Mapping[str, Any]", data).get("error", data) if isinstance(data, Mapping) else data
    if not isinstance(error, Mapping):
        return _short(str(error)), ""
    told = cast("Mapping[str, Any]", error)
    message = told.get("message") or told.get("detail") or ""
    codes = (told.get("code"), told.get("type"), told.get("innererror"), told.get("metadata"))
    return _short(str(message)), " ".join(str(code) for code in codes if code is not None)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def unreachable(service: Service, error: Exception, *, known: bool) -> Refusal:
    """Nothing took the call; where a server is `known` to be there, it may be back soon."""
    wrong, found = f"nothing answers at {service.base_url}", _short(str(error)) or type(error).__name__
    do = "look whether the server runs, and at host and port; SSL_CERT_FILE names other certificates"
    reason = explain(wrong, found=Said(found), accepted="a server that takes the call", do=do)
    return Refusal(reason=reason, again=known, fatal=True)


def broken_off(service: Service, error: Exception) -> Refusal:
    """A request was sent, and its answer did not come, or not the whole of it."""
    wrong = f"{service.model!r} at {service.base_url} broke off"
    found = f"{type(error).__name__}" + (f": {text}" if (text := _short(str(error))) else "")
    do = "give Patience more seconds, ask for shorter replies, or lower concurrency"
    return Refusal(reason=explain(wrong, found=Said(found), accepted="a whole answer", do=do), again=True)


def forbidden(wrong: str, *, found: str, accepted: str, do: str, fatal: bool = False) -> Refusal:
    """A request that was not sent."""
    return Refusal(reason=explain(wrong, found=Said(found), accepted=accepted, do=do), fatal=fatal)


def unserved(
    refusal: Refusal, service: Service, *, route: str, served: Sequence[str] | None, better: str
) -> Refusal:
    """Why there is nothing at an address that does answer: the model, the route, or the address itself.

    `served` are the models the server lists, None where it lists none; `better` is an address where it does.
    """
    found: str = _found(refusal.status, refusal.said)
    if served is not None and service.model not in served:
        wrong, found = f"there is no model of this name at {service.base_url}", service.model
        accepted, do = nearest(service.model, served), "name one of these"
    elif served is not None:
        wrong, accepted = f"{service.base_url} serves {service.model!r}, but not by /{route}", "the other way"
        do = "ask plain prompts" if route.startswith("chat") else "ask prompts of messages"
    elif better:
        wrong, accepted = f"{service.base_url} is not the whole address", better
        do = f"write {better}"
    else:
        wrong, accepted = f"{service.base_url} does not speak the OpenAI protocol", "http://host/v1, often"
        do = "give the address under which /chat/completions is"
    reason = explain(wrong, found=found, accepted=accepted, do=do)
    return Refusal(reason=reason, status=refusal.status, said=refusal.said, fatal=True, usage=refusal.usage)
