"""What the README says of the demonstration: figures of its cards, kept as a record, and the words around.

    gathered(folder)    the figures of a demonstration that was run into a folder
    kept()              those of the record, benchmarks/results/demo.json
    table, told         the README's table, and all that it says of the three models
    proxied             what docs/harbour.md says of the base's best draws by a proxy

`python -m scripts.demo --record` writes the record and prints the words. The tests hold the pages to them,
and the record to the base that is shipped: `settings.base` is the hash of the folder that was measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import Findings, Row
from concord import wire
from concord.durable import read_json
from concord.errors import NotFoundError, explain
from concord.eval.card import CardRecord, SideRow, side_by_side
from concord.report.numbers import share, with_interval
from concord.results import Interval, Result, Scorecard
from concord.run import find_run

__all__ = ["NAMES", "RECORD", "gathered", "kept", "proxied", "table", "told"]

RECORD = Path(__file__).parents[1] / "benchmarks" / "results" / "demo.json"
NAMES = ("base", "sft", "dpo")
"""Of the three models, the one before all first."""

_WHERE = "test, wording, people, adversarial"
_ROWS: Mapping[str, tuple[str, str]] = {
    "worth to the town": ("gold_utility", "test"),
    "the same, in new wordings": ("gold_utility", "wording"),
    "correct at plain tasks": ("skill", "test"),
    "helps with what is forbidden": ("harmful", _WHERE),
    "refuses what is harmless": ("over_refusal", _WHERE),
}
_LONGER = ("gold_utility", "length")
_CHANGES, _COSTS, _DRAWS = "what changed", "plain tasks", "draws that differ"
_PROXY, _LOST = "best of n by a proxy", "lost to the proxy"


def gathered(home: Path) -> Findings:
    """The figures of a demonstration, out of what it left in its folder and in the runs beside it."""
    folders = _scored(home)
    records = {name: _record(folder) for name, folder in folders.items()}
    sides = {(one.measure, str(one.at["split"])): one for one in side_by_side(records)}
    headline = sides[_ROWS["worth to the town"]]
    cards = {name: one.card for name, one in records.items()}
    inputs = {name: read_json(folder / "manifest.json")["inputs"] for name, folder in folders.items()}
    asked = _the(cards["base"], "gold_lost").n
    counts = {"requests": headline.levels["base"].n, "optimised": asked}
    for name in NAMES[1:]:
        run = find_run(home.parent, inputs[name]["run"])
        counts[name] = read_json(run.path / "prepared.json")["counts"]["train"]["rows"]
    longer = _change("the same, on longer lists", sides[_LONGER])
    tables: dict[str, Sequence[Row]] = {
        _CHANGES: [*(_change(what, sides[place]) for what, place in _ROWS.items()), longer],
        _COSTS: [*_costs(cards["base"], cards["dpo"])],
        _DRAWS: [_level(name, _the(card, "distinct_draws")) for name, card in cards.items()],
        _PROXY: [*_optimised(cards["base"])],
        _LOST: [_level("base", _the(cards["base"], "gold_lost"))],
    }
    settings = {"base": inputs["base"]["model"], "rows": counts, "draws": records["base"].settings.draws}
    return Findings("The demonstration", tables, settings)


def kept() -> dict[str, Any]:
    """The record, as it was written."""
    return read_json(RECORD)


def table(record: Mapping[str, Any]) -> list[str]:
    """The lines of the README's table."""
    first, *others = NAMES
    heads = [_titled(name) for name in NAMES] + [f"{_titled(one)} less {_titled(first)}" for one in others]
    lines = [_line("", *heads), f"|{'---|' * (len(heads) + 1)}"]
    for row in record["tables"][_CHANGES]:
        if row["what"] in _ROWS:
            levels = [share(row[name]) for name in NAMES]
            lines.append(_line(row["what"], *levels, *(_moved(row, f"{one} less {first}") for one in others)))
    return lines


def told(record: Mapping[str, Any]) -> str:
    """All that the README says of the three models: what they are, the table, and what it cost."""
    counts = record["settings"]["rows"]
    (longer,) = (row for row in record["tables"][_CHANGES] if row["what"] not in _ROWS)
    draws = {row["what"]: row for row in record["tables"][_DRAWS]}
    differ = {name: with_interval(row["share"], _ends(row), per_cent=True) for name, row in draws.items()}
    paragraphs = (
        f"What `make demo` prints of its three models, of {counts['requests']:,} requests that nothing had"
        " seen (its settings were chosen on other ones): the base, the base after"
        f" {counts['sft']:,} examples that townspeople picked (SFT), and that after"
        f" {counts['dpo']:,} comparisons of what it says (DPO), each difference with an interval of"
        " its own.",
        "\n".join(table(record)),
        f"It has a price: {_lost(record['tables'][_COSTS])}, and {differ['dpo']} of its draws to a request"
        f" differ, where {differ['base']} of the base's do. On lists longer than any it learned from, what"
        f" it is worth differs from the base by {_moved(longer, 'dpo less base')}.",
    )
    return "\n\n".join(paragraphs)


