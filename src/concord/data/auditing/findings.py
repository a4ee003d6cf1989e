"""From numbers to findings: what is worth saying, from which threshold on, why there, and what to do then.

Every threshold stands in `RULES`, with its reason. A finding compares a result with the threshold of its rule
and nothing else, so that an audit of the same rows always says the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from concord.catalogue import load
from concord.data.auditing.bias import TRAITS
from concord.data.auditing.facts import FACTS
from concord.data.auditing.records import Evidence
from concord.findings import Finding, Rule, finding, gravest_first
from concord.results import Interval, Result
from concord.types import Origin

__all__ = ["RULES", "find_all"]


RULES: Mapping[str, Rule] = {
    "length_bias": Rule(
        "warn",
        0.05,
        "a reward by length alone would then be right clearly more often than a coin",
    ),
    "trait_bias": Rule(
        "note",
        0.1,
        "a reply can then win by its looks; formatting often stands for care too, so look before you act",
    ),
    "position": Rule(
        "warn",
        0.05,
        "sound rows have their replies in random order, or the winner always first; this is neither",
    ),
    "contradictions": Rule(
        "warn", 0.01, "a hundredth of the labels cancels as much again; few sets reach it by chance"
    ),
    "labels_both_ways": Rule(
        "warn", 0.01, "a reply that is both good and bad pulls both ways, and teaches neither"
    ),
    "duplicates": Rule(
        "warn", 0.01, "a repeated row is trained on more often than the rest, and shrinks every interval"
    ),
    "near_duplicates": Rule(
        "note", 0.05, "templates and follow-up questions make some of these in sound data too"
    ),
    "leak": Rule("stop", 0.0, "what was trained on tells nothing as a test: any share of it is too much"),
    "near_leak": Rule("warn", 0.0, "where the two ask for the same, a good result is partly memory"),
    "too_long": Rule(
        "warn", 0.0, "a row that does not fit is cut or left out; training asks which, by --on-long"
    ),
    "unrendered": Rule("stop", 0.0, "what cannot be rendered cannot be trained on"),
    "skipped": Rule(
        "warn", 0.0, "rows that cannot be read are often of one sort, so that the rest is another sample"
    ),
    "one_label": Rule("stop", 0.0, "with one label only there is nothing to tell apart"),
    "imbalance": Rule("warn", 4.0, "beyond four to one the commoner label decides the loss"),
    "ties": Rule("note", 0.0, "most methods take no ties, so these rows would be left out"),
    "same_reply": Rule("note", 0.0, "a comparison of a reply with itself has nothing to teach"),
    "against_votes": Rule(
        "warn", 0.01, "a preference that its own votes or scores deny was mapped or written wrongly"
    ),
    "votes_disagree": Rule("warn", 0.6, "two voters who agree less than this know little more than a coin"),
    "no_utility": Rule(
        "warn", 0.01, "the fit of a true utility is worse than drawn data once in a hundred audits"
    ),
    "ceiling": Rule(
        "note", 0.8, "an accuracy beyond the ceiling is memory, and one near it is all there is to get"
    ),
    "empty": Rule("warn", 0.0, "an empty reply teaches to end at once"),
    "echo": Rule("warn", 0.001, "a reply that repeats its prompt is a mistake of whoever gathered it"),
    "empty_prompt": Rule(
        "note", 0.01, "an empty prompt is right for plain text, and a mapping error elsewhere"
    ),
    "damage": Rule("warn", 0.01, "a hundredth of damaged texts is enough for the damage to be learned"),
    "edges": Rule("note", 0.05, "white space at the edges of replies becomes tokens that are learned"),
    "cut": Rule(
        "note", 0.2, "lists and verse end without a stop, so that only a large share speaks of cut replies"
    ),
    "refusals": Rule("note", 0.1, "a tenth of refusals shows in how the trained model behaves"),
    "template": Rule("warn", 0.0, "what is doubtful about a template is doubtful in every row"),
}
"""When something is worth a finding, and why then."""

_MOST_NAMED = 8
_FEW = 0.01  # of a smaller share one wants to know how many they are
_USUAL = 0.9  # where so many replies end without a stop, that is how they are meant to end


@dataclass(slots=True)
class _Case:
    """What findings are made from."""

    measured: Sequence[Evidence]
    warnings: Sequence[str]

    def all(self, name: str, *, of: str | None = None) -> list[Evidence]:
        """The results of a name that have a value, those of single splits, sources and buckets left out."""
        parts = ("split", "source", "bucket")
        return [
            one
            for one in self.measured
            if one.result.name == name
            and one.result.value is not None
            and of in (None, one.result.at.get("of"))
            and not any(part in one.result.at for part in parts)
        ]


def find_all(measured: Sequence[Evidence], warnings: Sequence[str]) -> tuple[Finding, ...]:
    """All findings, the gravest first. `warnings` are those of a chat template and its tokenizer."""
    case = _Case(measured, warnings)
    return gravest_first(found for make in _MAKERS for found in make(case))


def _finding(
    name: str, title: str, *, detail: str = "", do: str = "", rows: tuple[Origin, ...] = ()
) -> Finding:
    return finding(name, RULES[name], title, said=[detail or RULES[name].reason], do=do, rows=rows)


# --- rows that cannot be used ---------------------------------------------------------------------------


def _unusable(case: _Case) -> Iterator[Finding]:
    for one in case.all("skipped_rows"):
        if (count := _value(one)) > 0:
            title = f"{_rows(count)} of {one.result.at['of']} cannot be read and {_are(count)} skipped"
            do = "look at the file of skipped rows, mend them or the mapping"
            yield _finding("skipped", title, detail=one.result.how, do=do, rows=one.rows)
    for one in case.all("unrendered"):
        if (count := _value(one)) > 0:
            title = f"{_rows(count)} cannot be turned into tokens"
            _, _, reasons = one.result.how.partition(": ")
            do = "mend these rows or take them out; where it is nearly all of them, look at the chat template"
            yield _finding("unrendered", title, detail=reasons, do=do, rows=one.rows)
    for one in case.all("too_long"):
        if (share := _value(one)) > 0:
            title = f"{_percent(share)} of the rows are longer than {one.result.at['limit']:,} tokens"
            do = (
                "choose what --on-long does to them, or raise --max-length, as far as the model has positions"
            )
            detail = f"{one.result.how}; {RULES['too_long'].reason}"
            yield _finding("too_long", title, detail=detail, do=do, rows=one.rows)
    for warning in dict.fromkeys(case.warnings):
        yield _finding(
            "template",
            warning[:1].upper() + warning[1:],
            do="look at the rows below: what is marked is learned from",
        )


_LEAKS = {
    "prompts": "have a prompt that stands in",
    "prompts with a reply": "stand in",
    "near prompts": "have a prompt that is the same or nearly the same as one of",
}


def _leaks(case: _Case) -> Iterator[Finding]:
    exact: dict[tuple[object, object], float] = {}
    for one in case.all("leak"):
        of, former, later = (one.result.at[key] for key in ("of", "from", "into"))
        share = _value(one)
        if of == "prompts":
            exact[former, later] = share
        if of == "prompts with a reply" and (former, later) in exact:
            continue
        if of == "near prompts" and share <= exact.get((former, later), 0.0):
            continue
        if share > 0:
            name = "near_leak" if of == "near prompts" else "leak"
            title = f"{_percent(share)} of the rows of {later} {_LEAKS[str(of)]} {former}"
            do = f"take these rows out of {later}, or those like them out of {former}"
            yield _finding(name, title, do=do, rows=one.rows)


# --- what repeats and contradicts itself ----------------------------------------------------------------


def _repeats(case: _Case) -> Iterator[Finding]:
    for one in case.all("contradictions"):
        if _over(one, "contradictions"):
            title = f"{_percent(_value(one))} of the comparisons are contradicted by others of the same pair"
            do = "keep the majority of each pair, or make one row of it with votes, which soft labels use"
            yield _finding("contradictions", title, do=do, rows=one.rows)
    for one in case.all("labels_both_ways"):
        if _over(one, "labels_both_ways"):
            title = f"{_percent(_value(one))} of the labelled replies are labelled the other way elsewhere"
            yield _finding("labels_both_ways", title, do="keep one label of each, or none", rows=one.rows)
    for one in case.all("duplicates", of="rows"):
        if _over(one, "duplicates"):
            title = f"{_percent(_value(one))} of the rows repeat an earlier row exactly"
            yield _finding(
                "duplicates",
                title,
                do="keep one of each, unless they are the judgements of several people",
                rows=one.rows,
            )
    for one in case.all("near_duplicates"):
        if _over(one, "near_duplicates"):
            title = (
                f"{_percent(_value(one))} of the different {one.result.unit} are nearly the same as others"
            )
            yield _finding(
                "near_duplicates", title, do="look whether a template made them; thin them out", rows=one.rows
            )
    for one in (*case.all("share", of="same reply twice"), *case.all("share", of="same but for white space")):
        if _over(one, "same_reply"):
            title = _said(one)
            yield _finding("same_reply", title, do="leave them out", rows=one.rows)
    for one in (*case.all("share", of="against votes"), *case.all("share", of="against scores")):
        if _over(one, "against_votes"):
            title = _said(one)
            yield _finding(
                "against_votes", title, do="look at the mapping: which column says who won", rows=one.rows
            )


# --- bias -----------------------------------------------------------------------------------------------


def _bias(case: _Case) -> Iterator[Finding]:
    # The last are those in tokens, where there are any; in characters they say the same.
    for one in case.all("longer_wins")[-1:]:
        if beyond := _beyond(one.result.interval, RULES["length_bias"].threshold):
            value, unit = _value(one), one.result.at["length"]
            side = "longer" if beyond > 0 else "shorter"
            title = f"The {side} reply, in {unit}, wins {_percent(max(value, 1 - value))} of the comparisons"
            do = "compare methods that divide by length, report win rates by length, or balance the pairs"
            yield _finding("length_bias", title, detail=_why("length_bias", one.result), do=do)
    for one in case.all("more_wins"):
        if beyond := _beyond(one.result.interval, RULES["trait_bias"].threshold):
            value, trait = _value(one), one.result.at["trait"]
            side = "more" if beyond > 0 else "fewer"
            share = _percent(max(value, 1 - value))
            title = f"The reply with {side} {TRAITS[str(trait)]} wins {share} of the time"
            yield _finding(
                "trait_bias",
                title,
                detail=_why("trait_bias", one.result),
                do="look whether that is what is wanted",
            )
    for one in case.all("first_wins"):
        interval, value = one.result.interval, _value(one)
        if 0 < value < 1 and (beyond := _beyond(interval, RULES["position"].threshold)):
            side = "first" if beyond > 0 else "second"
            title = f"The {side} reply of a row wins {_percent(max(value, 1 - value))} of the time"
            do = "ask judges in both orders, and keep what they agree on"
            yield _finding("position", title, detail=_why("position", one.result), do=do)


# --- labels ---------------------------------------------------------------------------------------------


def _labels(case: _Case) -> Iterator[Finding]:
    for one in case.all("desirable"):
        share, n = _value(one), one.result.n
        if share in (0.0, 1.0):
            word = "desirable" if share else "undesirable"
            do = "add replies of the other label, or take a method for demonstrations"
            yield _finding("one_label", f"All {n:,} labelled replies are {word}", do=do)
            continue
        good, bad = round(share * n), round((1 - share) * n)
        if max(good, bad) / min(good, bad) > RULES["imbalance"].threshold:
            title = f"{_percent(share)} of the labelled replies are desirable: {good:,} against {bad:,}"
            yield _finding("imbalance", title, do=_weights(good, bad))
    for one in case.all("share", of="ties"):
        if _over(one, "ties"):
            takers = [entry.name for entry in load() if "preference" in entry.inputs]
            title = f"{_percent(_value(one))} of the comparisons are ties"
            named = ", ".join(takers[:_MOST_NAMED])
            do = f"take a method with soft labels ({named}); others leave these rows out"
            yield _finding("ties", title, do=do, rows=one.rows)
    for one in case.all("votes_agree"):
        if _value(one) < RULES["votes_disagree"].threshold:
            title = f"Two voters on one comparison agree {_percent(_value(one))} of the time"
            yield _finding(
                "votes_disagree", title, do="keep the votes as soft labels; gather more votes a row"
            )
    for one in case.all("utility_fit_p"):
        if _value(one) < RULES["no_utility"].threshold:
            title = f"No utility explains these preferences (p = {_value(one):.3g})"
            do = (
                "look at the prompts with circles; a reward model and what rests on one will fit only in part"
            )
            rows = next((other.rows for other in case.all("intransitive_triads")), ())
            yield _finding("no_utility", title, detail=one.result.how, do=do, rows=rows)
    for one in case.all("noise_ceiling"):
        if _value(one) < RULES["ceiling"].threshold:
            title = f"No model can agree with more than {_percent(_value(one))} of single judgements"
            yield _finding("ceiling", title, detail=one.result.how, do="read accuracies against this number")


def _weights(good: int, bad: int) -> str:
    """Weights with which desirable and undesirable replies count between 1 to 1 and 4 to 3 in KTO."""
    if good > bad:
        low, high = 0.75 * good / bad, good / bad
        return f"for KTO set undesirable_weight between {low:.3g} and {high:.3g} (desirable_weight 1)"
    low, high = bad / good, 4 / 3 * bad / good
    return f"for KTO set desirable_weight between {low:.3g} and {high:.3g} (undesirable_weight 1)"


# --- texts ----------------------------------------------------------------------------------------------

_TEXTS: tuple[tuple[str, str, str], ...] = (
    ("reply empty", "empty", "take these rows out"),
    ("reply equals prompt", "echo", "take these rows out, or look at the mapping"),
    ("empty prompt", "empty_prompt", "look at the mapping, unless this is plain text to go on from"),
    ("reply edges", "edges", "strip the replies, unless the white space is meant"),
    ("reply cut", "cut", "look at some: if a limit cut them, take them out or mark them"),
    ("reply refusal", "refusals", "look at some: if they refuse what is harmless, take them out"),
    *(
        (f"{side} {name}", "damage", "find out where the text was damaged, and read it again from before")
        for side in ("prompt", "reply")
        for name in ("replacement", "control", "entities", "mojibake", "surrogate")
    ),
)


def _texts(case: _Case) -> Iterator[Finding]:
    for of, name, do in _TEXTS:
        for one in case.all("share", of=of):
            usual = name == "cut" and _value(one) > _USUAL
            if _over(one, name) and not usual:
                title = _said(one)
                yield _finding(name, title, do=do, rows=one.rows)


_MAKERS: tuple[Callable[[_Case], Iterator[Finding]], ...] = (
    _unusable,
    _leaks,
    _repeats,
    _bias,
    _labels,
    _texts,
)


# --- words ----------------------------------------------------------------------------------------------


def _value(one: Evidence) -> float:
    assert one.result.value is not None
    return one.result.value


def _over(one: Evidence, rule: str) -> bool:
    return _value(one) > RULES[rule].threshold


def _beyond(interval: Interval | None, margin: float) -> int:
    """1 or -1 where a whole interval lies beyond 0.5 by the margin, above or below; else 0."""
    if interval is None:
        return 0
    return (interval.low > 0.5 + margin) - (interval.high < 0.5 - margin)


def _why(rule: str, result: Result) -> str:
    interval = result.interval
    assert interval is not None
    assert result.value is not None
    # Said as the title is: of the side that wins more often.
    ends = (interval.low, interval.high) if result.value > 0.5 else (1 - interval.high, 1 - interval.low)
    where = f"{_percent(ends[0])} to {_percent(ends[1])} at {interval.level:.0%} confidence"
    return f"{where}, from {result.n:,} {result.unit}; {RULES[rule].reason}"


def _said(one: Evidence) -> str:
    """The sentence on a share: "2% of the replies say nothing", of "replies that say nothing"."""
    things, _, what = FACTS[str(one.result.at["of"])].partition(" ")
    share = f"{_percent(_value(one))} of the {things}"
    if _value(one) < _FEW:
        share += f" ({round(_value(one) * one.result.n):,} of {one.result.n:,})"
    if what.startswith("that "):
        return f"{share} {what.removeprefix('that ')}"
    if what.startswith("whose "):
        return f"In {share} the {what.removeprefix('whose ')}"
    return f"{share} are {what}"


def _percent(share: float) -> str:
    """A share in percent, never rounded to none or all where it is not."""
    shown = f"{100 * share:.1f}"
    if shown == "0.0" and share > 0:
        return "under 0.1%"
    return "over 99.9%" if shown == "100.0" and share < 1 else f"{shown.removesuffix('.0')}%"


def _rows(count: float) -> str:
    return "1 row" if count == 1 else f"{int(count):,} rows"


def _are(count: float) -> str:
    return "was" if count == 1 else "were"
