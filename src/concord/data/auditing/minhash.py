"""Which texts say nearly the same: MinHash over pieces of five characters, found by bands.

Two texts are as alike as the sets of their pieces: J = |A and B| / |A or B|, after letters were joined with
their accents and made small, and white space single. A signature has 126 places; two texts agree at a place
with probability J, so that the share of places that agree estimates J with a standard deviation of
sqrt(J (1 - J) / 126): 0.036 at J = 0.8.
(One hash function whose range is cut into places, with empty places filled from others by an order that all
texts share: one permutation hashing with optimal densification, Shrivastava 2017.)

Pairs are looked for among texts that agree on all 6 places of one of 21 bands, and taken if their estimate
reaches the threshold. What becomes of a pair, by its true J, at a threshold of 0.8:

    J                      0.3    0.5    0.6    0.7    0.75   0.8    0.85   0.9    0.95
    looked at              0.02   0.28   0.63   0.93   0.98   1.00   1.00   1.00   1.00
    taken                  0.00   0.00   0.00   0.01   0.11   0.53   0.95   1.00   1.00

Signatures are 252 bytes a text and stand in a file; memory holds three numbers a text.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from concord.data.order import scrambled
from concord.durable import disk_message
from concord.errors import InputError

__all__ = [
    "BANDS",
    "PIECE",
    "PLACES",
    "ROWS_A_BAND",
    "Labels",
    "Signatures",
    "Sketch",
    "candidates",
    "cross_matches",
    "joined",
    "near_groups",
    "signatures",
    "similarity",
]

PLACES, BANDS, ROWS_A_BAND, PIECE = 126, 21, 6, 5
_EMPTY = np.uint32(0xFFFFFFFF)
_MULTIPLIER = np.uint64(0x100000001B3)
_BATCH_TEXTS, _BATCH_CHARACTERS = 1024, 1 << 19
_CHUNK = 1 << 15
# One place in 126 is found within as many at odds of 59 to 1; the rest goes by the next place.
_ATTEMPTS = 512

Labels = NDArray[np.int64]
Sketch = NDArray[np.uint16]


class Signatures:
    """The signatures of texts, in the order in which these were added, in a file.

    Texts are gathered and signed many at once; `finish` signs the last and gives all signatures.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("wb")
        self._waiting: list[str] = []
        self._characters = 0
        self.count = 0

    def add(self, text: str) -> int:
        """Add a text; its number comes back."""
        self._waiting.append(" ".join(normalize("NFC", text).lower().split()))
        self._characters += len(text)
        if len(self._waiting) >= _BATCH_TEXTS or self._characters >= _BATCH_CHARACTERS:
            self._flush()
        self.count += 1
        return self.count - 1

    def finish(self) -> Sketch:
        """All signatures, one a row, read from the file as they are needed."""
        self._flush()
        self._file.close()
        if not self.count:
            return np.zeros((0, PLACES), dtype=np.uint16)
        return np.memmap(self._path, dtype=np.uint16, mode="r", shape=(self.count, PLACES))

    def close(self) -> None:
        """Close the file, where `finish` was never reached."""
        self._file.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        try:
            self._file.write(signatures(self._waiting).tobytes())
            self._file.flush()
        except OSError as error:
            with suppress(OSError):  # what is left in its buffer fails once more
                self._file.close()
            doing = f"writing signatures to {self._path.parent} (under TMPDIR, where that is set)"
            raise InputError(disk_message(error, doing=doing, kept="the data are whole")) from error
        self._waiting, self._characters = [], 0


def signatures(texts: list[str]) -> Sketch:
    """The signatures of texts whose case and white space are settled already."""
    pieces, owner = _pieces(texts)
    place = ((pieces >> np.uint64(32)) * np.uint64(PLACES)) >> np.uint64(32)
    least = np.full(len(texts) * PLACES, _EMPTY, dtype=np.uint32)
    np.minimum.at(least, owner * PLACES + place.astype(np.int64), pieces.astype(np.uint32))
    return _filled(least.reshape(len(texts), PLACES)).astype(np.uint16)


