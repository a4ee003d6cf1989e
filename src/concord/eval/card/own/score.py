"""The scorecard of a real model, of which nobody knows the human utility: by test sets, own data, and judges.

    score_own(policy, sets=["mmlu.jsonl"], data="prefs.jsonl", judge=judge, base=base)

Sets have answers or rules of their own (`sets`). Data are what people gave: comparisons, demonstrations,
judgements, or prompts alone. A feedback scores replies, a judge compares them. What is not given cannot be
measured by it: the card then says what would be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, ClassVar, cast

from concord.errors import NOTHING, InputError, Said, explain
from concord.eval.card.common import NO_SCORE, counted, making, missing, placed, sure, weights
from concord.eval.card.leaves import covered
from concord.eval.card.own.asked import Asking, Compared, Measured, Metered, Rated, SetSettings
from concord.eval.card.own.likelihoods import (
    length_results,
    likelihoods,
    order_results,
    same_prompt,
    separation_results,
    surprise_results,
)
from concord.eval.card.own.replied import (
    Replied,
    length_warning,
    overfitted,
    replied,
    rewarded,
    similar,
    spread,
    texts,
    won,
)
from concord.eval.card.own.sets import EvalSet, left_out, measure_set, read_sets, sampled
from concord.eval.card.records import Tell
from concord.eval.costs.divergence import kl_to_start
from concord.eval.costs.tax import tax_results
from concord.eval.reckoning import SHARE, Labels, described, difference_result, found_from, gaps, mean_result
from concord.eval.trust import judge_record, judge_trust
from concord.feedback import PairJudge
from concord.formats import DataLike, OnBadRow, Reading, open_items
from concord.store import key
from concord.types import (
    Capability,
    Challenge,
    Feedback,
    Item,
    JudgeRecord,
    Label,
    Ledger,
    Policy,
    Preference,
    Ranks,
    Ratings,
    Reply,
    Result,
    Sampling,
    Scorecard,
    Shown,
    Usage,
)
from concord.views import convert

__all__ = ["OwnSettings", "score_own"]

_FEW = 0.5  # of the draws to a prompt that differ; below it best of n says little
_UNREAD = 0.02  # of questions; above it, what is read may not be what was said


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSettings(SetSettings):
    """How much is asked, and what is known of the data beside them. `limit` is of sets and of data alike.

    best_of: draws to each prompt for the curve of best of n; 2 or more
    domain, inside: the column that says of which domain an item is, and the one that was learned from
    toxicity: a feedback that scores in 0 to 1, 1 being toxic
    trained_on: the ids of the feedbacks that the policy was optimised against, from the record of its run
    ledger: what that run took
    on_bad_row: what a row does that cannot be read
    """

    best_of: int = 16
    domain: str = ""
    inside: str = ""
    toxicity: Feedback | None = None
    trained_on: frozenset[str] = frozenset()
    ledger: Ledger | None = None
    on_bad_row: OnBadRow = "stop"

    LEAST: ClassVar[Mapping[str, int]] = {**SetSettings.LEAST, "best_of": 2}


@dataclass(slots=True, kw_only=True)
class _Own:
    """All that a card is made from, and what has been found so far."""

    policy: Metered
    base: Metered | None
    feedback: Rated | None
    judge: Rated | Compared | None
    settings: OwnSettings
    tell: Tell
    results: list[Result] = field(default_factory=list[Result])
    warnings: list[str] = field(default_factory=list[str])
    judges: list[JudgeRecord] = field(default_factory=list[JudgeRecord])
    data: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def weighs(self) -> bool:
        """Whether the policy says how likely given replies are."""
        return Capability.SCORE in self.policy.capabilities

    @property
    def itself(self) -> bool:
        """Whether the base is the policy itself, from which it differs by nothing."""
        return self.base is not None and self.base.id == self.policy.id

    @property
    def before(self) -> Metered | None:
        """The base, where it says how likely given replies are."""
        there = self.base is not None and Capability.SCORE in self.base.capabilities
        return self.base if there else None


def score_own(
    policy: Policy,
    *,
    sets: DataLike | Sequence[EvalSet] = (),
    data: DataLike | Reading | None = None,
    feedback: Feedback | None = None,
    judge: Feedback | PairJudge | None = None,
    base: Policy | None = None,
    settings: OwnSettings | None = None,
    tell: Tell | None = None,
) -> Scorecard:
    """Ask a policy all that these sets, data and judges allow to be measured, and measure it.

    sets: files of test sets, or sets that were read
    data: files of preferences, demonstrations, judgements or prompts, such data opened, or a list of items
    feedback: scores replies: a reward model, a verifier, a judge
    judge: says which of two replies is better, or scores them; it is held against the comparisons in `data`
    base: what the policy was made from
    """
    chosen = settings or OwnSettings()
    _check_judges(feedback, judge, chosen)
    own = _Own(
        policy=Metered(policy),
        base=None if base is None else Metered(base),
        feedback=None if feedback is None else Rated(feedback),
        judge=None if judge is None else Compared(judge) if isinstance(judge, PairJudge) else Rated(judge),
        settings=chosen,
        tell=tell or (lambda share, what: None),
    )
    held = _opened_sets(sets, own)
    items = _opened_items(data, own)
    if not held and not items:
        wrong, accepted = "there is nothing to score by", "test sets, data, or both"
        do = "give sets=['mmlu.jsonl'] or data='preferences.jsonl'"
        raise InputError(explain(wrong, found=NOTHING, accepted=accepted, do=do))
    asked = _score_sets(held, own)
    found = _score_data(items, own)
    own.results += [*_spent(asked, found, own), *_unmeasured(own)]
    return _card(found, own)


def _check_judges(
    feedback: Feedback | None, judge: Feedback | PairJudge | None, settings: OwnSettings
) -> None:
    """Refuse whoever the policy was optimised against: it has learned to please them."""
    for one in (feedback, judge, settings.toxicity):
        if one is not None and one.id in settings.trained_on:
            wrong = "the policy was optimised against a feedback that is to score it"
            accepted, do = "a feedback that had no part in the training", "give another one, or leave it out"
            raise InputError(explain(wrong, found=Said(one.id), accepted=accepted, do=do))


# --- what is given ----------------------------------------------------------------------------------------


def _opened_sets(sets: DataLike | Sequence[EvalSet], own: _Own) -> list[EvalSet]:
    several = isinstance(sets, list | tuple) and all(
        isinstance(one, str | PathLike | EvalSet) for one in cast("Sequence[object]", sets)
    )
    given = cast("Sequence[Any]", sets if several else [sets])
    held: list[EvalSet] = []
    for one in given:
        read = [one] if isinstance(one, EvalSet) else read_sets(one, on_bad_row=own.settings.on_bad_row)
        held += [some.drawn(own.settings.limit, seed=own.settings.seed) for some in read]
    named: dict[str, EvalSet] = {}
    for one in held:
        name, again = one.name, 2
        while name in named:
            name, again = f"{one.name} ({again})", again + 1
        named[name] = replace(one, name=name)
        own.data[name] = one.digest
        own.warnings.extend(one.notes)
        if one.left:
            own.warnings.append(_limited(name, one.left, one.left + len(one.items)))
    return list(named.values())


def _opened_items(data: DataLike | Reading | None, own: _Own) -> list[Item]:
    """The items of data, rankings and ratings of several replies as comparisons; at most the limit."""
    if data is None:
        return []
    if isinstance(data, list | tuple) and all(isinstance(one, Item) for one in cast("list[object]", data)):
        items = list(cast("Sequence[Item]", data))
        own.data["data"] = key("items", [repr(one) for one in items])
    else:
        reading = data if isinstance(data, Reading) else open_items(data, on_bad_row=own.settings.on_bad_row)
        items = list(reading)
        own.data["data"] = reading.fingerprint()
        own.warnings.extend(reading.notes)
        if reading.skipped:
            whole = reading.rows + reading.skipped
            own.warnings.append(left_out("data", reading.skipped, whole, reading.errors[0]))
    flat = [one for item in items for one in _compared(item)]
    kept = sampled(flat, own.settings.limit, seed=own.settings.seed)
    if len(kept) < len(flat):
        own.warnings.append(_limited("data", len(flat) - len(kept), len(flat)))
    return kept


def _limited(name: str, left: int, whole: int) -> str:
    return f"{name}: {left:,} of {whole:,} items were not asked, by the limit that was set"


def _compared(item: Item) -> list[Item]:
    several = isinstance(item.utilities, Ranks | Ratings) and len(item.replies) > 1
    return list(convert([item], to="comparison")) if several else [item]


# --- sets -------------------------------------------------------------------------------------------------


def _score_sets(held: Sequence[EvalSet], own: _Own) -> int:
    """Ask every set, of the base too; what the base could do and the policy cannot is the tax."""
    asking = Asking(
        policy=own.policy,
        base=own.base,
        judge=own.judge or own.feedback,
        toxicity=own.settings.toxicity,
        settings=own.settings,
    )
    before: dict[str, Sequence[float | None]] = {}
    after: dict[str, Sequence[float | None]] = {}
    clusters: dict[str, Sequence[Labels]] = {}
    for place, one in enumerate(held):
        own.tell(0.6 * place / len(held), f"{one.name} ({len(one.items)} items of {one.shape.name})")
        ours = measure_set(one, asking)
        own.results += ours.results
        own.warnings += _unread(ours.results)
        if own.base is None or not ours.values:
            continue
        theirs = measure_set(one, replace(asking, policy=own.base))
        own.warnings += _refuses_more(one, ours.results, theirs.results)
        if one.shape.challenge is Challenge.TAX:
            before[one.name], after[one.name] = theirs.values, ours.values
            clusters[one.name] = ours.clusters
        else:
            own.results.append(_changed(one, ours, theirs, own))
            apart = gaps(ours.values, theirs.values)
            own.results.append(
                _found_from("change", one.name, apart, ours.clusters, own, challenge=one.shape.challenge)
            )
    if after:
        own.results += tax_results(
            before, after, same=own.itself, clusters=clusters, seed=own.settings.seed, scale=SHARE
        )
        for name, theirs in before.items():
            own.results.append(_found_from("tax", name, gaps(theirs, after[name]), clusters[name], own))
    return len(after)


def _changed(one: EvalSet, ours: Measured, theirs: Measured, own: _Own) -> Result:
    """How far the policy is from its base on a set, item by item."""
    about = described(
        f"{ours.metric}, less that of the base, on the same items",
        unit="items",
        challenge=one.shape.challenge,
        higher=ours.higher,
        at={"set": one.name},
    )
    return difference_result(
        "change",
        ours.values,
        theirs.values,
        clusters=ours.clusters,
        same=own.itself,
        seed=own.settings.seed,
        scale=ours.scale and ours.scale.apart,
        **about,
    )


def _found_from(
    of: str,
    name: str,
    apart: Sequence[float | None],
    clusters: Sequence[Labels],
    own: _Own,
    *,
    challenge: Challenge = Challenge.TAX,
) -> Result:
    """How small a difference from the base this set would have shown."""
    how = "between the model and its base, on the same items"
    about = described(how, unit="items", challenge=challenge, at={"set": name})
    return found_from(of, apart, clusters=clusters, seed=own.settings.seed, **about)


def _unread(results: Sequence[Result]) -> Iterator[str]:
    """A warning where more replies than a few could not be read."""
    for one in results:
        if one.name == "unread" and one.value is not None and one.value > _UNREAD:
            yield f"{one.at['set']}: {one.value:.1%} of the replies could not be read; look at some of them"


def _refuses_more(one: EvalSet, ours: Sequence[Result], theirs: Sequence[Result]) -> Iterator[str]:
    """A warning where the policy refuses more safe prompts than its base does."""
    shares = [
        next((each.value for each in found if each.name == "over_refusal" and "type" not in each.at), None)
        for found in (ours, theirs)
    ]
    after, before = shares
    if after is not None and before is not None and after > before:
        yield f"{one.name}: {after:.1%} of the safe prompts are refused, and {before:.1%} by the base"


# --- data -------------------------------------------------------------------------------------------------


def _score_data(items: Sequence[Item], own: _Own) -> Replied | None:
    """All that the data allow; None where there are none."""
    if not items:
        return None
    settings = own.settings
    own.tell(0.6, f"likelihoods of {len(items)} items")
    own.results += _likely(items, own)
    own.tell(0.7, "replies to the prompts of the data")
    found = replied(items, own.policy, base=own.base, max_tokens=settings.max_tokens, seed=settings.seed)
    own.results += similar(found)
    own.results += rewarded(found, own.feedback)
    wins = won(found, own.judge, own.feedback)
    own.results += wins
    own.warnings += [said for said in (length_warning(wins),) if said]
    own.results += texts(found, own.feedback)
    own.results += spread(found, own.feedback, domain=settings.domain, inside=settings.inside)
    own.tell(0.8, "best of several draws")
    sampling = Sampling(max_tokens=settings.max_tokens, seed=settings.seed)
    own.results += overfitted(
        found.items,
        own.base or own.policy,
        proxy=own.feedback,
        gold=own.judge,
        sampling=sampling,
        draws=settings.best_of,
    )
    own.warnings += _alike(own.results)
    own.tell(0.9, "judges against people")
    _trust(items, own)
    own.results += _moved(found, own)
    return found


def _alike(results: Sequence[Result]) -> Iterator[str]:
    """A warning where the best of many draws is the best of few."""
    for one in results:
        if one.name == "distinct_draws" and one.value is not None and one.value < _FEW:
            yield f"only {one.value:.0%} of the draws to a prompt differ: the best of n is that of fewer"


def _likely(items: Sequence[Item], own: _Own) -> list[Result]:
    """What likelihoods say of comparisons, demonstrations and judgements, where the policy has any."""
    kinds = [
        ("concordance", Preference, order_results, True),
        ("nats_per_token", Shown, surprise_results, False),
        ("separation", Label, separation_results, True),
    ]
    present = [one for one in kinds if any(isinstance(item.utilities, one[1]) for item in items)]
    if not own.weighs:
        return [missing(name, Challenge.EFFICACY, NO_SCORE, higher=higher) for name, _, _, higher in present]
    given = [item for item in items if isinstance(item.utilities, Preference | Shown | Label)]
    weighed = likelihoods(given, own.policy, base=own.before, seed=own.settings.seed)
    found = [result for _, _, measure, _ in present for result in measure(weighed)]
    if own.before is not None and any(kind is Preference for _, kind, _, _ in present):
        found += length_results(weighed)
    return found


def _trust(items: Sequence[Item], own: _Own) -> None:
    """Hold whoever scores or judges against people's comparisons in the data."""
    people = [item for item in items if isinstance(item.utilities, Preference)]
    clusters = same_prompt(people)
    # A judge of pairs shows what it is: one that asks in both orders is held against people as it is.
    judges = {
        one.id: one.who if isinstance(one, Compared) else one
        for one in (own.feedback, own.judge)
        if one is not None
    }
    for one in judges.values():
        trust = judge_trust(one, people, clusters=clusters, seed=own.settings.seed) if people else []
        own.results += placed(trust, Challenge.OVERSIGHT)
        own.judges.append(judge_record(one.id, trust))
    if not judges or not people:
        why = "no judge was held against people; give a judge or a feedback, and comparisons as data"
        own.results.append(missing("judge_accuracy", Challenge.OVERSIGHT, why, unit="pairs", higher=True))


