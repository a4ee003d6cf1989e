"""What a policy's likelihoods say of the data that people gave: order, surprise, and what length explains.

    likelihoods(items, policy, base=)   each reply of the items, weighed by the policy and by its base
    order_results                       comparisons: does it put the better reply first?
    surprise_results                    demonstrations: how unlikely are they to it?
    separation_results                  judgements: are good replies likelier than bad ones?
    length_results                      how much of what the policy has come to value is length

Likelihoods need SCORE. A log-probability falls with length, so each order is told by several readings, which
are never ranked together: the sum, the sum per token, and beside a base the log-ratio, the reward of DPO.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import NamedTuple

import numpy as np

from concord.eval.conduct.calibration import auroc
from concord.eval.order.misalignment import longer_side
from concord.eval.reckoning import (
    SHARE,
    Labels,
    complete_result,
    described,
    difference_result,
    outcome_result,
    ratio_result,
)
from concord.types import Ask, Challenge, Item, Label, Policy, Preference, Reply, Result, Shown, Unanswered

__all__ = [
    "Weighed",
    "Weight",
    "explained",
    "length_results",
    "likelihoods",
    "order_results",
    "same_prompt",
    "separation_results",
    "surprise_results",
]


class Weight(NamedTuple):
    """The log-probability of a reply, its number of tokens, and its log-probability by the base."""

    logp: float
    tokens: int
    base: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """Items with the weight of each of their replies, None where it has none; `seed` is of the intervals.

    Items of one prompt are alike, so they share a label.
    """

    items: Sequence[Item]
    weights: Sequence[Sequence[Weight | None]]
    based: bool = False
    seed: int = 0

    def of(self, *kinds: type) -> "Weighed":
        """Those whose utilities are of these kinds."""
        places = [at for at, item in enumerate(self.items) if isinstance(item.utilities, kinds)]
        items, weights = [self.items[at] for at in places], [self.weights[at] for at in places]
        return Weighed(items=items, weights=weights, based=self.based, seed=self.seed)

    @property
    def clusters(self) -> tuple[Labels, ...]:
        """The prompt of each item, where some share one."""
        return same_prompt(self.items)


def same_prompt(items: Sequence[Item]) -> tuple[Labels, ...]:
    """The prompt of each item, as clusters, where some share one; none where all differ."""
    labels = [repr(item.prompt) for item in items]
    return (labels,) if len(set(labels)) < len(labels) else ()


_Read = Callable[[Weight], float | None]
_READINGS: Mapping[str, _Read] = {
    "log-probability": lambda one: one.logp,
    "log-probability per token": lambda one: one.logp / one.tokens,
}
_RATIO: Mapping[str, _Read] = {
    "log-ratio to the base": lambda one: None if one.base is None else one.logp - one.base
}


def likelihoods(
    items: Sequence[Item], policy: Policy, *, base: Policy | None = None, seed: int = 0
) -> Weighed:
    """Weigh every reply of the items; a reply that has no weight is a failure of what rests on it."""
    asks = [Ask(item.prompt, given=item.replies) for item in items]
    ours = policy.answer(asks) if asks else ()
    theirs = base.answer(asks) if base is not None and asks else [()] * len(items)
    rows = [
        [_weight(one, row[at] if base is not None else None) for at, one in enumerate(answer)]
        for answer, row in zip(ours, theirs, strict=True)
    ]
    return Weighed(items=items, weights=rows, based=base is not None, seed=seed)


def _weight(ours: Reply | Unanswered, theirs: Reply | Unanswered | None) -> Weight | None:
    if isinstance(ours, Unanswered) or not ours.logps:
        return None
    base = fsum(theirs.logps) if isinstance(theirs, Reply) and theirs.logps else None
    return Weight(fsum(ours.logps), len(ours.logps), base)


def _readings(weighed: Weighed) -> Mapping[str, _Read]:
    return {**_READINGS, **(_RATIO if weighed.based else {})}


def order_results(weighed: Weighed) -> Iterator[Result]:
    """Concordance with people's comparisons by each reading; of all, and by which reply is the longer one.

    Where only longer replies are put first, length is all that was learned.
    """
    there = weighed.of(Preference)
    pairs = [
        (row[0], row[1], item.utilities.first)
        for item, row in zip(there.items, there.weights, strict=True)
        if isinstance(item.utilities, Preference)
    ]
    kept = [at for at, (_, _, first) in enumerate(pairs) if first != 0.5]
    ordered = [(one, other) if first > 0.5 else (other, one) for one, other, first in pairs if first != 0.5]
    sizes = [_sizes(there.items[at], swap=pairs[at][2] < 0.5) for at in kept]
    sides = longer_side([one for one, _ in sizes], [other for _, other in sizes])
    ties = f"; {len(pairs) - len(kept)} ties of people are left out" if len(kept) < len(pairs) else ""
    for name, read in _readings(there).items():
        agreed = [_agreed(read, *both) for both in ordered]
        for side in ("", *sorted(set(sides))):
            places = [at for at, one in enumerate(sides) if side in ("", one)]
            how = (
                f"comparisons{f' whose {side}' if side else ''} that the policy orders as people do by {name}"
            )
            about = described(
                f"{how}; its ties count one half{ties}",
                unit="pairs",
                challenge=Challenge.EFFICACY,
                higher=True,
                at={"pairs": side} if side else {},
            )
            labels = [[one[kept[at]] for at in places] for one in there.clusters]
            values = [agreed[at] for at in places]
            about["reading"] = name
            yield outcome_result("concordance", values, clusters=labels, seed=there.seed, **about)


def _sizes(item: Item, *, swap: bool) -> tuple[int, int]:
    one, other = (sum(len(turn.text) for turn in turns) for turns in item.replies)
    return (other, one) if swap else (one, other)


def _agreed(read: _Read, better: Weight | None, worse: Weight | None) -> float | None:
    if better is None or worse is None:
        return None
    one, other = read(better), read(worse)
    return None if one is None or other is None else (1 + (one > other) - (one < other)) / 2


def surprise_results(weighed: Weighed) -> Iterator[Result]:
    """Nats per token of demonstrations; beside a base, how much less that is than by it."""
    there = weighed.of(Shown)
    rows = [row[0] for row in there.weights]
    about = described(
        "minus log-probability of the replies shown, in nats, over their tokens",
        unit="replies",
        challenge=Challenge.EFFICACY,
        higher=False,
    )
    about["reading"] = "log-probability per token"
    nats = [None if one is None else -one.logp for one in rows]
    tokens = [None if one is None else float(one.tokens) for one in rows]
    yield ratio_result("nats_per_token", nats, tokens, clusters=there.clusters, seed=there.seed, **about)
    if there.based:
        theirs = [None if one is None or one.base is None else one.base / one.tokens for one in rows]
        ours = [None if one is None else one.logp / one.tokens for one in rows]
        about["how"] = "log-probability per token of the replies shown, less that by the base"
        about["higher_is_better"] = True
        yield difference_result(
            "likelihood_gain", ours, theirs, clusters=there.clusters, seed=there.seed, **about
        )


def separation_results(weighed: Weighed) -> Iterator[Result]:
    """P(a reply judged good is likelier than one judged bad), by each reading but the sum."""
    there = weighed.of(Label)
    for name, read in _readings(there).items():
        if name == "log-probability":
            continue  # of replies to different prompts it tells which is shorter
        rows = [
            None if (value := row[0] and read(row[0])) is None else (value, item.utilities.desirable)
            for item, row in zip(there.items, there.weights, strict=True)
            if isinstance(item.utilities, Label)
        ]
        about = described(
            f"P(a reply judged good stands above one judged bad) by {name}; 0.5 tells nothing",
            unit="replies",
            challenge=Challenge.EFFICACY,
            higher=True,
        )
        about["reading"] = name
        yield complete_result(
            "separation",
            rows,
            lambda drawn: auroc([one for one, _ in drawn], [good for _, good in drawn]),
            why_none="there are no good and bad replies with a weight; give judgements of both kinds",
            scale=SHARE,
            clusters=there.clusters,
            seed=there.seed,
            **about,
        )


def length_results(weighed: Weighed) -> Iterator[Result]:
    """How much of the log-ratio to the base between the two replies of a pair their lengths explain."""
    there = weighed.of(Preference)
    ratio = _RATIO["log-ratio to the base"]
    rows: list[tuple[float, float] | None] = []
    for one, other in there.weights:
        ours = None if one is None else ratio(one)
        theirs = None if other is None else ratio(other)
        if one is None or other is None or ours is None or theirs is None:
            rows.append(None)
        else:
            rows.append((ours - theirs, float(one.tokens - other.tokens)))
    about = described(
        "share of the differences in log-ratio between two replies that the differences in length explain"
        " (R squared); what is left is other than length",
        unit="pairs",
        challenge=Challenge.INTERPRETABILITY,
    )
    about["reading"] = "log-ratio to the base"
    yield complete_result(
        "explained_by_length",
        rows,
        explained,
        why_none="no two pairs differ in log-ratio and in length; give more comparisons",
        scale=SHARE,
        clusters=there.clusters,
        seed=there.seed,
        **about,
    )


def explained(rows: Sequence[tuple[float, float]]) -> float | None:
    """R squared of the first numbers on the second, None where either does not vary."""
    values, others = np.asarray(rows, dtype=np.float64).reshape(-1, 2).T
    if len(rows) < 3 or not values.std() or not others.std():
        return None
    return float(np.corrcoef(values, others)[0, 1]) ** 2
