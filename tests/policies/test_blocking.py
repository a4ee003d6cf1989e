"""What is asynchronous can be waited for from anywhere, and fails as itself."""

import asyncio
import threading

import pytest

from concord.policies.blocking import blocking, together


async def value(number: int) -> int:
    """A number, a moment later."""
    await asyncio.sleep(0)
    return number


async def wrong() -> int:
    """An error, a moment later."""
    await asyncio.sleep(0)
    raise KeyError("wrong")


def test_it_returns_what_comes_of_it_with_and_without_a_loop() -> None:
    async def cell() -> int:
        return blocking(lambda: value(3))

    assert blocking(lambda: value(3)) == 3
    assert asyncio.run(cell()) == 3


def test_errors_come_through() -> None:
    async def cell() -> None:
        with pytest.raises(KeyError, match="wrong"):
            blocking(wrong)

    with pytest.raises(KeyError, match="wrong"):
        blocking(wrong)
    asyncio.run(cell())
    assert not [one for one in threading.enumerate() if one.name == "concord-endpoint"]


def test_several_come_in_order() -> None:
    assert asyncio.run(together(value(number) for number in range(5))) == [0, 1, 2, 3, 4]
    assert asyncio.run(together(value(0) for _ in ())) == []


def test_one_that_fails_ends_the_others_and_is_raised_itself() -> None:
    ended: list[str] = []

    async def waits() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("yes")
            raise
        return 0

    with pytest.raises(KeyError, match="wrong"):
        asyncio.run(together(job for job in (waits(), wrong(), waits())))
    assert ended == ["yes", "yes"]
