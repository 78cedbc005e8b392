"""Webhooks against a receiver on this machine that verifies them with the standard's own library, or misbehaves."""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from licet.approvals.notify.channel import Channel
from licet.approvals.notify.webhook import LONGEST_WAIT_S, WebhookChannel
from licet.errors import ConfigInvalid, DeliveryFailed, OperatorError
from tests.approvals.notify.examples import message
from tests.witness.loopback import Loopback, Request, Script, response, slowly

NEW = "whsec_" + base64.b64encode(b"n" * 24).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 64).decode()


def channel(server: Loopback, *secrets: str, path: str = "/hook", **more: Any) -> WebhookChannel:
    return WebhookChannel(server.url + path, secrets or (NEW,), **more)


def verified(request: Request, secret: str = NEW) -> Any:
    return Webhook(secret).verify(request.body, request.headers)


def failure(script: Script, **more: Any) -> DeliveryFailed:
    """How a delivery to this receiver fails."""
    with Loopback(script) as server, pytest.raises(DeliveryFailed) as caught:
        channel(server, **more).deliver(message(), None)
    return caught.value


def test_the_body_is_the_whole_message_with_a_version() -> None:
    with Loopback(lambda _: response(200)) as server:
        made: Channel = channel(server, name="ops")
        assert made.name == "ops"
        assert made.deliver(message(), None) is None
        made.close()
        made.close()
    (got,) = server.requests
    assert (got.method, got.path, got.headers["content-type"], got.headers["webhook-id"]) == ("POST", "/hook", "application/json", "n-1")
    body = verified(got)
    assert (body["version"], body["type"], body["timestamp"]) == (1, "request.opened", "2026-01-05T09:00:00Z")
    assert set(body["data"]) == set(type(message()).__struct_fields__)
    assert body["data"]["preview"] == list(message().preview)
    assert (body["data"]["request"], body["data"]["agent_says"], body["data"]["decidable"]) == (
        "r-1",
        "the customer was charged twice",
        True,
    )
    assert (body["data"]["plan"], body["data"]["expires_at"]) == (None, "2026-01-05T09:15:00Z")


def test_two_secrets_sign_every_delivery_and_either_verifies_it() -> None:
    with Loopback(lambda _: response(204)) as server:
        channel(server, NEW, OLD).deliver(message(), None)
    (got,) = server.requests
    assert len(got.headers["webhook-signature"].split(" ")) == 2
    assert verified(got, NEW) == verified(got, OLD)
    with pytest.raises(WebhookVerificationError):
        verified(got, base64.b64encode(b"x" * 24).decode())


def test_what_is_changed_on_the_way_does_not_verify() -> None:
    with Loopback(lambda _: response(204)) as server:
        channel(server).deliver(message(), None)
    (got,) = server.requests
    for headers, body in (
        (got.headers, got.body.replace(b"C-1", b"C-2")),
        (got.headers | {"webhook-id": "n-2"}, got.body),
        (got.headers | {"webhook-timestamp": str(int(got.headers["webhook-timestamp"]) + 1)}, got.body),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(NEW).verify(body, headers)


def test_a_delivery_made_again_has_the_same_id_and_a_stamp_of_its_own() -> None:
    times = iter([datetime(2026, 1, 5, 9, 0, tzinfo=UTC), datetime(2026, 1, 5, 10, 0, tzinfo=UTC)])
    with Loopback(lambda _: response(500)) as server:
        made = channel(server, now=lambda: next(times))
        for _ in range(2):
            with pytest.raises(DeliveryFailed):
                made.deliver(message(), None)
    first, second = server.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 3_600
    assert first.body == second.body


def test_text_of_every_script_arrives_as_it_was() -> None:
    words = 'ü 漢字 🙂 "quoted" \\ </script> \u007f'
    with Loopback(lambda _: response(200)) as server:
        channel(server).deliver(message(agent_says=words), None)
    assert verified(server.requests[0])["data"]["agent_says"] == words


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    with Loopback(lambda _: response(status, b"" if status == 204 else b"thanks")) as server:
        assert channel(server).deliver(message(), None) is None


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        *((status, False) for status in (301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 409, 418, 422, 451)),
        *((status, True) for status in (429, 500, 502, 503, 504, 599)),
    ],
)
def test_any_other_status_is_a_failure_and_says_whether_to_try_again(status: int, retry: bool) -> None:  # noqa: FBT001
    failed = failure(lambda _: response(status))
    assert failed.retry is retry
    assert failed.retry_after_s is None
    assert str(failed).startswith(f"the webhook at `127.0.0.1` answered {status}")


