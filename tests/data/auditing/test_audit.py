"""Audits of data whose faults were put there."""

import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from concord import wire
from concord.data.auditing.audit import audit
from concord.data.auditing.facts import PERCENTILES, length_counts
from concord.data.auditing.findings import RULES
from concord.data.auditing.observe import Observer
from concord.data.auditing.records import Audit, AuditSettings
from concord.errors import InputError
from concord.findings import Finding
from concord.formats import open_items
from concord.render.records import Facts, Leaf, Rendered, RenderError, RenderSettings, StopToken, Unrendered
from concord.render.show import Piece
from concord.types import Item, Message, Origin, Preference, Prompt, Text, as_prompt, as_turns
from concord.views import Comparison, Demonstration, Ranking, Rating, Steps, Task
from tests.data.auditing.planted import compared, judged, sentence

Row = tuple[str, str, str, float]


def clean(count: int, seed: int = 0, *, reply: int = 30) -> list[Row]:
    """Comparisons in which nothing is wrong."""
    chance = random.Random(seed)
    return [
        (sentence(chance, 20), sentence(chance, reply), sentence(chance, reply), float(chance.random() < 0.5))
        for _ in range(count)
    ]


def value(found: Audit, name: str, **at: str | float) -> float:
    result = found.result(name, **at)
    assert result is not None, name
    assert result.value is not None, name
    return result.value


def finding(found: Audit, name: str) -> Finding | None:
    return next((one for one in found.findings if one.name == name), None)


def lines(one: Finding | None) -> list[int | None]:
    assert one is not None
    return [row.line for row in one.rows]


def test_clean_data_have_no_findings() -> None:
    found = audit({"train": compared(clean(400)), "test": compared(clean(100, seed=1))})
    assert found.findings == ()
    assert (found.rows, found.splits) == (500, ("train", "test"))
    assert value(found, "rows", split="test") == 100
    assert value(found, "leak", of="near prompts") == 0


def test_an_audit_is_json_and_always_the_same() -> None:
    rows = clean(60)
    first, second = (audit({"train": compared(rows)}) for _ in range(2))
    assert first == second
    assert wire.from_json(Audit, wire.to_json(first)) == first
    other = audit({"train": compared(rows)}, settings=AuditSettings(seed=1))
    assert other.results == first.results
    assert other.samples != first.samples


def test_exact_copies_are_counted_and_shown() -> None:
    rows = clean(200)
    found = audit({"train": compared([*rows, *rows[:10]])})
    assert value(found, "duplicates", of="rows") == pytest.approx(10 / 210)
    assert value(found, "duplicates", of="replies") == pytest.approx(20 / 420)
    assert lines(finding(found, "duplicates")) == [201, 202, 203, 204, 205]
    assert finding(found, "contradictions") is None
    assert value(found, "repeated_pairs") == pytest.approx(10 / 210)


def test_near_copies_are_counted_and_exact_ones_are_not() -> None:
    rows = clean(200)
    near = [(prompt.replace(" ", "  ").upper(), *rest) for prompt, *rest in rows[:30]]
    other = [(prompt, first + " and", second, share) for prompt, first, second, share in rows[:20]]
    found = audit({"train": compared([*rows, *near, *other])})  # type: ignore[list-item]
    assert value(found, "near_duplicates", of="prompts") == pytest.approx(30 / 230)
    assert value(found, "near_duplicates", of="replies") == pytest.approx(20 / 420)
    assert value(found, "duplicates", of="prompts") == pytest.approx(20 / 250)
    shown = finding(found, "near_duplicates")
    assert lines(shown)[:2] == [201, 1]
    plain = audit({"train": compared(rows)}, settings=AuditSettings(near=False))
    assert plain.result("near_duplicates") is None


def test_a_system_message_that_all_share_makes_nothing_alike() -> None:
    chance = random.Random(1)
    system = Message("system", sentence(chance, 400))
    items = [
        Demonstration.of([system, Message("user", sentence(chance, 10))], sentence(chance, 9)).item()
        for _ in range(50)
    ]
    assert value(audit({"train": items}), "near_duplicates", of="prompts") == 0


