"""The way to an upstream: which transport carries it, and what it shows there."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from licet.config.upstreams import UpstreamSettings
from licet.gateway.upstreams.credentials import Credentials
from licet.gateway.upstreams.stdio import StdioTransport
from licet.gateway.upstreams.transport import Receiver, Transport, TransportMaker

if TYPE_CHECKING:
    from licet.gateway.upstreams.http_client import HttpUpstream


class Ways:
    """The ways to one upstream. `folder` is that of the licet.toml."""

    def __init__(self, upstream: str, settings: UpstreamSettings, *, folder: Path) -> None:
        self._upstream = upstream
        self._settings = settings
        self._folder = folder
        self._credentials = Credentials(settings, folder=folder)
        self._http: HttpUpstream | None = None

    def whose(self, tenant: str) -> str | None:
        """The tenant, where the upstream is shown something else for it than for others: nobody else may share its sessions."""
        return self._credentials.whose(tenant)

    def way_for(self, tenant: str) -> TransportMaker:
        """How a session for callers of this tenant is carried."""
        return self._process(tenant) if self._settings.command else self._requests(tenant)

    async def close(self) -> None:
        """Nothing that sessions have shared is left."""

    def _process(self, tenant: str) -> TransportMaker:
        def environment() -> Awaitable[Mapping[str, str]]:
            return self._credentials.environment(tenant)

        def make(receiver: Receiver) -> Transport:
            return StdioTransport(
                receiver,
                self._upstream,
                command=self._settings.command,
                cwd=self._settings.cwd or self._folder,
                environment=environment,
                limit_bytes=self._settings.result_bytes,
            )

        return make

    def _requests(self, tenant: str) -> TransportMaker:
        from licet.gateway.upstreams.http import http_way  # noqa: PLC0415  aiohttp is not there where nothing is served
        from licet.gateway.upstreams.http_client import HttpUpstream  # noqa: PLC0415  as above

        if self._http is None:
            self._http = HttpUpstream(self._upstream, self._settings, self._credentials)
        return http_way(self._http, tenant)