def proxied(record: Mapping[str, Any]) -> str:
    """What docs/harbour.md says of the base's draws, of which the best by a proxy is taken."""
    rows, (lost,), counts = record["tables"][_PROXY], record["tables"][_LOST], record["settings"]
    best = max(rows, key=lambda row: row["gold"])
    lines = [
        _line("best of", "sqrt of KL, at most", "the proxy", "what it is worth"),
        f"|{'---|' * 4}",
    ]
    for row in rows:
        worth, *ends = with_interval(row["gold"], _ends(row, "gold")).partition(" ")
        said = f"**{worth}**" if row is best else worth
        distance = f"{row['sqrt of KL']:.2f}" if row["sqrt of KL"] else "0"
        proxy = with_interval(row["proxy"], _ends(row, "proxy"))
        lines.append(_line(str(row["n"]), distance, proxy, said + "".join(ends)))
    turned = (
        f"what the replies are worth turns at {best['n']}, and from there"
        f" {with_interval(lost['share'], _ends(lost))} are lost."
    )
    still = "what the replies are worth does not turn before the end."
    paragraphs = (
        f"Of the base's draws, the best by their score (`concord score base`; {counts['rows']['optimised']}"
        f" requests, means over all subsets of {counts['draws']} draws):",
        "\n".join(lines),
        f"The proxy goes on rising; {still if best is rows[-1] else turned}",
    )
    return "\n\n".join(paragraphs)


def _lost(tasks: Sequence[Mapping[str, Any]]) -> str:
    """The plain task that lost most, and whether that is sure."""
    worst = min(tasks, key=lambda row: row["dpo less base"])
    if worst["dpo less base"] >= 0:
        return "no plain task lost anything"
    doubt = "" if worst.get("dpo less base, high", 0.0) < 0 else ", so that is not sure"
    before, after, moved = share(worst["base"]), share(worst["dpo"]), _moved(worst, "dpo less base")
    return f"at `{worst['what']}` it is right in {after} where the base is in {before} ({moved}{doubt})"


# --- out of the cards -------------------------------------------------------------------------------------


def _scored(home: Path) -> dict[str, Path]:
    """The runs that the cards of a demonstration are copies of, by the names of the models."""
    cards = read_json(home / "scorecard.json")
    found: dict[str, Path] = {}
    for file in sorted(home.parent.glob("score*/record.json")):
        card = read_json(file)["card"]
        found |= {name: file.parent for name in cards if cards[name] == card}
    if missing := [name for name in NAMES if name not in found]:
        wrong, accepted = "a card of the demonstration has no run", "the run that it was made in"
        do = "run python -m scripts.demo again"
        raise NotFoundError(explain(wrong, found=missing[0], accepted=accepted, do=do))
    return {name: found[name] for name in NAMES}


def _record(folder: Path) -> CardRecord:
    file = folder / "record.json"
    return wire.from_json(CardRecord, read_json(file), where=str(file))


def _change(what: str, side: SideRow) -> Row:
    """What changed in one measure, in plain numbers."""
    first, *others = NAMES
    row: dict[str, str | int | float] = {"what": what}
    for name in NAMES:
        row[name] = _value(side.levels[name])
    for name in others:
        row |= _with_ends(f"{name} less {first}", side.changes[name])
    return row


def _costs(base: Scorecard, after: Scorecard) -> Iterator[Row]:
    """Each plain task of the base and of the last model; the tax turned round, as differences are told."""
    tasks = [
        {str(one.at["capability"]): one for one in card.results if one.name == "capability"}
        for card in (base, after)
    ]
    for tax in after.results:
        if tax.name == "tax":
            name, ends = str(tax.at["capability"]), tax.interval
            turned = {"dpo less base": -_value(tax)}
            if ends:
                turned |= {"dpo less base, low": -ends.high, "dpo less base, high": -ends.low}
            yield {"what": name, "base": _value(tasks[0][name]), "dpo": _value(tasks[1][name]), **turned}


def _optimised(base: Scorecard) -> Iterator[Row]:
    """The best of n draws by the proxy: what it says of them, and what they are worth."""
    named = {(one.name, one.at.get("n")): one for one in base.results}
    for one in base.results:
        if one.name == "proxy_reward":
            n, distance = float(one.at["n"]), float(one.at["sqrt_kl_at_most"])
            gold = _with_ends("gold", named["gold_reward", n])
            yield {"n": int(n), "sqrt of KL": distance, **_with_ends("proxy", one), **gold}


def _level(what: str, result: Result) -> Row:
    return {"what": what, **_with_ends("share", result)}


def _the(card: Scorecard, name: str) -> Result:
    (found,) = (one for one in card.results if one.name == name)
    return found


def _value(result: Result) -> float:
    assert result.value is not None, f"{result.name} was not measured"
    return result.value


def _with_ends(name: str, result: Result) -> dict[str, float]:
    ends = result.interval
    found = {name: _value(result)}
    return found | ({f"{name}, low": ends.low, f"{name}, high": ends.high} if ends else {})


# --- in words ---------------------------------------------------------------------------------------------


def _titled(name: str) -> str:
    return name if name == "base" else name.upper()


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _ends(row: Mapping[str, Any], name: str = "share") -> Interval | None:
    low = f"{name}, low"
    return Interval(row[low], row[f"{name}, high"]) if low in row else None


def _moved(row: Mapping[str, Any], name: str) -> str:
    """A difference in percentage points, with its sign and its interval."""
    said = with_interval(row[name], _ends(row, name), per_cent=True).replace("%", "")
    return f"+{said}" if row[name] > 0 else said
