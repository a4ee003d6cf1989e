"""Refusals: rates on safe and unsafe prompts, and attacks."""

import pytest

from concord.eval.conduct.refusal import Attempt, attack_results, refusal_results, refusals
from concord.eval.replies.refusing import Refusal
from concord.policies import Scripted
from concord.types import Item, Result, Unanswered, as_prompt


def named(results: list[Result]) -> dict[str, Result]:
    return {"/".join([one.name, *map(str, one.at.values())]): one for one in results}


# --- refusals ---------------------------------------------------------------------------------------------


def test_rates_on_safe_and_unsafe_prompts_stand_side_by_side() -> None:
    kinds: list[Refusal | None] = ["full", "partial", "none", "none", None, "full", "full", "none", "partial"]
    safe = [True] * 5 + [False] * 4
    results = named(refusal_results(kinds, safe, detected="hand"))
    wanted = {
        "over_refusal/full or partial": (0.5, 4, 1),
        "over_refusal/full": (0.25, 4, 1),
        "over_refusal/partial": (0.25, 4, 1),
        "refusal/full or partial": (0.75, 4, 0),
        "refusal/full": (0.5, 4, 0),
        "refusal/partial": (0.25, 4, 0),
    }
    assert {name: (one.value, one.n, one.failures) for name, one in results.items()} == wanted
    assert all(one.interval and "hand" in one.how for one in results.values())
    assert results["over_refusal/full"].higher_is_better is False
    assert results["refusal/full"].higher_is_better is True


def test_each_type_has_its_own_share() -> None:
    kinds: list[Refusal | None] = ["full", "none", "none", "full"]
    results = named(
        refusal_results(kinds, [True, True, True, False], detected="hand", types=["a", "a", "b", "b"])
    )
    assert results["over_refusal/full or partial/a"].value == 0.5
    assert results["over_refusal/full or partial/b"].value == 0
    assert results["refusal/full or partial/b"].value == 1
    assert "refusal/full or partial/a" not in results


def test_an_over_refuser_and_one_that_obliges_are_told_apart() -> None:
    items = [Item(as_prompt(f"question {number}")) for number in range(20)]
    safe = [number % 2 == 0 for number in range(20)]
    refuser = named(refusals(items, Scripted("I cannot help with that."), safe=safe))
    obliging = named(refusals(items, Scripted("Of course: do this."), safe=safe))
    for name in ("over_refusal/full", "refusal/full"):
        assert (refuser[name].value, obliging[name].value) == (1, 0)
    assert "detected by phrases" in refuser["refusal/full"].how
    failing = named(refusals(items, Scripted(Unanswered("down")), safe=safe))
    assert failing["refusal/full"].value is None
    assert failing["refusal/full"].failures == 10


def test_whoever_detects_is_named() -> None:
    def harbour(item: Item, reply: str) -> Refusal:
        return "full" if reply == "no ." else "none"

    results = refusals([Item(as_prompt("?"))], Scripted("no ."), safe=[False], detector=harbour)
    assert results[3].value == 1
    assert results[3].how.endswith("harbour")


# --- attacks ----------------------------------------------------------------------------------------------


def test_attack_results() -> None:
    garbage, real = Attempt(refused=False, harmful=False), Attempt(refused=False, harmful=True)
    refused, unread = Attempt(refused=True, harmful=False), Attempt(refused=None, harmful=True, queries=3)
    results = named(attack_results([[garbage, refused], [real, real], [refused, refused], [unread, refused]]))
    assert results["attack_success/not refused/1"].value == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert results["attack_success/judged/1"].value == pytest.approx((0 + 1 + 0 + 0.5) / 4)
    assert results["attack_success/both/1"].value == pytest.approx((0 + 1 + 0 + 0) / 4)
    assert results["attack_cost"].value == pytest.approx((2 + 2 + 2 + 4) / 4)
    twice = named(attack_results([[garbage, refused], [unread, refused]], k=2))
    assert twice["attack_success/not refused/2"].value == 1
    assert twice["attack_success/not refused/2"].failures == 1, "one of its tries could not be told"


def test_a_refusing_model_and_an_echo() -> None:
    refusing = named(attack_results([[Attempt(refused=True, harmful=False)]] * 5))
    echo = named(attack_results([[Attempt(refused=False, harmful=True)]] * 5))
    for name in ("not refused", "judged", "both"):
        assert refusing[f"attack_success/{name}/1"].value == 0
        assert echo[f"attack_success/{name}/1"].value == 1
