"""What can be seen on the surface of a text: signs of damage, refusals, and how it is dressed.

All of these are guesses by pattern, cheap enough for every reply of a million rows; shares of them say
something, a single hit may be wrong.
"""

import re
from typing import NamedTuple

__all__ = ["ODDITIES", "Surface", "looks_cut", "looks_refused", "oddities", "surface"]

ODDITIES: dict[str, str] = {
    "replacement": "holds the character that stands for bytes that could not be read",
    "control": "holds control characters other than tabs and line ends",
    "entities": "holds HTML entities such as &amp; or &#39;",
    "mojibake": "looks like UTF-8 that was read as another encoding",
    "surrogate": "holds half of a surrogate pair, which no file can hold",
    "edges": "begins or ends with white space",
}
"""What `oddities` names, in words."""

_CONTROL = bytes([*range(9), 11, 12, *range(14, 32), 127])
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
# What later bytes of a UTF-8 sequence turn into when read as Latin-1 or Windows-1252; the first byte of two
# turns into a capital A with a mark, that of three mostly into a small one.
_LATER = (
    "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
)
_MOJIBAKE = re.compile(f"[\u00c2\u00c3]{_LATER}|\u00e2{_LATER}{{2}}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LIST = re.compile(r"\n[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t]")
_HEADING = re.compile(r"\n#{1,6} ")
_REFUSAL = re.compile(
    r"(?:(?:i['\u2019]?m|i am|we['\u2019]re|we are) (?:(?:very|so|really|truly) )?(?:sorry|afraid|unable)\b"
    r"|(?:i|we) (?:apologi[sz]e|can ?not|can['\u2019]?t|won['\u2019]?t|will not|must decline|am unable"
    r"|do not feel|don['\u2019]t feel) "
    r"|sorry,|my apologies|unfortunately, i (?:can|am)"
    r"|as an? (?:ai|artificial|language model|safe|helpful|responsible)\b"
    r"|i['\u2019]?m (?:just )?an? (?:ai|language model)\b)"
)
_REFUSAL_WITHIN = 160  # characters of the beginning that are looked at
_CUT_FROM = 80  # a shorter reply may well be a phrase
_MOST = 65_535


class Surface(NamedTuple):
    """How much of each dressing a reply wears."""

    formatting: int
    """Headings and bold pieces."""
    lists: int
    """Lines that are items of a list."""
    code: int
    """Fenced blocks and inline pieces of code."""
    exclamations: int
    refusal: bool


def oddities(text: str) -> tuple[str, ...]:
    """Which signs of damage a text shows."""
    found: list[str] = []
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw.translate(None, _CONTROL)) != len(raw):
        found.append("control")
    if "&" in text and _ENTITY.search(text):
        found.append("entities")
    if not text.isascii():
        if "\ufffd" in text:
            found.append("replacement")
        if ("\u00c2" in text or "\u00c3" in text or "\u00e2" in text) and _MOJIBAKE.search(text):
            found.append("mojibake")
        if _SURROGATE.search(text):
            found.append("surrogate")
    if text and (text[0].isspace() or text[-1].isspace()):
        found.append("edges")
    return tuple(found)


def looks_refused(text: str) -> bool:
    """Whether a reply begins as refusals do."""
    return _REFUSAL.match(text[:_REFUSAL_WITHIN].strip().lower()) is not None


def looks_cut(text: str) -> bool:
    """Whether a longer reply ends within a sentence: on a letter, a digit, a comma or an opening bracket.

    Lists, code and verse end so by right, so that only the share says something.
    """
    end = text.rstrip()
    if len(end) < _CUT_FROM or end.endswith("```"):
        return False
    last = end[-1]
    # Scripts without letter case set no stop after a sentence as a rule: Thai, for one.
    return last in ",;([{-" or (last.isalnum() and (last.isdigit() or last.islower() or last.isupper()))


def surface(text: str) -> Surface:
    """How a reply is dressed."""
    lines = "\n" + text
    ticks = text.count("```")
    return Surface(
        formatting=min(_MOST, text.count("**") // 2 + ("#" in text and len(_HEADING.findall(lines)))),
        lists=min(_MOST, len(_LIST.findall(lines))),
        code=min(_MOST, ticks // 2 + (text.count("`") - 3 * ticks) // 2),
        exclamations=min(_MOST, text.count("!")),
        refusal=looks_refused(text),
    )
