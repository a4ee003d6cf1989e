"""Classifiers give the numbers of transformers, whatever they are: encoders, of several labels."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from concord.engine import RewardModel, RewardSettings, labels
from concord.engine.labels import Classifier, LabelSettings
from concord.engine.rewards import load_reward
from concord.errors import CapabilityError, InputError, NotFoundError
from concord.store import Store
from concord.types import (
    Feedback,
    Image,
    Message,
    Prompt,
    Rate,
    Score,
    ToolCall,
    Unscored,
    Usage,
    as_prompt,
    as_turns,
)
from tests.engine.models import stirred
from tests.engine.test_heads import classifier
from tests.engine.test_rewards import SIZE, saved
from tests.render.templates import tokenizer as chat_tokenizer

SAID = "what is it who goes there the end no a so late here ever and"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SAID.split(" ")]
SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
TEXTS = ("the end", "no", "ever and ever", "it is here", "")
PROMPT = "what is it"
ENCODERS = ("Bert", "Roberta", "DistilBert", "DebertaV2", "ModernBert", "Electra")


def tokenizer(**settings: Any) -> Any:
    """Words, between the marks that encoders know."""
    inner = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, **marks, **settings)


def encoder(name: str = "Bert", **settings: Any) -> Any:
    """A classifier of random weights."""
    given: dict[str, Any] = {**SMALL, "pad_token_id": 0, **settings}
    if name == "DistilBert":
        given |= {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
    config = getattr(tf, f"{name}Config")(**given)
    torch.manual_seed(0)
    return stirred(getattr(tf, f"{name}ForSequenceClassification")(config)).eval()


def home(folder: Path, name: str = "Bert", **settings: Any) -> Path:
    """A classifier in a folder, with its tokenizer."""
    encoder(name, **settings).save_pretrained(folder)
    tokenizer(model_max_length=30).save_pretrained(folder)
    return folder


def rate(texts: Sequence[str] = TEXTS, prompt: str = PROMPT) -> Rate:
    return Rate(as_prompt(prompt), tuple(map(as_turns, texts)))


def told(model: Any, asked: Rate) -> list[Score]:
    (found,) = model.rate([asked])
    assert all(isinstance(one, Score) for one in found), found
    return list(found)


def by_transformers(model: Any, *texts: Sequence[str]) -> torch.Tensor:
    """The numbers of all labels of texts, or of pairs, padded together."""
    given = tokenizer()(*map(list, texts), padding=True, return_tensors="pt")
    if model.config.model_type in ("roberta", "distilbert", "modernbert"):
        given.pop("token_type_ids", None)
    with torch.no_grad():
        return model(**given).logits


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_scores_pairs_as_transformers_does(name: str, tmp_path: Path) -> None:
    folder = home(tmp_path, name, num_labels=1)
    model = load_reward(folder, device="cpu")
    assert isinstance(model, Classifier)
    assert isinstance(model, Feedback)
    again = tf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    right = by_transformers(again, [PROMPT] * len(TEXTS), TEXTS)[:, 0].tolist()
    found = [one.value for one in told(model, rate())]
    assert found == pytest.approx(right, abs=1e-5)
    assert len({round(one, 4) for one in found}) == len(TEXTS)


@pytest.mark.parametrize("kind", ["single_label_classification", "multi_label_classification", None])
def test_of_several_labels_one_is_the_score_and_all_are_its_parts(kind: str | None, tmp_path: Path) -> None:
    names = {0: "mild", 1: "toxic", 2: "rude"}
    ids = {name: number for number, name in names.items()}
    folder = home(tmp_path, num_labels=3, id2label=names, label2id=ids, problem_type=kind)
    model = load_reward(folder, device="cpu", reading=LabelSettings(label="toxic", reads="reply"))
    logits = by_transformers(encoder(num_labels=3), TEXTS)
    right = logits.sigmoid() if kind == "multi_label_classification" else logits.softmax(1)
    found = told(model, rate())
    assert [one.value for one in found] == pytest.approx(right[:, 1].tolist(), abs=1e-5)
    assert [[*one.parts] for one in found] == [["mild", "toxic", "rude"]] * len(TEXTS)
    assert [[*one.parts.values()] for one in found] == [
        pytest.approx(row, abs=1e-5) for row in right.tolist()
    ]
    by_number = load_reward(folder, device="cpu", reading=LabelSettings(label="1", reads="reply"))
    assert by_number.id == model.id
    assert told(model, rate(prompt="who")) == told(by_number, rate())  # the prompt is not read


@pytest.mark.parametrize(
    ("kind", "labels"), [("regression", 3), ("multi_label_classification", 1), ("regression", 1)]
)
def test_numbers_are_what_the_files_say_that_they_are(kind: str, labels: int, tmp_path: Path) -> None:
    folder = home(tmp_path, num_labels=labels, problem_type=kind)
    model = load_reward(
        folder, device="cpu", reading=LabelSettings(label=f"LABEL_{labels - 1}", reads="reply")
    )
    logits = by_transformers(encoder(num_labels=labels), TEXTS)[:, labels - 1]
    right = logits if kind == "regression" else logits.sigmoid()
    assert [one.value for one in told(model, rate())] == pytest.approx(right.tolist(), abs=1e-5)
    assert all(len(one.parts) == (labels if labels > 1 else 0) for one in told(model, rate()))
    if kind == "regression":
        with pytest.raises(InputError, match="gives no probabilities"):
            load_reward(folder, device="cpu", reading=LabelSettings(label="0", probability=True))


def test_labels_of_one_name_are_told_apart_by_number() -> None:
    names = {0: "a", 1: "a", 2: "b"}
    made = encoder(num_labels=3, id2label=names, label2id={"a": 1, "b": 2})
    with pytest.raises(InputError, match="2 labels have this name"):
        Classifier(made, tokenizer(), reading=LabelSettings(label="a"))
    (found,) = told(Classifier(made, tokenizer(), reading=LabelSettings(label="1")), rate(["no"]))
    assert [*found.parts] == ["0", "1", "2"]
    assert found.value == found.parts["1"]


def test_a_causal_model_without_padding_reads_texts_one_by_one(tmp_path: Path) -> None:
    folder = saved(tmp_path, classifier(vocab_size=SIZE, num_labels=2, pad_token_id=None))
    model = load_reward(folder, device="cpu", reading=LabelSettings(label="1"))
    found = [one.value for one in told(model, rate(["the end", "no end", "the sea"]))]
    assert len({round(one, 5) for one in found}) == 3


def test_a_tokenizer_without_its_files_is_refused(tmp_path: Path) -> None:
    folder = home(tmp_path, num_labels=2)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(NotFoundError, match="tokenizer"):
        load_reward(folder, device="cpu", reading=LabelSettings(label="1"))


def test_a_label_has_to_be_named_where_there_are_several(tmp_path: Path) -> None:
    folder = home(tmp_path, num_labels=2)
    with pytest.raises(InputError, match=r"has several labels; found 2; accepted: .*LABEL_0"):
        load_reward(folder, device="cpu")
    with pytest.raises(InputError, match=r"no such label; found 'LABEL_7'; accepted: .*LABEL_1"):
        load_reward(folder, device="cpu", reading=LabelSettings(label="LABEL_7"))
    odd = object.__new__(LabelSettings)
    object.__setattr__(odd, "reads", "repl")
    with pytest.raises(InputError, match="did you mean 'reply'"):
        # Past the checker of types, which only tests have.
        inspect.unwrap(LabelSettings.__post_init__)(odd)
    with pytest.raises(InputError, match=r"labels is not read so; .* accepted: LabelSettings"):
        load_reward(folder, device="cpu", reading=RewardSettings())


def test_a_causal_classifier_of_several_labels_reads_the_conversation(tmp_path: Path) -> None:
    made = classifier(vocab_size=SIZE, num_labels=2, pad_token_id=3).eval()
    folder = saved(tmp_path, made)
    model = load_reward(folder, device="cpu", reading=LabelSettings(label="1"))
    said = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "the end"}]
    maker = chat_tokenizer("chatml")
    text = maker.apply_chat_template(said, tokenize=False).removesuffix("\n")
    given = maker(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        right = made(input_ids=given).logits.softmax(1)[0, 1].item()
    assert told(model, rate(["the end"]))[0].value == pytest.approx(right, abs=1e-5)


def test_one_of_one_label_may_be_read_as_a_reward_model_or_as_a_classifier(tmp_path: Path) -> None:
    folder = saved(tmp_path, classifier(vocab_size=SIZE, pad_token_id=3))
    reward = load_reward(folder, device="cpu")
    assert isinstance(reward, RewardModel)
    # Whatever it is called, it is the same feedback, which nobody who learned from it may be judged by.
    assert load_reward(folder, device="cpu", reading=LabelSettings()).id == reward.id
    with pytest.raises(InputError, match="has no labels to choose from"):
        load_reward(folder, device="cpu", reading=LabelSettings(label="LABEL_0"))
    alone = load_reward(folder, device="cpu", reading=LabelSettings(reads="reply"))
    assert isinstance(alone, Classifier)
    one, other = told(alone, rate(["the end"])), told(alone, rate(["the end"], prompt="who"))
    assert one == other
    with pytest.raises(InputError, match="gives no probabilities"):
        load_reward(folder, device="cpu", reading=LabelSettings(reads="reply", probability=True))


def test_a_row_is_read_once_and_scores_do_not_depend_on_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home(tmp_path / "model", num_labels=1)
    monkeypatch.setattr(labels, "BUDGET", 20)
    with Store(tmp_path / "store") as store:
        model = load_reward(folder, store=store, device="cpu")
        first = told(model, rate())
        assert all(one.usage.calls == 1 and one.usage.prompt_tokens > 3 for one in first)
        again = told(load_reward(folder, store=store, device="cpu"), rate())
        assert [one.value for one in again] == [one.value for one in first]
        assert all(one.usage == Usage() for one in again)
    alone = [told(load_reward(folder, device="cpu"), rate([text]))[0].value for text in TEXTS]
    assert [one.value for one in first] == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(("name", "most"), [("Bert", 30), ("Roberta", 30), ("DistilBert", 30)])
def test_a_text_that_is_too_long_is_unscored_and_the_longest_is_not(
    name: str, most: int, tmp_path: Path
) -> None:
    model = load_reward(
        home(tmp_path, name, num_labels=1), device="cpu", reading=LabelSettings(reads="reply")
    )
    fits, over = "no " * (most - 2), "no " * (most - 1)
    ((one, other),) = model.rate([rate([fits, over])])
    assert isinstance(one, Score)
    assert isinstance(other, Unscored)
    assert f"found {most + 1} tokens; accepted: at most {most} tokens" in other.reason


def test_positions_are_the_limit_where_a_tokenizer_names_none() -> None:
    for name, most in (("Bert", 40), ("Roberta", 39)):  # there padding has position 0
        model = Classifier(encoder(name, num_labels=1), tokenizer(), reading=LabelSettings(reads="reply"))
        ((one, other),) = model.rate([rate(["no " * (most - 2), "no " * (most - 1)])])
        assert isinstance(one, Score)
        assert isinstance(other, Unscored)


def test_what_somebody_writes_is_no_mark_of_the_tokenizer() -> None:
    model = Classifier(encoder(num_labels=1), tokenizer(), reading=LabelSettings(reads="reply"))
    one, other = told(model, rate(["no [SEP] end", "no [ SEP ] end"]))
    assert one.value == other.value
    assert one.usage.prompt_tokens == 7


def test_what_it_cannot_read_is_unscored() -> None:
    model = Classifier(encoder(num_labels=1), tokenizer())
    picture = (Message("assistant", (Image("cat.png"),)),)
    asked = [Rate(as_prompt(PROMPT), (picture,)), Rate(Prompt((), tokens=(4, 5)), (as_turns("no"),))]
    ((first,), (second,)) = model.rate(asked)
    assert isinstance(first, Unscored)
    assert "found Image" in first.reason
    assert isinstance(second, Unscored)
    assert "a prompt of tokens" in second.reason
    thought = (Message("assistant", "no", reasoning="so"),)
    called = (Message("assistant", "no", tool_calls=(ToolCall("look", {}),)),)
    ((one, two, three),) = model.rate([Rate(as_prompt(PROMPT), (thought, called, ()))])
    assert isinstance(one, Unscored)
    assert isinstance(two, Unscored)
    assert isinstance(three, Unscored)
    assert ["thinking" in one.reason, "ToolCall" in two.reason, "no turns" in three.reason] == [True] * 3


def test_a_tokenizer_that_does_not_belong_to_the_model_gives_reasons() -> None:
    made = encoder(num_labels=1, vocab_size=6)
    ((one, other),) = Classifier(made, tokenizer()).rate([rate(["what is", "no"], prompt="what")])
    assert isinstance(one, Score)
    assert isinstance(other, Unscored)
    assert "tokens below 6" in other.reason


def test_a_pair_needs_a_mark_between_its_texts() -> None:
    bare = tokenizer()
    bare.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")
    with pytest.raises(InputError, match="cannot tell a reply from its prompt"):
        Classifier(encoder(num_labels=1), bare)
    ((empty,),) = Classifier(encoder(num_labels=1), bare, reading=LabelSettings(reads="reply")).rate(
        [rate([""])]
    )
    assert isinstance(empty, Unscored)
    assert "found no token" in empty.reason


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_adapters_of_a_classifier_of_texts_are_to_be_merged_first(tmp_path: Path) -> None:
    base = home(tmp_path / "base", num_labels=1)
    made = tf.AutoModelForSequenceClassification.from_pretrained(base)
    how = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    peft.get_peft_model(made, how).save_pretrained(str(tmp_path / "adapters"))
    with pytest.raises(
        CapabilityError, match=r"adapters on BertForSequenceClassification, to be merged into it first"
    ):
        load_reward(tmp_path / "adapters", device="cpu")


def test_weights_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = labels.hashed

    def spied(model: Any) -> str:
        seen.append(real(model))
        return seen[-1]

    monkeypatch.setattr(labels, "hashed", spied)
    model = Classifier(encoder(num_labels=1), tokenizer())
    for text in TEXTS:
        told(model, rate([text]))
    assert model.id.startswith("label-")
    assert len(seen) == 1


def test_in_half_precision_numbers_are_still_told_apart(tmp_path: Path) -> None:
    made = encoder(num_labels=1)
    with torch.no_grad():
        made.classifier.bias.fill_(9.0)
    made.bfloat16().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    found = [one.value for one in told(load_reward(tmp_path, device="cpu"), rate())]
    assert len({*found}) == len(TEXTS)


def test_numbers_that_are_none_are_no_scores() -> None:
    made = encoder(num_labels=1)
    with torch.no_grad():
        made.classifier.bias.fill_(float("nan"))
    ((found,),) = Classifier(made, tokenizer()).rate([rate(["no"])])
    assert isinstance(found, Unscored)


def test_other_weights_labels_or_ways_to_read_are_another_feedback() -> None:
    made = encoder(num_labels=2)

    def id_of(label: str, reads: Any, model: Any = made) -> str:
        return Classifier(model, tokenizer(), reading=LabelSettings(label=label, reads=reads)).id

    def id_of_columns(*names: str) -> str:
        return Classifier(made, tokenizer(model_input_names=[*names]), reading=LabelSettings(label="0")).id

    assert id_of_columns("input_ids") != id_of_columns("input_ids", "token_type_ids")
    ids = [
        id_of("0", "reply"),
        id_of("1", "reply"),
        id_of("0", "pair"),
        id_of("0", "reply", encoder(num_labels=3)),
    ]
    assert len(set(ids)) == 4
    assert id_of("0", "reply") == ids[0]


def test_weights_that_are_not_there_are_not_drawn_by_chance(tmp_path: Path) -> None:
    made = tf.BertForMaskedLM(tf.BertConfig(**SMALL, architectures=["BertForSequenceClassification"]))
    made.save_pretrained(tmp_path)
    made.config.architectures, made.config.num_labels = ["BertForSequenceClassification"], 2
    made.config.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(NotFoundError, match=r"do not have all its weights"):
        load_reward(tmp_path, device="cpu", reading=LabelSettings(label="1"))
