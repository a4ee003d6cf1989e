"""A user's own Python function as a verifier.

    def polite(reply, *, word="please"):
        return word in reply

    with Function("rules:polite", settings={"word": "kindly"}) as verifier: ...

**What it is given** is decided by the names of its parameters: `prompt` and `reply` (their texts),
`messages` and `turns` (the same as lists of {"role", "content"}), `meta` (all columns of the row), a
setting, or else the column of that name. With `**columns` it is given all columns by name.

**A parameter called `completions`** makes it a reward function as TRL calls them: it is called once for
all replies, with the lists `prompts`, `completions` and one for each column, and returns a list. Texts
stand in them where the prompt is plain, lists of messages where it is a conversation; a column that a row
lacks is None.

**It returns** a number, or None where it has nothing to say. None, a number that is not finite, an error,
and a call that takes too long are `Unscored` with the reason.

**It runs in a process of its own** where it is named by its path, so that it can be stopped, and may
crash. This is no sandbox. A function that is given as an object runs here, and cannot be stopped.
"""

import hashlib
import importlib
import inspect
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any, Self, cast

from concord.errors import InputError, NotFoundError, Said, explain, nearest
from concord.feedback import worker
from concord.feedback.verifiers import last_said
from concord.messages import is_number
from concord.store import key
from concord.types import JSON, Rate, Score, Turns, Unscored

__all__ = ["Function", "imported"]

_SECONDS = 10.0  # that a call may take where nothing else is said
_OPENING = 120.0  # and that the import of its module may, which may load a model
_OURS = ("messages", "meta", "prompt", "reply", "turns")
_Arguments = dict[str, Any]


def imported(path: str) -> Callable[..., Any]:
    """A function by package.module:function; what stands in this folder can be named."""
    module, _, name = path.partition(":")
    accepted, do = "package.module:function", "check the name, and that Python can import it from this folder"
    if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise InputError(explain("this names no function", found=path, accepted=accepted, do=do))
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        held = importlib.import_module(module)
    except Exception as error:  # a module of the user's may raise anything
        wrong = f"{module} cannot be imported ({type(error).__name__}: {error})"
        raise NotFoundError(explain(wrong, found=path, accepted=accepted, do=do)) from error
    functions = [one for one, value in vars(held).items() if callable(value) and not one.startswith("_")]
    if not callable(getattr(held, name, None)):
        wrong, accepted = f"{module} has no function of this name", nearest(name, functions)
        raise NotFoundError(explain(wrong, found=name, accepted=accepted, do="name one of these"))
    return cast("Callable[..., Any]", getattr(held, name))


