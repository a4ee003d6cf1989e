"""What stands beside the weights of an exported model: its tokenizer with the template it was trained with,
what generation stops at, and a padding token that other tools score replies by.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from concord.engine.model import causal
from concord.render import Renderer
from concord.train.leaving.fresh import Kind

__all__ = ["write_beside"]


def write_beside(model: Any, folder: Path, renderer: Renderer, *, kind: Kind, adapter: bool) -> Iterator[str]:
    """Write what belongs to a model of a kind, or to an adapter; yields what other tools must be told."""
    padding = _padding(renderer) if kind == "rewards" else None
    _write_tokenizer(renderer, folder, padding)
    if kind == "model":
        yield from _write_stops(model, folder, renderer, whole=not adapter)
    elif kind == "rewards":
        yield from _say_padding(folder, padding, whole=not adapter)
    if renderer.settings.template_args:
        given = json.dumps(dict(renderer.settings.template_args))
        yield f"its chat template was given {given}: give it the same"


def _write_stops(model: Any, folder: Path, renderer: Renderer, *, whole: bool) -> Iterator[str]:
    """Let generation stop at all that the model was trained to end on."""
    stops, named = sorted(renderer.stop_ids), _stops(causal(model))
    if set(stops) <= set(named):
        return
    if whole:
        _edit(folder / "generation_config.json", eos_token_id=[*stops, *sorted({*named} - {*stops})])
    else:
        yield f"generate with eos_token_id={stops}: its base stops at {named or 'nothing'}"


def _write_tokenizer(renderer: Renderer, folder: Path, padding: int | None) -> None:
    """The tokenizer with the template that was trained with; the one in use is left as it is."""
    tokenizer = copy.deepcopy(renderer.tokenizer)
    if renderer.settings.chat_template is not None:
        tokenizer.chat_template = renderer.settings.chat_template
    if padding is not None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(padding)
    tokenizer.save_pretrained(folder)


def _padding(renderer: Renderer) -> int | None:
    """A padding token that ends no reply.

    transformers scores the last token that is not padding. Where what ends replies is padding too, as it is
    for many, it would score the token before, which was never trained.
    """
    tokenizer = renderer.tokenizer
    known = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id)
    return next((one for one in known if one is not None and one not in renderer.stop_ids), None)


def _say_padding(folder: Path, padding: int | None, *, whole: bool) -> Iterator[str]:
    if padding is None:
        yield "its tokenizer has no token to pad with that ends no reply: score replies one at a time"
    elif not whole:
        yield f"to score several replies at a time, set pad_token_id={padding} in its base's configuration"
    if whole:
        _edit(folder / "config.json", pad_token_id=padding)


def _stops(model: Any) -> list[int]:
    """What generation stops at by the model's own files."""
    config = getattr(model, "generation_config", None)
    named: Any = getattr(config, "eos_token_id", None)
    return list(named) if isinstance(named, list) else [] if named is None else [int(named)]


def _edit(file: Path, **settings: object) -> None:
    """Set something in a small file. transformers would refuse to write settings that models come with."""
    held = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(held | settings, indent=2) + "\n", encoding="utf-8")
