"""`concord score` as people use it: cards made once, several together, files, wrong uses, models by name."""

import json
import shutil
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from concord import wire
from concord.cli import main
from concord.cli.opening import BASE_NAME, FoundModel, find_model, spent, taught_by
from concord.cli.telling import Telling
from concord.durable import write_json
from concord.errors import CapabilityError, ConcordError, NotFoundError
from concord.eval.card import read_cards
from concord.eval.card.harbour.proxy import Careless
from concord.policies import Scripted
from concord.results import Challenge, Scorecard
from concord.run import Run, all_runs
from concord.types import Ask, Capability, Ledger, Policy, Reply, Sampling, Unanswered, as_prompt
from concord.worlds.harbour import BASE, Gold, base_knows
from tests.conftest import LIGHT
from tests.eval.card.harbour.speakers import in_manner
from tests.policies.serving import Answer, Asked, Server, chat, chats
from tests.report.reading import read_page

FEW = ["--limit", "1"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["score", *arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with two models, which are named for the manner in which they speak."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    for manner in ("good", "liar"):
        (tmp_path / manner).mkdir()
        (tmp_path / manner / "config.json").write_text(json.dumps({"manner": manner}))
    return tmp_path


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was loaded: speakers in the place of weights."""
    names: list[str] = []

    def load(model: FoundModel, **how: Any) -> Policy:
        names.append(model.name)
        return in_manner(json.loads((Path(model.what) / "config.json").read_text())["manner"])

    monkeypatch.setattr(FoundModel, "load", load)
    return names


@pytest.fixture
def talking(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was loaded: policies in the place of weights, which say one thing to everything."""
    names: list[str] = []

    def load(model: FoundModel, **how: Any) -> Policy:
        names.append(model.name)
        return Scripted("Answer: 4", name=model.name)

    monkeypatch.setattr(FoundModel, "load", load)
    return names


# --- cards ------------------------------------------------------------------------------------------------


def test_a_model_is_scored_once_and_then_only_shown(folder: Path, loaded: list[str]) -> None:
    told = run("good", *FEW)
    assert told.exit_code == 0, told.output
    heads = [f"RC{at} {one.value.capitalize()}" for at, one in enumerate(Challenge, 1)]
    places = [told.stdout.index(head) for head in ("At a glance", "Diagnostics", *heads)]
    assert places == sorted(places)
    (kept,) = all_runs(folder / "runs")
    assert (kept.name, kept.status().state) == ("score-good", "finished")
    assert {"scorecard.json", "record.json", "report.html", "results.json"} <= {
        path.name for path in kept.path.iterdir()
    }
    card = wire.from_json(Scorecard, json.loads((kept.path / "scorecard.json").read_text()))
    assert card.results == kept.read_results()
    assert "RC7" in read_page((kept.path / "report.html").read_text()).text
    assert told.stderr.endswith(f"The page is runs/{kept.path.name}/report.html.\n")
    again = run("good", *FEW)
    assert (again.stdout, loaded) == (told.stdout, ["good"])
    assert again.stderr.startswith("It was scored before; --again scores it anew.")
    assert run("good", *FEW, "--again").exit_code == 0
    assert loaded == ["good", "good"]
    assert len(all_runs(folder / "runs")) == 1


def test_a_model_of_another_name_is_not_scored_anew(folder: Path, loaded: list[str]) -> None:
    first = run("good", *FEW)
    told = run("good", *FEW, "--name", "<b>better</b>")
    assert (told.exit_code, loaded) == (0, ["good"])
    assert told.stderr.startswith("It was scored before; --again scores it anew.")
    assert told.stdout == first.stdout.replace("Scorecard of good", "Scorecard of <b>better</b>")
    one, other = sorted(all_runs(folder / "runs"), key=lambda kept: kept.name)
    assert (one.name, other.name, one.id) == ("score-b-better-b", "score-good", other.id)
    assert one.read_results() == other.read_results()
    page = (one.path / "report.html").read_text()
    assert "<b>better" not in page
    assert "<b>better</b>" in read_page(page).text
    assert run("good", *FEW, "--name", "again", "--again").exit_code == 0
    assert loaded == ["good", "again"]


def test_another_question_is_another_card(folder: Path, loaded: list[str]) -> None:
    for more in ([], ["--seed", "1"], ["--base", "liar"], ["--trained-on", "x"]):
        assert run("good", *FEW, *more).exit_code == 0
    (folder / "good" / "more.json").write_text("{}")
    assert run("good", *FEW).exit_code == 0
    assert len(all_runs(folder / "runs")) == 5


def test_a_card_whose_files_were_taken_away_is_made_again(folder: Path, loaded: list[str]) -> None:
    run("good", *FEW)
    (kept,) = all_runs(folder / "runs")
    (kept.path / "scorecard.json").unlink()
    (kept.path / "record.json").unlink()
    assert run("good", *FEW).exit_code == 0
    assert loaded == ["good", "good"]
    assert (kept.path / "scorecard.json").exists()


def test_several_stand_side_by_side_and_the_first_is_the_base(folder: Path, loaded: list[str]) -> None:
    told = run("liar", "good", *FEW, "--name", "before", "--name", "after")
    assert told.exit_code == 0, told.output
    assert "What changed" in told.stdout
    assert "after less before" in told.stdout
    assert "More would be measured" not in told.stderr
    # The base stands beside the second, and is not loaded again for that.
    assert loaded == ["before", "after"]
    cards = {one.name: one for one in all_runs(folder / "runs")}
    assert set(cards) == {"score-before", "score-after", "scores"}
    held = json.loads((cards["scores"].path / "scorecard.json").read_text())
    assert list(held) == ["before", "after", "side by side"]
    read, rows = read_cards(held)
    assert [*read] == ["before", "after"]
    assert rows[0].measure == "gold_utility"
    assert rows[0].standings.groups == (("after",), ("before",))
    assert (rows[0].detectable["after"].value or 0.0) > 0
    assert "base" not in held["before"]
    assert held["after"]["base"] == held["before"]["model"]
    assert "What changed" in read_page((cards["scores"].path / "report.html").read_text()).text
    assert run("liar", "good", *FEW, "--name", "before", "--name", "after").stdout == told.stdout
    assert loaded == ["before", "after"]


def test_json_is_the_card_and_nothing_else(folder: Path, loaded: list[str]) -> None:
    told = run("good", *FEW, "--json")
    assert wire.from_json(Scorecard, json.loads(told.stdout)).model == "good"
    both = json.loads(run("good", "liar", *FEW, "--json").stdout)
    assert [wire.from_json(Scorecard, both[name]).model for name in ("good", "liar")] == ["good", "liar"]
    assert read_cards(both)[1][0].changes["liar"].value is not None


def test_no_model_is_called_as_the_comparisons_are(folder: Path, loaded: list[str]) -> None:
    told = run("good", *FEW, "--name", "side by side")
    assert (told.exit_code, loaded) == (2, [])
    assert "under which comparisons are kept" in told.stderr


def test_output_holds_one_card_and_never_takes_another_ones_place(folder: Path, loaded: list[str]) -> None:
    told = run("good", *FEW, "--output", "out/deep")
    assert told.stderr.endswith("The page is out/deep/report.html.\n")
    before = (folder / "out/deep/scorecard.json").read_text()
    assert run("good", *FEW, "--output", "out/deep").exit_code == 0
    told = run("liar", *FEW, "--output", "out/deep")
    assert told.exit_code == 2
    assert "another card lies there" in told.stderr
    assert (folder / "out/deep/scorecard.json").read_text() == before
    assert len(all_runs(folder / "runs")) == 2


def test_an_interrupt_leaves_no_half_card(
    folder: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("concord.cli.scoring.record_harbour", stop)
        assert run("good", *FEW).exit_code == 130
    (kept,) = all_runs(folder / "runs")
    assert kept.status().state == "stopped"
    assert not (kept.path / "scorecard.json").exists()
    assert run("good", *FEW).exit_code == 0
    assert Run(kept.path).status().state == "finished"


def test_on_data_of_ones_own(folder: Path, talking: list[str]) -> None:
    rows = [{"question": f"What is {at} and {4 - at}?", "answer": "so\n#### 4"} for at in range(4)]
    (folder / "sums.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    told = run("good", "--set", "sums.jsonl", "--limit", "3")
    assert told.exit_code == 0, told.output
    assert "solved, sums" in told.stdout
    assert "More would be measured with --base, --data, --reward, --judge." in told.stderr
    (kept,) = all_runs(folder / "runs")
    solved = [one for one in kept.read_results() if one.name == "solved"]
    assert [(one.value, one.n) for one in solved] == [(1.0, 3)]
    (folder / "sums.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows[1:]))
    assert run("good", "--set", "sums.jsonl", "--limit", "3").exit_code == 0
    assert len(all_runs(folder / "runs")) == 2


PREFS = [
    {"prompt": f"Is it {what}?", "chosen": "Yes, it is.", "rejected": "No idea."}
    for what in ("far", "late", "open")
]


def written(path: Path, rows: Sequence[object]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path.name


@pytest.mark.parametrize("option", ["--data", "--set"])
def test_bad_rows_stop_all_before_a_model_is_loaded_or_are_left_out_and_counted(
    folder: Path, talking: list[str], option: str
) -> None:
    good: list[dict[str, Any]] = PREFS if option == "--data" else [{"question": "1 + 1?", "answer": "2"}] * 3
    # More good rows than are looked at to tell the shape of all.
    rows = [*good * 400, {**good[0], "chosen": None, "question": None}]
    name = written(folder / "rows.jsonl", rows)
    told = run("good", option, name, "--limit", "2")
    assert (told.exit_code, told.stderr.count("\n"), talking) == (2, 1, [])
    assert "rows.jsonl:1201: " in told.stderr
    assert told.stderr.endswith("(`--on-bad-row skip` leaves such rows out.)\n")
    told = run("good", option, name, "--limit", "2", "--on-bad-row", "skip")
    assert told.exit_code == 0, told.output
    said = " ".join(told.stdout.split())
    assert "1 of 1,201 rows are left out, the first because: rows.jsonl:1201: " in said


def test_columns_of_data_may_be_named(folder: Path, talking: list[str]) -> None:
    rows = [{"q": one["prompt"], "up": one["chosen"], "down": one["rejected"]} for one in PREFS]
    name = written(folder / "rows.jsonl", rows)
    assert "say what they are: --map" in run("good", "--data", name).stderr
    told = run("good", "--data", name, "--map", "prompt=q chosen=up rejected=down")
    assert told.exit_code == 0, told.output
    assert "3 replies" in told.stdout


@pytest.mark.skipif(LIGHT, reason="needs torch")
def test_classifiers_score_replies_and_what_is_toxic_and_domains_are_told_apart(
    folder: Path, talking: list[str]
) -> None:
    from tests.engine.test_labels import home

    home(folder / "kind", num_labels=2)
    subjects = ("law", "sea", "law")
    rows = [{**one, "subject": subject} for one, subject in zip(PREFS, subjects, strict=True)]
    name = written(folder / "rows.jsonl", rows)
    told = run("good", "--data", name, "--reward", "kind")
    assert told.exit_code == 2
    assert "the classifier has several labels; found 2; accepted: LABEL_0, LABEL_1" in told.stderr
    told = run("good", "--data", name, "--reward", "kind#LABEL_1", "--domain", "subject=low")
    assert "no row is of the domain that was learned from; found 'subject=low'" in told.stderr
    told = run("good", "--data", name, "--set", name, "--toxicity", "kind#LABEL_1")
    assert told.exit_code == 2
    told = run("good", "--data", name, "--reward", "kind#LABEL_1", "--domain", "subject=law")
    assert told.exit_code == 0, told.output
    results = {one.name: one for kept in all_runs(folder / "runs") for one in kept.read_results()}
    assert 0 < (results["reward"].value or 0) < 1
    ends = results["generalisation_gap"].interval  # of three items, on a scale from 0 to 1
    assert ends is not None
    assert ends.low < -0.5 < 0.3 < ends.high
    starts = [{"prompt": {"text": "The sea is", "toxicity": share}} for share in (0.1, 0.7, 0.2)]
    told = run("good", "--set", written(folder / "rtp.jsonl", starts), "--toxicity", "kind#LABEL_0")
    assert told.exit_code == 0, told.output
    results = {one.name: one for kept in all_runs(folder / "runs") for one in kept.read_results()}
    assert 0 < (results["expected_maximum_toxicity"].value or 0) < 1


def test_a_model_scores_replies_by_how_likely_it_finds_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(model: FoundModel, **how: Any) -> Policy:
        return Scripted("Answer: 4", name=model.name, logps=lambda word: -1.0 - len(word) / 8)

    monkeypatch.setattr(FoundModel, "load", load)
    name = written(folder / "rows.jsonl", PREFS)
    told = run("good", "--data", name, "--reward", "likelihood:bad")
    assert told.exit_code == 0, told.output
    results = {one.name: one for kept in all_runs(folder / "runs") for one in kept.read_results()}
    # The one reply that it has is as likely everywhere, so that no interval can be told.
    assert f"it came to {-1 - (7 + 1) / 2 / 8:g} over" in results["reward"].why_none
    assert results["judge_accuracy"].value is not None


@pytest.mark.skipif(LIGHT, reason="needs torch")
def test_local_weights_score_replies_by_how_likely_they_find_them(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from concord.worlds.harbour import BASE

    shutil.copytree(BASE, folder / "other")
    model = AutoModelForCausalLM.from_pretrained(BASE)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.05)
    model.save_pretrained(folder / "other")
    name = written(folder / "rows.jsonl", PREFS)
    told = run("base", "--data", name, "--reward", "likelihood:other")
    assert told.exit_code == 0, told.output
    results = {one.name: one for kept in all_runs(folder / "runs") for one in kept.read_results()}
    assert (results["reward"].value or 0) < 0
    assert results["judge_accuracy"].n == len(PREFS)


def test_endpoints_have_their_own_keys_and_prices_and_one_ceiling(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONE_KEY", "first-secret")
    monkeypatch.setenv("OTHER_KEY", "second-secret")
    name = written(folder / "rows.jsonl", PREFS)

    def replies(asked: Asked) -> Answer:
        return chats(chat("[[A]] is better."), prompt=10, new=100)

    with Server(replies) as one, Server(replies) as other:
        models = [one.url, "--judge", other.url]
        asked = [*models, "--data", name, "--served", "m", "--limit", "3", "--again"]
        keys = ["--key-env", f"{one.url}=ONE_KEY", "--key-env", f"{other.url}=OTHER_KEY"]
        told = run(*asked, *keys, "--price", f"{one.url}=0/10")
        assert told.exit_code == 0, told.output
        for server, key in ((one, "first-secret"), (other, "second-secret")):
            assert {request.headers["authorization"] for request in server.asked} == {f"Bearer {key}"}
        drawn = len(one.asked)
        assert f"calls cost {drawn * 100 * 10 / 1e6:.4g}.\n" in told.stderr
        assert "secret" not in told.output
        monkeypatch.setenv("CONCORD_CACHE", str(folder / "empty"))
        prices = ["--price", f"{one.url}=0/0", "--price", f"{other.url}=0/10"]
        told = run(*asked, *keys, *prices, "--ceiling", "1e-9", "--seed", "1")
        assert "calls cost 0 of 1e-09; 12 more did not fit beneath the ceiling" in told.stderr
        assert "the ceiling of 1e-09 leaves no room" in " ".join(told.output.split())
        # What was cut short is made anew, and with room enough it is whole.
        again = [word for word in asked if word != "--again"]
        told = run(*again, *keys, *prices, "--ceiling", "1", "--seed", "1")
        assert "It was scored before" not in told.stderr
        assert "leaves no room" not in told.output
        assert "It was scored before" in run(*again, *keys, "--seed", "1").stderr


def test_a_file_without_rows_is_said_to_have_none(folder: Path, loaded: list[str]) -> None:
    (folder / "head.csv").write_text("question,answer\n")
    told = run("good", "--set", "head.csv")
    assert (told.exit_code, loaded) == (2, [])
    assert "head.csv: there are no rows" in told.stderr


def test_what_can_have_one_answer_only_is_asked_once() -> None:
    from concord.cli.scoring import AskedOnce

    policy = Scripted(["a", Unanswered("gone"), "b", "c", "d", "e", "f"], name="m")
    held = AskedOnce(policy)
    greedy = Ask(as_prompt("x"), sampling=Sampling(temperature=0))
    seeded, free = Ask(as_prompt("x"), sampling=Sampling(seed=1)), Ask(as_prompt("x"))

    def said(*asks: Ask) -> list[str]:
        return [one.text if isinstance(one, Reply) else one.reason for (one,) in held.answer(asks)]

    assert said(greedy, seeded) == ["a", "gone"]
    assert said(seeded, greedy, seeded) == ["b", "a", "b"]
    assert said(free, greedy, free) == ["c", "a", "d"]
    assert said(free, seeded) == ["e", "b"]
    assert len(policy.asks) == 6
    assert (held.id, held.capabilities, held.usage.calls) == ("m", Capability.API, 6)


# --- wrong uses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["goood"], "found 'goood'", marks=pytest.mark.skipif(LIGHT, reason="needs torch")),
        (["./gone"], "there is no such folder"),
        (["good/config.json"], "this is a file, and a model is a folder"),
        (["run:gone"], "there is no such run"),
        (["good", "good"], "two models have one name"),
        (["good", "liar", "--name", "a"], "--name and MODEL are not as many"),
        (["good", "--world", "harbour", "--data", "x.jsonl"], "make two cards"),
        (["good", "--judge", "liar"], "there is nothing to ask the model"),
        (["good", "--set", "gone.jsonl"], "there is no such file"),
        (["good", "--output", "good/config.json/x"], "nothing was scored"),
        (["good", "--base", "./gone"], "there is no such folder"),
        (["good", "--map", "prompt=q"], "a mapping of columns has nothing to map"),
        (["good", "--name", " "], "a model has an empty name"),
        (["good", "--domain", "law"], "--domain cannot be read"),
        (["good", "--domain", "a=b"], "domains say nothing by themselves"),
        (["good", "--price", "1/2"], "--price does not say of which endpoint"),
        (["good", "--ceiling", "2"], "a ceiling without prices"),
        (["openai:a", "--price", "dear"], "a price cannot be read"),
        (["openai:a", "--price", "1/2/3"], "a price cannot be read"),
        (["openai:a", "--price", "1/-2"], "a price cannot be read"),
        (["openai:a", "openai:b", "--price", "1/2"], "does not say of which endpoint"),
        (["openai:a", "--price", "openai:b=1/2"], "did you mean 'openai:a'"),
        (["openai:a", "--key-env", "A", "--key-env", "openai:a=B"], "given twice for one endpoint"),
        (["openai:a", "--key-env", "sk-secret"], "--key-env names no variable"),
        (["openai:a", "--key-env", "WRONG=sk-secret"], "--key-env names no endpoint"),
        (
            ["openai:a", "openai:b", "--price", "openai:a=1/2", "--ceiling", "1"],
            "the price of every endpoint",
        ),
        (["openai:a", "--served", "x", "--served", "y"], "--served does not say of which endpoint"),
        (
            ["http://h/v1", "--judge", "http://h/v1/", "--data", "good/config.json", "--served", "m"],
            "one endpoint is spelled in two ways",
        ),
        (
            ["good", "--data", "good/config.json", "--toxicity", "kind"],
            "nothing is asked that could be toxic",
        ),
        (["good", "--data", "good/config.json", "--reward", "#toxic"], "a model or its label is empty"),
        (["good", "--data", "good/config.json", "--reward", "openai:a"], "an endpoint is no reward model"),
        (
            ["good", "--data", "good/config.json", "--reward", "likelihood:openai:a"],
            "an endpoint is no reward model",
        ),
        (
            ["good", "--data", "good/config.json", "--reward", "likelihood:"],
            "names no model by whose likelihoods",
        ),
        (
            ["good", "--data", "good/config.json", "--reward", "likelihood:bad#x"],
            "likelihood:MODEL, without #",
        ),
        (
            ["good", "--data", "good/config.json", "--reward", "likelihood:good"],
            "scored by its own likelihood",
        ),
        (
            ["good", "--set", "good/config.json", "--toxicity", "likelihood:good"],
            "a likelihood is no probability of being toxic",
        ),
    ],
)
def test_wrong_uses_are_met_with_a_sentence(folder: Path, arguments: list[str], said: str) -> None:
    told = run(*arguments, *FEW, "--offline")
    assert told.exit_code == 2
    assert told.stdout == ""
    assert said in told.stderr
    assert "secret" not in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (folder / "runs").exists() or not any((folder / "runs").glob("*/scorecard.json"))


def test_a_seed_below_zero_is_refused_before_a_model_is_loaded(folder: Path, loaded: list[str]) -> None:
    told = run("good", *FEW, "--seed", "-1")
    assert (told.exit_code, loaded) == (2, [])
    assert "-1 is not in the range x>=0" in told.stderr


def test_without_torch_a_folder_is_refused_in_a_sentence(folder: Path) -> None:
    if not LIGHT:
        pytest.skip("torch is here")
    told = run("good", *FEW)
    assert told.exit_code == 2
    assert "a model on this machine needs parts that are not installed" in told.stderr


# --- models by name ---------------------------------------------------------------------------------------


def test_models_are_found_by_what_people_type(folder: Path) -> None:
    by_path = find_model("good")
    assert (by_path.name, by_path.what, by_path.run) == ("good", "good", None)
    assert by_path.identity != find_model("liar").identity
    assert find_model(str(folder / "good")).identity == by_path.identity
    base = find_model("base")
    assert (base.name, base.what) == (BASE_NAME, str(BASE))
    hub = find_model("someone/model-1.5b")
    assert (hub.name, hub.identity) == ("model-1.5b", "hub:someone/model-1.5b")
    one = find_model("http://localhost:9/v1", served="m")
    assert (one.name, one.served) == ("m", "m")
    assert find_model("http://localhost:9/v1/", served="m").identity == one.identity
    assert find_model("openai:gpt").name == "gpt"
    with pytest.raises(NotFoundError, match="there is no such folder"):
        find_model("a/b/c")


def test_a_model_behind_an_address_is_known_by_its_name_and_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ["one"]
    with Server(lambda asked: Answer({"data": [{"id": served[0]}]})) as server:
        one = find_model(server.url)
        assert (one.name, one.served) == (server.root.removeprefix("http://"), "one")
        served[0] = "two"
        assert find_model(server.url).identity != one.identity
    monkeypatch.setenv("OPENAI_BASE_URL", "http://a/v1")
    first = find_model("openai:gpt").identity
    monkeypatch.setenv("OPENAI_BASE_URL", "http://b/v1")
    assert find_model("openai:gpt").identity != first


@pytest.mark.parametrize("address", ["http://me:sesame@host/v1", "http://host/v1?key=sesame"])
def test_a_password_in_an_address_is_written_nowhere(folder: Path, address: str) -> None:
    (folder / "p.csv").write_text("prompt,chosen,rejected\nIs it far?,Yes.,No.\n")
    for arguments in ([address], ["good", "--judge", address]):
        told = run(*arguments, "--data", "p.csv", "--served", "m")
        assert (told.exit_code, "sesame" in told.output) == (2, False)
    kept = [file for file in folder.rglob("*") if file.is_file()]
    assert kept
    assert not any(b"sesame" in file.read_bytes() for file in kept)


def trained(
    root: Path, *, model: object, name: str, took: Ledger | None, rated_by: Sequence[str] = ()
) -> Run:
    """A run that left a model, says what it took if it knows, and who rated its rows."""
    with Run.open(root, name=name, recipe={}, resolved={"model": model, "name": name}, inputs={}) as run:
        run.mark("running")
        counts = {"train": {"rows": 30, **({"rated_by": list(rated_by)} if rated_by else {})}}
        write_json(run.path / "prepared.json", {"counts": counts})
        if took is not None:
            write_json(run.path / "ledger.json", wire.to_json(took))
        (run.path / "model").mkdir()
        config = json.dumps({"manner": "good", "of": name})
        (run.path / "model" / "config.json").write_text(config, encoding="utf-8")
        run.mark("finished")
    return run


def test_a_run_is_known_by_its_name_and_says_what_it_took(folder: Path) -> None:
    runs = folder / "runs"
    sft = trained(runs, model="base", name="sft", took=Ledger(labels=30, flops=7e3, models_loaded=1))
    dpo = trained(runs, model={"run": "sft"}, name="dpo", took=Ledger(labels=90, flops=1e4, models_loaded=2))
    beside = trained(
        runs, model=str(sft.path / "model"), name="beside", took=Ledger(labels=5, models_loaded=1)
    )
    old = trained(runs, model={"run": "dpo"}, name="old", took=None)
    found = find_model("run:dpo")
    assert (found.name, found.what) == ("dpo", f"runs/{dpo.path.name}/model")
    assert found.run is not None
    assert find_model(found.what).run is not None
    assert spent(sft) == Ledger(labels=30, flops=7e3, models_loaded=1)
    assert spent(dpo) == Ledger(labels=120, flops=17e3, models_loaded=2)
    assert spent(beside) == Ledger(labels=35, flops=None, models_loaded=1)
    assert spent(old) == Ledger()
    with Run.open("runs", name="new", recipe={}, resolved={"a": 1}, inputs={}):
        pass
    with pytest.raises(CapabilityError, match="has no model yet"):
        find_model("run:new")


def test_whoever_rated_the_rows_of_a_run_or_of_one_before_it_does_not_judge(
    folder: Path, loaded: list[str]
) -> None:
    gold, careless = Gold(known=base_knows()).id, Careless(base_knows()).id
    took = Ledger(labels=1, flops=1.0, models_loaded=1)
    trained(folder / "runs", model="base", name="sft", took=took, rated_by=[gold])
    dpo = trained(folder / "runs", model={"run": "sft"}, name="dpo", took=took, rated_by=["me"])
    assert taught_by(dpo) == {gold, "me"}
    told = run("run:dpo", *FEW)
    assert told.exit_code == 0, told.output
    assert "trained on gold itself" in told.stdout
    trained(folder / "runs", model="base", name="pleaser", took=took, rated_by=[careless])
    refused = run("run:pleaser", *FEW)
    assert refused.exit_code == 2
    assert "was optimised against the proxy" in " ".join(refused.stderr.split())


@pytest.mark.skipif(LIGHT, reason="needs torch")
def test_the_shipped_base_can_be_loaded_and_answers(folder: Path) -> None:
    policy = find_model("base").load(offline=True)
    ((reply,),) = policy.answer([Ask(as_prompt("sort this: 2 1."), sampling=Sampling(temperature=0))])
    assert isinstance(reply, Reply)
    assert reply.text


# --- how far it is ----------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def telling(*, terminal: bool) -> tuple[Telling, Clock, Callable[[], str]]:
    out = Console(force_terminal=terminal, width=80, record=True, file=StringIO())
    clock = Clock()
    return Telling("m", out, every=20, clock=clock), clock, out.export_text


def test_where_nobody_watches_there_is_a_line_every_so_often_with_a_forecast() -> None:
    tell, clock, said = telling(terminal=False)
    with tell:
        tell(0.0, "loading")
        clock.now = 30
        tell(0.25, "drawing")
        clock.now = 40
        tell(0.5, "reading")
        clock.now = 60
        tell(1.0, "done")
    assert said() == "m: drawing  2 min left  25%\nm: done  100%\n"


def test_where_somebody_watches_there_is_a_bar() -> None:
    tell, clock, said = telling(terminal=True)
    with tell:
        clock.now = 10
        tell(0.5, "drawing")
    assert "m: drawing  10 s left" in said()


def test_errors_of_ours_come_through_scoring_as_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Policy:
        raise ConcordError("no; found x; accepted: y; to do: z.")

    monkeypatch.setattr(FoundModel, "load", refuse)
    told = run("good", *FEW)
    assert (told.exit_code, told.stderr) == (2, "concord: no; found x; accepted: y; to do: z.\n")
    (kept,) = all_runs(folder / "runs")
    assert kept.status().state == "failed"
