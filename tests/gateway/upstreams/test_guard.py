"""The gateway connects where it was told to, and nowhere that a name or a way of writing leads beside that."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from yarl import URL

from licet.gateway.connection import NotSent
from licet.gateway.upstreams.guard import Guard, address_problem

NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "224.0.0.1",
    "ff02::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "240.0.0.1",
    "255.255.255.255",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "2002:a9fe:a9fe::1",
    "64:ff9b::a9fe:a9fe",
    "::a9fe:a9fe",
]
PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd12::1",
    "fec0::1",
    "192.0.2.1",
    "::ffff:10.0.0.1",
    "2002:0a00:0001::1",
    "64:ff9b::7f00:1",
]


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Every name leads to these. The names that were asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port, 0, 0) if ":" in one else (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lambda _, host, port, **rest: getaddrinfo(host, port, **rest))
    return asked


def resolve(url: str, *, private: bool = False) -> list[str]:
    async def main() -> list[str]:
        guard = Guard(URL(url), private=private)
        return [one["host"] for one in await guard.resolve(guard.host, 443)]

    return asyncio.run(main())


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("private", [False, True])
def test_some_addresses_are_never_connected_to(address: str, private: bool) -> None:  # noqa: FBT001  a case
    problem = address_problem(ip_address(address), private=private)
    assert problem is not None
    assert problem.endswith("no upstream is there")


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_must_be_permitted(address: str) -> None:
    assert address_problem(ip_address(address), private=True) is None
    assert address_problem(ip_address(address), private=False) == (
        "which is not public; set `private = true` for this upstream if it is meant"
    )


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111"])
def test_a_public_address_is_connected_to(address: str) -> None:
    assert address_problem(ip_address(address), private=False) is None


def test_a_name_that_leads_to_public_addresses_is_resolved_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, "93.184.216.34", "2606:4700::1111")
    assert resolve("https://crm.example.com/mcp") == ["93.184.216.34", "2606:4700::1111"]
    assert asked == ["crm.example.com"]


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_name_that_leads_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    answers(monkeypatch, "93.184.216.34", address)
    with pytest.raises(NotSent, match="which is not public; set `private = true`") as caught:
        resolve("https://crm.example.com/mcp")
    assert (caught.value.status, caught.value.code) == ("not_executed", "upstream_unavailable")
    assert resolve("https://crm.example.com/mcp", private=True) == ["93.184.216.34", address]


def test_a_name_that_leads_to_the_credentials_of_a_cloud_is_refused_whatever_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "169.254.169.254")
    with pytest.raises(NotSent, match="where a cloud keeps the credentials of its machines"):
        resolve("https://crm.example.com/mcp", private=True)


def test_this_machine_may_be_named_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "127.0.0.1")
    assert resolve("http://localhost:8080/mcp") == ["127.0.0.1"]
    assert resolve("http://crm.localhost/mcp") == ["127.0.0.1"]
    with pytest.raises(NotSent):
        resolve("http://localhost.example.com/mcp")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/mcp", "http://[::1]/mcp", "http://10.1.2.3/mcp", "http://8.8.8.8/"])
def test_an_address_in_the_url_itself_is_meant(url: str) -> None:
    assert Guard(URL(url)).host == URL(url).raw_host


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0", "224.0.0.1"])
def test_some_addresses_are_not_meant_even_there(host: str) -> None:
    with pytest.raises(NotSent, match="no upstream is there"):
        Guard(URL(f"http://{host}/mcp"), private=True)


@pytest.mark.parametrize("host", ["2852039166", "127.1", "0251.0376.0251.0376", "169.254.43518"])
def test_an_address_in_a_form_of_old_is_refused(host: str) -> None:
    with pytest.raises(NotSent, match="is an address in a form that is not taken"):
        Guard(URL(f"http://{host}/mcp"), private=True)


def test_digits_of_another_script_are_read_as_the_connector_reads_them() -> None:
    with pytest.raises(NotSent, match="no upstream is there"):
        Guard(URL("http://169.254.169.254/mcp".translate({ord(one): 0xFF10 + int(one) for one in "0123456789"})))


def test_a_name_without_an_address_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch)
    with pytest.raises(NotSent, match=r"^the name `crm.example.com` has no address; look at the upstream's `url`$"):
        resolve("https://crm.example.com/mcp")


def failing(error: Exception) -> Callable[..., Any]:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise error

    return getaddrinfo


def test_a_name_that_cannot_be_resolved_says_where_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", failing(socket.gaierror(-2, "unknown")))
    with pytest.raises(NotSent, match=r"^the name `crm.example.com` cannot be resolved; look at the upstream's `url`$"):
        resolve("https://crm.example.com/mcp")
