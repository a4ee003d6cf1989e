"""Drawings: coordinates worked by hand, gaps left open, everything said in words too."""

import re
from math import inf, nan

import pytest

from concord.report.blocks import Axis, Counts, Curve, Histogram, Mark, Point, Series
from concord.report.markup import join
from concord.report.plots import COLOURS, curve_notes, drawn_curve, drawn_histogram
from tests.report.reading import Element, read_page


def svgs(drawn: str) -> tuple[Element, Element]:
    wide, slim = read_page(f"<!doctype html>\n{join()}<div>{drawn}</div>").all("svg")
    return wide, slim


def curve(*series: Series, log: bool = False, marks: tuple[Mark, ...] = ()) -> Curve:
    return Curve("Loss", Axis("step"), Axis("loss", "nats", log=log), series, marks=marks)


def test_a_line_goes_through_its_points() -> None:
    # Labels "0.0" to "1.0" have three letters: the plane begins at 12 + 6.6 * 3 = 31.8 and ends at
    # 720 - 14 = 706; upwards it goes from 280 - 26 = 254 to 12. So (5, 0.5) is in the middle: 368.9, 133.
    wide, slim = svgs(drawn_curve(curve(Series("a", (Point(0, 0), Point(5, 0.5), Point(10, 1))))))
    assert wide.all("path", "line")[0].attributes["d"] == "M31.8 254.0L368.9 133.0L706.0 12.0"
    assert slim.attributes["viewbox"] == "0 0 350 230"
    assert [one.text for one in wide.all("text", "end")][:6] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    dot = wide.all("circle")[1]
    assert (dot.attributes["cx"], dot.attributes["cy"]) == ("368.9", "133")
    assert dot.all("title")[0].text == "a: loss 0.500 at step 5"


def test_a_band_runs_along_the_highs_and_back_along_the_lows() -> None:
    points = (Point(0, 0.5, 0, 1), Point(10, 0.5, 0.5, 0.5))
    wide, _ = svgs(drawn_curve(curve(Series("a", points))))
    assert wide.all("path", "band")[0].attributes["d"] == "M31.8 12.0L706.0 133.0L706.0 133.0L31.8 254.0Z"


def test_an_endless_band_stays_in_the_plane() -> None:
    wide, _ = svgs(drawn_curve(curve(Series("a", (Point(0, 0.0, -inf, inf), Point(1, 1.0, -inf, inf))))))
    numbers = [float(one) for one in re.findall(r"[\d.]+", wide.all("path", "band")[0].attributes["d"])]
    assert max(numbers[1::2]) == 254
    assert min(numbers[1::2]) == 12


def test_what_has_no_place_leaves_a_gap_and_is_counted() -> None:
    points = (Point(0, 1), Point(1, 2), Point(2, nan), Point(3, 1), Point(4, 2), Point(5, -1), Point(inf, 1))
    drawn = curve(Series("a", points), log=True)
    wide, _ = svgs(drawn_curve(drawn))
    assert len(wide.all("path", "line")) == 2
    assert curve_notes(drawn) == "3 points have no place on these scales and are not drawn."
    assert curve_notes(curve(Series("a", points[:2]))) == ""


def test_a_curve_says_itself_in_words() -> None:
    drawn = curve(Series("a", (Point(0, 0.7), Point(5, 0.2), Point(10, 0.4))), Series("b", ()))
    for one in svgs(drawn_curve(drawn)):
        assert one.attributes["role"] == "img"
        assert one.attributes["aria-label"] == (
            "Line chart: Loss. loss (nats) by step. "
            "a: from 0.700 at 0 to 0.400 at 10, lowest 0.200, highest 0.700. b: nothing to draw."
        )


def test_a_long_line_is_thinned_and_keeps_its_spikes() -> None:
    points = tuple(Point(at, 50.0 if at == 77_777 else at % 7) for at in range(100_000))
    wide, slim = svgs(drawn_curve(curve(Series("a", points))))
    for one in (wide, slim):
        places = one.all("path", "line")[0].attributes["d"].split("L")
        assert len(places) <= 404
        heights = sorted(float(place.split(" ")[1]) for place in places)
        assert heights[1] - heights[0] > 100  # the spike, far above the others
    assert not wide.all("circle")


def test_a_lone_point_is_seen() -> None:
    wide, _ = svgs(drawn_curve(curve(Series("a", (Point(3, 0.5),)))))
    assert "dot" in wide.all("circle")[0].classes


def test_a_line_beyond_the_colours_is_dashed() -> None:
    lines = tuple(Series(str(at), (Point(0, at), Point(1, at))) for at in range(COLOURS + 1))
    classes = [one.classes for one in svgs(drawn_curve(curve(*lines)))[0].all("path", "line")]
    assert classes[0] == {"line", "s0"}
    assert classes[-1] == {"line", "s0", "dash"}


def test_marks_stand_where_they_are_and_not_outside() -> None:
    marks = (Mark(2.5, "limit"), Mark(99, "away"), Mark(7.5, "late"))
    wide, _ = svgs(drawn_curve(curve(Series("a", (Point(0, 0), Point(10, 1))), marks=marks)))
    assert [one.attributes["x1"] for one in wide.all("line", "mark")] == ["200.35", "537.45"]
    assert "away" not in wide.text
    assert {"limit: 2.50", "late: 7.50"} <= {one.text for one in wide.all("text")}


@pytest.mark.parametrize("values", [(), (nan,), (inf, -inf), (0.0,), (1e308, -1e308), (5e-324,)])
def test_no_values_break_a_curve(values: tuple[float, ...]) -> None:
    points = tuple(Point(value, value, value, value) for value in values)
    for log in (False, True):
        for one in svgs(drawn_curve(curve(Series("a", points), log=log))):
            places = [one.attributes.get("d", "") for one in one.all("path")]
            assert not re.search("nan|inf", " ".join(places))


def test_a_histogram_is_an_outline() -> None:
    # "0" to "4": one letter, so the plane begins at 18.6; each bin is (706 - 18.6) / 2 = 343.7 wide.
    drawn = Histogram("H", Axis("length", "tokens"), (0, 10, 20), (Counts("a", (4, 1)),))
    wide, _ = svgs(drawn_histogram(drawn))
    assert wide.all("path", "line")[0].attributes["d"] == (
        "M18.6 254.0L18.6 12.0L362.3 12.0L362.3 193.5L706.0 193.5L706.0 254.0"
    )
    assert [one.all("title")[0].text for one in wide.all("rect")] == [
        "0 to 10: a 4 rows",
        "10 to 20: a 1 rows",
    ]
    assert wide.attributes["aria-label"] == (
        "Histogram: H. rows by length (tokens). a: 5 in all, most (4) from 0 to 10."
    )


def test_an_empty_histogram_is_drawn_flat() -> None:
    wide, _ = svgs(drawn_histogram(Histogram("H", Axis("x"), (0, 1), (Counts("", (0,)),))))
    assert "nan" not in str(wide.all("path")[0].attributes)
    assert wide.all("path", "line")[0].attributes["d"].count(" 254.0") == 4
