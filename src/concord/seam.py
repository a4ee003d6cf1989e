"""The seams to everything that answers and judges, and flows. Import them from `concord.types`.

    Ask -> Reply | Unanswered   what a `Policy` is asked, and what it answers
    Rate -> Score | Unscored    what a `Feedback` is asked, and what it answers
    Flow                        a generator that yields these two and returns its answer

Standard library only.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, Flag, auto
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from concord.errors import InputError, explain
from concord.messages import JSON, Message, Prompt, Turns, first_odd, is_count, is_number, is_turns, spoils
from concord.results import Usage

__all__ = [
    "Ask",
    "AsyncPolicy",
    "Capability",
    "Feedback",
    "Finish",
    "Flow",
    "Policy",
    "Rate",
    "Reply",
    "Request",
    "Sampling",
    "Score",
    "Unanswered",
    "Unscored",
]

_T = TypeVar("_T")


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

    def __post_init__(self) -> None:
        warm = not spoils(self.temperature, int, float) and spoils(self.temperature, bool)
        nucleus = is_number(self.top_p) and spoils(self.top_p, bool) and 0 < self.top_p <= 1
        checks: tuple[tuple[str, bool, str, str], ...] = (
            (
                "temperature",
                warm and is_number(self.temperature) and self.temperature >= 0,
                "0 or above",
                "give 0 for the likeliest reply",
            ),
            ("top_p", nucleus, "above 0, at most 1", "give 1 to keep every token"),
            (
                "top_k",
                self.top_k is None or is_count(self.top_k, 1),
                "1 or more, or None",
                "give None for all",
            ),
            (
                "max_tokens",
                self.max_tokens is None or is_count(self.max_tokens, 1),
                "1 or more, or None",
                "give None for no limit",
            ),
            (
                "stop",
                not first_odd(self.stop, lambda one: isinstance(one, str) and one != ""),
                "a tuple of texts that are not empty",
                f"write ({self.stop!r},)" if self.stop and not spoils(self.stop, str) else "write ('...',)",
            ),
            ("top_logps", is_count(self.top_logps), "a whole number, 0 or above", "give 0 for none"),
        )
        for name, holds, accepted, do in checks:
            if not holds:
                wrong = f"{name} of a sampling is out of range"
                raise InputError(explain(wrong, found=getattr(self, name), accepted=accepted, do=do))


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
        if spoils(self.prompt, Prompt):
            wrong, do = "the prompt of an ask is not a Prompt", "write Ask(as_prompt(...))"
            raise InputError(explain(wrong, found=self.prompt, accepted="a Prompt", do=do))
        if spoils(self.sampling, Sampling):
            wrong, do = "the sampling of an ask is not a Sampling", "write sampling=Sampling(...)"
            raise InputError(explain(wrong, found=self.sampling, accepted="a Sampling", do=do))
        if odd := first_odd(self.given, is_turns):
            wrong, accepted = "a given reply is not a tuple of messages", "a tuple of tuples of Messages"
            do = "write given=(as_turns(...), ...)"
            raise InputError(explain(wrong, found=odd[0], accepted=accepted, do=do))
        if not is_count(self.n, 1):
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
