"""The public surface: what `__all__` says is what is there, it is documented, and it is light to import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import concord
from tests.conftest import SOURCE, TORCH_PLACES

HEAVY = ("accelerate", "datasets", "peft", "pyarrow", "torch", "transformers", "trl")
# These count and measure, with numpy; the rest, and with it every other verb, starts without.
NUMERIC = (
    "cli.audit",
    "cli.blocks",
    "cli.drawings",
    "cli.grid",
    "cli.live",
    "cli.score",
    "cli.scoring",
    "cli.telling",
    "data",
    "estimates",
    "eval",
    "formats",
    "render",
    "report",
    "worlds",
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def dotted(path: Path) -> str:
    """Name the module that a file holds."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(SOURCE.rglob("*.py"))}
PUBLIC = [name for name in MODULES if not any(part.startswith("_") for part in name.split("."))]
TORCH_FREE = [name for name in MODULES if [*name.split("."), ""][1] not in TORCH_PLACES]


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Walk what a module executes at its top level, branches included."""
    for statement in body:
        yield statement
        for inner in ("body", "orelse", "finalbody"):
            if not isinstance(statement, Definition):
                yield from statements(getattr(statement, inner, []))


def names(statement: ast.stmt, *, package: bool = False) -> Iterator[str]:
    """Name what a statement makes visible: definitions, assignments and, in a package, re-exports."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
            pass  # a type variable is part of the signatures that use it
        case ast.Assign(targets=targets):
            nodes = (node for target in targets for node in ast.walk(target))
            yield from (node.id for node in nodes if isinstance(node, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.ImportFrom(module=str(module), names=aliases) if package and module.startswith("concord."):
            yield from (alias.asname or alias.name for alias in aliases)
        case _:
            pass


def isort_order(name: str) -> tuple[int, str]:
    """Order as the linter does: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", PUBLIC)
def test_all_is_sorted_and_complete(module: str) -> None:
    path = MODULES[module]
    body = ast.parse(path.read_text(encoding="utf-8")).body
    package = path.name == "__init__.py"
    visible = {name for node in statements(body) for name in names(node, package=package)}
    stated: list[str] = []
    for node in body:
        if isinstance(node, ast.Assign) and "__all__" in names(node):
            stated = ast.literal_eval(node.value)
    # A module may pass on what others of ours define, by saying so.
    passed_on = {name for node in body for name in names(node, package=True)} & set(stated)
    assert stated == sorted(stated, key=isort_order)
    assert set(stated) == {name for name in visible if not name.startswith("_")} | passed_on


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_documented(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{module} has no docstring"

    def bare(body: list[ast.stmt], outer: str) -> Iterator[str]:
        for node in statements(body):
            if not isinstance(node, Definition) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node) and not is_overload(node):
                yield outer + node.name
            if isinstance(node, ast.ClassDef):
                yield from bare(node.body, f"{outer}{node.name}.")

    assert not list(bare(tree.body, f"{module}."))


def is_overload(node: Definition) -> bool:
    """Tell a typing overload, whose implementation carries the docstring."""
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def numeric(module: str) -> bool:
    """Tell a module that may import numpy."""
    return any(f"{module}.".startswith(f"concord.{name}.") for name in NUMERIC)


def test_the_torch_free_part_imports_nothing_heavy() -> None:
    light_first = [(module, numeric(module)) for module in sorted(TORCH_FREE, key=numeric)]
    program = f"""
import importlib, sys
for module, numeric in {light_first!r}:
    if not module.endswith("__main__"):
        importlib.import_module(module)
    heavy = sorted(set({HEAVY!r} if numeric else {(*HEAVY, "numpy")!r}) & sys.modules.keys())
    if heavy:
        sys.exit(f"importing {{module}} imports {{', '.join(heavy)}}")
"""
    tried = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr


def test_the_installed_package_has_all_its_files() -> None:
    installed = Path(concord.__file__).parent
    shipped = {path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file()}
    missing = {path for path in shipped if path.suffix != ".pyc" and not (installed / path).exists()}
    assert not missing
