"""A server for the benchmarks, in a process of its own: a no-op on the same stack, or Licet.

    python -m benchmarks.serving noop|licet FOLDER

Both are `server/run.py`: uvicorn's httptools protocol with its bounds, on uvloop, one process. The no-op reads the body and answers as many
bytes as Licet does. The port is printed when it listens; it ends when its input does.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.asked import ANSWER, KEY, opened_at
from licet.config.server import ServerSettings
from licet.errors import NotAuthenticated
from licet.identity.authenticated import Authenticated
from licet.identity.authenticator import Authenticator
from licet.server.api import endpoints
from licet.server.app import Api
from licet.server.endpoint import Serving
from licet.server.run import Server

WHO = Authenticated(
    method="api_key", credential="bench", tenants=("acme",), agents=("support-bot",), users=("alice",), roles=("licet-agent",)
)


class Known:
    """One key, known beforehand: what a key costs that was verified a moment ago is a hash and a look-up."""

    def __init__(self, shown: str) -> None:
        self._known = {shown: WHO}

    def find_known(self, shown: str, peer_certificate: bytes | None) -> Authenticated | None:  # noqa: ARG002
        """Who showed it."""
        return self._known.get(shown)

    def verify(self, shown: str, peer_certificate: bytes | None) -> Authenticated:  # noqa: ARG002
        """Nobody else."""
        raise NotAuthenticated("invalid_credential", "unknown_key")


async def noop(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, answer as much as Licet does."""
    while (await receive()).get("more_body"):
        pass
    del scope
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def main(kind: str, folder: str) -> None:
    """What the command line asks for."""
    settings = ServerSettings(listen="127.0.0.1:0", metrics="", requests_per_minute=1_000_000, reload=False)
    with opened_at(Path(folder), settings) as gate:
        api = Api(Serving(gate), Authenticator(keys=Known(KEY)), endpoints(), settings)
        server = Server(gate, noop if kind == "noop" else api, closes=api)

        def watch() -> None:
            server.started.wait()
            print(server.address.port, flush=True)
            sys.stdin.read()
            server.stop()

        threading.Thread(target=watch, daemon=True).start()
        server.run()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
