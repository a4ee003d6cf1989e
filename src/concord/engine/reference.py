"""What a reference or a teacher says of lines: computed once, kept in the store, read by every later run.

A value is kept under all that decides it: weights with adapters, layout, kernel, precision, head, versions,
and the tokens of its row. So whatever differs is computed again, and nothing that was computed for another
model is ever read. The model may be one of its own, the policy before its first step, or the policy without
its adapter, which needs no second copy of any weight.

    initial = Reference(engine, store)                      before the first step
    below = Reference(engine, store, adapter=False)         at any step
    below.logps(lines)                                      in the order of the targets
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from concord.engine.logprobs import LogProbs
from concord.engine.precision import Noise, adapter_states, adapter_weights, hashed, noise, still
from concord.engine.statistics import measured, top
from concord.engine.targets import Line
from concord.errors import NOTHING, CapabilityError, InputError, Said, StoreError, explain
from concord.store import Store, key
from concord.tensors import PerToken, TopK

__all__ = ["BUDGET", "Kept", "Reference", "batches", "check_initial", "without_adapter"]

BUDGET = 16_384
"""Tokens of a micro-batch. Nothing is kept for gradients, so it may be larger than one of training."""


class Reference:
    """A fixed model and the store that keeps what it says; `computed` and `read` count rows.

    Its weights are hashed when it is made, and neither they nor its adapters must move after: a row that is
    still missing is refused once they have.
    """

    def __init__(self, engine: LogProbs, store: Store, *, adapter: bool = True, budget: int = BUDGET) -> None:
        """Take an engine as it is, or, with `adapter=False`, without what its adapter adds."""
        if any(isinstance(part, FSDPModule) for part in engine.modules()):
            wrong, found = (
                "ranks that gather weights for each other would wait forever for rows they lack",
                "FSDP2",
            )
            accepted, do = "an engine that is not sharded", "compute reference values before it is"
            raise CapabilityError(explain(wrong, found=Said(found), accepted=accepted, do=do))
        self.engine, self.store, self.adapter = engine, store, adapter
        self.budget = min(budget, engine.limits.tokens or budget)
        self.computed = self.read = 0
        with self._in_use():
            self.weights = hashed(engine.model)
            self._sums, self._states = self._checksums(), adapter_states(engine.model)

    def logps(self, lines: Sequence[Line]) -> PerToken:
        """The log-probability of each target, in float32, in the order of the lines."""
        return torch.from_numpy(np.concatenate([_NONE, *self._kept(lines, _LOGPS)]))

    def kept(self) -> "Kept":
        """What the store has of it, to be read without the model: when all rows were computed."""
        with self._in_use():
            return Kept(self.store, self.engine.identify(weights=self.weights).key)

    def top(self, lines: Sequence[Line], k: int) -> TopK:
        """The k likeliest tokens at each target and their log-probabilities: what is kept of a teacher."""
        rows = self._kept(lines, _likeliest(k))
        # Of no row it is not known how many tokens there are, and nothing depends on it.
        flat = np.concatenate(rows) if rows else np.zeros((0, k), _PAIR)
        index = torch.from_numpy(flat["index"].astype(np.int64))
        return TopK(index=index, logp=torch.from_numpy(flat["logp"].copy()))

    def _kept(self, lines: Sequence[Line], kind: "_Kind") -> list[Any]:
        """What is known of each line that has targets; what is missing is computed, and kept at once."""
        lines = [line for line in lines if _count(line)]
        with self._in_use():
            name = self.engine.identify(weights=self.weights).key
            keys = [key(kind.name, name, _bytes(line.ids), _bytes(line.spans)) for line in lines]
            by_key = dict(zip(keys, lines, strict=True))
            held = self.store.get_many(by_key)
            known = {one: kind.decode(value, _count(by_key[one])) for one, value in held.items()}
            missing = [(one, line) for one, line in by_key.items() if known.get(one) is None]
            self.read += len(by_key) - len(missing)
            if missing:
                self._check_unmoved()
            for batch in batches([line for _, line in missing], self.budget, self.engine.layout):
                part = [missing[number] for number in batch]
                made = kind.compute(self.engine, [line for _, line in part])
                self.store.put_many({one: rows.tobytes() for (one, _), rows in zip(part, made, strict=True)})
                known |= {one: rows for (one, _), rows in zip(part, made, strict=True)}
                self.computed += len(part)
        return [known[one] for one in keys]

    @contextmanager
    def _in_use(self) -> Generator[None]:
        """The model as the reference has it: no gradients, no dropout, no adapter where none is wanted."""
        model = self.engine.model
        modes, stilled = [(module, module.training) for module in model.modules()], still(model)
        try:
            with torch.no_grad():
                if self.adapter:
                    yield
                else:
                    with without_adapter(model):
                        yield
        finally:
            stilled.restore()
            for module, mode in modes:
                module.training = mode

    def _checksums(self) -> list[int]:
        """A sum of the bits of each weight: far cheaper than a hash, and an update does not keep them all."""
        skipped = set[int]() if self.adapter else adapter_weights(self.engine.model)
        weights = [weight for weight in self.engine.model.parameters() if id(weight) not in skipped]
        return [int(_bits(weight).sum(dtype=torch.int64)) for weight in weights]

    def _check_unmoved(self) -> None:
        """Refuse to compute with other weights under the key of those the reference was made of."""
        before, after = self._sums, self._checksums()
        if before != after:
            moved = sum(old != new for old, new in zip_longest(before, after))
            wrong = "the weights have moved since the reference was made of them, and rows are missing"
            found, accepted = Said(f"{moved} of {len(before)} weights changed"), "the weights as they were"
            do = "compute all rows before the first step, keep a copy, or switch an adapter off"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if self._states != adapter_states(self.engine.model):
            wrong = "adapters were set otherwise since the reference was made of them, and rows are missing"
            found = Said("another adapter that is active, another scale, or one switched on or off")
            accepted, do = "adapters as they were", "set them back, or make a reference of them as they are"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


@dataclass(frozen=True)
class Kept:
    """A reference whose rows were all computed: it needs no weights, only the store."""

    store: Store
    name: str

    def logps(self, lines: Sequence[Line]) -> PerToken:
        """The log-probability of each target, in float32, in the order of the lines."""
        lines = [line for line in lines if _count(line)]
        keys = [key(_LOGPS.name, self.name, _bytes(line.ids), _bytes(line.spans)) for line in lines]
        held = self.store.get_many(keys)
        found = [
            _decode_logps(held.get(one, b""), _count(line)) for one, line in zip(keys, lines, strict=True)
        ]
        if missing := sum(one is None for one in found):
            wrong, accepted = "the store lacks what the reference said of some rows", "all of them"
            do = "start again, which computes them; if the store is full, raise its cap"
            raise StoreError(explain(wrong, found=Said(f"{missing} missing"), accepted=accepted, do=do))
        return torch.from_numpy(np.concatenate([_NONE, *found]))


@contextmanager
def without_adapter(model: nn.Module) -> Generator[None]:
    """A model of peft as it is below its adapter, for the length of a `with`; nothing is copied.

    Refused where that is not what it was before training: what is trained must belong to the adapter.
    """
    added = adapter_weights(model)
    trained = [name for name, one in model.named_parameters() if one.requires_grad and id(one) not in added]
    disabled: Any = getattr(model, "disable_adapter", None)
    if disabled is None or not added:
        wrong, found = "there is no adapter to be switched off", NOTHING
    elif trained:
        wrong = "without its adapter the model is not what it was, for weights of its own are trained"
        found = Said(f"{len(trained)} of them, such as {trained[0]}")
    else:
        asked = [(weight, weight.requires_grad) for weight in model.parameters()]
        try:
            with disabled():
                yield
        finally:
            # Adapters that are switched on again ask for gradients, also those that were frozen.
            for weight, before in asked:
                weight.requires_grad_(before)
        return
    accepted, do = (
        "a model of peft that trains its adapter alone",
        "take the reference from a copy of the model",
    )
    raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))


def batches(lines: Sequence[Line], budget: int, layout: str) -> Iterator[list[int]]:
    """Numbers of lines whose tokens are no more than a budget, or one line that is more by itself.

    A forest takes lines in their order, since those that share a prompt stand side by side; rows are sorted
    by length, the longest first, and count with their padding.
    """
    sizes = [len(line.ids) for line in lines]
    rows = layout == "rows"
    order = sorted(range(len(lines)), key=lambda number: -sizes[number]) if rows else range(len(lines))
    batch: list[int] = []
    total = 0
    for number in order:
        total = sizes[batch[0]] * (len(batch) + 1) if rows and batch else total + sizes[number]
        if batch and total > budget:
            yield batch
            batch, total = [], sizes[number]
        batch.append(number)
    if batch:
        yield batch


# --- what is kept of a row --------------------------------------------------------------------------------

_NUMBER = np.dtype("<f4")
_PAIR = np.dtype([("index", "<i4"), ("logp", "<f4")])
_NONE = np.zeros(0, _NUMBER)


@dataclass(frozen=True)
class _Kind:
    """One thing that is kept of a row: its name in keys, and how it is computed and read back."""

    name: str
    compute: Callable[[LogProbs, Sequence[Line]], list[Any]]
    """An array for each line, one entry a target."""
    decode: Callable[[bytes, int], Any]
    """The array of so many targets, None where the bytes are not that."""


def _compute_logps(engine: LogProbs, lines: Sequence[Line]) -> list[Any]:
    return _rows(lines, _forward(engine, lines).logps.float().cpu().numpy().astype(_NUMBER))


def _decode_logps(value: bytes, count: int) -> Any:
    return np.frombuffer(value, _NUMBER).copy() if len(value) == count * _NUMBER.itemsize else None


_LOGPS = _Kind("log-probabilities", _compute_logps, _decode_logps)


def _likeliest(k: int) -> _Kind:
    function = measured(top(k))

    def compute(engine: LogProbs, lines: Sequence[Line]) -> list[Any]:
        found: TopK = _forward(engine, lines, top=function).functions["top"]
        table = np.empty(tuple(found.index.shape), _PAIR)
        table["index"], table["logp"] = found.index.cpu().numpy(), found.logp.cpu().numpy()
        return _rows(lines, table)

    def decode(value: bytes, count: int) -> Any:
        whole = len(value) and len(value) % (count * _PAIR.itemsize) == 0
        return np.frombuffer(value, _PAIR).reshape(count, -1) if whole else None

    return _Kind(f"likeliest {k}", compute, decode)


def _forward(engine: LogProbs, lines: Sequence[Line], **functions: Any) -> Any:
    device = next(engine.model.parameters()).device
    found = engine(layout=engine.lay(lines).to(device), functions=functions)
    if bool(found.logps.isnan().any()):
        wrong, said = "the reference gives tokens no log-probability", int(found.logps.isnan().sum())
        accepted, do = "numbers", "look for NaN in its weights, and for labels outside its vocabulary"
        raise InputError(explain(wrong, found=Said(f"{said} NaN"), accepted=accepted, do=do))
    return found


def _rows(lines: Sequence[Line], flat: Any) -> list[Any]:
    """What belongs to each line, of what stands in the order of the targets."""
    return np.split(flat, np.cumsum([_count(line) for line in lines])[:-1])


def _count(line: Line) -> int:
    return int((line.spans[:, 1] - line.spans[:, 0]).sum())


def _bytes(ids: Any) -> bytes:
    return np.ascontiguousarray(ids, "<i8").tobytes()


_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _bits(weight: Tensor) -> Tensor:
    own = weight.to_local() if isinstance(weight, DTensor) else weight
    return own.detach().contiguous().flatten().view(_WHOLE[own.element_size()])


# --- step 0 -----------------------------------------------------------------------------------------------

_FLOORS = {
    torch.float64: (1e-8, 1e-9),
    torch.float32: (1e-4, 1e-5),
    torch.float16: (1e-2, 2e-3),
    torch.bfloat16: (5e-2, 1e-2),
}
"""How far two right answers may always be apart, in nats: the largest difference, and the mean one."""
_TIMES, _MOST = 3, 10


def check_initial(policy: LogProbs, lines: Sequence[Line], reference: PerToken) -> tuple[Noise, Noise]:
    """Refuse a reference that was declared to be the policy before its first step, and is not.

    `reference` stands in the order of the targets of `lines`; some lines of every kind are enough. Allowed is
    three times the noise floor, measured here: the same lines together and one by one. Returns how far policy
    and reference are apart, and the floor.
    """
    device = next(policy.model.parameters()).device

    def found(parts: Sequence[Sequence[Line]]) -> Tensor:
        return torch.cat([policy(layout=policy.lay(part).to(device)).logps for part in parts])

    some = [line for line in lines if _count(line)]
    if len(reference) != (targets := sum(map(_count, some))):
        wrong, said = "the reference values are not those of these lines", Said(f"{len(reference)} values")
        do = "give one for each target, in the order of the lines"
        raise InputError(explain(wrong, found=said, accepted=f"{targets} values", do=do))
    if not some:
        return Noise(0.0, 0.0, 0.0, 0), Noise(0.0, 0.0, 0.0, 0)
    floor = noise(lambda: found([some]), lambda: found([[line] for line in some]))
    apart = noise(lambda: reference.to(device), lambda: found([some]))
    most, mean = _floor(policy.model)
    # A policy that differs from itself by more than any precision explains has dropout, say, and not noise.
    most = min(max(most, _TIMES * floor.most), _MOST * most)
    mean = min(max(mean, _TIMES * floor.mean), _MOST * mean)
    if not (apart.most <= most and apart.mean <= mean):
        wrong = (
            "the reference is declared to be the initial policy, and the policy does not equal it at step 0"
        )
        accepted = (
            f"up to {most:.1e} nats a token and {mean:.1e} in the mean, from a noise floor of {floor.line}"
        )
        do = "look for an adapter that does not begin at zero, another checkpoint or another precision"
        raise InputError(explain(wrong, found=Said(apart.line), accepted=accepted, do=do))
    return apart, floor


def _floor(model: nn.Module) -> tuple[float, float]:
    """The floor of the lowest precision that has a part in what is computed."""
    dtypes = {weight.dtype for weight in model.parameters()}
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        dtypes.add(torch.get_autocast_dtype(device))
    return max((_FLOORS[dtype] for dtype in dtypes if dtype in _FLOORS), default=_FLOORS[torch.float32])
