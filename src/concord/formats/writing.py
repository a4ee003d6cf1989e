"""Items as rows again: TRL's columns where TRL has some for the kind, else Concord's own.

    to_row       one item as the columns of a row
    write_items  items as JSON lines, whole or not at all

What TRL's columns cannot hold is refused, never dropped: ties, soft preferences, votes and aspects, plain
prompts, exact tokens. Per-turn marks (`trained`) are written as a field of the message, meta as further
columns. The chosen reply comes first. Kinds for which TRL has no columns (candidates, rankings, ratings,
trajectories, segment comparisons) are written as Concord's own rows.
"""

import base64
import gzip
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal, NoReturn, cast

from concord import wire
from concord.durable import aside, disk_message, sync_directory
from concord.errors import InputError, RunError, Said, explain
from concord.formats.conversations import shared_text
from concord.types import JSON, Audio, Image, Item, Message, Part, Prompt, Text, Turns, Video
from concord.views import Comparison, Demonstration, Dialogue, Judgement, Steps, Task, View, view

__all__ = ["to_row", "write_items"]

_SWAPPED = {"ref_chosen_logps": "ref_rejected_logps", "ref_rejected_logps": "ref_chosen_logps"}
_FRAME = {"system", "tools", "chat_template_kwargs", "images", "image"}  # read as parts of the prompt


def to_row(item: Item, *, shape: Literal["trl", "concord"] = "trl") -> dict[str, JSON]:
    """The columns of a row that says what the item says, its origin left out.

    "concord" holds every item; "trl" the kinds that TRL has, and refuses what its columns cannot hold.
    """
    if shape not in ("trl", "concord"):
        do = "choose one of the two"
        raise InputError(explain("items have no such shape", found=shape, accepted="trl or concord", do=do))
    seen = view(item)
    if shape == "concord" or not isinstance(
        seen, Task | Demonstration | Dialogue | Comparison | Judgement | Steps
    ):
        row = dict(cast("Mapping[str, JSON]", wire.to_json(item)))
        row.pop("origin", None)
        return row
    if item.prompt.tokens is not None:
        _refuse(item, "the prompt is exact tokens", Said(f"{len(item.prompt.tokens)} tokens"))
    columns, meta = _columns(item, seen), dict(item.meta)
    if isinstance(seen, Comparison) and seen.preference < 0.5:
        meta = {_SWAPPED.get(key, key): value for key, value in meta.items()}
        if isinstance(both := meta.get("ref_logps"), list | tuple):
            meta["ref_logps"] = list(reversed(cast("list[JSON]", both)))
    if taken := sorted((columns.keys() | _FRAME) & meta.keys()):
        _refuse(item, f"meta holds {taken[0]!r}, which is the name of a column here", meta[taken[0]])
    return {**columns, **meta}


def _refuse(item: Item, wrong: str, found: object) -> NoReturn:
    where = f"{item.origin}: " if item.origin else ""
    accepted, do = "what TRL's columns can hold", 'write this item with shape="concord"'
    raise InputError(where + explain(wrong, found=found, accepted=accepted, do=do))


def _columns(item: Item, seen: View) -> dict[str, JSON]:
    """The columns that TRL has for a kind."""
    prompt = item.prompt
    match seen:
        case Comparison():
            return _compared(item, seen)
        case Demonstration(_, (turn,)) if prompt == Prompt((), plain=True) and turn == Message(
            "assistant", turn.text
        ):
            return {"text": turn.text}
        case _ if prompt.plain or not prompt.messages:
            _refuse(item, "the prompt is plain text, or nothing", prompt.text)
        case Demonstration(_, reply) | Dialogue(_, reply):
            return {**_asked(item), "completion": _said(item, reply)}
        case Judgement(_, reply, desirable):
            return {**_asked(item), "completion": _said(item, reply), "label": desirable}
        case Steps(_, (turn,), labels) if turn == Message("assistant", turn.content):
            steps = [part.text for part in turn.parts if isinstance(part, Text)]
            if len(steps) < len(turn.parts):
                _refuse(item, "a step is not text", Said(f"{len(turn.parts)} steps"))
            return {**_asked(item), "completions": steps, "labels": [_truth(label) for label in labels]}
        case Steps():
            _refuse(
                item,
                "the steps are spread over turns, or say more than text",
                Said(f"{len(seen.reply)} turns"),
            )
        case _:
            return _asked(item)


def _truth(label: float | None) -> JSON:
    return bool(label) if label in (0, 1) else label


