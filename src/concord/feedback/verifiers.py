"""Verifiers: feedback that is a rule, checked against gold answers before it is used.

    Exact(column="answer")                 the reply is the gold answer of its row
    Regex(pattern=r"\\bsorry\\b", wanted=False)  it holds a pattern, or does not
    Tagged(tags=("think", "answer"))       it is these tagged parts, in order, and nothing else
    Length(unit="words", most=100)         it is neither too short nor too long
    check(verifier, items)                 refuse a verifier that fails its own gold answers

Answers with more to read are in `answers` (numbers, letters), JSON in `schemas`, instructions that can be
checked in `instructions`, a user's own function in `functions`.

A verifier reads what the assistant said last. A reply that does not answer is wrong, and worth 0 with a part
`answered` of 0, so that it can be told from a wrong answer; a row whose gold answer is missing or cannot be
read is nobody's fault, and `Unscored`.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, cast

from concord.errors import NOTHING, InputError, RowError, Said, explain, nearest
from concord.messages import is_count
from concord.store import key
from concord.types import JSON, Feedback, Item, Rate, Score, Turns, Unscored, as_turns

__all__ = [
    "Answer",
    "Exact",
    "Length",
    "Regex",
    "Tagged",
    "Verifier",
    "check",
    "compiled",
    "last_said",
    "normalised",
    "sentences",
]

_SHOWN = 5  # rows that a message names
_SILENT = ".'\u2018\u2019`"  # dropped without leaving a gap: U.S., don't
_MARKS = re.compile(
    r"(?P<kept>(?<!\w)-(?=[0-9])|(?<=[0-9])[.,:](?=[0-9]))"
    r"|[.,;:!?\"'`*_()\[\]{}<>\u00ab\u00bb\u2010-\u201f\u2026-]"
)


def last_said(turns: Turns) -> str:
    """The text of the assistant's last turn: what a reply of several turns comes to."""
    return next((turn.text for turn in reversed(turns) if turn.role == "assistant"), "")


class Verifier(ABC):
    """A feedback that looks at one reply at a time and at the columns of its row.

    Subclasses are frozen dataclasses whose fields are plain data, so that `id` is the hash of what they are.
    """

    kind: ClassVar[str]
    """The first word of the id."""

    @property
    def id(self) -> str:
        """The kind, and a hash of all settings."""
        settings = {one.name: cast(object, getattr(self, one.name)) for one in fields(cast(Any, self))}
        return f"{self.kind}-{key('verifier', self.kind, settings)[:32]}"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Look at each reply by itself."""
        return [tuple(self.score(last_said(turns), rate) for turns in rate.replies) for rate in rates]

    @abstractmethod
    def score(self, said: str, rate: Rate) -> Score | Unscored:
        """What one text is worth; `rate` has the prompt and the columns of its row."""


def compiled(pattern: str, *, name: str = "pattern") -> re.Pattern[str]:
    """A pattern that can be searched for; `.` matches line ends too, since replies have many lines."""
    try:
        return re.compile(pattern, re.DOTALL)
    except (re.error, OverflowError, RecursionError, TypeError) as error:
        wrong, accepted = f"the {name} of a verifier cannot be read ({error})", "a regular expression"
        do = "mend it; re.escape(...) gives one for a text as it stands"
        raise InputError(explain(wrong, found=pattern, accepted=accepted, do=do)) from error


def normalised(text: str) -> str:
    """A text without what does not make an answer another one: case, articles, blanks, punctuation.

    Signs before and points within numbers stay. What is nothing else ("?", "The") is kept as it stands.
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")
    bare = _MARKS.sub(lambda mark: mark["kept"] or " " * (mark[0] not in _SILENT), plain)
    words = [word for word in bare.split() if word not in ("a", "an", "the")]
    return " ".join(words) or " ".join(plain.split())


# --- how a reply looks ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Regex(Verifier):
    """Whether a pattern is found in the reply, or with `wanted=False` is not.

    Nothing stops a pattern with repeats within repeats, such as (a+)+$, which on some replies would search
    for years. Write such ones another way, or as a `Function` named by its path, which has a timeout.
    """

    pattern: str
    wanted: bool = True
    kind: ClassVar[str] = "regex"

    def __post_init__(self) -> None:
        compiled(self.pattern)

    def score(self, said: str, rate: Rate) -> Score:
        """1 where the pattern is as wanted, else 0."""
        found = compiled(self.pattern).search(said)
        why = f"found {found[0][:80]!r}" if found else "not found"
        return Score(float((found is not None) == self.wanted), why=why)


