"""`concord audit`: what is in a data set, before anything is trained on it."""

import shlex
from pathlib import Path
from typing import Any

import click

from concord.cli.blocks import show_page
from concord.cli.options import data_options, render_options, template_args
from concord.cli.progress import progressing
from concord.cli.terminal import console, emit
from concord.data import AuditSettings, audit
from concord.errors import InputError, Said, explain
from concord.formats import Reading, find_sources, open_items
from concord.render import Renderer, RenderSettings
from concord.report import audit_page, write_page
from concord.wire import to_json

__all__ = ["command"]

_WHOLE = ""  # the name of a split that has none


@click.command("audit")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("--eval", "held_out", multiple=True, metavar="DATA", help="Data held out, to look for leaks.")
@click.option(
    "--model", default=None, metavar="MODEL", help="Count in this model's tokens; show what it sees."
)
@data_options
@render_options
@click.option("--max-length", type=click.IntRange(min=1), default=None, help="Tokens of the longest row.")
@click.option("--near/--no-near", default=True, help="Look for near duplicates (half of the time).")
@click.option("--seed", type=int, default=0, show_default=True, help="What the shown rows follow from.")
@click.option("--html", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Write a page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--offline", is_flag=True, help="Fetch nothing, whatever MODEL names.")
def command(data: tuple[str, ...], held_out: tuple[str, ...], **given: Any) -> None:
    """Say what DATA is, what is wrong with it, and how to train on it.

    DATA are files (JSONL, JSON, CSV, Parquet; compressed or not) or folders of them. The shape of the rows is
    detected and shown. Splits are told from names such as train.jsonl and test.jsonl.
    """
    readings = _readings(data, held_out, given)
    renderer = _renderer(given)
    settings = AuditSettings(max_length=given["max_length"], near=given["near"], seed=given["seed"])
    everything = list(readings.values())
    with progressing("audit", lambda: _share(everything)) as progress:
        found = audit(readings, renderer=renderer, settings=settings, progress=progress)
    title = f"Audit of {', '.join(Path(one).name for one in data)}"
    special = [] if renderer is None else list(renderer.tokenizer.all_special_tokens)
    page = audit_page(found, title=title, read=_read(readings, renderer, given), special=special)
    if given["html"] is not None:
        write_page(page, given["html"])
    if given["as_json"]:
        emit(to_json(found))
        return
    show_page(console(), page)
    if given["html"] is not None:
        click.echo(f"The page is {given['html']}.", err=True)


def _readings(data: tuple[str, ...], held_out: tuple[str, ...], given: dict[str, Any]) -> dict[str, Reading]:
    """The items of each split: those that names tell, and what is held out."""
    found: dict[str, Reading] = {}
    splits = list(dict.fromkeys(source.split for source in find_sources(list(data))))
    for split in splits:
        found[split or "data"] = _open(data, split if len(splits) > 1 else "", given, name=split)
    if held_out:
        if "eval" in found:
            wrong, accepted = (
                "there is a split of the name eval already",
                "--eval, or files that are named so",
            )
            do = "leave --eval out, or name other files"
            raise InputError(explain(wrong, found=Said(shlex.join(held_out)), accepted=accepted, do=do))
        found["eval"] = _open(held_out, "", given, name="eval")
    return found


def _open(data: tuple[str, ...], split: str, given: dict[str, Any], *, name: str) -> Reading:
    skipped = None
    if given["on_bad_row"] == "skip":
        stem = Path(data[0]).name.split(".")[0] or "data"
        named = f"{stem}-{name}" if name else stem
        skipped = given["skipped"] or Path(f"{named}.skipped.jsonl")
    return open_items(
        list(data), mapping=given["mapping"], on_bad_row=given["on_bad_row"], skipped_to=skipped, split=split
    )


def _renderer(given: dict[str, Any]) -> Renderer | None:
    names = {"template_pairs": "--template-arg", "chat_template": "--chat-template", "plain": "--plain"}
    names |= {"stop": "--stop-token", "train_added": "--train-added", "max_length": "--max-length"}
    if given["model"] is None:
        if ignored := [flag for name, flag in names.items() if given[name]]:
            raise click.UsageError(f"{', '.join(ignored)} needs --model: without one there are no tokens.")
        return None
    template = given["chat_template"]
    settings = RenderSettings(
        template_args=template_args(given["template_pairs"]),
        stop=given["stop"],
        chat_template=None if template is None else _text(template),
        plain=given["plain"],
        train_added=given["train_added"],
    )
    return Renderer.load(given["model"], settings, offline=given["offline"])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        wrong, accepted = f"the chat template {path} cannot be read", "a file of text, in UTF-8"
        raise InputError(
            explain(wrong, found=Said(str(error)), accepted=accepted, do="name another one")
        ) from error


def _share(readings: list[Reading]) -> float | None:
    """Which part of all bytes has been read."""
    parts = [(reading.size, reading.progress) for reading in readings]
    total = sum(size for size, _ in parts)
    if not total or any(done is None for _, done in parts):
        return None
    return sum(size * (done or 0.0) for size, done in parts) / total


def _read(
    readings: dict[str, Reading], renderer: Renderer | None, given: dict[str, Any]
) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for name, reading in readings.items():
        files = ", ".join(source.name for source in reading.sources)
        facts.append((name, files if len(files) < 300 else f"{len(reading.sources)} files"))
        facts.append((f"{name}: kind", str(reading.kind)))
        facts += [(f"{name}: {column}", becomes) for column, becomes in reading.plan.shown]
        facts.append((f"{name}: as a flag", f'--map "{reading.plan.line}"'))
        if reading.skipped:
            facts.append((f"{name}: skipped", f"{reading.skipped:,} rows, written to {reading.skipped_to}"))
    if renderer is None:
        return [*facts, ("lengths", "in characters; --model M counts in tokens")]
    known = renderer.facts
    stops = "; ".join(f"{token.text} ({token.why})" for token in known.stop)
    return [*facts, ("model", given["model"]), ("template", known.template), ("replies end with", stops)]
