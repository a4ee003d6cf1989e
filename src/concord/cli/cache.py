"""`concord cache`: where the content store is, what is in it, and looking after it."""

from pathlib import Path
from typing import Any

import click

from concord.cli.terminal import columns, console, emit
from concord.errors import InputError, Said, explain
from concord.store import Store, default_root

__all__ = ["command"]


@click.group("cache", invoke_without_command=True, subcommand_metavar="[VERB]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Show where the store is and what is in it; or verify, compact or clear it.

    The store keeps what is costly to compute again: reference values, rendered tokens, scores, answers of
    endpoints. Nothing in it is lost for good when it is cleared. $CONCORD_CACHE says where it is.
    """
    ctx.obj = as_json
    if ctx.invoked_subcommand is None:
        _stats(as_json=as_json)


def _json(function: Any) -> Any:
    """Let --json stand after the second verb as well as before it."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def _exists(path: Path) -> bool:
    """Whether there is a store, looked up without making one."""
    try:
        if "\0" in str(path):
            raise ValueError("it holds a zero byte")
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        wrong, accepted = "the place of the store cannot be looked at", "a directory that may be read"
        found, do = Said(getattr(error, "strerror", None) or str(error)), "name another one in CONCORD_CACHE"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do)) from error
    if path.exists() and not path.is_dir():
        wrong, accepted = "the place of the store is a file", "a directory, or a place where one can be made"
        do = "name a directory in CONCORD_CACHE"
        raise InputError(explain(wrong, found=str(path), accepted=accepted, do=do))
    return path.is_dir() and any(path.iterdir())


def _stats(*, as_json: bool) -> None:
    path = default_root()
    if not _exists(path):
        none = {"path": str(path), "exists": False, "entries": 0, "bytes": 0, "segments": 0, "damaged": 0}
        _say(none, f"Nothing is kept yet; it will be in {path}", as_json=as_json)
        return
    with Store(path) as store:
        stats = store.stats()
    data = {
        "path": str(path),
        "exists": True,
        "entries": stats.entries,
        "bytes": stats.bytes,
        "segments": stats.segments,
        "damaged": stats.damaged,
    }
    if as_json:
        emit(data)
        return
    rows = [
        ("where", str(path)),
        ("entries", f"{stats.entries:,}"),
        ("size", f"{_size(stats.bytes)} in {_count(stats.segments, 'segment')}"),
    ]
    rows += [("damaged", f"{stats.damaged:,}; `concord cache verify` lists them")] if stats.damaged else []
    columns(console(), rows, styles=("bold",))


@command.command("verify", short_help="Read everything and check it.")
@_json
@click.pass_obj
def _verify(group_json: bool, /, *, as_json: bool) -> None:
    """Read everything and check it; exit code 1 if something is damaged."""
    path, as_json = default_root(), as_json or group_json
    if not _exists(path):
        _say({"records": 0, "bytes": 0, "bad": []}, f"Nothing is kept in {path}.", as_json=as_json)
        return
    with Store(path) as store:
        found = store.verify()
    bad = [
        {"segment": b.segment, "offset": b.offset, "length": b.length, "key": b.key, "why": b.why}
        for b in found.bad
    ]
    good = f"{_count(found.records, 'record')} good, {_size(found.bytes)} of values"
    lines = [f"{b.segment} at byte {b.offset}, {_count(b.length, 'byte')}: {b.why}" for b in found.bad]
    if bad:
        lines.append(
            f"{good}; {len(bad)} damaged, which are treated as missing. `concord cache compact` removes them."
        )
    _say(
        {"records": found.records, "bytes": found.bytes, "bad": bad},
        "\n".join(lines) or f"{good}; nothing is damaged.",
        as_json=as_json,
    )
    if bad:
        raise SystemExit(1)


@command.command("compact")
@_json
@click.pass_obj
def _compact(group_json: bool, /, *, as_json: bool) -> None:
    """Remove what was overwritten or is damaged."""
    path, as_json, freed = default_root(), as_json or group_json, 0
    if _exists(path):
        with Store(path) as store:
            freed = store.compact()
    _say({"freed": freed}, f"{_size(freed)} freed.", as_json=as_json)


@command.command("clear")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json
@click.pass_obj
def _clear(group_json: bool, /, *, yes: bool, as_json: bool) -> None:
    """Drop everything; what is wanted again will be computed again."""
    path, as_json, freed = default_root(), as_json or group_json, 0
    if _exists(path):
        with Store(path) as store:
            size, entries = store.stats().bytes, len(store)
            question = f"Drop {_count(entries, 'entry', 'entries')} ({_size(size)}) from {path}?"
            if not yes:
                click.confirm(question, abort=True, err=True)
            freed = store.clear()
    _say({"freed": freed}, f"{_size(freed)} freed.", as_json=as_json)


def _say(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        emit(data)
    else:
        click.echo(text)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _size(number: int) -> str:
    value, unit = float(number), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return _count(number, "byte") if unit == "bytes" else f"{value:.1f} {unit}"
