"""Classifiers of whole texts as feedback, whatever their architecture: encoders too, and of several labels.

    reward = load_reward("path/to/encoder-reward-model")
    toxic = load_reward("path/to/classifier", reading=LabelSettings(label="toxic", reads="reply"))

A classifier of one label gives its raw number, as a reward model does. One of several gives the probability
of the label that was named: by softmax, or by sigmoid where its files say that labels do not exclude each
other; or its raw number, where they say that it is a regression. `Score.parts` has all labels. Only texts of
one length go through the model together, so nothing is padded, and a score does not depend on what is scored
beside it.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from concord.engine.generation import resting
from concord.engine.loading import explained
from concord.engine.model import text_config
from concord.engine.precision import hashed, identify
from concord.engine.reference import BUDGET
from concord.engine.switch import kernel
from concord.errors import InputError, Said, explain, nearest
from concord.render import Renderer, RenderSettings, Unrendered
from concord.render.encoder import Encoder
from concord.render.loading import sane_length
from concord.store import Store, key
from concord.types import Item, Message, Rate, Score, Text, Turns, Unscored, Usage

__all__ = ["FORMAT", "Classifier", "LabelSettings", "Reads"]

FORMAT = 1
"""Counts the changes after which the same reply gets another score; part of the `id` of each model."""

Reads: TypeAlias = Literal["", "chat", "pair", "reply"]
"""The conversation by the chat template; prompt and reply as the two texts of a pair; the reply alone. Empty:
by the template where the tokenizer has one, else as a pair."""

_NUMBER = np.dtype("<f4")
_Numbers: TypeAlias = NDArray[np.float32]
_Tokens: TypeAlias = Mapping[str, list[int]]
"""The columns that a tokenizer makes of a text: ids, and whatever else its model takes."""


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Which label is the score, by its name or its number, and what of a conversation is read.

    probability: refuse a model whose numbers are no probabilities
    """

    label: str = ""
    reads: Reads = ""
    probability: bool = False

    def __post_init__(self) -> None:
        if self.reads not in get_args(Reads):
            wrong, accepted = "a classifier does not read so", nearest(self.reads, get_args(Reads)[1:])
            do = "name one of these, or leave it out"
            raise InputError(explain(wrong, found=self.reads, accepted=accepted, do=do))


