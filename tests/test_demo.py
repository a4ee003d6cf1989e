"""The demonstration: each step leaves what the next one needs, and what is there is used again."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from concord import wire
from concord.eval.card import Tell
from concord.eval.card.harbour.oversight import CAPABILITIES
from concord.formats import open_items
from concord.manifest import hash_tree
from concord.types import Item, Scorecard
from concord.worlds.harbour import BASE, SPLITS, Asked, Harbour
from scripts import demo, figures, reward

ROOT = Path(__file__).parents[1]
COSTS = (
    *("tax", "mean_tax", "worst_tax", "kl_per_reply", "over_refusal", "over_refusal_gain", "look_gain"),
    *("distinct_draws", "tokens_a_reply", "flops_a_reply", "generalisation_gap"),
)
"""What a gain may cost: each stands on the card with its interval."""


def shown(folder: Path, *more: str) -> str:
    """What the demonstration prints, in a process of its own."""
    command = [sys.executable, "-m", demo.__name__, str(folder / "runs" / "demo"), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_verb_runs_what_is_tried_here() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    told = subprocess.run(
        ["make", "--dry-run", "demo"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    *_, last = told.stdout.splitlines()
    assert shlex.split(last)[1:] == ["-m", demo.__name__]


# --- what the README says of it ---------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text without the ends of its lines, which are for the eye alone."""
    return " ".join(text.split())


def test_the_readme_says_what_the_record_has() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(figures.table(figures.kept())) in page
    assert plain(figures.told(figures.kept())) in plain(page)


def test_what_a_proxy_does_is_said_as_the_record_has_it() -> None:
    page = (ROOT / "docs" / "harbour.md").read_text(encoding="utf-8")
    assert plain(figures.proxied(figures.kept())) in plain(page)


def test_the_record_is_of_the_base_that_is_shipped() -> None:
    told = "the base is another one: run python -m scripts.demo --record, and let the pages say so"
    assert figures.kept()["settings"]["base"] == hash_tree(BASE), told


def test_words_follow_the_figures() -> None:
    """What is sure is said so, what was gained is no price, and what has no interval has none."""
    record = figures.kept()
    row = {"what": "sort", "base": 0.9, "dpo": 0.5, "dpo less base": -0.4}
    ends = {"dpo less base, low": -0.5, "dpo less base, high": -0.3}
    gained = {"what": "copy", "base": 0.5, "dpo": 0.6, "dpo less base": 0.1}

    def lost(*rows: Mapping[str, str | float]) -> str:
        told = figures.told({**record, "tables": {**record["tables"], "plain tasks": rows}})
        return told.partition("It has a price: ")[2].partition(", and ")[0]

    assert lost(gained, {**row, **ends}) == "at `sort` it is right in 50.0% where the base is in 90.0%" + (
        " (-40 [-50, -30])"
    )
    assert lost(gained, row).endswith("(-40.0, so that is not sure)")
    assert lost(gained) == "no plain task lost anything"


def test_no_hurried_demonstration_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path / "new"), "--limit", "2", "--record"])
    with pytest.raises(SystemExit, match="leave --limit out"):
        demo.main()
    assert not (tmp_path / "new").exists()


# --- what it learns from ----------------------------------------------------------------------------------

HELD_OUT = [split for split in SPLITS if split not in ("pretrain", "train")]


def seen(asked: list[Asked]) -> tuple[set[str], set[str]]:
    """The cells of some requests, and their prompts."""
    return {one.cell for one in asked}, {one.prompt.text for one in asked}


@pytest.mark.slow
def test_no_feedback_is_about_anything_that_models_are_measured_on() -> None:
    """Not even about more requests of the same cells."""
    world = Harbour()
    assert {"validation", "test", "ood", "adversarial"} == {*HELD_OUT}
    kept = [
        one for split in HELD_OUT for times in (1, reward.TIMES) for one in world.requests(split, times=times)
    ]
    cells, prompts = seen(kept)
    asked, more = reward.known(world)
    assert len(more) > len(asked)
    for given in (demo.requests(), asked, more):
        about, said = seen(given)
        assert len(about) > 500
        assert about.isdisjoint(cells)
        assert said.isdisjoint(prompts)


