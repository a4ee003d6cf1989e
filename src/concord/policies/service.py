"""Who answers at an endpoint: its address, the model, and where the key is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from concord.errors import NOTHING, InputError, Said, explain
from concord.messages import JSON
from concord.store import key

__all__ = ["FORMAT", "RESERVED", "Service"]

FORMAT = 1
"""Counts the changes after which what was stored is no longer what would be asked for; part of every id."""

RESERVED = frozenset(
    [
        "model",
        "messages",
        "prompt",
        "tools",
        "n",
        "seed",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "logprobs",
        "top_logprobs",
        "echo",
        "stream",
    ]
)
"""What the prompt and the sampling of an ask decide, so that `Service.extra` may not."""

_ROUTES = ("/chat/completions", "/completions", "/models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A model behind an OpenAI-compatible address.

    `key_env` names the environment variable that holds the key, '' where none is wanted. The key itself is
    looked up when it is sent, and stands nowhere else. `extra` goes into every request as it is: what one
    server knows and the others do not, such as `reasoning_effort`. A server may fill in settings that no
    request names (vLLM does, from the model's generation_config.json); `extra` is where to name them.

    Neither address nor name says which weights answer. Where others answer under the same name, say so with
    another `version`, or answers that are stored would be taken for theirs.
    """

    base_url: str
    model: str
    key_env: str = ""
    version: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict[str, JSON])

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", _normal(self.base_url))
        if not self.model:
            wrong, do = "an endpoint without the name of a model", "name the model"
            raise InputError(explain(wrong, found=self.model, accepted="a name the server knows", do=do))
        if taken := sorted(RESERVED & self.extra.keys()):
            wrong, accepted = "extra settings name what an ask decides", "settings that only this server has"
            do = "give it by the Sampling or the Prompt of an ask"
            raise InputError(explain(wrong, found=taken[0], accepted=accepted, do=do))

    @property
    def id(self) -> str:
        """The identity of what answers; the key is no part of it, and neither is how it is asked."""
        parts = (self.base_url, self.model, self.version, self.extra)
        return f"endpoint-{key('endpoint', FORMAT, *parts)[:32]}"

    def key(self) -> str:
        """The key, or '' where none is wanted. No message ever holds it, or a part of it."""
        if not self.key_env:
            return ""
        accepted, do = "a key of printable ASCII", f"set {self.key_env}, or name another with key_env"
        found = os.environ.get(self.key_env, "").strip()
        if not found:
            wrong = f"the environment variable {self.key_env} holds no key"
            raise InputError(explain(wrong, found=NOTHING, accepted=accepted, do=do))
        if not (found.isascii() and found.isprintable()) or " " in found:
            wrong = f"the environment variable {self.key_env} holds what cannot be a key"
            said = Said("blanks, line ends or letters beyond ASCII in it")
            raise InputError(explain(wrong, found=said, accepted=accepted, do=do))
        return found


def _normal(address: str) -> str:
    """One spelling of each address; refuses what is none, without repeating a password that is in it."""
    accepted, example = "http(s)://host[:port]/path", "http://localhost:8000/v1"
    try:
        parts = urlsplit(address.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, half an IPv6 address
        parts, host, port = SplitResult("", "", "", "", ""), None, None
    if parts.username is not None or parts.password is not None:
        wrong, found = "an address with a name or a password in it", Said("something before an @")
        do = "put the key into an environment variable and name that with key_env"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if parts.scheme not in ("http", "https") or not host:
        wrong, do = "this is not the address of an endpoint", f"write it like {example}"
        raise InputError(explain(wrong, found=address, accepted=accepted, do=do))
    if parts.query or parts.fragment:
        wrong, found = "an address with a query or a fragment", Said("something behind a ? or #")
        raise InputError(explain(wrong, found=found, accepted=accepted, do="leave it out"))
    path = parts.path.rstrip("/")
    for route in _ROUTES:
        path = path.removesuffix(route)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{path}"
