"""What scores replies, from folders and from the Hugging Face hub: classifiers of transformers, adapters with
their head, and causal models whose head stands beside them in a file. Which of these it is, its files say.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.hub import cached_file

from concord.engine.heads import RewardHead, ScalarHead, Scores, StepHead, hidden_size, mark_last
from concord.engine.loading import (
    DTYPES,
    adapted,
    check_taken,
    device_named,
    explained,
    from_files,
    load_model,
    with_adapter,
)
from concord.engine.logprobs import LogProbs
from concord.engine.model import body, causal, text_config
from concord.engine.start import start
from concord.engine.targets import Line
from concord.errors import CapabilityError, InputError, NotFoundError, Said, explain, nearest

__all__ = ["Held", "Kind", "Loading", "held", "load_labels", "load_scores"]

Kind: TypeAlias = Literal["rewards", "steps", "labels"]
"""A number at the end of a reply, at the end of each of its steps, or for each label of a whole text."""

_AUTO: dict[Kind, Any] = {
    "rewards": AutoModelForSequenceClassification,
    "steps": AutoModelForTokenClassification,
    "labels": AutoModelForSequenceClassification,
}
_ENDINGS: dict[str, Kind] = {"ForSequenceClassification": "rewards", "ForTokenClassification": "steps"}
_TASKS: dict[str, Kind] = {"SEQ_CLS": "rewards", "TOKEN_CLS": "steps"}


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded, as `concord.engine.load_model` has it."""

    dtype: str = "auto"
    device: str = ""
    offline: bool = True
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            wrong, accepted = "the precision of weights is not known", nearest(self.dtype, DTYPES)
            raise InputError(explain(wrong, found=self.dtype, accepted=accepted, do="name one of these"))


@dataclass(frozen=True)
class Held:
    """What a folder holds."""

    kind: Kind
    base: str | None = None
    """The model that adapters stand on."""
    head: Path | None = None
    """The file of a head that stands beside its model."""


def held(model: str | Path, how: Loading) -> Held:
    """What a folder or a hub id holds, or a refusal that says what it is instead."""
    base = adapted(model, offline=how.offline)
    if head := _file(model, "head.safetensors", how):
        return Held(_kind_of(head), base, head)
    if base is not None:
        path = _file(model, "adapter_config.json", how)
        assert path is not None  # it named the base
        task: Any = json.loads(path.read_text(encoding="utf-8")).get("task_type")
        if task not in _TASKS:
            raise _no_scores(model, f"adapters for the task {task}")
        if adapted(base, offline=how.offline) is not None:
            raise _no_scores(model, f"adapters on other adapters, {base}")
        below = _config(base, how)
        if _names(below)[0].endswith("ForSequenceClassification") and (
            below.num_labels != 1 or not _at_the_end(below, base, how)
        ):
            what = f"adapters on {_names(below)[0]}, to be merged into it first"
            raise _no_scores(model, what)
        return Held(_TASKS[task], base)
    config = _config(model, how)
    names = _names(config)
    kinds: list[Kind] = [kind for ending, kind in _ENDINGS.items() if names[0].endswith(ending)]
    if not kinds:
        raise _no_scores(model, names[0])
    if kinds == ["steps"] and config.num_labels != 1:
        raise _no_scores(model, f"{names[0]} with {config.num_labels} labels")
    if kinds == ["rewards"] and not (config.num_labels == 1 and _at_the_end(config, model, how)):
        return Held("labels")
    return Held(kinds[0])


def _config(model: str | Path, how: Loading) -> Any:
    with explained("no model could be loaded", model):
        here = how.offline or Path(model).is_dir()
        trust = how.trust_remote_code
        return AutoConfig.from_pretrained(str(model), local_files_only=here, trust_remote_code=trust)


def _names(config: Any) -> list[str]:
    """The classes that a model was saved by."""
    return getattr(config, "architectures", None) or ["a model of no named class"]


def _at_the_end(config: Any, model: str | Path, how: Loading) -> bool:
    """Whether a classifier is a causal model that looks at the last token: those have one head, `score`."""
    with explained("no classifier could be loaded", model), torch.device("meta"):
        made: Any = AutoModelForSequenceClassification.from_config(
            config, trust_remote_code=how.trust_remote_code
        )
    return isinstance(getattr(made, "score", None), nn.Linear)


def load_scores(model: str | Path, found: Held, how: Loading) -> Scores | LogProbs:
    """An engine of what was found, with one head that looks at marks."""
    return _classifier(model, found, how) if found.head is None else _headed(model, found, how)


def _no_scores(model: object, what: str) -> CapabilityError:
    accepted = (
        "a sequence classifier, a token classifier of one label, or what `concord train` makes of rewards"
    )
    wrong, do = f"{model} does not score replies", "name another model, or train this one with bradley_terry"
    return CapabilityError(explain(wrong, found=Said(what), accepted=accepted, do=do))


