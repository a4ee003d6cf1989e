"""Keyed shuffles: orders of rows with no state to lose.

    subseed(seed, "epoch", 3)     a seed of its own for each thing that is to be shuffled
    permuted(i, size, seed)       where position i of a shuffle leads, without a table
    row_at(position, size, seed)  the row at a position of an endless run, shuffled anew every epoch

Pure functions of whole numbers: the same on every platform and Python, at random access. So a run
resumes from its cursor alone, and ranks agree without speaking to each other.
"""

import math
from functools import lru_cache
from typing import Any, TypeAlias, cast, overload

import numpy as np

from concord import store
from concord.errors import InputError, Said, explain
from concord.messages import is_count

__all__ = ["Integers", "check_count", "permuted", "row_at", "scrambled", "subseed", "walked"]

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
"""Whole numbers, as an array."""

_Words: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]

_ALL = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
# Rounds over both halves. With fewer, some of the permutations of five or six positions come out more often.
_ROUNDS = 8
_LARGEST = 1 << 62
_BLOCK = 1 << 14  # positions worked on at a time, so that they stay in the processor's cache


def subseed(seed: int, *parts: int | str) -> int:
    """A seed for one purpose: a hash of a seed and of what tells this purpose from the others."""
    _check_seed(seed)
    return int(store.key("seed", seed, *parts)[:16], 16)


@overload
def permuted(index: int, size: int, seed: int) -> int: ...
@overload
def permuted(index: Integers, size: int, seed: int) -> Integers: ...
def permuted(index: int | Integers, size: int, seed: int) -> int | Integers:
    """Where a position leads in the shuffle of `size` positions that `seed` names.

    One to one on the positions from 0 to size - 1, of which an array may be given as well. No table is
    made: the position is scrambled in place (a Feistel network over two digits whose bases multiply to
    hardly more than `size`), again where it lands outside.
    """
    check_count(size, "the number of positions to shuffle")
    _check_seed(seed)
    if not isinstance(index, np.ndarray):
        return int(_permuted(_positions(np.array([index]), size), size, seed)[0])
    return _permuted(_positions(index, size), size, seed)


@overload
def row_at(position: int, size: int, seed: int) -> int: ...
@overload
def row_at(position: Integers, size: int, seed: int) -> Integers: ...
def row_at(position: int | Integers, size: int, seed: int) -> int | Integers:
    """The row at a position of an endless run over `size` rows.

    Each epoch (`position // size`) goes through every row once, in a shuffle of its own: the shuffle of
    epoch e is that of `subseed(seed, "epoch", e)`.
    """
    check_count(size, "the number of rows")
    if not isinstance(position, np.ndarray):
        return int(walked(_positions(np.array([position]), _LARGEST), size, seed, "epoch")[0])
    return walked(_positions(position, _LARGEST), size, seed, "epoch")


def walked(positions: Integers, size: int, seed: int, *parts: str) -> Integers:
    """Rows at positions of an endless walk whose passes are shuffled each by a seed of their own."""
    passes, within = np.divmod(positions, size)
    rows = np.empty_like(positions)
    for number in np.unique(passes):
        here = passes == number
        rows[here] = _permuted(within[here], size, subseed(seed, *parts, int(number)))
    return rows


def _permuted(positions: Integers, size: int, seed: int) -> Integers:
    rows = np.empty(positions.size, np.int64)
    flat = positions.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        rows[start : start + _BLOCK] = _shuffled(flat[start : start + _BLOCK], size, seed)
    return cast(Integers, rows.reshape(positions.shape))


def _shuffled(positions: Integers, size: int, seed: int) -> Integers:
    high = math.isqrt(size - 1) + 1
    low = -(-size // high)
    keys = _keys(seed)
    values = positions.astype(np.uint64)
    astray = np.arange(values.size)
    while astray.size:
        left, right = np.divmod(values[astray], np.uint64(low))
        for first, second in keys:
            left += _digit(right ^ first, high)
            left -= np.uint64(high) * (left >= high)
            right += _digit(left ^ second, low)
            right -= np.uint64(low) * (right >= low)
        landed = left * np.uint64(low) + right
        values[astray] = landed
        astray = astray[landed >= size]
    return values.astype(np.int64)


@lru_cache(maxsize=64)
def _keys(seed: int) -> tuple[tuple[np.uint64, np.uint64], ...]:
    """The keys of the rounds."""
    numbers = ((seed + _GOLDEN * count) & _ALL for count in range(1, 2 * _ROUNDS + 1))
    keys = [scrambled(np.array([number], np.uint64))[0] for number in numbers]
    return tuple(zip(keys[::2], keys[1::2], strict=True))


def _digit(values: _Words, base: int) -> _Words:
    """A digit below `base` for each value, drawn by hashing it; the base has at most 32 bits."""
    return ((scrambled(values) >> np.uint64(32)) * np.uint64(base)) >> np.uint64(32)


def scrambled(values: _Words) -> _Words:
    """Hash 64 bits to 64 bits, one to one (the finisher of SplitMix64); products wrap around."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


def _positions(index: np.ndarray[Any, Any], size: int) -> Integers:
    if index.dtype.kind not in "iu":
        wrong, do = "a position is not a whole number", "count positions from 0"
        raise InputError(explain(wrong, found=Said(f"{index.dtype} values"), accepted="integers", do=do))
    if index.size and (int(index.min()) < 0 or int(index.max()) >= size):
        odd = int(index.min()) if int(index.min()) < 0 else int(index.max())
        wrong, do = "a position is outside of what is shuffled", "count positions from 0"
        raise InputError(explain(wrong, found=odd, accepted=f"0 to {size - 1}", do=do))
    return index.astype(np.int64)


def _check_seed(seed: object) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool):
        wrong, do = "a seed is not a whole number", "give one such as 0"
        raise InputError(explain(wrong, found=seed, accepted="any whole number", do=do))


def check_count(value: object, name: str, *, least: int = 1) -> None:
    """Refuse what is not a whole number in the range of counts; `name` says what it counts."""
    if not is_count(value, least) or cast(int, value) > _LARGEST:
        wrong, accepted = f"{name} is not a count", f"a whole number from {least} to 2**62"
        raise InputError(explain(wrong, found=value, accepted=accepted, do="give such a number"))
