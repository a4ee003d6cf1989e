"""An account counts what is spent and lets nothing begin that could pass its ceiling."""

import asyncio
from typing import Any

import pytest

from concord.errors import InputError
from concord.policies.ledger import Account, Prices
from concord.types import Usage

PRICES = Prices(prompt=3.0, new=15.0)


def test_prices_are_for_a_million() -> None:
    assert PRICES.cost(1_000_000, 0) == 3.0
    assert PRICES.cost(0, 200_000) == 3.0
    assert Account(PRICES).cost(10, 2) == pytest.approx(60e-6, rel=1e-12)
    assert Account().cost(10, 2) == 0.0


@pytest.mark.parametrize("prices", [(-1, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_prices_out_of_range_are_refused(prices: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="a price is out of range"):
        Prices(prompt=prices[0], new=prices[1])


@pytest.mark.parametrize("account", [{"ceiling": 0}, {"ceiling": -1}, {"ceiling": float("nan")}])
def test_a_ceiling_out_of_range_is_refused(account: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="the ceiling of an account"):
        Account(PRICES, **account)


def test_a_ceiling_wants_prices() -> None:
    with pytest.raises(InputError, match="a ceiling without prices"):
        Account(ceiling=1)


def test_what_is_paid_adds_up() -> None:
    account = Account(PRICES)
    account.pay(Usage(calls=1, cost=0.5))
    assert account.pay(Usage(calls=1, cost=0.25), lost=True) == Usage(calls=1, cost=0.25)
    assert (account.spent, account.lost) == (Usage(calls=2, cost=0.75), 1)


def test_accounts_of_other_prices_may_have_one_purse() -> None:
    purse = Account(PRICES, ceiling=10)
    cheap, dear = Account(Prices(prompt=0, new=1), purse=purse), Account(Prices(prompt=0, new=9), purse=purse)
    free = Account(purse=purse)
    assert [one.cost(0, 1_000_000) for one in (cheap, dear, free)] == [1, 9, 0]
    assert [one.ceiling for one in (cheap, dear, free)] == [10, 10, 10]

    async def spend(account: Account, most: float) -> bool:
        async with account.room(most) as granted:
            if granted:
                account.pay(Usage(calls=1, cost=most), lost=most == 1)
            return granted

    async def all_of_them() -> list[bool]:
        return [await spend(dear, 9), await spend(dear, 9), await spend(cheap, 1), await spend(free, 0)]

    assert asyncio.run(all_of_them()) == [True, False, True, True]
    assert [one.spent.cost for one in (cheap, dear, free, purse)] == [1, 9, 0, 10]
    assert [one.paid for one in (cheap, dear, free, purse)] == [10, 10, 10, 10]
    assert (purse.spent.calls, purse.lost, dear.lost) == (3, 1, 0)
    with pytest.raises(InputError, match="an account with a purse has its ceiling"):
        Account(PRICES, ceiling=1, purse=purse)


def test_who_finds_no_room_waits_while_it_may_come_free() -> None:
    account, order = Account(PRICES, ceiling=10), list[str]()

    async def spend(name: str, most: float, cost: float) -> None:
        async with account.room(most) as granted:
            order.append(f"{name} {granted}")
            await asyncio.sleep(0)
            if granted:
                account.pay(Usage(cost=cost))

    async def all_of_them() -> None:
        await asyncio.gather(spend("a", 8, 1), spend("b", 8, 5), spend("c", 8, 1), spend("d", 4, 4))

    asyncio.run(all_of_them())
    # While a's 8 are set aside nobody else fits; b does after it; behind b's 5, c never will and d does.
    assert order[:2] == ["a True", "b True"]
    assert sorted(order[2:]) == ["c False", "d True"]
    assert account.spent.cost == 10


def test_who_is_cancelled_while_waiting_takes_no_room() -> None:
    account = Account(PRICES, ceiling=10)

    async def cancelled() -> None:
        async with account.room(10):
            waiting = asyncio.create_task(account.room(10).__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with account.room(10) as granted:
            assert granted

    asyncio.run(cancelled())


def test_without_a_ceiling_there_is_always_room() -> None:
    async def plenty() -> None:
        async with Account(PRICES).room(1e300) as granted:
            assert granted

    asyncio.run(plenty())
