"""Endpoints from what people type: an address, or `openai:MODEL`.

service_of("openai:MODEL")            who is meant: address, model, where the key is
open_policy("http://host/v1", ...)    that as a policy
"""

import os
from dataclasses import replace

from concord.errors import InputError, Said, UnavailableError, explain, nearest
from concord.policies.blocking import blocking
from concord.policies.calls import Caller
from concord.policies.endpoint import Endpoint
from concord.policies.ledger import Account
from concord.policies.patience import Clock, Patience
from concord.policies.service import Service
from concord.store import Store

__all__ = ["OPENAI", "is_remote", "open_policy", "service_of"]

OPENAI = "https://api.openai.com/v1"
"""Where `openai:MODEL` is, unless OPENAI_BASE_URL says otherwise."""

_ADDRESSES = ("http://", "https://")
_OPENAI = "openai:"
_UNNAMED = "unnamed"  # until the server was asked


def is_remote(what: str) -> bool:
    """Whether what somebody typed for a model means an endpoint, and not a folder or a hub id."""
    return what.lower().startswith((*_ADDRESSES, _OPENAI))


def open_policy(
    what: str,
    *,
    model: str = "",
    key_env: str | None = None,
    version: str = "",
    store: Store | None = None,
    account: Account | None = None,
    concurrency: int = 16,
    offline: bool = False,
) -> Endpoint:
    """The endpoint that was meant, as `service_of` finds it, with a store and an account.

    For all else that can be set, make an `Endpoint` of a `Service`.
    """
    service = service_of(what, model=model, key_env=key_env, version=version, offline=offline)
    return Endpoint(service, store=store, account=account, concurrency=concurrency, offline=offline)


def service_of(
    what: str, *, model: str = "", key_env: str | None = None, version: str = "", offline: bool = False
) -> Service:
    """Who was meant: `http://host/v1` with a model, or `openai:MODEL`.

    Without `model`, an address is asked what it serves, which has to be one. `key_env` names the variable
    that holds the key. OPENAI_API_KEY is used by itself for `openai:` and for the address in OPENAI_BASE_URL,
    and never sent elsewhere.
    """
    if what.lower().startswith(_OPENAI):
        address = os.environ.get("OPENAI_BASE_URL") or OPENAI
        named = what[len(_OPENAI) :].strip()
        if named and model and named != model:
            wrong, found = "two models are named for one endpoint", Said(f"{named} and {model}")
            raise InputError(explain(wrong, found=found, accepted="one of them", do="leave one out"))
        model = named or model
    elif is_remote(what):
        address = what
    else:
        wrong, accepted = "this names no endpoint", "http(s)://host[:port]/v1, or openai:MODEL"
        raise InputError(explain(wrong, found=what, accepted=accepted, do="write the whole address"))
    service = Service(base_url=address, model=model or _UNNAMED, version=version)
    if key_env is None:
        key_env = "OPENAI_API_KEY" if service.base_url in _openai_addresses() else ""
    service = replace(service, key_env=key_env)
    if not model:
        service = replace(service, model=_only_model(service, offline=offline))
    return service


def _openai_addresses() -> set[str]:
    """Where OPENAI_API_KEY may be sent."""
    return {OPENAI, os.environ.get("OPENAI_BASE_URL", "").strip().rstrip("/")}


def _only_model(service: Service, *, offline: bool) -> str:
    """The one model that is served."""

    async def ask() -> list[str] | None:
        caller = Caller(service, Account(), patience=Patience(), clock=Clock(), habits=set())
        try:
            return await caller.models()
        finally:
            await caller.close()

    served = None if offline else blocking(ask)
    if served is not None and len(served) == 1:
        return served[0]
    if served:
        wrong, do = f"{service.base_url} serves more than one model", "say which one with model, or --served"
        found = Said(f"{len(served)} models")
        raise InputError(explain(wrong, found=found, accepted=nearest("", served), do=do))
    wrong, accepted = f"it is not known what {service.base_url} serves", "the name of a model"
    found = Said("nothing may be sent" if offline else "no list of models")
    do = "give model or --served, and look whether the server runs and the address is whole, often with /v1"
    raise UnavailableError(explain(wrong, found=found, accepted=accepted, do=do))
