"""lm-evaluation-harness: what it asks is asked of a policy, and answered as its own models answer."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from concord.errors import CapabilityError, InputError, UnansweredError, UnavailableError
from concord.eval.harness import HarnessModel, harness_model
from concord.policies import Scripted
from concord.types import Message, Sampling, Unanswered
from tests.shared import SHARED, needs_shared

there = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not there, reason="lm-evaluation-harness is not installed")
WORDS = {"blue": -0.5, "green": -2.0}


def asked(*arguments: Any) -> Any:
    """A request, as the harness makes one."""
    return SimpleNamespace(args=arguments)


def weighing() -> Scripted:
    return Scripted("so it is. And so on", logps=lambda word: WORDS.get(word, -1.0), name="weighing")


# --- likelihoods ------------------------------------------------------------------------------------------


def test_continuations_are_weighed_those_of_one_context_together() -> None:
    policy = weighing()
    requests = [asked("The sky is", " blue"), asked("Grass is", " green"), asked("The sky is", " green blue")]
    found = HarnessModel(policy).loglikelihood(requests)
    assert [value for value, _ in found] == [-0.5, -2.0, -2.5]
    given = [len(ask.given) for ask in policy.asks]
    assert sorted(given)[-2:] == [1, 2]
    assert all(ask.prompt.plain for ask in policy.asks)


def test_a_blank_at_the_end_of_a_context_begins_the_continuation() -> None:
    policy = weighing()
    HarnessModel(policy).loglikelihood([asked("The sky is ", "blue")])
    ask = next(ask for ask in policy.asks if ask.prompt.text == "The sky is")
    assert ask.given[0][0].text == " blue"


def test_a_text_is_weighed_from_its_beginning() -> None:
    assert HarnessModel(weighing()).loglikelihood_rolling([asked("blue green")]) == [-2.5]


def test_a_policy_without_likelihoods_is_refused_with_what_to_do() -> None:
    with pytest.raises(CapabilityError, match="take tasks that generate"):
        HarnessModel(Scripted("blue")).loglikelihood([asked("The sky is", " blue")])


# --- replies ----------------------------------------------------------------------------------------------


def test_replies_end_where_a_task_says() -> None:
    model = HarnessModel(weighing(), max_tokens=3)
    requests = [
        asked("Tell:", {"until": ["."]}),
        asked("Tell:", {"until": "\n", "max_gen_toks": 2}),
        asked("Tell:", {}),
    ]
    assert model.generate_until(requests) == ["so it is", "so it", "so it is."]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, Sampling(temperature=0.0, max_tokens=256)),
        ({"do_sample": False, "temperature": 0.7}, Sampling(temperature=0.0, max_tokens=256)),
        ({"temperature": 0.7}, Sampling(temperature=0.7, max_tokens=256)),
        ({"do_sample": True, "top_p": 0.9, "top_k": 5}, Sampling(top_p=0.9, top_k=5, max_tokens=256)),
        ({"max_new_tokens": 9, "until": ["", "."]}, Sampling(temperature=0.0, max_tokens=9, stop=(".",))),
    ],
)
def test_settings_of_a_task(given: dict[str, Any], wanted: Sampling) -> None:
    policy = weighing()
    HarnessModel(policy).generate_until([asked("Tell:", given)])
    assert policy.asks[0].sampling == wanted


def test_a_setting_that_cannot_be_passed_on_is_named() -> None:
    with pytest.raises(InputError, match="num_beams"):
        HarnessModel(weighing()).generate_until([asked("Tell:", {"num_beams": 4})])


def test_an_answer_that_is_missing_ends_the_evaluation_with_its_reason() -> None:
    model = HarnessModel(Scripted(Unanswered("the line is dead")))
    with pytest.raises(UnansweredError, match="the line is dead"):
        model.generate_until([asked("Tell:", {})])


def test_a_chat_stays_messages() -> None:
    policy = weighing()
    model = HarnessModel(policy)
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell."}]
    model.generate_until([asked(model.apply_chat_template(said), {})])
    prompt = policy.asks[0].prompt
    assert prompt.messages == (Message("system", "Be brief."), Message("user", "Tell."))
    assert not prompt.plain
    assert model.tokenizer_name == "weighing"
    assert "weighing" in model.chat_template(True)


@pytest.mark.skipif(there, reason="lm-evaluation-harness is installed")
def test_without_the_harness_its_name_is_said() -> None:
    with pytest.raises(UnavailableError, match="pip install lm-eval"):
        harness_model(weighing())


# --- the harness itself -----------------------------------------------------------------------------------

TASK = """
task: small
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{asked}}}}"
doc_to_choice: "{{{{[right, wrong]}}}}"
doc_to_target: 0
target_delimiter: ""
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


@needs_harness
@pytest.mark.parametrize("chat", [False, True])
def test_a_task_is_evaluated(chat: bool, tmp_path: Path) -> None:
    from lm_eval import simple_evaluate  # pyright: ignore
    from lm_eval.tasks import TaskManager  # pyright: ignore

    rows = [{"asked": "The sky is", "right": " blue", "wrong": " green"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "small.yaml").write_text(TASK.format(rows=tmp_path / "rows.jsonl"), encoding="utf-8")
    tasks: Any = TaskManager(include_path=str(tmp_path), include_defaults=False)
    policy = weighing()
    found: Any = simple_evaluate(
        model=harness_model(policy),
        tasks=["small"],
        task_manager=tasks,
        bootstrap_iters=0,
        apply_chat_template=chat,
    )
    assert found["results"]["small"]["acc,none"] == 1.0
    ask = next(ask for ask in policy.asks if ask.prompt.text == "The sky is")
    assert (ask.prompt.plain, [turn.role for turn in ask.prompt.messages]) == (not chat, ["user"])


def instances(kind: str, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance  # pyright: ignore

    return [Instance(kind, {}, row, 0) for row in rows]  # pyright: ignore


@needs_harness
@needs_shared
def test_a_local_model_answers_as_the_harness_has_it_answer() -> None:
    pytest.importorskip("torch", reason="a local model needs torch")
    from lm_eval.models.huggingface import HFLM  # pyright: ignore

    from concord.engine import load_policy

    home = SHARED / "models" / "stories260K"
    local: Any = load_policy(home)
    ours, theirs = harness_model(local), HFLM(pretrained=str(home), device="cpu", dtype="float32")
    rows = [
        ("The sky is", " blue"),
        ("Once upon a time", " there was a little girl named Lily"),
        ("Once upon a time ", "there"),
        ("Once upon a", " time"),
    ]
    weighed: Any = instances("loglikelihood", rows)
    for one, other in zip(ours.loglikelihood(weighed), theirs.loglikelihood(weighed), strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-3)
        assert one[1] == other[1]
    texts: Any = instances("loglikelihood_rolling", [("Once upon a time, there was a dog.",)])
    # Where the tokenizer opens texts with a token, the harness would put its own before it and weigh both.
    plain = HFLM(pretrained=str(home), device="cpu", dtype="float32", add_bos_token=False)
    assert ours.loglikelihood_rolling(texts) == pytest.approx(plain.loglikelihood_rolling(texts), abs=1e-3)
    asks: Any = instances("generate_until", [("One day, Lily", {"until": ["."], "max_gen_toks": 20})])
    assert [one.strip() for one in ours.generate_until(asks)] == theirs.generate_until(asks)
