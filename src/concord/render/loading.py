"""Tokenizers and the small files beside them: config.json and generation_config.json."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from concord.errors import NOTHING, InputError, NotFoundError, Said, explain
from concord.render.templates import needed

__all__ = ["ModelFiles", "load_tokenizer", "read_files", "sane_length"]

_SANE = 10**9  # a longest input beyond this is a tokenizer's way of saying that it does not know
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # NAME or OWNER/NAME; all else is a path
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What the files beside a tokenizer say: the ids that generation stops at, the number of positions."""

    stop_ids: tuple[int, ...] = ()
    longest: int | None = None
    longest_from: str = ""
    folder: Path | None = None


def load_tokenizer(model: str | Path, *, offline: bool = True, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model: of a folder, or of an id of the Hugging Face hub that was fetched before.

    With `offline=False` it may be fetched now.
    """
    transformers = needed("transformers")
    here = model != "" and Path(model).is_dir()
    if not here and (Path(model).exists() or not _HUB_ID.fullmatch(str(model))):
        wrong, accepted = "there is no model in this folder", "a folder that holds a model, or a hub id"
        raise NotFoundError(explain(wrong, found=str(model), accepted=accepted, do="check the path"))
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(model), local_files_only=offline or here, trust_remote_code=trust_remote_code
        )
    except Exception as caught:  # whatever its files hold, and however that fails
        wrong = "no tokenizer could be loaded"
        accepted = "a folder with tokenizer.json and tokenizer_config.json, or the id of a hub model"
        do = "check the name" if here or not offline else "check the name, or allow the network for a hub id"
        why = Said(f"{str(model)!r} ({_first_line(caught)})")
        raise NotFoundError(explain(wrong, found=why, accepted=accepted, do=do)) from caught
    if tokenizer is False or not callable(tokenizer):
        wrong, accepted = "the model has no tokenizer", "a model of text, with its tokenizer's files"
        raise NotFoundError(explain(wrong, found=NOTHING, accepted=accepted, do="check the name"))
    return tokenizer


def read_files(model: str | Path, *, offline: bool = True) -> ModelFiles:
    """What the small files of a model say; what is not there says nothing."""
    config = _read(model, "config.json", offline)
    generation = _read(model, "generation_config.json", offline)
    folder = Path(model) if Path(model).is_dir() else None
    stops = generation.get("eos_token_id", config.get("eos_token_id"))
    given: list[object] = cast("list[object]", stops) if isinstance(stops, list) else [stops]
    ids = tuple(one for one in given if isinstance(one, int) and not isinstance(one, bool))
    longest, name = _positions(config)
    return ModelFiles(ids, longest, name, folder)


def sane_length(tokenizer: Any) -> int | None:
    """The longest input that a tokenizer names, where it knows one."""
    length = getattr(tokenizer, "model_max_length", None)
    return int(length) if isinstance(length, int | float) and 0 < length < _SANE else None


def _positions(config: dict[str, Any]) -> tuple[int | None, str]:
    for part, within in ((config, ""), (config.get("text_config"), "text_config.")):
        if isinstance(part, dict):
            for name in _POSITIONS:
                value = cast("dict[str, Any]", part).get(name)
                if isinstance(value, int) and 0 < value < _SANE:
                    return value, f"config.json: {within}{name}"
    return None, ""


def _read(model: str | Path, name: str, offline: bool) -> dict[str, Any]:
    path = Path(model) / name
    if not Path(model).is_dir():
        found = needed("transformers.utils").cached_file(
            str(model), name, local_files_only=offline, _raise_exceptions_for_missing_entries=False
        )
        path = Path(found or name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError) as caught:
        raise _damaged(path, _first_line(caught)) from caught
    try:
        data: object = json.loads(text)
    except ValueError as caught:
        raise _damaged(path, _first_line(caught)) from caught
    if not isinstance(data, dict):
        raise _damaged(path, f"a {type(data).__name__}")
    return cast("dict[str, Any]", data)


def _damaged(path: Path, found: str) -> InputError:
    """What is there and cannot be read may hold the stop tokens: to go on without it would change them."""
    wrong, accepted = f"the file {path} of the model cannot be read", "one JSON object, or no such file"
    do = "fetch the model again, or mend the file"
    return InputError(explain(wrong, found=Said(found), accepted=accepted, do=do))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
