"""What a model can do: protocols for sets whose replies are right or wrong, or as they were asked to be.

    choices, numbers, short_answers    is it right? Refusals and what cannot be read are counted apart
    instructions                       does a reply follow instructions that rules can check?
    dialogues                          is it good, turn by turn, by a judge?

What a protocol needs of items stands in their `meta`, where `concord.eval.card.own.sets` puts it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import fsum
from statistics import fmean
from typing import TypeAlias, cast

from concord.eval.card.common import NO_JUDGE
from concord.eval.card.own.asked import Asking, Measured, about_set, not_asked, shared, texts
from concord.eval.conduct.calibration import calibration_results
from concord.eval.conduct.honesty import accepted_in
from concord.eval.order.winrate import Judged, judge_both, win_rate_results
from concord.eval.reckoning import SHARE, Labels, mean_result, rate_result, ratio_result, share_result
from concord.eval.replies import Choice, Chosen, choose
from concord.feedback import Instructions, Numeric, Pair, PairJudge
from concord.types import (
    Challenge,
    Feedback,
    Item,
    Message,
    Rate,
    Reply,
    Result,
    Score,
    Turns,
    Unanswered,
    as_prompt,
)

__all__ = ["choices", "dialogues", "instructions", "numbers", "short_answers"]


# --- right or wrong ---------------------------------------------------------------------------------------

_Outcome: TypeAlias = float | str | None  # how right; "refused" or "unread"; None where no reply came


def _answered(outcomes: Sequence[_Outcome], clusters: Sequence[Labels], seed: int) -> Measured:
    """Shares of questions solved, right of those answered, refused, and unread."""
    solved = [None if one is None else 0.0 if isinstance(one, str) else one for one in outcomes]
    places = [at for at, one in enumerate(outcomes) if one is None or not isinstance(one, str)]
    right = [cast("float | None", outcomes[at]) for at in places]
    among = [[labels[at] for at in places] for labels in clusters]
    tax = Challenge.TAX
    how = "questions answered rightly, of all; a refusal or a reply that cannot be read solves none"
    about = about_set(how, higher=True, challenge=tax)
    found = [rate_result("solved", solved, clusters=clusters, seed=seed, **about)]
    how = "questions answered rightly, of those answered; refusals and what cannot be read are left out"
    about = about_set(how, higher=True, challenge=tax)
    found.append(rate_result("accuracy", right, clusters=among, seed=seed, **about))
    for name, how in (("refused", "refused"), ("unread", "whose reply names no answer that can be read")):
        hits = [None if one is None else one == name for one in outcomes]
        about = about_set(f"questions {how}", higher=False, challenge=tax)
        found.append(share_result(name, hits, clusters=clusters, seed=seed, **about))
    return Measured(results=found, values=solved, metric="solved", higher=True, clusters=clusters)


def _shown(item: Item, asking: Asking, write: Callable[[Item], str]) -> str:
    """Examples as text before a question, those of its own subject where it has one."""
    subject = item.meta.get("subject")
    alike = [one for one in asking.examples if one.meta.get("subject") == subject]
    return "".join(f"{write(one)}\n\n" for one in alike[: asking.settings.shots])


def _lettered(item: Item) -> str:
    """A question with its options and its answer, as an example."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    lines = [f"{letters[at]}. {text}" for at, text in enumerate(texts(item, "options"))]
    return "\n".join([item.prompt.text, *lines, f"Answer: {letters[_right(item)]}"])


def _right(item: Item) -> int:
    return cast(int, item.meta["right"])


def choices(items: Sequence[Item], asking: Asking) -> Measured:
    """Questions with options, of which one is right: `options`, and the place `right` of it."""
    held = [
        Choice(_shown(item, asking, _lettered) + item.prompt.text, tuple(texts(item, "options")))
        for item in items
    ]
    chosen = choose(held, asking.policy, orders=asking.settings.orders, sampling=asking.greedy)
    outcomes = [_credit(one, _right(item), asking) for one, item in zip(chosen, items, strict=True)]
    clusters, seed = shared(items, "subject"), asking.settings.seed
    found = _answered(outcomes, clusters, seed)
    if not asking.scores:
        return found
    # Where options tie, none of them is what the model is sure of.
    sure = [None if one.pick is None or one.shares is None else one.shares[one.pick] for one in chosen]
    right = [
        None if one.pick is None else one.pick == _right(item)
        for one, item in zip(chosen, items, strict=True)
    ]
    return replace(
        found, results=[*found.results, *calibration_results(sure, right, clusters=clusters, seed=seed)]
    )


