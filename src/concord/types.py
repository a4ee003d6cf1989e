"""The nouns everything else speaks: messages, items, asks and replies, rates and scores, results.

Standard library only. Every record is frozen; where order would be a guess, arguments are keyword-only.

    Message(role, content)      one turn; content is text or typed parts, so modality lives in data
    Prompt(messages, ...)       what is asked, with its tools and template arguments
    Item(prompt, replies, ...)  one row: a prompt, replies, and what is known of their utility
    Ask -> Reply | Unanswered   the one seam to everything that answers (a `Policy`)
    Rate -> Score | Unscored    the one seam to everything that judges (a `Feedback`)
    Flow                        a generator that yields these two and returns its answer
    Result, Scorecard           what every measurement returns (written in `concord.results`)

The kinds of item that people speak of (a comparison, a ranking, ...) live in `concord.views`.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, Flag, auto
from math import isfinite
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, get_args, runtime_checkable

from concord.errors import NOTHING, InputError, Said, explain
from concord.results import Challenge, Interval, JudgeRecord, Ledger, Result, Scorecard, Usage

__all__ = [
    "JSON",
    "RESERVED_META",
    "Ask",
    "AsyncPolicy",
    "Audio",
    "Capability",
    "Challenge",
    "Content",
    "Feedback",
    "Finish",
    "Flow",
    "Image",
    "Images",
    "Interval",
    "Item",
    "JudgeRecord",
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
    "Request",
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
_T = TypeVar("_T")


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
TurnsLike: TypeAlias = str | Message | Sequence[Message]


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

    `votes` keeps the counts behind it, as (for the first, ties, for the second). `strength` says by how much
    the better reply is better, a margin in units of reward: 0 or above, and nothing but 0 for a tie. `scores`
    are the absolute scores of both, in their order; `aspects` holds by its name (safer, more helpful) the
    probability that the first reply is the better one in one respect.
    """

    first: float = 1.0
    votes: tuple[int, int, int] | None = None
    strength: float | None = field(default=None, kw_only=True)
    scores: tuple[float, float] | None = field(default=None, kw_only=True)
    aspects: Mapping[str, float] = field(default_factory=dict[str, float], kw_only=True)


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
    """A score for each reply, higher is better, and scores by aspect where they were given apart.

    None stands for a reply that was not scored; at least one number there is.
    """

    scores: tuple[float | None, ...]
    aspects: Mapping[str, tuple[float | None, ...]] = field(
        default_factory=dict[str, tuple[float | None, ...]]
    )


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


RESERVED_META: tuple[str, ...] = ("ref_chosen_logps", "ref_logps", "ref_rejected_logps")
"""Keys of `Item.meta` whose values belong to the replies as they stand; `Item` says what they mean."""


@dataclass(frozen=True, slots=True)
class Item:
    """One stored row: a prompt, replies (each one or more turns), and what is known of their utility.

    `meta` keeps every other column of the row; `origin` is its file and line. `concord.views` has the
    constructors and typed views of the kinds people speak of, and the conversions between them.

    Readers and trainers agree on some keys of `meta`. `ref_chosen_logps` and `ref_rejected_logps` are the
    summed log-probabilities of the first and the second reply under the reference, `ref_logps` a list with
    one for each reply. They belong to the replies as they stand, so a conversion that drops or reorders
    replies drops them, aloud (`RESERVED_META`). `images` belongs to the prompt and stays: pictures of a row
    whose messages do not hold them yet.

    What contradicts itself is refused: utilities that speak of other replies, a reply preferred to itself,
    an example without a turn to learn from, numbers out of range. What is merely odd is kept, for an audit
    to warn of: a reply that says nothing, ranks that all tie, the same reply scored twice, a preference that
    goes against its own votes or scores.
    """

    prompt: Prompt
    replies: tuple[Turns, ...] = ()
    utilities: Utilities = None
    meta: Mapping[str, JSON] = field(default_factory=dict[str, JSON], kw_only=True)
    origin: Origin | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if problem := _problem(self):
            wrong, found, accepted, do = problem
            where = f"{self.origin}: " if self.origin else ""
            raise InputError(where + explain(wrong, found=found, accepted=accepted, do=do))


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


