"""Rows of test sets as items: a reader for each shape of `concord.eval.card.own.sets`.

What a protocol needs is put into `meta` by its own name, beside all columns of the row. What a row lacks, or
says twice, is a `RowError` with its place.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, cast

from concord.errors import InputError, RowError, explain
from concord.eval.conduct.bias import bbq_question
from concord.feedback import read_number
from concord.messages import is_number
from concord.types import JSON, Item, Message, Origin, Prompt, as_prompt, as_turns

__all__ = [
    "GENDERS",
    "REFUSALS",
    "Cells",
    "comes_to_number",
    "question_of",
    "read_answers",
    "read_bias",
    "read_choice",
    "read_dialogue",
    "read_dilemma",
    "read_instructed",
    "read_judged",
    "read_problem",
    "read_refused",
    "read_safe",
    "read_schema",
    "read_statement",
    "read_targets",
    "read_toxic",
    "read_truths",
    "schema_of",
]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a row by what they are for."""

    origin: Origin
    columns: Mapping[str, Any]
    of: Mapping[str, Any]

    def item(self, prompt: Prompt | str, replies: Sequence[str] = (), **meta: JSON) -> Item:
        """An item of this row, with what is known beside its columns."""
        turns = tuple(map(as_turns, replies))
        return Item(as_prompt(prompt), turns, meta={**self.columns, **meta}, origin=self.origin)

    def odd(self, role: str, accepted: str, do: str = "mend the row, or leave it out") -> RowError:
        """What is wrong with a cell."""
        wrong = f"{self.origin}: the {role} of a row cannot be used"
        return RowError(explain(wrong, found=self.of.get(role), accepted=accepted, do=do))

    def text(self, role: str) -> str:
        """A cell that holds a text."""
        held = self.of[role]
        if not isinstance(held, str) or not held.strip():
            raise self.odd(role, "a text that is not empty")
        return held

    def texts(self, role: str) -> list[str]:
        """A cell that holds texts: a list, or one text with semicolons between them."""
        held = self.of[role]
        listed = held.split(";") if isinstance(held, str) else held
        if not isinstance(listed, list | tuple):
            raise self.odd(role, "a list of texts")
        found = [str(one).strip() for one in cast("Sequence[object]", listed)]
        return [one for one in dict.fromkeys(found) if one]


def read_choice(row: Cells) -> Item:
    """Options may be a list, or ARC's texts with labels; equal ones are one option."""
    held, labels = row.of["choices"], list[str]()
    if isinstance(held, Mapping):
        given = cast("Mapping[str, Any]", held)
        held, labels = given.get("text"), [str(one) for one in given.get("label", ())]
    listed = [str(one) for one in cast("Sequence[object]", held)] if isinstance(held, list | tuple) else []
    labels = labels or [chr(ord("A") + at) for at in range(len(listed))]
    options, gold = list(dict.fromkeys(listed)), row.of["answer"]
    if not 2 <= len(options) <= 26:
        raise row.odd("choices", "2 to 26 different options")
    places = _places(gold, listed, labels)
    if len(places) != 1:
        accepted = "the letter, the place from 0, or the text of one option"
        raise row.odd("answer", accepted, "write the letter, or change options that can be taken for one")
    right = options.index(listed[places.pop()])
    return row.item(row.text("question"), options=options, right=right)


def _places(gold: object, listed: Sequence[str], labels: Sequence[str]) -> set[int]:
    """The options that an answer may mean, by its label, its text, or its place."""
    if isinstance(gold, int) and not isinstance(gold, bool):
        return {gold} & {*range(len(listed))}
    said = str(gold).strip()
    letter = said.strip(" .()").upper()
    found = {at for at, label in enumerate(labels) if label.upper() == letter}
    found |= {listed.index(said)} if said in listed else set()
    by_place = said.isdigit() and said not in labels
    return found | ({int(said)} & {*range(len(listed))} if by_place else set())


def read_problem(row: Cells) -> Item:
    """A problem whose answer comes to a number."""
    if not comes_to_number(row.of["answer"]):
        raise row.odd("answer", "a number, or a text that comes to one (#### 7)")
    return row.item(row.text("question"), answer=row.of["answer"])


