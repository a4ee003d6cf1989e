"""From files to rows on disk: held out by prompt, used again where nothing changed, nothing lost unsaid."""

import gzip
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import concord.objectives as ob
from concord import durable
from concord.data import Limit, Shards, prompt_key, split
from concord.data import prepare as prepare_rows
from concord.errors import InputError, RowError, StoreError
from concord.formats import open_items, write_items
from concord.objectives.contract import describe
from concord.render.fit import TooLongError
from concord.render.renderer import Renderer
from concord.store import Store
from concord.synth import MARK, hindsight
from concord.train.rows import loading as train_data
from concord.train.rows.loading import KEY, LoadSettings, load_rows
from concord.train.rows.sides import Opened, open_data
from concord.train.rows.step_ends import STEP_ENDS
from concord.train.rows.wanted import Wanted, wanted
from concord.types import RATED_BY, Item, Preference, Ratings, StepLabels, as_prompt, as_turns
from tests.data.test_prepare import make_renderer
from tests.shared import SHARED, needs_shared
from tests.train.rows.written import pairs, text, written

PAIRS = Wanted(kinds=("comparison",), by="one")
SHARE = LoadSettings(eval_share=0.3)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return make_renderer()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- loading ----------------------------------------------------------------------------------------------


def test_rows_are_those_of_the_data(tmp_path: Path, renderer: Renderer) -> None:
    opened = open_data(written(tmp_path / "a.jsonl", pairs(30)))
    seen: list[tuple[str, int, float | None]] = []
    loaded = load_rows(
        opened, PAIRS, renderer, tmp_path / "rows", progress=lambda *said: seen.append(said), store=None
    )
    plain = prepare_rows(open_items(tmp_path / "a.jsonl"), renderer, tmp_path / "plain")
    assert contents(tmp_path / "rows" / "train") == contents(tmp_path / "plain")
    assert (loaded.held_out, loaded.notes, loaded.reused) == (None, (), False)
    assert loaded.counts == {
        "train": {
            "read": 30,
            "unreadable": 0,
            "dropped": {},
            "too_long": 0,
            "refused": {},
            "cut": 0,
            "tokens_cut": 0,
            "rows": 30,
            "tokens": plain.tokens,
            "trained": int(plain.shards.lengths.trained.sum()),
            "judgements": 30,
        }
    }
    assert seen == [("train", 30, 1.0)]


def test_judgements_are_counted_and_whoever_gave_them_is_named(tmp_path: Path, renderer: Renderer) -> None:
    prompt, replies = as_prompt("which?"), (as_turns("this"), as_turns("that"))
    rows = [
        Item(prompt, replies, Preference(2 / 3, votes=(2, 0, 1)), meta={RATED_BY: "jury"}),
        Item(prompt, replies, Ratings((1.0, 0.0)), meta={RATED_BY: ["gold", "jury"]}),
        Item(prompt, replies, Preference()),
    ]
    write_items(rows, tmp_path / "a.jsonl", shape="concord")
    loaded = load_rows(open_data(tmp_path / "a.jsonl"), PAIRS, renderer, tmp_path / "rows")
    counts: Any = loaded.counts["train"]
    assert (counts["rows"], counts["judgements"], counts[RATED_BY]) == (3, 3 + 2 + 1, ["gold", "jury"])
    assert "train: rated by gold, which is not to judge what comes of this" in loaded.notes


def test_a_share_is_held_out_by_prompt(tmp_path: Path, renderer: Renderer) -> None:
    opened = open_data(written(tmp_path / "a.jsonl", pairs(60)))
    loaded = load_rows(opened, PAIRS, renderer, tmp_path / "rows", settings=SHARE)
    assert loaded.held_out is not None
    sides = {
        side: [row.origin.line for row in shards if row.origin]
        for side, shards in (("train", loaded.shards), ("held_out", loaded.held_out))
    }
    wanted_sides: dict[str, list[int]] = {"train": [], "held_out": []}
    for number, item in enumerate(open_items(tmp_path / "a.jsonl"), 1):
        wanted_sides[split(prompt_key(item), {"train": 0.7, "held_out": 0.3})].append(number)
    assert sides == wanted_sides
    assert 8 <= len(sides["held_out"]) <= 28
    # Both rows of a prompt are on one side.
    assert all(line + 1 in lines for lines in wanted_sides.values() for line in lines if line % 2)
    other = load_rows(opened, PAIRS, renderer, tmp_path / "rows", settings=replace(SHARE, seed=1))
    assert other.held_out is not None
    assert [row.origin for row in other.held_out] != [row.origin for row in loaded.held_out]


