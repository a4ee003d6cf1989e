"""The page of an audit: what opens it, findings, flags, mappings, and rows as they will be seen."""

from dataclasses import replace

from concord.data.auditing.records import Audit, Sample, SampleText
from concord.findings import Finding
from concord.report.audited import audit_page
from concord.report.blocks import Callout, Command, Facts, Heading, Paragraph, Piece, Samples, Table, Turn
from concord.types import Origin

FILE = "/far/away/rows.jsonl"
SAMPLE = Sample(
    kind="comparison",
    split="train",
    source=FILE,
    origin=Origin(FILE, 7),
    texts=(
        SampleText("chosen", (("<s>ask", False), ("good</s>", True))),
        SampleText("rejected", (("<s>ask", False), ("bad</s>", True))),
    ),
)
AUDIT = Audit(results=(), samples=(SAMPLE,), rows=1, splits=("train",), mappings={"train": "prompt=p"})


def sample(audit: Audit) -> Samples:
    (found,) = [
        one
        for one in audit_page(audit, title="T", special=["<s>", "</s>"]).blocks
        if isinstance(one, Samples)
    ]
    return found


def test_a_row_is_named_once_by_file_and_line() -> None:
    assert sample(AUDIT).samples[0].title == "comparison, rows.jsonl, line 7"
    named = replace(AUDIT, samples=(replace(SAMPLE, source="web"),), splits=("train", "test"))
    assert sample(named).samples[0].title == "comparison, train, web, rows.jsonl, line 7"
    bare = replace(AUDIT, samples=(replace(SAMPLE, source="", origin=None),))
    assert sample(bare).samples[0].title == "comparison"


def test_a_prompt_that_replies_share_is_shown_once() -> None:
    shown = sample(AUDIT).samples[0]
    assert shown.prompt == (Turn("", (Piece("<s>", special=True), Piece("ask"))),)
    good = (Piece("good", trained=True), Piece("</s>", trained=True, special=True))
    assert [reply.label for reply in shown.replies] == ["chosen", "rejected"]
    assert shown.replies[0].turns == (Turn("", good),)
    alone = replace(AUDIT, samples=(replace(SAMPLE, texts=SAMPLE.texts[:1]),))
    assert sample(alone).samples[0].prompt == ()
    assert sample(alone).samples[0].replies[0].turns[0].pieces[:2] == shown.prompt[0].pieces


def test_what_both_learn_from_is_never_taken_for_their_prompt() -> None:
    same = tuple(SampleText(what, (("ask", False), ("same", True))) for what in ("chosen", "rejected"))
    shown = sample(replace(AUDIT, samples=(replace(SAMPLE, texts=same),))).samples[0]
    assert [len(reply.turns[0].pieces) for reply in shown.replies] == [1, 1]


def test_findings_come_by_gravity_and_are_counted() -> None:
    rows = (Origin("a/b.jsonl", 3), Origin("a/b.jsonl", 1500), Origin("a/b.jsonl", 3), Origin("c.csv", 2))
    findings = (
        Finding(name="n", severity="note", title="Last"),
        Finding(name="s", severity="stop", title="First", detail="So it is.", do="Mend it.", rows=rows),
        Finding(name="m", severity="note", title="Also last"),
    )
    page = audit_page(replace(AUDIT, findings=findings, rows=1200), title="T")
    told = [one for one in page.blocks if isinstance(one, Callout)]
    assert [one.title for one in told] == ["First", "Last", "Also last"]
    assert told[0].detail == "So it is. For instance b.jsonl, lines 3, 1500; c.csv, line 2."
    assert told[1].detail == ""
    assert page.subtitle == "1 reason to stop, 2 notes in 1,200 rows."
    assert audit_page(AUDIT, title="T").subtitle == "Nothing to mind in 1 row."
    stops = replace(AUDIT, findings=(findings[1], findings[1]))
    assert audit_page(stops, title="T").subtitle == "2 reasons to stop in 1 row."


def test_flags_can_be_copied_and_splits_that_differ_have_their_own() -> None:
    flags = ("--max-length", "64", "--on-long", "drop", "--stop-token", "</s>")
    two = {"train": "prompt=p", "test": "prompt=it's"}
    page = audit_page(replace(AUDIT, flags=flags, mappings=two), title="T")
    assert [(one.title, one.line) for one in page.blocks if isinstance(one, Command)] == [
        ("", "--max-length 64 --on-long drop --stop-token '</s>'"),
        ("For train", "--map prompt=p"),
        ("For test", "--map 'prompt=it'\"'\"'s'"),
    ]
    assert any(isinstance(one, Paragraph) and "`prompt-left`" in one.text for one in page.blocks)
    assert not [one for one in audit_page(AUDIT, title="T").blocks if isinstance(one, Command)]


def test_columns_of_one_meaning_are_one_row_and_equal_splits_one_table() -> None:
    read = (("q", "the prompt"), ("id", "kept"), ("url", "kept"))
    other = (("question", "the prompt"),)

    def tables(columns: dict[str, tuple[tuple[str, str], ...]]) -> list[Table]:
        blocks = audit_page(AUDIT, title="T", columns=columns).blocks
        return [one for one in blocks if isinstance(one, Table)]

    (one,) = tables({"train": read, "test": read})
    assert one.rows == (("q", "the prompt"), ("id, url", "kept"))
    assert one.caption == ""
    assert [table.caption for table in tables({"train": read, "test": other})] == ["In train", "In test"]


def test_facts_and_what_readers_said() -> None:
    page = audit_page(
        replace(AUDIT, splits=("train", "test"), notes=("A file is empty.",)), title="T", read=(("a", "b"),)
    )
    assert page.blocks[0] == Facts((("a", "b"), ("rows", 1), ("splits", "train, test")))
    assert page.blocks[-2:] == (Heading("What the readers said", 2), Paragraph("A file is empty."))
