"""Drawing replies from a causal language model: each prompt read once, one batch for all, rows that come and
go.

Prompts go through the model with others of their length alone, so that no padding can reach the states they
leave; the cache is then copied for each reply and joined to the batch, where shorter rows have columns on the
left that nothing looks at. That is right for whatever keeps keys and values by column (all of them, or those
of a window) and for running states, which have no columns. Other caches are not joined: a model that has
them, or whose batch is not what it computes itself on trial, draws its replies one by one, in the worst case
by reading the whole text again for each token.
"""

import copy
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import cache_utils

from concord.engine.attention import NAME
from concord.engine.guards import limits, windows
from concord.engine.model import causal, text_config
from concord.engine.sampling import pick
from concord.engine.switch import kernel, own_kernel
from concord.objectives.divergences import topk
from concord.seam import Finish, Sampling

__all__ = ["Decoder", "Draw", "Way", "asleep", "decoder", "generate", "resting"]

Way: TypeAlias = Literal["together", "alone", "anew"]
"""How replies are drawn: in one batch; one by one with a cache; one by one, all tokens again for each."""


@dataclass(slots=True, eq=False)
class Draw:
    """One reply that is being drawn: what decides it, and what has come of it so far."""

    prompt: tuple[int, ...]
    sampling: Sampling
    chance: np.random.Generator
    room: int
    """How many tokens there may be at most."""
    ends: Callable[[list[int]], bool]
    """Whether the reply is over with the last of these tokens."""
    tokens: list[int] = field(default_factory=list[int])
    logps: list[float] = field(default_factory=list[float])
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list[tuple[tuple[int, float], ...]])
    finish: Finish | None = None
    failure: str = ""

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens so far."""
        return (*self.prompt, *self.tokens)

    @property
    def length(self) -> int:
        """How many tokens there are so far."""
        return len(self.prompt) + len(self.tokens)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.finish is not None or bool(self.failure)


@contextmanager
def resting(model: nn.Module) -> Generator[None]:
    """Let a model answer without gradients and without dropout, and put every module back in its mode.

    Not `inference_mode`: what a model keeps of a forward pass, such as its angles, must serve training later.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def asleep(model: nn.Module) -> Generator[None]:
    """Let a model draw: at rest, and through an attention that knows caches; put back what it had.

    At rest also because layers that compute again for their gradients leave the cache out in training mode.
    """
    own = kernel(model)
    with resting(model), own_kernel(model, None if own == NAME else own):
        yield


# --- caches -----------------------------------------------------------------------------------------------

_COLUMNS, _STATES = cache_utils.DynamicLayer, cache_utils.LinearAttentionLayer
_KNOWN = frozenset(
    {
        cache_utils.DynamicLayer,
        cache_utils.DynamicSlidingWindowLayer,
        cache_utils.LinearAttentionLayer,
        cache_utils.LinearAttentionAndFullAttentionLayer,
        cache_utils.LinearAttentionAndSlidingWindowAttentionLayer,
        cache_utils.DummyLayer,
    }
)


def _joinable(cache: Any) -> bool:
    """Whether all that a cache holds is known, so that rows of several can be put together."""
    return type(cache) is cache_utils.DynamicCache and all(type(layer) in _KNOWN for layer in cache.layers)


def _joined(first: Any, second: Any, width: int) -> Any:
    """Put the rows of the second cache below those of the first; `width`: the tokens of the longest row."""
    for ours, theirs in zip(first.layers, second.layers, strict=True):
        if _has_columns(ours):
            columns = max(ours.keys.shape[-2], theirs.keys.shape[-2])
            for name in ("keys", "values"):
                parts = [_widened(getattr(layer, name), columns) for layer in (ours, theirs)]
                setattr(ours, name, torch.cat(parts))
            _count(ours, width)
        if isinstance(ours, _STATES):
            for name in ("conv_states", "recurrent_states"):
                states, more = getattr(ours, name), getattr(theirs, name)
                joined = {at: torch.cat([one, more[at]]) for at, one in states.items() if one is not None}
                states.update(joined)
    return first


def _has_columns(layer: Any) -> bool:
    return isinstance(layer, _COLUMNS) and layer.is_initialized


def _trimmed(cache: Any, width: int) -> None:
    """Leave out the columns on the left that no row needs any longer."""
    for layer in cache.layers:
        if _has_columns(layer):
            for name in ("keys", "values"):
                setattr(layer, name, getattr(layer, name)[:, :, -width:])
            _count(layer, width)


