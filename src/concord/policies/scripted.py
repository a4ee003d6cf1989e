"""A policy that answers from a script: every flow, judge and protocol can be tried without a model."""

import re
import secrets
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

from concord import wire
from concord.errors import CapabilityError, InputError, Said, explain
from concord.store import key
from concord.types import Ask, Capability, Finish, Message, Reply, Sampling, Turns, Unanswered, Usage

__all__ = ["Line", "Script", "Scripted"]

Line: TypeAlias = str | Reply | Unanswered
"""One scripted reply: its text, the whole of it, or a failure."""
Script: TypeAlias = (
    Line | Mapping[str, Line | Sequence[Line]] | Sequence[Line] | Callable[[Ask], Line | Sequence[Line]]
)


class Scripted:
    """A deterministic policy that says what a script tells it to, and remembers what it was asked.

    The script is one line, said always; or
    - a mapping from patterns, searched for in `Prompt.text` in the order given, to a line or a list of
      lines. Each prompt walks its list in order and starts again at the end; with a seed in the ask it
      starts at a place that prompt and seed alone decide, so that the same ask has the same replies;
    - a list of lines, used up in order over all asks;
    - a function from an ask to a line, or to n of them.

    A single line that stands for several replies is repeated. Text is cut at stop strings and after
    `max_tokens`, where a word counts as a token; a `Reply` or an `Unanswered` is given as it stands.
    `logps`, a function from a word to its log-probability, adds tokens and log-probabilities to text, and the
    capabilities LP and SCORE: the words of given replies are looked up, whatever the script says.

    `id` is `name`, or else the hash of the script. Functions cannot be hashed: without a name, whatever has
    one gets an id that no other policy has or will have.
    """

    def __init__(
        self,
        script: Script,
        *,
        capabilities: Capability = Capability.API,
        logps: Callable[[str], float] | None = None,
        name: str = "",
    ) -> None:
        _check_script(script)
        self.script = script
        self.logps = logps
        self.asks: list[Ask] = []
        """Every ask that came in, in order; those that were refused are not in it."""
        self.usage = Usage()
        """What all asks have cost together, in calls and words."""
        self._capabilities = capabilities | (Capability.LP | Capability.SCORE if logps else Capability(0))
        self._said: Counter[str] = Counter()
        self._id = name or f"scripted-{secrets.token_hex(16) if logps else _identity(script)}"

    @property
    def id(self) -> str:
        """The name, or what the script makes it."""
        return self._id

    @property
    def capabilities(self) -> Capability:
        """All that this policy can be asked for."""
        return self._capabilities

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        """Answer all asks, in order, or none: where one is refused, nothing is used up nor remembered."""
        for ask in asks:
            self._check(ask)
        said, count, usage = self._said.copy(), len(self.asks), self.usage
        try:
            return [self._answer(ask) for ask in asks]
        except BaseException:
            # A script that has no lines for one of them leaves no trace of any.
            self._said, self.usage = said, usage
            del self.asks[count:]
            raise

    def _check(self, ask: Ask) -> None:
        """Refuse what is beyond the declared capabilities."""
        if missing := ask.needs & ~self.capabilities:
            wrong, do = "a scripted policy cannot do what is asked", "declare capabilities=..., or logps=..."
            accepted = f"capabilities within {_names(self.capabilities)}"
            raise CapabilityError(explain(wrong, found=Said(_names(missing)), accepted=accepted, do=do))
        if ask.given and self.logps is None:
            wrong, found = (
                "a scripted policy cannot do what is asked: it has nothing to score with",
                Said("no logps"),
            )
            accepted, do = "a function from a word to its log-probability", "give logps=..."
            raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))

    def _answer(self, ask: Ask) -> tuple[Reply | Unanswered, ...]:
        self.asks.append(ask)
        lines = [self._scored(turns, ask.sampling) for turns in ask.given] or self._lines(ask)
        # What the ask itself costs stands on its first entry, so that usage adds up over the entries.
        opening = Usage(calls=1, prompt_tokens=len(ask.prompt.text.split()))
        answer: list[Reply | Unanswered] = []
        for line in lines:
            entry = self._spoken(line, ask.sampling) if isinstance(line, str) else line
            cost = Usage() if answer else opening
            if isinstance(entry, Reply) and not ask.given:
                cost += Usage(new_tokens=len(entry.text.split()))
            answer.append(replace(entry, usage=cost) if entry.usage == Usage() else entry)
            self.usage += answer[-1].usage
        return tuple(answer)

    def _lines(self, ask: Ask) -> list[Line]:
        """The n lines that the script has for an ask."""
        match self.script:
            case str() | Reply() | Unanswered() as line:
                return [line] * ask.n
            case Mapping() as table:
                for pattern, entry in table.items():
                    if re.search(pattern, ask.prompt.text):
                        return self._walked(ask, pattern, _listed(entry))
                wrong, do = "no pattern of the script matches the prompt", "add a pattern; '' matches all"
                accepted = ", ".join(map(repr, table)) or "nothing"
                raise InputError(explain(wrong, found=ask.prompt.text, accepted=accepted, do=do))
            case Sequence() as lines:
                start = self._said[""]
                self._said[""] += ask.n
                if start + ask.n > len(lines):
                    wrong, accepted = "the script has run out", f"{len(lines)} replies in all"
                    raise InputError(explain(wrong, found=ask.prompt.text, accepted=accepted, do="add lines"))
                return list(lines[start : start + ask.n])
            case _:
                given = self.script(ask)
                _check_lines(given, "what the script gave")
                lines = _listed(given)
                if lines is given and len(lines) != ask.n:
                    wrong, accepted = "the script gave another number of replies", f"{ask.n}, or one line"
                    raise InputError(explain(wrong, found=len(lines), accepted=accepted, do="give n lines"))
                return list(lines) if len(lines) == ask.n else [*lines] * ask.n

    def _walked(self, ask: Ask, pattern: str, lines: Sequence[Line]) -> list[Line]:
        """The next n lines of a list, around its end."""
        if not lines:
            do = "give it a line, or take the pattern out"
            raise InputError(
                explain("a pattern has no lines", found=pattern, accepted="one line or more", do=do)
            )
        prompt = repr(ask.prompt)
        if ask.sampling.seed is None:
            start = self._said[prompt]
            self._said[prompt] += ask.n
        else:
            start = zlib.crc32(f"{ask.sampling.seed} {prompt}".encode())
        return [lines[(start + offset) % len(lines)] for offset in range(ask.n)]

    def _spoken(self, text: str, sampling: Sampling) -> Reply:
        """A reply of this text, as far as the sampling lets it go."""
        ends = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
        text, finish = text[: min(ends, default=len(text))], Finish.STOP
        words = re.findall(r"\s*\S+", text)
        if sampling.max_tokens is not None and len(words) > sampling.max_tokens:
            words = words[: sampling.max_tokens]
            text, finish = "".join(words), Finish.LENGTH
        return self._weighed(Reply(Message("assistant", text), finish=finish), words, sampling)

    def _scored(self, turns: Turns, sampling: Sampling) -> Reply:
        """A given reply, with what its learned turns come to."""
        words = [word for turn in turns if turn.learned for word in turn.text.split()]
        return self._weighed(Reply(turns[-1]), words, sampling)

    def _weighed(self, reply: Reply, words: Sequence[str], sampling: Sampling) -> Reply:
        """A reply with the tokens and log-probabilities of its words, where the script has any."""
        if self.logps is None:
            return reply
        bare = [word.strip() for word in words]
        logps = tuple(self.logps(word) for word in bare)
        return replace(
            reply,
            tokens=tuple(zlib.crc32(word.encode()) for word in bare),
            logps=logps,
            top=tuple(((word, logp),) for word, logp in zip(bare, logps, strict=True))
            if sampling.top_logps
            else None,
        )


