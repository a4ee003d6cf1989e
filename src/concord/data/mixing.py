"""An order over several sources whose quotas hold at every prefix, at random access.

order = mix({"chat": 60_000, "code": 5_000}, {"chat": 3, "code": 1}, seed=0)
sources, rows = order.rows(0, 512)      which source and which of its rows, for each step
order.passes(order.length("longest"))   how often each source is gone through until all were seen
"""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np

from concord.data.order import Integers, check_count, row_at, walked
from concord.errors import NOTHING, InputError, Said, explain, nearest
from concord.messages import is_number

__all__ = ["Mix", "exact_shares", "mix"]

_PERIOD = 1 << 18  # steps after which a mixture repeats its order of sources, at most


@dataclass(frozen=True, kw_only=True)
class Mix:
    """An endless order over several named sources; `mix` makes it.

    `shares` are the exact quotas. Where it is not `weighted`, all rows of all sources are shuffled
    as one, so each is seen once an epoch. With weights the step decides the source: after any number of
    steps each source has had its share of them, off by less than one. A source is walked in a shuffle of
    its own, anew in every pass, so a source that is short for its share repeats; `passes` says how often.
    """

    sizes: Mapping[str, int]
    shares: Mapping[str, Fraction]
    seed: int
    weighted: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The sources, in the order of the numbers that `at` and `rows` give."""
        return tuple(self.sizes)

    def at(self, step: int) -> tuple[int, int]:
        """The number of the source and the index of its row, at a step."""
        sources, indices = self.rows(step, step + 1)
        return int(sources[0]), int(indices[0])

    def rows(self, start: int, stop: int) -> tuple[Integers, Integers]:
        """For the steps from start to stop - 1: the numbers of their sources, the indices of their rows."""
        check_count(start, "the first step", least=0)
        check_count(stop, "the step to stop at", least=start)
        steps = np.arange(start, stop, dtype=np.int64)
        if not self.weighted:
            ends = np.cumsum(list(self.sizes.values()))
            flat = row_at(steps, int(ends[-1]), self.seed)
            sources = np.searchsorted(ends, flat, side="right").astype(np.int64)
            return sources, flat - np.concatenate([[0], ends[:-1]])[sources]
        pattern, ranks, quotas = self._period
        rounds, within = np.divmod(steps, len(pattern))
        sources = pattern[within].astype(np.int64)
        draws = rounds * quotas[sources] + ranks[within]
        indices = np.empty_like(draws)
        for number, (name, size) in enumerate(self.sizes.items()):
            here = sources == number
            indices[here] = walked(draws[here], size, self.seed, "source", name, "pass")
        return sources, indices

    def counts(self, steps: int) -> dict[str, int]:
        """How many of the first `steps` steps fall to each source."""
        check_count(steps, "the number of steps", least=0)
        if not self.weighted:
            total = sum(self.sizes.values())
            sources, _ = self.rows(steps - steps % total, steps)
            rest = np.bincount(sources, minlength=len(self.sizes))
            return {
                name: steps // total * size + int(more)
                for (name, size), more in zip(self.sizes.items(), rest, strict=True)
            }
        pattern, _, quotas = self._period
        rounds, within = divmod(steps, len(pattern))
        counts = rounds * quotas + np.bincount(pattern[:within], minlength=len(quotas))
        return dict(zip(self.sizes, map(int, counts), strict=True))

    def passes(self, steps: int) -> dict[str, float]:
        """How often each source has been gone through after `steps` steps: above one, its rows repeat."""
        return {name: count / self.sizes[name] for name, count in self.counts(steps).items()}

    def length(self, until: Literal["shortest", "longest"]) -> int:
        """One epoch, in steps: until the first source has been seen whole, or until the last one has.

        Up to "shortest" no row is seen twice; up to "longest" none is left out. Without weights, both are
        the number of all rows. A source without a share is never seen, and not waited for.
        """
        if until not in ("shortest", "longest"):
            wrong, accepted = "no such end of an epoch", "shortest, longest"
            raise InputError(explain(wrong, found=until, accepted=accepted, do="say one of them"))
        if not self.weighted:
            return sum(self.sizes.values())
        _, _, quotas = self._period
        ends = [
            self._step_of(number, size - 1) + 1
            for number, size in enumerate(self.sizes.values())
            if quotas[number]
        ]
        return min(ends) if until == "shortest" else max(ends)

    def _step_of(self, source: int, draw: int) -> int:
        """The step at which a source is drawn from for the time after `draw` earlier ones."""
        pattern, _, quotas = self._period
        rounds, within = divmod(draw, int(quotas[source]))
        return rounds * len(pattern) + int(np.flatnonzero(pattern == source)[within])

    @cached_property
    def _period(self) -> tuple[Integers, Integers, Integers]:
        """The sources of one period of steps, the earlier draws from the same source, the draws in all."""
        period = math.lcm(*(share.denominator for share in self.shares.values()))
        quotas = np.array([int(share * period) for share in self.shares.values()], np.int64)
        pattern = _interleaved([int(quota) for quota in quotas])
        ranks = np.empty(period, np.int64)
        for number, quota in enumerate(quotas):
            ranks[pattern == number] = np.arange(quota)
        return pattern, ranks, quotas


def mix(sizes: Mapping[str, int], weights: Mapping[str, float] | None = None, seed: int = 0) -> Mix:
    """An order over sources of these sizes, drawn from by these weights.

    Weights are taken as written (0.1 is a tenth) and need not add up to one. Shares whose common
    denominator is beyond 2**18 are rounded to that; `Mix.shares` has what is used, and a weight that would
    be rounded to nothing is refused. Weights of None mean
    that all rows count alike, which is not the same as weights equal to the sizes: those hold at every
    prefix, where one shuffle of everything holds them at the end.
    """
    if not sizes:
        wrong, do = "there is nothing to mix", "give the size of each source by its name"
        raise InputError(explain(wrong, found=NOTHING, accepted="one source or more", do=do))
    for name, size in sizes.items():
        check_count(size, f"the size of {name!r}")
    total = sum(sizes.values())
    if weights is None:
        plain = {name: Fraction(size, total) for name, size in sizes.items()}
        return Mix(sizes=dict(sizes), shares=plain, seed=seed, weighted=False)
    for name in weights:
        if name not in sizes:
            wrong, do = "a weight is for a source that is not there", "mend the name, or leave it out"
            raise InputError(explain(wrong, found=name, accepted=nearest(name, sizes), do=do))
    if missing := [name for name in sizes if name not in weights]:
        wrong, do = "a source has no weight", "give it one, or 0 to leave the source out"
        raise InputError(explain(wrong, found=missing[0], accepted="a weight for each source", do=do))
    shares = exact_shares({name: weights[name] for name in sizes}, "weight")
    return Mix(sizes=dict(sizes), shares=_rounded(shares), seed=seed, weighted=True)


def exact_shares(weights: Mapping[str, float], word: str) -> dict[str, Fraction]:
    """Weights as fractions that add up to one; decimals count as written."""
    for name, weight in weights.items():
        if not is_number(weight) or isinstance(weight, bool) or weight < 0:
            wrong, accepted = f"the {word} of {name!r} is not a {word}", "a finite number, 0 or above"
            raise InputError(explain(wrong, found=weight, accepted=accepted, do="give such a number"))
    exact = {name: Fraction(repr(float(weight))) for name, weight in weights.items()}
    if not (total := sum(exact.values())):
        wrong, accepted = f"every {word} is zero", f"at least one {word} above 0"
        raise InputError(explain(wrong, found=dict(weights), accepted=accepted, do="raise one of them"))
    return {name: weight / total for name, weight in exact.items()}


def _rounded(shares: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Shares with a common denominator that a table can be made for, as near as can be."""
    rounded = _meant(shares) or _nearest(shares)
    for name, share in shares.items():
        if share and not rounded[name]:
            wrong, found = f"the share of {name!r} is too small to be drawn", Said(f"{float(share):.2g}")
            accepted, do = (
                f"about 1 in {_PERIOD}, or 0",
                "raise its weight, or give 0 to leave the source out",
            )
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return rounded