def test_pairs_that_contradict_each_other_are_found_whichever_way_they_stand() -> None:
    rows = clean(300)
    turned = [(prompt, first, second, 1 - share) for prompt, first, second, share in rows[:5]]
    swapped = [(prompt, second, first, share) for prompt, first, second, share in rows[5:9]]
    same = [(prompt, second, first, 1 - share) for prompt, first, second, share in rows[9:20]]
    found = audit({"train": compared([*rows, *turned, *swapped, *same])})
    assert value(found, "contradictions") == pytest.approx(18 / 320)
    assert lines(finding(found, "contradictions"))[0] is not None
    assert value(found, "repeated_pairs") == pytest.approx(20 / 320)
    assert value(found, "repeated_agreement") == pytest.approx(11 / 20)


def test_labels_both_ways_and_their_balance() -> None:
    chance = random.Random(2)
    rows = [(sentence(chance, 9), sentence(chance, 20), place % 10 != 0) for place in range(200)]
    torn = [(prompt, reply, not label) for prompt, reply, label in rows[1:4]]
    found = audit({"train": [*judged(rows, source="a"), *judged(torn, source="b")]})
    assert value(found, "labels_both_ways") == pytest.approx(6 / 203)
    assert value(found, "desirable") == pytest.approx(180 / 203)
    assert value(found, "desirable", source="b") == 0
    imbalance = finding(found, "imbalance")
    assert imbalance is not None
    # 180 to 23: weights between 3/4 and all of 7.83 bring the weighted ratio to between 4 to 3 and 1.
    assert "undesirable_weight between 5.87 and 7.83" in imbalance.do
    assert {row[0]: row[5] for row in found.tables[1].rows} == {"a": 0.9, "b": 0.0}


def test_one_label_alone_stops() -> None:
    found = audit({"train": judged([("what", "this", True), ("who", "that", True)])})
    assert finding(found, "one_label") is not None
    assert found.findings[0].severity == "stop"


@pytest.mark.parametrize("near", [True, False])
def test_a_leak_is_found(near: bool) -> None:
    train, test = clean(300), clean(100, seed=1)
    test[7] = train[30]
    test[8] = (train[31][0], *test[8][1:])
    test[9] = (train[32][0].replace(".", "!"), *test[9][1:])
    settings = AuditSettings(near=near)
    # Training is what others are held against, wherever it stands.
    found = audit({"test": compared(test), "train": compared(train)}, settings=settings)
    leak = finding(found, "leak")
    assert value(found, "leak", of="prompts") == 0.02
    assert value(found, "leak", of="prompts with a reply") == 0.01
    assert leak is not None
    assert leak.severity == "stop"
    assert "of test" in leak.title
    assert lines(leak) == [8, 9]
    if near:
        assert value(found, "leak", of="near prompts") == 0.03
        assert lines(finding(found, "near_leak")) == [8, 9, 10]
    else:
        assert found.result("leak", of="near prompts") is None


def test_the_longer_reply_wins_as_often_as_it_was_made_to() -> None:
    chance = random.Random(3)
    rows: list[Row] = []
    for _ in range(300):
        prompt, favours = sentence(chance, 9), chance.random() < 0.7
        for _ in range(chance.randint(1, 6)):
            long, short = sentence(chance, 40), sentence(chance, 20)
            # The rows of one prompt mostly agree.
            wins = favours if chance.random() < 0.9 else not favours
            rows.append((prompt, long, short, 1.0) if wins else (prompt, short, long, 1.0))
    result = audit({"train": compared(rows)}, settings=AuditSettings(near=False)).result("longer_wins")
    assert result is not None
    assert result.interval is not None
    assert result.value is not None
    truth = sum(len(first) > len(second) for _, first, second, _ in rows) / len(rows)
    assert result.value == pytest.approx(truth)
    assert result.interval.low < 0.66 < result.interval.high
    naive = 2 * 1.96 * np.sqrt(truth * (1 - truth) / len(rows))
    assert result.interval.high - result.interval.low > 1.3 * naive, "prompts are counted, not rows"
    found = audit({"train": compared(rows)})
    assert finding(found, "length_bias") is not None
    # The winner always stands first here, which is how such files are written, and no bias.
    assert finding(found, "position") is None


