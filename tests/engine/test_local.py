"""A local policy answers every ask: drawn and given replies, draw by draw, or the reason why not."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch

from concord.engine.local import LocalPolicy
from concord.engine.logprobs import LogProbs
from concord.engine.start import start
from concord.errors import InputError
from concord.render import Renderer, RenderSettings
from concord.types import (
    Ask,
    Capability,
    Finish,
    Image,
    Message,
    Policy,
    Prompt,
    Reply,
    Sampling,
    Unanswered,
    Usage,
    as_prompt,
    as_turns,
)
from tests.engine.models import ROOM, build
from tests.render.helpers import renderer
from tests.shared import SHARED, needs_shared


def tiny(made: Renderer, *, seed: int = 0, **settings: Any) -> Any:
    """A model with the vocabulary of a renderer, which ends its replies now and then."""
    model = build("Llama", num_hidden_layers=2, vocab_size=len(made.tokenizer), seed=seed, **settings)
    (stop,) = made.stop_ids
    with torch.no_grad():
        model.lm_head.weight[stop] *= 3
    return model


@cache
def policy(family: str = "chatml", layout: Any = "rows") -> LocalPolicy:
    """A policy of random weights."""
    made = renderer(family)
    return LocalPolicy(LogProbs(tiny(made), layout=layout), made, rows=4)


def plain(text: str) -> Prompt:
    """A text to be continued as it stands."""
    return Prompt((Message("user", text),), plain=True)


def came(answer: Sequence[Reply | Unanswered]) -> list[Reply]:
    """Replies that all came."""
    assert all(isinstance(one, Reply) for one in answer), answer
    return [one for one in answer if isinstance(one, Reply)]


def only(made: LocalPolicy, ask: Ask) -> list[Reply]:
    """The replies to one ask."""
    (answer,) = made.answer([ask])
    return came(answer)


def reason(made: LocalPolicy, ask: Ask) -> str:
    """Why the first entry of an answer is none."""
    (answer,) = made.answer([ask])
    assert len(answer) == ask.count
    assert isinstance(answer[0], Unanswered), answer
    return answer[0].reason


ASK = Ask(as_prompt("What is it?"), n=3, sampling=Sampling(max_tokens=12, seed=1))


def test_it_is_a_policy_that_can_do_everything() -> None:
    made = policy()
    assert isinstance(made, Policy)
    assert all(one in made.capabilities for one in Capability)
    assert made.model is made.engine.model
    assert made.drawing == "replies are drawn up to 4 at a time"
    assert made.answer([]) == []


def test_the_same_content_has_the_same_id() -> None:
    made = renderer("chatml")

    def id_of(model: Any, given: Renderer = made, **settings: Any) -> str:
        return LocalPolicy(LogProbs(model, layout="rows"), given, **settings).id

    first = id_of(tiny(made))
    assert id_of(tiny(made), rows=2) == first
    others = (
        id_of(tiny(made, seed=1)),
        id_of(tiny(made).bfloat16()),
        id_of(tiny(made), renderer("chatml", plain=True)),
        id_of(tiny(made), context=50),
    )
    assert len({first, *others}) == 5


def test_asks_of_every_kind_are_answered_in_their_order() -> None:
    made = policy()
    asks = [
        ASK,
        Ask(as_prompt("Say it."), given=(as_turns("yes"), as_turns("no"))),
        Ask(plain("x" * 2000)),
        Ask(plain("It is"), n=2, sampling=Sampling(temperature=0, max_tokens=5)),
        Ask(as_prompt("Say it."), given=(as_turns("maybe"),)),
    ]
    answers = made.answer(asks)
    assert [len(one) for one in answers] == [3, 2, 1, 2, 1]
    assert [isinstance(one[0], Reply) for one in answers] == [True, True, False, True, True]
    for ask, answer in zip(asks, answers, strict=True):
        (alone,) = made.answer([ask])
        assert [getattr(one, "tokens", None) for one in alone] == [
            getattr(one, "tokens", None) for one in answer
        ]
        for one, other in zip(alone, answer, strict=True):
            assert getattr(one, "logps", ()) == pytest.approx(getattr(other, "logps", ()), abs=1e-4)
    assert [one.text for one in came(answers[1])] == ["yes", "no"]


# --- drawn replies ----------------------------------------------------------------------------------------


def test_a_stop_token_is_the_last_token_and_not_in_the_text() -> None:
    made = policy()
    replies = only(made, Ask(as_prompt("What is it?"), n=40, sampling=Sampling(max_tokens=30, seed=1)))
    (stop,) = made.renderer.stop_ids
    stopped = [one for one in replies if one.finish is Finish.STOP]
    cut = [one for one in replies if one.finish is Finish.LENGTH]
    assert len(stopped) + len(cut) == 40
    assert stopped
    assert cut
    for one in stopped:
        assert one.tokens
        assert one.tokens.index(stop) == len(one.tokens) - 1
        assert "<|im_end|>" not in one.text
        assert made.renderer.decode(one.tokens) == f"{one.text}<|im_end|>"
    for one in cut:
        assert one.tokens
        assert (len(one.tokens), stop in one.tokens) == (30, False)
        assert made.renderer.decode(one.tokens) == one.text
    for one in replies:
        assert one.tokens is not None
        assert one.logps is not None
        assert len(one.logps) == len(one.tokens)
        assert one.message.role == "assistant"


def test_a_stop_string_ends_a_reply_and_is_in_neither_its_text_nor_its_tokens() -> None:
    made = policy()
    sampling = Sampling(max_tokens=30, seed=3)
    (free,) = only(made, Ask(plain("The end"), sampling=sampling))
    assert free.tokens is not None
    assert free.logps is not None
    string = free.text[8:11]
    at = free.text.index(string)
    (one,) = only(made, Ask(plain("The end"), sampling=Sampling(max_tokens=30, seed=3, stop=("\0", string))))
    assert (one.text, one.finish) == (free.text[:at], Finish.STOP)
    assert one.tokens is not None
    count = len(one.tokens)
    assert one.tokens == free.tokens[:count]
    assert one.logps == pytest.approx(free.logps[:count], abs=1e-5)
    assert made.renderer.decode(one.tokens).startswith(one.text)
    assert not made.renderer.decode(one.tokens[:-1]).startswith(one.text)
    assert one.usage.new_tokens >= count


def test_without_a_limit_a_reply_goes_to_the_end_of_the_context() -> None:
    made = renderer("chatml")
    model = tiny(made)
    with torch.no_grad():
        model.lm_head.weight[[*made.stop_ids]] = 0.0
    short = LocalPolicy(LogProbs(model, layout="rows"), made, context=40)
    (one,) = only(short, Ask(plain("The end"), sampling=Sampling(temperature=0)))
    assert one.tokens is not None
    assert one.prompt_tokens is not None
    assert (len(one.prompt_tokens) + len(one.tokens), one.finish) == (40, Finish.LENGTH)
    assert LocalPolicy(short.engine, made).context == ROOM


def test_a_prompt_without_room_is_unanswered_with_the_reason() -> None:
    made = LocalPolicy(policy().engine, policy().renderer, context=20)
    long, short = Ask(plain("word " * 60), n=2), Ask(plain("w"), sampling=Sampling(max_tokens=2))
    assert "leaves no room" in reason(made, long)
    answers = made.answer([long, short])
    assert [type(one) for one in answers[0]] == [Unanswered] * 2
    assert [one.usage.calls for one in answers[0]] == [1, 0]
    came(answers[1])


def test_a_reply_without_any_bound_is_unanswered() -> None:
    made = renderer("chatml")
    size = len(made.tokenizer)
    settings: dict[str, Any] = {"vocab_size": size, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    model = build("Bloom", bare=True, bos_token_id=None, eos_token_id=None, **settings)
    endless = LocalPolicy(LogProbs(model, layout="rows"), made)
    assert endless.context is None
    assert "without an end" in reason(endless, Ask(as_prompt("a")))
    only(endless, Ask(as_prompt("a"), sampling=Sampling(max_tokens=3)))
    assert LocalPolicy(endless.engine, made, context=30).context == 30


def test_token_ids_are_continued_as_they_stand() -> None:
    made = policy()
    greedy = Sampling(temperature=0, max_tokens=10)
    (whole,) = only(made, Ask(plain("It is"), sampling=greedy))
    assert whole.tokens is not None
    assert whole.prompt_tokens is not None
    begun = Prompt(as_turns("anything", role="user"), tokens=(*whole.prompt_tokens, *whole.tokens[:2]))
    (rest,) = only(made, Ask(begun, sampling=Sampling(temperature=0, max_tokens=8)))
    assert whole.tokens[2:]
    assert rest.tokens == whole.tokens[2:]
    assert rest.prompt_tokens == begun.tokens
    assert whole.text.endswith(rest.text)


def test_a_prompt_that_ends_with_the_assistant_is_continued() -> None:
    made = policy("base")
    prompt = Prompt((Message("user", "a"), Message("assistant", "It is")))
    (one,) = only(made, Ask(prompt, sampling=Sampling(max_tokens=4, seed=0)))
    assert one.prompt_tokens is not None
    assert made.renderer.decode(one.prompt_tokens).endswith("It is")


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (Prompt((Message("user", (Image("a.png"),)),)), "reads text alone"),
        (Prompt((), tokens=(5, 10**6)), "not all this tokenizer's"),
        (Prompt((), tokens=()), "without any token"),
        (plain(""), "without any token"),
        (plain("half \ud800"), "lone surrogate"),
    ],
)
def test_what_cannot_be_read_is_unanswered_with_the_reason(prompt: Prompt, why: str) -> None:
    assert why in reason(policy(), Ask(prompt, n=2))


def test_a_token_that_the_model_does_not_know_is_never_looked_up() -> None:
    made = renderer("chatml")
    model = build("Llama", num_hidden_layers=1, vocab_size=len(made.tokenizer) - 1)
    small = LocalPolicy(LogProbs(model, layout="rows"), made)
    last = Prompt((), tokens=(5, len(made.tokenizer) - 1))
    assert "model does not know" in reason(small, Ask(last))
    assert "model does not know" in reason(small, Ask(last, given=(as_turns("a"),)))


def test_the_cost_of_an_ask_stands_on_its_first_entry() -> None:
    made = policy()
    replies = only(made, ASK)
    length = len(replies[0].prompt_tokens or ())
    total = sum((one.usage for one in replies), Usage())
    drawn = sum(len(one.tokens or ()) for one in replies)
    assert total == Usage(calls=1, prompt_tokens=length, new_tokens=drawn)
    assert replies[1].usage == Usage(new_tokens=len(replies[1].tokens or ()))


def test_greedy_replies_are_certain_and_their_alternatives_are_the_models_own() -> None:
    made = policy()
    sampling = Sampling(temperature=0, max_tokens=6, top_logps=4)
    first, second = only(made, Ask(as_prompt("What is it?"), n=2, sampling=sampling))
    assert first.tokens == second.tokens
    assert first.tokens is not None
    assert first.prompt_tokens is not None
    assert first.logps == (0.0,) * len(first.tokens)
    assert first.top is not None
    with torch.no_grad():
        ids = torch.tensor([first.prompt_tokens + first.tokens])
        logits = made.model(input_ids=ids, use_cache=False).logits[0, len(first.prompt_tokens) - 1 : -1]
    best = logits.log_softmax(-1).topk(4)
    for token, place, values in zip(first.tokens, first.top, best.values, strict=True):
        assert [logp for _, logp in place] == pytest.approx(values.tolist(), abs=1e-4)
        assert place[0][0] == made.renderer.decode([token])


def test_only_who_asks_is_given_alternatives() -> None:
    asks = [ASK, Ask(as_prompt("b"), sampling=Sampling(max_tokens=2, top_logps=2))]
    first, second = policy().answer(asks)
    assert [one.top for one in came(first)] == [None] * 3
    assert [len(place) for one in came(second) for place in one.top or ()] == [2] * len(
        came(second)[0].tokens or ()
    )


def test_a_seed_decides_a_draw_whatever_else_is_asked() -> None:
    made = policy()
    alone = [one.tokens for one in only(made, ASK)]
    more = Ask(ASK.prompt, n=5, sampling=ASK.sampling)
    others = [Ask(as_prompt(f"And {number}?"), n=2, sampling=Sampling(max_tokens=9)) for number in range(4)]
    answers = made.answer([*others, more])
    assert [one.tokens for one in came(answers[-1])][:3] == alone
    assert len({*alone}) == 3


def test_torch_decides_draws_without_a_seed() -> None:
    ask = Ask(as_prompt("What is it?"), n=2, sampling=Sampling(max_tokens=8))
    torch.manual_seed(0)
    before = [one.tokens for one in only(policy(), ask)]
    after = [one.tokens for one in only(policy(), ask)]
    torch.manual_seed(0)
    assert [one.tokens for one in only(policy(), ask)] == before
    assert after != before


# --- given replies ----------------------------------------------------------------------------------------


def by_hand(made: LocalPolicy, ids: Sequence[int], start: int) -> list[float]:
    """The log-probabilities of the ids from a place on, by the model's own forward."""
    with torch.no_grad():
        logps = made.model(input_ids=torch.tensor([[*ids]]), use_cache=False).logits[0].log_softmax(-1)
    return [float(logps[at - 1, ids[at]]) for at in range(start, len(ids))]


