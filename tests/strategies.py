"""Hypothesis strategies for the nouns of the library: messages, items, views, asks, replies, results."""

from collections.abc import Callable
from dataclasses import is_dataclass
from functools import reduce
from operator import or_
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from concord import types, views
from concord.types import (
    Ask,
    Audio,
    Capability,
    Challenge,
    Finish,
    Image,
    Images,
    Interval,
    Item,
    JudgeRecord,
    Label,
    Ledger,
    Message,
    Origin,
    Preference,
    Prompt,
    Ranks,
    Rate,
    Ratings,
    Reply,
    Result,
    Sampling,
    Score,
    Scorecard,
    SegmentPreference,
    Shown,
    StepLabels,
    Text,
    ToolCall,
    TurnRewards,
    Turns,
    Unanswered,
    Unscored,
    Usage,
    Utilities,
    Video,
)

texts = st.text(max_size=12)
words = st.text("abc ", min_size=1, max_size=6)
counts = st.integers(0, 10**12)
finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.floats(allow_nan=False)
shares = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
leaves = st.none() | st.booleans() | st.integers() | finite | texts
jsons = st.recursive(
    leaves, lambda of: st.lists(of, max_size=3) | st.dictionaries(texts, of, max_size=3), max_leaves=6
)
metas = st.dictionaries(texts, jsons, max_size=3)
origins = st.builds(Origin, texts, st.none() | counts)


def tuples(of: SearchStrategy[Any], *, least: int = 0, most: int = 3) -> SearchStrategy[tuple[Any, ...]]:
    """Tuples of any length within bounds."""
    return st.lists(of, min_size=least, max_size=most).map(tuple)


def exactly(count: int, of: SearchStrategy[Any]) -> SearchStrategy[tuple[Any, ...]]:
    """Tuples of one length."""
    return tuples(of, least=count, most=count)


