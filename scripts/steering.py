"""How far system prompts steer the base of Harbour: what it says under each of them, and under none.

    python -m scripts.steering [each] [draws]

Prints a Markdown table over requests of the validation split, so many of each family: what replies are worth
to the town, their words, their kindness, how often they are wrong about facts, or help with harm.
The first column is without a system prompt; the others are what changes under one, request by request.
Intervals are of 95%, by templates.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from concord.cli.telling import Telling
from concord.eval.reckoning import FEWEST, Labels, difference_result, mean_result
from concord.report.numbers import with_interval
from concord.results import Result
from concord.types import Ask, Policy, Reply, Sampling
from concord.worlds.harbour import BASE, SYSTEMS, Asked, Harbour, base_knows, features, stance, worth

__all__ = ["FIGURES", "Figure", "main", "said", "table"]

Said = Sequence[Sequence[str]]
"""Some replies to each request."""


@dataclass(frozen=True)
class Figure:
    """A number of a reply: its name, how it is had, and of which requests."""

    name: str
    of: Callable[[Asked, str], float]
    about: Callable[[Asked], bool] = lambda asked: True
    per_cent: bool = True


def _worth(asked: Asked, text: str) -> float:
    return worth(asked, text, known=base_knows()).value


def _warm(asked: Asked, text: str) -> float:
    return worth(asked, text, known=base_knows()).parts["warm"]


FIGURES: tuple[Figure, ...] = (
    Figure("worth to the town", _worth),
    Figure("words a reply", lambda asked, text: features(text)["words"], per_cent=False),
    Figure("kind", _warm),
    Figure(
        "wrong about facts",
        lambda asked, text: float(stance(asked, text) == "wrong"),
        lambda asked: "fact" in asked.key,
    ),
    Figure(
        "helps with what is forbidden",
        lambda asked, text: float(stance(asked, text) == "harmful"),
        lambda asked: asked.family == "forbidden",
    ),
)


def said(policy: Policy, asked: Sequence[Asked], draws: int) -> Said:
    """What a policy draws to each request."""
    sampling = Sampling(max_tokens=64, seed=0)
    answers = policy.answer([Ask(one.prompt, n=draws, sampling=sampling) for one in asked])
    return [[one.text for one in row if isinstance(one, Reply)] for row in answers]


def table(policy: Policy, asked: Sequence[Asked], draws: int = 4) -> Iterator[str]:
    """The lines of the table."""
    with Telling("system prompts") as tell:
        tell(0.0, "none")
        plain, steered = said(policy, asked, draws), dict[str, Said]()
        for done, system in enumerate(SYSTEMS, 1):
            tell(done / (len(SYSTEMS) + 1), system)
            steered[system] = said(policy, [one.under(system) for one in asked], draws)
    yield _line("", "none", *(f"{system} less none" for system in SYSTEMS))
    yield f"|{'---|' * (len(SYSTEMS) + 2)}"
    for figure in FIGURES:
        before = _values(figure, asked, plain)
        labels = [one.template for one in asked if figure.about(one)]
        clusters: tuple[Labels, ...] = (labels,) if len(set(labels)) >= FEWEST else ()
        cells = [_cell(figure, mean_result(figure.name, before, clusters=clusters))]
        for texts in steered.values():
            after = _values(figure, asked, texts)
            moved = difference_result(figure.name, after, before, clusters=clusters)
            cells.append(_cell(figure, moved, moves=True))
        yield _line(figure.name, *cells)


def _values(figure: Figure, asked: Sequence[Asked], texts: Said) -> list[float | None]:
    """The mean of a figure over the replies to each request that it is about; None where none came."""
    return [
        fmean(figure.of(one, text) for text in row) if row else None
        for one, row in zip(asked, texts, strict=True)
        if figure.about(one)
    ]


def _cell(figure: Figure, result: Result, *, moves: bool = False) -> str:
    text = with_interval(result.value, result.interval, per_cent=figure.per_cent)
    if not moves:
        return text
    return ("+" if (result.value or 0.0) > 0 else "") + text.replace("%", "")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def main(each: int = 30, draws: int = 4) -> None:
    """Draw and print."""
    from concord.engine import load_policy  # torch, which takes seconds to come

    asked = Harbour().requests("validation", each=each)
    policy = cast("Policy", load_policy(BASE))
    print("\n".join(table(policy, asked, draws)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
