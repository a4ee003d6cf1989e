"""Tiny models built from their configurations, what is known of each, and the plain way to compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers as tf
from torch import Tensor, nn

from concord.engine.targets import Ints, Line

VOCABULARY = 128
WINDOW = 9
ROOM = 256

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": ROOM,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def build(name: str, *, config: str = "", bare: bool = False, seed: int = 0, **settings: Any) -> Any:
    """A causal model of a family, with weights large enough that every part of it matters."""
    given = settings if bare else {**_SIZES, **settings}
    made = getattr(tf, config or f"{name}Config")(**given)
    torch.manual_seed(seed)
    family = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    return stirred(getattr(tf, family)(made))


def stirred(model: Any) -> Any:
    """The same model with random weights of moderate size, in training mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            spread = 0.15 if weight.ndim > 1 else 0.05
            weight.add_(torch.randn(weight.shape, generator=generator) * spread)
    return model.train()


def llama(layers: int = 2, **settings: Any) -> Any:
    """The plainest of them."""
    return build("Llama", num_hidden_layers=layers, **settings)


@dataclass(frozen=True)
class Family:
    """An architecture, a tiny model of it, and how the engine must treat it."""

    name: str
    make: Callable[[], Any]
    layout: str = "forest"
    why: str = ""
    """What the reason against the forest must say."""
    has: str = ""
    """What is special about the model that is tried."""


def _window(name: str, **settings: Any) -> Callable[[], Any]:
    return lambda: build(name, sliding_window=WINDOW, **settings)


def _plain(name: str, **settings: Any) -> Callable[[], Any]:
    return lambda: build(name, **settings)


_SOME = {"use_sliding_window": True, "max_window_layers": 2}
_GPT = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": ROOM}
_STILL = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}


def long_rope(**settings: Any) -> Any:
    """Phi-3 that turns sequences of more than 40 tokens by other angles."""
    angles = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 40,
        "short_factor": [1.0] * 4,
        "long_factor": [3.0, 4.0, 5.0, 6.0],
    }
    given = {"original_max_position_embeddings": 40, "rope_parameters": angles}
    return build("Phi3", num_hidden_layers=2, **given, **settings)


_BY_POSITION = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 16,
    "llama_4_scaling_beta": 0.3,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
_LLAMA4: dict[str, Any] = {
    "head_dim": 8,
    "num_local_experts": 2,
    "intermediate_size_mlp": 48,
    "attention_chunk_size": 8,
    "num_experts_per_tok": 1,
}


def llama4() -> Any:
    """A model of text and pictures, whose text part is a whole causal model with a head of its own."""
    picture = {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
        "projector_input_dim": 16,
        "projector_output_dim": 16,
        "vision_output_dim": 16,
    }
    config = tf.Llama4Config(text_config={**_SIZES, **_LLAMA4}, vision_config=picture, image_token_index=2)
    torch.manual_seed(0)
    return stirred(tf.Llama4ForConditionalGeneration(config))


