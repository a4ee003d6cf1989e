"""What the sections of a card share: how results say where they belong, and what could not be measured.

A reason speaks of things (a base, a judge, data), and not of arguments or flags, since who reads it may have
scored in Python or by `concord score`. In Python the parameters are called so; the command says itself which
of its flags it was not given.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from concord.eval.reckoning import described, withheld
from concord.types import Challenge, Ledger, Policy, Result

__all__ = [
    "NO_BASE",
    "NO_FEEDBACK",
    "NO_JUDGE",
    "NO_SCORE",
    "counted",
    "making",
    "missing",
    "placed",
    "sure",
    "weights",
]

NO_BASE = "no base was given to compare with; name the model that this one was made from"
"""Why nothing is said of what changed."""
NO_FEEDBACK = "nothing scores replies; give a feedback: a reward model, say, or a verifier"
"""Why nothing is said of rewards."""
NO_JUDGE = "nobody judges replies; give a judge, or a feedback in its place"
"""Why nothing is said of who prefers which reply."""
NO_SCORE = "the policy does not say how likely given replies are; take local weights, or an echoing endpoint"
"""Why nothing is said of likelihoods."""

_UNLOGGED = "only whoever made the model knows; give its run, or the ledger of that"
_COUNTED = "counted, so it has no interval"


def missing(
    name: str,
    challenge: Challenge,
    why: str,
    *,
    unit: str = "",
    how: str = "",
    higher: bool | None = None,
    at: Mapping[str, str | float] | None = None,
) -> Result:
    """A number that could not be measured, why, and what would give it."""
    return Result(
        name=name,
        value=None,
        n=0,
        unit=unit,
        how=how,
        challenge=challenge,
        higher_is_better=higher,
        at=at or {},
        why_none=why,
    )


def counted(
    name: str, value: float, how: str, challenge: Challenge, *, unit: str, higher: bool | None = None
) -> Result:
    """A number that was counted and not sampled, and says so in place of an interval."""
    about = described(f"{how}; {_COUNTED}", unit=unit, challenge=challenge, higher=higher)
    return Result(name=name, value=float(value), n=1, **about)


def sure(results: Iterable[Result]) -> tuple[Result, ...]:
    """Results as they stand on a card: what has no interval and was not counted is withheld, and why."""
    return tuple(one if one.how.endswith(_COUNTED) else withheld(one) for one in results)


def placed(
    results: Sequence[Result],
    challenge: Challenge,
    *,
    only: Sequence[str] = (),
    at: Mapping[str, str | float] | None = None,
) -> list[Result]:
    """Results under another challenge and with more coordinates; of some names only, where they are given."""
    return [
        replace(result, challenge=challenge, at={**result.at, **(at or {})})
        for result in results
        if not only or result.name in only
    ]


def weights(policy: Policy) -> int | None:
    """How many weights a local policy has; None of one that only answers."""
    model: Any = getattr(policy, "model", None)
    return None if model is None else sum(int(one.numel()) for one in model.parameters())


def making(ledger: Ledger | None) -> list[Result]:
    """What the run that made a model took, and those that it began from, as far as the ledger knows."""
    figures = (
        ("labels", "votes, scores and examples that the run, and those that it began from, learned from"),
        ("flops", "floating-point operations of all these runs, those of references and teachers among them"),
        ("models_loaded", "models that were in memory at once"),
    )
    found: list[Result] = []
    for name, how in figures:
        value = None if ledger is None else getattr(ledger, name)
        if value is None:
            found.append(missing(f"run_{name}", Challenge.EFFICIENCY, _UNLOGGED, unit="runs", higher=False))
        else:
            found.append(counted(f"run_{name}", value, how, Challenge.EFFICIENCY, unit="runs", higher=False))
    why = "this needs runs on growing shares of the data, as a study makes them; one model shows no curve"
    return [
        *found,
        missing("data_to_target", Challenge.EFFICIENCY, why, unit="labels", higher=False),
    ]
