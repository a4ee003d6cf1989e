"""What greedy replies say of a run: each fault at its share, lengths with their interval, and no change."""

from collections.abc import Sequence

from concord.data import Finding
from concord.eval.course.greedy import RULES, GreedyReplies, GreedyReply, read_replies

PROSE = (
    "A lighthouse keeper counts the ships that pass, and writes their names into a book that nobody reads"
    " until the winter, when the harbour master comes over the ice and asks how many there were."
)
LOOP = "and then the cat sat on the mat " * 8


def said(step: int, replies: Sequence[str], *, finish: str = "stop", tokens: int = 20) -> GreedyReplies:
    return GreedyReplies(
        step=step,
        samples=tuple(
            GreedyReply(prompt=f"p{at}", reply=reply, finish=finish, tokens=tokens + at)
            for at, reply in enumerate(replies)
        ),
    )


BEFORE = said(0, [f"{PROSE} {at}" for at in range(8)])


def named(last: GreedyReplies, first: GreedyReplies = BEFORE) -> dict[str, Finding]:
    return {one.name: one for one in read_replies(first, last)}


def after(*replies: str, finish: str = "stop", tokens: int = 20) -> GreedyReplies:
    return said(300, replies, finish=finish, tokens=tokens)


FINE = tuple(f"{PROSE} {at + 100}" for at in range(8))
CASES = {
    "empty": after("", " \n", *FINE[2:]),
    "endless": after(*FINE, finish="length", tokens=28),
    "repetitive": after(LOOP, LOOP, *FINE[2:]),
    "longer": after(*FINE, tokens=50),
    "unchanged": said(300, [one.reply for one in BEFORE.samples]),
}


def test_each_finding_is_made_where_it_belongs() -> None:
    assert CASES.keys() == RULES.keys()
    assert named(after(*FINE)) == {}
    for name, last in CASES.items():
        assert list(named(last)) == [name]
        one = named(last)[name]
        assert one.severity == RULES[name].severity
        assert one.detail.endswith(".")
        assert one.do.endswith(".")


def test_a_fault_is_held_against_the_replies_before() -> None:
    one = named(CASES["empty"])["empty"]
    assert one.title == "2 of 8 greedy replies are empty"
    assert one.detail.startswith("This is at step 300; before training it was 0 of 8.")
    assert named(after("", *FINE[1:])) == {}, "one of eight is below the threshold"
    alone = named(CASES["empty"], CASES["empty"])["empty"]
    assert alone.detail.startswith("This is at step 300. ")


def test_replies_that_are_cut_off_early_may_only_be_long() -> None:
    long = said(0, [one.reply for one in BEFORE.samples], finish="length", tokens=64)
    assert "endless" not in named(after(*FINE, finish="length", tokens=64), long)
    assert "endless" in named(after(*FINE, finish="length", tokens=64), BEFORE), "they did end before"
    room = said(0, [one.reply for one in BEFORE.samples], finish="length", tokens=249)
    assert "endless" in named(after(*FINE, finish="length", tokens=249), room)


def test_nothing_is_said_of_a_model_that_was_not_trained_yet() -> None:
    assert read_replies(said(0, ["", ""]), said(0, ["", ""])) == ()


def test_lengths_are_compared_prompt_by_prompt() -> None:
    one = named(CASES["longer"])["longer"]
    assert one.title.startswith("Greedy replies have become 2.3 times as long")
    assert "longer" not in named(after(*FINE, tokens=28))
    assert "longer" not in named(after(*FINE[:3], tokens=50)), "three prompts are too few"
    others = GreedyReplies(
        step=300, samples=tuple(GreedyReply(prompt="x", reply=r, finish="stop", tokens=99) for r in FINE)
    )
    assert named(others) == {}


def test_no_replies_say_nothing() -> None:
    assert read_replies(BEFORE, GreedyReplies(step=300, samples=())) == ()
    assert read_replies(BEFORE, BEFORE) == ()


def test_a_reply_that_did_not_come_is_not_empty() -> None:
    assert named(after("", "", *FINE[2:], finish="failed")) == {}
