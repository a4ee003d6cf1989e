"""What an endpoint has cost, and the ceiling under which it stays."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from concord.errors import NOTHING, InputError, explain
from concord.messages import is_number
from concord.results import Usage

__all__ = ["Account", "Prices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a million tokens cost, in whatever currency: those of prompts, and the new ones."""

    prompt: float
    new: float

    def __post_init__(self) -> None:
        for price in (self.prompt, self.new):
            if not (is_number(price) and price >= 0):
                wrong, do = "a price is out of range", "give what a million tokens cost"
                raise InputError(explain(wrong, found=price, accepted="0 or above", do=do))

    def cost(self, prompt_tokens: float, new_tokens: float) -> float:
        """What these tokens cost."""
        return (prompt_tokens * self.prompt + new_tokens * self.new) / 1e6


class Account:
    """Counts what is spent, and lets nothing begin that could pass the ceiling.

    Before a request is sent, the most that it can cost is set aside; when its answer is there, what it did
    cost is paid and the rest is free again. A request whose answer was lost counts as the most, since it may
    be on the bill. So the ceiling holds whatever comes back, as far as the bound does (`wires.longest`).
    """

    def __init__(
        self,
        prices: Prices | None = None,
        *,
        ceiling: float | None = None,
        purse: "Account | None" = None,
    ) -> None:
        """`ceiling`: the most that may be spent while this account lives, in the currency of the prices.

        purse: the account that pays for several endpoints of different prices: its ceiling is that of all
        """
        if purse is not None and ceiling is not None:
            wrong, do = "an account with a purse has its ceiling", "give the ceiling to the purse alone"
            raise InputError(explain(wrong, found=ceiling, accepted="one of the two", do=do))
        if ceiling is not None and not (is_number(ceiling) and ceiling > 0):
            wrong, do = "the ceiling of an account is out of range", "give an amount, or leave it out"
            raise InputError(explain(wrong, found=ceiling, accepted="above 0, or None", do=do))
        if ceiling is not None and prices is None:
            wrong, do = "a ceiling without prices says nothing", "give prices=Prices(prompt=..., new=...)"
            raise InputError(explain(wrong, found=NOTHING, accepted="what a million tokens cost", do=do))
        self.prices = prices
        self._ceiling = ceiling
        self._purse = purse
        self.spent = Usage()
        """All that was paid, and may have been paid."""
        self.lost = 0
        """How many requests brought no answer that says what it cost; `spent` has the most they can."""
        self.reused = 0
        """How many replies were taken from the store, for nothing."""
        self.refused = 0
        """How many requests did not fit beneath the ceiling."""
        self._set_aside: list[float] = []
        self._waiting: list[asyncio.Future[None]] = []

    def cost(self, prompt_tokens: float, new_tokens: float) -> float:
        """What these tokens cost; 0 where no prices are known."""
        return 0.0 if self.prices is None else self.prices.cost(prompt_tokens, new_tokens)

    @property
    def ceiling(self) -> float | None:
        """The most that may be spent: here, or of the purse."""
        return self._ceiling if self._purse is None else self._purse.ceiling

    @property
    def paid(self) -> float:
        """What counts against the ceiling: of all that have the same purse."""
        return self.spent.cost if self._purse is None else self._purse.paid

    @asynccontextmanager
    async def room(self, most: float) -> AsyncGenerator[bool]:
        """Set `most` aside while a request is under way, and say whether there was room for it.

        Where there is none yet, it waits for what others have set aside to come free.
        """
        if self._purse is not None:
            async with self._purse.room(most) as granted:
                yield granted
            return
        if self.ceiling is not None:
            while self.spent.cost + sum(self._set_aside) + most > self.ceiling:
                if not self._set_aside:
                    self.refused += 1
                    yield False
                    return
                free = asyncio.get_running_loop().create_future()
                self._waiting.append(free)
                await free
        self._set_aside.append(most)
        try:
            yield True
        finally:
            self._set_aside.remove(most)
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                if not one.done():
                    one.set_result(None)

    def pay(self, usage: Usage, *, lost: bool = False) -> Usage:
        """Count what was spent, and give it back to be passed on."""
        self.spent += usage
        self.lost += lost
        if self._purse is not None:
            self._purse.pay(usage, lost=lost)
        return usage