_Problem: TypeAlias = tuple[str, object, str, str]  # what is wrong, found, accepted, to be done
_LEAVE, _NUMBER = "leave the row out, or mend it", "a finite number"


def _problem(item: Item) -> _Problem | None:
    """How an item contradicts itself, if it does."""
    kind, wanted, given = type(item.utilities).__name__, _wanted_replies(item.utilities), len(item.replies)
    if wanted is not None and given != wanted:
        wrong = f"{kind} speaks of another number of replies"
        return wrong, Said(f"{given} replies"), f"{wanted} here", "give as many of each"
    if any(not reply for reply in item.replies):
        return "a reply has no message", (), "one message or more", _LEAVE
    match item.utilities:
        case Shown() if not any(turn.learned for turn in item.replies[0]):
            roles, do = (
                [turn.role for turn in item.replies[0]],
                "add an assistant turn, or mark a turn trained",
            )
            return "no turn of an example is trained", roles, "at least one turn to learn from", do
        case Preference() | SegmentPreference() as known:
            return _preference_problem(known, item.replies)
        case Ranks(ranks) if ranks and min(ranks) < 1:
            return "a rank is too small", min(ranks), "1 for the best, 2, 3, ...", "count from 1"
        case Ratings() as known:
            return _ratings_problem(known)
        case StepLabels(labels):
            if (steps := sum(len(message.parts) for message in item.replies[0])) != len(labels):
                wrong, found = "steps and labels differ in number", Said(f"{len(labels)} labels")
                return wrong, found, f"{steps}, one a step", "label each step"
            if any(label is not None and not 0 <= label <= 1 for label in labels):
                return "a step label is out of range", labels, "0 to 1, or none", "bring them to that scale"
        case TurnRewards(rewards):
            if (turns := len(item.replies[0])) != len(rewards):
                wrong, found = "turns and rewards differ in number", Said(f"{len(rewards)} rewards")
                return wrong, found, f"{turns}, one a turn", "give None for no reward"
            if not all(reward is None or isfinite(reward) for reward in rewards):
                return "a reward is not a number", rewards, _NUMBER, "give None for no reward"
        case _:
            pass
    return None


def _preference_problem(known: Preference | SegmentPreference, replies: tuple[Turns, ...]) -> _Problem | None:
    """How a preference contradicts itself or its two replies, if it does."""
    shares = [known.first, *(known.aspects.values() if isinstance(known, Preference) else ())]
    if odd := [share for share in shares if not 0 <= share <= 1]:
        return "a preference is a probability", odd[0], "0 to 1; 0.5 for a tie", _LEAVE
    preferred = [share for share in shares if share != 0.5]
    if preferred and replies[0] == replies[1]:
        accepted, do = "two different replies, or 0.5", "leave the row out, or give a preference of 0.5"
        return "a reply is preferred to itself", preferred[0], accepted, do
    if not isinstance(known, Preference):
        return None
    votes, strength, scores = known.votes, known.strength, known.scores
    if votes is not None and (len(votes) != 3 or min(votes) < 0 or sum(votes) == 0):
        accepted = "three counts (for the first, ties, for the second), not all zero"
        return "the votes say nothing", votes, accepted, _LEAVE
    if strength is not None and not (isfinite(strength) and strength >= 0):
        do = "swap the replies where the first is the worse one, or leave the strength out"
        return "the strength of a preference is a margin", strength, "0 or above", do
    if strength and known.first == 0.5:
        return "a tie has a strength", strength, "0 or none", "leave the strength or the tie out"
    if scores is not None and not all(map(isfinite, scores)):
        return "a score is not a number", scores, _NUMBER, "leave the scores out"
    return None


