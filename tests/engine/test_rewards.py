"""Models that score replies give the numbers of transformers, alone and in company, or say why not."""

import inspect
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import peft
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from torch import nn

from concord.engine import rewards
from concord.engine.classifiers import Held, Loading, held
from concord.engine.heads import RewardHead, Scores, StepHead, ValueHead
from concord.engine.logprobs import LogProbs
from concord.engine.rewards import RewardModel, RewardSettings, StepModel, StepSettings, load_reward
from concord.errors import CapabilityError, InputError, NotFoundError
from concord.recipes import read_recipe
from concord.store import Store
from concord.train import train
from concord.types import (
    Feedback,
    Image,
    Message,
    Prompt,
    Rate,
    Score,
    Text,
    Turns,
    Unscored,
    Usage,
    as_prompt,
    as_turns,
)
from tests.engine.models import build
from tests.engine.test_heads import FAMILIES, classifier, random_head
from tests.render.helpers import renderer
from tests.render.templates import tokenizer
from tests.train import homes

# peft asks transformers for something it has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")

Layout = Literal["forest", "rows"]
MADE = renderer("chatml")
(STOP,) = MADE.stop_ids
SIZE = len(MADE.tokenizer)
TEXTS = ("The end.", "No", "word " * 15, "ever and ever", "It is here.", "a", "")
STEPS = ("First this.\n", "Then that.\n", "So it is.")


def stepwise(*texts: str) -> Turns:
    """A reply in steps."""
    return (Message("assistant", tuple(Text(text) for text in texts)),)


def rates(texts: Sequence[str] = TEXTS) -> list[Rate]:
    """Two prompts, with replies to each."""
    replies = tuple(as_turns(text) for text in texts)
    return [Rate(as_prompt("What is it?"), replies), Rate(as_prompt("Who goes there, so late?"), replies[:3])]


def told(model: Any, asked: Sequence[Rate]) -> list[Score]:
    """Scores that all came."""
    found = [one for answer in model.rate(asked) for one in answer]
    assert all(isinstance(one, Score) for one in found), found
    return found


def values(model: Any, asked: Sequence[Rate]) -> list[float]:
    return [one.value for one in told(model, asked)]


def reason(model: Any, prompt: Prompt, turns: Turns) -> str:
    """Why a reply has no score."""
    ((found,),) = model.rate([Rate(prompt, (turns,))])
    assert isinstance(found, Unscored), found
    return found.reason


def ids(rate: Rate, turns: Turns, *, tail: str = "") -> list[int]:
    """The tokens of a conversation up to the end of its reply, by the template alone."""
    said = [{"role": one.role, "content": one.text} for one in (*rate.prompt.messages, *turns)]
    text = MADE.tokenizer.apply_chat_template(said, tokenize=False).removesuffix("\n") + tail
    return MADE.tokenizer(text, add_special_tokens=False)["input_ids"]


def by_transformers(
    model: Any, rows: Sequence[list[int]], *, padding: int, left: bool = False
) -> list[float]:
    """The scores of rows that are padded together, by the model's own forward."""
    width = max(map(len, rows))
    given = torch.full((len(rows), width), padding)
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for number, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        given[number, where], mask[number, where] = torch.tensor(row), 1
    with torch.no_grad():
        return model.eval()(input_ids=given, attention_mask=mask).logits[:, 0].tolist()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as made:
        yield made


def saved(folder: Path, model: Any) -> Path:
    """A model in a folder, with its tokenizer."""
    model.save_pretrained(folder)
    tokenizer("chatml").save_pretrained(folder)
    return folder


@cache
def reward(layout: Layout = "forest") -> RewardModel:
    """A reward model of random weights."""
    return RewardModel(Scores(classifier(vocab_size=SIZE), layout=layout), MADE)


@cache
def judge(**reading: Any) -> StepModel:
    """A model of steps of random weights."""
    model = build("Llama", num_hidden_layers=2, vocab_size=SIZE)
    engine = LogProbs(model, heads={"steps": random_head(StepHead(32))})
    return StepModel(engine, MADE, reading=StepSettings(**reading))


