"""Waits grow, are shared out by chance, and are never shorter than what was asked for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.policies.patience import Patience, retry_after


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_wait_is_between_half_and_all_of_a_growing_bound(number: int, chance: float) -> None:
    patience = Patience(first_wait=0.5, longest_wait=60)
    bound = min(60.0, 0.5 * 2 ** min(number, 20))
    wait = patience.wait(number, chance=chance)
    assert wait is not None
    assert bound / 2 <= wait <= bound


@given(st.floats(0, 60), st.floats(0, 1))
def test_what_is_asked_for_is_the_least(asked: float, chance: float) -> None:
    wait = Patience().wait(0, chance=chance, asked=asked)
    assert wait is not None
    assert asked <= wait <= asked + 0.5


def test_more_than_there_is_patience_for_is_given_up() -> None:
    assert Patience(longest_wait=5).wait(0, chance=0, asked=5.1) is None


@pytest.mark.parametrize(
    "setting",
    [{"tries": 0}, {"tries": 1.5}, {"connect": 0}, {"read": -1}, {"whole": float("nan")}],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(InputError, match=f"{name} of a patience is out of range"):
        Patience(**setting)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:20 GMT"}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
        ({"retry-after": "Tue, 14 Nov"}, None),
    ],
)
def test_every_spelling_of_a_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, today=1_700_000_000) == seconds