def _file(model: str | Path, name: str, how: Loading) -> Path | None:
    """A file of a folder or of a hub model, if it is there."""
    path: str | None = str(Path(model) / name)
    if not Path(model).is_dir():
        try:
            path = cached_file(str(model), name, local_files_only=how.offline)
        except (OSError, ValueError):
            return None  # or there is no such model: loading tells
    return Path(path) if path is not None and Path(path).is_file() else None


# --- heads beside their model -----------------------------------------------------------------------------


def _kind_of(file: Path) -> Kind:
    """Whose head a file holds: that of steps has a bias."""
    try:
        with safe_open(file, "pt") as opened:
            names: list[str] = opened.keys()
    except (OSError, SafetensorError):
        return "rewards"  # loading it tells what is wrong
    return "steps" if "score.bias" in names else "rewards"


def _headed(model: str | Path, found: Held, how: Loading) -> LogProbs:
    """A causal model and its head: what is exported where transformers has no classifier."""
    assert found.head is not None
    loaded = load_model(model, **asdict(how))
    head: ScalarHead = (StepHead if found.kind == "steps" else RewardHead)(hidden_size(loaded))
    head.load(found.head)
    engine = start(loaded).engine
    engine.heads[found.kind] = head.to(next(loaded.parameters()).device)
    return engine


# --- classifiers ------------------------------------------------------------------------------------------


def load_labels(model: str | Path, how: Loading) -> Any:
    """A classifier of whole texts, with as many labels as it has.

    In float32, where nothing else is asked for: in bfloat16, numbers near 10 would be 1/16 apart.
    """
    exact = replace(how, dtype="float32") if how.dtype == "auto" else how
    return _whole(model, Held("labels"), exact).to(device_named(how.device)).eval()


def _classifier(model: str | Path, found: Held, how: Loading) -> Scores:
    """A classifier as scores of marked tokens."""
    loaded = _whole(model, found, how)
    # In bfloat16, scores near 10 would be 1/16 apart.
    _head_of(loaded).float()
    loaded = loaded.to(device_named(how.device))
    return Scores(loaded if found.kind == "rewards" else _AtLast(loaded))


def _whole(model: str | Path, found: Held, how: Loading) -> Any:
    """A classifier with all its weights from its files."""
    source = found.base or model
    labels: dict[str, Any] = {} if found.kind == "labels" else {"num_labels": 1}
    with explained("no classifier could be loaded", source):
        loaded, facts = from_files(
            _AUTO[found.kind],
            source,
            **labels,
            dtype=DTYPES[how.dtype],
            local_files_only=how.offline or Path(source).is_dir(),
            trust_remote_code=how.trust_remote_code,
        )
    missing, left = set(facts["missing_keys"]), sorted(facts["unexpected_keys"])
    if found.base is not None:
        # A model that speaks has a head for that, and none for scores, which its adapters bring.
        missing -= _brought(model, how)
        left = [name for name in left if name.startswith(f"{loaded.base_model_prefix}.")]
    if missing:
        wrong = "the files of the model do not have all its weights, which would be random"
        said = Said(f"{len(missing)} missing, such as {min(missing)}")
        do = "take the files of a whole classifier, or of adapters with their head"
        raise NotFoundError(explain(wrong, found=said, accepted="all weights", do=do))
    check_taken(loaded, source, left)
    return loaded if found.base is None else with_adapter(loaded, model, offline=how.offline)


def _brought(model: str | Path, how: Loading) -> set[str]:
    """The names of the weights that adapters bring, as their model has them."""
    from peft import load_peft_weights

    with explained("the adapters could not be put on their model", model):
        here = how.offline or Path(model).is_dir()
        weights = load_peft_weights(str(model), device="cpu", local_files_only=here)
    return {name.removeprefix("base_model.model.") for name in weights}


def _head_of(model: nn.Module) -> nn.Module:
    """The head of a classifier, by the names that transformers has for it."""
    inner = causal(model)
    found = getattr(inner, "score", getattr(inner, "classifier", None))
    if not isinstance(found, nn.Module):
        raise _no_scores("the model", type(inner).__name__)
    return found


class _AtLast(nn.Module):
    """A classifier of tokens as one of sequences, by its last token: what `Scores` takes and tries out."""

    base_model_prefix = "body"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config = model, causal(model).config
        for name in ("_supports_sdpa", "_supports_attention_backend", "_can_set_attn_implementation"):
            setattr(self, name, getattr(causal(model), name, None))

    @property
    def body(self) -> nn.Module:
        return body(self.model)

    @property
    def score(self) -> nn.Module:
        return _head_of(self.model)

    def forward(self, input_ids: Tensor, *, use_cache: bool = False) -> Any:
        logits = causal(self.model)(input_ids=input_ids, use_cache=use_cache).logits[0]
        padding = getattr(text_config(self), "pad_token_id", None)
        (last,) = mark_last([Line(input_ids[0].cpu().numpy())], padding=padding)
        return SequenceClassifierOutput(logits=logits[torch.from_numpy(last.marks)])
