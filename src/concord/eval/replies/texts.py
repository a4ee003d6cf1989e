"""What can be said of replies from their text alone: how long they are, and how much they repeat.

    text_results(answers)    length, empty and endless replies, repetition within them, diversity among them

It takes what a policy answered, prompt by prompt. None of these numbers is good or bad by itself: they show
what a gain was bought with. Words are runs of letters and digits, so a language without blanks between words
has few.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import log2
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np

from concord.eval.reckoning import (
    SHARE,
    About,
    Labels,
    Scale,
    check_alike,
    described,
    left_out_result,
    mean_result,
    rate_result,
    share_result,
)
from concord.types import Challenge, Finish, Reply, Result, Unanswered

__all__ = [
    "distinct",
    "opening_entropy",
    "overlap",
    "plain",
    "repeats",
    "sequence_repetition",
    "text_results",
    "words",
]

_NGRAM, _OPENING = 4, 3
_DISTINCT = (1, 2, 3)
_WINDOW, _LEAST_WINDOWS = 16, 64  # characters of a stretch, and stretches a text must have to be judged
_DISTINCT_STRETCHES = 0.5  # in prose nearly all are, in a loop nearly none
_MOST = 300  # prompts whose replies are compared with each other

T = TypeVar("T", bound=Hashable)


# --- of texts ---------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text as phrases are looked up in it: lower case, one kind of apostrophe, single blanks."""
    return " ".join(text.replace("\u2019", "'").lower().split())


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def _ngrams(tokens: Sequence[T], n: int) -> list[tuple[T, ...]]:
    return [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]


def repeats(text: str) -> bool:
    """Whether a text goes in circles: fewer than half of its stretches of 16 characters differ."""
    windows = [text[at : at + _WINDOW] for at in range(len(text) - _WINDOW + 1)]
    return len(windows) >= _LEAST_WINDOWS and len(set(windows)) < _DISTINCT_STRETCHES * len(windows)


def sequence_repetition(tokens: Sequence[Hashable], *, n: int = _NGRAM) -> float | None:
    """The share of n-grams that a text has said before: seq-rep-n (Welleck et al. 2019, arXiv 1908.04319).

    1 - distinct n-grams / n-grams; None of fewer than n tokens
    """
    found = _ngrams(tokens, n)
    return 1 - len(set(found)) / len(found) if found else None


def distinct(texts: Sequence[str], *, n: int) -> float | None:
    """Distinct n-grams of words in all texts together, of all there are: distinct-n (arXiv 1510.03055).

    It falls as there are more texts, so that only equally many can be compared.
    """
    return _distinct([_ngrams(words(text), n) for text in texts])


def _distinct(found: Sequence[Sequence[tuple[str, ...]]]) -> float | None:
    """Different ones of what each text holds."""
    total = sum(map(len, found))
    return len({ngram for held in found for ngram in held}) / total if total else None


def overlap(first: str, second: str, *, n: int = 2) -> float:
    """How much two texts have in common: n-grams of words in both, of those in either (Jaccard).

    Texts of fewer words are compared whole.
    """
    return _jaccard(_grams(first, n), _grams(second, n))


def _grams(text: str, n: int) -> frozenset[tuple[str, ...]]:
    said = words(text)
    return frozenset(_ngrams(said, n) or [tuple(said)])


def _jaccard(first: frozenset[T], second: frozenset[T]) -> float:
    return len(first & second) / len(first | second)


def opening_entropy(texts: Sequence[str], *, opening: int = _OPENING) -> float | None:
    """The entropy, in bits, of the first words of texts: 0 where all begin alike."""
    if not texts:
        return None
    return _entropy([tuple(words(text)[:opening]) for text in texts])


def _entropy(things: Sequence[Hashable]) -> float:
    shares = [count / len(things) for count in Counter(things).values()]
    return max(0.0, -sum(share * log2(share) for share in shares))


# --- results ----------------------------------------------------------------------------------------------


def text_results(
    answers: Sequence[Sequence[Reply | Unanswered]], *, clusters: Sequence[Labels] = (), seed: int = 0
) -> list[Result]:
    """What is to be said of the replies to each prompt; `clusters` label prompts, not replies.

    Diversity is told among prompts, from one reply to each, and within prompts, where there are several. Its
    intervals leave out one in twenty of the prompts (or of what they share) in turn, since drawing texts
    twice would make them look alike.
    """
    check_alike("prompts and labels of clusters differ in number", answers, *clusters)
    flat = [(place, reply) for place, answer in enumerate(answers) for reply in answer]
    labels: tuple[Labels, ...] = tuple([one[place] for place, _ in flat] for one in clusters)
    if not labels and len(flat) > len(answers):
        labels = ([place for place, _ in flat],)
    return [
        *_each([reply for _, reply in flat], clusters=labels, seed=seed),
        *_among(answers, clusters=clusters, seed=seed),
        _within(answers, clusters=clusters, seed=seed),
    ]


def _about(how: str, *, unit: str = "replies", higher: bool | None = False) -> About:
    return described(how, unit=unit, challenge=Challenge.TAX, higher=higher)


