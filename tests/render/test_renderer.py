"""The renderer as a whole: its id, the facts it finds out, real models, and days that do not matter."""

import datetime
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concord.errors import InputError, NotFoundError, UnavailableError
from concord.messages import Message, Prompt
from concord.render import templates
from concord.render.loading import ModelFiles, load_tokenizer, out_of_reach, read_files
from concord.render.records import RenderSettings
from concord.render.renderer import Renderer
from concord.render.templates import PINNED, Template, pinned_day
from tests.render.helpers import item, only, renderer, said, show, shown
from tests.render.templates import CHATML, FAMILIES, HEADERLESS, LLAMA31, STOPLESS, needed, tokenizer
from tests.shared import SHARED, needs_shared

STORIES = SHARED / "models" / "stories260K"


def test_an_id_names_all_that_decides_the_tokens() -> None:
    base = renderer("chatml")
    others: list[Renderer] = [
        renderer("marked"),
        renderer("llama31"),
        renderer("llama31", template_args={"date_string": "1 Jan 2025"}),
        renderer("chatml", STOPLESS),
        renderer("chatml", plain=True),
        renderer("chatml", train_added=True),
        renderer("chatml", template_args={"a": 1}),
        renderer("chatml", stop=("<|im_start|>",)),
        renderer("zephyr"),
        renderer("zephyr", first=True),
        Renderer(tokenizer("base"), files=ModelFiles(stop_ids=(0,))),
        Renderer(tokenizer("base")),
        Renderer(tokenizer("base"), files=ModelFiles(stop_ids=(411,))),
    ]
    names = [made.id for made in (base, *others)]
    # No stop id that is no token of its own is taken up, so it changes nothing.
    assert names.pop(-3) == names[-2]
    assert len(set(names)) == len(names)
    again = Renderer(tokenizer("chatml"), settings=RenderSettings(chat_template=CHATML))
    assert again.id == base.id, "the same content has the same name, wherever it is from"


def test_lengths_change_no_token_and_so_no_id() -> None:
    assert Renderer(tokenizer("chatml"), files=ModelFiles(longest=5)).id == renderer("chatml").id


def test_a_tokenizer_that_was_told_to_cut_cuts_nothing() -> None:
    own = pickle.loads(pickle.dumps(tokenizer("chatml")))
    own.backend_tokenizer.enable_truncation(3)
    own.backend_tokenizer.enable_padding(length=50)
    made = Renderer(own)
    assert made.id == renderer("chatml").id
    row, other = (only(one, item("Hi there, all of you", "Yes")) for one in (made, renderer("chatml")))
    assert np.array_equal(row.replies[0][0].ids, other.replies[0][0].ids)


# --- facts ------------------------------------------------------------------------------------------------


def stops(made: Renderer) -> list[str]:
    """The texts of the stop tokens, the one that is written first."""
    return [token.text for token in made.facts.stop]


@pytest.mark.parametrize(
    ("family", "origin", "found", "bos"),
    [
        ("llama3", "tokenizer", ["<|eot_id|>"], "<|begin_of_text|>, written by the chat template"),
        ("gemma", "tokenizer", ["<end_of_turn>", "<eos>"], "<bos>, written by the chat template"),
        ("phi3", "tokenizer", ["<|end|>", "<|endoftext|>"], "no <s>: the chat template writes none"),
        ("vicuna", "tokenizer", ["</s>"], "no <s>: the chat template writes none"),
        ("chatml", "tokenizer", ["<|im_end|>"], "nothing beside what the chat template writes"),
        ("base", "plain fallback", ["<|end|>"], "<|begin|>, put there by the tokenizer"),
        ("base without bos", "plain fallback", ["<|endoftext|>"], "nothing is put before a text"),
    ],
)
def test_facts(family: str, origin: str, found: list[str], bos: str) -> None:
    facts = renderer(family).facts
    assert (facts.template, stops(renderer(family)), facts.bos) == (origin, found, bos)
    assert all(
        token.id == renderer(family).tokenizer.convert_tokens_to_ids(token.text) for token in facts.stop
    )


