"""Preparing: the same bytes however it is done, nothing dropped in silence, nothing half done."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import concord
from concord.data.order import row_at
from concord.data.prepare import Limit, prepare, row_key
from concord.data.shards import Shards
from concord.errors import InputError, RowError, StoreError
from concord.render.fit import TooLongError, fit
from concord.store import Store
from concord.types import Item, Message, Origin, Preference, Prompt, as_prompt, as_turns
from tests.conftest import ROOT, run_script
from tests.data.rows import same

WORDS = [
    "the",
    "moon",
    "is",
    "far",
    "near",
    "bright",
    "and",
    "round",
    "it",
    "was",
    "not",
    "there",
    "at",
    "you",
    "see",
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def items(count: int, *, start: int = 0) -> list[Item]:
    """Comparisons of growing length, in which words come by their number."""

    def text(number: int, length: int) -> str:
        return " ".join(WORDS[(number * 7 + at * at) % len(WORDS)] for at in range(length))

    return [
        Item(
            as_prompt(f"{number} {text(number, 3 + number % 5)}"),
            (as_turns(text(number + 1, 2 + number % 11)), as_turns(text(number + 2, 4 + number % 3))),
            Preference(1.0),
            meta={"number": number},
            origin=Origin("rows.jsonl", number + 1),
        )
        for number in range(start, start + count)
    ]


def make_renderer() -> Any:
    """A renderer of a tokenizer that is trained on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from concord.render.renderer import Renderer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(WORDS)], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", additional_special_tokens=special[1:]
    )
    fast.chat_template = TEMPLATE
    return Renderer(fast)


@pytest.fixture(scope="module")
def renderer() -> Any:
    pytest.importorskip("transformers", reason="rendering needs a tokenizer of transformers")
    return make_renderer()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def bad(number: int) -> Item:
    """An item whose prompt writes a special token of its own, which rendering refuses."""
    return Item(as_prompt("the<|end|>moon"), (as_turns("it is"),), origin=Origin("rows.jsonl", number))


class Counting:
    """A renderer that counts what it renders."""

    def __init__(self, renderer: Any) -> None:
        self.renderer, self.id, self.prefix, self.rendered = renderer, renderer.id, renderer.prefix, 0

    def render(self, items: list[Item]) -> Iterator[Any]:
        self.rendered += len(items)
        return self.renderer.render(items)


def test_rows_are_those_of_the_renderer(tmp_path: Path, renderer: Any) -> None:
    given = items(700)
    seen: list[tuple[int, int | None]] = []
    done = prepare(given, renderer, tmp_path / "s", progress=lambda at, total: seen.append((at, total)))
    assert (done.read, done.rows, done.dropped, done.cut, dict(done.refused)) == (700, 700, 0, 0, {})
    assert (done.rendered, done.reused) == (700, 0)
    for item, row, expected in zip(given, done.shards, renderer.render(given), strict=True):
        assert same(row.rendered, expected)
        assert (row.utilities, row.meta, row.origin) == (item.utilities, item.meta, item.origin)
    assert done.tokens == done.shards.header.tokens == done.shards.lengths.tokens.sum()
    assert done.shards.header.renderer == renderer.id
    assert seen == [(512, 700), (700, 700)]
    totals: list[int | None] = []
    prepare(iter(given), renderer, tmp_path / "s", progress=lambda _, total: totals.append(total))
    assert totals == [None, None]


def test_a_second_run_renders_nothing_and_gives_the_same_bytes(tmp_path: Path, renderer: Any) -> None:
    with Store(tmp_path / "store") as store:
        first = prepare(items(600), renderer, tmp_path / "a", store=store)
        counting = Counting(renderer)
        again = prepare(items(600), counting, tmp_path / "b", store=store)  # type: ignore[arg-type]
        assert (first.rendered, first.reused, again.rendered, again.reused) == (600, 0, 0, 600)
        assert counting.rendered == 0
        more = prepare(items(620), counting, tmp_path / "c", store=store)  # type: ignore[arg-type]
        assert (counting.rendered, more.rendered, more.reused) == (20, 20, 600)
    plain = prepare(items(600), renderer, tmp_path / "d")
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "d")
    assert len(plain.shards) == 600


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, renderer: Any) -> None:
    given = [*items(1300), bad(1301), *items(300, start=1400)]
    with Store(tmp_path / "store") as store:
        prepare(items(100), renderer, tmp_path / "first", store=store)
        here = prepare(given, renderer, tmp_path / "a", on_bad_row="skip")
        there = prepare(given, renderer, tmp_path / "b", store=store, on_bad_row="skip", workers=2)
        assert (there.rendered, there.reused, there.refused) == (1500, 100, here.refused)
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        with pytest.raises(RowError, match=r"^rows.jsonl:1301: "):
            prepare(given, renderer, tmp_path / "c", workers=1)
        assert not (tmp_path / "c").exists()


