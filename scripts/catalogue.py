"""Write the catalogue `methods.json`: all that signatures, docstrings and `METHODS` say, as plain data.

    python -m scripts.catalogue          (make methods)

Every public function of the modules in `MENUS` becomes an entry, and every entry of `METHODS`. What a
module holds says what kind of thing its functions are and in which family they stand; the few that are
something else are named in `KINDS`. Of kind `function` are helpers: in the file, but in no list of methods.
"""

import ast
import importlib
import inspect
import json
import math
import pkgutil
import re
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import concord.objectives
from concord.objectives.contract import INPUTS, describe, range_of
from concord.objectives.methods import METHODS, Method, Step, Term

FILE = Path(concord.objectives.__file__).parents[1] / "methods.json"
"""Where the catalogue lies."""

MENUS: Mapping[str, tuple[str, str]] = {
    "imitation": ("objective", "imitation"),
    "pairs": ("objective", "pairs"),
    "contrast": ("objective", "pairs without reference"),
    "replies": ("objective", "single replies"),
    "rankings": ("objective", "rankings"),
    "rewards": ("objective", "reward models"),
    "policy_gradient": ("objective", "policy gradient"),
    "distillation": ("objective", "distillation"),
    "selection": ("selection", "selection"),
    "shaping": ("shaping", "shaping"),
    "advantages": ("advantage", "advantages"),
    "aggregation": ("aggregation", "aggregation"),
    "reductions": ("reduction", "reductions"),
    "divergences": ("divergence", "divergences"),
    "theory": ("theory", "theory"),
    "running": ("method", "combinations"),
}
"""Kind and family of what each module holds, in the order of the catalogue."""

KINDS: Mapping[str, str] = {
    "best_of_n_kl_bound": "theory",
    "collision": "function",
    "entropy": "function",
    "expected_over_tokens": "function",
    "f_generator": "function",
    "f_prime": "function",
    "log1mexp": "function",
    "log_derivative": "function",
    "log_probs": "function",
    "plackett_luce_nll": "function",
    "row_mean_where": "function",
    "topk": "function",
}
"""Functions that are not of their module's kind."""

NO_MENU = ("contract", "methods", "metrics")
"""Modules that hold no menu: what keeps the package together, and what is measured beside every loss."""

STAGES = ("keep", "bonus", "shaping", "advantage")
"""What a method does with samples before its loss, in order."""

# What looks a method up or runs it.
_LEFT_OUT = ("find_method", "method_advantage", "method_loss")
# The denominators of reductions, which the loop counts.
_COUNTED = ("total",)
_EQUATION = re.compile(r"^\w[^\s=.:]* = ")
_STREAMS = {"pretrain": "pretraining text", "values": "value head"}

_Entry = dict[str, Any]


def catalogue() -> list[_Entry]:
    """Read every function of the menus and every named method, by family and name."""
    functions = [entry(f, kind=kind, family=family) for f, kind, family in _functions()]
    known = {found["name"]: found for found in functions}
    methods = [_method(name, method, known) for name, method in METHODS.items()]
    families = [family for _, family in MENUS.values()]
    return sorted([*methods, *functions], key=lambda e: (families.index(e["family"]), e["name"], e["kind"]))


