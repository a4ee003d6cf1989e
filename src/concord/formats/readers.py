"""How the values of a row become items: one reader for each way of knowing what replies are worth.

A reader takes the cells of a row and gives pieces: prompt, replies, and what is known of their utility.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from concord import wire
from concord.errors import InputError, Said
from concord.formats.cells import Cells
from concord.formats.conversations import hh_turns, judged_turns, shared_text, shown_turns, turns
from concord.formats.prompts import (
    conversation_of,
    framed,
    furnished,
    left_open,
    prompt_of,
    replied,
    reply_of,
    saying,
    told,
)
from concord.formats.troubles import mapping, trouble
from concord.places import Place
from concord.types import (
    Item,
    Label,
    Message,
    Preference,
    Prompt,
    Ranks,
    Ratings,
    Shown,
    StepLabels,
    Text,
    TurnRewards,
    Turns,
    Utilities,
)
from concord.views import split_shared_prefix

__all__ = [
    "Pieces",
    "Reader",
    "read_compared",
    "read_dialogue_text",
    "read_dialogue_text_pair",
    "read_instances",
    "read_item",
    "read_judged",
    "read_judged_text",
    "read_listed",
    "read_messages",
    "read_rated",
    "read_shared",
    "read_shown",
    "read_steps",
    "read_task",
    "read_text",
    "read_trajectory",
    "read_two",
]

Pieces: TypeAlias = list[tuple[Prompt, tuple[Turns, ...], Utilities]]
Reader: TypeAlias = Callable[[Cells], Pieces]

_SHOWN, _FIRST = Shown(), Preference()
_PLAIN = Prompt((), plain=True)
_DESIRABLE = {True: Label(True), False: Label(False)}


# --- demonstrations and tasks -----------------------------------------------------------------------------


def read_text(cells: Cells) -> Pieces:
    """Text to be learned from as it stands: a reply to nothing, which no template touches."""
    return [(_PLAIN, (saying(cells, "text", _plain(cells)),), _SHOWN)]


def _plain(cells: Cells) -> Turns:
    value = cells.need("text")
    if not isinstance(value, str):
        raise trouble(cells.place("text"), "this is not text", found=value, accepted="text", do="write text")
    return (Message("assistant", value),)


def read_messages(cells: Cells) -> Pieces:
    """A conversation to be imitated: all turns of the assistant, unless a turn says otherwise."""
    conversation, place = conversation_of(cells), cells.place("messages")
    prompt, reply = shown_turns(conversation, place)
    return [(told(cells, prompt), (saying(cells, "messages", reply),), _SHOWN)]


def read_task(cells: Cells) -> Pieces:
    """A prompt alone; all other columns are for whoever rewards the replies."""
    return [(prompt_of(cells), (), None)]


def read_shown(cells: Cells) -> Pieces:
    """A prompt and the reply to be imitated."""
    return [(prompt_of(cells), (saying(cells, "reply", reply_of(cells, "reply")),), _SHOWN)]


def read_instances(cells: Cells) -> Pieces:
    """An instruction with several examples, each an input (perhaps an empty one) and its output."""
    asked, outputs, inputs = cells.need("prompt"), cells.list("outputs"), cells.json("inputs")
    inputs = [None] * len(outputs) if inputs is None else inputs
    _alike(cells, "inputs", len(inputs), len(outputs))
    pieces: Pieces = []
    for at, (given, said) in enumerate(zip(inputs, outputs, strict=True)):
        place = (cells.place("outputs"), at)
        texts = (asked, said, "" if given is None else given)
        if not all(isinstance(one, str) for one in texts) or not asked or not said:
            wrong, accepted = "an example is not given in text", "an instruction, an output, perhaps an input"
            raise trouble(
                place, wrong, found=said, accepted=accepted, do="write its text, or leave the row out"
            )
        prompt = framed(cells, (Message("user", f"{asked}\n{given}" if given else asked),))
        pieces.append((prompt, ((Message("assistant", said),),), _SHOWN))
    return pieces


# --- labels and scores ------------------------------------------------------------------------------------


def _judged(cells: Cells) -> tuple[Prompt, Turns]:
    """The prompt and the one reply of a row: from two columns, or from one conversation."""
    if cells.has("messages"):
        prompt, reply = judged_turns(conversation_of(cells), cells.place("messages"))
        return told(cells, prompt), reply
    return prompt_of(cells), reply_of(cells, "reply")


def read_judged(cells: Cells) -> Pieces:
    """A reply, and whether it is desirable."""
    prompt, reply = _judged(cells)
    return [(prompt, (reply,), _DESIRABLE[cells.truth("label")])]


def read_judged_text(cells: Cells) -> Pieces:
    """A text without prompt, and whether it is desirable."""
    return [(_PLAIN, (_plain(cells),), _DESIRABLE[cells.truth("label")])]


def read_rated(cells: Cells) -> Pieces:
    """A reply and its score."""
    prompt, reply = _judged(cells)
    scores = (cells.number("score"),)
    if scores == (None,):
        raise cells.absent("score")
    aspects = {name: (cells.number(role),) for role, name in cells.layout.aspects.items()}
    return [(prompt, (reply,), Ratings(scores, aspects))]


# --- comparisons ------------------------------------------------------------------------------------------


def _pair(cells: Cells, one: str, other: str) -> tuple[Prompt, tuple[Turns, Turns]]:
    """A prompt and two replies, each a text, turns, or a whole conversation that repeats the prompt."""
    sides = cells.chat(one), cells.chat(other)
    if type(sides[0]) is str and type(sides[1]) is str:
        return prompt_of(cells), ((Message("assistant", sides[0]),), (Message("assistant", sides[1]),))
    if not (_whole(sides[0]) and _whole(sides[1])):
        prompt = prompt_of(cells)
        return prompt, (reply_of(cells, one), reply_of(cells, other))
    prompt, replies = _shared(cells, one, other)
    if (asked := cells.chat("prompt")) and isinstance(asked, str):
        last = prompt.messages[-1].text
        if asked.strip() != last.strip() and asked not in (turn.text for turn in prompt.messages):
            wrong, do = "the prompt is not that of the conversations", "leave the column out of the mapping"
            raise trouble(cells.place("prompt"), wrong, found=asked, accepted=repr(last[:80]), do=do)
    return prompt, replies


def _whole(side: object) -> bool:
    """Whether a side is a conversation with its prompt, and not a reply alone."""
    first = mapping(cast("list[Any]", side)[0] if isinstance(side, list) and side else None)
    return first.get("role", first.get("from")) in ("user", "human", "system")


def _shared(cells: Cells, one: str, other: str) -> tuple[Prompt, tuple[Turns, Turns]]:
    """Prompt and replies from two conversations that begin alike."""
    sides: list[Turns] = []
    for role in (one, other):
        side = turns(cells.chat(role), cells.place(role), cells)
        judged_turns(side, cells.place(role))
        sides.append(furnished(cells, side))
    return _split(cells, one, sides)


def _split(cells: Cells, one: str, sides: Sequence[Turns]) -> tuple[Prompt, tuple[Turns, Turns]]:
    if sides[0] == sides[1]:  # all but the last reply is the prompt, and the item will object
        asked, reply = judged_turns(sides[0], cells.place(one))
        return told(cells, asked), (reply, reply)
    try:
        prompt, replies = split_shared_prefix(*sides)
    except InputError:
        wrong, do = "the two sides share no prompt", "give the prompt a column of its own (prompt=COLUMN)"
        found, accepted = Said("other first turns"), "the same first turns, then a reply each"
        raise trouble(cells.place(one), wrong, found=found, accepted=accepted, do=do) from None
    return told(cells, prompt.messages), replies


def _preferred(cells: Cells) -> Preference:
    """That the first reply is the better one, with margin and scores where the row has them."""
    fields = cells.layout.fields
    if "strength" not in fields and "score_chosen" not in fields:
        return _FIRST
    scores = cells.number("score_chosen"), cells.number("score_rejected")
    given = (scores[0], scores[1]) if scores[0] is not None and scores[1] is not None else None
    return Preference(strength=cells.number("strength"), scores=given)


def read_compared(cells: Cells) -> Pieces:
    """A prompt, the better reply and the worse one."""
    prompt, replies = _pair(cells, "chosen", "rejected")
    return [(prompt, replies, _preferred(cells))]


def read_shared(cells: Cells) -> Pieces:
    """The better and the worse reply, each with the prompt inside."""
    sides = cells.chat("chosen"), cells.chat("rejected")
    if not (isinstance(sides[0], str) and isinstance(sides[1], str)):
        prompt, replies = _shared(cells, "chosen", "rejected")
        return [(prompt, replies, _preferred(cells))]
    cut = shared_text(*sides)
    if cut == 0:
        wrong, do = "the two texts share no beginning", "give the prompt a column of its own (prompt=COLUMN)"
        found, accepted = Said("other first words"), "the same prompt in both, then a reply each"
        raise trouble(cells.place("chosen"), wrong, found=found, accepted=accepted, do=do)
    first, second = (Message("assistant", side[cut:]) for side in sides)
    prompt = Prompt((Message("user", sides[0][:cut]),), plain=True)
    return [(prompt, ((first,), (second,)), _preferred(cells))]


def read_dialogue_text(cells: Cells) -> Pieces:
    """A prompt that ends with "Assistant:", and two texts that go on from there."""
    place = cells.place("prompt")
    asked = hh_turns(cells.need("prompt"), place)
    if asked[-1] == Message("assistant", ""):
        asked = asked[:-1] or asked
    prompt = framed(cells, left_open(asked, place))
    return [(prompt, (_continued(cells, "chosen"), _continued(cells, "rejected")), _preferred(cells))]


def _continued(cells: Cells, role: str) -> Turns:
    value = cells.need(role)
    if not isinstance(value, str):
        raise trouble(cells.place(role), "this is not text", found=value, accepted="text", do="write text")
    reply = hh_turns(f"Assistant:{value}", cells.place(role))
    return replied(cells, [{"role": turn.role, "content": turn.text} for turn in reply], cells.place(role))


def read_dialogue_text_pair(cells: Cells) -> Pieces:
    """Two texts with "Human:" and "Assistant:" before the turns, the better one first."""
    sides = [hh_turns(cells.need(role), cells.place(role)) for role in ("chosen", "rejected")]
    for side, role in zip(sides, ("chosen", "rejected"), strict=True):
        judged_turns(side, cells.place(role))
    prompt, replies = _split(cells, "chosen", sides)
    return [(prompt, replies, _preferred(cells))]


_SHARES = {"first": 1.0, "second": 0.0, "tie": 0.5}


def read_two(cells: Cells) -> Pieces:
    """Two replies and which one was chosen; or by how many votes, or how probably the first."""
    prompt, replies = (
        _pair(cells, "first", "second") if cells.has("prompt") else _shared(cells, "first", "second")
    )
    votes = _votes(cells)
    if cells.has("choice"):
        share = _share(cells, "choice")
    elif cells.has("preference"):
        share = cells.number("preference")
        if share is None:
            raise cells.absent("preference")
    elif votes is not None:
        share = (votes[0] + votes[1] / 2) / sum(votes)
    else:
        return [(prompt, replies, None)]
    aspects = {name: _share(cells, role) for role, name in cells.layout.aspects.items()}
    known = Preference(share, votes, strength=cells.number("strength"), aspects=aspects)
    return [(prompt, replies, known)]


def _share(cells: Cells, role: str) -> float:
    """How probably the first reply is the better one, from what the table says of a choice."""
    return _share_of(cells.need(role), cells.place(role))


def _share_of(value: Any, place: Place) -> float:
    if not isinstance(value, str) or value not in _SHARES:
        wrong, do = "a choice is not one of the two replies", "say what it means: COLUMN(VALUE:first,...)"
        raise trouble(place, wrong, found=value, accepted=", ".join(_SHARES), do=do)
    return _SHARES[value]


def _votes(cells: Cells) -> tuple[int, int, int] | None:
    """Votes, one for each annotator, as counts; None where a row has none."""
    if cells.get("votes") is None:
        return None
    place = cells.place("votes")
    shares = [_share_of(one, (place, at)) for at, one in enumerate(cells.list("votes"))]
    return shares.count(1.0), shares.count(0.5), shares.count(0.0)


# --- lists ------------------------------------------------------------------------------------------------


def read_listed(cells: Cells) -> Pieces:
    """Several replies: with ranks (1 or 0 for the best), with scores, best first, or as they are."""
    role = "ranked" if cells.has("ranked") else "replies"
    place = cells.place(role)
    given = cells.list(role)
    replies = tuple([replied(cells, _there(one, (place, at)), (place, at)) for at, one in enumerate(given)])
    return [(prompt_of(cells), replies, _worth(cells, role, len(replies)))]


def _there(value: Any, place: Place) -> Any:
    if value is None:
        raise trouble(place, "there is no reply here", found=None, accepted="a text", do="leave the row out")
    return value


def _worth(cells: Cells, role: str, number: int) -> Utilities:
    if role == "ranked":
        return Ranks(tuple(range(1, number + 1)))
    if cells.has("ranks"):
        ranks = cells.numbers("ranks")
        _alike(cells, "ranks", len(ranks), number)
        whole = [int(rank) for rank in ranks if rank is not None and rank.is_integer()]
        if len(whole) < number:
            do = "give each reply its rank, or map them as scores (scores=COLUMN)"
            odd = next(rank for rank in ranks if rank is None or not rank.is_integer())
            wrong = "a rank is not a whole number"
            raise trouble(cells.place("ranks"), wrong, found=odd, accepted="1 for the best, 2, ...", do=do)
        return Ranks(tuple(rank + 1 for rank in whole) if min(whole) == 0 else tuple(whole))
    aspects = {name: cells.numbers(role) for role, name in cells.layout.aspects.items()}
    if not cells.has("scores") and not aspects:
        return None
    scores = cells.numbers("scores") if cells.has("scores") else (None,) * number
    for values in (scores, *aspects.values()):
        _alike(cells, "scores" if cells.has("scores") else role, len(values), number)
    return Ratings(scores, {name: values for name, values in aspects.items() if set(values) != {None}})


def _alike(cells: Cells, role: str, found: int, wanted: int) -> None:
    if found != wanted:
        what, do = Said(f"{found} {role}"), "give one for each, or leave the row out"
        wrong = f"{role} and replies differ in number"
        raise trouble(cells.place(role), wrong, found=what, accepted=f"{wanted}", do=do)


def read_steps(cells: Cells) -> Pieces:
    """A reply in steps, and a label for each of them."""
    steps, labels = cells.list("steps"), cells.numbers("labels")
    for at, step in enumerate(steps):
        if not isinstance(step, str):
            place = (cells.place("steps"), at)
            raise trouble(place, "a step is not text", found=step, accepted="a text", do="write its text")
    reply = Message("assistant", tuple(Text(step) for step in steps))
    return [(prompt_of(cells), ((reply,),), StepLabels(labels))]


def read_trajectory(cells: Cells) -> Pieces:
    """A conversation whose turns earn rewards: one for each, for each of the assistant, or from its first."""
    conversation, rewards = conversation_of(cells), cells.numbers("rewards")
    prompt, reply = shown_turns(conversation, cells.place("messages"))
    spoken = sum(turn.role == "assistant" for turn in reply)
    if len(rewards) == spoken:
        rest = iter(rewards)
        rewards = tuple(next(rest) if turn.role == "assistant" else None for turn in reply)
    elif len(rewards) == len(conversation) and not any(rewards[: len(prompt)]):
        rewards = rewards[len(prompt) :]
    if len(rewards) != len(reply):
        accepted = f"{spoken} (one for each turn of the assistant), or {len(reply)} (from its first turn on)"
        wrong, do = "turns and rewards differ in number", "give null for turns without reward"
        found = Said(f"{len(rewards)} rewards")
        raise trouble(cells.place("rewards"), wrong, found=found, accepted=accepted, do=do)
    return [(told(cells, prompt), (reply,), TurnRewards(rewards))]


def read_item(cells: Cells) -> Pieces:
    """An item as Concord writes it."""
    found = {key: cells.columns[key] for key in ("prompt", "replies", "utilities") if key in cells.columns}
    try:
        item = wire.from_json(Item, found)
    except InputError as error:
        where, _, rest = str(error).partition(": ")
        do = "write the item again with concord.formats.write_items"
        place = cells.place("prompt")
        accepted = "an item as Concord writes it"
        raise trouble(
            place, "this is no item", found=Said(f"{where}: {rest}"[:160]), accepted=accepted, do=do
        ) from None
    return [(item.prompt, item.replies, item.utilities)]
