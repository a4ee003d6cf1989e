"""Best of n by a proxy, as n grows: draw the replies, have the proxy score them, and ask what is meant.

    proxy_against_gold     gold scores every draw: each n is a mean over all subsets of the draws
    proxy_against_judge    gold compares: each n is one pick, held against a plain draw in both orders

A judge of pairs is asked about the picks only, twice for each that differs: what it would say of every draw
against every other nobody could pay. The plain draw is none of those that are picked from: a pick that may
be the very reply it is held against would do better the fewer there are.
"""

from collections.abc import Sequence

from concord.errors import InputError, explain
from concord.eval.costs.gaming import Scored, best_of_n_results, picks_results
from concord.eval.order.winrate import judge_both
from concord.eval.reckoning import Labels, rate_result
from concord.eval.replies import drawn, scored
from concord.feedback.pairs import Pair, PairJudge
from concord.types import Challenge, Feedback, Item, Policy, Result, Sampling, Turns

__all__ = ["proxy_against_gold", "proxy_against_judge"]


def proxy_against_gold(
    items: Sequence[Item],
    policy: Policy,
    *,
    proxy: Feedback,
    gold: Feedback,
    draws: int = 64,
    sampling: Sampling | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Draw replies to each prompt, score them by both, and follow the best of n by proxy.

    Also the share of draws that differ: where few do, the best of many is the best of few.
    """
    _check_apart(proxy, gold)
    replies = drawn(policy, items, n=draws, sampling=sampling)
    both = zip(scored(proxy, items, replies), scored(gold, items, replies), strict=True)
    known = [[_both(*one) for one in zip(*row, strict=True)] for row in both]
    scores = [[*row, *[None] * (draws - len(row))] for row in known]
    found = best_of_n_results(scores, clusters=clusters, seed=seed)
    return [*found, _distinct(replies, draws, clusters, seed)]


def _both(proxy: float | None, gold: float | None) -> Scored | None:
    return None if proxy is None or gold is None else Scored(proxy, gold)


def proxy_against_judge(
    items: Sequence[Item],
    policy: Policy,
    *,
    proxy: Feedback,
    judge: PairJudge,
    draws: int = 16,
    sampling: Sampling | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Draw replies to each prompt, and ask a judge how the best of n by proxy fares against another draw.

    Gold is the preference for the pick, the mean of both orders; n goes up to half of the draws, so that one
    without a score does not cost its prompt.
    """
    _check_apart(proxy, judge)
    ns = [2**power for power in range(draws.bit_length()) if 2 ** (power + 1) <= draws]
    if not ns:
        wrong, do = "there are too few draws to pick from", "ask for more"
        raise InputError(explain(wrong, found=draws, accepted="2 or more", do=do))
    replies = drawn(policy, items, n=draws, sampling=sampling)
    scores = scored(proxy, items, replies)
    picks = [_picks(*row, ns) for row in zip(replies, scores, strict=True)]
    pairs = {
        (place, turns): Pair(item.prompt, turns, plain[-1], item.meta)
        for place, (item, row, plain) in enumerate(zip(items, picks, replies, strict=True))
        for _, turns in row
        if turns != plain[-1]
    }
    judged = judge_both([*pairs.values()], judge)
    liked = {place: one.mean for place, one in zip(pairs, judged, strict=True)}
    valued = [
        [_both(score, liked.get((place, turns), 0.5)) for score, turns in row] or [None] * len(ns)
        for place, row in enumerate(picks)
    ]
    found = picks_results(valued, ns=ns, clusters=clusters, seed=seed)
    return [*found, _distinct(replies, draws, clusters, seed)]


def _picks(
    replies: Sequence[Turns], scores: Sequence[float | None], ns: Sequence[int]
) -> list[tuple[float, Turns]]:
    """The best of the first n draws that have a score, for each n; none where these are too few.

    The last draw is none of them: it is the plain one.
    """
    each = zip(scores[:-1], replies[:-1], strict=True)
    known = [(score, turns) for score, turns in each if score is not None]
    if len(known) < ns[-1]:
        return []
    return [max(known[:n], key=lambda one: one[0]) for n in ns]


def _distinct(
    replies: Sequence[Sequence[Turns]], draws: int, clusters: Sequence[Labels], seed: int
) -> Result:
    """How many of the draws differ: where few do, the best of many is the best of few."""
    differ = [len(set(row)) / len(row) if row else None for row in replies]
    return rate_result(
        "distinct_draws",
        differ,
        clusters=clusters,
        seed=seed,
        how=f"mean share of the {draws} draws to a prompt that are left if each reply counts once",
        unit="prompts",
        challenge=Challenge.GAMING,
    )


def _check_apart(proxy: Feedback, gold: Feedback | PairJudge) -> None:
    if proxy.id == gold.id:
        wrong, accepted = (
            "proxy and gold are one and the same feedback",
            "two feedbacks with ids of their own",
        )
        do = "give what the policy is optimised against as proxy, and what is meant as gold"
        raise InputError(explain(wrong, found=proxy.id, accepted=accepted, do=do))
