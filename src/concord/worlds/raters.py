"""Simulated people who rate replies: what they care for, how noisy they are, and what they are fooled by.

    Candidate   a reply with what it is worth, part by part, and what a careless eye sees of it
    Rater       a taste, noise, ties and biases; knows the exact probability of all that it may say
    comparison, ranking, judgement, rating, ...    items as a rater, or several, would have made them
    bayes_rate  how often anyone could at best foretell a verdict

A rater sees u = taste(parts) + biases, and of two replies whose utilities it sees d = u1 - u2 apart says

    P(first) = sigmoid((d - w) / T)    P(second) = sigmoid((-d - w) / T)    P(tie) = the rest

With w = 0 this is Bradley and Terry (1952); with w it is the model of ties of Rao and Kupper (1967), whose
theta is exp(w / T): a difference below w is not noticed. It was chosen before Davidson's because one noisy
look at each reply explains it, at comparisons and at rankings alike: with Gumbel noise of scale T on every
utility, replies less than w apart tie. A reply that is judged alone is held against one worth `bar`.

All is exact and nothing depends on the order of calls: each verdict is drawn by a generator of its own, whose
seed is a hash of the rater's name, the prompt, the replies as they were shown and the caller's seed.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from itertools import accumulate, chain, combinations, pairwise, permutations, product
from math import comb, exp, factorial, fsum, isfinite, log, log1p
from random import Random
from typing import Self, TypeAlias

from concord.errors import NOTHING, InputError, Said, explain, nearest
from concord.messages import is_count
from concord.store import key
from concord.types import (
    JSON,
    Item,
    Label,
    Message,
    Preference,
    Ranks,
    Ratings,
    SegmentPreference,
    Shown,
    StepLabels,
    Text,
    TurnRewards,
    Turns,
    TurnsLike,
    Utilities,
    as_turns,
)

__all__ = [
    "CUTS",
    "Biases",
    "Candidate",
    "Odds",
    "Rater",
    "Taste",
    "bayes_rate",
    "comparison",
    "demonstration",
    "drawn_pairs",
    "expected_accuracy",
    "judgement",
    "jury_odds",
    "mean_odds",
    "ranking",
    "rating",
    "segment_comparison",
    "steps",
    "trajectory",
    "vote_odds",
]

Taste: TypeAlias = Mapping[str, float] | Callable[[Mapping[str, float]], float]
"""What parts come to: weights by their names, whose weighted sum it is, or a function of all parts."""

CUTS: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
"""Where one grade ends and the next begins, on the scale of utility: five grades, from 1 to 5."""


# --- what is rated, and by whom ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reply that can be rated: its true worth in parts, and surface `features` that biases act upon.

    Biases read the features `flatters` and `sure` (how much it flatters, how sure it sounds; 0 if left out).
    They count words by themselves.
    """

    reply: Turns
    parts: Mapping[str, float]
    features: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def text(self) -> str:
        """What the assistant says in it."""
        return "\n".join(turn.text for turn in self.reply if turn.learned)

    @classmethod
    def of(
        cls, reply: TurnsLike, parts: Mapping[str, float], features: Mapping[str, float] | None = None
    ) -> Self:
        """A candidate from what people write."""
        return cls(as_turns(reply), parts, features or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Biases:
    """What sways a rater beside the worth of a reply, in units of utility; 0 is no bias.

    length: for each word
    position: for being shown first
    flattery: for flattering, times the feature `flatters`
    confidence: for sounding sure, times the feature `sure`
    keyword, repetition: a word, and what each time it is said adds
    laziness: the share of verdicts that are given blindly, any of them as likely but never a tie
    """

    length: float = 0.0
    position: float = 0.0
    flattery: float = 0.0
    confidence: float = 0.0
    keyword: str = ""
    repetition: float = 0.0
    laziness: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, str):
                _demand(isfinite(value), f"the bias {one.name} is not a number", value, "a finite number")
        _demand(0 <= self.laziness <= 1, "laziness is a share of verdicts", self.laziness, "0 to 1")
        named = bool(self.keyword) or not self.repetition
        _demand(named, "a word is wanted, but not which", self.keyword, "a keyword beside its repetition")

    def sway(self, candidate: Candidate) -> float:
        """What a reply gains by its surface, wherever it is shown."""
        words = Counter(re.findall(r"[\w']+", candidate.text.lower()))
        return (
            self.length * words.total()
            + self.flattery * candidate.features.get("flatters", 0.0)
            + self.confidence * candidate.features.get("sure", 0.0)
            + self.repetition * words[self.keyword.lower()]
        )


