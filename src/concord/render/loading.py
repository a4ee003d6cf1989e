"""Tokenizers and the small files beside them: config.json and generation_config.json."""

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from concord.errors import NOTHING, InputError, NotFoundError, Said, explain, nearest
from concord.render.templates import needed

__all__ = ["ModelFiles", "load_tokenizer", "out_of_reach", "read_files", "sane_length"]

_CONFIGS = ("config.json", "adapter_config.json")
_SANE = 10**9  # a longest input beyond this is a tokenizer's way of saying that it does not know
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # NAME or OWNER/NAME; all else is a path
_PATIENCE = 5.0  # seconds in which a hub answers
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
    offline, here = out_of_reach(model, offline=offline), Path(model).is_dir()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(model), local_files_only=offline or here, trust_remote_code=trust_remote_code
        )
    except Exception as caught:  # whatever its files hold, and however that fails
        if here:
            _check_config(model, trust_remote_code=trust_remote_code)
        wrong = "no tokenizer could be loaded"
        accepted = "a folder with tokenizer.json and tokenizer_config.json, or the id of a hub model"
        do = "check the name, and the files of its tokenizer"
        why = Said(f"{str(model)!r} ({_first_line(caught)})")
        raise NotFoundError(explain(wrong, found=why, accepted=accepted, do=do)) from caught
    if tokenizer is False or not callable(tokenizer):
        wrong, accepted = "the model has no tokenizer", "a model of text, with its tokenizer's files"
        raise NotFoundError(explain(wrong, found=NOTHING, accepted=accepted, do="check the name"))
    made: Any = tokenizer
    if len(made) <= len(made.all_special_ids):
        # Without its files transformers makes one that knows nothing, and reads every text as the same.
        wrong, accepted = (
            "the tokenizer of the model knows no words",
            "tokenizer.json, or the files it is made of",
        )
        raise NotFoundError(explain(wrong, found=str(model), accepted=accepted, do="put its files beside it"))
    return tokenizer


def out_of_reach(model: str | Path, *, offline: bool = True) -> bool:
    """Whether nothing can be fetched of a model; an error where there is none of this name anywhere.

    Asked before libraries are, which repeat a question to a hub that does not answer for a minute.
    """
    path = Path(model)
    if str(model) and path.is_dir():
        return offline
    if not _HUB_ID.fullmatch(str(model)) or path.exists():
        wrong = "this is a file, and a model is a folder" if path.is_file() else "there is no such folder"
        raise NotFoundError(explain(wrong, found=str(model), accepted=_near(path), do="check the path"))
    why = "no hub model that was fetched before has it" if offline else _unanswered(str(model))
    hub = needed("huggingface_hub")
    name = needed("huggingface_hub.file_download").repo_folder_name(repo_id=str(model), repo_type="model")
    if why and not (Path(hub.constants.HF_HUB_CACHE) / name).is_dir():
        do = "check the name" + (", or allow the network for a hub id" if offline else "")
        wrong = f"there is no folder of this name, and {why}"
        raise NotFoundError(explain(wrong, found=str(model), accepted=_near(path), do=do))
    return offline or bool(why)


@functools.cache
def _unanswered(model: str) -> str:
    """Why a hub gives no model of this name; empty where it may."""
    hub, errors = needed("huggingface_hub"), needed("huggingface_hub.errors")
    try:
        hub.HfApi().model_info(model, timeout=_PATIENCE)
    except errors.RepositoryNotFoundError as caught:
        gated = isinstance(caught, errors.GatedRepoError)
        return "" if gated else "the hub has none, or shows it to others only"
    except errors.HfHubHTTPError:
        return ""  # it answered, and may yet give the files
    except Exception as caught:  # whatever stands between here and there
        return f"the hub cannot be reached ({_first_line(caught)})"
    return ""


def _near(path: Path) -> str:
    """What may be named in place of a path where no model is, with the models that lie beside it."""
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    known = [one for one in beside if any((one / name).is_file() for name in _CONFIGS)]
    here = f"; here are {nearest(str(path), map(str, known))}" if known else ""
    return f"a folder that holds a model, or the id of a hub model{here}"


def _check_config(model: str | Path, *, trust_remote_code: bool) -> None:
    """Refuse a configuration that cannot be read: without it no tokenizer is found either."""
    read_files(model)
    if not (Path(model) / _CONFIGS[0]).is_file():
        return
    try:
        needed("transformers").AutoConfig.from_pretrained(
            str(model), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as caught:
        wrong, accepted = f"{Path(model) / _CONFIGS[0]} cannot be used", "the configuration of a model"
        said, do = Said(_first_line(caught)), "fetch the model again, or mend the file"
        raise InputError(explain(wrong, found=said, accepted=accepted, do=do)) from caught


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
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = " ".join(map(str.strip, lines[:2])) if lines[0].endswith(":") else lines[0]
    return said[:120]
