"""Whether the preferences of this data can be a utility, or what it would take for the data to tell."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from concord.data.auditing.columns import Columns
from concord.data.auditing.exact import decided, exact_p_value
from concord.data.auditing.records import Evidence
from concord.data.auditing.utility import (
    PRIOR,
    Edges,
    aggregate,
    ceiling_of,
    cycles,
    goodness,
    informative,
    repeated_agreement,
    triads,
)
from concord.estimates import Estimate, clustered_mean, clustered_share, share_of_sums
from concord.results import Interval, Result

__all__ = ["consistency_results"]

_MOST_PAIRS = 3_000
_DRAWS = 199
_SOURCE = "comparisons only: a ranking or a list of scores is in one order by construction"


def consistency_results(columns: Columns, *, level: float, seed: int, examples: int) -> list[Evidence]:
    """Triads, circles, the fit of Bradley-Terry and the noise ceiling; empty where nothing was compared."""
    explicit = columns.view("implied") == 0
    if not explicit.any():
        return []
    edges = _edges(columns, np.flatnonzero(explicit))
    inner = edges.taken(informative(edges)) if len(edges.left) else edges
    return [
        *_circles(columns, inner, level=level, examples=examples),
        *_fit(inner, seed=seed),
        *_ceiling(edges, level=level),
    ]


def _edges(columns: Columns, which: NDArray[np.int64]) -> Edges:
    """The compared pairs of prompts with more than one judgement that is no tie; others can tell nothing."""
    first = columns.view("first")[which].astype(np.int64)
    second = columns.view("second")[which].astype(np.int64)
    prompts = columns.row_prompts[columns.view("reply_row")[first].astype(np.int64)]
    wins = [columns.view(name)[which].astype(np.float64) for name in ("first_wins", "second_wins")]
    _, number = np.unique(prompts, return_inverse=True)
    weight = np.bincount(number, weights=wins[0] + wins[1])[number]
    several = weight > 1 + 1e-6
    reply = columns.view("reply").astype(np.uint64)
    taken = (wins[0][several], wins[1][several])
    return aggregate(prompts[several], reply[first[several]], reply[second[several]], taken)


def _circles(columns: Columns, edges: Edges, *, level: float, examples: int) -> list[Evidence]:
    found = triads(edges)
    share = share_of_sums(found.circular, found.ordered, level=level)
    how = (
        "share of triads of replies to one prompt, each two ordered by a majority, that go in a circle; "
        f"0 for a utility, 0.25 for coin flips. From {_SOURCE}"
    )
    if found.left_out:
        how += f". Left out, as too many: {found.left_out} sets of more than 2,000 replies to one prompt"
    where = found.prompt[found.circular > 0]
    rows = np.flatnonzero(np.isin(columns.row_prompts, where))
    triad = _over_prompts(share).result("intransitive_triads", unit="triads", how=how, why_none=_NO_TRIAD)
    on = cycles(edges)
    share = clustered_share(on, edges.prompt, level=level)
    how = (
        f"share of pairs on a circle of majorities, of those whose part has a circle of pairs. From {_SOURCE}"
    )
    circle = _over_prompts(share).result("pairs_on_circles", unit="pairs", how=how, why_none=_NO_CIRCLE)
    return [Evidence(triad, columns.origins(rows, examples)), Evidence(circle)]


def _over_prompts(share: Estimate) -> Estimate:
    """The share, with its interval where there are several prompts: in one, circles have pairs in common."""
    return share if share.prompts > 1 else replace(share, interval=None)


def _fit(edges: Edges, *, seed: int) -> list[Evidence]:
    if not len(edges.left):
        how = "p-value of the fit of a utility under Bradley-Terry"
        return [
            Evidence(
                Estimate(None, 0).result("utility_fit_p", unit="judgements", how=how, why_none=_NO_CYCLE)
            )
        ]
    fitted = goodness(edges)
    part = _sampled(decided(edges))
    p_value = exact_p_value(part, draws=_DRAWS, seed=seed)
    how = (
        f"p-value of the fit of a utility under Bradley-Terry on {len(part.left)} pairs that can tell: the "
        f"rank of their deviance among {_DRAWS} tables drawn with the same wins of each reply, so exact; "
        "small where no utility explains who won. Ties, soft preferences and pairs with more than a million "
        "judgements are left out; copies of a row "
        f"count as judgements of their own. Deviance of the fit of all {len(edges.left)} pairs: "
        f"{fitted.deviance:.1f} on {fitted.freedom} degrees of freedom"
    )
    prior = f"utilities have a normal prior of variance {1 / PRIOR:g}, which keeps them finite"
    values = {
        "utility_fit_p": (p_value, how),
        "utility_accuracy": (
            fitted.accuracy,
            f"share of judgements in the order of the utilities that were fitted to them; {prior}",
        ),
        "utility_accuracy_expected": (
            fitted.expected_accuracy,
            f"what the share in their order would be on the average, were these utilities true; {prior}",
        ),
    }
    sizes = {"utility_fit_p": round(float(part.count.sum()))}
    n = round(float(edges.count.sum()))
    return [
        Evidence(
            Estimate(value, sizes.get(name, n)).result(name, unit="judgements", how=said, why_none=_NO_REPEAT)
        )
        for name, (value, said) in values.items()
    ]


_AGREE = "how often two judgements of the same two replies agree, from pairs with two or more (ties left out)"
_CEILING = (
    "at most so often can any model agree with a single judgement, (1 + sqrt(2A - 1)) / 2 at an agreement A; "
    "one that takes every majority agrees at least A. Too high where rows are copies, not new judgements"
)
_NO_TRIAD = "No prompt has three replies that were all compared: three for some hundred prompts would tell."
_NO_CIRCLE = "No prompt has a circle of comparisons, so that every preference fits some utility."
_NO_CYCLE = (
    "The data cannot tell, as no prompt has more compared pairs than connect its replies; three replies "
    "compared each with each would."
)
_NO_REPEAT = (
    "The data cannot tell: where pairs were judged but once, noise explains any circle; a second judgement "
    "of each would."
)
_NO_SECOND = "No pair was judged twice: a second judgement of a hundred pairs would tell how noisy one is."


def _ceiling(edges: Edges, *, level: float) -> list[Evidence]:
    agreement, prompts = repeated_agreement(edges)
    found = clustered_mean(agreement, prompts, level=level)
    names = {"repeated_agreement": _AGREE, "noise_ceiling": _CEILING}
    if found.value is None:
        return [
            Evidence(found.result(name, unit="pairs", how=how, why_none=_NO_SECOND))
            for name, how in names.items()
        ]
    values = {"repeated_agreement": found.value, "noise_ceiling": ceiling_of(found.value)}
    intervals: dict[str, Interval | None] = dict.fromkeys(names)
    if found.interval:
        low, high = max(0.0, found.interval.low), min(1.0, found.interval.high)
        how = found.interval.how
        intervals = {
            "repeated_agreement": Interval(low, high, level=level, how=how),
            "noise_ceiling": Interval(
                ceiling_of(low), ceiling_of(high), level=level, how=f"carried over: {how}"
            ),
        }
    return [
        Evidence(
            Result(name=name, value=values[name], interval=intervals[name], n=found.n, unit="pairs", how=how)
        )
        for name, how in names.items()
    ]


def _sampled(edges: Edges) -> Edges:
    """Whole parts up to so many pairs, in the order of the hashes of their prompts, which is no order."""
    if len(edges.left) <= _MOST_PAIRS:
        return edges
    order = np.lexsort((edges.component, edges.prompt))
    parts, sizes = np.unique(edges.component, return_counts=True)
    size = dict(zip(parts.tolist(), sizes.tolist(), strict=True))
    chosen, total, passed = set[int](), 0, -1
    for component in edges.component[order].tolist():
        if component == passed or component in chosen:
            continue
        passed = component
        if total and total + size[component] > _MOST_PAIRS:
            break
        chosen.add(component)
        total += size[component]
    return edges.taken(np.isin(edges.component, sorted(chosen)))
