"""Slack's Web API and Socket Mode through slack-sdk; nothing else of Licet imports it.

Rules:

1. Only to Slack: the Web API and the socket that it names are TLS, or on this machine itself.
2. Whatever Slack or the library does ends as an answer or as `DeliveryFailed`, whose message holds no token and at most a word of Slack's.
3. The library repeats nothing by itself: a message sent twice would leave one whose buttons nobody takes away.
4. Every envelope is acknowledged, before anything is done about it; what was done once is not done again for the same interaction.

The library uses a proxy that the process environment names (`HTTPS_PROXY`); what goes through it is TLS all the same.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.builtin.connection import Connection
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web import WebClient
from slack_sdk.web.slack_response import SlackResponse

from licet.errors import ConfigInvalid, DeliveryFailed
from licet.model import JsonObject
from licet.wire import Address, clean, is_loopback

API_URL: Final = "https://slack.com/api/"
TIMEOUT_S: Final = 10
LONGEST_WAIT_S: Final = 3_600.0
_REMEMBERED: Final = 1_000
"""Interactions that are known to have been acted on. Slack repeats one within seconds, if at all."""
_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_CHECK_S: Final = 2
"""How often the library looks whether the connection is still there; without a pong for four times as long it opens another one."""
_RECEIVE_BYTES: Final = 65_536
"""The library reads a message by recursion, one call for each piece: pieces of its default size would end at a megabyte."""
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_WSS_PORT: Final = 443
_PASSING: Final = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})
"""Errors of the Web API that may pass by themselves."""

_log = logging.getLogger("licet.notify")
_library_log = logging.getLogger("licet.notify.slack")
_library_log.setLevel(logging.WARNING)  # below that, the library writes whole messages


class SlackApi:
    """The Web API, as the bot whose token this is. Raises `ConfigInvalid` for an address that rule 1 forbids."""

    def __init__(self, bot_token: str, api_url: str | None = None) -> None:
        _check_token(bot_token, "xoxb-", "bot_token")
        url = api_url or API_URL
        Address.parse(url, "Slack's Web API")
        self.client = WebClient(bot_token, base_url=url, timeout=TIMEOUT_S, logger=_library_log, retry_handlers=[])

    def call(self, method: str, fields: JsonObject) -> JsonObject:
        """What Slack answers to a method of its Web API. Raises `DeliveryFailed`."""
        try:
            return _data(self.client.api_call(method, json=fields))
        except SlackApiError as error:
            raise _refused(method, error.response) from None
        except (SlackClientError, OSError, http.client.HTTPException, ValueError, AttributeError, TypeError) as error:
            # The last three: an answer that is no object, or no text, ends so in the library.
            raise DeliveryFailed(f"slack is not reached for `{method}`: {clean(_spoken(error))}", retry=True) from None


class SlackRefused(DeliveryFailed):
    """Slack answered with an error. `code` is its word for it."""

    def __init__(self, message: str, retry: bool, *, code: str, retry_after_s: float | None = None) -> None:  # noqa: FBT001  as its base
        super().__init__(message, retry, retry_after_s=retry_after_s)
        self.code = code


class Socket:
    """A connection over which Slack tells of clicks: opened in the background, and again whenever it is lost.

    `act` gets the payload of each interaction once, in a thread of a pool; what it raises is logged.
    """

    def __init__(self, app_token: str, api: SlackApi, act: Callable[[JsonObject], None]) -> None:
        _check_token(app_token, "xapp-", "app_token")
        self._act = act
        self._seen = _Seen(_REMEMBERED)
        self._client = _Client(app_token, api.client)
        self._client.socket_mode_request_listeners.append(self._receive)
        self._connecting = threading.Thread(target=self._connect, name="licet-slack", daemon=True)
        self._connecting.start()

    @property
    def connected(self) -> bool:
        """Whether clicks are heard now."""
        return bool(self._client.is_connected())

    def close(self) -> None:
        """The connection is closed; clicks that were being worked on have been."""
        if not self._client.over.is_set():
            self._client.over.set()
            self._connecting.join()
            self._client.end()

    def _connect(self) -> None:
        """The first connection; from then on the library opens another one whenever it finds it gone."""
        while not self._client.over.is_set():
            try:
                self._client.connect()
            except (SlackClientError, DeliveryFailed, OSError, http.client.HTTPException, ValueError) as error:
                _log.warning("slack's Socket Mode is not reached: %s", clean(_spoken(error)))
            else:
                return

    def _receive(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        try:
            client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        except (SlackClientError, OSError):
            _log.warning("slack was not told that a click has been heard; it may tell of it again")
        if request.type != "interactive" or not self._seen.is_new(request.envelope_id):
            return
        if not self._seen.is_new(_interaction(request.payload)):
            return
        try:
            self._act(request.payload)
        except Exception:  # noqa: BLE001  it would end in the library's own log, or nowhere
            _log.exception("a click in Slack was not worked off")


class _Client(SocketModeClient):
    """The library's client, which asks for no other socket than rule 1 allows, waits where it was told to, and ends at once."""

    def __init__(self, app_token: str, web_client: WebClient) -> None:
        self.over = threading.Event()
        self._failures = 0
        self._wait_s = 0.0
        log = logging.Logger(_library_log.name)  # noqa: LOG001  one of its own: two clients are not hushed by one another
        log.parent = _library_log
        log.addFilter(lambda _: not self.over.is_set())  # whoever closes needs not be told that the connection is gone
        super().__init__(app_token, web_client=web_client, logger=log, ping_interval=_CHECK_S, receive_buffer_size=_RECEIVE_BYTES)

    def issue_new_wss_url(self) -> str:
        """Slack lets an app open a connection about once a minute: who fails waits longer each time, or for as long as Slack says."""
        if self.over.wait(self._wait_s):
            raise DeliveryFailed("the channel is closed", retry=False)
        self._wait_s = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        self._failures += 1
        return self._ask_for_url()

    def _ask_for_url(self) -> str:
        try:
            answer = self.web_client.apps_connections_open(app_token=self.app_token)
        except SlackApiError as error:
            refused = _refused("apps.connections.open", error.response)
            self._wait_s = max(self._wait_s, refused.retry_after_s or 0.0)
            raise refused from None
        url = str(answer["url"])
        parts = urlsplit(url)
        # The library speaks without TLS to every port but this one.
        if not is_loopback(parts.hostname or "") and (parts.scheme != "wss" or (parts.port or _WSS_PORT) != _WSS_PORT):
            raise DeliveryFailed("slack names a socket that is not encrypted", retry=False)
        return url

    def connect(self) -> None:
        super().connect()
        session = self.current_session
        if session is not None and session.sock is not None:
            session.sock = cast("ssl.SSLSocket", _EndIsSaid(session.sock))
            session.close = partial(_close, session)  # type: ignore[method-assign]
            self._failures, self._wait_s = 0, 0.0

    def _on_error(self, error: Exception) -> None:
        """A connection that ended is opened again; the end of the channel itself is no news."""
        if not self.over.is_set():
            _log.warning("slack's Socket Mode was interrupted: %s", clean(_spoken(error)))

    def end(self) -> None:
        """All threads have ended. The library's `close` alone waits for up to three seconds for bytes that will not come."""
        self.closed = True
        self.auto_reconnect_enabled = self.default_auto_reconnect_enabled = False
        session = self.current_session
        sock = session.sock if session is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.message_queue.put(None)
        self.close()