class Classifier:
    """A sequence classifier of transformers as `concord.types.Feedback`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        store: Store | None = None,
        *,
        reading: LabelSettings | None = None,
        settings: RenderSettings | None = None,
    ) -> None:
        """`settings`: how conversations are rendered, where the template is what is read."""
        self.model, self.tokenizer, self.store = model, tokenizer, store
        self.reading = reading or LabelSettings()
        names: Mapping[int, str] = model.config.id2label
        self.labels = tuple(str(names[number]) for number in sorted(names))
        self._place = _place(self.labels, self.reading.label)
        self._scale = _scale(model.config)
        if self.reading.probability and self._scale == "raw":
            wrong, do = "the classifier gives no probabilities", "name one that does"
            accepted = "several labels, or one that its files call multi_label_classification"
            found = Said(f"{len(self.labels)} label, or a regression")
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        chat = bool(getattr(tokenizer, "chat_template", None))
        self.reads: Reads = self.reading.reads or ("chat" if chat else "pair")
        self._renderer = Renderer(tokenizer, settings=settings) if self.reads == "chat" else None
        if self.reads == "pair" and not _tells_apart(tokenizer):
            wrong = "the classifier cannot tell a reply from its prompt"
            found = Said("a tokenizer without a mark between two texts")
            accepted = "one that has such a mark, or a chat template"
            do = 'read replies alone, by reads="reply", or give the tokenizer its template'
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        self._longest = _longest(model, tokenizer)

    @cached_property
    def _weights(self) -> str:
        """The hash of the model: to read every weight takes long, and they do not move."""
        return hashed(self.model)

    @property
    def _known(self) -> int:
        """How many tokens the model knows."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def _alone(self) -> bool:
        """Whether texts go through the model one by one: causal models without a padding token want it so."""
        return getattr(text_config(self.model), "pad_token_id", None) is None

    @cached_property
    def id(self) -> str:
        """The hash of weights, tokenizer and settings. The first look reads every weight."""
        reads = self._renderer.id if self._renderer else Encoder(self.tokenizer).content
        columns = list(self.tokenizer.model_input_names)
        parts = (self._weights, reads, columns, self.reads, self._place)
        return f"label-{key('label', FORMAT, *parts)[:32]}"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Score all replies of all rates together, in order."""
        texts = list(self._texts([(rate, turns) for rate in rates for turns in rate.replies]))
        said = iter(self._said([one for one in texts if not isinstance(one, str)]))
        every = iter([Unscored(one) if isinstance(one, str) else self._score(*next(said)) for one in texts])
        return [tuple(next(every) for _ in rate.replies) for rate in rates]

    # --- what is read -------------------------------------------------------------------------------------

    def _texts(self, asked: Sequence[tuple[Rate, Turns]]) -> Iterator[_Tokens | str]:
        """What the model sees of each reply, or why it sees nothing."""
        for rate, turns in asked:
            try:
                seen = self._seen(rate, turns)
            except InputError as error:
                yield str(error)
                continue
            ids = seen["input_ids"]
            if not ids or max(ids) >= self._known:
                wrong = "the classifier cannot read this text"
                found = Said(f"the token {max(ids)}" if ids else "no token")
                accepted, do = (
                    f"tokens below {self._known}, at least one",
                    "give it the tokenizer it came with",
                )
                yield explain(wrong, found=found, accepted=accepted, do=do)
                continue
            if (many := len(ids)) > self._longest:
                wrong, do = "the text is longer than the classifier reads", "score shorter replies"
                accepted = f"at most {self._longest} tokens"
                yield explain(wrong, found=Said(f"{many} tokens"), accepted=accepted, do=do)
            else:
                yield seen

    def _seen(self, rate: Rate, turns: Turns) -> _Tokens:
        prompt = () if rate.prompt.tokens is not None or self.reads == "reply" else rate.prompt.messages
        every = (*prompt, *turns)
        odd: list[object] = [part for turn in every for part in turn.parts if not isinstance(part, Text)]
        if self.reads != "chat":  # a template has a place for them
            odd += [call for turn in every for call in turn.tool_calls]
            odd += [Said("thinking") for turn in every if turn.reasoning]
            odd += [] if turns else [Said("a reply of no turns")]
        if odd or (rate.prompt.tokens is not None and self.reads == "pair"):
            wrong, accepted = "a classifier of text reads text alone", "messages of text"
            first = odd[0] if odd else Said("a prompt of tokens")
            found = first if isinstance(first, Said) else Said(type(first).__name__)
            do = "ask a feedback that can see or hear" if odd else "give the prompt as messages"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if self._renderer is not None:
            (row,) = self._renderer.render([Item(rate.prompt, (turns,))])
            if isinstance(row, Unrendered):
                raise row.error
            return {"input_ids": row.replies[0][-1].ids.tolist()}
        reply = _text(turns)
        # What somebody wrote cannot stand for a mark of the tokenizer, such as the one between two texts.
        how = {"truncation": False, "verbose": False, "split_special_tokens": True}
        # As rows of one: of a single pair, an empty second text would be none.
        given = ([reply],) if self.reads == "reply" else ([_text(rate.prompt.messages)], [reply])
        made: Mapping[str, list[list[int]]] = self.tokenizer(*given, **how)
        return {name: rows[0] for name, rows in made.items() if name != "attention_mask"}

    # --- what the model says ------------------------------------------------------------------------------

    def _said(self, texts: Sequence[_Tokens]) -> list[tuple[_Numbers, Usage]]:
        """The model's numbers for each text, one a label, and what that cost now."""
        how = {"layout": "rows", "kernel": str(kernel(self.model)), "head": "labels"}
        name = identify(self.model, **how, weights=self._weights).key
        keys = [key("labels", name, sorted(one.items())) for one in texts]
        by_key = dict(zip(keys, texts, strict=True))
        held = {} if self.store is None else self.store.get_many(by_key)
        size = len(self.labels) * _NUMBER.itemsize
        found = {one: np.frombuffer(value, _NUMBER) for one, value in held.items() if len(value) == size}
        missing = {one: text for one, text in by_key.items() if one not in found}
        costs = {one: Usage(calls=1, prompt_tokens=len(text["input_ids"])) for one, text in missing.items()}
        with resting(self.model):
            for batch in _alike(missing, alone=self._alone):
                made = dict(zip(batch, self._together([missing[one] for one in batch]), strict=True))
                if self.store is not None:
                    self.store.put_many({one: numbers.tobytes() for one, numbers in made.items()})
                found |= made
        return [(found[one], costs.pop(one, Usage())) for one in keys]

    def _together(self, texts: Sequence[_Tokens]) -> list[_Numbers]:
        """What the model says of texts of one length."""
        device = next(self.model.parameters()).device
        given = {name: torch.tensor([one[name] for one in texts], device=device) for name in texts[0]}
        with explained("the classifier could not read its texts", self.model.config.name_or_path):
            logits = self.model(**given).logits
        return list(logits.float().cpu().numpy().astype(_NUMBER))

    def _score(self, numbers: _Numbers, usage: Usage) -> Score | Unscored:
        logits = torch.from_numpy(numbers.astype(np.float64))
        if not bool(logits.isfinite().all()):
            return Unscored("the classifier's number is not a number", usage=usage)
        made = {"sigmoid": logits.sigmoid(), "softmax": logits.softmax(0), "raw": logits}
        values = made[self._scale].tolist()
        names = self.labels if len({*self.labels}) == len(self.labels) else map(str, range(len(values)))
        parts = dict(zip(names, values, strict=True)) if len(values) > 1 else {}
        return Score(values[self._place], parts=parts, usage=usage)


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(one.text for one in messages)


