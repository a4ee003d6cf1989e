"""TRL's half of a benchmark of training: its own trainers on given rows, with given settings."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from benchmarks.train_work import END, FIRST, PADDING, Ran, Row, Setting, Work, pairs_of

__all__ = ["run_peer"]

_TYPES: dict[str, tuple[Any, Any]] = {
    "pairs": (DPOTrainer, DPOConfig),
    "rankings": (DPOTrainer, DPOConfig),
    "rankings-all": (DPOTrainer, DPOConfig),
    "judged": (KTOTrainer, KTOConfig),
    "demonstrations": (SFTTrainer, SFTConfig),
    "rewards": (RewardTrainer, RewardConfig),
}


def run_peer(work: Work, steps: Sequence[Sequence[Row]], model: Path, folder: Path, setting: Setting) -> Ran:
    """Train on these steps, and say what each took and what its loss was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disable_progress_bars()
        trainer = _trainer(work, steps, model, folder, setting)
        watch = _Watch(trainer)
        trainer.add_callback(watch)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return Ran(watch.losses, watch.seconds, trainer.before, rows=sum(len(step) for step in steps))


def _trainer(work: Work, steps: Sequence[Sequence[Row]], model: Path, folder: Path, setting: Setting) -> Any:
    trainer, config = _TYPES[work.kind]
    batches = [_ordered(_columns(work, step), setting) for step in steps]
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": setting.micro,
        "gradient_accumulation_steps": 1 if not setting.same_steps else len(batches[0]) // setting.micro,
        "learning_rate": work.learning_rate,
        "lr_scheduler_type": "linear",
        "num_train_epochs": 1,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "max_length": None if setting.packing == "padding-free" else work.model["max_position_embeddings"],
        "train_sampling_strategy": "sequential",
        "gradient_checkpointing": setting.checkpointing,
        "bf16": work.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "disable_tqdm": True,
        "save_strategy": "no",
        "report_to": "none",
        "seed": work.seed,
    }
    if work.kind == "demonstrations":
        options["completion_only_loss"] = True
    if setting.precomputed:
        options["precompute_ref_log_probs"] = True
    if setting.packing:
        options |= {"padding_free": True} if setting.same_steps else {"packing": True}
    return type("Watched", (_Watched, trainer), {})(
        model=_load(work, model),
        args=config(**options),
        train_dataset=Dataset.from_list([row for batch in batches for row in batch]),
        processing_class=_tokenizer(work.model["vocab_size"]),
    )


def _load(work: Work, model: Path) -> Any:
    kind = AutoModelForSequenceClassification if work.kind == "rewards" else AutoModelForCausalLM
    return kind.from_pretrained(model, dtype=torch.float32)


# --- rows as TRL reads them -------------------------------------------------------------------------------


def _columns(work: Work, step: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of a step. Where TRL takes no tokens, words that its tokenizer turns into them."""
    match work.kind:
        case "demonstrations":
            return [
                {
                    "input_ids": row.prompt + row.replies[0],
                    "completion_mask": [0] * len(row.prompt) + [1] * len(row.replies[0]),
                }
                for row in step
            ]
        case "rewards":
            return [
                {"chosen_ids": row.prompt + row.replies[0], "rejected_ids": row.prompt + row.replies[1]}
                for row in step
            ]
        case "judged":
            return [
                {"prompt": _words(row.prompt), "completion": _said(row.replies[0]), "label": row.desirable}
                for row in step
            ]
        case _:
            return [
                {"prompt": _words(row.prompt), "chosen": _said(chosen), "rejected": _said(rejected)}
                for row in step
                for chosen, rejected in pairs_of(work, row)
            ]


def _words(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def _said(reply: Sequence[int]) -> str:
    return " " + _words(reply[:-1]) + "</s>"


def _ordered(rows: list[dict[str, Any]], setting: Setting) -> list[dict[str, Any]]:
    """The rows of a step, the longest first where they are sorted."""
    if not setting.by_length:
        return rows

    def longest(row: dict[str, Any]) -> int:
        sizes = {name: len(value.split() if isinstance(value, str) else value) for name, value in row.items()}
        own = max(size for name, size in sizes.items() if name not in ("prompt", "completion_mask"))
        return -sizes.get("prompt", 0) - own

    return sorted(rows, key=longest)


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose words are numbers: those of the tokens."""
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    words = {"<unk>": 0, "<pad>": PADDING, "</s>": END}
    words |= {str(token): token for token in range(FIRST, vocabulary)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


# --- what is written down ---------------------------------------------------------------------------------


class _Watched:
    """Goes before one of TRL's trainers: keeps losses, and how long a precomputed reference takes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.shares: list[Any] = []
        self.before = 0.0
        super().__init__(*args, **options)

    def _precompute_ref_logps(self, *args: Any, **options: Any) -> Any:
        begun = _now()
        found = super()._precompute_ref_logps(*args, **options)  # type: ignore[misc]
        self.before += _now() - begun
        return found

    def _send_telemetry(self) -> None:
        """Nothing is told to anybody from here."""

    def training_step(self, *args: Any, **options: Any) -> Any:
        self.shares.append(super().training_step(*args, **options))  # type: ignore[misc]
        return self.shares[-1]


class _Watch(TrainerCallback):
    """Takes the time between the ends of steps."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.last = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.last = _now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        ended = _now()
        self.seconds.append(ended - self.last)
        self.losses.append(sum(float(share) for share in self.trainer.shares))
        self.trainer.shares.clear()
        self.last = ended


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()