def _each(replies: Sequence[Reply | Unanswered], *, clusters: Sequence[Labels], seed: int) -> list[Result]:
    """What each reply shows for itself."""
    came = [reply if isinstance(reply, Reply) else None for reply in replies]

    def share(name: str, holds: Callable[[Reply], bool], how: str) -> Result:
        hits = [None if reply is None else holds(reply) for reply in came]
        return share_result(name, hits, clusters=clusters, seed=seed, **_about(how))

    def mean(name: str, value: Callable[[Reply], float], how: str) -> Result:
        values = [None if reply is None else value(reply) for reply in came]
        return mean_result(name, values, clusters=clusters, seed=seed, **_about(how, higher=None))

    results = [mean("reply_words", lambda one: len(words(one.text)), "words of a reply")]
    if all(reply is None or reply.tokens is not None for reply in came):
        results.append(mean("reply_tokens", lambda one: len(one.tokens or ()), "tokens of a reply"))
    said_before = [None if reply is None else sequence_repetition(words(reply.text)) for reply in came]
    repetition = "n-grams of four words that a reply has said before; shorter replies count as failures"
    return [
        *results,
        share("empty_replies", lambda one: not one.text.strip(), "replies that say nothing"),
        share(
            "endless_replies",
            lambda one: one.finish is Finish.LENGTH,
            "replies that were cut off: they did not end within the tokens they had",
        ),
        share("looping_replies", lambda one: repeats(one.text), "long replies that go in circles"),
        rate_result("repetition", said_before, clusters=clusters, seed=seed, **_about(repetition)),
    ]


def _among(
    answers: Sequence[Sequence[Reply | Unanswered]], *, clusters: Sequence[Labels], seed: int
) -> list[Result]:
    """How unlike the replies to different prompts are: the first that came to each."""
    first = [next((one.text for one in answer if isinstance(one, Reply)), None) for answer in answers]
    places = [place for place, text in enumerate(first) if text is not None]
    texts = [text for text in first if text is not None]
    units = [[one[place] for place in places] for one in clusters] or [places]
    chosen = sorted(random.Random(f"overlap {seed}").sample(range(len(texts)), min(_MOST, len(texts))))
    alike = np.zeros((len(chosen), len(chosen)))
    for (i, one), (j, other) in combinations(enumerate(_grams(texts[place], 2) for place in chosen), 2):
        alike[i, j] = _jaccard(one, other)
    rank = {place: at for at, place in enumerate(chosen)}

    def shared(kept: Sequence[int]) -> float | None:
        inside = [rank[place] for place in kept if place in rank]
        pairs = len(inside) * (len(inside) - 1) // 2
        return float(alike[np.ix_(inside, inside)].sum()) / pairs if pairs else None

    said = [words(text) for text in texts]
    opened = [tuple(one[:_OPENING]) for one in said]
    equal = len(set(texts)) < 2

    def different(held: Sequence[Sequence[tuple[str, ...]]], kept: Sequence[int]) -> float | None:
        return _distinct([held[place] for place in kept])

    def entropy(kept: Sequence[int]) -> float | None:
        return _entropy([opened[place] for place in kept]) if kept else None

    openings = f"entropy of the first {_OPENING} words, in bits; of n replies at most log2 n"
    overlaps = (
        "pairs of words in both of two replies to different prompts, of those in either; mean over pairs"
    )
    # Of openings that are all different the entropy is that of their number, and nothing else.
    one_way, bits = len(set(opened)) in (1, len(opened)), Scale(0.0, log2(max(1, len(texts))))
    cases: list[_Diversity] = [
        *(
            _Diversity(f"distinct_{n}", partial(different, grams), len(texts), _distinct_how(n), True, equal)
            for n, grams in ((n, [_ngrams(one, n) for one in said]) for n in _DISTINCT)
        ),
        _Diversity("opening_entropy", entropy, len(texts), openings, True, one_way, bits),
        _Diversity("overlap_among_prompts", shared, len(chosen), overlaps, False, equal),
    ]
    missing = len(first) - len(texts)
    return [_diversity(case, units, missing=missing, seed=seed) for case in cases]


class _Diversity(NamedTuple):
    """A measure of the replies at some places, and what to say of it."""

    name: str
    statistic: Callable[[Sequence[int]], float | None]
    n: int
    how: str
    higher: bool
    alike: bool
    """Whether the replies are, as far as it sees."""
    scale: Scale = SHARE


def _distinct_how(n: int) -> str:
    many = "words" if n == 1 else f"runs of {n} words"
    return f"different {many}, of all in n replies; comparable between equally many replies only"


def _diversity(case: _Diversity, units: Sequence[Labels], *, missing: int, seed: int) -> Result:
    """A measure of diversity with its interval."""
    why, about = "too few words or replies; ask more prompts", _about(case.how, higher=case.higher)
    found = left_out_result(
        case.name,
        case.statistic,
        units,
        why_none=why,
        scale=case.scale,
        alike=case.alike,
        seed=seed,
        **about,
    )
    return replace(found, n=case.n, failures=missing)


def _within(
    answers: Sequence[Sequence[Reply | Unanswered]], *, clusters: Sequence[Labels], seed: int
) -> Result:
    """How alike several replies to the same prompt are."""
    values: list[float | None] = []
    for answer in answers:
        texts = [reply.text for reply in answer if isinstance(reply, Reply)]
        pairs = [overlap(one, other) for one, other in combinations(texts, 2)]
        values.append(fmean(pairs) if pairs else None)
    name = "overlap_within_prompts"
    about = _about(
        "pairs of words in both of two replies to one prompt, of those in either; mean over its pairs",
        unit="prompts",
    )
    if all(value is None for value in values):
        why = "no prompt has two replies; draw several"
        return Result(name=name, value=None, n=0, failures=len(values), why_none=why, **about)
    return rate_result(name, values, clusters=clusters, seed=seed, **about)
