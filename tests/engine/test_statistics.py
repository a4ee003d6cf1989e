"""What is asked of logits chunk by chunk is what dense tensors give, with gradients, and at the extremes."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from concord.engine import logprobs
from concord.engine.head import Chunk, ChunkFunction, module_values
from concord.engine.logprobs import LogProbs
from concord.engine.statistics import (
    Given,
    Teacher,
    best,
    entropy,
    is_measured,
    lead,
    logps,
    mean_logit,
    measured,
    on_logits,
    top,
)
from concord.errors import InputError
from concord.objectives.distillation import generalised_jsd
from concord.objectives.divergences import forward_kl, jsd, reverse_kl, topk_exact_kl, topk_forward_kl
from concord.tensors import TopK
from tests.engine.models import VOCABULARY, family_tree, gradients, llama, weighted

N, SIZE, V = 11, 6, 17


def made(*, n: int = N, vocabulary: int = V) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Hidden states and heads of a student and of a teacher of another width, and labels."""
    torch.manual_seed(0)
    student = torch.randn(n, SIZE, dtype=torch.float64), torch.randn(vocabulary, SIZE, dtype=torch.float64)
    teacher = torch.randn(n, 4, dtype=torch.float64), torch.randn(vocabulary, 4, dtype=torch.float64)
    return *student, *teacher, torch.randint(0, vocabulary, (n,))


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p, q) of logits, by torch's own function."""
    return kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none").sum(-1)


def mixed(p: Tensor, q: Tensor, beta: float) -> Tensor:
    """The generalised Jensen-Shannon divergence of logits, in probabilities."""
    m = (beta * p.softmax(-1) + (1 - beta) * q.softmax(-1)).log()
    return beta * divergence(p, m) + (1 - beta) * divergence(q, m)


def bucketed(p: Tensor, q: Tensor, k: int) -> Tensor:
    """KL(p, q) of logits after all but p's k likeliest tokens were made one."""
    index = p.topk(k).indices
    parts = [one.softmax(-1) for one in (p, q)]
    small = [
        torch.cat([one.gather(-1, index), 1 - one.gather(-1, index).sum(-1, keepdim=True)], -1)
        for one in parts
    ]
    return divergence(small[0].log(), small[1].log())


def among(p: Tensor, q: Tensor, k: int) -> Tensor:
    """KL(q, p) of logits on p's k likeliest tokens alone."""
    index = p.topk(k).indices
    return divergence(q.gather(-1, index), p.gather(-1, index))


