"""The text of a reply is what its tokens read as behind the prompt, up to what ended it."""

import pytest

from concord.engine.voice import Voice, opening_blanks, piece
from concord.render import Renderer
from concord.types import Item, Message, Prompt, as_turns
from tests.render.helpers import item, only, renderer
from tests.render.templates import FAMILIES

SHOWN = [name for name in FAMILIES if name != "qwen3"]  # this one thinks before it says anything


def split(made: Renderer, given: Item) -> tuple[tuple[int, ...], list[int]]:
    """The ids that a reply follows, and its own."""
    leaf = only(made, given).replies[0][0]
    start = int(leaf.spans[0, 0])
    return tuple(leaf.ids[:start].tolist()), leaf.ids[start:].tolist()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("family", SHOWN)
@pytest.mark.parametrize("reply", ["Fine words, \u4e2d said Tom.", "The", "1\n\n  2"])
def test_what_was_rendered_reads_as_it_was_said(family: str, reply: str, first: bool) -> None:
    made = renderer(family, first=first)
    ids, tokens = split(made, item("What is it?", reply))
    voice = Voice.behind(made, ids, blanks=opening_blanks(made))
    assert voice.ends(tokens)
    assert voice.cut(tokens) == (reply, len(tokens))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("family", SHOWN)
@pytest.mark.parametrize("reply", [" it here?", "ever", "  two"])
def test_what_continues_a_plain_text_keeps_its_blanks(family: str, reply: str, first: bool) -> None:
    made = renderer(family, first=first)
    prompt = Prompt((Message("user", "What is"),), plain=True)
    ids, tokens = split(made, Item(prompt, (as_turns(reply),)))
    assert Voice.behind(made, ids).cut(tokens)[0] == reply


def test_a_prompt_that_ends_inside_a_character() -> None:
    made = renderer("chatml")
    ids = made.prompt(Prompt((Message("user", "\u4e2d"),), plain=True)).tolist()
    rest = made.prompt(Prompt((Message("user", "!"),), plain=True)).tolist()
    assert Voice.behind(made, ids[:-1]).text(rest) == "!"


@pytest.fixture
def spoken() -> tuple[Voice, list[int]]:
    """A voice with two stop strings, and the tokens of a text."""
    made = renderer("base")
    ids, tokens = split(
        made, Item(Prompt((Message("user", "a"),), plain=True), (as_turns(" one, two, three"),))
    )
    return Voice.behind(made, ids, (", th", "wo, t")), tokens[:-1]


def test_a_stop_string_is_noticed_with_its_last_letter(spoken: tuple[Voice, list[int]]) -> None:
    voice, tokens = spoken
    ends = [voice.ends(tokens[: count + 1]) for count in range(len(tokens))]
    complete = [" one, two, t" in voice.text(tokens[: count + 1]) for count in range(len(tokens))]
    assert ends == complete
    assert any(ends)
    assert not ends[0]


def test_the_earliest_stop_string_cuts_and_tokens_are_as_few_as_hold_the_text(
    spoken: tuple[Voice, list[int]],
) -> None:
    voice, tokens = spoken
    text, count = voice.cut(tokens)
    assert text == " one, t"
    assert voice.text(tokens[:count]).startswith(text)
    assert not voice.text(tokens[: count - 1]).startswith(text)


def test_a_stop_string_at_the_very_beginning_leaves_nothing() -> None:
    made = renderer("base")
    ids, tokens = split(made, Item(Prompt((Message("user", "a"),), plain=True), (as_turns(" one"),)))
    assert Voice.behind(made, ids, (" o",)).cut(tokens[:-1]) == ("", 0)


@pytest.mark.parametrize("family", ["base", "base in pieces"])
def test_pieces_keep_their_blanks(family: str) -> None:
    made = renderer(family)
    ids = made.prompt(Prompt((Message("user", "the the the"),), plain=True)).tolist()
    pieces = [piece(made, token) for token in ids[1:]]
    assert "".join(pieces).strip() == "the the the"
    assert piece(made, ids[0]) == made.tokenizer.bos_token
