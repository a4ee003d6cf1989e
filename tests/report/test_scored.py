"""The page of a scorecard: nothing is lost, what went wrong stands first, several stand side by side."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from concord.cli.blocks import show_page
from concord.errors import InputError
from concord.eval.card import CardRecord, side_by_side
from concord.report.blocks import (
    Block,
    Callout,
    Cell,
    Curve,
    Facts,
    Heading,
    Measured,
    Noted,
    Page,
    Paragraph,
    Samples,
    Table,
)
from concord.report.challenges import QUESTIONS, rows_of, standing
from concord.report.html import page_html
from concord.report.scored import scored_page
from concord.results import Challenge, Interval, JudgeRecord, Ledger, Result, Scorecard, Usage
from tests.eval.card.harbour.speakers import record
from tests.report.pages import HOSTILE
from tests.report.reading import read_page
from tests.report.test_trained import below

GOOD, LIAR = "good", "lying"


def result(name: str = "one", value: float | None = 0.5, **how: object) -> Result:
    """A result of efficacy with an interval about it."""
    about = {"n": 0 if value is None else 20, "challenge": Challenge.EFFICACY, "unit": "prompts", **how}
    if value is not None:
        about.setdefault("interval", Interval(value - 0.1, value + 0.1))
    return Result(name=name, value=value, **about)  # type: ignore[arg-type]


def card(*results: Result, **about: object) -> Scorecard:
    return Scorecard(model="m", results=results, **about)  # type: ignore[arg-type]


def tables(blocks: Sequence[Block]) -> list[Table]:
    return [one for one in blocks if isinstance(one, Table)]


def bare(cell: Cell) -> Cell:
    return cell.cell if isinstance(cell, Noted) else cell


def efficacy(page: Page) -> list[Table]:
    return tables(below(page, "RC1 Efficacy"))


# --- one card ---------------------------------------------------------------------------------------------


def test_the_seven_challenges_stand_in_their_order_each_with_its_question() -> None:
    page = scored_page([record(GOOD)], [GOOD])
    heads = [one.text for one in page.blocks if isinstance(one, Heading)]
    first, second, *challenges, leaves, last = heads
    assert (first, second, last) == ("At a glance", "Diagnostics", "What it says")
    assert leaves == "What these numbers speak of"
    (table,) = tables(below(page, leaves))
    spoken = [leaf for row in table.rows for leaf in str(row[1]).split(", ") if leaf]
    assert tuple(spoken) == record(GOOD).card.leaves_covered
    assert challenges == [f"RC{at} {one.value.capitalize()}" for at, one in enumerate(Challenge, 1)]
    for head, question in zip(challenges, QUESTIONS.values(), strict=True):
        assert below(page, head)[0] == Paragraph(question)


@pytest.mark.parametrize("brief", [False, True])
@pytest.mark.parametrize("name", [GOOD, LIAR])
def test_every_number_of_a_card_is_on_its_page_and_every_reason_for_none(name: str, brief: bool) -> None:
    found = record(name).card
    page = scored_page([found], [name], brief=brief)
    cells = [bare(cell) for one in tables(page.blocks) for row in one.rows for cell in row]
    points = [
        point for one in page.blocks if isinstance(one, Curve) for line in one.series for point in line.points
    ]
    for one in found.results:
        if one.value is None:
            assert any(
                isinstance(cell, str) and cell.lower().startswith(one.why_none.lower()) for cell in cells
            )
        elif "sqrt_kl_at_most" in one.at:
            assert any(point.y == one.value and point.x == one.at["sqrt_kl_at_most"] for point in points)
        else:
            assert Measured(one.value, one.interval, one.why_none or "There was nothing to measure.") in cells


def test_how_each_number_was_got_stands_by_it_and_in_a_terminal_is_left_to_the_page() -> None:
    one, other = result("a", how="asked twice"), result("b", 0.25, how="asked once")
    (table,) = efficacy(scored_page([card(one, other)], ["m"]))
    assert [row[0] for row in table.rows] == [Noted("a", "asked twice"), Noted("b", "asked once")]
    assert table.notes == ("In brackets: 95% intervals.",)
    (table,) = efficacy(scored_page([card(one, other)], ["m"], brief=True))
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert table.notes == ()


def test_a_row_says_on_how_many_it_rests_what_is_better_and_what_failed() -> None:
    one = result("won_often", higher_is_better=True, failures=3, at={"split": "test", "n": 4}, reading="logp")
    (table,) = efficacy(scored_page([card(one)], ["m"]))
    assert [head.name for head in table.columns] == ["what", "value", "n", "better", "failed"]
    assert table.rows[0] == (
        "won often, test, n 4, by logp",
        Measured(0.5, one.interval, "There was nothing to measure."),
        "20 prompts",
        "higher",
        3,
    )


def test_results_of_one_name_have_a_table_with_one_note_for_all_places() -> None:
    found = [
        result("worth", at={"person": who}, how=f"worth to {who}, alone") for who in ("ada", "ben", "cara")
    ]
    (table,) = efficacy(scored_page([card(*found)], ["m"]))
    assert (table.caption, [row[0] for row in table.rows]) == ("Worth", ["ada", "ben", "cara"])
    assert table.columns[0].name == "person"
    assert table.notes[0] == "worth to ..., alone"
    (table,) = efficacy(scored_page([card(*found[:2])], ["m"]))
    assert [bare(row[0]) for row in table.rows] == ["worth, ada", "worth, ben"]


def test_results_of_one_reading_have_a_table_and_what_is_the_same_in_all_places_is_its_caption() -> None:
    found = [result(name, reading="log-ratio") for name in ("loss", "order", "concordance")]
    held = [result("refused", at={"kind": "full", "type": kind}, how=f"full, of {kind}") for kind in "abc"]
    one, other = efficacy(scored_page([card(*held, *found)], ["m"]))
    assert (one.caption, [row[0] for row in one.rows]) == ("By log-ratio", ["loss", "order", "concordance"])
    assert (other.caption, other.columns[0].name) == ("Refused, full", "type")
    assert ([row[0] for row in other.rows], other.notes[0]) == (["a", "b", "c"], "full, of ...")


def test_two_readings_never_stand_in_one_table_of_a_name() -> None:
    found = [
        result("order", at={"pairs": kind}, reading=reading)
        for reading in ("logp", "ratio")
        for kind in "abc"
    ]
    assert [one.caption for one in efficacy(scored_page([card(*found)], ["m"]))] == [
        "Order, by logp",
        "Order, by ratio",
    ]


def test_several_names_in_one_place_have_a_table_too_and_a_long_one_is_parted() -> None:
    alike = [result(name, at={"by": "draws"}) for name in ("brier", "loss", "error")]
    many = [result(f"r{at}") for at in range(12)]
    first, second, third = efficacy(scored_page([card(*alike, *many)], ["m"]))
    assert (len(first.rows), len(second.rows), third.caption) == (10, 2, "Draws")
    assert [row[0] for row in third.rows] == ["brier", "loss", "error"]


def test_what_could_not_be_measured_stands_last_by_its_reason() -> None:
    why = "this needs a base; name one"
    found = [result("tax", None, why_none=why, at={"of": part}) for part in ("copy", "sort")]
    lost = result("lost", None, failures=7)
    known = result("known")
    first, last = efficacy(scored_page([card(*found, lost, known)], ["m"]))
    assert len(first.rows) == 1
    assert last.rows == (
        ("tax (copy, sort)", "This needs a base; name one."),
        ("lost", "None of 7 could be measured."),
    )


def test_a_challenge_without_results_says_so() -> None:
    page = scored_page([card(result())], ["m"])
    assert below(page, "RC5 Alignment tax")[1:] == [Paragraph("Nothing was measured of it here.")]


def test_results_of_no_challenge_stand_last() -> None:
    page = scored_page([card(result(), result("else", challenge=None))], ["m"])
    assert tables(below(page, "Also measured"))[0].rows[0][0] == "else"


def test_what_is_held_against_a_base_is_marked_as_better_or_worse() -> None:
    up = {"higher_is_better": True}
    found = [
        result("win_rate", 0.7, **up),
        result("gold_gain", -0.05, **up),
        result("tax", 0.3, higher_is_better=False, challenge=Challenge.EFFICACY),
        result("gold_utility", 0.7, **up),
    ]
    (table,) = efficacy(scored_page([card(*found)], ["m"]))
    at = [head.name for head in table.columns].index("than its base")
    assert [row[at] for row in table.rows] == ["better", "unclear", "worse", ""]


def test_at_a_glance_has_the_number_that_says_most_of_each_challenge() -> None:
    gaming: dict[str, Any] = {"challenge": Challenge.GAMING}
    found = [result("else", **gaming), result("gold_lost", None, why_none="w", **gaming), result("worth")]
    found.append(result("overoptimisation_gap", 0.2, **gaming))
    (table,) = tables(below(scored_page([card(*found)], ["m"]), "At a glance"))
    assert [row[:2] for row in table.rows] == [
        ("efficacy", "worth"),
        ("specification gaming", "overoptimisation gap"),
    ]


def test_facts_say_what_was_scored_by_whom_and_at_which_cost() -> None:
    ledger = Ledger(usage=Usage(calls=12, new_tokens=345, seconds=6.4))
    made = card(result(), base="b", method="dpo", seed=1, judges=(JudgeRecord(id="j" * 90),), ledger=ledger)
    facts = scored_page([made], ["m"]).blocks[0]
    assert isinstance(facts, Facts)
    assert dict(facts.facts) == {
        "model": "m",
        "held against": "b",
        "method": "dpo",
        "judged by": "j" * 24,
        "requests": 12,
        "tokens written": 345,
        "seconds": 6,
        "seed": 1,
    }


# --- what went wrong --------------------------------------------------------------------------------------


def test_what_is_lit_is_said_first_once_and_no_other() -> None:
    page = scored_page([record(LIAR)], ["m"])
    blocks = below(page, "Diagnostics")
    callouts = [one for one in blocks if isinstance(one, Callout)]
    lit = [one for one in callouts if one.title == "Lying"]
    assert [one.severity for one in lit] == ["stop"]
    assert "lit above" in lit[0].detail
    assert not any(one.title.startswith("Lying:") for one in callouts)
    (table,) = tables(blocks)
    assert {row[0]: row[1] for row in table.rows} == {
        "proxy gaming": "no",
        "over-refusal": "no",
        "lying": "yes",
        "sycophancy": "no",
        "collapse": "no",
        "anti-alignment": "no",
    }
    good = below(scored_page([record(GOOD)], ["m"]), "Diagnostics")
    assert {row[1] for row in tables(good)[0].rows} == {"no"}


def test_what_is_explained_by_another_diagnostic_is_said_so_in_words() -> None:
    made, good = record("anti-alignment"), record(GOOD)
    blocks = below(scored_page([made], ["m"]), "Diagnostics")
    titles = [one.title for one in blocks if isinstance(one, Callout)]
    assert titles[0] == "Anti-alignment"
    assert not any("ying" in one for one in titles)
    (table,) = tables(blocks)
    assert {row[0]: row[1] for row in table.rows}["lying"] == "explained by anti-alignment"
    (table,) = tables(below(scored_page([good, made], ["a", "b"], brief=True), "Diagnostics"))
    said = {row[0]: row[1] for row in table.rows}
    assert (said["lying"], said["anti-alignment"]) == ("b (explained by anti-alignment)", "b")
    assert said["over-refusal"] == "none"


def test_warnings_of_a_card_are_callouts_and_of_several_those_of_all_are_said_once() -> None:
    one, other = card(result(), warnings=("few", "odd")), card(result(), warnings=("few",))
    page = scored_page([one, other], ["a", "b"])
    assert [block.title for block in page.blocks if isinstance(block, Callout)] == ["few", "a: odd"]


# --- several ----------------------------------------------------------------------------------------------


def test_several_cards_stand_side_by_side_by_measurement() -> None:
    one = card(result("a", at={"split": "x"}), result("b"))
    other = card(result("a", 0.25, at={"split": "x"}, n=18), result("c", None, why_none="no"))
    third = replace(other, results=(*other.results[:1], result("c")))
    (table,) = efficacy(scored_page([one, other, third], ["p", "q", "r"]))
    assert [head.name for head in table.columns] == ["what", "p", "q", "r", "n"]
    rows = [tuple(bare(cell) for cell in row) for row in table.rows]
    assert [row[0] for row in rows] == ["a, x", "b", "c"]
    assert rows[0][4] == "18 to 20 prompts"
    assert rows[1][2:4] == (None, None)
    assert rows[2][1:3] == (None, Measured(None, None, "no"))


def test_who_is_worst_may_be_another_in_each_card() -> None:
    one, other = ([result("worst_served", at={"person": who})] for who in ("eva", "ivo"))
    (row,) = rows_of([one, other])
    assert (row.label, [cell.note for cell in row.cells() if isinstance(cell, Noted)]) == (
        "worst served",
        ["eva", "ivo"],
    )
    assert [row.label for row in rows_of([one])] == ["worst served, eva"]


def test_what_one_card_alone_says_of_a_number_stands_by_its_own() -> None:
    one, other = result(how="asked"), result(how="asked; no interval: all are alike")
    (row,) = rows_of([[one], [other]])
    assert row.how == "asked"
    assert [cell.note if isinstance(cell, Noted) else "" for cell in row.cells()] == [
        "",
        "no interval: all are alike",
    ]


def test_what_changed_is_told_request_by_request_with_a_verdict() -> None:
    names = ["before", "after"]
    page = scored_page([record(GOOD), record(LIAR)], names)
    shares, looks = tables(below(page, "What changed"))
    assert [head.name for head in shares.columns] == ["what", *names, "after less before", "than before"]
    assert all(head.per_cent and head.bar for head in shares.columns[1:3])
    rows = {bare(row[0]): row for row in shares.rows}
    assert rows["gold utility"][-1] == rows["honest"][-1] == "worse"
    assert rows["gold utility"][1] > rows["gold utility"][2]  # type: ignore[operator]
    assert looks.columns[0].name == "how it looks"
    assert scored_page([record(GOOD), record(GOOD)], names).blocks != page.blocks
    same = tables(below(scored_page([record(GOOD), record(GOOD)], names), "What changed"))[0]
    assert {row[-1] for row in same.rows} == {"same"}


def test_groups_distances_to_the_best_and_what_is_detectable_stand_below_the_changes() -> None:
    names = ["before", "after", "again"]
    made = [record(GOOD), record(LIAR), record(GOOD)]
    sides = side_by_side(dict(zip(names, made, strict=True)))
    for brief in (False, True):
        said, table = below(scored_page(made, names, brief=brief), "Who can be told apart")
        assert isinstance(said, Paragraph)
        assert "would not have been found" in said.text
        assert isinstance(table, Table)
        assert [head.name for head in table.columns] == [
            *("what", "groups", *(f"{name} less the best other" for name in names)),
            *("after: detectable", "again: detectable"),
        ]
        (first, *_) = table.rows
        assert (bare(first[0]), first[1]) == ("gold utility", "{before, again} > after")
        to_best, smallest = sides[0].standings.differences, sides[0].detectable
        for cell, name in zip(first[2:5], names, strict=True):
            assert isinstance(cell, Measured)
            assert (cell.value, cell.interval) == (to_best[name].value, to_best[name].interval)
        assert isinstance(first[5], Measured)
        assert (first[5].value, first[5].interval) == (smallest["after"].value, smallest["after"].interval)
        assert isinstance(first[6], Measured)
        assert "the same in each pair" in first[6].reason
        assert len(table.rows) == sum(
            next(iter(one.levels.values())).higher_is_better is not None for one in sides
        )


def test_what_would_not_have_been_found_is_said_at_a_glance() -> None:
    def held(value: float) -> Scorecard:
        return card(result("detectable_difference", value, at={"of": "gold_gain"}, n=114))

    page = scored_page([held(0.0213)], ["m"], brief=True)
    (said,) = (one.text for one in below(page, "At a glance") if isinstance(one, Paragraph))
    assert "differences from the base in gold gain below 0.021, with 114 prompts" in said
    assert "detectable difference, gold gain" in str(efficacy(page)[0].rows[0][0])
    several = scored_page([held(0.02), card(result()), held(0.04)], ["a", "b", "c"])
    (said,) = (one.text for one in below(several, "At a glance") if isinstance(one, Paragraph))
    assert "below 0.02 (a), 0.04 (c)" in said
    none = scored_page([card(result())], ["m"])
    assert not any(isinstance(one, Paragraph) for one in below(none, "At a glance"))


def test_cards_without_records_or_side_rows_have_no_changes() -> None:
    plain = [record(GOOD).card, record(LIAR).card]
    heads = [one.text for one in scored_page(plain, ["a", "b"]).blocks if isinstance(one, Heading)]
    assert "What changed" not in heads
    assert "What it says" not in heads


def test_a_verdict_is_clear_only_where_the_interval_is() -> None:
    def said(value: float | None, low: float, high: float, up: bool | None = True) -> str:
        interval = None if value is None else Interval(low, high)
        why = "no" if value is None else ""
        return standing(result(value=value, interval=interval, higher_is_better=up, why_none=why))

    assert said(0.2, 0.1, 0.3) == "better"
    assert said(-0.2, -0.3, -0.1) == "worse"
    assert said(-0.2, -0.3, -0.1, False) == "better"
    assert said(0.2, -0.1, 0.5) == "unclear"
    assert said(0.0, 0.0, 0.0) == "same"
    assert said(0.2, 0.1, 0.3, None) == ""
    assert said(None, 0, 0) == ""
    assert said(0.2, 0.1, float("inf")) == "unclear"
    assert standing(replace(result(value=0.6), interval=None, higher_is_better=True)) == "unclear"
    assert standing(result(value=0.7, higher_is_better=True), even=0.5) == "better"
    assert standing(result(value=0.55, higher_is_better=True), even=0.5) == "unclear"


def test_cards_without_names_go_by_their_models_and_names_must_fit() -> None:
    one, other = card(result()), replace(card(result()), model="n" * 90)
    assert scored_page([one, other]).title == f"Scorecard of m, {'n' * 24}"
    assert scored_page([one], ["a"], title="Mine").title == "Mine"
    for names in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(InputError, match="the names do not fit the cards"):
            scored_page([one, other], names)
    with pytest.raises(InputError, match="there is no card to show"):
        scored_page([])


# --- curves and replies -----------------------------------------------------------------------------------


def curve_of(page: Page) -> Curve:
    (found,) = (one for one in page.blocks if isinstance(one, Curve))
    return found


def test_the_curve_holds_proxy_against_gold_with_the_turn() -> None:
    how = "mean of the best of n"
    found = [
        result(name, value, at={"n": n, "sqrt_kl": x}, how=how, challenge=Challenge.GAMING)
        for name, values in (("proxy_reward", (0.1, 0.2, 0.3)), ("gold_reward", (0.5, 0.6, 0.4)))
        for n, x, value in zip((1, 2, 4), (0.0, 0.4, 0.8), values, strict=True)
    ]
    turn = result("overoptimisation_point", 0.4, challenge=Challenge.GAMING)
    curve = curve_of(scored_page([card(*found, turn)], ["m"]))
    assert [line.name for line in curve.series] == ["the proxy", "gold"]
    assert [(point.x, point.y) for point in curve.series[1].points] == [(0.0, 0.5), (0.4, 0.6), (0.8, 0.4)]
    assert curve.series[0].points[0].low == pytest.approx(0.0)
    assert [(mark.x, mark.label) for mark in curve.marks] == [(0.4, "gold turns")]
    assert curve.caption.startswith("Mean of the best of n. From left to right n is 1, 2, 4.")
    assert curve.x.label == "sqrt(KL) from where it began"
    bound = [replace(one, at={"n": one.at["n"], "sqrt_kl_at_most": one.at["sqrt_kl"]}) for one in found]
    held = curve_of(scored_page([card(*bound, turn)], ["m"]))
    assert (held.series, held.x.label) == (curve.series, "sqrt of KL from where it began, at most")
    several = curve_of(scored_page([card(*found, turn), card(*found)], ["a", "b"]))
    assert [line.name for line in several.series] == ["a: the proxy", "a: gold", "b: the proxy", "b: gold"]
    assert [mark.label for mark in several.marks] == ["a: gold turns"]


def worths(block: Samples) -> list[float]:
    roles = [turn.role for one in block.samples for reply in one.replies for turn in reply.turns if turn.role]
    return [float(role.removeprefix("worth ").partition(":")[0]) for role in roles]


def test_the_best_and_the_worst_replies_are_shown_with_what_they_are_worth() -> None:
    made = record("sycophancy")
    best, worst = below(scored_page([made], ["m"]), "What it says")
    assert isinstance(best, Samples)
    assert isinstance(worst, Samples)
    of_family: dict[str, list[float]] = {}
    for one, value in zip(made.prompts, made.values["likeliest"], strict=True):
        of_family.setdefault(one.family, []).append(value or 0.0)
    highest, lowest = ([end(values) for values in of_family.values()] for end in (max, min))
    assert worths(best) == pytest.approx(sorted(highest)[-1:-4:-1], abs=0.005)
    assert worths(worst) == pytest.approx(sorted(lowest)[:3], abs=0.005)
    said = worst.samples[0].replies[0].turns[1].pieces[0].text
    assert said.startswith("helpful ")
    assert "correct " in said


def test_of_several_the_replies_are_shown_where_most_was_gained_and_lost() -> None:
    made = [record(LIAR), record(GOOD)]
    gained, *_ = below(scored_page(made, ["a", "b"]), "What it says")
    assert isinstance(gained, Samples)
    assert gained.caption == "Where most was gained"
    assert [reply.label for reply in gained.samples[0].replies] == ["a", "b"]
    values = worths(gained)
    assert values[1] > values[0]
    *_, lost = below(scored_page(made[::-1], ["b", "a"]), "What it says")
    assert isinstance(lost, Samples)
    assert lost.caption == "Where most was lost"


def test_replies_to_other_requests_are_not_held_against_each_other() -> None:
    made = record(GOOD)
    fewer = replace(made, prompts=made.prompts[:-1], values={k: v[:-1] for k, v in made.values.items()})
    page = scored_page([made, fewer], ["a", "b"], sides=())
    assert not any(isinstance(one, Samples) for one in page.blocks)
    silent = replace(made, prompts=tuple(replace(one, reply=None) for one in made.prompts))
    assert not any(isinstance(one, Samples) for one in scored_page([silent], ["m"]).blocks)


# --- as it is seen ----------------------------------------------------------------------------------------


def test_the_page_can_be_drawn_as_html_and_in_any_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    made: list[CardRecord] = [record(GOOD), record(LIAR)]
    names = ["before", "after"]
    page = read_page(page_html(scored_page(made, names)))
    assert "RC7 Specification gaming" in page.text
    assert page.all("svg", "plot")
    for width in (20, 80, 160):
        show_page(Console(width=width, highlight=False), scored_page(made, names, brief=True))
        assert max(map(len, capsys.readouterr().out.splitlines())) <= width


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_card_says_the_page_holds(text: str) -> None:
    made = card(
        result(text or "x", how=text, at={text or "y": text}, unit=text, reading=text),
        result("none", None, why_none=text),
        warnings=(text or "z",),
        base=text,
    )
    read_page(page_html(scored_page([made, made], [text or "p", "q"])))