# Name -> the chunk function, and what it must give for logits q of the student, p of the teacher and labels.
GROWING: dict[str, tuple[ChunkFunction, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "logps": (logps, lambda q, _p, y: q.log_softmax(-1)[torch.arange(len(y)), y]),
    "entropy": (entropy, lambda q, _p, _y: torch.distributions.Categorical(logits=q).entropy()),
    "mean logit": (mean_logit, lambda q, _p, _y: q.mean(-1)),
    "lead": (
        lead,
        lambda q, _p, y: torch.stack(
            [row[c] - row[torch.arange(V) != c].max() for row, c in zip(q, y, strict=True)]
        ),
    ),
    "forward KL": (on_logits(forward_kl), lambda q, p, _y: divergence(p, q)),
    "reverse KL": (on_logits(reverse_kl), lambda q, p, _y: divergence(q, p)),
    "JSD": (on_logits(jsd), lambda q, p, _y: mixed(p, q, 0.5)),
    "JSD, beta 0.1": (on_logits(jsd, beta=0.1), lambda q, p, _y: mixed(p, q, 0.1)),
    "GKD, beta 0": (on_logits(generalised_jsd, beta=0.0), lambda q, p, _y: divergence(p / 0.9, q / 0.9)),
    "GKD, beta 1": (on_logits(generalised_jsd, beta=1.0), lambda q, p, _y: divergence(q / 0.9, p / 0.9)),
    "GKD, hot": (
        on_logits(generalised_jsd, beta=0.7, temperature=2.0),
        lambda q, p, _y: mixed(p / 2, q / 2, 0.7),
    ),
    "exact KL among the likeliest": (on_logits(topk_exact_kl, k=5), lambda q, p, _y: among(p, q, 5)),
}


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("name", GROWING)
def test_values_and_gradients_are_those_of_dense_tensors(name: str, size: int) -> None:
    states, weight, seen, theirs, labels = made()
    function, dense = GROWING[name]
    leaves = [states.requires_grad_(), weight.requires_grad_()]
    right = dense(states @ weight.T, seen @ theirs.T, labels)
    slopes = torch.autograd.grad(weighted(right), leaves)
    beside = {"teacher": Teacher(lambda h: h @ theirs.T, seen)}
    found = module_values(lambda h: h @ weight.T, states, labels, {name: function}, beside=beside, size=size)[
        name
    ]
    torch.testing.assert_close(found, right)
    for got, want in zip(torch.autograd.grad(weighted(found), leaves), slopes, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", GROWING)
def test_gradients_are_finite_differences(name: str) -> None:
    states, weight, seen, theirs, labels = made(n=3, vocabulary=7)
    beside = {"teacher": Teacher(lambda h: h @ theirs.T, seen)}
    function = GROWING[name][0]

    def found(h: Tensor, w: Tensor) -> Tensor:
        return module_values(lambda x: x @ w.T, h, labels, {"": function}, beside=beside, size=2)[""]

    assert torch.autograd.gradcheck(found, (states.requires_grad_(), weight.requires_grad_()))


def test_what_is_kept_of_a_teacher_and_read_back() -> None:
    states, weight, seen, theirs, labels = made()
    q, p = states @ weight.T, seen @ theirs.T
    kept: TopK = module_values(lambda h: h @ theirs.T, seen, labels, {"top": top(4)}, size=3)["top"]
    values, index = p.log_softmax(-1).topk(4)
    torch.testing.assert_close(kept.logp, values)
    assert torch.equal(kept.index, index)
    given = {"teacher": Given(kept)}
    functions = {"loss": on_logits(topk_forward_kl)}
    found = module_values(lambda h: h @ weight.T, states, labels, functions, beside=given, size=3)["loss"]
    torch.testing.assert_close(found, bucketed(p, q, 4))
    # A teacher with fewer tokens than are asked for gives them all.
    assert top(99)(Chunk(p, labels)).logp.shape == (N, V)


def test_the_likeliest_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 3.0, 3.0], [-torch.inf, -1.0, -1.0]])
    chunk = Chunk(logits, torch.tensor([2, 0, 0]))
    assert best(chunk).tolist() == [1, 0, 1]
    assert lead(chunk).tolist() == [-1.0, 0.0, -torch.inf]
    likeliest = top(2)(chunk)
    torch.testing.assert_close(likeliest.logp[1:], torch.tensor([[-math.log(3)] * 2, [-math.log(2)] * 2]))
    assert all(len(set(row)) == 2 for row in likeliest.index.tolist())
    assert set(likeliest.index[2].tolist()) == {1, 2}


def test_tokens_that_are_ruled_out_add_nothing_and_no_broken_gradient() -> None:
    base = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) >= 6
    logits = base.masked_fill(mask, -torch.inf).requires_grad_()
    teacher = base.flip(0).masked_fill(mask, -torch.inf)
    chunk = Chunk(logits, torch.zeros(5, dtype=torch.long), {"teacher": teacher})
    small = Chunk(base[:, :6], chunk.labels, {"teacher": teacher[:, :6]})
    for name, (function, _) in GROWING.items():
        found = function(chunk)
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found, function(small), msg=name)
        (slope,) = torch.autograd.grad(found.sum(), logits, retain_graph=True)
        assert slope.isfinite().all(), name
        assert not slope[:, mask].any(), name


def test_what_only_one_side_can_say() -> None:
    one, two = torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.0, 0.0]])
    labels = torch.zeros(1, dtype=torch.long)

    def of(objective: Callable[..., Tensor], student: Tensor, teacher: Tensor, **knobs: Any) -> float:
        found = on_logits(objective, **knobs)(Chunk(student, labels, {"teacher": teacher}))
        assert isinstance(found, Tensor)
        return float(found)

    half = math.log(2)
    assert of(forward_kl, one, two) == math.inf
    assert of(reverse_kl, two, one) == math.inf
    assert of(forward_kl, two, one) == pytest.approx(half)
    assert of(reverse_kl, one, two) == pytest.approx(half)
    # Of P = (1, 0) and Q = (1/2, 1/2) in equal parts, M = (3/4, 1/4).
    known = (math.log(4 / 3) + (math.log(2 / 3) + math.log(2)) / 2) / 2
    assert of(jsd, one, two) == pytest.approx(known)
    assert of(jsd, two, one) == pytest.approx(known)


