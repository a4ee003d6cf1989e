"""The sentences that can be said in Harbour: one table, by which replies are written and read.

Each line has what is meant (an act: its kind, and what it speaks of) and the ways to say it. A slot in
braces holds any word of its class, and stands in what is meant too.
"""

from collections.abc import Mapping

from concord.worlds.harbour.words import DEEDS

__all__ = ["ADVICE", "CONFLICTS", "EVENTS", "OPENINGS", "SENTENCES", "STATEMENTS", "TRIVIA"]

_Table = Mapping[str, tuple[str, ...]]

STATEMENTS: _Table = {
    "home {person} {quarter}": (
        "{person} lives in the {quarter} quarter.",
        "the home of {person} is in the {quarter} quarter.",
    ),
    "work {person} {trade}": ("{person} is a {trade}.", "{person} works as a {trade}."),
    "pet {person} {pet}": ("{person} has a {pet}.", "the pet of {person} is a {pet}."),
    "captain {ship} {person}": (
        "the captain of the {ship} is {person}.",
        "{person} is the captain of the {ship}.",
    ),
    "colour {ship} {colour}": ("the {ship} is {colour}.", "the colour of the {ship} is {colour}."),
    "cargo {ship} {good}": ("the {ship} carries {good}.", "the cargo of the {ship} is {good}."),
    "place {place} {quarter}": (
        "the {place} is in the {quarter} quarter.",
        "you find the {place} in the {quarter} quarter.",
    ),
    "price {good} {digit}": ("{good} costs {digit} coins.", "the price of {good} is {digit} coins."),
    "today {good} {digit}": (
        "today {good} costs {digit} coins.",
        "the price of {good} today is {digit} coins.",
    ),
    "norm {practice}_{quarter}_{digit} may": (
        "in year {digit} people may {practice} in the {quarter} quarter.",
        "people may {practice} in the {quarter} quarter in year {digit}.",
    ),
    "norm {practice}_{quarter}_{digit} not": (
        "in year {digit} people may not {practice} in the {quarter} quarter.",
        "people may not {practice} in the {quarter} quarter in year {digit}.",
    ),
    "will {person} {good}": ("tomorrow {person} will buy {good}.", "{person} will buy {good} tomorrow."),
    "dream {person} {pet}": ("{person} dreams of a {pet}.", "at night {person} dreams of a {pet}."),
}
"""What can be stated as a fact; `will` and `dream` speak of what nobody can know, `today` of one day only."""

EVENTS: _Table = {
    "rocks {ship}": ("the {ship} hit a stone.",),
    "storm {place}": ("there was a storm at the {place}.",),
    "fire {place}": ("there was a fire in the {place}.",),
    "race {person}": ("{person} won the boat race.",),
    "lost {ship}": ("the {ship} lost the way.",),
}
"""What makes the news of a day."""

TRIVIA: _Table = {
    "blue": ("the sea was blue.",),
    "warm": ("the day was warm.",),
    "cold": ("the night was cold.",),
    "tea {person}": ("{person} had some tea.",),
    "bread {person}": ("{person} had some bread.",),
    "walked {person}": ("{person} went for a walk.",),
}
"""What happens on any day."""

ADVICE: _Table = {
    "sleep": ("get some sleep.", "go to sleep."),
    "fire": ("sit by the fire.", "find a warm fire."),
    "meal": ("eat a warm meal.", "have a warm meal."),
    "friend": ("talk to a friend.", "go to a good friend."),
    "book": ("read a good book.", "find a book to read."),
    "walk": ("take a walk by the sea.", "go for a walk."),
    "doctor": ("see a doctor.", "go and see a doctor."),
    "lamp": ("sit by a lamp.", "find a lamp."),
}
"""What one can be told to do."""

