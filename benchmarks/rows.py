"""Preference rows to measure with: text of a seeded word model, lengths as in real data, and a tokenizer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from concord.types import Item, Origin, Preference, as_prompt, as_turns

__all__ = ["TEMPLATE", "as_item", "load_renderer", "preference_rows", "tokenizer"]

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_GPT2 = Path(__file__).parents[2] / "shared" / "data" / "tokenizers" / "gpt2"
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_BEGIN, _MIDDLE = [*"bcdfghlmnprst", "th", "st", "tr", "pl"], [*"aeiou", "ea", "ou", "ai"]
_END = ["", "n", "r", "s", "t", "ng", "nd", "ly", "ed", "ing"]
_SYSTEM = {"role": "system", "content": "You are a careful assistant. Say so where you are not sure."}


def _words(chance: np.random.Generator, count: int = 20_000) -> np.ndarray[Any, Any]:
    """Made-up words of one to three syllables, the short ones first and commonest."""
    made: dict[str, None] = {}
    while len(made) < count:
        syllables = 1 + min(2, len(made) // 500)
        made[
            "".join(chance.choice(_BEGIN) + chance.choice(_MIDDLE) for _ in range(syllables))
            + chance.choice(_END)
        ] = None
    return np.array(list(made), dtype=object)


def preference_rows(
    count: int, *, seed: int = 0, words: tuple[int, int] = (60, 150)
) -> Iterator[dict[str, Any]]:
    """Rows with prompt, chosen and rejected as messages; `words` are the medians of prompt and reply.

    Lengths are lognormal, words come as often as Zipf's law has it, one row in five has a system message.
    """
    chance = np.random.default_rng(seed)
    vocabulary = _words(chance)
    odds = 1 / (np.arange(len(vocabulary)) + 2.7)
    stock = vocabulary[chance.choice(len(vocabulary), 1 << 20, p=odds / odds.sum())]

    def text(median: int) -> str:
        length = int(np.clip(chance.lognormal(np.log(median), 0.8), 3, 1500))
        at = int(chance.integers(0, len(stock) - length))
        said, stops = list(stock[at : at + length]), chance.integers(6, 18, 1 + length // 6).cumsum()
        for stop in stops[stops < length]:
            said[stop - 1] += ".\n\n" if stop % 5 == 0 else "." if stop % 2 else ","
        return " ".join(said).capitalize() + "."

    for number in range(count):
        prompt = [{"role": "user", "content": text(words[0])}]
        yield {
            "prompt": [_SYSTEM, *prompt] if number % 5 == 0 else prompt,
            "chosen": [{"role": "assistant", "content": text(words[1])}],
            "rejected": [{"role": "assistant", "content": text(words[1])}],
        }


def as_item(row: dict[str, Any], number: int) -> Item:
    """A row as an item."""
    replies = (as_turns(row["chosen"]), as_turns(row["rejected"]))
    return Item(as_prompt(row["prompt"]), replies, Preference(1.0), origin=Origin("rows.jsonl", number + 1))


def tokenizer() -> Any:
    """A byte-level tokenizer with a ChatML template: of GPT-2 where that is there, else made here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    found = (_GPT2 / "vocab.json").is_file()
    model = (
        models.BPE.from_file(*map(str, (_GPT2 / "vocab.json", _GPT2 / "merges.txt")))
        if found
        else models.BPE()
    )
    inner = Tokenizer(model)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if not found:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=16_000, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
        texts = (
            row[part][-1]["content"] for row in preference_rows(2000, seed=1) for part in ("prompt", "chosen")
        )
        inner.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=_SPECIAL[1:2],
    )
    made.chat_template = TEMPLATE
    return made


def load_renderer() -> Any:
    """The renderer of that tokenizer."""
    from concord.render.renderer import Renderer

    return Renderer(tokenizer())
