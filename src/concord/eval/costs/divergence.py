"""How far a policy has moved from where it began: KL(policy || start), from its own replies.

    kl_to_start(prompts, policy, start)     draws from the policy, scores by both, and estimates
    kl_results(ours, theirs)                the same of log-probabilities that are there
    exact_kl, kl_by_enumeration             exact, where all replies can be listed

With r_t = log start - log policy of token t of a reply drawn from the policy,

    k1 = -r_t,  k3 = exp(r_t) - 1 - r_t

both have the mean KL(policy || start) at that token, given what is before it, so that their sums over a reply
estimate the KL of replies. k1 may come out negative; k3 never does, and varies less while the two are near.
Both need replies drawn at temperature 1 without truncation. Source: Schulman 2020, "Approximating KL
divergence".
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from math import exp, expm1, fsum, inf, isfinite, log
from typing import TypeVar

from concord.errors import InputError, Said, explain
from concord.eval.reckoning import LEVEL, About, Labels, check_alike, mean_result, ratio_result
from concord.types import (
    Ask,
    Challenge,
    Finish,
    Interval,
    Policy,
    Prompt,
    Reply,
    Result,
    Sampling,
    Turns,
    Unanswered,
)

__all__ = ["exact_kl", "k1", "k3", "kl_by_enumeration", "kl_results", "kl_to_start"]

Thing = TypeVar("Thing", bound=Hashable)

_FARTHEST = 700.0  # nats that one token may differ by, so that exp stays a number
_WHOLE = 1e-3  # of probability that may be missing from a list of all replies


def k1(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """sum_t (log policy - log start) over the tokens of a reply."""
    return fsum(mine - other for mine, other in zip(ours, theirs, strict=True))


def k3(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """sum_t (exp(r_t) - 1 - r_t), r_t = log start - log policy, over the tokens of a reply."""
    gaps = [min(other - mine, _FARTHEST) for mine, other in zip(ours, theirs, strict=True)]
    # exp(r) - 1 loses what small r have of it, and comes out below r.
    return fsum(max(0.0, expm1(gap) - gap) for gap in gaps)


def kl_results(
    ours: Sequence[Sequence[float] | None],
    theirs: Sequence[Sequence[float] | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """KL(policy || start) by k1 and by k3, each for a reply and for a token, in nats.

    `ours[i]` and `theirs[i]` are the log-probabilities of the tokens of reply i, drawn from the policy, under
    the policy and under the start; None where they could not be had. Replies to one prompt belong together:
    say so in `clusters`.
    """
    check_alike("the log-probabilities are not those of the same replies", ours, theirs, *clusters)
    rows = [None if a is None or b is None else (a, b) for a, b in zip(ours, theirs, strict=True)]
    _check([row for row in rows if row is not None])
    lengths = [None if row is None else float(len(row[0])) for row in rows]
    results: list[Result] = []
    for estimator, of, words in (
        ("k1", k1, "log-ratio of policy to start"),
        ("k3", k3, "exp(r) - 1 - r of the log-ratio r of start to policy"),
    ):
        values = [None if row is None else of(*row) for row in rows]
        about = _about(f"{words}, summed over a reply drawn from the policy", estimator)
        whole = mean_result("kl_per_reply", values, clusters=clusters, seed=seed, **about)
        about = _about(f"{words}, per token of replies drawn from the policy", estimator)
        token = ratio_result("kl_per_token", values, lengths, clusters=clusters, seed=seed, **about)
        results += [whole, token]
    if rows and all(row is None or tuple(row[0]) == tuple(row[1]) for row in rows):
        return [_equal(one) for one in results]
    return results


def _equal(result: Result) -> Result:
    """A distance between two that are the same on each reply: 0, with no width."""
    if result.value is None:
        return result
    equal = Interval(0.0, 0.0, level=LEVEL, how=f"the two are equal on each of {result.n} replies")
    return replace(result, interval=equal, how=result.how.partition("; no interval")[0])


def _check(rows: Sequence[tuple[Sequence[float], Sequence[float]]]) -> None:
    for mine, other in rows:
        if len(mine) != len(other):
            wrong, accepted = (
                "a reply has other tokens under the start",
                "as many log-probabilities under both",
            )
            found, do = Said(f"{len(mine)} and {len(other)}"), "score the same tokens by both policies"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if odd := [one for one in (*mine, *other) if not isfinite(one)]:
            wrong, accepted = (
                "a token has no finite log-probability, so that the KL has none",
                "finite numbers",
            )
            do = (
                "draw from the whole distribution of the policy, and start from a model that can say the same"
            )
            raise InputError(explain(wrong, found=odd[0], accepted=accepted, do=do))


def _about(how: str, estimator: str) -> About:
    how = f"KL(policy || start) in nats: {how}"
    return About(unit="replies", how=how, challenge=Challenge.TAX, at={"estimator": estimator})


# --- asking -----------------------------------------------------------------------------------------------


def kl_to_start(
    prompts: Sequence[Prompt],
    policy: Policy,
    start: Policy,
    *,
    n: int = 1,
    max_tokens: int | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Draw n replies to each prompt from the policy, and score them by both (needs SCORE of both).

    clusters: labels of prompts; the replies to one prompt stay together in any case
    max_tokens: where replies are cut off; the KL is that of replies up to there
    """
    check_alike("prompts and labels of clusters differ in number", prompts, *clusters)
    sampling = Sampling(max_tokens=max_tokens, seed=seed)
    answers = policy.answer([Ask(prompt, n=n, sampling=sampling) for prompt in prompts])
    came = [(at, reply) for at, answer in enumerate(answers) for reply in answer]
    places = [at for at, _ in came]
    ours, theirs = _scored(prompts, came, policy), _scored(prompts, came, start)
    pairs = [_alike(one, other, reply) for one, other, (_, reply) in zip(ours, theirs, came, strict=True)]
    labels: list[Labels] = [[one[at] for at in places] for one in clusters] or [places]
    return kl_results(
        [None if pair is None else pair[0] for pair in pairs],
        [None if pair is None else pair[1] for pair in pairs],
        clusters=labels if n > 1 or clusters else (),
        seed=seed,
    )


