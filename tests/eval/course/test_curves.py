"""What curves say: each finding where it belongs, at its threshold, and nothing of a sound run."""

import random
import re
from collections.abc import Callable, Mapping
from math import inf, log, nan
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.catalogue import load
from concord.data import Finding
from concord.estimates import t_quantile
from concord.eval.course.curves import RULES, course_of, ends_of, mean_of, read_curves

DPO = {"method": "dpo", "beta": 0.1, "learning_rate": 5e-7, "max_grad_norm": 1.0}
LN_2 = log(2)

Row = dict[str, float]
At = Callable[[float], float]


def logged(
    steps: int = 60,
    *,
    noise: float = 0.02,
    seed: int = 0,
    given: Mapping[str, At | float] | None = None,
    **courses: At | float,
) -> list[Row]:
    """Rows of a run: each number as it goes from 0 to 1 of the run, with noise of its own size."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for step in range(1, steps + 1):
        row: Row = {"step": step}
        for name, course in {**(given or {}), **courses}.items():
            middle = course((step - 1) / max(steps - 1, 1)) if callable(course) else course
            row[name.replace("__", "/")] = middle + chance.gauss(0, noise)
        rows.append(row)
    return rows


def sound(seed: int = 0, steps: int = 60) -> list[Row]:
    """A DPO run as one wishes it."""
    return logged(
        steps,
        seed=seed,
        loss=lambda t: LN_2 - 0.2 * t,
        rewards__accuracies=lambda t: 0.5 + 0.25 * t,
        rewards__margins=lambda t: 0.6 * t,
        rewards__chosen=lambda t: 0.2 * t,
        rewards__rejected=lambda t: -0.4 * t,
        logps__chosen=lambda t: -100 + 2 * t,
        logps__rejected=lambda t: -110 - 4 * t,
        logps__ref_chosen=-100,
        logps__ref_rejected=-110,
        grad_norm=0.5,
    )


def changed(rows: list[Row], **courses: At | float) -> list[Row]:
    """The rows with some numbers going otherwise."""
    others = logged(len(rows), seed=7, given=courses)
    return [row | {name: other[name] for name in other} for row, other in zip(rows, others, strict=True)]


def held_out(rows: list[Row], name: str, values: list[float]) -> list[Row]:
    """The rows with evaluations at equal distances, the last one at the end."""
    every = len(rows) // len(values)
    added = [{"step": float(every * (at + 1)), name: value} for at, value in enumerate(values)]
    return [*rows, *added]


def named(rows: list[Row], settings: Mapping[str, object] = DPO) -> dict[str, Finding]:
    return {one.name: one for one in read_curves(rows, settings=settings)}


CASES: dict[str, list[Row]] = {
    "not_finite": [*sound(), {"step": 61, "loss": nan, "grad_norm": inf}],
    "short": sound(steps=7),
    "stuck": changed(sound(), loss=LN_2, rewards__margins=0.0, rewards__accuracies=0.5),
    "no_signal": changed(sound(), rewards__accuracies=0.5),
    "rising": changed(sound(), loss=lambda t: LN_2 + 0.3 * t),
    "flat": changed(sound(), loss=0.65),
    "overtrained": held_out(sound(), "eval_loss", [0.66, 0.6, 0.58, 0.61, 0.65]),
    "memorised": held_out(
        changed(sound(), rewards__accuracies=0.95), "eval_rewards/accuracies", [0.5, 0.55, 0.56]
    ),
    "both_fall": changed(
        sound(),
        rewards__chosen=lambda t: -0.8 * t,
        logps__chosen=lambda t: -100 - 8 * t,
        rewards__rejected=lambda t: -1.4 * t,
        logps__rejected=lambda t: -110 - 14 * t,
    ),
    "warming": [row | {"learning_rate": 1e-8 * row["step"]} for row in sound()],
    "kl": changed(sound(), objective__kl=lambda t: 90 * t),
    "spikes": [row | ({"grad_norm": 40.0} if row["step"] == 30 else {}) for row in sound()],
    "clipped": changed(sound(), grad_norm=30.0),
    "saturated": changed(sound(), rewards__margins=lambda t: 9 * t, rewards__accuracies=0.99),
}


def test_every_finding_is_made_where_it_belongs_and_no_graver_one_beside_it() -> None:
    assert CASES.keys() == RULES.keys()
    for name, rows in CASES.items():
        found = read_curves(rows, settings=DPO)
        assert name in [one.name for one in found], name
        others = [one for one in found if one.name != name and one.severity != "note"]
        assert not others, (name, others)
        for one in found:
            assert one.severity == RULES[one.name].severity
            assert one.title
            assert one.detail.endswith(".")
            assert one.do.endswith(".")


@given(st.integers(0, 10_000))
def test_nothing_is_said_against_a_sound_run(seed: int) -> None:
    assert read_curves(sound(seed), settings=DPO) == ()


def test_chance_alone_makes_a_finding_as_seldom_as_its_interval_says() -> None:
    """A loss that goes nowhere is called rising in one run of forty: the upper tail of a 95% interval."""
    runs = [named(logged(40, seed=seed, noise=0.3, loss=2.0), {}) for seed in range(400)]
    assert sum("rising" in one for one in runs) < 400 * 0.045
    assert sum("flat" in one for one in runs) > 400 * 0.93


def test_what_to_do_names_things_that_there_are() -> None:
    entries = load()
    known = {entry.name for entry in entries} | {knob for entry in entries for knob in entry.knobs}
    known |= {"learning_rate", "max_steps", "warmup_steps", "warmup_ratio", "max_grad_norm", "logging_steps"}
    for settings in (DPO, {}, {"method": "dpo_nll", "beta": 1.0}, {"method": "simpo", "beta": 2.0}):
        for rows in CASES.values():
            for one in read_curves(rows, settings=settings):
                for code in re.findall(r"`([^`]+)`", one.do):
                    word = re.split(r"[: ]", code)[0]
                    assert word == "concord" or word in known, code


def test_the_gravest_comes_first() -> None:
    rows = changed(CASES["not_finite"][:-1], grad_norm=30.0, loss=lambda t: LN_2 + t)
    found = read_curves([*rows, {"step": 61, "loss": inf}], settings=DPO)
    assert [one.severity for one in found] == ["stop", "warn", "note"]
    assert found[0].title == "The loss is no number at step 61"


def test_a_run_that_has_logged_nothing_is_short_and_no_more() -> None:
    assert [one.name for one in read_curves([])] == ["short"]
    (one,) = read_curves([{"step": 1, "loss": 0.7}])
    assert one.title == "1 logged step is too few to judge the curves"


# --- each in turn -----------------------------------------------------------------------------------------


def test_a_stuck_loss_is_told_apart_by_whether_the_model_moves() -> None:
    still = named(CASES["stuck"])["stuck"]
    assert "tenfold" in still.do
    moves = changed(CASES["stuck"], rewards__margins=0.2)
    assert "concord audit" in named(moves)["stuck"].do
    slow = changed(CASES["stuck"], rewards__margins=0.2, rewards__accuracies=0.6)
    assert "tenfold" in named(slow)["stuck"].do
    # A fine-tuning loss may come to 0.693 by itself: there is no margin then.
    assert "stuck" not in named(logged(loss=LN_2), {"method": "sft"})


def test_no_signal_needs_a_share_that_is_surely_low() -> None:
    assert "no_signal" not in named(changed(sound(), rewards__accuracies=0.56))
    few = logged(9, noise=0.15, loss=lambda t: 0.6 - 0.1 * t, rewards__accuracies=0.5, rewards__margins=0.3)
    assert "no_signal" not in named(few), "three noisy steps do not tell"
    reward_model = logged(loss=lambda t: 0.68 - 0.03 * t, accuracy=0.5, margin=0.02)
    assert named(reward_model, {"method": "bradley_terry"})["no_signal"].title.startswith("The reward model")
    worse = changed(sound(), rewards__accuracies=0.3)
    assert "exchanged" in named(worse)["no_signal"].do


def test_a_loss_that_was_thrown_up_at_once_has_risen_too() -> None:
    thrown = changed(sound(), loss=lambda t: LN_2 if t == 0 else 3.0, rewards__accuracies=0.5)
    found = named(thrown)
    assert list(found) == ["rising"], "nothing that would raise the learning rate"
    assert "lower `learning_rate`" in found["rising"].do.lower()
    assert "it began at 0.6" in found["rising"].detail.lower()


def test_the_direction_of_a_loss_is_not_judged_against_a_reference_that_moves() -> None:
    assert "rising" in named(CASES["rising"])
    assert not named(CASES["rising"], DPO | {"reference_sync_steps": 16})


def test_over_training_says_where_to_stop() -> None:
    one = named(CASES["overtrained"])["overtrained"]
    assert "step 36" in one.title
    assert "`max_steps: 36`" in one.do
    assert "in order" not in one.detail
    better = held_out(CASES["overtrained"], "eval_rewards/accuracies", [0.5, 0.6, 0.61])
    assert "too sure" in named(better)["overtrained"].detail
    from_the_start = named([*sound(), *({"step": at, "eval_loss": 0.6 + at / 100} for at in (0, 20, 40))])
    assert "since the beginning" in from_the_start["overtrained"].title
    assert "max_steps" not in from_the_start["overtrained"].do
    at_the_edge = [0.6, 0.5, 0.5 * 1.0499]
    assert "overtrained" not in named(held_out(sound(), "eval_loss", at_the_edge))
    assert "overtrained" in named(held_out(sound(), "eval_loss", [0.6, 0.5, 0.5 * 1.0501]))
    assert "overtrained" not in named(held_out(sound(), "eval_loss", [0.5, 0.6])), "two are no course"


def test_both_sides_must_fall_and_by_enough() -> None:
    one = named(CASES["both_fall"])["both_fall"]
    assert "nats more than under the reference (7%)" in one.detail
    assert "`dpo_nll`" in one.do
    assert "`alpha`" in named(CASES["both_fall"], DPO | {"method": "dpo_nll"})["both_fall"].do
    up = changed(CASES["both_fall"], logps__rejected=lambda t: -110 + 3 * t)
    assert "both_fall" not in named(up)
    little = changed(CASES["both_fall"], logps__chosen=lambda t: -100 - 1.5 * t)
    assert "both_fall" not in named(little)


def test_falling_replies_are_seen_without_the_columns_of_a_reference() -> None:
    courses: dict[str, At | float] = {
        "rewards/chosen": lambda t: -0.8 * t,
        "rewards/rejected": lambda t: -1.2 * t,
        "logps/chosen": lambda t: -100 - 8 * t,
        "logps/rejected": lambda t: -100 - 12 * t,
        "loss": lambda t: 0.5 - 0.1 * t,
    }
    kto = named(logged(given=courses), {"method": "kto", "beta": 0.1})["both_fall"]
    assert "than under the reference" in kto.detail
    assert "`apo_zero_unpaired`" in kto.do
    pairs = logged(given=courses, rewards__accuracies=0.7, rewards__margins=0.4)
    shifted = [
        row | {side: row[side] - 10 for side in ("rewards/chosen", "rewards/rejected")} for row in pairs
    ]
    simpo = named(shifted, {"method": "simpo", "beta": 0.1})["both_fall"]
    assert "than at the beginning" in simpo.detail
    assert "`cpo`" in simpo.do


def test_a_rate_that_has_come_down_was_warmed_up() -> None:
    up_and_down = [min(step, 70 - step) * 1e-8 for step in range(1, 61)]
    rows = [row | {"learning_rate": rate} for row, rate in zip(sound(), up_and_down, strict=True)]
    assert named(rows) == {}
    constant = [row | {"learning_rate": 1e-6} for row in sound()]
    assert named(constant) == {}


def test_spikes_are_counted_and_named() -> None:
    spikes = {10: 40.0, 20: 60.0, 30: 5.1, 40: 4.0}
    rows = [
        row | ({"grad_norm": spikes[at]} if (at := int(row["step"])) in spikes else {}) for row in sound()
    ]
    one = named(rows)["spikes"]
    assert one.title.endswith("at 3 logged steps")
    assert "10, 20, 30." in one.detail
    assert named(CASES["spikes"])["spikes"].title.endswith("at 1 logged step")


def test_clipping_is_judged_only_where_there_is_a_limit() -> None:
    assert named(CASES["clipped"], DPO | {"max_grad_norm": 0.0}) == {}
    assert named(CASES["clipped"], DPO | {"max_grad_norm": 40.0}) == {}


# --- windows and means ------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), max_size=40))
def test_the_ends_of_a_course_do_not_overlap(values: list[float]) -> None:
    first, last = ends_of(list(enumerate(values)))
    assert len(first) == len(last) == min(max(3, len(values) // 4), len(values) // 2)
    assert [*first] == values[: len(first)]
    assert [*last] == values[len(values) - len(last) :]


def test_what_is_no_number_is_in_no_mean() -> None:
    course = course_of([{"step": 1, "loss": nan}, {"step": 2}, {"step": 3, "loss": 1.0}], "loss")
    assert [step for step, _ in course] == [1, 3]
    assert ends_of([(1, nan), (2, 1.0), (3, 2.0), (4, inf)]) == ([1.0], [2.0])


def test_the_interval_of_a_mean() -> None:
    values = [1.0, 2.0, 4.0, 5.0]
    one = mean_of(values)
    assert one.value == 3.0
    assert one.interval is not None
    half = t_quantile(0.95, 3) * stdev(values) / 2
    assert (one.interval.low, one.interval.high) == pytest.approx((3 - half, 3 + half))
    assert half == pytest.approx(2.906, abs=1e-3)
    assert mean_of([1.0]).interval is None
    assert mean_of([]).value is None
