"""Text to token ids, many at once, each stretch of text once.

Tokenizers first cut a text at its special tokens and then treat each stretch alone. So stretches that recur
(system prompts, headers, the prompt of a pair) need be encoded once. Whether a tokenizer really does so is
tried on probe texts when an encoder is made; where it does not, whole texts are encoded.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Encoder", "squeezed"]

_ANCHORS = ("\n", "a", ".", "1")
_PROBES = (
    "{0}user\n\n  two  blanks\n{1}\n\n{0} it's 12345 {1}",
    "a{0}b{1}{0}c\u00e9\U0001f600d {1} \u4e2d\u6587",
    " {0}\t{1}\nx\n\n\n{1} ",
)
_BLANK = re.compile(r"\s+")


def squeezed(text: str) -> str:
    """A text without its blanks, in one Unicode form."""
    text = text.replace("\u2581", "")
    return _BLANK.sub("", text if text.isascii() else unicodedata.normalize("NFKC", text))


class Encoder:
    """A tokenizer of transformers, seen as two functions: texts to ids, and ids to texts.

    Special tokens are never added, but those that are written in a text are read as such, as generation does.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
        added: Mapping[int, Any] = tokenizer.added_tokens_decoder
        self.specials = {str(token.content): number for number, token in added.items()}
        self.control = {str(token.content) for token in added.values() if token.special}
        # These are found in a text after it was normalised, and so in one that only then says them.
        late = {str(token.content) for token in added.values() if token.normalized}
        self._normalizer: Any = getattr(self._backend, "normalizer", None)
        self._reads_late = self._normalizer is not None and not late.isdisjoint(self.control)
        self.control |= {self.normal(text) for text in late & self.control}
        first = sorted(
            (str(token.content) for token in added.values() if not token.normalized and token.content),
            key=len,
            reverse=True,
        )
        loose = {str(t.content) for t in added.values() if t.lstrip or t.rstrip or t.single_word}
        self._cuts = {text: self.specials[text] for text in first if text not in loose}
        self._found = re.compile("|".join(map(re.escape, first))) if self._backend and self._cuts else None
        # Some treat the first stretch of a text unlike the others; these are then encoded after a token.
        self._after = ""
        self._found = self._trusted(self._found)
        self.prefix = self._own_prefix()

    @property
    def content(self) -> str:
        """All that decides what this tokenizer does, as text."""
        if self._backend is not None:
            return str(self._backend.to_str())
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return f"{type(self.tokenizer).__qualname__} {vocabulary!r} {sorted(self.specials.items())!r}"

    def encode(self, text: str) -> list[int]:
        """The ids of one text."""
        return self.encode_all([text])[text]

    def encode_all(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """The ids of each text."""
        unique = dict.fromkeys(texts)
        if self._found is None:
            return dict(zip(unique, self._raw(list(unique)), strict=True))
        pieces = {text: self._stretches(text) for text in unique}
        stretches = dict.fromkeys(one for cut in pieces.values() for one in cut if isinstance(one, str))
        known = dict(zip(stretches, self._raw(list(stretches)), strict=True))
        skip = 1 if self._after else 0
        encoded: dict[str, list[int]] = {}
        for text, cut in pieces.items():
            ids: list[int] = []
            for at, piece in enumerate(cut):
                if isinstance(piece, int):
                    ids.append(piece)
                else:
                    ids += known[piece][skip:] if at else known[piece]
            encoded[text] = ids
        return encoded

    def decode_all(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of rows of ids, special tokens written out."""
        if self._backend is not None:
            return list(self._backend.decode_batch(rows, skip_special_tokens=False))
        given = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return [str(self.tokenizer.decode(list(row), **given)) for row in rows]

    def continuing(self, texts: Iterable[str]) -> dict[str, list[int] | None]:
        """The ids of texts that follow others; None where no way is found to write one.

        Some tokenizers put a blank before what they take for the beginning of a text. So a text is encoded
        behind some other one, whose ids are then taken off.
        """
        found: dict[str, list[int] | None] = dict.fromkeys(texts)
        for anchor in (*_ANCHORS, ""):
            left = [text for text, ids in found.items() if ids is None]
            if not left:
                break
            encoded = self.encode_all([anchor, *(anchor + text for text in left)])
            head = encoded[anchor]
            decoded = self.decode_all([encoded[anchor + text] for text in left])
            for text, reads in zip(left, decoded, strict=True):
                whole = encoded[anchor + text]
                if whole[: len(head)] == head and self.same(reads, anchor + text):
                    found[text] = whole[len(head) :]
        return found

    def same(self, decoded: str, text: str) -> bool:
        """Whether a decoded text is the text, but for what the tokenizer itself changes in every text."""
        if decoded == text:
            return True
        squeezed_text = squeezed(text)
        if squeezed(decoded) == squeezed_text:
            return True
        return self._normalizer is not None and squeezed(decoded) == squeezed(
            "".join(
                piece if piece in self.specials else str(self._normalizer.normalize_str(piece))
                for piece in self._found_pieces(text)
            )
        )

    def normal(self, text: str) -> str:
        """A text as control tokens are looked for in it."""
        return str(self._normalizer.normalize_str(text)) if self._reads_late else text

    def _found_pieces(self, text: str) -> list[str]:
        if not self.specials:
            return [text]
        ordered = sorted(self.specials, key=len, reverse=True)
        return re.split(f"({'|'.join(map(re.escape, ordered))})", text)

    def _raw(self, texts: list[str]) -> list[list[int]]:
        """The ids of whole texts, by the tokenizer itself."""
        if self._backend is not None:
            encoded: list[Any] = self._backend.encode_batch_fast(texts, add_special_tokens=False)
            return [list(one.ids) for one in encoded]
        return [list(self.tokenizer(one, add_special_tokens=False)["input_ids"]) for one in texts]

    def _stretches(self, text: str) -> list[str | int]:
        """A text cut at its special tokens: their ids, and the stretches between."""
        assert self._found is not None
        cut: list[str | int] = []
        done = 0
        for match in self._found.finditer(text):
            number = self._cuts.get(match.group())
            if number is None:
                continue
            if match.start() > done:
                cut.append((self._after if cut else "") + text[done : match.start()])
            cut.append(number)
            done = match.end()
        if done < len(text):
            cut.append((self._after if cut else "") + text[done:])
        return cut

    def _trusted(self, found: re.Pattern[str] | None) -> re.Pattern[str] | None:
        """The pattern, if cutting by it gives the ids of whole texts; else None."""
        if found is None:
            return None
        self._found = found
        tokens = list(self._cuts)
        probes = [
            probe.format(tokens[0], tokens[-1])
            for probe in (*_PROBES, *(p.replace("\n", " ") for p in _PROBES))
        ]
        whole = self._raw(probes)
        for self._after in ("", tokens[0]):
            encoded = self.encode_all(probes)
            if [encoded[probe] for probe in probes] == whole:
                return found
        self._after = ""
        return None

    def _own_prefix(self) -> list[int]:
        """The ids that the tokenizer puts before any text of its own accord."""
        bare = list(self.tokenizer("a", add_special_tokens=False)["input_ids"])
        full = list(self.tokenizer("a")["input_ids"])
        starts = range(len(full) - len(bare) + 1)
        at = next((at for at in starts if full[at : at + len(bare)] == bare), 0)
        return full[:at]
