"""What is counted, for Prometheus. The only module that knows its client library.

Rules:

1. A label's values are of a fixed set: verdicts, codes, kinds of records, templates of paths, methods, statuses, reasons. Nothing that a
   caller has written is one, and nothing that names a tenant, a tool or a person.
2. Seconds are seconds, and what only grows ends in `_total`.
3. Whoever is counted is held up by nothing, and whatever goes wrong while counting stops no call.
4. What does not last (requests that wait, open calls) is counted when it is asked for, not kept beside the store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from licet.errors import LicetError
from licet.gate.checks import find_drift
from licet.gate.gate import Gate
from licet.ledger.seal import Filing
from licet.server.health import Health
from licet.server.observing import Answered

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")
CODES_LIMIT = 200
"""Distinct codes of each metric; there are about a hundred. What comes beyond is `other`, whatever it is."""
_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SLOW = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one process that serves; tells no two gates apart."""

    def __init__(self, gate: Gate, health: Callable[[], Health | None] = lambda: None) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._codes: dict[str, set[str]] = {}
        self._decisions = Counter("licet_decisions", "Decisions that were recorded.", ["verdict", "code"], registry=registry)
        self._records = Counter("licet_records", "Records that were committed.", ["kind"], registry=registry)
        self._outcomes = Counter("licet_outcomes", "Ends of calls that were recorded.", ["status"], registry=registry)
        self._deciding = Histogram("licet_decision_seconds", "Time to evaluate policies.", buckets=_FAST, registry=registry)
        self._committing = Histogram("licet_commit_seconds", "Time to make a group durable.", buckets=_SLOW, registry=registry)
        self._grouped = Histogram(
            "licet_commit_records", "Records in a group.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512), registry=registry
        )
        self._requests = Counter("licet_http_requests", "Requests that were answered.", ["method", "route", "status"], registry=registry)
        self._answering = Histogram("licet_http_request_seconds", "Time to answer.", ["route"], buckets=_SLOW, registry=registry)
        self._in_flight = Gauge("licet_http_requests_in_flight", "Requests that are being answered.", registry=registry)
        self._refusals = Counter("licet_authentication_refusals", "Credentials that were refused.", ["reason"], registry=registry)
        registry.register(_State(gate, health))
        gate.observe(self.decided, self.committed)

    def show(self) -> tuple[bytes, str]:
        """All of them, in the text format, and its media type. May block for the store."""
        return generate_latest(self._registry), MEDIA_TYPE

    # told by the gate

    def decided(self, seconds: float) -> None:
        """Policies were evaluated."""
        self._deciding.observe(seconds)

    def committed(self, filings: Sequence[Filing], seconds: float) -> None:
        """A group is durable."""
        self._committing.observe(seconds)
        count = 0
        for filing in filings:
            for statement in filing.statements:
                count += 1
                self._records.labels(statement.kind).inc()
                if statement.decision is not None:
                    code = self._bounded("decision", statement.decision.code)
                    self._decisions.labels(statement.decision.verdict, code).inc(statement.decision.count or 1)
                if statement.outcome is not None:
                    self._outcomes.labels(statement.outcome.status).inc()
        if count:
            self._grouped.observe(count)

    # told by the server

    def began(self) -> None:
        """A request is being answered."""
        self._in_flight.inc()

    def answered(self, answered: Answered) -> None:
        """It was answered."""
        self._in_flight.dec()
        method = answered.method if answered.method in _METHODS else "other"
        route = answered.route or "none"
        self._requests.labels(method, route, str(answered.status)).inc()
        self._answering.labels(route).observe(answered.duration_s)

    def not_authenticated(self, reason: str) -> None:
        """A credential was refused."""
        self._refusals.labels(self._bounded("reason", reason)).inc()

    def _bounded(self, metric: str, code: str | None) -> str:
        """The code, if it is one and there are not too many (rule 1, whatever others may do one day)."""
        known = self._codes.setdefault(metric, set())
        if code in known:
            return code
        if code is None or _CODE.fullmatch(code) is None or len(known) >= CODES_LIMIT:
            return "other"
        known.add(code)
        return code


class _State(Collector):
    """What is counted when it is asked for."""

    def __init__(self, gate: Gate, health: Callable[[], Health | None]) -> None:
        self._gate = gate
        self._health = health

    def describe(self) -> Iterator[Metric]:
        """Nothing: what is counted is known when it is asked for, and its names stand in the documentation."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Everything as it is now; what cannot be read is left out, and `licet_up` says so."""
        health = self._health()
        if health is not None and health.stopping:
            yield _gauge("licet_up", "Whether the state of the gate could be read.", 0)
            return
        try:
            found = list(self._of_gate())
        except LicetError:
            found = []
        yield _gauge("licet_up", "Whether the state of the gate could be read.", int(bool(found)))
        yield from found
        if health is not None:
            ready = GaugeMetricFamily("licet_condition", "Whether a condition of taking calls holds.", labels=["condition"])
            for condition in health.look():
                ready.add_metric([condition.name], int(condition.problem is None))
            yield ready

    def _of_gate(self) -> Iterator[Metric]:
        hand, scene, reloads = self._gate.in_hand(), self._gate.scene, self._gate.reloads
        yield _gauge("licet_open_requests", "Requests that wait for people.", hand.open_requests)
        yield _gauge("licet_open_calls", "Calls that were permitted and have not ended.", hand.open_calls)
        yield _gauge("licet_unknown_calls", "Calls of which nobody saw the end, not settled yet.", hand.unknown)
        yield _gauge("licet_freezes", "Freezes that stand.", hand.freezes)
        yield _gauge("licet_gaps_pending", "Refusals that could not be recorded yet.", hand.gaps)
        yield _gauge("licet_writes_pending", "Outcomes that could not be recorded yet.", hand.unwritten)
        offered = scene.offered
        drifted = sum(find_drift(scene, name) is not None for name in offered.tools)
        yield _gauge("licet_drifted_tools", "Tools of upstreams that are not what was accepted.", drifted)
        yield _gauge("licet_unclassified_tools", "Tools of upstreams that licet.toml does not classify.", len(offered.unclassified))
        if hand.index_lag is not None:
            yield _gauge("licet_index_lag_records", "Records that the search index does not have yet.", hand.index_lag)
        done = CounterMetricFamily("licet_reloads", "Reloads of policies and licet.toml since the start.", labels=["result"])
        done.add_metric(["ok"], reloads.succeeded)
        done.add_metric(["failed"], reloads.failed)
        yield done
        yield _gauge("licet_reload_ok", "Whether what the files said last is in force.", int(reloads.problem is None))
        force = {"scene": scene.digest, "bundle": scene.engine.bundle.digest, "directory": scene.directory.version}
        yield InfoMetricFamily(
            "licet_in_force", "Digests of what decisions rest on; replicas that differ are on different files.", value=force
        )
        yield InfoMetricFamily("licet_build", "The version of Licet.", value={"version": metadata.version("licet")})


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
