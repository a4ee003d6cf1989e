"""The command as a whole: help, errors, pipes, speed; through click, and as a real process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from concord import __version__
from concord.cli import VERBS, main
from concord.errors import RecipeError
from tests.conftest import ROOT

PROCESS = [sys.executable, "-m", "concord"]


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    return {**kept, **extra}


def test_help_lists_every_verb() -> None:
    told = CliRunner().invoke(main, ["--help"])
    assert told.exit_code == 0
    assert all(verb in told.output and line[:30] in told.output for verb, line in VERBS.items())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    told = CliRunner().invoke(main, [verb, "--help"])
    assert told.exit_code == 0
    assert "Usage: " in told.output


def test_every_verb_is_a_file_and_the_other_way_round() -> None:
    files = {path.stem for path in (ROOT / "src" / "concord" / "cli").glob("*.py")}
    assert set(VERBS) == files - {
        *("__init__", "blocks", "drawings", "grid", "live", "opening", "options", "progress"),
        *("reaching", "scoring", "telling", "terminal"),
    }


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"concord {__version__}\n"


def test_an_unknown_verb_is_answered_with_the_nearest() -> None:
    told = CliRunner().invoke(main, ["metods"])
    assert told.exit_code == 2
    assert "no verb 'metods'. Did you mean 'methods'?" in told.stderr
    assert told.stdout == ""


def test_our_errors_are_one_line_and_never_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise RecipeError("a knob is unknown; found 'betta'; accepted: beta.")

    monkeypatch.setattr("concord.cli.methods.command", command)
    told = CliRunner().invoke(main, ["methods"])
    assert told.exit_code == 2
    assert told.stderr == "concord: a knob is unknown; found 'betta'; accepted: beta.\n"
    assert told.stdout == ""


def test_our_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("concord.cli.methods.command", command)
    assert isinstance(CliRunner().invoke(main, ["methods"]).exception, ZeroDivisionError)


def test_as_a_process_it_is_quick_and_light() -> None:
    program = (
        "import sys; from concord.cli import main\n"
        "try: main(['methods', 'dpo'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'numpy'} & sys.modules.keys()"
    )
    seconds: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
        )
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        assert "-log sigmoid(beta h)" in done.stdout
    # 0.1 s on an idle machine; the bound leaves room for one that is busy with other tests.
    assert min(seconds) < 0.6


def test_as_a_process_an_error_has_its_code_and_its_stream() -> None:
    done = subprocess.run(
        [*PROCESS, "methods", "dppo"], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("concord: there is no method of this name; found 'dppo'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["methods"], ["methods", "--json"], ["methods", "dpo"]])
def test_a_closed_pipe_is_no_error_to_speak_of(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*PROCESS, *arguments],
            env=environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == ""


def test_colour_goes_to_terminals_that_want_it_only(tmp_path: Path) -> None:
    escape = "\x1b["
    plain = subprocess.run(
        [*PROCESS, "methods", "dpo"], env=environment(), capture_output=True, text=True, check=True
    )
    assert escape not in plain.stdout
    pty = pytest.importorskip("pty")
    for extra, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        leader, follower = pty.openpty()
        subprocess.run(
            [*PROCESS, "methods", "dpo"],
            env=environment(TERM="xterm-256color", **extra),
            stdout=follower,
            check=True,
        )
        os.close(follower)
        shown = os.read(leader, 1 << 16).decode()
        os.close(leader)
        assert "-log sigmoid(beta h)" in shown
        assert ("\x1b[1;36m" in shown) == coloured


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["methods"], ["methods", "--json"], ["--help"]])
def test_a_full_disk_is_one_sentence(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PROCESS, *arguments],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "concord: the output could not be written: No space left on device.\n"


def test_no_columns_a_kind_first_and_a_cache_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    wide = CliRunner().invoke(main, ["methods", "dpo"]).output
    monkeypatch.setenv("COLUMNS", "1")
    narrow = CliRunner().invoke(main, ["methods", "dpo"])
    assert narrow.exit_code == 0
    assert max(map(len, narrow.output.splitlines())) <= 20 < max(map(len, wide.splitlines()))
    assert "there is no such kind" in CliRunner().invoke(main, ["methods", "dpo", "--kind", "zz"]).stderr
    monkeypatch.setenv("CONCORD_CACHE", "/tmp/" + "x" * 9000)
    told = CliRunner().invoke(main, ["cache"])
    assert (told.exit_code, told.stderr[:9]) == (2, "concord: ")
