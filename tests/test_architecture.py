"""The package's structure: imports between its folders point one way, and few modules stand outside of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import cam_adv

ROOT = Path(cam_adv.__file__).parent


def imported_parts(file: Path) -> Iterator[str]:
    """The folders and root modules of the package that a file imports from, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cam_adv."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cam_adv."))


def imports_between_parts() -> dict[str, set[str]]:
    """Folder or root module → those that it imports from, without itself."""
    found: dict[str, set[str]] = {}
    for file in ROOT.rglob("*.py"):
        part = file.relative_to(ROOT).parts[0].removesuffix(".py")
        found.setdefault(part, set()).update(name for name in imported_parts(file) if name != part)
    return found


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that is imported from a part, directly or through others."""
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        part = waiting.pop()
        if part not in seen:
            seen.add(part)
            waiting.extend(graph.get(part, ()))
    return seen


def test_reachable_on_a_cycle_holds_its_start() -> None:
    assert "a" in reachable({"a": {"b"}, "b": {"a"}}, "a")


def test_imports_between_folders_form_no_cycle() -> None:
    graph = imports_between_parts()
    assert {"attacks", "models", "studies", "config"} <= graph.keys()
    assert [part for part in graph if part in reachable(graph, part)] == []


def test_at_most_five_modules_stand_outside_of_folders() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 5


def test_no_module_is_called_utils_or_helpers() -> None:
    assert not [file for file in ROOT.rglob("*.py") if file.stem in ("utils", "helpers", "common", "misc")]
