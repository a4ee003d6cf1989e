"""Rows that people have, read as items; and items written as rows.

open_items(data)   find the files, detect the shape, and give the items: see `reading`
find_sources       the files, tables and lists that data is made of
parse_mapping      which column is what, in one line, where it is not detected
write_items        items as JSON lines; `to_row` gives one of them
"""

from concord.formats.detect import detect
from concord.formats.mapping import Plan, parse_mapping
from concord.formats.reading import OnBadRow, Reading, open_items
from concord.formats.rows import BadRow, Row
from concord.formats.shapes import SHAPES, Shape
from concord.formats.sources import DataLike, Source, find_sources
from concord.formats.writing import to_row, write_items

__all__ = [
    "SHAPES",
    "BadRow",
    "DataLike",
    "OnBadRow",
    "Plan",
    "Reading",
    "Row",
    "Shape",
    "Source",
    "detect",
    "find_sources",
    "open_items",
    "parse_mapping",
    "to_row",
    "write_items",
]
