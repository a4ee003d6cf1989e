"""Find out what rows are: the one shape that explains most of their columns, or the mappings to choose from.

What knows the utility of replies comes before examples, and these before prompts or texts alone; a shape that
takes all the columns of another one, and more, comes before it. Where two are left, or values could mean two
things, nothing is guessed: the error has one mapping for each reading.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn, cast

from concord.errors import InputError, RowError, Said, explain
from concord.formats.cells import LONGEST_VALUE, Field, looks_printed
from concord.formats.lines import written
from concord.formats.mapping import Plan, parse_mapping
from concord.formats.matching import Sample, closest, is_chat, is_replies, is_said, lacks, matched
from concord.formats.rows import Row
from concord.formats.shapes import SHAPES, Shape
from concord.formats.values import label_line, needed, refuse, settled, words_of
from concord.places import brief
from concord.views import view

__all__ = ["detect"]

_REPLYING = (
    *("continuation", "completion", "response", "reply", "replies", "output", "answer"),
    *("chosen", "rejected", "candidate"),
)
_ABOUT = ("_id", "format", "info", "model", "type", "length", "source")  # words of what is said about a reply
_TRIED = 20  # rows on which a mapping that is proposed is tried
_WORTH = {name for shape in SHAPES for role in ("label", "score") for name in shape.needs.get(role, ())}
_ASKING = ("prompt", "question", "instruction", "query", "problem", "turns", "input", "context")


def detect(sample: Sequence[Row]) -> Plan:
    """The plan for rows like these, or an error with the mappings to choose from."""
    seen = Sample(sample)
    if not seen.columns:
        accepted, do = "rows with columns", "give data that has rows"
        raise InputError(
            explain("there is nothing to look at", found=Said("no row"), accepted=accepted, do=do)
        )
    found = [(shape, matched(shape, seen)) for shape in SHAPES]
    fitting = [(shape, fields) for shape, fields in found if not lacks(shape, fields, seen)]
    if not fitting:
        _refuse_unknown(seen)
    if fitting[0][0].looks == "item":
        return _own(*fitting[0], seen)
    highest = max(_rank(shape) for shape, _ in fitting)
    best = _widest([one for one in fitting if _rank(one[0]) == highest])
    if len(best) > 1:
        lines = [written(fields) for _, fields in best]
        wrong = f"the columns can be read as {' or as '.join(shape.summary for shape, _ in best)}"
        refuse(seen, wrong, "one reading", lines)
    shape, fields = best[0]
    _check_doubts(shape, fields, seen)
    fields = settled(shape, fields, seen)
    return Plan(shape, fields, shape.kind, columns=seen.columns)


def _rank(shape: Shape) -> int:
    """How much rows of a shape say: what replies are worth, what to reply, or a prompt or a text alone."""
    if shape.name == "text" or shape.kind == "task":
        return 0
    return 1 if shape.kind == "demonstration" else 2


def _own(shape: Shape, fields: Mapping[str, Field], seen: Sample) -> Plan:
    """The plan for items as Concord writes them; the first one that can be read tells the kind."""
    plan = Plan(shape, fields, shape.kind, columns=("prompt",))
    for row in seen.rows:
        try:
            return replace(plan, kind=view(plan.read(row)[0]).kind)
        except RowError:
            continue
    return plan


def _widest(fitting: list[tuple[Shape, dict[str, Field]]]) -> list[tuple[Shape, dict[str, Field]]]:
    """The shapes whose needed columns are not all taken by another, earlier or wider one."""
    left: list[tuple[Shape, dict[str, Field]]] = []
    for at, (shape, fields) in enumerate(fitting):
        names = _names(shape, fields)
        others = [(place, {one.name for one in other.values()}) for place, (_, other) in enumerate(fitting)]
        wider = [
            place
            for place, all_names in others
            if place != at
            and names <= all_names
            and (place < at or not _names(*fitting[place]) <= {one.name for one in fields.values()})
        ]
        if not wider:
            left.append((shape, fields))
    return left


def _names(shape: Shape, fields: Mapping[str, Field]) -> set[str]:
    return {one.name for one in needed(shape, fields).values()}


# --- what is refused --------------------------------------------------------------------------------------


def _check_doubts(shape: Shape, fields: Mapping[str, Field], seen: Sample) -> None:
    """Refuse rows whose other columns say that the obvious reading may not be the one that is meant."""
    used = {one.column for one in fields.values()}
    rest = [name for name in seen.columns if name not in used and seen.values(name)]
    if shape.name == "text":
        _check_class(rest, seen)
    elif shape.kind == "demonstration":
        _check_worth(shape, fields, rest, seen)
    if shape.name in ("question-answer", "prompt-reply", "unpaired"):
        _check_choices(fields, rest, seen)
    if shape.name == "prompt":
        _check_replies(fields["prompt"], rest, seen)


def _check_class(rest: Sequence[str], seen: Sample) -> None:
    """Refuse texts with a label, which may be what is learned."""
    if name := next((name for name in ("label", "labels") if name in rest), ""):
        lines = [
            "text=text",
            f"text=text {label_line(name, seen)}".rstrip(),
            f"prompt=text reply={Field(name, words_of(name, seen)).text}",
        ]
        wrong = f"texts with {name!r} can be text alone, texts judged good or bad, or a prompt and its class"
        refuse(seen, wrong, "one reading", lines)


def _check_worth(shape: Shape, fields: Mapping[str, Field], rest: Sequence[str], seen: Sample) -> None:
    """Refuse examples with a label or score that could not be read: perhaps not all are to be imitated."""
    if name := next((name for name in rest if name in _WORTH), ""):
        label = label_line(name, seen)
        judged = f"{written(needed(shape, fields))} {label}"
        lines = [written(fields), *([judged] if label and _reads(judged, seen) else [])]
        wrong = f"not all replies may be good ones: {name!r} seems to say what they are worth"
        refuse(seen, wrong, "replies imitated (the rest is kept in meta), or judged", lines)


def _check_choices(fields: Mapping[str, Field], rest: Sequence[str], seen: Sample) -> None:
    """Refuse questions of which a part stands in another column."""
    if name := next((name for name in ("choices", "options") if name in rest), ""):
        asked = {"prompt": fields["prompt"]}
        lines = [written(asked), written({**asked, "reply": fields["reply"]})]
        wrong = f"the question is one with {name!r}, which are not in its text"
        refuse(seen, wrong, "a prompt alone (the rest is for the reward), or a prompt and its reply", lines)


def _check_replies(prompt: Field, rest: Sequence[str], seen: Sample) -> None:
    """Refuse prompts with columns beside them that may be replies."""
    if names := [name for name in rest if _sounds(name, _REPLYING, seen)]:
        lines = [written({"prompt": prompt}), *_with_replies({"prompt": prompt}, names, seen)]
        shown = " and ".join(repr(brief(name)) for name in names[:4])
        wrong = f"beside the prompt there is {shown}, which may be a reply"
        refuse(seen, wrong, "a prompt alone (the rest is kept in meta), or replies too", lines)


def _with_replies(asked: Mapping[str, Field], names: Sequence[str], seen: Sample) -> list[str]:
    """The mappings that read columns as replies: those that could be meant, and that do read a row."""
    one = Field(names[0])
    meant: list[dict[str, Field]] = [{"reply": one}, {"replies": one}]
    if len(names) > 1:
        other = Field(names[1])
        two = {"first": one, "second": other}
        meant = [{"chosen": one, "rejected": other}, {"chosen": other, "rejected": one}, two]
        meant.append({**two, "votes": Field("votes")})
    lines = [written({**asked, **roles}) for roles in meant]
    return [line for line in lines if _reads(line, seen)]


def _reads(line: str, seen: Sample) -> bool:
    """Whether a mapping reads one of the first rows."""
    try:
        plan = parse_mapping(line, seen.rows)
    except InputError:
        return False
    for row in seen.rows[:_TRIED]:
        with suppress(RowError):
            return bool(plan.read(row))
    return False


def _sounds(name: str, words: Sequence[str], seen: Sample) -> bool:
    """Whether a column of texts, or of lists of them, has a name with one of these words in it."""
    values, folded = seen.values(name), name.casefold()
    text = bool(values) and (is_said(values[0]) or is_replies(values[0]))
    return text and any(word in folded for word in words) and not any(word in folded for word in _ABOUT)


def _refuse_unknown(seen: Sample) -> NoReturn:
    """Say which shape is the nearest, what it lacks, and how to name the columns."""
    if printed := next((name for name in seen.columns if any(map(looks_printed, seen.values(name)[:1]))), ""):
        wrong, found = (
            f"{seen.rows[0].origin.file}: column {printed!r} holds Python, not JSON",
            brief(seen.values(printed)[0]),
        )
        accepted, do = '[{"role": ..., "content": ...}, ...]', "write each cell by `json.dumps(...)`"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    shape, fields, missing = closest(seen)
    texts = _texts(seen)
    names = [(at, name) for name in texts for at, word in enumerate(_ASKING) if word in name.casefold()]
    asking = [name for _, name in sorted(names, key=lambda one: one[0])]
    replying = [name for name in seen.columns if name not in asking and _sounds(name, _REPLYING, seen)]
    chats = [name for name in seen.columns if any(map(is_chat, seen.values(name)[:1]))]
    lines = [written({"prompt": Field(name)}) for name in chats]
    if asking and replying:
        lines += _with_replies({"prompt": Field(asking[0])}, replying, seen)
    if asking:
        lines.append(written({"prompt": Field(asking[0])}))
    elif len(texts) > 1 and not chats:
        lines += ["prompt=COLUMN reply=COLUMN", "prompt=COLUMN chosen=COLUMN rejected=COLUMN"]
    if texts:
        lines.append(written({"text": Field(texts[0])}))
    has = ", ".join(repr(one.name) for one in needed(shape, fields).values())
    wants = [
        f"{role} ({' or '.join(shape.needs[role][:4])})" if role in shape.needs else role for role in missing
    ]
    near = (
        f"the nearest shape is {shape.name!r} ({shape.summary}): it has {has}, and lacks {', '.join(wants)}"
    )
    accepted = near if has else "rows with a prompt, replies, messages or text (docs: data formats)"
    refuse(
        seen, "these columns make no shape that is known", accepted, lines or ["prompt=COLUMN reply=COLUMN"]
    )


def _texts(seen: Sample) -> list[str]:
    """Columns of text, and paths to texts inside columns, the longest text first; names without end aside."""
    found: dict[str, float] = {}

    def look(name: str, value: Any, depth: int) -> None:
        if isinstance(value, str) and " " in value:
            texts = [one for one in seen.values(name) if isinstance(one, str)]
            if texts and len(texts) == len(seen.values(name)):  # no path leads to a key with a point in it
                found[name] = sum(map(len, texts)) / len(texts)
        elif isinstance(value, Mapping) and depth:
            for key, inner in cast(Mapping[str, Any], value).items():
                look(f"{name}.{key}", inner, depth - 1)
        elif isinstance(value, list) and value and depth:
            look(f"{name}.0", value[0], depth - 1)

    for name in seen.columns:
        for value in seen.values(name)[:1]:
            look(name, value, 4)
    return sorted((name for name in found if len(name) <= LONGEST_VALUE), key=lambda name: -found[name])