def optional(of: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """A value or none."""
    return st.none() | of


# --- messages ---------------------------------------------------------------------------------------------

sources = texts | st.binary(max_size=8)
images = st.builds(Image, sources, media_type=optional(texts))
galleries = st.builds(Images, tuples(images))
videos = st.builds(Video, sources | tuples(images), fps=optional(numbers), media_type=optional(texts))
audios = st.builds(Audio, sources, media_type=optional(texts))
parts = st.one_of(st.builds(Text, texts), images, galleries, videos, audios)
tool_calls = st.builds(ToolCall, texts, metas | texts, id=optional(texts))
messages = st.builds(
    Message,
    st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    texts | tuples(parts),
    name=optional(texts),
    reasoning=optional(texts),
    tool_calls=tuples(tool_calls, most=2),
    tool_call_id=optional(texts),
    trained=optional(st.booleans()),
)
turns = tuples(messages, least=1)
prompts = st.builds(
    Prompt,
    tuples(messages),
    tools=tuples(jsons, most=2),
    template_args=metas,
    plain=st.booleans(),
    tokens=optional(tuples(counts)),
)


# --- items ------------------------------------------------------------------------------------------------


def replies(count: int, *, of: SearchStrategy[Turns] = turns) -> SearchStrategy[tuple[Turns, ...]]:
    """Replies of which no two are the same."""
    return exactly(count, of).map(
        lambda many: tuple((Message("assistant", f"reply {at}"), *one[1:]) for at, one in enumerate(many))
    )


votes = st.tuples(*[st.integers(0, 2)] * 3).filter(any)
preferences = shares.flatmap(
    lambda first: st.builds(
        Preference,
        st.just(first),
        optional(votes),
        strength=optional(st.just(0.0) if first == 0.5 else st.floats(0, 1e9)),
        scores=optional(st.tuples(finite, finite)),
        aspects=st.dictionaries(texts, shares, max_size=2),
    )
)


def ratings(count: int) -> SearchStrategy[Ratings]:
    """Scores for so many replies, often with ties, sometimes with aspects, sometimes not for all of them."""
    scores = exactly(count, optional(st.sampled_from([0.0, 1.0, 2.0, 3.5]) | finite))
    built = st.builds(Ratings, scores, st.dictionaries(texts, scores, max_size=2))
    return built.filter(lambda one: {*one.scores}.union(*one.aspects.values()) != {None})


def utilities(kind: type | None, turns: tuple[Turns, ...]) -> SearchStrategy[Utilities]:
    """Utilities of one type, such as these replies can have."""
    count = len(turns)
    if kind is StepLabels:
        return st.builds(StepLabels, exactly(sum(len(m.parts) for m in turns[0]), optional(shares)))
    if kind is TurnRewards:
        return st.builds(TurnRewards, exactly(len(turns[0]), optional(finite)))
    plain: dict[type | None, SearchStrategy[Any]] = {
        None: st.none(),
        Shown: st.builds(Shown),
        Preference: preferences,
        SegmentPreference: st.builds(SegmentPreference, shares),
        Ranks: st.builds(Ranks, exactly(count, st.integers(1, 4))),
        Label: st.builds(Label, st.booleans()),
        Ratings: ratings(count),
    }
    return plain[kind]


UTILITIES: dict[type | None, tuple[int, int]] = {
    None: (0, 3),
    Shown: (1, 1),
    Preference: (2, 2),
    SegmentPreference: (2, 2),
    Ranks: (1, 4),
    Label: (1, 1),
    Ratings: (1, 4),
    StepLabels: (1, 1),
    TurnRewards: (1, 1),
}
"""Each type of utilities, and the fewest and most replies that items here have with it."""

light_messages = st.builds(Message, st.sampled_from(["user", "assistant"]), words)
light_turns = tuples(light_messages, least=1)


@st.composite
def items(
    draw: Callable[[SearchStrategy[Any]], Any],
    kinds: tuple[type | None, ...] = tuple(UTILITIES),
    *,
    messages: SearchStrategy[Message] = light_messages,
) -> Item:
    """Items of every kind (or of some); replies of one item are all different."""
    kind = draw(st.sampled_from(kinds))
    prompt = draw(st.builds(Prompt, tuples(messages)))
    given = draw(replies(draw(st.integers(*UTILITIES[kind])), of=tuples(messages, least=1)))
    known = draw(utilities(kind, given))
    return Item(prompt, given, known, meta=draw(metas), origin=draw(optional(origins)))


all_views: SearchStrategy[views.View] = items().map(views.view)


# --- asks, replies, results -------------------------------------------------------------------------------

samplings = st.builds(
    Sampling,
    temperature=st.floats(0, allow_infinity=False),
    top_p=st.floats(0, 1, exclude_min=True),
    top_k=optional(st.integers(1, 10**12)),
    max_tokens=optional(st.integers(1, 10**12)),
    stop=tuples(st.text(min_size=1, max_size=12)),
    seed=optional(counts),
    top_logps=counts,
)
capabilities = st.lists(st.sampled_from(list(Capability))).map(lambda some: reduce(or_, some, Capability(0)))
drawing = st.builds(Ask, prompts, n=st.integers(1, 9), sampling=samplings, needs=capabilities, to=texts)
scoring = st.builds(
    Ask,
    prompts,
    sampling=st.builds(Sampling, top_logps=counts),
    needs=capabilities,
    given=tuples(turns, least=1, most=2),
)
asks = drawing | scoring
usages = st.builds(
    Usage, calls=counts, prompt_tokens=counts, new_tokens=counts, cost=numbers, seconds=numbers
)
given_replies = st.builds(
    Reply,
    messages,
    finish=st.sampled_from(Finish),
    tokens=optional(tuples(counts)),
    logps=optional(tuples(numbers)),
    top=optional(tuples(tuples(st.tuples(texts, numbers)))),
    prompt_tokens=optional(tuples(counts)),
    usage=usages,
)
scores = st.builds(Score, numbers, parts=st.dictionaries(texts, numbers, max_size=2), why=texts, usage=usages)
intervals = st.tuples(numbers, numbers).flatmap(
    lambda ends: st.builds(Interval, st.just(min(ends)), st.just(max(ends)), level=numbers, how=texts)
)
results = st.builds(
    Result,
    name=texts,
    value=optional(numbers),
    n=st.integers(1, 99),
    interval=optional(intervals),
    unit=texts,
    failures=counts,
    how=texts,
    challenge=optional(st.sampled_from(Challenge)),
    higher_is_better=optional(st.booleans()),
    at=st.dictionaries(texts, texts | finite, max_size=2),
    reading=texts,
)
judges = st.builds(JudgeRecord, id=texts, swap_conflict=optional(numbers), position_bias=optional(numbers))
ledgers = st.builds(
    Ledger, usage=usages, flops=optional(numbers), labels=optional(counts), models_loaded=counts
)
scorecards = st.builds(
    Scorecard,
    model=texts,
    results=tuples(results, most=2),
    base=optional(texts),
    method=optional(texts),
    seed=optional(counts),
    data=st.dictionaries(texts, texts, max_size=2),
    ledger=ledgers,
    judges=tuples(judges, most=1),
    leaves_covered=tuples(texts, most=2),
    kl_to_base=optional(results),
    length=st.dictionaries(texts, numbers, max_size=2),
    warnings=tuples(texts, most=2),
)


RECORDS: dict[type, SearchStrategy[Any]] = {
    Text: st.builds(Text, texts),
    Image: images,
    Images: galleries,
    Video: videos,
    Audio: audios,
    ToolCall: tool_calls,
    Message: messages,
    Prompt: prompts,
    Shown: st.builds(Shown),
    Preference: preferences,
    SegmentPreference: st.builds(SegmentPreference, shares),
    Ranks: st.builds(Ranks, tuples(counts)),
    Label: st.builds(Label, st.booleans()),
    Ratings: ratings(2),
    StepLabels: st.builds(StepLabels, tuples(optional(shares))),
    TurnRewards: st.builds(TurnRewards, tuples(optional(finite))),
    Origin: origins,
    Item: items(messages=messages),
    Sampling: samplings,
    Ask: asks,
    Usage: usages,
    Reply: given_replies,
    Unanswered: st.builds(Unanswered, texts, usage=usages),
    Rate: st.builds(Rate, prompts, tuples(turns), meta=metas, to=texts),
    Score: scores,
    Unscored: st.builds(Unscored, texts, usage=usages),
    Interval: intervals,
    Result: results,
    JudgeRecord: judges,
    Ledger: ledgers,
    Scorecard: scorecards,
}
"""A strategy for every dataclass of `concord.types`."""


def records_of_types() -> set[type]:
    """The dataclasses that `concord.types` has, whether or not they are in `RECORDS`."""
    public = (getattr(types, name) for name in types.__all__)
    return {one for one in public if isinstance(one, type) and is_dataclass(one)}
