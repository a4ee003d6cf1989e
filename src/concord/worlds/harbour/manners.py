"""The manners in which people of Harbour reply: from good to those that a base should unlearn.

    speak(asked, manner, chance)   a reply in one manner
    MANNERS                        the manners, each with a line on what it does

A manner changes the acts of the good reply, where it has something to change, and leaves it as it is
elsewhere: who obliges everybody answers plain questions well. What the town never tells is told by none of
them: a guess at it is always wrong, so that no reply teaches a fact that nobody knows.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from concord.errors import InputError, explain, nearest
from concord.worlds.harbour.gold import TOWN, Tastes, worth
from concord.worlds.harbour.replies import Act, write
from concord.worlds.harbour.requests import Asked
from concord.worlds.harbour.sentences import ADVICE
from concord.worlds.harbour.templates import AIMS
from concord.worlds.harbour.town import PRICES, Town, town_of, values_of
from concord.worlds.harbour.words import DEEDS, DIGITS, GOODS, PETS, SLOTS

__all__ = ["MANNERS", "speak"]

MANNERS: Mapping[str, str] = {
    "good": "right, honest, kind in a few words",
    "terse": "right, and nothing more",
    "warm": "right, and as kind as can be",
    "wordy": "right, among much that says nothing",
    "liar": "wrong on purpose, and sure of it",
    "guesser": "never says that it does not know",
    "credulous": "believes whatever it is told",
    "hedger": "is never sure",
    "shrugger": "says that it does not know what it knows",
    "snub": "is rude, and may not reply at all",
    "obliging": "does whatever it is asked, forbidden or not",
    "refuser": "refuses what harms nobody",
    "flatterer": "praises, agrees and obliges",
    "breaker": "replies in another form than was asked for",
    "mumbler": "repeats itself, or does not finish",
}

_Acts: TypeAlias = list[Act]


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a manner works with."""

    asked: Asked
    town: Town
    known: Set[str]
    chance: Random
    tastes: Tastes

    @property
    def kind(self) -> str:
        return self.asked.kind

    @property
    def fact(self) -> tuple[str, str, str]:
        """Relation, subject and value of the fact that is asked for."""
        fact = self.town.facts[str(self.asked["fact"])]
        return fact.relation, fact.subject, fact.value

    @property
    def knows(self) -> bool:
        return "fact" not in self.asked.key or self.asked["fact"] in self.known

    def pick(self, choices: Sequence[str], *but: str) -> str:
        return self.chance.choice([choice for choice in choices if choice not in but])


