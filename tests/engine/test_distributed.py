"""Two processes have the gradients of one, whatever an engine is wrapped in; what would not is refused."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from tests.engine.ranks import (
    CONTROL,
    REFUSED,
    RIGHT,
    TIGHT,
    WORLD,
    Combination,
    Found,
    all_combinations,
    kept_tables,
    run,
    tables,
    works,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What two processes found: they run once, however many share these tests."""
    base = tmp_path_factory.getbasetemp()
    # The workers of one run have folders of their own in one that is the run's.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ranks"
    folder.mkdir(exist_ok=True)
    kept = [folder / f"{rank}.json" for rank in range(WORLD)]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(map(Path.exists, kept)):
            run(folder)
    return [json.loads(file.read_text()) for file in kept]


@pytest.mark.parametrize("combination", all_combinations(), ids=lambda one: one.name)
def test_a_combination_has_the_gradients_of_one_process_or_is_refused(
    combination: Combination, found: list[Found]
) -> None:
    refused = all("use the rows layout" in one[combination.name].get("refused", "") for one in found)
    assert works(combination, found) or refused, [one[combination.name] for one in found]


@pytest.mark.parametrize("name", RIGHT)
def test_what_else_is_right(name: str, found: list[Found]) -> None:
    assert all(one[name].get("apart", 1.0) < TIGHT for one in found), [one[name] for one in found]


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_wrong_is_refused_on_every_rank(name: str, found: list[Found]) -> None:
    for one in found:
        said = one[name].get("refused", one[name])
        assert all(part in said for part in ("; found ", "; accepted: ", "; to do: ")), said


def test_calling_the_engine_past_its_wrapper_would_be_seen_here(found: list[Found]) -> None:
    assert all(one[CONTROL]["apart"] > 0.1 for one in found)


def test_the_tables_of_the_docs_are_what_was_found(found: list[Found]) -> None:
    assert kept_tables() == tables(found), "run python -m tests.engine.ranks"
