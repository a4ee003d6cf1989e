"""Rows that are longer than what there is room for: measured first, and then cut or left out, never silently.

    measure(rendered)                        the tokens of the prompt, and of the longest leaf
    fit(rendered, 1024, "prompt-left")       what is left of a row, and how much was cut
    too_long({900: 7, 1300: 2}, 1024)        the error for rows of these lengths

`error` refuses; `drop` leaves the row out; `prompt-left` cuts the beginning of the prompt, for all its
replies alike, and keeps what opens it (the bos token): a system message that stands first goes with the rest.
`reply-right` cuts the end of the reply, whose span then lacks its stop token, as a model must not learn to
stop there. A row is left out where that cannot be done: a reply that has no room even behind one token of its
prompt, or a prompt that leaves no room for a reply.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from concord.errors import InputError, Said, explain, nearest
from concord.messages import is_count
from concord.render.records import Ids, Leaf, Rendered, Spans

__all__ = ["Fitted", "How", "TooLongError", "check_limit", "corrected", "fit", "measure", "too_long"]

How: TypeAlias = Literal["error", "drop", "prompt-left", "reply-right"]


class TooLongError(InputError):
    """Rows are longer than the longest that is allowed, and nobody said what to do with them."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A row that has room, or None where it was left out.

    `prompt_cut` is how many tokens of the prompt were cut, `reply_cut` how many tokens to be learned from.
    """

    rendered: Rendered | None
    prompt_cut: int = 0
    reply_cut: int = 0


def measure(rendered: Rendered) -> tuple[int, int]:
    """The tokens of the prompt, and of the longest leaf, its part of the prompt included."""
    prompt = len(rendered.prompt)
    return prompt, max((len(leaf.ids) for reply in rendered.replies for leaf in reply), default=prompt)


def fit(rendered: Rendered, max_length: int, how: How, *, keep: Sequence[int] = ()) -> Fitted:
    """Make a row at most `max_length` tokens long.

    `keep` are the ids that stay at the beginning of a prompt that is cut, if it begins with them:
    `Renderer.prefix`.
    """
    check_limit(max_length, how)
    longest = measure(rendered)[1]
    over = longest - max_length
    if over <= 0:
        return Fitted(rendered)
    if how == "error":
        raise too_long({longest: 1}, max_length)
    if how == "drop":
        return Fitted(None)
    return _cut_prompt(rendered, over, keep) if how == "prompt-left" else _cut_replies(rendered, max_length)


def _cut_prompt(rendered: Rendered, over: int, keep: Sequence[int]) -> Fitted:
    """A row without the beginning of its prompt, if the replies then have room."""
    prompt = rendered.prompt
    kept = len(keep) if keep and prompt[: len(keep)].tolist() == list(keep) else 0
    stop = kept + over
    # One token has to stay: the first of a reply is predicted from the one before it.
    if len(prompt) - over < 1 or stop > len(prompt):
        return Fitted(None)
    head = prompt[:stop]
    leaves = [leaf for reply in rendered.replies for leaf in reply]
    if any(
        not np.array_equal(leaf.ids[:stop], head) or leaf.spans[0, 0] < max(stop, over + 1) for leaf in leaves
    ):
        return Fitted(None)  # a later leaf whose beginning the template wrote differently
    replies = tuple(
        tuple(Leaf(_without(leaf.ids, kept, stop), leaf.spans - np.int32(over)) for leaf in reply)
        for reply in rendered.replies
    )
    return Fitted(Rendered(_without(prompt, kept, stop), replies), prompt_cut=over)


def _without(ids: Ids, start: int, stop: int) -> Ids:
    return np.concatenate([ids[:start], ids[stop:]])


def _cut_replies(rendered: Rendered, max_length: int) -> Fitted:
    """A row whose leaves end where there is no more room, if each reply keeps something to learn from."""
    if len(rendered.prompt) >= max_length:
        return Fitted(None)
    cut, replies = 0, list[tuple[Leaf, ...]]()
    for reply in rendered.replies:
        kept: list[Leaf] = []
        for leaf in reply:
            spans = np.minimum(leaf.spans[leaf.spans[:, 0] < max_length], np.int32(max_length))
            cut += _learned(leaf.spans) - _learned(spans)
            if len(spans) == 0:
                continue
            kept.append(Leaf(leaf.ids[: spans[-1, 1]], spans))
        if not kept:
            return Fitted(None)
        replies.append(tuple(kept))
    return Fitted(replace(rendered, replies=tuple(replies)), reply_cut=cut)


def _learned(spans: Spans) -> int:
    """How many tokens are learned from."""
    return int((spans[:, 1] - spans[:, 0]).sum())


def check_limit(max_length: object, how: object) -> None:
    """Refuse a limit that is no length, and a way to treat longer rows that there is not."""
    if how not in (ways := get_args(How)):
        wrong, do = "no such way to treat rows that are too long", "choose one"
        raise InputError(explain(wrong, found=how, accepted=nearest(str(how), ways), do=do))
    if not is_count(max_length, 1):
        wrong, do = "the longest row allowed has no length", "give a number of tokens"
        raise InputError(explain(wrong, found=max_length, accepted="1 or more", do=do))


def too_long(counts: Mapping[int, int], max_length: int, *, command: Sequence[str] = ()) -> TooLongError:
    """The error for rows of which some are longer than allowed; `counts` says how many have each length.

    `command` is what was typed, for commands that work.
    """
    rows, longest = sum(counts.values()), max(counts)
    over = sum(count for length, count in counts.items() if length > max_length)
    wrong = (
        f"{over} of {rows} {'row' if rows == 1 else 'rows'} ({over / rows:.1%}) have more tokens"
        f" than the {max_length} that are allowed, and nothing is cut unless you say so"
    )
    do = f"--max-length {longest}, or --on-long with drop, prompt-left or reply-right"
    if command:
        options = [("--max-length", str(longest)), *(("--on-long", how) for how in get_args(How)[1:])]
        do = "one of\n  " + "\n  ".join(corrected(command, flag, value) for flag, value in options)
    found = Said(f"a longest row of {longest} tokens")
    return TooLongError(explain(wrong, found=found, accepted=f"up to {max_length} tokens a row", do=do))


def corrected(command: Sequence[str], flag: str, value: str) -> str:
    """A command line with a flag set: in its own place if it is there, else at the end."""
    words: list[str] = []
    given, put = iter(command), False
    for word in given:
        if word == flag:
            next(given, None)
        elif not word.startswith(f"{flag}="):
            words.append(word)
            continue
        if not put:
            words += [flag, value]
            put = True
    return shlex.join(words if put else [*words, flag, value])
