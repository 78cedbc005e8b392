"""A held call told through a webhook by a real gate: from licet.toml to a receiver that verifies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from standardwebhooks import Webhook

from licet.testing import vote
from tests.approvals.notify.test_webhook import NEW, OLD
from tests.gate.proof import assert_whole
from tests.witness.loopback import Loopback, Request, response
from tests.world import CONFIG, world

NOTIFY = """
[notify]
[[notify.channels]]
kind = "webhook"
name = "desk"
url = "{url}/hook?token=x-secret"
secrets = ["env:HOOK_NEW", "env:HOOK_OLD"]
"""


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def body(request: Request, secret: str) -> dict[str, str]:
    found: dict[str, str] = Webhook(secret).verify(request.body, request.headers)
    return found


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_NEW", NEW)
    monkeypatch.setenv("HOOK_OLD", OLD)


def test_a_held_call_is_told_signed_with_both_secrets_and_so_is_every_event_of_it() -> None:
    with Loopback(lambda _: response(200)) as server, world(CONFIG + NOTIFY.format(url=server.url)) as w:
        request = w.held().request
        until(lambda: len(server.requests) == 1)
        vote(w.gate, request, "lena")
        until(lambda: len(server.requests) == 2)
        w.adjust(50_000)
        until(lambda: len(server.requests) == 3)
        assert_whole(w.gate)
    assert [body(got, NEW)["type"] for got in server.requests] == ["request.opened", "request.approved", "request.consumed"]
    assert [body(got, NEW) for got in server.requests] == [body(got, OLD) for got in server.requests]
    assert {json.loads(got.body)["data"]["request"] for got in server.requests} == {request}


def test_what_failed_is_sent_again_under_the_same_id_and_never_before_its_time() -> None:
    with Loopback(lambda _: response(503, b"", "Retry-After: 300")) as server, world(CONFIG + NOTIFY.format(url=server.url)) as w:
        w.held()
        until(lambda: [one for one in w.gate.store.deliveries(channel="desk") if one.error])
        (waits,) = w.gate.store.deliveries(channel="desk")
        assert waits.error == "the webhook at `127.0.0.1` answered 503"
        assert waits.due_at == int(w.clock().timestamp() + 300) * 1_000_000
        server.script = lambda _: response(200)
        w.clock.advance(301)
        until(lambda: [one for one in w.gate.store.deliveries(channel="desk") if one.state == "sent"])
    first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert body(first, NEW) == body(second, NEW)


@pytest.mark.parametrize("status", [400, 410])
def test_what_is_refused_is_given_up_and_stops_no_call(status: int) -> None:
    with Loopback(lambda _: response(status)) as server, world(CONFIG + NOTIFY.format(url=server.url)) as w:
        request = w.held().request
        until(lambda: [one for one in w.gate.store.deliveries(channel="desk") if one.state == "failed"])
        vote(w.gate, request, "lena")
        w.adjust(50_000)
        assert len(w.ran) == 1
        assert_whole(w.gate)
        errors = [one.error or "" for one in w.gate.store.deliveries(channel="desk")]
    assert not [error for error in errors if "x-secret" in error]
