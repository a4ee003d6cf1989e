"""The page of a training run, from nothing but its directory: what to think of it, curves, replies, settings.

A run that was stopped or that failed has a page too, of what it has so far.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from concord import wire
from concord.data.auditing.records import Audit
from concord.durable import read_json, read_object
from concord.eval.course.curves import course_of, read_curves
from concord.eval.course.greedy import GreedyReplies, GreedyReply, read_replies
from concord.findings import Finding, gravest_first
from concord.report.blocks import (
    Block,
    Callout,
    Cell,
    Column,
    Command,
    Facts,
    Heading,
    Page,
    Paragraph,
    Piece,
    Sample,
    Samples,
    ShownReply,
    Table,
    Turn,
)
from concord.report.courses import course_blocks, key_figures
from concord.report.results import from_results
from concord.report.words import short_path
from concord.run import Run

__all__ = ["trained_page"]

_ENDS = {
    "stop": "ended by itself",
    "length": "cut off at the limit",
    "tool": "ended in a call of a tool",
    "failed": "no reply came",
}
_WORDS = {
    "rows": "used",
    "trained": "tokens trained on",
    "cut": "rows cut",
    "memory_mb": "peak memory, MB",
    "tokens": "tokens",
    "seconds": "seconds in steps",
}
_TRAINED = {"full": "all weights", "lora": "an adapter (LoRA)"}
_SINCE = {"finished": "Finished", "failed": "Failed", "stopped": "Stopped"}
_Row = Mapping[str, float]
_JSON = Mapping[str, Any]


def trained_page(directory: str | Path) -> Page:
    """The page of the run in a directory."""
    run = Run(directory)
    rows, settled = list(run.read_metrics()), _read(run.path / "settled.json")
    settings = run.resolved
    replies = _replies(run)
    found = [*read_curves(rows, settings=settings | settled), *(read_replies(*replies) if replies else ())]
    parts = (
        _facts(run, settings | settled, rows),
        *_state(run),
        *_verdict(found),
        *_model(run),
        Heading("Key figures"),
        *key_figures(rows),
        *_forecast(run, rows),
        *_results(run),
        *course_blocks(rows),
        *(_samples(*replies) if replies else ()),
        *_prepared(run),
        *_audit(run),
        *_settings(run, settings, settled),
        *_made_on(run),
    )
    return Page(run.name, _subtitle(run, settings, rows), parts)


def _subtitle(run: Run, settings: _JSON, rows: Sequence[_Row]) -> str:
    words = {"new": "not begun", "running": "running", "finished": "finished", "failed": "failed"}
    state = words.get(run.status().state, "stopped")
    steps = int(max((row.get("step", 0) for row in rows), default=0))
    return f"Training by {settings.get('method', 'an unnamed method')}: {state} after {steps:,} steps."


def _facts(run: Run, settings: _JSON, rows: Sequence[_Row]) -> Facts:
    data = settings.get("data")
    named = [short_path(str(one)) for one in cast("list[Any]", data if isinstance(data, list) else [data])]
    last: dict[str, float] = {}
    for row in rows:
        last |= row
    facts: list[tuple[str, Cell]] = [
        ("Method", str(settings.get("method", ""))),
        ("Model", _spelled(settings.get("model"))),
        ("Data", ", ".join(named) if data else ""),
        ("Trained", _TRAINED.get(settings.get("train", ""), "")),
        ("Steps", _steps(last.get("step"), settings.get("max_steps"))),
        ("Epochs", last.get("epoch")),
        ("Tokens computed", int(last["num_tokens"]) if "num_tokens" in last else None),
        ("Begun", _moment(str(run.manifest.get("started", "")))),
        (_SINCE.get(run.status().state, "As of"), _moment(run.status().time)),
        ("Identity", run.id[:12]),
    ]
    return Facts(tuple((name, value) for name, value in facts if value not in (None, "")))


def _steps(done: float | None, planned: object) -> str:
    """How many steps were done, and of how many where that was asked for."""
    if done is None:
        return ""
    return f"{done:,.0f} of {planned:,}" if isinstance(planned, int) and planned else f"{done:,.0f}"


def _moment(time: str) -> str:
    """A time to the minute: 2026-11-21 18:42 UTC."""
    return f"{time[:16].replace('T', ' ')} UTC" if time.endswith("+00:00") else time


def _state(run: Run) -> Iterator[Block]:
    status = run.status()
    kept = any(run.checkpoints.glob("checkpoint-*"))
    again = "run the same command again" + (" with `--resume`: it goes on from the last checkpoint" * kept)
    match status.state:
        case "finished":
            return
        case "failed":
            yield Callout(
                "stop", "The run failed", status.reason, f"Mend what the reason names, then {again}."
            )
        case "stopped":
            yield Callout("warn", "The run was stopped", status.reason, f"{again[:1].upper()}{again[1:]}.")
        case "new" | "running":
            yield Callout("note", "The run is not finished", "What follows is what it has so far.")


def _verdict(found: Sequence[Finding]) -> Iterator[Block]:
    yield Heading("What to think of it")
    for one in gravest_first(found):
        yield Callout(one.severity, one.title, one.detail, one.do)
    if not found:
        yield Paragraph(
            "Nothing in the curves or in the replies speaks against this run. Whether the model is better is"
            " a question for an evaluation on prompts of its own."
        )


# --- what came of it --------------------------------------------------------------------------------------


def _model(run: Run) -> Iterator[Block]:
    """Where the model is, and the lines that load it, as they were kept when it was written."""
    kept = _read(run.path / "exported.json")
    if not kept:
        return
    yield Heading("The model")
    if kept["adapter"]:
        yield Paragraph("The folder holds an adapter; the model under it is loaded with it, by its name.")
    needs, load = kept["loading"]
    yield Command(needs, "In Python")
    yield Command(load)
    yield Paragraph(f"Another run goes on from it by `--model run:{run.path.name}`.")


def _read(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _results(run: Run) -> Iterator[Block]:
    if results := run.read_results():
        yield Heading("Measured")
        yield from_results(results)


def _forecast(run: Run, rows: Sequence[_Row]) -> Iterator[Block]:
    """What was predicted before the first step beside what happened, and what the memory is made of."""
    path = run.path / "forecast.json"
    if not path.is_file():
        return
    said: dict[str, Any] = read_object(path)
    found, whole = _happened(rows), run.status().state == "finished"
    numbers = {name: value for name, value in said.items() if isinstance(value, int | float) and value}
    cells: list[tuple[Cell, ...]] = []
    for name, value in numbers.items():
        known = found.get(name)
        # Half of a run takes half of the time, but needs all of the memory.
        fair = known is not None and (whole or name == "memory_mb")
        cells.append((_WORDS.get(name, name), value, known, known / value if known and fair else None))
    heads = (Column("what"), Column("forecast"), Column("happened"), Column("of it", per_cent=True))
    yield Heading("Forecast", 2)
    yield Table(heads, tuple(cells), notes=() if whole else ("What happened is what there is so far.",))
    if parts := cast("list[dict[str, Any]]", said.get("memory", [])):
        sizes = tuple((part["name"], part["bytes"] / 2**20, part["how"]) for part in parts)
        columns = (Column("part"), Column("size", "MB"), Column("how"))
        yield Table(columns, sizes, caption="What the memory was predicted to hold")


def _happened(rows: Sequence[_Row]) -> dict[str, float]:
    """What a forecast speaks of, as it came to be."""
    found: dict[str, float] = {}
    if memory := [row["memory_mb"] for row in rows if "memory_mb" in row]:
        found["memory_mb"] = max(memory)
    if timed := course_of(rows, "step_time"):
        begins = [0.0, *(step for step, _ in timed)]
        found["steps"] = timed[-1][0]
        found["seconds"] = sum(
            mean * (step - before) for before, (step, mean) in zip(begins, timed, strict=False)
        )
    if counted := course_of(rows, "num_tokens"):
        found["tokens"] = counted[-1][1]
    return found


# --- replies ----------------------------------------------------------------------------------------------


def _replies(run: Run) -> tuple[GreedyReplies, GreedyReplies] | None:
    """The first and the last greedy replies of a run, which may be the same; None where there are none."""
    found: dict[int, Path] = {}
    for path in run.samples.glob("step-*.json"):
        number = path.stem.removeprefix("step-")
        if number.isdecimal():
            found[int(number)] = path
    if not found:
        return None
    first, last = (
        wire.from_json(GreedyReplies, read_json(path), where=str(path))
        for path in (found[min(found)], found[max(found)])
    )
    return first, last


def _samples(first: GreedyReplies, last: GreedyReplies) -> Iterator[Block]:
    before = {one.prompt: one for one in first.samples} if first.step < last.step else {}
    samples: list[Sample] = []
    for at, one in enumerate(last.samples, 1):
        shown = [_shown(one, last.step)]
        if one.prompt in before:
            shown.insert(0, _shown(before[one.prompt], first.step))
        samples.append(Sample(f"Prompt {at}", (Turn("", (Piece(one.prompt),)),), tuple(shown)))
    yield Heading("What it says")
    which = "held-out prompts" if last.held_out else "prompts that are trained on"
    yield Samples(tuple(samples), f"The most likely reply to {which}, before and after")


def _shown(one: GreedyReply, step: int) -> ShownReply:
    end = _ENDS.get(one.finish, one.finish)
    label = f"{f'Step {step:,}' if step else 'Before training'}: {one.tokens:,} tokens, {end}"
    return ShownReply(label, (Turn("", (Piece(one.reply),)),))


# --- what it was made of ----------------------------------------------------------------------------------


def _prepared(run: Run) -> Iterator[Block]:
    """How many rows were read, left out and used, on each side, and what the loading of them had to say."""
    path = run.path / "prepared.json"
    if not path.is_file():
        return
    said = read_object(path)
    counts: dict[str, Any] = said.get("counts", {})
    yield Heading("What became of the rows")
    yield _beside({name: counts[name] for name in sorted(counts, key=lambda name: name != "train")})
    for note in said.get("notes", ()):
        words = str(note).replace("held_out:", "held out:", 1).rstrip(".")
        yield Paragraph(f"{words[:1].upper()}{words[1:]}.")


def _audit(run: Run) -> Iterator[Block]:
    path = run.path / "audit.json"
    if path.is_file():
        audit = wire.from_json(Audit, read_json(path), where=str(path))
        yield Heading("What the audit found in the data")
        for one in gravest_first(audit.findings):
            yield Callout(one.severity, one.title, one.detail, one.do)
        if not audit.findings:
            yield Paragraph(f"Nothing to mind in {audit.rows:,} rows.")


def _settings(run: Run, settings: _JSON, settled: _JSON) -> Iterator[Block]:
    """Every setting: those that were given, what was settled here, and those that are defaults."""
    given = _given(run.recipe)
    rest = {name: value for name, value in settings.items() if name not in given | settled.keys()}
    parts = {
        "As given": {name: value for name, value in settings.items() if name in given},
        "Settled by the model, the data and the memory": settled,
        "Derived, or as they are by default": rest,
    }
    yield Heading("Settings")
    for words, some in parts.items():
        if some:
            rows = tuple((name, _spelled(value)) for name, value in some.items())
            yield Table((Column("setting"), Column("value")), rows, caption=words)


def _given(recipe: str) -> set[str]:
    """The names that a recipe sets."""
    try:
        content: object = yaml.safe_load(recipe)
    except yaml.YAMLError:
        return set()
    return {str(name) for name in cast("dict[Any, Any]", content)} if isinstance(content, dict) else set()


def _made_on(run: Run) -> Iterator[Block]:
    yield Heading("Made on")
    parts = {name: run.manifest.get(name) for name in ("versions", "hardware", "seeds", "extra", "inputs")}
    rows = tuple(_leaves({name: part for name, part in parts.items() if part}))
    yield Table((Column("what"), Column("value")), rows)


def _beside(sides: Mapping[str, object]) -> Table:
    """Several lists of names and values as one table, a column for each."""
    told = {name: dict(_leaves(side)) for name, side in sides.items()}
    names = dict.fromkeys(name for side in told.values() for name in side)
    rows = tuple((_WORDS.get(name, name), *(side.get(name) for side in told.values())) for name in names)
    return Table((Column("what"), *(Column(name.replace("_", " ")) for name in told)), rows)


def _leaves(content: object, name: str = "") -> Iterator[tuple[str, Cell]]:
    """Nested names and values as a flat list; the names on the way to a value are joined."""
    match content:
        case dict():
            for key, value in cast("dict[str, object]", content).items():
                words = key.replace("_", " ")
                yield from _leaves(value, f"{name}, {words}" if name else words)
        case bool():
            yield name, _spelled(content)
        case int() | float():
            yield name, content
        case _:
            yield name, _spelled(content)


def _spelled(value: object) -> str:
    """A setting as one would write it."""
    match value:
        case str():
            return value
        case float():
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        case list():
            return ", ".join(map(_spelled, cast("list[object]", value))) or "none"
        case None:
            return "-"
        case _:
            return json.dumps(value)