def _ratings_problem(known: Ratings) -> _Problem | None:
    """How scores contradict each other, if they do."""
    lists = [known.scores, *known.aspects.values()]
    if any(len(values) != len(known.scores) for values in lists):
        wrong, accepted = "an aspect has another number of scores", f"{len(known.scores)} each"
        return wrong, dict(known.aspects), accepted, "score each reply, with None for one not scored"
    numbers = [value for values in lists for value in values if value is not None]
    if not numbers:
        do = "leave the row out, or make it Candidates"
        return "a rating scores nothing", NOTHING, "at least one number", do
    if not all(map(isfinite, numbers)):
        return "a score is not a number", lists, _NUMBER, "give None for a reply that was not scored"
    return None


# --- the seam to whatever answers -------------------------------------------------------------------------


class Capability(Flag):
    """What a policy can be asked for, and what a method needs. Methods declare the least that will do."""

    API = auto()
    """Text in, sampled text out."""
    LP = auto()
    """Log-probabilities of the sampled tokens and of their likeliest alternatives."""
    SCORE = auto()
    """Log-probabilities of given replies."""
    LOGITS = auto()
    """The whole next-token distribution at every position, of drawn and of given replies."""
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
    """A question to a policy: n replies to one prompt, or what it makes of the replies that are `given`.

    With `given` the policy draws nothing and says for each how likely it is: the tokens of its learned turns,
    in order, and their log-probabilities at temperature 1, untruncated. n is 1 then, and of `sampling` only
    `top_logps` has a meaning, so anything else is refused.

    `needs` is what the policy must be capable of; what the ask implies is added to it by itself (SCORE for
    given replies, LP for `top_logps`). `to` names which of several policies is meant, '' the main one.
    """

    prompt: Prompt
    n: int = field(default=1, kw_only=True)
    sampling: Sampling = field(default_factory=Sampling, kw_only=True)
    needs: Capability = field(default=Capability.API, kw_only=True)
    given: tuple[Turns, ...] = field(default=(), kw_only=True)
    to: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if self.n < 1:
            wrong, do = "an ask wants at least one reply", "ask for one, or do not ask"
            raise InputError(explain(wrong, found=self.n, accepted="n of 1 or more", do=do))
        drawn = replace(self.sampling, top_logps=0)
        if self.given and (self.n != 1 or drawn != Sampling()):
            wrong, found = "an ask with given replies draws nothing", (self.n, self.sampling)
            accepted = "n of 1 and no sampling but top_logps"
            raise InputError(explain(wrong, found=found, accepted=accepted, do="ask for draws apart"))
        if not all(self.given):
            wrong, accepted = "a given reply has no message", "one message or more"
            raise InputError(explain(wrong, found=(), accepted=accepted, do="leave it out"))
        implied = Capability.SCORE if self.given else Capability(0)
        implied |= Capability.LP if self.sampling.top_logps else Capability(0)
        object.__setattr__(self, "needs", self.needs | implied)

    @property
    def count(self) -> int:
        """How many entries the answer has: one for each draw, or for each given reply."""
        return len(self.given) or self.n

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


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Tokens and their log-probabilities are given by policies that have them.

    `logps[t]` is under the distribution that was really sampled from, after temperature and truncation, and
    `logps` is None where the policy cannot know that distribution (an endpoint that reports another one). To
    given replies it is at temperature 1; `message` is then the last of the given turns.
    `top[t]` holds the likeliest (token text, log-probability) alternatives where they were asked for: always
    of the model's own distribution, at temperature 1, untruncated.
    `prompt_tokens` are the ids that were continued; with `tokens` after them they make a `Prompt.tokens`.
    """

    message: Message
    finish: Finish = field(default=Finish.STOP, kw_only=True)
    tokens: tuple[int, ...] | None = field(default=None, kw_only=True)
    logps: tuple[float, ...] | None = field(default=None, kw_only=True)
    top: tuple[tuple[tuple[str, float], ...], ...] | None = field(default=None, kw_only=True)
    prompt_tokens: tuple[int, ...] | None = field(default=None, kw_only=True)
    usage: Usage = field(default_factory=Usage, kw_only=True)

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.message.text


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A reply did not come, why, and what it cost all the same. Counted, never taken for an empty one."""

    reason: str
    usage: Usage = field(default_factory=Usage, kw_only=True)


