"""Records: what they name, how they are cut into rows, and that wrong shapes are caught."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from concord.tensors import (
    Groups,
    Pairs,
    Ranked,
    RankedRewards,
    ReferencedPairs,
    ReferencedRanked,
    ReferencedReplies,
    ReferencedRollouts,
    ReferencedTokens,
    Replies,
    Rollouts,
    RunningMean,
    StepLogits,
    Tokens,
    TopK,
)

t = torch.tensor


def replies() -> ReferencedReplies:
    return ReferencedReplies(t([-4.0, -6.0, -3.0]), t([2, 3, 2]), t([-5.0, -5.0, -3.0]))


def test_replies_name_what_papers_name() -> None:
    r = replies()
    assert r.mean.tolist() == [-2.0, -2.0, -1.5]
    assert r.ratio.tolist() == [1.0, -1.0, 0.0]
    assert r.mean_ratio.tolist() == pytest.approx([0.5, -1 / 3, 0.0])
    assert ReferencedPairs(r, r.rows(t([1, 2, 0]))).margin.tolist() == [2.0, -1.0, -1.0]
    assert len(r) == len(Pairs(r, r)) == 3


def test_the_token_mean_survives_being_cut_into_rows() -> None:
    r = replies()
    whole = 13.0 / 7.0
    assert r.token_nll.mean().item() == pytest.approx(whole)
    parts = [r.rows(slice(0, 1)), r.rows(t([1, 2]))]
    assert torch.cat([part.token_nll for part in parts]).mean().item() == pytest.approx(whole)
    # Reckoned anew from a part alone, it would be another number.
    anew = Replies(r.logp[1:], r.length[1:])
    assert anew.token_nll.mean().item() != pytest.approx(parts[1].token_nll.mean().item())


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_taken_up_on_entry(half: torch.dtype) -> None:
    r = ReferencedReplies(t([-4.0], dtype=half), t([2]), t([-5.0], dtype=half))
    assert r.logp.dtype == r.ref.dtype == r.ratio.dtype == torch.float32


def test_float64_stays() -> None:
    assert Replies(t([-4.0]).double(), t([2])).mean.dtype == torch.float64


def test_wrong_shapes_are_caught() -> None:
    with pytest.raises(TypeCheckError):
        Replies(t([-4.0, -1.0]), t([2]))
    with pytest.raises(TypeCheckError):
        ReferencedReplies(t([-4.0, -1.0]), t([2, 2]), t([-4.0]))
    with pytest.raises(TypeCheckError):
        Ranked(logp=torch.zeros(2, 3), length=torch.ones(2, 3), utility=torch.zeros(3, 2))


# --- rankings ---------------------------------------------------------------------------------------------


def ranked() -> ReferencedRanked:
    mask = t([[True, True, True], [True, True, False]])
    return ReferencedRanked(
        logp=t([[-2.0, -4.0, -6.0], [-1.0, -2.0, -99.0]]),
        length=t([[2, 2, 2], [1, 2, 0]]),
        utility=t([[0.1, 0.9, 0.9], [0.5, 0.2, 7.0]]),
        mask=mask,
        ref=t([[-2.5, -4.0, -5.0], [-2.0, -2.0, 0.0]]),
    )


def test_rankings() -> None:
    r = ranked()
    assert r.best.tolist() == [
        [False, True, False],
        [True, False, False],
    ]  # of equals the first; absent never
    assert r.count.tolist() == [3.0, 2.0]
    assert r.mean.tolist() == [[-1.0, -2.0, -3.0], [-1.0, -1.0, 0.0]]
    assert r.ratio.tolist() == [[0.5, 0.0, -1.0], [1.0, 0.0, 0.0]]
    better = [(b, i, j) for b, i, j in r.better.nonzero().tolist()]
    assert better == [(0, 1, 0), (0, 2, 0), (1, 0, 1)]


def test_sorting_moves_every_field_and_keeps_ties_in_order() -> None:
    s = ranked().sorted()
    assert s.logp.tolist() == [[-4.0, -6.0, -2.0], [-1.0, -2.0, -99.0]]
    assert s.ref.tolist() == [[-4.0, -5.0, -2.5], [-2.0, -2.0, 0.0]]
    assert s.mask.tolist() == [[True, True, True], [True, True, False]]


def test_all_replies_are_present_unless_said_otherwise() -> None:
    assert RankedRewards(reward=torch.zeros(2, 3), utility=torch.zeros(2, 3)).mask.all()


# --- flat tokens ------------------------------------------------------------------------------------------

MASK = t([[1, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]]).bool()


def test_padded_and_flat_are_two_forms_of_the_same() -> None:
    logp, ref = torch.randn(4, 3), torch.randn(4, 3)
    tokens = ReferencedRollouts.from_padded(
        mask=MASK, logp=logp, ref=ref, old=logp, advantage=t([1.0, 2.0, 3.0, 4.0])
    )
    assert tokens.owner.tolist() == [0, 0, 0, 2, 3, 3]
    assert tokens.advantage.tolist() == [1.0, 1.0, 1.0, 3.0, 4.0, 4.0]
    assert torch.equal(tokens.padded(tokens.logp), logp.masked_fill(~MASK, 0.0))
    assert tokens.position.tolist() == [0, 1, 2, 0, 0, 1]
    assert tokens.last.tolist() == [False, False, True, True, False, True]
    assert tokens.length.tolist() == [3.0, 0.0, 1.0, 2.0]
    assert len(tokens) == 4


def test_sums_and_means_of_an_empty_reply_are_zero() -> None:
    tokens = Tokens.from_padded(mask=MASK, logp=torch.ones(4, 3))
    assert tokens.sum(tokens.logp).tolist() == [3.0, 0.0, 1.0, 2.0]
    assert tokens.mean(tokens.logp).tolist() == [1.0, 0.0, 1.0, 1.0]
    assert tokens.discounted_sum(tokens.logp, gamma=0.5).tolist() == [1.75, 0.0, 1.0, 1.5]


def test_what_comes_later_ends_with_the_reply() -> None:
    tokens = Tokens.from_padded(mask=MASK, logp=torch.zeros(4, 3))
    assert tokens.later(t([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).tolist() == [2.0, 3.0, 0.0, 0.0, 6.0, 0.0]


def test_no_tokens_at_all() -> None:
    none = torch.zeros(0, dtype=torch.long)
    tokens = Tokens(logp=torch.zeros(0), owner=none, num_replies=2)
    assert tokens.sum(tokens.logp).tolist() == [0.0, 0.0]
    assert tokens.padded(tokens.logp).shape == (2, 0)
    assert tokens.last.tolist() == []


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_rows_of_flat_records(lengths: list[int], data: Any) -> None:
    owner = torch.arange(len(lengths)).repeat_interleave(t(lengths))
    tokens = ReferencedTokens(
        logp=torch.arange(float(len(owner))),
        owner=owner,
        num_replies=len(lengths),
        ref=torch.zeros(len(owner)),
    )
    index = data.draw(st.lists(st.integers(0, len(lengths) - 1), unique=True, max_size=len(lengths)))
    some = tokens.rows(t(index, dtype=torch.long))
    assert len(some) == len(index)
    assert some.length.tolist() == [float(lengths[i]) for i in index]
    kept = [tokens.logp[tokens.owner == i].tolist() for i in index]
    assert some.logp.tolist() == [value for values in kept for value in values]
    assert torch.equal(tokens.rows(slice(None)).logp, tokens.logp)


def test_the_sampler_s_ratio() -> None:
    old = t([-1.0, -1.0, -2.0])
    r = Rollouts(
        logp=old + t([0.2, -0.4, 100.0]), owner=t([0, 0, 1]), num_replies=2, old=old, advantage=torch.ones(3)
    )
    assert r.importance.log().tolist() == pytest.approx([0.2, -0.4, 20.0])
    assert r.sequence_importance.log().tolist() == pytest.approx([-0.1, -0.1, 20.0])


def test_steps_are_flat_too() -> None:
    steps = StepLogits(logit=torch.zeros(3), label=torch.ones(3), owner=t([0, 0, 1]), num_replies=2)
    assert steps.last.tolist() == [False, True, True]


# --- groups, means, teachers ------------------------------------------------------------------------------


def test_groups_of_different_sizes() -> None:
    g = Groups(t([1.0, 0.0, 5.0, 0.5]), t([0, 0, 1, 0]), 2)
    assert g.size.tolist() == [3.0, 3.0, 1.0, 3.0]
    assert g.mean.tolist() == [0.5, 0.5, 5.0, 0.5]
    assert g.std().tolist() == [0.5, 0.5, 0.0, 0.5]
    assert g.std(ddof=0)[0].item() == pytest.approx((1 / 6) ** 0.5)
    table = Groups.of(t([[1.0, 2.0], [3.0, 4.0]]))
    assert table.reward.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert table.group.tolist() == [0, 0, 1, 1]


@given(st.lists(st.lists(st.floats(-5, 5), max_size=4), max_size=5))
def test_a_running_mean_is_the_mean(batches: list[list[float]]) -> None:
    mean = RunningMean.empty(torch.zeros((), dtype=torch.float64))
    for batch in batches:
        mean = mean.updated(torch.tensor(batch, dtype=torch.float64))
    seen = [value for batch in batches for value in batch]
    assert mean.count.item() == len(seen)
    assert mean.mean.item() == pytest.approx(sum(seen) / len(seen) if seen else 0.0, abs=1e-12)


def test_a_window_forgets() -> None:
    mean = RunningMean.empty(torch.zeros(()))
    for value in [0.0] * 50 + [1.0] * 50:
        mean = mean.updated(t([value]), window=4)
    assert mean.count.item() == 4
    assert mean.mean.item() > 0.99


def test_what_the_top_k_leave_out() -> None:
    p = t([[0.5, 0.3, 0.15, 0.05]])
    top = TopK(index=t([[0, 1]]), logp=p[:, :2].log())
    assert top.rest.exp().item() == pytest.approx(0.2)
    everything = TopK(index=t([[0, 1, 2, 3]]), logp=p.log())
    assert everything.rest.exp().item() < 1e-6
    assert everything.rest.isfinite().all()


# --- without the checker of shapes, as everyone runs it ---------------------------------------------------

WITHOUT_CHECKER = """
import torch
from concord.errors import InputError
from concord.objectives import dpo, r_dpo
from concord.tensors import Groups, PairValues, Pairs, Ranked, ReferencedPairs
from concord.tensors import ReferencedReplies, Replies, Tokens

