"""Findings: what is said becomes sentences, and the gravest comes first."""

from concord.findings import Finding, Rule, Severity, finding, gravest_first

RULE = Rule("warn", 0.5, "half is too much")


def test_what_is_said_becomes_sentences() -> None:
    made = finding("odd", RULE, "Rows are odd", said=["", "3 of 4 are", RULE.reason], do="look at them")
    assert made == Finding(
        name="odd",
        severity="warn",
        title="Rows are odd",
        detail="3 of 4 are. Half is too much.",
        do="Look at them.",
    )


def test_what_is_not_said_is_left_empty() -> None:
    made = finding("odd", RULE, "Rows are odd")
    assert (made.detail, made.do, made.rows) == ("", "", ())


def test_the_gravest_come_first_and_equals_stay_in_order() -> None:
    given: list[tuple[str, Severity]] = [("a", "note"), ("b", "stop"), ("c", "warn"), ("d", "stop")]
    found = [Finding(name=name, severity=severity, title="") for name, severity in given]
    assert [one.name for one in gravest_first(found)] == ["b", "d", "c", "a"]
