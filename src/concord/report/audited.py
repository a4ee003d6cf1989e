"""An audit as a page: what was read, what is wrong with it, how a model will see it, what was measured."""

from collections.abc import Iterator, Sequence

from concord.data.audited import Audit, Finding, Sample, Table
from concord.report import blocks
from concord.report.blocks import (
    Block,
    Callout,
    Column,
    Command,
    Facts,
    Heading,
    Page,
    Paragraph,
    Samples,
    ShownReply,
    Turn,
    special_apart,
)
from concord.report.results import from_results
from concord.results import Result

__all__ = ["audit_page"]

_ORDER = ("stop", "warn", "note")

# What stands together, under which heading; the first topic that has a name of a result has it.
_TOPICS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "Length and other surfaces",
        ("longer_wins", "length_gap", "more_wins", "first_wins"),
        "The share of comparisons that the side with more of something wins. One half is no preference.",
    ),
    (
        "Fit",
        ("too_long", "covering_length", "unrendered"),
        "What does not fit the model, and what length would do.",
    ),
    (
        "Repetition and contradiction",
        (
            *("duplicates", "near_duplicates", "contradictions", "repeated_pairs"),
            *("chosen_and_rejected", "labels_both_ways"),
        ),
        "",
    ),
    ("Leakage", ("leak",), "What one split has that another is measured on."),
    (
        "Labels and scores",
        (
            *("desirable", "good_steps", "mean_score", "score", "margin"),
            *("votes_agree", "votes_unanimous", "votes_kappa"),
        ),
        "",
    ),
    (
        "Can the preferences be a utility?",
        (
            *("intransitive_triads", "pairs_on_circles", "utility_fit_p", "utility_accuracy"),
            *("utility_accuracy_expected", "repeated_agreement", "noise_ceiling"),
        ),
        "A utility orders all replies. Preferences that go in circles, or that one number a reply does not"
        " explain, cannot be learned by any model of rewards.",
    ),
    ("What the rows hold", ("share",), ""),
)
_TABLED = frozenset({"rows", "rows_of_kind", "skipped_rows", "length", "mean_length"})


def audit_page(
    audit: Audit, *, title: str, read: Sequence[tuple[str, str]] = (), special: Sequence[str] = ()
) -> Page:
    """The page of an audit. `read` are facts on what was read, `special` tokens that samples set apart."""
    return Page(
        title, "What is in the data, before anything is trained on it", tuple(_blocks(audit, read, special))
    )


def _blocks(audit: Audit, read: Sequence[tuple[str, str]], special: Sequence[str]) -> Iterator[Block]:
    yield Facts((*read, ("rows", audit.rows), ("splits", ", ".join(filter(None, audit.splits)) or "one")))
    yield Heading("Findings")
    yield from map(_callout, sorted(audit.findings, key=lambda one: _ORDER.index(one.severity)))
    if not audit.findings:
        yield Paragraph("Nothing was found that one should know before training.")
    if audit.flags:
        yield Heading("Flags")
        yield Paragraph("What training needs to read and render the same rows in the same way.")
        yield Command(audit.flag_line)
    if audit.samples:
        yield Heading("Rows as they will be seen")
        yield Samples(tuple(_sample(one, special) for one in audit.samples), _legend(audit))
    yield Heading("Measured")
    yield from map(_table, audit.tables)
    yield from _topics(audit.results)
    if audit.notes:
        yield Heading("What the readers said")
        yield from map(Paragraph, audit.notes)


def _callout(finding: Finding) -> Callout:
    rows = ", ".join(map(str, finding.rows))
    detail = " ".join(filter(None, (finding.detail, f"For instance: {rows}." if rows else "")))
    return Callout(finding.severity, finding.title, detail, finding.do)


def _legend(audit: Audit) -> str:
    if audit.renderer:
        return "Each sequence as the model is given it; what is learned from is marked."
    return "Without a model there are no tokens; what is learned from is marked in the text."


def _sample(sample: Sample, special: Sequence[str]) -> blocks.Sample:
    place = ", ".join(filter(None, (sample.split, sample.source, str(sample.origin or ""))))
    replies = tuple(
        ShownReply(text.what, (Turn("", special_apart(text.pieces, special)),)) for text in sample.texts
    )
    remarks = (sample.note,) if sample.note else ()
    return blocks.Sample(f"{sample.kind} ({place})" if place else sample.kind, (), replies, remarks)


def _table(table: Table) -> blocks.Table:
    columns = tuple(Column(name.replace("_", " ")) for name in table.columns)
    return blocks.Table(columns, table.rows, caption=table.title)


def _topics(results: Sequence[Result]) -> Iterator[Block]:
    left = [result for result in results if result.name not in _TABLED]
    for heading, names, words in _TOPICS:
        if found := [result for result in left if result.name in names]:
            yield Heading(heading, 2)
            if words:
                yield Paragraph(words)
            yield from_results(found)
    known = {name for _, names, _ in _TOPICS for name in names}
    if other := [result for result in left if result.name not in known]:
        yield Heading("Also", 2)
        yield from_results(other)