FAMILIES = (
    Family("Llama", _plain("Llama"), has="shared heads of keys"),
    Family("Qwen2", _window("Qwen2", **_SOME), has="windows in some layers"),
    Family("Qwen3", _window("Qwen3", head_dim=8, **_SOME), has="windows in some layers"),
    Family("Mistral", _window("Mistral"), has="a window"),
    Family(
        "Gemma2", _window("Gemma2", head_dim=8), has="windows in some layers, soft-capped scores and logits"
    ),
    Family(
        "Gemma3",
        lambda: build(
            "Gemma3",
            config="Gemma3TextConfig",
            head_dim=8,
            sliding_window=WINDOW,
            layer_types=["sliding_attention", "full_attention"] * 2,
        ),
        has="windows in some layers, with angles of their own",
    ),
    Family("Phi3", _window("Phi3"), has="a window"),
    Family("GPT2", _plain("GPT2", bare=True, **_GPT, **_NO_TOKENS, **_STILL), has="learned positions"),
    Family("GPTNeoX", _plain("GPTNeoX"), has="angles for a part of each head"),
    Family("Olmo2", _plain("Olmo2"), has="norms behind the layers"),
    Family("SmolLM3", _plain("SmolLM3"), has="layers without positions"),
    Family("Mixtral", _window("Mixtral", num_local_experts=4), has="experts, a window"),
    Family("Qwen3Moe", _plain("Qwen3Moe", head_dim=8, **_EXPERTS), has="experts"),
    Family(
        "Granite",
        _plain(
            "Granite",
            logits_scaling=3.0,
            embedding_multiplier=2.0,
            residual_multiplier=0.5,
            attention_multiplier=0.3,
        ),
        has="four scales of its own",
    ),
    Family(
        "Ministral3",
        lambda: build("Ministral3", head_dim=8, rope_parameters=_BY_POSITION),
        has="scores that are scaled by position",
    ),
    Family("Cohere", _plain("Cohere", logit_scale=0.25), has="scaled logits, parallel layers"),
    Family(
        "Qwen3Next",
        _plain(
            "Qwen3Next",
            num_hidden_layers=2,
            layer_types=["linear_attention", "full_attention"],
            head_dim=8,
            shared_expert_intermediate_size=16,
            linear_num_value_heads=4,
            linear_num_key_heads=2,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            **_EXPERTS,
        ),
        "rows",
        "linear_attention",
        "a running state",
    ),
    Family(
        "Lfm2",
        _plain("Lfm2", layer_types=["conv", "full_attention"] * 2),
        "rows",
        "conv",
        "convolutions",
    ),
    Family(
        "Mamba2",
        lambda: build(
            "Mamba2",
            bare=True,
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=2,
            num_heads=8,
            head_dim=8,
            state_size=8,
            n_groups=2,
            expand=2,
            chunk_size=16,
        ),
        "rows",
        "linear_attention",
        "a running state",
    ),
    Family(
        "GptOss",
        _window("GptOss", num_hidden_layers=2, head_dim=8, num_local_experts=4, num_experts_per_tok=2),
        "rows",
        "s_aux",
        "sinks, experts, windows in some layers",
    ),
    Family(
        "Llama4",
        lambda: build(
            "Llama4",
            config="Llama4TextConfig",
            **_LLAMA4,
        ),
        "rows",
        "chunked_attention",
        "chunks, layers without positions, experts",
    ),
    Family(
        "Llama4, text of a composite model",
        llama4,
        "rows",
        "chunked_attention",
        "a body one level further down",
    ),
    Family(
        "GPTJ",
        _plain("GPTJ", bare=True, rotary_dim=4, **_GPT, **_NO_TOKENS, **_STILL),
        "rows",
        "exchanged",
        "angles for a part of each head",
    ),
    Family(
        "Bloom",
        _plain("Bloom", bare=True, vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, **_NO_TOKENS),
        "rows",
        "exchanged",
        "a bias by distance",
    ),
    Family("StableLm", _plain("StableLm"), "rows", "exchanged", "angles for a part of each head"),
    Family(
        "Phi3, long-RoPE",
        long_rope,
        "rows",
        "angles",
        "other angles beyond a length that lies among its rows",
    ),
)


def tokens(rng: np.random.Generator, count: int) -> Ints:
    """Random tokens."""
    return rng.integers(3, VOCABULARY, count)


def line(*parts: Ints, reply: int = 0) -> Line:
    """A line of parts laid end to end, of which the last is predicted."""
    ids = np.concatenate(parts)
    return Line(ids, np.array([[len(ids) - len(parts[-1]), len(ids)]]), reply)


def family_tree(seed: int = 0) -> list[Line]:
    """A system prompt, two prompts, one with two turns, and replies: one begins another, one is long."""
    rng = np.random.default_rng(seed)
    system, first, second, turn = (tokens(rng, size) for size in (12, 20, 14, 9))
    reply = tokens(rng, 15)
    lines = [
        line(system, first, reply),
        line(system, first, reply[:6]),
        line(system, first, tokens(rng, 23)),
        line(system, second, turn, tokens(rng, 11)),
        line(system, second, turn, tokens(rng, 3)),
        line(system, second, tokens(rng, 30)),
        line(tokens(rng, 8), tokens(rng, 18)),
    ]
    return [Line(one.ids, one.spans, number) for number, one in enumerate(lines)]


def alone(model: Any, lines: Sequence[Line]) -> Tensor:
    """The log-probabilities of all predicted tokens, each line by itself through the model's own forward."""
    found: list[Tensor] = []
    for one in lines:
        logits = model(input_ids=torch.from_numpy(one.ids)[None], use_cache=False).logits[0].float()
        logps = logits.log_softmax(-1)
        for start, stop in one.spans.tolist():
            labels = torch.from_numpy(one.ids[start:stop])
            found.append(logps[start - 1 : stop - 1].gather(1, labels[:, None])[:, 0])
    return torch.cat(found)


def weighted(logps: Tensor) -> Tensor:
    """A sum in which every token counts differently."""
    return (logps * torch.linspace(-1, 1, len(logps) + 1)[:-1]).sum()


def gradients(model: nn.Module) -> Tensor:
    """The gradients of all weights, end to end; they are taken away."""
    parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in model.parameters()]
    model.zero_grad(set_to_none=True)
    return torch.cat([part.flatten() for part in parts])


def apart(first: Tensor, second: Tensor) -> float:
    """The norm of a difference, relative."""
    return float((first - second).norm() / second.norm())
