"""The size budget: a file, a function or a signature that outgrows it has found a seam to be cut at."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

LINES_A_FILE, LINES_A_FUNCTION, PARAMETERS = 400, 60, 8
FOLDERS = ("src", "scripts", "benchmarks", "examples")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# "src/concord/file.py" or "src/concord/file.py:Class.function" -> why it may be larger.
ALLOWED: dict[str, str] = {}

SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(text: str, tree: ast.Module) -> set[int]:
    """Number the lines that hold code: not blank, not comment, not docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | Function)
        if documented and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def functions(node: ast.AST, outer: str = "") -> Iterator[tuple[str, Function, bool]]:
    """Walk the functions of a tree: dotted name, node, whether it is a method."""
    for child in ast.iter_child_nodes(node):
        name = outer
        if isinstance(child, Function | ast.ClassDef):
            name = f"{outer}.{child.name}".lstrip(".")
        if isinstance(child, Function):
            yield name, child, isinstance(node, ast.ClassDef)
        yield from functions(child, name)


def parameters(function: Function, *, method: bool) -> int:
    """Count the parameters of a signature, the bound one of a method left out."""
    given = function.args
    named = [*given.posonlyargs, *given.args]
    bound = method and bool(named) and named[0].arg in ("self", "cls")
    return len(named) - bound + len(given.kwonlyargs) + bool(given.vararg) + bool(given.kwarg)


def excesses(path: Path) -> Iterator[tuple[str, str]]:
    """Say what in a file is over budget: where, and by how much."""
    text, where = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    tree = ast.parse(text)
    lines = code_lines(text, tree)
    if len(lines) > LINES_A_FILE:
        yield where, f"{len(lines)} code lines, at most {LINES_A_FILE} a file"
    for name, function, method in functions(tree):
        own = len(lines & set(range(function.lineno, (function.end_lineno or 0) + 1)))
        if own > LINES_A_FUNCTION:
            yield f"{where}:{name}", f"{own} code lines, at most {LINES_A_FUNCTION} a function"
        if (count := parameters(function, method=method)) > PARAMETERS:
            yield f"{where}:{name}", f"{count} parameters, at most {PARAMETERS} a signature"


def test_everything_is_within_budget() -> None:
    found = dict(excess for path in FILES for excess in excesses(path))
    over = [f"{where}: {excess}" for where, excess in found.items() if where not in ALLOWED]
    assert not over, "\n".join(["move the seam, not the number:", *over])
    stale = sorted(ALLOWED.keys() - found.keys())
    assert not stale, f"within budget by now, so no longer to be allowed: {stale}"
    assert all(reason.strip() for reason in ALLOWED.values()), "each allowance says why"


def test_the_count_sees_code_and_nothing_else() -> None:
    text = '"""Two\nlines."""\n\n# why\nclass A:\n    def f(self, a, *, b):\n        """Doc."""\n'
    text += '        return """x\n\ny"""\n'
    tree = ast.parse(text)
    assert code_lines(text, tree) == {5, 6, 8, 9, 10}
    assert [(name, parameters(f, method=m)) for name, f, m in functions(tree)] == [("A.f", 2)]


def test_source_is_ascii() -> None:
    odd = [
        f"{path.relative_to(ROOT).as_posix()}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if not line.isascii()
    ]
    assert not odd, "\n".join(odd)
