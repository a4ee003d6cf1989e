"""Whether a generated instruction is new: ROUGE-L against a pool, and the plain checks before it.

From Self-Instruct (Wang et al. 2023, arXiv 2212.10560): an instruction is kept if its ROUGE-L F with every
one that is already there stays at or below a threshold.
"""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from concord.errors import InputError, explain
from concord.rouge import RougeL, lcs_length, lcs_with, rouge_l, rouge_tokens

__all__ = [
    "NoveltyPool",
    "RougeL",
    "Similar",
    "instruction_problems",
    "is_novel",
    "lcs_length",
    "most_similar",
    "rouge_l",
    "rouge_tokens",
]

_KEYWORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files"),
    *("map", "maps", "draw", "plot", "go to"),
)
_KEYWORD = {keyword: re.compile(rf"\b{keyword}\b", re.IGNORECASE) for keyword in _KEYWORDS}
_FEWEST_WORDS, _MOST_WORDS = 4, 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """The text of a pool that is most like a candidate, its place in the pool, and how like."""

    index: int
    text: str
    score: RougeL


def most_similar(candidate: str, pool: Iterable[str]) -> Similar | None:
    """The text of the pool with the highest ROUGE-L f, the first of equals; None if the pool is empty."""
    _check_pool(pool)
    words, best = rouge_tokens(candidate), None
    common = lcs_with(words)
    for index, text in enumerate(pool):
        others = rouge_tokens(text)
        score = RougeL.of(common(others), len(words), len(others))
        if best is None or score.f > best.score.f:
            best = Similar(index=index, text=text, score=score)
    return best


def is_novel(candidate: str, pool: Iterable[str], *, threshold: float = 0.7) -> bool:
    """Whether no text of the pool has a ROUGE-L f above the threshold (arXiv 2212.10560).

    Lower thresholds keep fewer. The paper says "below 0.7"; its code, like this, keeps 0.7 itself.
    """
    _check_threshold(threshold)
    found = most_similar(candidate, pool)
    return found is None or found.score.f <= threshold


class NoveltyPool:
    """A growing pool that answers `most_similar` and `is_novel` as the functions do, only sooner.

    f is at most 2u/(m+n), where u, the number of words in common whatever their order, bounds the LCS. An
    inverted index finds the texts that share a word at all. It is read from the candidate's rarest word to
    its commonest, and only until the words that are left could not lift a new text above the best so far.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: list[str] = []
        self._words: list[tuple[str, ...]] = []
        self._marks: list[tuple[str, ...]] = []
        self._holders: defaultdict[str, list[int]] = defaultdict(list)
        self._shared: dict[str, str] = {}
        _check_pool(texts)
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that was added, in order."""
        return tuple(self._texts)

    def add(self, text: str) -> None:
        """Put a text at the end of the pool, whether it is novel or not."""
        # One object a word, however many texts hold it.
        words = tuple(self._shared.setdefault(word, word) for word in rouge_tokens(text))
        marks = tuple(self._shared.setdefault(mark, mark) for mark in _numbered(words))
        for mark in marks:
            self._holders[mark].append(len(self._texts))
        self._texts.append(text)
        self._words.append(words)
        self._marks.append(marks)

    def most_similar(self, candidate: str) -> Similar | None:
        """The text with the highest ROUGE-L f, the first of equals; None if the pool is empty."""
        if not self._texts:
            return None
        words = rouge_tokens(candidate)
        index = self._best(words, floor=0.0)
        index = 0 if index is None else index
        others = self._words[index]
        score = RougeL.of(lcs_length(words, others), len(words), len(others))
        return Similar(index=index, text=self._texts[index], score=score)

    def is_novel(self, candidate: str, *, threshold: float = 0.7) -> bool:
        """Whether no text of the pool has a ROUGE-L f above the threshold."""
        _check_threshold(threshold)
        return self._best(rouge_tokens(candidate), floor=threshold, any_will_do=True) is None

    def _best(self, words: tuple[str, ...], *, floor: float, any_will_do: bool = False) -> int | None:
        """Where f is highest and above the floor, the first of equals; or anywhere above it."""
        in_order, size = lcs_with(words), len(words)
        marks = sorted(_numbered(words), key=lambda mark: len(self._holders.get(mark, ())))
        known, seen = frozenset(marks), set[int]()
        best, where = floor, -1
        for read, mark in enumerate(marks):
            left = size - read
            if _hopeless(_f(left, size, left), best, early=where > 0):
                break
            fresh = [index for index in self._holders.get(mark, ()) if index not in seen]
            seen.update(fresh)
            for index in fresh:
                others = self._marks[index]
                length = len(others)
                # A tie is of use only to a text that stands before the best so far.
                if _hopeless(_f(min(left, length), size, length), best, early=index < where):
                    continue
                common = sum(map(known.__contains__, others))
                if _hopeless(_f(common, size, length), best, early=index < where):
                    continue
                f = _f(in_order(self._words[index]), size, length)
                if not _hopeless(f, best, early=index < where):
                    best, where = f, index
                    if any_will_do:
                        return where
        return None if where < 0 else where


def instruction_problems(text: str) -> tuple[str, ...]:
    """Why Self-Instruct drops an instruction before it compares it; empty if it does not.

    Of at most 3 or more than 150 words; with a word for what text cannot hold (image, graph, file, ...);
    or beginning with "Write a program", with punctuation, or with a character beyond ASCII.
    """
    words = text.split()
    plain = " ".join(words)
    problems = [f"keyword: {keyword}" for keyword, pattern in _KEYWORD.items() if pattern.search(plain)]
    if plain.lower().startswith("write a program"):
        problems.append("starts with: write a program")
    if plain and plain[0] in string.punctuation:
        problems.append("starts with punctuation")
    if not plain[:1].isascii():
        problems.append("starts with a non-ASCII character")
    if len(words) < _FEWEST_WORDS:
        problems.insert(0, "too short")
    if len(words) > _MOST_WORDS:
        problems.insert(0, "too long")
    return tuple(problems)


def _hopeless(bound: float, best: float, *, early: bool) -> bool:
    return bound < best or (bound == best and not early)


def _f(common: int, size: int, length: int) -> float:
    return 2 * common / (size + length) if common else 0.0


def _numbered(words: Sequence[str]) -> list[str]:
    """Tell repetitions apart, so that a set of marks holds what a bag of words holds: a, b, a 2."""
    count = Counter[str]()
    marks: list[str] = []
    for word in words:
        count[word] += 1
        marks.append(f"{word} {count[word]}" if count[word] > 1 else word)
    return marks


def _check_pool(pool: Iterable[str]) -> None:
    if isinstance(pool, str):
        wrong, do = "the pool is one string, where several texts are compared with", "put it in a list"
        raise InputError(explain(wrong, found=pool, accepted="strings", do=do))


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        wrong = "a novelty threshold is a ROUGE-L f"
        do = "lower keeps fewer; 0.7 is Self-Instruct's"
        raise InputError(explain(wrong, found=threshold, accepted="0 to 1", do=do))
