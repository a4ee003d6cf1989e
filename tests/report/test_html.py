"""The page: well formed, alone in the world, accessible, and closed to whatever stands in the data."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from concord.errors import RunError
from concord.report.blocks import (
    Callout,
    Cell,
    Column,
    Command,
    Heading,
    Measured,
    Noted,
    Page,
    Paragraph,
    Piece,
    Sample,
    Samples,
    ShownReply,
    Table,
    Turn,
)
from concord.report.html import page_html, write_page
from concord.report.words import one_line, visible
from concord.results import Interval
from tests.report.pages import HOSTILE, whole_page
from tests.report.reading import Element, read_page

WHOLE = read_page(page_html(whole_page()))
# What may be where. A page is closed if it has no other element and no other attribute than these.
ELEMENTS = set(
    """ html head meta title style script body header h1 h2 h3 p main nav ol ul li a aside strong b span div
    pre code dl dt dd bdi sup table thead tbody tr th td figure figcaption svg line text path rect circle
    article section details summary mark em footer""".split()  # noqa: SIM905
)


def links(page: Element) -> list[str]:
    """Everything that a browser might fetch or go to."""
    names = ("src", "href", "srcset", "data", "action", "xlink:href", "poster", "style")
    return [one.attributes[name] for one in page.all() for name in names if name in one.attributes]


def cells(page: Element) -> list[list[str]]:
    """The texts of the first table's body."""
    return [
        [cell.text for cell in row.inside if isinstance(cell, Element)]
        for row in page.all("tbody")[0].all("tr")
    ]


def one_table(*rows: tuple[Cell, ...], columns: tuple[Column, ...]) -> Element:
    return read_page(page_html(Page("T", "", (Table(columns, rows),))))


@pytest.mark.parametrize("text", [*HOSTILE, " ".join(HOSTILE)], ids=range(len(HOSTILE) + 1))
def test_whatever_the_text_the_page_is_the_same_but_for_it(text: str) -> None:
    page = read_page(page_html(whole_page(text)))
    harmless = read_page(page_html(whole_page("x" if text else "")))
    assert {one.name for one in page.all()} <= ELEMENTS
    assert {key for one in page.all() for key in one.attributes if key.startswith("on")} == set()
    assert [one.name for one in page.all("script")] == [one.name for one in harmless.all("script")]
    assert page.all("script")[0].text == harmless.all("script")[0].text
    assert page.all("style")[0].text == harmless.all("style")[0].text
    assert all(link.startswith("#") for link in links(page))
    assert page.all("h1")[0].text == one_line(text)
    if text and "\n" not in text:
        assert page.all("caption") == []
        assert page.all("pre")[0].text == visible(text)
        assert visible(text) in page.all("div", "said")[0].text


def test_a_page_has_no_odd_characters_and_can_be_written() -> None:
    html = page_html(whole_page("".join(HOSTILE)))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    html.encode("utf-8")


