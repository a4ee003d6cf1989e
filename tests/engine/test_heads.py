"""Values, rewards and steps: the numbers of dense tensors, and those of transformers' own classifiers."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import peft
import pytest
import torch
import transformers as tf
from torch import Tensor, nn

from concord.engine.heads import RewardHead, ScalarHead, Scores, StepHead, ValueHead, hidden_size, mark_last
from concord.engine.logprobs import LogProbs
from concord.engine.targets import Ints, Line
from concord.errors import CapabilityError, InputError, NotFoundError
from tests.engine.models import (
    ROOM,
    VOCABULARY,
    apart,
    build,
    family_tree,
    gradients,
    line,
    llama,
    stirred,
    tokens,
    weighted,
)

PAD = 2
_SIZES = {
    "vocab_size": VOCABULARY,
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": None,
    "num_labels": 1,
}
_LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": ROOM,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": _LLAMA,
    "Qwen2": {**_LLAMA, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    "Qwen3": {**_LLAMA, "head_dim": 8},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": ROOM},
}


def classifier(name: str = "Llama", **settings: Any) -> Any:
    """A sequence classifier of a family, with weights large enough that every part of it matters."""
    config = getattr(tf, f"{name}Config")(**{**_SIZES, **FAMILIES[name], **settings})
    torch.manual_seed(0)
    return stirred(getattr(tf, f"{name}ForSequenceClassification")(config))


def random_head(head: ScalarHead) -> ScalarHead:
    torch.manual_seed(1)
    for weight in head.parameters():
        nn.init.normal_(weight)
    return head


def by_transformers(model: Any, lines: list[Line], *, left: bool = False) -> Tensor:
    """The scores of rows that are padded together, as transformers itself gives them."""
    width = max(len(one.ids) for one in lines)
    ids, mask = np.full((2, len(lines), width), PAD) * np.array([1, 0])[:, None, None]
    for row, one in enumerate(lines):
        where = slice(width - len(one.ids), width) if left else slice(0, len(one.ids))
        ids[row, where], mask[row, where] = one.ids, 1
    given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    return model(**given).logits[:, 0]


# --- rewards ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_classifier_scores_as_transformers_does(
    name: str, layout: Literal["forest", "rows"], tmp_path: Path
) -> None:
    classifier(name).save_pretrained(tmp_path)
    model = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path).train()
    lines = mark_last(family_tree())
    scores = Scores(model, layout=layout)
    with torch.no_grad():
        found = scores(layout=scores.lay(lines))
    again = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        right = by_transformers(again, lines)
    assert float(right.std()) > 0.1
    assert float((found - right).abs().max()) < 2e-5 * float(right.abs().max())


@pytest.mark.parametrize("layout", ["forest", "rows"])
def test_scores_have_the_gradients_of_transformers(layout: Literal["forest", "rows"]) -> None:
    model, lines = classifier(), mark_last(family_tree())
    above = torch.linspace(-1, 1, len(lines))
    (by_transformers(model, lines) * above).sum().backward()
    right = gradients(model)
    scores = Scores(model, layout=layout)
    (scores(layout=scores.lay(lines)) * above).sum().backward()
    assert apart(gradients(model), right) < 1e-4


def test_a_padding_token_inside_a_reply_is_a_token_like_others() -> None:
    rng = np.random.default_rng(0)
    ids = tokens(rng, 12)
    ids[5] = PAD
    lines = [line(ids[:4], ids[4:]), line(tokens(rng, 3), tokens(rng, 4))]
    scores = Scores(classifier())
    with torch.no_grad():
        found = scores(layout=scores.lay(mark_last(lines)))
        right = by_transformers(scores_model(scores), lines)
    assert float((found - right).abs().max()) < 1e-4


def scores_model(scores: Scores) -> Any:
    """The classifier with an attention of its own again."""
    scores.model.config._attn_implementation = "sdpa"  # type: ignore[union-attr]
    return scores.model


def test_replies_that_end_with_the_padding_token_can_be_scored_as_transformers_would() -> None:
    rng = np.random.default_rng(0)
    lines = [line(tokens(rng, 4), np.array([*tokens(rng, 5), PAD])), line(tokens(rng, 3), tokens(rng, 4))]
    assert [one.marks.tolist() for one in mark_last(lines)] == [[9], [6]]
    assert [one.marks.tolist() for one in mark_last(lines, padding=PAD)] == [[8], [6]]
    scores = Scores(classifier())
    with torch.no_grad():
        found = scores(layout=scores.lay(mark_last(lines, padding=PAD)))
        last = scores(layout=scores.lay(mark_last(lines)))
        right = by_transformers(scores_model(scores), lines)
    assert float((found - right).abs().max()) < 1e-4
    assert abs(float(last[0] - right[0])) > 0.01


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # peft asks transformers
def test_an_adapted_classifier_trains_its_adapter_and_its_head() -> None:
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"], init_lora_weights=False)
    model = peft.get_peft_model(classifier(), config)
    lines = mark_last(family_tree())
    by_transformers(model, lines).sum().backward()
    right = gradients(model)
    scores = Scores(model)
    scores(layout=scores.lay(lines)).sum().backward()
    assert apart(gradients(model), right) < 1e-4


def test_scores_under_autocast_are_not_rounded_to_bfloat16() -> None:
    scores = Scores(classifier())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = scores(layout=scores.lay(mark_last(family_tree())))
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


def test_a_head_in_float32_on_a_frozen_body_in_bfloat16() -> None:
    model = classifier()
    model.model.bfloat16().requires_grad_(False)
    scores = Scores(model)
    found = scores(layout=scores.lay(mark_last(family_tree())))
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())
    found.sum().backward()
    assert model.score.weight.grad.dtype == torch.float32


def test_the_layout_is_chosen_by_trial_and_the_reason_is_said() -> None:
    scores = Scores(classifier())
    assert scores.layout == "forest"
    assert scores.refused == ()
    assert scores.trial.passed
    model = build_gptj()
    refused = Scores(model)
    assert refused.layout == "rows"
    assert "exchanged" in refused.refused[0]
    with pytest.raises(CapabilityError, match="exchanged"):
        Scores(model, layout="forest")


def build_gptj() -> Any:
    settings: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": ROOM, "rotary_dim": 4}
    return stirred(tf.GPTJForSequenceClassification(tf.GPTJConfig(**_SIZES, **settings)))


def test_a_classifier_that_does_more_than_its_head_is_refused() -> None:
    model = classifier()
    before = model.forward

    def doubled(*given: Any, **named: Any) -> Any:
        out = before(*given, **named)
        out.logits = out.logits * 2
        return out

    model.forward = doubled
    with pytest.raises(CapabilityError, match="does more to its scores"):
        Scores(model)


def test_what_is_no_reward_model_is_refused() -> None:
    for model in (llama(), classifier(num_labels=3), bert()):
        with pytest.raises(CapabilityError, match="no reward model"):
            Scores(model)
    scores = Scores(classifier())
    with pytest.raises(InputError, match="no token is marked"):
        scores(layout=scores.lay(family_tree()))
    with pytest.raises(InputError, match="nothing in line 1"):
        mark_last([line(np.array([3]), np.array([4])), Line(np.zeros(0, np.int64))])
    with pytest.raises(InputError, match="nothing in line 0"):
        mark_last([Line(np.array([PAD, PAD]))], padding=PAD)


def bert() -> Any:
    sizes: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_labels": 1,
    }
    return tf.BertForSequenceClassification(tf.BertConfig(vocab_size=16, **sizes))


# --- heads beside a policy --------------------------------------------------------------------------------


def dense(model: Any, lines: list[Line]) -> list[Tensor]:
    """The hidden states of each line by itself."""
    return [
        model.model(input_ids=torch.from_numpy(one.ids)[None], use_cache=False).last_hidden_state[0]
        for one in lines
    ]


@pytest.mark.parametrize("layout", ["forest", "rows"])
def test_values_rewards_and_steps_are_those_of_dense_states(layout: Literal["forest", "rows"]) -> None:
    model, lines = llama(), family_tree()
    marks: list[Ints] = [np.array([len(one.ids) - 4, len(one.ids) - 1]) for one in lines]
    lines = [Line(one.ids, one.spans, one.reply, where) for one, where in zip(lines, marks, strict=True)]
    kinds = {"value": ValueHead(32), "reward": RewardHead(32), "step": StepHead(32)}
    heads = {name: random_head(head) for name, head in kinds.items()}
    states = dense(model, lines)
    before = [s[b - 1 : e - 1] for s, one in zip(states, lines, strict=True) for b, e in one.spans.tolist()]
    marked = torch.cat([s[torch.from_numpy(where)] for s, where in zip(states, marks, strict=True)])
    right = {
        name: (torch.cat(before) if name == "value" else marked) @ head.score.weight[0]
        for name, head in heads.items()
    }
    right["step"] = right["step"] + heads["step"].score.bias
    whole = nn.ModuleList([model, *heads.values()])
    weighted(torch.cat([*right.values()])).backward()
    slopes = gradients(whole)
    engine = LogProbs(model, layout=layout, heads=heads)
    found = engine(layout=engine.lay(lines))
    for name, one in right.items():
        torch.testing.assert_close(found.heads[name], one, rtol=1e-4, atol=1e-5)
    assert found.marks.tolist() == [one.reply for one in lines for _ in range(2)]
    weighted(torch.cat([*found.heads.values()])).backward()
    assert apart(gradients(whole), slopes) < 1e-4


def test_heads_begin_at_zero_and_answer_in_float32() -> None:
    for head in (ValueHead(4), RewardHead(4), StepHead(4)):
        with torch.autocast("cpu", torch.bfloat16):
            found = head(torch.randn(3, 4, dtype=torch.bfloat16))
        assert found.dtype == torch.float32
        assert found.tolist() == [0.0] * 3
        random_head(head)
        states = torch.randn(3, 4)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = head(states)
        assert torch.equal(rounded, head(states))


def test_a_reward_head_is_read_out_of_a_classifier_and_back(tmp_path: Path) -> None:
    model = classifier()
    model.save_pretrained(tmp_path)
    head = RewardHead(hidden_size(model))
    head.load(tmp_path / "model.safetensors")
    assert torch.equal(head.score.weight, model.score.weight)
    file = head.save(tmp_path / "head")
    again = RewardHead(32)
    again.load(file)
    assert torch.equal(again.score.weight, head.score.weight)
    # Beside a causal model of the same body it scores as the classifier does.
    policy = build("Llama", num_hidden_layers=2)
    policy.model.load_state_dict(model.model.state_dict())
    lines = mark_last(family_tree())
    engine = LogProbs(policy, heads={"reward": head})
    with torch.no_grad():
        found = engine(layout=engine.lay(lines)).heads["reward"]
        right = by_transformers(model, lines)
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)


def test_what_is_not_this_head_is_refused(tmp_path: Path) -> None:
    file = StepHead(4).save(tmp_path)
    with pytest.raises(InputError, match="does not hold this head"):
        RewardHead(4).load(file)
    with pytest.raises(InputError, match="does not hold this head"):
        StepHead(5).load(file)
    engine = LogProbs(llama(), heads={"reward": RewardHead(32)})
    with pytest.raises(InputError, match="not marked"):
        engine(layout=engine.lay(family_tree()))


@pytest.mark.parametrize("content", [None, b"", b"abc"])
def test_a_head_that_cannot_be_read_is_refused_in_a_sentence(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "head.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(NotFoundError, match="no head can be read"):
        RewardHead(4).load(file)
