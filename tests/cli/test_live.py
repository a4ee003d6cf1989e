"""How a run is told while it goes: a bar in a terminal of any width, few whole lines where nobody watches."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from concord.cli.live import Live, duration

ROW = {
    "step": 10.0,
    "loss": 0.65432,
    "rewards/accuracies": 0.614,
    "rewards/margins": 0.1234,
    "grad_norm": 2.0,
    "tokens_per_second": 5234.6,
    "memory_mb": 812.3,
}


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def console(*, terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    out = Console(file=file, force_terminal=terminal, width=width, highlight=False, emoji=False, markup=False)
    return out, file


def plain(text: str) -> list[str]:
    """What a terminal was sent, without its commands, by lines and redrawn lines."""
    return [line.rstrip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))]


def test_a_pipe_gets_a_whole_line_every_so_often() -> None:
    out, file = console(terminal=False, width=40)
    clock = Clock()
    with Live(out, every=30, clock=clock) as live:
        live.begin(300)
        for step in range(1, 31):
            clock.time += 2
            live.row({**ROW, "step": step})
    lines = file.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/300", "16/300"]
    told = ("step 16/300", "9 min left", "loss 0.654", "in order 61%", "margin 0.123", "gradient 2.00")
    assert lines[1] == "  ".join((*told, "5,235 tokens/s", "812 MB"))


def test_the_first_and_the_last_row_are_always_told() -> None:
    out, file = console(terminal=False)
    with Live(out, every=1e9, clock=Clock()) as live:
        live.begin(3)
        for step in (1, 2, 3):
            live.row({"step": step, "loss": 1.0})
    lines = file.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "3/3"]
    assert "left" not in lines[-1]


def test_evaluations_and_words_are_told_wherever_they_fall() -> None:
    for terminal in (False, True):
        out, file = console(terminal=terminal)
        with Live(out, every=1e9, clock=Clock()) as live:
            live.begin(100)
            live.row(ROW)
            live.row({"step": 20, "eval_loss": 0.6, "eval_rewards/accuracies": 0.7})
            live.say("step 21 was\nredone\x1b[31m")
        lines = plain(file.getvalue().replace("[U+001B]", "<escape>"))
        assert "step 20  held out  loss 0.600  in order 70%" in lines
        assert "redone<escape>[31m" in lines


def test_what_is_said_in_a_pipe_stays_a_line() -> None:
    out, file = console(terminal=False, width=20)
    Live(out, clock=Clock()).say("reference: the model before its first step, weights ea75")
    assert file.getvalue() == "reference: the model before its first step, weights ea75\n"


def test_what_is_left_is_reckoned_from_where_this_process_began() -> None:
    out, file = console(terminal=False)
    clock = Clock()
    live = Live(out, every=0, clock=clock)
    live.begin(200, done=100)
    clock.time += 50
    live.row({"step": 150, "loss": 1.0})
    assert "50 s left" in file.getvalue()


def test_the_work_before_the_first_step_is_told_with_its_share() -> None:
    out, file = console(terminal=False)
    clock = Clock()
    with Live(out, every=30, clock=clock) as live:
        live.progress("train", 10, 0.1)
        clock.time += 31
        live.progress("held_out", 4096, 0.256)
        live.progress("held_out", 5000, 0.5)
        clock.time += 31
        live.progress("reference values", 64, None)
    assert file.getvalue() == "held out: 4,096 rows  26%\nreference values: 64 rows\n"
    out, file = console(terminal=True)
    with Live(out, clock=clock) as live:
        live.progress("train", 10, 0.1)
        live.progress("train", 20, None)
        live.begin(300)
        live.row(ROW)
    told = "\n".join(plain(file.getvalue()))
    assert told.index("train: 10 rows") < told.index("train: 20 rows") < told.index("step 0/300")
    assert told.index("step 0/300") < told.index("step 10/300")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_bar_stays_within_its_line(width: int) -> None:
    out, file = console(terminal=True, width=width)
    with Live(out, clock=Clock()) as live:
        live.begin(300)
        live.row(ROW)
    lines = plain(file.getvalue())
    told = [line for line in lines if "10/300" in line]
    assert told
    assert all(len(line) <= width for line in lines)
    if width >= 60:
        assert any("loss 0.654" in line for line in told)


def fail(live: Live) -> None:
    with live:
        live.begin(300)
        raise ValueError("odd")


def test_a_bar_is_taken_away_even_when_the_run_fails() -> None:
    out, file = console(terminal=True)
    live = Live(out, clock=Clock())
    with pytest.raises(ValueError, match="odd"):
        fail(live)
    assert file.getvalue().endswith("\x1b[2K"), "the line of the bar is empty"
    live.close()


def test_numbers_that_are_none_are_told_as_they_are() -> None:
    out, file = console(terminal=False)
    with Live(out, clock=Clock()) as live:
        live.begin(3)
        live.row({"step": 1, "loss": float("nan"), "rewards/accuracies": float("nan")})
    assert file.getvalue() == "step 1/3  1 s left  loss nan  in order nan\n"


def test_a_row_before_the_beginning_is_told_too() -> None:
    out, file = console(terminal=False)
    Live(out, clock=Clock()).row({"step": 0, "eval_loss": 0.7})
    assert file.getvalue() == "step 0  held out  loss 0.700\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "1 h 0 min"),
        (4800, "1 h 20 min"),
        (86399, "1 d 0 h"),
        (90000, "1 d 1 h"),
    ],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.floats(0, 1e8))
def test_a_length_of_time_has_no_more_than_its_unit_holds(seconds: float) -> None:
    bounds = {"s": 60, "min": 60, "h": 24, "d": 10**9}
    parts = duration(seconds).split()
    for count, unit in zip(parts[::2], parts[1::2], strict=True):
        assert 0 <= int(count) < bounds[unit]
