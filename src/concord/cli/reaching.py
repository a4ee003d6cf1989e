"""How endpoints are reached: which variable holds a key, what tokens cost, and the most that may be spent.

    reach = Reach.of(["openai:gpt"], ["0.15/0.6"], models=["openai:gpt", "run:dpo"], ceiling=2.0)
    reach.find("openai:gpt")              as `find_model`, with its key and its account

Keys and prices belong to one endpoint: no key is sent to another. The ceiling is that of all together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from concord.cli.opening import FoundModel, find_model
from concord.errors import InputError, Said, explain, nearest
from concord.messages import is_number
from concord.policies.ledger import Account, Prices
from concord.policies.opening import is_remote

__all__ = ["Reach"]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """All that is known of endpoints beside their addresses.

    purse: counts what all of them cost; None where nothing has a price
    """

    runs: Path = Path("runs")
    served: str = ""
    offline: bool = False
    keys: Mapping[str, str]
    accounts: Mapping[str, Account]
    purse: Account | None = None

    @classmethod
    def of(
        cls,
        models: Sequence[str],
        *,
        keys: Sequence[str] = (),
        prices: Sequence[str] = (),
        ceiling: float | None = None,
        runs: Path = Path("runs"),
        served: str = "",
        offline: bool = False,
    ) -> "Reach":
        """Read what was typed: `[MODEL=]NAME` for keys, `[MODEL=]PROMPT/NEW` for prices, of these models."""
        remote = [*dict.fromkeys(one for one in models if is_remote(one))]
        priced = {model: _prices(said) for model, said in _of_models(prices, remote, "--price").items()}
        if ceiling is not None and not priced:
            wrong, accepted = "a ceiling without prices says nothing", "--price beside it"
            do = "say what a million tokens cost, as in --price 0.15/0.6"
            raise InputError(explain(wrong, found=Said(f"{ceiling:g}"), accepted=accepted, do=do))
        purse = Account(next(iter(priced.values())), ceiling=ceiling) if priced else None
        accounts = {model: Account(priced.get(model), purse=purse) for model in remote} if purse else {}
        named = _of_models(keys, remote, "--key-env")
        return cls(runs=runs, served=served, offline=offline, keys=named, accounts=accounts, purse=purse)

    def find(self, what: str) -> FoundModel:
        """The model that was meant, with its key and its account."""
        key_env = self.keys.get(what)
        found = find_model(what, runs=self.runs, served=self.served, key_env=key_env, offline=self.offline)
        return replace(found, account=self.accounts.get(what))

    @property
    def bill(self) -> str:
        """What all of them cost, in a sentence; nothing where nothing has a price."""
        if self.purse is None:
            return ""
        beneath = "" if self.purse.ceiling is None else f" of {self.purse.ceiling:g}"
        lost = (
            f"; {self.purse.lost:,} calls whose cost is not known count as the most"
            if self.purse.lost
            else ""
        )
        return f"{self.purse.spent.calls:,} calls cost {self.purse.paid:.4g}{beneath}{lost}. "


def _of_models(said: Sequence[str], remote: Sequence[str], flag: str) -> dict[str, str]:
    """What was said of each endpoint; without a name, of the only one that there is."""
    found: dict[str, str] = {}
    for one in said:
        model, _, value = one.rpartition("=")
        if not model and len(remote) == 1:
            model = remote[0]
        if model not in remote:
            wrong = f"{flag} does not say of which endpoint" if not model else f"{flag} names no endpoint"
            accepted = nearest(model, remote) if remote else "a MODEL or --judge that is an endpoint"
            do = f"write {flag} MODEL={value}, with MODEL as it is spelled elsewhere in the command"
            raise InputError(explain(wrong, found=one, accepted=accepted, do=do))
        if model in found:
            wrong, accepted = f"{flag} is given twice for one endpoint", f"one {flag} for each"
            raise InputError(explain(wrong, found=one, accepted=accepted, do="leave one out"))
        found[model] = value
    return found


def _prices(said: str) -> Prices:
    """What a million tokens cost, of prompts and of what is new."""
    parts = said.split("/")
    try:
        amounts = [float(one) for one in parts]
    except ValueError:
        amounts = []
    if len(amounts) != 2 or not all(is_number(one) and one >= 0 for one in amounts):
        wrong, accepted = "a price cannot be read", "PROMPT/NEW, two amounts of 0 or above, such as 0.15/0.6"
        do = "say what a million tokens cost: those of prompts, and the new ones"
        raise InputError(explain(wrong, found=said, accepted=accepted, do=do))
    return Prices(prompt=amounts[0], new=amounts[1])
