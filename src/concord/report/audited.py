"""An audit as a page: what was read, what is wrong with it, how to train on it, how a model will see it."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from concord.data.auditing.records import Audit, Sample
from concord.findings import Finding, gravest_first
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
)
from concord.report.measured import measured_blocks
from concord.report.pieces import special_apart
from concord.report.words import short_path
from concord.types import Origin

__all__ = ["audit_page"]

_GRAVITY = {"stop": "reason to stop", "warn": "warning", "note": "note"}
_Columns = Sequence[tuple[str, str]]


def audit_page(
    audit: Audit,
    *,
    title: str,
    read: Sequence[tuple[str, str]] = (),
    columns: Mapping[str, _Columns] | None = None,
    special: Sequence[str] = (),
) -> Page:
    """The page of an audit.

    read: facts on what was read, which open the page
    columns: for each split its columns, each with what becomes of it
    special: tokens that samples set apart
    """
    parts = (
        Facts((*read, ("rows", audit.rows), *_splits(audit))),
        *_findings(audit),
        *_flags(audit),
        *_mapped(columns or {}),
        *_samples(audit, special),
        *measured_blocks(audit),
        *_said(audit),
    )
    return Page(title, _summary(audit), parts)


def _summary(audit: Audit) -> str:
    """How much there is to mind, in one line."""
    counts = Counter(one.severity for one in audit.findings)
    parts = [f"{counts[one]} {_plural(word, counts[one])}" for one, word in _GRAVITY.items() if counts[one]]
    return f"{', '.join(parts) or 'Nothing to mind'} in {audit.rows:,} {_plural('row', audit.rows)}."


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word.replace("reason", "reasons") if " " in word else f"{word}s"


def _splits(audit: Audit) -> Sequence[tuple[str, str]]:
    return (("splits", ", ".join(audit.splits)),) if len(audit.splits) > 1 else ()


# --- findings ---------------------------------------------------------------------------------------------


def _findings(audit: Audit) -> Iterator[Block]:
    yield Heading("Findings")
    yield from map(_callout, gravest_first(audit.findings))
    if not audit.findings:
        yield Paragraph("Nothing was found that one should know before training.")


def _callout(finding: Finding) -> Callout:
    seen = f"For instance {_rows(finding.rows)}." if finding.rows else ""
    return Callout(
        finding.severity, finding.title, " ".join(filter(None, (finding.detail, seen))), finding.do
    )


def _rows(origins: Sequence[Origin]) -> str:
    """Rows by file and line, each file once and without its folders."""
    parts: list[str] = []
    for file, of_file in groupby(origins, key=lambda one: one.file):
        lines = ", ".join(dict.fromkeys(str(one.line) for one in of_file if one.line is not None))
        parts.append(f"{short_path(file)}, {'lines' if ',' in lines else 'line'} {lines}" if lines else file)
    return "; ".join(parts)


# --- how to train on it -----------------------------------------------------------------------------------


def _flags(audit: Audit) -> Iterator[Block]:
    lines = dict.fromkeys(audit.mappings.values())
    if not audit.flags and len(lines) < 2:
        return
    yield Heading("To train on it")
    yield Paragraph(
        "What training must be told, to read these rows and make tokens of them as was done here."
    )
    if audit.flags:
        yield Command(audit.flag_line)
    if "--on-long" in audit.flags:
        yield Paragraph(
            "`--on-long drop` leaves out the rows that are longer; `prompt-left` cuts the beginning of their"
            " prompt instead, `reply-right` the end of their reply."
        )
    if len(lines) > 1:
        yield Paragraph("The splits have columns of their own, so each has a mapping of its own.")
        for split, line in audit.mappings.items():
            yield Command(shlex.join(("--map", line)), f"For {split}")


def _mapped(columns: Mapping[str, _Columns]) -> Iterator[Block]:
    """Which column became what; once, where all splits have the same."""
    known = {split: tuple(one) for split, one in columns.items()}
    if not any(known.values()):
        return
    yield Heading("How the rows were read")
    same = len(set(known.values())) == 1
    for split, pairs in known.items():
        # Columns of one meaning in one row: often there are many that nothing is done with.
        meanings: dict[str, list[str]] = {}
        for column, becomes in pairs:
            meanings.setdefault(becomes, []).append(column)
        rows = tuple((", ".join(names), becomes) for becomes, names in meanings.items())
        yield blocks.Table((Column("column"), Column("becomes")), rows, caption="" if same else f"In {split}")
        if same:
            break


# --- rows as they will be seen ----------------------------------------------------------------------------


def _samples(audit: Audit, special: Sequence[str]) -> Iterator[Block]:
    if not audit.samples:
        return
    yield Heading("Rows as they will be seen")
    words = (
        "Each sequence as the model is given it; what is learned from is marked."
        if audit.renderer
        else "Without a model there are no tokens; what is learned from is marked in the text."
    )
    several = len(audit.splits) > 1
    yield Samples(tuple(_sample(one, special, several=several) for one in audit.samples), words)


def _sample(sample: Sample, special: Sequence[str], *, several: bool) -> blocks.Sample:
    origin = sample.origin
    row = _rows([origin]) if origin else ""
    # Where no column names a source its file does, which the row says already.
    source = "" if origin and sample.source == origin.file else sample.source
    title = ", ".join(filter(None, (sample.kind, sample.split if several else "", source, row)))
    texts = [special_apart(text.pieces, special) for text in sample.texts]
    shared = _shared(texts) if len(texts) > 1 else 0
    asked = (Turn("", texts[0][:shared]),) if shared else ()
    replies = tuple(
        ShownReply(text.what, (Turn("", pieces[shared:]),))
        for text, pieces in zip(sample.texts, texts, strict=True)
    )
    return blocks.Sample(title, asked, replies, (sample.note,) if sample.note else ())


def _shared(texts: Sequence[tuple[blocks.Piece, ...]]) -> int:
    """How many pieces all sequences begin with alike: their prompt, which is shown once."""
    at = 0
    for pieces in zip(*texts, strict=False):
        if len(set(pieces)) > 1 or pieces[0].trained:
            break
        at += 1
    return at


def _said(audit: Audit) -> Iterator[Block]:
    if audit.notes:
        yield Heading("What the readers said", 2)
        yield from map(Paragraph, audit.notes)