# --- rewards ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["another token", "the token that ends replies"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_classifier_of_transformers_scores_as_it_does_there(
    name: str, padding: str, tmp_path: Path
) -> None:
    token = STOP if "ends" in padding else 3
    folder = saved(tmp_path, classifier(name, vocab_size=SIZE, pad_token_id=token))
    asked = rates()
    rows = [ids(rate, turns) for rate in asked for turns in rate.replies]
    assert all(row[-1] == STOP for row in rows)
    again = tf.AutoModelForSequenceClassification.from_pretrained(folder)
    right = by_transformers(again, rows, padding=token)
    if name != "GPT2":  # there positions are counted from the left
        assert right == pytest.approx(by_transformers(again, rows, padding=token, left=True), abs=1e-5)
    model = load_reward(folder, device="cpu")
    assert isinstance(model, RewardModel)
    assert isinstance(model, Feedback)
    assert model.reading == RewardSettings(padding=token)
    assert values(model, asked) == pytest.approx(right, abs=1e-5)
    at_end = values(RewardModel(model.engine, MADE), asked)
    assert (at_end != pytest.approx(right, abs=1e-3)) == ("ends" in padding)


def test_a_tail_is_what_stands_behind_a_reply_elsewhere() -> None:
    model, (asked, _) = reward(), rates()
    rows = [ids(asked, turns, tail="\n") for turns in asked.replies]
    right = by_transformers(classifier(vocab_size=SIZE), rows, padding=2)
    behind = RewardModel(model.engine, MADE, reading=RewardSettings(tail="\n"))
    assert values(behind, [asked]) == pytest.approx(right, abs=1e-5)
    plain = Rate(Prompt(asked.prompt.messages, plain=True), asked.replies)
    assert values(behind, [plain]) == values(model, [plain])
    assert values(behind, [asked]) != pytest.approx(values(model, [asked]), abs=1e-3)


@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_a_score_does_not_depend_on_company(
    layout: Layout, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewards, "BUDGET", budget)
    model, asked = reward(layout), rates()
    alone = [values(model, [Rate(rate.prompt, (turns,))])[0] for rate in asked for turns in rate.replies]
    assert values(model, asked) == pytest.approx(alone, abs=1e-5)
    assert values(model, asked[::-1]) == pytest.approx(alone[7:] + alone[:7], abs=1e-5)
    assert len({round(one, 4) for one in alone}) == len(alone)


def test_a_head_beside_a_causal_model_scores_as_the_classifier_does() -> None:
    policy, model = build("Llama", num_hidden_layers=2, vocab_size=SIZE), classifier(vocab_size=SIZE)
    policy.model.load_state_dict(model.model.state_dict())
    head = RewardHead(32)
    head.load_state_dict({"score.weight": model.score.weight})
    beside = RewardModel(LogProbs(policy, heads={"reward": head}), MADE)
    assert values(beside, rates()) == pytest.approx(values(reward(), rates()), abs=1e-5)


def test_the_same_content_has_the_same_id() -> None:
    def id_of(model: Any, **reading: Any) -> str:
        return RewardModel(Scores(model, layout="rows"), MADE, reading=RewardSettings(**reading)).id

    first = id_of(classifier(vocab_size=SIZE))
    assert first == reward().id
    other = classifier(vocab_size=SIZE)
    with torch.no_grad():
        other.score.weight[0, 0] += 1e-3
    others = {
        id_of(other),
        id_of(classifier(vocab_size=SIZE), padding=2),
        id_of(classifier(vocab_size=SIZE), tail="\n"),
    }
    assert len(others | {first}) == 4
    assert first.startswith("reward-")
    heads = [random_head(StepHead(32)), StepHead(32)]
    engines = [
        LogProbs(build("Llama", num_hidden_layers=2, vocab_size=SIZE), heads={"a": one}) for one in heads
    ]
    judges = [StepModel(one, MADE).id for one in engines]
    judges.append(StepModel(engines[0], MADE, reading=StepSettings(aggregation="prod")).id)
    judges.append(StepModel(engines[0], MADE, reading=StepSettings(separator="\n")).id)
    assert len(set(judges)) == 4


# --- the store, and what it costs -------------------------------------------------------------------------


def test_a_row_is_read_once(store: Store) -> None:
    asked = rates()
    rows = [ids(rate, turns) for rate in asked for turns in rate.replies]
    first = RewardModel(Scores(classifier(vocab_size=SIZE)), MADE, store)
    found = told(first, asked)
    assert [one.usage for one in found] == [Usage(calls=1, prompt_tokens=len(row)) for row in rows]
    later = RewardModel(Scores(classifier(vocab_size=SIZE)), MADE, store)
    again = told(later, asked)
    assert [one.value for one in again] == [one.value for one in found]
    assert {one.usage for one in again} == {Usage()}
    assert told(reward("rows"), asked)[0].usage.calls == 1
    apart = RewardModel(Scores(classifier(vocab_size=SIZE), layout="rows"), MADE, store)
    looking = RewardModel(first.engine, MADE, store, reading=RewardSettings(padding=STOP))
    for other in (apart, looking):
        assert all(one.usage.calls == 1 for one in told(other, asked)), "it is not the same number"


