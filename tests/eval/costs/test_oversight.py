"""How much of a gap a pupil of a weak teacher recovers."""

import numpy as np
import pytest

from concord.eval.costs.oversight import gap_recovered, recovered_result


def right(count: int, n: int = 100) -> list[float]:
    return [float(place < count) for place in range(n)]


def test_the_gap_by_hand() -> None:
    assert gap_recovered(60, 75, 80) == 0.75
    assert gap_recovered(60, 60, 80) == 0
    assert gap_recovered(60, 80, 80) == 1
    assert gap_recovered(60, 50, 80) == -0.5
    assert gap_recovered(60, 70, 60) is None
    # The other direction of the metric: errors in place of hits.
    assert gap_recovered(40, 25, 20) == 0.75


def test_the_gap_of_scores_on_the_same_items() -> None:
    found = recovered_result(right(60), right(75), right(80))
    assert found.value == pytest.approx(0.75)
    assert found.interval is not None
    assert 0.4 < found.interval.low < 0.75 < found.interval.high < 1
    wrong = [[1 - one for one in right(count)] for count in (60, 75, 80)]
    turned = recovered_result(*wrong, higher_is_better=False)
    assert turned.value == pytest.approx(0.75)
    assert turned.interval is not None
    assert turned.interval.low == pytest.approx(found.interval.low)
    lacking = recovered_result([None, *right(60)], [1.0, *right(75)], [1.0, *right(80)])
    assert (lacking.value, lacking.n, lacking.failures) == (pytest.approx(0.75), 100, 1)


def test_a_gap_that_may_be_none_is_not_divided_by() -> None:
    for weak, strong in ((60, 62), (62, 60), (60, 60)):
        found = recovered_result(right(weak), right(61), right(strong))
        assert (found.value, found.failures) == (None, 0)
        assert "not measurable" in found.why_none
    assert recovered_result(right(40), right(60), right(80), higher_is_better=False).value is None
    assert recovered_result([0.0] * 3, [1.0] * 3, [1.0] * 3).value is None, "three items show nothing"
    assert recovered_result([0.0], [1.0], [1.0]).value is None
    none = recovered_result([None], [1.0], [1.0])
    assert "no item has a score of all three" in none.why_none


def test_the_interval_holds_the_truth_and_knows_that_items_are_the_same() -> None:
    chance, held, widths = np.random.default_rng(7), 0, list[float]()
    for _ in range(40):
        hard = chance.normal(0, 2, 60)
        weak, pupil, strong = (hard + more + chance.normal(0, 0.5, 60) for more in (0.0, 0.6, 1.0))
        ends = recovered_result(weak.tolist(), pupil.tolist(), strong.tolist()).interval
        assert ends is not None
        held += ends.low <= 0.6 <= ends.high
        widths.append(ends.high - ends.low)
    assert held >= 35
    # Taken for independent, what is gained and the gap would be off by 0.4 and 0.6 of it, and far wider.
    assert np.mean(widths) < 0.5
