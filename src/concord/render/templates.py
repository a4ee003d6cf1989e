"""Chat templates: messages to text, compiled once, the same text on every day.

jinja2 is imported when a template is compiled. The environment has what templates are written for: trimmed
blocks, loop controls, the `generation` tag, `raise_exception`, `strftime_now`, `tojson`. It is sandboxed,
since templates come with models of strangers.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from importlib import import_module
from typing import Any, cast

from concord.errors import NOTHING, InputError, Said, UnavailableError, explain
from concord.messages import Audio, Image, Images, Message, Part, Text, Video
from concord.render.records import RenderError

__all__ = ["EXTRA", "PINNED", "PLAIN", "Template", "as_data", "joined", "needed", "pinned_day", "plain_data"]

EXTRA = 'pip install "concord-align[data]"'
PINNED = date(2024, 7, 26)
"""The day that templates are told where no `date_string` is given: any will do that stays the same."""

PLAIN = """
{%- for message in messages -%}
    {%- if message.tool_calls -%}
        {{- raise_exception("the plain template has no way to write tool calls") -}}
    {%- endif -%}
    {%- if not loop.first -%}{{- "\\n\\n" -}}{%- endif -%}
    {%- set text = message.content | trim -%}
    {%- if message.role == "assistant" -%}{{- "Assistant: " + text + stop_token -}}
    {%- elif message.role == "user" -%}{{- "User: " + text -}}
    {%- elif message.role == "tool" -%}{{- "Tool: " + text -}}
    {%- else -%}{{- text -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- if messages -%}{{- "\\n\\n" -}}{%- endif -%}
    {{- "Assistant:" -}}
{%- endif -%}
"""
"""For models that have no template: the system's text, then turns under User: and Assistant:, with blank
lines between. A reply follows its colon after one blank and ends on the stop token."""

_MARK = "@@concord-goes-on-here@@"
_MOST_SHAPES = 1000  # shapes of conversation that are remembered


def needed(module: str) -> Any:
    """Import a module of the extra `data`, or say how to get it."""
    try:
        return import_module(module)
    except ImportError as missing:
        package = module.partition(".")[0]
        wrong, found = f"{package} is not installed", Said(str(missing))
        accepted = "an environment with the extra `data`"
        raise UnavailableError(explain(wrong, found=found, accepted=accepted, do=EXTRA)) from missing


def pinned_day(args: Mapping[str, Any]) -> date:
    """The day that a template is told: that of the argument `date_string`, or one that stays the same."""
    given = args.get("date_string")
    for form in ("%d %b %Y", "%d %B %Y", "%Y-%m-%d", "%B %d, %Y", "%b %d, %Y"):
        try:
            return datetime.strptime(str(given), form).date()
        except ValueError:
            continue
    return PINNED


class Template:
    """One chat template, or several by name, of which `tool_use` serves prompts that have tools."""

    def __init__(self, texts: Mapping[str, str], *, variables: Mapping[str, Any], day: date) -> None:
        environment = _environment(day)
        self._variables = dict(variables)
        self._renders: dict[str, Callable[..., str]] = {}
        for name, text in texts.items():
            try:
                self._renders[name] = environment.from_string(text).render
            except needed("jinja2").TemplateError as fault:
                wrong, accepted = f"the chat template is not Jinja: {fault}", "a Jinja template"
                found = Said(f"line {getattr(fault, 'lineno', 1)} of the template {name!r}")
                do = "mend it, or give another by --chat-template"
                raise InputError(explain(wrong, found=found, accepted=accepted, do=do)) from fault
        self._tried: dict[str, int | None] = {}
        self.asks_date = any("strftime_now" in text for text in texts.values())

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] = (),
        args: Mapping[str, Any] | None = None,
        generate: bool = False,
    ) -> str:
        """The text of a conversation; with `generate` up to where the assistant's next words begin."""
        name = "tool_use" if tools and "tool_use" in self._renders else "default"
        given = {**self._variables, **args} if args else self._variables
        try:
            return self._renders[name](
                messages=messages,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=generate,
                **given,
            )
        except Exception as fault:  # whatever a template raises, it is the template's
            wrong = f"the chat template refuses this conversation: {fault}"
            roles = Said(", ".join(str(message["role"]) for message in messages) or str(NOTHING))
            do = "change the conversation to what it takes, or give another by --chat-template"
            raise RenderError(
                explain(wrong, found=roles, accepted="what the model's template takes", do=do)
            ) from fault

    def left_out(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any],
        args: Mapping[str, Any],
        generate: bool,
    ) -> int | None:
        """The first message, by its number, whose text or tool calls the template has no place for.

        Tried with marks in the place of what is said, once for each shape of conversation.
        """
        marked = [_replaced(message, f"{_MARK}{at}") for at, message in enumerate(messages)]
        shape = repr((marked, bool(tools), args, generate))
        if shape not in self._tried:
            if len(self._tried) >= _MOST_SHAPES:
                self._tried.clear()
            try:
                text = self.render(marked, tools=tools, args=args, generate=generate)
            except RenderError:
                text = None  # nothing is known; the conversation itself is rendered beside this
            left = (
                at
                for at, message in enumerate(marked)
                if text is not None and any(mark not in text for mark in _marks(message))
            )
            self._tried[shape] = next(left, None)
        return self._tried[shape]

    def go_on(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Any], args: Mapping[str, Any]
    ) -> str:
        """The text of a conversation up to the end of its last message's content, which is to be continued.

        Where the template strips blanks from the end of a content, they are not in the text.
        """
        last = messages[-1]
        marked = {**last, "content": _marked(last["content"])}
        text = self.render([*messages[:-1], marked], tools=tools, args=args)
        at = text.rfind(_MARK)
        if at < 0:
            wrong = "the chat template leaves out the message that is to be continued"
            do = "end the prompt with a user's message, or give another template by --chat-template"
            accepted = "a template that shows the assistant's last content"
            raise RenderError(explain(wrong, found=Said(str(last["role"])), accepted=accepted, do=do))
        kept = text.startswith(f"{_MARK} ", at)
        return text[:at] if kept else text[:at].rstrip()