def test_every_stop_token_has_its_reasons() -> None:
    own = tokenizer("gemma")
    eos, end, other = (own.convert_tokens_to_ids(text) for text in ("<eos>", "<end_of_turn>", "<bos>"))
    made = Renderer(own, files=ModelFiles(stop_ids=(eos, end)))
    assert {token.text: token.why for token in made.facts.stop} == {
        "<end_of_turn>": "the chat template writes it after a reply; generation_config.json: eos_token_id",
        "<eos>": "the tokenizer's eos token; generation_config.json: eos_token_id",
    }
    assert made.facts.warnings == ()
    made = Renderer(own, files=ModelFiles(stop_ids=(eos,)))
    assert "'<end_of_turn>', which generation_config.json does not list" in made.facts.warnings[0]
    assert stops(Renderer(own, settings=RenderSettings(stop=("<eos>",)))) == ["<eos>"]
    # A model whose files disagree: what generation stops at goes before the tokenizer's word.
    own = tokenizer("base")
    other = own.convert_tokens_to_ids("<|begin|>")
    assert stops(Renderer(own, files=ModelFiles(stop_ids=(other,)))) == ["<|begin|>", "<|end|>"]


def test_warnings_of_templates() -> None:
    assert "no add_generation_prompt" in Renderer(_with(HEADERLESS)).facts.warnings[0]
    assert "writes no stop token after a reply" in renderer("chatml", STOPLESS).facts.warnings[0]
    assert "no <s>, which the tokenizer puts before other texts" in renderer("vicuna").facts.warnings[0]
    picky = "{{ messages[0].role == 'system' or raise_exception('system first') }}" + CHATML
    assert Renderer(_with(picky)).facts.warnings == (), "nothing is known of a template that cannot be tried"
    for family in ("llama3", "chatml", "qwen3", "mistral", "gemma", "base"):
        assert renderer(family).facts.warnings == (), family


def _with(template: str) -> Any:
    own = pickle.loads(pickle.dumps(tokenizer("chatml")))
    own.chat_template = template
    return own


def test_the_longest_is_the_models_or_else_the_tokenizers() -> None:
    own = pickle.loads(pickle.dumps(tokenizer("chatml")))
    assert Renderer(own).facts.longest is None
    own.model_max_length = 77
    assert (Renderer(own).facts.longest, Renderer(own).facts.longest_from) == (
        77,
        "tokenizer: model_max_length",
    )
    facts = Renderer(own, files=ModelFiles(longest=99, longest_from="config.json: n_ctx")).facts
    assert (facts.longest, facts.longest_from) == (99, "config.json: n_ctx")


# --- days -------------------------------------------------------------------------------------------------


def test_the_day_is_pinned_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(datetime.date):
        @classmethod
        def today(cls) -> "Later":
            return cls(2031, 1, 1)

    made = renderer("llama31")
    text = made.decode(made.prompt(Prompt(said("Hi"))).tolist())
    monkeypatch.setattr(datetime, "date", Later)
    again = renderer("llama31", LLAMA31)
    assert again.decode(again.prompt(Prompt(said("Hi"))).tolist()) == text
    assert "Today Date: 26 Jul 2024" in text
    assert (made.facts.date, made.id) == ("26 Jul 2024", again.id)
    assert renderer("chatml").facts.date is None
    told = renderer("llama31", template_args={"date_string": "2 Jan 2025"})
    assert told.facts.date == "02 Jan 2025"


def test_another_pinned_day_is_another_id_where_the_day_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "PINNED", datetime.date(2025, 1, 2))
    assert renderer("llama31", LLAMA31).id != renderer("llama31").id
    assert renderer("chatml", CHATML).id == renderer("chatml").id


@pytest.mark.parametrize("text", ["2 Jan 2025", "02 January 2025", "2025-01-02", "January 2, 2025"])
def test_a_day_can_be_written_in_several_ways(text: str) -> None:
    assert pinned_day({"date_string": text}) == datetime.date(2025, 1, 2)


