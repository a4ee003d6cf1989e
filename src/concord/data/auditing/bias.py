"""What on the surface of replies goes with winning: length, formatting, exclamations, refusals, position."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concord.data.auditing.columns import Columns, Hashes
from concord.estimates import clustered_mean, clustered_share
from concord.results import Result

__all__ = ["TRAITS", "Pairs", "bias_results", "longer_wins", "pairs_of"]

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]

TRAITS: dict[str, str] = {
    "formatting": "headings and bold pieces",
    "lists": "list items",
    "code": "pieces of code",
    "exclamations": "exclamation marks",
    "refusal": "signs of a refusal",
}
"""Columns of replies, beside length, of which more or less may go with winning; in words."""

_RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
_FEWEST = 20  # comparisons from which a source or a bucket gets a result of its own
_MOST_SOURCES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Comparisons with a winner: the places of winner and loser among all replies, and where they stand."""

    winner: _Ints
    loser: _Ints
    first_won: NDArray[np.bool_]
    implied: NDArray[np.bool_]
    row: _Ints
    prompt: Hashes
    split: _Ints
    source: _Ints

    def taken(self, which: NDArray[np.bool_]) -> "Pairs":
        """Some of them."""
        return Pairs(*(getattr(self, name)[which] for name in self.__slots__))


def pairs_of(columns: Columns) -> Pairs:
    """All comparisons with a winner, those that rankings and scores imply among them."""
    preference = columns.view("preference")
    sure = np.flatnonzero(preference != 0.5)
    first = columns.view("first")[sure].astype(np.int64)
    second = columns.view("second")[sure].astype(np.int64)
    won = np.asarray(preference[sure] > 0.5)
    row = columns.view("reply_row")[first].astype(np.int64)
    return Pairs(
        winner=np.where(won, first, second),
        loser=np.where(won, second, first),
        first_won=won,
        implied=columns.view("implied")[sure].astype(np.bool_),
        row=row,
        prompt=columns.row_prompts[row],
        split=columns.view("split")[row].astype(np.int64),
        source=columns.view("source")[row].astype(np.int64),
    )


def longer_wins(pairs: Pairs, lengths: _Ints, unit: str, *, level: float, **at: str | float) -> Result:
    """P(the longer reply wins), over comparisons with a winner whose replies differ in length."""
    gap = lengths[pairs.winner] - lengths[pairs.loser]
    differ = gap != 0
    found = clustered_share(gap[differ] > 0, pairs.prompt[differ], level=level)
    return found.result(
        "longer_wins",
        unit="comparisons",
        failures=int((~differ).sum()),
        how=f"share won by the reply with more {unit}, of comparisons without a tie in preference or length "
        f"(failures: equal lengths); the interval allows for rows that share one of {found.prompts} prompts",
        at={"length": unit, **at},
    )


def bias_results(columns: Columns, pairs: Pairs, *, level: float) -> list[Result]:
    """All that goes with winning; empty where nothing was compared."""
    if not len(pairs.winner):
        return []
    results: list[Result] = []
    characters = columns.view("characters").astype(np.int64)
    lengths = {"characters": characters}
    if len(columns.tokens) == len(characters):
        lengths["tokens"] = columns.view("tokens").astype(np.int64)
    for unit, values in lengths.items():
        results.append(longer_wins(pairs, values, unit, level=level))
        results.append(_gap(pairs, values, unit, level=level))
        results += _by_place(columns, pairs, values, unit, level)
        results += _by_ratio(pairs, values, unit, level)
    results += [_trait(columns, pairs, name, level) for name in TRAITS]
    explicit = pairs.taken(~pairs.implied)
    if len(explicit.row):
        found = clustered_share(explicit.first_won, explicit.prompt, level=level)
        how = (
            "share won by the reply that stands first in its row; 1 where columns are named for the winner, "
            "which then says nothing"
        )
        results.append(found.result("first_wins", unit="comparisons", how=how))
    return results


def _gap(pairs: Pairs, lengths: _Ints, unit: str, *, level: float) -> Result:
    found = clustered_mean(lengths[pairs.winner] - lengths[pairs.loser], pairs.prompt, level=level)
    return found.result(
        "length_gap",
        unit=unit,
        how="mean length of the winner less that of the loser, over comparisons with a winner",
        at={"length": unit},
    )


def _by_place(columns: Columns, pairs: Pairs, lengths: _Ints, unit: str, level: float) -> list[Result]:
    """The same in each split and for each of the largest sources, where there are several."""
    results: list[Result] = []
    places = (("split", columns.splits, pairs.split), ("source", columns.sources, pairs.source))
    for name, names, values in places:
        counts: list[int] = np.bincount(values, minlength=len(names)).tolist()
        largest = sorted(range(len(names)), key=lambda place, counts=counts: (-counts[place], place))[
            :_MOST_SOURCES
        ]
        for number in sorted(largest) if len(names) > 1 else []:
            if counts[number] >= _FEWEST:
                at: dict[str, str | float] = {name: names[number]}
                part = pairs.taken(values == number)
                results.append(longer_wins(part, lengths, unit, level=level, **at))
    return results


def _by_ratio(pairs: Pairs, lengths: _Ints, unit: str, level: float) -> list[Result]:
    """The same by how many times as long the longer reply is."""
    a, b = lengths[pairs.winner], lengths[pairs.loser]
    ratio = np.maximum(a, b) / np.maximum(1, np.minimum(a, b))
    results: list[Result] = []
    for low, high in zip(_RATIOS, (*_RATIOS[1:], np.inf), strict=True):
        inside = (ratio >= low) & (ratio < high) & (a != b)
        if int(inside.sum()) >= _FEWEST:
            name = f"{low:g} to {high:g} times as long" if high < np.inf else f"{low:g} times as long or more"
            part = pairs.taken(inside)
            results.append(longer_wins(part, lengths, unit, level=level, bucket=name, ratio=low))
    return results


def _trait(columns: Columns, pairs: Pairs, name: str, level: float) -> Result:
    worn = columns.view(name).astype(np.int64)
    gap = worn[pairs.winner] - worn[pairs.loser]
    differ = gap != 0
    found = clustered_share(gap[differ] > 0, pairs.prompt[differ], level=level)
    return found.result(
        "more_wins",
        unit="comparisons",
        how=f"share won by the reply with more {TRAITS[name]}, of comparisons whose replies differ in that; "
        "a longer reply has room for more",
        at={"trait": name},
    )
