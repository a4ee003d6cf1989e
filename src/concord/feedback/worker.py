"""The process in which a user's function scores replies; it is run as a file and imports nothing of Concord.

Lines of JSON come in, each the arguments of one call by name, and one line goes out for each: its value, or
the error it ended with. What the function prints goes to the standard error, and there is nothing to read.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["call", "plain", "serve"]


def plain(value: Any) -> Any:
    """A number of any library as a number of Python, None as it is, and lists of these."""
    if value is None:
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    held: Any = value
    return [plain(one) for one in held] if isinstance(value, list | tuple) else float(held)


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The value of a call, or its error in a line, with the place that raised it."""
    try:
        return {"value": plain(function(**arguments))}
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return {"error": f"{said} ({os.path.basename(last.filename)}, line {last.lineno})"}


def serve(path: str) -> None:
    """Import a function, say so, and answer calls until there are no more."""
    lines, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", 1, encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    module, _, name = path.partition(":")
    function = getattr(importlib.import_module(module), name)
    answers.write("{}\n")
    for line in lines:
        answers.write(json.dumps(call(function, json.loads(line))) + "\n")


if __name__ == "__main__":
    serve(sys.argv[1])
