"""What the search index costs: CPU and bytes of a record, and how long pages, texts and charts take.

    python -m benchmarks search                                    # a million records
    python -m benchmarks.bench_search --records 10000000           # ten million; minutes, and some gigabytes beside this file

Records are as governed calls make them, spread over a year: half of them intents, half outcomes, payloads of about 200 bytes of text.
Values that are filtered by occur in every record, in one of a thousand, in two, or only in the oldest hundredth. Each time is the median
of several searches; `base` is the first one, which finds colder caches.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.rows import Row
from licet.ledger.record import leaf_hash
from licet.ledger.searchable import searchable_text
from licet.store.index import Index
from licet.store.index_ask import Query
from licet.store.index_take import IndexRow
from licet.store.index_terms import Filters

RECORDS = 1_000_000
STEP = 8_000
START_US = 1_735_689_600_000_000
YEAR_US = 365 * 86_400_000_000
DAYS_30_US = 30 * 86_400_000_000
ROUNDS = 7

INTENT = (
    b'{"v":1,"log":"acme","kind":"intent","id":"%032x","at":%d,"boot":"%032x","environment":"production","call":"%032x",'
    b'"actor":{"agent":"agent-%d","user":"%032x","session":"ticket-%d"},"tool":{"name":"%s","access":"write","definition":"%064x"},'
    b'"targets":["Customer::%032x"],"decision":{"verdict":"%s","code":"allowed","policies":["policy-%d"],"bundle":"%064x"},'
    b'"trace":{"trace_id":"%032x","span_id":"%016x","workflow":"ticket-%d"},'
    b'"payload":{"commitment":"%064x","length":600,"subjects":["%032x","%032x"]}}'
)
OUTCOME = (
    b'{"v":1,"log":"acme","kind":"outcome","id":"%032x","at":%d,"boot":"%032x","environment":"production","call":"%032x",'
    b'"actor":{"agent":"agent-%d","user":"%032x","session":"ticket-%d"},"tool":{"name":"%s","access":"write","definition":"%064x"},'
    b'"targets":["Customer::%032x"],"outcome":{"status":"%s","duration_us":812,"effects":1},'
    b'"trace":{"trace_id":"%032x","span_id":"%016x","workflow":"ticket-%d"},'
    b'"payload":{"commitment":"%064x","length":200,"subjects":["%032x","%032x"]}}'
)
ASKED = (
    b'{"arguments":{"amount_cents":%d,"customer_id":"C-%d","note":"charged twice for the same month, see %s %s %s"},'
    b'"reason":"double charge %s","principals":[{"kind":"Agent","id":"agent-%d","tenant":"acme","roles":["support"]},'
    b'{"kind":"User","id":"user-%d","tenant":"acme","roles":["support","billing"],"groups":["tier-2"]}],'
    b'"targets":[{"type":"Customer","id":"C-%d","tenant":"acme","environment":"production","attributes":{"plan":"gold","country":"NL"}}],'
    b'"context":{"calls":7},"names":{"%032x":"User::\\"user-%d\\"","%032x":"Customer::\\"C-%d\\""}}'
)
ANSWERED = b'{"result":{"adjusted":%d,"balance_cents":10250,"invoice":"INV-2025-%07d","currency":"EUR"},"message":"%s %s"}'


def run() -> list[Row]:
    return measured(RECORDS, Path(__file__).parent)


def measured(records: int, folder: Path) -> list[Row]:
    """All figures of an index of so many records, which is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "licet.db-index"
        index = Index.open(path)
        try:
            return [*filling(index, path, records), *asking(index, records), *forgetting(index)]
        finally:
            index.close()


def filling(index: Index, path: Path, records: int) -> list[Row]:
    """CPU and bytes of a record, text and all."""
    text_s = take_s = 0.0
    for rows in made_rows(records):
        began = time.process_time()
        with_text = [IndexRow(row.index, row.envelope, row.leaf, searchable_text(payload)) for row, payload in rows]
        middle = time.process_time()
        index.take("acme", with_text)
        text_s += middle - began
        take_s += time.process_time() - middle
        if sys.stderr.isatty() and rows[-1][0].index % 100_000 > 100_000 - STEP - 1:
            print(f"\r{rows[-1][0].index + 1:,}", end=" ", file=sys.stderr, flush=True)
    cpu_us = (text_s + take_s) / records * 1e6
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    return [
        {"name": f"CPU of a record ({records:,})", "value": cpu_us, "unit": "us", "target": "under 25 us", "ok": cpu_us < 25},
        {"name": "of that: words of the payload", "value": text_s / records * 1e6, "unit": "us"},
        {"name": "size of a record in the index", "value": size / records, "unit": "bytes"},
    ]


