"""`concord methods`: every entry at every width, the list and its filters, JSON for programs."""

import json
import re

import pytest
from click.testing import CliRunner, Result

from concord.catalogue import find, load
from concord.cli import main

WIDTHS = (20, 40, 80, 200)


def methods(*arguments: str, width: int = 100) -> Result:
    return CliRunner().invoke(main, ["methods", *arguments], env={"COLUMNS": str(width)})


def squeezed(text: str) -> str:
    """Without blanks and line ends, which differ with the width."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_says_everything_at_every_width(width: int) -> None:
    for entry in load():
        told = methods(entry.name, "--kind", entry.kind, width=width)
        assert told.exit_code == 0, told.output
        lines = told.stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert lines == [line.rstrip() for line in lines]
        for text in (entry.name, entry.summary, entry.equation):
            assert squeezed(text) in squeezed(told.stdout)
        if width < 80:
            continue  # what stands in columns is cut into pieces there
        for name, knob in entry.knobs.items():
            assert re.search(rf"^{re.escape(name)} +{re.escape(knob.shown)}", told.stdout, re.MULTILINE)
        for name in entry.inputs:
            assert re.search(rf"^{name}\b", told.stdout, re.MULTILINE)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_has_every_method_at_every_width(width: int) -> None:
    told = methods(width=width)
    assert told.exit_code == 0
    assert max(map(len, told.stdout.splitlines())) <= width
    listed = squeezed(told.stdout)
    for entry in load():
        if entry.kind != "function":
            assert entry.name in listed
            assert (squeezed(entry.summary) in listed) or width >= 80


def test_a_page_says_what_one_asks_of_it() -> None:
    shown = methods("f_dpo").stdout
    for text in (
        "objective, pairs",
        "pairs, reference",
        "https://arxiv.org/abs/2309.16240",
        "one of reverse_kl, forward_kl, js, alpha",
        "departs",
        "TRL's f_alpha_divergence_coef is 1 - alpha",
        "concord.objectives.f_dpo(pairs: ReferencedPairs",
    ):
        assert text in shown
    assert "must see all rows" in methods("kto").stdout
    assert "must see all rows" not in methods("dpo").stdout


def test_a_method_shows_its_parts() -> None:
    shown = methods("dapo").stdout
    assert re.search(r"^terms +ppo_clip, token_mean, on samples, low 0.2, high 0.28$", shown, re.MULTILINE)
    assert re.search(r"^keep +informative$", shown, re.MULTILINE)
    assert re.search(r"^ppo_clip.high +0.28 ", shown, re.MULTILINE)


def test_a_shared_name_says_so() -> None:
    assert "Also of this name: the objective" in methods("reinforce").stdout
    assert "method, policy gradient" in methods("reinforce").stdout
    assert "objective, policy gradient" in methods("reinforce", "--kind", "objective").stdout


def test_a_wrong_name_is_one_helpful_sentence() -> None:
    told = methods("dppo")
    assert (told.exit_code, told.stdout) == (2, "")
    assert "did you mean" in told.stderr
    assert "`concord methods` lists them" in told.stderr


def test_filters() -> None:
    shown = methods("--family", "contrast").stdout
    assert "simpo" in shown
    assert "ipo_token_mean" not in shown
    needing = methods("--needs", "value head", "--kind", "method").stdout
    assert [line.split()[0] for line in needing.splitlines() if line.startswith("ppo")] == [
        "ppo",
        "ppo_dual",
        "ppo_ptx",
    ]
    assert "orpo" in methods("--search", "odds ratio").stdout
    assert methods("--family", "peirs").exit_code == 2


def test_nothing_found_is_said_on_stderr() -> None:
    told = methods("--search", "no entry says this")
    assert (told.exit_code, told.stdout) == (1, "")
    assert "Nothing in the catalogue fits" in told.stderr
    assert json.loads(methods("--search", "no entry says this", "--json").stdout) == []


def test_name_and_filter_do_not_go_together() -> None:
    assert methods("dpo", "--family", "pairs").exit_code == 2


def test_json_is_the_whole_catalogue() -> None:
    told = json.loads(methods("--json").stdout)
    assert [(entry["name"], entry["kind"]) for entry in told] == [(e.name, e.kind) for e in load()]
    assert told == [entry.as_data() for entry in load()]
    only = json.loads(methods("--json", "--family", "rankings").stdout)
    assert {entry["family"] for entry in only} == {"rankings"}
    assert not [entry for entry in only if entry["kind"] == "function"]
    assert json.loads(methods("dpo", "--json").stdout) == find("dpo").as_data()


def test_in_a_pipe_an_entry_is_a_line() -> None:
    told = CliRunner().invoke(main, ["methods"], env={"COLUMNS": ""})
    lines = {line.split()[0]: line for line in told.stdout.splitlines() if line}
    for entry in load():
        if entry.kind != "function":
            assert entry.summary in told.stdout
    assert lines["dpo"].startswith("dpo ")
    assert "pairs, reference" in lines["dpo"]