def test_keys_tell_apart_whatever_changes_the_tokens() -> None:
    plain = items(1)[0]
    turn = plain.prompt.messages[0]
    prompts = [
        Prompt((Message("system", turn.content),)),
        Prompt((Message("user", turn.content, trained=True),)),
        Prompt((Message("user", turn.content, name="me"),)),
        Prompt((turn, turn)),
        Prompt((turn,), plain=True),
        Prompt((turn,), template_args={"thinking": True}),
        Prompt((turn,), tools=({"name": "look"},)),
        Prompt((turn,), tokens=(1, 2)),
    ]
    replies = [(), plain.replies[:1], plain.replies[::-1], ((*plain.replies[0], *plain.replies[1]),)]
    others = [Item(prompt, plain.replies) for prompt in prompts] + [
        Item(plain.prompt, one) for one in replies
    ]
    keys = [row_key("r", one) for one in (plain, *others)] + [row_key("s", plain)]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    # What is known of a row does not change its tokens.
    known = Item(plain.prompt, plain.replies, meta={"other": 1}, origin=Origin("elsewhere"))
    assert row_key("r", known) == row_key("r", plain)
    assert row_key("r", Item(Prompt((turn,), template_args={"odd": float("nan")}))) is None


def test_a_bad_row_stops_everything_or_is_counted(tmp_path: Path, renderer: Any) -> None:
    given = [*items(5), bad(6), *items(5, start=6), bad(12)]
    with pytest.raises(RowError, match=r"^rows.jsonl:6: .*; found .*accepted: .*to do: "):
        prepare(given, renderer, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    done = prepare(given, renderer, tmp_path / "s", on_bad_row="skip")
    assert (done.read, done.rows, len(done.refused), sum(done.refused.values())) == (12, 10, 1, 2)
    assert "rows.jsonl" not in next(iter(done.refused))
    assert done.shards.header.about["refused"] == dict(done.refused)


def test_a_row_whose_other_columns_cannot_be_written_is_a_bad_row(tmp_path: Path, renderer: Any) -> None:
    odd = Item(as_prompt("the moon"), (as_turns("it is"),), meta={"at": float("inf")}, origin=Origin("a", 7))
    with pytest.raises(RowError, match=r"^a:7: "):
        prepare([*items(3), odd], renderer, tmp_path / "s")
    done = prepare([*items(3), odd, *items(2, start=4)], renderer, tmp_path / "s", on_bad_row="skip")
    assert [row.meta["number"] for row in done.shards] == [0, 1, 2, 4, 5]


def longest(renderer: Any, given: list[Item]) -> list[int]:
    return [max(leaf.ids.size for (leaf,) in row.replies) for row in renderer.render(given)]


def test_long_rows_are_counted_over_all_and_nothing_is_written(tmp_path: Path, renderer: Any) -> None:
    given = items(700)
    lengths = longest(renderer, given)
    most = sorted(lengths)[650]
    over = [number for number, length in enumerate(lengths) if length > most]
    with pytest.raises(TooLongError) as caught:
        prepare(given, renderer, tmp_path / "s", limit=Limit(most))
    said = str(caught.value)
    assert f"{len(over)} of 700 rows ({len(over) / 700:.1%})" in said
    assert f"a longest row of {max(lengths)} tokens" in said
    assert said.endswith(", ".join(f"rows.jsonl:{at + 1} ({lengths[at]})" for at in over[:3]) + ".")
    typed = ["concord", "train", "--max-length", str(most)]
    with pytest.raises(TooLongError, match=f"concord train --max-length {max(lengths)}\n"):
        prepare(given, renderer, tmp_path / "s", limit=Limit(most, command=typed))
    assert not (tmp_path / "s").exists()
    assert len(prepare(given, renderer, tmp_path / "s", limit=Limit(max(lengths))).shards) == 700


def test_long_rows_are_dropped_aloud(tmp_path: Path, renderer: Any) -> None:
    given = items(300)
    lengths = longest(renderer, given)
    most = sorted(lengths)[200]
    done = prepare(given, renderer, tmp_path / "s", limit=Limit(most, "drop"))
    kept = [number for number, length in enumerate(lengths) if length <= most]
    assert [row.meta["number"] for row in done.shards] == kept
    assert (done.dropped, done.cut, done.rows) == (300 - len(kept), 0, len(kept))
    assert done.shards.lengths.longest.max() == most


def test_long_rows_are_cut_where_it_was_asked_for(tmp_path: Path, renderer: Any) -> None:
    given = items(300)
    lengths = longest(renderer, given)
    most = sorted(lengths)[200]
    expected = [fit(row, most, "reply-right", keep=renderer.prefix) for row in renderer.render(given)]
    with Store(tmp_path / "store") as store:
        done = prepare(given, renderer, tmp_path / "s", store=store, limit=Limit(most, "reply-right"))
        kept = [one for one in expected if one.rendered is not None]
        assert (done.rows, done.dropped) == (len(kept), 300 - len(kept))
        assert done.cut == sum(one.reply_cut > 0 for one in kept) > 0
        assert done.tokens_cut == sum(one.reply_cut for one in kept)
        assert all(
            one.rendered is not None and same(row.rendered, one.rendered)
            for row, one in zip(done.shards, kept, strict=True)
        )
        # What is stored is the whole row, so another limit cuts it anew.
        whole = prepare(given, renderer, tmp_path / "s", store=store)
        assert (whole.reused, whole.shards.lengths.longest.max()) == (300, max(lengths))
        left = prepare(given, renderer, tmp_path / "t", store=store, limit=Limit(most, "prompt-left"))
        assert left.shards.lengths.prompt.sum() < whole.shards.lengths.prompt.sum()
        assert left.rows + left.dropped == 300


def test_nothing_left_is_an_error(tmp_path: Path, renderer: Any) -> None:
    with pytest.raises(InputError, match=r"no row is left.*found nothing"):
        prepare([], renderer, tmp_path / "s")
    with pytest.raises(InputError, match=r"found 3 items, 3 too long, 0 that"):
        prepare(items(3), renderer, tmp_path / "s", limit=Limit(1, "drop"))
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("value", "said"), [(0, "no length"), (1.5, "no length"), (True, "no length")])
def test_limits_are_numbers_of_tokens(value: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Limit(value)


def test_settings_that_do_not_exist_are_refused(tmp_path: Path, renderer: Any) -> None:
    with pytest.raises(InputError, match="did you mean 'prompt-left'"):
        Limit(5, "prompt-lef")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="stop, skip"):
        prepare([], renderer, tmp_path / "s", on_bad_row="ignore")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="workers"):
        prepare([], renderer, tmp_path / "s", workers=-1)


