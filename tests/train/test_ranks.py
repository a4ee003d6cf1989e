"""Two processes take the step that one takes alone, for every objective and however they share the model."""

import pytest

from tests.train.made import offline
from tests.train.ranks import SHARDED, Found, run

pytestmark = pytest.mark.slow

ALL = [*(f"{name}; ddp" for name in offline()), *(f"{name}; fsdp" for name in SHARDED)]
HEADS = {name for name, card in offline().items() if "head" in card.needs}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What both processes found: they run once."""
    return run(tmp_path_factory.mktemp("ranks"))


def test_two_ranks_take_the_step_of_one(found: list[Found]) -> None:
    # In one test, for all share one run of two processes.
    for one in found:
        assert set(one) == set(ALL)
        for name, apart in one.items():
            # Further heads are float32 whatever the model is.
            tight = 1e-6 if name.partition(";")[0] in HEADS else 1e-7
            assert apart["gradient"] < tight, (name, apart)
            assert apart["names"], name
            for what in ("loss", "eval", "metrics"):
                assert apart[what] < 1e-4, (name, apart)
            assert apart["tokens"] > 0