def _check_script(script: object) -> None:
    """Refuse what is no script, before it is asked anything."""
    if isinstance(script, Mapping):
        for pattern, entry in cast("Mapping[Any, object]", script).items():
            try:
                re.compile(pattern)
            except (re.error, TypeError) as error:
                wrong, accepted = f"a pattern of the script cannot be read ({error})", "a regular expression"
                do = "mend it, or write re.escape(...) for a text as it stands"
                raise InputError(explain(wrong, found=pattern, accepted=accepted, do=do)) from error
            _check_lines(entry, f"the entry of {pattern!r}")
    elif not callable(script):
        _check_lines(script, "the script")


def _check_lines(entry: object, name: str) -> None:
    """Refuse what is neither a line nor a list of lines."""
    accepted, do = "a text, a Reply, an Unanswered, or a list of these", "put the lines in a list"
    if isinstance(entry, str | Reply | Unanswered):
        return
    if not isinstance(entry, Sequence) or isinstance(entry, bytes):
        accepted += ", a mapping from patterns or a function" if name == "the script" else ""
        raise InputError(explain(f"{name} has no lines", found=entry, accepted=accepted, do=do))
    for line in cast("Sequence[object]", entry):
        if not isinstance(line, str | Reply | Unanswered):
            raise InputError(explain(f"{name} has a line of no use", found=line, accepted=accepted, do=do))


def _identity(script: Script) -> str:
    """The hash of a script, or a number nobody else will ever draw where it holds a function."""
    match script:
        case str() | Reply() | Unanswered():
            return key("scripted", _plain(script))[:32]
        case Mapping():
            # Patterns are tried in order, so their order is part of what they are.
            table = [(pattern, [*map(_plain, _listed(entry))]) for pattern, entry in script.items()]
            return key("scripted", "table", table)[:32]
        case Sequence():
            return key("scripted", "list", [*map(_plain, script)])[:32]
        case _:
            return secrets.token_hex(16)


def _plain(line: Line) -> object:
    return line if isinstance(line, str) else wire.to_json(line, cls=Reply | Unanswered)


def _listed(entry: Line | Sequence[Line]) -> Sequence[Line]:
    return [entry] if isinstance(entry, str | Reply | Unanswered) else entry


def _names(capabilities: Capability) -> str:
    return ", ".join(member.name or "" for member in capabilities)
