"""Edit chains: the way from an unaligned text to an aligned one, token by token, as text to learn from.

From Second Thoughts (Liu et al. 2022, arXiv 2301.00355), which trains a model to go from context and source
over the edits to the target. The markers of the text form are our own.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, lcm
from typing import Literal, TypeAlias

from concord.errors import InputError, explain
from concord.rouge import lcs_length

__all__ = ["MARKERS", "Edit", "EditChain", "Operation", "apply_edits", "edit_chain", "parse", "serialise"]

Operation: TypeAlias = Literal["insert", "delete", "replace"]

MARKERS = ("<edits>", "<insert>", "<delete>", "<replace>", "</edits>")
"""What the text form adds to a vocabulary; inside a token none of them is left unescaped."""

_KEEP, _REPLACE, _DELETE, _INSERT = range(4)
_SPECIAL = re.compile(r"[\s\\]|<(?=/?(?:edits|insert|delete|replace)>)")
_ESCAPE = re.compile(r"\\(?:([0-9a-f]+))?;")
_AT = re.compile(r"@(0|[1-9][0-9]{0,17})")
_IN_ORDER = "list edits in the order of the source, insertions at a place first"
_ACCEPTED = "<edits> <insert> @2 new <delete> @3 old <replace> @5 old -> new </edits>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One operation on a source: without `old` it inserts, without `new` it deletes, with both it replaces.

    `at` counts in the source as it was, whatever was edited before; an insertion goes before that place.
    """

    at: int
    old: str | None = None
    new: str | None = None

    def __post_init__(self) -> None:
        if self.at < 0 or (self.old is None and self.new is None):
            wrong = "an edit needs a place from 0 on, and a token to take away or to put in"
            found, accepted = (self.at, self.old, self.new), "at >= 0, and old or new"
            do = "leave out an edit that does nothing, and count places from 0"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))

    @property
    def operation(self) -> Operation:
        """What the edit does."""
        return "insert" if self.old is None else "delete" if self.new is None else "replace"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditChain:
    """The cheapest edits from a source to a target, in the order of the source, and what they cost."""

    cost: float
    edits: tuple[Edit, ...]


def edit_chain(
    source: Sequence[str],
    target: Sequence[str],
    *,
    insert: float = 1,
    delete: float = 1,
    replace: float = 2,
) -> EditChain:
    """The cheapest chain of edits from source to target (Second Thoughts, arXiv 2301.00355).

    D[i,j] = min(D[i-1,j-1] + (0 if equal, else replace), D[i-1,j] + delete, D[i,j-1] + insert)

    Followed back from the end; of equally cheap steps keep comes before replace, delete and insert. The
    default costs are the paper's, where a replacement costs just as much as deletion and insertion. Costs
    count as the decimals that they print as, so that 0.1 + 0.2 ties with 0.3.
    """
    _check_tokens(source, "source")
    _check_tokens(target, "target")
    price = {"insert": insert, "delete": delete, "replace": replace}
    exact = {name: _exact(name, cost) for name, cost in price.items()}
    unit = lcm(*(cost.denominator for cost in exact.values()))
    total, moves, most_deleted = _table(source, target, {name: int(c * unit) for name, c in exact.items()})
    edits: list[Edit] = []
    i, j = len(source), len(target)
    while i or j:
        move = moves[i][j - max(0, i - most_deleted)]
        i, j = i - (move != _INSERT), j - (move != _DELETE)
        if move != _KEEP:
            old = None if move == _INSERT else source[i]
            edits.append(Edit(at=i, old=old, new=None if move == _DELETE else target[j]))
    return EditChain(cost=float(Fraction(total, unit)), edits=tuple(reversed(edits)))


def apply_edits(source: Sequence[str], edits: Iterable[Edit]) -> tuple[str, ...]:
    """Replay edits on a source, and refuse those that do not fit it.

    They stand in the order of the source, insertions at a place before what happens to the token there,
    and what they take away is what is there.
    """
    _check_tokens(source, "source")
    result: list[str] = []
    done = 0
    for number, edit in enumerate(edits, 1):
        last = len(source) if edit.old is None else len(source) - 1
        if not done <= edit.at <= last:
            accepted = f"{done} to {last}" if done <= last else "no place: the source is used up"
            wrong = f"edit {number} ({edit.operation}) has a place that is out of order or out of the source"
            raise InputError(explain(wrong, found=edit.at, accepted=accepted, do=_IN_ORDER))
        if edit.old is not None and edit.old != source[edit.at]:
            wrong = f"edit {number} ({edit.operation}) takes away what is not at place {edit.at}"
            do = "make the edits from this source"
            raise InputError(explain(wrong, found=edit.old, accepted=repr(source[edit.at]), do=do))
        result += source[done : edit.at]
        result += [] if edit.new is None else [edit.new]
        done = edit.at + (edit.old is not None)
    return (*result, *source[done:])


