"""What is said: messages, prompts, and what people write in their place. Import them from `concord.types`.

    Message   one turn; content is text or typed parts
    Prompt    what is asked, with its tools and template arguments
    as_turns  messages from what people write; `as_prompt` the same for a prompt

Standard library only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, Literal, TypeAlias, cast, get_args

from concord.errors import InputError, Said, explain

__all__ = [
    "JSON",
    "Audio",
    "Content",
    "Image",
    "Images",
    "Message",
    "Part",
    "Prompt",
    "PromptLike",
    "Role",
    "Text",
    "ToolCall",
    "Turns",
    "TurnsLike",
    "Video",
    "as_prompt",
    "as_turns",
    "first_odd",
    "is_count",
    "is_number",
    "is_turns",
    "is_votes",
    "spoils",
]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
_ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text. The steps of a stepwise reply are its text parts."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """One picture: a path, an address or the encoded bytes, passed on untouched."""

    source: str | bytes
    media_type: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Images:
    """Several pictures that belong together, in order."""

    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Video:
    """A film: its frames in order, or a path, address or bytes to take them from."""

    source: str | bytes | tuple[Image, ...]
    fps: float | None = field(default=None, kw_only=True)
    media_type: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound: a path, an address or the encoded bytes."""

    source: str | bytes
    media_type: str | None = field(default=None, kw_only=True)


Part: TypeAlias = Text | Image | Images | Video | Audio
Content: TypeAlias = str | tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model asks for, with its arguments parsed; or as the text itself, where that fails."""

    name: str
    arguments: Mapping[str, JSON] | str
    id: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `reasoning` is thinking that a template may show or drop. `trained` says whether this turn is
    learned from when it stands in a reply; None means the default, which is assistant turns only.
    """

    role: Role
    content: Content
    name: str | None = field(default=None, kw_only=True)
    reasoning: str | None = field(default=None, kw_only=True)
    tool_calls: tuple[ToolCall, ...] = field(default=(), kw_only=True)
    tool_call_id: str | None = field(default=None, kw_only=True)
    trained: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            wrong, do = "unknown role of a message", "give it one of these roles"
            raise InputError(explain(wrong, found=self.role, accepted=", ".join(_ROLES), do=do))
        if spoils(self.content, str) and (odd := first_odd(self.content, lambda one: isinstance(one, Part))):
            wrong, accepted = "the content of a message is not text", "text, or a tuple of typed parts"
            do = "give '' where nothing is said, and Text, Image, ... for the parts"
            raise InputError(explain(wrong, found=odd[0], accepted=accepted, do=do))

    @property
    def learned(self) -> bool:
        """Whether this turn of a reply is learned from: as `trained` says, else if it is the assistant's."""
        return self.role == "assistant" if self.trained is None else self.trained

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as typed parts, whichever way it was given."""
        return (Text(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The text of the content alone; pictures and sounds are left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


Turns: TypeAlias = tuple[Message, ...]
TurnsLike: TypeAlias = str | Message | Mapping[str, Any] | Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked: messages (system message included), tools, and arguments for the chat template.

    `plain` marks text that is continued as it stands, without a chat template. Where the last message is
    the assistant's, a reply continues it. `tokens` are ids to be continued as they stand (those of an earlier
    turn, say, with its reply); nothing is rendered then, and all the rest is for display.
    """

    messages: Turns
    tools: tuple[JSON, ...] = field(default=(), kw_only=True)
    template_args: Mapping[str, JSON] = field(default_factory=dict[str, JSON], kw_only=True)
    plain: bool = field(default=False, kw_only=True)
    tokens: tuple[int, ...] | None = field(default=None, kw_only=True)

    @property
    def text(self) -> str:
        """The text of all messages, a line each: for display and for measures of length."""
        return "\n".join(message.text for message in self.messages)


PromptLike: TypeAlias = TurnsLike | Prompt


def as_turns(turns: TurnsLike, *, role: Role = "assistant") -> Turns:
    """Messages from what people write: a string (spoken by `role`), a message, or several.

    A mapping with the fields of a message, of which role and content must be there, is taken for one.
    """
    if isinstance(turns, str):
        return (Message(role, turns),)
    if isinstance(turns, Message | Mapping):
        return (_message(turns),)
    if spoils(turns, Sequence) or not spoils(turns, bytes, bytearray):
        raise _unsaid("not something that is said", turns)
    return tuple(_message(turn) for turn in turns)


def _message(turn: object) -> Message:
    """A message, or what a mapping says of one."""
    if isinstance(turn, Message):
        return turn
    if not isinstance(turn, Mapping):
        raise _unsaid("a turn of a list is not a message", turn)
    given: dict[Any, Any] = {**turn}
    known = [one.name for one in fields(Message)]
    if odd := [name for name in given if name not in known]:
        wrong, accepted = "a message has no such field", ", ".join(known)
        raise InputError(explain(wrong, found=odd[0], accepted=accepted, do="leave it out, or rename it"))
    if missing := [name for name in ("role", "content") if name not in given]:
        wrong, found = f"a message has no {missing[0]}", Said(f"{', '.join(map(repr, given)) or 'no field'}")
        raise InputError(explain(wrong, found=found, accepted="role and content", do=f"give {missing[0]}"))
    return Message(**given)


def _unsaid(wrong: str, found: object) -> InputError:
    accepted = "a text, a Message, a mapping with role and content, or a list of messages"
    do = "write Message(role, content), in a list where there are several"
    return InputError(explain(wrong, found=found, accepted=accepted, do=do))


def as_prompt(prompt: PromptLike) -> Prompt:
    """A prompt from what people write: a string (said by the user), a message, several, or a prompt."""
    return prompt if isinstance(prompt, Prompt) else Prompt(as_turns(prompt, role="user"))


# --- whether a value is what its annotation says ----------------------------------------------------------


def spoils(value: object, *kinds: type) -> bool:
    """Whether a value is of none of these types."""
    return not isinstance(value, kinds)


def is_count(value: object, least: int = 0) -> bool:
    """Whether a value is a whole number, not a truth value, and not too small."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Whether a value is a finite number that a float can hold."""
    try:
        return isinstance(value, int | float) and isfinite(value)
    except OverflowError:
        return False


def is_votes(value: object) -> bool:
    """Whether a value is three counts, not all zero, whose shares a float can hold."""
    if first_odd(value, is_count) or not isinstance(value, tuple):
        return False
    counts = cast("tuple[int, ...]", value)
    return len(counts) == 3 and sum(counts) > 0 and is_number(sum(counts))


def is_turns(value: object) -> bool:
    """Whether a value is a tuple of messages."""
    return not first_odd(value, lambda one: isinstance(one, Message))


def first_odd(values: object, holds: Callable[[object], bool]) -> list[object]:
    """The first entry of a tuple that does not hold, alone in a list; or all of it, where it is no tuple."""
    if not isinstance(values, tuple):
        return [values]
    for entry in cast("tuple[object, ...]", values):
        if not holds(entry):
            return [entry]
    return []
