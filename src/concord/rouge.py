"""ROUGE-L: how much of two texts is common, in order (Lin 2004, "ROUGE: a package for automatic evaluation").

Building data asks it whether an instruction is new, evaluation how near a reply is to a reference.
Standard library only.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["RougeL", "lcs_length", "lcs_with", "rouge_l", "rouge_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RougeL:
    """How much of a candidate (precision) and of a reference (recall) is common, in order; f joins both."""

    precision: float
    recall: float
    f: float

    @classmethod
    def of(cls, common: int, size: int, length: int) -> Self:
        """The score of a candidate of `size` words and a reference of `length`, with an LCS of `common`."""
        if not common:
            return cls(precision=0.0, recall=0.0, f=0.0)
        return cls(precision=common / size, recall=common / length, f=2 * common / (size + length))


def rouge_tokens(text: str) -> tuple[str, ...]:
    """The words ROUGE compares: lower case, split on all but a-z and 0-9, no stemming.

    As the usual implementation has it; so a text in another script has no words at all.
    """
    return tuple(re.findall("[a-z0-9]+", text.lower()))


def rouge_l(candidate: str, reference: str) -> RougeL:
    """ROUGE-L (Lin 2004): precision L/m, recall L/n and f 2L/(m+n), for m and n words and an LCS of L.

    This f is the harmonic mean of the other two without its rounding, so that 7 common words of 10 are 0.7
    and not a little more. Two texts without a common word score 0, empty ones too.
    """
    words, others = rouge_tokens(candidate), rouge_tokens(reference)
    return RougeL.of(lcs_length(words, others), len(words), len(others))


def lcs_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence."""
    return lcs_with(first)(second)


def lcs_with(first: Sequence[Hashable]) -> Callable[[Sequence[Hashable]], int]:
    """`lcs_length` with the first sequence held fixed, for one that is compared with many.

    A whole row of the table at a time: rows are Python integers, one bit a token of the first sequence
    (Hyyro 2004, bit-parallel LCS).
    """
    places: dict[Hashable, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    size = len(first)
    everywhere = (1 << size) - 1

    def length(second: Sequence[Hashable]) -> int:
        row = everywhere
        for token in second:
            if here := places.get(token):
                matched = row & here
                row = (row + matched | row - matched) & everywhere
        return size - row.bit_count()

    return length
