"""The trial: models that no look at their configuration and modules gives away, and that it must catch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from concord.engine.forest import Forest
from concord.engine.guards import objections
from concord.engine.logprobs import LogProbs
from concord.engine.probe import Apart, Trial, far_lines, lines, try_out
from concord.engine.start import start
from concord.engine.switch import kernel
from concord.errors import CapabilityError
from tests.engine.models import ROOM, alone, apart, build, family_tree, gradients, llama, stirred, weighted

Change = Callable[[Tensor], Tensor]


class Besides(nn.Module):
    """A module whose answer is changed on the way out."""

    def __init__(self, module: nn.Module, change: Change) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, states: Tensor) -> Tensor:
        return self.change(self.module(states))


def with_mlp(change: Change, layer: int = 0) -> Any:
    """A model of which one layer does something to tokens outside attention."""
    model = llama()
    model.model.layers[layer].mlp = Besides(model.model.layers[layer].mlp, change)
    return model


def before(states: Tensor) -> Tensor:
    """What stands one place before each token, nothing before the first."""
    return F.pad(states[:, :-1], (0, 0, 1, 0))


def place(states: Tensor) -> Tensor:
    """[1, T, 1] where each token stands among all that went in."""
    return torch.arange(states.shape[1], dtype=states.dtype)[None, :, None]


class Gate(nn.Module):
    """A token shift behind a gate that has not opened yet."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(32))

    def forward(self, states: Tensor) -> Tensor:
        return states + self.weight * before(states)


def gated() -> Any:
    model = llama()
    model.model.layers[0].mlp = nn.Sequential(model.model.layers[0].mlp, Gate())
    return model


def on_attention(change: Callable[..., Any]) -> Any:
    """A model of which one layer's attention is called by a function of ours."""
    model = llama()
    layer = model.model.layers[1].self_attn
    plain = layer.forward
    layer.forward = lambda **given: change(plain, **given)
    return model


def twice(plain: Callable[..., Any], **given: Any) -> Any:
    """Two attentions, the second of which is taken away from the first, as some architectures do."""
    first, weights = plain(**given)
    return first - 0.3 * plain(**{**given, "hidden_states": given["hidden_states"] * 0.5})[0], weights


def own_for_long(plain: Callable[..., Any], **given: Any) -> Any:
    """An attention that goes through the interface, and adds one of its own for what is long."""
    output, weights = plain(**given)
    states = given["hidden_states"]
    if states.shape[1] > 3 * ROOM:
        added = F.scaled_dot_product_attention(
            states[:, None], states[:, None], states[:, None], is_causal=True
        )
        # What is alone never gets so long: the positions of this model end before.
        output = output + added[:, 0]
    return output, weights


def hidden_window(plain: Callable[..., Any], **given: Any) -> Any:
    """A window of 100 that no setting names: other kernels have it as a mask, ours is not told."""
    size = given["hidden_states"].shape[1]
    if not isinstance(given.get("forest"), Forest):
        seen = torch.ones(size, size, dtype=torch.bool).tril().triu(-99)
        given["attention_mask"] = torch.zeros(size, size).masked_fill(~seen, -torch.inf)[None, None]
    return plain(**given)


def masked_by_itself(plain: Callable[..., Any], **given: Any) -> Any:
    """An attention that makes its own causal mask, whatever it is given."""
    size = given["hidden_states"].shape[1]
    mask = torch.full((size, size), torch.finfo().min).triu(1)[None, None]
    told = given.get("attention_mask")
    if told is not None:
        real = told if told.dtype == torch.bool else told == 0
        mask = mask.masked_fill(~real, torch.finfo().min)
    return plain(**{**given, "attention_mask": mask})


def reads_the_mask() -> Any:
    """A model that counts its positions by its attention mask, and not as it is told."""
    model = llama()
    inner = model.model
    plain = inner.forward

    def forward(input_ids: Tensor, attention_mask: Tensor | None = None, **given: Any) -> Any:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        return plain(input_ids=input_ids, attention_mask=attention_mask, **given)

    inner.forward = forward
    return model


