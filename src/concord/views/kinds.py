"""The kinds of item, as typed views of it.

`Kind.of(...)` makes a view from what people write and refuses what contradicts itself; `.item()` stores
it; `view(item)` sees any item as the one kind it is. The two are exact inverses: `view(v.item()) == v`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self, TypeAlias, TypeVar, assert_never

from concord.errors import ConversionError, InputError, explain
from concord.messages import first_odd, is_count, is_number, is_votes, spoils
from concord.types import (
    JSON,
    Item,
    Label,
    Message,
    Origin,
    Part,
    Preference,
    Prompt,
    PromptLike,
    Ranks,
    Ratings,
    SegmentPreference,
    Shown,
    StepLabels,
    Text,
    TurnRewards,
    Turns,
    TurnsLike,
    Utilities,
    as_prompt,
    as_turns,
)

__all__ = [
    "Candidates",
    "Comparison",
    "Demonstration",
    "Dialogue",
    "Judgement",
    "Kind",
    "Ranking",
    "Rating",
    "SegmentComparison",
    "Steps",
    "Task",
    "Trajectory",
    "View",
    "demand",
    "shown",
    "split_shared_prefix",
    "view",
]

Kind: TypeAlias = Literal[
    "task",
    "candidates",
    "demonstration",
    "dialogue",
    "comparison",
    "segment_comparison",
    "ranking",
    "judgement",
    "rating",
    "steps",
    "trajectory",
]
"""The names of the kinds, as `View.kind` has them."""

_T = TypeVar("_T")
_Stored: TypeAlias = tuple[tuple[Turns, ...], Utilities]


@dataclass(frozen=True, slots=True)
class _Row(ABC):
    """What all kinds share: a prompt, and a way back to the stored row."""

    prompt: Prompt

    @abstractmethod
    def _stored(self) -> _Stored:
        """The replies and utilities of the item that this view shows."""

    def item(self, *, meta: Mapping[str, JSON] | None = None, origin: Origin | None = None) -> Item:
        """The item that this view shows."""
        return Item(self.prompt, *self._stored(), meta=meta or {}, origin=origin)

    def _checked(self) -> Self:
        """The view itself, once it is known that an item can hold it."""
        self.item()
        return self


@dataclass(frozen=True, slots=True)
class Task(_Row):
    """A prompt alone: something to be answered."""

    kind: ClassVar[Kind] = "task"

    def _stored(self) -> _Stored:
        return (), None

    @classmethod
    def of(cls, prompt: PromptLike) -> Self:
        """A task from what people write."""
        return cls(as_prompt(prompt))


@dataclass(frozen=True, slots=True)
class Candidates(_Row):
    """Replies to one prompt, of which nothing is known yet."""

    replies: tuple[Turns, ...]
    kind: ClassVar[Kind] = "candidates"

    def _stored(self) -> _Stored:
        return self.replies, None

    @classmethod
    def of(cls, prompt: PromptLike, replies: Sequence[TurnsLike]) -> Self:
        """Candidates from what people write: one entry for each reply."""
        return cls(as_prompt(prompt), _replies(replies))


@dataclass(frozen=True, slots=True)
class Demonstration(_Row):
    """One reply of one turn, shown as an example to imitate."""

    reply: Turns
    kind: ClassVar[Kind] = "demonstration"

    def _stored(self) -> _Stored:
        return (self.reply,), Shown()

    @classmethod
    def of(cls, prompt: PromptLike, reply: TurnsLike) -> Self:
        """A demonstration from what people write."""
        turns = _reply(reply)
        demand(len(turns) == 1, "a demonstration has one turn", len(turns), "1 turn", "make it a Dialogue")
        return cls(as_prompt(prompt), turns)._checked()


@dataclass(frozen=True, slots=True)
class Dialogue(_Row):
    """One reply of several turns, shown as an example to imitate."""

    turns: Turns
    kind: ClassVar[Kind] = "dialogue"

    def _stored(self) -> _Stored:
        return (self.turns,), Shown()

    @property
    def trained(self) -> tuple[bool, ...]:
        """For each turn whether it is learned from: as its message says, or if it is the assistant's."""
        return tuple(turn.learned for turn in self.turns)

    @classmethod
    def of(cls, prompt: PromptLike, turns: Sequence[Message]) -> Self:
        """A dialogue from the turns that follow its prompt, at least one of them learned from."""
        made = cls(as_prompt(prompt), _reply(turns))
        count, wrong = len(made.turns), "a dialogue has several turns"
        demand(count > 1, wrong, count, "2 or more", "make it a Demonstration")
        return made._checked()


