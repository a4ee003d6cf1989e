"""Findings: what is worth knowing of data or of a run, how grave it is, and what to do about it.

    finding("empty", RULES["empty"], "Replies are empty", said=["one in four is"], do="look at the data")

Each finding stands on a `Rule`: a threshold with its reason, so that the same numbers always say the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from concord.types import Origin

__all__ = ["Finding", "Rule", "Severity", "finding", "gravest_first"]

Severity: TypeAlias = Literal["stop", "warn", "note"]
"""The gravest first."""


@dataclass(frozen=True, slots=True)
class Rule:
    """From where on a finding is made, how grave it is, and why from there."""

    severity: Severity
    threshold: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to know before training or after it: what, in one sentence with its number, and what to do.

    `stop` is for what spoils a result or cannot be trained on, `warn` for what probably hurts, `note` for
    what is good to know. `rows` are a few to look at.
    """

    name: str
    severity: Severity
    title: str
    detail: str = ""
    do: str = ""
    rows: tuple[Origin, ...] = ()


def finding(
    name: str,
    rule: Rule,
    title: str,
    *,
    said: Sequence[str] = (),
    do: str = "",
    rows: tuple[Origin, ...] = (),
) -> Finding:
    """A finding by a rule; what is said of it, and what is to be done, become sentences."""
    detail, do = " ".join(_sentence(one) for one in said if one), _sentence(do)
    return Finding(
        name=name,
        severity=rule.severity,
        title=title,
        detail=detail,
        do=do,
        rows=rows,
    )


def gravest_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by how grave they are; equally grave ones stay in their order."""
    return tuple(sorted(findings, key=lambda one: get_args(Severity).index(one.severity)))


def _sentence(text: str) -> str:
    return text and f"{text[:1].upper()}{text[1:]}."
