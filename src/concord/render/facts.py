"""What a tokenizer and its template do, found out by trying: where a turn ends, what it begins with."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from concord.errors import InputError, explain, nearest
from concord.render.encoder import Encoder
from concord.render.loading import ModelFiles, sane_length
from concord.render.records import Facts, RenderError, RenderSettings, StopToken
from concord.render.templates import PLAIN, Template, pinned_day
from concord.render.weights import twins

__all__ = ["Found", "find_out", "special_texts"]

_Provenance: TypeAlias = Literal["tokenizer", "plain fallback", "given"]
_ASKED, _ANSWERED = "Qx7", "Zy7"


@dataclass(frozen=True, slots=True)
class Found:
    """A template that is ready, the facts, and what only rendering needs to know.

    `ends_turn` is the special token that the template itself writes after a reply, if it writes one; `texts`
    are the templates as they stand.
    """

    template: Template
    texts: Mapping[str, str]
    facts: Facts
    ends_turn: str | None


def find_out(encoder: Encoder, settings: RenderSettings, files: ModelFiles) -> Found:
    """Find out all that rendering stands on."""
    tokenizer = encoder.tokenizer
    texts, origin = _texts(tokenizer, settings)
    warnings: list[str] = []
    args = dict(settings.template_args)
    day = pinned_day(args)
    special = special_texts(tokenizer)
    trial = Template(texts, variables=special | {"stop_token": ""}, day=day)
    ends_turn = None if origin == "plain fallback" else _end_of_turn(trial, encoder, args)
    stop = _stop_tokens(encoder, settings, files, ends_turn)
    template = Template(texts, variables=special | {"stop_token": stop[0].text if stop else ""}, day=day)
    if not stop:
        warnings.append("no stop token was found: name one by --stop-token")
    elif ends_turn is None and origin != "plain fallback" and _tried(trial, args, generate=False):
        warnings.append("the chat template writes no stop token after a reply")
    if not settings.stop:
        warnings += _doubts(stop, files, ends_turn, tokenizer)
    if stop and (alike := twins(files.folder, stop[0].id)):
        warnings.append(
            f"the stop token {stop[0].text!r} looks untrained: in the weights it is the same as {alike} other"
            " tokens; if the model ends its texts on another one, name that by --stop-token"
        )
    if origin == "tokenizer" and not _supports_generation(template, args):
        warnings.append("the chat template knows no add_generation_prompt: replies begin with a header")
    longest, longest_from = files.longest, files.longest_from
    if longest is None and (longest := sane_length(tokenizer)) is not None:
        longest_from = "tokenizer: model_max_length"
    bos, doubt = _beginning(template, encoder, args, plain=origin == "plain fallback")
    date = f"{day:%d %b %Y}" if template.asks_date else None
    facts = Facts(origin, stop, longest, longest_from, bos, date, (*warnings, *doubt))
    return Found(template, texts, facts, ends_turn)


def special_texts(tokenizer: Any) -> dict[str, str]:
    """The names and texts of a tokenizer's special tokens, as templates may use them."""
    named = cast("Mapping[str, object]", tokenizer.special_tokens_map)
    return {name: str(text) for name, text in named.items() if isinstance(text, str)}


def _texts(tokenizer: Any, settings: RenderSettings) -> tuple[dict[str, str], _Provenance]:
    """The templates by name, and where they are from."""
    if settings.chat_template is not None:
        return {"default": settings.chat_template}, "given"
    own = getattr(tokenizer, "chat_template", None)
    if isinstance(own, str) and own:
        return {"default": own}, "tokenizer"
    if isinstance(own, Mapping) and own:
        named = {str(name): str(text) for name, text in cast("Mapping[str, str]", own).items()}
        if "default" not in named:
            wrong, accepted = "none of the model's chat templates is the default", "one named default"
            do = "give one of them by --chat-template"
            raise InputError(explain(wrong, found=", ".join(named), accepted=accepted, do=do))
        return named, "tokenizer"
    return {"default": PLAIN}, "plain fallback"


def _tried(template: Template, args: Mapping[str, Any], *, generate: bool) -> str | None:
    """A conversation of one exchange, or its question alone, as the template writes it."""
    asked = {"role": "user", "content": _ASKED}
    answered = {"role": "assistant", "content": _ANSWERED}
    try:
        return template.render([asked] if generate else [asked, answered], args=args, generate=generate)
    except RenderError:
        return None


