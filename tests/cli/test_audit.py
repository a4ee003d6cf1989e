"""`concord audit` as people use it: every flag, wrong ones, pipes, pages, interrupts, a model."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from concord import wire
from concord.cli import main
from concord.cli.options import DATA_OPTIONS, RENDER_OPTIONS
from concord.data import Audit
from tests.conftest import ROOT
from tests.data.auditing.planted import sentence
from tests.report.reading import read_page
from tests.shared import SHARED, needs_shared

PROCESS = [sys.executable, "-m", "concord", "audit"]
Rows = Sequence[Mapping[str, Any]]


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def pairs(count: int, seed: int = 0) -> list[dict[str, str]]:
    chance = random.Random(seed)
    return [
        {name: sentence(chance, size) for name, size in (("prompt", 9), ("chosen", 20), ("rejected", 20))}
        for _ in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a train and a test file that share two prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    train, test = pairs(60), pairs(20, seed=1)
    test[3]["prompt"], test[8] = train[5]["prompt"], train[6]
    write(tmp_path / "train.jsonl", train)
    write(tmp_path / "test.jsonl", test)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


def told(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def refused(*arguments: str) -> str:
    """The one sentence on stderr that refuses; nothing is on stdout."""
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return {**kept, **extra}


def process(
    *arguments: str | Path, stdout: Any = subprocess.PIPE, **extra: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROCESS, *map(str, arguments)],
        env=environment(**extra),
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )


# --- what it says -----------------------------------------------------------------------------------------


def test_all_that_a_reader_looks_for_is_there(folder: Path) -> None:
    shown = told("train.jsonl")
    for heading in ("Findings", "To train on it", "How the rows were read", "Rows as they will be seen"):
        assert f"\n{heading}\n" in shown
    for heading in ("Lengths", "Does the longer reply win?", "Can the preferences be a utility?"):
        assert f"\n{heading}\n" in shown
    assert shown.startswith("Audit of train.jsonl\nNothing to mind in 60 rows.\n")
    assert "--map 'prompt=prompt chosen=chosen rejected=rejected'" in shown
    assert shown.count("\n--- comparison, train.jsonl, line ") == 3
    assert re.search(r"^side +mean +1% +5% +25% +median +75% +95% +99% +longest$", shown, re.MULTILINE)
    assert re.search(r"^length \(characters\) +prompt +chosen +rejected +row$", shown, re.MULTILINE)


def of_readme(folder: Path, *, with_model: bool) -> list[list[str]]:
    """What the README tells to audit, and the files it names."""
    write(folder / "prefs.jsonl", pairs(20))
    (folder / "data").mkdir()
    write(folder / "data" / "rows.jsonl", pairs(20))
    lines = re.findall(r"^concord audit (.+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    commands = [shlex.split(line, comments=True) for line in lines]
    found = [command for command in commands if ("--model" in command) == with_model]
    assert len(found) >= 2
    return found


def test_the_commands_of_the_readme_work(folder: Path) -> None:
    for command in of_readme(folder, with_model=False):
        told(*command)


def test_a_leak_is_found_whichever_way_splits_are_given(folder: Path) -> None:
    for arguments in (["train.jsonl", "--eval", "test.jsonl"], ["train.jsonl", "test.jsonl"], ["."]):
        shown = told(*arguments)
        assert "STOP  10% of the rows of " in shown, arguments
        assert "have a prompt that stands in train" in shown or "stands in data" in shown
        assert "test.jsonl, lines 4, 9." in " ".join(shown.split())


def test_json_is_an_audit_and_nothing_else(folder: Path) -> None:
    done = run("train.jsonl", "--eval", "test.jsonl", "--json", "--html", "page.html")
    assert done.exit_code == 0
    found = wire.from_json(Audit, json.loads(done.stdout))
    assert found.rows == 80
    assert found.splits == ("train", "eval")
    assert {one.name for one in found.findings} >= {"leak"}
    assert done.stdout.isascii()
    assert done.stderr == "The page is page.html.\n"
    assert (folder / "page.html").is_file()


def test_the_same_rows_are_shown_again_and_others_by_another_seed(folder: Path) -> None:
    first, again, other = (told("train.jsonl", "--seed", seed) for seed in ("0", "0", "1"))
    assert first == again != other


def test_near_duplicates_can_be_left_out(folder: Path) -> None:
    assert "nearly repeat another" in told("train.jsonl")
    assert "nearly repeat another" not in told("train.jsonl", "--no-near")


def test_columns_can_be_named(folder: Path) -> None:
    write(folder / "odd.jsonl", [{"left": row["prompt"], "right": row["chosen"]} for row in pairs(30)])
    shown = told("odd.jsonl", "--map", "prompt=left reply=right")
    assert "kind     demonstration\n" in shown
    assert "--map 'prompt=left reply=right'" in shown


def test_splits_that_differ_have_a_mapping_each(folder: Path) -> None:
    write(
        folder / "eval.jsonl", [{"question": row["prompt"], "answer": row["chosen"]} for row in pairs(9, 3)]
    )
    shown = told("train.jsonl", "--eval", "eval.jsonl")
    assert "For train\n  --map 'prompt=prompt chosen=chosen rejected=rejected'\n" in shown
    assert "For eval\n  --map 'prompt=question reply=answer'\n" in shown
    assert "In train\n" in shown
    assert "In eval\n" in shown


# --- bad rows ---------------------------------------------------------------------------------------------


def spoiled(folder: Path, name: str = "some.jsonl") -> Path:
    """A file whose third line is no JSON."""
    path = write(folder / name, pairs(40, seed=2))
    lines = path.read_text().splitlines()
    lines[2] = '{"prompt": "cut'
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_bad_row_stops_and_says_where(folder: Path) -> None:
    spoiled(folder)
    error = refused("some.jsonl")
    assert error.startswith("concord: ")
    assert "some.jsonl:3" in error


def test_a_bad_row_can_be_left_out_and_is_kept(folder: Path) -> None:
    spoiled(folder)
    shown = told("some.jsonl", "--on-bad-row", "skip")
    assert "data: skipped  1 row, written to some.skipped.jsonl\n" in shown
    assert "WARNING  1 row of data cannot be read and was skipped\n" in shown
    assert "--on-bad-row skip" in shown
    assert '{\\"prompt\\": \\"cut' in (folder / "some.skipped.jsonl").read_text()
    told("some.jsonl", "--on-bad-row", "skip", "--skipped", "bad.jsonl")
    assert (folder / "bad.jsonl").read_bytes() == (folder / "some.skipped.jsonl").read_bytes()


def test_rows_left_out_of_two_splits_are_both_kept(folder: Path) -> None:
    spoiled(folder)
    spoiled(folder, "other.jsonl")
    told("some.jsonl", "--eval", "other.jsonl", "--on-bad-row", "skip", "--skipped", "bad.jsonl")
    assert "some.jsonl" in (folder / "bad.jsonl").read_text()
    assert "other.jsonl" in (folder / "bad-eval.jsonl").read_text()


# --- what cannot be ---------------------------------------------------------------------------------------


def test_wrong_words_are_answered_with_the_nearest(folder: Path) -> None:
    assert "'--model'" in refused("train.jsonl", "--modle", "x")
    assert "did you mean 'train.jsonl'" in refused("trian.jsonl")
    assert "did you mean 'chosen'" in refused(
        "train.jsonl", "--map", "prompt=prompt chosen=chosn rejected=rejected"
    )
    assert "'stop', 'skip'" in refused("train.jsonl", "--on-bad-row", "skp")
    assert "Missing argument 'DATA...'" in refused()


def test_flags_that_need_others_say_so(folder: Path) -> None:
    assert "--plain, --max-length needs --model" in refused("train.jsonl", "--max-length", "9", "--plain")
    assert "0 is not in the range" in refused("train.jsonl", "--model", "m", "--max-length", "0")
    assert "--skipped needs --on-bad-row skip" in refused("train.jsonl", "--skipped", "left.jsonl")
    write(folder / "eval.jsonl", pairs(9, seed=4))
    error = refused("train.jsonl", "eval.jsonl", "--eval", "test.jsonl")
    assert "there is a split of the name eval already" in error


def test_files_that_hold_nothing_or_nothing_readable(folder: Path) -> None:
    (folder / "empty.jsonl").touch()
    assert "the file is empty" in refused("empty.jsonl")
    (folder / "picture.jsonl").write_bytes(bytes(range(256)))
    assert refused("picture.jsonl").startswith("concord: ")
    (folder / "hollow").mkdir()
    assert refused("hollow").startswith("concord: ")


def test_what_is_no_model_is_said_without_a_network(folder: Path) -> None:
    pytest.importorskip("transformers")
    (folder / "hollow").mkdir()
    error = refused("train.jsonl", "--model", "./hollow", "--offline")
    assert error.startswith("concord: no tokenizer could be loaded")
    assert error.count("\n") == 1
    assert "concord: " in refused("train.jsonl", "--model", "nobody/has-this-model", "--offline")


# --- the page ---------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_needs_nothing_else(folder: Path) -> None:
    (folder / "page.html").write_text("what stood here")
    done = run("train.jsonl", "test.jsonl", "--html", "page.html")
    assert done.stderr == "The page is page.html.\n"
    page = read_page((folder / "page.html").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {"page.html", "train.jsonl", "test.jsonl"}
    assert not [one for one in page.all() if one.attributes.keys() & {"src", "srcset", "data", "poster"}]
    assert all(one.attributes["href"].startswith("#") for one in page.all() if "href" in one.attributes)
    policy = next(one for one in page.all("meta") if "http-equiv" in one.attributes).attributes["content"]
    assert policy.startswith("default-src 'none'")
    assert [one.text for one in page.all("figcaption")] == ["How long they are"]
    assert len(page.all("article", "sample")) == 3
    assert page.all("mark")


def test_a_page_that_cannot_be_written_is_said_before_the_work(folder: Path) -> None:
    error = refused("train.jsonl", "--html", "nowhere/page.html")
    assert "there is no such folder for the page; found 'nowhere/page.html'" in error


def test_a_page_in_a_folder_that_may_not_be_written_to_is_said_before_the_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # no folder is closed to root
    error = refused("train.jsonl", "--html", "page.html")
    assert "the page cannot be written there; found 'page.html'" in error


def test_a_page_never_takes_the_place_of_data(folder: Path) -> None:
    before = (folder / "test.jsonl").read_bytes()
    assert "a page has no such name" in refused("train.jsonl", "--html", "test.jsonl")
    assert (folder / "test.jsonl").read_bytes() == before


def test_a_page_that_fails_late_loses_nothing_of_the_text(folder: Path) -> None:
    (folder / "page.html").mkdir()
    done = run("train.jsonl", "--html", "page.html")
    assert done.exit_code == 2
    assert "What the rows hold" in done.stdout
    assert "writing page.html failed" in done.stderr


# --- terminals, pipes, interrupts -------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_holds_it(folder: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = told("train.jsonl", "--eval", "test.jsonl").splitlines()
    wide = [line for line in lines if len(line) > width]
    assert all(line.startswith("  --map ") for line in wide), "only what is copied is wider"


def test_help_has_a_place_for_every_option() -> None:
    shown = told("--help")
    sections = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    looked_at = ["What to look at", "What to write"]
    assert sections == [*looked_at, "How rows are read", "How rows become tokens (with --model)", "Other"]
    assert shown.rstrip().splitlines()[-2:] == ["Other:", "  -h, --help  Show this message and exit."]
    assert "concord audit train.jsonl --eval test.jsonl --model path/to/model" in shown
    assert len(DATA_OPTIONS) + len(RENDER_OPTIONS) == 8


def test_letters_that_an_output_has_not_are_written_by_number(folder: Path) -> None:
    write(folder / "snow.jsonl", [{"prompt": "Was ist \u6d41?", "completion": "Gr\u00fc\u00df dich."}] * 3)
    done = process(folder / "snow.jsonl", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "user: Was ist \\u6d41?" in done.stdout


@pytest.mark.slow
def test_as_a_process_in_a_pipe_it_has_no_colour_and_no_progress(folder: Path) -> None:
    done = process(folder / "train.jsonl", NO_COLOR="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "What stands in [[ and ]] is learned from." in done.stdout
    assert process(folder / "train.jsonl").stdout == done.stdout


@pytest.mark.slow
def test_in_a_terminal_it_is_coloured_unless_that_is_not_wanted(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    for extra, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        leader, follower = pty.openpty()
        with subprocess.Popen(
            [*PROCESS, "train.jsonl"],
            env=environment(TERM="xterm-256color", COLUMNS="100", **extra),
            stdout=follower,
            stderr=subprocess.DEVNULL,
        ) as child:
            os.close(follower)
            shown = b""
            while part := _read(leader):
                shown += part
        os.close(leader)
        assert child.returncode == 0
        assert (b"\x1b[32m" in shown) == coloured
        assert (b"[[" in shown) != coloured


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 1 << 16)
    except OSError:  # Linux says so at the end of a terminal
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_pipe_that_is_closed_early_is_no_error(folder: Path, extra: list[str]) -> None:
    with subprocess.Popen(
        [*PROCESS, "train.jsonl", *extra], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_disk_is_one_sentence(folder: Path, extra: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = process("train.jsonl", *extra, stdout=full)
    assert done.returncode == 2
    assert done.stderr == "concord: the output could not be written: No space left on device.\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="interrupts of one process are sent otherwise elsewhere")
def test_an_interrupt_ends_it_with_130_and_one_word(folder: Path) -> None:
    # Its scratch folder has files as long as it looks at rows, and must not outlive it. The files are waited
    # for: Python's own code that makes a temporary folder can be interrupted before it promises to remove it.
    scratch = folder / "scratch"
    scratch.mkdir()
    write(folder / "many.jsonl", pairs(4000))
    with subprocess.Popen(
        [*PROCESS, "many.jsonl"],
        env=environment(TMPDIR=str(scratch)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as child:
        limit = time.monotonic() + 30
        while not any(scratch.glob("*/*")) and time.monotonic() < limit:
            time.sleep(0.005)
        child.send_signal(signal.SIGINT)
        shown, error = child.communicate(timeout=30)
    assert (child.returncode, shown, error) == (130, "", "concord: stopped.\n")
    assert not any(scratch.iterdir())


# --- with a model -----------------------------------------------------------------------------------------


@pytest.fixture
def model() -> str:
    pytest.importorskip("transformers")
    return str(SHARED / "models" / "stories260K")


@needs_shared
def test_with_a_model_lengths_are_tokens_and_flags_are_whole(folder: Path, model: str) -> None:
    (folder / "chat.jinja").write_text(
        "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}</s>{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    arguments = ["train.jsonl", "--model", model, "--offline", "--max-length", "70", "--stop-token", "</s>"]
    arguments += ["--chat-template", "chat.jinja", "--template-arg", "enable_thinking=false"]
    shown = told(*arguments)
    line = next(line for line in shown.splitlines() if line.startswith("  --model"))
    assert line.startswith(f"  --model {model} --chat-template chat.jinja --map ")
    for flag in ("--max-length 70", "--on-long drop", "--stop-token '</s>'", "enable_thinking=false"):
        assert flag in line
    assert "-- the limit: 70" in shown
    assert "In tokens: the mean, and percentiles" in shown
    assert "by tokens, the longer reply is" in shown
    # What is advised can be given as it stands, and then advises itself; an audit leaves no row out.
    advised = shlex.split(line.replace(" --on-long drop", ""))
    assert line in told("train.jsonl", "--offline", *advised)


@needs_shared
def test_the_commands_of_the_readme_work_with_a_model(folder: Path, model: str) -> None:
    (folder / "my-model").symlink_to(model)
    for command in of_readme(folder, with_model=True):
        assert "In tokens: the mean" in told(*command, "--offline")


@needs_shared
def test_plain_text_and_added_text_have_their_flags(folder: Path, model: str) -> None:
    shown = told("train.jsonl", "--model", model, "--offline", "--plain", "--train-added")
    line = next(line for line in shown.splitlines() if line.startswith("  --model"))
    assert line.endswith(" --plain --train-added")
