"""Runs every benchmark, or those named on the command line, and prints one table.

    python -m benchmarks [NAME ...]          # NAME as in bench_NAME.py

Each `bench_*.py` beside this file has `run() -> list[Row]`. Each runs in an interpreter of its own, so that none inherits the threads
and caches of another. Figures are ratios to something measured in the same run (`base`), because absolute times are the machine's. The
table goes to stdout, progress to stderr, everything with facts about the machine to results.json, where benchmarks that did not run keep
what stands there. Exit code 1 if a benchmark fell short or failed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.rows import Row, rows_of

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def main(names: list[str]) -> int:
    """Run, print and write; the exit code."""
    known = sorted(file.stem.removeprefix("bench_") for file in HERE.glob("bench_*.py"))
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"there is no benchmark `{unknown[0]}`; there are: {', '.join(known) or 'none'}", file=sys.stderr)
        return 2
    results: dict[str, list[Row]] = {}
    failed: dict[str, str] = {}
    for number, name in enumerate(names or known, start=1):
        print(f"[{number}/{len(names or known)}] {name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            results[name] = apart(name)
        except Exception:  # noqa: BLE001 (a benchmark may fail in any way, and the others still run)
            failed[name] = traceback.format_exc()
        print(f"{'failed' if name in failed else 'done'} after {time.perf_counter() - began:.1f} s", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 140).print(table(results))
    for name, trace in failed.items():
        print(f"{name} failed:\n{trace}", file=sys.stderr)
    RESULTS.write_text(json.dumps(joined(results, failed), indent=2) + "\n")
    print(f"written to {RESULTS}", file=sys.stderr)
    short = [row["name"] for rows in results.values() for row in rows if row.get("ok") is False]
    return 1 if short or failed else 0


def apart(name: str) -> list[Row]:
    """The rows of one benchmark, from a fresh interpreter."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(rows_of, name).result()


def joined(results: dict[str, list[Row]], failed: dict[str, str]) -> dict[str, Any]:
    """What was measured now, beside what stands in results.json of others; `measured` says when each was measured, and on what."""
    before: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    kept = {name: rows for name, rows in before.get("results", {}).items() if name not in {*results, *failed}}
    of_old = before["measured"] if "measured" in before else dict.fromkeys(kept, before.get("machine"))
    measured = {**{name: of_old[name] for name in kept}, **dict.fromkeys(results, machine())}
    return {"measured": dict(sorted(measured.items())), "results": dict(sorted({**kept, **results}.items())), "failed": sorted(failed)}


def table(results: dict[str, list[Row]]) -> Table:
    """All rows; what fell short says so."""
    printed = Table(box=box.SIMPLE_HEAD)
    for heading in ("benchmark", "figure"):
        printed.add_column(heading)
    for heading in ("value", "base", "ratio"):
        printed.add_column(heading, justify="right")
    for heading in ("target", ""):
        printed.add_column(heading)
    for name, rows in results.items():
        for row in rows:
            verdict = {True: "met", False: "SHORT", None: ""}[row.get("ok")]
            value = f"{figure(row['value'])} {row['unit']}"
            printed.add_row(
                name,
                row["name"],
                value,
                figure(row.get("base")),
                figure(row.get("ratio")),
                row.get("target") or "",
                verdict,
                end_section=row is rows[-1],
            )
    return printed


def figure(number: float | None) -> str:
    """Three digits that count, thousands marked; nothing for None."""
    if number is None:
        return ""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def machine() -> dict[str, Any]:
    """What these figures were measured on."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_1m": os.getloadavg()[0],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "versions": {package: metadata.version(package) for package in ("licet", "apsw", "cedarpy", "cryptography", "msgspec")},
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