def test_held_out_prompts_that_are_trained_on_are_said(tmp_path: Path, renderer: Renderer) -> None:
    train, held = written(tmp_path / "a.jsonl", pairs(20)), written(tmp_path / "b.jsonl", pairs(6))
    loaded = load_rows(open_data([train], [held]), PAIRS, renderer, tmp_path / "rows")
    assert loaded.held_out is not None
    assert (len(loaded.shards), len(loaded.held_out)) == (20, 6)
    assert loaded.notes == ("train: 6 rows with a prompt that is held out too",)


def test_a_share_may_be_too_small_to_hold_anything(tmp_path: Path, renderer: Renderer) -> None:
    opened = open_data(written(tmp_path / "a.jsonl", pairs(2)))
    loaded = load_rows(opened, PAIRS, renderer, tmp_path / "rows", settings=LoadSettings(eval_share=1e-6))
    assert loaded.held_out is None
    assert loaded.notes == ("no row is held out, of the share of 1e-06: none can be used",)


def test_a_share_may_hold_nothing_of_use(tmp_path: Path, renderer: Renderer) -> None:
    shares = {"train": 0.7, "held_out": 0.3}
    rows = [
        {
            "prompt": f"{n}",
            "chosen": "it " * (40 if split(prompt_key(as_prompt(f"{n}")), shares) != "train" else 1),
        }
        for n in range(20)
    ]
    how = replace(SHARE, limit=Limit(30, "drop"))
    opened = open_data([{**row, "rejected": "is"} for row in rows])
    loaded = load_rows(opened, PAIRS, renderer, tmp_path / "rows", settings=how)
    assert loaded.held_out is None
    (note,) = loaded.notes
    assert note.startswith("no row is held out, of the share of 0.3: no row is left to train on; found")


@pytest.mark.parametrize("share", [1, -0.1, math.nan])
def test_a_share_is_a_share(share: Any) -> None:
    with pytest.raises(InputError, match="the share of prompts to hold out is no share"):
        LoadSettings(eval_share=share)


def test_what_is_held_out_is_said_once(tmp_path: Path, renderer: Renderer) -> None:
    opened = Opened(open_data(pairs(4)).train, open_data(pairs(4)).train)
    with pytest.raises(InputError, match="it is said twice what is held out"):
        load_rows(opened, PAIRS, renderer, tmp_path / "rows", settings=SHARE)


# --- the same again ---------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are prepared from here on."""
    prepared: list[str] = []

    def prepare(items: Any, renderer: Any, folder: Path, **how: Any) -> Any:
        prepared.append(folder.name)
        return prepare_rows(items, renderer, folder, **how)

    monkeypatch.setattr(train_data, "prepare", prepare)
    return prepared


def test_the_same_is_not_made_twice(tmp_path: Path, renderer: Renderer, counted: list[str]) -> None:
    file = written(tmp_path / "a.jsonl", [*pairs(30), {**pairs(1)[0], "chosen": ""}])

    def load(**how: Any) -> Any:
        opened = open_data(file, on_bad_row="skip")
        given: dict[str, Any] = {"settings": SHARE, "wanted": PAIRS, "renderer": renderer, **how}
        return load_rows(opened, folder=tmp_path / "rows", **given)

    first = load()
    assert counted == ["held_out", "train"]
    again = load(settings=replace(SHARE, workers=2), store=Store(tmp_path / "store"))
    assert counted == ["held_out", "train"]
    assert (again.notes, again.counts) == (first.notes, first.counts)
    assert (again.reused, first.reused) == (True, False)
    assert again.shards.header == first.shards.header
    assert again.held_out.header == first.held_out.header
    changed: list[dict[str, Any]] = [
        {"settings": LoadSettings(eval_share=0.4)},
        {"settings": replace(SHARE, seed=1)},
        {"settings": replace(SHARE, limit=Limit(100, "drop"))},
        {"settings": replace(SHARE, limit=Limit(99, "drop"))},
        {"settings": replace(SHARE, limit=Limit(99, "prompt-left"))},
        {"settings": replace(SHARE, threshold=1.0)},
        {"wanted": replace(PAIRS, soft=True)},
    ]
    for number, how in enumerate(changed, 2):
        assert not load(**how).reused
        assert len(counted) == 2 * number
    load()
    written(file, pairs(31))
    assert not load().reused