@pytest.mark.parametrize(
    ("said", "waits_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999999999999999999", LONGEST_WAIT_S),
        ("Mon, 05 Jan 2026 09:02:00 GMT", 120.0),
        ("Mon, 05 Jan 2026 08:00:00 GMT", 0.0),
        ("Mon, 05 Jan 2099 08:00:00 GMT", LONGEST_WAIT_S),
        ("Mon, 05 Jan 99999999999999 08:00:00 GMT", None),
        ("-5", None),
        ("soon", None),
        ("\u0667", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_passed_on_within_bounds(status: int, said: str, waits_s: float | None) -> None:
    at = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    failed = failure(lambda _: response(status, b"", f"Retry-After: {said}"), now=lambda: at)
    assert failed.retry_after_s == waits_s


def test_retry_after_of_a_final_refusal_is_not_passed_on() -> None:
    assert failure(lambda _: response(400, b"", "Retry-After: 7")).retry_after_s is None


def test_gone_ends_it_for_good() -> None:
    with Loopback(lambda _: response(410)) as server:
        made = channel(server)
        for words in ("answered 410 (gone): it is sent nothing more", "has answered 410 (gone) before"):
            with pytest.raises(DeliveryFailed) as caught:
                made.deliver(message(), None)
            assert caught.value.retry is False
            assert words in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with Loopback(lambda _: response(200)) as elsewhere:
        failed = failure(lambda _: response(status, b"", f"Location: {elsewhere.url}"))
    assert (failed.retry, elsewhere.requests) == (False, [])
    assert "does not go" in str(failed)


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(lambda _: response(500)) as proxy, Loopback(lambda _: response(200)) as server:
        for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
            monkeypatch.setenv(variable, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        channel(server).deliver(message(), None)
    assert proxy.requests == []


def test_a_receiver_that_says_nothing_is_left_after_the_time() -> None:
    def silent(_: Request) -> Iterable[bytes]:
        return slowly([b"H"] * 20, 0.05)

    failed = failure(silent, timeout_s=0.1)
    assert (failed.retry, str(failed)) == (True, "the webhook at `127.0.0.1` is not reached: no answer within 0.1 s")


def test_a_status_counts_however_long_or_slow_the_rest_is() -> None:
    def endless(_: Request) -> Iterable[bytes]:
        return slowly([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", *([b"x"] * 20)], 0.05)

    for script in (endless, lambda _: response(200, b"x" * 5_000_000), lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"):
        with Loopback(script) as server:
            assert channel(server, timeout_s=0.3).deliver(message(), None) is None


def test_where_nobody_listens_it_is_tried_again() -> None:
    with Loopback(lambda _: response(200)) as server:
        made = channel(server)
    with pytest.raises(DeliveryFailed, match="is not reached: ConnectionRefusedError") as caught:
        made.deliver(message(), None)
    assert caught.value.retry is True


@settings(max_examples=40)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 " + tail))
def test_garbage_raises_nothing_but_a_failed_delivery(raw: bytes) -> None:
    with Loopback(lambda _: raw) as server:
        try:
            channel(server).deliver(message(), None)
        except DeliveryFailed as failed:
            assert str(failed).isprintable()  # noqa: PT017
        else:
            assert b" 2" in raw


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://hooks.invalid/x-secret", "on another machine and not https"),
        ("http://10.0.0.1/x-secret", "on another machine and not https"),
        ("ftp://localhost/x-secret", "begins with https://"),
        ("hooks.invalid/x-secret", "begins with https://"),
        ("https://x-secret@hooks.invalid/", "no password or fragment"),
        ("https://me:x-secret@hooks.invalid/", "no password or fragment"),
        ("https://hooks.invalid/a?x-secret#f", "no password or fragment"),
        ("https://hooks.invalid/ x-secret", "has no spaces"),
        ("https://hooks.invalid:99999/x-secret", "cannot be read as a URL"),
        ("https://[::1/x-secret", "cannot be read as a URL"),
        ("https://me:x-secret@ho\u2100st/", "cannot be read as a URL"),
    ],
)
def test_addresses_that_are_refused_are_not_repeated_in_full(url: str, problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem) as caught:
        WebhookChannel(url, (NEW,))
    assert "x-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_query_of_an_address_is_sent_and_never_told() -> None:
    with Loopback(lambda _: response(500)) as server:
        made = channel(server, path="/hook/x-secret/?token=x-secret&b=%20")
        with pytest.raises(DeliveryFailed) as caught:
            made.deliver(message(), None)
    assert server.requests[0].path == "/hook/x-secret/?token=x-secret&b=%20"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("secrets", [(), (NEW, OLD, NEW)], ids=["none", "three"])
def test_there_is_one_secret_or_two(secrets: tuple[str, ...]) -> None:
    with pytest.raises(ConfigInvalid, match="one secret, or two"):
        WebhookChannel("https://hooks.invalid", secrets)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_AAAA",
        "whsec_" + base64.b64encode(b"s" * 23).decode(),
        "whsec_" + base64.b64encode(b"s" * 65).decode(),
        NEW + "!",
        NEW[:-1] + "ü",
    ],
    ids=["empty", "prefix", "three bytes", "23 bytes", "65 bytes", "not base64", "not ascii"],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigInvalid, match="secret 2 of the webhook") as caught:
        WebhookChannel("https://hooks.invalid", (NEW, secret))
    assert len(secret) < 10 or secret[6:] not in str(caught.value)


def test_a_secret_without_its_prefix_is_the_same_secret() -> None:
    with Loopback(lambda _: response(200)) as server:
        channel(server, NEW.removeprefix("whsec_")).deliver(message(), None)
    assert verified(server.requests[0], NEW)


def test_no_failure_and_no_log_line_repeats_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Loopback(lambda request: response(500, request.body + json.dumps(request.headers).encode())) as server:
        made = channel(server, NEW, OLD)
        with pytest.raises(DeliveryFailed) as caught:
            made.deliver(message(), None)
    for text in (str(caught.value), caplog.text):
        assert NEW[6:] not in text
        assert OLD[6:] not in text


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "standardwebhooks", None)
    with pytest.raises(OperatorError, match=r'pip install "licet\[notify\]"'):
        WebhookChannel("https://hooks.invalid", (NEW,))


def test_a_stamp_in_another_time_zone_is_the_same_moment() -> None:
    at = datetime.now(timezone(timedelta(hours=9)))
    with Loopback(lambda _: response(200)) as server:
        channel(server, now=lambda: at).deliver(message(), None)
    assert verified(server.requests[0])
