"""`concord audit`: what is in a data set, before anything is trained on it."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from concord.cli.blocks import show_page
from concord.cli.options import (
    DATA_OPTIONS,
    RENDER_OPTIONS,
    Sectioned,
    data_options,
    render_options,
    template_args,
)
from concord.cli.progress import progressing
from concord.cli.terminal import console, emit
from concord.data import Audit, AuditSettings, audit
from concord.errors import InputError, Said, explain
from concord.formats import Reading, find_sources, open_items
from concord.render import Renderer, RenderSettings
from concord.report import Page, audit_page, write_page
from concord.wire import to_json

__all__ = ["command"]

_SECTIONS = {
    "What to look at": ("held_out", "model", "max_length", "near", "seed", "offline"),
    "What to write": ("html", "as_json"),
    "How rows are read": DATA_OPTIONS,
    "How rows become tokens (with --model)": RENDER_OPTIONS,
}


@click.command("audit", cls=Sectioned, sections=_SECTIONS)
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "--eval", "held_out", multiple=True, metavar="DATA", help="Held-out data: is any of it in DATA?"
)
@click.option(
    "--model", default=None, metavar="MODEL", help="Count in tokens of this model, and show what it sees."
)
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    default=None,
    metavar="TOKENS",
    help="The longest row that training will take: what would not fit?",
)
@click.option("--near/--no-near", default=True, help="Near duplicates too, which take half of the time.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another number shows other rows.")
@click.option("--offline", is_flag=True, help="Fetch nothing, whatever MODEL names.")
@click.option(
    "--html", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Also a page, in one file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs, in place of text.")
@data_options
@render_options
def command(data: tuple[str, ...], held_out: tuple[str, ...], **given: Any) -> None:
    """Say what DATA is, what is wrong with it, and how to train on it.

    DATA are files (JSONL, JSON, CSV, Parquet; compressed or not) or folders of them. What the columns mean is
    detected and shown. Names such as train.jsonl and test.jsonl make splits, which are held against each
    other.

    \b
    concord audit train.jsonl
    concord audit train.jsonl --eval test.jsonl --model path/to/model
    concord audit folder/ --html audit.html
    """
    page_file: Path | None = given["html"]
    if page_file is not None:
        _check_page(page_file)
    readings = _readings(data, held_out, given)
    renderer = _renderer(given)
    settings = AuditSettings(max_length=given["max_length"], near=given["near"], seed=given["seed"])
    everything = list(readings.values())
    with progressing("audit", lambda: _share(everything)) as progress:
        found = audit(readings, renderer=renderer, settings=settings, progress=progress)
    found = replace(found, flags=(*_before(given), *found.flags))
    page = _page(
        found, f"Audit of {', '.join(Path(one).name for one in data)}", readings, renderer, given["model"]
    )
    if given["as_json"]:
        emit(to_json(found))
    else:
        show_page(console(), page)
    if page_file is not None:
        write_page(page, page_file)
        click.echo(f"The page is {page_file}.", err=True)


def _check_page(file: Path) -> None:
    """Refuse what cannot become a page now, and not when all the work is done."""
    if file.suffix.lower() not in (".html", ".htm"):
        # A slip of the hand must not put a page in the place of data.
        wrong, do = "a page has no such name", "name another file"
        raise InputError(explain(wrong, found=str(file), accepted="a file that ends in .html", do=do))
    if not file.absolute().parent.is_dir():
        wrong, do = "there is no such folder for the page", "make the folder, or name a file elsewhere"
        raise InputError(explain(wrong, found=str(file), accepted="a file in a folder that is there", do=do))
    if not os.access(file.absolute().parent, os.W_OK | os.X_OK):
        wrong, do = "the page cannot be written there", "give write permission, or name a file elsewhere"
        accepted = "a file in a folder that may be written to"
        raise InputError(explain(wrong, found=str(file), accepted=accepted, do=do))


def _page(
    found: Audit, title: str, readings: dict[str, Reading], renderer: Renderer | None, model: str
) -> Page:
    special = [] if renderer is None else list(renderer.tokenizer.all_special_tokens)
    columns = {name: reading.plan.shown for name, reading in readings.items()}
    facts = _facts(readings, renderer, model)
    return audit_page(found, title=title, read=facts, columns=columns, special=special)


def _readings(data: tuple[str, ...], held_out: tuple[str, ...], given: dict[str, Any]) -> dict[str, Reading]:
    """The items of each split: those that names tell, and what is held out."""
    found: dict[str, Reading] = {}
    splits = list(dict.fromkeys(source.split for source in find_sources(list(data))))
    apart = len(splits) > 1
    for split in splits:
        kept = _skipped(data, given, split if apart or held_out else "")
        found[split or "data"] = _open(data, split if apart else "", given, kept)
    if held_out:
        if "eval" in found:
            wrong, do = "there is a split of the name eval already", "leave --eval out, or name other files"
            accepted = "--eval, or files that are named so"
            raise InputError(explain(wrong, found=Said(shlex.join(held_out)), accepted=accepted, do=do))
        found["eval"] = _open(held_out, "", given, _skipped(held_out, given, "eval"))
    return found


def _open(data: tuple[str, ...], split: str, given: dict[str, Any], skipped: Path | None) -> Reading:
    how = {"mapping": given["mapping"], "on_bad_row": given["on_bad_row"]}
    return open_items(list(data), split=split, skipped_to=skipped, **how)


def _skipped(data: tuple[str, ...], given: dict[str, Any], split: str) -> Path | None:
    """Where rows that are left out are written: a file for each split, so that none takes another's place."""
    if given["on_bad_row"] == "stop":
        if given["skipped"] is not None:
            raise click.UsageError("--skipped needs --on-bad-row skip: otherwise no row is left out.")
        return None
    stem = Path(data[0]).name.split(".")[0] or "data"
    file: Path = given["skipped"] or Path(f"{stem}.skipped.jsonl")
    if not split or (given["skipped"] is None and split == stem):
        return file
    first, point, rest = file.name.partition(".")
    return file.with_name(f"{first}-{split}{point}{rest}")