def _credit(one: Chosen, right: int, asking: Asking) -> _Outcome:
    """1 for the right option, shared where several get as much."""
    if one.shares is None:
        # Of a policy that scores letters nothing is read: no answer came.
        return None if asking.scores else "refused" if one.refused else "unread"
    best = [place for place, share in enumerate(one.shares) if share > max(one.shares) - 1e-9]
    return (right in best) / len(best)


_NUMBER = "\nWrite the steps, and the number alone after #### at the end."


def numbers(items: Sequence[Item], asking: Asking) -> Measured:
    """Problems whose answer is a number, in the column `answer`: plain, boxed, or behind ####."""
    prompts = [as_prompt(_shown(item, asking, _solved) + item.prompt.text + _NUMBER) for item in items]
    check = Numeric(column="answer")
    outcomes = [_checked(check, *both, asking) for both in zip(items, asking.replies(prompts), strict=True)]
    return _answered(outcomes, shared(items, "subject"), asking.settings.seed)


def _solved(item: Item) -> str:
    """A problem and its answer, as an example."""
    return f"{item.prompt.text}\n{item.meta['answer']}"


def _checked(check: Feedback, item: Item, reply: Reply | Unanswered, asking: Asking) -> _Outcome:
    """What a verifier finds in a reply; one that gives no answer may be a refusal."""
    if isinstance(reply, Unanswered):
        return None
    ((score,),) = check.rate([Rate(item.prompt, ((reply.message,),), meta=item.meta)])
    if not isinstance(score, Score):
        return None
    if score.parts.get("answered", 1.0):
        return score.value
    return "refused" if asking.settings.detector(item, reply.text) in ("full", "partial") else "unread"


def short_answers(items: Sequence[Item], asking: Asking) -> Measured:
    """Questions with accepted answers, in the column `answers`: right, wrong, or "I don't know"."""
    judge, clusters, seed = accepted_in("answers"), shared(items, "subject"), asking.settings.seed
    replies = asking.replies([item.prompt for item in items])
    kinds = [
        judge(item, one.text) if isinstance(one, Reply) else None
        for item, one in zip(items, replies, strict=True)
    ]
    found: list[Result] = []
    for kind, higher in (("correct", True), ("wrong", False), ("idk", None)):
        hits = [None if one is None else one == kind for one in kinds]
        about = about_set(f"questions whose reply is {kind}", higher=higher, at={"reply": kind})
        found.append(share_result("reply_type", hits, clusters=clusters, seed=seed, **about))
    values = [None if one is None else float(one == "correct") for one in kinds]
    return Measured(results=found, values=values, metric="correct", higher=True, clusters=clusters)


# --- as was asked, and good -------------------------------------------------------------------------------


def instructions(items: Sequence[Item], asking: Asking) -> Measured:
    """Prompts with instructions that rules can check, as IFEval has them; strictly, and loosely."""
    replies = asking.replies([item.prompt for item in items])
    strict = [_followed_by(Instructions(), *both) for both in zip(items, replies, strict=True)]
    loose = [_followed_by(Instructions(loosely=True), *both) for both in zip(items, replies, strict=True)]
    families = sorted(
        {name.partition(":")[0] for item in items for name in texts(item, "instruction_id_list")}
    )
    seed = asking.settings.seed
    found = [
        *_instruction_results(strict, "strict", ("", *families), seed),
        *_instruction_results(loose, "loose", ("",), seed),
    ]
    values = [None if one is None else one.value for one in strict]
    return Measured(results=found, values=values, metric="all instructions followed", higher=True)


def _followed_by(check: Instructions, item: Item, reply: Reply | Unanswered) -> Score | None:
    if isinstance(reply, Unanswered):
        return None
    ((score,),) = check.rate([Rate(item.prompt, ((reply.message,),), meta=item.meta)])
    return score if isinstance(score, Score) else None


def _instruction_results(
    scores: Sequence[Score | None], mode: str, families: Sequence[str], seed: int
) -> Iterator[Result]:
    """Prompts followed throughout; then instructions followed, of all and of each family."""
    by = f", {mode}ly checked"
    how, tax = "prompts of which all instructions are followed" + by, Challenge.TAX
    whole = [None if one is None else one.value == 1 for one in scores]
    about = about_set(how, higher=True, unit="prompts", at={"mode": mode}, challenge=tax)
    yield share_result("prompts_followed", whole, seed=seed, **about)
    for family in families:
        at = {"mode": mode, "family": family} if family else {"mode": mode}
        how = f"instructions{f' of the family {family}' if family else ''} that are followed" + by
        about = about_set(how, higher=True, unit="prompts", at=at, challenge=tax)
        counts = [_followed(one, family) for one in scores]
        above, below = ([None if one is None else float(one[at]) for one in counts] for at in (0, 1))
        yield ratio_result("instructions_followed", above, below, seed=seed, scale=SHARE, **about)