@dataclass(frozen=True, kw_only=True)
class Tagged(Verifier):
    """Whether the reply is these parts, each in its own tag once and in order, with nothing around them."""

    tags: tuple[str, ...] = ("think", "answer")
    kind: ClassVar[str] = "tagged"

    def __post_init__(self) -> None:
        if not self.tags or not all(re.fullmatch(r"[\w-]+", tag) for tag in self.tags):
            wrong, accepted = "the tags of a format cannot be written", "names of letters, digits, _ and -"
            do = "write tags=('think', 'answer')"
            raise InputError(explain(wrong, found=self.tags, accepted=accepted, do=do))

    def score(self, said: str, rate: Rate) -> Score:
        """1 for the form, else 0."""
        tag = f"</?(?:{'|'.join(self.tags)})>"
        parts = [rf"<{name}>(?:(?!{tag}).)*</{name}>" for name in self.tags]
        held = re.fullmatch(r"\s*".join(("", *parts, "")), said, re.DOTALL) is not None
        return Score(
            float(held), why="" if held else f"not {', '.join(self.tags)} in order, once each, alone"
        )


_UNITS = ("characters", "lines", "sentences", "words")


@dataclass(frozen=True, kw_only=True)
class Length(Verifier):
    """Whether the reply is neither too short nor too long; blank lines do not count, nor blanks around it."""

    least: int = 0
    most: int | None = None
    unit: Literal["characters", "lines", "sentences", "words"] = "words"
    kind: ClassVar[str] = "length"

    def __post_init__(self) -> None:
        if self.unit not in _UNITS:
            wrong, accepted = "length is not measured in this", nearest(str(self.unit), _UNITS)
            raise InputError(explain(wrong, found=self.unit, accepted=accepted, do="take one of these"))
        if not is_count(self.least) or not (self.most is None or is_count(self.most, self.least)):
            wrong, accepted = "no length lies between these", "least of 0 or more, most no smaller, or None"
            raise InputError(
                explain(wrong, found=(self.least, self.most), accepted=accepted, do="exchange the two")
            )

    def score(self, said: str, rate: Rate) -> Score:
        """1 within the bounds, else 0."""
        size = self._size(said.strip())
        held = self.least <= size and (self.most is None or size <= self.most)
        return Score(float(held), why=f"{size} {self.unit}")

    def _size(self, text: str) -> int:
        match self.unit:
            case "characters":
                return len(text)
            case "lines":
                return sum(bool(line.strip()) for line in text.splitlines())
            case "sentences":
                return len(sentences(text))
            case "words":
                return len(text.split())


def sentences(text: str) -> list[str]:
    """The sentences of a text: stretches that end with . ! or ? before a blank, or with a line.

    "3.5", "example.com" and initials within a word do not end one; abbreviations before a blank do.
    """
    parts = re.split(r"(?<=[.!?])[\"')\]]*\s+|\n+", text)
    return [part for part in parts if re.search(r"\w", part)]