@dataclass(frozen=True, slots=True)
class Odds:
    """The probabilities of the three verdicts on two replies, as they are shown."""

    first: float
    tie: float
    second: float

    @property
    def preference(self) -> float:
        """The first one's share of the verdicts, a tie counting half."""
        return self.first + self.tie / 2

    @property
    def swapped(self) -> Self:
        """The same, spoken of the other reply."""
        return type(self)(self.second, self.tie, self.first)


@dataclass(frozen=True, slots=True)
class Rater:
    """One who rates. Under its name its verdicts are drawn, so raters that meet need different ones.

    taste: what the parts of a reply are worth to it
    temperature: T above, the noise; at 0 it never errs
    indifference: w above, the difference that it does not notice
    bar: how much a reply must be worth to be called desirable
    """

    name: str
    taste: Taste
    temperature: float = field(default=0.1, kw_only=True)
    indifference: float = field(default=0.0, kw_only=True)
    bar: float = field(default=0.5, kw_only=True)
    biases: Biases = field(default_factory=Biases, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("temperature", "indifference"):
            value = getattr(self, name)
            fits, accepted = isfinite(value) and value >= 0, "a finite number, 0 or above"
            _demand(fits, f"the {name} of rater {self.name} is out of range", value, accepted)
        _demand(isfinite(self.bar), f"the bar of rater {self.name} is no number", self.bar, "a finite number")

    def utility(self, candidate: Candidate) -> float:
        """What a reply is worth to this person: U_H, without noise or bias."""
        if callable(self.taste):
            value = self.taste(candidate.parts)
        else:
            value = fsum(weight * _part(candidate, name) for name, weight in self.taste.items())
        _demand(isfinite(value), f"the utility of a reply to {self.name} is no number", value, "a finite one")
        return value

    def seen(self, candidate: Candidate) -> float:
        """What a reply seems worth, biases included, wherever it is shown."""
        return self.utility(candidate) + self.biases.sway(candidate)

    def odds(self, first: Candidate, second: Candidate) -> Odds:
        """The probability of each verdict on two replies, shown in this order."""
        return self.odds_at(self.seen(first) - self.seen(second))

    def odds_at(self, gap: float) -> Odds:
        """The probability of each verdict on two replies that seem this far apart, position aside."""
        gap, width, lazy = gap + self.biases.position, self.indifference, self.biases.laziness
        first, second = self._above(gap - width), self._above(-gap - width)
        tie = max(0.0, 1 - (first + second)) if width or not self.temperature else 0.0
        return Odds((1 - lazy) * first + lazy / 2, (1 - lazy) * tie, (1 - lazy) * second + lazy / 2)

    def choices(self, candidates: Sequence[Candidate]) -> list[float]:
        """The probability of each reply to be picked as the best: a softmax of what they seem worth."""
        seen = self._listed(candidates)
        top, lazy = max(seen), self.biases.laziness
        if self.temperature:
            mass = [exp((value - top) / self.temperature) for value in seen]
        else:
            mass = [float(value == top) for value in seen]
        return [(1 - lazy) * one / fsum(mass) + lazy / len(mass) for one in mass]

    def likes(self, candidate: Candidate) -> float:
        """The probability that a reply, shown alone, is called desirable."""
        lazy = self.biases.laziness
        return (1 - lazy) * self._above(self.seen(candidate) - self.bar) + lazy / 2

    def grades(self, candidate: Candidate, cuts: Sequence[float] = CUTS) -> list[float]:
        """The probability of each grade, from 1 up: of one more than `cuts`, by the ordered logit."""
        _check_cuts(cuts)
        seen, lazy = self.seen(candidate), self.biases.laziness
        reached = [1.0, *(self._above(seen - cut) for cut in cuts), 0.0]
        return [(1 - lazy) * (low - high) + lazy / (len(cuts) + 1) for low, high in pairwise(reached)]

    def ranking_probability(self, candidates: Sequence[Candidate], ranks: Sequence[int]) -> float:
        """The probability of these ranks, ties included, for replies shown in this order.

        With Gumbel noise exp(-utility / T) is exponential, of rate r = exp(u / T). So n replies fall in an
        order in which each lies more than w above the next with probability prod_k r_k / R_k, where
        R_n = r_n and R_k = r_k + theta R_k+1: Plackett and Luce's at theta = 1. The chance that
        neighbours tie is that they are in order, less that they are in order and more than w apart.
        """
        seen, lazy, levels = self._listed(candidates), self.biases.laziness, sorted({*ranks})
        fits = len(ranks) == len(seen) and levels == [*range(1, len(levels) + 1)]
        accepted = f"{len(seen)} ranks from 1 up, none left out"
        _demand(fits, "these are no ranks of the replies", list(ranks), accepted)
        blind = lazy / factorial(len(seen)) if len(levels) == len(seen) else 0.0
        if not self.temperature:
            return (1 - lazy) * (_ranks(seen, self.indifference) == [*ranks]) + blind
        groups = [[u for u, rank in zip(seen, ranks, strict=True) if rank == one] for one in levels]
        orders = product(*(permutations(group) for group in groups))
        return (1 - lazy) * fsum(self._falling(order) for order in orders) + blind

    def _falling(self, order: Sequence[Sequence[float]]) -> float:
        """The probability that noise leaves replies in this order, near within a group and far between."""
        log_theta, total = self.indifference / self.temperature, 0.0
        rates = [value / self.temperature for value in chain.from_iterable(order)]
        far = list(accumulate(map(len, order)))
        near = [at for at in range(1, len(rates)) if at not in far]
        for parted in product((False, True), repeat=len(near)):
            spaced = {*far, *(at for at, apart in zip(near, parted, strict=True) if apart)}
            rest, logp = rates[-1], 0.0
            for at in range(len(rates) - 1, 0, -1):
                rest = _log_sum(rates[at - 1], rest + log_theta * (at in spaced))
                logp += rates[at - 1] - rest
            total += (-1) ** sum(parted) * exp(logp)
        return total

    def pick(self, candidates: Sequence[Candidate], drawn: Random) -> int:
        """The place of the reply picked as the best: `choices`, drawn."""
        return _one_of(self.choices(candidates), drawn)

    def ranks(self, candidates: Sequence[Candidate], drawn: Random) -> list[int]:
        """A rank for each reply, 1 the best, equal ones for ties: `ranking_probability`, drawn."""
        seen = self._listed(candidates)
        if drawn.random() < self.biases.laziness:
            return _ranks([drawn.random() for _ in seen], 0)
        noisy = [value - self.temperature * log(-log(_inside(drawn))) for value in seen]
        return _ranks(noisy, self.indifference)

    def score(
        self, candidate: Candidate, drawn: Random, cuts: Sequence[float] = (), aspect: str = ""
    ) -> float:
        """What a reply, shown alone, or one of its parts is said to be worth: a grade, if there are cuts.

        Without them it is what the rater sees, with logistic noise of scale T. One who does not look says a
        number from 0 to 1, or any grade.
        """
        blind, chance = drawn.random() < self.biases.laziness, _inside(drawn)
        if blind:
            return 1 + int(chance * (len(cuts) + 1)) if cuts else chance
        seen = _part(candidate, aspect) if aspect else self.seen(candidate)
        noisy = seen + self.temperature * log(chance / (1 - chance))
        return 1 + bisect_left(cuts, noisy) if cuts else noisy

    def _above(self, gap: float) -> float:
        """The probability that noise leaves a gap above 0: at temperature 0 that it is above 0."""
        if not self.temperature:
            return float(gap > 0)
        x = gap / self.temperature
        return 1 / (1 + exp(-x)) if x > 0 else (below := exp(x)) / (1 + below)

    def _listed(self, candidates: Sequence[Candidate]) -> list[float]:
        """What replies that are shown in a list seem worth, the first favoured by its position."""
        _demand(len(candidates) > 0, "there is nothing to rate", Said("no candidate"), "one reply or more")
        seen = [self.seen(one) for one in candidates]
        return [seen[0] + self.biases.position, *seen[1:]]


def _log_sum(a: float, b: float) -> float:
    return max(a, b) + log1p(exp(-abs(a - b)))


def _ranks(seen: Sequence[float], width: float) -> list[int]:
    """Ranks by what was seen, dense: a reply that lies no more than `width` below the one above it ties."""
    order = sorted(range(len(seen)), key=lambda place: -seen[place])
    ranks = [1] * len(seen)
    for above, below in pairwise(order):
        ranks[below] = ranks[above] + (seen[above] - seen[below] > width)
    return ranks


# --- items as raters make them ----------------------------------------------------------------------------
#
# All are made from a task, an item without replies; they keep its meta and origin, and say under "rated" in
# their meta by whom they were rated and with which seed.


def demonstration(task: Item, candidates: Sequence[Candidate], raters: Sequence[Rater], *, seed: int) -> Item:
    """The reply that one of the raters, drawn as well, picked to be imitated; of one turn or several."""
    _check(task, raters)
    who = _drawn("who shows", task, candidates, "", seed)
    rater = raters[int(who.random() * len(raters))]
    picked = rater.pick(candidates, _drawn("demonstration", task, candidates, rater.name, seed))
    return _made(task, (candidates[picked].reply,), Shown(), [rater], seed)


def comparison(
    task: Item, first: Candidate, second: Candidate, raters: Sequence[Rater], *, seed: int, soft: bool = False
) -> Item:
    """Two replies in the order in which they were shown, and the votes of the raters, of which one will do.

    The preference is the share of the votes, a tie counting half for each; if `soft`, the mean probability
    of the raters instead, without votes.
    """
    _check(task, raters)
    do = "leave such pairs out, as `drawn_pairs` does"
    _demand(first.reply != second.reply, "a reply is held against itself", first.text, "two replies", do)
    if soft:
        known = Preference(mean_odds(raters, first, second).preference)
    else:
        odds = [rater.odds(first, second) for rater in raters]
        votes = _votes(task, (first, second), raters, odds, seed)
        known = Preference((votes[0] + votes[1] / 2) / len(raters), votes)
    return _made(task, (first.reply, second.reply), known, raters, seed)


def segment_comparison(
    task: Item, first: Sequence[Candidate], second: Sequence[Candidate], raters: Sequence[Rater], *, seed: int
) -> Item:
    """Two stretches of behaviour, each a list of acts and worth their sum, compared by votes."""
    _check(task, raters)
    odds = [one.odds_at(fsum(map(one.seen, first)) - fsum(map(one.seen, second))) for one in raters]
    votes = _votes(task, (*first, *second), raters, odds, seed)
    known = SegmentPreference((votes[0] + votes[1] / 2) / len(raters))
    return _made(task, (_turns(first), _turns(second)), known, raters, seed, votes=votes)


def ranking(task: Item, candidates: Sequence[Candidate], raters: Sequence[Rater], *, seed: int) -> Item:
    """Replies in the order in which they were shown, and their ranks, by the mean rank of several raters."""
    _check(task, raters)
    given = [
        rater.ranks(candidates, _drawn("ranking", task, candidates, rater.name, seed)) for rater in raters
    ]
    ranks = _ranks([-sum(of_one) for of_one in zip(*given, strict=True)], 0)
    return _made(task, tuple(one.reply for one in candidates), Ranks(tuple(ranks)), raters, seed)


def judgement(task: Item, candidate: Candidate, raters: Sequence[Rater], *, seed: int) -> Item:
    """One reply, desirable if more than half of the raters say so."""
    _check(task, raters)
    votes = _approvals("judgement", task, (candidate,), raters, seed)
    known = Label(votes > len(raters) / 2)
    return _made(task, (candidate.reply,), known, raters, seed, votes=(votes, len(raters) - votes))


def rating(
    task: Item,
    candidates: Sequence[Candidate],
    raters: Sequence[Rater],
    *,
    seed: int,
    cuts: Sequence[float] = CUTS,
    aspects: Sequence[str] = (),
) -> Item:
    """The mean grade of each reply, and of the parts named in `aspects`; utilities as seen, without cuts."""
    _check(task, raters)
    _check_cuts(cuts)

    def mean(candidate: Candidate, aspect: str) -> float:
        looks = [(one, _drawn(f"rating {aspect}", task, (candidate,), one.name, seed)) for one in raters]
        return fsum(one.score(candidate, drawn, cuts, aspect) for one, drawn in looks) / len(raters)

    scores = tuple(mean(one, "") for one in candidates)
    parts = {name: tuple(mean(one, name) for one in candidates) for name in aspects}
    return _made(task, tuple(one.reply for one in candidates), Ratings(scores, parts), raters, seed)


def steps(task: Item, done: Sequence[Candidate], raters: Sequence[Rater], *, seed: int) -> Item:
    """One reply made of steps, their texts joined as they stand; each labelled by the share that likes it."""
    _check(task, raters)
    _demand(len(done) > 0, "a reply has no steps", NOTHING, "one step or more", "give its steps")
    prefixes = [done[: end + 1] for end in range(len(done))]
    labels = tuple(_approvals("steps", task, prefix, raters, seed) / len(raters) for prefix in prefixes)
    reply = Message("assistant", tuple(Text(step.text) for step in done))
    return _made(task, ((reply,),), StepLabels(labels), raters, seed)


def trajectory(task: Item, acts: Sequence[Candidate], raters: Sequence[Rater], *, seed: int) -> Item:
    """One reply of many turns; the last turn that the assistant speaks in each act earns its mean score."""
    _check(task, raters)
    rewards: list[float | None] = []
    for end, act in enumerate(acts):
        looks = [(one, _drawn("trajectory", task, acts[: end + 1], one.name, seed)) for one in raters]
        earned = fsum(one.score(act, drawn) for one, drawn in looks) / len(raters)
        spoken = [place for place, turn in enumerate(act.reply) if turn.learned]
        _demand(len(spoken) > 0, "nobody acts in an act", act.reply, "a turn of the assistant", "add one")
        rewards += [earned if place == spoken[-1] else None for place in range(len(act.reply))]
    return _made(task, (_turns(acts),), TurnRewards(tuple(rewards)), raters, seed)


def drawn_pairs(
    task: Item, candidates: Sequence[Candidate], count: int, *, seed: int
) -> list[tuple[Candidate, Candidate]]:
    """Pairs of different replies, each pair once, in the order of a coin: `count`, or all if fewer."""
    pairs = [(a, b) for a, b in combinations(candidates, 2) if a.reply != b.reply]
    drawn = _drawn("pairs", task, candidates, "", seed)
    taken = sorted(pairs, key=lambda _: drawn.random())[:count]
    return [(a, b) if drawn.random() < 0.5 else (b, a) for a, b in taken]


# --- what can be known beforehand -------------------------------------------------------------------------


def mean_odds(
    raters: Sequence[Rater], first: Candidate, second: Candidate, *, either_way: bool = False
) -> Odds:
    """The odds where it is not known which of the raters rates nor, if `either_way`, what is shown first."""
    _check_raters(raters)
    given = [rater.odds(first, second) for rater in raters]
    given += [rater.odds(second, first).swapped for rater in raters] if either_way else []
    return Odds(*(fsum(values) / len(given) for values in zip(*map(astuple, given), strict=True)))


def vote_odds(raters: Sequence[Rater], first: Candidate, second: Candidate) -> Odds:
    """The odds of the verdict that the raters vote for: the first if it gets more votes than the second."""
    _check_raters(raters)
    return _voted([rater.odds(first, second) for rater in raters], len(raters))


def jury_odds(raters: Sequence[Rater], size: int, first: Candidate, second: Candidate) -> Odds:
    """The odds of the verdict of so many of the raters, where neither they are known nor what is shown first.

    The mean over all juries and both orders, exactly: what foretells a jury without having seen it.
    """
    _check_raters(raters)
    fits, accepted = is_count(size, 1) and size <= len(raters), f"1 to {len(raters)} of these raters"
    _demand(fits, "there is no such jury", size, accepted)
    shown = _voted([rater.odds(first, second) for rater in raters], size)
    turned = _voted([rater.odds(second, first) for rater in raters], size).swapped
    return Odds(*((one + other) / 2 for one, other in zip(astuple(shown), astuple(turned), strict=True)))


def _voted(given: Sequence[Odds], size: int) -> Odds:
    """The odds of what so many of these vote for, in the mean over all choices of them."""
    leads = {(0, 0): 1.0}
    for at, odds in enumerate(given, 1):
        # Who is left can make up for so many at most.
        after = {state: mass for state, mass in leads.items() if state[0] + len(given) - at >= size}
        for (count, lead), mass in leads.items():
            for step, share in ((1, odds.first), (0, odds.tie), (-1, odds.second)) if count < size else ():
                state = count + 1, lead + step
                after[state] = after.get(state, 0.0) + mass * share
        leads = after
    won, tied, lost = (
        fsum(mass for (_, lead), mass in leads.items() if (lead > 0) - (lead < 0) == side)
        for side in (1, 0, -1)
    )
    return Odds(*(mass / comb(len(given), size) for mass in (won, tied, lost)))


def bayes_rate(pairs: Iterable[Odds]) -> float:
    """The share of verdicts, ties left out, that one who knows all odds foretells; nobody does better.

    sum max(P(first), P(second)) / sum (P(first) + P(second))

    Give the odds of what the foreteller cannot see: `mean_odds` of raters and both orders for a reward model.
    """
    odds = list(pairs)
    return expected_accuracy(odds, [one.first - one.second for one in odds])


def expected_accuracy(pairs: Sequence[Odds], margins: Sequence[float]) -> float:
    """The share of verdicts, ties left out, that a score foretells by its margin, first less second.

    A margin of 0 foretells nothing, and counts half.
    """
    found, do = (len(pairs), len(margins)), "give a margin for each pair"
    _demand(len(pairs) == len(margins), "pairs and margins differ in number", found, "as many of each", do)
    told = [one.first + one.second for one in pairs]
    wrong, accepted = "no verdict can be foretold: none but ties are ever given", "odds of another verdict"
    _demand(fsum(told) > 0, wrong, Said(f"{len(told)} pairs"), accepted, "leave out pairs that always tie")
    rows = zip(pairs, told, margins, strict=True)
    right = [
        one.first if margin > 0 else one.second if margin < 0 else each / 2 for one, each, margin in rows
    ]
    return fsum(right) / fsum(told)


# --- how verdicts are drawn -------------------------------------------------------------------------------


def _drawn(purpose: str, task: Item, shown: Sequence[Candidate], name: str, seed: int) -> Random:
    """A generator that belongs to one look of one rater at these replies, in this order."""
    said = [repr(one.reply) for one in shown]
    return Random(int(key("rater", purpose, name, seed, repr(task.prompt.messages), said)[:32], 16))


def _one_of(chances: Sequence[float], drawn: Random) -> int:
    """A place, each with its probability."""
    return drawn.choices(range(len(chances)), chances)[0]


def _inside(drawn: Random) -> float:
    """A number evenly drawn between 0 and 1, and never one of the two."""
    return (drawn.getrandbits(52) + 0.5) / (1 << 52)


def _votes(
    task: Item, shown: Sequence[Candidate], raters: Sequence[Rater], odds: Sequence[Odds], seed: int
) -> tuple[int, int, int]:
    """Votes for the first, ties, for the second."""
    looks = [_drawn("comparison", task, shown, one.name, seed) for one in raters]
    given = Counter(_one_of(astuple(each), drawn) for each, drawn in zip(odds, looks, strict=True))
    return given[0], given[1], given[2]


def _approvals(
    purpose: str, task: Item, shown: Sequence[Candidate], raters: Sequence[Rater], seed: int
) -> int:
    """How many raters like the last of the replies that they are shown."""
    looks = [(one, _drawn(purpose, task, shown, one.name, seed)) for one in raters]
    return sum(drawn.random() < one.likes(shown[-1]) for one, drawn in looks)


def _turns(acts: Sequence[Candidate]) -> Turns:
    return tuple(chain.from_iterable(act.reply for act in acts))


def _made(
    task: Item,
    replies: tuple[Turns, ...],
    known: Utilities,
    raters: Sequence[Rater],
    seed: int,
    votes: Sequence[int] = (),
) -> Item:
    """The task with its replies and what raters say of them."""
    rated: dict[str, JSON] = {"by": [one.name for one in raters], "seed": seed}
    rated |= {"votes": list(votes)} if votes else {}
    return Item(task.prompt, replies, known, meta={**task.meta, "rated": rated}, origin=task.origin)


# --- what is accepted -------------------------------------------------------------------------------------


def _part(candidate: Candidate, name: str) -> float:
    wrong, do = "a reply has no such part", "name parts that it has"
    _demand(name in candidate.parts, wrong, name, nearest(name, candidate.parts), do)
    return candidate.parts[name]


def _demand(fits: bool, wrong: str, found: object, accepted: str, do: str = "give such a value") -> None:
    if not fits:
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def _check_cuts(cuts: Sequence[float]) -> None:
    wrong, do = "grades do not follow one another", "give the ends of the grades in order"
    _demand(list(cuts) == sorted({*cuts}), wrong, list(cuts), "cuts that rise", do)


def _check(task: Item, raters: Sequence[Rater]) -> None:
    """Refuse what is no task, and raters whose verdicts would be drawn alike."""
    wrong, do = "what is to be rated has replies already", "give the task, and the replies apart"
    _demand(not task.replies, wrong, Said(f"{len(task.replies)} replies"), "an item without replies", do)
    wrong, do = "what is to be rated was rated before", "take the task as it was made"
    _demand("rated" not in task.meta, wrong, task.meta.get("rated"), "meta without 'rated'", do)
    _check_raters(raters)


def _check_raters(raters: Sequence[Rater]) -> None:
    _demand(len(raters) > 0, "nobody rates", NOTHING, "one rater or more", "give a list of raters")
    twice = [name for name, count in Counter(one.name for one in raters).items() if count > 1]
    do = "give each a name of its own, under which its verdicts are drawn"
    _demand(not twice, "two raters have one name", twice and twice[0], "names that differ", do)
