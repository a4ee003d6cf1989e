"""Questions with options: asked by letters, in several orders, so that a place in the list is no advantage.

    chosen = choose([Choice("Which?", ("this", "that"))], policy)
    chosen[0].shares        what each option gets; chosen[0].pick is the place of the one that gets most

A policy that can score given replies is asked how likely each letter is; any other says one, which is read
strictly. A refusal is told apart from what cannot be read, and neither is an option.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum

from concord.errors import InputError, explain
from concord.eval.replies.refusing import PHRASES, RefusalPhrases
from concord.types import Ask, Capability, Policy, Prompt, Reply, Sampling, Unanswered, as_prompt, as_turns

__all__ = ["TEMPLATE", "Choice", "Chosen", "choose", "read_option"]

TEMPLATE = "{question}\n{options}\nReply with the letter of one option only."
"""How a question with its options is put."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """A question and its options, two to 26 different ones."""

    question: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(set(self.options)) == len(self.options) <= len(_LETTERS):
            wrong, accepted = "a question has no options to choose from", "2 to 26 different options"
            do = "leave doubles out, or ask in several questions"
            raise InputError(explain(wrong, found=self.options, accepted=accepted, do=do))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What came of a question: the share that each option gets over the orders that could be read.

    `shares` is None where none could. `refused` and `unread` count the other orders.
    """

    shares: tuple[float, ...] | None
    refused: int = 0
    unread: int = 0

    @property
    def pick(self) -> int | None:
        """The place of the option that gets most; None where no option does, or two do."""
        if self.shares is None:
            return None
        best = [place for place, share in enumerate(self.shares) if share == max(self.shares)]
        return best[0] if len(best) == 1 else None


def read_option(reply: str, options: Sequence[str]) -> int | None:
    """The place of the option that a reply names: by its letter, alone or first, or by its whole text.

    "B", "(b)", "B.", "B: because ..." and "Answer: B" name the second. A word that begins with the letter
    does not, nor does "a" or "I" at the head of a sentence.
    """
    said = reply.strip()
    for place, option in enumerate(options):
        if said.rstrip(".").lower() == option.strip().rstrip(".").lower():
            return place
    last = _LETTERS[len(options) - 1]
    alone = rf"\W*(?:(?:the )?(?:answer|option|choice|letter)(?: is)?\W*)?([A-{last}])"
    found = re.match(rf"{alone}(?:\W*$|[.):,]\s|\)|\*\*)", said, re.IGNORECASE)
    return _LETTERS.index(found[1].upper()) if found else None


def choose(
    choices: Sequence[Choice],
    policy: Policy,
    *,
    orders: int | None = None,
    template: str = TEMPLATE,
    refusals: RefusalPhrases = PHRASES,
    sampling: Sampling = _GREEDY,
) -> list[Chosen]:
    """Ask each question in some orders of its options, each the one before turned by one place.

    orders: how many; as many as there are options if left out, so that each stands in each place once
    """
    if "{question}" not in template or "{options}" not in template:
        accepted, do = "{question} and {options}, each once", "name both in the template"
        raise InputError(explain("a template asks nothing", found=template, accepted=accepted, do=do))
    turned = [
        (place, _turned(len(one.options), by))
        for place, one in enumerate(choices)
        for by in range(min(len(one.options), orders or len(one.options)))
    ]
    scores = Capability.SCORE in policy.capabilities
    asks: list[Ask] = []
    for place, order in turned:
        prompt = _asked(choices[place], order, template)
        letters = tuple(as_turns(_LETTERS[at]) for at in range(len(order)))
        asks.append(Ask(prompt, given=letters) if scores else Ask(prompt, sampling=sampling))
    votes: list[list[Sequence[float] | str]] = [[] for _ in choices]
    for (place, order), answer in zip(turned, policy.answer(asks), strict=True):
        options = [choices[place].options[at] for at in order]
        vote = _likely(answer) if scores else _named(answer[0], options, refusals)
        if not isinstance(vote, str):
            vote = [vote[order.index(at)] for at in range(len(order))]
        votes[place].append(vote)
    return [_counted(one) for one in votes]


def _turned(count: int, by: int) -> list[int]:
    """Which option stands in each place."""
    return [(place + by) % count for place in range(count)]


def _asked(choice: Choice, order: Sequence[int], template: str) -> Prompt:
    lines = [f"{_LETTERS[place]}. {choice.options[at]}" for place, at in enumerate(order)]
    parts = {"question": choice.question, "options": "\n".join(lines)}
    return as_prompt(re.sub(r"\{(question|options)\}", lambda found: parts[found[1]], template))


def _likely(answer: Sequence[Reply | Unanswered]) -> Sequence[float] | str:
    """The probability of each letter, of all of them."""
    sums = [fsum(one.logps) for one in answer if isinstance(one, Reply) and one.logps is not None]
    if len(sums) < len(answer):
        return "unread"
    weights = [exp(one - max(sums)) for one in sums]
    return [weight / sum(weights) for weight in weights]


def _named(
    reply: Reply | Unanswered, options: Sequence[str], refusals: RefusalPhrases
) -> Sequence[float] | str:
    """All for the option that a reply names."""
    if isinstance(reply, Unanswered):
        return "unread"
    if (place := read_option(reply.text, options)) is not None:
        return [float(at == place) for at in range(len(options))]
    return "refused" if refusals.of(reply.text) in ("full", "partial") else "unread"


def _counted(votes: Sequence[Sequence[float] | str]) -> Chosen:
    read = [vote for vote in votes if not isinstance(vote, str)]
    shares = tuple(fsum(column) / len(read) for column in zip(*read, strict=True)) if read else None
    return Chosen(shares=shares, refused=votes.count("refused"), unread=votes.count("unread"))
