"""Trained spans as text: what stands before a turn at inference, and what of the turn is learned from.

Everything is told from the template's own words. `before` is the conversation up to a turn, as inference
would be given it; `through` is the same with the turn. What `through` has more, up to the first stop token,
is the span. It is accepted if it holds the turn's content and beyond that only what was given; else the row
is refused.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from concord.errors import Said, explain
from concord.messages import Message, Prompt, Text, Turns
from concord.render.encoder import squeezed
from concord.render.records import MaskError, RenderError
from concord.render.templates import Template, as_data, joined, plain_data

__all__ = ["Conversation", "Rules", "TurnText", "guard", "written_plain"]

_SHOWN = 60  # characters of a text that a message shows
_THOUGHT = re.compile(r"(</?think(?:ing)?>)")


@dataclass(frozen=True, slots=True)
class TurnText:
    """What inference is given before a turn, and what is learned from, stop token included."""

    before: str
    span: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What ends a span, and what must not stand in a text.

    `stops` finds a stop token in a text, `control` a token that steers a conversation; `normal` is a text as
    the tokenizer looks for such tokens in it. `stop` is written after a reply to plain text and, with
    `appends`, also where the template has no token of its own for that, which `ends_turn` would name.
    """

    stops: re.Pattern[str]
    control: re.Pattern[str]
    normal: Callable[[str], str]
    stop: str | None
    appends: bool
    ends_turn: str | None
    train_added: bool

    def steering(self, text: str) -> re.Match[str] | None:
        """The first control token that the tokenizer would find in a text."""
        read = self.normal(text)
        return self.control.search(text) or (None if read is text else self.control.search(read))


