"""A model behind an OpenAI-compatible address, as a policy.

    policy = open_policy("http://localhost:8000/v1", model="my-model", store=store)
    (answer,) = policy.answer([Ask(as_prompt("Hello"), n=4)])

**The same ask has the same replies.** With a store, each draw of an ask is kept under what was sent and its
number. Who asks again, in this process or another, is given what is there, and only what is missing is drawn:
n=4 after n=2 asks for two. Who wants other replies asks for more of them, or with another seed. Failures are
never kept. `Reply.usage` of a reply says what it cost when it was drawn; `account` counts what is paid.

**Nothing is lost.** What has come is kept before anything else happens, whether the rest fails, the ceiling
is reached or somebody presses Ctrl-C; connections are closed then too.

**What fails for one ask is a value, what fails for all is an error.** A timeout, a refused request, an
answer that cannot be read is an `Unanswered` with its reason. A wrong key, address or model ends the asking
with the first refusal, and raises `UnavailableError` where no reply came at all; so does a server that is
down, after 32 requests in a row that were each tried to the end of patience.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from concord.errors import CapabilityError, InputError, Said, UnavailableError, explain
from concord.messages import is_count
from concord.policies.asking import Entry, Kept, Session
from concord.policies.blocking import blocking, together
from concord.policies.calls import Caller
from concord.policies.ledger import Account
from concord.policies.patience import Clock, Patience
from concord.policies.service import Service
from concord.policies.trials import found_out
from concord.policies.wires import check_possible
from concord.seam import Ask, Capability, Reply
from concord.store import Store

__all__ = ["Endpoint"]


class Endpoint:
    """A remote model: `Policy` and `AsyncPolicy`.

    A prompt of messages goes to /chat/completions, a plain one or one of token ids to /completions. Several
    draws are asked for at once where the server can, else one by one.

    It can be sampled (API). Whether it reports log-probabilities (LP) and those of given replies (SCORE) is
    found out by a trial of two or three tokens, the first time that somebody asks for more than API, or looks
    at `capabilities`; what it was found capable of is kept in the store. `Reply.logps` are there at
    temperature 1 without truncation only, since servers report the model's own distribution; tokens have no
    ids. Replies can be scored behind plain prompts, as the server splits their text, without what ends them.
    """

    def __init__(
        self,
        service: Service,
        *,
        store: Store | None = None,
        account: Account | None = None,
        patience: Patience | None = None,
        concurrency: int = 16,
        offline: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Reach nobody yet; but a key has to be there. `concurrency`: how many requests are under way at a
        time. `offline`: send nothing, answer from the store. `account` holds the prices and the ceiling."""
        if not is_count(concurrency, 1):
            wrong, do = "an endpoint is asked nothing at a time", "leave concurrency out, or give 1 at least"
            raise InputError(explain(wrong, found=concurrency, accepted="1 or more", do=do))
        if not offline:
            service.key()
        self.service = service
        self.account = Account() if account is None else account
        """What was paid, and the ceiling."""
        self._kept = Kept(store, service)
        self._patience, self._clock = patience or Patience(), clock or Clock()
        self._concurrency, self._offline = concurrency, offline
        self._habits: set[str] = set()
        self._sessions: dict[asyncio.AbstractEventLoop, Session] = {}
        self._able: Capability | None = None

    def __repr__(self) -> str:
        """The model and its address."""
        return f"Endpoint({self.service.model!r} at {self.service.base_url})"

    @property
    def id(self) -> str:
        """The hash of address, model, version and extra settings."""
        return self.service.id

    @property
    def capabilities(self) -> Capability:
        """What it can be asked for. The first look tries that out, which may cost some tokens, and raises an
        UnavailableError where nobody answers; offline, it is what the store knows."""
        return blocking(self._all_capabilities)

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Entry, ...]]:
        """Answer all asks, in order, many at a time. In a notebook too, where it waits in a thread."""
        return blocking(lambda: self.aanswer(asks))

    async def aanswer(self, asks: Sequence[Ask]) -> Sequence[tuple[Entry, ...]]:
        """As `answer`, for callers on an event loop: further calls share connections and bounds."""
        for ask in asks:
            self._check(ask)
        async with self._session() as session:
            await self._check_capable(session, asks)
            answers = await together([session.answer(ask) for ask in asks])
            stopped = [refusal.reason for refusal in session.stopped.values()]
        entries = [entry for answer in answers for entry in answer]
        if not any(isinstance(entry, Reply) for entry in entries):
            for entry in entries:
                if not isinstance(entry, Reply) and entry.reason in stopped:
                    raise UnavailableError(entry.reason)
        return answers

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[Session]:
        """The session of this loop, which the first call opens and the last closes."""
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            session = self._sessions[loop] = self._begun()
        session.askers += 1
        try:
            yield session
        finally:
            session.askers -= 1
            if not session.askers:
                del self._sessions[loop]
                await session.close()

    def _begun(self) -> Session:
        caller = None
        if not self._offline:
            caller = Caller(
                self.service, self.account, patience=self._patience, clock=self._clock, habits=self._habits
            )
        return Session(caller, self._kept, account=self.account, concurrency=self._concurrency)

    def _check(self, ask: Ask) -> None:
        """Refuse what no trial can make possible."""
        check_possible(ask)
        if self.account.ceiling is not None and ask.sampling.max_tokens is None and not ask.given:
            wrong, accepted = "a ceiling needs to know how long a reply can be", "max_tokens in the sampling"
            do = "give max_tokens, or take the ceiling out"
            raise InputError(explain(wrong, found=Said("no max_tokens"), accepted=accepted, do=do))

    async def _check_capable(self, session: Session, asks: Sequence[Ask]) -> None:
        """Refuse what is beyond the capabilities, which are found out where it matters."""
        wanted = Capability.API
        for ask in asks:
            wanted |= ask.needs
        if not wanted & ~(self._kept.able() if self._able is None else self._able):
            return
        if beyond := wanted & ~(Capability.API | Capability.LP | Capability.SCORE):
            raise _incapable(beyond, "an endpoint")
        if missing := wanted & ~await self._found(session):
            raise _incapable(missing, repr(self))

    async def _all_capabilities(self) -> Capability:
        async with self._session() as session:
            return await self._found(session)

    async def _found(self, session: Session) -> Capability:
        """The capabilities: as they were found before, else by trial."""
        if self._able is None:
            able = self._kept.able()
            if session.caller is not None and able != Capability.API | Capability.LP | Capability.SCORE:
                able |= await found_out(session.caller)
                self._kept.keep_able(able)
            self._able = able
        return self._able


def _incapable(missing: Capability, who: str) -> CapabilityError:
    names = ", ".join(member.name or "" for member in missing)
    wrong, accepted = f"{who} cannot do what is asked", "what Endpoint.capabilities names"
    do = "ask for less, or ask a local policy"
    return CapabilityError(explain(wrong, found=Said(names), accepted=accepted, do=do))
