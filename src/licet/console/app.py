"""The console's place in the server: `/console` and what is below it; everything else goes on to whoever served it before.

A page is an `Endpoint`, as those of the API are, and is answered as they are (server/exchange.py). What a page shows and does comes from
the same functions as the API's answers: a console that decided, approved or recorded in a way of its own would be a second way.
"""

from __future__ import annotations

from typing import Final

from licet.console.pages import PAGES
from licet.console.showing import Showing
from licet.server.app import Api
from licet.server.exchange import Scope, Send
from licet.server.listening import Application
from licet.server.reading import Receive
from licet.server.routing import Routes

PATH: Final = "/console"
_BELOW: Final = f"{PATH}/"


class Console:
    """The application of a server that has a console."""

    def __init__(self, api: Api, rest: Application) -> None:
        self.api: Final = api
        self.routes: Final = Routes(PAGES)
        self._rest: Final = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3)."""
        path: str = scope.get("path", "")
        if scope["type"] == "http" and (path == PATH or path.startswith(_BELOW)):
            await Showing(self, scope, receive, send).answer()
        else:
            await self._rest(scope, receive, send)