def ended(process: int) -> bool:
    """Whether a process is no more, or only a name that nobody asked for."""
    try:
        told = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return told.rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_killed_run_goes_on_from_what_it_rendered(tmp_path: Path, renderer: Any, workers: int) -> None:
    text = """
import multiprocessing, os, signal, sys
from concord.data.prepare import prepare
from concord.store import Store
from tests.data.test_prepare import items, make_renderer
def progress(done, total):
    if done >= 1024:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
folder, store, workers = sys.argv[1], Store(sys.argv[2]), int(sys.argv[3])
prepare(items(2000), make_renderer(), folder, store=store, workers=workers, progress=progress)
"""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(concord.__file__).parents[1]), str(ROOT)])
    }
    command = [sys.executable, "-c", text, str(tmp_path / "s"), str(tmp_path / "store"), str(workers)]
    killed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    children = [int(child) for child in killed.stdout.split()]
    assert len(children) == workers
    for _ in range(100):
        if all(map(ended, children)):
            break
        time.sleep(0.1)
    else:
        pytest.fail("workers go on without the process that sends them work")
    with pytest.raises(StoreError, match="does not hold prepared rows"):
        Shards(tmp_path / "s")
    with Store(tmp_path / "store") as store:
        done = prepare(items(2000), renderer, tmp_path / "s", store=store)
    assert (done.reused, done.rendered) == (1024, 976)
    prepare(items(2000), renderer, tmp_path / "whole")
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".tmp") == []