def test_ties_soft_labels_and_equal_lengths_stay_out_of_the_share() -> None:
    rows = [("a", "xx", "y", 1.0), ("b", "x", "yy", 0.5), ("c", "xx", "yy", 1.0), ("d", "x", "yy", 0.3)]
    found = audit({"train": compared(rows)})
    result = found.result("longer_wins")
    assert result is not None
    assert (result.value, result.n, result.failures) == (1.0, 2, 1)
    assert value(found, "share", of="ties") == 0.25
    assert value(found, "share", of="soft") == 0.25
    ties = finding(found, "ties")
    assert ties is not None
    assert "dpo" in ties.do
    assert "bradley_terry" in ties.do


def test_rankings_and_scores_imply_comparisons() -> None:
    ranked = Ranking.of("p", ["aaaa", "bbb", "cc"]).item()
    scored = Rating.of("q", ["a", "bb", "ccc", "dddd"], [1, 2, None, 2]).item()
    found = audit({"train": [ranked, scored]})
    result = found.result("longer_wins")
    assert result is not None
    # Three pairs won by the longer, two of (bb, dddd) against a, and a tie.
    assert (result.value, result.n) == (1.0, 5)
    assert found.result("first_wins") is None, "nobody put these replies in an order"
    assert found.result("intransitive_triads") is None, "an order cannot go in a circle"
    assert value(found, "mean_score") == pytest.approx(5 / 3)


def test_a_long_ranking_implies_its_neighbours() -> None:
    found = audit({"train": [Ranking.of("p", ["x" * (40 - n) for n in range(30)]).item()]})
    result = found.result("longer_wins")
    assert result is not None
    assert (result.value, result.n) == (1.0, 29)


def test_other_biases_are_found() -> None:
    chance = random.Random(4)
    rows: list[Row] = []
    for _ in range(100):
        three = [sentence(chance, 5) for _ in range(3)]
        rows.append((sentence(chance, 5), "\n".join(f"- {one}" for one in three), " ".join(three), 1.0))
    rows += [(sentence(chance, 5), "I cannot help with that.", sentence(chance, 9), 0.0) for _ in range(60)]
    found = audit({"train": compared(rows)})
    assert value(found, "more_wins", trait="lists") == 1
    assert value(found, "more_wins", trait="refusal") == 0
    titles = [one.title for one in found.findings if one.name == "trait_bias"]
    assert "The reply with more list items wins 100% of the time" in titles
    assert "The reply with fewer signs of a refusal wins 100% of the time" in titles
    assert value(found, "share", of="reply refusal") == pytest.approx(60 / 320)


def test_a_biased_position_is_found() -> None:
    rows = [
        (prompt, first, second, float(line % 4 > 0))
        for line, (prompt, first, second, _) in enumerate(clean(400))
    ]
    found = audit({"train": compared(rows)}, settings=AuditSettings(near=False))
    assert value(found, "first_wins") == 0.75
    assert finding(found, "position") is not None


def test_votes_and_what_denies_them() -> None:
    chance = random.Random(5)
    known = [
        Preference(1.0, (3, 0, 0)),
        Preference(0.0, (2, 0, 1)),
        Preference(1.0, (2, 0, 1), scores=(1.0, 4.0)),
        Preference(0.5, (1, 1, 1)),
        Preference(0.5, (1, 2, 0)),  # most say a tie
        Preference(0.5, (2, 1, 0)),
        Preference(1.0, (1, 2, 0)),
        Preference(1.0, (2, 2, 0)),  # as many say a tie, which denies nothing
    ]
    items = [
        Item(
            as_prompt(sentence(chance, 9)),
            (as_turns(sentence(chance, 9)), as_turns(sentence(chance, 9))),
            one,
            origin=Origin("f", line),
        )
        for line, one in enumerate(known, 1)
    ]
    found = audit({"train": items})
    assert value(found, "share", of="against votes") == 3 / 8
    assert value(found, "share", of="against scores") == 1 / 8
    assert [lines(one) for one in found.findings if one.name == "against_votes"] == [[2, 6, 7], [3]]
    assert value(found, "votes_unanimous") == 1 / 8
    assert value(found, "votes_agree") == pytest.approx((1 + 6 / 3 + 0) / 8)
    assert value(found, "margin", of="difference of scores", percentile=50) == 3


