"""The shapes of rows that people have, as data: which columns there are, and which reader takes them.

A shape has roles, and for each the names of columns that are taken for it: the first that a row has. A
name may be a path into a column (`completions.*.response`). To add a shape is to add an entry to SHAPES;
earlier entries win where two of them take the same columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from concord.formats import readers
from concord.formats.readers import Reader
from concord.formats.roles import FRAME
from concord.views import Kind

__all__ = ["SHAPES", "Names", "Shape", "all_shapes"]

Names = Mapping[str, tuple[str, ...]]

_FRAME: Names = {
    "system": ("system", "system_prompt"),
    "tools": ("tools",),
    "template_args": ("chat_template_kwargs",),
    "images": ("images", "image"),
    "videos": ("videos", "video"),
    "audios": ("audios", "audio"),
}
assert tuple(_FRAME) == FRAME
_NONE: Names = {}


@dataclass(frozen=True)
class Shape:
    """One shape of rows: its kind, the columns it needs and those it takes besides, and its reader.

    Names of the roles `together` belong to each other: the first of one with the first of the other. `beside`
    are columns that mark the shape and stay as they are. `looks` tells it from shapes with the same roles by
    its values: texts with "Human:" and "Assistant:" in them ("hh"), items as Concord writes them ("item").
    """

    name: str
    kind: Kind
    summary: str
    needs: Names
    read: Reader
    takes: Names = field(default_factory=dict[str, tuple[str, ...]])
    together: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    looks: Literal["", "hh", "item"] = ""
    aspects: bool = False

    @property
    def roles(self) -> Names:
        """All roles, with the names of their columns."""
        return {**self.needs, **self.takes, **(_NONE if self.looks == "item" else _FRAME)}

    @property
    def columns(self) -> tuple[str, ...]:
        """An example: the columns it needs, by their first names."""
        return tuple(dict.fromkeys(names[0].partition(".")[0] for names in self.needs.values())) + self.beside


_PROMPT = ("prompt", "instruction", "question", "query", "input", "problem")
_REPLY = ("completion", "response", "reply", "output")
_LABEL = ("label", "kto_tag", "desirable")
_SCORE = ("score", "reward", "rating", "overall_score")
_CHAT = ("messages", "conversations", "conversation")
_LISTS = ("replies", "responses", "completions", "answers", "candidates", "outputs")
_TEXTS = ("text", "answer", "response", "reply", "completion", "output", "content")
_CHOICE = (
    *("choice", "label", "preference", "preferred", "winner", "better", "chosen", "selected"),
    *("better_response_id", "better_id", "human_preference", "verdict"),
)
_INPUT: Names = {"input": ("input",), "history": ("history",)}
_MARGIN: Names = {
    "strength": ("margin", "strength"),
    "score_chosen": ("score_chosen", "chosen_score", "chosen_rating"),
    "score_rejected": ("score_rejected", "rejected_score", "rejected_rating"),
}


def _two(bases: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of two columns of the same thing: response_1 and response_2, answer_a and answer_b, ..."""
    ends = (
        ("_1", "_2"),
        ("_a", "_b"),
        ("_0", "_1"),
        ("_A", "_B"),
        ("1", "2"),
        ("A", "B"),
        ("0", "1"),
        ("a", "b"),
    )
    pairs = [(base + one, base + other) for base, (one, other) in product(bases, ends)]
    return tuple(one for one, _ in pairs), tuple(other for _, other in pairs)


