"""A gateway that is killed: it has a server run with a grandchild, says who they are, and waits.

Run as `python gateway_process.py FOLDER PIDFILE`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.gateway.upstreams.crew import call, pool_of, voyage
from tests.gateway.upstreams.servers.commands import legacy


async def main(folder: Path, pidfile: str) -> None:
    async with pool_of(legacy("ignores-sigterm", "ignores-end"), folder) as pool:
        connection = await pool.connect("it", voyage())
        await call(connection, "fork", pidfile=pidfile)
        found = (await call(connection, "whoami"))["structuredContent"]
        sys.stdout.write(json.dumps({"pid": found["pid"], "keeper": found["parent"]}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
