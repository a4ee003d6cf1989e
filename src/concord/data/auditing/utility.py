"""Whether preferences can come from a utility at all: cycles, the Bradley-Terry fit, and its noise ceiling.

A utility orders replies, so preferences that go round in a circle (a over b, b over c, c over a) come from
none. Under Bradley-Terry each reply has a utility u, and a wins over b with probability
1 / (1 + exp(u_b - u_a)). Where two replies of a prompt were compared but once, every preference fits; only
prompts with circles of comparisons, or with pairs that were compared repeatedly, can tell.

    Edges          pairs of replies with the wins of each, from comparisons
    fit            utilities by Newton's method, all prompts at once
    goodness       how badly the fit does against the data's own shares
    triads, cycles what goes round in circles
    ceiling_of     how often any model could agree with one judgement
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from concord.data.auditing.columns import Hashes, mixed
from concord.data.auditing.minhash import joined

__all__ = [
    "PRIOR",
    "Edges",
    "Floats",
    "Goodness",
    "Ints",
    "Triads",
    "aggregate",
    "ceiling_of",
    "cycles",
    "fit",
    "goodness",
    "informative",
    "repeated_agreement",
    "triads",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR = 0.01
"""How strongly utilities are drawn to 0: a normal prior of variance 1 / PRIOR, with a deviation of 10 logits.

It keeps utilities finite where a reply won or lost all its comparisons, and moves others by next to nothing.
"""

_LARGEST_TABLE = 2_000  # replies of one prompt beyond which triads are not counted


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Pairs of replies that were compared: their numbers, and the wins of each.

    A tie, which is a win for neither, says nothing here. A soft preference is a share of a win for either.
    """

    left: Ints
    right: Ints
    left_wins: Floats
    right_wins: Floats
    whole: NDArray[np.bool_]
    """Whether the pair has whole wins only, so that these are judgements, not soft preferences."""
    component: Ints
    """The smallest number of a reply that each pair is connected to."""
    replies: int
    prompt: Hashes

    @property
    def count(self) -> Floats:
        """How often each pair was compared."""
        return self.left_wins + self.right_wins

    def taken(self, which: NDArray[np.bool_]) -> "Edges":
        """Some of the pairs, with replies numbered afresh."""
        ends = np.concatenate((self.left[which], self.right[which]))
        known, number = np.unique(ends, return_inverse=True)
        half = len(number) // 2
        left, right = number[:half], number[half:]
        component = joined(np.arange(len(known)), left, right)[left]
        wins = self.left_wins[which], self.right_wins[which]
        return Edges(left, right, *wins, self.whole[which], component, len(known), self.prompt[which])


def aggregate(prompt: Hashes, first: Hashes, second: Hashes, wins: tuple[Floats, Floats]) -> Edges:
    """Pairs from comparisons: by hashes of prompt and replies, a reply being another under another prompt.

    A reply held against itself is no pair, and neither are two that tied whenever they were compared.
    """
    told = (first != second) & (wins[0] + wins[1] > 0)
    prompt, first, second = prompt[told], first[told], second[told]
    wins = wins[0][told], wins[1][told]
    ends = np.concatenate((mixed(prompt, first), mixed(prompt, second)))
    known, number = np.unique(ends, return_inverse=True)
    half = len(number) // 2
    a, b = number[:half], number[half:]
    left, right = np.minimum(a, b), np.maximum(a, b)
    of_left, of_right = np.where(a < b, wins[0], wins[1]), np.where(a < b, wins[1], wins[0])
    pairs, where, which = np.unique(left * len(known) + right, return_index=True, return_inverse=True)
    size = len(pairs)
    left, right = left[where], right[where]
    component = joined(np.arange(len(known)), left, right)[left]
    left_wins, right_wins = _sums(which, of_left, size), _sums(which, of_right, size)
    soft = np.bincount(which, weights=(of_left % 1 != 0) | (of_right % 1 != 0), minlength=size)
    return Edges(left, right, left_wins, right_wins, soft == 0, component, len(known), prompt[where])


def informative(edges: Edges) -> NDArray[np.bool_]:
    """Which pairs are in a part with more pairs than a tree has, so that a preference could fail to fit."""
    _, which = np.unique(edges.component, return_inverse=True)
    pairs = np.bincount(which)
    ends = np.unique(np.concatenate((edges.left, edges.right)))
    home = np.zeros(edges.replies, dtype=np.int64)
    home[edges.left], home[edges.right] = which, which
    replies = np.bincount(home[ends], minlength=len(pairs))
    return (pairs >= replies)[which]


# --- Bradley and Terry ------------------------------------------------------------------------------------


