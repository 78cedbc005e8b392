"""The agents of `examples/agents`, each in a folder of its own with a fresh business."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[3] / "examples"


@contextmanager
def example(name: str, folder: Path) -> Iterator[ModuleType]:
    """The module `NAME.py` of the examples, copied to `folder`, with its gate; the modules are forgotten afterwards."""
    for part in ("agents", "support_agent"):
        shutil.copytree(EXAMPLES / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.db*", "licet.key"))
    before, path = set(sys.modules), list(sys.path)
    sys.path[:0] = [str(folder / "agents"), str(folder / "support_agent")]
    try:
        business = _module("business", folder / "support_agent/business.py")
        business.Business.create(folder / "agents/business.db")
        module = _module(name, folder / f"agents/{name}.py")
        with module.gate:
            yield module
    finally:
        sys.path[:] = path
        for added in set(sys.modules) - before:
            if added in {"business", "support", name}:
                del sys.modules[added]


def _module(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found
