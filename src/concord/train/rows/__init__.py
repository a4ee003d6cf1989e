"""From files to rows that an objective can learn from, rendered, on disk, and some of them held out.

    wanted(card) -> Wanted             the kinds of rows that an objective takes, from what it says of itself
    open_data(files)                   what is trained on, and what the data themselves hold out
    load_rows(opened, wanted, ...)     converted or left out aloud, rendered, cut, written

What is left out, converted or cut is counted and said.
"""

from concord.train.rows.loading import Build, Loaded, LoadSettings, Progress, load_rows
from concord.train.rows.sides import open_data
from concord.train.rows.step_ends import STEP_ENDS
from concord.train.rows.wanted import Wanted, wanted

__all__ = [
    "STEP_ENDS",
    "Build",
    "LoadSettings",
    "Loaded",
    "Progress",
    "Wanted",
    "load_rows",
    "open_data",
    "wanted",
]
