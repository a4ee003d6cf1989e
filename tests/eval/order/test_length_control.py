"""Length control: parameters that are known come back, and what it must not depend on."""

from math import exp, tanh
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.order.length_control import LengthFit, fit_length, gap_warning, length_control_results

# Ours are mostly shorter; a fixed walk through both ranges, so that no chance is in it.
LONGER = [float((37 * place) % 401 - 300) for place in range(300)]
DIFFICULTY = [((53 * place) % 97) / 20 - 2.4 for place in range(300)]


def sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-logit))


def verdicts(*, theta: float, phi: float, psi: float = 0.0, longer: list[float] = LONGER) -> list[float]:
    """The soft labels that a judge with these parameters gives."""
    spread = stdev(longer)
    both = zip(longer, DIFFICULTY, strict=True)
    return [sigmoid(theta + phi * tanh(more / spread) + psi * hard) for more, hard in both]


def lengths(longer: list[float]) -> list[tuple[float, float]]:
    return [(1000 + more, 1000) for more in longer]


# --- the fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("theta", "phi", "psi"), [(0.4, 1.3, -0.7), (-1.2, 0.3, 0.2), (0.0, 2.5, 1.0)])
def test_known_parameters_are_recovered(theta: float, phi: float, psi: float) -> None:
    found = fit_length(verdicts(theta=theta, phi=phi, psi=psi), LONGER, difficulty=DIFFICULTY)
    assert (found.theta, found.phi, found.psi) == pytest.approx((theta, phi, psi), abs=1e-3)
    assert not found.separated
    wanted = fmean(sigmoid(theta + psi * hard) for hard in DIFFICULTY)
    assert found.win_rate(DIFFICULTY) == pytest.approx(wanted, abs=1e-4)


def test_verdicts_that_follow_from_length_alone_are_even_at_equal_lengths() -> None:
    judged = verdicts(theta=0.0, phi=1.5)
    assert fmean(judged) < 0.36
    found = fit_length(judged, LONGER)
    assert found.win_rate() == pytest.approx(0.5, abs=1e-5)
    assert found.phi == pytest.approx(1.5, abs=1e-3)


def test_two_models_are_predicted_without_having_met() -> None:
    one = fit_length(verdicts(theta=0.4, phi=1.3, psi=-0.7), LONGER, difficulty=DIFFICULTY)
    two = fit_length(verdicts(theta=-0.2, phi=0.5, psi=0.3), LONGER, difficulty=DIFFICULTY)
    for hard in ((0.0,), (1.5,), DIFFICULTY):
        assert one.against(two, hard) + two.against(one, hard) == pytest.approx(1)
    assert one.against(two) == pytest.approx(sigmoid(0.6), abs=1e-4)
    assert one.against(two, [2.0]) == pytest.approx(sigmoid(0.6 - 2.0), abs=1e-3)
    assert one.against(one, DIFFICULTY) == 0.5
    baseline = LengthFit(theta=0.0, phi=0.0)
    assert one.against(baseline, DIFFICULTY) == one.win_rate(DIFFICULTY)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30), st.sampled_from([0.0, 7.1]))
def test_replies_of_one_length_leave_the_win_rate_as_it_is(judged: list[float], longer: float) -> None:
    found = fit_length(judged, [longer] * len(judged))
    assert found.win_rate() == pytest.approx(fmean(judged), abs=1e-4)
    assert found.phi == 0


@pytest.mark.parametrize("unit", [0.001, 4.0, 1e6])
def test_the_unit_of_length_does_not_matter(unit: float) -> None:
    judged = verdicts(theta=0.4, phi=1.3)
    wanted, found = fit_length(judged, LONGER), fit_length(judged, [unit * more for more in LONGER])
    assert (found.theta, found.phi) == pytest.approx((wanted.theta, wanted.phi))


def test_exchanging_the_two_models_exchanges_the_win_rate() -> None:
    judged = verdicts(theta=0.4, phi=1.3)
    one = fit_length(judged, LONGER)
    other = fit_length([1 - share for share in judged], [-more for more in LONGER])
    assert one.win_rate() + other.win_rate() == pytest.approx(1)
    assert one.phi == pytest.approx(other.phi)


