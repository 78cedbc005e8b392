"""How everything that is measured beside the gateway is served: uvicorn's httptools protocol on uvloop, without a log, as Licet is.

It needs uvicorn, httptools and uvloop and nothing else, since peers run in an environment without Licet.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvicorn
import uvloop


def serve(making: AbstractAsyncContextManager[Any], *, lifespan: bool = False) -> None:
    """Serve the application that this makes at any port, which is printed, until the input of this process ends."""

    async def served() -> None:
        async with making as app:
            config = uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                lifespan="on" if lifespan else "off",
            )
            listening = socket.create_server(("127.0.0.1", 0), backlog=1_024)
            print(listening.getsockname()[1], flush=True)
            await uvicorn.Server(config).serve(sockets=[listening])

    threading.Thread(target=_end_with_input, daemon=True).start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(served())


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)