def test_circles_of_preferences_are_found() -> None:
    chance = random.Random(6)
    rows: list[Row] = []
    for _ in range(30):
        prompt, three = sentence(chance, 9), [sentence(chance, 9) for _ in range(3)]
        for a, b in ((0, 1), (1, 2), (2, 0)):
            rows += [(prompt, three[a], three[b], 1.0)] * 3
    found = audit({"train": compared(rows)})
    assert value(found, "intransitive_triads") == 1
    assert value(found, "pairs_on_circles") == 1
    assert value(found, "utility_fit_p") < 0.01
    assert finding(found, "no_utility") is not None
    assert value(found, "noise_ceiling") == 1


def test_where_the_data_cannot_tell_it_is_said() -> None:
    found = audit({"train": compared(clean(50))})
    for name in ("intransitive_triads", "pairs_on_circles", "utility_fit_p", "noise_ceiling"):
        result = found.result(name)
        assert result is not None
        assert result.value is None
        assert "would" in result.why_none or "No prompt" in result.why_none


def test_utilities_that_are_there_are_not_denied() -> None:
    chance, generator = random.Random(7), np.random.default_rng(7)
    rows: list[Row] = []
    for _ in range(60):
        prompt, replies = sentence(chance, 9), [sentence(chance, 12) for _ in range(4)]
        utility = generator.normal(0, 1.5, 4)
        for i, j in combinations(range(4), 2):
            share = 1 / (1 + np.exp(utility[j] - utility[i]))
            rows += [(prompt, replies[i], replies[j], float(won)) for won in generator.random(3) < share]
    found = audit({"train": compared(rows)}, settings=AuditSettings(near=False))
    assert value(found, "utility_fit_p") > 0.01
    assert value(found, "utility_accuracy") <= value(found, "noise_ceiling") + 0.05
    assert finding(found, "no_utility") is None


def test_damaged_texts_are_counted_by_kind() -> None:
    texts = {
        "replacement": "bro\ufffdken",
        "control": "be\x07ll",
        "entities": "fish &amp; chips",
        "mojibake": "caf\u00c3\u00a9",
        "surrogate": "half \ud83d",
        "edges": "  blanks ",
        "empty": "   ",
        "equals prompt": "what is it?",
        "fine": "caf\u00e9 \u2013 \u4f60\u597d & more < less\n\ttab",
    }
    items = [
        Item(as_prompt("what is it?"), (as_turns(text),), None, origin=Origin("f", line))
        for line, text in enumerate(texts.values(), 1)
    ]
    found = audit({"train": items})
    for name in texts:
        if name == "fine":
            continue
        result = found.result("share", of=f"reply {name}")
        assert result is not None, name
        expected = 2 if name == "edges" else 1  # the blank one has edges too
        assert result.value == pytest.approx(expected / 9), name
    empty = finding(found, "empty")
    assert lines(empty) == [7]
    assert empty is not None
    assert empty.title == "11.1% of the replies say nothing"
    titles = {one.title for one in found.findings if one.name == "damage"}
    assert "In 11.1% of the replies the text looks like UTF-8 that was read as another encoding" in titles
    assert wire.from_json(Audit, wire.to_json(found)) == found
    wire.dumps(found).encode()


@pytest.mark.parametrize(("every", "noted"), [(3, True), (10, False), (1, False)])
def test_replies_that_end_within_a_sentence(every: int, noted: bool) -> None:
    # Of few nothing is said, nor where all end so: they are meant to.
    chance = random.Random(8)
    items = [
        Demonstration.of(
            sentence(chance, 9), sentence(chance, 40)[: -1 if line % every == 0 else None]
        ).item()
        for line in range(60)
    ]
    found = audit({"train": items}, settings=AuditSettings(near=False))
    assert value(found, "share", of="reply cut") == pytest.approx(1 / every)
    assert (finding(found, "cut") is not None) == noted


def test_kinds_sources_and_conversations_are_counted() -> None:
    items = [
        Demonstration.of([Message("system", "s"), Message("user", "u")], "reply").item(meta={"source": "a"}),
        Demonstration.of("u", "reply").item(meta={"dataset": "b"}),
        Task.of("only asked").item(origin=Origin("tasks.jsonl", 3)),
        Steps.of("sum", ["one", "two", "three"], [1, 0, None]).item(meta={"source": 7}),
    ]
    found = audit({"train": items})
    assert value(found, "rows_of_kind", kind="demonstration") == 2
    assert value(found, "share", of="system prompt") == 0.25
    assert value(found, "good_steps") == 0.5
    assert value(found, "length", side="conversation", percentile=100) == 3
    assert {row[0]: row[1] for row in found.tables[1].rows} == {"a": 1, "b": 1, "tasks.jsonl": 1, "": 1}
    assert len(found.samples) == 3
    assert {sample.kind for sample in found.samples} == {"demonstration", "task", "steps"}