def _scored(
    prompts: Sequence[Prompt], came: Sequence[tuple[int, Reply | Unanswered]], policy: Policy
) -> list[Reply | None]:
    """What a policy makes of drawn replies; None of those that did not come, or cannot be scored."""
    drawn = [at for at, (_, reply) in enumerate(came) if isinstance(reply, Reply)]
    asks = [Ask(prompts[came[at][0]], given=(_turns(came[at][1]),)) for at in drawn]
    scored: list[Reply | None] = [None] * len(came)
    for at, (reply,) in zip(drawn, policy.answer(asks), strict=True):
        scored[at] = reply if isinstance(reply, Reply) else None
    return scored


def _turns(reply: Reply | Unanswered) -> Turns:
    return (reply.message,) if isinstance(reply, Reply) else ()


def _alike(
    one: Reply | None, other: Reply | None, drawn: Reply | Unanswered
) -> tuple[Sequence[float], Sequence[float]] | None:
    """The log-probabilities of the tokens that were drawn, under both; None where these are not the same.

    Whoever scores a reply that was cut off scores its end too, which was never drawn: it is left out.
    """
    if one is None or other is None or one.logps is None or other.logps is None:
        return None
    if not isinstance(drawn, Reply) or one.tokens != other.tokens:
        return None
    if drawn.finish is not Finish.LENGTH:
        return one.logps, other.logps
    count = len(drawn.tokens or ())
    if not count or one.tokens is None or one.tokens[:count] != drawn.tokens:
        return None
    return one.logps[:count], other.logps[:count]


# --- exactly ----------------------------------------------------------------------------------------------


def exact_kl(ours: Mapping[Thing, float], theirs: Mapping[Thing, float]) -> float:
    """KL of two distributions over the same few things: sum p (log p - log q), infinite where q lacks one."""
    total: list[float] = []
    for thing, p in ours.items():
        if p > 0:
            q = theirs.get(thing, 0.0)
            total.append(p * (log(p) - log(q)) if q > 0 else inf)
    return fsum(total) if inf not in total else inf


def kl_by_enumeration(
    prompts: Sequence[Prompt],
    policy: Policy,
    start: Policy,
    *,
    replies: Sequence[Turns],
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """KL(policy || start) of each prompt over all replies that there are, and their mean over prompts.

    The KL of a prompt is exact: the interval is over prompts alone. A prompt is a failure where the replies
    listed are not all that the policy gives, for their probabilities fall short of 1; and, which is said,
    where the KL is infinite, for the start never gives a reply that the policy gives.
    """
    asks = [Ask(prompt, given=tuple(replies)) for prompt in prompts]
    both = zip(policy.answer(asks), start.answer(asks), strict=True)
    values = [_kl_of(_logs(mine), _logs(other)) for mine, other in both]
    finite = [None if value is None or value == inf else value for value in values]
    about = _about("exact: all replies are listed, and scored by policy and start", "enumeration")
    if endless := values.count(inf):
        infinite = f"infinite at {endless} of {len(values)} prompts, where the start never gives a reply that"
        infinite += " the policy gives"
        about["how"] = f"{about.get('how', '')}; {infinite}, and these are left out of the mean"
        if endless + values.count(None) == len(values):
            none = Result(name="kl_per_reply", value=None, n=0, failures=len(values), why_none=infinite)
            return [replace(none, **about)]
    return [mean_result("kl_per_reply", finite, clusters=clusters, seed=seed, **about)]


def _kl_of(ours: Sequence[float] | None, theirs: Sequence[float] | None) -> float | None:
    """sum p (log p - log q) from the logarithms, which do not vanish where a probability does.

    None where a reply has no score, or where p falls short of 1.
    """
    if ours is None or theirs is None or abs(fsum(map(exp, ours)) - 1) >= _WHOLE:
        return None
    terms = [exp(p) * (p - q) for p, q in zip(ours, theirs, strict=True) if exp(p) > 0]
    return inf if inf in terms else fsum(terms)


def _logs(answer: Sequence[Reply | Unanswered]) -> list[float] | None:
    """The log-probability of each reply; None where one could not be scored."""
    sums = [fsum(one.logps) for one in answer if isinstance(one, Reply) and one.logps is not None]
    return sums if len(sums) == len(answer) else None