def fit(edges: Edges, *, prior: float = PRIOR) -> Floats:
    """The utilities that make the comparisons likeliest, under the prior; their mean in each part is 0.

    Newton's method on all parts at once, each step solved by conjugate gradients and halved until it helps.
    """
    utility = np.zeros(edges.replies)
    value = _objective(edges, utility, prior)
    for _ in range(100):
        share = _win(edges, utility)
        pull = edges.left_wins - edges.count * share
        slope = _spread(edges, pull) - prior * utility
        if float(np.abs(slope).max(initial=0.0)) < 1e-9:
            break
        step = _solve(edges, edges.count * share * (1 - share), slope, prior)
        size = 1.0
        while (after := _objective(edges, utility + size * step, prior)) < value and size > 1e-6:
            size /= 2
        if after - value < 1e-12 * abs(value):
            utility = utility + size * step if after >= value else utility
            break
        utility, value = utility + size * step, after
    return utility


def _win(edges: Edges, utility: Floats) -> Floats:
    """The probability that the left one of each pair wins."""
    gap = np.clip(utility[edges.left] - utility[edges.right], -500, 500)
    return 1 / (1 + np.exp(-gap))


def _objective(edges: Edges, utility: Floats, prior: float) -> float:
    gap = utility[edges.left] - utility[edges.right]
    likelihood = edges.left_wins @ -np.logaddexp(0, -gap) + edges.right_wins @ -np.logaddexp(0, gap)
    return float(likelihood - prior / 2 * (utility @ utility))


def _spread(edges: Edges, flow: Floats) -> Floats:
    """What flows into each reply, if this flows from the right to the left of each pair."""
    return _sums(edges.left, flow, edges.replies) - _sums(edges.right, flow, edges.replies)


def _sums(which: Ints, numbers: Floats, size: int) -> Floats:
    """The sum of those numbers that belong to each."""
    return np.bincount(which, weights=numbers, minlength=size).astype(np.float64, copy=False)


def _solve(edges: Edges, weight: Floats, slope: Floats, prior: float) -> Floats:
    """Newton's step by conjugate gradients, with the diagonal taken out first."""
    diagonal = prior + _sums(edges.left, weight, edges.replies) + _sums(edges.right, weight, edges.replies)
    step, left = np.zeros_like(slope), slope.copy()
    scaled = left / diagonal
    along, size = scaled.copy(), float(left @ scaled)
    enough = 1e-16 * size
    for _ in range(300):
        if size <= enough:
            break
        flow = weight * (along[edges.left] - along[edges.right])
        curved = _spread(edges, flow) + prior * along
        length = size / float(along @ curved)
        step += length * along
        left -= length * curved
        scaled = left / diagonal
        size, before = float(left @ scaled), size
        along = scaled + size / before * along
    return step


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodness:
    """How a fit does, against the data's own shares, which fit perfectly."""

    deviance: float
    """2 sum w log(share / fitted), over the wins w of each side of each pair."""
    freedom: int
    accuracy: float
    """The share of judgements that the fitted order agrees with, half of those between equal utilities."""
    expected_accuracy: float
    """What that share would be on the average, were the fitted utilities the truth."""


def goodness(edges: Edges) -> Goodness:
    """Fit utilities, and say how they do on what they were fitted to."""
    utility = fit(edges)
    share, count = _win(edges, utility), edges.count
    order = np.sign(np.round(utility[edges.left] - utility[edges.right], 9))
    agree = float(np.where(order > 0, edges.left_wins, edges.right_wins)[order != 0].sum())
    agree += float(count[order == 0].sum()) / 2
    total = float(count.sum())
    return Goodness(
        deviance=float(_deviance(edges, utility).sum()),
        freedom=len(edges.left) - edges.replies + len(np.unique(edges.component)),
        accuracy=agree / total,
        expected_accuracy=float(count @ np.maximum(share, 1 - share)) / total,
    )


def _deviance(edges: Edges, utility: Floats) -> Floats:
    """What each pair adds to the deviance."""
    gap = utility[edges.left] - utility[edges.right]
    total = edges.count
    parts = np.zeros(len(gap))
    for wins, loss in ((edges.left_wins, np.logaddexp(0, -gap)), (edges.right_wins, np.logaddexp(0, gap))):
        some = wins > 0
        parts[some] += 2 * wins[some] * (np.log(wins[some] / total[some]) + loss[some])
    return parts


# --- circles ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Triads:
    """For each prompt with any: triads of replies, each two ordered by a majority, and those in a circle.

    `left_out` counts parts with too many replies (more than 2,000) to look at all of their triads.
    """

    ordered: Floats
    circular: Floats
    prompt: Hashes
    left_out: int


