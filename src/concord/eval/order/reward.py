"""What a feedback finds replies worth: their mean and quantiles, beside references and a base.

    reward            asks the policy, and scores its replies by a feedback
    reward_results    scores in, results out

A reward is one opinion, and whoever is trained on it learns its faults: read it beside the KL to the base and
the length of replies.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, chain
from typing import TypedDict

import numpy as np

from concord.eval.reckoning import SHARE, Labels, check_alike, complete_result, mean_result, outcome_result
from concord.eval.replies import drawn, preferred, scored
from concord.types import Challenge, Feedback, Item, Policy, Result, Sampling

__all__ = ["reward", "reward_results"]

_QUANTILES = (0.1, 0.5, 0.9)


class _About(TypedDict):
    challenge: Challenge
    higher_is_better: bool


_ABOUT: _About = {"challenge": Challenge.EFFICACY, "higher_is_better": True}


def reward(
    items: Sequence[Item],
    policy: Policy,
    feedback: Feedback,
    *,
    base: Policy | None = None,
    draws: int = 16,
    sampling: Sampling | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Score one reply to each prompt by a feedback that it was not optimised against.

    The reply that was shown or preferred, where there is one, is scored beside it, and so are `draws` replies
    of the base, if one is given, so that the score is read on the scale of the prompt.
    """
    ours = drawn(policy, items, sampling=sampling)
    before = drawn(base, items, n=draws, sampling=sampling) if base else [()] * len(items)
    good = [() if (both := preferred(item)) is None else both[:1] for item in items]
    asked = list(zip(ours, good, before, strict=True))
    scores = scored(feedback, items, [tuple(chain(*parts)) for parts in asked])
    split = [_split(row, [len(part) for part in parts]) for row, parts in zip(scores, asked, strict=True)]
    return reward_results(
        [next(iter(mine), None) for mine, _, _ in split],
        reference=[next(iter(theirs), None) for _, theirs, _ in split] if any(good) else None,
        before=[row for _, _, row in split] if base else None,
        judge=feedback.id,
        clusters=clusters,
        seed=seed,
    )


def reward_results(
    scores: Sequence[float | None],
    *,
    reference: Sequence[float | None] | None = None,
    before: Sequence[Sequence[float | None]] | None = None,
    judge: str = "",
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Mean and quantiles of scores, how often they are above a reference's, and their place among a base's.

    scores: of one reply to each prompt, None where there is no reply or no score
    reference: the score of the reference reply of each prompt
    before: the scores of the base's replies to each prompt; the percentile among them is comparable between
        prompts, which a score need not be
    judge: the id of what scores
    """
    given = [one for one in (scores, reference, before) if one is not None]
    check_alike("scores of replies, of references and of a base differ in number", *given)
    by = f", by {judge}" if judge else ""
    measured = partial(mean_result, clusters=clusters, seed=seed, unit="replies", **_ABOUT)
    found = [measured("reward", scores, how=f"mean score of replies{by}")]
    for share in _QUANTILES:
        found.append(
            complete_result(
                "reward_quantile",
                scores,
                partial(_quantile, share=share),
                why_none="no reply has a score; look at why",
                clusters=clusters,
                seed=seed,
                unit="replies",
                how=f"quantile of the scores of replies{by}",
                at={"quantile": share},
                **_ABOUT,
            )
        )
    if reference is not None:
        beats = [_above(score, [one]) for score, one in zip(scores, reference, strict=True)]
        how = f"how often a reply scores above the reference, ties counting one half{by}"
        found.append(
            outcome_result(
                "reward_win_rate", beats, clusters=clusters, seed=seed, unit="replies", how=how, **_ABOUT
            )
        )
    if before is not None:
        among = [_above(score, row) for score, row in zip(scores, before, strict=True)]
        how = f"mean share of the base's replies to the same prompt that score below, half of ties{by}"
        found.append(measured("reward_percentile", among, how=how, scale=SHARE))
    return found


def _quantile(scores: Sequence[float], share: float) -> float:
    return float(np.quantile(np.asarray(scores), share))


def _above(score: float | None, others: Sequence[float | None]) -> float | None:
    """The share of the others that are below a score, half of those that are equal to it."""
    known = [other for other in others if other is not None]
    if score is None or not known:
        return None
    return sum((score > other) - (score < other) + 1 for other in known) / (2 * len(known))


def _split(values: Sequence[float | None], sizes: Sequence[int]) -> list[Sequence[float | None]]:
    ends = list(accumulate(sizes))
    return [values[end - size : end] for end, size in zip(ends, sizes, strict=True)]