def text() -> str:
    """Spell the catalogue as it stands in the file: an entry is a line, so that a change is one as well."""
    lines = [json.dumps(found, allow_nan=False) for found in catalogue()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def write() -> None:
    """Write the catalogue to its file."""
    FILE.write_text(text(), encoding="utf-8")


def _functions() -> Iterator[tuple[Callable[..., Any], str, str]]:
    for found in pkgutil.iter_modules(concord.objectives.__path__):
        if found.name in NO_MENU or found.name.startswith("_"):
            continue
        assert found.name in MENUS, f"say in MENUS what the functions of objectives/{found.name}.py are"
        module = importlib.import_module(f"concord.objectives.{found.name}")
        kind, family = MENUS[found.name]
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isroutine(value) and name not in _LEFT_OUT:
                yield value, KINDS.get(name, kind), family


def entry(function: Callable[..., Any], *, kind: str = "objective", family: str = "") -> _Entry:
    """Read one function, of ours or of a user, into an entry of the catalogue."""
    card, hints = describe(function), get_type_hints(function)
    keywords = {p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY}
    equation, about = _split(card.equation)
    return {
        "name": card.name,
        "kind": kind,
        "family": family,
        "module": function.__module__,
        "signature": _signature(function),
        "summary": card.summary,
        "equation": equation,
        "about": about,
        "paper": card.notes.get("paper", ""),
        "needs": [] if card.needs == "values" else card.needs.split(", "),
        "inputs": {
            n: card.notes.get(n, INPUTS[n].meaning if n in INPUTS else "")
            for n in card.inputs
            if n in keywords
        },
        "knobs": {
            name: {
                **_knob(hints[name], default, card.notes.get(name, "")),
                "range": range_of(card.name, name)
                if kind == "objective" and hints[name] in (int, float)
                else "",
            }
            for name, default in card.knobs.items()
            if name in keywords
        },
        "coupled": card.coupled,
        **{label: card.notes.get(label, "") for label in ("minimises", "optimum", "departs", "peers")},
        **{stage: [] for stage in STAGES},
        "terms": [],
    }


def _meaning(name: str, notes: Mapping[str, str]) -> str:
    return notes.get(name) or (INPUTS[name].meaning if name in INPUTS else "")


def _split(body: str) -> tuple[str, str]:
    """Part the middle of a docstring into equations, kept line by line, and prose."""
    blocks = [block for block in re.split(r"\n\s*\n", body) if block.strip()]
    equations = [block.rstrip() for block in blocks if _EQUATION.match(block)]
    prose = [" ".join(block.split()) for block in blocks if not _EQUATION.match(block)]
    return "\n".join(equations), "\n".join(prose)


def _signature(function: Callable[..., Any]) -> str:
    """The signature in the words of the source, which keep the names of shapes."""
    module = inspect.getmodule(function)
    assert module is not None, "a function of a file"
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            return f"{node.name}({', '.join(_parameters(node.args))}){returns}"
    raise AssertionError(f"{function.__name__} is not defined at the top of {module.__name__}")


def _parameters(given: ast.arguments) -> Iterator[str]:
    first = [*given.posonlyargs, *given.args]
    assert not given.defaults, "what has a default is keyword-only"
    yield from (ast.unparse(arg) for arg in first)
    if given.vararg or given.kwonlyargs:
        yield f"*{ast.unparse(given.vararg) if given.vararg else ''}"
    for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield ast.unparse(arg) + (f" = {ast.unparse(default)}" if default else "")


def _knob(hint: Any, default: Any, meaning: str) -> _Entry:
    required = default is inspect.Parameter.empty
    return {
        "default": None if required else _legal(default),
        "type": _type_name(hint),
        "meaning": meaning,
        "choices": list(get_args(hint)) if get_origin(hint) is Literal else [],
        "required": required,
    }


def _legal(value: Any) -> Any:
    """A value that JSON can spell: infinities and not-a-number as the texts of `concord.durable`."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _type_name(hint: Any) -> str:
    match get_origin(hint):
        case None:
            return "none" if hint is type(None) else getattr(hint, "__name__", str(hint))
        case origin if origin is Literal:
            return "choice"
        case origin if origin in (Union, types.UnionType):
            return " or ".join(_type_name(arg) for arg in get_args(hint))
        case origin:
            return f"{origin.__name__} of {', '.join(_type_name(arg) for arg in get_args(hint))}"


def _method(name: str, method: Method, known: Mapping[str, _Entry]) -> _Entry:
    """An entry for a choice from the menus: needs, inputs and knobs are those of its parts."""
    parts = [known[part] for term in method.terms for part in (term.objective, term.reduction)]
    parts += [known[step.name] for step in _steps(method)]
    return {
        "name": name,
        "kind": "method",
        "family": _family(method, known),
        "module": "concord.objectives.methods",
        "signature": "",
        "summary": method.summary,
        "equation": _sum(method.terms),
        "about": "",
        "paper": method.paper,
        "needs": _needs(method, known),
        "inputs": {k: v for part in parts for k, v in part["inputs"].items() if k not in _COUNTED},
        "knobs": {
            f"{part['name']}.{knob}": {**found, **_given(method, part["name"], knob)}
            for part in parts
            for knob, found in part["knobs"].items()
            if knob not in _COUNTED
        },
        "coupled": any(part["coupled"] for part in parts),
        "minimises": method.minimises,
        "optimum": method.optimum,
        "departs": method.departs,
        "peers": method.peers,
        **{stage: [step.name for step in getattr(method, stage)] for stage in STAGES},
        "terms": [
            {
                "objective": term.objective,
                "reduction": term.reduction,
                "weight": term.weight,
                "on": term.on,
                "knobs": {knob: _legal(value) for knob, value in term.knobs.items()},
            }
            for term in method.terms
        ],
    }


def _steps(method: Method) -> list[Step]:
    return [step for stage in STAGES for step in getattr(method, stage)]


def _given(method: Method, part: str, knob: str) -> _Entry:
    """What a method sets a part's knob to, if it does."""
    given = [t.knobs[knob] for t in method.terms if part in (t.objective, t.reduction) and knob in t.knobs]
    given += [step.knobs[knob] for step in _steps(method) if step.name == part and knob in step.knobs]
    return {"default": _legal(given[0]), "required": False} if given else {}


def _family(method: Method, known: Mapping[str, _Entry]) -> str:
    """The family of what sets a method apart: its advantage, or its first term beyond imitation."""
    if method.advantage:
        return "policy gradient"
    found = [known[term.objective]["family"] for term in method.terms]
    return next((family for family in found if family != "imitation"), "imitation")


def _needs(method: Method, known: Mapping[str, _Entry]) -> list[str]:
    """What the parts need together, less what one of them makes for another."""
    needs: list[str] = []
    for term in method.terms:
        needs += [_STREAMS[term.on]] if term.on in _STREAMS else known[term.objective]["needs"]
    for step in _steps(method):
        part = known[step.name]
        needs += [*part["needs"], *(["value head"] if "value" in part["inputs"] else [])]
    made = {"advantages"} if method.advantage else set[str]()
    made |= {"tokens"} if "samples" in needs else set()
    return [need for need in dict.fromkeys(needs) if need not in made]


def _sum(terms: tuple[Term, ...]) -> str:
    parts = [
        f"{'' if term.weight == 1 else f'{term.weight:g} '}{term.reduction}({term.objective}"
        f"{'' if term.on == 'samples' else f' on {term.on}'})"
        for term in terms
    ]
    return "loss = " + " + ".join(parts)


if __name__ == "__main__":
    write()