def _compared(item: Item, pair: Comparison) -> dict[str, JSON]:
    """The columns of a sure preference, the better reply first."""
    if pair.preference not in (0, 1):
        _refuse(item, "the preference is a tie or a soft one", pair.preference)
    if pair.votes is not None or pair.aspects:
        _refuse(item, "there are votes or aspects", pair.votes or dict(pair.aspects))
    known: dict[str, JSON] = {}
    best = pair.better_first
    if best.strength is not None:
        known["margin"] = best.strength
    if best.scores is not None:
        known |= {"score_chosen": best.scores[0], "score_rejected": best.scores[1]}
    if not item.prompt.plain:
        if not item.prompt.messages:
            _refuse(item, "there is no prompt", Said("no message"))
        return {
            **_asked(item),
            "chosen": _said(item, best.first),
            "rejected": _said(item, best.second),
            **known,
        }
    start = item.prompt.text
    sides = [start + turns[0].text for turns in (best.first, best.second)]
    simple = all(turns == (Message("assistant", turns[0].text),) for turns in (best.first, best.second))
    if not simple or item.prompt.tools or shared_text(*sides) != len(start):
        _refuse(item, "the prompt is plain text that cannot be told from the replies", start)
    return {"chosen": sides[0], "rejected": sides[1], **known}


def _asked(item: Item) -> dict[str, JSON]:
    prompt = item.prompt
    columns: dict[str, JSON] = {"prompt": _said(item, prompt.messages)}
    if prompt.tools:
        columns["tools"] = list(prompt.tools)
    if prompt.template_args:
        columns["chat_template_kwargs"] = dict(prompt.template_args)
    return columns


def _said(item: Item, turns: Turns) -> list[JSON]:
    return [_message(item, turn) for turn in turns]


def _message(item: Item, turn: Message) -> dict[str, JSON]:
    content: JSON = (
        turn.content if isinstance(turn.content, str) else [_part(item, one) for one in turn.content]
    )
    given: dict[str, JSON] = {"role": turn.role, "content": content}
    calls: list[JSON] = [
        {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
        for call in turn.tool_calls
    ]
    further: dict[str, JSON] = {
        "name": turn.name,
        "reasoning_content": turn.reasoning,
        "tool_calls": calls or None,
        "tool_call_id": turn.tool_call_id,
        "trained": turn.trained,
    }
    return given | {key: value for key, value in further.items() if value is not None}


def _part(item: Item, part: Part) -> JSON:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(source, media_type=kind):
            return {"type": "image", "image": _address(item, source, kind)}
        case Audio(source, media_type=kind):
            return {"type": "audio", "audio": _address(item, source, kind)}
        case Video(str() | bytes() as source, fps=None, media_type=kind):
            return {"type": "video", "video": _address(item, source, kind)}
        case _:
            _refuse(item, "a part of a message has no place there", Said(type(part).__name__))


def _address(item: Item, source: str | bytes, kind: str | None) -> str:
    if isinstance(source, bytes):
        return f"data:{kind or ''};base64,{base64.b64encode(source).decode('ascii')}"
    if kind is not None:
        _refuse(item, "a path with a media type", kind)
    return source


def write_items(items: Iterable[Item], path: str | Path, *, shape: Literal["trl", "concord"] = "trl") -> int:
    """Write items as JSON lines (compressed where the name ends in .gz) and say how many.

    The file is written aside and renamed at the end, so it is whole or as it was before.
    """
    path = Path(path)
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        accepted, do = "a name that ends in .jsonl or .jsonl.gz", "name it so"
        raise InputError(
            explain("items are written as JSON lines", found=path.name, accepted=accepted, do=do)
        )
    draft, number = aside(path), 0
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(draft.open("xb"))
            packed = path.suffix == ".gz"
            out: IO[bytes] = cast("IO[bytes]", gzip.GzipFile("", "wb", 6, raw, mtime=0)) if packed else raw
            for item in items:
                out.write(_line(item, shape))
                number += 1
            if packed:
                out.close()
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(draft, path)
        sync_directory(path.parent)
    except OSError as error:
        kept = "what stood there before is whole"
        raise RunError(disk_message(error, doing=f"writing {path}", kept=kept)) from error
    finally:
        draft.unlink(missing_ok=True)
    return number


def _line(item: Item, shape: Literal["trl", "concord"]) -> bytes:
    row: Any = to_row(item, shape=shape)
    try:
        return wire.dumps(row, cls=Any).encode() + b"\n"
    except InputError as error:
        where = f"{item.origin}: " if item.origin else ""
        raise InputError(where + str(error)) from None