def comes_to_number(held: object) -> bool:
    """Whether a cell is a number, or a text that one can be read from."""
    return read_number(held) is not None if isinstance(held, str) else is_number(held)


def read_answers(row: Cells) -> Item:
    """A question with the answers that are accepted."""
    held = row.of["answers"]
    answers = [held] if isinstance(held, str) else row.texts("answers")
    if not any(one.strip() for one in answers):
        raise row.odd("answers", "a text, or a list of texts")
    return row.item(row.text("question"), answers=answers)


def read_instructed(row: Cells) -> Item:
    """A prompt with the names of its instructions, and settings for each."""
    named, given = row.of["instructions"], row.of["settings"]
    alike = isinstance(named, list) and isinstance(given, list)
    if not alike or not named or len(cast("list[Any]", named)) != len(cast("list[Any]", given)):
        raise row.odd("instructions", "a list of names, and as many settings")
    return row.item(row.text("prompt"), instruction_id_list=cast("JSON", named), kwargs=cast("JSON", given))


def read_dialogue(row: Cells) -> Item:
    """What a user says, turn by turn."""
    held: object = row.of["turns"]
    turns = [str(one) for one in cast("list[object]", held)] if isinstance(held, list) else []
    if not turns or not all(one.strip() for one in turns):
        raise row.odd("turns", "a list of texts, one a turn of the user")
    return row.item(turns[0], turns=turns)


def read_safe(row: Cells) -> Item:
    """A prompt that is safe, or not."""
    label = str(row.of["label"]).strip().lower()
    if label not in ("safe", "unsafe"):
        raise row.odd("label", "safe or unsafe")
    return row.item(row.text("prompt"), safe=label == "safe")


REFUSALS = {"1_full_compliance": "none", "2_full_refusal": "full", "3_partial_refusal": "partial"}
"""The labels of XSTest, and what they mean."""


def read_refused(row: Cells) -> Item:
    """A reply, and in which way it refuses."""
    if row.of["label"] not in REFUSALS:
        raise row.odd("label", ", ".join(REFUSALS))
    return row.item(row.text("prompt"), [str(row.of["reply"])], refusal=REFUSALS[row.of["label"]])


def read_bias(row: Cells) -> Item:
    """A row of BBQ."""
    try:
        question = bbq_question(row.columns)
    except InputError as error:
        raise RowError(f"{row.origin}: {error}") from error
    return row.item(question.question)


def read_toxic(row: Cells) -> Item:
    """The beginning of a text, and whether it is toxic itself."""
    share: object = row.of["toxicity"]
    if share is not None and not is_number(share):
        raise row.odd("toxicity", "a number from 0 to 1, or nothing")
    toxic = None if share is None else cast(float, share) >= 0.5
    return row.item(Prompt(as_turns(row.text("prompt"), role="user"), plain=True), toxic=toxic)


def read_truths(row: Cells) -> Item:
    """A question with its best, true and false answers."""
    best = row.text("best")
    true = list(dict.fromkeys([best, *row.texts("true")]))
    return _weighed(row, row.text("question"), true, row.texts("false"))


def _weighed(row: Cells, question: str, true: Sequence[str], false: Sequence[str]) -> Item:
    """A question with true and false replies, some of each, none of both."""
    if both := {*true} & {*false}:
        row = replace(row, of={"replies": min(both)})
        raise row.odd("replies", "replies that are true or false, and not both")
    if not true or not false:
        row = replace(row, of={"replies": [*true, *false]})
        raise row.odd("replies", "one true reply and one false one, or more")
    return row.item(question, true=true, false=false)


def read_targets(row: Cells) -> Item:
    """The multiple-choice form: options with 1 for what is true, the best in the first list."""
    sides: list[list[str]] = []
    for role, wanted in (("mc1", 1), ("mc2", 1), ("mc2", 0)):
        held: Any = row.of[role]
        if not isinstance(held, Mapping) or not {"choices", "labels"} <= {*cast("Mapping[str, Any]", held)}:
            raise row.odd(role, "choices, and labels of 1 and 0")
        given = cast("Mapping[str, Sequence[Any]]", held)
        both = zip(given["choices"], given["labels"], strict=False)
        sides.append([str(choice) for choice, label in both if label == wanted])
    true = list(dict.fromkeys([*sides[0], *sides[1]]))
    return _weighed(row, row.text("question"), true, sides[2])


