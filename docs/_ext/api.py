"""Write a page for every public module, and fail the build on a public name that no page documents.

A package with an `__all__` is one page: what it does not re-export is its own affair. Any other module is a
page of its own.
"""

import ast
import importlib
import inspect
import itertools
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from plain import convert
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import concord

LOG = logging.getLogger(__name__)


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Walk the public modules of a package that have public names of their own, each to be a page."""
    if public(package):
        yield package
        if package is not concord:
            return
    for found in pkgutil.iter_modules(getattr(package, "__path__", []), f"{package.__name__}."):
        if not found.name.rpartition(".")[2].startswith("_"):
            yield from modules(importlib.import_module(found.name))


def public(module: ModuleType) -> list[str]:
    """List the public names of a module."""
    return list(getattr(module, "__all__", []))


def explains_itself(value: object) -> bool:
    """Tell a class or function of ours, which has a docstring, from an alias or a constant."""
    return (inspect.isclass(value) or inspect.isroutine(value)) and ours(value)


def ours(value: object) -> bool:
    """Tell whether a value was defined in the package."""
    return str(getattr(value, "__module__", "")).startswith("concord")


def shown(module: ModuleType, name: str) -> list[str]:
    """Show an alias or a constant: the docstring under it, and what the source says it is."""
    body = ast.parse(inspect.getsource(module)).body
    lines = [f".. py:data:: {name}", ""]
    for node, after in itertools.zip_longest(body, body[1:]):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    lines += [f"   {line}" for line in convert(inspect.cleandoc(text).splitlines())]
                case _:
                    pass
            stated = (ast.get_source_segment(inspect.getsource(module), node) or "").splitlines()
            lines += ["   ::", "", *(f"      {line}" for line in stated), ""]
    return lines


def page(module: ModuleType) -> str:
    """Write the page of a module: its classes and functions in their order, then aliases and constants."""
    name = module.__name__
    data = [alias for alias in public(module) if not explains_itself(getattr(module, alias, None))]
    lines = [f".. automodule:: {name}", "   :members:", f"   :exclude-members: {', '.join(data)}", ""]
    lines += [line for alias in data for line in shown(module, alias)]
    return "\n".join([f"# {name}", "", "```{eval-rst}", *lines, "```", ""])


def write_pages(app: Sphinx) -> None:
    """Write docs/api afresh, so that no page outlives its module."""
    folder = Path(app.srcdir) / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for module in modules(concord):
        name = module.__name__.removeprefix("concord.")
        (folder / f"{name}.md").write_text(page(module), encoding="utf-8")


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn, and so fail, where a public name has no docstring or stands on no page."""
    written = {name for name, *_ in env.get_domain("py").get_objects()}
    for module in modules(concord):
        for name in public(module):
            value = getattr(module, name, None)
            if explains_itself(value) and not value.__doc__:
                LOG.warning("%s.%s is public and has no docstring", module.__name__, name)
            if f"{module.__name__}.{name}" not in written:
                LOG.warning("%s.%s is public and stands on no page", module.__name__, name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": False}
