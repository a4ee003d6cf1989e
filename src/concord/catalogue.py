"""The catalogue of methods, read from `methods.json`: what there is, what it needs, what it minimises.

    for entry in search("", family="pairs"):
        print(entry.name, entry.needs, entry.summary)

The file is written from the objectives themselves and read here without torch. Helpers, of kind
`function`, are in the file and can be found by name, but stand in no list of methods.
"""

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from concord.errors import NotFoundError, Said, UnavailableError, explain, nearest

__all__ = [
    "FILE",
    "Entry",
    "Knob",
    "Part",
    "Value",
    "all_needs",
    "families",
    "find",
    "kinds",
    "load",
    "named",
    "search",
]

FILE = Path(__file__).with_name("methods.json")
"""Where the catalogue lies; `make methods` writes it."""

Value = bool | int | float | str | None
"""What a knob may be set to in plain data."""
_ARXIV = re.compile(r"\barXiv (\d{4}\.\d{4,5})")
_HELPER = "function"
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """A setting: its default (None and `required` where there is none), type, meaning and choices.

    range: which numbers make sense, as `[0, 1)`; empty where all do
    """

    default: Value
    type: str
    meaning: str
    choices: tuple[str, ...] = ()
    required: bool = False
    range: str = ""

    @property
    def allowed(self) -> str:
        """The range in words."""
        if not self.range:
            return ""
        low, high = self._ends
        words = (
            [f"{'above' if self.range[0] == '(' else 'of at least'} {low:g}"] if math.isfinite(low) else []
        )
        words += (
            [f"{'below' if self.range[-1] == ')' else 'at most'} {high:g}"] if math.isfinite(high) else []
        )
        return " and ".join([*words, *([] if self.allows(low) or self.allows(high) else ["finite"])])

    def allows(self, value: float) -> bool:
        """Whether a number lies in the range."""
        if not self.range:
            return True
        low, high = self._ends
        inside = low < value < high
        return inside or (value == low and self.range[0] == "[") or (value == high and self.range[-1] == "]")

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = map(float, self.range[1:-1].split(", "))
        return low, high

    @property
    def shown(self) -> str:
        """The default as one would write it."""
        if self.required:
            return "required"
        return self.default if isinstance(self.default, str) else _written(self.default)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One term of a named method: weight times the reduction of an objective on a stream of data."""

    objective: str
    reduction: str
    weight: float
    on: str
    knobs: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry of the catalogue. What does not apply is empty.

    `kind` is objective, method, selection, shaping, advantage, reduction, aggregation, divergence, theory or
    function.
    `needs` is what the data and the models must have, `inputs` what is supplied beside the record, `knobs`
    what may be set; those of a method are called `part.knob`. `keep`, `bonus`, `shaping`,
    `advantage` and `terms` are a method's choice from the menus, in that order.
    """

    name: str
    kind: str
    family: str
    module: str
    signature: str
    summary: str
    equation: str
    about: str
    paper: str
    needs: tuple[str, ...]
    inputs: Mapping[str, str]
    knobs: Mapping[str, Knob]
    coupled: bool
    minimises: str
    optimum: str
    departs: str
    peers: str
    keep: tuple[str, ...]
    bonus: tuple[str, ...]
    shaping: tuple[str, ...]
    advantage: tuple[str, ...]
    terms: tuple[Part, ...]

    @property
    def links(self) -> tuple[str, ...]:
        """Addresses of the papers on arXiv, in the order in which they are named."""
        return tuple(f"https://arxiv.org/abs/{number}" for number in _ARXIV.findall(self.paper))

    @property
    def where(self) -> str:
        """The path by which Python knows the entry; of a method, where it stands as data."""
        if self.terms:
            return f'concord.objectives.METHODS["{self.name}"]'
        return f"{self.module.rpartition('.')[0]}.{self.name}"

    def as_data(self) -> dict[str, Any]:
        """Spell the entry as it stands in the file: legal JSON, infinities as text."""
        return {**cast("dict[str, Any]", _legal(asdict(self))), "links": list(self.links)}


@functools.cache
def load() -> tuple[Entry, ...]:
    """Read the whole catalogue, helpers included, in the order of the menus."""
    try:
        entries = tuple(
            _entry(raw) for raw in cast("list[dict[str, Any]]", json.loads(FILE.read_text("utf-8")))
        )
        if not entries:
            raise ValueError("it is empty")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        wrong = f"the catalogue {FILE} is missing or damaged"
        found, do = Said(str(error)), "reinstall concord-align"
        raise UnavailableError(
            explain(wrong, found=found, accepted="the file as installed", do=do)
        ) from error
    return entries


def _entry(raw: dict[str, Any]) -> Entry:
    values: dict[str, Any] = {
        **raw,
        **{key: tuple(raw[key]) for key in ("needs", "keep", "bonus", "shaping", "advantage")},
        "knobs": {name: _knob(knob) for name, knob in raw["knobs"].items()},
        "terms": tuple(_part(term) for term in raw["terms"]),
    }
    return Entry(**values)