def serialise(edits: Iterable[Edit]) -> str:
    r"""Write edits as text to train on: `<edits> <insert> @2 calmly <replace> @2 hurt -> help </edits>`.

    Words are set apart by single spaces. In a token, white space, backslashes and the `<` of a marker are
    written as their code point, `\20;` for a space, and an empty token as `\;`.
    """
    words: list[str] = [MARKERS[0]]
    for edit in edits:
        words += (f"<{edit.operation}>", f"@{edit.at}")
        tokens = [_escape(token) for token in (edit.old, edit.new) if token is not None]
        words.append(" -> ".join(tokens))
    return " ".join([*words, MARKERS[-1]])


def parse(text: str) -> tuple[Edit, ...]:
    """Read what `serialise` writes, and nothing else: what is read writes the same text again."""
    words = text.split(" ")
    if len(words) < 2 or (words[0], words[-1]) != (MARKERS[0], MARKERS[-1]):
        wrong = f"edits stand between {MARKERS[0]} and {MARKERS[-1]}"
        raise InputError(explain(wrong, found=text, accepted=_ACCEPTED, do="strip what is around them"))
    edits: list[Edit] = []
    at, end = 1, len(words) - 1
    while at < end:
        match words[at:end]:
            case ["<insert>", place, new, *_]:
                edits.append(Edit(at=_place(place), new=_unescape(new)))
                at += 3
            case ["<delete>", place, old, *_]:
                edits.append(Edit(at=_place(place), old=_unescape(old)))
                at += 3
            case ["<replace>", place, old, "->", new, *_]:
                edits.append(Edit(at=_place(place), old=_unescape(old), new=_unescape(new)))
                at += 5
            case rest:
                wrong = f"edit {len(edits) + 1} cannot be read"
                found, do = " ".join(rest[:5]), "write it as `serialise` does, or leave the text out"
                raise InputError(explain(wrong, found=found, accepted=_ACCEPTED, do=do))
    return tuple(edits)


def _table(
    source: Sequence[str], target: Sequence[str], price: dict[str, int]
) -> tuple[int, list[bytearray], int]:
    """The cost in units, the move into each cell, and how far left of the diagonal each row begins.

    With an LCS of L, a chain without replacements inserts m - L and deletes n - L tokens. As any chain
    inserts m - n more than it deletes, one that costs no more does no more of either: the cells beyond are
    left out.
    """
    insert, delete, replace = price["insert"], price["delete"], price["replace"]
    n, m = len(source), len(target)
    common = lcs_length(source, target)
    most_deleted, most_inserted = n - common, m - common
    beyond = (n + m + 1) * max(price.values())
    row = [j * insert if j <= most_inserted else beyond for j in range(m + 1)]
    moves = [bytearray([_INSERT]) * (most_inserted + 1)]
    for i, old in enumerate(source, 1):
        low, high = max(0, i - most_deleted), min(m, i + most_inserted)
        line = bytearray()
        if low == 0:
            diagonal, left = row[0], row[0] + delete
            row[0] = left
            line.append(_DELETE)
            low = 1
        else:
            diagonal, left = row[low - 1], beyond
        for j in range(low, high + 1):
            above = row[j]
            if old == target[j - 1]:
                left, move = diagonal, _KEEP
            else:
                best, move = diagonal + replace, _REPLACE
                if above + delete < best:
                    best, move = above + delete, _DELETE
                if left + insert < best:
                    best, move = left + insert, _INSERT
                left = best
            row[j] = left
            diagonal = above
            line.append(move)
        moves.append(line)
    return row[m], moves, most_deleted


def _exact(name: str, cost: float) -> Fraction:
    if not (isfinite(cost) and cost > 0):
        accepted, do = "a number above 0", "the paper's costs are 1 to insert, 1 to delete, 2 to replace"
        raise InputError(
            explain(f"what an edit costs to {name} is no cost", found=cost, accepted=accepted, do=do)
        )
    return Fraction(str(cost))


def _check_tokens(tokens: Sequence[str], name: str) -> None:
    if isinstance(tokens, str):
        wrong = f"the {name} is one string, where tokens are edited"
        raise InputError(explain(wrong, found=tokens, accepted="a sequence of strings", do="split it"))


def _place(word: str) -> int:
    if found := _AT.fullmatch(word):
        return int(found[1])
    accepted, do = "@ and a whole number, as @2", "write the place after the operation"
    raise InputError(explain("an edit has no place", found=word, accepted=accepted, do=do))


def _escape(token: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{ord(found[0]):x};", token) or "\\;"


def _unescape(word: str) -> str:
    def character(found: re.Match[str]) -> str:
        code = int(found[1] or "110000", 16)
        return chr(code) if code < 0x110000 else found[0]

    token = "" if word == "\\;" else _ESCAPE.sub(character, word)
    if _escape(token) != word:
        do = "write white space, backslashes and the < of a marker as their code point"
        raise InputError(
            explain("a token is not written as it must be", found=word, accepted=_escape(token), do=do)
        )
    return token