def _followed(score: Score | None, family: str) -> tuple[float, int] | None:
    """How many instructions of a family a reply follows, and of how many."""
    if score is None:
        return None
    held = [value for name, value in score.parts.items() if name != "share" and name.startswith(family)]
    return fsum(held), len(held)


def dialogues(items: Sequence[Item], asking: Asking) -> Measured:
    """Questions with further turns, in `turns`, as MT-bench has them; each reply is judged in its place.

    A feedback scores the reply to each turn. A judge of pairs holds whole dialogues against those of a base.
    """
    match asking.judge:
        case None:
            return not_asked("judged", NO_JUDGE)
        case PairJudge() as judge:
            return _won(items, asking, judge)
        case judge:
            return _judged(items, asking, judge)


def _won(items: Sequence[Item], asking: Asking, judge: PairJudge) -> Measured:
    """Whole dialogues against those of the base."""
    if asking.base is None:
        return not_asked("judged", "a judge of pairs has nothing to compare with; give a base")
    ours, theirs = _held(items, asking), _held(items, replace(asking, policy=asking.base))
    pairs = [_pair(item, *both) for item, *both in zip(items, ours, theirs, strict=True)]
    judged = iter(judge_both([pair for pair in pairs if pair is not None], judge))
    rows = [Judged(None, None) if pair is None else next(judged) for pair in pairs]
    clusters, seed = shared(items, "category"), asking.settings.seed
    return Measured(results=win_rate_results(rows, judge=judge.id, clusters=clusters, seed=seed))


def _judged(items: Sequence[Item], asking: Asking, judge: Feedback) -> Measured:
    """The score of each reply of a dialogue, behind what was said before it."""
    held = _held(items, asking)
    rates = [
        Rate(replace(item.prompt, messages=turns[: at - 1]), (turns[at - 1 : at],), meta=item.meta)
        for item, turns in zip(items, held, strict=True)
        for at in range(2, len(turns) + 1, 2)
    ]
    said = iter(judge.rate(rates) if rates else ())
    scores: list[list[float | None]] = []
    for item, turns in zip(items, held, strict=True):
        each = [next(said)[0] for _ in range(len(turns) // 2)]
        known = [one.value if isinstance(one, Score) else None for one in each]
        scores.append(known + [None] * (len(texts(item, "turns")) - len(known)))
    clusters, seed = shared(items, "category"), asking.settings.seed
    found: list[Result] = []
    for turn in range(max(map(len, scores), default=0)):
        places = [at for at, row in enumerate(scores) if len(row) > turn]
        among = [[labels[at] for at in places] for labels in clusters]
        how, at = f"mean score of replies to turn {turn + 1}, by {judge.id}", {"turn": turn + 1}
        about = about_set(how, higher=True, unit="dialogues", at=at)
        values = [scores[at][turn] for at in places]
        found.append(mean_result("judged", values, clusters=among, seed=seed, **about))
    means = [None if None in row else fmean(one or 0.0 for one in row) for row in scores]
    return Measured(
        results=found, values=means, metric="judge's score", higher=True, clusters=clusters, scale=None
    )


def _held(items: Sequence[Item], asking: Asking) -> list[Turns]:
    """The dialogue that comes of each item: its questions, each with its reply, as far as replies came."""
    held: list[Turns] = [() for _ in items]
    for turn in range(max((len(texts(item, "turns")) for item in items), default=0)):
        places = [
            at
            for at, item in enumerate(items)
            if len(texts(item, "turns")) > turn and len(held[at]) == 2 * turn
        ]
        said = {at: (*held[at], Message("user", texts(items[at], "turns")[turn])) for at in places}
        replies = asking.replies([replace(items[at].prompt, messages=said[at]) for at in places])
        for at, reply in zip(places, replies, strict=True):
            if isinstance(reply, Reply):
                held[at] = (*said[at], reply.message)
    return held


def _pair(item: Item, ours: Turns, theirs: Turns) -> Pair | None:
    """Two dialogues behind their first question; None where one of them broke off."""
    whole = 2 * len(texts(item, "turns"))
    if len(ours) < whole or len(theirs) < whole:
        return None
    return Pair(item.prompt, ours[1:], theirs[1:], item.meta)