def _replaced(message: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """A message that says a mark and calls one in the place of each tool; pictures and sounds stay."""
    said = message["content"]
    seen = dict(message)
    if isinstance(said, str):
        seen["content"] = f"{mark}." if said.strip() else ""
    if "tool_calls" in seen:
        called: dict[str, Any] = {"name": f"{mark}:", "arguments": {}}
        seen["tool_calls"] = [{**call, "function": called} for call in seen["tool_calls"]]
    if "reasoning_content" in seen:
        seen |= {"reasoning_content": "", "thinking": ""}
    return seen


def _marks(message: Mapping[str, Any]) -> list[str]:
    """What a message says in the place of a text and of tool calls."""
    said = [message["content"]] if isinstance(message["content"], str) and message["content"] else []
    return said + [call["function"]["name"] for call in message.get("tool_calls", ())][:1]


def _marked(content: Any) -> Any:
    """A content with a mark at its end; its blank shows whether the template strips."""
    if isinstance(content, str):
        return f"{content}{_MARK} "
    return joined(content, [{"type": "text", "text": f"{_MARK} "}])


def joined(one: str | list[dict[str, Any]], two: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Two contents in one; the texts that meet become one text."""
    if isinstance(one, str) and isinstance(two, str):
        return one + two
    first, *rest = [{"type": "text", "text": two}] if isinstance(two, str) else two
    parts = [{"type": "text", "text": one}] if isinstance(one, str) else list(one)
    if parts[-1]["type"] == first["type"] == "text":
        first = {**first, "text": parts.pop()["text"] + first["text"]}
    return [*parts, first, *rest]


def _environment(day: date) -> Any:
    """A sandbox with what chat templates expect to find."""
    sandbox, extensions, nodes = needed("jinja2.sandbox"), needed("jinja2.ext"), needed("jinja2.nodes")

    def parse(_: Any, parser: Any) -> Any:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    marks = type("Marks", (extensions.Extension,), {"tags": {"generation"}, "parse": parse})
    environment: Any = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[marks, extensions.loopcontrols]
    )

    def refuse(message: object) -> None:
        raise needed("jinja2").TemplateError(str(message))

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    environment.filters["tojson"] = to_json
    # The same conversation gives the same text.
    del environment.filters["random"], environment.globals["lipsum"]
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": day.strftime,
        "namespace": _guarded(needed("jinja2.utils").Namespace),
        "dict": _plain_dict,
    }
    return environment


def _plain_dict(*pairs: Any, **named: Any) -> dict[str, Any]:
    """A dict, without the methods of the type."""
    return dict(*pairs, **named)


def _guarded(namespace: Any) -> Any:
    """A template's own variables, without the names by which one could reach into Python."""

    def check(name: str) -> None:
        if name.startswith("_"):
            raise needed("jinja2").TemplateError(f"a chat template must not set {name!r}")

    def make(*pairs: Any, **named: Any) -> Any:
        for name in (values := dict(*pairs, **named)):
            check(name)
        return kind(values)

    def store(self: Any, name: str, value: Any) -> None:
        check(name)
        namespace.__setitem__(self, name, value)

    kind = type("Variables", (namespace,), {"__setitem__": store})
    return make


# --- messages as templates see them -----------------------------------------------------------------------


def plain_data(value: Any) -> Any:
    """Lists and dicts, all the way down, whatever kinds of sequence and mapping there are."""
    if isinstance(value, Mapping):
        return {str(name): plain_data(one) for name, one in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain_data(one) for one in cast("Sequence[Any]", value)]
    return value


def as_data(message: Message) -> dict[str, Any]:
    """A message as a template sees it. Text alone is a string; other parts are typed, without content."""
    parts = message.content
    if isinstance(parts, str):
        content: Any = parts
    elif all(isinstance(part, Text) for part in parts):
        content = message.text
    else:
        content = [seen for part in parts for seen in _typed(part)]
    data: dict[str, Any] = {"role": message.role, "content": content}
    if message.name is not None:
        data["name"] = message.name
    if message.reasoning is not None:
        data |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    if message.tool_calls:
        data["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": plain_data(call.arguments)},
                **({} if call.id is None else {"id": call.id}),
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        data["tool_call_id"] = message.tool_call_id
    return data


def _typed(part: Part) -> list[dict[str, str]]:
    match part:
        case Text(text):
            return [{"type": "text", "text": text}]
        case Images(images):
            return [{"type": "image"} for _ in images]
        case Image():
            return [{"type": "image"}]
        case Video():
            return [{"type": "video"}]
        case Audio():
            return [{"type": "audio"}]