# --- whether it is the answer -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Answer(Verifier):
    """A verifier that holds an answer against that in a column of the row; of a list there, any will do.

    `within` says where in a reply the answer stands: the first group of the last match of this pattern, or
    the whole match. A reply without it does not answer.
    """

    column: str = "answer"
    within: str = ""

    def __post_init__(self) -> None:
        compiled(self.within, name="within")

    def score(self, said: str, rate: Rate) -> Score | Unscored:
        """1 for the gold answer, 0 for another one or for none."""
        gold = self._gold(rate.meta)
        if isinstance(gold, Unscored):
            return gold
        found = self._within(said)
        answer = None if found is None else self.read(found, rate.meta)
        if answer is None:
            return Score(0.0, parts={"answered": 0.0}, why=f"no {self.wanted} can be read")
        held = any(self.same(answer, one) for one in gold)
        return Score(float(held), parts={"answered": 1.0}, why=f"read {answer}")

    wanted: ClassVar[str]
    """What kind of thing an answer is, in words."""

    @abstractmethod
    def read(self, text: str, meta: Mapping[str, JSON]) -> object | None:
        """The answer that a text gives, or None where it gives none."""

    @abstractmethod
    def read_gold(self, gold: JSON, meta: Mapping[str, JSON]) -> object | None:
        """The answer that a column holds, or None where it cannot be read."""

    def same(self, answer: object, gold: object) -> bool:
        """Whether two answers that were read are one."""
        return answer == gold

    def _gold(self, meta: Mapping[str, JSON]) -> list[object] | Unscored:
        """All gold answers of a row, read."""
        held = meta.get(self.column)
        if held is None or held == []:
            return Unscored(f"the row has no {self.column!r} to hold the reply against")
        golds: list[object] = []
        for one in cast("list[JSON]", [*held] if isinstance(held, list | tuple) else [held]):
            gold = self.read_gold(one, meta)
            if gold is None:
                return Unscored(f"{self.column!r} of the row holds no {self.wanted}: {str(one)[:80]!r}")
            golds.append(gold)
        return golds

    def _within(self, said: str) -> str | None:
        """The stretch of a reply in which the answer is looked for."""
        if not self.within:
            return said
        found = [*compiled(self.within).finditer(said)]
        return found[-1][min(found[-1].re.groups, 1)] if found else None


@dataclass(frozen=True, kw_only=True)
class Exact(Answer):
    """Whether the reply is the gold answer, `normalised` unless `loosely` is False."""

    loosely: bool = True
    kind: ClassVar[str] = "exact"
    wanted: ClassVar[str] = "text"

    def read(self, text: str, meta: Mapping[str, JSON]) -> str | None:
        """The whole text, if there is one."""
        return (normalised(text) if self.loosely else text.strip()) or None

    def read_gold(self, gold: JSON, meta: Mapping[str, JSON]) -> str | None:
        """A text or a number, as it would be written."""
        return self.read(str(gold), meta) if isinstance(gold, str | int | float) else None


# --- before use -------------------------------------------------------------------------------------------


def check(verifier: Feedback, items: Iterable[Item], *, column: str = "", least: float = 1.0) -> int:
    """Rate the gold reply of every row, and refuse a verifier that one of them does not pass.

    The gold reply is the first reply of the item, as in a demonstration, or the text in `column`; it passes
    with a score of `least` or more. Returns how many rows were checked. A verifier that fails its own gold
    answers would train a model away from them, and nobody would know.
    """
    rows = list(items)
    failed: list[str] = []
    rates = [
        Rate(item.prompt, (_gold_reply(item, at, column),), meta=item.meta) for at, item in enumerate(rows)
    ]
    for at, (item, (score,)) in enumerate(zip(rows, verifier.rate(rates), strict=True)):
        if isinstance(score, Unscored):
            failed.append(f"{_place(item, at)} is not scored: {score.reason}")
        elif not score.value >= least:
            failed.append(f"{_place(item, at)} gets {score.value:g}" + f" ({score.why})" * bool(score.why))
    accepted = f"a score of {least:g} or more for every row"
    if not rows:
        wrong, do = "there is no row to check a verifier by", "give rows with gold answers"
        raise RowError(explain(wrong, found=NOTHING, accepted=accepted, do=do))
    if failed:
        shown = "; ".join(failed[:_SHOWN]) + f"; and {len(failed) - _SHOWN} more" * (len(failed) > _SHOWN)
        wrong, found = (
            f"{verifier.id} fails its own gold answers: {shown}",
            f"{len(failed)} of {len(rows)} fail",
        )
        do = "mend the verifier, or the rows that are named"
        raise RowError(explain(wrong, found=Said(found), accepted=accepted, do=do))
    return len(rows)


def _place(item: Item, at: int) -> str:
    return str(item.origin or f"row {at + 1}")


def _gold_reply(item: Item, at: int, column: str) -> Turns:
    """The reply that a row says is right."""
    said = item.meta.get(column) if column else None
    if isinstance(said, str):
        return as_turns(said)
    if not column and item.replies:
        return item.replies[0]
    wrong = f"{_place(item, at)} has no gold reply"
    found = Said(f"the columns {', '.join(sorted(item.meta)) or '(none)'} and {len(item.replies)} replies")
    accepted = f"a text in {column!r}" if column else "a reply, or column=... that holds it as a text"
    do = "name the column, or leave the row out"
    raise RowError(explain(wrong, found=found, accepted=accepted, do=do))
