"""Judges: feedback that asks a policy, a language model as a rule, what it makes of replies.

    Judge(policy)                            a score for each reply
    BothOrders(OrderedJudge(policy))         which of two replies is better, asked in both orders
    OrderedJudge(policy, "pair_token")       P(first is better), from the probabilities of one token

A verdict that cannot be read is `Unscored`, with the text. What is asked is a template (`templating`); a
rubric, or principles of a constitution, may take the place of its criteria. `concord.eval.trust` says how far
a judge agrees with people; ask it before you use one.
"""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Literal

from concord import wire
from concord.errors import InputError, explain, nearest
from concord.feedback.constitution import Drawn, Principle
from concord.feedback.pairs import Pair, PairJudge, Verdict
from concord.feedback.templating import Template, read_template
from concord.store import key
from concord.types import (
    JSON,
    Ask,
    Policy,
    Prompt,
    Rate,
    Reply,
    Sampling,
    Score,
    Turns,
    Unanswered,
    Unscored,
    Usage,
)

__all__ = ["BothOrders", "Judge", "OrderedJudge"]

_TOKENS = 1024  # of a verdict with its reasons; one that has not come by then is not coming
_ALTERNATIVES = 20  # tokens that are looked through for labels; endpoints report no more


class _Asking(ABC):
    """What judges of one reply and of two have in common: a policy, and how it is asked."""

    kind: Literal["score", "pair"]

    def __init__(
        self,
        policy: Policy,
        template: str | Template = "",
        *,
        rubric: str = "",
        principles: Drawn | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.policy = policy
        self.template = template if isinstance(template, Template) else read_template(template or self.kind)
        if self.template.kind != self.kind:
            wrong, accepted = "the template is for another kind of judge", f"a template of kind {self.kind}"
            raise InputError(
                explain(wrong, found=self.template.kind, accepted=accepted, do="name another one")
            )
        if rubric and principles:
            wrong, found = "a judge is given both a rubric and principles", rubric
            do = "make the rubric a principle of the constitution"
            raise InputError(explain(wrong, found=found, accepted="one of the two", do=do))
        if self.template.token:
            token = Sampling(temperature=0.0, max_tokens=1, top_logps=_ALTERNATIVES)
            if sampling is not None and not sampling.top_logps:
                wrong, found = (
                    "the template reads probabilities of tokens, and the sampling has none",
                    sampling,
                )
                raise InputError(
                    explain(wrong, found=found, accepted="top_logps of 1 or more", do="leave it out")
                )
            self.sampling = sampling or token
        else:
            self.sampling = sampling or Sampling(temperature=0.0, max_tokens=_TOKENS)
        self.rubric, self.principles = rubric, principles

    @property
    def id(self) -> str:
        """The hash of the policy's id, the template, the criteria and the sampling."""
        drawn = self.principles.id if self.principles else ""
        asked = [self.policy.id, self.template.id, self.rubric, drawn, wire.to_json(self.sampling)]
        return f"judge-{key('judge', asked)[:32]}"

    def _drawn(self, *judged: str, meta: Mapping[str, JSON]) -> tuple[Principle, ...]:
        return self.principles.of(*judged, meta=meta) if self.principles else ()

    def _ask(self, prompt: Prompt, *replies: Turns, drawn: tuple[Principle, ...]) -> Ask:
        """What the policy is asked of one reply, or two."""
        lines = [f"{at + 1}. {one.text}" for at, one in enumerate(drawn)]
        if len(lines) > 1:
            lines = ["Where these conflict, what comes first prevails.", *lines]
        criteria = "\n".join(["Judge by this alone:", *lines]) if drawn else self.rubric
        return Ask(self.template.prompt(prompt, *replies, criteria=criteria), sampling=self.sampling)

    def _verdicts(self, asks: Sequence[Ask]) -> list[tuple[float, str, Usage] | Unscored]:
        """The verdict, the text and the cost of each ask, or why there is no verdict."""
        found: list[tuple[float, str, Usage] | Unscored] = []
        for (answer,) in self.policy.answer(asks) if asks else ():
            verdict = self._read(answer)
            if isinstance(verdict, str):
                found.append(Unscored(verdict, usage=answer.usage))
            else:
                text = answer.text if isinstance(answer, Reply) and not self.template.token else ""
                found.append((verdict, text, answer.usage))
        return found

    def _read(self, answer: Reply | Unanswered) -> float | str:
        if isinstance(answer, Unanswered):
            return f"the judge did not answer: {answer.reason}"
        return self.template.verdict(answer)


class Judge(_Asking):
    """A feedback that asks a policy for the score of each reply, on the scale of its template.

    rubric: what to judge by, in place of the criteria of the template
    principles: or so many principles of a constitution, drawn for each prompt and the same for all its
        replies; `Score.parts` then has the score under the id of each
    """

    kind = "score"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Ask for the score of every reply, in one call."""
        drawn = [self._drawn(repr(rate.prompt), meta=rate.meta) for rate in rates]
        each = [(rate, turns, by) for rate, by in zip(rates, drawn, strict=True) for turns in rate.replies]
        verdicts = self._verdicts([self._ask(rate.prompt, turns, drawn=by) for rate, turns, by in each])
        scores = iter([self._scored(one, by) for one, (_, _, by) in zip(verdicts, each, strict=True)])
        return [tuple(next(scores) for _ in rate.replies) for rate in rates]

    def _scored(
        self, verdict: tuple[float, str, Usage] | Unscored, by: tuple[Principle, ...]
    ) -> Score | Unscored:
        if isinstance(verdict, Unscored):
            return verdict
        value, why, usage = verdict
        return Score(value, parts={one.id: value for one in by}, why=why, usage=usage)


class OrderedJudge(_Asking):
    """A judge of pairs that asks a policy once, with the replies in the order in which they come.

    What stands first, or second, is often favoured, so take `BothOrders` of it, unless that is what is to be
    measured. Principles are drawn for each two replies, in whichever order they come.
    """

    kind = "pair"

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Verdict | Unscored]:
        """Ask which reply of each pair is better, in one call."""
        drawn = [
            self._drawn(repr(one.prompt), *sorted((repr(one.first), repr(one.second))), meta=one.meta)
            for one in pairs
        ]
        asks = [
            self._ask(one.prompt, one.first, one.second, drawn=by)
            for one, by in zip(pairs, drawn, strict=True)
        ]
        found: list[Verdict | Unscored] = []
        for verdict, by in zip(self._verdicts(asks), drawn, strict=True):
            if isinstance(verdict, Unscored):
                found.append(verdict)
            else:
                preference, why, usage = verdict
                found.append(Verdict(preference, why, usage, principles=tuple(one.id for one in by)))
        return found


_RULES = ("averaged", "consistent")


class BothOrders:
    """A judge of pairs that asks another one in both orders, so that a place has no say.

    consistent: the verdict that holds in both orders, with its mean preference; a tie where they differ
    averaged: the mean preference of the two, which takes soft verdicts as they are

    `Verdict.parts` has the preference for the first reply, shown first and shown second. Where one order has
    no verdict, there is none: half of the question was not answered.
    """

    def __init__(self, judge: PairJudge, *, rule: Literal["consistent", "averaged"] = "consistent") -> None:
        if rule not in _RULES:
            wrong, accepted = "verdicts in two orders are not put together so", nearest(str(rule), _RULES)
            raise InputError(explain(wrong, found=rule, accepted=accepted, do="take consistent"))
        self.judge, self.rule = judge, rule

    @property
    def id(self) -> str:
        """The rule, and the hash of it and of the id of the judge."""
        return f"{self.rule}-{key('both orders', self.rule, self.judge.id)[:32]}"

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Verdict | Unscored]:
        """Ask for all pairs as they stand and swapped, in one call."""
        said = self.judge.compare([*pairs, *(pair.swapped for pair in pairs)])
        given, swapped = said[: len(pairs)], said[len(pairs) :]
        return [self._together(*both) for both in zip(given, swapped, strict=True)]

    def _together(self, given: Verdict | Unscored, swapped: Verdict | Unscored) -> Verdict | Unscored:
        usage = given.usage + swapped.usage
        if isinstance(given, Unscored) or isinstance(swapped, Unscored):
            reasons = [one.reason for one in (given, swapped) if isinstance(one, Unscored)]
            return Unscored("; ".join(dict.fromkeys(reasons)), usage=usage)
        one, other = given.preference, swapped.swapped.preference
        agreed = (one > 0.5) == (other > 0.5) and (one < 0.5) == (other < 0.5)
        preference = (one + other) / 2 if agreed or self.rule == "averaged" else 0.5
        why = "\n\n".join(text for text in (given.why, swapped.why) if text)
        parts = {"shown first": one, "shown second": other}
        return Verdict(preference, why, usage, parts=parts, principles=given.principles)