def test_what_is_half_done_or_damaged_is_made_anew(tmp_path: Path, renderer: Renderer) -> None:
    opened, folder = open_data(written(tmp_path / "a.jsonl", pairs(30))), tmp_path / "rows"

    def load() -> Any:
        return load_rows(opened, PAIRS, renderer, folder, settings=SHARE)

    first = contents(folder) if load() else {}
    harms: list[Callable[[], object]] = [
        (folder / KEY).unlink,
        lambda: (folder / KEY).write_text('{"key": 1}'),
        lambda: (folder / KEY).write_text("{"),
        lambda: shutil.rmtree(folder / "held_out"),
        lambda: (folder / "train" / "header.json").unlink(),
        lambda: (folder / "train" / "part-00000.tokens").write_bytes(b"1234"),
    ]
    for harm in harms:
        harm()
        assert not load().reused
        assert contents(folder) == first
        assert load().reused


def test_a_run_that_is_cut_short_leaves_no_key(
    tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, folder = open_data(written(tmp_path / "a.jsonl", pairs(30))), tmp_path / "rows"
    load_rows(opened, PAIRS, renderer, folder, settings=SHARE)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_data, "prepare", killed)
        with pytest.raises(KeyboardInterrupt):
            load_rows(opened, PAIRS, renderer, folder)
    assert not (folder / KEY).exists()
    loaded = load_rows(opened, PAIRS, renderer, folder, settings=SHARE)
    assert not loaded.reused


def test_what_was_held_out_for_something_else_goes(tmp_path: Path, renderer: Renderer) -> None:
    opened, folder = open_data(pairs(30)), tmp_path / "rows"
    load_rows(opened, PAIRS, renderer, folder, settings=SHARE)
    assert len(Shards(folder / "held_out"))
    load_rows(opened, PAIRS, renderer, folder)
    assert not (folder / "held_out").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, renderer: Renderer) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="making the folder"):
        load_rows(open_data(pairs(4)), PAIRS, renderer, tmp_path / "file" / "rows")


# --- nothing in silence -----------------------------------------------------------------------------------


def test_all_that_is_left_out_is_counted(tmp_path: Path, renderer: Renderer) -> None:
    control = {"prompt": "the<|end|>", "chosen": "it", "rejected": "is"}
    long = {"prompt": "it", "chosen": text(*range(60)), "rejected": "is"}
    unread = {"prompt": None, "chosen": "it", "rejected": "is"}
    file = written(tmp_path / "a.jsonl", [*pairs(10), unread, control, long])
    how = LoadSettings(limit=Limit(50, "drop"))
    loaded = load_rows(open_data(file, on_bad_row="skip"), PAIRS, renderer, tmp_path / "rows", settings=how)
    counts: Any = loaded.counts["train"]
    refused = "the text of the user holds the control token '<|end|>'"
    said = {name: counts[name] for name in ("read", "unreadable", "too_long", "refused", "rows")}
    assert said == {"read": 12, "unreadable": 1, "too_long": 1, "refused": {refused: 1}, "rows": 10}
    assert loaded.notes == (
        "train: 1 row not readable",
        "train: 1 row left out, as too long",
        f"train: 1 row not rendered: {refused}",
    )
    assert durable.read_json(tmp_path / "rows" / KEY)["counts"] == loaded.counts
    with pytest.raises(RowError):
        load_rows(open_data(written(file, [*pairs(10), control])), PAIRS, renderer, tmp_path / "rows")
    opened, how = open_data(written(file, [*pairs(10), long])), LoadSettings(limit=Limit(50))
    with pytest.raises(TooLongError):
        load_rows(opened, PAIRS, renderer, tmp_path / "rows", settings=how)


