"""`concord methods`: the catalogue as a list, and one method in full."""

from collections.abc import Iterator
from itertools import groupby

import click
from rich.console import Console

from concord.catalogue import Entry, Knob, Part, load, named, search
from concord.cli.terminal import columns, console, emit, heading, paragraph, widths

__all__ = ["command"]

_ROOMY = 160  # from this width on, what a method needs stands on one line
_NARROW = 24
_READABLE = 110


@click.command("methods")
@click.argument("name", required=False)
@click.option("--family", default="", metavar="NAME", help="Only this family, for instance pairs.")
@click.option("--needs", default="", metavar="THINGS", help="Only what needs all of these: pairs,reference.")
@click.option("--kind", default="", metavar="KIND", help="Only this kind: objective, method, advantage, ...")
@click.option("--search", "text", default="", metavar="TEXT", help="Only where all these words occur.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, whole entries, for programs.")
def command(*, name: str | None, family: str, needs: str, kind: str, text: str, as_json: bool) -> None:
    """List the methods, or show the one called NAME.

    NAME's page holds the equation, the paper, what the method needs of the data and the models, its knobs
    with the paper's defaults, and what it minimises. With --json and no other option, helper functions are
    listed too.
    """
    if name is not None:
        if family or needs or text:
            raise click.UsageError("NAME shows one method; --family, --needs and --search are for the list.")
        entry, *others = named(name, kind=kind)
        if as_json:
            emit(entry.as_data())
        else:
            _show(entry, others)
        return
    everything = as_json and not (family or needs or kind or text)
    found = load() if everything else search(text, family=family, needs=needs, kind=kind)
    if as_json:
        emit([entry.as_data() for entry in found])
    elif found:
        _list(found)
    else:
        click.echo("Nothing in the catalogue fits all of that.", err=True)
        raise SystemExit(1)


def _list(entries: tuple[Entry, ...]) -> None:
    out = console()
    names, needs = widths([_row(entry) for entry in entries])
    sizes = (names, needs if out.width >= _ROOMY else min(needs, _NARROW))
    for family, members in groupby(entries, key=lambda entry: entry.family):
        heading(out, family)
        columns(out, [_row(entry) for entry in members], sizes=sizes, styles=("bold cyan", "green"))
        out.print()
    count = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
    paragraph(out, f"{count}. `concord methods NAME` shows one.", style="dim")


def _row(entry: Entry) -> tuple[str, str, str]:
    """Name, needs and summary; after it the kind, where the family does not say it."""
    told = entry.kind == "objective" or entry.family in (entry.kind, f"{entry.kind}s")
    return entry.name, ", ".join(entry.needs), entry.summary if told else f"{entry.summary} [{entry.kind}]"


def _show(entry: Entry, others: list[Entry]) -> None:
    out = console()
    out.width = min(out.width, _READABLE)
    paragraph(out, entry.name, style="bold cyan")
    paragraph(out, f"{entry.kind}, {entry.family}", style="dim")
    paragraph(out, f"\n{entry.summary}")
    if entry.equation:
        out.print()
        paragraph(out, entry.equation, style="bold", indent=4)
    if entry.about:
        paragraph(out, f"\n{entry.about}")
    out.print()
    columns(out, list(_facts(entry)), styles=("bold",))
    if entry.inputs:
        heading(out, "\nInputs, supplied by whoever calls")
        columns(out, list(entry.inputs.items()), styles=("bold",))
    _show_knobs(entry, out)
    for other in others:
        also = f"Also of this name: the {other.kind}, `concord methods {other.name} --kind {other.kind}`."
        paragraph(out, f"\n{also}", style="dim")


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    yield "needs", ", ".join(entry.needs) or "nothing but the values it is given"
    labelled = {
        "minimises": entry.minimises,
        "optimum": entry.optimum,
        "departs": entry.departs,
        "peers": entry.peers,
        "keep": ", ".join(entry.keep),
        "bonus": ", ".join(entry.bonus),
        "shaping": ", ".join(entry.shaping),
        "advantage": ", then ".join(entry.advantage),
        "terms": "\n".join(map(_term, entry.terms)),
    }
    yield from ((label, text) for label, text in labelled.items() if text)
    if entry.coupled:
        yield "coupled", "its rows depend on each other: it must see all rows of a step at once"
    if entry.paper:
        yield "paper", "\n".join([entry.paper, *entry.links])
    yield "Python", f"concord.objectives.{entry.signature}" if entry.signature else entry.where


def _term(term: Part) -> str:
    weight = "" if term.weight == 1 else f"{term.weight:g} x "
    knobs = "".join(f", {name} {value}" for name, value in term.knobs.items())
    return f"{weight}{term.objective}, {term.reduction}, on {term.on}{knobs}"


def _show_knobs(entry: Entry, out: Console) -> None:
    if not entry.knobs:
        return
    heading(out, "\nKnobs, with their defaults")
    columns(
        out,
        [(name, knob.shown, _meaning(knob)) for name, knob in entry.knobs.items()],
        styles=("bold", "green"),
    )


def _meaning(knob: Knob) -> str:
    listed = f"one of {', '.join(knob.choices)}" if knob.choices else ""
    return "; ".join(part for part in (knob.meaning, listed, knob.allowed) if part)