def test_what_is_asked_twice_at_once_is_computed_once() -> None:
    turns = as_turns("It is here.")
    first, second = told(reward(), [Rate(as_prompt("Where?"), (turns, turns))])
    assert first.value == second.value
    assert (first.usage.calls, second.usage.calls) == (1, 0)


def test_a_damaged_value_is_computed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = RewardModel(Scores(classifier(vocab_size=SIZE)), MADE, store)
    right = values(model, rates())
    monkeypatch.setattr(store, "get_many", lambda keys: dict.fromkeys(keys, b"abc"))
    assert values(model, rates()) == pytest.approx(right, abs=1e-6)


# --- no score ---------------------------------------------------------------------------------------------


def test_a_reply_that_is_too_long_is_unscored_and_the_others_are_not() -> None:
    long = Rate(as_prompt("What is it?"), (as_turns("a"), as_turns("word " * 400), as_turns("No")))
    first, none, last = reward().rate([long])[0]
    assert isinstance(none, Unscored)
    assert "longer than the model has positions for" in none.reason
    assert none.usage.calls == 1
    short = values(reward(), [Rate(long.prompt, (long.replies[0], long.replies[2]))])
    assert [one.value for one in (first, last) if isinstance(one, Score)] == pytest.approx(short, abs=1e-5)


def test_replies_without_a_score_say_why() -> None:
    prompt = as_prompt("What is it?")
    assert "no message" in reason(reward(), prompt, ())
    assert "text alone; found Image" in reason(reward(), prompt, (Message("assistant", (Image("a.png"),)),))
    assert "no turn of a reply is trained" in reason(reward(), prompt, as_turns("What?", role="user"))
    assert "without text" in reason(judge(), prompt, as_turns(""))
    assert "not those of one turn" in reason(judge(), prompt, (*as_turns("a"), *as_turns("b")))
    assert "no token of its own" in reason(judge(), prompt, stepwise("a", ""))
    assert reward().rate([]) == []


def test_a_token_that_the_model_lacks_is_a_reason() -> None:
    model = RewardModel(Scores(classifier(vocab_size=SIZE - 40), layout="rows"), MADE)
    assert "not in the vocabulary" in reason(model, as_prompt("What is it?"), as_turns("a"))


def test_a_score_that_is_no_number_is_none(store: Store) -> None:
    made = classifier(vocab_size=SIZE)
    engine = Scores(made)
    with torch.no_grad():
        made.score.weight[0, 0] = math.nan
    model = RewardModel(engine, MADE, store)
    for _ in range(2):
        assert reason(model, as_prompt("What is it?"), as_turns("a")) == "the model's score is not a number"
    assert store.stats().entries == 0


@pytest.mark.parametrize("heads", [{}, {"value": ValueHead(32)}, {"a": RewardHead(32), "b": RewardHead(32)}])
def test_an_engine_needs_one_head_that_scores(heads: dict[str, nn.Module]) -> None:
    engine = LogProbs(build("Llama", num_hidden_layers=2, vocab_size=SIZE), heads=heads)
    with pytest.raises(CapabilityError, match="no head that scores replies"):
        RewardModel(engine, MADE)


# --- steps ------------------------------------------------------------------------------------------------


def brute(model: StepModel, prompt: Prompt, steps: Sequence[str]) -> list[float]:
    """The probability of each step: the head on the last state of all that was said until its end."""
    alone = build("Llama", num_hidden_layers=2, vocab_size=SIZE).eval()
    engine: Any = model.engine
    opened = MADE.prompt(prompt).tolist()
    found: list[float] = []
    for text in accumulate(steps):
        said = MADE.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            states = alone.model(input_ids=torch.tensor([opened + said]), use_cache=False)
            logit = engine.heads["steps"](states.last_hidden_state[0, -1:])
        found.append(float(logit.sigmoid()))
    return found


def test_steps_are_judged_at_their_ends() -> None:
    prompt = as_prompt("What is it?")
    right = brute(judge(), prompt, STEPS)
    assert len({round(p, 3) for p in right}) == 3
    want = {"min": min(right), "prod": math.prod(right), "last": right[-1], "mean": sum(right) / 3}
    for how, value in want.items():
        (found,) = told(judge(aggregation=how), [Rate(prompt, (stepwise(*STEPS),))])
        assert list(found.parts) == ["step/0", "step/1", "step/2"]
        assert [*found.parts.values()] == pytest.approx(right, abs=1e-5)
        assert found.value == pytest.approx(value, abs=1e-5)


