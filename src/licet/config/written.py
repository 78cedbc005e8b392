"""The tables of licet.toml as they are written, where that is not how they are used: durations and paths are still text here."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from licet.config.settings import RequireReason, RiskClass, WitnessServer


class Document(Struct, kw_only=True):
    """The top level of the file; each table is decoded by itself, so that an error can name its key."""

    environment: str
    timezone: str = "UTC"
    store: str = "sqlite:licet.db"
    keys: str = "file:licet.key"
    policies: str = "policies"
    roles: tuple[str, ...] = ()
    cross_tenant: tuple[tuple[str, str], ...] = ()
    tenants: dict[str, Any] = {}
    agents: dict[str, Any] = {}
    services: dict[str, Any] = {}
    users: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    tools: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    meters: dict[str, Any] = {}
    approvals: Any = {}
    limits: Any = {}
    witness: Any = {}
    retention: Any = {}
    search: Any = {}
    freeze: Any = {}
    notify: Any = {}
    production: Any = {}
    authzen: Any = {}
    server: Any = {}
    identity: Any = {}
    postgres: Any = {}
    upstreams: dict[str, Any] = {}
    gateway: Any = {}
    wrap: Any = {}
    require_reason: RequireReason = "never"


class WrittenWitness(Struct):
    """`[witness]` as written; `anchor` is one path or several."""

    anchor: str | tuple[str, ...] = ()
    servers: tuple[WitnessServer, ...] = ()
    log: str | None = None
    max_age: str = "1h"


class WrittenRetention(Struct):
    """`[retention]` as written."""

    payloads: str | None = None


class WrittenApprovals(Struct):
    """`[approvals]` as written."""

    expires: str = "15m"
    open_per_caller: Annotated[int, Meta(ge=1, le=100_000)] = 100
    passkey_for: tuple[RiskClass, ...] = ()