@pytest.mark.parametrize("family", ["chatml", "mistral", "base"])
def test_given_replies_are_weighed_token_by_token(family: str) -> None:
    made = policy(family)
    ask = Ask(as_prompt("What is it?"), given=tuple(as_turns(text) for text in ("The end.", "No", "ever")))
    for one, text in zip(only(made, ask), ("The end.", "No", "ever"), strict=True):
        assert one.tokens is not None
        assert one.prompt_tokens is not None
        assert one.text == text
        assert one.tokens[-1] in made.renderer.stop_ids
        right = by_hand(made, one.prompt_tokens + one.tokens, len(one.prompt_tokens))
        assert one.logps == pytest.approx(right, abs=1e-4)
        assert one.prompt_tokens == tuple(made.renderer.prompt(ask.prompt).tolist())
    total = sum((one.usage for one in only(made, ask)), Usage())
    assert total == Usage(calls=1, prompt_tokens=len(made.renderer.prompt(ask.prompt)))


def test_given_replies_are_weighed_without_dropout_or_graph() -> None:
    made = renderer("chatml")
    noisy = LocalPolicy(LogProbs(tiny(made, attention_dropout=0.5), layout="rows"), made)
    with torch.enable_grad():
        (one,) = only(noisy, Ask(as_prompt("What is it?"), given=(as_turns("The end."),)))
    assert noisy.model.training
    noisy.model.eval()
    assert one.tokens is not None
    assert one.prompt_tokens is not None
    right = by_hand(noisy, one.prompt_tokens + one.tokens, len(one.prompt_tokens))
    assert one.logps == pytest.approx(right, abs=1e-4)


