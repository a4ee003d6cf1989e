"""What the curves of a training run say: findings in plain words, each with what to change.

    for finding in read_curves(run.read_metrics(), settings=run.resolved):
        print(finding.title, finding.do)

A course is how one number went, step by step. Courses are judged by the means of their first and their last
quarter, with intervals: single steps are different rows, and differ for that reason alone. Every threshold
stands in `RULES`, with its reason. What greedy replies say is read by `concord.eval.course.greedy`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, log, sqrt
from statistics import fmean, median, stdev, variance
from typing import TypeAlias

from concord.catalogue import load
from concord.estimates import Estimate, t_quantile
from concord.findings import Finding, Rule, finding, gravest_first
from concord.results import Interval

__all__ = ["RULES", "Course", "course_of", "ends_of", "mean_of", "read_curves"]

Course: TypeAlias = Sequence[tuple[float, float]]
"""Steps, each with the value that was logged there."""
_Row: TypeAlias = Mapping[str, float]

RULES: Mapping[str, Rule] = {
    "not_finite": Rule("stop", 0, "such a step spoils every weight that it reaches"),
    "rising": Rule("warn", 1.5, "a loss that ends or stays so far above where it began was not minimised"),
    "both_fall": Rule(
        "warn", 0.02, "a better order needs less; what both lose goes to replies that nobody has compared"
    ),
    "stuck": Rule("warn", 0.01, "so near to ln 2 the loss knows little more than a coin"),
    "no_signal": Rule("warn", 0.6, "the share may be that of a coin, and is surely below this"),
    "overtrained": Rule("warn", 0.05, "a smaller rise may be the noise of a few held-out rows"),
    "memorised": Rule("warn", 0.2, "so wide a gap is memory of the training rows"),
    "warming": Rule("warn", 0, "the run has then never trained at the rate that was asked for"),
    "kl": Rule("warn", 50, "so many nats a reply away, a model says what its reference nearly never would"),
    "spikes": Rule("note", 10, "a gradient so much longer is from odd rows, or from steps that are too long"),
    "clipped": Rule("note", 0.9, "where clipping is the rule, it decides how long steps are, not the loss"),
    "saturated": Rule("note", 5, "at this margin a pair pulls about a seventieth as hard as it did at first"),
    "flat": Rule("note", 0, "what has changed is within what chance would do"),
    "short": Rule("note", 8, "fewer logged steps than this say nothing of where a curve is going"),
}
"""When something is worth saying of a run, how grave it is, and why from there."""

_SHARE, _FEWEST = 4, 3  # the first and the last quarter are compared, of no fewer steps than this
_LN_2 = log(2)
_STILL = 0.05  # a margin below this is no movement to speak of
_SURE = 0.98  # a share of rightly ordered pairs from which on there is little left to learn
_MANY = 20  # logged steps from which on an unchanged loss is worth saying
_MOST_NAMED = 5


def course_of(rows: Iterable[_Row], name: str) -> Course:
    """How one number of the logged rows went; rows without it are passed over."""
    return [(row["step"], row[name]) for row in rows if name in row and "step" in row]


def ends_of(course: Course) -> tuple[Sequence[float], Sequence[float]]:
    """The finite values of the first and of the last quarter; of a short course, of its halves."""
    values = [value for _, value in course if isfinite(value)]
    size = min(max(_FEWEST, len(values) // _SHARE), len(values) // 2)
    return values[:size], values[len(values) - size :]


def mean_of(values: Sequence[float], *, level: float = 0.95) -> Estimate:
    """A mean of steps with its interval (Student's t); a single one has none, as nothing tells its noise."""
    if len(values) < 2:
        return Estimate(fmean(values) if values else None, len(values))
    half = t_quantile(level, len(values) - 1) * stdev(values) / sqrt(len(values))
    return _estimate(fmean(values), half, len(values), level)


def _change(course: Course, *, level: float = 0.95) -> Estimate | None:
    """How much more the last quarter is than the first, with Welch's interval; None where that is not known.

    Degrees of freedom are those of one quarter, which is fewer than Welch allows: rather too wide.
    """
    before, after = ends_of(course)
    if len(course) < RULES["short"].threshold or len(before) < _FEWEST:
        return None
    error = sqrt(variance(before) / len(before) + variance(after) / len(after))
    half = t_quantile(level, len(before) - 1) * error
    return _estimate(fmean(after) - fmean(before), half, len(before) + len(after), level)


def _estimate(value: float, half: float, n: int, level: float) -> Estimate:
    interval = Interval(value - half, value + half, level=level, how="Student's t")
    return Estimate(value, n, interval)


@dataclass(slots=True)
class _Case:
    """What findings are made from."""

    rows: Sequence[_Row]
    settings: Mapping[str, object]
    found: set[str] = field(default_factory=set[str])

    def course(self, *names: str) -> Course:
        """The first of these that was logged."""
        return next((course for name in names if (course := course_of(self.rows, name))), ())

    def end(self, *names: str) -> Estimate | None:
        """The mean of the last quarter; None where it rests on too little."""
        values = ends_of(self.course(*names))[1]
        return mean_of(values) if len(values) >= _FEWEST else None

    def setting(self, name: str) -> float:
        """A setting that is a number, 0 where it is none."""
        value = self.settings.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    @property
    def method(self) -> str:
        return str(self.settings.get("method", ""))

    @property
    def referenced(self) -> bool:
        """Whether rewards are measured from a reference."""
        known = [one for one in load() if one.name == self.method and one.needs]
        return "reference" in known[0].needs if known else bool(self.course("logps/ref_chosen"))

    @property
    def moves(self) -> bool:
        """Whether the reference moves, and with it what the loss is measured from."""
        return self.setting("reference_sync_steps") > 0

    @property
    def nearer(self) -> str:
        """How to keep the model nearer to where it began, as far as this run has the means."""
        return "lower `learning_rate`" + (", or raise `beta`" if self.setting("beta") else "")


_MARGINS = ("rewards/margins", "margin")
_ACCURACIES = ("rewards/accuracies", "accuracy")


def read_curves(rows: Iterable[_Row], *, settings: Mapping[str, object] | None = None) -> tuple[Finding, ...]:
    """All that the logged rows of a run say, the gravest first.

    settings: those of the run, so that what to change is said in its own terms
    """
    case = _Case(list(rows), settings or {})
    found: list[Finding] = []
    for make in _MAKERS:
        for one in make(case):
            found.append(one)
            case.found.add(one.name)
    return gravest_first(found)


def _finding(name: str, title: str, *, detail: str = "", do: str = "") -> Finding:
    return finding(name, RULES[name], title, said=[detail, RULES[name].reason], do=do)


def _told(one: Estimate, *, per_cent: bool = False) -> str:
    """A mean and where it may lie."""
    by, sign = (100, "%") if per_cent else (1, "")
    value = f"{by * (one.value or 0.0):.3g}{sign}"
    return f"{value} [{by * one.interval.low:.3g}, {by * one.interval.high:.3g}]" if one.interval else value


def _low(one: Estimate) -> float:
    return one.interval.low if one.interval else -inf


def _high(one: Estimate) -> float:
    return one.interval.high if one.interval else inf


# --- is there enough, and is it sound ---------------------------------------------------------------------


def _short(case: _Case) -> Iterator[Finding]:
    logged = len(case.course("loss"))
    if logged < RULES["short"].threshold:
        steps = "1 logged step is" if logged == 1 else f"{logged} logged steps are"
        detail = "only what a single step shows was looked for"
        do = "train longer, or log every step with `logging_steps: 1`"
        yield _finding("short", f"{steps} too few to judge the curves", detail=detail, do=do)


def _not_finite(case: _Case) -> Iterator[Finding]:
    for name, words in (("loss", "loss"), ("grad_norm", "length of the gradient")):
        for step, value in case.course(name):
            if not isfinite(value):
                title = f"The {words} is no number at step {step:g}"
                do = "lower `learning_rate`, lengthen the warm-up, and look at the rows of that step"
                yield _finding("not_finite", title, detail=f"it is {value:g}", do=do)
                return


def _spikes(case: _Case) -> Iterator[Finding]:
    course = [(step, value) for step, value in case.course("grad_norm") if isfinite(value)]
    many = RULES["spikes"].threshold
    if len(course) < RULES["short"].threshold:
        return
    usual = median(value for _, value in course)
    if steps := [step for step, value in course if value > many * usual > 0]:
        named = ", ".join(f"{step:g}" for step in steps[:_MOST_NAMED])
        more = f" and {len(steps) - _MOST_NAMED} more" if len(steps) > _MOST_NAMED else ""
        title = f"The gradient was {many:g} times as long as usual at {len(steps):,} logged steps"
        detail = f"usual is {usual:.3g}; the steps are {named}{more}"
        do = "look at the rows of these steps; if there are many of them, lower `learning_rate`"
        yield _finding("spikes", title.removesuffix("s") if len(steps) == 1 else title, detail=detail, do=do)


def _clipped(case: _Case) -> Iterator[Finding]:
    limit, norms = case.setting("max_grad_norm"), [value for _, value in case.course("grad_norm")]
    if not limit or len(norms) < RULES["short"].threshold:
        return
    share = sum(value > limit for value in norms) / len(norms)
    if share >= RULES["clipped"].threshold:
        title = f"Nearly every gradient was clipped to {limit:g} ({100 * share:.0f}% of the logged steps)"
        detail = f"the median before clipping is {median(norms):.3g}"
        do = "leave it so if the loss falls evenly; else raise `max_grad_norm` towards that median"
        yield _finding("clipped", title, detail=detail, do=do)


def _warming(case: _Case) -> Iterator[Finding]:
    rates = [value for _, value in case.course("learning_rate")]
    if len(rates) > 1 and rates[-1] > rates[-2] and rates[-1] >= max(rates):
        title = "The learning rate was still being warmed up at the last logged step"
        detail = f"it had come to {rates[-1]:.3g}"
        if asked := case.setting("learning_rate"):
            detail += f" of {asked:.3g}"
        do = "train longer, or make the warm-up shorter (`warmup_steps`, `warmup_ratio`)"
        yield _finding("warming", title, detail=detail, do=do)


# --- the loss ---------------------------------------------------------------------------------------------


def _rising(case: _Case) -> Iterator[Finding]:
    """A loss that rises step by step, or that was thrown up at once and stays there."""
    course = [(step, value) for step, value in case.course("loss") if isfinite(value)]
    change = _change(course)
    if change is None or case.moves:
        return
    first, usual = course[0][1], median(value for _, value in course)
    if _low(change) > 0 or usual > RULES["rising"].threshold * first > 0:
        detail = (
            f"it began at {first:.3g}, half of the steps are above {usual:.3g}, and the last quarter of them"
        )
        detail += f" differs from the first by {_told(change)}"
        do = "lower `learning_rate`, tenfold if the loss rose at once, or lengthen the warm-up"
        yield _finding("rising", "The loss has risen", detail=detail, do=do)


def _stuck(case: _Case) -> Iterator[Finding]:
    """A loss at ln 2 says either that the model has not moved, or that it moves to no avail."""
    loss, margin, right = case.end("loss"), case.end(*_MARGINS), case.end(*_ACCURACIES)
    near = RULES["stuck"].threshold
    if loss is None or margin is None or margin.value is None or abs((loss.value or 0) - _LN_2) > near:
        return
    moved = abs(margin.value) >= _STILL
    learns = right is not None and _low(right) > 0.5
    detail = f"at the end it is {_told(loss)}, and the margin {_told(margin)}"
    if right:
        detail += f"; {_told(right, per_cent=True)} of the pairs are in order"
    do = "raise `learning_rate` (tenfold is a fair next try) or train longer: the model has hardly moved"
    if moved and not learns:
        do = "look at the labels with `concord audit`: the model moves, but not towards the better replies"
    title = "The loss has stayed at ln 2, which is what it costs not to know the better reply"
    yield _finding("stuck", title, detail=detail, do=do)


def _no_signal(case: _Case) -> Iterator[Finding]:
    right = case.end(*_ACCURACIES)
    if right is None or case.found & {"rising", "stuck"}:
        return
    if _low(right) <= 0.5 and _high(right) < RULES["no_signal"].threshold:
        what = "reward model" if case.course("accuracy") else "model"
        title = f"The {what} puts the better reply first no more often than a coin would"
        detail = f"at the end {_told(right, per_cent=True)} of the training pairs are in order"
        do = (
            "look with `concord audit` whether preferences contradict each other or chosen and rejected are"
            " exchanged; if they are sound, raise `learning_rate` or train longer"
        )
        yield _finding("no_signal", title, detail=detail, do=do)


def _overtrained(case: _Case) -> Iterator[Finding]:
    course = [(step, value) for step, value in case.course("eval_loss") if isfinite(value)]
    if len(course) < _FEWEST or "rising" in case.found:
        return
    best, lowest = min(course, key=lambda point: point[1])
    last = course[-1][1]
    if last - lowest <= RULES["overtrained"].threshold * abs(lowest):
        return
    since = f"step {best:g}" if best else "the beginning"
    detail = f"it was {lowest:.3g} then and is {last:.3g} at the end"
    shares = [value for _, value in case.course(*(f"eval_{name}" for name in _ACCURACIES))]
    if shares and shares[-1] >= max(shares):
        detail += ", though held-out pairs are in order as often as ever: too sure, rather than wrong"
    sooner = f"train to step {best:g} only (`max_steps: {best:g}`), or " if best else ""
    do = f"{sooner}{case.nearer}, or gather more rows"
    title = f"The loss on held-out rows has risen since {since}"
    yield _finding("overtrained", title, detail=detail, do=do)


def _flat(case: _Case) -> Iterator[Finding]:
    change = _change(case.course("loss"))
    if change is None or case.moves or case.found & {"rising", "stuck", "no_signal", "overtrained"}:
        return
    if _high(change) >= 0 and len(case.course("loss")) >= _MANY:
        detail = f"the last quarter of the steps differs from the first by {_told(change)}"
        do = "raise `learning_rate` or train longer; for a model that was trained on such rows it is no fault"
        yield _finding("flat", "The loss has not fallen", detail=detail, do=do)


def _memorised(case: _Case) -> Iterator[Finding]:
    right = case.end(*_ACCURACIES)
    held = case.course(*(f"eval_{name}" for name in _ACCURACIES))
    if right is not None and held and _low(right) - held[-1][1] >= RULES["memorised"].threshold:
        title = "The training pairs are in order far more often than held-out ones"
        detail = f"{_told(right, per_cent=True)} against {100 * held[-1][1]:.3g}%"
        do = "train for fewer epochs, gather more prompts, and believe the held-out figure"
        yield _finding("memorised", title, detail=detail, do=do)


# --- where the model has gone -----------------------------------------------------------------------------


def _fall(case: _Case, side: str) -> tuple[Estimate, float] | None:
    """By how much the replies of a side have become dearer, above 0 for sure, and what share of their cost.

    In nats against the reference where there is one; else in rewards, the last quarter against the first.
    """
    rewards, logps = case.course(f"rewards/{side}"), case.course(f"logps/{side}")
    reference, beta = case.course(f"logps/ref_{side}"), case.setting("beta")
    if min(len(rewards), len(logps)) < RULES["short"].threshold:
        return None
    if len(reference) == len(logps):
        lost = [(step, ref - now) for (step, ref), (_, now) in zip(reference, logps, strict=True)]
        more, costs = mean_of(ends_of(lost)[1]), ends_of(reference)[1]
    elif case.referenced and beta:
        more = mean_of([-value / beta for value in ends_of(rewards)[1]])
        costs = ends_of(logps)[1]
    else:
        more, costs = _change([(step, -value) for step, value in rewards]), ends_of(rewards)[0]
    base = fmean(map(abs, costs))
    return (more, (more.value or 0.0) / base) if more and _low(more) > 0 and base > 0 else None


def _both_fall(case: _Case) -> Iterator[Finding]:
    chosen, rejected = _fall(case, "chosen"), _fall(case, "rejected")
    if chosen is None or rejected is None or chosen[1] < RULES["both_fall"].threshold:
        return
    if "rising" in case.found:  # which throws away everything, and not for the sake of an order
        return
    than = "nats more than under the reference" if case.referenced else "more in reward than at the beginning"
    detail = (
        f"chosen replies cost {_told(chosen[0])} {than} ({100 * chosen[1]:.2g}%), rejected ones"
        f" {_told(rejected[0])}"
    )
    title = "Both the chosen and the rejected replies have become less likely"
    yield _finding("both_fall", title, detail=detail, do=f"{_held_up(case)}; or {case.nearer}")


def _held_up(case: _Case) -> str:
    """What keeps chosen replies likely, for rows such as these."""
    if not case.course("rewards/accuracies"):
        return "raise `desirable_weight` of `kto`, or train `apo_zero_unpaired`, which holds good replies up"
    if not case.referenced:
        return "train `cpo` or `orpo`, which imitate the chosen replies too, with more weight on that"
    if case.method == "dpo_nll":
        return "raise `alpha`, the weight of imitation"
    return "train `dpo_nll`, which imitates the chosen replies too, or `apo_zero`, which holds them up"


def _saturated(case: _Case) -> Iterator[Finding]:
    margin, right = case.end(*_MARGINS), case.end(*_ACCURACIES)
    if margin is None or right is None or (right.value or 0.0) < _SURE:
        return
    if _low(margin) > RULES["saturated"].threshold:
        title = "The model is sure of nearly every pair, and more steps would change little"
        detail = f"the margin is {_told(margin)} at the end, with {_told(right, per_cent=True)} in order"
        do = f"stop earlier, or {case.nearer}; look whether held-out pairs are as easy"
        yield _finding("saturated", title, detail=detail, do=do)


def _kl(case: _Case) -> Iterator[Finding]:
    gone = case.end("objective/kl")
    if gone is not None and _low(gone) > RULES["kl"].threshold:
        title = "The model has gone far from its reference"
        detail = f"its own replies are {_told(gone)} nats from it at the end"
        yield _finding("kl", title, detail=detail, do=f"{case.nearer}, or stop earlier")


_MAKERS: Sequence[Callable[[_Case], Iterator[Finding]]] = (
    _not_finite,
    _short,
    _rising,
    _stuck,
    _no_signal,
    _overtrained,
    _flat,
    _memorised,
    _both_fall,
    _warming,
    _kl,
    _spikes,
    _clipped,
    _saturated,
)