def test_verdicts_without_exception_leave_finite_parameters() -> None:
    by_length = fit_length([float(more > 0) for more in LONGER], LONGER)
    assert by_length.separated
    assert by_length.win_rate() == pytest.approx(0.5, abs=0.1)
    ours = fit_length([1.0] * 50, list(map(float, range(50))))
    assert ours.separated
    assert ours.win_rate() > 0.99
    assert fit_length([0.0] * 50, [0.0] * 50).win_rate() < 0.01


# --- results ----------------------------------------------------------------------------------------------


def hits(judged: list[float]) -> list[float | None]:
    """Verdicts of either kind, as often as they are likely."""
    found: list[float | None] = []
    carried = 0.0
    for share in judged:
        carried += share
        found.append(float(carried >= 1))
        carried -= carried >= 1
    return found


def test_results_of_a_judge_that_favours_length() -> None:
    judged = hits(verdicts(theta=0.0, phi=1.5))
    rate, longer = length_control_results(judged, lengths(LONGER))
    raw = fmean(one for one in judged if one is not None)
    assert (rate.name, rate.n, rate.failures) == ("length_controlled_win_rate", 300, 0)
    assert rate.value is not None
    assert rate.interval is not None
    assert raw < 0.36 < rate.interval.low < 0.5 < rate.interval.high
    assert "minimal" in rate.how
    assert "not comparable" in rate.how
    assert longer.value == pytest.approx(fmean(LONGER))
    assert "length control moves" not in rate.how


def test_a_correction_that_is_too_large_is_said() -> None:
    judged = hits(verdicts(theta=0.0, phi=4.0))
    rate = length_control_results(judged, lengths(LONGER))[0]
    assert rate.value is not None
    assert gap_warning(fmean(one for one in judged if one is not None), rate.value)
    assert "length control moves the win rate from" in rate.how


def test_pairs_without_a_verdict_or_a_length_are_left_out_and_counted() -> None:
    judged, sizes = hits(verdicts(theta=0.4, phi=1.3)), lengths(LONGER)
    wanted = length_control_results(judged, sizes)[0]
    found = length_control_results([None, *judged, 1.0], [(5, 9000), *sizes, None])[0]
    assert (found.value, found.n, found.failures) == (pytest.approx(wanted.value), 300, 2)
    clustered = length_control_results(judged, sizes, clusters=([place // 50 for place in range(300)],))[0]
    assert clustered.value == wanted.value
    assert clustered.interval != wanted.interval


def test_difficulty_goes_with_the_pairs_that_are_there() -> None:
    judged = verdicts(theta=0.4, phi=1.3, psi=-0.7)
    found = length_control_results(
        [None, *judged], [(1, 1), *lengths(LONGER)], difficulty=[99.0, *DIFFICULTY]
    )
    wanted = fmean(sigmoid(0.4 - 0.7 * hard) for hard in DIFFICULTY)
    assert found[0].value == pytest.approx(wanted, abs=1e-4)


def test_verdicts_without_exception_are_said() -> None:
    assert "without exception" in length_control_results([1.0] * 20, lengths(LONGER[:20]))[0].how


def test_no_verdict_at_all() -> None:
    rate, longer = length_control_results([None, None], [(3, 1), None])
    assert (rate.value, rate.failures) == (None, 2)
    assert "why the judge gives none" in rate.why_none
    assert longer.value == 2


@pytest.mark.parametrize(
    ("raw", "controlled", "fine"),
    [
        (0.5, 0.5, True),
        (0.8, 0.61, True),
        (0.8, 0.59, False),
        (0.2, 0.39, True),
        (0.2, 0.41, False),
        (0.04, 0.0, True),  # a tenth is allowed even where a quarter is less
        (0.96, 1.0, True),
    ],
)
def test_the_published_rule_for_gaps(raw: float, controlled: float, *, fine: bool) -> None:
    assert (gap_warning(raw, controlled) == "") is fine


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match=r"differ in number; found \[1, 2\].*None where"):
        fit_length([0.5], [1.0, 2.0])
    with pytest.raises(InputError, match=r"a preference is a probability; found 1.5"):
        fit_length([1.5], [1.0])
    with pytest.raises(InputError, match=r"not finite; found inf"):
        fit_length([0.5, 0.5], [1.0, float("inf")])
    with pytest.raises(InputError, match="nothing to fit"):
        fit_length([], [])
