"""The nouns everything else speaks: messages, items, asks and replies, rates and scores, results.

Standard library only. Every record is frozen; where order would be a guess, arguments are keyword-only.

    Message(role, content)      one turn; content is text or typed parts, so modality lives in data
    Prompt(messages, ...)       what is asked, with its tools and template arguments
    Item(prompt, replies, ...)  one row: a prompt, replies, and what is known of their utility
    Ask -> Reply | Unanswered   the one seam to everything that answers (a `Policy`)
    Rate -> Score | Unscored    the one seam to everything that judges (a `Feedback`)
    Flow                        a generator that yields these two and returns its answer
    Result, Scorecard           what every measurement returns (written in `concord.results`)

Messages and prompts are written in `concord.messages`, asks, rates and flows in `concord.seam`.

The kinds of item that people speak of (a comparison, a ranking, ...) live in `concord.views`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from concord.errors import NOTHING, InputError, Said, explain
from concord.messages import (
    JSON,
    Audio,
    Content,
    Image,
    Images,
    Message,
    Part,
    Prompt,
    PromptLike,
    Role,
    Text,
    ToolCall,
    Turns,
    TurnsLike,
    Video,
    as_prompt,
    as_turns,
    first_odd,
    is_count,
    is_number,
    is_turns,
    is_votes,
    spoils,
)
from concord.results import Challenge, Interval, JudgeRecord, Ledger, Result, Scorecard, Usage
from concord.seam import (
    Ask,
    AsyncPolicy,
    Capability,
    Feedback,
    Finish,
    Flow,
    Policy,
    Rate,
    Reply,
    Request,
    Sampling,
    Score,
    Unanswered,
    Unscored,
)

__all__ = [
    "JSON",
    "RATED_BY",
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


RATED_BY = "rated_by"
"""The key of `Item.meta` with the id of the feedback that gave the utilities, or a list of ids."""

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
    replies drops them, aloud (`RESERVED_META`). `rated_by` names the feedback that gave the utilities, so
    that no model is scored by what it was optimised against. `images` belongs to the prompt and stays:
    pictures of a row whose messages do not hold them yet.

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


def _optional_number(value: object) -> bool:
    return value is None or is_number(value)


def _mistyped(item: Item) -> _Problem | None:
    """What in an item is of a type that cannot be there, if anything is."""
    if spoils(item.prompt, Prompt):
        return "the prompt of an item is not a Prompt", item.prompt, "a Prompt", "write as_prompt(...)"
    if odd := first_odd(item.replies, is_turns):
        do = "write (as_turns(...), ...)"
        return "a reply is not a tuple of messages", odd[0], "a tuple of tuples of Messages", do
    if spoils(item.utilities, Shown, *_KNOWN, type(None)):
        accepted = ", ".join(["None", "Shown", *(kind.__name__ for kind in _KNOWN)])
        return "utilities of no known kind", item.utilities, accepted, "give one of these"
    match item.utilities:
        case Label(desirable) if spoils(desirable, bool):
            return "a label is neither true nor false", desirable, "True or False", "say which it is"
        case Ranks(ranks) if odd := first_odd(ranks, lambda one: is_count(one, -(10**9))):
            return "a rank is not a whole number", odd[0], "1 for the best, 2, 3, ...", "count from 1"
        case Ratings(scores, aspects):
            if spoils(aspects, Mapping):
                return "the aspects have no names", aspects, "a mapping from names to scores", _LEAVE
            lists = (scores, *aspects.values())
            if odd := [one for each in lists for one in first_odd(each, _optional_number)]:
                do = "give None for a reply that was not scored"
                return "a score is not a number", odd[0], _NUMBER, do
        case StepLabels(labels) if odd := first_odd(labels, _optional_number):
            return "a step label is not a number", odd[0], "0 to 1, or none", "give None where not judged"
        case TurnRewards(rewards) if odd := first_odd(rewards, _optional_number):
            return "a reward is not a number", odd[0], _NUMBER, "give None for no reward"
        case Preference(aspects=aspects) if spoils(aspects, Mapping):
            return "the aspects have no names", aspects, "a mapping from names to preferences", _LEAVE
        case _:
            pass
    return None


_KNOWN = (Preference, SegmentPreference, Ranks, Label, Ratings, StepLabels, TurnRewards)


def _problem(item: Item) -> _Problem | None:
    """How an item contradicts itself, if it does."""
    if problem := _mistyped(item):
        return problem
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
            if odd := [label for label in labels if label is not None and not 0 <= label <= 1]:
                return "a step label is out of range", odd[0], "0 to 1, or none", "bring them to that scale"
        case TurnRewards(rewards):
            if (turns := len(item.replies[0])) != len(rewards):
                wrong, found = "turns and rewards differ in number", Said(f"{len(rewards)} rewards")
                return wrong, found, f"{turns}, one a turn", "give None for no reward"
        case _:
            pass
    return None


def _preference_problem(known: Preference | SegmentPreference, replies: tuple[Turns, ...]) -> _Problem | None:
    """How a preference contradicts itself or its two replies, if it does."""
    shares = [known.first, *(known.aspects.values() if isinstance(known, Preference) else ())]
    if odd := [share for share in shares if not (is_number(share) and 0 <= share <= 1)]:
        return "a preference is a probability", odd[0], "0 to 1; 0.5 for a tie", _LEAVE
    preferred = [share for share in shares if share != 0.5]
    if preferred and replies[0] == replies[1]:
        accepted, do = "two different replies, or 0.5", "leave the row out, or give a preference of 0.5"
        return "a reply is preferred to itself", preferred[0], accepted, do
    if not isinstance(known, Preference):
        return None
    votes, strength, scores = known.votes, known.strength, known.scores
    if votes is not None and not is_votes(votes):
        accepted = "three counts (for the first, ties, for the second), not all zero"
        return "the votes say nothing", votes, accepted, _LEAVE
    if strength is not None and not (is_number(strength) and strength >= 0):
        do = "swap the replies where the first is the worse one, or leave the strength out"
        return "the strength of a preference is a margin", strength, "0 or above", do
    if strength and known.first == 0.5:
        return "a tie has a strength", strength, "0 or none", "leave the strength or the tie out"
    if scores is not None and (odd := first_odd(scores, is_number)):
        return "a score is not a number", odd[0], _NUMBER, "leave the scores out"
    if scores is not None and len(scores) != 2:
        return "the scores are not those of two replies", scores, "two numbers", "leave the scores out"
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
    return None
