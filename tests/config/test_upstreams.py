"""`[upstreams]` of a licet.toml: what is refused is told when it is read, and nothing is dropped without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from licet import config
from licet.config.passed_on import may_be_passed_on
from licet.config.upstreams import UpstreamSettings
from licet.errors import ConfigInvalid

FILE = Path("/srv/licet.toml")


def read(table: str) -> UpstreamSettings:
    text = f'environment = "test"\n[tenants.acme]\n[upstreams.db]\n{table}\n'
    return config.loads(text, file=FILE).upstreams["db"]


@pytest.mark.parametrize("name", ["HOST", "ACCEPT", "CONNECTION"])
def test_a_variable_may_be_called_as_a_header_is(name: str) -> None:
    assert read(f'command = ["db"]\nenv = {{{name} = "env:DB"}}').env == {name: "env:DB"}


@pytest.mark.parametrize("name", ["Host", "content-length", "Mcp-Session-Id"])
def test_a_header_that_the_gateway_writes_is_not_for_the_file_to_set(name: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"upstreams\.db\.headers.*names `{name}`, which is not for this file to set"):
        read(f'url = "https://db.example/mcp"\nheaders = {{{name} = "env:DB"}}')


@pytest.mark.parametrize(
    "header",
    [
        *("Authorization", "cookie", "Proxy-Authorization", "Forwarded", "origin", "Via", "X-Real-IP", "X-Forwarded-For"),
        *("Mcp-Param-Region", "sec-fetch-site", "Accept-Encoding", "Transfer-Encoding", "no header"),
    ],
)
def test_a_header_that_would_not_be_passed_on_cannot_be_named(header: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"upstreams\.db\.forward_headers.*names `{header}`, which is not passed on"):
        read(f'url = "https://db.example/mcp"\nforward_headers = ["{header}"]')


def test_a_word_that_is_none_of_those_known_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigInvalid, match=r"upstreams\.db\.protocol.*'2024-11-05'; known: `2025-11-25`, `2026-07-28`, `auto`$"):
        read('command = ["db"]\nprotocol = "2024-11-05"')


def test_a_number_of_the_wrong_kind_is_told_without_words() -> None:
    with pytest.raises(ConfigInvalid, match=r"upstreams\.db\.timeout_s.* expected a number, got text$"):
        read('command = ["db"]\ntimeout_s = "60"')


def test_what_can_be_named_is_passed_on() -> None:
    found = read('url = "https://db.example/mcp"\nforward_headers = ["X-Request-Id", "accept-language"]').forward_headers
    assert [may_be_passed_on(name) for name in found] == [True, True]
