"""What of one split stands in another: prompts, prompts with their replies, prompts that are nearly alike.

A model that was trained on what it is tested with tells nothing by the test. Up to six splits are held each
against each; of more, every one against those for training only.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from concord.data.auditing.columns import Columns, Hashes, mixed
from concord.data.auditing.minhash import Sketch, cross_matches
from concord.data.auditing.records import Evidence
from concord.estimates import clustered_share

__all__ = ["leak_results", "near_leak_results"]

_MOST_SPLITS = 6


def leak_results(columns: Columns, *, level: float, examples: int) -> list[Evidence]:
    """For each two splits, rows of the later one whose prompt, alone or with a reply, is in the former.

    Of rows without a prompt, replies alone are held against each other.
    """
    prompts = columns.view("prompt").astype(np.uint64)
    split, reply_row = columns.view("split"), columns.view("reply_row").astype(np.int64)
    replies = mixed(prompts[reply_row], columns.view("reply").astype(np.uint64))
    measured: list[Evidence] = []
    for first, second in _orders(columns.splits):
        names = columns.splits[first], columns.splits[second]
        rows = np.flatnonzero((split == second) & (prompts != 0))
        same = np.isin(prompts[rows], prompts[(split == first) & (prompts != 0)])
        measured.append(_leak(columns, rows, same, names, "prompts", level, examples))
        mine = split[reply_row] == second
        shared = np.unique(reply_row[mine][np.isin(replies[mine], replies[split[reply_row] == first])])
        rows = np.unique(reply_row[mine])
        if len(rows):
            same = np.isin(rows, shared)
            measured.append(_leak(columns, rows, same, names, "prompts with a reply", level, examples))
    return measured


def near_leak_results(
    columns: Columns, hashes: Hashes, sketch: Sketch, *, threshold: float, level: float, examples: int
) -> list[Evidence]:
    """For each two splits, rows of the later one whose prompt is like one of the former, or the same."""
    prompts, split = columns.view("prompt").astype(np.uint64), columns.view("split")
    measured: list[Evidence] = []
    for first, second in _orders(columns.splits):
        names = columns.splits[first], columns.splits[second]
        known = np.isin(hashes, prompts[split == first])
        other = np.isin(hashes, prompts[split == second]) & ~known
        taken = np.flatnonzero(known | other)
        match = cross_matches(sketch[taken], known[taken], threshold=threshold)
        found = taken[match >= 0]
        rows = np.flatnonzero((split == second) & (prompts != 0))
        same = np.isin(prompts[rows], np.concatenate((hashes[found], prompts[split == first])))
        measured.append(_leak(columns, rows, same, names, "near prompts", level, examples))
    return measured


def _leak(
    columns: Columns,
    rows: NDArray[np.int64],
    same: NDArray[np.bool_],
    names: tuple[str, str],
    of: str,
    level: float,
    examples: int,
) -> Evidence:
    found = clustered_share(same, columns.row_prompts[rows], level=level)
    held, what = {
        "prompts": ("a prompt", "whose prompt stands there, exactly"),
        "prompts with a reply": (
            "a reply",
            "with a reply that stands there under the same prompt, or both times without one, exactly",
        ),
        "near prompts": (
            "a prompt",
            "whose prompt stands there, exactly or nearly (system messages apart; with pictures or sounds, "
            "exactly)",
        ),
    }[of]
    result = found.result(
        "leak",
        unit="rows",
        how=f"share of the rows of {names[1]} with {held}, held against {names[0]}: those {what}",
        at={"of": of, "from": names[0], "into": names[1]},
    )
    return Evidence(result, columns.origins(rows[same], examples))


def _orders(splits: list[str]) -> list[tuple[int, int]]:
    """Which splits are held against which: training first, the rest as they were given."""
    order = sorted(range(len(splits)), key=lambda place: not splits[place].startswith("train"))
    pairs = list(combinations(order, 2))
    if len(splits) <= _MOST_SPLITS:
        return pairs
    return [pair for pair in pairs if pair[0] == order[0] or splits[pair[0]].startswith("train")]
