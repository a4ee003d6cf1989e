"""RC3, efficiency: what the policy costs to ask, and what its making cost, where that is known.

    efficiency(drawn, ledger)    weights, tokens and floating-point operations of a reply; labels of the run
    asked(drawn)                 what this card itself has asked, as a ledger

Seconds are left out: they are the machine's, and two cards of one policy would differ.
"""

from functools import reduce
from operator import add

from concord.eval.card.common import counted, making, missing, weights
from concord.eval.card.harbour.drawing import Drawn
from concord.eval.reckoning import Scale, described, mean_result
from concord.types import Challenge, Ledger, Reply, Result, Usage

__all__ = ["asked", "efficiency"]


def asked(drawn: Drawn, *, models: int) -> Ledger:
    """What this card has asked of the policy, in calls and tokens."""
    usage = reduce(add, (reply.usage for reply in drawn.replies), Usage())
    return Ledger(usage=usage, models_loaded=models)


def efficiency(drawn: Drawn, ledger: Ledger | None) -> list[Result]:
    """All of the section."""
    return [*_asking(drawn), *making(ledger)]


def _asking(drawn: Drawn) -> list[Result]:
    """What a reply costs whoever asks for one."""
    test = drawn.at("test")
    count = weights(drawn.policy)
    replies = [drawn.said[number].reply for number in test]
    lengths = [
        len(one.tokens) if isinstance(one, Reply) and one.tokens is not None else None for one in replies
    ]
    read = [one.usage.prompt_tokens for one in replies]
    about = described(
        "tokens of the likeliest reply to a test request", unit="requests", challenge=Challenge.EFFICIENCY
    )
    found: list[Result] = []
    if count is None:
        why = "an endpoint does not say how large its model is; measure a policy with local weights"
        found.append(missing("weights", Challenge.EFFICIENCY, why, unit="models"))
    else:
        how = "weights of the model, all read for each new token"
        found.append(counted("weights", count, how, Challenge.EFFICIENCY, unit="models"))
    if any(length is not None for length in lengths):
        found.append(
            mean_result(
                "tokens_a_reply",
                lengths,
                clusters=drawn.templates(test),
                seed=drawn.seed,
                scale=Scale(0.0, drawn.settings.max_tokens),
                **about,
            )
        )
    else:
        why = "the policy does not say of which tokens its replies are made; reply_words has their words"
        found.append(missing("tokens_a_reply", Challenge.EFFICIENCY, why, unit="requests"))
    flops = [
        None if count is None or length is None else 2.0 * count * (length + prompt)
        for length, prompt in zip(lengths, read, strict=True)
    ]
    if count is None or all(one is None for one in flops):
        why = "this needs the weights and the tokens of the policy; measure one with local weights"
        found.append(missing("flops_a_reply", Challenge.EFFICIENCY, why, unit="requests", higher=False))
    else:
        about = described(
            "floating-point operations of a reply: 2 for each weight and each token read or written",
            unit="requests",
            challenge=Challenge.EFFICIENCY,
            higher=False,
        )
        found.append(
            mean_result("flops_a_reply", flops, clusters=drawn.templates(test), seed=drawn.seed, **about)
        )
    return found
