"""The numbers of an audit as blocks: percentiles, histogram, what wins, shares by split, the verdict."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from concord.data.auditing.records import Audit, LengthCounts
from concord.report.blocks import Block, Heading, Histogram, Mark, Measured, Noted, Paragraph, Table
from concord.report.measured import measured_blocks
from concord.results import Interval, Result

SHARES = (5, 50, 100)


def lengths(side: str, mean: float, values: Sequence[float], **at: str) -> list[Result]:
    unit = "tokens"
    found = [Result(name="mean_length", value=mean, n=9, unit=unit, at={"side": side, "unit": unit, **at})]
    for share, value in zip(SHARES, values, strict=True):
        place = {"side": side, "unit": unit, "percentile": share, **at}
        found.append(Result(name="length", value=value, n=9, unit=unit, at=place))
    return found


def counts(**sides: tuple[int, ...]) -> LengthCounts:
    return LengthCounts(unit="tokens", edges=(1, 2, 4, 8), counts=sides, log=True)


def blocks(*results: Result, binned: Sequence[LengthCounts] = ()) -> list[Block]:
    return list(measured_blocks(Audit(results=results, lengths=tuple(binned), rows=9, splits=("data",))))


def below(found: Sequence[Block], heading: str) -> list[Block]:
    """The blocks that stand under a heading."""
    starts = [at for at, one in enumerate(found) if isinstance(one, Heading)] + [len(found)]
    for start, stop in pairwise(starts):
        if found[start] == Heading(heading, 2):
            return list(found[start + 1 : stop])
    raise AssertionError(f"no heading {heading!r} in {found}")


def share(name: str, value: float | None, n: int = 8, *, how: str = "", **at: str) -> Result:
    interval = None if value is None else Interval(value / 2, value, how="Wilson's, over 3 prompts")
    return Result(name=name, value=value, n=n, interval=interval, unit="rows", how=how, at=at)


def test_lengths_are_one_table_in_the_order_of_sides() -> None:
    results = [*lengths("row", 7.5, (2, 7, 9)), *lengths("prompt", 3, (1, 3, 5))]
    (table, histogram) = below(blocks(*results, binned=[counts(prompt=(1, 2, 0), row=(0, 1, 2))]), "Lengths")
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == ["side", "mean", "5%", "median", "longest"]
    assert table.rows == (("prompt", 3, 1, 3, 5), ("row", 7.5, 2, 7, 9))
    assert "tokens" in table.caption
    assert isinstance(histogram, Histogram)
    assert histogram.x.unit == "tokens"
    assert histogram.x.log


@pytest.mark.parametrize(
    ("sides", "drawn"),
    [
        (("prompt", "reply", "row"), ["prompt", "reply", "row"]),
        (("prompt", "reply", "chosen", "rejected", "row"), ["prompt", "chosen", "rejected", "row"]),
        (("prompt", "row"), ["prompt"]),
    ],
)
def test_each_length_is_drawn_once(sides: tuple[str, ...], drawn: list[str]) -> None:
    results = [one for side in sides for one in lengths(side, 3, (2, 3, 4))]
    binned = counts(**dict.fromkeys(sides, (1, 2, 3)))
    histogram = below(blocks(*results, binned=[binned]), "Lengths")[-1]
    assert isinstance(histogram, Histogram)
    assert [group.name for group in histogram.groups] == drawn
    assert all(group.counts == (1, 2, 3) for group in histogram.groups)


def test_prompts_of_plain_text_are_not_told_of() -> None:
    results = [
        *lengths("prompt", 1, (1, 1, 1)),
        *lengths("reply", 3, (1, 3, 4)),
        *lengths("row", 4, (2, 4, 5)),
    ]
    binned = counts(prompt=(9, 0, 0), reply=(1, 2, 0), row=(0, 1, 2))
    table, histogram = below(blocks(*results, binned=[binned]), "Lengths")
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["reply", "row"]
    assert isinstance(histogram, Histogram)
    assert [group.name for group in histogram.groups] == ["reply"]


def test_the_limit_is_marked_where_lengths_are_tokens() -> None:
    long = Result(name="too_long", value=0.5, n=9, how="4 of 9 rows", at={"limit": 6})
    results = [long, *lengths("prompt", 3, (2, 3, 4))]
    histogram = below(blocks(*results, binned=[counts(prompt=(1, 2, 3))]), "Lengths")[-1]
    assert isinstance(histogram, Histogram)
    assert histogram.marks == (Mark(6, "the limit"),)


def test_what_wins_is_told_in_one_unit_and_by_ratio() -> None:
    each = [share("longer_wins", 0.6, length=unit) for unit in ("characters", "tokens")]
    bucket = share("longer_wins", 0.8, length="tokens", bucket="twice as long")
    gap = Result(
        name="length_gap", value=-3.0, n=8, unit="tokens", interval=Interval(-5, -1), at={"length": "tokens"}
    )
    found = blocks(*each, bucket, gap, share("more_wins", 0.3, trait="lists"), binned=[counts(row=(1, 1, 1))])
    said, table, others = below(found, "Does the longer reply win?")
    assert isinstance(said, Paragraph)
    assert said.text.endswith("Winners are 3.0 [1.0, 5.0] tokens shorter than losers, on average.")
    assert isinstance(table, Table)
    assert table.rows == (
        ("all comparisons", Measured(0.6, each[0].interval), 8),
        ("twice as long", Measured(0.8, bucket.interval), 8),
    )
    assert isinstance(others, Table)
    assert [row[0] for row in others.rows] == ["has more list items"]


def test_shares_stand_side_by_side_for_each_split() -> None:
    each = [share("share", 0.5, of="tools")]
    each += [share("share", 0.25, of="tools", split=split) for split in ("train", "test")]
    (table,) = below(blocks(*each), "What the rows hold")
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == ["what", "share", "of", "train", "test"]
    part = Measured(0.25, each[1].interval)
    assert table.rows == (("rows with tools", Measured(0.5, each[0].interval), "8 rows", part, part),)


def test_one_thing_is_one_and_each_method_is_explained_once() -> None:
    near = [share("near_duplicates", 0.5, n=1, how="by hand", of=of) for of in ("prompts", "replies")]
    (table,) = below(blocks(*near), "Repetition and contradiction")
    assert isinstance(table, Table)
    assert table.rows[0][0] == Noted("different prompts that nearly repeat another", "By hand.")
    assert table.rows[1][0] == "different replies that nearly repeat another"
    assert table.rows[0][2] == "1 row"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "The data cannot tell, as nobody asked."),
        (0.001, "No: no utility explains who won (p = 0.001)."),
        (0.4, "Nothing speaks against it: a utility explains who won (p = 0.4)."),
    ],
)
def test_the_verdict_on_a_utility(value: float | None, said: str) -> None:
    fit = Result(name="utility_fit_p", value=value, n=int(value is not None), why_none="" if value else said)
    circles = Result(name="intransitive_triads", value=None, n=0, why_none="There are none.")
    found = below(blocks(fit, circles), "Can the preferences be a utility?")
    assert [one.text for one in found[1:] if isinstance(one, Paragraph)] == [
        said,
        "Not measured: There are none.",
    ]


def test_a_measurement_that_has_no_place_of_its_own_is_shown_all_the_same() -> None:
    (table,) = below(blocks(share("loudness", 0.5), share("duplicates", 0.5, of="rows")), "Also")
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["loudness"]


def test_brackets_are_explained_once_and_only_where_there_are_any() -> None:
    found = blocks(share("duplicates", 0.5, of="rows"), share("duplicates", 0.5, of="prompts"))
    texts = [one.text for one in found if isinstance(one, Paragraph)]
    assert len(texts) == 1
    assert texts[0].startswith("In brackets: 95% intervals. They count prompts")
    assert [one for one in blocks() if not isinstance(one, Heading)] == []
