"""Measuring: what alignment brings, and what it costs.

    reckoning     numbers in, results with intervals out
    replies       what models say: asked for, scored, looked at
    order         is it aligned? Misalignment, win rates, rewards
    conduct       how it behaves: honesty, refusals, values, bias
    costs         the tax, the way it has gone, gaming, and where the gain ends
    course        findings in the curves of a training run
    trust         how far a judge or a reward model is to be believed
    harness       any policy as a model of lm-evaluation-harness
    card          all of it in one scorecard

Protocols are functions of their modules. What is here reckons with plain numbers.
"""

from concord.eval.costs.efficiency import Plateau, exponential_plateau, fit_plateau, n_to_reach
from concord.eval.order.misalignment import (
    concordance,
    concordance_by,
    longer_side,
    margin_bucket,
    misalignment,
    order_violation,
    scaled_misalignment,
    strict_misalignment,
)
from concord.eval.reckoning.agreement import agreement, kendall_tau, ranking_tau

__all__ = [
    "Plateau",
    "agreement",
    "concordance",
    "concordance_by",
    "exponential_plateau",
    "fit_plateau",
    "kendall_tau",
    "longer_side",
    "margin_bucket",
    "misalignment",
    "n_to_reach",
    "order_violation",
    "ranking_tau",
    "scaled_misalignment",
    "strict_misalignment",
]
