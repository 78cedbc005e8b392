"""`[server]`: strictly read, bounded, and never half secured."""

from __future__ import annotations

from pathlib import Path

import pytest

from licet.config import ServerSettings, loads
from licet.config.server import Address, parse_address
from licet.errors import ConfigInvalid

FILE = Path("/srv/app/licet.toml")


def read(server: str, **environ: str) -> ServerSettings:
    return loads(f'environment = "production"\n[server]\n{server}', file=FILE, environ=environ).server


def test_only_this_machine_is_listened_to_by_default() -> None:
    server = read("")
    assert server == ServerSettings()
    assert (server.address, server.metrics_address) == (Address("127.0.0.1", 8181), Address("127.0.0.1", 9181))
    assert server.address.is_loopback
    assert server.proxies == ()


def test_paths_start_at_the_folder_of_the_file() -> None:
    server = read('tls_certificate = "tls/cert.pem"\ntls_key = "/run/secrets/key.pem"\nclient_ca = "ca.pem"')
    assert server.tls_certificate == FILE.parent / "tls/cert.pem"
    assert server.tls_key == Path("/run/secrets/key.pem")
    assert server.client_ca == FILE.parent / "ca.pem"


def test_no_metrics_are_shown_where_the_address_is_empty() -> None:
    assert read('metrics = ""').metrics_address is None


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("0.0.0.0:80", Address("0.0.0.0", 80), False),
        ("[::1]:8181", Address("::1", 8181), True),
        ("localhost:0", Address("localhost", 0), True),
        ("licet.internal:65535", Address("licet.internal", 65_535), False),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: Address, *, loopback: bool) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.is_loopback is loopback


@pytest.mark.parametrize(
    "text", ["", "8181", ":8181", "host", "host:", "host:65536", "host:-1", "ho st:1", "::1:80", "[::g]:1", "h\u00f6st:1", "host:8\n"]
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ('lisen = ""', "`server.lisen` in `/srv/app/licet.toml` is not a known key; did you mean `listen`?"),
        ('listen = ""', "`server.listen` in `/srv/app/licet.toml` is ``; expected `HOST:PORT`, such as `127.0.0.1:8181`"),
        ('metrics = "9181"', "`server.metrics` in `/srv/app/licet.toml` is `9181`; expected `HOST:PORT`"),
        ('metrics = "127.0.0.1:8181"', "is the address of `server.listen`: metrics have a port of their own"),
        ('tls_key = "key.pem"', "`server.tls_certificate` in `/srv/app/licet.toml` is required beside `server.tls_key`"),
        ('tls_certificate = "cert.pem"', "`server.tls_key` in `/srv/app/licet.toml` is required beside `server.tls_certificate`"),
        ('client_ca = "ca.pem"', "asks for client certificates, which there are only with `server.tls_certificate`"),
        ('tls_key = ""', "`server.tls_key` in `/srv/app/licet.toml` does not fit: expected a path"),
        ('public_url = "https://a:b@host"', "is not an address such as `https://licet.example.com`, without path or query"),
        ('public_url = "https://host/api"', "without path or query"),
        ('public_url = "ftp://host"', "without path or query"),
        ('public_url = "https://host:port"', "without path or query"),
        ('proxies = ["10.0.0.1/24"]', "holds `10.0.0.1/24`, which is not an address or network such as `10.0.0.0/24`"),
        ("connections = 0", "`server.connections`"),
        ("header_timeout_s = 0", "`server.header_timeout_s`"),
        ("header_timeout_s = nan", "`server.header_timeout_s`"),
        ("body_bytes = 100", "`server.body_bytes`"),
        ('reload = "yes"', "`server.reload` in `/srv/app/licet.toml` does not fit: expected true or false"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_key(server: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read(server)
    assert message in str(caught.value)


def test_the_process_environment_overrides_the_file() -> None:
    server = read('listen = "127.0.0.1:1"', LICET_SERVER_LISTEN="0.0.0.0:8181", LICET_SERVER_RELOAD="false", LICET_SERVER_CONNECTIONS="7")
    assert (server.listen, server.reload, server.connections) == ("0.0.0.0:8181", False, 7)


def test_an_override_that_no_key_has_is_an_error() -> None:
    with pytest.raises(ConfigInvalid, match=r"`server \(from LICET_SERVER_\*\).listn` in `.*` is not a known key; did you mean `listen`"):
        read("", LICET_SERVER_LISTN="0.0.0.0:8181")


def test_the_server_that_the_cli_asks_is_no_setting_of_the_file() -> None:
    assert read("", LICET_SERVER="https://licet.example.com") == ServerSettings()