def test_steps_of_one_text_are_told_apart_by_what_separates_them() -> None:
    prompt, text = as_prompt("What is it?"), "\n\nFirst this.\n\n\n\nThen\nthat.\n\nSo it is.\n\n"
    parts = stepwise("\n\nFirst this.\n\n\n\n", "Then\nthat.\n\n", "So it is.\n\n")
    one, other = told(judge(), [Rate(prompt, (as_turns(text), parts))])
    assert (one.value, one.parts) == (other.value, other.parts)
    assert len(one.parts) == 3
    (whole,) = told(judge(separator=""), [Rate(prompt, (as_turns(text),))])
    assert [*whole.parts.values()] == [whole.value] == pytest.approx([other.parts["step/2"]])
    (lines,) = told(judge(separator="\n"), [Rate(prompt, (as_turns(text),))])
    assert len(lines.parts) == 4


def test_an_unknown_aggregation_is_refused() -> None:
    odd = object.__new__(StepSettings)
    object.__setattr__(odd, "aggregation", "meen")
    with pytest.raises(InputError, match="did you mean 'mean'"):
        # Past the checker of types, which only tests have.
        inspect.unwrap(StepSettings.__post_init__)(odd)


# --- what is trained here ---------------------------------------------------------------------------------

_NICE = ("the sea", "a lamp", "bread", "tea")
_WORSE = ("mud", "rust", "dust", "fog")


