"""What is in a data set, measured before anything is trained on it: `audit(readings) -> Audit`.

    readings = {"train": open_items("train.jsonl"), "test": open_items("test.jsonl")}
    found = audit(readings, renderer=Renderer.load("path/to/model"))

One pass over the rows. Of each about a hundred bytes of numbers and hashes are kept, so that a million rows
fit; of its texts, signatures in a file, by which near duplicates are found. The same rows, the same audit.

Names of results, with their coordinates in brackets; those of one split or source have it too:

    rows, rows_of_kind [kind], skipped_rows [of]        what was read
    share [of]                                          what is odd, by `facts`: ROW_, REPLY_, PAIR_FACTS
    length [side, unit, percentile], mean_length        of prompt, reply, chosen, rejected, row, conversation
    too_long [limit], covering_length [share], unrendered         with a renderer
    duplicates [of], near_duplicates [of]               of rows, prompts, replies
    contradictions, repeated_pairs, chosen_and_rejected, labels_both_ways
    leak [of, from, into]                               of prompts, prompts with a reply, near prompts
    longer_wins [length, bucket, ratio], length_gap [length], more_wins [trait], first_wins
    desirable, good_steps, mean_score [aspect], score [percentile], margin [of, percentile]
    votes_agree, votes_unanimous, votes_kappa
    intransitive_triads, pairs_on_circles, utility_fit_p, utility_accuracy, utility_accuracy_expected
    repeated_agreement, noise_ceiling
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np

from concord.data.auditing.bias import bias_results, pairs_of
from concord.data.auditing.consistency import consistency_results
from concord.data.auditing.duplicates import (
    duplicate_results,
    judged_both_ways,
    near_results,
    pair_results,
)
from concord.data.auditing.facts import (
    count_results,
    label_results,
    length_counts,
    length_results,
    mix_table,
    split_table,
)
from concord.data.auditing.findings import find_all
from concord.data.auditing.fitting import Fitting, training_flags
from concord.data.auditing.leaks import leak_results, near_leak_results
from concord.data.auditing.observe import Near, Observer
from concord.data.auditing.records import Audit, AuditSettings, Evidence, Readable, Renders, Table
from concord.data.auditing.samples import Sampler
from concord.errors import NOTHING, InputError, Said, explain
from concord.formats import Reading
from concord.render.records import Rendered
from concord.results import Result
from concord.types import Item

__all__ = ["audit"]

_BATCH = 256
_TEXTS = ("prompts", "replies")


def audit(
    readings: Mapping[str, Readable],
    *,
    renderer: Renders | None = None,
    settings: AuditSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Audit:
    """Measure the items of each split; in tokens where there is a renderer, else in characters.

    progress: called with how many rows have been looked at, every 256 rows and at the end
    """
    chosen = settings or AuditSettings()
    given = cast(object, readings)
    if not isinstance(given, Mapping):
        wrong, accepted = "an audit is told which split is which", 'audit({"train": open_items(...)})'
        found, do = Said(f"an object of type {type(given).__name__}"), "give a mapping, also of one split"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if not readings:
        do = "give a mapping from the names of splits to their items"
        raise InputError(
            explain("there is nothing to audit", found=NOTHING, accepted="one split or more", do=do)
        )
    with tempfile.TemporaryDirectory(prefix="concord-audit-") as folder:
        near = {name: Near(Path(folder) / name) for name in _TEXTS} if chosen.near else {}
        try:
            seen = Observer(chosen, near)
            sampler = Sampler(chosen.seed, chosen.samples)
            fitting = Fitting(chosen, renderer.facts.longest, seen.columns) if renderer else None
            done = 0
            for name, reading in readings.items():
                split = seen.split(name)
                for batch in _batches(reading):
                    _look(batch, split, seen, sampler, renderer, fitting)
                    done += len(batch)
                    if progress:
                        progress(done)
            if not done:
                do = "look at the path and at what was skipped"
                raise InputError(
                    explain("there are no rows to audit", found=NOTHING, accepted="one or more", do=do)
                )
            measured = _measured(readings, seen, fitting, chosen)
            measured += _near(seen, near, chosen)
        finally:
            for one in near.values():
                one.signatures.close()
    warnings = renderer.facts.warnings if renderer else ()
    results = tuple(one.result for one in measured)
    return Audit(
        results=results,
        findings=find_all(measured, warnings),
        samples=sampler.samples(renderer),
        tables=_tables(seen, results),
        lengths=length_counts(seen),
        flags=training_flags(readings, renderer, fitting),
        rows=done,
        splits=tuple(readings),
        renderer=renderer.id if renderer else "",
        notes=_notes(readings),
        mappings={name: one.plan.line for name, one in readings.items() if isinstance(one, Reading)},
    )


def _batches(items: Readable) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        if strange := [one for one in cast("list[object]", batch) if not isinstance(one, Item)]:
            found, do = Said(f"an object of type {type(strange[0]).__name__}"), "give open_items(...) of it"
            raise InputError(explain("an audit is of items", found=found, accepted="items", do=do))
        yield batch


def _look(
    batch: list[Item],
    split: int,
    seen: Observer,
    sampler: Sampler,
    renderer: Renders | None,
    fitting: Fitting | None,
) -> None:
    """Look at some rows, and at their tokens."""
    columns = seen.columns
    pairs: list[tuple[int, int]] = []
    for item in batch:
        before = len(columns.first)
        at = seen.add(item, split)
        pairs.append((before, len(columns.first)))
        sampler.offer(columns.content[-1], item, columns.splits[split], columns.sources[at[1]])
    if renderer is None or fitting is None:
        return
    for item, rendered, (start, stop) in zip(batch, renderer.render(batch), pairs, strict=True):
        lengths = fitting.add(item, rendered)
        for side, values in lengths.items():
            for value in values:
                seen.count(value, split, "tokens", side)
        if isinstance(rendered, Rendered) and stop == start + 1 and not columns.implied[start]:
            seen.count_sides(start, split, "tokens")


def _measured(
    readings: Mapping[str, Readable], seen: Observer, fitting: Fitting | None, settings: AuditSettings
) -> list[Evidence]:
    """All but near duplicates, with a few rows where these show something."""
    columns, level, examples = seen.columns, settings.level, settings.examples
    plain = [
        *count_results(seen, level=level),
        *length_results(seen),
        *label_results(seen, level=level),
    ]
    measured = [Evidence(one, tuple(seen.examples.get(str(one.at.get("of")), ()))) for one in plain]
    for number, (name, one) in enumerate(readings.items()):
        measured.append(_skipped(name, one, seen.total("rows", number)))
    measured += fitting.results() if fitting else []
    measured += duplicate_results(columns, examples=examples)
    pairs = pairs_of(columns)
    measured += pair_results(columns, pairs, level=level, examples=examples)
    measured += judged_both_ways(columns, level=level, examples=examples)
    measured += [Evidence(one) for one in bias_results(columns, pairs, level=level)]
    del pairs
    measured += leak_results(columns, level=level, examples=examples)
    measured += consistency_results(columns, level=level, seed=settings.seed, examples=examples)
    return measured


def _near(seen: Observer, near: Mapping[str, Near], settings: AuditSettings) -> list[Evidence]:
    """Near duplicates, and prompts of one split that are near to those of another."""
    measured: list[Evidence] = []
    threshold, examples = settings.threshold, settings.examples
    for name, one in near.items():
        hashes, where = np.unique(np.asarray(one.hashes, dtype=np.uint64), return_index=True)
        sketch = one.signatures.finish()
        order = np.argsort(where)
        hashes, where = hashes[order], where[order]
        taken = sketch if len(where) == len(sketch) else sketch[where]
        measured.append(
            near_results(seen.columns, hashes, taken, name, threshold=threshold, examples=examples)
        )
        if name == "prompts" and len(hashes):
            measured += near_leak_results(
                seen.columns, hashes, taken, threshold=threshold, level=settings.level, examples=examples
            )
    return measured


def _skipped(name: str, reading: Readable, read: int) -> Evidence:
    skipped, errors = (reading.skipped, reading.errors) if isinstance(reading, Reading) else (0, ())
    reasons = "; ".join(error.rstrip(".") for error in errors[:3])
    how = f"rows that could not be read{': ' + reasons if reasons else ''}"
    n = read + skipped
    value = skipped if n else None
    return Evidence(Result(name="skipped_rows", value=value, n=n, unit="rows", how=how, at={"of": name}))


def _tables(seen: Observer, results: tuple[Result, ...]) -> tuple[Table, ...]:
    return (split_table(seen, results), mix_table(seen, results))


def _notes(readings: Mapping[str, Readable]) -> tuple[str, ...]:
    """What the readers had to say, each thing once."""
    said = (note for one in readings.values() if isinstance(one, Reading) for note in one.notes)
    return tuple(dict.fromkeys(said))
