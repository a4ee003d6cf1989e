"""No tensor of [tokens, vocabulary] ever exists, forward or backward, whichever way the head goes."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import peft
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from concord.engine.head import CPU_CHUNK, CPU_TILE, chunk_size, linear_logps, module_values
from concord.engine.logprobs import LogProbs
from concord.engine.statistics import Teacher, entropy, logps, measured, on_logits, top
from concord.engine.targets import Line
from concord.objectives.distillation import generalised_jsd
from tests.engine.models import alone, build, line, tokens, weighted

CHUNK, VOCABULARY = 16, 2048


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation returns, gradients and recomputed values included."""

    numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self.numel = max(self.numel, leaf.numel())
        return made


def many() -> list[Line]:
    """Two prompts with six replies each: 240 predicted tokens, and scores of attention that are small."""
    rng = np.random.default_rng(0)
    prompts = [tokens(rng, 8), tokens(rng, 12)]
    return [line(prompts[n % 2], tokens(rng, 20), reply=n) for n in range(12)]


NARROW: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
"""So that nothing else is as large as a chunk of the logits."""


def small(**settings: Any) -> Any:
    return build("Llama", vocab_size=VOCABULARY, num_attention_heads=2, **NARROW, **settings)


def capped() -> Any:
    return build("Gemma2", vocab_size=VOCABULARY, num_attention_heads=2, head_dim=8, **NARROW)


def adapted() -> Any:
    config = peft.LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False)
    return peft.get_peft_model(small(), config)


def tied() -> Any:
    return small(tie_word_embeddings=True)


def frozen() -> Any:
    model = small()
    model.lm_head.weight.requires_grad_(False)
    return model


LOOKED_AT = {"entropy": measured(entropy), "top": measured(top(8))}
LOST = {"loss": on_logits(generalised_jsd, beta=0.5), "entropy": entropy, "top": top(8)}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # peft asks transformers
@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("functions", [{}, LOOKED_AT, LOST], ids=["", "metrics", "losses"])
@pytest.mark.parametrize("make", [small, tied, frozen, capped, adapted])
def test_no_matrix_of_tokens_by_vocabulary(
    make: Callable[[], Any], functions: dict[str, Any], layout: Literal["forest", "rows"]
) -> None:
    model, lines = make(), many()
    engine = LogProbs(model, layout=layout, chunk=CHUNK)
    laid = engine.lay(lines)
    count = len(laid.targets.labels)
    assert count == 240
    beside = {}
    if "loss" in functions:
        beside["teacher"] = Teacher(engine.head, torch.randn(count, 16))
    with Largest() as largest:
        found = engine(layout=laid, functions=functions, beside=beside)
        loss = weighted(found.logps) + sum(
            (value.sum() for value in found.functions.values() if getattr(value, "requires_grad", False)),
            torch.zeros(()),
        )
        loss.backward()
    # The weights of the head are as large as a chunk of its logits.
    assert largest.numel == CHUNK * VOCABULARY < count * VOCABULARY / 10


def test_the_measurement_sees_the_matrix_where_there_is_one() -> None:
    model, lines = small(), many()
    with Largest() as largest:
        weighted(alone(model, lines)).backward()
    assert largest.numel >= 20 * VOCABULARY


def test_default_sizes_keep_within_their_bounds() -> None:
    vocabulary, count = 32_000, 800
    states = torch.randn(count, 4, requires_grad=True)
    weight = torch.randn(vocabulary, 4, requires_grad=True)
    labels = torch.randint(0, vocabulary, (count,))
    with Largest() as fused:
        linear_logps(states, weight, labels).sum().backward()
    with Largest() as chunked:
        size = chunk_size(vocabulary, states.device)
        module_values(lambda h: h @ weight.T, states, labels, {"": logps}, size=size)[""].sum().backward()
    assert fused.numel <= CPU_TILE
    assert CPU_TILE < chunked.numel <= CPU_CHUNK < count * vocabulary / 2


def test_between_forward_and_backward_no_logits_are_kept() -> None:
    states = torch.randn(240, 4, requires_grad=True)
    weight = torch.randn(VOCABULARY, 4, requires_grad=True)
    labels = torch.randint(0, VOCABULARY, (240,))

    def kept(compute: Callable[[], torch.Tensor]) -> int:
        held: dict[int, int] = {}

        def pack(saved: torch.Tensor) -> torch.Tensor:
            held[saved.data_ptr()] = saved.numel()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            made = compute()
        made.sum().backward()
        return sum(held.values())

    def chunked() -> torch.Tensor:
        functions = {"": logps, "entropy": entropy}
        found = module_values(lambda h: h @ weight.T, states, labels, functions, size=CHUNK)
        return found[""] + found["entropy"]

    given = states.numel() + weight.numel() + labels.numel()
    assert kept(lambda: linear_logps(states, weight, labels)) <= given + len(labels)
    assert kept(chunked) <= given
    assert kept(lambda: (states @ weight.T).log_softmax(-1)[:, 0]) > 240 * VOCABULARY
