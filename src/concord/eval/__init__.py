"""Measuring: how rankings agree, and how a measure grows with the data."""

from concord.eval.agreement import agreement, kendall_tau, ranking_tau
from concord.eval.efficiency import Plateau, exponential_plateau, fit_plateau, n_to_reach

__all__ = [
    "Plateau",
    "agreement",
    "exponential_plateau",
    "fit_plateau",
    "kendall_tau",
    "n_to_reach",
    "ranking_tau",
]
