"""Local weights as a policy: asks in, replies with their tokens and log-probabilities out.

Tokens decide and text is for display: a prompt becomes ids once, what is drawn is ids, and the text of a
reply is what these read as behind the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_

from torch import nn

from concord.engine.generation import Decoder, Draw, asleep, decoder, generate, resting
from concord.engine.guards import limits
from concord.engine.logprobs import LogProbs
from concord.engine.model import text_config
from concord.engine.sampling import chance
from concord.engine.scoring import Weighed, weigh
from concord.engine.voice import Voice, opening_blanks, piece
from concord.errors import NOTHING, InputError, Said, explain
from concord.messages import is_count
from concord.render import Rendered, Renderer, Unrendered
from concord.store import key
from concord.types import Ask, Capability, Item, Message, Reply, Text, Turns, Unanswered, Usage

__all__ = ["FORMAT", "LocalPolicy"]

FORMAT = 2
"""Counts the changes after which the same ask draws other replies; part of `LocalPolicy.id`."""


class LocalPolicy:
    """A causal language model with its renderer, as `concord.types.Policy`: it can be asked for everything.

    What is drawn ends on a stop token of the renderer, on a stop string, at `max_tokens` or where the context
    does. A stop token is the last of `Reply.tokens`, since the model said it, and is not in the text. A stop
    string is cut off the text, and the tokens that say no more than it are left out, with their
    log-probabilities; where it begins inside a token, that one stays whole. `Usage.new_tokens` counts all.

    `logps` are under the distribution that was drawn from, so those of greedy replies (temperature 0) are
    zeros; `top` is the model's own. Given replies go through `LogProbs`, within its limits.

    With a seed, draws depend on it, the prompt and their number; without one, on torch's global generator.
    Logits, activations and gradients are had from `engine` and `model` themselves.
    """

    def __init__(
        self, engine: LogProbs, renderer: Renderer, *, rows: int = 64, context: int | None = None
    ) -> None:
        """Take an engine as it is. `rows`: how many replies are drawn at a time, at most. `context`: the
        longest text of prompt and reply, where the model names none, or a shorter one will do."""
        if not is_count(rows, 1):
            wrong, do = "a policy draws no replies at a time", "leave rows out, or lower them to 1 at least"
            raise InputError(explain(wrong, found=rows, accepted="1 or more", do=do))
        known = limits(engine.model).positions or renderer.facts.longest
        if context is not None and not (is_count(context, 2) and context <= (known or context)):
            wrong, accepted = "the context of a policy is out of range", f"2 to {known or 'any length'}"
            raise InputError(explain(wrong, found=context, accepted=accepted, do="leave it out"))
        self.engine = engine
        self.renderer = renderer
        self.rows = rows
        self.context = context or known
        """The longest text of prompt and reply; None where nothing is known of it."""
        self._bound = context

    @property
    def model(self) -> nn.Module:
        """The model that answers."""
        return self.engine.model

    @cached_property
    def id(self) -> str:
        """The hash of the weights in their precision, of adapters, of the renderer, and of a context that was
        given. The first look reads every weight, and is remembered: of weights that were trained on, make
        another policy."""
        parts = (self.engine.identity.weights, self.renderer.id, self._bound)
        return f"local-{key('local', FORMAT, *parts)[:32]}"

    @property
    def capabilities(self) -> Capability:
        """All there are."""
        return reduce(or_, Capability)

    @property
    def drawing(self) -> str:
        """How replies are drawn, and why not faster: found out by a trial, once."""
        tool, reason = self._decoder
        ways = {
            "together": f"up to {self.rows} at a time",
            "alone": "one by one",
            "anew": "one by one, all tokens read again for each",
        }
        return f"replies are drawn {ways[tool.way]}" + (f" ({reason})" if reason else "")

    @cached_property
    def _decoder(self) -> tuple[Decoder, str]:
        with asleep(self.model):
            return decoder(self.model)

    @cached_property
    def _blanks(self) -> int:
        return opening_blanks(self.renderer)

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        """Answer all asks, in order; draws of all of them go in one batch, and so do given replies."""
        drawn = [self._begun(ask) for ask in asks if not ask.given]
        if draws := [draw for one in drawn for draw in one.draws]:
            tool = self._decoder[0]
            with asleep(self.model):
                generate(tool, draws, rows=self.rows)
        scored = self._scored([ask for ask in asks if ask.given])
        first, second = iter(drawn), iter(scored)
        return [next(second) if ask.given else self._drawn(next(first)) for ask in asks]

    # --- drawn replies ------------------------------------------------------------------------------------

    def _begun(self, ask: Ask) -> "_Begun":
        """An ask with its draws, or with the reason why there are none."""
        try:
            if ask.prompt.tokens is None:
                _check_text(ask.messages)
            ids = tuple(self.renderer.prompt(ask.prompt).tolist())
            self._check_ids(ids)
            room = self._room(ask, len(ids))
        except InputError as error:
            return _Begun(ask, reason=str(error))
        said = self._voice(ask, ids)
        chances = [chance(ask.sampling, ids, number) for number in range(ask.n)]
        return _Begun(ask, ids, said, [Draw(ids, ask.sampling, one, room, said.ends) for one in chances])

    def _voice(self, ask: Ask, ids: tuple[int, ...]) -> Voice:
        """How replies to an ask read; blanks of the template come only before a turn that begins."""
        prompt, plain = ask.prompt, self.renderer.settings.plain
        continues = bool(prompt.messages) and prompt.messages[-1].role == "assistant"
        begins = prompt.tokens is None and not (prompt.plain or plain or continues)
        return Voice.behind(self.renderer, ids, ask.sampling.stop, blanks=self._blanks if begins else 0)

    def _room(self, ask: Ask, length: int) -> int:
        """How many tokens a reply may have."""
        if not length:
            wrong, accepted = "a prompt without any token", "at least one token to go on from"
            do = "say something, or use a tokenizer that begins texts with a token"
            raise InputError(explain(wrong, found=NOTHING, accepted=accepted, do=do))
        bounds = ask.sampling.max_tokens, None if self.context is None else self.context - length
        known = [bound for bound in bounds if bound is not None]
        if not known:
            wrong = "a reply without an end: neither the ask nor the model says how long it may be"
            accepted, do = "max_tokens in the sampling, or the context of the policy", "give one of them"
            raise InputError(explain(wrong, found=Said("no bound"), accepted=accepted, do=do))
        if min(known) < 1:
            wrong, found = "the prompt leaves no room for a reply", Said(f"{length} tokens")
            accepted = f"{(self.context or 0) - 1} tokens at most"
            raise InputError(explain(wrong, found=found, accepted=accepted, do="shorten the prompt"))
        return min(known)

    def _drawn(self, begun: "_Begun") -> tuple[Reply | Unanswered, ...]:
        """The answer to an ask whose draws are over."""
        ask, said = begun.ask, begun.voice
        if said is None:
            return tuple(Unanswered(begun.reason, usage=_opening(0, number)) for number in range(ask.n))
        answer: list[Reply | Unanswered] = []
        for number, draw in enumerate(begun.draws):
            usage = _opening(len(begun.ids), number) + Usage(new_tokens=len(draw.tokens))
            if draw.finish is None:
                answer.append(Unanswered(draw.failure, usage=usage))
                continue
            text, count = said.cut(draw.tokens)
            reply = Reply(
                Message("assistant", text),
                finish=draw.finish,
                tokens=tuple(draw.tokens[:count]),
                logps=tuple(draw.logps[:count]),
                top=self._named(draw.top[:count], ask),
                prompt_tokens=begun.ids,
                usage=usage,
            )
            answer.append(reply)
        return tuple(answer)

    # --- given replies ------------------------------------------------------------------------------------

    def _scored(self, asks: Sequence[Ask]) -> list[tuple[Reply | Unanswered, ...]]:
        """What the model makes of given replies, ask by ask."""
        pairs = [(ask, turns) for ask in asks for turns in ask.given]
        items = self.renderer.render(Item(ask.prompt, (turns,)) for ask, turns in pairs)
        rendered = [self._checked(one, *pair) for one, pair in zip(items, pairs, strict=True)]
        count = max((ask.sampling.top_logps for ask in asks), default=0)
        with resting(self.model):
            weighed = weigh(self.engine, rendered, count=count)
        found = iter(zip(rendered, weighed, strict=True))
        return [
            tuple(self._reply(ask, turns, *next(found), number) for number, turns in enumerate(ask.given))
            for ask in asks
        ]

    def _checked(self, one: Rendered | Unrendered, ask: Ask, turns: Turns) -> Rendered | str:
        """The tokens of a given reply behind its prompt, or why it has none."""
        try:
            _check_text((*ask.messages, *turns) if ask.prompt.tokens is None else turns)
            if isinstance(one, Rendered):
                self._check_ids([token for leaf in one.replies[0] for token in leaf.ids.tolist()])
                return one
        except InputError as error:
            return str(error)
        return str(one.error)

    def _reply(
        self, ask: Ask, turns: Turns, rendered: Rendered | str, weighed: Weighed | str, number: int
    ) -> Reply | Unanswered:
        """The answer to one given reply."""
        prompt = rendered.prompt.tolist() if isinstance(rendered, Rendered) else []
        usage = _opening(len(prompt), number)
        if isinstance(rendered, str) or isinstance(weighed, str):
            return Unanswered(str(weighed), usage=usage)
        leaf, *others = rendered.replies[0]
        # Only where nothing stands between the prompt and what is learned, nor inside that.
        whole = not others and leaf.spans.tolist() == [[len(prompt), len(leaf.ids)]]
        return Reply(
            turns[-1],
            tokens=tuple(weighed.tokens),
            logps=tuple(weighed.logps),
            top=self._named(weighed.top, ask),
            prompt_tokens=tuple(prompt) if whole else None,
            usage=usage,
        )

    # --- both ---------------------------------------------------------------------------------------------

    def _check_ids(self, ids: Sequence[int]) -> None:
        """Refuse ids that the model has no embedding for."""
        size = int(text_config(self.model).vocab_size)
        if ids and max(ids) >= size:
            wrong, found = "the tokenizer has a token that the model does not know", max(ids)
            do = "use the model's own tokenizer, or resize its embeddings"
            raise InputError(explain(wrong, found=found, accepted=f"ids from 0 to {size - 1}", do=do))

    def _named(
        self, top: Sequence[Sequence[tuple[int, float]]], ask: Ask
    ) -> tuple[tuple[tuple[str, float], ...], ...] | None:
        """The likeliest alternatives by their texts, as many as were asked for."""
        if not (count := ask.sampling.top_logps):
            return None
        tokens = {token for place in top for token, _ in place}
        text = {token: piece(self.renderer, token) for token in tokens}
        return tuple(tuple((text[token], logp) for token, logp in place[:count]) for place in top)


@dataclass(frozen=True, slots=True)
class _Begun:
    """An ask that draws: its prompt, how replies read, and its draws; or the reason why there are none."""

    ask: Ask
    ids: tuple[int, ...] = ()
    voice: Voice | None = None
    draws: Sequence[Draw] = ()
    reason: str = ""


def _opening(prompt: int, number: int) -> Usage:
    """What the ask itself costs: it stands on the first entry, so that usage adds up over the entries."""
    return Usage(calls=1, prompt_tokens=prompt) if number == 0 else Usage()


def _check_text(turns: Turns) -> None:
    """Refuse what is not text: a model of text would answer as if it were not there."""
    for turn in turns:
        for part in turn.parts:
            if not isinstance(part, Text):
                wrong, accepted = "a local policy reads text alone", "messages of text"
                found, do = Said(type(part).__name__), "ask a policy that can see or hear"
                raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
