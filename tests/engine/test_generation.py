"""Replies are what the model itself would say, token for token, however they are drawn together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from concord.engine.generation import Decoder, Draw, asleep, decoder, generate, resting
from concord.engine.logprobs import LogProbs
from concord.engine.sampling import chance
from concord.engine.switch import kernel, switch
from concord.engine.targets import Line
from concord.seam import Finish, Sampling
from tests.engine.models import FAMILIES, VOCABULARY, Family, build, llama, long_rope, stirred
from tests.shared import SHARED, needs_shared

GREEDY = Sampling(temperature=0)
NEAR = 1e-3  # nats between the two likeliest tokens: a near-tie, which rounding may decide


def prompts(*lengths: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Random prompts."""
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(3, VOCABULARY, length).tolist()) for length in lengths]


def never(_tokens: list[int]) -> bool:
    return False


def draw(
    prompt: Sequence[int], room: int, sampling: Sampling = GREEDY, *, number: int = 0, ends: Any = never
) -> Draw:
    """One draw of a prompt."""
    return Draw(tuple(prompt), sampling, chance(sampling, prompt, number), room, ends)


def drawn(model: nn.Module, draws: list[Draw], *, rows: int = 8, how: Decoder | None = None) -> list[Draw]:
    """Draws that are over."""
    with asleep(model):
        generate(how or Decoder(model), draws, rows=rows)
    return draws


def check_greedy(model: Any, one: Draw) -> None:
    """Compare a greedy draw with the library's, up to the first near-tie."""
    ids = torch.tensor([one.prompt])
    given: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with asleep(model):
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=one.room, **given)
        right = out[0, ids.shape[1] :].tolist()
        if one.tokens == right:
            return
        place = next(at for at, pair in enumerate(zip(one.tokens, right, strict=True)) if pair[0] != pair[1])
        whole = torch.tensor([[*one.prompt, *right[:place]]])
        likeliest = model(input_ids=whole, use_cache=False).logits[0, -1].float().topk(2)
    assert {*likeliest.indices.tolist()} == {one.tokens[place], right[place]}
    assert float(likeliest.values[0] - likeliest.values[1]) < NEAR


@pytest.mark.parametrize("rows", [3, 16])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_greedy_draws_are_those_of_the_library(family: Family, rows: int) -> None:
    """Prompts of several lengths and of one, rows that come and go, windows and thresholds that bite."""
    model = family.make()
    rooms = zip(prompts(5, 33, 12, 38, 12, 12), (16, 5, 9, 4, 1, 7), strict=True)
    draws = [draw(prompt, room) for prompt, room in rooms for _ in range(2)]
    with asleep(model):
        how, reason = decoder(model)
    assert (how.way, reason) == ("together", "")
    for one in drawn(model, draws, rows=rows, how=how)[::2]:
        assert one.finish is Finish.LENGTH
        check_greedy(model, one)
    assert all(one.tokens == other.tokens for one, other in zip(draws[::2], draws[1::2], strict=True))


def test_prompts_of_one_length_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = llama(), list[int]()
    start = Decoder.start

    def counted(self: Decoder, *texts: Sequence[int]) -> Any:
        read.append(len(texts))
        return start(self, *texts)

    monkeypatch.setattr(Decoder, "start", counted)
    draws = [draw(prompt, 4, number=n) for prompt in prompts(6, 9, 6, 9, 6, 4) for n in range(2)]
    drawn(model, draws, rows=12)
    assert read == [2, 3, 1]
    read.clear()
    again = [draw(one.prompt, 4, number=n % 2) for n, one in enumerate(draws)]
    drawn(model, again, rows=4)
    # There is room for two prompts with their draws at a time.
    assert read == [2, 2, 1, 1]
    assert [one.tokens for one in again] == [one.tokens for one in draws]


@needs_shared
def test_greedy_stories_are_those_of_the_library() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    home = str(SHARED / "models" / "stories260K")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(home), AutoTokenizer.from_pretrained(home)
    texts = ("Once upon a time", "The dog was sad because", "Lily and Tom went to the park. They saw a big")
    draws = [draw((1, *tokenizer(text, add_special_tokens=False)["input_ids"]), 60) for text in texts]
    for one in drawn(model, draws, rows=2):
        check_greedy(model, one)


