"""What an audit measured, in tables with words for names: lengths, bias, repetition, leaks, labels."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from concord.data.auditing.bias import TRAITS
from concord.data.auditing.facts import FACTS
from concord.data.auditing.findings import RULES
from concord.data.auditing.records import Audit, LengthCounts
from concord.report.blocks import (
    Axis,
    Block,
    Cell,
    Column,
    Counts,
    Heading,
    Histogram,
    Mark,
    Measured,
    Noted,
    Paragraph,
    Table,
)
from concord.report.numbers import with_interval
from concord.report.results import from_results
from concord.report.words import short_path
from concord.results import Result

__all__ = ["measured_blocks"]

_WHOLE = ""  # the split of what was measured over all splits
_SIDES = ("prompt", "reply", "chosen", "rejected", "row", "conversation")

# What a result is called, with its coordinates filled in. Those of one heading stand in one table.
_WORDS: Mapping[str, Mapping[str, str]] = {
    "Repetition and contradiction": {
        "duplicates": "{of} that repeat an earlier one",
        "near_duplicates": "different {of} that nearly repeat another",
        "repeated_pairs": "pairs that were compared before",
        "contradictions": "pairs that are preferred the other way elsewhere",
        "chosen_and_rejected": "pairs with a reply chosen here, rejected elsewhere",
        "labels_both_ways": "labelled replies with the other label elsewhere",
    },
    "Leaks between splits": {"leak": "rows of {into} whose {of} in {from}"},
    "Labels": {
        "desirable": "labelled replies that are desirable",
        "good_steps": "labelled steps that are good",
        "votes_unanimous": "comparisons whose votes all agree",
        "votes_agree": "two voters on one comparison agree",
    },
    "Can the preferences be a utility?": {
        "intransitive_triads": "triads of replies that go in a circle",
        "pairs_on_circles": "pairs that stand on a circle",
        "utility_accuracy": "judgements in the order of the fitted utility",
        "utility_accuracy_expected": "the same, were that utility true",
        "repeated_agreement": "two judgements of the same pair agree",
        "noise_ceiling": "the most that any model can agree with one judgement",
    },
    "What the rows hold": {"share": ""},
}
# What each heading has to say before its table.
_SAID = {
    "Can the preferences be a utility?": "A utility gives each reply a number and so orders all of them. "
    "Preferences that go in circles have none, and no reward model can learn them.",
}
# Words that are not enough: the footnote says how it was measured.
_EXPLAINED = {
    *("near_duplicates", "chosen_and_rejected", "votes_agree", "intransitive_triads", "pairs_on_circles"),
    *("utility_accuracy", "utility_accuracy_expected", "noise_ceiling"),
}
# What stands in tables and sentences of its own.
_ELSEWHERE = frozenset(
    {
        *("rows", "rows_of_kind", "skipped_rows", "unrendered", "too_long", "covering_length"),
        *("length", "mean_length", "longer_wins", "length_gap", "more_wins", "first_wins"),
        *("score", "margin", "mean_score", "votes_kappa", "utility_fit_p"),
    }
)
_LEAKS = {
    "prompts": "prompt stands",
    "prompts with a reply": "prompt stands with the same reply",
    "near prompts": "prompt stands, exactly or nearly,",
}


def measured_blocks(audit: Audit) -> Iterator[Block]:
    """The numbers of an audit, the most asked for first; what there is nothing of is left out."""
    yield Heading("Measured")
    yield from _intervals(audit.results)
    yield from _places(audit)
    yield from _lengths(audit)
    yield from _fit(audit)
    yield from _bias(audit)
    for heading, words in _WORDS.items():
        found = [one for one in audit.results if one.name in words and "source" not in one.at]
        told = [*_verdict(audit)] if "utility_accuracy" in words else []
        if found or told:
            yield Heading(heading, 2)
            if heading in _SAID:
                yield Paragraph(_SAID[heading])
            yield from told
            yield from _shares(found, words)
        if heading == "Labels":
            yield from _scores(audit)
    known = _ELSEWHERE.union(*_WORDS.values())
    if other := [one for one in audit.results if one.name not in known]:
        yield Heading("Also", 2)
        yield from_results(other)


# --- where rows are from ----------------------------------------------------------------------------------


def _places(audit: Audit) -> Iterator[Block]:
    """What each split holds and where rows come from, where there are several of them."""
    tables = [table for table in audit.tables if len(table.rows) > 1]
    if tables:
        yield Heading("Splits and sources", 2)
    for table in tables:
        known = [at for at in range(len(table.columns)) if any(row[at] is not None for row in table.rows)]
        shares = {"share", "longer wins", "desirable"}
        columns = tuple(
            Column(name, per_cent=name in shares, decimals=None if name in shares else 0, bar=name == "share")
            for name in (table.columns[at] for at in known)
        )
        names = _shortest([str(row[0]) for row in table.rows])
        rows = tuple(
            (name, *(row[at] for at in known[1:])) for name, row in zip(names, table.rows, strict=True)
        )
        yield Table(columns, rows, caption=table.title)


def _shortest(paths: Sequence[str]) -> list[str]:
    """File names in place of paths, where these tell them apart."""
    names = [(short_path(path) if path.startswith("/") else path) or "(not said)" for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


# --- lengths ----------------------------------------------------------------------------------------------


def _lengths(audit: Audit) -> Iterator[Block]:
    """Tables of percentiles, and a histogram."""
    lengths = [one for one in audit.results if one.name in ("length", "mean_length")]
    # Plain text has no prompts: none has a character, or more than the token that opens a text.
    empty = {one.at["side"] for one in lengths if one.at.get("percentile") == 100 and one.value in (0, 1)}
    lengths = [one for one in lengths if one.at["side"] not in empty]
    if not lengths:
        return
    yield Heading("Lengths", 2)
    for unit in (_unit(audit), "turns"):
        found = sorted((one for one in lengths if one.at["unit"] == unit), key=_place_of_side)
        if unit != "turns" or len({one.value for one in found}) > 1:
            yield replace(_percentiles(found), caption=f"In {unit}: the mean, and percentiles")
    yield from (_histogram(audit, one, empty) for one in audit.lengths if one.unit == _unit(audit))


def _unit(audit: Audit) -> str:
    """What lengths are told in: tokens, where something made them."""
    return "tokens" if any(one.unit == "tokens" for one in audit.lengths) else "characters"


def _place_of_side(one: Result) -> int:
    return _SIDES.index(str(one.at["side"]))


def _percentiles(results: Sequence[Result]) -> Table:
    """Percentiles and, where there is one, a mean; a row for each setting of the other coordinates."""
    rows: dict[str, dict[str, float | None]] = {}
    for one in results:
        place = ", ".join(str(at) for key, at in one.at.items() if key not in ("percentile", "unit"))
        share = one.at.get("percentile")
        head = "mean" if share is None else {50: "median", 100: "longest"}.get(int(share), f"{share:g}%")
        rows.setdefault(place, {})[head] = one.value
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    columns = (Column("side"), *(Column(head, decimals=0) for head in heads))
    return Table(columns, tuple((place, *(row.get(head) for head in heads)) for place, row in rows.items()))


def _histogram(audit: Audit, lengths: LengthCounts, empty: Collection[str | float]) -> Histogram:
    sides = {side: counts for side, counts in lengths.counts.items() if side not in empty}
    if "chosen" in sides:
        del sides["reply"]
    if len(sides) == 2:
        del sides["row"]  # which is its prompt, or its reply, and no more
    limit = audit.result("too_long")
    told = ["A row is a prompt with its longest reply."] if "row" in sides else []
    told += ["Lengths of 0 stand at the left end."] if lengths.zeros and not empty else []
    marks = () if limit is None else (Mark(float(limit.at["limit"]), "the limit"),)
    return Histogram(
        "How long they are",
        Axis("length", lengths.unit, log=lengths.log),
        tuple(map(float, lengths.edges)),
        tuple(Counts(side, counts) for side, counts in sides.items()),
        y=Axis("prompts, replies, rows" if "row" in sides else "rows"),
        caption=" ".join(told),
        marks=marks if lengths.unit == "tokens" else (),
    )


def _fit(audit: Audit) -> Iterator[Block]:
    """Which --max-length so many rows would fit."""
    lengths = [one for one in audit.results if one.name == "covering_length"]
    if lengths:
        rows = tuple((f"{100 * float(one.at['share']):g}% of the rows", one.value) for one in lengths)
        columns = (Column("for"), Column("--max-length", "tokens", decimals=0))
        long = audit.result("too_long")
        notes = () if long is None else (f"Beyond {long.at['limit']:,} tokens are {long.how}.",)
        yield Table(columns, rows, caption="What --max-length must be", notes=notes)


# --- what goes with winning -------------------------------------------------------------------------------


def _bias(audit: Audit) -> Iterator[Block]:
    unit = _unit(audit)
    longer = [one for one in audit.results if one.name == "longer_wins" and one.at["length"] == unit]
    if not longer:
        return
    yield Heading("Does the longer reply win?", 2)
    gap = audit.result("length_gap", length=unit)
    yield Paragraph(" ".join(("A share of 50% is no preference.", *([_gap(gap)] if gap else ()))))
    rows = tuple(
        (str(one.at.get("bucket") or one.at.get("split") or "all comparisons"), *_share_and_n(one))
        for one in longer
        if "source" not in one.at
    )
    wins = Column("wins", per_cent=True, decimals=1, bar=True)
    yield Table((Column(f"by {unit}, the longer reply is"), wins, Column("of")), rows)
    others = [
        one for one in audit.results if one.name in ("more_wins", "first_wins") and one.value is not None
    ]
    if others:
        named = [(_other(one), *_share_and_n(one)) for one in others]
        columns = (Column("the winner"), replace(wins, name="share"), Column("of"))
        yield Table(columns, tuple(named), caption="Other surfaces")


def _gap(gap: Result) -> str:
    if gap.value is None:
        return ""
    longer, ends = gap.value > 0, gap.interval
    if ends and not longer:
        ends = replace(ends, low=-ends.high, high=-ends.low)
    by = with_interval(abs(gap.value), ends)
    return f"Winners are {by} {gap.unit} {'longer' if longer else 'shorter'} than losers, on average."


def _other(one: Result) -> Cell:
    if one.name == "first_wins":
        words = "stands first in its row"
        named = "Columns named for the winner put it always in one place, which says nothing."
        return Noted(words, named) if one.value in (0.0, 1.0) else words
    return f"has more {TRAITS[str(one.at['trait'])]}"


def _share_and_n(one: Result) -> tuple[Cell, Cell]:
    return Measured(one.value, one.interval), one.n


# --- shares by what is counted ----------------------------------------------------------------------------


def _shares(results: Sequence[Result], words: Mapping[str, str]) -> Iterator[Block]:
    """A row for each thing, a column for each split; what could not be measured says why, once."""
    told = [one for one in results if one.value is not None]
    rows: dict[str, dict[str, Result]] = {}
    for one in told:
        rows.setdefault(_named(one, words), {})[str(one.at.get("split", _WHOLE))] = one
    splits = list(dict.fromkeys(split for row in rows.values() for split in row if split))
    columns = (
        Column("what"),
        Column("share", per_cent=True, decimals=1, bar=True),
        Column("of"),
        *(Column(split, per_cent=True, decimals=1) for split in splits),
    )
    cells: list[tuple[Cell, ...]] = []
    unexplained = set(_EXPLAINED)
    for name, row in rows.items():
        whole = row.get(_WHOLE) or next(iter(row.values()))
        head: Cell = name
        if whole.name in unexplained:
            unexplained.remove(whole.name)
            head = Noted(name, _explained(whole))
        parts = (
            Measured(row[split].value, row[split].interval) if split in row else None for split in splits
        )
        share = Measured(whole.value, whole.interval)
        cells.append((head, share, _counted(whole.n, whole.unit), *parts))
    if cells:
        yield Table(columns, tuple(cells))
    untold = dict.fromkeys(one.why_none for one in results)
    if reasons := " ".join(filter(None, untold)):
        yield Paragraph(f"Not measured: {reasons}")


def _named(one: Result, words: Mapping[str, str]) -> str:
    of = str(one.at.get("of", ""))
    if one.name == "share":
        return FACTS.get(of, of)
    return words[one.name].format_map({**one.at, "of": _LEAKS.get(of, of) if one.name == "leak" else of})


def _counted(n: int, unit: str) -> str:
    one = unit.removesuffix("s") if unit != "replies" else "reply"
    return f"{n:,} {one if n == 1 else unit}"


def _explained(one: Result) -> str:
    return f"{one.how[:1].upper()}{one.how[1:]}."


def _verdict(audit: Audit) -> Iterator[Block]:
    """In one sentence whether the preferences can be a utility."""
    fit = audit.result("utility_fit_p")
    if fit is None:
        return
    if fit.value is None:
        yield Paragraph(fit.why_none)
    elif fit.value < RULES["no_utility"].threshold:
        yield Paragraph(f"No: no utility explains who won (p = {fit.value:.2g}).")
    else:
        yield Paragraph(f"Nothing speaks against it: a utility explains who won (p = {fit.value:.2g}).")


# --- scores -----------------------------------------------------------------------------------------------


def _scores(audit: Audit) -> Iterator[Block]:
    """Scores and margins in percentiles, means of aspects, agreement beyond chance."""
    results = [one for one in audit.results if one.name in ("score", "margin")]
    means = [one for one in audit.results if one.name == "mean_score"]
    kappa = audit.result("votes_kappa")
    for name, of_one in groupby(results, key=lambda one: one.name):
        table = _percentiles(list(of_one))
        caption = "Scores, in percentiles" if name == "score" else "How far apart, in percentiles"
        columns = (Column("of"), *(Column(_most(one.name)) for one in table.columns[1:]))
        yield Table(columns, tuple((row[0] or "scores", *row[1:]) for row in table.rows), caption=caption)
    if means:
        rows = tuple((str(one.at.get("aspect", "all")), one.value, one.n) for one in means)
        yield Table((Column("aspect"), Column("mean score"), Column("of")), rows)
    if kappa is not None and kappa.value is not None:
        words = "agreement of voters beyond chance, as Fleiss' kappa"
        yield Paragraph(f"The {words}: {kappa.value:.2f} (1 is full agreement, 0 none but by chance).")


def _most(head: str) -> str:
    return "most" if head == "longest" else head


def _intervals(results: Sequence[Result]) -> Iterator[Block]:
    """What the brackets mean."""
    if known := [one.interval for one in results if one.interval]:
        prompts = any("prompts" in one.how for one in known)
        counted = " They count prompts, not rows, as far as the rows of a prompt agree." if prompts else ""
        yield Paragraph(f"In brackets: {100 * known[0].level:g}% intervals.{counted}")