def _place(labels: Sequence[str], named: str) -> int:
    """Which of the labels is meant."""
    if not named and len(labels) == 1:
        return 0
    if labels.count(named) == 1:
        return labels.index(named)
    if named.isdecimal() and int(named) < len(labels):
        return int(named)
    wrong = "the classifier has no such label" if named else "the classifier has several labels"
    wrong = f"{labels.count(named)} labels have this name" if named in labels else wrong
    do = "name the label whose probability is the score"
    raise InputError(
        explain(wrong, found=named or Said(str(len(labels))), accepted=nearest(named, labels), do=do)
    )


def _tells_apart(tokenizer: Any) -> bool:
    """Whether a pair has a mark more than a text alone: the one between its two texts."""
    alone, both = (int(tokenizer.num_special_tokens_to_add(pair=pair)) for pair in (False, True))
    return both > alone


def _scale(config: Any) -> Literal["sigmoid", "softmax", "raw"]:
    """What makes scores of the model's numbers, as its files say."""
    kind = config.problem_type
    if kind == "multi_label_classification":
        return "sigmoid"
    return "raw" if kind == "regression" or config.num_labels == 1 else "softmax"


def _longest(model: Any, tokenizer: Any) -> int:
    """How many tokens the model reads: what its tokenizer says, and no more than it has positions for."""
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    for name, part in model.named_modules():
        # Where padding has a position of its own, those of tokens begin behind it.
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            positions -= int(part.padding_idx) + 1
    known = [one for one in (positions, sane_length(tokenizer)) if one and one > 0]
    return min(known, default=sys.maxsize)


def _alike(texts: Mapping[str, _Tokens], *, alone: bool) -> Iterator[list[str]]:
    """Texts that go through the model together: of one length, and no more tokens than the budget."""
    by_length: dict[int, list[str]] = {}
    for name, text in texts.items():
        by_length.setdefault(len(text["input_ids"]), []).append(name)
    for length, names in sorted(by_length.items(), reverse=True):
        many = 1 if alone else max(1, BUDGET // max(1, length))
        yield from (names[at : at + many] for at in range(0, len(names), many))
