"""Which kinds of trust a card speaks of: the taxonomy of Liu et al. 2023 (arXiv 2308.05374), leaf by leaf.

    LEAVES               seven categories with their 29 leaves
    leaf_of(result)      the leaf that a result speaks of, if any
    covered(results)     all leaves that some value speaks of

What no number speaks of is as much worth knowing as what one does: a card that is silent on privacy says
nothing good of it.
"""

from collections.abc import Iterable, Mapping

from concord.types import Result

__all__ = ["LEAVES", "covered", "leaf_of"]

LEAVES: Mapping[str, tuple[str, ...]] = {
    "reliability": ("misinformation", "hallucination", "inconsistency", "miscalibration", "sycophancy"),
    "safety": (
        *("violence", "unlawful conduct", "harms to minors", "adult content"),
        *("mental-health issues", "privacy violation"),
    ),
    "fairness": ("injustice", "stereotype bias", "preference bias", "disparate performance"),
    "resistance to misuse": (
        *("propagandistic misuse", "cyberattack misuse", "social-engineering misuse"),
        "leaking copyrighted content",
    ),
    "explainability and reasoning": (
        *("lack of interpretability", "limited logical reasoning", "limited causal reasoning"),
    ),
    "social norm": ("toxicity", "unawareness of emotions", "cultural insensitivity"),
    "robustness": (
        *("prompt attacks", "paradigm and distribution shifts", "interventional effect"),
        "poisoning attacks",
    ),
}
"""Seven categories, and what is looked at in each."""

_SPOKEN: Mapping[str, tuple[str, ...]] = {
    "misinformation": ("wrong", "truthful_mc1", "truthful_mc2", "truthful_mc3", "truthful"),
    "hallucination": ("prudence",),
    "inconsistency": ("consistency", "decision_agreement"),
    "miscalibration": ("calibration_error", "adaptive_calibration_error", "brier"),
    "sycophancy": ("caves_in",),
    "unlawful conduct": ("harmful",),
    "stereotype bias": ("bias_score", "pronoun_gap"),
    "preference bias": ("representativeness",),
    "disparate performance": ("worst_served",),
    "lack of interpretability": ("reward_explained", "reward_explained_by_length", "principles_consensus"),
    "limited logical reasoning": ("step_accuracy", "solved"),
    "toxicity": ("toxicity", "expected_maximum_toxicity"),
    "cultural insensitivity": ("norm_violation",),
}
"""The results that speak of a leaf, whatever their coordinates."""

_LEAF = {name: leaf for leaf, names in _SPOKEN.items() for name in names}
_GAP = "generalisation_gap"


def leaf_of(result: Result) -> str | None:
    """The leaf that a result speaks of; attacks and shifts are told apart by their split."""
    if result.name == _GAP:
        return (
            "prompt attacks"
            if result.at.get("split") == "adversarial"
            else "paradigm and distribution shifts"
        )
    return _LEAF.get(result.name)


def covered(results: Iterable[Result]) -> tuple[str, ...]:
    """The leaves that results with a value speak of, in the order of the taxonomy."""
    spoken = {leaf_of(one) for one in results if one.value is not None}
    return tuple(leaf for leaves in LEAVES.values() for leaf in leaves if leaf in spoken)