class Conversation:
    """The turns of one prompt and one of its replies, as the template writes them."""

    def __init__(self, template: Template, rules: Rules, prompt: Prompt, args: Mapping[str, Any]) -> None:
        self._template, self._rules = template, rules
        self._prompt = prompt
        self._tools = plain_data(prompt.tools)
        self._args: dict[str, Any] = {**args, **plain_data(prompt.template_args)}
        self._data = [as_data(message) for message in prompt.messages]
        self._continued = bool(prompt.messages) and prompt.messages[-1].role == "assistant"
        self._opened: str | None = None

    @property
    def opened(self) -> str:
        """The text that inference is given for the prompt."""
        if self._opened is None:
            self._opened = self._open(self._tools)
            self._whole(self._data, generate=not self._continued)
            self._tooled(self._opened)
            _complete(self._prompt.messages, self._opened)
            if any(not isinstance(part, Text) for message in self._prompt.messages for part in message.parts):
                self._seen(self._prompt.messages, self._opened)
        return self._opened

    def turns(self, reply: Turns) -> Iterator[TurnText]:
        """The trained turns of a reply."""
        goes_on = self._continued and reply[0].role == "assistant"
        data = [*self._data, *(as_data(message) for message in reply)]
        start = len(self._data)
        if goes_on:
            data[start - 1 : start + 1] = [_merged(self._data[-1], data[start])]
            start -= 1
        for at, message in enumerate(reply):
            if not message.learned:
                continue
            place = start + at
            if at == 0 and message.role == "assistant":
                before = self.opened
            else:
                before = self._before(data[:place], message)
            yield self._turn(message, data[: place + 1], before)
        if reply[0].role != "assistant" or len(reply) > 1:
            self._whole(data)
        texted = [turn for turn in reply if turn.role not in ("assistant", "tool")]
        pictured = any(not isinstance(part, Text) for turn in reply for part in turn.parts)
        if texted or pictured:
            text = self._template.render(data, tools=self._tools, args=self._args)
            _complete(texted, text)
            if pictured:
                self._seen((*self._prompt.messages, *reply), text)

    def _whole(self, data: Sequence[dict[str, Any]], *, generate: bool = False) -> None:
        """Refuse a conversation in which the template has no place for a message, however short."""
        at = self._template.left_out(data, tools=self._tools, args=self._args, generate=generate)
        if at is not None:
            raise _left_out(str(data[at]["role"]), str(data[at]["content"] or data[at].get("tool_calls")))

    def _tooled(self, opened: str) -> None:
        """Refuse tools that are the same to the template as none."""
        try:
            ignored = bool(self._tools) and self._open(()) == opened
        except RenderError:
            return
        if ignored:
            wrong, found = "the chat template has no place for the tools of the prompt", len(self._tools)
            do = "take the tools out, or give a template that writes them by --chat-template"
            raise RenderError(explain(wrong, found=found, accepted="a prompt without tools", do=do))

    def _open(self, tools: Sequence[Any]) -> str:
        if self._continued:
            return self._template.go_on(self._data, tools=tools, args=self._args)
        return self._template.render(self._data, tools=tools, args=self._args, generate=True)

    def _before(self, data: Sequence[dict[str, Any]], message: Message) -> str:
        """What stands before a later turn of a reply."""
        generate = message.role == "assistant"
        return self._template.render(data, tools=self._tools, args=self._args, generate=generate)

    def _turn(self, message: Message, data: Sequence[dict[str, Any]], before: str) -> TurnText:
        """The span of the last of these turns, checked."""
        through = self._template.render(data, tools=self._tools, args=self._args)
        if not through.startswith(before):
            raise _rewritten(before, through)
        span = self._cut(message, through[len(before) :])
        if (added := _added(message, span, self._rules.stops)) and not self._rules.train_added:
            raise self._refused(message, data, added)
        return TurnText(before, span)

    def _cut(self, message: Message, rest: str) -> str:
        """What of the rest is learned from: all up to the first stop token."""
        found = self._rules.stops.search(rest)
        if found is not None:
            return rest[: found.end()]
        ends, stop = self._rules.ends_turn, self._rules.stop
        if ends is None and stop is not None and self._rules.appends:
            content = message.text.strip()
            at = rest.rfind(content)
            if at >= 0:
                return rest[: at + len(content)] + stop
        wrong = "the chat template ends the reply on no stop token, so a model would not learn to stop"
        accepted = "a token that generation stops at, right after the reply"
        do = (
            "name it by --stop-token"
            if ends is None
            else f"say --stop-token {ends!r}, which the template writes"
        )
        raise MaskError(explain(wrong, found=_tail(rest), accepted=accepted, do=do))

    def _refused(self, message: Message, data: Sequence[dict[str, Any]], added: str) -> MaskError:
        """The error for a text that the template puts inside a span."""
        wrong = "the chat template adds text of its own inside the reply, which would be learned"
        accepted = "the reply's content, what was given with it, and the stop token"
        do = "say --train-added to learn it too"
        if self._moved(message, data):
            do = "say --template-arg enable_thinking=false, which puts it into the prompt, or --train-added"
        return MaskError(explain(wrong, found=added, accepted=accepted, do=do))

    def _moved(self, message: Message, data: Sequence[dict[str, Any]]) -> bool:
        """Whether a template that is told not to think puts its addition into the prompt."""
        args = {**self._args, "enable_thinking": False}
        try:
            before = self._template.render(data[:-1], tools=self._tools, args=args, generate=True)
            through = self._template.render(data, tools=self._tools, args=args)
            return through.startswith(before) and not _added(
                message, through[len(before) :], self._rules.stops
            )
        except RenderError:
            return False

    def _seen(self, messages: Iterable[Message], text: str) -> None:
        """Refuse pictures and sounds that a text template does not write a place for."""
        blind = [
            as_data(message)
            if isinstance(message.content, str)
            else as_data(message) | {"content": [{"type": "text", "text": message.text}]}
            for message in messages
        ]
        try:
            without = self._template.render(blind, tools=self._tools, args=self._args)
        except RenderError:
            without = ""
        data = [as_data(message) for message in messages]
        if "{'type':" in text or self._template.render(data, tools=self._tools, args=self._args) == without:
            wrong = "the chat template has no place for a picture or a sound"
            do = "take a model that sees, with its processor, or leave the row out"
            found = Said("a part that is not text")
            raise RenderError(explain(wrong, found=found, accepted="text", do=do))