def test_cut_rows_are_said_to_be(tmp_path: Path, renderer: Renderer) -> None:
    how = LoadSettings(limit=Limit(8, "prompt-left"))
    loaded = load_rows(open_data(pairs(10)), PAIRS, renderer, tmp_path / "rows", settings=how)
    counts: Any = loaded.counts["train"]
    assert loaded.notes[-1] == f"train: {counts['cut']} rows cut, by {counts['tokens_cut']} tokens in all"


def test_nothing_left_says_why(tmp_path: Path, renderer: Renderer) -> None:
    ties = [{"prompt": "q", "response_a": "it", "response_b": "is", "winner": "tie"}]
    mixed = [*ties, {**ties[0], "winner": "response_a", "prompt": text(*range(40))}]
    mapping = "prompt=prompt first=response_a second=response_b choice=winner(response_a:first,tie:tie)"
    with pytest.raises(
        InputError, match=r"the data hold no row that one can learn from; found 1 row \(1: a tie"
    ):
        load_rows(open_data(ties, mapping=mapping), PAIRS, renderer, tmp_path / "rows")
    opened = open_data(mixed, ties, mapping=mapping)
    with pytest.raises(InputError, match="the data to evaluate on hold no row that one can learn from"):
        load_rows(opened, PAIRS, renderer, tmp_path / "rows")
    how = LoadSettings(limit=Limit(5, "drop"))
    with pytest.raises(InputError, match=r"1 too long.*Before that: 1 row not used: a tie"):
        load_rows(open_data(mixed, mapping=mapping), PAIRS, renderer, tmp_path / "rows", settings=how)


def test_scores_are_labels_by_a_threshold(tmp_path: Path, renderer: Renderer) -> None:
    rows = [{"prompt": f"{n} is it", "completions": ["it", "is"], "scores": [n, 2.5]} for n in range(5)]
    how = LoadSettings(threshold=2.5)
    loaded = load_rows(
        open_data(rows), Wanted(kinds=("judgement",)), renderer, tmp_path / "rows", settings=how
    )
    assert len(loaded.shards) == 10


def test_labels_are_counted_and_weighed(tmp_path: Path, renderer: Renderer) -> None:
    rows = [{"prompt": f"{n} is it", "completion": "it was", "label": n % 4 == 0} for n in range(8)]
    loaded = load_rows(open_data(rows), wanted(describe(ob.kto)), renderer, tmp_path / "rows")
    counts: Any = loaded.counts["train"]
    assert counts["labels"] == {"good": 2, "bad": 6}
    assert loaded.notes[-1].startswith("train: 2 good and 6 bad replies, which weigh 2 to 6:")
    one = [{**row, "label": True} for row in rows]
    loaded = load_rows(open_data(one), wanted(describe(ob.bco)), renderer, tmp_path / "rows")
    assert loaded.notes[-1].startswith("train: every reply is a good one")


def test_what_a_method_advises_is_said_first(tmp_path: Path, renderer: Renderer) -> None:
    aot = wanted(describe(ob.aot), batch_size=2)
    loaded = load_rows(open_data(pairs(4)), aot, renderer, tmp_path / "rows")
    assert loaded.notes == aot.advice


def test_scores_are_brought_to_one_scale(tmp_path: Path, renderer: Renderer) -> None:
    def rated(*scores: float | None) -> list[dict[str, Any]]:
        return [
            {"prompt": f"{n} is it", "completions": ["it", "is"], "scores": [score, 7.0]}
            for n, score in enumerate(scores)
        ]

    opened = open_data(rated(1.0, 3.0, 5.0, None), rated(9.0))
    loaded = load_rows(opened, wanted(describe(ob.reward_regression)), renderer, tmp_path / "rows")
    assert loaded.held_out is not None
    mean = 37 / 7
    deviation = (sum((x - mean) ** 2 for x in (1, 3, 5, 7, 7, 7, 7)) / 7) ** 0.5

    def scores(rows: Shards) -> list[list[float]]:
        return [list(row.utilities.scores) for row in rows if isinstance(row.utilities, Ratings)]  # type: ignore[arg-type]

    for found, given in (
        (scores(loaded.shards), [[1, 7], [3, 7], [5, 7], [7]]),
        (scores(loaded.held_out), [[9, 7]]),
    ):
        assert found == [pytest.approx([(one - mean) / deviation for one in row]) for row in given]
    counts: Any = loaded.counts["train"]
    assert counts["scores"] == pytest.approx({"mean": mean, "deviation": deviation})
    said = f"a reward r stands for a score of {mean:g} + {deviation:g} r"
    assert f"train: scores are brought to mean 0 and deviation 1: {said}" in loaded.notes
    # Where replies are compared by their scores, these stay as they are.
    loaded = load_rows(open_data(rated(1.0)), wanted(describe(ob.nca)), renderer, tmp_path / "rows")
    assert scores(loaded.shards) == [[1.0, 7.0]]


