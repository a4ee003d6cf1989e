"""Measuring: how far an agent is from people, how rankings agree, how a measure grows with the data."""

from concord.eval.agreement import agreement, kendall_tau, ranking_tau
from concord.eval.efficiency import Plateau, exponential_plateau, fit_plateau, n_to_reach
from concord.eval.misalignment import (
    concordance,
    concordance_by,
    longer_side,
    margin_bucket,
    misalignment,
    order_violation,
    scaled_misalignment,
    strict_misalignment,
)

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
