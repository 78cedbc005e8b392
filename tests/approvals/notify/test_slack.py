"""Messages in a Slack that speaks its real protocol: posted, rewritten, refused, limited; and the connection over which clicks come."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import licet.approvals.notify
from licet.approvals.notify import slack_api
from licet.approvals.notify.channel import Channel
from licet.approvals.notify.slack import SlackChannel
from licet.errors import ConfigInvalid, DeliveryFailed, OperatorError
from tests.approvals.notify.examples import message
from tests.approvals.notify.fake_slack import APP, BOT, CHANNEL, FakeSlack
from tests.witness.loopback import Loopback, response

Call = tuple[str, str, str, str | None]


class Desk:
    """What `decide` was asked; it answers at once, or when a test lets it."""

    def __init__(self) -> None:
        self.asked: list[Call] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, request: str, user: str, verdict: str, comment: str | None) -> str:
        assert self.go.wait(30)
        self.asked.append((request, user, verdict, comment))
        return f"counted: {verdict}"


@contextmanager
def connected(slack: FakeSlack, decide: Any = None, **more: Any) -> Iterator[SlackChannel]:
    """A channel; with `decide`, once it hears clicks."""
    given: dict[str, Any] = {"app_token": APP, "bot_token": BOT, "channel": CHANNEL, "users": {"U1": "lena"}, "api_url": slack.api_url}
    channel = SlackChannel(decide=decide, **(given | more))
    try:
        if decide is not None:
            slack.wait_connected()
        yield channel
    finally:
        channel.close()


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlack]:
    monkeypatch.setattr(slack_api, "_PAUSES_S", (0.05,))
    with FakeSlack() as server:
        yield server


def failure(channel: SlackChannel, earlier: str | None = None) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        channel.deliver(message(), earlier)
    assert "xoxb" not in str(caught.value)
    assert "xapp" not in str(caught.value)
    return caught.value


def test_a_message_is_posted_and_then_rewritten_in_its_place(slack: FakeSlack) -> None:
    with connected(slack, Desk()) as made:
        channel: Channel = made
        handle = channel.deliver(message(), None)
        posted = slack.only()
        assert handle == f"{CHANNEL}:{posted.ts}"
        assert posted.buttons == ["licet.approve", "licet.reject", "licet.comment", "licet.open"]
        assert channel.deliver(message(event="vote", title="one of two"), handle) == handle
        assert channel.deliver(message(event="approved", decidable=False, state="approved", title="it is approved"), handle) == handle
    assert slack.only() is posted
    assert [version["blocks"][0]["text"]["text"] for version in posted.versions] == [
        "billing.adjust waits for approval",
        "one of two",
        "it is approved",
    ]
    assert posted.buttons == ["licet.open"]


def test_what_opens_again_has_its_buttons_again(slack: FakeSlack) -> None:
    with connected(slack, Desk()) as channel:
        handle = channel.deliver(message(decidable=False, state="approved", event="approved"), None)
        channel.deliver(message(event="reopened"), handle)
    assert "licet.approve" in slack.only().buttons


def test_nothing_in_a_post_is_parsed_or_unfurled(slack: FakeSlack) -> None:
    with connected(slack) as channel:
        handle = channel.deliver(message(sentence="<!channel> & <https://evil.invalid|ok>"), None)
        channel.deliver(message(sentence="<!channel>"), handle)
    for method, fields in slack.calls:
        assert (fields["parse"], fields["link_names"]) == ("none", False), method
        assert "<" not in fields["text"]
    assert [slack.calls[0][1][key] for key in ("mrkdwn", "unfurl_links", "unfurl_media")] == [False] * 3


def test_without_decide_no_connection_is_opened_and_no_vote_is_offered(slack: FakeSlack) -> None:
    with connected(slack) as channel:
        channel.deliver(message(), None)
        assert not channel.connected
    assert slack.only().buttons == ["licet.open"]
    assert slack.tickets == 0


@pytest.mark.parametrize("earlier", ["", "nonsense", ":", f"{CHANNEL}:", ":1.2"])
def test_a_handle_that_is_none_posts_anew(slack: FakeSlack, earlier: str) -> None:
    with connected(slack) as channel:
        assert channel.deliver(message(), earlier) == f"{CHANNEL}:{slack.only().ts}"


def test_a_deleted_message_is_posted_anew_only_while_it_can_be_decided(slack: FakeSlack) -> None:
    with connected(slack) as channel:
        gone = f"{CHANNEL}:1.000100"
        assert channel.deliver(message(decidable=False, event="expired"), gone) == gone
        assert slack.messages == {}
        assert channel.deliver(message(event="vote"), gone) == f"{CHANNEL}:{slack.only().ts}"


@pytest.mark.parametrize("error", ["cant_update_message", "edit_window_closed", "channel_not_found"])
def test_a_message_that_cannot_be_rewritten_is_posted_anew(slack: FakeSlack, error: str) -> None:
    with connected(slack) as channel:
        slack.fail("chat.update", error=error)
        assert channel.deliver(message(), f"{CHANNEL}:1.2") == f"{CHANNEL}:{slack.only().ts}"


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        ("channel_not_found", False),
        ("not_in_channel", False),
        ("invalid_auth", False),
        ("token_revoked", False),
        ("invalid_blocks", False),
        ("internal_error", True),
        ("fatal_error", True),
        ("service_unavailable", True),
    ],
)
def test_an_error_of_slack_is_told_by_its_word(slack: FakeSlack, error: str, retry: bool) -> None:  # noqa: FBT001
    with connected(slack) as channel:
        slack.fail("chat.postMessage", error=error)
        failed = failure(channel)
    assert (str(failed), failed.retry, failed.retry_after_s) == (f"slack answered `{error}` to `chat.postMessage`", retry, None)


@pytest.mark.parametrize(
    ("said", "waits_s"), [("7", 7.0), ("0", 0.0), ("99999999999", 3_600.0), ("soon", None), ("-1", None), (None, None)]
)
def test_a_limit_of_slack_says_when_to_come_back(slack: FakeSlack, said: str | None, waits_s: float | None) -> None:
    with connected(slack) as channel:
        slack.limit("chat.postMessage", said)
        failed = failure(channel)
        assert (failed.retry, failed.retry_after_s) == (True, waits_s)
        assert slack.messages == {}, "nothing was sent again by itself"
        slack.limit("chat.update", "3")
        assert failure(channel, f"{CHANNEL}:1.2").retry_after_s == 3.0
        assert channel.deliver(message(), None) is not None


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize(
    "body", ["", "<html>secret</html>", "[1]", '"text"', "{}", '{"ok": true', "null", '{"ok": false, "error": {"a": 1}}'], ids=str
)
def test_slack_in_trouble_is_tried_again(slack: FakeSlack, status: int, body: str) -> None:
    with connected(slack) as channel:
        slack.fail("chat.postMessage", status=status, body=body)
        failed = failure(channel)
    assert failed.retry is True
    assert "secret" not in str(failed)


@pytest.mark.parametrize(
    "body", ["", "<html>secret</html>", "[1]", '"text"', "{}", '{"ok": true', "null", '{"ok": false, "error": "se cret"}'], ids=str
)
def test_an_answer_that_is_none_is_a_failure_that_repeats_nothing_of_it(slack: FakeSlack, body: str) -> None:
    with connected(slack) as channel:
        slack.fail("chat.postMessage", body=body)
        failed = failure(channel)
    assert failed.retry is True
    assert "cret" not in str(failed)


def test_a_wrong_token_is_told_and_not_repeated(slack: FakeSlack) -> None:
    with connected(slack, bot_token="xoxb-wrong") as channel:
        assert str(failure(channel)) == "slack answered `invalid_auth` to `chat.postMessage`"


def test_where_slack_is_not_there_it_is_tried_again() -> None:
    with Loopback(lambda _: response(200)) as server:
        url = server.url
    channel = SlackChannel(app_token=APP, bot_token=BOT, channel=CHANNEL, users={}, decide=None, api_url=url)
    failed = failure(channel)
    assert (str(failed), failed.retry) == ("slack is not reached for `chat.postMessage`: ConnectionRefusedError", True)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bot_token": "xapp-1-secret"}, "`bot_token` is not such a token"),
        ({"bot_token": "secret"}, "`bot_token`"),
        ({"bot_token": "xoxb-secret\n"}, "`bot_token`"),
        ({"app_token": "xoxb-secret"}, "`app_token`"),
        ({"app_token": ""}, "`app_token`"),
        ({"api_url": "http://slack.invalid/secret"}, "on another machine and not https"),
        ({"api_url": "ftp://localhost/"}, "begins with https://"),
    ],
)
def test_tokens_and_addresses_that_are_none_are_refused(slack: FakeSlack, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid, match=problem) as caught, connected(slack, Desk(), **changes):
        pass
    assert "secret" not in str(caught.value)


def test_without_the_library_the_extra_is_named(slack: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "licet.approvals.notify.slack_api", raising=False)
    monkeypatch.setitem(sys.modules, "slack_sdk.errors", None)
    monkeypatch.delattr(licet.approvals.notify, "slack_api", raising=False)
    with pytest.raises(OperatorError, match=r'pip install "licet\[notify\]"'), connected(slack):
        pass


def test_a_click_is_acknowledged_and_cast_for_whom_it_comes_from(slack: FakeSlack) -> None:
    desk = Desk()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        envelope = slack.press(slack.only(), "licet.approve", "U1")
        slack.wait_acknowledged(envelope)
        assert slack.wait_told() == [("U1", "counted: approve")]
        assert channel.connected
    assert desk.asked == [("r-1", "lena", "approve", None)]


def test_a_click_is_acknowledged_before_it_is_acted_on(slack: FakeSlack) -> None:
    desk = Desk()
    desk.go.clear()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        slack.wait_acknowledged(slack.press(slack.only(), "licet.reject", "U1"))
        assert desk.asked == []
        desk.go.set()
        slack.wait_told()


def test_an_envelope_told_again_is_acknowledged_again_and_acted_on_once(slack: FakeSlack) -> None:
    desk = Desk()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        payload = slack.pressed(slack.only(), "U1", slack.only().blocks[-1]["elements"][0])
        for _ in range(3):
            slack.send(payload, "one")
        slack.send(payload, "two")  # the same interaction in another envelope
        slack.wait_acknowledged("one", times=3)
        slack.wait_acknowledged("two")
        slack.wait_told()
    assert len(desk.asked) == 1


def test_the_link_button_and_what_is_not_a_click_do_nothing(slack: FakeSlack) -> None:
    desk = Desk()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        envelopes = [
            slack.press(slack.only(), "licet.open", "U1"),
            slack.send({"type": "event_callback", "event": {"type": "message"}}, kind="events_api"),
            slack.send({"command": "/licet", "text": "approve:r-1", "user_id": "U1"}, kind="slash_commands"),
            slack.send({"type": "view_closed", "user": {"id": "U1"}, "view": {}}),
            slack.send({"type": "block_actions", "user": {"id": "U1"}, "actions": []}),
            slack.send({"type": "block_actions"}),
            slack.send({"type": "block_actions", "user": "U1", "actions": [{"action_id": "licet.approve", "value": "approve:r-1"}]}),
            slack.send(
                {"type": "view_submission", "user": {"id": "U1"}, "view": {"callback_id": "licet.comment", "private_metadata": "{"}}
            ),
        ]
        for envelope in envelopes:
            slack.wait_acknowledged(envelope)
    assert desk.asked == []
    assert slack.told == []


def test_garbage_on_the_socket_does_not_end_it(slack: FakeSlack) -> None:
    desk = Desk()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        for garbage in (
            "",
            "{",
            "[]",
            "null",
            "{}",
            '{"type": "interactive"}',
            '{"type": "hello"}',
            "x" * 200_000,
            '{"envelope_id": 5, "payload": 5, "type": 5}',
        ):
            slack.send_text(garbage)
        slack.press(slack.only(), "licet.approve", "U1")
        slack.wait_told()
    assert len(desk.asked) == 1


def test_a_large_envelope_arrives_whole(slack: FakeSlack) -> None:
    desk = Desk()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        slack.send(slack.pressed(slack.only(), "U1", slack.only().blocks[-1]["elements"][0], padding="x" * 3_000_000))
        slack.wait_told()
    assert len(desk.asked) == 1


def test_a_refreshed_connection_is_followed(slack: FakeSlack) -> None:
    desk = Desk()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        slack.refresh()
        slack.press(slack.only(), "licet.approve", "U1")
        slack.wait_told()
    assert (len(desk.asked), slack.tickets) == (1, 2)


@pytest.mark.heavy
def test_a_lost_connection_is_opened_again(slack: FakeSlack) -> None:
    desk = Desk()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        for _ in range(2):
            slack.drop()
            slack.wait_connected()
        slack.press(slack.only(), "licet.approve", "U1")
        slack.wait_told()
    assert len(desk.asked) == 1


def test_a_slack_that_is_not_ready_is_asked_for_a_connection_again(slack: FakeSlack) -> None:
    for status in (503, 502):
        slack.fail("apps.connections.open", status=status, body="busy")
    slack.limit("apps.connections.open", "1")
    with connected(slack, Desk()):
        assert slack.tickets == 1


def test_closing_does_not_wait_for_as_long_as_slack_asks(slack: FakeSlack, caplog: pytest.LogCaptureFixture) -> None:
    slack.limit("apps.connections.open", "3000")
    channel = SlackChannel(app_token=APP, bot_token=BOT, channel=CHANNEL, users={}, decide=Desk(), api_url=slack.api_url)
    slack.wait(lambda: "asks to wait" in caplog.text)
    channel.close()
    assert slack.tickets == 0


@pytest.mark.parametrize("url", ["ws://slack.invalid/link", "wss://slack.invalid:8443/link", "http://slack.invalid/"])
def test_a_socket_that_is_not_encrypted_is_not_opened(slack: FakeSlack, url: str, caplog: pytest.LogCaptureFixture) -> None:
    slack.socket_url = url
    channel = SlackChannel(app_token=APP, bot_token=BOT, channel=CHANNEL, users={}, decide=Desk(), api_url=slack.api_url)
    slack.wait(lambda: slack.tickets >= 1 and "not encrypted" in caplog.text)
    slack.socket_url = None
    slack.wait_connected()
    channel.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaves the refused socket to the collector
def test_a_socket_that_refuses_is_asked_for_anew(slack: FakeSlack) -> None:
    slack.socket_url = f"ws://127.0.0.1:{slack.port}/link/?ticket=of-yesterday"
    channel = SlackChannel(app_token=APP, bot_token=BOT, channel=CHANNEL, users={}, decide=Desk(), api_url=slack.api_url)
    slack.wait(lambda: slack.tickets >= 1)
    slack.socket_url = None
    slack.wait_connected()
    slack.wait(lambda: channel.connected)
    channel.close()


def test_closing_ends_every_thread_and_is_safe_twice(slack: FakeSlack) -> None:
    before = set(threading.enumerate())
    with connected(slack, Desk()) as channel:
        channel.close()
        channel.close()
        left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
        assert left == []
        assert not channel.connected


def test_closing_before_slack_was_reached_ends_at_once() -> None:
    with Loopback(lambda _: response(503)) as server:
        channel = SlackChannel(app_token=APP, bot_token=BOT, channel=CHANNEL, users={}, decide=Desk(), api_url=server.url)
        channel.close()
        assert not channel.connected


def test_closing_waits_for_a_vote_that_is_being_cast(slack: FakeSlack) -> None:
    desk = Desk()
    desk.go.clear()
    with connected(slack, desk) as channel:
        channel.deliver(message(), None)
        slack.wait_acknowledged(slack.press(slack.only(), "licet.approve", "U1"))
        threading.Timer(0.2, desk.go.set).start()
        channel.close()
        assert len(desk.asked) == 1


def test_no_log_line_repeats_a_token_or_a_message(slack: FakeSlack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with connected(slack, Desk()) as channel:
        channel.deliver(message(agent_says="what the agent said"), None)
        slack.fail("chat.postEphemeral", error="user_not_in_channel")
        slack.press(slack.only(), "licet.approve", "U1")
        slack.wait(lambda: "user_not_in_channel" in caplog.text)
    for secret in (BOT, APP, "ticket-1", "what the agent said"):
        assert secret not in caplog.text
    assert json.dumps(slack.calls).count(BOT) == 0


def test_a_connection_that_is_closed_on_purpose_is_no_trouble(slack: FakeSlack, caplog: pytest.LogCaptureFixture) -> None:
    socket = slack_api.Socket(APP, slack_api.SlackApi(BOT, slack.api_url), lambda _: None)
    slack.wait_connected()
    of_library = socket._client.logger  # which message the library gives depends on who closes first
    of_library.error("the connection is gone")
    socket.close()
    of_library.error("Failed to disconnect")
    assert [record.getMessage() for record in caplog.records if record.name == "licet.notify.slack"] == ["the connection is gone"]