@runtime_checkable
class Policy(Protocol):
    """Anything that answers: local weights, a remote endpoint, a script.

    One thread at a time calls `answer`, whichever it is: a policy need not lock, and whoever shares one among
    threads does. What can be answered together is put into one call. `id` and `capabilities` never change,
    and may be read from anywhere.
    """

    @property
    def id(self) -> str:
        """The identity of what answers (of weights and adapter, of endpoint and model): the same content has
        the same id in every process. Stored answers and scorecards are known by it.
        """
        ...

    @property
    def capabilities(self) -> Capability:
        """All that this policy can be asked for."""
        ...

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        """Answer all asks, in order: `Ask.count` entries for each, a reply or why there is none.

        Raises CapabilityError, before anything is answered, where an ask needs what the policy cannot do.
        """
        ...


@runtime_checkable
class AsyncPolicy(Protocol):
    """As `Policy`, for callers on an event loop.

    All calls come from one loop; a further one may come before those under way have returned.
    """

    @property
    def id(self) -> str:
        """As `Policy.id`; a policy that can be asked both ways has one."""
        ...

    @property
    def capabilities(self) -> Capability:
        """All that this policy can be asked for."""
        ...

    async def aanswer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        """As `Policy.answer`."""
        ...


# --- the seam to whatever judges --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """A question to a feedback: what are these replies to this prompt worth? `meta` reaches verifiers.

    `to` names which of several feedbacks is meant, '' the main one.
    """

    prompt: Prompt
    replies: tuple[Turns, ...]
    meta: Mapping[str, JSON] = field(default_factory=dict[str, JSON], kw_only=True)
    to: str = field(default="", kw_only=True)


@dataclass(frozen=True, slots=True)
class Score:
    """What a reply is worth, of which parts that is made up, and what it cost to find out."""

    value: float
    parts: Mapping[str, float] = field(default_factory=dict[str, float], kw_only=True)
    why: str = field(default="", kw_only=True)
    usage: Usage = field(default_factory=Usage, kw_only=True)


@dataclass(frozen=True, slots=True)
class Unscored:
    """A reply could not be scored, why, and what the attempt cost. Never a silent zero."""

    reason: str
    usage: Usage = field(default_factory=Usage, kw_only=True)


@runtime_checkable
class Feedback(Protocol):
    """Anything that scores replies: a verifier, a judge, a reward model, a person. Threads: as `Policy`."""

    @property
    def id(self) -> str:
        """The identity of what judges, of its content as in `Policy.id`: whoever optimised against a feedback
        is never evaluated by one with the same id.
        """
        ...

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Rate all, in order: one score for each reply, or why there is none."""
        ...


# --- flows ------------------------------------------------------------------------------------------------

Request: TypeAlias = Ask | Rate
Flow: TypeAlias = Generator[Request | tuple[Request, ...], Any, _T]
"""An inference-time method, under way: a generator that yields requests and returns its result.

A yielded Ask is sent the tuple of its Reply, a Rate the tuple of its Score | Unscored, one for each reply;
a tuple of requests, which is one round, is sent the tuple of what each would be sent. `Flow[Item]` returns
an Item.

A flow never sees an Unanswered. Its driver takes failed draws out, so that fewer than n replies may come,
and counts them; where of a request no reply at all came, or of `given` replies not every one, it throws an
UnansweredError into the flow at that yield. A flow that does not catch it ends with it.
"""