class Function:
    """A feedback that is a function of the user's own; the head of this module says how it is called.

    settings: arguments by name that are the same in every call
    timeout: seconds that a call may take, 10 if left out; only for a function that is named by its path
    name: the id, for a function given as an object whose source cannot be read
    """

    def __init__(
        self,
        function: str | Callable[..., Any],
        *,
        settings: Mapping[str, JSON] | None = None,
        timeout: float | None = None,
        name: str = "",
    ) -> None:
        if timeout is not None and (callable(function) or not is_number(timeout) or timeout <= 0):
            wrong = "this timeout cannot be kept"
            accepted = "seconds above 0, for a function that is named by its path, which has its own process"
            do = "write package.module:function, or leave the timeout out"
            raise InputError(explain(wrong, found=timeout, accepted=accepted, do=do))
        self._settings = dict(settings or {})
        self._call = imported(function) if isinstance(function, str) else function
        self._path = function if isinstance(function, str) else ""
        self._timeout = timeout or _SECONDS
        self._process: _Process | None = None
        known = inspect.signature(self._call).parameters.values()
        self._names = [one.name for one in known if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        self._optional = {one.name for one in known if one.default is not one.empty}
        self._all_columns = any(one.kind is one.VAR_KEYWORD for one in known)
        self._listed = "completions" in self._names
        self._check(known)
        self._id = name or f"function-{self._identity()[:32]}"

    @property
    def id(self) -> str:
        """The hash of its settings and of its source: that of its module, where it is named by its path."""
        return self._id

    def __enter__(self) -> Self:
        """Use it in a `with` block, which closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End its process, if there is one; it is started again when it is wanted."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Call the function, once for each reply or once for all."""
        if self._listed:
            return self._rate_listed(rates)
        return [tuple(self._rate_one(rate, turns) for turns in rate.replies) for rate in rates]

    def _rate_one(self, rate: Rate, turns: Turns) -> Score | Unscored:
        ours = {
            "messages": _listed(rate.prompt.messages),
            "meta": dict(rate.meta),
            "prompt": rate.prompt.text,
            "reply": last_said(turns),
            "turns": _listed(turns),
        }
        given = {**(rate.meta if self._all_columns else {}), **self._settings}
        for name in self._names:
            if name in self._settings:
                continue
            if name in ours:
                given[name] = ours[name]
            elif name in rate.meta:
                given[name] = rate.meta[name]
            elif name not in self._optional:
                return Unscored(f"the row has no column {name!r}, which the function wants")
        answer = self._asked(given)
        return answer if isinstance(answer, Unscored) else _scored(answer)

    def _rate_listed(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """One call for all replies, as TRL makes it."""
        each = [(rate, turns) for rate in rates for turns in rate.replies]
        if not each:
            return [() for _ in rates]
        columns = sorted({name for rate, _ in each for name in rate.meta})
        wanted = [name for name in columns if self._all_columns or name in self._names]
        given: _Arguments = {
            name: [rate.meta.get(name) for rate, _ in each] for name in wanted
        } | self._settings
        given["completions"] = [_said(rate, turns) for rate, turns in each]
        if self._all_columns or "prompts" in self._names:
            given["prompts"] = [_said(rate, rate.prompt.messages) for rate, _ in each]
        missing = [name for name in self._names if name not in given and name not in self._optional]
        answer: object = self._asked(given | dict.fromkeys(missing, [None] * len(each)))
        if isinstance(answer, Unscored):
            scores: list[Score | Unscored] = [answer] * len(each)
        elif not isinstance(answer, list) or len(cast("list[object]", answer)) != len(each):
            reason = f"the function gave no list of {len(each)} numbers, one for each reply"
            scores = [Unscored(reason)] * len(each)
        else:
            scores = [_scored(one) for one in cast("list[object]", answer)]
        left = iter(scores)
        return [tuple(next(left) for _ in rate.replies) for rate in rates]

    def _asked(self, given: _Arguments) -> object | Unscored:
        """What the function makes of its arguments, wherever it runs."""
        if not self._path:
            answer = worker.call(self._call, given)
        else:
            if self._process is None or self._process.spent:
                self.close()
                self._process = _Process(self._path)
            answer = self._process.ask(given, self._timeout)
        return Unscored(str(answer["error"])) if "error" in answer else answer["value"]

    def _check(self, known: Sequence[inspect.Parameter] | Any) -> None:
        """Refuse a function that could not be called by name, or a setting that it would not take."""
        if odd := [one.name for one in known if one.kind in (one.POSITIONAL_ONLY, one.VAR_POSITIONAL)]:
            wrong, accepted = "a function is called with arguments by name", "parameters that have names"
            raise InputError(explain(wrong, found=odd[0], accepted=accepted, do="take out the / or the *"))
        if inspect.iscoroutinefunction(self._call):
            wrong, accepted = "a function that is to be awaited gives no number", "def in place of async def"
            do = "let it wait for what it asks within, with asyncio.run"
            raise InputError(explain(wrong, found=Said("async def"), accepted=accepted, do=do))
        free = [name for name in self._names if name not in (*_OURS, "prompts", "completions")]
        for name in self._settings:
            if name not in free and (not self._all_columns or name in _OURS):
                wrong, do = "the function takes no such setting", "name a parameter of it"
                raise InputError(explain(wrong, found=name, accepted=nearest(name, free), do=do))
        if not ({"completions", "reply", "turns"} & {*self._names}):
            wrong, found = (
                "the function does not look at the reply",
                Said(", ".join(self._names) or "no parameter"),
            )
            accepted, do = "a parameter reply, turns or completions", "name one of its parameters so"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))

    def _identity(self) -> str:
        """What the function is: its source and settings, or a number that nobody else will draw."""
        try:
            source = inspect.getsource(sys.modules[self._call.__module__] if self._path else self._call)
        except (OSError, TypeError, AttributeError, KeyError):
            return secrets.token_hex(16)
        if not self._path and inspect.getclosurevars(self._call).nonlocals:
            return secrets.token_hex(16)  # what it closes over is no part of its source
        digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
        return key("function", self._path or self._call.__qualname__, digest, self._settings)


def _listed(turns: Turns) -> list[dict[str, JSON]]:
    """Messages as people's functions know them."""
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def _said(rate: Rate, turns: Turns) -> object:
    """What is said, in the form that the kind of the prompt has in TRL."""
    return "".join(turn.text for turn in turns) if rate.prompt.plain else _listed(turns)


def _scored(value: object) -> Score | Unscored:
    if value is None:
        return Unscored("the function gave None")
    if not isinstance(value, int | float):
        return Unscored("the function gave a list where a number is wanted")
    return Score(float(value)) if isfinite(value) else Unscored(f"the function gave {value}")


# --- the process ------------------------------------------------------------------------------------------


class _Process:
    """A process that has imported a function and calls it, one call after the other."""

    def __init__(self, path: str) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", worker.__file__, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True)
        reader.start()
        self._end = weakref.finalize(self, _end, self._process, reader)
        self._opening = self._wait(_OPENING)

    @property
    def spent(self) -> bool:
        """Whether it has ended, and another one may do better: not where the module cannot be imported."""
        return not self._end.alive and "error" not in self._opening

    def ask(self, given: _Arguments, seconds: float) -> dict[str, Any]:
        """The answer to one call; the process ends where there is none in time."""
        if "error" in self._opening:
            self.close()
            return self._opening
        assert self._process.stdin is not None
        with suppress(OSError):  # it may have ended, and then no line comes
            self._process.stdin.write(json.dumps(given) + "\n")
            self._process.stdin.flush()
        return self._wait(seconds)

    def _wait(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.close()
            return {"error": f"the function took longer than {seconds:g} s"}
        if line:
            return json.loads(line)
        code = self._process.wait()
        self.close()
        return {"error": f"the process of the function ended by itself, with code {code}"}

    def close(self) -> None:
        """End it."""
        self._end()


def _read(lines: Any, into: "queue.SimpleQueue[str]") -> None:
    """Pass lines on, and an empty one at their end."""
    for line in lines:
        into.put(line)
    into.put("")


def _end(process: "subprocess.Popen[str]", reader: threading.Thread) -> None:
    """Kill a process and let go of its pipes."""
    process.kill()
    process.wait()
    reader.join()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