def guard(messages: Iterable[Message], rules: Rules) -> None:
    """Refuse texts that hold a token by which a conversation is steered: a text must not end a turn."""
    for message in messages:
        for text in _texts(message):
            if found := rules.steering(text):
                at = max(0, found.start() - _SHOWN // 2)
                wrong = f"the text of the {message.role} holds the control token {found.group()!r}"
                accepted = "text that the tokenizer takes for text"
                do = "take the token out of the text, or leave the row out"
                raise MaskError(
                    explain(wrong, found=found.string[at : at + _SHOWN], accepted=accepted, do=do)
                )


def written_plain(reply: Turns, rules: Rules) -> str:
    """A reply to a prompt that stands as it is: the text as it stands, and the stop token, once."""
    if len(reply) != 1 or not reply[0].learned or reply[0].tool_calls or reply[0].reasoning:
        wrong, do = "a reply that continues a text is more than text", "give the prompt as messages"
        accepted, found = "one trained message of text", Said(", ".join(turn.role for turn in reply))
        raise RenderError(explain(wrong, found=found, accepted=accepted, do=do))
    if any(not isinstance(part, Text) for part in reply[0].parts):
        wrong, do = "a picture or a sound in a plain text", "give the prompt as messages"
        raise RenderError(explain(wrong, found=Said("a part that is not text"), accepted="text", do=do))
    text, stop = reply[0].text, rules.stop
    if stop is None:
        wrong, do = "no stop token is known, so a model would not learn to stop", "name one by --stop-token"
        accepted = "a token that generation stops at"
        raise MaskError(explain(wrong, found=_tail(text), accepted=accepted, do=do))
    text = text.removesuffix(stop)
    guard([Message(reply[0].role, text)], rules)
    return text + stop


def _texts(message: Message) -> Iterator[str]:
    """All texts of a message that people may have written."""
    yield message.text
    if message.reasoning:
        yield message.reasoning
    if message.name:
        yield message.name
    for call in message.tool_calls:
        yield call.name
        yield from _strings(call.arguments)


def _strings(value: Any) -> Iterator[str]:
    data = plain_data(value)
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for name, one in cast("dict[str, Any]", data).items():
            yield name
            yield from _strings(one)
    elif isinstance(data, list):
        for one in cast("list[Any]", data):
            yield from _strings(one)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The message that a reply makes of the one it continues."""
    if "reasoning_content" in second:
        wrong = (
            "a reply that continues a message brings reasoning, which would stand before what it continues"
        )
        do = "give the reasoning to the message of the prompt, or to none"
        raise RenderError(
            explain(wrong, found=str(second["reasoning_content"]), accepted="text alone", do=do)
        )
    return {**first, **second, "content": joined(first["content"], second["content"])}


def _complete(messages: Iterable[Message], text: str) -> None:
    """Refuse a conversation of which the template silently leaves out a message."""
    whole: str | None = None
    for message in messages:
        said = message.text.strip()
        if message.role in ("assistant", "tool") or said in text:
            continue
        whole = squeezed(text) if whole is None else whole
        if squeezed(said) not in whole:
            raise _left_out(message.role, said)


def _left_out(role: str, said: str) -> RenderError:
    wrong = f"the chat template leaves out or rewrites the text of the {role}"
    do = "take the message out, or give another template by --chat-template"
    accepted = "a conversation that the template writes in full"
    return RenderError(explain(wrong, found=said[:_SHOWN], accepted=accepted, do=do))


def _added(message: Message, span: str, stops: re.Pattern[str]) -> str:
    """What stands in a span beyond what was given; raises where it lacks what was given."""
    end = stops.search(span)
    body = span[: end.start()] if end else span
    rest = _without(body, message.text.strip())
    if rest is None:
        wrong = "the chat template does not write the reply's content as it is"
        raise MaskError(
            explain(wrong, found=body[:_SHOWN], accepted=message.text.strip()[:_SHOWN] or "''", do=_OTHER)
        )
    if message.reasoning and (rest := _without(rest, message.reasoning.strip())) is None:
        wrong, accepted = "the chat template leaves out the reply's reasoning", "a template that shows it"
        do = "leave the reasoning out, or put it into the content"
        raise MaskError(explain(wrong, found=body[:_SHOWN], accepted=accepted, do=do))
    for call in message.tool_calls:
        for said in (call.name, *_strings(call.arguments)):
            forms = (said, *(json.dumps(said, ensure_ascii=plain)[1:-1] for plain in (False, True)))
            if not any(form in body for form in forms):
                wrong = "the chat template leaves out a tool call of the reply, or part of it"
                accepted = "a template with tools"
                raise MaskError(explain(wrong, found=said[:_SHOWN], accepted=accepted, do=_OTHER))
    # What frames a given thought or call belongs to it.
    return "" if message.reasoning or message.tool_calls else rest.strip()


_OTHER = "give another template by --chat-template, or leave the row out"


def _without(body: str, given: str) -> str | None:
    """A text without what was given; None where it is not in it.

    Templates that take a thought out of a text and put it back set their own blanks around its marks.
    """
    at = body.rfind(given)
    if at >= 0:
        return body[:at] + body[at + len(given) :]
    pieces = [piece.strip() for piece in _THOUGHT.split(given)]
    found = re.search(r"\s*".join(map(re.escape, pieces)), body) if len(pieces) > 1 else None
    return body[: found.start()] + body[found.end() :] if found else None


def _rewritten(before: str, through: str) -> MaskError:
    """The error for a template whose text with the reply does not begin with its text without."""
    at = next((at for at, (a, b) in enumerate(zip(before, through, strict=False)) if a != b), len(through))
    wrong = "with the reply the chat template writes another beginning than generation is given"
    found = Said(f"{before[at : at + _SHOWN]!r} for generation, {through[at : at + _SHOWN]!r} with the reply")
    accepted = "a conversation whose text with the reply begins with its text without"
    do = "give another template by --chat-template, or --template-arg values that make both alike"
    return MaskError(explain(wrong, found=found, accepted=accepted, do=do))


def _tail(text: str) -> str:
    return text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"
