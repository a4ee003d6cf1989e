"""Every worked value of the specification is reproduced by our functions, values and gradients alike."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from tests.objectives.worked import BY_NAME, SKIPPED, VECTORS, WORKED

TOLERANCE = 2e-9  # the file has ten decimals
LOOSER = {
    "prm_easy_to_hard_shaped_reward": 1e-6,  # the released code divides by the number of steps + 1e-6
}


def test_every_entry_is_used() -> None:
    assert len(BY_NAME) == VECTORS["meta"]["n_vectors"] == 111
    assert set(WORKED) == set(BY_NAME)
    assert set(SKIPPED) <= set(BY_NAME)


def compare(ours: Any, theirs: Any, where: str, tolerance: float = TOLERANCE) -> None:
    if isinstance(theirs, Mapping):
        for key, value in theirs.items():
            assert key in ours, f"{where}.{key}: nothing of ours is compared with it"
            compare(ours[key], value, f"{where}.{key}", tolerance)
    elif (
        theirs is None or isinstance(theirs, str | bool) or (isinstance(theirs, list) and not numeric(theirs))
    ):
        assert ours == theirs, where
    else:
        got = torch.as_tensor(ours, dtype=torch.float64).detach()
        want = torch.as_tensor(theirs, dtype=torch.float64)
        torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance, msg=lambda m: f"{where}: {m}")


def numeric(values: list[Any]) -> bool:
    return all(numeric(v) if isinstance(v, list) else isinstance(v, int | float) for v in values)


@pytest.mark.parametrize("name", list(BY_NAME))
def test_worked_value(name: str) -> None:
    entry = BY_NAME[name]
    skipped = SKIPPED.get(name, {})
    expected = {k: v for k, v in entry["expected"].items() if k not in skipped}
    assert expected, f"{name}: everything is skipped"
    assert set(skipped) <= set(entry["expected"]), f"{name}: a skipped key does not exist"
    ours = WORKED[name](entry["inputs"], entry["params"])
    compare(ours, expected, name, LOOSER.get(name, TOLERANCE))


def test_a_wrong_number_is_noticed() -> None:
    with pytest.raises(AssertionError):
        compare({"a": [1.0, 2.0]}, {"a": [1.0, 2.00001]}, "x")
    with pytest.raises(AssertionError):
        compare({}, {"a": 1.0}, "x")