@pytest.mark.parametrize("args", [{}, {"date_string": "soon"}, {"date_string": None}])
def test_other_days_are_the_pinned_one(args: dict[str, Any]) -> None:
    assert pinned_day(args) == PINNED


def test_templates_find_what_they_expect() -> None:
    needed("jinja2")
    lines = [
        "{%- set n = namespace(total=0) -%}",
        "{%- for m in messages -%}",
        "{%- if loop.index > 2 -%}{% break %}{%- endif -%}",
        "{%- set n.total = n.total + 1 -%}",
        "{%- endfor -%}",
        '{{ n.total }} {{ dict(a=1)["a"] }} {{ {"b": "<\u00e9>"} | tojson }}',
        '{{- strftime_now("%Y-%m-%d") }} {{ tools is none }} {{ extra }} {{ [1, 2] | tojson(indent=1) }}',
    ]
    text = "\n".join(lines)
    made = Template({"default": text}, variables={"extra": "x"}, day=PINNED)
    data = [{"role": "user", "content": "a"}] * 3
    assert made.render(data) == '2 1 {"b": "<\u00e9>"}2024-07-26 True x [\n 1,\n 2\n]'


# --- from files -------------------------------------------------------------------------------------------


def test_a_renderer_is_loaded_from_a_folder(tmp_path: Path) -> None:
    tokenizer("gemma").save_pretrained(tmp_path)
    eos = [tokenizer("gemma").convert_tokens_to_ids(text) for text in ("<eos>", "<end_of_turn>")]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    config = {"text_config": {"max_position_embeddings": 123}, "max_position_embeddings": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = Renderer.load(tmp_path)
    assert made.facts.longest == 123
    assert made.facts.longest_from == "config.json: text_config.max_position_embeddings"
    assert stops(made) == ["<end_of_turn>", "<eos>"]
    assert show(made, item("Hi", "Yes")) == show(renderer("gemma"), item("Hi", "Yes"))


@pytest.mark.parametrize("text", ["{}", '{"eos_token_id": "x", "n_ctx": "many"}', '{"eos_token_id": [true]}'])
def test_files_that_say_nothing_say_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "generation_config.json").write_text(text)
    assert read_files(tmp_path) == ModelFiles(folder=tmp_path)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_file_is_refused_for_it_may_hold_the_stop_tokens(
    tmp_path: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name} of the model cannot be read"):
        read_files(tmp_path)


def test_models_that_are_not_there_are_not_found(tmp_path: Path) -> None:
    needed()
    with pytest.raises(NotFoundError, match="there is no such folder"):
        load_tokenizer(tmp_path / "none")
    with pytest.raises(NotFoundError, match="no tokenizer could be loaded"):
        load_tokenizer(tmp_path)
    with pytest.raises(NotFoundError, match="allow the network for a hub id"):
        load_tokenizer("nobody/has-this")
    for path in ("", "./none", "../none", "a/b/none"):
        with pytest.raises(NotFoundError, match="there is no such folder"):
            load_tokenizer(path)
    with pytest.raises(NotFoundError, match="this is a file, and a model is a folder"):
        load_tokenizer(__file__)


def test_models_that_lie_near_a_wrong_path_are_named(tmp_path: Path) -> None:
    for name in ("model", "teacher", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "teacher" / "adapter_config.json").write_text("{}")
    with pytest.raises(NotFoundError) as caught:
        out_of_reach(tmp_path / "modle")
    model, teacher = tmp_path / "model", tmp_path / "teacher"
    assert f"; here are {model}, {teacher} (did you mean '{model}'?); to do: " in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_asked_once_and_what_was_fetched_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed()
    import huggingface_hub

    asked: list[str] = []

    def unreachable(_: Any, model: str, **how: Any) -> Any:
        asked.append(model)
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    name = f"nobody/{tmp_path.name}"  # of its own: what a hub did not answer is remembered
    for _ in range(2):
        with pytest.raises(NotFoundError, match=r"the hub cannot be reached \(Name or service not known\)"):
            load_tokenizer(name, offline=False)
    (tmp_path / f"models--nobody--{tmp_path.name}").mkdir()
    assert out_of_reach(name, offline=False)
    assert asked == [name]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "config.json of the model cannot be read; found Expecting"),
        ('{"model_type": "llama", "hidden_size": "x"}', "config.json cannot be used; found Validation error"),
    ],
)
def test_a_broken_configuration_is_not_called_a_broken_tokenizer(
    tmp_path: Path, text: str, told: str
) -> None:
    tokenizer("gemma").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["[]", "{", "{}", "3"])
