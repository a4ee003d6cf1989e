"""A page with every kind of block, and text that would break out of it."""

from concord.report.blocks import (
    Axis,
    Block,
    Callout,
    Column,
    Command,
    Counts,
    Curve,
    Facts,
    Heading,
    Histogram,
    Mark,
    Measured,
    Noted,
    Page,
    Paragraph,
    Piece,
    Point,
    Sample,
    Samples,
    Series,
    ShownReply,
    Table,
    Turn,
)
from concord.results import Interval

HOSTILE = (
    "</script></style></title><script>alert(1)</script>",
    "\"' onload='x' x=\"",
    "<!-- & &lt; ]]>",
    "\x00\x07\x1b[31mred\x9b0m\r",
    "\u202eturned\u202c \u2066isolated",
    "\ud800 half \udfff",
    "\U0001f469\u200d\U0001f680 \u0645\u0631\u062d\u0628\u0627 e\u0301",
    "\U000e0041\U000e0042 \u200b \ufeff",
    "javascript:alert(1)",
    "a\n\n\nb\tc  d",
    "",
)


def whole_page(text: str = "Lengths and so on") -> Page:
    """Every block, with `text` wherever text may stand."""
    turn = Turn("user", (Piece(text), Piece(text, trained=True), Piece(text, special=True)))
    blocks: tuple[Block, ...] = (
        Facts(((text, text), ("rows", Noted(1234, text)))),
        Heading(text),
        Heading(text, 2),
        Heading("Another"),
        Heading("Another"),
        Paragraph(text),
        Callout("stop", text, text, text),
        Callout("warn", "A title alone"),
        Command(text, text),
        Table(
            (Column(text, text), Column("share", per_cent=True, bar=True), Column("n", bar=True)),
            (
                (text, Measured(0.631, Interval(0.612, 0.651)), 10),
                (Noted(text, text), Measured(None, None, text), 5),
                ("third", 0.25, None),
            ),
            caption=text,
            notes=(text,),
        ),
        Table((Column("nothing"),), ()),
        Curve(
            text,
            Axis(text, text),
            Axis(text, text),
            (
                Series(text, (Point(0, 0.0, -1.0, 1.0), Point(1, 2.0, 1.0, 3.0))),
                Series("gap", (Point(0, 1.0), Point(1, float("nan")), Point(2, 1.0))),
            ),
            caption=text,
            marks=(Mark(0.5, text),),
        ),
        Histogram(text, Axis(text), (0.0, 1.0, 2.0), (Counts(text, (3, 4)),), caption=text),
        Samples(
            (Sample(text, (turn,), (ShownReply(text, (turn,)), ShownReply("rejected", (turn,))), (text,)),),
            text,
        ),
    )
    return Page(text, text, blocks)
