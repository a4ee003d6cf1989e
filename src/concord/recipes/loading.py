"""YAML as people mean it: `5e-7` is a number, `no` is a word, and a key that stands twice is an error."""

import math
import re
from collections.abc import Hashable, Mapping
from typing import Any, cast

import yaml

from concord.errors import NOTHING, RecipeError, Said, explain

__all__ = ["load_yaml", "scalar"]

_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Plain data only, with the scalars of YAML 1.2: of words only true, false and null mean something."""


_Loader.yaml_implicit_resolvers = {}


def _duplicates(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
    first: dict[Any, int] = {}
    for key_node, _ in node.value:
        key: Any = cast("Any", loader).construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise _wrong("a key is no name", Said(f"{key!r} in line {line}"), "names", "write a name there")
        if key in first:
            found = Said(f"lines {first[key]} and {line}")
            raise _wrong(f"the key {key} stands twice", found, "each key once", "leave one of them out")
        first[key] = line
    return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node).replace("_", ""))


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    if text.endswith(".inf"):
        return -math.inf if text.startswith("-") else math.inf
    return float(text)


def _whole_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    return _duplicates(loader, node, deep=True)


_Loader.add_constructor(f"{_TAG}map", _whole_mapping)
_Loader.add_constructor(f"{_TAG}int", _integer)
_Loader.add_constructor(f"{_TAG}float", _decimal)
# The first that fits counts; an integer would also be a float.
for tag, pattern, first in (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    cast("Any", _Loader).add_implicit_resolver(f"{_TAG}{tag}", re.compile(f"^(?:{pattern.pattern})$"), first)


def load_yaml(text: str, where: str) -> dict[str, Any]:
    """Read a recipe: a mapping from names to values. `where` opens a message, as a file does."""
    try:
        data: Any = yaml.load(text, _Loader)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = cast("Any", getattr(error, "problem_mark", None))
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        found = Said(str(getattr(error, "problem", None) or error).replace("\n", " ") or NOTHING)
        accepted = "YAML: lines such as `learning_rate: 5e-7`"
        raise RecipeError(
            f"{where}{at}: " + explain("this is no YAML", found=found, accepted=accepted, do="correct it")
        ) from error
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        accepted, do = "names with values, one a line: `batch_size: 64`", "write it so"
        found = Said(f"a {type(data).__name__}")
        raise RecipeError(
            f"{where}: " + explain("a recipe is no such thing", found=found, accepted=accepted, do=do)
        )
    return dict(cast("Mapping[str, Any]", data))


def scalar(text: str) -> Any:
    """What a word of the command line is in YAML: a number, true, a list in brackets, or else a text."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecipeError, ValueError, RecursionError):
        return text


def _wrong(wrong: str, found: object, accepted: str, do: str) -> RecipeError:
    return RecipeError(explain(wrong, found=found, accepted=accepted, do=do))
