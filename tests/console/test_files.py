"""Styles and scripts: what they are, where they are, and that those of others are as they were published."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator

import pytest

from licet.console.files import FILES, address
from tests.console.world import ConsoleWorld, console_world

OTHERS = {
    "htmx-4.0.1.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "hx-csp-4.0.1.min.js": "a7e1e6711ae6c3e50ad300fba7936cbe8d07599cdae313414a179ddd6b26e143",
    "hx-sse-4.0.1.min.js": "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
}
"""SHA-256 of the files of the npm package htmx.org 4.0.1 (dist/, dist/ext/)."""


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world() as made:
        yield made


def test_what_is_not_ours_is_as_it_was_published() -> None:
    assert {name: hashlib.sha256(found.content).hexdigest() for name, found in FILES.items() if name.endswith(".min.js")} == OTHERS


def test_a_file_is_kept_for_ever_at_the_address_of_what_it_is(served: ConsoleWorld) -> None:
    reply = served.get(address("console.css"))
    assert (reply.status, reply.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.content == FILES["console.css"].content


def test_at_the_address_of_what_it_was_it_is_kept_by_nobody(served: ConsoleWorld) -> None:
    reply = served.get("/console/static/0000000000000000/console.css")
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["other.css", "..%2Fapp.py", "%2e%2e", "htmx.js"])
def test_there_are_no_other_files(served: ConsoleWorld, name: str) -> None:
    assert served.get(f"/console/static/0000000000000000/{name}").status == 404


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("GZIP", True), ("", False), ("br", False), ("gzip;q=0", False), ("gzip; q=0.0", False)],
)
def test_whoever_takes_gzip_is_given_it(accepted: str, packed: bool) -> None:  # noqa: FBT001  a case
    with console_world() as served:
        plain = served.get(address("console.css"))
        sent = served.get(address("console.css"), headers={"accept-encoding": accepted})
    assert (sent.headers.get("content-encoding") == "gzip") is packed
    assert (gzip.decompress(sent.content) if packed else sent.content) == plain.content
    assert sent.headers["vary"] == "Accept-Encoding"
