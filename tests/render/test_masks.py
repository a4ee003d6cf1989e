"""Masks against a second, slow way to find them, over random conversations and all formats."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.messages import Message, Prompt, Turns
from concord.render.records import Rendered, Unrendered
from concord.render.renderer import Renderer
from concord.render.templates import as_data
from concord.types import Item
from tests.render.helpers import item, only, renderer, show, shown
from tests.render.templates import FAMILIES, tokenizer

TEMPLATED = [name for name, family in FAMILIES.items() if family.template and name != "qwen3"]
PIECES = [
    "Yes",
    " ",
    "\n",
    "\n\n",
    "It is",
    "\U0001f600",
    "\u00e9",
    "12",
    "...",
    "\u4f60",
    "<",
    "|",
    "ASSISTANT:",
    "\t",
]
texts = st.lists(st.sampled_from(PIECES), min_size=0, max_size=6).map("".join)


@st.composite
def conversations(draw: st.DrawFn, *, system: bool = True) -> tuple[Turns, Turns]:
    """A prompt that ends with the user, and a reply that begins and ends with the assistant."""
    told = (Message("system", "S" + draw(texts)),) if system and draw(st.booleans()) else ()
    exchanges = draw(st.integers(1, 3))
    talk: list[Message] = []
    for _ in range(exchanges):
        talk.append(Message("user", draw(texts)))
        talk.append(Message("assistant", draw(texts), trained=draw(st.sampled_from([None, None, False]))))
    talk[-1] = Message("assistant", talk[-1].content)
    asked = draw(st.integers(0, exchanges - 1)) * 2 + 1
    return (*told, *talk[:asked]), tuple(talk[asked:])


def slowly(
    own: Any, stops: list[str], talk: Turns, at: int, args: dict[str, Any]
) -> tuple[list[int], list[bool]]:
    """The ids up to the end of a turn, and which of them are trained, told letter by letter."""
    data = [as_data(message) for message in talk[: at + 1]]

    def written(messages: list[dict[str, Any]], generate: bool) -> str:
        return own.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate, **args)

    before, through = written(data[:-1], True), written(data, False)
    assert through[: len(before)] == before
    ends = [through.index(stop, len(before)) + len(stop) for stop in stops if stop in through[len(before) :]]
    letters = [len(before) <= place < min(ends) for place in range(len(through))]

    def encoded(text: str) -> tuple[list[int], list[tuple[int, int]]]:
        made = own(text, add_special_tokens=False, return_offsets_mapping=True)
        return made["input_ids"], made["offset_mapping"]

    ids, offsets = encoded(through)
    given, _ = encoded(before)
    if ids[: len(given)] != given:
        return given, []
    trained = [start < len(letters) and letters[start] and end > start for start, end in offsets]
    last = max(place for place, learned in enumerate(trained) if learned)
    return ids[: last + 1], trained[: last + 1]


def of_leaves(row: Rendered) -> Iterator[tuple[list[int], list[bool]]]:
    """For each span the ids up to its end, and which of these are trained in it."""
    for leaf in row.replies[0]:
        for start, stop in leaf.spans.tolist():
            yield leaf.ids[:stop].tolist(), [start <= place < stop for place in range(stop)]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("family", TEMPLATED)
@settings(max_examples=40)
@given(st.data())
def test_masks_are_those_found_letter_by_letter(family: str, first: bool, data: st.DataObject) -> None:
    prompt, reply = data.draw(conversations(system=FAMILIES[family].system))
    made, own = renderer(family, first=first), tokenizer(family, first=first)
    args: dict[str, Any] = {"date_string": "26 Jul 2024", **FAMILIES[family].args}
    row = only(made, item(prompt, reply))
    talk, stops = (*prompt, *reply), [token.text for token in made.facts.stop]
    found = list(of_leaves(row))
    places = [len(prompt) + at for at, turn in enumerate(reply) if turn.learned]
    assert len(found) == len(places), "each trained turn exactly once"
    left = found.copy()
    for at in places:
        ids, trained = slowly(own, stops, talk, at, args)
        if trained:
            assert (ids, trained) in left
            left.remove((ids, trained))
        else:  # tokens merge over the boundary: what inference is given stands
            match = next(one for one in left if one[0][: len(ids)] == ids and one[1].index(True) == len(ids))
            left.remove(match)
    assert not left
    check_leaves(made, item(prompt, reply), row)


@pytest.mark.parametrize("family", ["base", "base in pieces", "base without bos", "qwen3"])
@settings(max_examples=40)
@given(conversations())
def test_other_masks_hold_what_they_must(family: str, drawn: tuple[Turns, Turns]) -> None:
    made = renderer(family, train_added=True) if family == "qwen3" else renderer(family)
    check_leaves(made, item(*drawn), only(made, item(*drawn)))


def check_leaves(made: Renderer, given: Item, row: Rendered) -> None:
    """What holds of every leaf."""
    prompt = made.prompt(given.prompt)
    if given.replies[0][0].learned:
        assert np.array_equal(row.prompt, prompt)
    prompt = row.prompt
    learned = [turn for turn in given.replies[0] if turn.learned]
    spans: list[str] = []
    for leaf in row.replies[0]:
        assert leaf.ids.dtype == leaf.spans.dtype == np.int32
        assert leaf.spans[-1, 1] == len(leaf.ids), "nothing follows the last span"
        assert (np.diff(leaf.spans.ravel()) >= 0).all()
        for start, stop in leaf.spans.tolist():
            assert leaf.ids[stop - 1] in made.stop_ids
            assert not made.stop_ids & set(leaf.ids[start : stop - 1].tolist())
            spans.append(made.decode(leaf.ids[start:stop].tolist()))
    assert np.array_equal(row.replies[0][0].ids[: len(prompt)], prompt)
    bare = sorted("".join(turn.text.split()) for turn in learned)
    stops = [token.text for token in made.facts.stop]
    for at, span in enumerate(spans):
        stop = next(text for text in stops if span.endswith(text))
        spans[at] = "".join(span.removesuffix(stop).replace("<think>\n\n</think>", "").split())
    assert sorted(spans) == bare


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "reply", ["\nYes", "\n\n\nYes", "  Yes", "\t", "", "\U0001f600", "\u0301", "Yes\n\n"]
)
def test_replies_that_begin_or_end_oddly(family: str, reply: str) -> None:
    made = renderer(family, train_added=True) if family == "qwen3" else renderer(family)
    given = Item(Prompt((Message("user", "Hi"),)), ((Message("assistant", reply),),))
    check_leaves(made, given, only(made, given))


def test_where_tokens_merge_over_the_boundary_inference_wins() -> None:
    made = renderer("chatml")
    joint = made.tokenizer("<|im_start|>assistant\n\n\nYes", add_special_tokens=False)["input_ids"]
    prompt = made.prompt(Prompt((Message("user", "Hi"),)))
    begins = made.tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    assert joint[: len(begins)] != begins, "the example needs line ends that merge"
    (leaf,) = only(made, item("Hi", "\n\nYes")).replies[0]
    assert leaf.ids[: len(prompt)].tolist() == prompt.tolist()
    assert shown(made, leaf).endswith("assistant\n[[\n\nYes<|im_end|>]]")


@pytest.mark.parametrize("first", [False, True])
def test_no_blank_is_put_before_a_reply_that_continues_tokens(first: bool) -> None:
    made = renderer("vicuna", first=first)
    prompt = Prompt((), tokens=tuple(made.tokenizer("USER: Hi ASSISTANT:")["input_ids"]))
    (leaf,) = only(made, item(prompt, "Yes")).replies[0]
    assert made.decode(leaf.ids.tolist()).endswith("ASSISTANT:Yes</s>")
    assert leaf.ids[: len(prompt.tokens or ())].tolist() == list(prompt.tokens or ())
    assert leaf.spans.tolist() == [[len(prompt.tokens or ()), len(leaf.ids)]]


def test_a_pad_token_that_is_the_stop_token_changes_nothing() -> None:
    own = tokenizer("chatml")
    import copy

    padded = copy.deepcopy(own)
    padded.pad_token = padded.eos_token
    row = only(Renderer(padded), item("Hi", "Yes"))
    assert shown(Renderer(padded), row.replies[0][0]).endswith("[[Yes<|im_end|>]]")


@settings(max_examples=30)
@given(st.lists(conversations(), min_size=1, max_size=7), st.integers(1, 8))
def test_order_and_tokens_do_not_depend_on_the_batch(drawn: list[tuple[Turns, Turns]], batch: int) -> None:
    made = renderer("chatml")
    given = [item(*each) for each in drawn]
    rows = list(made.render(given, batch=batch))
    for one, row in zip(given, rows, strict=True):
        assert not isinstance(row, Unrendered)
        alone = only(made, one)
        for leaf, other in zip(row.replies[0], alone.replies[0], strict=True):
            assert np.array_equal(leaf.ids, other.ids)
            assert np.array_equal(leaf.spans, other.spans)


def test_a_pair_shares_its_prompt() -> None:
    row = only(renderer("llama3"), item("Hi", "Yes", "No\U0001f600"))
    heads = [leaf.ids[: len(row.prompt)] for (leaf,) in row.replies]
    assert all(np.array_equal(head, row.prompt) for head in heads)
    assert [leaf.spans[0, 0] for (leaf,) in row.replies] == [len(row.prompt)] * 2


def test_the_fallback_in_sentencepiece_manner_reads_as_it_should() -> None:
    made = renderer("base in pieces", first=True)
    talk = (Message("assistant", "a"), Message("user", "b"), Message("assistant", "c"))
    assert show(made, item("Hi", talk)) == [
        "<s> User: Hi\n\nAssistant:[[ a</s>]]\n\nUser: b\n\nAssistant:[[ c</s>]]"
    ]
