"""What all measurements reckon with: numbers and labels in, `Result`s with intervals out.

    mean_result("gold_utility", values, clusters=(templates,), unit="prompts", how="...")

A value that is None could not be measured: it is left out and counted as a failure. Labels say which values
are drawn together, by a factor each. Nothing here asks a policy or a feedback.
"""

from concord.eval.reckoning.bounds import Level, difference, level, ratio, together
from concord.eval.reckoning.comparing import DETECTABLE, Standings, found_from, simultaneous
from concord.eval.reckoning.draws import best_of_n_kl, best_of_n_kl_bound, best_of_n_mean, success_in
from concord.eval.reckoning.resampling import FEWEST, Design, Floats, between, measured
from concord.eval.reckoning.rows import (
    check_alike,
    check_numbers,
    complete_result,
    described,
    gaps,
    left_out_result,
    outcome_result,
    rate_result,
    share_among,
)
from concord.eval.reckoning.statistics import (
    LEVEL,
    SHARE,
    About,
    Labels,
    Scale,
    difference_result,
    mean_result,
    ratio_result,
    scale_of,
    share_result,
    wilson,
    withheld,
    without_interval,
)

__all__ = [
    "DETECTABLE",
    "FEWEST",
    "LEVEL",
    "SHARE",
    "About",
    "Design",
    "Floats",
    "Labels",
    "Level",
    "Scale",
    "Standings",
    "best_of_n_kl",
    "best_of_n_kl_bound",
    "best_of_n_mean",
    "between",
    "check_alike",
    "check_numbers",
    "complete_result",
    "described",
    "difference",
    "difference_result",
    "found_from",
    "gaps",
    "left_out_result",
    "level",
    "mean_result",
    "measured",
    "outcome_result",
    "rate_result",
    "ratio",
    "ratio_result",
    "scale_of",
    "share_among",
    "share_result",
    "simultaneous",
    "success_in",
    "together",
    "wilson",
    "withheld",
    "without_interval",
]