def _renderer(given: dict[str, Any]) -> Renderer | None:
    names = {"template_pairs": "--template-arg", "chat_template": "--chat-template", "plain": "--plain"}
    names |= {"stop": "--stop-token", "train_added": "--train-added", "max_length": "--max-length"}
    if given["model"] is None:
        if ignored := [flag for name, flag in names.items() if given[name]]:
            raise click.UsageError(f"{', '.join(ignored)} needs --model: without one there are no tokens.")
        return None
    # Or it says, in every audit without torch, that there is no torch.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
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


def _before(given: dict[str, Any]) -> list[str]:
    """Flags that name files, of which an audit only knows what stands in them."""
    names = {"model": "--model", "chat_template": "--chat-template"}
    return [part for name, flag in names.items() if given[name] for part in (flag, str(given[name]))]


def _facts(readings: dict[str, Reading], renderer: Renderer | None, model: str) -> list[tuple[str, str]]:
    """What was read, and what makes tokens of it."""
    facts: list[tuple[str, str]] = []
    for name, reading in readings.items():
        files = ", ".join(source.name for source in reading.sources)
        facts.append((name, files if len(files) < 300 else f"{len(reading.sources):,} files"))
        if reading.skipped:
            skipped = f"{reading.skipped:,} {'row' if reading.skipped == 1 else 'rows'}"
            facts.append((f"{name}: skipped", f"{skipped}, written to {reading.skipped_to}"))
    facts.append(("kind", ", ".join(dict.fromkeys(str(reading.kind) for reading in readings.values()))))
    if renderer is None:
        return [*facts, ("lengths", "in characters; --model M counts in tokens")]
    known = renderer.facts
    stops = "; ".join(f"{token.text} ({token.why})" for token in known.stop)
    return [*facts, ("model", model), ("template", known.template), ("replies end with", stops)]