@pytest.mark.parametrize("family", FAMILIES[::4], ids=lambda family: family.name)
@pytest.mark.parametrize("way", ["together", "alone", "anew"])
def test_log_probabilities_are_the_engines_own(family: Family, way: Any) -> None:
    model = family.make()
    sampling = Sampling(seed=1, top_logps=3)
    draws = [draw(prompt, 12, sampling, number=n) for prompt in prompts(6, 17) for n in range(2)]
    drawn(model, draws, how=Decoder(model, way))
    with resting(model):
        engine = LogProbs(model, layout="rows")
        lines = [
            Line(np.array(one.ids), np.array([[len(one.prompt), len(one.ids)]]), number)
            for number, one in enumerate(draws)
        ]
        right = engine(layout=engine.lay(lines)).logps
    found = torch.tensor([logp for one in draws for logp in one.logps])
    assert float((found - right).abs().max()) < 1e-4
    for one in draws:
        for token, logp, top in zip(one.tokens, one.logps, one.top, strict=True):
            assert [value for _, value in top] == sorted((value for _, value in top), reverse=True)
            assert dict(top).get(token, logp) == pytest.approx(logp, abs=1e-5)
            assert len(top) == 3


def test_log_probabilities_are_of_what_was_drawn_from() -> None:
    model = llama()
    sampling = Sampling(temperature=0.7, top_k=5, top_p=0.9, seed=2)
    (one,) = drawn(model, [draw(prompts(6)[0], 8, sampling)])
    with resting(model):
        logits = model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0, 5:-1].float() / 0.7
    for row, token, logp in zip(logits, one.tokens, one.logps, strict=True):
        likeliest = row.topk(5)
        mass = likeliest.values.softmax(-1).cumsum(-1)
        kept = int((mass < 0.9).sum()) + 1
        assert token in likeliest.indices[:kept]
        assert logp == pytest.approx(float(row[token] - likeliest.values[:kept].logsumexp(-1)), abs=1e-4)


@contextmanager
def watched(model: Any) -> Iterator[list[tuple[int, int]]]:
    """The shapes of ids that go through a model: rows and tokens."""
    shapes: list[tuple[int, int]] = []

    def look(_module: nn.Module, _given: Any, named: dict[str, Any]) -> None:
        shapes.append(tuple(named["input_ids"].shape))

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield shapes
    finally:
        handle.remove()


def test_a_prompt_is_read_once_for_its_replies_and_rows_are_filled_again() -> None:
    model = llama()
    first, second = prompts(9, 4)
    draws = [draw(first, 3 + number, Sampling(seed=0), number=number) for number in range(6)]
    draws.append(draw(second, 2, Sampling(seed=0)))
    with watched(model) as shapes:
        drawn(model, draws, rows=3)
    assert [shape for shape in shapes if shape[1] > 1] == [(1, 9), (1, 4)]
    batches = [rows for rows, width in shapes if width == 1]
    assert max(batches) == 3
    assert batches[0] == 3
    # Each step gives each row a token; the first ones come from reading the prompts.
    assert sum(batches) == sum(one.room for one in draws) - len(draws)
    for number, one in enumerate(draws[:6]):
        (alone,) = drawn(model, [draw(first, one.room, Sampling(seed=0), number=number)])
        assert one.tokens == alone.tokens


def test_draws_with_a_seed_do_not_depend_on_their_company() -> None:
    model = build("Mistral", sliding_window=9)
    first, second, third = prompts(14, 3, 25)
    sampling = Sampling(temperature=0.9, seed=5)
    crowd = [draw(prompt, 15, sampling, number=n) for prompt in (third, first, second) for n in range(3)]
    drawn(model, crowd, rows=4)
    for number in range(3):
        (alone,) = drawn(model, [draw(first, 15, sampling, number=number)])
        assert alone.tokens == crowd[3 + number].tokens
    assert len({tuple(one.tokens) for one in crowd}) == len(crowd)


def test_a_draw_ends_where_it_is_told_to() -> None:
    model = llama()
    (free,) = drawn(model, [draw(prompts(6)[0], 12)])
    stop = free.tokens[4]
    place = free.tokens.index(stop)
    (one,) = drawn(model, [draw(prompts(6)[0], 12, ends=lambda tokens: tokens[-1] == stop)])
    assert (one.tokens, one.finish) == (free.tokens[: place + 1], Finish.STOP)
    (last,) = drawn(model, [draw(prompts(6)[0], place + 1, ends=lambda tokens: tokens[-1] == stop)])
    assert last.finish is Finish.STOP


def test_a_text_that_steps_over_a_threshold_is_read_again_by_the_other_angles() -> None:
    model = long_rope()
    (prompt,) = prompts(36)
    with watched(model) as shapes:
        drawn(model, [draw(prompt, 9), draw(prompt, 2)])
    assert [shape for shape in shapes if shape[1] > 1] == [(1, 36), (1, 41)]