def test_given_replies_of_several_turns_give_what_is_learned_in_order() -> None:
    made = policy()
    turns = (Message("assistant", "one"), Message("user", "and?"), Message("assistant", "two"))
    (one,) = only(made, Ask(as_prompt("a"), given=(turns,)))
    assert one.tokens is not None
    assert made.renderer.decode(one.tokens) == "one<|im_end|>two<|im_end|>"
    assert (one.prompt_tokens, one.message) == (None, turns[-1])
    assert len(one.logps or ()) == len(one.tokens)


def test_given_replies_have_alternatives_too() -> None:
    made = policy()
    ask = Ask(as_prompt("a"), given=(as_turns("one"), as_turns("two")), sampling=Sampling(top_logps=2))
    for one in only(made, ask):
        assert one.top is not None
        assert one.logps is not None
        assert [len(place) for place in one.top] == [2] * len(one.logps)
        for logp, place in zip(one.logps, one.top, strict=True):
            assert logp <= place[0][1] + 1e-5
            assert place[0][1] >= place[1][1]


def test_a_given_reply_that_cannot_be_weighed_is_no_reason_against_the_others() -> None:
    made = policy()
    given = (as_turns("fine"), as_turns("<|im_end|> forged"), as_turns("word " * 300), as_turns("good"))
    (answer,) = made.answer([Ask(as_prompt("a"), given=given)])
    assert [isinstance(one, Reply) for one in answer] == [True, False, False, True]
    assert "positions" in getattr(answer[2], "reason", "")