@dataclass(frozen=True, slots=True)
class Comparison(_Row):
    """Two replies and the probability that the first is the better one.

    1 and 0 are sure, 0.5 is a tie, the rest is a soft preference. `votes` are the counts behind it, as
    (for the first, ties, for the second), `strength` is by how much the better reply is better, `scores` are
    those of the first and the second, `aspects` the preferences by aspect.
    """

    first: Turns
    second: Turns
    preference: float = 1.0
    votes: tuple[int, int, int] | None = None
    strength: float | None = field(default=None, kw_only=True)
    scores: tuple[float, float] | None = field(default=None, kw_only=True)
    aspects: Mapping[str, float] = field(default_factory=dict[str, float], kw_only=True)
    kind: ClassVar[Kind] = "comparison"

    def _stored(self) -> _Stored:
        return (self.first, self.second), Preference(
            self.preference,
            self.votes,
            strength=self.strength,
            scores=self.scores,
            aspects=self.aspects,
        )

    @property
    def swapped(self) -> Self:
        """The same comparison with its sides exchanged, and with them all that speaks of first and second."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            preference=1 - self.preference,
            votes=self.votes and self.votes[::-1],
            scores=self.scores and self.scores[::-1],
            aspects={name: 1 - share for name, share in self.aspects.items()},
        )

    @property
    def better_first(self) -> Self:
        """The same comparison with the better reply first; a tie as it is."""
        return self.swapped if self.preference < 0.5 else self

    @property
    def tie(self) -> bool:
        """Whether neither reply is the better one."""
        return self.preference == 0.5

    @property
    def chosen(self) -> Turns:
        """The better reply; of a tie there is none, and asking is an error."""
        return self._ordered()[0]

    @property
    def rejected(self) -> Turns:
        """The worse reply; of a tie there is none, and asking is an error."""
        return self._ordered()[1]

    def _ordered(self) -> tuple[Turns, Turns]:
        if self.tie:
            wrong, do = "a tie has no chosen reply", "look at `tie` first, or use first and second"
            raise ConversionError(
                explain(wrong, found=self.preference, accepted="a preference other than 0.5", do=do)
            )
        ordered = self.better_first
        return ordered.first, ordered.second

    @classmethod
    def of(
        cls,
        prompt: PromptLike,
        first: TurnsLike,
        second: TurnsLike,
        *,
        preference: float | None = None,
        votes: tuple[int, int, int] | None = None,
        strength: float | None = None,
        scores: tuple[float, float] | None = None,
        aspects: Mapping[str, float] | None = None,
    ) -> Self:
        """A comparison from what people write; without preference or votes the first reply is chosen.

        Votes give the preference (for the first + ties / 2) / all.
        """
        share = 1.0 if preference is None else preference
        if votes is not None:
            share = _share(votes)
            agree = preference is None or (is_number(preference) and abs(preference - share) < 1e-9)
            wrong, do = "preference and votes differ", "leave one of them out"
            demand(agree, wrong, (preference, votes), "either", do)
        made = cls(as_prompt(prompt), _reply(first), _reply(second), share, votes)
        return replace(made, strength=strength, scores=scores, aspects=aspects or {})._checked()


@dataclass(frozen=True, slots=True)
class SegmentComparison(_Row):
    """Two stretches of behaviour, compared as a whole; their own steps are the actions."""

    first: Turns
    second: Turns
    preference: float = 1.0
    kind: ClassVar[Kind] = "segment_comparison"

    def _stored(self) -> _Stored:
        return (self.first, self.second), SegmentPreference(self.preference)

    @classmethod
    def of(cls, prompt: PromptLike, first: TurnsLike, second: TurnsLike, *, preference: float = 1.0) -> Self:
        """A segment comparison from what people write."""
        return cls(as_prompt(prompt), _reply(first), _reply(second), preference)._checked()


@dataclass(frozen=True, slots=True)
class Ranking(_Row):
    """Replies and their ranks: 1 the best, equal ranks for ties."""

    replies: tuple[Turns, ...]
    ranks: tuple[int, ...]
    kind: ClassVar[Kind] = "ranking"

    def _stored(self) -> _Stored:
        return self.replies, Ranks(self.ranks)

    @property
    def ordered(self) -> tuple[Turns, ...]:
        """The replies, best first; those that tie stay in the order they were given in."""
        return tuple(
            reply for _, reply in sorted(zip(self.ranks, self.replies, strict=True), key=lambda pair: pair[0])
        )

    @classmethod
    def of(
        cls, prompt: PromptLike, best_first: Sequence[TurnsLike], *, ranks: Sequence[int] | None = None
    ) -> Self:
        """A ranking from replies, best first; or in any order, with the rank of each."""
        replies = _replies(best_first)
        given = tuple(range(1, len(replies) + 1)) if ranks is None else _listed(ranks, "ranks")
        odd = first_odd(given, is_count)
        demand(
            not odd, "a rank is not a whole number", odd and odd[0], "1 for the best, 2, ...", "count from 1"
        )
        wrong, do = "the ranks order nothing", "give ranks that differ, or make it Candidates"
        demand(len(set(given)) > 1, wrong, given, "at least two different ranks", do)
        return cls(as_prompt(prompt), replies, given)._checked()


@dataclass(frozen=True, slots=True)
class Judgement(_Row):
    """One reply, and whether it is desirable."""

    reply: Turns
    desirable: bool
    kind: ClassVar[Kind] = "judgement"

    def _stored(self) -> _Stored:
        return (self.reply,), Label(self.desirable)

    @classmethod
    def of(cls, prompt: PromptLike, reply: TurnsLike, *, desirable: bool) -> Self:
        """A judgement from what people write; 1 and 0 will do for true and false."""
        demand(desirable in (True, False), "not a label", desirable, "true or false", "say which it is")
        return cls(as_prompt(prompt), _reply(reply), bool(desirable))


@dataclass(frozen=True, slots=True)
class Rating(_Row):
    """Replies and their scores, higher is better, with scores by aspect where they were given apart.

    None stands for a reply that was not scored; at least one number there is.
    """

    replies: tuple[Turns, ...]
    scores: tuple[float | None, ...]
    aspects: Mapping[str, tuple[float | None, ...]] = field(
        default_factory=dict[str, tuple[float | None, ...]]
    )
    kind: ClassVar[Kind] = "rating"

    def _stored(self) -> _Stored:
        return self.replies, Ratings(self.scores, self.aspects)

    @classmethod
    def of(
        cls,
        prompt: PromptLike,
        replies: Sequence[TurnsLike],
        scores: Sequence[float | None],
        *,
        aspects: Mapping[str, Sequence[float | None]] | None = None,
    ) -> Self:
        """A rating from what people write: a score (or None) for each reply, and of each aspect too."""
        named = not spoils(aspects, Mapping, type(None))
        demand(named, "the aspects have no names", aspects, "a mapping from names to scores", "name them")
        parts = {name: _listed(values, "scores") for name, values in (aspects or {}).items()}
        return cls(as_prompt(prompt), _replies(replies), _listed(scores, "scores"), parts)._checked()


@dataclass(frozen=True, slots=True)
class Steps(_Row):
    """One reply whose parts are its steps, with a label in [0, 1] for each, None where not judged."""

    reply: Turns
    labels: tuple[float | None, ...]
    kind: ClassVar[Kind] = "steps"

    def _stored(self) -> _Stored:
        return (self.reply,), StepLabels(self.labels)

    @property
    def steps(self) -> tuple[Part, ...]:
        """The steps, in order."""
        return tuple(part for turn in self.reply for part in turn.parts)

    @classmethod
    def of(cls, prompt: PromptLike, steps: Sequence[str], labels: Sequence[float | None]) -> Self:
        """Labelled steps from texts, which are joined as they stand: line ends between them are theirs."""
        demand(not isinstance(steps, str), "steps in one text", steps, "a list of texts", "split the text")
        odd = first_odd(texts := _listed(steps, "steps"), lambda one: isinstance(one, str))
        demand(not odd, "a step is not a text", odd and odd[0], "a list of texts", "give its text")
        reply = _reply(Message("assistant", tuple(Text(step) for step in texts)))
        return cls(as_prompt(prompt), reply, _listed(labels, "labels"))._checked()


@dataclass(frozen=True, slots=True)
class Trajectory(_Row):
    """One reply whose turns earn rewards, None for turns that earn nothing of their own."""

    turns: Turns
    rewards: tuple[float | None, ...]
    kind: ClassVar[Kind] = "trajectory"

    def _stored(self) -> _Stored:
        return (self.turns,), TurnRewards(self.rewards)

    @property
    def total(self) -> float:
        """The sum of the rewards."""
        return sum(reward for reward in self.rewards if reward is not None)

    @classmethod
    def of(cls, prompt: PromptLike, turns: TurnsLike, rewards: Sequence[float | None]) -> Self:
        """A trajectory from the turns that follow its prompt, and a reward (or None) for each."""
        return cls(as_prompt(prompt), _reply(turns), _listed(rewards, "rewards"))._checked()


View: TypeAlias = (
    Task
    | Candidates
    | Demonstration
    | Dialogue
    | Comparison
    | SegmentComparison
    | Ranking
    | Judgement
    | Rating
    | Steps
    | Trajectory
)


def view(item: Item) -> View:
    """See an item as the one kind it is."""
    prompt, replies = item.prompt, item.replies
    match item.utilities:
        case None:
            return Candidates(prompt, replies) if replies else Task(prompt)
        case Shown():
            return shown(prompt, replies[0])
        case Preference(first, votes) as known:
            pair = Comparison(prompt, replies[0], replies[1], first, votes)
            return replace(pair, strength=known.strength, scores=known.scores, aspects=known.aspects)
        case SegmentPreference(first):
            return SegmentComparison(prompt, replies[0], replies[1], first)
        case Ranks(ranks):
            return Ranking(prompt, replies, ranks)
        case Label(desirable):
            return Judgement(prompt, replies[0], desirable)
        case Ratings(scores, aspects):
            return Rating(prompt, replies, scores, aspects)
        case StepLabels(labels):
            return Steps(prompt, replies[0], labels)
        case TurnRewards(rewards):
            return Trajectory(prompt, replies[0], rewards)
        case _:
            assert_never(item.utilities)


def split_shared_prefix(
    first: Sequence[Message], second: Sequence[Message]
) -> tuple[Prompt, tuple[Turns, Turns]]:
    """Take the shared beginning of two conversations for the prompt, and what is left for the replies.

    Preference rows often carry the prompt inside both sides. The prompt never ends with an assistant
    turn, so that each reply begins with one, and each reply keeps at least one turn.
    """
    shortest = min(len(first), len(second))
    cut = next((at for at in range(shortest) if first[at] != second[at]), shortest - 1)
    while cut > 0 and first[cut - 1].role == "assistant":
        cut -= 1
    roles = tuple(message.role for message in (*first[:1], *second[:1]))
    do = "give the prompt a column of its own"
    demand(cut > 0, "the two sides share no prompt", roles, "the same first turns, then a reply each", do)
    return Prompt(tuple(first[:cut])), (tuple(first[cut:]), tuple(second[cut:]))


# --- what people write ------------------------------------------------------------------------------------


def demand(holds: bool, wrong: str, found: object, accepted: str, do: str) -> None:
    """Refuse input that contradicts itself."""
    if not holds:
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def _reply(turns: TurnsLike) -> Turns:
    """A reply that says something."""
    reply = as_turns(turns)
    says = any(m.reasoning or m.tool_calls or any(part != Text("") for part in m.parts) for m in reply)
    do = "leave the row out, or give the reply a text"
    demand(says, "a reply is empty", turns, "text, typed parts or a tool call", do)
    return reply


def _replies(replies: Sequence[TurnsLike]) -> tuple[Turns, ...]:
    """One or more replies; a text is a list of its letters to Python, and never meant as one."""
    several = not spoils(replies, Sequence) and spoils(replies, str, bytes) and len(replies) > 0
    demand(several, "not a list of replies", replies, "a list with one or more", "put the replies in a list")
    return tuple(_reply(reply) for reply in replies)


def _listed(values: Sequence[_T], name: str) -> tuple[_T, ...]:
    """Values that were given in a list, whatever they are."""
    several = not spoils(values, Iterable) and spoils(values, str, bytes, Mapping, Set)
    demand(several, f"not a list of {name}", values, f"a list of {name}", f"put the {name} in a list")
    return tuple(values)


def _share(votes: tuple[int, int, int]) -> float:
    """The share of the votes that the first reply won; a tie counts half for each."""
    accepted = "three counts (for the first, ties, for the second), not all zero"
    demand(is_votes(votes), "the votes say nothing", votes, accepted, "leave the row out, or give the counts")
    return (votes[0] + votes[1] / 2) / sum(votes)


def shown(prompt: Prompt, reply: Turns) -> Demonstration | Dialogue:
    """A shown reply as the kind its number of turns makes it."""
    return Demonstration(prompt, reply) if len(reply) == 1 else Dialogue(prompt, reply)
