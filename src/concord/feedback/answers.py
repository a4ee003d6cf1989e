"""Verifiers of short answers: a number, or the letter of a choice.

    Numeric(column="answer")               the number a reply comes to; gold as in GSM8K, boxed, or plain
    Choice(column="answer")                the letter a reply chooses; gold as a letter, a place or a text

What they read can be read alone: `read_number`, `read_letter`. Reading is generous in form and strict in
substance: a number is exact (a fraction), and where a reply names two letters it has chosen none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, TypeAlias, cast, get_args
from unicodedata import normalize

from concord.errors import InputError, explain, nearest
from concord.feedback.verifiers import Answer, normalised
from concord.messages import is_count, is_number
from concord.types import JSON

__all__ = ["Choice", "Numeric", "Place", "read_letter", "read_number"]

Place: TypeAlias = Literal["auto", "boxed", "marked", "said", "last"]
"""Where in a text its answer stands. `boxed`: in the last \\boxed{}; `marked`: after the last ####; `said`:
after the last "answer is" or "answer:"; `last`: at its end; `auto`: the first of these that there is."""
_PLACES: tuple[Place, ...] = get_args(Place)

_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_])(?<![0-9]\.)"  # not within a word, nor the third part of 1.2.3
    r"(?P<sign>[-+\u2212]?)\s?[$\u20ac\u00a3]?\s?(?P<minus>[-\u2212]?)"
    r"(?P<mixed>[0-9]+\s+(?=[0-9]+\s?/\s?[0-9]))?"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+|(?<!\.)(?=\.[0-9]))"
    r"(?P<part>\.[0-9]+)?(?P<power>[eE][-+]?[0-9]+)?(?:\s?/\s?(?P<below>[0-9]+)(?![0-9]*\.[0-9]))?"
)
_SAID = re.compile(r"\banswer\b(?:\s+(?:is|was|would be|equals)|\s*[:=])", re.IGNORECASE)
_FRACTION = re.compile("[\u00bc-\u00be\u2150-\u215e]")  # one sign for a half, a third, ...
_GROUPED = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")  # blanks between thousands
_LARGEST = (
    400  # digits of a number, and its power of ten: a float has no more, and a reply could ask for 10^10^9
)


def read_number(text: str, place: Place = "auto") -> Fraction | None:
    """The number that a text comes to, or None. A percentage is the number before the sign."""
    for one in _PLACES[1:] if place == "auto" else (place,):
        stretch, at = _stretch(text, one)
        found = [number for match in _NUMBER.finditer(stretch) if (number := _exact(match)) is not None]
        if found:
            return found[at]
    return None


def _stretch(text: str, place: Place) -> tuple[str, int]:
    """Where to look for an answer, and whether for the first number there (0) or the last (-1)."""
    match place:
        case "boxed":
            return _plain(_boxed(text)), -1
        case "marked":
            return text.rpartition("####")[2].partition("\n")[0] if "####" in text else "", 0
        case "said":
            parts = _SAID.split(text)
            line = re.split(r"\n|\.\s", parts[-1].lstrip(), maxsplit=1)[0] if len(parts) > 1 else ""
            return _plain(line.rpartition("=")[2]), 0
        case _:
            return _plain(text), -1


def _boxed(text: str) -> str:
    """What the last \\boxed{} holds, with the braces inside it; nothing where it is never closed."""
    start = text.rfind("\\boxed{")
    depth, begin = 1, start + len("\\boxed{")
    for at in range(begin, len(text)) if start >= 0 else ():
        depth += (text[at] == "{") - (text[at] == "}")
        if not depth:
            return text[begin:at]
    return ""


def _plain(text: str) -> str:
    """A text without the marks that LaTeX and typesetters put around and into numbers."""
    # A fraction that follows a number at once is a part of it: 3\frac{1}{2} is not 31/2.
    text = re.sub(r"\\[dt]?frac\s*\{\s*(-?[0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}", r" \1/\2", text)
    text = _FRACTION.sub(lambda sign: f" {normalize('NFKC', sign[0])}", text).replace("\u2044", "/")
    text = _GROUPED.sub(",", text)
    return re.sub(r"\\[,!;: ]|\{,\}", lambda found: "," * (found[0] == "{,}"), text).replace("\\$", "$")


def _exact(match: re.Match[str]) -> Fraction | None:
    """The number that was written, exactly; None where it is too large to be one, or is divided by zero."""
    whole, part, power = match["whole"].replace(",", ""), match["part"] or "", match["power"] or ""
    mixed = (match["mixed"] or "").rstrip()
    if max(len(whole), len(part), len(mixed), len(match["below"] or "")) > _LARGEST or len(power) > 5:
        return None
    if power and abs(int(power[1:])) > _LARGEST:
        return None
    below = int(match["below"] or 1)
    if not below:
        return None
    negative = bool(match["sign"] and match["sign"] != "+") != bool(match["minus"])
    value = Fraction(f"{whole or 0}{part}{power}") / below
    # 3 1/2 is one number; of 5 12/5 the first is another one.
    return (-1 if negative else 1) * (value + int(mixed or 0) if value < 1 else value)


@dataclass(frozen=True, kw_only=True)
class Numeric(Answer):
    """Whether a reply comes to the gold number, exactly or within a tolerance.

    |read - gold| <= max(tolerance, relative |gold|)

    The gold answer is a number, or a text that `read_number` finds one in, as the worked solutions of GSM8K.
    """

    place: Place = "auto"
    tolerance: float = 0.0
    relative: float = 0.0
    kind: ClassVar[str] = "numeric"
    wanted: ClassVar[str] = "number"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.place not in _PLACES:
            wrong, accepted = "a number is not looked for there", nearest(str(self.place), _PLACES)
            raise InputError(explain(wrong, found=self.place, accepted=accepted, do="take auto"))
        for slack in (self.tolerance, self.relative):
            if not is_number(slack) or slack < 0:
                wrong, do = "the tolerance of a number is below zero or no number", "give 0 for exact answers"
                raise InputError(explain(wrong, found=slack, accepted="0 or above", do=do))

    def read(self, text: str, meta: Mapping[str, JSON]) -> Fraction | None:
        """The number a reply comes to."""
        return read_number(text, self.place)

    def read_gold(self, gold: JSON, meta: Mapping[str, JSON]) -> Fraction | None:
        """The number in the column: itself, or what a text there comes to."""
        if isinstance(gold, str):
            return read_number(gold)
        return Fraction(str(gold)) if is_number(gold) and not isinstance(gold, bool) else None

    def same(self, answer: object, gold: object) -> bool:
        """Whether two numbers are within the tolerance."""
        read, right = cast(Fraction, answer), cast(Fraction, gold)
        return abs(read - right) <= max(Fraction(self.tolerance), Fraction(self.relative) * abs(right))


# --- choices ----------------------------------------------------------------------------------------------


def read_letter(text: str, letters: str = "ABCD", choices: Sequence[str] = ()) -> str | None:
    """The letter that a text chooses, or None where it chooses none, or more than one.

    In this order: a text that is only a letter; the last "answer is B"; a box; a letter that opens it ("B.",
    "(B)"); the one letter in brackets; the one choice whose words the text is.
    """
    capital, either = f"[{letters}]", f"[{letters}{letters.lower()}]"
    said = r"answer\b(?:\s+is|\s*:)\s*(?:option\s+|choice\s+)?"
    # "A dog" and "I think" are words; "A because" is not.
    words = r"(?<=[AI])\s+(?!(?:and|as|because|is|since|which)\b)[a-z]"
    for pattern, where in (
        (rf"\W*({either})\W*", text),
        (rf".*\b(?i:{said})\W*({capital})(?!\w|'|{words}).*", text),
        (rf".*\b(?i:{said})\W*\(({either})\).*", text),
        (rf"\W*(?:\\text\{{)?({either})\W*", _boxed(text)),
        (rf"\s*\**(?:\(({either})\)|({capital})(?:[.):,*]|\s*\n)).*", text),
    ):
        if found := re.fullmatch(pattern, where, re.DOTALL):
            return next(group for group in found.groups() if group).upper()
    bracketed = {letter.upper() for letter in re.findall(rf"\(({either})\)", text)}
    if len(bracketed) == 1:
        return bracketed.pop()
    whole = normalised(text)
    worded = [at for at, choice in enumerate(choices) if normalised(choice) == whole]
    return letters[worded[0]] if len(worded) == 1 and worded[0] < len(letters) else None


@dataclass(frozen=True, kw_only=True)
class Choice(Answer):
    """Whether a reply chooses the gold letter.

    The gold answer is a letter, the place of the right choice counted from 0, or its text. The column named
    by `choices`, where a row has it, says how many letters there are and what they stand for.
    """

    choices: str = "choices"
    letters: str = "ABCDEFGHIJ"
    kind: ClassVar[str] = "choice"
    wanted: ClassVar[str] = "one letter of a choice"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch("[A-Z]{2,}", self.letters) or len(set(self.letters)) != len(self.letters):
            wrong, do = "the letters of a choice are not letters, each once", "write letters='ABCD'"
            raise InputError(explain(wrong, found=self.letters, accepted="two or more capitals", do=do))

    def read(self, text: str, meta: Mapping[str, JSON]) -> str | None:
        """The letter a reply chooses."""
        choices = self._choices(meta)
        return read_letter(text, self.letters[: len(choices) or None], choices)

    def read_gold(self, gold: JSON, meta: Mapping[str, JSON]) -> str | None:
        """The letter that the column means."""
        choices = self._choices(meta)
        letters = self.letters[: len(choices) or None]
        if isinstance(gold, str):
            worded = [at for at, choice in enumerate(choices) if choice.strip() == gold.strip()]
            if len(worded) == 1:
                return letters[worded[0]]
            letter = gold.strip(" .()").upper()
            return letter if len(letter) == 1 and letter in letters else None
        return letters[gold] if isinstance(gold, int) and is_count(gold) and gold < len(letters) else None

    def _choices(self, meta: Mapping[str, JSON]) -> list[str]:
        """The texts of the choices of a row; none where it does not say, or has too many for the letters."""
        held = meta.get(self.choices)
        listed = [str(one) for one in held] if isinstance(held, list | tuple) else []
        return listed if len(listed) <= len(self.letters) else []
