"""Write the page of every method from the catalogue, concord/methods.json.

One page for each entry, one for each family, one for the choices that named methods make from the menus, one
for what others mean by a name. They lie under docs/methods, which holds nothing else and is written afresh
every time. Where the case table of the tests is there, a page also says what the tests hold its entry to.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from facts import Facts, read_facts
from sphinx.application import Sphinx

from concord.catalogue import Entry, Knob, Part, load

CODE = re.compile(r"`([^`]+)`")
MARKUP = re.compile(r"([\\`*_{}\[\]<>|#$~^&])")
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
INTRODUCTION = """# Methods

Every loss, advantage, shaping, reduction and divergence, and the methods that are made of them. The command
`concord methods` shows the same catalogue in a terminal, `concord methods --json` gives it to programs.

What an entry *needs* is what the data and the models must have: pairs, rankings, a reference, a reward head.
Log-probabilities are sums over a reply's tokens unless they are divided by its length; *rho* is the log-ratio
of policy to reference, *h* the difference of two, *w* the chosen and *l* the rejected reply.
"""
MENUS = """# The menus

A named method of policy gradient is a choice from three menus, as data: how an
[advantage](advantages.md) is made of rewards, which [objectives](policy-gradient.md) are summed, and how each
is [reduced](reductions.md) to one number. What comes before stands under [shaping](shaping.md): what is done
to the rewards, and which samples are kept. Methods of other families are weighted sums over more than one
stream of data.
"""
NAMES = """# What others mean by a name

The same name stands for different losses in different places. Here is what is known of those that people
come from: which of them agree with the entry, and what the others do instead.
"""


def pages(catalogue: Sequence[Entry], *, facts: Facts) -> dict[str, str]:
    """Turn the catalogue into pages: file name -> Markdown."""
    shelf = Shelf(catalogue)
    written = {"index.md": index(shelf), "menus.md": menus(shelf), "names.md": names(shelf)}
    for family, group in groupby(catalogue, key=lambda entry: entry.family):
        members = list(group)
        written[f"{slug(family)}.md"] = family_page(family, members, shelf)
        written |= {
            f"{shelf.path(entry)}.md": "\n".join(page(entry, shelf, known(entry, facts))) for entry in members
        }
    return written


class Shelf:
    """Where each entry's page stands, and how text that names entries is linked to them."""

    def __init__(self, catalogue: Sequence[Entry]) -> None:
        self.entries = catalogue
        names = [entry.name for entry in catalogue]
        self.shared = {name for name in names if names.count(name) > 1}
        # Of two entries of one name, text and menus mean the function.
        self.by_name = {e.name: e for e in sorted(catalogue, key=lambda e: e.kind != "method")}

    def path(self, entry: Entry) -> str:
        """Say where a page is, without its ending: family and name, and the kind where names meet."""
        suffix = f"-{entry.kind}" if entry.name in self.shared else ""
        return f"{slug(entry.family)}/{entry.name}{suffix}"

    def link(self, entry: Entry, *, up: str = "") -> str:
        """Link to an entry; `up` leads from the page back to docs/methods."""
        return f"[`{entry.name}`]({up}{self.path(entry)}.md)"

    def named(self, name: str, *, up: str = "") -> str:
        """Link to the function of a name, or show the name if there is none."""
        return self.link(self.by_name[name], up=up) if name in self.by_name else f"`{name}`"

    def prose(self, text: str, *, up: str = "") -> str:
        """Escape what would be markup; link entries in backticks, and papers."""
        done, parts = 0, list[str]()
        for found in CODE.finditer(text):
            parts += [escaped(text[done : found.start()]), self.named(found[1], up=up)]
            done = found.end()
        return "".join([*parts, escaped(text[done:])])


def escaped(text: str) -> str:
    """Escape Markdown, and make a paper's number a link."""
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", MARKUP.sub(r"\\\1", text))