def _count(layer: Any, width: int) -> None:
    """Tell a layer with a window, which does not keep all columns, how many there are."""
    if isinstance(layer, cache_utils.DynamicSlidingWindowLayer):
        layer.cumulative_length = width


def _widened(columns: Tensor, width: int) -> Tensor:
    return functional.pad(columns, (0, 0, width - columns.shape[-2], 0))


# --- the model, step by step ------------------------------------------------------------------------------


class Decoder:
    """A model that says what comes next."""

    def __init__(self, model: nn.Module, way: Way = "together") -> None:
        self.model = causal(model)
        self.way: Way = way
        self.thresholds = limits(model).thresholds
        self._names = signature(self.model.forward).parameters
        self._cache = "cache_params" if "cache_params" in self._names else "past_key_values"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def side(self, length: int) -> int:
        """Texts of two lengths can go together if this is one number: some models change all their angles at
        a length."""
        return sum(length > threshold for threshold in self.thresholds)

    def start(self, *texts: Sequence[int]) -> tuple[Tensor, Any]:
        """The logits behind texts of one length, [texts, vocabulary], and the cache they leave."""
        rows = torch.tensor(texts, device=self.device)
        return self._forward(rows, torch.ones_like(rows), None)

    def step(self, tokens: Sequence[int], mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """The logits behind one more token of each row, [rows, vocabulary], and the cache with it; the mask
        has it already."""
        return self._forward(torch.tensor([*tokens], device=self.device)[:, None], mask, cache)

    def _forward(self, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        given: dict[str, Any] = {
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1)[:, -ids.shape[1] :],
            "use_cache": self.way != "anew",
            "logits_to_keep": 1,
            self._cache: cache,
        }
        known = {name: value for name, value in given.items() if name in self._names}
        out = self.model(input_ids=ids, **known)
        return out.logits[:, -1].float(), getattr(out, self._cache, None)


class _Batch:
    """The rows that are drawn together: their draws, their cache, and which of its columns are whose."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.draws: list[Draw] = []
        self.cache: Any = None
        self.mask = torch.zeros(0, 0, dtype=torch.long, device=decoder.device)

    @property
    def side(self) -> int | None:
        """On which side of lengths that matter all its rows are."""
        return self.decoder.side(self.draws[0].length) if self.draws else None

    def add(self, draws: Sequence[Draw], cache: Any) -> None:
        """Take rows in; the cache has what stands before the last token of each."""
        length = draws[0].length - 1
        width = max(length, self.mask.shape[1] if self.draws else 0)
        rows = functional.pad(self.mask.new_ones(len(draws), length), (width - length, 0))
        if self.draws:
            held = functional.pad(self.mask, (width - self.mask.shape[1], 0))
            self.mask, self.cache = torch.cat([held, rows]), _joined(self.cache, cache, width)
        else:
            self.mask, self.cache = rows, cache
        self.draws += draws

    def step(self) -> Tensor:
        """The logits of the next token of each row."""
        if self.decoder.way == "anew":
            return self.decoder.start(self.draws[0].ids)[0]
        self.mask = functional.pad(self.mask, (0, 1), value=1)
        logits, self.cache = self.decoder.step(
            [draw.tokens[-1] for draw in self.draws], self.mask, self.cache
        )
        return logits

    def keep(self, stays: Sequence[bool]) -> None:
        """Drop rows, and the columns that were theirs alone."""
        places = [place for place, stay in enumerate(stays) if stay]
        if len(places) == len(self.draws):
            return
        self.draws = [self.draws[place] for place in places]
        if not places:
            self.cache = None
        elif self.cache is not None:
            index = torch.tensor(places, device=self.decoder.device)
            self.cache.reorder_cache(index)
            self.mask = self.mask[index]
            width = int(self.mask.sum(-1).max())
            if width < self.mask.shape[1]:
                self.mask = self.mask[:, -width:]
                _trimmed(self.cache, width)


@dataclass(slots=True)
class _Start:
    """A text, the draws that go on from it, and, once it has gone through the model, what that left."""

    ids: tuple[int, ...]
    draws: list[Draw]
    logits: Tensor | None = None
    cache: Any = None

    def take(self, decoder: Decoder, most: int) -> tuple[list[Draw], Any]:
        """Some of the draws, each with its first token, and a cache for those that go on."""
        if self.logits is None:
            self.logits, self.cache = decoder.start(self.ids)
        taken, self.draws = self.draws[:most], self.draws[most:]
        _grow(taken, self.logits.expand(len(taken), -1))
        going = [draw for draw in taken if not draw.over]
        cache = copy.deepcopy(self.cache) if self.draws else self.cache
        if len(going) > 1:
            cache.reorder_cache(torch.zeros(len(going), dtype=torch.long, device=decoder.device))
        return going, cache


_READ = 1 << 13
"""Tokens of prompts that are read at once, where there is more than one prompt."""

_REFILL = 4
"""One of so many rows must be free before prompts are read, so that several of a length can be."""


def _taken(decoder: Decoder, waiting: deque[_Start], free: int) -> tuple[list[Draw], Any]:
    """The next draws that there is room for, all of one length, as `_Start.take` has them."""
    first = waiting[0]
    if decoder.way != "together" or first.logits is not None or len(first.draws) > free:
        taken = first.take(decoder, free)
        if not first.draws:
            waiting.popleft()
        return taken
    group: list[_Start] = []
    most = max(1, _READ // len(first.ids))
    while waiting and len(group) < most and len(waiting[0].draws) <= free:
        if len(waiting[0].ids) != len(first.ids):
            break
        group.append(waiting.popleft())
        free -= len(group[-1].draws)
    logits, cache = decoder.start(*(start.ids for start in group))
    draws = [draw for start in group for draw in start.draws]
    rows = [row for row, start in enumerate(group) for _ in start.draws]
    _grow(draws, logits[rows])
    going = [(row, draw) for row, draw in zip(rows, draws, strict=True) if not draw.over]
    if going and [row for row, _ in going] != [*range(len(group))]:
        cache.reorder_cache(torch.tensor([row for row, _ in going], device=decoder.device))
    return [draw for _, draw in going], cache


def generate(decoder: Decoder, draws: Sequence[Draw], *, rows: int) -> None:
    """Draw until all are over, `rows` at most at a time. The model is to be `asleep`."""
    starts: dict[tuple[int, ...], _Start] = {}
    for draw in draws:
        starts.setdefault(draw.prompt, _Start(draw.prompt, [])).draws.append(draw)
    # The longest first: if there is too little memory, that shows at once.
    waiting = deque(sorted(starts.values(), key=lambda start: -len(start.ids)))
    batch, rows = _Batch(decoder), rows if decoder.way == "together" else 1
    enough = max(1, rows // _REFILL)
    while waiting or batch.draws:
        while waiting and batch.side in (None, decoder.side(len(waiting[0].ids))):
            if (free := rows - len(batch.draws)) < enough:
                break
            going, cache = _taken(decoder, waiting, free)
            # They are all of one length, so that all of them crossed, or none.
            if going and not _put_back(decoder, going, waiting):
                batch.add(going, cache)
        if batch.draws:
            _grow(batch.draws, batch.step())
            going = [draw for draw in batch.draws if not draw.over]
            crossed = _put_back(decoder, going, waiting)
            batch.keep([not draw.over and draw not in crossed for draw in batch.draws])


def _put_back(decoder: Decoder, draws: Sequence[Draw], waiting: deque[_Start]) -> list[Draw]:
    """The draws that just stepped over a length that matters: they are to be read again, as the texts they
    are."""
    crossed = [draw for draw in draws if decoder.side(draw.length) != decoder.side(draw.length - 1)]
    waiting.extendleft(_Start(draw.ids, [draw]) for draw in crossed)
    return crossed


def _grow(draws: Sequence[Draw], logits: Tensor) -> None:
    """Give each draw its next token."""
    samplings = [draw.sampling for draw in draws]
    picked = pick(logits, samplings, [draw.chance.random() for draw in draws])
    wanted = max(sampling.top_logps for sampling in samplings)
    best = topk(logits, k=min(wanted, logits.shape[-1])) if wanted else None
    tables = zip(best.index.tolist(), best.logp.tolist(), strict=True) if best else ()
    tops = [[*zip(*table, strict=True)] for table in tables] or [[]] * len(draws)
    found = (picked.tokens.tolist(), picked.logps.tolist(), picked.broken.tolist())
    for draw, token, logp, broken, top in zip(draws, *found, tops, strict=True):
        if broken:
            draw.failure = f"the model's logits are not numbers after {draw.length} tokens"
            continue
        draw.tokens.append(token)
        draw.logps.append(logp)
        if draw.sampling.top_logps:
            draw.top.append(tuple(top[: draw.sampling.top_logps]))
        if draw.ends(draw.tokens):
            draw.finish = Finish.STOP
        elif len(draw.tokens) >= draw.room:
            draw.finish = Finish.LENGTH


# --- trial ------------------------------------------------------------------------------------------------

_SHORT, _LONG = 5, 24
_FREE = 512  # tokens: a longer window is not tried
_LIKELIEST = 16
_ALLOWED = {torch.float64: 1e-3, torch.float32: 1e-3}
_ALLOWED_HALF = 0.25  # nats; positions or masks that are wrong cost more


def decoder(model: nn.Module) -> tuple[Decoder, str]:
    """The fastest way of drawing that gives what the model itself computes, and why it is none faster.

    Texts of several lengths, the longest beyond any window that is not too long to be tried, are read at
    once; and the same texts token by token, joined, dropped and joined again. The model is to be `asleep`.
    """
    texts = _texts(model)
    whole = Decoder(model, "anew")
    right = [whole.start(text)[0] for text in texts]
    allowed = _ALLOWED.get(next(model.parameters()).dtype, _ALLOWED_HALF)
    trials: tuple[tuple[Way, Callable[..., list[Tensor]]], ...] = (("together", _mixed), ("alone", _single))
    reasons: list[str] = []
    for way, trial in trials:
        tried = Decoder(model, way)
        try:
            apart = max(_apart(*pair) for pair in zip(trial(tried, texts), right, strict=True))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a cache that does not fit may raise is a reason, and is said
            reasons.append(f"not {way}: {type(error).__name__}: {error}")
            continue
        if apart <= allowed:
            return tried, "; ".join(reasons)
        reasons.append(f"not {way}: log-probabilities were off by {apart:.1e} nats, of {allowed:g} allowed")
    return whole, "; ".join(reasons)


def _texts(model: nn.Module) -> tuple[tuple[int, ...], ...]:
    """A long text and two short ones, of other lengths each."""
    bounds, window = limits(model), max((size for size in windows(model) if size <= _FREE), default=0)
    most = min((size for size in (bounds.positions, *bounds.thresholds) if size), default=1 << 20)
    long = min(most, max(_LONG, window + _SHORT))
    drawn = np.random.default_rng(0).integers(0, int(text_config(model).vocab_size), long + 2 * _SHORT)
    lengths = long, min(most, _SHORT + 1), min(most, _SHORT + 3)
    return tuple(tuple(drawn[: max(size, 3)].tolist()) for size in lengths)


def _mixed(decoder: Decoder, texts: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The logits behind three texts: the first two go together; where the first is over, the third comes
    in."""
    batch = _Batch(decoder)
    first, second, third = texts
    for text in (first, second[:-1]):
        batch.add([_forced(text)], _prefilled(decoder, text))
    found = [batch.step()[:1]]
    batch.draws[1].tokens.append(second[-1])
    batch.keep([False, True])
    batch.add([_forced(third)], _prefilled(decoder, third))
    return [*found, *batch.step().split(1)]


def _forced(text: tuple[int, ...]) -> Draw:
    """A draw that has said the last token of a text."""
    return Draw(text[:-1], Sampling(), np.random.default_rng(0), 1, lambda _: False, tokens=[text[-1]])


def _prefilled(decoder: Decoder, text: tuple[int, ...]) -> Any:
    """The cache of all of a text but its last token, if such can be joined."""
    ids = text[:-1]
    cache = decoder.start(ids[::-1], ids)[1]  # read with another of its length, as prompts are
    if not _joinable(cache):
        kinds = sorted({type(layer).__name__ for layer in getattr(cache, "layers", ())})
        raise TypeError(f"rows of a {type(cache).__name__} of {', '.join(kinds) or 'no known layers'}")
    cache.reorder_cache(torch.tensor([1], device=decoder.device))
    return cache


def _single(decoder: Decoder, texts: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The logits behind each text, its last token read alone."""
    found: list[Tensor] = []
    for text in texts:
        _, cache = decoder.start(text[:-1])
        mask = torch.ones(1, len(text), dtype=torch.long, device=decoder.device)
        found.append(decoder.step(text[-1:], mask, cache)[0])
    return found


def _apart(first: Tensor, second: Tensor) -> float:
    """How far the log-probabilities of the likeliest tokens are apart, in nats at most."""
    index = second.topk(min(_LIKELIEST, second.shape[-1])).indices
    off = first.log_softmax(-1).gather(-1, index) - second.log_softmax(-1).gather(-1, index)
    return float(off.abs().max().nan_to_num(torch.inf))