def test_what_is_collected_says_how_far_it_is_and_is_collected_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In shares that rise from nothing to all; and every example is of a request of the training split."""
    monkeypatch.setitem(demo.SETTINGS, "requests of a family", 1)
    heard: list[float] = []

    def make(tell: Tell) -> Iterator[Item]:
        def both(share: float, what: str) -> None:
            heard.append(share)
            tell(share, what)

        return demo.examples_of_town(both)

    file = demo.collected(tmp_path / "examples.jsonl", "so", make)
    asked = [Asked.of(item) for item in open_items(file)]
    assert {one.split for one in asked} == {"train"}
    assert len(asked) == 2 * len(demo.requests()) == len(heard) - 1
    assert heard == sorted(set(heard))
    assert (heard[0], heard[-1]) == (0.0, 1.0)
    before = file.read_bytes()
    demo.collected(file, "so", make)
    assert len(heard) == len(asked) + 1
    demo.collected(file, "otherwise", make)
    assert len(heard) == 2 * (len(asked) + 1)
    assert file.read_bytes() == before
    assert capsys.readouterr().out.count(f"{len(asked)} rows in {file}") == 3


# --- all of it --------------------------------------------------------------------------------------------


def state(runs: Path) -> dict[Path, tuple[int, bytes]]:
    """When each file was written, and what is in it; locks are taken again by whoever reads."""
    return {
        file: (file.stat().st_mtime_ns, sha256(file.read_bytes()).digest())
        for file in runs.rglob("*")
        if file.is_file() and file.name != "lock"
    }


@pytest.mark.slow
def test_it_goes_from_base_to_scorecards_and_knows_what_it_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="models are trained")
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    first = shown(tmp_path, "--limit", "2")
    runs = tmp_path / "runs"
    cards = json.loads((runs / "demo" / "scorecard.json").read_text(encoding="utf-8"))
    assert [*cards] == ["base", "sft", "dpo", "side by side"]
    assert cards["dpo"]["base"] == cards["base"]["model"]
    assert (runs / "demo" / "report.html").is_file()
    for line in ("1 of 5.", "5 of 5.", "concord train sft", "concord train dpo", "What changed"):
        assert line in first
    found = figures.gathered(runs / "demo")
    assert found.settings["base"] == hash_tree(BASE)
    assert {len(line.split("|")) for line in figures.table({"tables": found.tables})} == {8}
    before = state(runs)
    again = shown(tmp_path, "--limit", "2")
    assert "What changed" in again
    after = state(runs)
    assert after.keys() == before.keys()
    assert [file for file in before if after[file][1] != before[file][1]] == []
    # What is asked for by --output is put there again; nothing else is touched.
    touched = {file for file in before if after[file][0] != before[file][0]}
    assert touched <= {runs / "demo" / name for name in ("scorecard.json", "report.html")}
    kept = {file.name for file in before.keys() - touched}
    assert kept >= {"examples.jsonl", "comparisons.jsonl", "metrics.jsonl", "record.json", "scorecard.json"}


@pytest.mark.long
def test_the_whole_of_it_is_worth_more_than_the_base_and_says_what_that_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="models are trained")
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    shown(tmp_path)
    home = tmp_path / "runs" / "demo"
    (worth, *_) = figures.gathered(home).tables["what changed"]
    assert worth["what"] == "worth to the town"
    assert float(worth["dpo less base, low"]) > 0
    plain_card = json.loads((home / "scorecard.json").read_text(encoding="utf-8"))["dpo"]
    card = wire.from_json(Scorecard, plain_card)
    named = {name: [one for one in card.results if one.name == name] for name in COSTS}
    for name, results in named.items():
        assert results, name
        for one in results:
            assert one.value is not None, (name, one.why_none)
            assert one.interval is not None, (name, one.how)
    assert {one.at["capability"] for one in named["tax"]} == {*CAPABILITIES}