def test_a_tokenizer_whose_files_are_damaged_is_refused_or_loaded(
    tmp_path: Path, name: str, text: str
) -> None:
    tokenizer("gemma").save_pretrained(tmp_path)
    (tmp_path / name).write_text(text)
    if (name, text) == ("tokenizer_config.json", "{}"):
        assert callable(load_tokenizer(tmp_path))
        return
    with pytest.raises(NotFoundError, match="no tokenizer could be loaded"):
        load_tokenizer(tmp_path)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnavailableError, match=r'pip install "concord-align\[data\]"'):
        Renderer.load(tmp_path)


@needs_shared
def test_a_model_that_ends_its_texts_on_the_next_beginning() -> None:
    needed()
    made = Renderer.load(STORIES)
    assert made.facts.template == "plain fallback"
    assert stops(made) == ["<s>", "</s>"], "the weights never learned </s>"
    (why,) = made.facts.warnings
    assert "replies end on '<s>', which also opens a text" in why
    assert "'</s>' looks untrained" in why
    assert made.facts.longest == 512
    unseen = Renderer(made.tokenizer, files=replace(made.files, folder=None))
    assert stops(unseen) == ["</s>", "<s>"]
    assert "say --stop-token '<s>'" in unseen.facts.warnings[0]
    given = Renderer.load(STORIES, RenderSettings(stop=("</s>",)))
    assert "'</s>' looks untrained" in given.facts.warnings[0]
    told = Renderer.load(STORIES, RenderSettings(stop=("<s>",)))
    assert told.facts.warnings == ()
    asked = Prompt((Message("user", "Once upon a time"),), plain=True)
    assert show(told, item(asked, ", there was a \U0001f600 cat.")) == [
        "<s> Once upon a time[[, there was a \U0001f600 cat.<s>]]"
    ]
    (leaf,) = only(told, item("Hi", "Yes")).replies[0]
    assert shown(told, leaf) == "<s> User: Hi\n\nAssistant:[[ Yes<s>]]"
    assert leaf.ids[0] == leaf.ids[-1] == 1, "the first is no stop token, though it has the same id"


@needs_shared
def test_the_real_tokenizer_of_gpt2() -> None:
    transformers = needed()
    folder = SHARED / "tokenizers" / "gpt2"
    own = transformers.GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    made = Renderer(own)
    assert (stops(made), made.facts.warnings) == (["<|endoftext|>"], ())
    talk = (Message("assistant", "\n\nIt's \U0001f600"), Message("user", "And?"), Message("assistant", "No"))
    assert show(made, item("Hi", talk)) == [
        "User: Hi\n\nAssistant:[[ It's \U0001f600<|endoftext|>]]\n\n"
        "User: And?\n\nAssistant:[[ No<|endoftext|>]]"
    ]
    asked = Prompt((Message("user", "Line"),), plain=True)
    (leaf,) = only(made, item(asked, "s of text")).replies[0]
    assert made.tokenizer.convert_ids_to_tokens(leaf.ids.tolist())[:2] == ["Line", "s"]


def test_what_opens_a_prompt_and_stays_when_it_is_cut() -> None:
    assert renderer("base").decode(renderer("base").prefix) == "<|begin|>"
    assert renderer("gemma").decode(renderer("gemma").prefix) == "<bos>"
    assert renderer("chatml").prefix == ()
    assert FAMILIES["chatml"].bos is None
