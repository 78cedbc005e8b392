"""Upstreams that misbehave behind a `licet serve` as it is run: it keeps little of what comes, says what is wrong, and records the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from licet.model import JsonObject
from tests.attacks.behind import DONE, Answering, Asked
from tests.attacks.mcp_site import Guarded, guarded

pytestmark = pytest.mark.heavy

MORE_BYTES = 48 * 1024 * 1024
"""Far less than what the upstreams send, and more than `result_bytes` and what Python keeps of it."""
PIECE = b"x" * 65_536
METADATA = "http://169.254.169.254/latest/meta-data/"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("served") / "site") as made:
        made.serve()
        made.call("crm__get", {"id": "C-0"})
        yield made


def resident_bytes(site: Guarded) -> int:
    lines = Path(f"/proc/{site.replicas[-1].process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def flood(asked: Asked, head: bytes, piece: bytes) -> None:
    """100 MB, or as much as is taken."""
    with suppress(OSError):
        asked.handler.wfile.write(head)
        for _ in range(1_600):
            asked.handler.wfile.write(piece)


def endless_events(asked: Asked) -> JsonObject | None:
    asked.begin()
    asked.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "on and on"}})
    flood(asked, b"", b"data: " + PIECE)
    return None


def huge_answer(asked: Asked) -> JsonObject | None:
    asked.handler.send_response(200)
    asked.handler.send_header("Content-Type", "application/json")
    asked.handler.send_header("Connection", "close")
    asked.handler.end_headers()
    asked.handler.close_connection = True
    flood(asked, b'{"jsonrpc": "2.0", "id": 1, "result": "', PIECE)
    return None


def closes_amid_its_answer(asked: Asked) -> JsonObject | None:
    asked.handler.send_response(200)
    asked.handler.send_header("Content-Type", "application/json")
    asked.handler.send_header("Content-Length", "1000")
    asked.handler.end_headers()
    asked.handler.wfile.write(b'{"jsonrpc": "2.0", ')
    asked.handler.close_connection = True
    return None


def leads_to_the_metadata(asked: Asked) -> JsonObject | None:
    asked.send(b"", ("Location", METADATA), status=307)
    return None


def answers_twice(asked: Asked) -> JsonObject | None:
    asked.begin()
    with suppress(OSError):
        asked.event({"jsonrpc": "2.0", "id": asked.message["id"], "result": DONE})
        asked.event({"jsonrpc": "2.0", "id": asked.message["id"], "result": {"content": [{"type": "text", "text": "other"}]}})
    return None


@pytest.mark.parametrize(
    ("answering", "outcome", "said"),
    [
        (endless_events, ("unknown", "upstream_too_large"), "answered with more than 10485760 bytes"),
        (huge_answer, ("unknown", "upstream_too_large"), "answered with more than 10485760 bytes"),
        (closes_amid_its_answer, ("unknown", "upstream_gone"), "broke before it answered"),
        (leads_to_the_metadata, ("unknown", "upstream_not_understood"), "(HTTP status 307), which is not followed"),
        (answers_twice, ("ok", None), "done"),
    ],
)
def test_what_it_does_is_bounded_told_and_recorded(site: Guarded, answering: Answering, outcome: tuple[str, str | None], said: str) -> None:
    before, calls = resident_bytes(site), len(site.crm.calls)
    site.crm.answering = answering
    answer = site.call("crm__get", {"id": "C-1"})
    site.crm.answering = lambda _: DONE
    assert said in str(answer)
    assert len(site.crm.calls) == calls + 1
    assert resident_bytes(site) - before < MORE_BYTES
    found = [read.envelope.outcome for read in site.records() if read.envelope.outcome is not None][-1]
    assert (found.status, found.code) == outcome
    assert site.call("crm__get", {"id": "C-2"})["content"] == DONE["content"]