def test_a_page_asks_nothing_of_a_network() -> None:
    assert all(link.startswith("#") for link in links(WHOLE))
    assert not WHOLE.all("link")
    assert not WHOLE.all("img")
    for own in (*WHOLE.all("style"), *WHOLE.all("script")):
        assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch\(|XMLHttp", own.text)
    assert "http" not in page_html(whole_page()).replace("http-equiv", "")


def test_the_policy_allows_its_own_style_and_script_only() -> None:
    policy = next(one for one in WHOLE.all("meta") if "http-equiv" in one.attributes).attributes["content"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    for name in ("style", "script"):
        (own,) = WHOLE.all(name)
        digest = base64.b64encode(hashlib.sha256(own.text.encode()).digest()).decode()
        assert rules.pop(f"{name}-src") == f"'sha256-{digest}'"
    assert not rules
    # Styles in attributes would be refused by this policy, silently.
    assert not [one for one in WHOLE.all() if "style" in one.attributes]


def test_the_page_has_landmarks_one_title_and_no_level_left_out() -> None:
    for name in ("h1", "main", "nav", "header", "footer"):
        assert len(WHOLE.all(name)) == 1, name
    assert len(WHOLE.all("head")[0].all("title")) == 1
    assert WHOLE.all("html")[0].attributes["lang"] == "en"
    identities = [one.attributes["id"] for one in WHOLE.all() if "id" in one.attributes]
    assert len(set(identities)) == len(identities)
    for one in WHOLE.all():
        for pointer in ("aria-labelledby", "href"):
            if pointer in one.attributes:
                assert one.attributes[pointer].lstrip("#") in identities


def test_contents_stand_before_long_pages_only() -> None:
    assert [one.text for one in WHOLE.all("nav")[0].all("a")] == [
        "Lengths and so on",
        "Lengths and so on",
        "Another",
        "Another",
    ]
    assert [one.attributes["id"] for one in WHOLE.all("h2")] == ["lengths-and-so-on", "another", "another-2"]
    assert not read_page(page_html(Page("T", "", (Heading("One"), Heading("Two"))))).all("nav")


def test_odd_headings_have_anchors_that_differ() -> None:
    texts = ("\u0645", "Section", "a 2", "a", "a", "", "x" * 500)
    page = read_page(page_html(Page("T", "", tuple(map(Heading, texts)))))
    anchors = [one.attributes["id"] for one in page.all("h2")]
    assert anchors == ["section", "section-2", "a-2", "a", "a-3", "section-3", "x" * 60]


def test_tables_have_heads_scopes_and_values_to_sort_by() -> None:
    page = one_table(
        ("one", Measured(0.6312, Interval(0.612, 0.651)), 1234567, 0.5),
        (Noted("two", "Why."), Measured(None, None, "Too few."), -2, None),
        ("three", float("nan"), 10**400, float("inf")),
        columns=(Column("name"), Column("share", per_cent=True, bar=True), Column("n", "rows"), Column("x")),
    )
    assert [(one.text, one.attributes["scope"]) for one in page.all("thead")[0].all("th")] == [
        ("name", "col"),
        ("share", "col"),
        ("n (rows)", "col"),
        ("x", "col"),
    ]
    assert [one.attributes["scope"] for one in page.all("tbody")[0].all("th")] == ["row"] * 3
    assert cells(page) == [
        ["one", "63.1% [61.2, 65.1]", "1,234,567", "0.500"],
        ["two1", "-2", "-2", "-"],
        ["three", "nan%", "1.00e+400", "inf"],
    ]
    assert [one.attributes.get("data-v") for one in page.all("td")] == [
        "0.6312", "1234567.0", "0.5", None, "-2.0", None, "nan", "inf", "inf",
    ]  # fmt: skip
    assert all("num" in one.classes for one in page.all("td"))
    assert [one.text for one in page.all("div", "notes")[0].all("li")] == ["Why.", "Too few."]
    (bar,) = page.all("svg", "bar")
    assert bar.all("rect")[0].attributes["width"] == "63.12"


def test_bars_are_full_at_one_or_at_the_largest() -> None:
    columns = (Column("n", bar=True), Column("s", per_cent=True, bar=True))
    page = one_table((10, 0.5), (40, 1.5), (-4, -0.1), (0, None), columns=columns)
    assert [one.attributes["width"] for one in page.all("rect")] == ["25", "50", "100", "100", "0", "0", "0"]


def test_equal_notes_have_one_number() -> None:
    page = one_table((Noted(1, "a"), Noted(2, "b")), (Noted(3, "a"), 4), columns=(Column("x"), Column("y")))
    assert [one.text for one in page.all("sup")] == ["1", "2", "1"]


def test_an_empty_table_says_so() -> None:
    assert "No rows." in one_table(columns=(Column("x"),)).text


def test_a_callout_says_how_grave_it_is() -> None:
    page = read_page(
        page_html(Page("T", "", (Callout("warn", "Title `c`", "So.", "Mend."), Callout("note", "N"))))
    )
    assert [one.text for one in page.all("aside")] == ["Warning Title cSo.To do: Mend.", "Note N"]
    assert [one.text for one in page.all("aside")[0].all("code")] == ["c"]


def test_paragraphs_are_parted_at_empty_lines() -> None:
    page = read_page(page_html(Page("T", "", (Paragraph("a\nb\n \nc `d`"),))))
    assert [one.text for one in page.all("main")[0].all("p")] == ["a\nb", "c d"]


def test_a_command_is_copied_as_it_is() -> None:
    line = "concord audit 'a  b' --x \"<&>\""
    assert read_page(page_html(Page("T", "", (Command(line),)))).all("pre")[0].text == line


def shown(*pieces: Piece) -> Element:
    sample = Sample("a:1", (), (ShownReply("chosen", (Turn("assistant", pieces),)),))
    return read_page(page_html(Page("T", "", (Samples((sample,)),)))).all("article")[0]


def test_what_is_learned_from_is_marked_and_blanks_are_seen() -> None:
    article = shown(
        Piece("no "), Piece("yes\t \n", trained=True), Piece("<eos>", True, True), Piece("\u202ex")
    )
    assert [one.text for one in article.all("mark")] == ["yes\t \n", "<eos>"]
    assert [one.text for one in article.all("span", "special")] == ["<eos>"]
    assert article.all("div", "said")[0].text == "no yes\t \n<eos>[U+202E]x"  # signs are drawn, not text
    assert [len(article.all("span", name)) for name in ("nl", "tab", "sp")] == [1, 1, 2]
    assert [one.text for one in article.all("bdi", "unseen")] == ["[U+202E]"]
    assert article.all("section")[0].attributes["aria-label"] == "chosen"


def test_long_turns_are_folded_and_very_long_ones_cut() -> None:
    article = shown(Piece("a" * 2000), Piece("b" * 1000, trained=True))
    assert article.all("summary")[0].text == "2,300 more characters, 1,000 of them learned from"
    assert "".join(one.text for one in article.all("div", "said")) == "a" * 2000 + "b" * 1000
    assert not shown(Piece("d" * 900)).all("details")
    article = shown(Piece("c" * 1_000_000, trained=True))
    assert article.all("p", "remark")[0].text == "980,000 further characters, all learned from left out here."
    assert shown(Piece("")).all("em")[0].text == "nothing"


def test_a_megabyte_of_text_in_a_cell_is_cut() -> None:
    html = page_html(Page("T", "", (Table((Column("x"),), (("y " * 500_000,),)),)))
    assert "(1,000,000 characters)" in html
    assert len(html) < 40_000


def test_equal_pages_are_equal_bytes(tmp_path: Path) -> None:
    write_page(whole_page(), tmp_path / "a.html")
    write_page(whole_page(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.html").read_text("utf-8") == page_html(whole_page())
    with pytest.raises(RunError, match="writing"):
        write_page(whole_page(), tmp_path / "none" / "a.html")