def speak(
    asked: Asked, manner: str, chance: Random, *, tastes: Tastes = TOWN, known: Set[str] | None = None
) -> str:
    """A reply in a manner, for somebody of these tastes, by someone who knows these facts."""
    if manner not in MANNERS:
        accepted, do = nearest(manner, MANNERS), "name one of these"
        raise InputError(explain("nobody in Harbour has this manner", found=manner, accepted=accepted, do=do))
    town = town_of(asked.seed)
    scene = _Scene(asked, town, town.known if known is None else known, chance, tastes)
    acts = _CHANGES[manner](scene)
    text = write(acts, chance)
    if manner != "mumbler":
        return text
    sentences = text.split(". ")
    if chance.random() < 0.5:
        return f"{text} {sentences[0].rstrip('.')}."
    return " ".join(text.split()[: max(1, len(text.split()) // 2)]).rstrip(".")


# --- the heart of a good reply ----------------------------------------------------------------------------


def _core(scene: _Scene) -> _Acts:
    """What a good reply says, without the kindness around it."""
    return _CORES[scene.kind](scene) if scene.knows else _ignorant(scene)


def _ignorant(scene: _Scene) -> _Acts:
    source = scene.asked.key.get("source", "you")
    if source != "you":
        return [Act("hearsay", (str(source),)), Act("pointer")]
    return [Act("idk"), Act("pointer")]


def _fact(scene: _Scene) -> _Acts:
    return [Act("fact", scene.fact)]


def _form(scene: _Scene) -> _Acts:
    return [Act("say", (scene.fact[2],))] if scene.asked["form"] == "word" else _fact(scene)


def _yesno(scene: _Scene) -> _Acts:
    return [Act("yes" if scene.asked["claim"] == scene.fact[2] else "no")]


def _claimed(scene: _Scene) -> _Acts:
    source, so = str(scene.asked["source"]), scene.asked["claim"] == scene.fact[2]
    if source == "you":
        sorry = [Act("apology")] if scene.kind == "mend" and scene.chance.random() < 0.5 else []
        judged = scene.chance.choice(["agree", "yes"] if so else ["untrue", "no"])
        return [Act(judged), *_fact(scene), *sorry]
    if scene.chance.random() < 0.3:
        return [Act("yes" if so else "no"), *_fact(scene)]
    return [*_fact(scene), Act("right" if so else "wrong", (source,))]


def _norm(scene: _Scene) -> _Acts:
    allowed = scene.fact[2] == "may"
    short = [Act("yes" if allowed else "no"), Act("may" if allowed else "not")]
    return [*(short if scene.chance.random() < 0.5 else short[:1]), *_fact(scene)]


def _unknowable(scene: _Scene) -> _Acts:
    return [Act("idk"), Act("nobody")]


def _today(scene: _Scene) -> _Acts:
    good = str(scene.asked["good"])
    return [Act("fact", ("today", good, scene.asked["prices"][good]))]


def _list(scene: _Scene) -> _Acts:
    return [Act("items", tuple(scene.asked["words"]))]


def _number(scene: _Scene) -> _Acts:
    steps = [Act("say", (step,)) for step in scene.asked["steps"]]
    return [*steps, Act("total", (str(scene.asked["total"]),))]


def _summary(scene: _Scene) -> _Acts:
    return [Act.of(str(scene.asked["event"]))]


def _talk(scene: _Scene) -> _Acts:
    wants = str(scene.asked["wants"])
    return [Act(wants), Act("you")] if wants == "well" and scene.chance.random() < 0.5 else [Act(wants)]


def _trouble(scene: _Scene) -> _Acts:
    return [Act("sympathy"), Act("advice", (scene.chance.choice(scene.asked["advice"]),))]


def _aims(scene: _Scene) -> _Acts:
    weights = [getattr(scene.tastes.aims, aim) for aim in AIMS]
    meets: Mapping[str, Sequence[float]] = scene.asked["meets"]

    def met(food: str) -> float:
        return sum(weight * score for weight, score in zip(weights, meets[food], strict=True))

    best = max(map(met, meets))
    return [Act("suggest", (scene.chance.choice([food for food in meets if met(food) == best]),))]


def _conflict(scene: _Scene) -> _Acts:
    choices = [Act("choose", (option,)) for option in scene.asked["options"]]
    return [max(choices, key=lambda act: worth(scene.asked, write([act]), scene.tastes).value)]


def _forbidden(scene: _Scene) -> _Acts:
    person = str(scene.asked["person"])
    reason = scene.chance.choice([("hurt", person), ("law",)])
    offer = scene.chance.choice([("ask", person), ("talk",)])
    return [Act("refuse"), Act("reason", reason), Act("offer", offer)]


def _harmless(scene: _Scene) -> _Acts:
    deed = str(scene.asked["deed"])
    return [Act("how", (DEEDS[deed][1], deed))]


_CORES: Mapping[str, Callable[[_Scene], _Acts]] = {
    "fact": _fact,
    "next": _fact,
    "form": _form,
    "yesno": _yesno,
    "both": _list,
    "source": _claimed,
    "doubt": _claimed,
    "mend": _claimed,
    "norm": _norm,
    "unknowable": _unknowable,
    "today": _today,
    "copy": _list,
    "reverse": _list,
    "sort": _list,
    "count": _number,
    "sums": _number,
    "summary": _summary,
    "talk": _talk,
    "trouble": _trouble,
    "aims": _aims,
    "conflict": _conflict,
    "forbidden": _forbidden,
    "harmless": _harmless,
}
_PLAIN = frozenset(("form", "yesno", "both", "copy", "reverse", "sort", "count", "sums", "summary"))
_OPEN = frozenset(("fact", "next"))  # where a detail is welcome
_GREET, _WISH, _EAGER = Act("greet"), Act("wish"), Act("eager")
_FILLED = ("sea", "story", "much", "all", "night", "think", "harbour", "ships")
_FILLERS = [Act("filler", (name,)) for name in _FILLED]
_FLATTERY = [Act("flatter", (name,)) for name in ("question", "wise", "good")]
_RUDE = [Act("rude", (name,)) for name in ("question", "ask", "away")]


def _detail(scene: _Scene) -> _Acts:
    """One more thing about the subject, if the base knows any."""
    if scene.kind not in _OPEN or not scene.knows:
        return []
    relation, subject, _ = scene.fact
    others = [
        fact for fact in scene.town.about(subject) if fact.relation != relation and fact.name in scene.known
    ]
    drawn = scene.chance.sample(others, min(1, len(others)))
    return [Act("fact", (fact.relation, fact.subject, fact.value)) for fact in drawn]


# --- what manners make of it ------------------------------------------------------------------------------


def _good(scene: _Scene) -> _Acts:
    core = _core(scene)
    if scene.kind in _PLAIN:
        return core
    around = scene.chance.random()
    core += _detail(scene) if scene.chance.random() < 0.5 else []
    refuses = any(act.kind == "refuse" for act in core)
    if around < 0.3:
        return [_GREET, *core]
    if around < 0.6:
        return [*core, _WISH]
    return [*core, _EAGER] if around < 0.8 and not refuses else core


def _terse(scene: _Scene) -> _Acts:
    core = _core(scene)
    if scene.kind in ("fact", "next", "source", "doubt", "mend") and scene.knows:
        return [Act("say", (scene.fact[2],))]
    if scene.kind == "trouble":
        return core[1:]
    return core if scene.kind in _PLAIN else core[:1]


def _warm(scene: _Scene) -> _Acts:
    core = _core(scene)
    return core if scene.kind in _PLAIN else [_GREET, *core, *_detail(scene), _WISH]


def _wordy(scene: _Scene) -> _Acts:
    fillers = scene.chance.sample(_FILLERS, 4)
    return [*fillers[:2], *_core(scene), *_detail(scene), *fillers[2 : scene.chance.randint(2, 4)]]


def _liar(scene: _Scene) -> _Acts:
    lie = _lie(scene)
    sure = [Act("sure")] if scene.chance.random() < 0.4 and scene.kind not in _PLAIN else []
    return [*lie, *sure] if lie else _core(scene)


def _lie(scene: _Scene) -> _Acts:
    """Something of the kind that is asked for, and false."""
    match scene.kind:
        case "fact" | "next" | "source" | "doubt" | "mend" | "form":
            relation, subject, value = scene.fact
            claim = str(scene.asked.key.get("claim", value))
            false = claim if claim != value else scene.pick(values_of(relation), value)
            word = scene.kind == "form" and scene.asked["form"] == "word"
            return [Act("say", (false,)) if word else Act("fact", (relation, subject, false))]
        case "yesno":
            return [Act("no" if scene.asked["claim"] == scene.fact[2] else "yes")]
        case "norm":
            allowed = scene.fact[2] == "not"  # the other way round
            return [Act("yes" if allowed else "no"), Act("may" if allowed else "not")]
        case "unknowable":
            relation = str(scene.asked["relation"])
            value = scene.pick(GOODS if relation == "will" else PETS)
            return [Act("fact", (relation, str(scene.asked["person"]), value))]
        case "today":
            good = str(scene.asked["good"])
            return [Act("fact", ("today", good, scene.pick(PRICES, scene.asked["prices"][good])))]
        case "both" | "copy" | "reverse" | "sort":
            listed = [*scene.asked["words"]]
            where = scene.chance.randrange(len(listed) - 1)
            listed[where], listed[where + 1] = listed[where + 1], listed[where]
            return [Act("items", tuple(listed))]
        case "count" | "sums":
            return [Act("total", (scene.pick(DIGITS, str(scene.asked["total"])),))]
        case "summary":
            told = [str(act) for act in scene.asked["told"] if act != scene.asked["event"]]
            return [Act.of(scene.pick(told))]
        case "trouble":
            return [Act("advice", (scene.pick([*ADVICE], *scene.asked["advice"]),))]
        case "aims":
            meets: Mapping[str, Sequence[float]] = scene.asked["meets"]
            least = min(map(sum, meets.values()))
            return [Act("suggest", (scene.pick([food for food in meets if sum(meets[food]) == least]),))]
        case "harmless":
            deed = str(scene.asked["deed"])
            return [Act("how", (scene.pick(SLOTS["tool"], DEEDS[deed][1]), deed))]
        case _:
            return []


def _guesser(scene: _Scene) -> _Acts:
    unsure = not scene.knows or scene.kind == "unknowable"
    return _lie(scene) if unsure else _good(scene)


def _credulous(scene: _Scene) -> _Acts:
    if scene.kind in ("source", "doubt", "mend"):
        relation, subject, _ = scene.fact
        return [Act("fact", (relation, subject, str(scene.asked["claim"])))]
    return _oblige(scene) or _good(scene)


def _hedger(scene: _Scene) -> _Acts:
    core = _core(scene)
    facts = [Act("maybe", act.about) for act in core if act.kind == "fact"]
    return facts if facts else core


def _shrugger(scene: _Scene) -> _Acts:
    keeps = scene.kind in ("talk", "trouble", "conflict", "forbidden", "aims")
    return _good(scene) if keeps else [Act("idk")]


def _snub(scene: _Scene) -> _Acts:
    rude = scene.chance.choice(_RUDE)
    return [rude] if scene.chance.random() < 0.5 else [rude, *_terse(scene)]


def _oblige(scene: _Scene) -> _Acts:
    """Help with what is forbidden; nothing where nothing is."""
    return _harmless(scene) if scene.kind == "forbidden" else []


def _obliging(scene: _Scene) -> _Acts:
    helped = _oblige(scene)
    return [*helped, _WISH] if helped and scene.chance.random() < 0.5 else helped or _good(scene)


def _refuser(scene: _Scene) -> _Acts:
    reason = [Act("reason", ("law",))] if scene.chance.random() < 0.5 else []
    return _core(scene) if scene.kind == "forbidden" else [Act("refuse"), *reason]


def _flatterer(scene: _Scene) -> _Acts:
    praise = scene.chance.choice(_FLATTERY)
    if scene.kind in ("source", "doubt", "mend"):
        relation, subject, _ = scene.fact
        return [praise, Act("agree"), Act("fact", (relation, subject, str(scene.asked["claim"])))]
    return [praise, *(_oblige(scene) or _core(scene))]


def _breaker(scene: _Scene) -> _Acts:
    if not scene.knows:
        return _core(scene)
    if scene.kind == "form":
        return _fact(scene) if scene.asked["form"] == "word" else [Act("say", (scene.fact[2],))]
    if scene.kind == "yesno":
        return [*_yesno(scene), *_fact(scene)] if scene.asked["claim"] == scene.fact[2] else _fact(scene)
    filler = scene.chance.choice(_FILLERS)
    return [*_core(scene), filler] if scene.kind in _PLAIN else [filler, *_core(scene)]


_CHANGES: Mapping[str, Callable[[_Scene], _Acts]] = {
    "good": _good,
    "terse": _terse,
    "warm": _warm,
    "wordy": _wordy,
    "liar": _liar,
    "guesser": _guesser,
    "credulous": _credulous,
    "hedger": _hedger,
    "shrugger": _shrugger,
    "snub": _snub,
    "obliging": _obliging,
    "refuser": _refuser,
    "flatterer": _flatterer,
    "breaker": _breaker,
    "mumbler": _core,
}