def slug(family: str) -> str:
    """Name the file of a family."""
    return family.replace(" ", "-")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table."""
    body = [f"| {' | '.join(cells)} |" for cells in rows]
    lines = [f"| {' | '.join(head)} |", f"|{':---|' * len(head)}", *body]
    return ["````{table}", ":align: left", "", *lines, "````", ""]


def code(language: str, text: str, *, width: int = 86) -> Iterator[str]:
    """Show code; a line too wide for a page is broken after commas, and goes on indented."""
    yield f"```{language}"
    for line in text.splitlines():
        shown = ""
        for part in re.split(r"(?<=,) ", line):
            if shown and len(shown) + len(part) >= width:
                yield shown
                shown = f"    {part}"
            else:
                shown += f" {part}" if shown else part
        yield shown
    yield from ("```", "")


def toctree(documents: Iterable[str]) -> list[str]:
    """Put pages into the tree at the side, below this one."""
    return ["```{toctree}", ":hidden:", "", *documents, "```", ""]


def index(shelf: Shelf) -> str:
    """Write the first page: families with their sizes, then the pages across families."""
    lines = [INTRODUCTION]
    rows: list[Sequence[str]] = []
    for family, group in groupby(shelf.entries, key=lambda entry: entry.family):
        found = [shelf.link(entry) for entry in group if entry.kind != "function"]
        rows.append((f"[{family}]({slug(family)}.md)", str(len(found)), ", ".join(found)))
    lines += table(("family", "entries", "called"), rows)
    lines += ["[The menus](menus.md) shows how named methods are put together,"]
    lines += ["[What others mean by a name](names.md) what to expect when coming from elsewhere.", ""]
    families = dict.fromkeys(slug(entry.family) for entry in shelf.entries)
    return "\n".join([*lines, *toctree([*families, "menus", "names"])])


def family_page(family: str, members: Sequence[Entry], shelf: Shelf) -> str:
    """Write the page of a family: a table of its entries."""
    lines = [f"# {family[0].upper()}{family[1:]}", ""]
    for kind, group in groupby(sorted(members, key=order), key=lambda e: e.kind):
        of_kind = list(group)
        if len({entry.kind for entry in members}) > 1:
            lines += [f"## {plural(kind)}", ""]
        rows = [(shelf.link(e), ", ".join(e.needs), shelf.prose(e.summary)) for e in of_kind]
        if any(entry.needs for entry in of_kind):
            lines += table(("name", "needs", "in one line"), rows)
        else:
            lines += table(("name", "in one line"), [(name, summary) for name, _, summary in rows])
    return "\n".join(lines)


def order(entry: Entry) -> tuple[int, str]:
    """Sort by kind: methods first, helpers last."""
    return {"method": 0, "objective": 1, "function": 3}.get(entry.kind, 2), entry.kind


def plural(kind: str) -> str:
    """Head a list of one kind."""
    named = {"theory": "Theory", "function": "Helpers", "shaping": "Shaping"}
    return named.get(kind, f"{kind.capitalize()}s")


def known(entry: Entry, facts: Facts) -> Sequence[str]:
    """Find what the tests hold an entry to: they speak of functions, not of named methods."""
    return () if entry.kind == "method" else facts.get(entry.name, ())


def page(entry: Entry, shelf: Shelf, held_to: Sequence[str]) -> Iterator[str]:
    """Write the page of an entry."""
    up = "../"
    # Not in the tree at the side, which would have hundreds of lines and be built anew for every page.
    yield from ("---", "orphan: true", "---", "")
    family = f"[{entry.family}]({up}{slug(entry.family)}.md)"
    yield from (f"# {entry.name}", "", f"{entry.kind.capitalize()} of the family {family}.", "")
    yield from (shelf.prose(entry.summary, up=up), "")
    if entry.equation:
        yield from code("text", entry.equation)
    for paragraph in entry.about.splitlines():
        yield from (shelf.prose(paragraph, up=up), "")
    for label, text in notes(entry, shelf, up=up):
        yield from (f"**{label}**", f": {text}", "")
    if entry.terms:
        yield from ("## Terms", "", *terms_table(entry.terms, shelf, up=up))
    if entry.inputs:
        rows = [(f"`{name}`", shelf.prose(meaning, up=up)) for name, meaning in entry.inputs.items()]
        yield from ("## Inputs", "", "Supplied by whoever calls.", "", *table(("input", "meaning"), rows))
    if entry.knobs:
        knobs = [(f"`{name}`", f"`{k.shown}`", meaning(k, shelf, up=up)) for name, k in entry.knobs.items()]
        yield from ("## Knobs", "", *table(("knob", "default", "meaning"), knobs))
    if entry.signature:
        home = entry.where.rpartition(".")[0]
        yield from ("## In Python", "", *code("python", f"{home}.{entry.signature}"))
    yield from held_to


def notes(entry: Entry, shelf: Shelf, *, up: str) -> Iterator[tuple[str, str]]:
    """Say what is known of an entry, label by label."""
    if entry.needs:
        yield "needs", ", ".join(entry.needs)
    for label in ("minimises", "optimum", "departs", "peers"):
        if text := getattr(entry, label):
            yield label, shelf.prose(text, up=up)
    for label in ("keep", "bonus", "shaping", "advantage"):
        if names := getattr(entry, label):
            yield label, ", then ".join(shelf.named(name, up=up) for name in names)
    if entry.coupled:
        yield "coupled", "its rows depend on each other: it must see all rows of a step at once"
    if entry.paper:
        yield "paper", shelf.prose(entry.paper, up=up)


def meaning(knob: Knob, shelf: Shelf, *, up: str) -> str:
    """Say what a knob does, and what it may be set to."""
    choices = "one of " + ", ".join(f"`{choice}`" for choice in knob.choices) if knob.choices else ""
    return "; ".join(part for part in (shelf.prose(knob.meaning, up=up), choices) if part)


def terms_table(terms: Iterable[Part], shelf: Shelf, *, up: str) -> list[str]:
    """Write the terms of a method."""
    rows = [
        (
            f"{term.weight:g}",
            shelf.named(term.objective, up=up),
            shelf.named(term.reduction, up=up),
            escaped(term.on),
            ", ".join(f"`{name}` {value}" for name, value in term.knobs.items()),
        )
        for term in terms
    ]
    return table(("weight", "objective", "reduction", "on", "set to"), rows)


def menus(shelf: Shelf) -> str:
    """Write how every named method is put together."""
    rows = [
        (
            shelf.link(entry),
            "<br>".join(shelf.named(part) for part in (*entry.keep, *entry.bonus, *entry.shaping)),
            ", then ".join(shelf.named(part) for part in entry.advantage),
            "<br>".join(written_term(term, shelf) for term in entry.terms),
        )
        for entry in shelf.entries
        if entry.terms
    ]
    return "\n".join([MENUS, *table(("method", "shaping", "advantage", "objective, reduction"), rows)])


def written_term(term: Part, shelf: Shelf) -> str:
    """Write a term in one line."""
    weight = "" if term.weight == 1 else f"{term.weight:g} &times; "
    stream = "" if term.on == "samples" else f" on {escaped(term.on)}"
    return f"{weight}{shelf.named(term.objective)}{stream}, {shelf.named(term.reduction)}"


def names(shelf: Shelf) -> str:
    """Write what peers mean by names."""
    rows = [(shelf.link(e), shelf.prose(e.summary), shelf.prose(e.peers)) for e in shelf.entries if e.peers]
    return "\n".join([NAMES, *table(("here", "what it is", "elsewhere"), rows)])


def write_pages(app: Sphinx) -> None:
    """Write docs/methods afresh."""
    folder = Path(app.srcdir) / "methods"
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in pages(load(), facts=read_facts(Path(app.srcdir).parent)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": False}