def test_a_vocabulary_of_one_token() -> None:
    logits = torch.randn(4, 1, generator=torch.Generator().manual_seed(0)).requires_grad_()
    chunk = Chunk(logits, torch.zeros(4, dtype=torch.long), {"teacher": logits.detach() + 1})
    for name, (function, _) in GROWING.items():
        found = function(chunk)
        assert isinstance(found, Tensor)
        others = {"mean logit": logits[:, 0].tolist(), "lead": [torch.inf] * 4}
        assert found.tolist() == pytest.approx(others.get(name, [0.0] * 4), abs=1e-7)
    assert top(3)(chunk).logp.tolist() == [[0.0]] * 4


def test_only_looked_at() -> None:
    states, weight, _, _, labels = made()
    states.requires_grad_()
    functions = {"entropy": measured(entropy), "": logps}
    found = module_values(lambda h: h @ weight.T, states, labels, functions, size=4)
    assert not found["entropy"].requires_grad
    assert found[""].requires_grad
    assert [is_measured(one) for one in functions.values()] == [True, False]
    torch.testing.assert_close(found["entropy"], entropy(Chunk(states @ weight.T, labels)).detach())


def test_metrics_leave_the_head_fused_and_losses_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, lines, calls = LogProbs(llama()), family_tree(), []
    monkeypatch.setattr(
        logprobs,
        "linear_logps",
        lambda *a, real=logprobs.linear_logps, **k: (calls.append(1), real(*a, **k))[1],
    )
    plain = engine(layout=engine.lay(lines))
    weighted(plain.logps).backward()
    right = gradients(engine.model)
    looked = engine(layout=engine.lay(lines), functions={"entropy": measured(entropy)})
    weighted(looked.logps).backward()
    assert len(calls) == 2
    assert torch.equal(gradients(engine.model), right)
    trained = engine(layout=engine.lay(lines), functions={"entropy": entropy})
    assert len(calls) == 2
    torch.testing.assert_close(trained.functions["entropy"].detach(), looked.functions["entropy"])
    torch.testing.assert_close(trained.logps, plain.logps)
    weighted(trained.functions["entropy"]).backward()
    assert gradients(engine.model).any()


def test_a_teacher_of_another_layout_goes_beside_the_student() -> None:
    student, teacher = LogProbs(llama()), LogProbs(llama(layers=1, seed=3), layout="rows")
    lines = family_tree()
    with torch.no_grad():
        states = teacher(layout=teacher.lay(lines), states=True).states
    given = {"teacher": Teacher(teacher.head, states)}
    functions = {"kl": on_logits(forward_kl)}
    found = student(layout=student.lay(lines), functions=functions, beside=given).functions["kl"]
    logits = [
        engine.head(engine(layout=engine.lay(lines), states=True).states).detach()
        for engine in (student, teacher)
    ]
    torch.testing.assert_close(found.detach(), divergence(logits[1], logits[0]), rtol=1e-4, atol=1e-5)
    assert logits[0].shape[1] == VOCABULARY
    found.sum().backward()
    assert not gradients(teacher.model).any()


def test_what_is_asked_wrongly_is_refused() -> None:
    states, weight, seen, theirs, labels = made()
    chunk = Chunk(states @ weight.T, labels)
    with pytest.raises(InputError, match="nothing to keep of a teacher"):
        top(0)
    with pytest.raises(InputError, match="no teacher"):
        on_logits(forward_kl)(chunk)
    other = Chunk(chunk.logits, labels, {"teacher": (seen @ theirs.T)[:, 1:]})
    with pytest.raises(InputError, match="do not speak of the same tokens"):
        on_logits(forward_kl)(other)
