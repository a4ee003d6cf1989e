"""The catalogue as read without torch: whole, searchable, and helpful where a name is wrong."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from concord import catalogue
from concord.catalogue import Entry, find, load, named, search
from concord.cli import main
from concord.errors import NotFoundError, UnavailableError


def test_what_is_read_is_what_is_written() -> None:
    written = json.loads(catalogue.FILE.read_text(encoding="utf-8"))
    read = [entry.as_data() for entry in load()]
    assert [{**entry, "links": []} for entry in written] == [{**entry, "links": []} for entry in read]
    json.dumps(read, allow_nan=False)


def test_an_entry_is_whole() -> None:
    dpo = find("dpo")
    assert (dpo.kind, dpo.family, dpo.needs) == ("objective", "pairs", ("pairs", "reference"))
    assert dpo.equation.startswith("loss = -log sigmoid(beta h)")
    assert dpo.knobs["beta"].default == 0.1
    assert dpo.links[0] == "https://arxiv.org/abs/2305.18290"
    assert dpo.where == "concord.objectives.dpo"
    assert "reverse KL" in dpo.minimises
    assert find("f_dpo").knobs["divergence"].choices == ("reverse_kl", "forward_kl", "js", "alpha")


def test_a_method_names_its_parts() -> None:
    grpo = find("grpo")
    assert (grpo.kind, grpo.advantage) == ("method", ("standardised",))
    assert [term.reduction for term in grpo.terms] == ["sequence_mean", "sequence_mean"]
    assert grpo.where == 'concord.objectives.METHODS["grpo"]'
    for entry in load():
        parts = [*entry.keep, *entry.bonus, *entry.shaping, *entry.advantage]
        parts += [name for term in entry.terms for name in (term.objective, term.reduction)]
        assert all(named(part) for part in parts if part)


@pytest.mark.parametrize("name", ["DPO", " dpo ", "Dpo"])
def test_spelling_is_forgiven(name: str) -> None:
    assert find(name).name == "dpo"
    assert find("SLiC-HF").name == "slic_hf"
    assert find("dr. grpo").name == "dr_grpo"


def test_a_shared_name_means_the_method_first() -> None:
    assert [entry.kind for entry in named("reinforce")] == ["method", "objective"]
    assert find("reinforce").kind == "method"
    assert find("reinforce", kind="objective").kind == "objective"


def test_names_and_kinds_are_an_address() -> None:
    addresses = [(entry.name, entry.kind) for entry in load()]
    assert len(addresses) == len(set(addresses))


def test_a_wrong_name_is_answered_with_near_ones() -> None:
    with pytest.raises(NotFoundError, match=r"found 'dppo'.*did you mean.*concord methods") as caught:
        find("dppo")
    assert len(str(caught.value)) < 300, "the nearest, not the whole catalogue"
    with pytest.raises(NotFoundError, match="found 'qqqqqqqq'"):
        find("qqqqqqqq")
    with pytest.raises(NotFoundError, match="there is no reduction of this name"):
        find("dpo", kind="reduction")


def names(entries: tuple[Entry, ...]) -> set[str]:
    return {entry.name for entry in entries}


def test_search() -> None:
    assert {"simpo", "orpo"} <= names(search(family="pairs without reference"))
    assert search(family="contrast") == search(family="pairs without reference")
    assert "simpo" not in names(search(family="pairs")), "a whole name is not a part of another"
    assert "bradley_terry" in names(search(family="reward"))
    assert names(search("length margin likelihood")) >= {"simpo"}
    assert "dpo" in names(search("2305.18290"))
    with_reference = search(needs="pairs, reference")
    assert "dpo" in names(with_reference)
    assert not names(search(kind="reduction")) & names(with_reference)
    assert all({"pairs", "reference"} <= set(entry.needs) for entry in with_reference)
    assert search("no entry says this") == ()


def test_helpers_are_found_but_not_listed() -> None:
    assert find("log1mexp").kind == "function"
    assert "log1mexp" not in names(search())
    assert "log1mexp" in names(search(kind="function"))


@pytest.mark.parametrize("wrong", [{"family": "peirs"}, {"needs": "pairs, referense"}, {"kind": "objektive"}])
def test_a_wrong_filter_is_not_an_empty_answer(wrong: dict[str, str]) -> None:
    with pytest.raises(NotFoundError, match="did you mean"):
        search(**wrong)


def test_defaults_are_written_as_one_would() -> None:
    def shown(default: catalogue.Value, *, required: bool = False) -> str:
        return catalogue.Knob(default=default, type="", meaning="", required=required).shown

    assert [shown(v) for v in (1.0, 0.1, 1e-4, True, None, 3, "k1")] == [
        "1",
        "0.1",
        "0.0001",
        "True",
        "None",
        "3",
        "k1",
    ]
    assert shown(math.inf) == "inf"
    assert shown(1.23456789) == "1.23456789"
    assert shown(None, required=True) == "required"


@pytest.mark.parametrize(
    ("range_", "allowed", "inside", "outside"),
    [
        ("", "", [-math.inf, 0, math.inf], []),
        ("(0, inf)", "above 0 and finite", [1e-9, 5, 1e300], [0, -1, math.inf, math.nan]),
        ("[0, inf]", "of at least 0", [0, 5, math.inf], [-1e-9, math.nan]),
        ("[0, 0.5)", "of at least 0 and below 0.5", [0, 0.49], [-0.1, 0.5, math.nan]),
        ("(0, 1]", "above 0 and at most 1", [0.1, 1], [0, 1.1]),
        ("(-inf, 0)", "below 0 and finite", [-10.0], [0, -math.inf]),
    ],
)
def test_ranges_say_which_numbers_make_sense(
    range_: str, allowed: str, inside: list[float], outside: list[float]
) -> None:
    knob = catalogue.Knob(default=None, type="float", meaning="", range=range_)
    assert knob.allowed == allowed
    assert [value for value in (*inside, *outside) if knob.allows(value)] == inside


def test_infinity_is_a_number_here_and_text_in_the_file() -> None:
    entry = find("dpo")
    knob = catalogue.Knob(default=math.inf, type="float", meaning="")
    spelled = Entry(**{**{f: getattr(entry, f) for f in Entry.__slots__}, "knobs": {"cap": knob}}).as_data()
    assert spelled["knobs"]["cap"]["default"] == "Infinity"
    json.dumps(spelled, allow_nan=False)


@pytest.mark.parametrize(
    "text", [None, "", "[", "[]", "{}", "3", "null", "[3]", '[{"name": "dpo"}]', '{"a": 1}']
)
def test_a_damaged_catalogue_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setattr(catalogue, "FILE", tmp_path / "methods.json")
    if text is not None:
        catalogue.FILE.write_text(text)
    load.cache_clear()
    try:
        with pytest.raises(
            UnavailableError, match=r"methods\.json is missing or damaged; .*reinstall concord-align"
        ):
            load()
        assert CliRunner().invoke(main, ["methods"]).exit_code == 2
    finally:
        load.cache_clear()
