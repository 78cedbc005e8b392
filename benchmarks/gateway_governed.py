"""Licet from the licet.toml of a folder, each in a process of its own that prints when it is ready and ends with its input.

python -m benchmarks.gateway_governed served FOLDER     # the gateway; prints its port
python -m benchmarks.gateway_governed inside FOLDER     # the same calls in process, with a carrier that returns at once; prints 0

In process, a line `TOOL TASKS SECONDS` is answered by a line of JSON: p50 and CPU of a call, in seconds.
"""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import msgspec
import uvloop
from msgspec.structs import replace

from benchmarks.bench_calls import Load, drive_tasks
from benchmarks.gateway_upstream import RESULT
from licet import Gate
from licet.config.server import ServerSettings
from licet.gate.acting import Acting
from licet.server.assembly import assemble

ACTING = Acting(tenant="acme", agent="bot", user="alice")


def served(folder: str) -> None:
    """The gateway, as `licet serve` serves it."""
    gate = Gate(f"{folder}/licet.toml")
    settings = ServerSettings(listen="127.0.0.1:0", metrics="", requests_per_minute=1_000_000, reload=False)
    gate.settings = replace(gate.settings, server=settings)
    server = assemble(gate)

    def started() -> None:
        server.started.wait()
        print(server.address.port, flush=True)
        sys.stdin.read()
        server.stop()

    threading.Thread(target=started, daemon=True).start()
    server.run()


def inside(folder: str) -> None:
    """Calls, as many as are asked for by a line each time."""
    with Gate(f"{folder}/licet.toml") as gate:
        gate.carry(_carry)
        gate.seal()
        gc.collect()
        gc.freeze()  # as the server does, so that the gateway is beside nothing that is slower than it need be
        print(0, flush=True)
        for line in sys.stdin:
            tool, tasks, seconds = line.split()
            print(msgspec.json.encode(called(gate, tool, int(tasks), float(seconds))).decode(), flush=True)


def called(gate: Gate, tool: str, tasks: int, seconds: float) -> Load:
    """The calls of one round."""

    async def call(number: int) -> None:
        (await gate.acall(tool, {"n": number}, acting=ACTING)).unwrap()

    return uvloop.run(drive_tasks(call, seconds, tasks))


async def _carry(tool: object, arguments: object) -> dict[str, Any]:
    del tool, arguments
    return dict(RESULT)


if __name__ == "__main__":
    {"served": served, "inside": inside}[sys.argv[1]](sys.argv[2])
