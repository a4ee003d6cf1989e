"""Read from the tests what each objective is held to, for its page: worked values, facts, optima.

The table is `CASES` in tests/objectives/cases.py, the numbers are those of vectors.json beside it, which an
independent program computed. Where there is no table, as in a copy without tests, pages do without.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sphinx.errors import ExtensionError

Facts = Mapping[str, list[str]]
"""By entry, the Markdown lines that its page ends with."""

LONGEST = 160
"""Numbers that take more characters than this are left out: they are for machines."""


def read_facts(root: Path) -> Facts:
    """Read the case table of a checkout; nothing where there is none."""
    folder = root / "tests" / "objectives"
    if not (folder / "cases.py").exists():
        return {}
    sys.path.insert(0, str(root))
    try:
        cases = importlib.import_module("tests.objectives.cases").CASES
        entries = json.loads((folder / "vectors.json").read_text(encoding="utf-8"))
        known = {entry["name"]: entry for entry in [*entries["vectors"], *entries["bandits"]]}
        return {case.name: list(held_to(case, known)) for case in cases}
    except Exception as error:
        wrong = f"{folder / 'cases.py'}, which the pages of methods quote, cannot be read: {error!r}"
        raise ExtensionError(wrong) from error
    finally:
        sys.path.remove(str(root))


def held_to(case: Any, known: Mapping[str, Any]) -> Iterator[str]:
    """Say what the tests check of one objective."""
    facts: list[str] = case.facts()
    yield from ("## What the tests hold it to", "", *(f"- {plain(fact)}" for fact in facts), "")
    if case.vectors or case.by_hand:
        yield from ("## Worked value", "")
    if case.by_hand:
        yield from (f"By hand: {plain(inspect.getdoc(case.by_hand) or '').rstrip('.')}.", "")
    for name in case.vectors:
        yield from (f"`{name}`, computed by an independent program in double precision:", "")
        yield from block(known[name])
    if case.optimum:
        yield from ("## Where it leads", "")
        yield from (
            f"`{case.optimum}`: a policy over a few replies, descending on this loss, arrives here.",
            "",
        )
        yield from block(known[case.optimum])


def plain(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>|#$~^&" else letter for letter in text)


def block(entry: Mapping[str, Any]) -> Iterator[str]:
    """Write inputs, settings and results, each on its line."""
    given = [*flat(entry["inputs"]), *flat(entry["params"])]
    result = list(flat(entry["expected"]))
    width = max((len(name) for name, _ in [*given, *result]), default=0)
    yield "```text"
    yield from (f"{name:<{width}}  {value}" for name, value in given)
    yield f"{'':-<{width}}"
    yield from (f"{name:<{width}}  {value}" for name, value in result)
    yield from ("```", "")


def flat(values: Mapping[str, Any], *, outer: str = "") -> Iterator[tuple[str, str]]:
    """Go through nested names and their values, those left out that nobody would read."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, outer=f"{outer}{name}.")
        elif len(text := json.dumps(value)) <= LONGEST:
            yield outer + name, text
