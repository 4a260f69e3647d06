"""The folders of the package import one way, and no modules import each other in a circle."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import packstore

ROOT = Path(packstore.__file__).parent
# A module imports only from its own folder and from those that stand before it.
ORDER = ["errors", "config", "core", "source", "codecs", "storage", "readers", "views", "writers", "cli", "testing"]
TOP = {"napari.yaml", "__init__.py", "__main__.py", "py.typed", *ORDER, "errors.py", "config.py", "virtualizarr.py"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


@cache
def imports(module: str) -> dict[str, int]:
    """The package's modules that `module` imports, inside functions too, each with its line; not those for types."""
    found: dict[str, int] = {}

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "packstore":
            base = node.module.removeprefix("packstore").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".removeprefix(".")
                found.setdefault(full if full in MODULES else base, node.lineno)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "packstore":
                    found.setdefault(alias.name.removeprefix("packstore").removeprefix("."), node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return found


def test_the_top_level_is_the_nine_folders() -> None:
    found = {path.name for path in ROOT.iterdir() if path.name != "__pycache__"}
    assert found <= TOP, f"not rooms of this house: {sorted(found - TOP)}"


def test_no_import_runs_back_up() -> None:
    up = []
    for module in MODULES:
        floor = module.split(".")[0]
        if floor in ("", "__main__", "virtualizarr"):
            continue
        for target, line in imports(module).items():
            # The package itself stands above all folders but the console script and the suites for others.
            there = ORDER.index(target.split(".")[0]) if target else ORDER.index("writers")
            if there > ORDER.index(floor):
                up.append(f"{MODULES[module].relative_to(ROOT)}:{line} imports packstore.{target}")
    assert up == []


def test_no_circle() -> None:
    """Tarjan's strongly connected components of the import graph: each must be a single module."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def connect(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for target in imports(module):
            if target not in MODULES or target == "":
                continue
            if target not in number:
                connect(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], number[target])
        if low[module] == number[module]:
            at = stack.index(module)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                circles.append(sorted(component))

    for module in MODULES:
        if module not in number:
            connect(module)
    assert circles == []


def test_the_walk_sees_imports() -> None:
    """The two tests above are worth nothing if imports are not found."""
    assert "views.lazy" in imports("views.dask.from_file")
    assert "errors" in imports("core.selection")
    assert sum(len(imports(module)) for module in MODULES) > 300
