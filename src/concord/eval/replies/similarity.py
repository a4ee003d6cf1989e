"""How near replies are to references.

    exact_match, token_f1, chrf    one text against one reference; ROUGE-L is in `concord.rouge`
    bleu                           a whole set of texts against their references
    similarity, similarity_results these over items, with intervals; and the gain, nearer to which of a pair?

    gain = sim(y, y_w) - sim(y, y_l) for a reply y to a prompt where y_w is preferred to y_l

A reference is one way of answering well, so a low number says little.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import exp, log
from typing import TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from concord.errors import NOTHING, InputError, Said, explain
from concord.eval.reckoning import (
    SHARE,
    Labels,
    Scale,
    check_alike,
    complete_result,
    difference_result,
    mean_result,
    outcome_result,
)
from concord.eval.replies.asking import drawn, preferred
from concord.rouge import rouge_l
from concord.types import (
    Challenge,
    Item,
    Policy,
    Result,
    Sampling,
    Turns,
)

__all__ = [
    "bleu",
    "chrf",
    "exact_match",
    "similarity",
    "similarity_results",
    "token_f1",
]

_Counts: TypeAlias = NDArray[np.int64]
_BLEU_ORDER, _CHRF_ORDER, _CHRF_BETA = 4, 6, 2

# What the 13a tokeniser sets apart: signs but for . , - and the apostrophe; . and , unless between digits;
# a hyphen after a digit.
_SIGN = re.compile(r"([ -&(-+/:-@\[-`{-~])")
_STOP_AFTER, _STOP_BEFORE = re.compile(r"([^0-9])([.,])"), re.compile(r"([.,])([^0-9])")
_HYPHEN = re.compile(r"([0-9])(-)")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


# --- one text, one reference ------------------------------------------------------------------------------


def exact_match(text: str, reference: str) -> float:
    """1 where both are the same words, but for case, punctuation and articles (SQuAD's rule), else 0."""
    return float(_plain_words(text) == _plain_words(reference))


def token_f1(text: str, reference: str) -> float:
    """The harmonic mean of precision and recall of words, whatever their order (SQuAD's rule).

    Case, punctuation and articles are left out first; two texts of which nothing is left are the same.
    """
    words, wanted = _plain_words(text), _plain_words(reference)
    if not words or not wanted:
        return float(words == wanted)
    return 2 * (Counter(words) & Counter(wanted)).total() / (len(words) + len(wanted))


def chrf(text: str, reference: str) -> float:
    """chrF2 (Popovic 2015), 0 to 100: n-grams of 1 to 6 characters, blanks left out, recall counting double.

    Precision and recall are means over the n of which both texts have n-grams.
    """
    shares: list[tuple[float, float]] = []
    for n in range(1, _CHRF_ORDER + 1):
        said, wanted = _characters(text, n), _characters(reference, n)
        if said and wanted:
            common = (said & wanted).total()
            shares.append((common / said.total(), common / wanted.total()))
    precision = sum(one for one, _ in shares) / max(len(shares), 1)
    recall = sum(one for _, one in shares) / max(len(shares), 1)
    weighed = _CHRF_BETA**2 * precision + recall
    return 100 * (1 + _CHRF_BETA**2) * precision * recall / weighed if weighed else 0.0


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU of a set of texts (Papineni et al. 2002), 0 to 100, each with one reference or more.

    100 min(1, exp(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4)

    As sacreBLEU has it by default: 13a tokens; r the length of the nearest references; the k-th precision
    without a match counts as 1 / (2^k times its n-grams). A set without a 4-gram scores 0.
    """
    _check_references(texts, references)
    rows = [_bleu_counts(text, wanted) for text, wanted in zip(texts, references, strict=True)]
    return _bleu(np.sum(rows, axis=0)) if rows else 0.0


def _plain_words(text: str) -> list[str]:
    bare = text.lower().translate(_NO_PUNCTUATION)
    return [word for word in bare.split() if word not in ("a", "an", "the")]


def _characters(text: str, n: int) -> Counter[str]:
    bare = "".join(text.split())
    return Counter(bare[at : at + n] for at in range(len(bare) - n + 1))


def _tokens_13a(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    text = _SIGN.sub(r" \1 ", f" {text} ")
    text = _STOP_BEFORE.sub(r" \1 \2", _STOP_AFTER.sub(r"\1 \2 ", text))
    return _HYPHEN.sub(r"\1 \2 ", text).split()


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def _bleu_counts(text: str, references: Sequence[str]) -> _Counts:
    """Matches of 1- to 4-grams, how many there are of each, and the lengths of text and nearest reference."""
    tokens, wanted = _tokens_13a(text), [_tokens_13a(one) for one in references]
    matches: list[int] = []
    for n in range(1, _BLEU_ORDER + 1):
        most: Counter[tuple[str, ...]] = Counter()
        for one in wanted:
            most |= _ngrams(one, n)
        matches.append((_ngrams(tokens, n) & most).total())
    totals = [max(0, len(tokens) - n) for n in range(_BLEU_ORDER)]
    nearest = min((abs(len(one) - len(tokens)), len(one)) for one in wanted)[1]
    return np.asarray([*matches, *totals, len(tokens), nearest])


def _bleu(counts: _Counts) -> float:
    matches, totals = counts[:_BLEU_ORDER].tolist(), counts[_BLEU_ORDER : 2 * _BLEU_ORDER].tolist()
    size, wanted = counts[2 * _BLEU_ORDER :].tolist()
    if not any(matches) or not all(totals):
        return 0.0
    logs, missed = 0.0, 0
    for common, total in zip(matches, totals, strict=True):
        missed += not common
        logs += log(common / total) if common else -log(2**missed * total)
    return 100 * min(1.0, exp(1 - wanted / size)) * exp(logs / _BLEU_ORDER)


_MEASURES: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "rouge_l": lambda text, reference: rouge_l(text, reference).f,
    "chrf": chrf,
}
_PER_CENT = Scale(0.0, 100.0)
_HOW: Mapping[str, str] = {
    "exact_match": "share of replies that are the reference but for case, punctuation and articles",
    "token_f1": "mean F1 of the words of reply and reference, whatever their order",
    "rouge_l": "mean ROUGE-L F1, of the words that reply and reference have in common in the same order",
    "chrf": "mean chrF2, of the n-grams of characters that reply and reference have in common, of 100",
    "bleu": "BLEU of all replies together, as sacreBLEU has it (13a, exp), of 100",
}
_GAIN = "; against what people prefer, less against what they do not"


class _About(TypedDict):
    challenge: Challenge
    higher_is_better: bool


_ABOUT: _About = {"challenge": Challenge.EFFICACY, "higher_is_better": True}


# --- over items -------------------------------------------------------------------------------------------


def similarity(
    items: Sequence[Item],
    policy: Policy,
    *,
    sampling: Sampling | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Hold one reply to each prompt against the reply that was shown, or preferred; and the gain on pairs.

    The gain is there where all items are comparisons: are replies nearer to what people prefer than to what
    they do not?
    """
    good = [_references(item) for item in items]
    texts = [_text(one[0]) if one else None for one in drawn(policy, items, sampling=sampling)]
    worse = [_text(one) for _, one in good if one is not None]
    return similarity_results(
        texts,
        [[_text(better)] for better, _ in good],
        worse=worse if len(worse) == len(items) else None,
        clusters=clusters,
        seed=seed,
    )


def similarity_results(
    texts: Sequence[str | None],
    references: Sequence[Sequence[str]],
    *,
    worse: Sequence[str] | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Every measure over a set of replies; of several references the nearest counts.

    texts: None for a reply that did not come
    worse: the reply of each pair that is not preferred, the references being those that are; each measure's
        gain is added then
    """
    _check_references(texts, references)
    if worse is not None:
        _check_references(texts, [[one] for one in worse])
    shared = partial(outcome_result, clusters=clusters, seed=seed, unit="replies", **_ABOUT)
    averaged = partial(mean_result, clusters=clusters, seed=seed, unit="replies", **_ABOUT)
    gained = partial(difference_result, clusters=clusters, seed=seed, unit="replies", **_ABOUT)
    found: list[Result] = []
    for name, measure in _MEASURES.items():
        near = [_nearest(measure, text, wanted) for text, wanted in zip(texts, references, strict=True)]
        scale = _PER_CENT if name == "chrf" else SHARE
        if scale is SHARE:
            found.append(shared(name, near, how=_HOW[name]))
        else:
            found.append(averaged(name, near, how=_HOW[name], scale=scale))
        if worse is not None:
            far = [_nearest(measure, text, [one]) for text, one in zip(texts, worse, strict=True)]
            how = _HOW[name] + _GAIN
            found.append(gained(f"{name}_gain", near, far, how=how, scale=scale.apart))
    found.append(_bleu_result("bleu", texts, references, None, clusters=clusters, seed=seed))
    if worse is not None:
        found.append(_bleu_result("bleu_gain", texts, references, worse, clusters=clusters, seed=seed))
    return found


def _bleu_result(
    name: str,
    texts: Sequence[str | None],
    references: Sequence[Sequence[str]],
    worse: Sequence[str] | None,
    *,
    clusters: Sequence[Labels],
    seed: int,
) -> Result:
    """BLEU, or how much more of it there is against the references than against the worse replies."""
    others = references if worse is None else [[one] for one in worse]
    rows = [
        None if text is None else (_bleu_counts(text, wanted), _bleu_counts(text, other))
        for text, wanted, other in zip(texts, references, others, strict=True)
    ]

    def corpus(rows: Sequence[tuple[_Counts, _Counts]]) -> float:
        near, far = np.sum(rows, axis=0)
        return _bleu(near) - (0.0 if worse is None else _bleu(far))

    return complete_result(
        name,
        rows,
        corpus,
        why_none="no reply came; look at why",
        scale=Scale(0.0 if worse is None else -100.0, 100.0),
        clusters=clusters,
        seed=seed,
        unit="replies",
        how=_HOW["bleu"] + ("" if worse is None else _GAIN),
        **_ABOUT,
    )


def _nearest(measure: Callable[[str, str], float], text: str | None, wanted: Sequence[str]) -> float | None:
    return None if text is None else max(measure(text, one) for one in wanted)


def _references(item: Item) -> tuple[Turns, Turns | None]:
    """As `preferred`, of an item that has such a reply."""
    if (both := preferred(item)) is not None:
        return both
    where = f"{item.origin}: " if item.origin else ""
    found = Said(f"{type(item.utilities).__name__} over {len(item.replies)} replies")
    wrong, accepted = "an item has no reply to hold others against", "demonstrations and comparisons"
    do = "leave it out, or convert it with `concord.views`; a tie prefers neither reply"
    raise InputError(where + explain(wrong, found=found, accepted=accepted, do=do))


def _text(turns: Turns) -> str:
    return "\n".join(turn.text for turn in turns)


# --- what is accepted -------------------------------------------------------------------------------------


def _check_references(texts: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
    check_alike("texts and references differ in number", texts, references)
    for wanted in references:
        if isinstance(wanted, str):
            wrong, do = "the references of a text are one string", "put it in a list"
            raise InputError(explain(wrong, found=wanted, accepted="a list of texts", do=do))
        if not wanted:
            wrong, do = "a text has no reference", "leave it out"
            raise InputError(explain(wrong, found=NOTHING, accepted="one or more for each text", do=do))