def test_lengths_are_those_of_the_rows() -> None:
    rows = clean(80)
    found = audit({"train": compared(rows)}, settings=AuditSettings(near=False))
    chosen = [len(first) if share else len(second) for _, first, second, share in rows]
    whole = [len(prompt) + max(len(first), len(second)) for prompt, first, second, _ in rows]
    for side, lengths in (("chosen", chosen), ("row", whole), ("prompt", [len(row[0]) for row in rows])):
        for share in PERCENTILES:
            expected = np.percentile(lengths, share, method="inverted_cdf")
            assert value(found, "length", side=side, percentile=share) == expected
    assert value(found, "mean_length", side="row") == pytest.approx(np.mean(whole))


def test_lengths_are_binned_and_none_is_lost() -> None:
    rows = clean(80)
    (found,) = audit({"a": compared(rows[:50]), "b": compared(rows[50:])}).lengths
    assert (found.unit, found.zeros) == ("characters", 0)
    for side, lengths in (
        ("prompt", [len(row[0]) for row in rows]),
        ("chosen", [len(first) if share else len(second) for _, first, second, share in rows]),
        ("reply", [len(reply) for row in rows for reply in row[1:3]]),
    ):
        assert found.counts[side] == tuple(np.histogram(lengths, found.edges)[0])
        assert sum(found.counts[side]) == len(lengths)


@pytest.mark.parametrize(
    ("lengths", "edges", "log"),
    [
        ((0, 0), (0, 1), False),
        ((3, 3), (3, 4), False),
        ((0, 3, 9), tuple(range(11)), False),
        ((400, 471), tuple(range(400, 476, 5)), False),
        ((0, 20), (1, 2, 4, 6, 8, 12, 16, 24), True),
        ((70, 900), (64, 96, 128, 192, 256, 384, 512, 768, 1024), True),
    ],
)
def test_edges_of_lengths_are_round(lengths: tuple[int, ...], edges: tuple[int, ...], log: bool) -> None:
    seen = Observer(AuditSettings())
    split = seen.split("train")
    for length in lengths:
        seen.count(length, split, "tokens", "reply")
    (found,) = length_counts(seen)
    assert (found.unit, found.edges, found.log) == ("tokens", edges, log)
    assert sum(found.counts["reply"]) == len(lengths)
    assert found.zeros == (lengths.count(0) if log else 0)


def test_three_different_rows_are_shown_even_of_one_source() -> None:
    rows = clean(30)
    found = audit({"train": compared([*rows, *rows])})
    assert len({sample.texts for sample in found.samples}) == 3
    few = audit({"train": compared([*rows[:2], *rows[:2]])})
    assert len(few.samples) == 2
    none = audit({"train": compared(rows)}, settings=AuditSettings(samples=0))
    assert none.samples == ()


# --- with a renderer --------------------------------------------------------------------------------------


@dataclass
class OneCharacterAToken:
    """A renderer in small: a token a character, a stop token after each reply; refuses what says so."""

    settings: RenderSettings
    longest: int | None = 256
    id: str = "small"

    @property
    def facts(self) -> Facts:
        stop = (StopToken("</s>", 2, "given"),)
        return Facts("tokenizer", stop, self.longest, "config", "<s>", None, ("a doubt about the template",))

    def render(self, items: object, /) -> Iterator[Rendered | Unrendered]:
        for item in items:  # type: ignore[attr-defined]
            if "refuse" in item.prompt.text:
                yield Unrendered(
                    item.origin, RenderError("f:1: it cannot be; found 1; accepted: 2; to do: 3.")
                )
                continue
            prompt = np.array([ord(letter) for letter in item.prompt.text], dtype=np.int32)
            replies = []
            for reply in item.replies:
                ids = np.array([*prompt, *(ord(letter) for letter in reply[0].text), 2], dtype=np.int32)
                replies.append((Leaf(ids, np.array([[len(prompt), len(ids)]], dtype=np.int32)),))
            yield Rendered(prompt, tuple(replies))

    def pieces(self, leaf: Leaf, /) -> list[Piece]:
        start = int(leaf.spans[0, 0])
        return [
            Piece("".join(map(chr, leaf.ids[:start])), False),
            Piece("".join(map(chr, leaf.ids[start:])), True),
        ]


