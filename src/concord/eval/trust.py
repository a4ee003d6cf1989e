"""How far a judge or a reward model can be trusted, before it is used: held against people on the same pairs.

    judge_trust(judge, comparisons)        asks about held-out comparisons, and reckons
    trust_results(rows)                    the preferences of both in, results out
    cohen_kappa, krippendorff_alpha        agreement beyond chance

Beside every accuracy stand those of three rules that read nothing: the longer reply, the first one, no
verdict. A judge that does not beat them has not been shown to read. Where items say how likely their
verdicts were (`odds` in their meta), so does that of whoever knows this, which nobody beats. Of pairs that
people tie no accuracy is reckoned, and a tie of the judge counts one half; agreement counts ties as a verdict
like others.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import TypeAlias, TypedDict

from concord.errors import InputError, explain
from concord.eval.order.winrate import Judged, judge_both, stands_second, win_rate_results
from concord.eval.reckoning import (
    SHARE,
    About,
    Labels,
    complete_result,
    difference_result,
    outcome_result,
    share_result,
)
from concord.feedback.judge import BothOrders
from concord.feedback.pairs import ByScore, Pair, PairJudge
from concord.types import (
    Challenge,
    Feedback,
    Item,
    JudgeRecord,
    Preference,
    Result,
    Turns,
    Unscored,
)

__all__ = [
    "BASELINES",
    "BEST",
    "Row",
    "cohen_kappa",
    "judge_record",
    "judge_trust",
    "krippendorff_alpha",
    "rows_of",
    "trust_results",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One pair: people's preference for the first reply, the judge's in both orders, and both lengths.

    `votes` are the verdicts of single people, 1, 0.5 or 0, where they are known; `odds` the probability that
    people prefer the first, if they do not tie, where a world knows it.
    """

    human: float
    judged: Judged
    lengths: tuple[int, int]
    votes: tuple[float, ...] = field(default=())
    odds: float | None = None

    @property
    def outcome(self) -> float | None:
        """The judge's verdict for the first reply: what holds in both orders, else a tie."""
        both = self.judged.outcomes
        return both and (both[0] if both[0] == both[1] else 0.5)

    @property
    def preference(self) -> float | None:
        """The judge's mean preference for the first reply."""
        first, second = self.judged.first, self.judged.second
        return None if first is None or second is None else (first + second) / 2

    @property
    def longer(self) -> float:
        """Which reply is longer, as a verdict."""
        return _side(self.lengths[0] - self.lengths[1])


def _side(difference: float) -> float:
    return (1 + (difference > 0) - (difference < 0)) / 2


def _longer(row: Row) -> float:
    return row.longer


def _verdict(row: Row) -> float | None:
    return row.outcome


BEST = "whoever knows all odds"
"""The name of the best foreteller there can be, where rows have odds."""

BASELINES: Mapping[str, Callable[[Row], float]] = {
    "the longer reply": _longer,
    "the first reply": lambda _: 1.0,
    "always a tie": lambda _: 0.5,
}
"""Rules that judge without reading, by name."""


# --- agreement beyond chance ------------------------------------------------------------------------------


