"""What replies to one's own prompts show: beside references and a base, by a reward, by a judge.

replied(items, policy, ...)   one reply of the policy, and of its base, to each prompt
similar, rewarded, won        near to what people wrote; worth to a reward; preferred by a judge
spread, overfitted, texts     on other domains; where a proxy is pushed; what replies are like
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from concord.eval.card.common import NO_FEEDBACK, NO_JUDGE, missing, placed
from concord.eval.card.own.likelihoods import explained
from concord.eval.costs.asking import proxy_against_gold, proxy_against_judge
from concord.eval.costs.generalisation import gap_results, robustness_results
from concord.eval.order.length_control import gap_warning, length_control_results
from concord.eval.order.reward import reward_results
from concord.eval.order.winrate import Judged, judge_both, win_rate_results
from concord.eval.reckoning import SHARE, complete_result, described, found_from
from concord.eval.replies import preferred, scored, text_results
from concord.eval.replies.similarity import similarity_results
from concord.feedback import Pair, PairJudge
from concord.types import (
    Ask,
    Challenge,
    Feedback,
    Item,
    Policy,
    Reply,
    Result,
    Sampling,
    Turns,
    Unanswered,
)

__all__ = [
    "Replied",
    "length_warning",
    "overfitted",
    "replied",
    "rewarded",
    "similar",
    "spread",
    "texts",
    "won",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied:
    """The likeliest reply to each item, by the policy and by its base, where there is one."""

    items: Sequence[Item]
    ours: Sequence[Reply | Unanswered]
    theirs: Sequence[Reply | Unanswered] | None = None
    seed: int = 0
    _scores: dict[tuple[str, bool], list[float | None]] = field(
        default_factory=dict[tuple[str, bool], "list[float | None]"], init=False, repr=False, compare=False
    )

    def scores(self, feedback: Feedback, *, base: bool = False) -> list[float | None]:
        """What a feedback makes of each reply, asked once; None where there is no reply, or no score."""
        if (feedback.id, base) not in self._scores:
            turns = [_turns(one) for one in ((self.theirs or ()) if base else self.ours)]
            rows = scored(feedback, self.items, [() if one is None else (one,) for one in turns])
            self._scores[feedback.id, base] = [next(iter(row), None) for row in rows]
        return self._scores[feedback.id, base]


def replied(
    items: Sequence[Item], policy: Policy, *, base: Policy | None, max_tokens: int, seed: int
) -> Replied:
    """Ask each prompt once, however many items have it; items without a message ask nothing."""
    first = {repr(item.prompt): item for item in reversed(items) if item.prompt.messages}
    kept = [item for item in items if first.get(repr(item.prompt)) is item]
    asks = [Ask(item.prompt, sampling=Sampling(temperature=0.0, max_tokens=max_tokens)) for item in kept]
    ours = [one for (one,) in policy.answer(asks)] if asks else []
    theirs = None if base is None else [one for (one,) in base.answer(asks)] if asks else []
    return Replied(items=kept, ours=ours, theirs=theirs, seed=seed)


def _turns(reply: Reply | Unanswered) -> Turns | None:
    return (reply.message,) if isinstance(reply, Reply) else None


def _text(turns: Turns) -> str:
    return "\n".join(turn.text for turn in turns)


# --- efficacy ---------------------------------------------------------------------------------------------


def similar(found: Replied) -> list[Result]:
    """How near replies are to those that people wrote or preferred; beside a base, how near its are."""
    rows = [(at, both) for at, item in enumerate(found.items) if (both := preferred(item)) is not None]
    if not rows:
        why = "the data show no reply that is good; give demonstrations or comparisons"
        return [missing("rouge_l", Challenge.EFFICACY, why, unit="replies", higher=True)]
    references = [[_text(better)] for _, (better, _) in rows]
    against = [_text(worse) for _, (_, worse) in rows if worse is not None]
    results: list[Result] = []
    for who, replies in (("", found.ours), ("base", found.theirs)):
        if replies is None:
            continue
        given = [_turns(replies[at]) for at, _ in rows]
        measured = similarity_results(
            [None if one is None else _text(one) for one in given],
            references,
            worse=against if len(against) == len(rows) else None,
            seed=found.seed,
        )
        results += placed(measured, Challenge.EFFICACY, at={"of": who} if who else None)
    return results


def rewarded(found: Replied, feedback: Feedback | None) -> list[Result]:
    """What a feedback makes of replies, of references, and of the base's replies."""
    if feedback is None:
        return [missing("reward", Challenge.EFFICACY, NO_FEEDBACK, unit="replies", higher=True)]
    good = [preferred(item) for item in found.items]
    rows = scored(feedback, found.items, [() if one is None else (one[0],) for one in good])
    before = None if found.theirs is None else [(one,) for one in found.scores(feedback, base=True)]
    return reward_results(
        found.scores(feedback),
        reference=[next(iter(row), None) for row in rows] if any(good) else None,
        before=before,
        judge=feedback.id,
        seed=found.seed,
    )


