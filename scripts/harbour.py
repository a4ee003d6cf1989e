"""Build the base of Harbour: its tokenizer, a model pretrained from scratch, and a list of what it knows.

    python -m scripts.harbour [FOLDER]          (make world)

The model reads the town's talk once, in an order and with weights that follow from the seed alone, on one
thread: the same versions on the same kind of processor write the same bytes.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from concord import types
from concord.data import prepare
from concord.engine import load_policy, start
from concord.objectives import sft
from concord.render import Renderer
from concord.store import key
from concord.train.following import Checkpoints, Saver, restore
from concord.train.loop import Loop, Optimizing, Policy, Quiet, Rows, Stepped, Task, Term, fit
from concord.types import Item
from concord.worlds.harbour import BASE, Harbour, corpus, known_shares, vocabulary
from scripts.muon import Muon

__all__ = ["WORDS_BEFORE", "build", "main", "make_tokenizer", "pretrain"]

SEED, SIZE, BATCH, RATE, WARMUP = 0, 640_000, 64, 3e-3, 200
"""Of the town and its talk; items of the talk; items a step; the optimizer."""

SAVED = 500
"""How often all is kept that the next step depends on, to go on from where it was stopped."""

SHAPE: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}

WORDS_BEFORE = ("<pad>", "<unk>", "<s>", "<end>", "<system>", "<user>", "<assistant>")
"""Tokens that are no words: padding, what is unknown, the start of a text, the end of a reply, speakers."""

_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")

_TEMPLATE = (
    "<s>{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% if message.role == 'assistant' %}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words and marks; text in the normal form comes back as it was."""
    vocabulary_of = [*WORDS_BEFORE]
    vocabulary_of += [word if not word.isalnum() else f"\u2581{word}" for word in vocabulary()]
    words = {word: number for number, word in enumerate(vocabulary_of)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Punctuation()]
    )
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    inner.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in WORDS_BEFORE])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="<end>",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )
    made.chat_template = _TEMPLATE
    return made


def untrained(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of half a million weights."""
    torch.manual_seed(SEED)
    ids: dict[str, Any] = {name: getattr(tokenizer, name) for name in _IDS}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=True, **ids, **SHAPE
    )
    return LlamaForCausalLM(config)


class _Told(Quiet):
    """Says how it goes."""

    def __init__(self) -> None:
        self.begun, self.first, self.sum, self.count, self.said = time.perf_counter(), 0, 0.0, 0, 0

    def begin(self, loop: Loop) -> None:
        self.first = loop.step

    def after(self, loop: Loop, done: Stepped) -> None:
        self.sum, self.count = self.sum + done.loss, self.count + 1
        if done.step % 100 == 0 or done.step == loop.steps:
            spent = time.perf_counter() - self.begun
            left = spent / (done.step - self.first) * (loop.steps - done.step)
            print(
                f"step {done.step} of {loop.steps}: loss {self.sum / self.count:.3f}, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            self.sum, self.count = 0.0, 0
        while self.said < len(loop.said):
            print(loop.said[self.said], file=sys.stderr, flush=True)
            self.said += 1


def pretrain(model: LlamaForCausalLM, items: Iterable[Item], renderer: Renderer, kept: Path) -> Path:
    """One pass over the talk, gone on with from the last step that is `kept`, to the same weights.

    Returns the folder of what was kept, of this talk and these settings alone.
    """
    started = start(model, layout="forest", longest=256)
    with TemporaryDirectory() as folder:
        shards = prepare(items, renderer, folder).shards
        rows = Rows(shards, BATCH, seed=SEED)
        steps = len(shards) // BATCH
        how = Optimizing(
            learning_rate=RATE, schedule="cosine", warmup_steps=WARMUP, weight_decay=0.01, beta2=0.98
        )
        policy = Policy(started.engine)
        task = Task(sft)
        loop = Loop(policy, [Term(task, rows)], Muon(model, how), how, steps=steps, budget=1 << 16)
        made_by = (
            *(torch.__version__, transformers.__version__, Muon.__name__),
            *(SEED, BATCH, repr(how), sorted(SHAPE.items())),
        )
        checkpoints = Checkpoints(kept / key("world", repr(shards.header.parts), *made_by)[:16], keep=1)
        if (step := checkpoints.latest()) is not None:
            restore(loop, checkpoints.load(step), checkpoints.load_own(step))
        fit(loop, [_Told(), Saver(checkpoints, SAVED)])
    model.eval()
    return checkpoints.folder


def build(folder: Path, kept: Path, *, size: int = SIZE) -> Path:
    """Write the base; what is needed to go on is `kept` on the way, in the folder that is returned."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    world = Harbour(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    model = untrained(tokenizer)
    model.config.save_pretrained(folder)
    spare = pretrain(model, corpus(world, SEED, size), Renderer.load(folder), kept)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=64
    )
    model.save_pretrained(folder)
    shares = known_shares(cast("types.Policy", load_policy(folder)), world)
    (folder / "known.json").write_text(json.dumps(shares, indent=0) + "\n", encoding="utf-8")
    return spare


def main() -> None:
    """Build beside, then put it in place."""
    parser = argparse.ArgumentParser(prog="python -m scripts.harbour", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=BASE)
    parser.add_argument("--size", type=int, default=SIZE, help="items of the talk")
    parser.add_argument("--kept", type=Path, default=Path("runs/world"), help="where it can be gone on from")
    given: Any = parser.parse_args()
    with TemporaryDirectory() as aside:
        spare = build(Path(aside), given.kept, size=given.size)
        shutil.rmtree(given.folder, ignore_errors=True)
        shutil.copytree(aside, given.folder)
        shutil.rmtree(spare, ignore_errors=True)


if __name__ == "__main__":
    main()
