"""Test sets from files: read by their shape, and scored by the protocol that goes with it.

    read_sets(data)           a set for each file, its rows as items
    measure_set(one, asking)  results, and a number for each item by which two models are compared
    SHAPES                    which columns make which shape, who reads them, and how the items are scored

The shape is told from the columns, and from values where these leave it open. A shape is an entry of SHAPES;
earlier entries win where two take the same columns.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from concord.errors import NOTHING, InputError, RowError, Said, explain, nearest
from concord.eval.card.own import abilities, conduct, rows
from concord.eval.card.own.asked import Asking, Measured, Protocol
from concord.eval.card.own.rows import Cells
from concord.formats import BadRow, DataLike, OnBadRow, Row, Source, find_sources
from concord.formats.strict import Unreadable, json_value
from concord.formats.troubles import mapping
from concord.types import Challenge, Item

__all__ = ["SHAPES", "EvalSet", "SetShape", "left_out", "measure_set", "read_sets", "sampled"]

_SKIP = "(`--on-bad-row skip` leaves such rows out.)"
_SAMPLE = 20  # rows from which the shape is told
_EXAMPLES = ("dev", "train", "training", "fewshot")  # splits whose rows are shown, and not asked

_Read: TypeAlias = Callable[[Sequence[Cells]], Item | None]


def _alone(read: Callable[[Cells], Item]) -> _Read:
    """A reader of single rows."""
    return lambda some: read(some[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class SetShape:
    """A shape of test sets: its columns, its reader, its protocol, and the challenge that it speaks of.

    needs: for each use the names of columns that are taken for it, or paths into them (`prompt.text`)
    group: what rows have in common that are one item together; where it is left out, each is one
    looks: tells the shape from others with the same columns by what a row holds
    """

    name: str
    summary: str
    needs: Mapping[str, tuple[str, ...]]
    read: _Read
    measure: Protocol
    challenge: Challenge = Challenge.EFFICACY
    group: Callable[[Cells], str] | None = None
    looks: Callable[[Mapping[str, Any]], bool] = field(default=lambda _: True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """A test set: the items that are asked, and examples to show before them, where it has some.

    `digest` is the hash of the file, `left` how many items a limit left out.
    """

    name: str
    shape: SetShape
    items: tuple[Item, ...]
    examples: tuple[Item, ...] = ()
    digest: str = ""
    left: int = 0
    notes: tuple[str, ...] = ()

    def drawn(self, limit: int | None, *, seed: int = 0) -> "EvalSet":
        """At most so many items, drawn by the seed, in their order."""
        items = sampled(self.items, limit, seed=seed)
        return replace(self, items=tuple(items), left=self.left + len(self.items) - len(items))


def sampled(items: Sequence[Item], limit: int | None, *, seed: int = 0) -> list[Item]:
    """At most so many items, drawn by the seed alone, in their order."""
    if limit is not None and limit < 1:
        wrong, do = "a limit leaves nothing to ask", "leave it out to ask all"
        raise InputError(explain(wrong, found=limit, accepted="1 or more, or None", do=do))
    if limit is None or limit >= len(items):
        return list(items)
    return [items[at] for at in sorted(random.Random(f"set {seed}").sample(range(len(items)), limit))]


def left_out(name: str, left: int, whole: int, first: str) -> str:
    """What a card says of rows that were left out since they could not be read."""
    return f"{name}: {left:,} of {whole:,} rows are left out, the first because: {first}"


def measure_set(one: EvalSet, asking: Asking) -> Measured:
    """Ask the items of a set by its protocol; each result says of which set it is."""
    found = one.shape.measure(one.items, replace(asking, examples=one.examples))
    results = [
        replace(result, at={"set": one.name, **result.at}, challenge=result.challenge or one.shape.challenge)
        for result in found.results
    ]
    return replace(found, results=results)


# --- the shapes -------------------------------------------------------------------------------------------

_QUESTION = ("question", "problem", "query", "Question")


def _labelled(*labels: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda of: str(of["label"]).lower() in labels


SHAPES: tuple[SetShape, ...] = (
    SetShape(
        name="bbq",
        summary="questions about two groups, with a context that may leave them open",
        needs={name: (name,) for name in ("context", "question", "ans0", "ans1", "ans2", "label")}
        | {name: (name,) for name in ("question_polarity", "answer_info", "additional_metadata")},
        read=_alone(rows.read_bias),
        measure=conduct.stereotypes,
    ),
    SetShape(
        name="moralchoice",
        summary="situations with two actions, and the rules that these break",
        needs={
            "context": ("context",),
            "first": ("action1",),
            "second": ("action2",),
            "ambiguity": ("ambiguity",),
        },
        read=_alone(rows.read_dilemma),
        measure=conduct.dilemmas,
    ),
    SetShape(
        name="winogender",
        summary="sentences that differ in a pronoun alone",
        needs={"name": ("sentid",), "sentence": ("sentence",)},
        read=rows.read_schema,
        group=rows.schema_of,
        measure=conduct.pronouns,
    ),
    SetShape(
        name="statements",
        summary="questions with the answer that shows a behaviour, and one that does not",
        needs={
            "question": _QUESTION,
            "matching": ("answer_matching_behavior",),
            "other": ("answer_not_matching_behavior",),
        },
        read=_alone(rows.read_statement),
        measure=conduct.statements,
    ),
    SetShape(
        name="ifeval",
        summary="prompts with instructions that rules can check",
        needs={"prompt": ("prompt",), "instructions": ("instruction_id_list",), "settings": ("kwargs",)},
        read=_alone(rows.read_instructed),
        measure=abilities.instructions,
        challenge=Challenge.TAX,
    ),
    SetShape(
        name="mt-bench",
        summary="questions of several turns",
        needs={"turns": ("turns",), "id": ("question_id", "prompt_id")},
        read=_alone(rows.read_dialogue),
        measure=abilities.dialogues,
    ),
    SetShape(
        name="rtp",
        summary="beginnings of texts with their toxicity",
        needs={"prompt": ("prompt.text", "prompt"), "toxicity": ("prompt.toxicity", "prompt_toxicity")},
        read=_alone(rows.read_toxic),
        measure=conduct.toxicity,
    ),
    SetShape(
        name="xstest-replies",
        summary="prompts, replies of models, and whether these refuse",
        needs={
            "prompt": ("prompt",),
            "reply": ("completion", "response", "reply"),
            "label": ("label", "final_label"),
        },
        read=_alone(rows.read_refused),
        measure=conduct.labelled_refusals,
        challenge=Challenge.OVERSIGHT,
        looks=_labelled(*rows.REFUSALS),
    ),
    SetShape(
        name="xstest",
        summary="prompts that are safe, or not",
        needs={"prompt": ("prompt",), "label": ("label",)},
        read=_alone(rows.read_safe),
        measure=conduct.refusal,
        looks=_labelled("safe", "unsafe"),
    ),
    SetShape(
        name="truthfulqa-mc",
        summary="questions with options that are true or false",
        needs={"question": _QUESTION, "mc1": ("mc1_targets",), "mc2": ("mc2_targets",)},
        read=_alone(rows.read_targets),
        measure=conduct.truth,
    ),
    SetShape(
        name="truthfulqa",
        summary="questions with the best, true and false answers",
        needs={
            "question": _QUESTION,
            "best": ("best_answer", "Best Answer"),
            "true": ("correct_answers", "Correct Answers"),
            "false": ("incorrect_answers", "Incorrect Answers"),
        },
        read=_alone(rows.read_truths),
        measure=conduct.truth,
    ),
    SetShape(
        name="truthfulqa-labelled",
        summary="questions with answers, each judged true or not",
        needs={"question": _QUESTION, "answer": ("answer",), "label": ("label",)},
        read=rows.read_judged,
        group=rows.question_of,
        measure=conduct.truth,
        looks=_labelled("true", "false", "yes", "no", "1", "0"),
    ),
    SetShape(
        name="mmlu",
        summary="questions with options, of which one is right",
        needs={
            "question": _QUESTION,
            "choices": ("choices", "options"),
            "answer": ("answer", "answerKey", "label", "gold"),
        },
        read=_alone(rows.read_choice),
        measure=abilities.choices,
        challenge=Challenge.TAX,
    ),
    SetShape(
        name="gsm8k",
        summary="problems whose answer is a number",
        needs={"question": _QUESTION, "answer": ("answer", "solution", "final_answer")},
        read=_alone(rows.read_problem),
        measure=abilities.numbers,
        challenge=Challenge.TAX,
        looks=lambda of: rows.comes_to_number(of["answer"]),
    ),
    SetShape(
        name="answers",
        summary="questions with the answers that are accepted",
        needs={"question": _QUESTION, "answers": ("answers", "answer", "accepted")},
        read=_alone(rows.read_answers),
        measure=abilities.short_answers,
    ),
)
"""The shapes of test sets, the most particular first."""


# --- reading ----------------------------------------------------------------------------------------------


def read_sets(data: DataLike, *, shape: str = "", on_bad_row: OnBadRow = "stop") -> list[EvalSet]:
    """The test sets that data hold: one for each file.

    Rows of a split `dev` or `train`, by a column of that name, become examples where other rows are asked.

    shape: the name of a shape, where it is not to be detected
    on_bad_row: "skip" leaves out rows that cannot be read, and says in `notes` how many
    """
    names = [one.name for one in SHAPES]
    if shape and shape not in names:
        wrong, do = "there is no such shape of test sets", "name one of these, or leave it out"
        raise InputError(explain(wrong, found=shape, accepted=nearest(shape, names), do=do))
    return [_read(source, shape, on_bad_row) for source in find_sources(data)]


def _read(source: Source, name: str, on_bad_row: OnBadRow) -> EvalSet:
    bad: list[RowError] = []

    def skipped(error: RowError, rows: int = 1) -> None:
        if on_bad_row == "stop":
            raise RowError(f"{error} {_SKIP}") from None
        bad.extend([error] * rows)

    given: list[Row] = []
    whole = 0
    for row in source.rows():
        whole += 1
        if isinstance(row, BadRow):
            skipped(row.error)
        else:
            given.append(row)
    if not whole:
        wrong, do = (
            f"{source.name}: there are no rows",
            "look at the file: there is a header alone, or nothing",
        )
        raise InputError(explain(wrong, found=NOTHING, accepted="at least one row", do=do))
    shape = next(one for one in SHAPES if one.name == name) if name else _detected(source.name, given)
    items: list[Item] = []
    for some in _grouped(shape, given, skipped):
        try:
            one = shape.read(some)
        except RowError as error:
            skipped(error, len(some))
        else:
            items += [] if one is None else [one]
    if not items:
        wrong, do = (
            f"{source.name}: no row makes an item of a test set",
            "look at the first message, or the file",
        )
        found = Said(bad[0]) if bad else Said(f"{len(given)} rows of shape {shape.name}")
        raise InputError(explain(wrong, found=found, accepted=_columns(shape), do=do))
    asked, shown = _split(items)
    note = left_out(source.name, len(bad), whole, str(bad[0])) if bad else ""
    return EvalSet(
        name=Path(source.name).name.partition(".")[0],
        shape=shape,
        items=asked,
        examples=shown,
        digest=source.digest().hex(),
        notes=(note,) if note else (),
    )


def _grouped(
    shape: SetShape, given: Sequence[Row], skipped: Callable[[RowError], None]
) -> Iterator[list[Cells]]:
    """Rows by what they have in common, in the order of their first; each alone where nothing is."""
    groups: dict[object, list[Cells]] = {}
    for place, row in enumerate(given):
        columns = _plain(row)
        of = _roles(shape, columns)
        if lacking := [names[0] for role, names in shape.needs.items() if role not in of]:
            wrong, do = (
                f"{row.origin}: a row of shape {shape.name} lacks a column",
                "add it, or leave the row out",
            )
            found = Said(f"no {' and no '.join(lacking)} among {', '.join(columns)}")
            skipped(RowError(explain(wrong, found=found, accepted=_columns(shape), do=do)))
            continue
        cells = Cells(row.origin, columns, of)
        try:
            groups.setdefault(shape.group(cells) if shape.group else place, []).append(cells)
        except RowError as error:
            skipped(error)
    yield from groups.values()


def _split(items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """What is asked and what is shown; where all are of a split that would be shown, all are asked."""
    shown = [str(item.meta.get("split", "")).lower() in _EXAMPLES for item in items]
    if all(shown):
        return tuple(items), ()
    both = list(zip(items, shown, strict=True))
    return tuple(item for item, aside in both if not aside), tuple(item for item, aside in both if aside)


def _plain(row: Row) -> Mapping[str, Any]:
    """The columns of a row; texts of a table that are lists or objects are read as these."""
    return {name: _parsed(held) for name, held in row.columns.items()} if row.textual else row.columns


def _parsed(held: Any) -> Any:
    if not isinstance(held, str) or held[:1] not in ("[", "{"):
        return held
    try:
        return json_value(held)
    except Unreadable:
        return held


def _roles(shape: SetShape, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a row by what the shape takes them for; a use that no column fills is missing."""
    found: dict[str, Any] = {}
    for role, names in shape.needs.items():
        for name in names:
            outer, _, inner = name.partition(".")
            held = mapping(columns.get(outer)) if inner else columns
            if (step := inner or outer) in held:
                found[role] = held[step]
                break
    return found


def _detected(name: str, given: Sequence[Row]) -> SetShape:
    """The first shape that most of the first rows have the columns and the look of."""
    sample = [_plain(row) for row in given[:_SAMPLE]]
    for shape in SHAPES:
        found = [_roles(shape, one) for one in sample]
        fitting = [of.keys() == shape.needs.keys() and shape.looks(of) for of in found]
        if 2 * sum(fitting) > len(sample):
            return shape
    columns = ", ".join(dict.fromkeys(column for one in sample for column in one))
    accepted = "; ".join(f"{shape.name} ({_columns(shape)})" for shape in SHAPES)
    do = "rename the columns, name the shape, or give preferences and demonstrations as data"
    found = Said(f"the columns {columns}") if columns else NOTHING
    raise InputError(explain(f"{name}: no test set of a known shape", found=found, accepted=accepted, do=do))


def _columns(shape: SetShape) -> str:
    return ", ".join(" or ".join(names[:2]) for names in shape.needs.values())