@pytest.mark.slow
def test_a_full_disk_says_so_and_the_next_run_goes_on(tmp_path: Path, renderer: Any) -> None:
    text = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from concord.data.prepare import prepare
from concord.errors import StoreError
from concord.store import Store
from tests.data.test_prepare import items, make_renderer
renderer = make_renderer()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for store in (None, Store(sys.argv[2])):
    try:
        prepare(items(1500), renderer, sys.argv[1], store=store)
    except StoreError as error:
        print(error)
"""
    said = run_script(text, tmp_path / "s", tmp_path / "store")
    assert [line.count("File too large") for line in said.splitlines()] == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s.lock", "store"]
    with Store(tmp_path / "store") as store:
        done = prepare(items(1500), renderer, tmp_path / "s", store=store)
    assert done.reused + done.rendered == done.rows == 1500
    assert done.shards.verify() == ()


def test_a_store_that_is_deleted_is_missed_and_made_anew(tmp_path: Path, renderer: Any) -> None:
    with Store(tmp_path / "store") as store:
        prepare(items(20), renderer, tmp_path / "s", store=store)
        before = contents(tmp_path / "s")
        shutil.rmtree(tmp_path / "store")
        with pytest.raises(StoreError, match="was deleted while it was in use"):
            prepare(items(40), renderer, tmp_path / "s", store=store)
    assert contents(tmp_path / "s") == before
    with Store(tmp_path / "store") as store:
        assert prepare(items(20), renderer, tmp_path / "s", store=store).rendered == 20
    assert contents(tmp_path / "s") == before


def test_pictures_in_a_column_are_refused_though_the_same_words_are_in_the_store(
    tmp_path: Path, renderer: Any
) -> None:
    (plain,) = items(1)
    pictured = replace(plain, meta={"images": ["a.png"]})
    with Store(tmp_path / "store") as store:
        prepare([plain], renderer, tmp_path / "s", store=store)
        with pytest.raises(RowError, match="pictures of a row stand in no message"):
            prepare([plain, pictured], renderer, tmp_path / "s", store=store)


def test_one_row_and_only_bad_rows(tmp_path: Path, renderer: Any) -> None:
    assert prepare(items(1), renderer, tmp_path / "s").rows == 1
    before = contents(tmp_path / "s")
    with pytest.raises(InputError, match="found 2 items, 0 too long, 2 that cannot be used"):
        prepare([bad(1), bad(2)], renderer, tmp_path / "s", on_bad_row="skip")
    assert contents(tmp_path / "s") == before


def test_other_rows_under_the_same_name_replace_those_that_were(tmp_path: Path, renderer: Any) -> None:
    with Store(tmp_path / "store") as store:
        first = prepare(items(30), renderer, tmp_path / "s", store=store).shards
        changed = [*items(29), replace(items(30)[29], replies=(as_turns("it was"), as_turns("not")))]
        done = prepare(changed, renderer, tmp_path / "s", store=store)
    assert (done.reused, done.rendered) == (29, 1)
    assert not same(done.shards[29].rendered, first[29].rendered), "what was open stays what it was"
    assert same(done.shards[28].rendered, first[28].rendered)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17])
def test_access_iteration_and_epochs_agree(tmp_path: Path, renderer: Any, size: int) -> None:
    shards = prepare(items(size), renderer, tmp_path / "s").shards
    numbers = [row.meta["number"] for row in shards]
    assert numbers == [shards[at].meta["number"] for at in range(size)] == list(range(size))
    rows = row_at(np.arange(3 * size), size, 7)
    for epoch in np.split(rows, 3):
        assert sorted(shards[number].meta["number"] for number in epoch) == numbers
    assert rows.tolist() == [row_at(position, size, 7) for position in range(3 * size)]
