"""Asks as requests of the OpenAI protocol: messages, tools, pictures and sampling.

A prompt of messages goes to /chat/completions, where the server writes it with its own template. A plain one,
or one of token ids, is continued as it stands, by /completions. Given replies are scored there too, by
letting the server echo them. What the protocol has no place for is refused, never left out.
"""

import base64
import hashlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from concord.errors import CapabilityError, InputError, Said, explain
from concord.messages import JSON, Image, Images, Message, Part, Prompt, Text, ToolCall, Turns
from concord.seam import Ask, Capability, Sampling

__all__ = ["IMAGE_TOKENS", "check_possible", "echo_of", "longest", "request_of", "route_of", "seed_of"]

IMAGE_TOKENS = 65_536
"""More than any service is known to count for one picture; only for what is set aside beneath a ceiling."""

_MESSAGE_TOKENS = 32  # more than any template writes around a message
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"BM": "image/bmp"}


def route_of(prompt: Prompt) -> str:
    """Where a prompt is sent to."""
    return "completions" if prompt.plain or prompt.tokens is not None else "chat/completions"


def check_possible(ask: Ask) -> None:
    """Refuse what no endpoint can do, whatever it is capable of otherwise."""
    do = "ask a local policy"
    if ask.given and not (ask.prompt.plain and ask.prompt.tokens is None):
        wrong, found = "an endpoint scores given replies to plain prompts only", Said("a prompt of messages")
        accepted = "Prompt(..., plain=True): what its template would make of messages is not known here"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    sampling = ask.sampling
    if (
        sampling.top_logps
        and not ask.given
        and not (_untruncated(sampling) and sampling.temperature in (0, 1))
    ):
        wrong, found = "alternatives are wanted of a distribution that servers report differently", sampling
        accepted = "temperature 0 or 1, top_p 1 and no top_k: there all of them report the model's own"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=f"sample so, or {do}"))


def _untruncated(sampling: Sampling) -> bool:
    return sampling.top_p == 1 and sampling.top_k is None


def request_of(ask: Ask) -> dict[str, Any]:
    """The body of a request for one draw, without model and seed.

    Temperature and top_p are always named, since what servers do without them differs.
    """
    prompt, sampling = ask.prompt, ask.sampling
    body: dict[str, Any] = {"temperature": float(sampling.temperature), "top_p": float(sampling.top_p)}
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    chat = route_of(prompt) == "chat/completions"
    if Capability.LP in ask.needs:
        top = {"top_logprobs": sampling.top_logps} if sampling.top_logps else {}
        body |= {"logprobs": True, **top} if chat else {"logprobs": max(1, sampling.top_logps)}
    return body | (_chat(prompt) if chat else {"prompt": _plain(prompt)})


def echo_of(ask: Ask, turns: Turns) -> tuple[dict[str, Any], str, str]:
    """The body of a request that scores a given reply, the text before it, and its own.

    One token is drawn beyond it, and not used: many servers refuse to draw none, or take 0 for their default.
    """
    before = _plain(ask.prompt)
    apart = (turn for turn in turns if not turn.learned or turn.tool_calls or turn.reasoning)
    if not isinstance(before, str) or len(turns) != 1 or any(apart):
        wrong, found = "a given reply to a plain prompt is more than a text", Said(f"{len(turns)} messages")
        accepted = "one message of text, without thinking or calls"
        raise InputError(explain(wrong, found=found, accepted=accepted, do="give its text"))
    reply = _only_text(turns[0])
    if not before or not reply:
        wrong, found = "nothing to score", (before, reply)
        accepted, do = "a prompt and a reply with some text", "begin the prompt with a line end, say"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    drawn = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0}
    asked = {"echo": True, "logprobs": max(1, ask.sampling.top_logps)}
    return {"prompt": before + reply, **asked, **drawn}, before, reply