def _close(session: Connection) -> None:
    """Close a connection that its own thread may be closing at this moment, which the library does not expect: the other one then did."""
    with contextlib.suppress(AttributeError):
        session.disconnect()


class _EndIsSaid:
    """A socket whose end is an error. The library takes it for silence, and would ask on without a pause until its checks fail."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def recv(self, size: int) -> bytes:
        received = self._sock.recv(size)
        if not received:
            raise ConnectionResetError("the connection has ended")
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Seen:
    """Remembers so many keys."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._keys: OrderedDict[str, None] = OrderedDict()

    def is_new(self, key: str) -> bool:
        """Whether this key was never asked for, or long ago."""
        with self._lock:
            if key in self._keys:
                return False
            self._keys[key] = None
            if len(self._keys) > self._limit:
                self._keys.popitem(last=False)
            return True


def _interaction(payload: JsonObject) -> str:
    """What is the same if Slack tells of one interaction in two envelopes: its `trigger_id` is made for it alone."""
    trigger = payload.get("trigger_id")
    return f"trigger {trigger}" if isinstance(trigger, str) and trigger else json.dumps(payload, sort_keys=True)


def _data(response: SlackResponse) -> JsonObject:
    return msgspec.convert(response.data, dict[str, Any])


def _refused(method: str, response: SlackResponse) -> SlackRefused:
    """What Slack said no with. Its `error` is a word; a page of a proxy, which the library puts in its place, is not repeated."""
    data = response.data if isinstance(response.data, dict) else {}
    unverified = str(data.get("error", ""))
    code = unverified if unverified.isascii() and unverified.replace("_", "").isalnum() else "unreadable_answer"
    status = response.status_code
    if status == _TOO_MANY or code in {"ratelimited", "rate_limited"}:
        wait_s = _wait_s(response)
        return SlackRefused(f"slack asks to wait before the next `{method}`", retry=True, code="ratelimited", retry_after_s=wait_s)
    retry = status >= _SERVER_ERROR or code in _PASSING or code == "unreadable_answer"
    return SlackRefused(f"slack answered `{clean(code)}` to `{method}`", retry=retry, code=code)


def _wait_s(response: SlackResponse) -> float | None:
    unverified = {str(name).lower(): str(value) for name, value in dict(response.headers).items()}.get("retry-after", "")
    return min(float(unverified[:9]), LONGEST_WAIT_S) if unverified.isascii() and unverified.isdigit() else None


def _spoken(error: Exception) -> str:
    """An error without what it was raised over: the library's messages repeat addresses and answers."""
    if isinstance(error, DeliveryFailed):
        return str(error)
    reason = getattr(error, "reason", None)
    return type(reason if isinstance(reason, Exception) else error).__name__


def _check_token(token: str, start: str, key: str) -> None:
    if not token.startswith(start) or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigInvalid(f"`{key}` is not such a token of Slack's: one begins with `{start}`", key=key)
