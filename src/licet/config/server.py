"""`[server]` of a licet.toml: where `licet serve` listens, what it takes, and how long it waits.

Rules:

1. Nobody is listened to by default but this very machine.
2. Every wait has an end and every amount a bound: who connects and says nothing costs one of `connections` for `header_timeout_s`.
3. TLS is whole or not at all: a certificate without its key, or client certificates without TLS, is an error and never a server that
   listens in the clear.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import replace

from licet.config.decoding import Decoder

Seconds = Annotated[float, Meta(gt=0, le=3_600)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")


class Address(NamedTuple):
    """Where a socket listens."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name that is not `localhost` may mean anything, so it does not count."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`. Addresses are `HOST:PORT`; `metrics` is `""` where there is no listener for them. Paths are absolute if from a file.

    `requests_per_minute` counts per credential, `refusals_per_minute` failed authentications per address. `proxies` are the addresses or
    networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; nobody's are by default. `reload` watches the files of policies
    and licet.toml.
    """

    listen: str = "127.0.0.1:8181"
    metrics: str = "127.0.0.1:9181"
    public_url: str | None = None
    body_bytes: Annotated[int, Meta(ge=1_024, le=64 * 1024 * 1024)] = 1_114_112
    header_timeout_s: Seconds = 10.0
    request_timeout_s: Seconds = 30.0
    idle_timeout_s: Seconds = 75.0
    connections: Count = 2_000
    requests_per_minute: Count = 6_000
    refusals_per_minute: Count = 60
    shutdown_s: Seconds = 30.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    proxies: tuple[str, ...] = ()
    reload: bool = True

    @property
    def address(self) -> Address:
        """Where the API listens. Raises `ValueError` if `listen` is no address."""
        return parse_address(self.listen)

    @property
    def metrics_address(self) -> Address | None:
        """Where metrics are shown; None if nowhere. Raises `ValueError` if `metrics` is no address."""
        return parse_address(self.metrics) if self.metrics else None


def parse_address(text: str) -> Address:
    """The address that `HOST:PORT` or `[IPV6]:PORT` names; port 0 is any free one. Raises `ValueError`."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:  # noqa: PLR2004  the last port there is
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if not _HOST.fullmatch(host):
        raise ValueError(text)
    return Address(host, int(port))


def read_server(decoder: Decoder, table: object, overrides: dict[str, str], folder: Path) -> ServerSettings:
    """`[server]`, with what the process environment overrides. Raises `ConfigInvalid`."""
    where = "server (from LICET_SERVER_*)" if overrides else "server"
    merged = {**table, **overrides} if overrides and isinstance(table, dict) else table
    read = decoder.struct(merged, ServerSettings, where, strict=not overrides)
    _check_addresses(decoder, read)
    _check_public_url(decoder, read.public_url)
    _check_tls(decoder, read)
    for proxy in read.proxies:
        _check_network(decoder, proxy)
    certificate, key, ca = (path and folder / path for path in (read.tls_certificate, read.tls_key, read.client_ca))
    return replace(read, tls_certificate=certificate, tls_key=key, client_ca=ca)


def _check_addresses(decoder: Decoder, read: ServerSettings) -> None:
    for key, text in (("listen", read.listen), ("metrics", read.metrics)):
        try:
            if text or key == "listen":
                parse_address(text)
        except ValueError as error:
            raise decoder.invalid(f"server.{key}", f"is `{text}`; expected `HOST:PORT`, such as `127.0.0.1:8181`") from error
    if read.metrics_address == read.address and read.address.port:
        raise decoder.invalid("server.metrics", "is the address of `server.listen`: metrics have a port of their own")


def _check_public_url(decoder: Decoder, url: str | None) -> None:
    """Links, the OpenAPI document and the AuthZEN metadata are made from it."""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = None
    if not sound or parts.username is not None or parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise decoder.invalid("server.public_url", "is not an address such as `https://licet.example.com`, without path or query")


def _check_tls(decoder: Decoder, read: ServerSettings) -> None:
    if (read.tls_certificate is None) != (read.tls_key is None):
        missing, given = ("tls_key", "tls_certificate") if read.tls_key is None else ("tls_certificate", "tls_key")
        raise decoder.invalid(f"server.{missing}", f"is required beside `server.{given}`")
    if read.client_ca is not None and read.tls_certificate is None:
        raise decoder.invalid("server.client_ca", "asks for client certificates, which there are only with `server.tls_certificate`")


def _check_network(decoder: Decoder, proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy)
    except ValueError as error:
        raise decoder.invalid("server.proxies", f"holds `{proxy}`, which is not an address or network such as `10.0.0.0/24`") from error