def _knob(raw: dict[str, Any]) -> Knob:
    values: dict[str, Any] = {**raw, "default": _number(raw["default"]), "choices": tuple(raw["choices"])}
    return Knob(**values)


def _part(raw: dict[str, Any]) -> Part:
    values: dict[str, Any] = {**raw, "knobs": {name: _number(value) for name, value in raw["knobs"].items()}}
    return Part(**values)


def _number(value: Value) -> Value:
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def _legal(value: object) -> object:
    """What JSON can spell: lists for tuples, texts for infinities and not-a-number."""
    match value:
        case dict():
            return {key: _legal(item) for key, item in cast("dict[str, object]", value).items()}
        case list() | tuple():
            return [_legal(item) for item in cast("list[object]", value)]
        case float() if not math.isfinite(value):
            return next(name for name, number in _NUMBERS.items() if str(number) == str(value))
        case _:
            return value


def _written(value: Value) -> str:
    """A number without needless zeros: 0.1, 1, 0.0001; True, False and None as Python writes them."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def kinds() -> tuple[str, ...]:
    """Name the kinds of entry there are."""
    return tuple(sorted({entry.kind for entry in load()}))


def families(*, listed: bool = True) -> tuple[str, ...]:
    """Name the families, in the order of the menus; with `listed` those that a list of methods shows."""
    return tuple(dict.fromkeys(e.family for e in load() if not listed or e.kind != _HELPER))


def all_needs() -> tuple[str, ...]:
    """Name everything that some entry needs."""
    return tuple(dict.fromkeys(need for entry in load() for need in entry.needs))


def find(name: str, *, kind: str = "") -> Entry:
    """The entry of a name; where a method and an objective share one, the method, unless a kind is given."""
    return named(name, kind=kind)[0]


def named(name: str, *, kind: str = "") -> tuple[Entry, ...]:
    """All entries of a name, methods first; `SLiC-HF`, with capitals and a hyphen, is `slic_hf`."""
    plain = _plain(name)
    of_kinds = _one_of("kind", kind, kinds())
    found = [e for e in load() if e.name == plain and e.kind in of_kinds]
    if found:
        return tuple(sorted(found, key=lambda e: e.kind != "method"))
    known = [e.name for e in load() if e.kind in of_kinds]
    raise NotFoundError(
        explain(
            f"there is no {kind or 'method'} of this name",
            found=name,
            accepted=_near(plain, known) + f"one of the {len(set(known))} names in the catalogue",
            do="`concord methods` lists them, `concord methods --search TEXT` looks for a word",
        )
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s.\-]+", "_", name.strip().lower())


def _near(name: str, known: Iterable[str]) -> str:
    """What was probably meant, if anything comes near: text that ends in `or`."""
    names = set(known)
    close = get_close_matches(name, sorted(names), n=4, cutoff=0.6)
    close += sorted(n for n in names if len(name) > 2 and name in n and n not in close)[: 6 - len(close)]
    return f"{nearest(name, close)}, or " if close else ""


def search(text: str = "", *, family: str = "", needs: str = "", kind: str = "") -> tuple[Entry, ...]:
    """The entries that fit everything given, in the order of the menus; helpers only for their own kind.

    `text`: every word occurs somewhere in the entry. `family`: its name, that of its module, or a part of
    its name. `needs`: things named with commas, all of which the entry needs. A family, kind or need that
    there is not is an error, not an empty answer.
    """
    words = text.lower().split()
    in_families = _one_of("family", _aliases().get(family, family), families(listed=kind != _HELPER))
    wanted = [_one_of("need", part, all_needs()) for part in needs.split(",") if part.strip()]
    of_kinds = _one_of("kind", kind, kinds()) if kind else set(kinds()) - {_HELPER}
    return tuple(
        entry
        for entry in load()
        if entry.kind in of_kinds
        and entry.family in in_families
        and all(not accepted.isdisjoint(entry.needs) for accepted in wanted)
        and all(word in _haystack(entry) for word in words)
    )


def _aliases() -> Mapping[str, str]:
    """Families by the names of the modules that hold their objectives: `contrast`, `replies`."""
    return {e.module.rpartition(".")[2]: e.family for e in load() if e.kind != "method"}


def _one_of(what: str, wanted: str, known: tuple[str, ...]) -> set[str]:
    """Those that are called what is wanted, or else have it in their name; all if nothing is wanted."""
    plain = wanted.strip().lower()
    found = {plain} & set(known) or {name for name in known if plain in name}
    if not found:
        wrong, accepted = f"there is no such {what}", nearest(plain, known)
        raise NotFoundError(explain(wrong, found=wanted, accepted=accepted, do="name one of these"))
    return found


def _haystack(entry: Entry) -> str:
    parts = (entry.name, entry.kind, entry.family, entry.summary, entry.about, entry.equation, entry.paper)
    notes = (entry.minimises, entry.optimum, entry.departs, entry.peers, *entry.needs, *entry.inputs.values())
    return "\n".join((*parts, *notes, *(knob.meaning for knob in entry.knobs.values()))).lower()