def _pieces(texts: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all pieces of all texts, and whose each is. A text shorter than a piece is one by itself."""
    padded = [text if len(text) >= PIECE else text.ljust(PIECE, "\x00") for text in texts]
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    joined = "".join(padded).encode("utf-32-le", "surrogatepass")
    points = np.frombuffer(joined, dtype=np.uint32).astype(np.uint64)
    total = len(points) - PIECE + 1
    hashes = points[:total].copy()
    for shift in range(1, PIECE):
        hashes = hashes * _MULTIPLIER + points[shift : shift + total]
    hashes = scrambled(hashes)
    owner = np.repeat(np.arange(len(texts)), lengths)
    # A piece belongs to a text if it also ends in it.
    whole = owner[:total] == owner[PIECE - 1 :]
    return hashes[whole], owner[:total][whole]


def _orders() -> NDArray[np.int64]:
    """For each attempt and each empty place, which place it is filled from."""
    attempts = np.arange(_ATTEMPTS, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
    seeds = scrambled(attempts + np.arange(1, PLACES + 1, dtype=np.uint64)[None, :])
    return (((seeds >> np.uint64(32)) * np.uint64(PLACES)) >> np.uint64(32)).astype(np.int64)


_ORDERS = _orders()


def _filled(least: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Fill empty places from places that are not, in the order laid down."""
    text, place = np.nonzero(least == _EMPTY)
    filled = least.copy()
    for order in _ORDERS:
        if not len(text):
            return filled
        values = least[text, order[place]]
        found = values != _EMPTY
        filled[text[found], place[found]] = values[found]
        text, place = text[~found], place[~found]
    for one, where in zip(text, place, strict=True):
        given = np.flatnonzero(least[one] != _EMPTY)
        filled[one, where] = least[one, given[np.searchsorted(given, where) % len(given)]]
    return filled


# --- pairs ------------------------------------------------------------------------------------------------


def similarity(sketch: Sketch, first: Labels, second: Labels) -> NDArray[np.float64]:
    """The estimated J of pairs of texts, by their numbers."""
    result = np.empty(len(first))
    for start in range(0, len(first), _CHUNK):
        part = slice(start, start + _CHUNK)
        result[part] = (sketch[first[part]] == sketch[second[part]]).mean(axis=1)
    return result


def candidates(sketch: Sketch) -> Iterator[tuple[Labels, NDArray[np.bool_]]]:
    """For each band the texts in an order in which those that agree on it stand together.

    With the order comes, for each text of it, whether it begins a new run of such texts.
    """
    for band in range(BANDS):
        keys = np.empty(len(sketch), dtype=np.uint64)
        for start in range(0, len(sketch), _CHUNK):
            rows = sketch[start : start + _CHUNK, band * ROWS_A_BAND : (band + 1) * ROWS_A_BAND]
            keys[start : start + _CHUNK] = _band_key(rows)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        begins = np.ones(len(keys), dtype=np.bool_)
        begins[1:] = keys[1:] != keys[:-1]
        yield order, begins


def _band_key(rows: Sketch) -> NDArray[np.uint64]:
    key = np.zeros(len(rows), dtype=np.uint64)
    for column in range(rows.shape[1]):
        key = scrambled(key + rows[:, column] + np.uint64(1))
    return key


def near_groups(sketch: Sketch, *, threshold: float = 0.8) -> Labels:
    """For each text the smallest number of a text that it is linked to by pairs at the threshold or above.

    In a run of texts that agree on a band, each is held against its neighbours (64 before it in small data,
    8 in large) and against the first: what lies further apart is linked through those between, or in another
    band, or not at all.
    """
    labels = np.arange(len(sketch))
    reach = 64 if len(sketch) <= 20_000 else 8
    for order, begins in candidates(sketch):
        run = np.cumsum(begins) - 1
        leader = np.flatnonzero(begins)[run]
        for distance in range(1, reach + 1):
            later = np.flatnonzero(run[distance:] == run[:-distance]) + distance
            if not len(later):
                break
            labels = _linked(sketch, labels, order[later - distance], order[later], threshold)
        far = np.flatnonzero(np.arange(len(order)) - leader > reach)
        labels = _linked(sketch, labels, order[leader[far]], order[far], threshold)
    return labels


def _linked(sketch: Sketch, labels: Labels, first: Labels, second: Labels, threshold: float) -> Labels:
    """Join the groups of those pairs, not yet in one group, that are alike."""
    apart = labels[first] != labels[second]
    first, second = first[apart], second[apart]
    alike = similarity(sketch, first, second) >= threshold
    return joined(labels, first[alike], second[alike])


def joined(labels: Labels, first: Labels, second: Labels) -> Labels:
    """Group labels after the groups of each pair became one: the smallest of its members."""
    labels = labels.copy()
    while len(first):
        low = np.minimum(labels[first], labels[second])
        high = np.maximum(labels[first], labels[second])
        np.minimum.at(labels, high, low)
        while True:
            further = labels[labels]
            if np.array_equal(further, labels):
                break
            labels = further
        apart = labels[first] != labels[second]
        first, second = first[apart], second[apart]
    return labels


def cross_matches(
    sketch: Sketch, known: NDArray[np.bool_], *, threshold: float = 0.8, most: int = 16
) -> Labels:
    """For each text that is not known, a known one that it is near to; -1 where none was found.

    In a band, a text is held against at most `most` known ones.
    """
    match = np.full(len(sketch), -1)
    for order, begins in candidates(sketch):
        run = np.cumsum(begins) - 1
        # Known ones first within their run.
        order = order[np.lexsort((~known[order], run))]
        starts = np.flatnonzero(begins)
        count = np.bincount(run, weights=known[order]).astype(np.int64)
        asking = np.flatnonzero(~known[order])
        for offset in range(most):
            asking = asking[(count[run[asking]] > offset) & (match[order[asking]] < 0)]
            if not len(asking):
                break
            first, second = order[asking], order[starts[run[asking]] + offset]
            alike = similarity(sketch, first, second) >= threshold
            match[first[alike]] = second[alike]
    return match
