"""The page of a training run, made of directories such as runs leave: finished, stopped, failed, new."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from concord import wire
from concord.data import Audit, Finding
from concord.durable import write_json
from concord.errors import ConcordError
from concord.eval.course.greedy import GreedyReplies, GreedyReply
from concord.report.blocks import (
    Block,
    Callout,
    Cell,
    Command,
    Curve,
    Facts,
    Heading,
    Page,
    Paragraph,
    Samples,
    Table,
)
from concord.report.html import page_html
from concord.report.trained import trained_page
from concord.results import Result
from concord.run import Run, State, find_run
from tests.report.pages import HOSTILE
from tests.report.reading import read_page

SETTINGS: Mapping[str, object] = {
    "method": "dpo",
    "model": {"run": "sft"},
    "data": ["far/away/prefs.jsonl", "more.csv"],
    "beta": 0.1,
    "learning_rate": 5e-7,
    "max_grad_norm": 1.0,
    "train": "full",
    "max_steps": 40,
    "lora_r": None,
    "offline": False,
}
RECIPE = "method: dpo\nmodel: {run: sft}\ndata: [far/away/prefs.jsonl, more.csv]\n"
ROWS = [
    {"step": step, "epoch": step / 30, "loss": 0.7 - 0.005 * step, "num_tokens": 100 * step}
    for step in range(1, 31)
]


def trained(
    root: Path,
    *,
    rows: Sequence[Mapping[str, float]] = ROWS,
    state: State = "finished",
    reason: str = "",
    files: Mapping[str, Any] | None = None,
    recipe: str = RECIPE,
) -> Path:
    """The directory of a run that logged these rows and left these files."""
    with Run.open(root, name="mine", recipe=recipe, resolved=SETTINGS, inputs={"data": "ab"}) as run:
        run.mark("running")
        for row in rows:
            run.append_metrics(row)
        for name, content in (files or {}).items():
            (run.path / name).parent.mkdir(exist_ok=True)
            write_json(run.path / name, content)
        run.mark(state, reason=reason)
    return run.path


def replies(step: int, *texts: str) -> dict[str, Any]:
    samples = tuple(
        GreedyReply(prompt=f"p{at}", reply=text, finish="stop" if at else "length", tokens=len(text))
        for at, text in enumerate(texts)
    )
    said = wire.to_json(GreedyReplies(step=step, samples=samples))
    assert isinstance(said, dict)
    return said


def below(page: Page, heading: str) -> list[Block]:
    """The blocks under a heading, up to the next one."""
    at = next(at for at, one in enumerate(page.blocks) if isinstance(one, Heading) and one.text == heading)
    rest = page.blocks[at + 1 :]
    end = next((at for at, one in enumerate(rest) if isinstance(one, Heading)), len(rest))
    return list(rest[:end])


def callouts(page: Page) -> list[tuple[str, str]]:
    return [(one.severity, one.title) for one in page.blocks if isinstance(one, Callout)]


def table(blocks: Sequence[Block]) -> Table:
    return next(one for one in blocks if isinstance(one, Table))


def named(shown: Table) -> dict[Cell, Cell]:
    """A table of two columns as names and values."""
    return {row[0]: row[1] for row in shown.rows}


def test_a_sound_run_opens_with_what_it_is_and_a_verdict(tmp_path: Path) -> None:
    page = trained_page(trained(tmp_path))
    assert page.title == "mine"
    assert page.subtitle == "Training by dpo: finished after 30 steps."
    assert isinstance(page.blocks[0], Facts)
    facts = dict(page.blocks[0].facts)
    assert facts["Method"] == "dpo"
    assert facts["Model"] == '{"run": "sft"}'
    assert facts["Data"] == "prefs.jsonl, more.csv"
    assert (facts["Steps"], facts["Tokens computed"]) == ("30 of 40", 3000)
    assert str(facts["Finished"]).endswith(" UTC")
    assert callouts(page) == []
    (verdict,) = below(page, "What to think of it")
    assert isinstance(verdict, Paragraph)
    assert verdict.text.startswith("Nothing in the curves")
    assert [one.title for one in page.blocks if isinstance(one, Curve)] == ["Loss"]


@pytest.mark.parametrize(
    ("state", "severity", "words"),
    [("failed", "stop", "failed"), ("stopped", "warn", "was stopped"), ("new", "note", "is not finished")],
)
def test_a_run_that_did_not_finish_says_so_first(
    tmp_path: Path, state: State, severity: str, words: str
) -> None:
    page = trained_page(trained(tmp_path, state=state, reason="the disk is full", rows=ROWS[:3]))
    first = page.blocks[1]
    assert isinstance(first, Callout)
    assert first.severity == severity
    assert words in first.title
    if state != "new":
        assert first.detail == "the disk is full"
    assert "after 3 steps" in page.subtitle
    assert ("note", "3 logged steps are too few to judge the curves") in callouts(page)


def test_a_run_is_gone_on_with_where_there_is_a_checkpoint(tmp_path: Path) -> None:
    path = trained(tmp_path, state="stopped")
    (first,) = (one for one in trained_page(path).blocks if isinstance(one, Callout))
    assert first.do == "Run the same command again."
    (path / "checkpoints" / "checkpoint-20").mkdir()
    (first,) = (one for one in trained_page(path).blocks if isinstance(one, Callout))
    assert "with `--resume`" in first.do


def test_a_run_that_has_done_nothing_has_a_page(tmp_path: Path) -> None:
    page = trained_page(trained(tmp_path, rows=[], state="failed", reason="no data"))
    assert below(page, "Key figures") == [Paragraph("Nothing has been logged yet.")]
    assert "mine" in read_page(page_html(page)).text


def test_findings_of_curves_and_replies_stand_together_by_gravity(tmp_path: Path) -> None:
    rows = [row | {"grad_norm": 3.0} for row in ROWS] + [{"step": 31, "loss": float("inf")}]
    files = {"samples/step-0.json": replies(0, "a", "b"), "samples/step-31.json": replies(31, "", "")}
    page = trained_page(trained(tmp_path, rows=rows, files=files))
    found = callouts(page)
    assert [severity for severity, _ in found] == ["stop", "warn", "note"]
    assert found[1][1] == "2 of 2 greedy replies are empty"


def test_replies_before_stand_beside_the_last_ones(tmp_path: Path) -> None:
    files = {
        "samples/step-0.json": replies(0, "old", "older"),
        "samples/step-9.json": replies(9, "not shown"),
        "samples/step-10.json": replies(10, "new", "newer", "without a first one"),
        "samples/notes.json": {},
    }
    page = trained_page(trained(tmp_path, files=files))
    (block,) = below(page, "What it says")
    assert isinstance(block, Samples)
    first, _, third = block.samples
    assert first.prompt[0].pieces[0].text == "p0"
    assert [reply.label for reply in first.replies] == [
        "Before training: 3 tokens, cut off at the limit",
        "Step 10: 3 tokens, cut off at the limit",
    ]
    assert [reply.turns[0].pieces[0].text for reply in first.replies] == ["old", "new"]
    assert len(third.replies) == 1


@pytest.mark.parametrize("held_out", [True, False])
def test_it_is_said_whose_prompts_they_are(tmp_path: Path, held_out: bool) -> None:
    files = {"samples/step-0.json": replies(0, "old") | {"held_out": held_out}}
    (block,) = below(trained_page(trained(tmp_path, files=files)), "What it says")
    assert isinstance(block, Samples)
    assert ("held-out prompts" in block.caption) is held_out
    assert ("prompts that are trained on" in block.caption) is not held_out


def test_only_first_replies_stand_alone(tmp_path: Path) -> None:
    page = trained_page(trained(tmp_path, files={"samples/step-0.json": replies(0, "old")}))
    (block,) = below(page, "What it says")
    assert isinstance(block, Samples)
    assert len(block.samples[0].replies) == 1


@pytest.mark.parametrize("adapter", ["", "below"])
def test_the_model_comes_with_the_lines_that_load_it(tmp_path: Path, adapter: str) -> None:
    lines = ["from transformers import AutoModelForCausalLM", 'model = AutoModelForCausalLM.load("there")']
    path = trained(tmp_path, files={"exported.json": {"adapter": adapter, "loading": lines}})
    blocks = below(trained_page(path), "The model")
    assert [one.line for one in blocks if isinstance(one, Command)] == lines
    said = [one.text for one in blocks if isinstance(one, Paragraph)]
    assert any("holds an adapter" in text for text in said) is bool(adapter)
    assert blocks[-1] == Paragraph(f"Another run goes on from it by `--model run:{path.name}`.")
    assert find_run(tmp_path, path.name).path == path


def test_settings_that_were_given_stand_apart(tmp_path: Path) -> None:
    given, derived = below(trained_page(trained(tmp_path)), "Settings")
    assert isinstance(given, Table)
    assert isinstance(derived, Table)
    assert [row[0] for row in given.rows] == ["method", "model", "data"]
    assert given.rows[2][1] == "far/away/prefs.jsonl, more.csv"
    values = named(derived)
    assert (values["learning_rate"], values["lora_r"], values["offline"]) == ("5e-07", "-", "false")


def test_what_was_settled_stands_where_the_recipe_leaves_it_open(tmp_path: Path) -> None:
    settled = {"train": "lora", "learning_rate": 1e-5, "kernel": "sdpa"}
    page = trained_page(trained(tmp_path, files={"settled.json": settled}))
    assert isinstance(page.blocks[0], Facts)
    assert dict(page.blocks[0].facts)["Trained"] == "an adapter (LoRA)"
    _, shown, rest = below(page, "Settings")
    assert isinstance(shown, Table)
    assert isinstance(rest, Table)
    assert named(shown) == {"train": "lora", "learning_rate": "1e-05", "kernel": "sdpa"}
    assert not named(rest).keys() & settled.keys()
    warming = [row | {"learning_rate": 1e-6 * row["step"]} for row in ROWS]
    page = trained_page(trained(tmp_path / "b", rows=warming, files={"settled.json": settled}))
    (said,) = (one for one in page.blocks if isinstance(one, Callout) and "warmed up" in one.title)
    assert "of 1e-05" in said.detail


def test_a_recipe_that_is_no_yaml_gives_all_settings_together(tmp_path: Path) -> None:
    (only,) = below(trained_page(trained(tmp_path, recipe="{")), "Settings")
    assert isinstance(only, Table)
    assert len(only.rows) == len(SETTINGS)


def test_what_became_of_the_rows_is_told_side_by_side(tmp_path: Path) -> None:
    counts = {"held_out": {"read": 3, "rows": 3}, "train": {"read": 10, "dropped": {"a tie": 2}, "rows": 8}}
    content = {"counts": counts, "notes": ["train: 2 rows are ties", "held_out: none is."]}
    path = trained(tmp_path, files={"prepared.json": content})
    blocks = below(trained_page(path), "What became of the rows")
    shown = table(blocks)
    assert [column.name for column in shown.columns] == ["what", "train", "held out"]
    assert shown.rows == (("read", 10, 3), ("dropped, a tie", 2, None), ("used", 8, 3))
    assert blocks[1:] == [Paragraph("Train: 2 rows are ties."), Paragraph("Held out: none is.")]


FORECAST: Mapping[str, Any] = {
    "memory_mb": 1000.0,
    "tokens": 6000,
    "seconds": 30.0,
    "memory": [{"name": "weights", "bytes": 3 * 2**20, "how": "786,432 x 4 bytes"}],
}


def test_a_forecast_stands_beside_what_happened(tmp_path: Path) -> None:
    rows = [{"step": 10, "step_time": 0.5, "memory_mb": 900.0, "num_tokens": 1000}]
    rows.append({"step": 30, "step_time": 1.0, "memory_mb": 800.0, "num_tokens": 3000})
    files = {"forecast.json": FORECAST}
    shown, parts = below(trained_page(trained(tmp_path, rows=rows, files=files)), "Forecast")
    assert isinstance(shown, Table)
    assert isinstance(parts, Table)
    assert shown.rows == (
        ("peak memory, MB", 1000.0, 900.0, 0.9),
        ("tokens", 6000, 3000, 0.5),
        ("seconds in steps", 30.0, 25.0, 25 / 30),
    )
    assert parts.rows == (("weights", 3.0, "786,432 x 4 bytes"),)


def test_of_half_a_run_only_the_memory_can_be_compared(tmp_path: Path) -> None:
    rows = [{"step": 10, "step_time": 0.5, "memory_mb": 900.0, "num_tokens": 1000}]
    path = trained(tmp_path, rows=rows, state="stopped", files={"forecast.json": FORECAST})
    shown = table(below(trained_page(path), "Forecast"))
    assert [row[3] for row in shown.rows] == [0.9, None, None]
    assert shown.notes
    new = trained(tmp_path / "new", rows=[], state="new", files={"forecast.json": {"tokens": 5}})
    assert table(below(trained_page(new), "Forecast")).rows == (("tokens", 5, None, None),)


def test_an_audit_and_results_are_shown_where_they_are(tmp_path: Path) -> None:
    finding = Finding(
        name="x", severity="warn", title="Longer replies win", detail="So it is.", do="Mind it."
    )
    audit = Audit(results=(), findings=(finding,), rows=5)
    path = trained(tmp_path, files={"audit.json": wire.to_json(audit)})
    assert ("warn", "Longer replies win") in callouts(trained_page(path))
    sound = trained(tmp_path / "sound", files={"audit.json": wire.to_json(Audit(results=(), rows=5))})
    page = trained_page(sound)
    assert below(page, "What the audit found in the data") == [Paragraph("Nothing to mind in 5 rows.")]
    assert not any(isinstance(one, Heading) and one.text == "Measured" for one in page.blocks)
    with Run.open(tmp_path, name="mine", recipe=RECIPE, resolved=SETTINGS, inputs={"data": "ab"}) as run:
        run.write_results([Result(name="wins", value=0.6, n=10)])
    assert len(table(below(trained_page(path), "Measured")).rows) == 1


def test_versions_and_hardware_are_told(tmp_path: Path) -> None:
    rows = named(table(below(trained_page(trained(tmp_path)), "Made on")))
    assert "versions, python" in rows
    assert "hardware, cpus" in rows
    assert rows["inputs, data"] == "ab"


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_model_says_stays_within_the_page(tmp_path: Path, text: str) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")
    files = {"samples/step-0.json": replies(0, text), "samples/step-5.json": replies(5, text)}
    page = read_page(page_html(trained_page(trained(tmp_path, files=files))))
    assert len(page.all("article", "sample")) == 1
    assert len(page.all("script")) == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = trained(tmp_path, files={"samples/step-0.json": {"step": "none"}})
    with pytest.raises(ConcordError, match=r"step-0\.json"):
        trained_page(path)
