"""Causal language models from folders and from the Hugging Face hub, adapters too, with sentences for what
can go wrong."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging
from transformers.utils.hub import cached_file

from concord.engine.local import LocalPolicy
from concord.engine.start import Choice, start
from concord.errors import ConcordError, InputError, NotFoundError, Said, explain, nearest
from concord.render import Renderer, RenderSettings
from concord.render.loading import load_tokenizer, out_of_reach, read_files

__all__ = [
    "DTYPES",
    "adapted",
    "check_taken",
    "device_named",
    "explained",
    "from_files",
    "load_model",
    "load_policy",
    "with_adapter",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "auto": "auto"}
"""The precisions that weights can be loaded in, by name."""
_SHOWN = 200  # characters of what a library says


def load_policy(
    model: str | Path,
    *,
    settings: RenderSettings | None = None,
    dtype: str = "auto",
    device: str = "",
    layout: Choice = "auto",
    offline: bool = True,
    trust_remote_code: bool = False,
) -> LocalPolicy:
    """The policy of a model: of a folder, or of an id of the Hugging Face hub that was fetched before.

    A folder of adapters is the model they were made for, with them; its tokenizer is its own if it has one.
    """
    offline = out_of_reach(model, offline=offline)
    base = adapted(model, offline=offline)
    home = model if base is None or (Path(model) / "tokenizer_config.json").is_file() else base
    with explained("no tokenizer could be loaded", home):
        tokenizer = load_tokenizer(home, offline=offline, trust_remote_code=trust_remote_code)
    files = read_files(model if base is None else base, offline=offline)
    renderer = Renderer(tokenizer, settings=settings, files=files)
    loaded = load_model(
        model, dtype=dtype, device=device, offline=offline, trust_remote_code=trust_remote_code
    )
    return LocalPolicy(start(loaded, layout=layout).engine, renderer)


def load_model(
    model: str | Path,
    *,
    dtype: str = "auto",
    device: str = "",
    offline: bool = True,
    trust_remote_code: bool = False,
) -> nn.Module:
    """A causal language model: of a folder, or of a hub id that was fetched before or, not offline, is now.

    `dtype` is that of the weights, `auto` the one they are stored in. Without a `device` it is the first GPU,
    where there is one. Refused are weights that the model needs and the files do not have, which would be
    random, and weights of its layers that the files have and it does not take. Of other weights, such as
    those of another head, there is a warning.
    """
    if dtype not in DTYPES:
        wrong, do = "the precision of weights is not known", "name one of these"
        raise InputError(explain(wrong, found=dtype, accepted=nearest(dtype, DTYPES), do=do))
    place = device_named(device)
    offline = out_of_reach(model, offline=offline)
    base = adapted(model, offline=offline)
    if base is not None and adapted(base, offline=offline) is not None:
        wrong, found = "adapters that stand on other adapters", Said(f"{str(model)!r} on {base!r}")
        accepted, do = "adapters of a whole model", "merge the lower ones into their model, and save that"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    offline = out_of_reach(base or model, offline=offline)
    loaded = _loaded(base or model, DTYPES[dtype], offline=offline, trust_remote_code=trust_remote_code)
    if base is not None:
        loaded = with_adapter(loaded, model, offline=offline)
    return loaded.to(place)


def adapted(model: str | Path, *, offline: bool = True) -> str | None:
    """The model that a folder (or a hub id) of adapters is for; None where it holds no adapters."""
    path: str | None = str(Path(model) / "adapter_config.json")
    if not Path(model).is_dir():
        offline = out_of_reach(model, offline=offline)
        try:
            path = cached_file(str(model), "adapter_config.json", local_files_only=offline)
        except (OSError, ValueError):
            return None  # no adapters, or nothing at all: loading the model tells
    if path is None or not Path(path).is_file():
        return None
    try:
        base: object = json.loads(Path(path).read_text(encoding="utf-8"))["base_model_name_or_path"]
        if not (isinstance(base, str) and base):
            raise ValueError(f"it is {base!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unloadable("the adapters do not name their model", model, error) from error
    # A folder is named as it was reached from where the adapters were made; it may stand beside them too.
    beside = Path(model) / base
    home = str(beside) if beside.is_dir() and not Path(base).exists() else base
    try:
        out_of_reach(home, offline=offline)
    except NotFoundError as error:
        wrong = f"the model that the adapters of {model} stand on is not there"
        accepted = "the folder or the hub id of a model, as base_model_name_or_path of adapter_config.json"
        do = "put it back, or write where it is now"
        raise NotFoundError(explain(wrong, found=base, accepted=accepted, do=do)) from error
    return home


def _loaded(model: str | Path, dtype: Any, *, offline: bool, trust_remote_code: bool) -> nn.Module:
    """A model with all its weights from its files."""
    how = {"local_files_only": offline or Path(model).is_dir(), "trust_remote_code": trust_remote_code}
    with explained("no causal language model could be loaded", model):
        loaded, facts = from_files(AutoModelForCausalLM, model, dtype=dtype, **how)
    if missing := sorted(facts["missing_keys"]):
        wrong = "the files of the model do not have all its weights, which would be random"
        found = Said(f"{len(missing)} missing, such as {missing[0]}")
        do = "take the files of a whole causal language model"
        raise NotFoundError(explain(wrong, found=found, accepted="all weights", do=do))
    check_taken(loaded, model, sorted(facts["unexpected_keys"]))
    return loaded


def from_files(auto: Any, model: str | Path, **how: Any) -> tuple[Any, dict[str, Any]]:
    """What one of transformers' loaders makes of files, and which weights are missing or left over.

    Refused are weights of other shapes than the configuration says.
    """
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what is missing, left over or of another shape is judged here
    try:
        both: Any = auto.from_pretrained(
            str(model), output_loading_info=True, ignore_mismatched_sizes=True, **how
        )
    finally:
        logging.set_verbosity(level)
    loaded, facts = both
    if others := sorted(facts["mismatched_keys"]):
        name, there, wanted = others[0]
        wrong = "the weights of the model have other shapes than its configuration says"
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        found = Said(f"{name} of {tuple(there)}, where {tuple(wanted)} is needed{more}")
        do = "give it the config.json that belongs to its weights"
        raise InputError(explain(wrong, found=found, accepted="the shapes of the configuration", do=do))
    return loaded, facts


def check_taken(loaded: nn.Module, model: str | Path, left: Sequence[str]) -> None:
    """Refuse a model that leaves out weights of layers such as it has: it would be another, and run."""
    parts = dict(loaded.named_modules())
    layers = tuple(f"{name}." for name, part in parts.items() if isinstance(part, nn.ModuleList))
    own = [name for name in left if name.rpartition(".")[0] in parts or name.startswith(layers)]
    if own:
        wrong = "the files of the model have weights of its layers that its configuration has no place for"
        found = Said(f"{len(own)}, such as {own[0]}")
        do = "give it the config.json that belongs to its weights"
        raise InputError(explain(wrong, found=found, accepted="layers as in the files", do=do))
    if left:
        said = f"weights of {model} that this kind of model has no place for are left out"
        warnings.warn(f"{said}: {len(left)}, such as {left[0]}", stacklevel=2)


def with_adapter(model: nn.Module, adapter: str | Path, *, offline: bool) -> nn.Module:
    """A model with adapters on it, all their weights from their files and all that the files have."""
    from peft import PeftModel, get_peft_model_state_dict, load_peft_weights

    wrong = "the adapters could not be put on their model"
    with explained(wrong, adapter), warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")
        # peft asks by the older of two names.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        here = offline or Path(adapter).is_dir()
        given: Any = {"is_trainable": True, "local_files_only": here}
        loaded = PeftModel.from_pretrained(model, str(adapter), **given)
        held = load_peft_weights(str(adapter), device="cpu", local_files_only=here)
        places = get_peft_model_state_dict(loaded, save_embedding_layers=False).keys()
        if left := sorted(held.keys() - places - loaded.state_dict().keys()):
            raise ValueError(f"{len(left)} of their weights have no place in it, such as {left[0]}")
    return loaded


def device_named(name: str) -> torch.device:
    """A device that is there."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
        if device.type == "meta":
            raise RuntimeError("nothing is computed there")
    except (RuntimeError, AssertionError) as error:
        wrong, accepted = "the device cannot be used", "cpu, or cuda where there is one"
        raise InputError(explain(wrong, found=name, accepted=accepted, do="leave it out")) from error
    return device


@contextmanager
def explained(wrong: str, model: str | Path) -> Iterator[None]:
    """Turn what libraries raise into a sentence: broken files make them raise errors of every kind."""
    try:
        yield
    except (ConcordError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise _unloadable(wrong, model, error) from error


def _unloadable(wrong: str, model: str | Path, error: BaseException) -> NotFoundError:
    lines = str(error).strip().splitlines() or [""]
    wrong += f" ({type(error).__name__}: {lines[0][:_SHOWN]})"
    accepted = "a folder with config.json and model.safetensors, or with adapters, or the id of a hub model"
    do = "check the name, or the folder; a hub id must have been fetched, or the network allowed"
    return NotFoundError(explain(wrong, found=str(model), accepted=accepted, do=do))
