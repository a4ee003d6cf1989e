"""What a reply does, act by act: written and read by one grammar.

    Act           one thing that is said: a fact, a refusal, a greeting, ...
    write(acts)   a reply that says them
    parse(text)   what a reply says; None where any of it is no sentence of the town

`parse(write(acts)) == acts`, and no text means two things. A sentence is an entry of
`sentences.SENTENCES`, a single word ("red."), or a list ("bread wool salt."). Three openings take a sentence
after them: "yes," and "no," anything; "maybe" and "i think that" a fact, which they make a guess; "in short,"
an event.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from concord.errors import InputError, explain
from concord.worlds.harbour import words
from concord.worlds.harbour.sentences import SENTENCES
from concord.worlds.harbour.words import SLOTS

__all__ = ["LISTED", "Act", "parse", "write"]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is said: its kind, and what it speaks of.

    A fact has relation, subject and value; `maybe` is a fact that is guessed, `say` a single word, `items` a
    list of words. All other kinds are the first words of the entries of `sentences.SENTENCES`.
    """

    kind: str
    about: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Act":
        """An act as its entry in the table writes it: "fact home mara north"."""
        kind, *about = text.split()
        return cls(kind, tuple(word.replace("_", " ") for word in about))

    def __str__(self) -> str:
        return " ".join((self.kind, *(word.replace(" ", "_") for word in self.about)))


LISTED: frozenset[str] = frozenset(
    word
    for slot, words_of in SLOTS.items()
    if slot not in ("practice", "source", "tool")
    for word in words_of
)
"""The words that can stand alone, or in a list."""

_SLOT = re.compile(r"\{(\w+)\}")
_ENDS = frozenset(".!?")
_GUESSED = (("maybe",), ("i", "think", "that"))
_SHORT = ("in", "short", ",")
# What "yes," and "no," run on into when they are written.
_FOLLOW_YES = frozenset(("fact", "may", "not", "how"))

_Pattern = tuple[str, tuple[str, ...]]


def _by_opening() -> dict[tuple[int, str], list[_Pattern]]:
    """The patterns of all sentences, by their length and their first word; slots stand as `{class}`."""
    table: dict[tuple[int, str], list[_Pattern]] = {}
    for meant, patterns in SENTENCES.items():
        for pattern in patterns:
            slotted = tuple(re.findall(r"\{\w+\}|[a-z]+|[.,?!:]", pattern))
            opening = slotted[0]
            starts = SLOTS[opening[1:-1]] if opening.startswith("{") else (opening,)
            for start in starts:
                table.setdefault((len(slotted), start), []).append((meant, slotted))
    return table


_TABLE = _by_opening()


def parse(text: str) -> tuple[Act, ...] | None:
    """What a text says, in order; None where any of it cannot be read. An empty text says nothing: ()."""
    acts: list[Act] = []
    sentence: list[str] = []
    for word in words.split(text):
        sentence.append(word)
        if word in _ENDS:
            read = _read(tuple(sentence))
            if read is None:
                return None
            acts += read
            sentence = []
    return None if sentence else tuple(acts)


@lru_cache(maxsize=1 << 16)
def _read(sentence: tuple[str, ...]) -> tuple[Act, ...] | None:
    """What one sentence says, its end mark included."""
    if sentence[0] in ("yes", "no") and sentence[1:2] == (",",):
        rest = _read(sentence[2:])
        return None if rest is None or rest[0].kind in ("yes", "no") else (Act(sentence[0]), *rest)
    for opening in _GUESSED:
        if rest := _after(opening, sentence):
            return (Act("maybe", rest[0].about),) if rest[0].kind == "fact" else None
    if rest := _after(_SHORT, sentence):
        return rest if rest[0].kind == "event" else None
    for meant, pattern in _TABLE.get((len(sentence), sentence[0]), ()):
        if act := _matched(sentence, meant, pattern):
            return (act,)
    listed = sentence[:-1]
    if sentence[-1] == "." and listed and LISTED.issuperset(listed):
        return (Act("say" if len(listed) == 1 else "items", listed),)
    return None


def _after(opening: Sequence[str], sentence: tuple[str, ...]) -> tuple[Act, ...] | None:
    """What a sentence says after an opening, if it has this one and goes on."""
    many = len(opening)
    return _read(sentence[many:]) if len(sentence) > many and sentence[:many] == opening else None


def _matched(sentence: Sequence[str], meant: str, pattern: Sequence[str]) -> Act | None:
    """The act of a pattern, where a sentence follows it."""
    filled: dict[str, str] = {}
    for word, wanted in zip(sentence, pattern, strict=True):
        if wanted.startswith("{"):
            slot = wanted[1:-1]
            if word not in SLOTS[slot]:
                return None
            filled[slot] = word
        elif word != wanted:
            return None
    return Act.of(_SLOT.sub(lambda slot: filled[slot[1]], meant))


def write(acts: Iterable[Act], chance: Random | None = None) -> str:
    """A reply that says these acts: in the first of the ways there are, or in ways that `chance` picks."""
    said: list[str] = []
    for act in acts:
        text = _said(act, chance)
        joins = bool(said) and said[-1] in ("yes.", "no.") and act.kind in _FOLLOW_YES
        if joins and (chance is None or chance.random() < 0.7):
            text = f"{said.pop()[:-1]}, {text}"
        said.append(text)
    return " ".join(said)


def _said(act: Act, chance: Random | None) -> str:
    """One act as a sentence."""
    if act.kind in ("say", "items"):
        return " ".join(act.about) + "."
    if act.kind == "maybe":
        opening = " ".join(chance.choice(_GUESSED) if chance else _GUESSED[0])
        return f"{opening} {_said(Act('fact', act.about), chance)}"
    ways, filled = _ways(act)
    opening = "in short, " if act.kind == "event" and chance and chance.random() < 0.5 else ""
    return opening + (chance.choice(ways) if chance else ways[0]).format_map(filled)


def _by_kind() -> dict[str, list[tuple[re.Pattern[str], tuple[str, ...]]]]:
    """What can be meant, as patterns of acts, with the ways to say it."""
    table: dict[str, list[tuple[re.Pattern[str], tuple[str, ...]]]] = {}
    for meant, ways in SENTENCES.items():
        slotted = _SLOT.sub(lambda slot: f"(?P<{slot[1]}>{'|'.join(SLOTS[slot[1]])})", meant)
        table.setdefault(meant.split()[0], []).append((re.compile(slotted), ways))
    return table


_KINDS = _by_kind()


@lru_cache(maxsize=1 << 14)
def _ways(act: Act) -> tuple[tuple[str, ...], dict[str, str]]:
    """The ways to say an act, and what fills their slots."""
    for pattern, ways in _KINDS.get(act.kind, ()):
        if found := pattern.fullmatch(str(act)):
            return ways, found.groupdict()
    do, accepted = "write Act.of(...) as the table has it", ", ".join(sorted(_KINDS))
    raise InputError(explain("nobody in Harbour can say this", found=str(act), accepted=accepted, do=do))