def test_scores_that_are_all_the_same_are_only_moved(tmp_path: Path, renderer: Renderer) -> None:
    rows = [{"prompt": f"{n} is it", "completions": ["it", "is"], "scores": [0.1, 0.1]} for n in range(3)]
    loaded = load_rows(open_data(rows), wanted(describe(ob.reward_regression)), renderer, tmp_path / "rows")
    counts: Any = loaded.counts["train"]
    assert counts["scores"] == pytest.approx({"mean": 0.1, "deviation": 1.0})
    for row in loaded.shards:
        assert isinstance(row.utilities, Ratings)
        assert row.utilities.scores == pytest.approx((0, 0), abs=1e-12)


def test_pairs_without_scores_stay_where_some_have_them(tmp_path: Path, renderer: Renderer) -> None:
    scored = pairs(2, score_chosen=3.0, score_rejected=1.0)
    rows = wanted(describe(ob.bradley_terry_scored))
    file, folder = written(tmp_path / "a.jsonl", [*scored, *pairs(4)]), tmp_path / "rows"
    loaded = load_rows(open_data([written(tmp_path / "b.jsonl", scored), file]), rows, renderer, folder)
    told = [row.utilities.scores for row in loaded.shards if isinstance(row.utilities, Preference)]
    assert told == [(3.0, 1.0)] * 4 + [None] * 4
    assert loaded.notes[-1] == "train: 4 rows without scores, of which the rest is learned"
    with pytest.raises(InputError, match=r"the data say nothing of scores, .* found 4 rows without"):
        load_rows(open_data(pairs(4)), rows, renderer, folder)
    assert not (folder / KEY).exists()


# --- made of other rows -----------------------------------------------------------------------------------


def test_replies_of_which_nothing_is_built_are_said(tmp_path: Path, renderer: Renderer) -> None:
    rows = [
        {"prompt": f"{n} is it", "completions": ["it", "is", "was"], "scores": [n, 2, 3]} for n in range(5)
    ]
    how = LoadSettings(build=hindsight)
    told = Wanted(kinds=("comparison", "judgement", "rating", "ranking"))
    loaded = load_rows(open_data(rows), told, renderer, tmp_path / "rows", settings=how)
    assert loaded.notes == ("train: 5 rows of which hindsight leaves some replies out",)
    assert [row.meta[MARK] for row in loaded.shards] == ["good", "bad"] * 5


def nothing(_: Any) -> list[Any]:
    """What is built of no item."""
    return []


def test_data_of_which_nothing_is_built_are_refused(tmp_path: Path, renderer: Renderer) -> None:
    how = LoadSettings(build=nothing)
    with pytest.raises(InputError, match=r"the data hold no row of which .*nothing makes anything; found 4"):
        load_rows(open_data(pairs(4)), PAIRS, renderer, tmp_path / "rows", settings=how)


def test_long_texts_become_several_rows(tmp_path: Path, renderer: Renderer) -> None:
    long = {"text": text(*range(50))}
    shown, folder = Wanted(kinds=("demonstration", "dialogue")), tmp_path / "rows"
    file = written(tmp_path / "a.jsonl", [{"text": text(1, 2)}, long, {"text": text(3, 4)}])
    how = LoadSettings(limit=Limit(20), stretches=True)
    loaded = load_rows(open_data(file), shown, renderer, folder, settings=how)
    lines = [row.origin.line for row in loaded.shards if row.origin]
    count = lines.count(2)
    assert count > 1
    assert lines == [1, *[2] * count, 3]
    assert loaded.notes == (f"train: 1 row longer than 20 tokens, as {count} rows that are not",)
    assert max(loaded.shards.lengths.longest) <= 20
    learned = [
        one
        for row in loaded.shards
        for ((leaf,),) in [row.rendered.replies]
        for one in leaf.ids[leaf.spans[0, 0] :].tolist()
    ]
    whole = load_rows(open_data(file), shown, renderer, tmp_path / "whole").shards
    assert learned == [one for row in whole for one in row.rendered.replies[0][0].ids[1:].tolist()]
    with pytest.raises(TooLongError):
        load_rows(open_data(file), shown, renderer, folder, settings=replace(how, stretches=False))
    talk = [{"prompt": text(*range(30)), "completion": "it"}]
    with pytest.raises(TooLongError):
        load_rows(open_data(talk), shown, renderer, folder, settings=how)


