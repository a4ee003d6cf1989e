"""Asks under way at an endpoint: what the store has is taken from there, the rest is drawn and kept."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from concord import wire
from concord.errors import InputError
from concord.messages import Message, Turns
from concord.policies.blocking import together
from concord.policies.calls import Caller, Heard
from concord.policies.ledger import Account
from concord.policies.readings import Malformed, replies_of, scored, shared
from concord.policies.service import Service
from concord.policies.troubles import Refusal, forbidden
from concord.policies.wires import echo_of, request_of, route_of, seed_of
from concord.results import Usage
from concord.seam import Ask, Capability, Finish, Reply, Unanswered
from concord.store import Store, key

__all__ = ["Entry", "Kept", "Session"]

Entry: TypeAlias = Reply | Unanswered
"""One draw, or one given reply."""

_Read = TypeVar("_Read", Reply, Capability)
_SINGLY = "one at a time"  # a habit of servers that draw one reply, however many are wanted
_IN_VAIN = 32  # requests in a row, each tried as often as there is patience, after which the server is down
_NO_NUMBER = (400, 422, 501)  # how others say that they draw one only


class Kept:
    """The part of a store that belongs to one service; without a store, nothing is kept."""

    def __init__(self, store: Store | None, service: Service) -> None:
        self.store = store
        self._id = service.id

    def name(self, *parts: object) -> str:
        """What the draws of one request have in common: all that was sent, but for which draws."""
        return key("endpoint", self._id, *parts)

    def draws(self, name: str, numbers: Sequence[int]) -> dict[int, Entry]:
        """Those of these draws that are there and can be read."""
        if self.store is None:
            return {}
        keys = {number: key(name, number) for number in numbers}
        values = self.store.get_many(keys.values())
        read = {number: _read(Reply, values.get(place)) for number, place in keys.items()}
        return {number: reply for number, reply in read.items() if reply is not None}

    def keep(self, name: str, entries: Mapping[int, Entry]) -> None:
        """Keep the replies among these draws."""
        if self.store is not None:
            said = {key(name, at): one for at, one in entries.items() if isinstance(one, Reply)}
            self.store.put_many({place: wire.dumps(one).encode() for place, one in said.items()})

    def able(self) -> Capability:
        """What the service was once found to be capable of."""
        value = None if self.store is None else self.store.get(self.name("capabilities"))
        return _read(Capability, value) or Capability.API

    def keep_able(self, able: Capability) -> None:
        """Keep what the service is capable of. What it is not may come with another start of it."""
        if self.store is not None:
            self.store.put(self.name("capabilities"), wire.dumps(able).encode())


def _read(cls: type[_Read], value: bytes | None) -> _Read | None:
    """What was kept; None where there is nothing, or something of another version, which is then replaced."""
    try:
        return None if value is None else wire.loads(cls, value)
    except InputError:
        return None


class Session:
    """A service while it is being asked, on one event loop; `caller` is None where nothing may be sent."""

    def __init__(self, caller: Caller | None, kept: Kept, *, account: Account, concurrency: int) -> None:
        self.caller, self.kept, self.account = caller, kept, account
        self.askers = 0
        """How many calls are under way."""
        self.stopped: dict[str, Refusal] = {}
        """Where nothing more is sent to, and why."""
        self._in_vain: Counter[str] = Counter()
        # Requests are bounded; and so are asks, since pictures would fill the memory before they are sent.
        self._requests, self._asks = asyncio.Semaphore(concurrency), asyncio.Semaphore(concurrency)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def close(self) -> None:
        """Hang up."""
        if self.caller is not None:
            await self.caller.close()

    async def answer(self, ask: Ask) -> tuple[Entry, ...]:
        """One entry for each draw, or for each given reply."""
        async with self._asks:
            if ask.given:
                return tuple(await together(self._scored(ask, turns) for turns in ask.given))
            return await self._drawn(ask)

    async def _drawn(self, ask: Ask) -> tuple[Entry, ...]:
        try:
            body = request_of(ask)
        except InputError as error:
            return tuple(Unanswered(str(error)) for _ in range(ask.n))
        name = self.kept.name(route_of(ask.prompt), body, ask.sampling.seed)
        async with self._alone(name):
            entries = self._taken(name, range(ask.n))
            if missing := [number for number in range(ask.n) if number not in entries]:
                entries |= await self._fetched(ask, body, name, missing)
        return tuple(entries[number] for number in range(ask.n))

    async def _scored(self, ask: Ask, turns: Turns) -> Entry:
        try:
            body, before, reply = echo_of(ask, turns)
        except InputError as error:
            return Unanswered(str(error))
        name = self.kept.name("echo", body, len(before))
        async with self._alone(name):
            if found := self._taken(name, (0,)):
                return replace(found[0], message=turns[-1]) if isinstance(found[0], Reply) else found[0]
            tried = await self._sent("completions", body)
            if isinstance(tried, Refusal):
                return Unanswered(tried.reason, usage=tried.usage)
            try:
                weighed = scored(tried.data, ask, turns, before=before, reply=reply)
            except Malformed as error:
                return self._unread(Unanswered(str(error), usage=tried.usage))
            entry = replace(weighed, usage=tried.usage)
            self.kept.keep(name, {0: entry})
            return entry

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncGenerator[None]:
        """Let nobody else draw the same: whoever comes second finds it kept."""
        if self.kept.store is None:
            yield
            return
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            yield

    def _taken(self, name: str, numbers: Sequence[int]) -> dict[int, Entry]:
        found = self.kept.draws(name, numbers)
        self.account.reused += len(found)
        return found

    async def _fetched(
        self, ask: Ask, body: Mapping[str, Any], name: str, numbers: Sequence[int]
    ) -> dict[int, Entry]:
        """Draws that are not there yet: all at once, or one by one where the server knows no other way."""
        entries: dict[int, Entry] = {}
        rest = list(numbers)
        habits = set[str]() if self.caller is None else self.caller.habits
        if len(rest) > 1 and _SINGLY not in habits:
            got = await self._got(ask, body, name, rest)
            if isinstance(got, Refusal) and got.status not in _NO_NUMBER:
                return _refused(rest, got)
            entries = {} if isinstance(got, Refusal) else got
            rest = [number for number in rest if number not in entries]
            if not rest:
                return entries
            # Whether it is their number that the server minds is seen by asking for one.
            one, *rest = rest
            got = await self._got(ask, body, name, [one])
            if isinstance(got, Refusal):
                return entries | _refused([one, *rest], got)
            habits.add(_SINGLY)
            entries |= got
        found = await together(self._got(ask, body, name, [number]) for number in rest)
        for number, got in zip(rest, found, strict=True):
            entries |= _refused([number], got) if isinstance(got, Refusal) else got
        return entries

    async def _got(
        self, ask: Ask, body: Mapping[str, Any], name: str, numbers: Sequence[int]
    ) -> dict[int, Entry] | Refusal:
        """The draws that one request brings, which may be fewer than are wanted of several, not of one."""
        sent = dict(body)
        if len(numbers) > 1:
            sent["n"] = len(numbers)
        if ask.sampling.seed is not None:
            sent["seed"] = seed_of(ask.sampling.seed, numbers[0])
        tried = await self._sent(route_of(ask.prompt), sent)
        if isinstance(tried, Refusal) and not tried.filtered:
            return tried
        entries: list[Entry]
        if isinstance(tried, Refusal):
            entries = [Reply(Message("assistant", ""), finish=Finish.FILTERED) for _ in numbers]
        else:
            try:
                entries = replies_of(tried.data, ask, wanted=len(numbers))
            except Malformed as error:
                entries = [Unanswered(str(error)) for _ in numbers]
        entries = [self._unread(one) if isinstance(one, Unanswered) else one for one in entries]
        got = dict(zip(numbers, shared(entries, tried.usage), strict=False))
        self.kept.keep(name, got)
        return got

    def _unread(self, entry: Unanswered) -> Unanswered:
        """An answer that could not be read; the reason may repeat what stands in it."""
        return entry if self.caller is None else replace(entry, reason=self.caller.without_key(entry.reason))

    async def _sent(self, route: str, body: Mapping[str, Any]) -> Heard | Refusal:
        """A request, when its turn has come, unless it is known by then that it would be in vain."""
        async with self._requests:
            if route in self.stopped:
                return self.stopped[route]
            tried = _offline() if self.caller is None else await self.caller.post(route, body)
            if isinstance(tried, Refusal) and (tried.fatal or self._down(route, tried)):
                self.stopped[route] = replace(tried, usage=Usage())
            elif isinstance(tried, Heard):
                self._in_vain[route] = 0
            return tried

    def _down(self, route: str, refusal: Refusal) -> bool:
        """Whether so many in a row were tried to the end of patience that the rest would be in vain."""
        self._in_vain[route] += refusal.tried > 1
        return self._in_vain[route] >= _IN_VAIN


def _refused(numbers: Sequence[int], refusal: Refusal) -> dict[int, Entry]:
    """No reply to any of these; what that cost stands on the first."""
    costs = (refusal.usage if place == 0 else Usage() for place in range(len(numbers)))
    return {
        number: Unanswered(refusal.reason, usage=cost) for number, cost in zip(numbers, costs, strict=True)
    }


def _offline() -> Refusal:
    return forbidden(
        "an endpoint may not be asked, since nothing may be sent",
        found="an ask that the store has no answer to",
        accepted="asks that were answered before",
        do="allow the network, or ask for what is stored",
        fatal=True,
    )