def cohen_kappa(pairs: Iterable[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two raters of the same things (1960); None where both always say one and the same.

    (p - e) / (1 - e): p the share they agree on, e what their separate habits would make them agree on
    """
    both = list(pairs)
    n = len(both)
    first, second = Counter(one for one, _ in both), Counter(other for _, other in both)
    by_habit = sum(count * second[verdict] for verdict, count in first.items())
    if by_habit == n * n:
        return None
    return (n * sum(one == other for one, other in both) - by_habit) / (n * n - by_habit)


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha for categories: any number of raters, of whom each may lack any unit (1980).

    1 - observed / expected disagreement; each unit holds the values that raters gave it, and units with
    fewer than two say nothing. None where all values are one and the same.
    """
    return _alpha([_unit(unit) for unit in units if len(unit) > 1])


_Unit: TypeAlias = tuple[float, tuple[tuple[Hashable, int], ...]]


def _unit(values: Sequence[Hashable]) -> _Unit:
    """The disagreement within a unit, and how often it was given each value: reckoned once, drawn often."""
    counts, size = Counter(values), len(values)
    apart = size * size - sum(count * count for count in counts.values())
    return apart / (size - 1), tuple(counts.items())


def _alpha(units: Sequence[_Unit]) -> float | None:
    total: dict[Hashable, int] = {}
    for _, counts in units:
        for value, count in counts:
            total[value] = total.get(value, 0) + count
    n = sum(total.values())
    expected = n * n - sum(count * count for count in total.values())
    return 1 - (n - 1) * sum(apart for apart, _ in units) / expected if expected else None


# --- asking -----------------------------------------------------------------------------------------------


def judge_trust(
    judge: PairJudge | Feedback,
    comparisons: Sequence[Item],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Ask a judge about comparisons that people have made, in both orders, and say how far they agree.

    A judge that itself asks in both orders is taken apart, since that is what hides a position bias. A
    feedback scores each reply by itself, and prefers the one that it scores higher.
    """
    return trust_results(rows_of(judge, comparisons), judge=judge.id, clusters=clusters, seed=seed)


def rows_of(judge: PairJudge | Feedback, comparisons: Sequence[Item]) -> list[Row]:
    """What people and a judge say of each comparison.

    Which reply of a row is the first is decided by a hash of its texts: in many files it is the better one.
    """
    known = [_preference(item) for item in comparisons]
    given = [Pair(item.prompt, item.replies[0], item.replies[1], item.meta) for item in comparisons]
    turned = [stands_second(pair) for pair in given]
    pairs = [pair.swapped if turn else pair for pair, turn in zip(given, turned, strict=True)]
    if isinstance(judge, BothOrders):
        judge = judge.judge
    if isinstance(judge, PairJudge) and not isinstance(judge, ByScore):
        judged = judge_both(pairs, judge)
    else:
        said = (judge if isinstance(judge, ByScore) else ByScore(judge)).compare(pairs)
        values = [None if isinstance(one, Unscored) else one.preference for one in said]
        judged = [Judged(one, one) for one in values]
    return [
        Row(
            human=1 - one.first if turn else one.first,
            judged=both,
            lengths=(_length(pair.first), _length(pair.second)),
            votes=tuple(1 - vote for vote in _votes(one)) if turn else _votes(one),
            odds=_odds(item, turned=turn),
        )
        for item, one, turn, both, pair in zip(comparisons, known, turned, judged, pairs, strict=True)
    ]


def _odds(item: Item, *, turned: bool) -> float | None:
    """How likely people prefer the first reply of an item that says so, or the second; ties left out."""
    match item.meta.get("odds"):
        case [float() | int() as first, float() | int(), float() | int() as second] if first + second > 0:
            return (second if turned else first) / (first + second)
        case _:
            return None


def _preference(item: Item) -> Preference:
    if isinstance(item.utilities, Preference):
        return item.utilities
    where = f"{item.origin}: " if item.origin else ""
    wrong, do = "a judge is held against people's comparisons", "convert the items with concord.views.convert"
    found = type(item.utilities).__name__
    raise InputError(where + explain(wrong, found=found, accepted="items with a Preference", do=do))


def _length(turns: Turns) -> int:
    """The characters of a reply."""
    return sum(len(turn.text) for turn in turns)


def _votes(known: Preference) -> tuple[float, ...]:
    counts = zip((1.0, 0.5, 0.0), known.votes or (), strict=False)
    return tuple(verdict for verdict, count in counts for _ in range(count))


# --- reckoning --------------------------------------------------------------------------------------------


def trust_results(
    rows: Sequence[Row], *, judge: str = "the judge", clusters: Sequence[Labels] = (), seed: int = 0
) -> list[Result]:
    """How far a judge agrees with people, what length and place do to it, and what simple rules reach.

    judge: its id, which each result has as its coordinate `by`; the rules stand there by their names
    """
    held = _Held(rows, clusters, judge, seed)
    return [*_accuracies(held), *_agreements(held), *_lengths(held), *_orders(held)]


class _Drawn(TypedDict):
    clusters: Sequence[Labels]
    seed: int


@dataclass(frozen=True, slots=True)
class _Held:
    """Rows, with what makes them alike, who judged them, and the seed of the intervals."""

    rows: Sequence[Row]
    clusters: Sequence[Labels]
    judge: str
    seed: int

    def where(self, holds: Callable[[Row], bool]) -> "_Held":
        """Those rows for which something holds."""
        places = [at for at, row in enumerate(self.rows) if holds(row)]
        clusters = tuple([labels[at] for at in places] for labels in self.clusters)
        return replace(self, rows=[self.rows[at] for at in places], clusters=clusters)

    @property
    def drawn(self) -> "_Drawn":
        """What an interval is reckoned by."""
        return _Drawn(clusters=self.clusters, seed=self.seed)

    def values(self, rule: Callable[[Row], float | None]) -> list[float | None]:
        """What a rule makes of each row."""
        return [rule(row) for row in self.rows]

    def about(self, how: str, *, by: str = "", better: bool | None = True) -> About:
        """What a result says of itself."""
        about = About(unit="pairs", how=how, challenge=Challenge.OVERSIGHT, at={"by": by or self.judge})
        return about if better is None else about | About(higher_is_better=better)


def _hit(rule: Callable[[Row], float | None]) -> Callable[[Row], float | None]:
    """Whether a rule prefers the reply that people do: 1, 0.5 for a tie, or 0."""

    def hit(row: Row) -> float | None:
        said = rule(row)
        return None if said is None else 1 - abs(said - _side(row.human - 0.5))

    return hit


def _accuracy(held: _Held, rule: Callable[[Row], float | None], name: str, about: About) -> Result:
    """The share of hits, ties counting one half."""
    return outcome_result(name, held.values(_hit(rule)), **held.drawn, **about)


def _accuracies(held: _Held) -> Iterator[Result]:
    """How often the reply that people prefer is preferred, by the judge and by the rules that do not read."""
    ordered = held.where(lambda row: row.human != 0.5)
    how = "share of the pairs that people order in which {} prefers the same reply, ties counting one half"
    for name, rule in {held.judge: _verdict, **BASELINES}.items():
        yield _accuracy(ordered, rule, "judge_accuracy", held.about(how.format(name), by=name))
    how = "how much more often than the longer reply the judge's choice is that of people, on the same pairs"
    ours, theirs = ordered.values(_hit(_verdict)), ordered.values(_hit(_longer))
    yield difference_result(
        "judge_beyond_length", ours, theirs, scale=SHARE.apart, **ordered.drawn, **held.about(how)
    )
    best = [None if row.odds is None else max(row.odds, 1 - row.odds) for row in ordered.rows]
    if best and None not in best:
        how = f"share of these pairs that {BEST} orders as people do on average, which nobody beats"
        about = held.about(how, by=BEST)
        yield outcome_result("judge_accuracy", best, **ordered.drawn, **about)
        how = "how much less often than whoever knows all odds the judge prefers what people do"
        yield difference_result(
            "judge_below_best",
            best,
            ours,
            scale=SHARE.apart,
            **ordered.drawn,
            **held.about(how, better=False),
        )


def _agreements(held: _Held) -> Iterator[Result]:
    """How often all three verdicts are the same, as it is and beyond chance."""
    people = [_side(row.human - 0.5) for row in held.rows]
    commonest = Counter(people).most_common(1)[0][0] if people else 0.5
    rules: dict[str, Callable[[Row], float | None]]
    rules = {held.judge: _verdict, "the commonest verdict": lambda _: commonest}
    how = "share of the pairs of which {} says what most people do: first, second or tie"
    for name, rule in rules.items():
        both = [*zip(held.values(rule), people, strict=True)]
        same = [None if one is None else one == other for one, other in both]
        yield share_result("judge_agreement", same, **held.drawn, **held.about(how.format(name), by=name))
    read = [None if row.outcome is None else (row.outcome, _side(row.human - 0.5)) for row in held.rows]
    about = held.about("Cohen's kappa of the judge's verdict and the majority's: first, second or tie")
    why = "judge and majority always say one and the same thing; give pairs on which verdicts differ"
    scale = SHARE.apart
    yield complete_result("judge_kappa", read, cohen_kappa, why_none=why, scale=scale, **held.drawn, **about)
    voted = held.where(lambda row: len(row.votes) > 1)
    judged = [row if row.outcome is not None else None for row in voted.rows]
    units = {
        "people": [row and _unit(row.votes) for row in judged],
        "people and the judge": [row and _unit((*row.votes, row.outcome)) for row in judged],
    }
    why = "all verdicts are the same; give pairs on which people differ"
    for by, values in units.items() if voted.rows else ():
        about = held.about(f"Krippendorff's alpha of the verdicts of {by}: first, second or tie", by=by)
        yield complete_result(
            "verdict_alpha", values, _alpha, why_none=why, scale=scale, **voted.drawn, **about
        )


def _lengths(held: _Held) -> Iterator[Result]:
    """What the judge makes of length: where the better reply is the shorter, and beyond people's taste."""
    for name, side in (("longer", 1.0), ("shorter", 0.0)):
        chosen = held.where(lambda row, side=side: row.human != 0.5 and _hit(_longer)(row) == side)
        about = held.about(f"accuracy on the pairs whose better reply, to people, is the {name} one")
        yield _accuracy(chosen, _verdict, f"judge_accuracy_{name}", about)
    read = [None if row.preference is None else row for row in held.rows]
    how = (
        "how much more than people the judge prefers a reply for being longer by one standard deviation:"
        " slope through 0 of its preference less theirs"
    )
    why = "all pairs have replies of equal length; give pairs that differ"
    about = held.about(how, better=None)
    yield complete_result("length_slope", read, _slope, why_none=why, **held.drawn, **about)


def _slope(rows: Sequence[Row]) -> float | None:
    """The slope of judge - people on the difference of lengths, in units of its root mean square.

    Through 0, since which reply is the first one is arbitrary: exchanging them changes both signs.
    """
    gaps = [row.lengths[0] - row.lengths[1] for row in rows]
    square = sum(gap * gap for gap in gaps)
    if not square:
        return None
    beyond = [(row.preference or 0.0) - row.human for row in rows]
    return sum(gap * more for gap, more in zip(gaps, beyond, strict=True)) / sqrt(square * len(rows))


def _orders(held: _Held) -> Iterator[Result]:
    """What place does to the judge."""
    judged = [row.judged for row in held.rows]
    for one in win_rate_results(judged, judge=held.judge, clusters=held.clusters, seed=held.seed):
        if one.name in ("swap_conflict", "position_bias", "tie_rate"):
            yield replace(one, at={**one.at, "by": held.judge})


def judge_record(judge: str, results: Sequence[Result]) -> JudgeRecord:
    """What a scorecard keeps of a judge, from the results of `trust_results`."""
    found = {one.name: one.value for one in results}
    bias = found.get("position_bias")
    return JudgeRecord(id=judge, swap_conflict=found.get("swap_conflict"), position_bias=bias)
