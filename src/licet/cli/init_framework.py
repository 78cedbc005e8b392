"""Which agents' frameworks a project uses: what `licet init` tells its reader to add to it.

Rules:

1. Files of the project are read, never run or imported. A file that cannot be read says nothing.
2. What is read is bounded: a folder of somebody's may hold anything.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from licet.integrations.frameworks import FRAMEWORKS, Framework, find_framework_of

FILES_LIMIT: Final = 500
"""Python files that are looked at, from the top of the project down."""
SIZE_LIMIT_BYTES: Final = 1024 * 1024
DEPTH_LIMIT: Final = 4
_SKIPPED: Final = frozenset({"node_modules", "site-packages", "__pycache__", "venv", "env", "build", "dist"})
_NEEDS: Final = (
    ("project", "dependencies"),
    ("project", "optional-dependencies"),
    ("dependency-groups",),
    ("tool", "poetry", "dependencies"),
    ("tool", "poetry", "dev-dependencies"),
    ("tool", "poetry", "group"),
)
"""Where pyproject.toml says what a project needs."""
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def frameworks_of(project: Path) -> tuple[Framework, ...]:
    """The frameworks that a project names among what it needs, or imports, in the order of the docs."""
    needed = {_normal(name) for name in _needed(project)}
    found = {one.name for one in FRAMEWORKS if needed & set(one.distributions)}
    for file in islice(_programs(project), FILES_LIMIT):
        for module in _imported(file):
            framework = find_framework_of(module)
            if framework is not None and not _is_own(project, module):
                found.add(framework.name)
    return tuple(one for one in FRAMEWORKS if one.name in found)


def _needed(project: Path) -> Iterator[str]:
    """The names of the distributions that pyproject.toml and the files of requirements name."""
    content = _parsed(project / "pyproject.toml")
    for keys in _NEEDS:
        for text in _texts(_inner(content, *keys)):
            yield from _names(text)
    for file in sorted(project.glob("requirements*.txt")):
        for line in (_read(file) or "").splitlines():
            yield from _names(line)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a table of needs, and the names of its tables: poetry writes what it needs as keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (text for one in value for text in _texts(one))
    elif isinstance(value, dict):
        yield from value
        yield from (text for one in value.values() for text in _texts(one))


def _names(text: str) -> Iterator[str]:
    found = _NAME.match(text)
    if found is not None:
        yield found[1]


def _programs(project: Path) -> Iterator[Path]:
    """The Python files of the project, those nearest to its top first."""
    folders = [project]
    for _ in range(DEPTH_LIMIT):
        inner: list[Path] = []
        for folder in folders:
            for path in _listed(folder):
                if path.is_symlink() or path.name.startswith("."):
                    continue
                if path.is_dir():
                    inner += [path] if path.name not in _SKIPPED and not (path / "pyvenv.cfg").exists() else []
                elif path.suffix == ".py":
                    yield path
        folders = inner


def _is_own(project: Path, module: str) -> bool:
    """Whether the project has a module of this name itself: many a project keeps its agents in `agents`."""
    top = module.partition(".")[0]
    return any((folder / top).is_dir() or (folder / f"{top}.py").is_file() for folder in (project, project / "src"))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    try:
        tree = ast.parse(_read(file) or "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(file) or "")
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8") if file.stat().st_size <= SIZE_LIMIT_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None


def _inner(content: Any, *keys: str) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