def _moved(found: Replied, own: _Own) -> list[Result]:
    """How far the policy has moved from its base, in nats."""
    if own.before is None or not own.weighs:
        why = "KL needs a base, and log-probabilities of both; give a base, and local weights of both"
        return [missing("kl_per_reply", Challenge.TAX, why, unit="replies")]
    settings, prompts = own.settings, [item.prompt for item in found.items]
    measured = kl_to_start(
        prompts, own.policy, own.before, max_tokens=settings.max_tokens, seed=settings.seed
    )
    return placed(measured, Challenge.TAX)


# --- the card ---------------------------------------------------------------------------------------------


def _spent(taxed: int, found: Replied | None, own: _Own) -> list[Result]:
    """What a reply costs, and what is not known of the making; a tax that nothing could be told of."""
    results: list[Result] = []
    if found is not None:
        tokens = [float(one.usage.new_tokens) if isinstance(one, Reply) else None for one in found.ours]
        about = described(
            "tokens of the likeliest reply to a prompt of the data",
            unit="replies",
            challenge=Challenge.EFFICIENCY,
        )
        results.append(mean_result("reply_tokens", tokens, seed=own.settings.seed, **about))
    if (count := weights(own.policy.policy)) is not None:
        how = "weights of the policy"
        results.append(counted("weights", count, how, Challenge.EFFICIENCY, unit="models"))
    results += making(own.settings.ledger)
    if not taxed:
        why = "no ability was tested before and after; give a base, and sets such as MMLU, GSM8K or IFEval"
        results.append(missing("tax", Challenge.TAX, why, unit="items", higher=False))
    return results