def _meant(shares: Mapping[str, Fraction]) -> dict[str, Fraction] | None:
    """The fractions that are meant: 0.3333333333333333 is a third."""
    near = {name: share.limit_denominator(_PERIOD) for name, share in shares.items()}
    alike = all(abs(near[name] - share) < Fraction(1, 10**12) for name, share in shares.items())
    few = math.lcm(*(share.denominator for share in near.values())) <= _PERIOD
    return near if alike and few and sum(near.values()) == 1 else None


def _nearest(shares: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Shares as numbers of steps in the longest period; those with the largest rests are rounded up."""
    quotas = {name: math.floor(share * _PERIOD) for name, share in shares.items()}
    by_rest = sorted(shares, key=lambda name: quotas[name] - shares[name] * _PERIOD)
    for name in by_rest[: _PERIOD - sum(quotas.values())]:
        quotas[name] += 1
    return {name: Fraction(quota, _PERIOD) for name, quota in quotas.items()}


def _interleaved(quotas: list[int]) -> Integers:
    """An order in which every source has had its share of every prefix, off by less than one.

    Draw j of a source with share w may come at step (j - 1)/w, rounded down, and must have come by j/w,
    rounded up. Among the draws that may come, the one that must come first does; this is known to meet
    every such deadline, since the shares add up to one.
    """
    period = sum(quotas)
    coming: list[list[tuple[int, int, int]]] = [[] for _ in range(period)]
    for source, quota in enumerate(quotas):
        if quota:
            coming[0].append((-(-period // quota), source, 1))
    ready: list[tuple[int, int, int]] = []
    pattern = np.empty(period, np.int64)
    for step in range(period):
        for draw in coming[step]:
            heapq.heappush(ready, draw)
        coming[step] = []
        deadline, source, draw_number = heapq.heappop(ready)
        assert deadline > step, "a deadline was missed"
        pattern[step] = source
        quota = quotas[source]
        if draw_number < quota:
            after = (-(-(draw_number + 1) * period // quota), source, draw_number + 1)
            release = draw_number * period // quota
            if release <= step:
                release = step + 1
            coming[release].append(after)
    return pattern