t = torch.tensor
two = t([-1.0, -2.0])
bad = [
    lambda: Replies(t([[-1.0], [-2.0]]), t([3, 4])),
    lambda: Replies(two, t([3])),
    lambda: Replies(two, t([3, 0])),
    lambda: ReferencedReplies(two, t([3, 4]), t([-1.0])),
    lambda: ReferencedReplies(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2, 3)),
    lambda: Pairs(Replies(two, t([3, 4])), Replies(t([-1.0]), t([3]))),
    lambda: PairValues(two, t([1.0])),
    lambda: Ranked(logp=torch.zeros(2, 3), length=torch.ones(2, 3), utility=torch.zeros(3)),
    lambda: Tokens(logp=two, owner=t([0]), num_replies=1),
    lambda: Tokens(logp=two, owner=t([0, 1]), num_replies=1),
    lambda: Tokens(logp=two, owner=t([1, 0]), num_replies=2),
]
for number, make in enumerate(bad):
    try:
        make()
    except InputError as error:
        assert "to do:" in str(error), error
    else:
        raise AssertionError(f"{number} was taken")

small = [ReferencedReplies(two, t(n, dtype=torch.uint8), two) for n in ([5, 5], [7, 7])]
wide = [ReferencedReplies(two, t(n), two) for n in ([5, 5], [7, 7])]
assert torch.equal(r_dpo(ReferencedPairs(*small)), r_dpo(ReferencedPairs(*wide)))
assert abs(Groups(t([1, 0, 1]), t([0, 0, 0]), 1).mean[0] - 2 / 3) < 1e-6
assert dpo(ReferencedPairs(ReferencedReplies(t([-1, -2]), t([3, 4]), two), small[0])).dtype == torch.float32


def loss(logp, ref):
    side = ReferencedReplies(logp, t([3, 4]), ref)
    return dpo(ReferencedPairs(side, side)).sum()


explained = torch._dynamo.explain(loss)(two, two)
assert explained.graph_break_count == 0, explained.break_reasons
meta = two.to("meta")
assert ReferencedReplies(meta, t([3, 4]).to("meta"), meta).ratio.is_meta
"""


@pytest.mark.slow
def test_records_check_themselves(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_CHECKER], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
