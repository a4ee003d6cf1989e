"""Token ids as text in which one can see what is learned from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Piece", "pieces"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, and whether it is learned from."""

    text: str
    trained: bool


def pieces(
    ids: Sequence[int], spans: Sequence[Sequence[int]], decode: Callable[[Sequence[int]], str]
) -> list[Piece]:
    """The text of ids in stretches that are learned from or not; together they are all of the text.

    Where a boundary falls between the bytes of one character, it belongs to the stretch it ends in.
    """
    whole = decode(ids)
    shown: list[Piece] = []
    done = 0
    for stop, trained in _stretches(len(ids), spans):
        end = len(whole) if stop == len(ids) else max(done, _agreed(decode(ids[:stop]), whole))
        if end > done:
            shown.append(Piece(whole[done:end], trained))
        done = end
    return shown


def _stretches(length: int, spans: Sequence[Sequence[int]]) -> Iterator[tuple[int, bool]]:
    """Where each stretch stops, and whether it is learned from."""
    done = 0
    for start, stop in spans:
        if start > done:
            yield start, False
        if stop > start:
            yield stop, True
        done = stop
    if length > done:
        yield length, False


def _agreed(part: str, whole: str) -> int:
    """How many characters two texts have in common at their beginning."""
    if whole.startswith(part):
        return len(part)
    return next((at for at, (a, b) in enumerate(zip(part, whole, strict=False)) if a != b), len(whole))
