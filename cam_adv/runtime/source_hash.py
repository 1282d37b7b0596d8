"""A digest of the source code that computes a result, so that no stored result is used after its code has changed."""

import ast
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.utils import get_object

RESULT_PACKAGES = tuple(
    f"cam_adv.{package}."
    for package in ("attacks", "attributions", "data", "metrics", "models", "studies", "training")
)
"""Packages whose code computes results; the others compose configs, report and draw."""

LIBRARIES = ("torch", "lightning", "torchvision")
"""Packages whose source is not hashed."""


def source_hash(*objects: Callable[..., Any]) -> str:
    """A SHA-256 of the modules that define classes or functions, and of all modules of `RESULT_PACKAGES` that these
    import, directly or through others.

    It depends on the code only, not on comments, docstrings and layout.
    """
    modules = {getattr(one, "__module__", None) or "" for one in objects}
    own = (name for name in modules if name.partition(".")[0] not in LIBRARIES)
    files = {name: file for name in own if (file := _file_of(name)) is not None}
    reached = dict(files)
    while files:
        imported = {name for file in files.values() for name in _imported(file)}
        files = {
            name: file
            for name in imported - reached.keys()
            if name.startswith(RESULT_PACKAGES) and (file := _file_of(name)) is not None
        }
        reached |= files
    state = hashlib.sha256()
    for name in sorted(reached):
        state.update(f"{name} {_code(reached[name])}".encode())
    return state.hexdigest()


def targets_in(config: Any) -> Iterator[Callable[..., Any]]:
    """The class or function of every `_target_` in nested mappings and lists."""
    if isinstance(config, Mapping):
        if isinstance(config.get("_target_"), str):
            yield get_object(config["_target_"])
        for value in config.values():
            yield from targets_in(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from targets_in(value)


@cache
def _file_of(module: str) -> Path | None:
    """The Python file of a module; None for one without, and for a name that is no module."""
    if module in sys.modules:  # also of `__main__`, which has no spec
        file = getattr(sys.modules[module], "__file__", None)
    else:
        try:
            spec = find_spec(module)
        except (ImportError, AttributeError, ValueError):
            spec = None
        file = None if spec is None else spec.origin
    return Path(file) if file is not None and file.endswith(".py") else None


@cache
def _imported(file: Path) -> tuple[str, ...]:
    """Every name in the import statements of a file that may be a module."""
    names: list[str] = []
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


@cache
def _code(file: Path) -> str:
    """The syntax tree of a file, without docstrings; the same text on every Python."""
    tree = _WithoutDocstrings().visit(_parsed(file))
    if sys.version_info >= (3, 13):
        text = ast.dump(tree, show_empty=True)
    else:
        text = ast.dump(tree)
    return text.replace(", type_params=[]", "")  # a field that Python 3.12 has added


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes docstrings, those of variables included."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """A statement that is only a string has no effect."""
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
