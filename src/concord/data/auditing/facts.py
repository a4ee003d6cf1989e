"""Counts, shares, lengths, labels and agreement: results of what an observer has gathered."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from functools import partial

import numpy as np

from concord.data.auditing.columns import Columns
from concord.data.auditing.observe import Observer
from concord.data.auditing.records import LengthCounts, Table
from concord.data.auditing.texts import ODDITIES
from concord.estimates import clustered_mean, clustered_share, percentile, wilson_ends
from concord.results import Interval, Result

__all__ = [
    "FACTS",
    "PAIR_FACTS",
    "PERCENTILES",
    "REPLY_FACTS",
    "ROW_FACTS",
    "count_results",
    "label_results",
    "length_counts",
    "length_results",
    "mix_table",
    "split_table",
]

PERCENTILES = (1, 5, 25, 50, 75, 95, 99, 100)
_SIDES = ("prompt", "reply", "chosen", "rejected", "row")
_BINS = 16

ROW_FACTS: dict[str, str] = {
    "system prompt": "rows with a system message",
    "tools": "rows with tools",
    "pictures or sounds": "rows with pictures, films or sounds",
    "empty prompt": "rows whose prompt says nothing",
    **{f"prompt {name}": f"rows whose prompt {what}" for name, what in ODDITIES.items()},
}
"""What is counted of rows, in words."""

REPLY_FACTS: dict[str, str] = {
    "reply empty": "replies that say nothing",
    "reply equals prompt": "replies that repeat their prompt and no more",
    "reply refusal": "replies that begin as refusals do (a guess by pattern)",
    "reply cut": "replies of 80 characters or more that end within a sentence (a guess by the last one)",
    **{f"reply {name}": f"replies whose text {what}" for name, what in ODDITIES.items()},
}
"""What is counted of replies, in words."""

PAIR_FACTS: dict[str, str] = {
    "ties": "comparisons without a winner",
    "soft": "comparisons whose preference is a probability between 0 and 1, ties apart",
    "same reply twice": "comparisons of a reply with itself",
    "same but for white space": "comparisons of replies that differ in white space only",
    "against votes": "comparisons whose preference goes against their own votes",
    "against scores": "comparisons whose preference goes against the scores of their two replies",
}
"""What is counted of comparisons, in words."""

FACTS: dict[str, str] = ROW_FACTS | REPLY_FACTS | PAIR_FACTS
"""All of these: the things, and after them what is true of some ("that ...", "whose ...", or without)."""


def count_results(seen: Observer, *, level: float) -> list[Result]:
    """Rows and kinds by split and source, and shares of what is odd, overall and in each split."""
    columns, results = seen.columns, list[Result]()
    for at, split in _splits(columns):
        rows = seen.total("rows", split)
        results.append(Result(name="rows", value=rows, n=rows, unit="rows", at=at, how="rows read"))
        for kind, count in seen.kinds(split).items():
            place = {"kind": kind, **at}
            results.append(
                Result(name="rows_of_kind", value=count, n=rows, unit="rows", at=place, how="of n rows")
            )
        groups = (("rows", ROW_FACTS), ("replies", REPLY_FACTS), ("comparisons", PAIR_FACTS))
        for unit, facts in groups:
            n = seen.total(unit, split)
            for fact, what in facts.items() if n else ():
                count = seen.total(fact, split)
                if count or fact in ("ties", "reply empty"):
                    results.append(_share(fact, count, n, unit, f"share of {what}", at, level))
    return results


def length_results(seen: Observer) -> list[Result]:
    """Percentiles of lengths: of prompts, replies, sides of comparisons, whole rows, and of conversations."""
    results: list[Result] = []
    by_side: dict[tuple[str, str], Counter[int]] = {}
    for (side, unit, split), counts in seen.lengths.items():
        by_side.setdefault((side, unit), Counter()).update(counts)
        if len(seen.columns.splits) > 1:
            results += _percentiles(counts, side, unit, {"split": seen.columns.splits[split]})
    overall = [
        one for (side, unit), counts in by_side.items() for one in _percentiles(counts, side, unit, {})
    ]
    return overall + results


def length_counts(seen: Observer) -> tuple[LengthCounts, ...]:
    """The lengths of all splits in bins, for each unit that texts were counted in."""
    found: list[LengthCounts] = []
    for unit in dict.fromkeys(unit for _, unit, _ in seen.lengths):
        sides: dict[str, Counter[int]] = {}
        for side in _SIDES:
            parts = [counts for (of, by, _), counts in seen.lengths.items() if (of, by) == (side, unit)]
            if parts:
                sides[side] = sum(parts, Counter[int]())
        if sides:
            edges, log = _edges(min(map(min, sides.values())), max(map(max, sides.values())))
            binned = {side: _binned(counts, edges) for side, counts in sides.items()}
            zeros = sum(counts[0] for counts in sides.values()) if log else 0
            found.append(LengthCounts(unit=unit, edges=edges, counts=binned, log=log, zeros=zeros))
    return tuple(found)


def _edges(least: int, most: int) -> tuple[tuple[int, ...], bool]:
    """Round edges around lengths, and whether they stand in proportion: powers of two, and their halves."""
    if most < max(_BINS, 8 * least):
        ladder = (one * 10**power for power in range(19) for one in (1, 2, 5))
        step = next(step for step in ladder if most // step - least // step < _BINS)
        return tuple(range(least // step * step, most + step + 1, step)), False
    powers = [1 << power for power in range(most.bit_length() + 1)]
    steps = sorted({*powers, *(3 * power // 2 for power in powers[2:])})
    # From a power of two on, so that two bins together go from one to the next.
    first = (bisect_right(steps, max(least, 1)) - 1) // 2 * 2
    return tuple(steps[first : bisect_right(steps, most) + 1]), True


def _binned(counts: Counter[int], edges: tuple[int, ...]) -> tuple[int, ...]:
    bins = [0] * (len(edges) - 1)
    for length, count in counts.items():
        bins[max(bisect_right(edges, length) - 1, 0)] += count
    return tuple(bins)


def _percentiles(counts: Counter[int], side: str, unit: str, at: dict[str, str]) -> list[Result]:
    n = sum(counts.values())
    total = sum(length * count for length, count in counts.items())
    how = "exact, from the count of each length; a percentile is a length that occurs"
    coordinates = {"side": side, "unit": unit, **at}
    mean = Result(name="mean_length", value=total / n, n=n, unit=unit, at=coordinates, how="mean")
    return [mean] + [
        Result(
            name="length",
            value=percentile(counts, share / 100),
            n=n,
            unit=unit,
            how=how,
            at={**coordinates, "percentile": share},
        )
        for share in PERCENTILES
    ]


def label_results(seen: Observer, *, level: float) -> list[Result]:
    """Labels, ratings, steps, votes and margins, where there are any."""
    columns, results = seen.columns, list[Result]()
    judged = columns.view("judged").astype(np.int64)
    if len(judged):
        rows = columns.view("reply_row")[judged].astype(np.int64)
        good = columns.view("desirable") == 1
        source, prompts = columns.view("source")[rows], columns.row_prompts[rows]
        places: list[tuple[dict[str, str], np.typing.NDArray[np.bool_]]] = [
            ({}, np.ones(len(rows), np.bool_))
        ]
        if len(columns.sources) > 1:
            places += [({"source": name}, source == number) for number, name in enumerate(columns.sources)]
        for at, here in places:
            if here.any():
                found = clustered_share(good[here], prompts[here], level=level)
                how = "share of labelled replies that are desirable"
                results.append(found.result("desirable", unit="judgements", how=how, at=at))
    steps = {word: seen.total(f"step {word}") for word in ("good", "bad", "none")}
    if n := steps["good"] + steps["bad"]:
        how = "share of labelled steps with a label of 0.5 or more (failures: steps without a label)"
        low, high = wilson_ends(steps["good"] / n, n, level=level)
        results.append(
            Result(
                name="good_steps",
                value=steps["good"] / n,
                interval=Interval(low, high, level=level, how="Wilson's, as if steps were independent"),
                n=n,
                failures=steps["none"],
                unit="steps",
                how=how,
            )
        )
    return results + _score_results(seen) + _vote_results(seen, level=level)


def _score_results(seen: Observer) -> list[Result]:
    results: list[Result] = []
    mean_of = partial(Result, name="mean_score", unit="scores", how="mean of scores")
    if seen.scores:
        values = np.array(sorted(seen.scores))
        counts = np.array([seen.scores[value] for value in values])
        below, n = np.cumsum(counts), int(counts.sum())
        mean = float(values @ (counts / n))
        results.append(mean_of(value=mean, n=n, failures=seen.total("unscored")))
        results += [
            Result(
                name="score",
                value=float(values[np.searchsorted(below, max(1, share / 100 * n) - 1e-9)]),
                n=n,
                unit="scores",
                how="percentile of scores, to six digits, or as many as leave 10,000 different ones",
                at={"percentile": share},
            )
            for share in PERCENTILES
        ]
    for name, (count, mean) in sorted(seen.aspects.items()):
        if count:
            results.append(mean_of(value=mean, n=count, at={"aspect": name}))
    for name, column in seen.margins.items():
        values = np.frombuffer(column, dtype=np.float32)
        for share in PERCENTILES:
            at = {"of": name, "percentile": share}
            value = float(np.percentile(values, share, method="inverted_cdf"))
            results.append(
                Result(
                    name="margin", value=value, n=len(values), unit="rows", at=at, how=f"percentile of {name}"
                )
            )
    return results


def _vote_results(seen: Observer, *, level: float) -> list[Result]:
    """How far people who voted on the same comparison agree."""
    if not seen.votes_row:
        return []
    rows = np.frombuffer(seen.votes_row, dtype=np.uint32)
    agree = np.frombuffer(seen.votes_agree, dtype=np.float32).astype(np.float64)
    prompts = seen.columns.row_prompts[rows]
    pairwise = clustered_mean(agree, prompts, level=level)
    unanimous = clustered_share(agree > 1 - 1e-6, prompts, level=level)
    shares = np.array(seen.votes_given) / sum(seen.votes_given)
    by_chance = float(shares @ shares)
    assert pairwise.value is not None
    kappa = (pairwise.value - by_chance) / (1 - by_chance) if by_chance < 1 else None
    unit = "comparisons"
    return [
        pairwise.result(
            "votes_agree",
            unit=unit,
            how="how often two voters on one comparison agree, a tie being a vote of its own; a mean over "
            "comparisons with two votes or more",
        ),
        unanimous.result(
            "votes_unanimous",
            unit=unit,
            how="share of comparisons with two votes or more whose votes are all the same",
        ),
        Result(
            name="votes_kappa",
            value=kappa,
            n=pairwise.n,
            unit=unit,
            how=f"agreement beyond that of votes drawn at their overall shares ({by_chance:.3f}), as Fleiss' "
            "kappa; 1 is full agreement, 0 none but by chance; whichever reply stands first",
        ),
    ]


def split_table(seen: Observer, results: Iterable[Result]) -> Table:
    """What each split holds: rows, kinds, replies, median lengths."""
    columns = seen.columns
    unit = "tokens" if columns.tokens else "characters"
    several = len(columns.splits) > 1
    medians = {
        (one.at["side"], one.at.get("split", "")): one.value
        for one in results
        if one.name == "length" and one.at["percentile"] == 50 and one.at["unit"] == unit
    }
    cells: list[tuple[str | int | float | None, ...]] = []
    for number, name in enumerate(columns.splits):
        place = name if several else ""
        cells.append(
            (
                name,
                seen.total("rows", number),
                ", ".join(seen.kinds(number)),
                seen.total("replies", number),
                medians.get(("prompt", place)),
                medians.get(("reply", place)),
                medians.get(("row", place)),
            )
        )
    headings = (
        "split",
        "rows",
        "kinds",
        "replies",
        *(f"median {side}" for side in ("prompt", "reply", "row")),
    )
    return Table("splits", f"What each split holds, with lengths in {unit}", headings, tuple(cells))


def mix_table(seen: Observer, results: Iterable[Result]) -> Table:
    """Where the rows come from: for each source its share, lengths, and how often the longer reply wins."""
    columns = seen.columns
    sources = columns.view("source").astype(np.int64)
    rows = np.bincount(sources, minlength=len(columns.sources))
    owner = sources[columns.view("reply_row").astype(np.int64)]
    replies = np.bincount(owner, minlength=len(rows))
    lengths = np.bincount(owner, weights=columns.view("characters"), minlength=len(rows))
    named = {(one.name, str(one.at["source"])): one.value for one in results if "source" in one.at}
    cells: list[tuple[str | int | float | None, ...]] = []
    for number in sorted(range(len(rows)), key=lambda place: (-int(rows[place]), place)):
        name = columns.sources[number]
        mean = lengths[number] / replies[number] if replies[number] else None
        cells.append(
            (
                name,
                int(rows[number]),
                float(rows[number] / max(1, rows.sum())),
                None if mean is None else float(mean),
                named.get(("longer_wins", name)),
                named.get(("desirable", name)),
            )
        )
    headings = ("source", "rows", "share", "characters a reply", "longer wins", "desirable")
    return Table("sources", "Where the rows come from", headings, tuple(cells))


def _share(name: str, count: int, n: int, unit: str, how: str, at: dict[str, str], level: float) -> Result:
    low, high = wilson_ends(count / n, n, level=level)
    interval = Interval(low, high, level=level, how=f"Wilson's, as if {unit} were independent")
    place = {"of": name, **at}
    return Result(name="share", value=count / n, interval=interval, n=n, unit=unit, how=how, at=place)


def _splits(columns: Columns) -> list[tuple[dict[str, str], int | None]]:
    """All rows, and those of each split where there are several."""
    several = [({"split": name}, number) for number, name in enumerate(columns.splits)]
    return [({}, None), *(several if len(several) > 1 else [])]
