"""The nouns everything else speaks: messages, items, asks and replies, rates and scores, results.

Standard library only. Every record is frozen; where order would be a guess, arguments are keyword-only.

    Message(role, content)      one turn; content is text or typed parts, so modality lives in data
    Prompt(messages, ...)       what is asked, with its tools and template arguments
    Item(prompt, replies, ...)  one row: a prompt, replies, and what is known of their utility
    Ask -> Reply                the one seam to everything that answers (a `Policy`)
    Rate -> Score | Unscored    the one seam to everything that judges (a `Feedback`)
    Result, Scorecard           what every measurement returns

The kinds of item that people speak of (a comparison, a ranking, ...) live in `concord.views`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from math import isfinite
from typing import Literal, Protocol, TypeAlias, get_args, runtime_checkable

from concord.errors import InputError, explain

__all__ = [
    "JSON",
    "Ask",
    "Audio",
    "Capability",
    "Challenge",
    "Content",
    "Feedback",
    "Finish",
    "Image",
    "Images",
    "Interval",
    "Item",
    "Judge",
    "Label",
    "Ledger",
    "Message",
    "Origin",
    "Part",
    "Policy",
    "Preference",
    "Prompt",
    "PromptLike",
    "Ranks",
    "Rate",
    "Ratings",
    "Reply",
    "Result",
    "Role",
    "Sampling",
    "Score",
    "Scorecard",
    "SegmentPreference",
    "Shown",
    "StepLabels",
    "Text",
    "ToolCall",
    "TurnRewards",
    "Turns",
    "TurnsLike",
    "Unanswered",
    "Unscored",
    "Usage",
    "Utilities",
    "Video",
    "as_prompt",
    "as_turns",
]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
_ROLES: tuple[str, ...] = get_args(Role)


# --- messages ---------------------------------------------------------------------------------------------


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
    """A function the model asks for, with its arguments already parsed."""

    name: str
    arguments: Mapping[str, JSON]
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
            raise InputError(
                explain("unknown role of a message", found=self.role, accepted=", ".join(_ROLES))
            )

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as typed parts, whichever way it was given."""
        return (Text(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The text of the content alone; pictures and sounds are left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


Turns: TypeAlias = tuple[Message, ...]
TurnsLike: TypeAlias = str | Message | Sequence[Message]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked: messages (system message included), tools, and arguments for the chat template.

    `plain` marks text that is continued as it stands, without a chat template. Where the last message is
    the assistant's, a reply continues it.
    """

    messages: Turns
    tools: tuple[JSON, ...] = field(default=(), kw_only=True)
    template: Mapping[str, JSON] = field(default_factory=dict[str, JSON], kw_only=True)
    plain: bool = field(default=False, kw_only=True)

    @property
    def text(self) -> str:
        """The text of all messages, a line each: for display and for measures of length."""
        return "\n".join(message.text for message in self.messages)


PromptLike: TypeAlias = str | Message | Sequence[Message] | Prompt


def as_turns(turns: TurnsLike, *, role: Role = "assistant") -> Turns:
    """Messages from what people write: a string (spoken by `role`), a message, or several."""
    if isinstance(turns, str):
        return (Message(role, turns),)
    return (turns,) if isinstance(turns, Message) else tuple(turns)


def as_prompt(prompt: PromptLike) -> Prompt:
    """A prompt from what people write: a string (said by the user), a message, several, or a prompt."""
    return prompt if isinstance(prompt, Prompt) else Prompt(as_turns(prompt, role="user"))


# --- items: what is known of the utility of replies -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """The one reply was shown as an example to imitate."""


@dataclass(frozen=True, slots=True)
class Preference:
    """The probability that the first of two replies is the better one; 0.5 is a tie.

    `votes` keeps the counts behind it, as (for the first, ties, for the second).
    """

    first: float = 1.0
    votes: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class SegmentPreference:
    """As `Preference`, for two stretches of behaviour whose own steps are the actions."""

    first: float = 1.0


@dataclass(frozen=True, slots=True)
class Ranks:
    """A rank for each reply, 1 the best; equal ranks are ties."""

    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """Whether the one reply is desirable."""

    desirable: bool


@dataclass(frozen=True, slots=True)
class Ratings:
    """A score for each reply, higher is better, and scores by aspect where they were given apart."""

    scores: tuple[float, ...]
    aspects: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])


@dataclass(frozen=True, slots=True)
class StepLabels:
    """A label in [0, 1] for each step of the one reply; None where a step was not judged."""

    labels: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class TurnRewards:
    """A reward for each turn of the one reply, None for turns that earn nothing of their own."""

    rewards: tuple[float | None, ...]


Utilities: TypeAlias = (
    Shown | Preference | SegmentPreference | Ranks | Label | Ratings | StepLabels | TurnRewards | None
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from, so that a message can point at it."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Item:
    """One stored row: a prompt, replies (each one or more turns), and what is known of their utility.

    `meta` keeps every other column of the row; `origin` is its file and line. `concord.views` has the
    constructors and typed views of the kinds people speak of, and the conversions between them.
    """

    prompt: Prompt
    replies: tuple[Turns, ...] = ()
    utilities: Utilities = None
    meta: Mapping[str, JSON] = field(default_factory=dict[str, JSON], kw_only=True)
    origin: Origin | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if problem := _shape_problem(self):
            where = f"{self.origin}: " if self.origin else ""
            raise InputError(where + problem)


def _wanted_replies(utilities: Utilities) -> int | None:
    """How many replies a kind of utility speaks of; None where any number will do."""
    match utilities:
        case None:
            return None
        case Shown() | Label() | StepLabels() | TurnRewards():
            return 1
        case Preference() | SegmentPreference():
            return 2
        case Ranks(ranks):
            return max(1, len(ranks))
        case Ratings(scores):
            return max(1, len(scores))


def _shape_problem(item: Item) -> str:
    """Say how the utilities of an item contradict its replies; empty when they agree."""
    kind, wanted = type(item.utilities).__name__, _wanted_replies(item.utilities)
    leave, number = "leave the row out, or mend it", "a finite number"
    if wanted is not None and len(item.replies) != wanted:
        wrong, found = f"{kind} speaks of another number of replies", f"{len(item.replies)} replies"
        return explain(wrong, found=found, accepted=f"{wanted} here", do="give as many of each")
    if any(not reply for reply in item.replies):
        return explain("a reply has no message", found=(), accepted="one message or more", do=leave)
    match item.utilities:
        case Preference(first) | SegmentPreference(first) if not 0 <= first <= 1:
            wrong, accepted = "a preference is a probability", "0 to 1; 0.5 for a tie"
            return explain(wrong, found=first, accepted=accepted, do=leave)
        case Preference(_, votes) if votes is not None and (min(votes) < 0 or sum(votes) == 0):
            accepted = "counts (for the first, ties, for the second), not all zero"
            return explain("the votes say nothing", found=votes, accepted=accepted, do=leave)
        case Ranks(ranks) if ranks and min(ranks) < 1:
            accepted = "1 for the best, 2, 3, ..."
            return explain("a rank is too small", found=min(ranks), accepted=accepted, do="count from 1")
        case Ratings(scores, aspects):
            lists = [scores, *aspects.values()]
            if any(len(values) != len(scores) for values in lists):
                wrong, accepted = "an aspect has another number of scores", f"{len(scores)} each"
                return explain(wrong, found=dict(aspects), accepted=accepted, do="score each reply")
            if not all(isfinite(value) for values in lists for value in values):
                wrong, do = "a score is not a number", "leave unscored replies out"
                return explain(wrong, found=lists, accepted=number, do=do)
        case StepLabels(labels):
            steps = sum(len(message.parts) for message in item.replies[0])
            if steps != len(labels):
                wrong, found = "steps and labels differ in number", f"{len(labels)} labels"
                return explain(wrong, found=found, accepted=f"{steps}, one a step", do="label each step")
            if any(label is not None and not 0 <= label <= 1 for label in labels):
                wrong, accepted = "a step label is out of range", "0 to 1, or none"
                return explain(wrong, found=labels, accepted=accepted, do="put the labels on that scale")
        case TurnRewards(rewards):
            turns = len(item.replies[0])
            if turns != len(rewards):
                wrong, found = "turns and rewards differ in number", f"{len(rewards)} rewards"
                return explain(
                    wrong, found=found, accepted=f"{turns}, one a turn", do="give None for no reward"
                )
            if not all(reward is None or isfinite(reward) for reward in rewards):
                wrong, do = "a reward is not a number", "give None for no reward"
                return explain(wrong, found=rewards, accepted=number, do=do)
        case _:
            pass
    return ""


# --- the seam to whatever answers -------------------------------------------------------------------------


class Capability(Flag):
    """What a policy can be asked for, and what a method needs. Methods declare the least that will do."""

    API = auto()
    """Text in, sampled text out."""
    LP = auto()
    """Log-probabilities of the sampled tokens and of their likeliest alternatives."""
    LOGITS = auto()
    """The whole next-token distribution at every position, also of given replies."""
    ACT = auto()
    """Hidden activations, to read and to change."""
    GRAD = auto()
    """Gradients and weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How replies are drawn. Part of the key under which an answer is stored."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logps: int = 0
    """How many of the likeliest alternatives to report at each position (needs LP)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to a policy: n replies to one prompt."""

    prompt: Prompt
    n: int = field(default=1, kw_only=True)
    sampling: Sampling = field(default_factory=Sampling, kw_only=True)
    needs: Capability = field(default=Capability.API, kw_only=True)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(
                explain("an ask wants at least one reply", found=self.n, accepted="n of 1 or more")
            )

    @property
    def messages(self) -> Turns:
        """The messages of the prompt."""
        return self.prompt.messages


class Finish(Enum):
    """Why a reply ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL = "tool"
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What answering cost; adds up with +."""

    calls: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            new_tokens=self.new_tokens + other.new_tokens,
            cost=self.cost + other.cost,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Tokens and their log-probabilities are given by policies that have them.

    `logps[t]` is under the distribution that was really sampled from, after temperature and truncation.
    `top[t]` holds the likeliest (token text, log-probability) alternatives where they were asked for.
    """

    message: Message
    finish: Finish = field(default=Finish.STOP, kw_only=True)
    tokens: tuple[int, ...] | None = field(default=None, kw_only=True)
    logps: tuple[float, ...] | None = field(default=None, kw_only=True)
    top: tuple[tuple[tuple[str, float], ...], ...] | None = field(default=None, kw_only=True)
    usage: Usage = field(default_factory=Usage, kw_only=True)

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.message.text


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A policy gave no answer, and why. Counted and reported, never taken for an empty one."""

    reason: str


@runtime_checkable
class Policy(Protocol):
    """Anything that answers: local weights, a remote endpoint, a script."""

    @property
    def capabilities(self) -> Capability:
        """All that this policy can be asked for."""
        ...

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply, ...] | Unanswered]:
        """Answer all asks, in order: the n replies of each, or why there are none."""
        ...


