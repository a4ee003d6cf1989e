"""Rows that are too long: what is cut is what was asked for, and nothing else is lost."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.render.fit import How, TooLongError, corrected, fit, measure, too_long
from concord.render.records import Leaf, Rendered
from tests.render.helpers import item, only, renderer, said

BOS = 1


def array(*ids: int) -> np.ndarray:
    """Ids."""
    return np.array(ids, dtype=np.int32)


def leaf(ids: list[int], *spans: tuple[int, int]) -> Leaf:
    """A leaf."""
    return Leaf(array(*ids), np.array(spans, dtype=np.int32).reshape(-1, 2))


@st.composite
def rendered(draw: st.DrawFn) -> Rendered:
    """A prompt and up to three replies of one leaf with one or two spans; all ids differ."""
    fresh = iter(range(10, 1000))
    size = draw(st.integers(1, 8))
    prompt = [BOS if draw(st.booleans()) else next(fresh), *(next(fresh) for _ in range(size - 1))]
    replies: list[tuple[Leaf, ...]] = []
    for _ in range(draw(st.integers(1, 3))):
        ids, spans = list(prompt), list[tuple[int, int]]()
        for gap in range(draw(st.integers(1, 2))):
            ids += [next(fresh) for _ in range(draw(st.integers(1, 3)) if gap else 0)]
            start = len(ids)
            ids += [next(fresh) for _ in range(draw(st.integers(1, 6)))]
            spans.append((start, len(ids)))
        replies.append((leaf(ids, *spans),))
    return Rendered(array(*prompt), tuple(replies))


def learned(row: Rendered) -> list[list[int]]:
    """What is learned of each reply."""
    return [
        [int(one.ids[at]) for one in reply for start, stop in one.spans for at in range(start, stop)]
        for reply in row.replies
    ]


@given(rendered(), st.integers(1, 30), st.sampled_from([(), (BOS,)]))
def test_cutting_the_prompt_loses_the_least_of_it_and_nothing_else(
    row: Rendered, most: int, keep: tuple[int, ...]
) -> None:
    done = fit(row, most, "prompt-left", keep=keep)
    prompt, longest = row.prompt.tolist(), measure(row)[1]
    over = max(0, longest - most)
    kept = 1 if keep and prompt[0] == BOS else 0
    possible = over == 0 or (kept + over <= len(prompt) and len(prompt) - over >= 1)
    assert (done.rendered is not None) == possible
    if done.rendered is None:
        assert (done.prompt_cut, done.reply_cut) == (0, 0)
        return
    assert (done.prompt_cut, done.reply_cut) == (over, 0)
    assert measure(done.rendered)[1] == min(longest, max(most, 0))
    expected = prompt if over == 0 else prompt[:kept] + prompt[kept + over :]
    assert done.rendered.prompt.tolist() == expected
    assert learned(done.rendered) == learned(row)
    for (old,), (new,) in zip(row.replies, done.rendered.replies, strict=True):
        assert new.ids.tolist() == expected + old.ids[len(prompt) :].tolist()
        assert new.spans[0, 0] >= 1
        assert new.ids.dtype == new.spans.dtype == np.int32


@given(rendered(), st.integers(1, 30))
def test_cutting_replies_loses_their_ends_and_nothing_else(row: Rendered, most: int) -> None:
    done = fit(row, most, "reply-right")
    if done.rendered is None:
        assert most <= len(row.prompt)
        return
    assert np.array_equal(done.rendered.prompt, row.prompt)
    assert measure(done.rendered)[1] <= most
    before, after = learned(row), learned(done.rendered)
    assert done.reply_cut == sum(map(len, before)) - sum(map(len, after))
    for (old,), (new,), was, now in zip(row.replies, done.rendered.replies, before, after, strict=True):
        assert now == was[: len(now)]
        assert now
        assert new.ids.tolist() == old.ids[: len(new.ids)].tolist()
        assert new.spans[-1, 1] == len(new.ids)
        inside = [at for start, stop in old.spans for at in range(start, stop) if at < most]
        assert len(now) == len(inside)


@given(rendered(), st.integers(1, 30), st.sampled_from(get_args(How)))
def test_what_has_room_is_left_alone(row: Rendered, more: int, how: How) -> None:
    done = fit(row, measure(row)[1] + more - 1, how)
    assert done.rendered is row
    assert (done.prompt_cut, done.reply_cut) == (0, 0)


def test_what_is_to_be_dropped_is_dropped() -> None:
    row = Rendered(array(1, 2), ((leaf([1, 2, 3], (2, 3)),),))
    assert fit(row, 2, "drop").rendered is None


def test_later_leaves_lose_the_same_beginning_or_the_row_is_left_out() -> None:
    one, same, other = (
        leaf([1, 2, 3, 4], (3, 4)),
        leaf([1, 2, 3, 7, 8], (4, 5)),
        leaf([1, 9, 3, 7, 8], (4, 5)),
    )
    done = fit(Rendered(array(1, 2, 3), ((one, same),)), 4, "prompt-left", keep=(1,)).rendered
    assert done is not None
    assert [each.ids.tolist() for each in done.replies[0]] == [[1, 3, 4], [1, 3, 7, 8]]
    assert [each.spans.tolist() for each in done.replies[0]] == [[[2, 3]], [[3, 4]]]
    assert fit(Rendered(array(1, 2, 3), ((one, other),)), 4, "prompt-left", keep=(1,)).rendered is None
    # A turn that stands where the cut ends has nothing before it that its first token is predicted from.
    early = leaf([1, 2, 7], (2, 3))
    assert fit(Rendered(array(1, 2, 3), ((one, early),)), 2, "prompt-left").rendered is None
    assert fit(Rendered(array(1, 2, 3), ((one, early),)), 3, "prompt-left").rendered is not None


def test_a_leaf_without_room_is_cut_and_counted_if_another_is_left() -> None:
    row = Rendered(array(1, 2), ((leaf([1, 2, 3], (2, 3)), leaf([1, 2, 7, 8, 9, 9], (4, 6))),))
    done = fit(row, 4, "reply-right")
    assert done.rendered is not None
    assert [each.ids.tolist() for each in done.rendered.replies[0]] == [[1, 2, 3]]
    assert done.reply_cut == 2


def test_both_replies_keep_the_same_prompt() -> None:
    made = renderer("gemma")
    row = only(made, item(said("Hello, how are you today?"), "Yes", "It is Paris, the capital of France."))
    done = fit(row, measure(row)[1] - 3, "prompt-left", keep=made.prefix).rendered
    assert done is not None
    heads = [one.ids[: len(done.prompt)].tolist() for (one,) in done.replies]
    assert heads == [done.prompt.tolist()] * 2
    assert done.prompt[0] == made.tokenizer.bos_token_id
    assert len(done.prompt) == len(row.prompt) - 3


def test_a_task_is_as_long_as_its_prompt() -> None:
    assert measure(Rendered(array(1, 2, 3), ())) == (3, 3)
    done = fit(Rendered(array(1, 2, 3), ()), 2, "prompt-left", keep=(1,))
    assert done.rendered is not None
    assert done.rendered.prompt.tolist() == [1, 3]
    assert fit(Rendered(array(1, 2, 3), ()), 2, "reply-right").rendered is None


@pytest.mark.parametrize(("most", "how"), [(0, "drop"), (True, "drop"), (2.5, "drop"), (5, "chop")])
def test_settings_that_make_no_sense_are_refused(most: int, how: How) -> None:
    with pytest.raises(InputError):
        fit(Rendered(array(1), ()), most, how)


def test_the_error_counts_and_gives_whole_commands() -> None:
    lengths = {3: 1, 9: 2, 5: 1}
    command = ["concord", "train", "dpo", "--data", "my prefs.jsonl", "--max-length", "4", "--on-long=error"]
    message = str(too_long(lengths, 4, command=command))
    assert message.startswith("3 of 4 rows (75.0%) have more tokens than the 4 that are allowed")
    assert "found a longest row of 9 tokens" in message
    start = "concord train dpo --data 'my prefs.jsonl' --max-length"
    assert f"\n  {start} 9 --on-long=error\n" in message
    for how in ("drop", "prompt-left", "reply-right"):
        assert f"\n  {start} 4 --on-long {how}" in message
    assert "--max-length 9, or --on-long with drop" in str(too_long(lengths, 4))


def test_one_row_that_is_too_long_is_an_error_where_that_is_asked() -> None:
    with pytest.raises(TooLongError, match=r"1 of 1 row \(100.0%\)"):
        fit(Rendered(array(1, 2, 3), ()), 2, "error")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["a", "b c"], "a 'b c' --x 1"),
        (["a", "--x", "2", "b"], "a --x 1 b"),
        (["a", "--x=2", "b"], "a --x 1 b"),
        (["a", "--x", "2", "--x=3"], "a --x 1"),
        (["a", "--xy", "2"], "a --xy 2 --x 1"),
        (["a", "--x"], "a --x 1"),
    ],
)
def test_a_flag_is_set_in_its_own_place(command: list[str], line: str) -> None:
    assert corrected(command, "--x", "1") == line
