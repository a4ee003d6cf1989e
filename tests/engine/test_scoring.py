"""Given replies weigh the same in whatever groups they go through the model; one that fails fails alone."""

from collections.abc import Sequence

import pytest
import torch

from concord.engine import scoring
from concord.engine.generation import resting
from concord.engine.guards import limits
from concord.engine.logprobs import LogProbs
from concord.engine.scoring import Weighed, weigh
from concord.render import Rendered
from tests.engine.models import build, long_rope
from tests.engine.test_generation import watched
from tests.render.helpers import item, only, renderer

TEXTS = ("The end.", "No", "word " * 20, "ever and ever", "It is here.", "a")


def rendered(texts: Sequence[str] = TEXTS) -> list[Rendered | str]:
    """Replies to one prompt as tokens."""
    return [only(renderer("chatml"), item("What is it?", text)) for text in texts]


def engine(layout: str = "rows") -> LogProbs:
    """An engine of random weights."""
    size = len(renderer("chatml").tokenizer)
    return LogProbs(build("Llama", num_hidden_layers=2, vocab_size=size), layout=layout)  # type: ignore[arg-type]


def weighed(made: LogProbs, replies: Sequence[Rendered | str], *, count: int = 0) -> list[Weighed | str]:
    """What is made of replies at rest."""
    with resting(made.model):
        return weigh(made, replies, count=count)


@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("most", [1, 60, 150, 10_000])
def test_groups_change_nothing(layout: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(layout)
    right = weighed(made, rendered(), count=2)
    monkeypatch.setattr(scoring, "_TOGETHER", most)
    with watched(made.model.model) as shapes:  # type: ignore[arg-type]
        found = weighed(made, rendered(), count=2)
    for one, other in zip(found, right, strict=True):
        assert isinstance(one, Weighed)
        assert isinstance(other, Weighed)
        assert one.tokens == other.tokens
        assert one.logps == pytest.approx(other.logps, abs=1e-4)
        assert [[token for token, _ in place] for place in one.top] == [
            [token for token, _ in place] for place in other.top
        ]
    # A reply alone may be longer than what goes together.
    longest = max(width for _, width in shapes)
    assert all(rows * width <= max(most, longest) for rows, width in shapes)


def test_the_largest_forest_that_was_tried_is_kept_to() -> None:
    made = engine("forest")
    made.limits = limits(made.model, tokens=128)
    with watched(made.model.model) as shapes:  # type: ignore[arg-type]
        assert all(isinstance(one, Weighed) for one in weighed(made, rendered()))
    assert all(rows * width <= 128 for rows, width in shapes)
    assert len(shapes) > 1


def test_reasons_are_handed_on_and_what_fails_fails_alone() -> None:
    made = engine()
    given = [*rendered(("good", "word " * 300)), "not rendered", *rendered(("fine",))]
    first, long, handed, last = weighed(made, given)
    assert isinstance(first, Weighed)
    assert isinstance(last, Weighed)
    assert "positions" in str(long)
    assert handed == "not rendered"
    assert weighed(made, []) == []


def test_replies_on_both_sides_of_a_threshold_are_weighed() -> None:
    model = long_rope(vocab_size=len(renderer("chatml").tokenizer))
    made = LogProbs(model, layout="rows")
    replies = rendered()
    found = weighed(made, replies)
    for one, other in zip(found, replies, strict=True):
        assert isinstance(one, Weighed)
        assert isinstance(other, Rendered)
        ids, start = other.replies[0][0].ids.tolist(), len(other.prompt)
        with resting(model):
            logps = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
        right = [float(logps[at - 1, ids[at]]) for at in range(start, len(ids))]
        assert one.logps == pytest.approx(right, abs=1e-4)