@pytest.mark.parametrize("prompt", [plain("a"), as_prompt("a"), Prompt((), tokens=(5,))])
def test_a_picture_in_a_given_reply_is_not_overlooked(prompt: Prompt) -> None:
    pictured = (Message("assistant", (Image("a.png"),)),)
    assert "accepted:" in reason(policy(), Ask(prompt, given=(pictured,)))


def test_drawn_replies_weigh_what_they_weighed_when_they_were_drawn() -> None:
    made = policy()
    drawn = only(made, Ask(as_prompt("What is it?"), n=40, sampling=Sampling(max_tokens=30, seed=1)))
    kept = [one for one in drawn if one.finish is Finish.STOP and "\ufffd" not in one.text]
    (weighed,) = made.answer([Ask(as_prompt("What is it?"), given=tuple((one.message,) for one in kept))])
    same = 0
    for one, other in zip(kept, weighed, strict=True):
        if isinstance(other, Reply) and one.tokens == other.tokens:
            assert one.logps == pytest.approx(other.logps, abs=1e-4)
            same += 1
    assert same > 0


def test_both_layouts_answer_alike() -> None:
    made = renderer("chatml")
    forest = LocalPolicy(start(tiny(made), layout="forest").engine, made)
    asks = [ASK, Ask(as_prompt("Say."), given=(as_turns("yes"), as_turns("no")))]
    for first, second in zip(forest.answer(asks), policy().answer(asks), strict=True):
        for one, other in zip(came(first), came(second), strict=True):
            assert one.tokens == other.tokens
            assert one.logps == pytest.approx(other.logps, abs=1e-4)
    assert forest.model.training


