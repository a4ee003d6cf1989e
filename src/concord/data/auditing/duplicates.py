"""What occurs more than once, and what contradicts itself: rows, prompts, replies, pairs and labels."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from concord.data.auditing.bias import Pairs
from concord.data.auditing.columns import Columns, Hashes, mixed
from concord.data.auditing.minhash import Sketch, near_groups
from concord.data.auditing.records import Evidence
from concord.estimates import clustered_share
from concord.results import Result

__all__ = ["duplicate_results", "judged_both_ways", "near_results", "pair_results"]

_Ints = NDArray[np.int64]


def duplicate_results(columns: Columns, *, examples: int) -> list[Evidence]:
    """Exact copies of rows, of prompts and of replies, whatever their splits.

    Without intervals: these are counts of all rows that there are, and of more rows more would be copies.
    """
    prompts, every = columns.view("prompt").astype(np.uint64), np.arange(len(columns.split))
    asked = np.flatnonzero(prompts != 0)
    reply_rows = columns.view("reply_row").astype(np.int64)
    looked_at = {
        "rows": (
            columns.view("content").astype(np.uint64),
            every,
            "prompt, replies and what is known of them",
        ),
        "prompts": (prompts[asked], asked, "prompt, with its system message and tools"),
        "replies": (columns.view("reply").astype(np.uint64), reply_rows, "reply, whatever its prompt"),
    }
    measured: list[Evidence] = []
    for name, (hashes, rows, what) in looked_at.items():
        again = _occurs_before(hashes)
        result = Result(
            name="duplicates",
            value=float(again.mean()) if len(again) else None,
            n=len(again),
            unit=name,
            how=f"share of {name} whose {what} stood in an earlier one, exactly",
            at={"of": name},
        )
        measured.append(Evidence(result, columns.origins(rows[np.flatnonzero(again)], examples)))
    return measured


def near_results(
    columns: Columns, hashes: Hashes, sketch: Sketch, name: str, *, threshold: float, examples: int
) -> Evidence:
    """Texts that nearly say what an earlier one says, among those that differ.

    `hashes` are those of the signed texts, each once; what holds pictures or sounds was not signed. Of each
    group of texts linked by likeness all but one are counted, as if one were kept.
    """
    labels = near_groups(sketch, threshold=threshold)
    kept = labels == np.arange(len(labels))
    again = np.flatnonzero(~kept)
    rows, values = _rows_of(columns, name)
    shown = again[:examples].tolist()
    # The row that is like, then the row it is like.
    wanted = [hashes[place] for one in shown for place in (one, int(labels[one]))]
    found = [int(rows[places[0]]) for one in wanted if len(places := np.flatnonzero(values == one))]
    largest = int(np.bincount(labels, minlength=1).max(initial=0)) if len(labels) else 0
    result = Result(
        name="near_duplicates",
        value=len(again) / len(labels) if len(labels) else None,
        n=len(labels),
        unit=name,
        how=f"share of different {name} without pictures or sounds beyond the first of each group linked by "
        f"a likeness of {threshold:g} or more, the share of pieces of five characters they have in common, "
        f"as estimated by MinHash (standard deviation 0.04); largest group {largest}",
        at={"of": name},
    )
    return Evidence(result, columns.origins(found, examples))


def pair_results(columns: Columns, pairs: Pairs, *, level: float, examples: int) -> list[Evidence]:
    """Pairs that were judged again: the same way, or the other way; and replies on both sides."""
    explicit = pairs.taken(~pairs.implied)
    if not len(explicit.row):
        return []
    reply = columns.view("reply").astype(np.uint64)
    winner, loser = reply[explicit.winner], reply[explicit.loser]
    key = mixed(explicit.prompt, np.minimum(winner, loser), np.maximum(winner, loser))
    _, which = np.unique(key, return_inverse=True)
    up = winner < loser
    contradicted = (np.bincount(which, weights=up) > 0) & (np.bincount(which, weights=~up) > 0)
    again = _occurs_before(key)
    chosen, rejected = mixed(explicit.prompt, winner), mixed(explicit.prompt, loser)
    both = np.isin(chosen, rejected) | np.isin(rejected, chosen)
    looked_at = (
        ("contradictions", contradicted[which], "whose same two replies to the same prompt are elsewhere "
         "preferred the other way"),
        ("repeated_pairs", again, "whose two replies to the same prompt were compared in an earlier row"),
        ("chosen_and_rejected", both, "with a reply that is chosen here and rejected elsewhere, to the same "
         "prompt; right where a prompt has three replies or more"),
    )  # fmt: skip
    measured: list[Evidence] = []
    for name, holds, what in looked_at:
        found = clustered_share(holds, explicit.prompt, level=level)
        if name == "repeated_pairs":
            found = replace(found, interval=None)
        how = f"share of comparisons with a winner {what}"
        rows = explicit.row[holds]
        if name == "contradictions":
            rows = rows[np.argsort(which[holds], kind="stable")]
        result = found.result(name, unit="comparisons", how=how)
        measured.append(Evidence(result, columns.origins(rows, examples)))
    return measured


def judged_both_ways(columns: Columns, *, level: float, examples: int) -> list[Evidence]:
    """Labelled replies whose same reply to the same prompt is labelled otherwise elsewhere."""
    judged = columns.view("judged").astype(np.int64)
    if not len(judged):
        return []
    rows = columns.view("reply_row")[judged].astype(np.int64)
    prompts = columns.row_prompts[rows]
    _, which = np.unique(mixed(prompts, columns.view("reply")[judged].astype(np.uint64)), return_inverse=True)
    good = columns.view("desirable") == 1
    torn = (np.bincount(which, weights=good) > 0) & (np.bincount(which, weights=~good) > 0)
    found = clustered_share(torn[which], prompts, level=level)
    how = "share of labelled replies whose same reply to the same prompt is labelled otherwise elsewhere"
    result = found.result("labels_both_ways", unit="judgements", how=how)
    return [Evidence(result, columns.origins(rows[torn[which]], examples))]


def _occurs_before(hashes: Hashes) -> NDArray[np.bool_]:
    """Whether each hash stood before."""
    again = np.ones(len(hashes), dtype=np.bool_)
    again[np.unique(hashes, return_index=True)[1]] = False
    return again


def _rows_of(columns: Columns, name: str) -> tuple[_Ints, Hashes]:
    """The rows of all prompts, or of all replies, and their hashes."""
    if name == "prompts":
        return np.arange(len(columns.prompt)), columns.view("prompt").astype(np.uint64)
    return columns.view("reply_row").astype(np.int64), columns.view("reply").astype(np.uint64)
