"""What greedy replies to a few prompts say of a training run, beside those from before it.

    read_replies(first, last)    findings: empty, endless and repetitive replies, longer ones, unchanged ones

A few prompts prove little, but what goes wrong here goes wrong everywhere: a model that no longer stops, or
says one thing again and again, shows it in each of them. Thresholds stand in `RULES`, with their reasons.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TypeAlias

from concord.eval.course.curves import mean_of
from concord.eval.replies import repeats
from concord.findings import Finding, Rule, finding

__all__ = ["RULES", "GreedyReplies", "GreedyReply", "read_replies"]

RULES: Mapping[str, Rule] = {
    "empty": Rule("warn", 0.25, "a model that says nothing to one prompt in four has learned to end at once"),
    "endless": Rule("warn", 0.75, "nearly every reply would go on, so the end of a reply was not learned"),
    "repetitive": Rule("warn", 0.25, "going in circles is what a model does that was pushed too far"),
    "longer": Rule("note", 1.5, "preferences for longer replies are learned before anything else is"),
    "unchanged": Rule("note", 0, "the training has not reached what the model says"),
}
"""When something is worth saying of the replies, how grave it is, and why from there."""

_ROOM = 256  # tokens within which most replies end; what is cut off sooner may only be long
_FEWEST = 4  # prompts that a mean of lengths needs


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyReply:
    """A prompt, the most likely reply to it, why that ended, and its tokens.

    `finish` is a `Finish` by name, or `failed` where no reply came.
    """

    prompt: str
    reply: str
    finish: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyReplies:
    """The replies of a model after so many steps: a file of a run's `samples/`."""

    step: int
    samples: tuple[GreedyReply, ...]
    held_out: bool = True
    """Whether nothing is learned from rows of these prompts."""


_Pair: TypeAlias = tuple[GreedyReply, GreedyReply]


def read_replies(first: GreedyReplies, last: GreedyReplies) -> tuple[Finding, ...]:
    """What the replies of the trained model say; `first` are those of the model before any step."""
    if not last.samples or not last.step:
        return ()
    before = {one.prompt: one for one in first.samples}
    pairs = [(before[one.prompt], one) for one in last.samples if one.prompt in before]
    if first.step == last.step:
        pairs = []
    return (*_shares(pairs, last), *_longer(pairs), *_unchanged(pairs, last.step))


def _finding(name: str, title: str, detail: str, do: str) -> Finding:
    return finding(name, RULES[name], title, said=[detail, RULES[name].reason], do=do)


def _is_empty(one: GreedyReply) -> bool:
    return one.finish != "failed" and not one.reply.strip()


def _is_endless(one: GreedyReply) -> bool:
    return one.finish == "length"


def _is_repetitive(one: GreedyReply) -> bool:
    return repeats(one.reply)


# Each with what is said of the replies, and what to do.
_FAULTS: Mapping[str, tuple[Callable[[GreedyReply], bool], str, str]] = {
    "empty": (
        _is_empty,
        "are empty",
        "look for empty replies in the data with `concord audit`, then lower `learning_rate`",
    ),
    "endless": (
        _is_endless,
        "never end",
        "look with `concord audit --model` whether the token that ends a reply is learned, and name it with"
        " `stop_token` if not",
    ),
    "repetitive": (
        _is_repetitive,
        "repeat themselves",
        "lower `learning_rate` or train for fewer steps; for pairs, methods that imitate the chosen reply too"
        " (`dpo_nll`, `cpo`, `orpo`) keep the model in order",
    ),
}


def _shares(pairs: Sequence[_Pair], last: GreedyReplies) -> Iterator[Finding]:
    for name, (is_so, words, do) in _FAULTS.items():
        many, count = sum(map(is_so, last.samples)), len(last.samples)
        earlier = sum(is_so(before) for before, _ in pairs)
        if many < RULES[name].threshold * count or (name == "endless" and not _ended(pairs, last)):
            continue
        detail = f"this is at step {last.step:,}"
        if pairs:
            detail += f"; before training it was {earlier} of {len(pairs)}"
        yield _finding(name, f"{many} of {count} greedy replies {words}", detail, do)


def _ended(pairs: Sequence[_Pair], last: GreedyReplies) -> bool:
    """Whether replies would have ended by now: there was room, or they did so before training."""
    room = max(one.tokens for one in last.samples) >= _ROOM
    return room or sum(not _is_endless(before) for before, _ in pairs) > len(pairs) / 2


def _longer(pairs: Sequence[_Pair]) -> Iterator[Finding]:
    growth = mean_of([log(max(now.tokens, 1) / max(before.tokens, 1)) for before, now in pairs])
    if len(pairs) < _FEWEST or growth.value is None or growth.interval is None or growth.interval.low <= 0:
        return
    times = exp(growth.value)
    if times >= RULES["longer"].threshold:
        ends = f"[{exp(growth.interval.low):.2g}, {exp(growth.interval.high):.2g}]"
        title = f"Greedy replies have become {times:.2g} times as long"
        detail = f"the interval over {len(pairs)} prompts is {ends}"
        do = (
            "look with `concord audit` whether longer replies win in the data; `simpo`, `ln_dpo` and `r_dpo`"
            " take length out of the comparison"
        )
        yield _finding("longer", title, detail, do)


def _unchanged(pairs: Sequence[_Pair], step: int) -> Iterator[Finding]:
    if pairs and all(before.reply == now.reply for before, now in pairs):
        title = f"After {step:,} steps every greedy reply is what it was before"
        do = "raise `learning_rate` or train longer, unless the curves show that something was learned"
        yield _finding("unchanged", title, f"{len(pairs)} replies were held against each other", do)