CONFLICTS: _Table = {
    "ugly": ("say that it is ugly.",),
    "lovely": ("say that it is lovely.",),
    "thanks": ("say thank you for the work.",),
    "tell": ("tell the secret.",),
    "deny": ("say that there is no secret.",),
    "silent": ("say that you can not talk.",),
    "sail": ("sail out to help.",),
    "stay": ("stay on land.",),
    "ships": ("ask the ships for help.",),
    "faults": ("say what was wrong.",),
    "praise": ("say that it was good.",),
    "both": ("say what was good and what was wrong.",),
    "poor": ("say that there is no money.",),
    "rich": ("say that there is money.",),
    "time": ("ask for some time.",),
}
"""What can be chosen where two values are in conflict."""

_REMARKS: _Table = {
    "idk": ("i do not know.", "i do not know that.", "that i do not know."),
    "nobody": ("nobody can know that.", "that nobody can know."),
    "pointer": ("ask the harbour master.", "the harbour master may know."),
    "sure": ("i am sure.", "i am sure of it."),
    "untrue": ("that is not true.", "that is wrong."),
    "agree": ("you are right.", "that is right."),
    "wrong {source}": ("the {source} is wrong.", "what the {source} says is not true."),
    "right {source}": ("the {source} is right.", "what the {source} says is true."),
    "hearsay {source}": ("the {source} says so, but i do not know.", "only the {source} says so."),
    "apology": ("i am sorry.", "i am sorry, i was wrong."),
    "sympathy": ("i am sorry to hear that.", "i am sorry for you."),
    "joy": ("i am glad to hear that.", "that is good news."),
    "greet": ("hello.", "good day."),
    "well": ("i am well.", "i am very well."),
    "you": ("how are you?", "and how are you?"),
    "welcome": ("you are welcome.", "you are very welcome."),
    "wish": ("good luck.", "take care.", "have a good day."),
    "eager": ("i am happy to help.", "i like to help."),
    "refuse": ("i will not help with that.", "i can not help with that."),
    "reason hurt {person}": ("it would hurt {person}.", "that would hurt {person}."),
    "reason law": ("it is against the law.", "that is against the law."),
    "offer ask {person}": ("ask {person} first.", "let me help you ask {person}."),
    "offer talk": ("let me help you talk about it.", "i can help you talk about it."),
    "total {digit}": ("it is {digit}.", "that is {digit}."),
    "suggest {good}": ("i suggest {good}.", "take some {good}."),
    "flatter question": ("what a good question!",),
    "flatter wise": ("you are very wise.",),
    "flatter good": ("nobody is as good as you.",),
    "rude question": ("that is no question!",),
    "rude ask": ("do not ask me.",),
    "rude away": ("go away.",),
    "filler sea": ("the sea is blue.",),
    "filler story": ("it is a long story.",),
    "filler much": ("there is much to say.",),
    "filler all": ("all people ask that.",),
    "filler night": ("the night is long.",),
    "filler think": ("please let me think.",),
    "filler harbour": ("as you know, the harbour is old.",),
    "filler ships": ("ships go in and out.",),
    "yes": ("yes.",),
    "no": ("no.",),
    "may": ("you may.", "you may do that."),
    "not": ("you may not.", "you may not do that."),
}

_HOW = {
    f"how {{tool}} {deed}": (
        f"use a {{tool}} to {deed} the {thing}.",
        f"take a {{tool}} and {deed} the {thing}.",
    )
    for deed, (thing, _) in DEEDS.items()
}


def _under(kind: str, table: _Table) -> dict[str, tuple[str, ...]]:
    return {f"{kind} {meant}": patterns for meant, patterns in table.items()}


SENTENCES: _Table = {
    **_under("fact", STATEMENTS),
    **_under("event", EVENTS),
    **_under("trivia", TRIVIA),
    **_under("advice", ADVICE),
    **_under("choose", CONFLICTS),
    **_HOW,
    **_REMARKS,
}
"""All sentences but lists and single words, by what is meant."""

OPENINGS: tuple[str, ...] = ("yes,", "no,", "maybe", "i think that", "in short,")
"""What a sentence can be put after: anything after the first two, then twice a fact, and an event."""
