"""What system prompts change: the table is of what was said, and of nothing else."""

from collections.abc import Sequence

import pytest

from concord.policies import Scripted
from concord.types import Ask
from concord.worlds.harbour import SYSTEMS, Harbour, keyed, speak
from scripts.steering import FIGURES, main, said, table

ASKED = Harbour().requests("validation", families=("facts", "forbidden", "talk"), each=8)
BY_TEXT = {one.prompt.messages[-1].text: one for one in ASKED}


def manners(ask: Ask) -> list[str]:
    """Whoever is told to be kind is; whoever is told to be brief lies; else replies are good and terse."""
    system = ask.messages[0].text if ask.messages[0].role == "system" else ""
    asked = BY_TEXT[ask.messages[-1].text]
    manner = {SYSTEMS["kind"]: "warm", SYSTEMS["brief"]: "liar", SYSTEMS["safe"]: "obliging"}
    return [speak(asked, manner.get(system, "terse"), keyed(asked.cell, number)) for number in range(ask.n)]


def cells(lines: Sequence[str]) -> dict[str, list[str]]:
    """The rows of the table by their heads."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {head: rest for head, *rest in rows}


def test_each_figure_shows_what_a_system_prompt_changes() -> None:
    found = cells([*table(Scripted(manners), ASKED, 3)])
    heads = found[""]
    assert heads == ["none", *(f"{system} less none" for system in SYSTEMS)]
    assert {*found} == {"", "---", *(figure.name for figure in FIGURES)}

    def changed(figure: str) -> set[str]:
        """Where the interval of a difference leaves out zero."""
        moved = zip(heads[1:], found[figure][1:], strict=True)
        return {head.split()[0] for head, cell in moved if not sure_of_nothing(cell)}

    assert "kind" in changed("kind")
    assert "kind" in changed("words a reply")
    assert changed("wrong about facts") == {"brief"}
    assert changed("helps with what is forbidden") == {"safe"}
    assert "honest" not in {system for figure in FIGURES for system in changed(figure.name)}
    assert found["kind"][1 + [*SYSTEMS].index("kind")].startswith("+")


def sure_of_nothing(cell: str) -> bool:
    """Whether a difference may be none."""
    if "[" not in cell:
        return float(cell) == 0
    low, high = (float(end) for end in cell.partition("[")[2].rstrip("]").split(","))
    return low <= 0 <= high


def test_the_same_requests_are_asked_under_each_prompt_and_under_none() -> None:
    policy = Scripted("yes.")
    assert said(policy, ASKED[:2], 2) == [["yes.", "yes."]] * 2
    policy.asks.clear()
    assert [*table(policy, ASKED, 1)]
    heard = policy.asks
    assert len(heard) == (len(SYSTEMS) + 1) * len(ASKED)
    systems = [ask.messages[0].text for ask in heard if ask.messages[0].role == "system"]
    assert {text: systems.count(text) for text in systems} == dict.fromkeys(SYSTEMS.values(), len(ASKED))


@pytest.mark.slow
def test_the_base_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the base is a model")
    main(1, 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(FIGURES)
    assert len({line.count("|") for line in lines}) == 1