def test_logits_that_are_no_numbers_fail_their_draw_alone() -> None:
    model = llama()
    bad = 100
    with torch.no_grad():
        model.model.embed_tokens.weight[bad] = torch.nan
    good, _ = prompts(6, 4)
    assert bad not in good
    draws = [draw((5, bad, 7), 4), draw(good, 4)]
    drawn(model, draws)
    assert "not numbers after 3 tokens" in draws[0].failure
    assert draws[0].finish is None
    assert (len(draws[1].tokens), draws[1].failure) == (4, "")


# --- the model is left as it was --------------------------------------------------------------------------


def test_a_model_in_training_draws_as_at_rest_and_is_left_in_training() -> None:
    model = build("GPT2", bare=True, vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.5)
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    first = drawn(model, [draw(prompts(8)[0], 8)])[0]
    assert [module.training for module in model.modules()] == modes
    model.activation_checkpointing_enable()
    assert drawn(model, [draw(prompts(8)[0], 8)])[0].tokens == first.tokens
    model.eval()
    assert drawn(model, [draw(prompts(8)[0], 8)])[0].tokens == first.tokens
    assert not model.training


def test_the_forests_attention_makes_way_and_comes_back() -> None:
    model = llama()
    right = drawn(model, [draw(prompts(8)[0], 8)])[0].tokens
    engine = LogProbs(model)
    name = kernel(model)
    assert drawn(model, [draw(prompts(8)[0], 8)])[0].tokens == right
    assert kernel(model) == name
    line = Line(np.array(prompts(9)[0]), np.array([[4, 9]]))
    engine(layout=engine.lay([line])).logps.sum().backward()
    assert float(model.lm_head.weight.grad.norm()) > 0


def test_a_kernel_that_was_chosen_is_used() -> None:
    model = llama()
    switch(model, "eager")
    with asleep(model):
        assert (kernel(model), torch.is_grad_enabled()) == ("eager", False)


def test_it_is_put_back_when_something_fails() -> None:
    model = llama()
    engine = LogProbs(model)
    name = kernel(model)

    def fails(_tokens: list[int]) -> bool:
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        drawn(model, [draw(prompts(8)[0], 8, ends=fails)])
    assert (kernel(engine.model), model.training, torch.is_grad_enabled()) == (name, True, True)


# --- what cannot go together ------------------------------------------------------------------------------


def changed(model: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A model whose forward is given something else than it was called with."""
    forward = model.forward

    @wraps(forward)
    def odd(**given: Any) -> Any:
        return forward(**change(given))

    model.forward = odd
    return model


def gpt2() -> Any:
    """A model with positions of its own for each place."""
    return build("GPT2", bare=True, vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4)


def no_positions(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"position_ids": None}


def no_mask(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"attention_mask": None}


def no_cache(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"past_key_values": None}


@pytest.mark.parametrize(
    ("make", "change", "way"),
    [
        (gpt2, no_positions, "alone"),
        (llama, no_mask, "alone"),
        (llama, no_cache, "anew"),
    ],
)
def test_a_model_whose_batch_is_wrong_draws_one_by_one(make: Any, change: Any, way: str) -> None:
    right = drawn(make(), [draw(prompt, 6) for prompt in prompts(4, 15)])
    model = changed(make(), change)
    with asleep(model):
        how, reason = decoder(model)
    assert how.way == way
    assert "off by" in reason
    with watched(model) as shapes:
        found = drawn(model, [draw(prompt, 6) for prompt in prompts(4, 15)], how=how)
    assert [one.tokens for one in found] == [one.tokens for one in right]
    assert {rows for rows, _ in shapes} == {1}


def test_a_cache_that_is_not_known_is_not_joined() -> None:
    from transformers.cache_utils import DynamicCache

    class Strange(DynamicCache):
        pass

    def strange(given: dict[str, Any]) -> dict[str, Any]:
        fresh = given.get("use_cache") and given.get("past_key_values") is None
        return given | ({"past_key_values": Strange(config=model.config)} if fresh else {})

    model = changed(llama(), strange)
    with asleep(model):
        how, reason = decoder(model)
    assert how.way == "alone"
    assert "Strange" in reason
    two = drawn(model, [draw(prompts(5)[0], 6) for _ in range(2)], how=how)
    assert [one.tokens for one in two] == [drawn(llama(), [draw(prompts(5)[0], 6)])[0].tokens] * 2


def test_half_precision_goes_together_too() -> None:
    model = stirred(llama(layers=3)).bfloat16()
    with asleep(model):
        how, reason = decoder(model)
    assert (how.way, reason) == ("together", "")
    (one,) = drawn(model, [draw(prompts(8)[0], 4, Sampling(seed=0))], how=how)
    with resting(model):
        logits = model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0, 7:-1].float()
    right = logits.log_softmax(-1).gather(-1, torch.tensor(one.tokens)[:, None])[:, 0]
    assert one.logps == pytest.approx(right.tolist(), abs=0.25)