def test_steps_know_where_they_end(tmp_path: Path, renderer: Renderer) -> None:
    good = [
        {"prompt": f"{n} is it", "completions": ["the moon\n", "is far\n"], "labels": [True, n > 2]}
        for n in range(5)
    ]
    bad = {"prompt": "is it", "completions": ["the", " ", "moon"], "labels": [1, 1, 1]}
    long = {"prompt": "is it", "completions": [text(*range(99)), "\nso"], "labels": [None, 1]}
    control = {"prompt": "is it<|end|>", "completions": ["the"], "labels": [1]}
    steps = wanted(describe(ob.step_bce))
    file, folder = written(tmp_path / "a.jsonl", [*good, bad, long, control]), tmp_path / "rows"
    how = LoadSettings(limit=Limit(40, "reply-right"))
    loaded = load_rows(open_data(file, on_bad_row="skip"), steps, renderer, folder, settings=how)
    counts: Any = loaded.counts["train"]
    assert counts["dropped"] == {
        "a step has no token of its own": 1,
        "no judged step is left within the allowed length": 1,
    }
    assert (counts["read"], counts["refused"].values().__len__(), counts["rows"]) == (8, 1, 5)
    for row in loaded.shards:
        ends: Any = row.meta[STEP_ENDS]
        ids = row.rendered.replies[0][0].ids
        assert [renderer.decode(ids[: end + 1].tolist())[-4:] for end in ends] == ["oon\n", "far\n"]
        assert isinstance(row.utilities, StepLabels)
    with pytest.raises(RowError, match=r"a\.jsonl:6: a step has no token of its own"):
        load_rows(open_data(written(file, [*good, bad])), steps, renderer, folder)


# --- real data --------------------------------------------------------------------------------------------


def some(name: str, folder: Path, count: int = 60) -> Path:
    """Some rows of a real data set."""
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
        file = folder / Path(name).name.removesuffix(".gz")
        file.write_text("".join(islice(lines, 0, 8 * count, 8)), encoding="utf-8")
    return file


@needs_shared
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("pref/hh_harmless.jsonl.gz", "dpo"),
        ("pref/hh_harmless.jsonl.gz", "sft"),
        ("pref/oasst_ranked.jsonl.gz", "plackett_luce"),
        ("pref/pandalm.jsonl.gz", "dpo"),
        ("pref/pandalm.jsonl.gz", "kto"),
        ("pref/pandalm.jsonl.gz", "simpo"),
        ("unary/truthfulqa_truth.jsonl.gz", "kto"),
        ("sft/gsm8k_train.jsonl.gz", "sft"),
    ],
)
def test_real_data_become_rows(name: str, method: str, tmp_path: Path) -> None:
    stories = Renderer.load(SHARED / "models" / "stories260K")
    data = wanted(describe(getattr(ob, method)))
    how = LoadSettings(limit=Limit(512, "prompt-left"), eval_share=0.2)
    loaded = load_rows(open_data(some(name, tmp_path)), data, stories, tmp_path / "rows", settings=how)
    assert loaded.held_out is not None
    counts: Any = loaded.counts
    assert sum(side["read"] for side in counts.values()) == 60
    rows = [*loaded.shards, *loaded.held_out]
    assert all(len(leaf.ids) <= 512 for row in rows for reply in row.rendered.replies for leaf in reply)
    ties = sum("tie" in reason for side in counts.values() for reason in side["dropped"])
    assert bool(ties) == (name.startswith("pref/pandalm") and method == "simpo")
    if method == "dpo":
        assert {type(row.utilities) for row in rows} == {Preference}
    assert not any(isinstance(row.utilities, Ratings) for row in rows)
