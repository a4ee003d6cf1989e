"""The table of architectures in the docs: what the engine does with each, measured on tiny models of it.

`python -m tests.engine.support` writes it afresh; test_architectures.py holds the page to what it measures.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from concord.engine.logprobs import LogProbs
from concord.engine.start import start
from tests.conftest import ROOT
from tests.engine.models import FAMILIES, Family, alone, apart, family_tree, gradients, weighted

PAGE = ROOT / "docs" / "engine_support.md"
WORST = 1e-4
"""How far values may be, in nats, and gradients, relative: more is wrong."""

_INTRODUCTION = f"""\
# Which architectures go which way

The engine has two ways to lay sequences out. The *forest* computes what sequences share once; *rows* are
one sequence each, padded. The forest is used for what is known to work, and is checked when an engine
starts; any other model goes in rows, and the reason is printed. A model for which rows are wrong too is
refused.

Each line is a tiny model with random weights, built from the configuration of its architecture with windows,
chunks and thresholds short enough to matter, in float32. Replies over shared prompts go through the layout
that the engine chose, and one by one through the model's own forward. *Values* is a bound on the largest
difference of a token's log-probability, in nats; *gradients* on the norm of the difference of all weights'
gradients, relative to theirs. Models that take the forest are held to {WORST:g} in rows as well.

| architecture | what is special | layout | why not the forest | values | gradients |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Measured:
    """What became of a model."""

    layout: str
    reasons: tuple[str, ...]
    values: float
    """The largest difference of a log-probability from one by one, in nats."""
    gradients: float
    """The norm of the difference of all gradients, relative."""
    in_rows: tuple[float, float]
    """The same two of rows, whichever layout it has."""

    def cells(self, family: Family) -> Iterator[str]:
        """The line of the table; bounds are the next power of ten above three times what was measured."""
        yield from (family.name, family.has, self.layout, "; ".join(self.reasons))
        yield from (f"1e{math.ceil(math.log10(3 * number)):d}" for number in (self.values, self.gradients))


def measure(family: Family) -> Measured:
    """Build the model of a family, start an engine, and compare it with the model itself."""
    model, lines = family.make(), family_tree()
    right = alone(model, lines)
    weighted(right).backward()
    slopes = gradients(model)
    assert slopes.norm() > 0

    def off(engine: LogProbs) -> tuple[float, float]:
        found = engine(layout=engine.lay(lines)).logps
        weighted(found).backward()
        return float((found - right).detach().abs().max()), apart(gradients(model), slopes)

    started = start(model)
    found = off(started.engine)
    rows = found if started.engine.layout == "rows" else off(LogProbs(model, layout="rows"))
    return Measured(started.engine.layout, started.refused, *found, rows)


def table() -> list[list[str]]:
    """The lines of the table as the page has them."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def written(rows: list[list[str]]) -> str:
    """The page with these lines."""
    return _INTRODUCTION + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


if __name__ == "__main__":
    PAGE.write_text(written([[*measure(family).cells(family)] for family in FAMILIES]), encoding="utf-8")