def won(found: Replied, judge: Feedback | PairJudge | None, feedback: Feedback | None) -> list[Result]:
    """How often replies are preferred to those of the base, in both orders; without one, to references."""
    by = judge or feedback
    others = _others(found)
    if by is None or not any(others):
        why = NO_JUDGE if by is None else "there is nothing to win against; give a base, or preferred replies"
        return [missing("win_rate", Challenge.EFFICACY, why, unit="pairs", higher=True)]
    pairs = [
        None if (mine := _turns(one)) is None or other is None else Pair(item.prompt, mine, other, item.meta)
        for item, one, other in zip(found.items, found.ours, others, strict=True)
    ]
    judged = iter(judge_both([pair for pair in pairs if pair is not None], by))
    rows = [Judged(None, None) if pair is None else next(judged) for pair in pairs]
    against = "the base" if found.theirs is not None else "the replies that people preferred"
    results = win_rate_results(rows, judge=by.id, seed=found.seed)
    means = [
        None if one.first is None or one.second is None else (one.first + one.second) / 2 for one in rows
    ]
    sizes = [
        None if pair is None else (float(len(_text(pair.first))), float(len(_text(pair.second))))
        for pair in pairs
    ]
    how = "from a win rate of one half, both orders averaged"
    about = described(how, unit="pairs", challenge=Challenge.EFFICACY)
    even = [None if one is None else one - 0.5 for one in means]
    results.append(found_from("win_rate_averaged", even, seed=found.seed, **about))
    results += length_control_results(means, sizes, seed=found.seed)
    return [replace(one, at={**one.at, "against": against}) for one in results]


def _others(found: Replied) -> list[Turns | None]:
    """What the policy's replies are held against."""
    if found.theirs is not None:
        return [_turns(one) for one in found.theirs]
    return [None if (both := preferred(item)) is None else both[0] for item in found.items]


def length_warning(results: Sequence[Result]) -> str:
    """What is wrong where length control moves a win rate far; empty where nothing is."""
    values = {one.name: one.value for one in results}
    raw = values.get("win_rate_averaged")
    controlled = next((value for name, value in values.items() if name.startswith("length_controlled")), None)
    return "" if raw is None or controlled is None else gap_warning(raw, controlled)


# --- the other challenges ---------------------------------------------------------------------------------


def spread(found: Replied, feedback: Feedback | None, *, domain: str, inside: str) -> list[Result]:
    """The reward on each domain, and how much lower it is outside of what was learned from."""
    why = ""
    if feedback is None:
        why = NO_FEEDBACK
    elif not domain or not inside:
        why = (
            "it is not known which data are like those learned from; name the column that tells"
            " domains, and the domain that was learned from"
        )
    labels = [str(item.meta.get(domain, "")) for item in found.items]
    if not why and (inside not in labels or len(set(labels)) < 2):
        held = ", ".join(sorted(set(labels))[:9])
        why = f"the column {domain!r} does not hold {inside!r} and another domain; it has {held or 'nothing'}"
    if feedback is None or why:
        return [missing("generalisation_gap", Challenge.GENERALISATION, why, unit="items", higher=False)]
    ours = _by_domain(found.scores(feedback), labels)
    results = gap_results(ours, inside=inside, metric="reward", seed=found.seed)
    if found.theirs is not None:
        theirs = _by_domain(found.scores(feedback, base=True), labels)
        results += robustness_results(ours, theirs, inside=inside, seed=found.seed)
    return results


def _by_domain(scores: Sequence[float | None], labels: Sequence[str]) -> dict[str, list[float | None]]:
    by: dict[str, list[float | None]] = {label: [] for label in labels}
    for score, label in zip(scores, labels, strict=True):
        by[label].append(score)
    return by


def overfitted(
    items: Sequence[Item],
    policy: Policy,
    *,
    proxy: Feedback | None,
    gold: Feedback | PairJudge | None,
    sampling: Sampling,
    draws: int,
) -> list[Result]:
    """The best of n by the feedback, valued by the judge, as n grows: does more of one bring the other?"""
    if proxy is None or gold is None:
        why = "a proxy and what is meant by it are both needed; give a feedback, and a judge"
        return [missing("gold_reward", Challenge.GAMING, why, unit="prompts")]
    seed = sampling.seed or 0
    if isinstance(gold, PairJudge):
        return proxy_against_judge(
            items, policy, proxy=proxy, judge=gold, draws=draws, sampling=sampling, seed=seed
        )
    return proxy_against_gold(
        items, policy, proxy=proxy, gold=gold, draws=draws, sampling=sampling, seed=seed
    )


def texts(found: Replied, feedback: Feedback | None) -> list[Result]:
    """What replies are like as texts; and how much of a reward their length explains."""
    results = text_results([(one,) for one in found.ours], seed=found.seed)
    if found.theirs is not None:
        theirs = text_results([(one,) for one in found.theirs], seed=found.seed)
        results += placed(theirs, Challenge.TAX, at={"of": "base"})
    if feedback is None:
        name = "reward_explained_by_length"
        return [*results, missing(name, Challenge.INTERPRETABILITY, NO_FEEDBACK, unit="replies")]
    rows = [
        None if score is None or not isinstance(one, Reply) else (score, float(len(one.text)))
        for score, one in zip(found.scores(feedback), found.ours, strict=True)
    ]
    about = described(
        f"share of the differences in reward by {feedback.id} explained by length of replies (R squared)",
        unit="replies",
        challenge=Challenge.INTERPRETABILITY,
    )
    why = "rewards or lengths do not differ; give more prompts"
    length = complete_result(
        "reward_explained_by_length",
        rows,
        explained,
        why_none=why,
        scale=SHARE,
        seed=found.seed,
        **about,
    )
    return [*results, length]