def test_tokens_limits_and_flags() -> None:
    rows: list[Row] = [(f"prompt {n}", "x" * (20 + n % 5), "y" * (10 + n % 3), 1.0) for n in range(300)]
    rows += [("p" * 256, "x", "y", 1.0), ("short", "x" * 400, "y", 0.0), ("refuse this", "x", "y", 1.0)]
    settings = RenderSettings(template_args={"think": False, "mode": "plain", "n": "7"})
    renderer = OneCharacterAToken(settings)
    found = audit({"train": compared(rows)}, renderer=renderer)
    assert value(found, "unrendered") == 1
    assert value(found, "too_long") == pytest.approx(2 / 302)
    too_long = found.result("too_long")
    assert too_long is not None
    assert "in 1 the prompt alone fills it, in 1 the replies exceed it" in too_long.how
    assert lines(finding(found, "too_long")) == [301, 302]
    assert value(found, "length", side="rejected", unit="tokens", percentile=100) == 401
    assert value(found, "longer_wins", length="tokens") == pytest.approx(300 / 301)
    assert value(found, "longer_wins", length="characters") == pytest.approx(300 / 301)
    assert finding(found, "template") is not None
    assert found.findings[0].name == "unrendered"
    assert "1: it cannot be" in found.findings[0].detail
    assert "look at the chat template" in found.findings[0].do
    assert found.flag_line == (
        "--max-length 256 --on-long drop --stop-token '</s>' "
        "--template-arg think=false --template-arg mode=plain --template-arg 'n=\"7\"'"
    )
    assert found.renderer == "small"
    sample = found.samples[0]
    assert sample.rendered
    assert sample.texts[0].what == "chosen"
    assert sample.texts[0].pieces[0][1] is False
    assert sample.texts[0].pieces[1][0].endswith("\x02")


@pytest.mark.parametrize(
    ("longest", "max_length", "expected"),
    [
        (256, None, "128"),
        (100, None, "100 --on-long drop"),
        (None, None, "128"),
        (256, 70, "70 --on-long drop"),
    ],
)
def test_the_suggested_length_covers_all_rows_that_a_model_can_hold(
    longest: int | None, max_length: int | None, expected: str
) -> None:
    rows: list[Row] = [("p", "x" * length, "y", 1.0) for length in range(2, 120)]
    renderer = OneCharacterAToken(RenderSettings(), longest)
    found = audit({"train": compared(rows)}, renderer=renderer, settings=AuditSettings(max_length=max_length))
    assert found.flag_line.startswith(f"--max-length {expected} --stop-token")


# --- what readers say -------------------------------------------------------------------------------------


def written(folder: Path, names: tuple[str, str, str], *bad: str) -> Path:
    """A folder with rows under these names of columns, lines that are none, and a file that holds no rows."""
    folder.mkdir()
    good = [json.dumps(dict(zip(names, row[:3], strict=True))) for row in clean(40)]
    (folder / "rows.jsonl").write_text("\n".join([*good, *bad]) + "\n")
    (folder / "notes.md").write_text("Not data.")
    return folder


def test_what_was_skipped_and_how_columns_were_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "some", ("q", "a", "b"), "{", "}", "[")
    reading = open_items(folder, mapping="prompt=q chosen=a rejected=b", on_bad_row="skip")
    found = audit({"train": reading, "test": compared(clean(9, 5))})
    assert found.flags == ("--map", "prompt=q chosen=a rejected=b", "--on-bad-row", "skip")
    assert found.flag_line == "--map 'prompt=q chosen=a rejected=b' --on-bad-row skip"
    skipped = finding(found, "skipped")
    assert skipped is not None
    assert skipped.title == "3 rows of train cannot be read and were skipped"
    assert all(f"rows.jsonl:{line}: " in skipped.detail for line in (41, 42, 43))
    assert any("notes.md" in note for note in found.notes)
    assert found.mappings == {"train": "prompt=q chosen=a rejected=b"}
    others = written(tmp_path / "others", ("prompt", "chosen", "rejected"))
    other = audit({"train": reading, "test": open_items(others)})
    assert "--map" not in other.flags, "one flag cannot say two mappings"


