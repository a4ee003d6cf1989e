"""One request to an endpoint, until it is answered or given up."""

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import httpx2 as httpx

from concord.errors import Said, explain
from concord.policies.ledger import Account
from concord.policies.patience import Clock, Patience, retry_after
from concord.policies.readings import usage_of
from concord.policies.service import Service
from concord.policies.troubles import Refusal, broken_off, forbidden, refused, unreachable, unserved
from concord.policies.wires import longest
from concord.results import Usage

__all__ = ["Caller", "Heard"]

_UNTAKEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_NEUTRAL = ("temperature", "top_p")  # a server that does not take them may leave out what says nothing: 1


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back, a JSON object, and what it cost with all tries."""

    data: Mapping[str, Any]
    usage: Usage


class Caller:
    """The connections to a service while it is being asked, on one event loop.

    It knows the key, and so is made when asking begins and dropped when that is over. `habits` is what has
    been learned of this server, and is added to: whether it was heard, and how settings are named.
    """

    def __init__(
        self, service: Service, account: Account, *, patience: Patience, clock: Clock, habits: set[str]
    ) -> None:
        self.service, self.account, self.habits = service, account, habits
        self.patience, self.clock = patience, clock
        self._key = service.key()
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = httpx.Timeout(patience.read, connect=patience.connect, pool=None)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx.AsyncClient(headers=headers, verify=_trusted(), timeout=timeout, limits=limits)

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    def without_key(self, text: str) -> str:
        """What a server says of itself, without the key, which it may repeat.

        Not for replies: a key may be as short as a word, and what a model says stays as it is.
        """
        return text.replace(self._key, "[the key]") if self._key else text

    async def post(self, route: str, body: Mapping[str, Any], *, trial: bool = False) -> Heard | Refusal:
        """Send a request until it is answered or there is no more patience.

        An address where nothing is gets looked into, to say what it should be; not in a trial, which may well
        find nothing, and is given up after the second try, unless it only came too soon.
        """
        usage, number = Usage(), 0
        while True:
            full = {"model": self.service.model, **self._fitted(body), **self.service.extra}
            tried, asked = await self._once(route, full, longest(body))
            usage += tried.usage
            tried = replace(tried, usage=usage)
            if isinstance(tried, Heard):
                self.habits.add("heard")
                return tried
            if self._learned(tried, full):
                continue
            number += 1
            if tried.status == 403 and not tried.filtered and "heard" not in self.habits:
                tried = replace(tried, fatal=True)  # to some it says that the key is wrong
            if not tried.again:
                nowhere = tried.status == 404 or (tried.status in (200, 405) and "heard" not in self.habits)
                return await self._looked_into(tried, route) if nowhere and not trial else tried
            tries = min(2, self.patience.tries) if trial and tried.status != 429 else self.patience.tries
            wait = self.patience.wait(number - 1, chance=self.clock.chance(), asked=asked)
            if wait is None or number >= tries:
                return _given_up(tried, number, None if wait is not None else asked)
            await self.clock.sleep(wait)

    async def models(self, address: str = "") -> list[str] | None:
        """The names of the models that are served, None where no list of them is to be had."""
        try:
            async with asyncio.timeout(self.patience.whole):
                response = await self._client.get(f"{address or self.service.base_url}/models")
        except (httpx.HTTPError, TimeoutError):
            return None
        data = _parsed(response.content) if response.is_success else None
        entries = data.get("data") if data is not None else None
        if not isinstance(entries, list):
            return None
        named = [
            cast("Mapping[str, Any]", one) for one in cast("list[Any]", entries) if isinstance(one, dict)
        ]
        return [str(one["id"]) for one in named if "id" in one]

    async def _once(
        self, route: str, full: Mapping[str, Any], bound: tuple[int, int | None]
    ) -> tuple[Heard | Refusal, float | None]:
        """One try, within the ceiling, and the seconds that the server asks to wait before another."""
        account, service = self.account, self.service
        most = account.cost(bound[0], bound[1] or 0)
        async with account.room(most) as granted:
            if not granted:
                return _beyond(account, most), None
            begun = self.clock.now()

            def spent(tokens: tuple[int, int] | None = (0, 0)) -> Usage:
                """What this try cost; where that is not known, the most it can."""
                cost = most if tokens is None else account.cost(*tokens)
                prompt, new = tokens or (0, 0)
                seconds = max(0.0, self.clock.now() - begun)
                usage = Usage(calls=1, prompt_tokens=prompt, new_tokens=new, cost=cost, seconds=seconds)
                return account.pay(usage, lost=tokens is None)

            try:
                async with asyncio.timeout(self.patience.whole):
                    response = await self._client.post(
                        f"{service.base_url}/{route}",
                        content=json.dumps(full).encode(),
                        headers={"content-type": "application/json"},
                    )
            except _UNTAKEN as error:
                known = "heard" in self.habits
                return replace(unreachable(service, error, known=known), usage=spent()), None
            except (httpx.HTTPError, TimeoutError) as error:
                return replace(broken_off(service, error), usage=spent(None)), None
            except asyncio.CancelledError:
                spent(None)
                raise
            tried = self._taken(response)
            if isinstance(tried, Refusal):
                return replace(tried, usage=spent(None if tried.status == 200 else (0, 0))), retry_after(
                    response.headers, self.clock.today()
                )
            return Heard(tried, spent(usage_of(tried))), None

    def _taken(self, response: httpx.Response) -> Mapping[str, Any] | Refusal:
        """The object in an answer, or what stands in its place."""
        status, body = response.status_code, response.content
        told = self.without_key(body.decode("utf-8", "replace"))
        if not response.is_success:
            moved = self.without_key(response.headers.get("location", ""))
            return refused(status, told, self.service, moved=moved)
        data = _parsed(body)
        if data is None:
            # An object that breaks off may come whole another time; a page of a website will not.
            refusal = refused(200, told, self.service)
            whole = ValueError(f"an answer that is no JSON object: {refusal.said!r}")
            return replace(broken_off(self.service, whole), status=200, again=body.lstrip()[:1] == b"{")
        if data.get("error") and "choices" not in data:
            # Services that pass requests on answer 200 before they know, and put the status inside.
            code = cast("Any", data["error"]).get("code") if isinstance(data["error"], dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 400
            return refused(status, told, self.service)
        return data

    def _fitted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body in the words of this server."""
        fitted = {name: value for name, value in body.items() if f"no {name}" not in self.habits}
        if "max_completion_tokens" in self.habits and "max_tokens" in fitted:
            fitted["max_completion_tokens"] = fitted.pop("max_tokens")
        return fitted

    def _learned(self, refusal: Refusal, sent: Mapping[str, Any]) -> bool:
        """Whether the server said what it wants to have in other words, so that they can be tried."""
        if refusal.status not in (400, 422):
            return False
        if "max_completion_tokens" in refusal.said and "max_tokens" in sent:
            self.habits.add("max_completion_tokens")
            return True
        for name in _NEUTRAL:
            if re.search(rf"\b{name}\b", refusal.said) and sent.get(name) == 1:
                self.habits.add(f"no {name}")
                return True
        return False

    async def _looked_into(self, refusal: Refusal, route: str) -> Refusal:
        """What is wrong with an address under which nothing is."""
        base, better = self.service.base_url, ""
        served = await self.models()
        if served is None and not base.endswith("/v1") and await self.models(f"{base}/v1") is not None:
            better = f"{base}/v1"
        return unserved(refusal, self.service, route=route, served=served, better=better)


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted: read once, since that takes longer than a request."""
    return httpx.create_ssl_context()


def _parsed(body: bytes) -> dict[str, Any] | None:
    """A JSON object; None where there is none."""
    try:
        data: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None


def _beyond(account: Account, most: float) -> Refusal:
    """The ceiling leaves no room for a request."""
    return forbidden(
        f"the ceiling of {account.ceiling:g} leaves no room for this request",
        found=f"{account.paid:g} spent, and up to {most:g} for this one",
        accepted="no more than the ceiling in all",
        do="raise the ceiling, or lower max_tokens: what was answered is kept",
    )


def _given_up(refusal: Refusal, tries: int, asked: float | None) -> Refusal:
    """The last refusal, with how long it was tried."""
    if asked is not None:
        wrong, found = "the server asks to be left alone for longer than there is patience", f"{asked:g} s"
        do = "raise Patience.longest_wait, or try again later: what was answered is kept"
        reason = explain(wrong, found=Said(found), accepted="Patience.longest_wait at most", do=do)
        return replace(refusal, reason=f"{refusal.reason} {reason}", again=False)
    return replace(refusal, reason=f"{refusal.reason} Tried {tries} times.", again=False, tried=tries)