# --- the seam to whatever judges --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """A question to a feedback: what are these replies to this prompt worth? `meta` reaches verifiers."""

    prompt: Prompt
    replies: tuple[Turns, ...]
    meta: Mapping[str, JSON] = field(default_factory=dict[str, JSON], kw_only=True)


@dataclass(frozen=True, slots=True)
class Score:
    """What a reply is worth, and of which parts that is made up."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict[str, float], kw_only=True)
    why: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Unscored:
    """A reply could not be scored, and why. Never a silent zero."""

    reason: str


@runtime_checkable
class Feedback(Protocol):
    """Anything that scores replies: a verifier, a judge, a reward model, a person."""

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Rate all, in order: one score for each reply, or why there is none."""
        ...


# --- what every measurement returns -----------------------------------------------------------------------


class Challenge(Enum):
    """The seven research challenges; each is a section of the scorecard."""

    EFFICACY = "efficacy"
    GENERALISATION = "generalisation"
    EFFICIENCY = "efficiency"
    INTERPRETABILITY = "interpretability"
    TAX = "alignment tax"
    OVERSIGHT = "scalable oversight"
    GAMING = "specification gaming"


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true value lies, at the given level of confidence, and how that was reckoned."""

    low: float
    high: float
    level: float = field(default=0.95, kw_only=True)
    how: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise InputError(explain("an interval runs from low to high", found=(self.low, self.high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measured number. `value` is None when nothing could be measured; `failures` says how often.

    `n` counts what the value rests on, `unit` says what it counts in, `how` how it was measured.
    """

    name: str
    value: float | None
    n: int
    interval: Interval | None = None
    unit: str = ""
    failures: int = 0
    how: str = ""
    challenge: Challenge | None = None
    higher_is_better: bool | None = None

    def __post_init__(self) -> None:
        if self.n < 0 or self.failures < 0:
            raise InputError(explain(f"counts of {self.name} are below zero", found=(self.n, self.failures)))
        if self.value is not None and self.n == 0:
            raise InputError(
                explain(f"{self.name} has a value but rests on nothing", do="give n, or no value")
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who judged, and how far that judge can be trusted."""

    id: str
    swap_conflict: float | None = None
    position_bias: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a scorecard or a run has cost, counted in everything that costs."""

    usage: Usage = field(default_factory=Usage)
    forwards: int = 0
    flops: float = 0.0
    labels: int = 0
    models_loaded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """All that is known of one model after one method: results by challenge, and what they cost."""

    model: str
    results: tuple[Result, ...]
    base: str | None = None
    method: str | None = None
    seed: int | None = None
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of each data set to the hash of its content."""
    ledger: Ledger = field(default_factory=Ledger)
    judges: tuple[Judge, ...] = ()
    kl_to_base: Result | None = None
    length: Mapping[str, float] = field(default_factory=dict[str, float])
    """Mean reply length, of the model and of the base."""
    warnings: tuple[str, ...] = ()

    def section(self, challenge: Challenge) -> tuple[Result, ...]:
        """The results that answer one challenge."""
        return tuple(result for result in self.results if result.challenge is challenge)
