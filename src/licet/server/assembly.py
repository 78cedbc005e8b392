"""A gate, and everything that serves it, put together as `licet serve` does."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from licet.gate.authenticating import Authenticating
from licet.gate.gate import Gate
from licet.gateway.upstreams.pool import Pool
from licet.policy.own import OwnPolicies
from licet.server.api import endpoints
from licet.server.app import Api
from licet.server.endpoint import Serving
from licet.server.gateway import ServedGateway
from licet.server.health import Health
from licet.server.listening import Application
from licet.server.logs import AccessLog
from licet.server.mcp import WithGateway
from licet.server.metrics import Metrics
from licet.server.observing import Observer
from licet.server.run import Server
from licet.server.tracing import SpanNames, Traced, find_tracer


class _Both:
    """The application and the authenticator, closed one after the other."""

    def __init__(self, api: Api, authenticating: Authenticating) -> None:
        self._api = api
        self._authenticating = authenticating

    def close(self) -> None:
        """Handlers end first: they may still ask who speaks."""
        self._api.close()
        self._authenticating.close()


def _served_gateway(gate: Gate) -> ServedGateway | None:
    """The gateway, where licet.toml has upstreams."""
    settings = gate.settings
    if not settings.upstreams:
        return None
    return ServedGateway(gate, Pool(settings.upstreams, folder=settings.file.parent if settings.file is not None else Path.cwd()))


def assemble(gate: Gate, front: Callable[[Api, Application], Application] | None = None) -> Server:
    """A server of this gate, which it closes when it ends. `front` puts something before the API and the gateway: the console.

    Raises `OperatorError` where anything does not load.
    """
    gate.seal()
    if gate.scene.own is None:
        OwnPolicies.read(gate.settings.policies, gate.scene.directory)  # says what is missing, and how to write it
    settings = gate.settings.server
    authenticating = gate.authenticating()
    try:
        health: list[Health] = []
        metrics = Metrics(gate, lambda: health[0] if health else None)
        tracer = find_tracer()
        observers: list[Observer] = [metrics, AccessLog(), *([SpanNames()] if tracer is not None else [])]
        serving = Serving(gate, public_url=settings.public_url, version=metadata.version("licet"))
        api = Api(serving, authenticating.authenticator, endpoints(), settings, observers)
        app: Application = api
        served = _served_gateway(gate)
        if served is not None:
            app = WithGateway(api, served.door, lambda: gate.settings)
        app = app if front is None else front(api, app)
        app = app if tracer is None else Traced(app, tracer)
        server = Server(gate, app, closes=_Both(api, authenticating), beside=served, metrics=metrics.show)
    except BaseException:
        authenticating.close()
        raise
    health.append(server.health)
    return server
