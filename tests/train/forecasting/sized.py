"""A model of known size, tables of lengths, and what a way of training costs."""

import numpy as np
from transformers import LlamaConfig, LlamaForCausalLM

from concord.data.shards import Lengths
from concord.engine import Line
from concord.train.forecasting.memory import Costs, Memory
from concord.train.forecasting.rehearsal import Rehearsed, Way

CONFIG = LlamaConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    bos_token_id=None,
    eos_token_id=None,
)
WEIGHTS = sum(weight.numel() for weight in LlamaForCausalLM(CONFIG).parameters())


def pairs(count: int, *, seed: int = 0) -> Lengths:
    """Lengths of pairs."""
    chance = np.random.default_rng(seed)
    prompt, replies = chance.integers(20, 60, count), chance.integers(5, 40, (count, 2))
    return Lengths(
        tokens=prompt + replies.sum(1),
        prompt=prompt,
        longest=prompt + replies.max(1),
        trained=replies.sum(1),
        row=np.repeat(np.arange(count), 2),
        reply=np.tile(np.arange(2, dtype=np.int32), count),
        length=(prompt[:, None] + replies).ravel().astype(np.int32),
        learned=replies.ravel().astype(np.int32),
    )


def lines(rows: int = 4, prompt: int = 40, reply: int = 20) -> list[Line]:
    """Pairs of random tokens."""
    chance = np.random.default_rng(0)
    made: list[Line] = []
    for _ in range(rows):
        begin = chance.integers(0, 300, prompt)
        for _ in range(2):
            ids = np.concatenate([begin, chance.integers(0, 300, reply)])
            made.append(Line(ids, np.array([[prompt, prompt + reply]]), len(made)))
    return made


COSTS = Costs(
    Way(),
    Rehearsed(1000, 1000, 4000, 4000, tokens=100, kept=50_000, passing=9000, largest=700),
    Rehearsed(1000, 1000, 4000, 4000, tokens=300, kept=150_000, passing=11_000, largest=700),
)


def sizes(memory: Memory) -> dict[str, int]:
    """The terms by name."""
    return {part.name: part.bytes for part in memory.parts}
