"""What a training leaves: a folder that transformers loads and generates from.

A model is written as a model and an adapter as an adapter, weights in the precision they came in unless that
would undo the training (`rounding.surviving` decides), beside the tokenizer with its chat template and what
generation stops at. A head of rewards goes where transformers has the head of a sequence classifier of one
label, a head of steps where it has that of a token classifier, so that other tools load them. A folder is
filled aside and renamed: it is whole, or what stood there before.
"""

import copy
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from concord.durable import aside, disk_message, publish_directory
from concord.engine.heads import RewardHead, ScalarHead, StepHead
from concord.engine.model import causal
from concord.engine.precision import Stilled, adapter_weights
from concord.errors import InputError, RunError, Said, explain
from concord.render import Renderer
from concord.train.leaving.fresh import AUTO, Kind, hash_as, most_common, plain_name
from concord.train.leaving.tokenizer_files import write_beside

__all__ = ["Exported", "export", "kind_of", "spelled", "weights"]

_HEADED: dict[Any, Kind] = {RewardHead: "rewards", StepHead: "steps"}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A folder that was written, and what must be found when it is loaded."""

    folder: Path
    kind: Kind
    """What transformers loads it as: a causal model, a classifier of sequences, or one of tokens."""
    adapter: str = ""
    """The model that an adapter stands on; empty where the folder holds a whole model."""
    dtype: str
    """The precision of most weights, in which the folder is loaded."""
    sums: Mapping[str, str]
    """A hash of each weight in that precision, by its name in the model, or in the file of an adapter."""
    quant: Mapping[str, Any] | None = None
    """How the base of an adapter is quantised, in the words of transformers."""
    notes: tuple[str, ...] = ()
    """What a person who uses the folder elsewhere should know."""

    @property
    def loading(self) -> tuple[str, str]:
        """The two lines that load it."""
        labels = "" if self.kind == "model" else ", num_labels=1"
        auto, name = AUTO[self.kind], json.dumps(str(self.folder.absolute()))
        if self.adapter and self.kind != "model":
            auto = f"AutoPeft{auto.removeprefix('Auto')}"
            return f"from peft import {auto}", f"model = {auto}.from_pretrained({name}{labels})"
        return f"from transformers import {auto}", f"model = {auto}.from_pretrained({name})"


def export(
    model: Any,
    folder: Path,
    *,
    came: Mapping[str, torch.dtype],
    renderer: Renderer | None = None,
    stilled: Stilled | None = None,
    head: ScalarHead | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> Exported:
    """Write a trained model, or the adapter that was trained on it, with all that is needed to use it.

    `came` has the precision of weights that are not written as they are (`surviving` gives it), `stilled`
    the dropout that its configuration gets back, `state` all weights of a model whose own are sharded over
    ranks, and those of its head under names that begin with `head.`. The model itself stays as it is, and can
    be trained on.
    """
    held = weights(model, came, state)
    own = {} if head is None else _head_weights(head, state)
    filled = aside(folder)
    try:
        filled.mkdir(parents=True)
        with _with_dropout(stilled):
            written = _written(model, held, filled, kind_of(head), own)
        if renderer is not None:
            whose: dict[str, Any] = {"kind": written["kind"], "adapter": "adapter" in written}
            written["notes"] += tuple(write_beside(model, filled, renderer, **whose))
        publish_directory(filled, folder)
    except (OSError, SafetensorError) as error:
        kept = "what stood there before is whole"
        said = disk_message(_refused(error), doing=f"writing the model to {folder}", kept=kept)
        raise RunError(said) from error
    finally:
        shutil.rmtree(filled, ignore_errors=True)
    return Exported(folder=folder, **written)


def _refused(error: Exception) -> OSError:
    """What a disk refused; files of weights say in words alone what it was."""
    if isinstance(error, OSError):
        return error
    code = re.search(r"os error (\d+)", str(error))
    return OSError(int(code[1]) if code else 0, str(error))


def weights(
    model: nn.Module, came: Mapping[str, torch.dtype], state: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """All weights of a model on the CPU, each in the precision `came` has for it; what is tied stays tied.

    They are cast one by one and leave the accelerator, where there may be no room for a second copy.
    """
    held = model.state_dict(keep_vars=True)
    given = held if state is None else state
    if missing := sorted(held.keys() - given.keys()):
        wrong, found = "the weights that were gathered are not all of the model's", Said(f"no {missing[0]}")
        do = "gather the full state of the model inside the engine, with its names"
        raise InputError(explain(wrong, found=found, accepted="a weight for each name", do=do))
    wanted = {id(held[name]): dtype for name, dtype in came.items()}
    cast: dict[int, Any] = {}
    for name, weight in held.items():
        value: Any = given[name]
        if id(weight) in cast or not isinstance(value, Tensor):
            cast.setdefault(id(weight), value)
            continue
        dtype = wanted.get(id(weight), value.dtype)
        cast[id(weight)] = _whole(name, value).to("cpu", dtype).contiguous()
    return {name: cast[id(weight)] for name, weight in held.items()}


def _head_weights(head: ScalarHead, state: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The weights of a head on the CPU, in the precision they were trained in."""
    held: dict[str, Tensor] = head.state_dict()
    if state is not None:
        held = {name: state.get(f"head.{name}", value) for name, value in held.items()}
    return {name: _whole(name, value).cpu().contiguous() for name, value in held.items()}


def _whole(name: str, value: Tensor) -> Tensor:
    """A weight that is here."""
    if isinstance(value, DTensor):
        wrong, do = "weights that are sharded over ranks cannot be written by one of them", "give `state`"
        raise InputError(explain(wrong, found=Said(name), accepted="whole weights", do=do))
    return value.detach()


