"""A real HTTP server on this machine that says what a test tells it to, and sees how it is asked."""

import asyncio
import contextlib
import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from concord.policies.endpoint import Endpoint
from concord.policies.patience import Clock
from concord.policies.service import Service
from concord.store import Store
from concord.types import Ask, as_prompt

__all__ = [
    "QUICK",
    "Answer",
    "Asked",
    "Server",
    "asks",
    "chat",
    "chats",
    "endpoint",
    "failed",
    "only",
    "split",
    "table",
    "tiny",
    "weighed",
]


@dataclass(frozen=True)
class Asked:
    """One request, as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    number: int
    """How many requests came before it."""


@dataclass(frozen=True)
class Answer:
    """What a server says: JSON, or bytes as they are."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None
    """Hang up after so many bytes of the body."""

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Server:
    """Serves on a thread of its own while the `with` block lasts."""

    def __init__(self, script: Callable[[Asked], Answer]) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.active = self.peak = self.connections = 0
        self.broken: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="test-server")
        self._port = 0

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def posts(self, route: str = "") -> list[Any]:
        """The bodies of all requests to a route."""
        return [one.body for one in self.asked if one.method == "POST" and one.path.endswith(route)]

    def settled(self, seconds: float = 5.0) -> int:
        """How many connections stay open, after waiting for none."""
        for _ in range(int(seconds / 0.01)):
            if not self.connections:
                break
            threading.Event().wait(0.01)
        return self.connections

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        assert not self._thread.is_alive()
        if self.broken is not None:
            raise AssertionError("the script of a test server broke") from self.broken

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        handlers: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._talk(reader, writer))
            handlers.add(task)
            task.add_done_callback(handlers.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            first: bytes | None = b""
            while first is not None:
                first = await self._one(first, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.broken = error
        finally:
            self.connections -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Answer one request, whose first byte is there already; then the first of the next, or None."""
        head, *lines = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, json.loads(body) if body else None, len(self.asked))
        self.asked.append(asked)
        self.active += 1
        self.peak = max(self.peak, self.active)
        following = asyncio.create_task(reader.read(1))
        try:
            answer = self.script(asked)
            await asyncio.wait([following], timeout=answer.delay)
        finally:
            self.active -= 1
        if not following.done():
            await self._say(answer, writer)
        if answer.cut is not None:
            following.cancel()
            return None
        return (await following) or None

    async def _say(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        data = answer.data
        said = {"content-type": "application/json", "content-length": str(len(data)), **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        writer.write(f"HTTP/1.1 {answer.status} Said\r\n{head}\r\n".encode() + data[: answer.cut])
        await writer.drain()


def chat(text: str = "yes", *, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A choice of a chat."""
    return {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}, **more}


def chats(*choices: dict[str, Any], prompt: int = 10, new: int = 4, **more: Any) -> Answer:
    """An answer with these choices."""
    placed = [{**choice, "index": place} for place, choice in enumerate(choices)]
    usage = {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}
    return Answer({"object": "chat.completion", "choices": placed, "usage": usage}, **more)


def failed(status: int, message: str = "no", *, code: str | None = None, **more: Any) -> Answer:
    """An error in the words of the protocol."""
    error = {"message": message, "type": "some_error", "code": code}
    return Answer({"error": error}, status=status, **more)


def only(*answers: Answer) -> Callable[[Asked], Answer]:
    """A script of answers in order, the last of them again and again."""
    return lambda asked: answers[min(asked.number, len(answers) - 1)]


# --- endpoints that wait for nothing ----------------------------------------------------------------------


async def at_once(_: float) -> None:
    """Wait for nothing."""
    await asyncio.sleep(0)


QUICK = Clock(sleep=at_once, chance=lambda: 0.0)


def endpoint(server: Server, store: Store | None = None, **settings: Any) -> Endpoint:
    """The endpoint of a server, which waits for nothing between tries."""
    settings = {"clock": QUICK, **settings}
    return Endpoint(Service(base_url=server.url, model="m"), store=store, **settings)


def asks(count: int, **settings: Any) -> list[Ask]:
    """Asks of one word each."""
    return [Ask(as_prompt(f"word {number}"), **settings) for number in range(count)]


# --- servers that report log-probabilities ----------------------------------------------------------------

WORDS = (" yes", " no", " it", "?", " is", ".")
OPENING = "<s>"


def table(word: str) -> dict[str, float]:
    """The probabilities of what follows a word: made up, and different for each."""
    weights = {one: 1.0 + ((len(word) * 7 + place * 5) % 11) for place, one in enumerate(WORDS)}
    total = sum(weights.values())
    return {one: math.log(weight / total) for one, weight in weights.items()}


def split(text: str) -> list[str]:
    """The tokens of a text: words where they are known, else letters."""
    tokens: list[str] = []
    while text:
        token = next((word for word in WORDS if text.startswith(word)), text[0])
        tokens, text = [*tokens, token], text[len(token) :]
    return tokens


def tiny(asked: Asked) -> Answer:
    """A base model that echoes, in the form of /completions."""
    if not asked.path.endswith("/v1/completions"):
        return failed(404, "no such route")
    body = asked.body
    sent = [OPENING, *split(body["prompt"])]
    tokens = [*sent] if body.get("echo") else []
    new = [max(table(sent[-1]), key=lambda word: table(sent[-1])[word])]
    before = [None, *sent[:-1]] if body.get("echo") else []
    context = [*before, sent[-1]]
    tokens += new
    logps = [
        None if one is None else table(one).get(token, -9.0)
        for one, token in zip(context, tokens, strict=True)
    ]
    tops = [None if one is None else table(one) for one in context]
    logprobs = {
        "tokens": tokens,
        "token_logprobs": logps,
        "top_logprobs": tops,
        "text_offset": [0] * len(tokens),
    }
    choice = {"index": 0, "text": "".join(tokens), "finish_reason": "length", "logprobs": logprobs}
    usage = {"prompt_tokens": len(sent), "completion_tokens": 1}
    return Answer({"choices": [choice], "usage": usage})


def weighed(asked: Asked) -> Answer:
    """A chat that reports log-probabilities, and no way to continue a text."""
    if asked.path.endswith("/models"):
        return Answer({"data": [{"id": "m"}]})
    if not asked.path.endswith("/chat/completions"):
        return failed(404, "this is a chat model")
    token = {"token": "yes", "logprob": -0.25, "top_logprobs": [{"token": "yes", "logprob": -0.25}]}
    more: dict[str, Any] = {"logprobs": {"content": [token]}} if asked.body.get("logprobs") else {}
    return chats(chat("yes", **more))
