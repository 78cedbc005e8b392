"""What a benchmark gives back."""

from __future__ import annotations

import importlib
from typing import Required, TypedDict


class Row(TypedDict, total=False):
    """One figure. `ratio` is `value / base`; `target` says in words what is asked of it, if anything, and `ok` whether that is met."""

    name: Required[str]
    value: Required[float]
    unit: Required[str]
    base: float | None
    ratio: float | None
    target: str | None
    ok: bool | None


def rows_of(name: str) -> list[Row]:
    """The rows of `bench_NAME.py`, run in this interpreter."""
    rows: list[Row] = importlib.import_module(f"benchmarks.bench_{name}").run()
    return rows