def starts_anew(model: Any) -> Any:
    """A model that adds to each token the one before it, but for those that follow the end of a text."""
    model.config.eos_token_id = 2
    embed = model.model.embed_tokens
    plain = embed.forward

    def forward(ids: Tensor) -> Tensor:
        found = plain(ids)
        ends = F.pad(ids[:, :-1] == 2, (1, 0))[..., None]
        return found + torch.where(ends, before(found), 0.0)

    embed.forward = forward
    return model


def beyond(limit: int) -> Change:
    """Other values beyond a place among all that went in."""
    return lambda states: torch.where(place(states) < limit, states, 1.5 * states)


CAUGHT: dict[str, Callable[[], Any]] = {
    "a token shift": lambda: with_mlp(lambda states: states + 0.1 * before(states)),
    "a token shift behind a closed gate": gated,
    "a token shift of gradients alone": lambda: with_mlp(
        lambda states: states + before(states) - before(states).detach()
    ),
    "a convolution without a module": lambda: with_mlp(
        lambda states: F.conv1d(states.mT, torch.ones(32, 1, 3) / 9, padding=2, groups=32)[..., :-2].mT
    ),
    "a running mean": lambda: with_mlp(lambda states: states - states.cumsum(1) / (place(states) + 1)),
    "places for positions": lambda: with_mlp(lambda states: states + torch.sin(place(states))),
    "other values beyond a place": lambda: with_mlp(beyond(1500)),
    "attention twice": lambda: on_attention(twice),
    "attention of its own for what is long": lambda: on_attention(own_for_long),
    "a window that is not named": lambda: on_attention(hidden_window),
    "a mask of its own": lambda: on_attention(masked_by_itself),
    "positions by the mask": reads_the_mask,
    "what follows the end of a text": lambda: starts_anew(llama()),
}


SAYS = {
    "attention twice": "not every layer went through the forest once; found calls by the layers [0, 1, 1]",
    "a mask of its own": "asks more of attention than the forest does; found a mask",
}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_model_that_slips_through_all_that_is_looked_up_is_caught_and_goes_in_rows(name: str) -> None:
    model, sound = CAUGHT[name](), family_tree()
    assert list(objections(model)) == []
    right = alone(model, sound)
    weighted(right).backward()
    slopes = gradients(model)
    started = start(model)
    assert started.engine.layout == "rows"
    (reason,) = started.refused
    assert SAYS.get(name, "on trial it was off: log-probabilities within") in reason
    found = started.engine(layout=started.engine.lay(sound)).logps
    torch.testing.assert_close(found, right, rtol=0, atol=1e-4)
    weighted(found).backward()
    assert apart(gradients(model), slopes) < 1e-4


def test_values_alone_would_not_have_caught_what_is_wrong_in_gradients_only() -> None:
    trial = try_out(LogProbs(CAUGHT["a token shift of gradients alone"]()))
    assert trial.found.values <= trial.allowed.values
    assert trial.found.gradients > 10 * trial.allowed.gradients


def test_zeros_would_have_hidden_a_gate_that_has_not_opened_yet() -> None:
    model, sound = gated(), family_tree()
    with torch.no_grad():
        engine = LogProbs(model, layout="rows")
        right = engine(layout=engine.lay(sound)).logps
        engine = LogProbs(model)
        torch.testing.assert_close(engine(layout=engine.lay(sound)).logps, right, rtol=0, atol=1e-4)
    assert try_out(engine).found.values > 1e-3