def test_a_model_of_no_numbers_is_unanswered_both_ways() -> None:
    made = renderer("chatml")
    model = tiny(made)
    broken = LocalPolicy(LogProbs(model, layout="rows"), made)
    assert broken.drawing
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    assert "not numbers" in reason(broken, ASK)
    assert "not numbers" in reason(broken, Ask(as_prompt("a"), given=(as_turns("b"),)))


@pytest.mark.parametrize("settings", [{"rows": 0}, {"context": 1}, {"context": ROOM + 1}, {"rows": True}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match="to do"):
        LocalPolicy(policy().engine, policy().renderer, **settings)


def test_stop_tokens_are_those_of_the_renderer() -> None:
    made = Renderer(renderer("chatml").tokenizer, settings=RenderSettings(stop=("<|im_start|>",)))
    asked = LocalPolicy(LogProbs(tiny(made), layout="rows"), made)
    (one,) = only(asked, Ask(plain("The end"), sampling=Sampling(max_tokens=200, seed=4)))
    assert one.finish is Finish.STOP
    assert frozenset((one.tokens or ())[-1:]) == made.stop_ids != renderer("chatml").stop_ids


@needs_shared
def test_stories_are_told_and_weighed() -> None:
    from transformers import AutoModelForCausalLM

    home = SHARED / "models" / "stories260K"
    made = LocalPolicy(start(AutoModelForCausalLM.from_pretrained(str(home))).engine, Renderer.load(home))
    prompt = plain("Once upon a time, there was a little girl named Lily. She")
    drawn = only(made, Ask(prompt, n=4, sampling=Sampling(max_tokens=60, seed=1)))
    assert all(one.text.startswith(" ") for one in drawn)
    asks = [Ask(prompt, given=(as_turns(one.text),)) for one in drawn]
    for one, (other,) in zip(drawn, map(came, made.answer(asks)), strict=True):
        assert other.tokens is not None
        assert one.tokens is not None
        assert other.tokens[:-1] == one.tokens
        assert one.logps == pytest.approx((other.logps or ())[:-1], abs=1e-3)
    (cut,) = only(made, Ask(prompt, sampling=Sampling(temperature=0, stop=("park",))))
    assert cut.text == " loved to play outside in the "
