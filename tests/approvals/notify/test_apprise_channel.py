"""Apprise against receivers on this machine: plain text, every address once, and errors without addresses."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from licet.approvals.notify.apprise_channel import AppriseChannel
from licet.approvals.notify.channel import Channel
from licet.errors import ConfigInvalid, DeliveryFailed, OperatorError
from tests.approvals.notify.examples import message
from tests.witness.loopback import Loopback, Request, response

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it, as it loads its plugins


def address(server: Loopback, path: str = "", scheme: str = "json") -> str:
    return f"{scheme}://me:x-secret@{server.url.removeprefix('http://')}/x-secret{path}/"


def said(request: Request) -> dict[str, str]:
    body: dict[str, str] = json.loads(request.body)
    return body


def test_the_message_arrives_as_plain_text() -> None:
    with Loopback(lambda _: response(200)) as server:
        channel: Channel = AppriseChannel((address(server),), name="pager")
        assert channel.name == "pager"
        assert channel.deliver(message(), None) is None
        channel.close()
        channel.close()
    (got,) = server.requests
    assert said(got)["title"] == "billing.adjust waits for approval"
    for words in (
        "adjusts Customer C-1 by 500.00",
        "the agent says: the customer was charged twice",
        "1 of billing-leads",
        "https://licet.invalid/approvals/r-1",
    ):
        assert words in said(got)["message"]
    assert "billing.adjust waits for approval" not in said(got)["message"]


def test_markup_and_escapes_of_an_agent_stay_text() -> None:
    words = r"<b>bold</b> *b* \n \u003c <!channel> &amp; {{ x }}"
    with Loopback(lambda _: response(200)) as server:
        AppriseChannel((address(server),)).deliver(message(agent_says=words), None)
    assert f"the agent says: {words}" in said(server.requests[0])["message"]


def test_a_medium_of_html_gets_it_escaped() -> None:
    with Loopback(lambda _: response(200)) as server:
        AppriseChannel((address(server) + "?format=html",)).deliver(message(agent_says="<img src=x>"), None)
    assert "<img" not in said(server.requests[0])["message"]
    assert "&lt;img" in said(server.requests[0])["message"]


def test_every_address_is_told() -> None:
    with Loopback(lambda _: response(200)) as first, Loopback(lambda _: response(204)) as second:
        AppriseChannel((address(first), address(second, scheme="form"))).deliver(message(), None)
    assert (len(first.requests), len(second.requests)) == (1, 1)


def test_an_address_that_has_taken_a_message_is_not_sent_it_again() -> None:
    with Loopback(lambda _: response(200)) as good, Loopback(lambda _: response(500)) as bad:
        channel = AppriseChannel((address(good), address(bad)))
        for _ in range(2):
            with pytest.raises(DeliveryFailed) as caught:
                channel.deliver(message(), None)
            assert str(caught.value) == "Apprise could not deliver to address 2 (json); its own log says why"
            assert caught.value.retry is True
        bad.script = lambda _: response(200)
        assert channel.deliver(message(), None) is None
        assert (len(good.requests), len(bad.requests)) == (1, 3)
        channel.deliver(message(id="n-2"), None)
        assert len(good.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 429, 500, 503])
def test_what_is_not_taken_is_a_failure_without_the_address(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with Loopback(lambda _: response(status)) as server, pytest.raises(DeliveryFailed) as caught:
        AppriseChannel((address(server),)).deliver(message(), None)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "x-secret" not in caplog.text


def test_where_nobody_listens_it_is_tried_again() -> None:
    with Loopback(lambda _: response(200)) as server:
        channel = AppriseChannel((address(server),))
    with pytest.raises(DeliveryFailed) as caught:
        channel.deliver(message(), None)
    assert caught.value.retry is True


@pytest.mark.parametrize(
    "url", ["", "x-secret", "x-secret://x-secret", "http:/x-secret", "json://", "file:///x-secret", "mailto://x-secret"], ids=str
)
def test_an_address_that_apprise_does_not_know_is_told_by_its_place(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigInvalid, match=r"^address 2 \(.*\) is none that Apprise knows") as caught:
        AppriseChannel(("json://127.0.0.1", url))
    assert "x-secret" not in str(caught.value).replace("(x-secret)", "")
    assert not caplog.records or "http" not in caplog.text


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(OperatorError, match=r'pip install "licet\[notify\]"'):
        AppriseChannel(("json://127.0.0.1",))