def _inside(marks: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths into lists of objects, each with a text and a mark: answers.*.answer with answers.*.rank."""
    found = [(f"{name}.*.{text}", f"{name}.*.{mark}") for name, text, mark in product(_LISTS, _TEXTS, marks)]
    return tuple(text for text, _ in found), tuple(mark for _, mark in found)


_REPLIES_1, _REPLIES_2 = _two(("response", "output", "completion", "answer", "reply", "summary", "candidate"))
_CHATS_1, _CHATS_2 = _two(("conversation", "messages", "chat"))
_RANKED_TEXTS, _RANKS = _inside(("rank",))
_SCORED_TEXTS, _SCORES = _inside(_SCORE)
_ULTRA = ("instruction_following", "honesty", "truthfulness", "helpfulness")

SHAPES: tuple[Shape, ...] = (
    Shape(
        "concord",
        "task",
        "items as Concord writes them",
        {"prompt": ("prompt",)},
        readers.read_item,
        looks="item",
    ),
    Shape(
        "saferlhf",
        "comparison",
        "two replies, the better and the safer one by number",
        {
            "prompt": ("prompt",),
            "first": ("response_0",),
            "second": ("response_1",),
            "choice": ("better_response_id",),
            "aspect.safer": ("safer_response_id",),
        },
        readers.read_two,
        aspects=True,
    ),
    Shape(
        "two-replies",
        "comparison",
        "a prompt, two replies and which one was chosen",
        {"prompt": (*_PROMPT, *_CHAT), "first": _REPLIES_1, "second": _REPLIES_2, "choice": _CHOICE},
        readers.read_two,
        {"votes": ("votes",), "strength": ("margin", "strength")},
        together=("first", "second"),
        aspects=True,
    ),
    Shape(
        "two-chats",
        "comparison",
        "two conversations that begin alike, and which one was chosen",
        {"first": _CHATS_1, "second": _CHATS_2, "choice": _CHOICE},
        readers.read_two,
        {"votes": ("votes",), "strength": ("margin", "strength")},
        together=("first", "second"),
        aspects=True,
    ),
    Shape(
        "hh",
        "comparison",
        'text with "Human:" and "Assistant:": a prompt, the better and the worse reply',
        {"prompt": ("prompt",), "chosen": ("chosen",), "rejected": ("rejected",)},
        readers.read_dialogue_text,
        _MARGIN,
        looks="hh",
    ),
    Shape(
        "hh-pair",
        "comparison",
        'text with "Human:" and "Assistant:": the better and the worse dialogue',
        {"chosen": ("chosen",), "rejected": ("rejected",)},
        readers.read_dialogue_text_pair,
        _MARGIN,
        looks="hh",
    ),
    Shape(
        "preference",
        "comparison",
        "a prompt, the better reply and the worse one",
        {"prompt": (*_PROMPT, *_CHAT), "chosen": ("chosen",), "rejected": ("rejected",)},
        readers.read_compared,
        {**_INPUT, **_MARGIN},
    ),
    Shape(
        "implicit-preference",
        "comparison",
        "the better and the worse reply, each with the prompt inside",
        {"chosen": ("chosen",), "rejected": ("rejected",)},
        readers.read_shared,
        _MARGIN,
    ),
    Shape(
        "ultrafeedback",
        "rating",
        "replies with scores and annotations by aspect",
        {"prompt": ("instruction", "prompt"), "replies": ("completions.*.response",)}
        | {f"aspect.{name}": (f"completions.*.annotations.{name}.Rating",) for name in _ULTRA},
        readers.read_listed,
        {"scores": ("completions.*.overall_score", "completions.*.fine-grained_score")},
        aspects=True,
    ),
    Shape(
        "stepwise",
        "steps",
        "a prompt, the steps of a reply and a label for each",
        {"prompt": _PROMPT, "steps": ("completions", "steps"), "labels": ("labels", "step_labels")},
        readers.read_steps,
    ),
    Shape(
        "ranked",
        "ranking",
        "a prompt, replies and their ranks",
        {"prompt": (*_PROMPT, *_CHAT), "replies": _LISTS, "ranks": ("ranks", "rank")},
        readers.read_listed,
    ),
    Shape(
        "ranked-objects",
        "ranking",
        "a prompt, and replies that carry their ranks",
        {"prompt": (*_PROMPT, *_CHAT), "replies": _RANKED_TEXTS, "ranks": _RANKS},
        readers.read_listed,
        together=("replies", "ranks"),
    ),
    Shape(
        "best-first",
        "ranking",
        "a prompt, and replies from the best to the worst",
        {
            "prompt": (*_PROMPT, *_CHAT),
            "ranked": ("ranked", "best_first", "ranked_replies", "ranked_responses"),
        },
        readers.read_listed,
    ),
    Shape(
        "scored",
        "rating",
        "a prompt, replies and their scores",
        {"prompt": (*_PROMPT, *_CHAT), "replies": _LISTS, "scores": ("scores", "rewards", "ratings")},
        readers.read_listed,
        aspects=True,
    ),
    Shape(
        "scored-objects",
        "rating",
        "a prompt, and replies that carry their scores",
        {"prompt": (*_PROMPT, *_CHAT), "replies": _SCORED_TEXTS, "scores": _SCORES},
        readers.read_listed,
        together=("replies", "scores"),
        aspects=True,
    ),
    Shape(
        "trajectory",
        "trajectory",
        "a conversation and rewards for its turns",
        {"messages": _CHAT, "rewards": ("rewards", "turn_rewards")},
        readers.read_trajectory,
    ),
    Shape(
        "unpaired",
        "judgement",
        "a prompt, a reply and whether it is desirable",
        {"prompt": _PROMPT, "reply": (*_REPLY, "answer"), "label": _LABEL},
        readers.read_judged,
        _INPUT,
    ),
    Shape(
        "unpaired-chat",
        "judgement",
        "a conversation and whether its last reply is desirable",
        {"messages": _CHAT, "label": _LABEL},
        readers.read_judged,
    ),
    Shape(
        "rated",
        "rating",
        "a prompt, a reply and its score",
        {"prompt": _PROMPT, "reply": (*_REPLY, "answer"), "score": _SCORE},
        readers.read_rated,
        _INPUT,
        aspects=True,
    ),
    Shape(
        "rated-chat",
        "rating",
        "a conversation and the score of its last reply",
        {"messages": _CHAT, "score": _SCORE},
        readers.read_rated,
        aspects=True,
    ),
    Shape(
        "self-instruct",
        "demonstration",
        "an instruction and its examples",
        {"prompt": ("instruction",), "outputs": ("instances.*.output",)},
        readers.read_instances,
        {"inputs": ("instances.*.input",)},
    ),
    Shape(
        "alpaca",
        "demonstration",
        "an instruction, perhaps with an input, and its output",
        {"prompt": ("instruction",), "reply": ("output", "response", "completion")},
        readers.read_shown,
        _INPUT,
    ),
    Shape(
        "prompt-reply",
        "demonstration",
        "a prompt and its reply",
        {"prompt": _PROMPT, "reply": _REPLY},
        readers.read_shown,
        _INPUT,
    ),
    Shape(
        "question-answer",
        "demonstration",
        "a question and its answer",
        {"prompt": ("question", "problem", "query"), "reply": ("answer", "solution")},
        readers.read_shown,
        _INPUT,
    ),
    Shape(
        "messages",
        "demonstration",
        "a conversation to be imitated",
        {"messages": _CHAT},
        readers.read_messages,
    ),
    Shape(
        "text",
        "demonstration",
        "text to be learned from as it stands",
        {"text": ("text",)},
        readers.read_text,
    ),
    Shape(
        "verl",
        "task",
        "a prompt and how its reply is to be checked",
        {"prompt": ("prompt",)},
        readers.read_task,
        beside=("data_source", "reward_model"),
    ),
    Shape("prompt", "task", "a prompt alone", {"prompt": ("prompt",)}, readers.read_task, _INPUT),
)
"""The shapes that are detected, the most particular first."""

_BY_HAND: tuple[Shape, ...] = (
    Shape(
        "two-votes",
        "comparison",
        "a prompt, two replies and the votes of several annotators",
        {"prompt": ("prompt",), "first": _REPLIES_1, "second": _REPLIES_2, "votes": ("votes",)},
        readers.read_two,
        {"strength": ("margin",)},
        together=("first", "second"),
        aspects=True,
    ),
    Shape(
        "two-shares",
        "comparison",
        "a prompt, two replies and how probably the first is better",
        {"prompt": ("prompt",), "first": _REPLIES_1, "second": _REPLIES_2, "preference": ("preference",)},
        readers.read_two,
        {"votes": ("votes",), "strength": ("margin",)},
        together=("first", "second"),
        aspects=True,
    ),
    Shape(
        "two-candidates",
        "candidates",
        "a prompt and two replies of which nothing is known",
        {"prompt": ("prompt",), "first": _REPLIES_1, "second": _REPLIES_2},
        readers.read_two,
        together=("first", "second"),
    ),
    Shape(
        "candidates",
        "candidates",
        "a prompt and replies of which nothing is known",
        {"prompt": ("prompt",), "replies": _LISTS},
        readers.read_listed,
    ),
    Shape(
        "judged-text",
        "judgement",
        "a text and whether it is desirable",
        {"text": ("text",), "label": _LABEL},
        readers.read_judged_text,
    ),
)
"""Shapes for a mapping by hand: their columns alone would leave it open what is meant."""


def all_shapes() -> tuple[Shape, ...]:
    """All shapes, those that only a mapping by hand can mean among them."""
    return (*SHAPES, *_BY_HAND)
