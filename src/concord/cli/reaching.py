"""How endpoints are reached: which model of theirs, by whose key, what tokens cost, and the most of it all.

    reach = Reach.of(["openai:gpt", "run:dpo"], prices=["0.15/0.6"], ceiling=2.0)
    reach.find("openai:gpt")              as `find_model`, with its key and its account

Keys and prices belong to one endpoint: no key is sent to another. The ceiling is that of all together.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from concord.cli.opening import FoundModel, find_model
from concord.errors import InputError, Said, explain, nearest
from concord.messages import is_number
from concord.policies.ledger import Account, Prices
from concord.policies.opening import is_remote, service_of

__all__ = ["Reach"]

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Reach:
    """All that is known of endpoints beside their addresses.

    purse: counts what all of them cost; None where nothing has a price
    """

    runs: Path = Path("runs")
    offline: bool = False
    served: Mapping[str, str]
    keys: Mapping[str, str]
    accounts: Mapping[str, Account]
    purse: Account | None = None

    @classmethod
    def of(
        cls,
        models: Sequence[str],
        *,
        served: Sequence[str] = (),
        keys: Sequence[str] = (),
        prices: Sequence[str] = (),
        ceiling: float | None = None,
        runs: Path = Path("runs"),
        offline: bool = False,
    ) -> "Reach":
        """Read what was typed of these models: `[MODEL=]NAME`, for prices `[MODEL=]PROMPT/NEW`."""
        remote = [*dict.fromkeys(one for one in models if is_remote(one))]
        priced = {model: _prices(said) for model, said in _of_models(prices, remote, "--price").items()}
        if ceiling is not None:
            _check_all_priced(ceiling, remote, priced)
        # What pays for all has a price of its own only because an account with a ceiling wants one.
        purse = Account(next(iter(priced.values())), ceiling=ceiling) if priced else None
        return cls(
            runs=runs,
            offline=offline,
            served=_served(served, remote),
            keys=_variables(_of_models(keys, remote, "--key-env")),
            accounts={model: Account(priced.get(model), purse=purse) for model in remote} if purse else {},
            purse=purse,
        )

    def find(self, what: str) -> FoundModel:
        """The model that was meant, with its key and its account."""
        served, key_env = self.served.get(what, ""), self.keys.get(what)
        found = find_model(what, runs=self.runs, served=served, key_env=key_env, offline=self.offline)
        if is_remote(what) and not self.offline:
            # A key that is missing is told now, and not after the first models were scored.
            service_of(what, model=found.served, key_env=key_env).key()
        return replace(found, account=self.accounts.get(what))

    @property
    def bill(self) -> str:
        """What all of them cost, in a sentence; nothing where nothing was sent, or has a price."""
        if self.purse is None or not (self.purse.spent.calls or self.short):
            return ""
        calls = self.purse.spent.calls
        beneath = "" if self.purse.ceiling is None else f" of {self.purse.ceiling:g}"
        said = [f"{calls:,} call{'s' * (calls != 1)} cost {self.purse.paid:.4g}{beneath}"]
        if self.purse.lost:
            said.append(f"the cost of {self.purse.lost:,} is not known, and counted as the most")
        if self.short:
            said.append(f"{self.purse.refused:,} more did not fit beneath the ceiling: raise it to ask them")
        return "; ".join(said) + ". "

    @property
    def short(self) -> bool:
        """Whether the ceiling kept something from being asked."""
        return self.purse is not None and self.purse.refused > 0


def _check_all_priced(ceiling: float, remote: Sequence[str], priced: Mapping[str, Prices]) -> None:
    """Refuse a ceiling that some endpoint could pass unseen."""
    if not priced:
        wrong, accepted = "a ceiling without prices says nothing", "--price beside it"
        do = "say what a million tokens cost, as in --price 0.15/0.6"
        raise InputError(explain(wrong, found=Said(f"{ceiling:g}"), accepted=accepted, do=do))
    if free := [model for model in remote if model not in priced]:
        wrong, accepted = "a ceiling needs the price of every endpoint", f"--price {free[0]}=PROMPT/NEW"
        do = "say what it costs, with 0/0 where it costs nothing"
        raise InputError(explain(wrong, found=Said(f"none of {free[0]}"), accepted=accepted, do=do))


def _of_models(said: Sequence[str], remote: Sequence[str], flag: str) -> dict[str, str]:
    """What was said of each endpoint; without a name, of the only one that there is.

    The value is never repeated: it may be a key, in the place of the name of its variable.
    """
    found: dict[str, str] = {}
    for one in said:
        model, _, value = one.rpartition("=")
        if not model and len(remote) == 1:
            model = remote[0]
        if model not in remote:
            wrong = f"{flag} names no endpoint" if model else f"{flag} does not say of which endpoint"
            accepted = nearest(model, remote) if remote else "a MODEL or --judge that is an endpoint"
            do = f"write {flag} MODEL=..., with MODEL as it is spelled elsewhere in the command"
            named = model if model else Said(f"{len(remote)} endpoints")
            raise InputError(explain(wrong, found=named, accepted=accepted, do=do))
        if model in found:
            wrong, accepted = f"{flag} is given twice for one endpoint", f"one {flag} for each"
            raise InputError(explain(wrong, found=model, accepted=accepted, do="leave one out"))
        found[model] = value
    return found


def _served(said: Sequence[str], remote: Sequence[str]) -> dict[str, str]:
    """By which of its models each endpoint answers; a name alone is of all addresses, which name none."""
    alone = [one for one in said if "=" not in one]
    addresses = [one for one in remote if "://" in one] or remote
    if len(alone) > 1 or (alone and not addresses):
        wrong, accepted = "--served does not say of which endpoint", "--served MODEL=NAME for each"
        do = "name the endpoint before it"
        raise InputError(explain(wrong, found=alone[-1], accepted=accepted, do=do))
    named = _of_models([one for one in said if "=" in one], remote, "--served")
    return dict.fromkeys(addresses, alone[0]) | named if alone else named


def _variables(keys: Mapping[str, str]) -> Mapping[str, str]:
    """The same, if they can be names of variables; what cannot is not repeated, for it may be a key."""
    for model, name in keys.items():
        if not _VARIABLE.fullmatch(name):
            wrong, accepted = "--key-env names no variable", "letters, digits and _, such as OPENAI_API_KEY"
            do = "put the key into a variable of the environment, and give the name of that"
            found = Said(f"something else for {model}")
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return keys


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
