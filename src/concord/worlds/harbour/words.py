"""The words of Harbour: text as words and back, and the words that name its people and things.

    split(text)   the words of a text: what is a word of no kind stands alone, and no sentence can hold it
    join(words)   the one normal form of a text: small letters, a space between words, none before a mark
    SLOTS         the words that can fill a slot of a sentence, by its name

Text and words are inverse: `split(join(words)) == words` for words of these kinds, and
`join(split(text)) == text` for texts in the normal form. So a tokenizer of whole words loses nothing.
"""

import re
from collections.abc import Iterable, Mapping

__all__ = [
    "COLOURS",
    "DEEDS",
    "DIGITS",
    "FOODS",
    "GOODS",
    "MARKS",
    "NEWCOMERS",
    "PEOPLE",
    "PETS",
    "PLACES",
    "PRACTICES",
    "QUARTERS",
    "SHIPS",
    "SLOTS",
    "SOURCES",
    "TOOLS",
    "TRADES",
    "join",
    "split",
]

MARKS: tuple[str, ...] = (".", ",", "?", "!", ":")
"""Punctuation: each mark is a word of its own, written without a space before it."""

DIGITS: tuple[str, ...] = tuple("0123456789")
_SETTLED = (
    """ada bela ben cara dan emil eva finn hana ivo jon kira leo mara nils olga rosa sam tess vera wim zoe"""
)
_NEW = """abel dora iris milo nora otto"""
PEOPLE: tuple[str, ...] = (*_SETTLED.split(), *_NEW.split())
SHIPS: tuple[str, ...] = ("osprey", "heron", "gull", "tern", "raven", "falcon", "puffin", "pelican")
NEWCOMERS: frozenset[str] = frozenset((*_NEW.split(), "puffin", "pelican"))
"""People and ships that only statements name: every question about them is out of distribution."""

QUARTERS: tuple[str, ...] = ("north", "south", "east", "west")
PLACES: tuple[str, ...] = ("market", "tavern", "chapel", "lighthouse", "school", "mill")
TRADES: tuple[str, ...] = ("baker", "sailor", "smith", "teacher", "fisher", "weaver", "doctor")
PETS: tuple[str, ...] = ("cat", "dog", "goat", "parrot", "duck")
COLOURS: tuple[str, ...] = ("red", "blue", "green", "white", "black", "yellow")
FOODS: tuple[str, ...] = ("bread", "fish", "honey", "tea", "soup", "ale", "milk", "coffee", "cake")
GOODS: tuple[str, ...] = (*FOODS, "salt", "wool", "oil")
PRACTICES: tuple[str, ...] = ("whistle", "dance", "swim", "sing", "gamble", "shout")
SOURCES: tuple[str, ...] = ("note", "stranger", "letter")
DEEDS: Mapping[str, tuple[str, str]] = {
    "cut": ("rope", "knife"),
    "open": ("door", "hook"),
    "burn": ("nets", "torch"),
    "sink": ("boat", "hammer"),
    "catch": ("hen", "sack"),
    "break": ("window", "stone"),
}
"""What can be done, to what, and the tool it takes."""

TOOLS: tuple[str, ...] = tuple(tool for _, tool in DEEDS.values())

SLOTS: Mapping[str, tuple[str, ...]] = {
    "person": PEOPLE,
    "ship": SHIPS,
    "quarter": QUARTERS,
    "place": PLACES,
    "trade": TRADES,
    "pet": PETS,
    "colour": COLOURS,
    "good": GOODS,
    "digit": DIGITS,
    "practice": PRACTICES,
    "source": SOURCES,
    "tool": TOOLS,
}
"""The words that can fill a slot, by the name of the slot."""

_WORD = re.compile(r"[a-z]+|\S")
_TIGHT = re.compile(r" (?=[.,?!:])")


def split(text: str) -> tuple[str, ...]:
    """The words of a text, in small letters."""
    return tuple(_WORD.findall(text.lower()))


def join(words: Iterable[str]) -> str:
    """The text of words, in the normal form."""
    return _TIGHT.sub("", " ".join(words))