def seed_of(seed: int, number: int) -> int:
    """The seed to send for draw `number` of an ask with this seed.

    Hashed, so that neither the draws of one ask nor those of asks with neighbouring seeds fall together where
    a server counts seeds up from the one it is given.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4]) >> 1


def longest(body: Mapping[str, Any]) -> tuple[int, int | None]:
    """The most tokens that prompt and reply of a request can have; None where the reply has no bound.

    A tokenizer makes at most one token of a byte, and a template adds a few to each message.
    """
    pictures = 0

    def emptied(part: Any) -> Any:
        """The same without pictures, which are counted."""
        nonlocal pictures
        if isinstance(part, Mapping):
            entries = cast("Mapping[str, Any]", part)
            if entries.get("type") == "image_url":
                pictures += 1
                return {}
            return {name: emptied(value) for name, value in entries.items()}
        return [*map(emptied, cast("list[Any]", part))] if isinstance(part, list) else part

    said = [emptied(body.get(name)) for name in ("messages", "prompt", "tools", "chat_template_kwargs")]
    size = len(json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    messages = len(cast("Sequence[Any]", body.get("messages", ())))
    prompt = size + _MESSAGE_TOKENS * (messages + 1) + IMAGE_TOKENS * pictures
    new = body.get("max_tokens")
    return prompt, None if new is None else int(new) * int(body.get("n", 1))


# --- what is said -----------------------------------------------------------------------------------------


def _plain(prompt: Prompt) -> str | list[int]:
    """The text or the ids that are continued as they stand."""
    if prompt.tokens is not None:
        return list(prompt.tokens)
    if prompt.tools or prompt.template_args or any(one.tool_calls for one in prompt.messages):
        wrong, found = "a plain prompt has no place for tools or template arguments", Said("some of them")
        raise InputError(explain(wrong, found=found, accepted="text", do="write them into the text"))
    if len(prompt.messages) > 1:
        wrong, do = "a plain prompt has several messages", "join their texts, or do without plain"
        found = Said(", ".join(message.role for message in prompt.messages))
        raise InputError(explain(wrong, found=found, accepted="one text", do=do))
    return "".join(map(_only_text, prompt.messages))


def _only_text(message: Message) -> str:
    for part in message.parts:
        if not isinstance(part, Text):
            raise _unsent(part, "text, where a text is continued as it stands")
    return message.text


def _unsent(part: Part, accepted: str) -> InputError:
    wrong, do = "an endpoint cannot be sent this part of a message", "leave it out, or say it in words"
    return InputError(explain(wrong, found=Said(type(part).__name__), accepted=accepted, do=do))


def _chat(prompt: Prompt) -> dict[str, Any]:
    """A prompt of messages. One that ends with the assistant's is continued, in the words of vLLM and SGLang:
    a server that does not know them says so, or continues it anyway."""
    body: dict[str, Any] = {"messages": _messages(prompt.messages)}
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
    if prompt.template_args:
        body["chat_template_kwargs"] = dict(prompt.template_args)
    if prompt.messages and prompt.messages[-1].role == "assistant":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return body


def _messages(turns: Turns) -> list[dict[str, Any]]:
    """Messages with an id for every call of a tool: where none was given, calls are answered in their order.

    Thinking of earlier turns is not sent: no service wants it back.
    """
    said: list[dict[str, Any]] = []
    unanswered: deque[str] = deque()
    for message in turns:
        data: dict[str, Any] = {"role": message.role, "content": _content(message)}
        if message.name is not None:
            data["name"] = message.name
        if message.tool_calls:
            ids = [call.id or f"call_{len(said)}_{at}" for at, call in enumerate(message.tool_calls)]
            data["tool_calls"] = [_call(*pair) for pair in zip(message.tool_calls, ids, strict=True)]
            unanswered = deque(ids)
        if message.role == "tool":
            answered = message.tool_call_id or (unanswered[0] if unanswered else None)
            if answered is None:
                wrong, found = "a tool answers a call that nobody made", message.text
                accepted, do = "a tool message behind the call that it answers", "put the call before it"
                raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
            if answered in unanswered:
                unanswered.remove(answered)
            data["tool_call_id"] = answered
        said.append(data)
    return said


def _call(call: ToolCall, name: str) -> dict[str, Any]:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(_thawed(call.arguments))
    return {"id": name, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _thawed(value: JSON) -> Any:
    """Dicts and lists, whatever kinds of mapping and sequence there are."""
    if isinstance(value, Mapping):
        return {name: _thawed(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_thawed(one) for one in value]
    return value


def _tool(tool: JSON) -> Any:
    """A tool in its wrapping, which people leave off."""
    thawed = _thawed(tool)
    wrapped = not isinstance(tool, Mapping) or "function" in tool or "type" in tool
    return thawed if wrapped else {"type": "function", "function": thawed}


def _content(message: Message) -> str | list[dict[str, Any]] | None:
    """Text as a string, and with anything else in it as a list of parts."""
    if all(isinstance(part, Text) for part in message.parts):
        return message.text or (None if message.tool_calls else "")
    return [data for part in message.parts for data in _part(part)]


def _part(part: Part) -> list[dict[str, Any]]:
    match part:
        case Text(text):
            return [{"type": "text", "text": text}]
        case Image():
            return [{"type": "image_url", "image_url": {"url": _address(part)}}]
        case Images(images):
            return [data for image in images for data in _part(image)]
        case _:
            raise _unsent(part, "text and pictures")


def _address(image: Image) -> str:
    """A picture as an address: its own, or its bytes as a data URL."""
    source = image.source
    if isinstance(source, str):
        if source.startswith(("http://", "https://", "data:")):
            return source
        try:
            source = Path(source).expanduser().read_bytes()
        except (OSError, ValueError) as error:
            wrong, accepted = "a picture cannot be read", "a file, an address, or the bytes"
            do = f"look whether the file is there ({type(error).__name__})"
            raise InputError(explain(wrong, found=image.source, accepted=accepted, do=do)) from error
    kind = image.media_type or next(
        (kind for start, kind in _KINDS.items() if source.startswith(start)), None
    )
    if kind is None and source[:4] == b"RIFF" and source[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        wrong, found = "a picture of a kind that is not known by its first bytes", source[:12]
        accepted, do = "PNG, JPEG, GIF, WebP, BMP", "say what it is with Image(..., media_type='image/...')"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return f"data:{kind};base64,{base64.b64encode(source).decode('ascii')}"