class Remembers(nn.Module):
    """A layer that adds what it saw the last time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(32))

    def forward(self, states: Tensor) -> Tensor:
        found = states + self.last
        self.last: Tensor = states.detach().mean((0, 1))
        return found


def by_choice_of_experts(states: Tensor) -> Tensor:
    """The half of all tokens that an expert likes best go through it."""
    liked = states[..., 0].flatten()
    chosen = liked >= liked.median()
    return torch.where(chosen.view(states.shape[:2])[..., None], 2 * states, states)


def ahead(states: Tensor) -> Tensor:
    return states + 0.3 * F.pad(states[:, 1:], (0, 0, 0, 1))


def looks_both_ways() -> Any:
    """A model whose attention sees all that is real, before and behind."""

    def forward(plain: Callable[..., Any], **given: Any) -> Any:
        states = given["hidden_states"]
        real = given["attention_mask"]
        mask = torch.ones(states.shape[1], dtype=torch.bool) if real is None else real.any(-2, keepdim=True)
        return plain(**{**given, "attention_mask": mask.expand(len(states), 1, states.shape[1], -1)})

    return on_attention(forward)


def hotter() -> Any:
    """A model that divides its logits by what no setting names."""
    model = llama()
    plain = model.forward

    def forward(input_ids: Tensor, **given: Any) -> Any:
        found = plain(input_ids=input_ids, **given)
        found.logits = found.logits / 1.5
        return found

    model.forward = forward
    return model


HOPELESS: dict[str, tuple[Callable[[], Any], str]] = {
    "statistics of a batch": (
        lambda: with_mlp(lambda states: states - states.mean((0, 1), keepdim=True)),
        "later tokens",
    ),
    "experts that choose their tokens": (lambda: with_mlp(by_choice_of_experts), "later tokens"),
    "one token ahead": (lambda: with_mlp(ahead), "later tokens"),
    "attention both ways": (looks_both_ways, "later tokens"),
    "a memory of the last call": (lambda: with_mlp(Remembers()), "nats"),
    "more to its logits": (hotter, "does more to its logits"),
    "no number": (lambda: with_mlp(lambda states: states * math.nan), "nan"),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_a_model_that_no_layout_can_be_right_for_is_refused_and_left_as_it_came(name: str) -> None:
    make, why = HOPELESS[name]
    model = make()
    model.config.attention_dropout = 0.25
    with pytest.raises(CapabilityError, match="not what it computes itself") as caught:
        start(model)
    assert why in str(caught.value)
    assert kernel(model) == "sdpa"
    assert model.config.attention_dropout == 0.25
    with pytest.raises(CapabilityError, match="the forest is not right for this model"):
        start(model, layout="forest")


def test_the_trial_reaches_as_far_as_the_engine_is_started_for_and_the_engine_no_further() -> None:
    model = with_mlp(beyond(2700))
    assert start(model).engine.layout == "forest"
    far = start(model, tokens=3000)
    assert far.engine.layout == "rows"
    assert "3000" not in far.refused[0]
    assert far.trial.longest == ROOM
    near = start(model, tokens=2600, longest=100)
    assert near.engine.layout == "forest"
    assert near.trial.longest == 100
    assert 2600 <= near.trial.tokens <= near.engine.limits.tokens == 2688
    assert near.engine.limits.longest == 100


def test_far_lines_stand_behind_as_many_tokens_as_there_will_be() -> None:
    model = llama()
    engine = LogProbs(model)
    for tokens in (0, 4000):
        found = far_lines(model, longest=90, tokens=tokens)
        forest = engine.lay(found)
        assert isinstance(forest, Forest)
        wanted = tokens or 2048
        assert wanted <= forest.tokens < wanted + 200
        assert int(forest.targets.where.min()) > wanted - 300
        assert forest.reach[1] == 90
        assert forest.targets.owner.unique().tolist() == [0, 1, 2]
    # Where sequences are as long as the trial reaches, nothing fills the forest before them.
    assert len(far_lines(build("Llama", max_position_embeddings=4096), longest=3000)) == 3


def test_lines_have_special_tokens_and_leave_out_places_of_pictures() -> None:
    model = llama(vocab_size=24)
    model.config.eos_token_id, model.config.pad_token_id, model.config.image_token_id = [5, 6], 7, 8
    for made in (lines(model), far_lines(model)):
        ids = np.concatenate([one.ids for one in made])
        assert {5, 6, 7} <= {*ids[:40].tolist()}
        assert set(ids.tolist()) == set(range(24)) - {8}


@pytest.mark.parametrize("longest", [2, 3, 8, 17, 30])
def test_short_sequences_make_a_short_trial(longest: int) -> None:
    model = build("Mistral", num_hidden_layers=1, sliding_window=9)
    for made in (lines(model, longest=longest), far_lines(model, longest=longest)):
        assert max(len(one.ids) for one in made) <= longest
    assert start(model, longest=longest).engine.layout == "forest"


def test_lines_are_longer_than_the_longest_window_that_bites() -> None:
    model = build("Mistral", num_hidden_layers=1, sliding_window=50)
    model.config.other_window = 1000
    assert max(len(one.ids) for one in lines(model)) > 50 + 30
    # Of sequences of up to 40 tokens neither leaves anything out.
    assert max(len(one.ids) for one in lines(model, longest=40)) <= 40


def test_weights_gradients_and_kernel_are_as_they_were() -> None:
    model = stirred(llama())
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.zero_()
    model.model.layers[1].self_attn.q_proj.weight.requires_grad_(False)
    asked = [weight.requires_grad for weight in model.parameters()]
    held = [weight.detach().clone() for weight in model.parameters()]
    engine = LogProbs(model)
    with torch.no_grad():
        trial = try_out(engine)
    assert trial.passed
    assert trial.noise.values < 1e-4
    assert [weight.requires_grad for weight in model.parameters()] == asked
    assert all(torch.equal(a, b) for a, b in zip(held, model.parameters(), strict=True))
    assert all(weight.grad is None for weight in model.parameters())
    assert kernel(model) == "concord_forest"


@pytest.mark.parametrize(
    ("dtype", "least"), [(torch.bfloat16, 5e-2), (torch.float16, 1e-2), (torch.float64, 1e-4)]
)
def test_the_floor_is_that_of_the_lowest_precision(dtype: torch.dtype, least: float) -> None:
    started = start(llama().to(dtype))
    assert started.engine.layout == "forest", started.refused
    assert least <= started.trial.allowed.values <= 10 * least


def test_autocast_has_the_floor_of_its_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        started = start(llama())
    assert started.engine.layout == "forest"
    assert started.trial.allowed.values >= 5e-2


def test_what_is_not_a_number_is_never_within() -> None:
    fine, odd = Apart(0.0, 0.0), Apart(math.nan, 0.0)
    assert fine.within(fine)
    assert not odd.within(Apart(1.0, 1.0))
    assert math.isnan(fine.or_more(odd).values)
    assert math.isnan(odd.or_more(fine).values)
    assert Apart(1.0, 2.0).or_more(Apart(2.0, 1.0)) == Apart(2.0, 2.0)
    trial = Trial(fine, fine, Apart(1.0, 1.0), math.nan, 3, 4)
    assert not trial.passed
    assert "later tokens" in trial.line


class Crowded(nn.Module):
    """Experts that take most of all tokens there are, but not all, and drop the last."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.gate = inner, nn.Linear(32, 4)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        flat = states.flatten(0, 1)
        chosen = nn.functional.one_hot(self.gate(flat).argmax(-1), 4)
        kept = (chosen.cumsum(0) * chosen).sum(-1) <= 0.75 * len(flat)
        return (self.inner(flat) * kept[:, None]).view_as(states)


def test_experts_that_drop_tokens_when_many_want_the_same_are_found_out() -> None:
    model = llama()
    for layer in model.model.layers:
        layer.mlp = Crowded(layer.mlp)
    with pytest.raises(CapabilityError, match="on trial it was off"):
        start(stirred(model))
