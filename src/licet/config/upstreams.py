"""`[upstreams]`, `[gateway]` and `[wrap]` of a licet.toml: the MCP servers behind the gateway, and how it meets its clients.

Rules:

1. An upstream is a command (stdio) or a URL (Streamable HTTP), never both.
2. What proves the gateway to an upstream is the gateway's own, per upstream and, where it differs, per tenant. It comes from the
   environment, a file or a command (`env:NAME`, `file:PATH`, `command:COMMAND LINE`), never from the file itself, and never from a caller.
3. The name of an upstream has no underscore and no dot, so that `upstream__tool` and `upstream.method` say one thing each.

    [upstreams.crm]
    url = "https://crm.internal/mcp"
    headers = {authorization = "env:CRM_TOKEN"}

    [upstreams.crm.tenants.acme]
    headers = {authorization = "file:secrets/crm-acme"}

    [upstreams.files]
    command = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/data"]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import replace

from licet.config.decoding import Decoder
from licet.config.passed_on import may_be_passed_on
from licet.names import quoted

Share = Literal["caller", "tenant", "all"]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_SOURCES = ("env:", "file:", "command:")
_OWN_HEADERS = frozenset(
    {"accept", "connection", "content-length", "content-type", "host", "mcp-method", "mcp-name", "mcp-protocol-version", "mcp-session-id"}
)
"""What the gateway writes itself."""


class CredentialSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[upstreams.X.tenants.T]`: what the gateway shows for callers of one tenant, in place of the same names of `[upstreams.X]`."""

    env: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}


class UpstreamSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of `[upstreams]`.

    `env` (of a command) and `headers` (of a URL) say where each value comes from. `share` is among whom a session, or a process, of the
    upstream is shared: by default nobody but one caller. `timeout_s` is how long a call may take whose tool says nothing else,
    `result_bytes` the longest message that is taken from it, `at_once` the most sessions or processes at a time. `forward_headers` are
    headers of the client's request that are passed on, `forward_meta` keys of its `_meta` (`com.example/`: all of a prefix); nobody decides
    on either. `private` permits a URL whose name leads to an address that is not public.
    """

    command: tuple[str, ...] = ()
    cwd: Path | None = None
    env: Mapping[str, str] = {}
    url: str | None = None
    headers: Mapping[str, str] = {}
    tenants: Mapping[str, CredentialSettings] = {}
    share: Share = "caller"
    protocol: Literal["auto", "2026-07-28", "2025-11-25"] = "auto"
    timeout_s: Seconds = 60.0
    connect_timeout_s: Seconds = 20.0
    idle_s: Seconds = 600.0
    result_bytes: Annotated[int, Meta(ge=4_096, le=256 * 1024 * 1024)] = 10 * 1024 * 1024
    at_once: Annotated[int, Meta(ge=1, le=10_000)] = 100
    forward_headers: tuple[str, ...] = ()
    forward_meta: tuple[str, ...] = ()
    private: bool = False


class GatewaySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[gateway]`. `origins` are what a browser's `Origin` may be, `hosts` further names that `Host` may have.

    `scopes` are the OAuth scopes that a token must have for tools of an access class. `hold_s` is how long a call that waits for people
    keeps its client waiting before it is told so. `sessions` bounds those of clients of 2025-11-25, each of which ends after
    `session_idle_s`. `list_ttl_s` is how long a client may keep a list.
    """

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    scopes: Mapping[Literal["read", "write", "destructive"], str] = {}
    hold_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    sessions: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    session_idle_s: Seconds = 3_600.0
    list_ttl_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    body_bytes: Annotated[int, Meta(ge=4_096, le=64 * 1024 * 1024)] = 4 * 1024 * 1024


class WrapSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[wrap]`: whose calls those of a wrapped server are. `licet wrap` may name them on its command line as well."""

    upstream: str | None = None
    tenant: str | None = None
    agent: str | None = None
    service: str | None = None
    user: str | None = None


def read_upstreams(decoder: Decoder, tables: dict[str, Any], folder: Path, tenants: Mapping[str, object]) -> Mapping[str, UpstreamSettings]:
    """`[upstreams]`. Raises `ConfigInvalid`."""
    read = decoder.table(tables, UpstreamSettings, "upstreams")
    return {name: _checked(decoder, name, one, folder, tenants) for name, one in read.items()}


def is_upstream_name(name: str) -> bool:
    """Whether an upstream may be called so: 1 to 40 lower-case letters, digits and `-`."""
    return _NAME.fullmatch(name) is not None


def _checked(decoder: Decoder, name: str, read: UpstreamSettings, folder: Path, tenants: Mapping[str, object]) -> UpstreamSettings:
    where = f"upstreams.{name}"
    if not is_upstream_name(name):
        raise decoder.invalid(where, "is not a name for an upstream: use 1 to 40 lower-case letters, digits and `-`")
    if bool(read.command) == (read.url is not None):
        raise decoder.invalid(where, "needs a `command` or a `url`, and not both")
    if read.url is not None:
        _check_url(decoder, f"{where}.url", read.url)
    wrong = "headers" if read.command else "env"
    own = CredentialSettings(env=read.env, headers=read.headers)
    for place, given in [(where, own), *((f"{where}.tenants.{tenant}", one) for tenant, one in read.tenants.items())]:
        if getattr(given, wrong):
            raise decoder.invalid(f"{place}.{wrong}", f"says nothing to a {'command' if read.command else 'URL'}")
        _check_sources(decoder, f"{place}.env", given.env, _VARIABLE, own=frozenset())
        _check_sources(decoder, f"{place}.headers", given.headers, _HEADER, own=_OWN_HEADERS)
    for tenant in read.tenants:
        if tenant not in tenants:
            raise decoder.invalid(f"{where}.tenants.{tenant}", "is no tenant of this file")
    for header in read.forward_headers:
        if not _HEADER.fullmatch(header) or not may_be_passed_on(header):
            raise decoder.invalid(f"{where}.forward_headers", f"names {quoted(header)}, which is not passed on")
    return replace(read, cwd=None if read.cwd is None else folder / read.cwd)


def _check_url(decoder: Decoder, where: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = None
    if not sound or parts.username is not None or parts.fragment:
        raise decoder.invalid(where, "is not an address such as `https://crm.example.com/mcp`, without user and fragment")


def _check_sources(decoder: Decoder, where: str, given: Mapping[str, str], names: re.Pattern[str], *, own: frozenset[str]) -> None:
    """`own`: names, in lower case, that the gateway writes itself."""
    for name, source in given.items():
        if not names.fullmatch(name) or name.lower() in own:
            raise decoder.invalid(where, f"names {quoted(name)}, which is not for this file to set")
        if not source.startswith(_SOURCES):
            raise decoder.invalid(
                f"{where}.{name}", "must be `env:NAME`, `file:PATH` or `command:COMMAND LINE`, and never the value itself"
            )
