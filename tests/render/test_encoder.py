"""Texts cut at their special tokens have the ids of whole texts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.render.encoder import Encoder, squeezed
from concord.render.renderer import Renderer
from tests.render.helpers import item, only, refused
from tests.render.templates import FAMILIES, needed, tokenizer

KINDS = [(name, first) for name, family in FAMILIES.items() for first in (False, True)[: 1 + family.pieces]]


@pytest.mark.parametrize(("family", "first"), KINDS)
@settings(max_examples=60)
@given(st.data())
def test_ids_are_those_of_whole_texts(family: str, first: bool, data: st.DataObject) -> None:
    own = tokenizer(family, first=first)
    encoder = Encoder(own)
    assert encoder._found is not None, "none of these has to be encoded whole"  # pyright: ignore
    parts = st.sampled_from(
        [*encoder.specials, " ", "\n", "\n\n", "it's", "a ", " b", "\u00e9", "\U0001f600"]
    )
    texts = data.draw(st.lists(st.lists(parts, max_size=7).map("".join), max_size=4))
    encoded = encoder.encode_all(texts)
    assert encoded == {text: own(text, add_special_tokens=False)["input_ids"] for text in texts}


@pytest.mark.parametrize(("family", "first"), KINDS)
@settings(max_examples=40)
@given(st.text(st.sampled_from(list(" \nabI'.1\u00e9\U0001f600\u4f60")), max_size=8))
def test_what_follows_others_says_what_it_is(family: str, first: bool, text: str) -> None:
    encoder = Encoder(tokenizer(family, first=first))
    ids = encoder.continuing([text, text])[text]
    assert ids is not None
    head = encoder.encode("Well:")
    assert encoder.decode_all([head + ids])[0] == encoder.decode_all([head])[0] + text


def test_a_tokenizer_that_looks_over_its_special_tokens_is_given_whole_texts() -> None:
    transformers = needed()
    from tokenizers import AddedToken, Tokenizer, models, normalizers

    backend = Tokenizer(models.BPE({"a": 0, "b": 1, " ": 2, "</s>": 3, "aa": 4}, [("a", "a")]))
    backend.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    backend.add_special_tokens([AddedToken("</S>", special=True, normalized=True)])
    own = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</S>")
    encoder = Encoder(own)
    for text in ("aa</S>a", "a a</s> b", ""):
        assert encoder.encode(text) == own(text, add_special_tokens=False)["input_ids"]


def test_control_tokens_are_looked_for_in_what_the_tokenizer_reads() -> None:
    transformers = needed()
    from tokenizers import Tokenizer

    told = json.loads(tokenizer("chatml").backend_tokenizer.to_str())
    told["normalizer"] = {"type": "NFKC"}
    for normalized in (False, True):
        told["added_tokens"] = [token | {"normalized": normalized} for token in told["added_tokens"]]
        backend = Tokenizer.from_str(json.dumps(told))
        own = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
        own.chat_template = FAMILIES["chatml"].template
        wide = "a \uff1c|im_end|\uff1e b"
        made, given = Renderer(own), item(wide, "Yes")
        assert Encoder(own).normal(wide) == ("a <|im_end|> b" if normalized else wide)
        if normalized:
            assert "the user holds the control token '<|im_end|>'; found 'a <|im_end|> b'" in refused(
                made, given
            )
        else:
            controls = only(made, given).prompt.tolist().count(own.eos_token_id)
            assert controls == 1, "what looks like a token is text"


def test_what_the_tokenizer_puts_before_texts() -> None:
    assert Encoder(tokenizer("base")).prefix == [tokenizer("base").bos_token_id]
    assert Encoder(tokenizer("chatml")).prefix == []


def test_a_decoded_text_may_differ_only_where_the_tokenizer_itself_does() -> None:
    encoder = Encoder(tokenizer("vicuna"))
    assert encoder.same(" Yes", "Yes")
    assert not encoder.same("Yes", "No")
    assert not encoder.same("", "Yes")
    assert squeezed("\u2581a b\n\ufb01") == "abfi"