def _end_of_turn(template: Template, encoder: Encoder, args: Mapping[str, Any]) -> str | None:
    """The first token of its own that the template writes after a reply."""
    text = _tried(template, args, generate=False)
    if text is None or _ANSWERED not in text:
        return None
    after = text[text.rindex(_ANSWERED) + len(_ANSWERED) :]
    tokens = sorted(encoder.specials, key=len, reverse=True)
    found = re.search("|".join(map(re.escape, tokens)), after) if tokens else None
    return found.group() if found else None


def _supports_generation(template: Template, args: Mapping[str, Any]) -> bool:
    """Whether the text of a reply follows what the template writes before it, without a header between."""
    before, through = (_tried(template, args, generate=generate) for generate in (True, False))
    if before is None or through is None or not through.startswith(before):
        return True  # nothing is known; each row is checked by itself
    head = through[len(before) :].partition(_ANSWERED)[0]
    return not re.search(r"\w", head) or bool(re.fullmatch(r"\s*<think>\s*</think>\s*", head))


def _stop_tokens(
    encoder: Encoder, settings: RenderSettings, files: ModelFiles, ends_turn: str | None
) -> tuple[StopToken, ...]:
    """The tokens that end a reply, the one that a reply is written with first."""
    by_id = {number: text for text, number in encoder.specials.items()}
    if settings.stop:
        for text in settings.stop:
            if text not in encoder.specials:
                wrong = "the stop token is no token of this tokenizer"
                do = "name a token that it takes for one wherever it stands"
                accepted = nearest(text, encoder.specials)
                raise InputError(explain(wrong, found=text, accepted=accepted, do=do))
        return tuple(StopToken(text, encoder.specials[text], "given") for text in settings.stop)
    why: dict[int, list[str]] = {}

    def add(number: int | None, reason: str) -> None:
        if number is not None and number in by_id:
            why.setdefault(number, []).append(reason)

    own = encoder.tokenizer.eos_token
    own_id = encoder.specials.get(own) if isinstance(own, str) else None
    if ends_turn is not None:
        add(encoder.specials[ends_turn], "the chat template writes it after a reply")
    if own_id is None or not files.stop_ids or own_id in files.stop_ids:
        add(own_id, "the tokenizer's eos token")
    for number in files.stop_ids:
        add(number, "generation_config.json: eos_token_id")
    add(own_id if own_id not in why else None, "the tokenizer's eos token")
    found = [StopToken(by_id[number], number, "; ".join(reasons)) for number, reasons in why.items()]
    if ends_turn is None:  # a model that ends its texts on a token has learned it
        found.sort(key=lambda token: twins(files.folder, token.id) > 0)
    return tuple(found)


def _doubts(
    stop: Sequence[StopToken], files: ModelFiles, ends_turn: str | None, tokenizer: Any
) -> Iterable[str]:
    """What is odd about the stop tokens that were found."""
    listed = files.stop_ids
    for token in stop:
        if token.text == ends_turn and listed and token.id not in listed:
            yield f"replies end on {token.text!r}, which generation_config.json does not list"
    opener, closer = tokenizer.bos_token_id, tokenizer.eos_token_id
    if ends_turn is None and opener in listed and opener != closer:
        text = str(tokenizer.bos_token)
        if stop and stop[0].id == opener:
            yield (
                f"replies end on {text!r}, which also opens a text: generation stops there, and in the"
                f" weights {tokenizer.eos_token!r} looks untrained; if that is wrong, say --stop-token"
            )
            return
        yield (
            f"generation stops at {text!r} too, which opens a text: if texts were trained to end at the next"
            f" {text!r}, say --stop-token {text!r}"
        )


def _beginning(
    template: Template, encoder: Encoder, args: Mapping[str, Any], *, plain: bool
) -> tuple[str, tuple[str, ...]]:
    """What a prompt begins with, in words, and a warning where the template leaves out what others have."""
    if not encoder.prefix:
        own = "nothing"
    else:
        own = " ".join(encoder.decode_all([[number]])[0] for number in encoder.prefix)
    if plain:
        return f"{own}, put there by the tokenizer" if encoder.prefix else "nothing is put before a text", ()
    text = _tried(template, args, generate=True) or ""
    bos = encoder.tokenizer.bos_token
    if isinstance(bos, str) and text.startswith(bos):
        return f"{bos}, written by the chat template", ()
    if not encoder.prefix or text.startswith(own):
        return "nothing beside what the chat template writes", ()
    warning = (
        f"the chat template writes no {own}, which the tokenizer puts before other texts; chats have none"
    )
    return f"no {own}: the chat template writes none", (warning,)