def asking(index: Index, records: int) -> Iterator[Row]:
    """Pages of 100 by each filter, texts and charts."""
    middle = START_US + YEAR_US // 2
    rnd = random.Random(records)
    for name, filters in single_filters(rnd, records).items():
        for where, until in (("newest", None), ("deep", middle)):
            query = Query(filters=filters, until_us=until)
            yield row_of(f"page of 100 by {name}, {where}", 20, lambda query=query: index.search(query, limit=100))  # type: ignore[misc]
    two = Query(filters={"verdict": ("deny",), "agent": ("agent-3",)})
    yield row_of("page of 100 by two filters", None, lambda: index.search(two, limit=100))
    for typed in ("charged", "C-412", '"double charge"', "INV-2025-0000123", "w77", "w1*", "charged C-412", "invoice charged"):
        yield row_of(f"text `{typed}`", 200, lambda typed=typed: index.search(Query(text=typed), limit=100))  # type: ignore[misc]
    narrowed: dict[str, Filters] = {"charged": {"agent": ("agent-3",)}, "C-412": {"kind": ("intent",)}, "w77": {"tool": ("tool.rare",)}}
    for typed, filters in narrowed.items():
        query = Query(text=typed, filters=filters)
        yield row_of(f"text `{typed}` with {', '.join(filters)}", 200, lambda query=query: index.search(query, limit=100))  # type: ignore[misc]
    yield row_of("count up to 10,000", None, lambda: index.count(Query(filters={"kind": ("intent",)})))
    last = START_US + YEAR_US
    for by in ("tool", "verdict", "outcome"):
        yield row_of(f"chart of 30 days by {by}", 50, lambda by=by: index.rollup(by, since_us=last - DAYS_30_US, until_us=last))  # type: ignore[misc]


def forgetting(index: Index) -> Iterator[Row]:
    began = time.perf_counter()
    index.forget("acme", [f"{7:032x}"])
    yield {"name": "forgetting somebody of whom much is known", "value": time.perf_counter() - began, "unit": "s"}
    began = time.perf_counter()
    index.drop_text()
    yield {"name": "dropping all text", "value": time.perf_counter() - began, "unit": "s"}


def row_of(name: str, target_ms: float | None, ask: Callable[[], object]) -> Row:
    """The median, after the first one."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    row: Row = {"name": name, "value": statistics.median(times[1:]), "unit": "ms", "base": times[0]}
    return row | {"target": f"under {target_ms:g} ms", "ok": row["value"] < target_ms} if target_ms is not None else row


def single_filters(rnd: random.Random, records: int) -> dict[str, Filters]:
    """One of each field, and what is rare, unique or only in old records."""
    call = rnd.randrange(records // 2)
    return {
        "nothing": {},
        "log": {"log": ("acme",)},
        "kind": {"kind": ("intent",)},
        "agent": {"agent": ("agent-3",)},
        "user": {"user": (f"{7:032x}",)},
        "actor": {"actor": ("agent-3",)},
        "session": {"session": (f"ticket-{call // 10}",)},
        "workflow": {"workflow": (f"ticket-{call // 10}",)},
        "tool": {"tool": ("tool.5",)},
        "rare tool": {"tool": ("tool.rare",)},
        "tool of long ago": {"tool": ("tool.old",)},
        "access": {"access": ("write",)},
        "target": {"target": (f"Customer::{5412:032x}",)},
        "target type": {"target_type": ("Customer",)},
        "verdict": {"verdict": ("deny",)},
        "outcome": {"outcome": ("timeout",)},
        "policy": {"policy": ("policy-7",)},
        "decided by": {"decided_by": ("policy",)},
        "environment": {"environment": ("production",)},
        "call": {"call": (f"{call:032x}",)},
        "trace": {"trace_id": (f"{trace_of(call):032x}",)},
        "nobody": {"user": ("f" * 32,)},
    }


def trace_of(call: int) -> int:
    """Spread as random ids are."""
    return call * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)


def made_rows(records: int) -> Iterator[list[tuple[IndexRow, bytes]]]:
    """Records and payloads, a step at a time."""
    rnd = random.Random(1)
    words = [b"w%x" % rnd.getrandbits(16) for _ in range(20_000)] + [b"w77"]
    for start in range(0, records, STEP):
        rows = []
        for number in range(start, min(start + STEP, records)):
            call = number >> 1
            at = START_US + number * YEAR_US // records
            tool = b"tool.old" if number * 100 < records else b"tool.rare" if call % 1000 == 7 else b"tool.%d" % (call % 50)
            who, target, ticket = call * 7919 % 5000, call * 31 % 100_000, call // 10
            pseudonym = target + 5000
            common = (call % 20, who, ticket, tool, 13, pseudonym)
            trace = (trace_of(call), call, ticket, number, who, pseudonym)
            if number & 1:
                status = b"timeout" if call % 100 == 3 else b"ok"
                envelope = OUTCOME % (number, at, 1, call, *common, status, *trace)
                payload = ANSWERED % (call % 9999, number, rnd.choice(words), rnd.choice(words))
            else:
                verdict = b"deny" if call % 23 == 3 else b"allow"
                envelope = INTENT % (number, at, 1, call, *common, verdict, call % 100, 11, *trace)
                chosen = [rnd.choice(words) for _ in range(4)]
                payload = ASKED % (call % 9999, target, *chosen, call % 20, who, target, who, who, pseudonym, target)
            rows.append((IndexRow(number, envelope, leaf_hash(envelope), None), payload))
        yield rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=RECORDS)
    options.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the index lies while it is measured")
    chosen = options.parse_args()
    for row in measured(chosen.records, chosen.folder):
        target = f"{row['target']}: {'met' if row['ok'] else 'SHORT'}" if row.get("target") else ""
        first = f"first {row['base']:.2f}" if row.get("base") is not None else ""
        print(f"{row['name']:52} {row['value']:10.2f} {row['unit']:6} {first:14} {target}")


if __name__ == "__main__":
    main()