def test_nothing_to_audit_is_said() -> None:
    with pytest.raises(InputError, match="nothing to audit"):
        audit({})
    with pytest.raises(InputError, match="no rows to audit"):
        audit({"train": []})
    with pytest.raises(InputError, match="threshold is out of range"):
        AuditSettings(threshold=0.1)
    with pytest.raises(InputError, match="max_length is too small"):
        AuditSettings(max_length=0)
    with pytest.raises(InputError, match=r"samples is too small.*accepted: 0 and above"):
        AuditSettings(samples=-1)


def test_progress_is_told_and_scratch_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[int] = []
    audit({"train": compared(clean(600))}, progress=seen.append)
    assert seen == [256, 512, 600]
    assert list(tmp_path.iterdir()) == []

    def broken() -> Iterator[Item]:
        assert list(tmp_path.iterdir()), "signatures stand there while it runs"
        yield from compared(clean(3))
        raise ValueError("the disk is gone")

    with pytest.raises(ValueError, match="disk"):
        audit({"train": broken()})
    assert list(tmp_path.iterdir()) == []


def test_odd_items_are_audited_all_the_same() -> None:
    items = [
        Item(Prompt(())),
        Item(Prompt((), tokens=(1, 2, 3)), (as_turns("x"),)),
        Item(as_prompt("p"), (as_turns(""), as_turns(""))),
        Item(as_prompt("p"), (as_turns("same"), as_turns("same")), Preference(0.5)),
        Item(as_prompt("p"), ((Message("assistant", (Text("a"), Text("b"))),),)),
        Comparison.of("p", "x" * 200_000, "y").item(meta={"source": "z" * 5000}),
    ]
    found = audit({"": items})
    assert found.rows == 6
    assert value(found, "share", of="same reply twice") == 0.5
    replaced = [replace(item, origin=None) for item in items]
    assert audit({"": replaced}).results == found.results


def test_every_rule_has_a_reason() -> None:
    assert all(rule.reason and rule.threshold >= 0 for rule in RULES.values())


def test_scores_that_no_sum_can_hold_have_a_mean() -> None:
    rows = [
        {
            "prompt": f"p{at}",
            "completions": [{"response": "a", "score": 1.5e308}, {"response": "b", "score": 1.1e308}],
        }
        for at in range(4)
    ]
    found = audit({"train": open_items(rows)})
    means = [one.value for one in found.results if one.name == "mean_score"]
    assert means == [pytest.approx(1.3e308)]


def test_texts_of_a_test_that_stand_in_training_are_a_leak() -> None:
    rows = [{"text": f"The {at} texts of this set are each their own."} for at in range(9)]
    found = audit({"train": open_items(rows), "test": open_items(rows[:3])})
    leaks = [one for one in found.findings if one.name == "leak"]
    assert [one.severity for one in leaks] == ["stop"]
    assert "100%" in leaks[0].title


def test_what_is_no_mapping_of_splits_is_refused() -> None:
    items = [Comparison.of("p", "x", "y").item()]
    for given in ("train.jsonl", items, open_items([{"prompt": "p", "completion": "x"}])):
        with pytest.raises(InputError, match="an audit is told which split is which"):
            audit(given)  # type: ignore[arg-type]
    for given in ("train.jsonl", [{"prompt": "p"}]):
        with pytest.raises(InputError, match=r"an audit is of items.*give open_items"):
            audit({"train": given})  # type: ignore[dict-item]


def test_a_reply_of_several_turns_says_whose_each_is() -> None:
    turns = [Message("assistant", "Yes."), Message("user", "Sure?"), Message("assistant", "Quite.")]
    (sample,) = audit({"": [Item(as_prompt("Is it?"), (tuple(turns),))]}).samples
    said = "".join(text for text, _ in sample.texts[0].pieces)
    assert said == "user: Is it?\nassistant: Yes.\nuser: Sure?\nassistant: Quite."
    assert [text for text, trained in sample.texts[0].pieces if trained] == ["Yes.", "Quite."]


def test_a_long_text_of_a_sample_is_shortened_and_counted() -> None:
    (sample,) = audit({"": [Comparison.of("p", "x" * 50_000, "y").item()]}).samples
    assert sample.note == "Long texts are shortened here: 44,000 characters are left out of the longest."
    assert max(len(text) for one in sample.texts for text, _ in one.pieces) < 6_100