_ELSE = {
    Challenge.EFFICACY: "nothing says what people want of replies; give data with a judge, or test sets",
    Challenge.GENERALISATION: "nothing is known of domains; give data with a column that tells them",
    Challenge.INTERPRETABILITY: "give comparisons as data with a base, or a feedback, to see what is valued",
    Challenge.OVERSIGHT: "give a judge or feedback, and comparisons by people, to see who can be relied on",
    Challenge.GAMING: "give data, a feedback as proxy, and a judge, to see where they part",
}


def _unmeasured(own: _Own) -> list[Result]:
    """For each challenge of which the card says nothing, what would let it."""
    spoken = {one.challenge for one in own.results}
    return [missing(each.value, each, why) for each, why in _ELSE.items() if each not in spoken]


def _missed(own: _Own) -> Iterator[str]:
    """Warnings of what was asked for and did not come, each with the first reason."""
    asked = [(own.policy, "replies"), (own.base, "replies of the base")]
    asked += [(own.feedback, "scores of the feedback"), (own.judge, "verdicts of the judge")]
    for who, what in asked:
        if who is not None:
            yield from who.tally.warning(what)


def _card(found: Replied | None, own: _Own) -> Scorecard:
    lengths: dict[str, float] = {}
    for name, replies in (("mean", found and found.ours), ("base_mean", found and found.theirs)):
        came = [len(one.text) for one in replies or () if isinstance(one, Reply)]
        if came:
            lengths[name] = sum(came) / len(came)
    usage = own.policy.usage + (own.base.usage if own.base else Usage())
    own.warnings += _missed(own)
    own.tell(1.0, "done")
    results = sure(own.results)
    return Scorecard(
        model=own.policy.id,
        results=results,
        base=own.base.id if own.base else None,
        seed=own.settings.seed,
        data=own.data,
        ledger=Ledger(usage=usage, models_loaded=1 + (own.base is not None)),
        judges=tuple(own.judges),
        leaves_covered=covered(results),
        kl_to_base=next((one for one in results if one.name == "kl_per_reply"), None),
        length=lengths,
        warnings=tuple(own.warnings),
    )
