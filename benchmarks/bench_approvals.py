"""Requests for people: what opening one costs, and listing and matching among ten thousand.

`flush` is a 4 KiB write and fdatasync on the same filesystem in the same run. A request that is opened writes twice, one after the other:
the preview's record, and the hold with its request. Latency is of one caller at a time, who waits for both.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench_calls import flush_s
from benchmarks.rows import Row
from licet import Effect, Gate
from licet.config import loads
from licet.gate.results import Held

OPENINGS = 300
OPEN = 10_000
PAGE = 50
ROUNDS = 40
CONFIG = """
environment = "production"
[tenants.acme]
[agents.support-bot]
tenants = ["acme"]
roles = ["billing"]
[users.alice]
tenants = ["acme"]
roles = ["billing"]
[users.lena]
tenants = ["acme"]
[groups]
billing-leads = ["lena"]
[approvals]
expires = "1d"
open_per_caller = 100000
"""
POLICIES = """
@id("billing")
permit (principal in Role::"billing", action, resource);
@id("needs-lead") @require_approval("1 of Group::\\"billing-leads\\"") @reason("money needs a lead")
forbid (principal, action == Action::"billing.adjust", resource);
"""


@contextmanager
def opened() -> Iterator[Gate]:
    """A gate on a fresh store beside this file."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        root = Path(folder)
        (root / "policies").mkdir()
        (root / "policies" / "all.cedar").write_text(POLICIES)
        with Gate(loads(CONFIG, file=root / "licet.toml")) as gate:

            @gate.tool("billing.adjust", access="write", touches={"money"})
            def adjust(customer_id: str, amount_cents: int) -> str:
                return f"{customer_id} adjusted by {amount_cents}"

            @adjust.preview
            def preview(customer_id: str, amount_cents: int) -> list[Effect]:
                return [Effect(target=customer_id, field="balance", before=0, after=amount_cents)]

            gate.seal()
            yield gate


def held(gate: Gate, number: int) -> Held:
    """A call that nobody has made before, and that waits for people."""
    result = gate.call("billing.adjust", {"customer_id": f"C-{number}", "amount_cents": number})
    assert isinstance(result, Held), result
    return result


def median_s(act: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """The medians of wall-clock and CPU time (of the whole process), in seconds."""
    walls, cpus = [], []
    for number in range(rounds):
        cpu, began = time.process_time(), time.perf_counter()
        act(number)
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def run() -> list[Row]:
    """The rows."""
    with opened() as gate, gate.acting(agent="support-bot", user="alice"):
        for number in range(50):
            held(gate, 1_000_000 + number)
        flush = flush_s(Path(__file__).parent)
        wall, cpu = median_s(lambda number: held(gate, 2_000_000 + number), OPENINGS)
        again, _ = median_s(lambda number: held(gate, 2_000_000 + number), OPENINGS)
        for number in range(OPEN - OPENINGS - 50):
            held(gate, number)
        desk, store = gate.approvals, gate.store
        first = desk.waiting(limit=PAGE)
        key = first[-1].request.key
        listed, _ = median_s(lambda _: desk.waiting("acme", limit=PAGE), ROUNDS)
        deep = desk.waiting(limit=OPEN - PAGE)[-1].request.id
        last, _ = median_s(lambda _: desk.waiting("acme", limit=PAGE, after=deep), ROUNDS)
        matched, _ = median_s(lambda _: store.find_dossier("acme", key), ROUNDS)
    allowed = 3 * flush + 0.001
    return [
        {"name": "a flush (4 KiB, fdatasync)", "value": flush * 1e6, "unit": "us"},
        {
            "name": "open a request, p50 (base: 3 flushes + 1 ms)",
            "value": wall * 1e6,
            "unit": "us",
            "base": allowed * 1e6,
            "ratio": wall / allowed,
            "target": "<= 1",
            "ok": wall <= allowed,
        },
        {"name": "open a request, p50: CPU", "value": cpu * 1e6, "unit": "us", "target": "<= 1,000 us", "ok": cpu <= 0.001},
        {"name": "the same call again, while it waits, p50", "value": again * 1e6, "unit": "us"},
        _within(f"list: first {PAGE} of {OPEN:,} open", listed),
        _within(f"list: last {PAGE} of {OPEN:,} open", last),
        _within(f"match one of {OPEN:,} open by its key", matched),
    ]


def _within(name: str, seconds: float) -> Row:
    return {"name": name, "value": seconds * 1e3, "unit": "ms", "target": "<= 10 ms", "ok": seconds <= 0.010}