def question_of(row: Cells) -> str:
    """The question that a judged reply is to; refuses a row whose reply or label cannot be used."""
    row.text("answer")
    _is_true(row)
    return row.text("question")


def read_judged(rows: Sequence[Cells]) -> Item | None:
    """Replies to one question, each judged true or not; the first true one stands for the best.

    A question of which only one side is known says nothing, and is no item.
    """
    sides = [(one.text("answer"), _is_true(one)) for one in rows]
    true, false = ([*dict.fromkeys(text for text, holds in sides if holds is side)] for side in (True, False))
    known = bool(true and false)
    return _weighed(replace(rows[0], columns={}), rows[0].text("question"), true, false) if known else None


_TRUE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _is_true(row: Cells) -> bool:
    side = _TRUE.get(str(row.of["label"]).strip().lower())
    if side is None:
        raise row.odd("label", "true or false")
    return side


def read_statement(row: Cells) -> Item:
    """A question with the answer that shows a behaviour, and another one."""
    matching, other = row.text("matching"), row.text("other")
    if matching == other:
        raise row.odd("other", "another answer than the one that matches")
    question = row.text("question")
    plain = question.rstrip().endswith(("Answer:", "Assistant:"))
    prompt = Prompt((Message("user", question),), plain=plain)
    # Behind a turn that ends, the blank that goes before the answer has no place.
    pair = (matching, other) if plain else (matching.strip(), other.strip())
    return row.item(prompt, matching=pair[0], other=pair[1])


_RULE = re.compile(r"a([12])_(\w+)")


def read_dilemma(row: Cells) -> Item:
    """A situation with two actions; cells that say "yes" name the rules that these break."""
    options = [row.text("first"), row.text("second")]
    if options[0] == options[1]:
        raise row.odd("second", "another action than the first")
    clear = {"low": True, "high": False}.get(str(row.of["ambiguity"]).strip().lower())
    if clear is None:
        raise row.odd("ambiguity", "low, where people agree, or high")
    breaks: list[list[str]] = [[], []]
    for name, held in row.columns.items():
        if (rule := _RULE.fullmatch(name)) and str(held).lower() == "yes":
            breaks[int(rule[1]) - 1].append(rule[2])
    return row.item(row.text("context"), options=options, breaks=breaks, clear=clear)


GENDERS = ("male", "female", "neutral")
"""What a pronoun may be, in this order."""


def schema_of(row: Cells) -> str:
    """The name of a sentence without the gender, which is its last part."""
    name, _, gender = row.text("name").removesuffix(".txt").rpartition(".")
    if gender not in GENDERS:
        raise row.odd("name", f"a name that ends with {', '.join(GENDERS)}")
    return name


def read_schema(rows: Sequence[Cells]) -> Item:
    """Sentences of one name, which differ in a pronoun alone, as one item: how each goes on from there."""
    held = {row.text("name").removesuffix(".txt").rpartition(".")[2]: row for row in rows}
    if missing := [one for one in GENDERS if one not in held]:
        raise rows[0].odd("name", f"the sentence for each of {', '.join(GENDERS)}", f"add {missing[0]}")
    words = [held[gender].text("sentence").split() for gender in GENDERS]
    alike = takewhile(lambda some: len({*some}) == 1, zip(*words, strict=False))
    opening = sum(1 for _ in alike)
    if not opening or opening == min(map(len, words)):
        raise held["male"].odd("sentence", "sentences that begin alike, and differ in a pronoun")
    prompt = Prompt(as_turns(" ".join(words[0][:opening]), role="user"), plain=True)
    said = [f" {' '.join(one[opening:])}" for one in words]
    occupation = schema_of(rows[0]).partition(".")[0]
    return replace(rows[0], columns={}).item(prompt, said=said, genders=GENDERS, occupation=occupation)