@contextmanager
def _with_dropout(stilled: Stilled | None) -> Iterator[None]:
    """The dropout a model came with, for the length of a `with`."""
    held = () if stilled is None else stilled.held
    for owner, name, value in held:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, _ in held:
            setattr(owner, name, 0.0)


# --- weights and configurations ---------------------------------------------------------------------------


def kind_of(head: nn.Module | None) -> Kind | None:
    """What a head makes of its model: a classifier of sequences, or one of tokens; None for other heads."""
    return next((kind for made, kind in _HEADED.items() if isinstance(head, made)), None)


def _written(
    model: Any, held: Mapping[str, Any], folder: Path, wanted: Kind | None, own: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Write weights and configuration; returns the fields of `Exported` that are known then.

    `own` are the weights of a head, `wanted` what they should make of the model.
    """
    place = None if wanted is None else _place(model, wanted, own)
    kind: Kind = "model" if place is None or wanted is None else wanted
    notes = ()
    if own and place is None:
        save_file(dict(own), folder / "head.safetensors")
        notes = ("its head stands in head.safetensors: transformers has no class for it here",)
    added = {} if place is None else {place.named(name): value for name, value in own.items()}
    if hasattr(model, "peft_config"):
        return _write_adapter(model, held, folder, kind, added) | {"notes": notes}
    if place is None:
        target, named = causal(model), dict(held)
    else:
        target = place.shell
        named = {name: value for name, value in held.items() if name in place.names} | added
    dtype = most_common(held.values())
    sums = {name: hash_as(value, dtype) for name, value in named.items() if isinstance(value, Tensor)}
    # It takes the weights out of what it is given, one after the other.
    target.save_pretrained(folder, state_dict=dict(named))
    # transformers writes down the precision of the model as it is trained, and loads what it wrote down.
    config = copy.deepcopy(target.config)
    config.dtype = dtype
    config.save_pretrained(folder)
    return {"kind": kind, "dtype": spelled(dtype), "sums": sums, "notes": notes}


@dataclass(frozen=True)
class _Place:
    """Where transformers keeps such a head: a classifier without weights, the names of those it shares with
    the causal model, and the name of its head."""

    shell: Any
    names: frozenset[str]
    name: str

    def named(self, name: str) -> str:
        """The name there of a weight of a head of ours."""
        return f"{self.name}{name.removeprefix('score')}"


def _place(model: Any, kind: Kind, own: Mapping[str, Tensor]) -> _Place | None:
    """The classifier that a head belongs to; None where there is no such class."""
    inner = causal(model)
    made = getattr(transformers, AUTO[kind])._model_mapping.get(type(inner.config), None)
    if made is None:
        return None
    config = copy.deepcopy(inner.config)
    config.num_labels = 1
    config._attn_implementation = {"": "eager"}
    with torch.device("meta"):
        shell = made(config)
    wanted = set(shell.state_dict())
    shared = wanted & {_bare(name) for name in inner.state_dict()}
    for name in {name.rpartition(".")[0] for name in wanted - shared}:
        place = _Place(shell, frozenset(shared), name)
        if wanted - shared == set(map(place.named, own)):
            return place
    return None


def _bare(name: str) -> str:
    """The name of a weight without what adapters put around its layer."""
    return name.replace(".base_layer.", ".").replace(".original_module.", ".")


def _write_adapter(
    model: Any, held: Mapping[str, Any], folder: Path, kind: Kind, added: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Write an adapter with its configuration, and a head beside its weights, as peft writes them."""
    from peft import get_peft_model_state_dict

    name = model.active_adapter
    found = get_peft_model_state_dict(
        model, state_dict=dict(held), adapter_name=name, save_embedding_layers=False
    )
    # What ties layers shares their weights, which these files cannot.
    kept = {key: value.clone() for key, value in found.items()}
    if kind != "model":
        # Rewards are made of hidden states: nothing that was laid over the language head has a part in them.
        language = {one for one, module in causal(model).named_modules() if module is _language_head(model)}
        kept = {key: value for key, value in kept.items() if not any(f".{one}." in key for one in language)}
        kept |= {f"base_model.model.{key}": value for key, value in added.items()}
    config = copy.deepcopy(model.peft_config[name])
    config.inference_mode = True
    config.base_model_name_or_path = _base(config.base_model_name_or_path or causal(model).name_or_path)
    if isinstance(config.target_modules, set | list):
        config.target_modules = sorted(config.target_modules)
    if kind != "model":
        config.task_type = {"rewards": "SEQ_CLS", "steps": "TOKEN_CLS"}[kind]
        config.modules_to_save = sorted({key.split(".")[0] for key in added})
    save_file(kept, folder / "adapter_model.safetensors", {"format": "pt"})
    config.save_pretrained(str(folder))
    own = adapter_weights(model)
    below = [held[one] for one, weight in model.state_dict(keep_vars=True).items() if id(weight) not in own]
    dtype, quant = most_common(below), getattr(causal(model).config, "quantization_config", None)
    return {
        "kind": kind,
        "adapter": config.base_model_name_or_path,
        "dtype": spelled(dtype),
        "sums": {plain_name(key): hash_as(value, dtype) for key, value in kept.items()},
        "quant": None if quant is None else quant.to_dict(),
    }


def _language_head(model: Any) -> nn.Module | None:
    return causal(model).get_output_embeddings()


def _base(name: str) -> str:
    """A folder by its whole path, so that it is found from anywhere; the id of a hub model as it is."""
    return str(Path(name).resolve()) if name and Path(name).is_dir() else name


def spelled(dtype: torch.dtype) -> str:
    """A precision as configurations spell it."""
    return str(dtype).removeprefix("torch.")
