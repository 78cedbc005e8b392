"""The small world behind its real HTTP server, on a free port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from licet.client import Client, Connection
from tests.server.world import ServerWorld, server_world


class Served:
    """A world and the address of its server."""

    def __init__(self, world: ServerWorld, url: str) -> None:
        self.world = world
        self.url = url

    def client(self, who: str | None, **more: Any) -> Client:
        """A client that shows the credential of somebody whom the world knows."""
        return Client(Connection(self.url, who, **more))


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The URL at which this application answers."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    sock = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


@contextmanager
def served(**more: Any) -> Iterator[Served]:
    """A world, served."""
    with server_world(**more) as world, listening(world.app) as url:
        yield Served(world, url)