def _asks(numbers: range) -> list[tuple[str, str, str]]:
    """Prompts, each with a better and a worse reply."""
    rows = [(f"What is number {at} like?", _NICE[at % 4], _WORSE[(at // 4) % 4]) for at in numbers]
    return [(ask, f"It is like {good}.", f"It is like {bad}.") for ask, good, bad in rows]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and data for it."""
    folder = tmp_path_factory.mktemp("rewards")
    homes.home(folder / "model")
    pairs = [{"prompt": ask, "chosen": good, "rejected": bad} for ask, good, bad in _asks(range(24))]
    homes.written(folder / "pairs.jsonl", pairs)
    steps = [
        {"prompt": ask, "completions": [f"{good}\n", f"{bad}\n"], "labels": [True, False]}
        for ask, good, bad in _asks(range(24))
    ]
    homes.written(folder / "steps.jsonl", steps)
    return folder


def trained(place: Path, method: str, data: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Path:
    """The model that a short training leaves."""
    monkeypatch.setenv("CONCORD_CACHE", str(place / "cache"))
    given = {
        "method": method,
        "model": str(place / "model"),
        "data": str(place / data),
        "runs": str(place / "runs"),
        "max_steps": 30,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "eval_share": 0.0,
        "device": "cpu",
        "samples": 0,
    }
    folder = train(read_recipe({**given, **settings}))
    assert folder is not None
    return folder / "model"


def test_a_trained_reward_model_orders_pairs_it_has_not_seen(
    place: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(place, "bradley_terry", "pairs.jsonl", monkeypatch, train="full")
    model = load_reward(folder, store=store, device="cpu")
    assert isinstance(model, RewardModel)
    assert model.engine.layout == "forest"
    asked = [
        Rate(as_prompt(ask), (as_turns(good), as_turns(bad))) for ask, good, bad in _asks(range(100, 116))
    ]
    pairs = model.rate(asked)
    leads = [a.value - b.value for a, b in pairs if isinstance(a, Score) and isinstance(b, Score)]
    assert len(leads) == 16
    assert sum(lead > 0 for lead in leads) >= 15
    assert values(load_reward(folder, device="cpu"), asked) == values(model, asked)


def test_an_adapter_trained_on_steps_tells_right_ones_from_wrong_ones(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained(place, "step_bce", "steps.jsonl", monkeypatch, train="lora")
    model = load_reward(folder, device="cpu", reading=StepSettings(aggregation="prod", separator="\n"))
    assert isinstance(model, StepModel)
    for ask, good, bad in _asks(range(100, 104)):
        (found,) = told(model, [Rate(as_prompt(ask), (as_turns(f"{good}\n{bad}\n"),))])
        first, second = found.parts.values()
        assert first > 0.7
        assert second < 0.3
        assert found.value == pytest.approx(first * second)


# --- loading ----------------------------------------------------------------------------------------------


def test_a_classifier_of_tokens_is_a_model_of_steps(tmp_path: Path) -> None:
    config = tf.LlamaConfig(**{**_tiny(), "num_labels": 1})
    made = tf.LlamaForTokenClassification(config).eval()
    model = load_reward(saved(tmp_path, made), device="cpu")
    assert isinstance(model, StepModel)
    prompt = as_prompt("What is it?")
    (found,) = told(model, [Rate(prompt, (stepwise(*STEPS),))])
    opened = MADE.prompt(prompt).tolist()
    for number, text in enumerate(accumulate(STEPS)):
        said = MADE.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            right = made(input_ids=torch.tensor([opened + said])).logits[0, -1, 0].sigmoid()
        assert found.parts[f"step/{number}"] == pytest.approx(float(right), abs=1e-5)


def _tiny() -> dict[str, Any]:
    return {**FAMILIES["Llama"], "vocab_size": SIZE, "bos_token_id": None, "eos_token_id": None}


@pytest.mark.parametrize("head", [RewardHead(32), StepHead(32)])
def test_a_head_that_stands_beside_its_model_is_found(head: Any, tmp_path: Path) -> None:
    policy = build("Llama", num_hidden_layers=2, vocab_size=SIZE)
    random_head(head).save(saved(tmp_path, policy))
    model = load_reward(tmp_path, device="cpu")
    assert isinstance(model, StepModel if isinstance(head, StepHead) else RewardModel)
    right = type(model)(LogProbs(policy, heads={"head": head}), MADE)
    assert values(model, rates(TEXTS[:4])) == pytest.approx(values(right, rates(TEXTS[:4])), abs=1e-5)


def test_a_head_in_half_precision_still_tells_scores_apart(tmp_path: Path) -> None:
    made = classifier(vocab_size=SIZE)
    right = values(RewardModel(Scores(classifier(vocab_size=SIZE)), MADE), rates())
    model = load_reward(saved(tmp_path, made.bfloat16()), device="cpu")
    found = values(model, rates())
    assert any(np.float32(one) != torch.tensor(one).bfloat16().item() for one in found)
    assert np.corrcoef(found, right)[0, 1] > 0.99


def test_what_scores_nothing_is_refused_with_what_it_is(tmp_path: Path) -> None:
    causal = saved(tmp_path / "causal", build("Llama", num_hidden_layers=2, vocab_size=SIZE))
    with pytest.raises(CapabilityError, match="does not score replies; found LlamaForCausalLM"):
        load_reward(causal)
    config = tf.LlamaConfig(**{**_tiny(), "num_labels": 2})
    two = saved(tmp_path / "two", tf.LlamaForTokenClassification(config))
    with pytest.raises(CapabilityError, match="found LlamaForTokenClassification with 2 labels"):
        load_reward(two)
    with pytest.raises(NotFoundError, match="there is no such folder"):
        load_reward(tmp_path / "nothing")
    with pytest.raises(InputError, match="the precision of weights is not known"):
        load_reward(causal, dtype="float31")
    (causal / "head.safetensors").write_bytes(b"abc")
    with pytest.raises(NotFoundError, match="no head can be read"):
        load_reward(causal, device="cpu")


def test_settings_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, classifier(vocab_size=SIZE))
    assert held(folder, Loading()) == Held("rewards")
    with pytest.raises(InputError, match=r"a model of rewards is not read so; .* accepted: RewardSettings"):
        load_reward(folder, reading=StepSettings())


def test_weights_that_are_not_there_are_not_drawn_by_chance(tmp_path: Path) -> None:
    folder = saved(tmp_path, classifier(vocab_size=SIZE))
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(NotFoundError, match=r"do not have all its weights.*score\.weight"):
        load_reward(folder, device="cpu")


def test_adapters_must_bring_their_head(tmp_path: Path) -> None:
    base = homes.home(tmp_path / "base")
    made = tf.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"])
    folder = tmp_path / "adapters"
    peft.get_peft_model(made, config).save_pretrained(str(folder))
    tokenizer("chatml").save_pretrained(folder)
    model = load_reward(folder, device="cpu")
    right = by_transformers(
        made, [ids(one, turns) for one in rates() for turns in one.replies][:1], padding=0
    )
    assert values(model, rates())[:1] == pytest.approx(right, abs=1e-5)
    padded = tf.AutoTokenizer.from_pretrained(folder)
    padded.pad_token = "<|im_end|>"
    padded.save_pretrained(folder)
    assert load_reward(folder, device="cpu").reading == RewardSettings(padding=STOP)
    weights = load_file(folder / "adapter_model.safetensors")
    kept = {name: one for name, one in weights.items() if "score" not in name}
    save_file(kept, folder / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(NotFoundError, match=r"do not have all its weights.*score\.weight"):
        load_reward(folder, device="cpu")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"task_type": "CAUSAL_LM"}))
    with pytest.raises(CapabilityError, match="found adapters for the task CAUSAL_LM"):
        load_reward(folder, device="cpu")