def triads(edges: Edges) -> Triads:
    """Count the triads of each prompt, all of them."""
    counts: dict[int, list[int]] = {}
    left_out = 0
    strict = np.flatnonzero(edges.left_wins != edges.right_wins)
    by_part = strict[np.argsort(edges.component[strict], kind="stable")]
    starts = np.flatnonzero(np.diff(edges.component[by_part], prepend=-1))
    for part in np.split(by_part, starts[1:]):
        if len(part) < 3:
            continue
        ends = np.concatenate((edges.left[part], edges.right[part]))
        known, number = np.unique(ends, return_inverse=True)
        if len(known) > _LARGEST_TABLE:
            left_out += 1
            continue
        left, right = number[: len(part)], number[len(part) :]
        wins = edges.left_wins[part] > edges.right_wins[part]
        beats = np.zeros((len(known), len(known)))
        beats[np.where(wins, left, right), np.where(wins, right, left)] = 1
        either = beats + beats.T
        if ordered := round(float(((either @ either) * either).sum()) / 6):
            circular = round(float(((beats @ beats) * beats.T).sum()) / 3)
            of_prompt = counts.setdefault(int(edges.prompt[part[0]]), [0, 0])
            of_prompt[0] += ordered
            of_prompt[1] += circular
    table = np.array(list(counts.values()), dtype=np.float64).reshape(-1, 2)
    return Triads(table[:, 0], table[:, 1], np.array(list(counts), dtype=np.uint64), left_out)


def cycles(edges: Edges) -> NDArray[np.bool_]:
    """Which pairs lie on a circle of majorities: both ends in one strongly connected part.

    Replies that nobody beat, or that beat nobody, are taken away until none is left, then what remains is
    taken apart by Tarjan's algorithm.
    """
    wins = edges.left_wins > edges.right_wins
    loses = edges.left_wins < edges.right_wins
    winner, loser = np.where(wins, edges.left, edges.right), np.where(wins, edges.right, edges.left)
    alive = wins | loses
    while alive.any():
        beat = np.bincount(winner[alive], minlength=edges.replies) > 0
        beaten = np.bincount(loser[alive], minlength=edges.replies) > 0
        inner = beat & beaten
        kept = alive & inner[winner] & inner[loser]
        if kept.sum() == alive.sum():
            break
        alive = kept
    rest = np.flatnonzero(alive)
    part = _strong_parts(winner[rest], loser[rest])
    on = np.zeros(len(winner), dtype=np.bool_)
    on[rest] = [part[int(a)] == part[int(b)] for a, b in zip(winner[rest], loser[rest], strict=True)]
    return on


def _strong_parts(tails: Ints, heads: Ints) -> dict[int, int]:
    """The strongly connected part of each node, without recursion."""
    below: dict[int, list[int]] = {}
    for tail, head in zip(tails.tolist(), heads.tolist(), strict=True):
        below.setdefault(tail, []).append(head)
    number, lowest, part = dict[int, int](), dict[int, int](), dict[int, int]()
    stack: list[int] = []
    for root in below:
        work = [] if root in number else [(root, iter(below[root]))]
        if work:
            number[root] = lowest[root] = len(number)
            stack.append(root)
        while work:
            node, rest = work[-1]
            for head in rest:
                if head not in number:
                    number[head] = lowest[head] = len(number)
                    stack.append(head)
                    work.append((head, iter(below.get(head, ()))))
                    break
                if head not in part:
                    lowest[node] = min(lowest[node], number[head])
            else:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    while True:
                        one = stack.pop()
                        part[one] = node
                        if one == node:
                            break
    return part


# --- noise ------------------------------------------------------------------------------------------------


def repeated_agreement(edges: Edges) -> tuple[Floats, Hashes]:
    """For each pair with two judgements or more, how often two of these agree; and its prompt."""
    again = edges.whole & (edges.count >= 2)
    a, b = edges.left_wins[again], edges.right_wins[again]
    n = a + b
    return (a * (a - 1) + b * (b - 1)) / (n * (n - 1)), edges.prompt[again]


def ceiling_of(agreement: float) -> float:
    """The largest accuracy against single judgements that goes with an agreement of two of them.

    With a share m of judgements on the majority's side, two agree with probability m^2 + (1 - m)^2, and a
    model that always takes that side agrees with one at m. The square is convex, so pairs that differ in m
    can only have a smaller mean of it than (1 + sqrt(2A - 1)) / 2; and never less than A.
    """
    return (1 + sqrt(max(0.0, 2 * agreement - 1))) / 2
