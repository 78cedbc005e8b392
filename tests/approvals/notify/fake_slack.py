"""Slack on this machine: a server that speaks its Web API and Socket Mode, and refuses what Slack refuses.

It checks tokens, channels, limits of blocks, triggers and timestamps as Slack's documents say, keeps what was posted, and lets a test press
the buttons that are there, fill in the forms that were opened, cut connections and be in trouble.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

from tests.approvals.notify.slack_rules import Json, texts_of, wrong_with, wrong_with_view

BOT = "xoxb-" + "1-bot-token-of-the-test"
APP = "xapp-" + "1-app-token-of-the-test"
CHANNEL = "C0LEADS"
WAIT_S = 30.0


@dataclass
class Posted:
    """A message in a channel, with every form it had."""

    channel: str
    ts: str
    versions: list[Json]

    @property
    def now(self) -> Json:
        return self.versions[-1]

    @property
    def blocks(self) -> list[Json]:
        return list(self.now["blocks"])

    @property
    def buttons(self) -> list[str]:
        return [element["action_id"] for block in self.blocks if block["type"] == "actions" for element in block["elements"]]

    @property
    def text(self) -> str:
        """All that is read in it."""
        return "\n".join(text["text"] for text in texts_of(self.blocks))


@dataclass
class Trouble:
    """What the next call of a method meets in place of an answer."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


class FakeSlack:
    """A workspace with one app and one channel. Its methods may be called from any thread; `api_url` is where it listens."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Json]] = []
        self.messages: dict[str, Posted] = {}
        self.told: list[tuple[str, str]] = []
        """What was said to one user alone: (user id, text)."""
        self.views: list[Json] = []
        self.acknowledged: list[str] = []
        self.tickets = 0
        self.socket_url: str | None = None
        """Named in place of its own, if a test says so."""
        self._trouble: dict[str, deque[Trouble]] = {}
        self._sockets: list[web.WebSocketResponse] = []
        self._open_tickets: set[str] = set()
        self._triggers: set[str] = set()
        self._count = itertools.count(1)
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()
        self.port = 0

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(WAIT_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # What a test does

    def wait(self, until: Callable[[], Any]) -> Any:
        """What `until` gives, once that is something."""
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while not (found := until()):
                assert time.monotonic() < deadline, "it did not happen"
                self._changed.wait(0.05)  # what is waited for may happen where nobody says so
            return found

    def wait_connected(self, count: int = 1) -> None:
        self.wait(lambda: len(self._sockets) >= count)

    def only(self) -> Posted:
        """The one message there is."""
        (found,) = self.messages.values()
        return found

    def press(self, message: Posted, action_id: str, user: str) -> str:
        """Somebody presses a button that the message has. Returns the id of the envelope."""
        found = [e for block in message.blocks if block["type"] == "actions" for e in block["elements"] if e["action_id"] == action_id]
        assert found, f"the message has no button {action_id}"
        return self.send(self.pressed(message, user, found[0]))

    def pressed(self, message: Posted, user: str, element: Json, **more: Any) -> Json:
        """The payload of a pressed button."""
        trigger = self._trigger()
        action = {key: element[key] for key in ("action_id", "value", "text", "style", "type") if key in element}
        return {
            "type": "block_actions",
            "user": {"id": user, "username": user.lower(), "name": user.lower(), "team_id": "T0TEAM"},
            "api_app_id": "A0APP",
            "token": "verification",
            "container": {"type": "message", "message_ts": message.ts, "channel_id": message.channel, "is_ephemeral": False},
            "trigger_id": trigger,
            "team": {"id": "T0TEAM", "domain": "leads"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": message.channel, "name": "leads"},
            "message": {"type": "message", "user": "U0BOT", "bot_id": "B0BOT", "ts": message.ts, **message.now},
            "state": {"values": {}},
            "response_url": f"http://127.0.0.1:{self.port}/actions/none",
            "actions": [{**action, "block_id": "decide", "action_ts": f"{next(self._count)}.000100"}],
            **more,
        }

    def submit(self, view: Json, user: str, verdict: str, comment: str | None) -> str:
        """Somebody fills a form in and sends it."""
        (choice,) = [block for block in view["blocks"] if block.get("element", {}).get("type") == "radio_buttons"]
        (text,) = [block for block in view["blocks"] if block.get("element", {}).get("type") == "plain_text_input"]
        (option,) = [option for option in choice["element"]["options"] if option["value"].startswith(verdict)]
        values = {
            choice["block_id"]: {choice["element"]["action_id"]: {"type": "radio_buttons", "selected_option": option}},
            text["block_id"]: {text["element"]["action_id"]: {"type": "plain_text_input", "value": comment}},
        }
        return self.send(self.submitted(view, user, values))

    def submitted(self, view: Json, user: str, values: Json) -> Json:
        return {
            "type": "view_submission",
            "team": {"id": "T0TEAM", "domain": "leads"},
            "user": {"id": user, "username": user.lower(), "name": user.lower(), "team_id": "T0TEAM"},
            "api_app_id": "A0APP",
            "token": "verification",
            "trigger_id": self._trigger(),
            "view": {"id": f"V{next(self._count)}", **view, "state": {"values": values}},
            "response_urls": [],
            "is_enterprise_install": False,
            "enterprise": None,
        }

    def send(self, payload: Any, envelope: str | None = None, *, kind: str = "interactive") -> str:
        """An envelope goes to the newest connection; it is not waited for that it is acknowledged."""
        identity = envelope or f"envelope-{next(self._count)}"
        self.wait_connected()
        self.send_text(json.dumps({"envelope_id": identity, "payload": payload, "type": kind, "accepts_response_payload": False}))
        return identity

    def send_text(self, text: str) -> None:
        self._do(self._sockets[-1].send_str(text))

    def wait_acknowledged(self, envelope: str, times: int = 1) -> None:
        self.wait(lambda: self.acknowledged.count(envelope) >= times)

    def wait_told(self, count: int = 1) -> list[tuple[str, str]]:
        """What was said to users alone, once it is so much."""
        self.wait(lambda: len(self.told) >= count)
        return list(self.told)

    def refresh(self) -> None:
        """Slack announces the end of a connection, as it does every few hours, and ends it when another one is there."""
        before = list(self._sockets)
        self.send_text(json.dumps({"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "applink-1"}}))
        self.wait(lambda: any(sock not in before for sock in self._sockets))
        for sock in before:
            self._do(sock.close())
        self.wait(lambda: not any(sock in before for sock in self._sockets))

    def drop(self) -> None:
        """Every connection ends without a word."""
        before = list(self._sockets)
        for sock in before:
            self._loop.call_soon_threadsafe(_abort, sock)
        self.wait(lambda: not any(sock in before for sock in self._sockets))

    def fail(
        self, method: str, *, status: int = 200, error: str | None = None, body: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """The next call of this method fails."""
        said = json.dumps({"ok": False, "error": error}) if body is None else body
        self._trouble.setdefault(method, deque()).append(Trouble(status, said, headers or {}))

    def limit(self, method: str, retry_after: str | None = "7") -> None:
        """The next call of this method is one too many."""
        self.fail(method, status=429, error="ratelimited", headers={} if retry_after is None else {"Retry-After": retry_after})

    # The server

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/api/{method}", self._called)
        app.router.add_get("/link/", self._linked)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self._started.set()
        self._loop.run_forever()
        for sock in list(self._sockets):
            _abort(sock)
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_S)

    def _trigger(self) -> str:
        with self._changed:
            trigger = f"{next(self._count)}.trigger"
            self._triggers.add(trigger)
            return trigger

    async def _called(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        form = dict(await request.post())
        fields = json.loads(await request.read() or b"{}") if request.content_type == "application/json" else form
        with self._changed:
            try:
                trouble = self._trouble.get(method)
                if trouble:
                    met = trouble.popleft()
                    return web.Response(status=met.status, text=met.body, content_type="application/json", headers=met.headers)
                self.calls.append((method, fields))
                return web.json_response(self._answer(method, fields, request.headers.get("Authorization", "")))
            finally:
                self._changed.notify_all()

    def _answer(self, method: str, fields: Json, authorization: str) -> Json:
        if not authorization:
            return _no("not_authed")
        if authorization != f"Bearer {APP if method == 'apps.connections.open' else BOT}":
            return _no("invalid_auth")
        answers = {
            "apps.connections.open": self._open,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.postEphemeral": self._tell,
            "views.open": self._view,
        }
        return answers[method](fields) if method in answers else _no("unknown_method")

    def _open(self, _: Json) -> Json:
        self.tickets += 1
        ticket = f"ticket-{self.tickets}"
        self._open_tickets.add(ticket)
        return {"ok": True, "url": self.socket_url or f"ws://127.0.0.1:{self.port}/link/?ticket={ticket}&app_id=A0APP"}

    def _post(self, fields: Json) -> Json:
        if fields.get("channel") != CHANNEL:
            return _no("channel_not_found")
        if wrong := wrong_with(fields):
            return _no(wrong)
        ts = f"{1_767_600_000 + next(self._count)}.000200"
        self.messages[ts] = Posted(CHANNEL, ts, [{"text": fields["text"], "blocks": fields["blocks"]}])
        return {"ok": True, "channel": CHANNEL, "ts": ts, "message": self.messages[ts].now}

    def _update(self, fields: Json) -> Json:
        if fields.get("channel") != CHANNEL:
            return _no("channel_not_found")
        message = self.messages.get(fields.get("ts", ""))
        if message is None:
            return _no("message_not_found")
        if wrong := wrong_with(fields):
            return _no(wrong)
        message.versions.append({"text": fields["text"], "blocks": fields["blocks"]})
        return {"ok": True, "channel": CHANNEL, "ts": message.ts, "text": fields["text"]}

    def _tell(self, fields: Json) -> Json:
        if fields.get("channel") != CHANNEL:
            return _no("channel_not_found")
        if not str(fields.get("user", "")).startswith("U"):
            return _no("user_not_in_channel")
        if wrong := wrong_with(fields):
            return _no(wrong)
        self.told.append((fields["user"], fields["blocks"][0]["text"]["text"]))
        return {"ok": True, "message_ts": "1.2"}

    def _view(self, fields: Json) -> Json:
        trigger, view = fields.get("trigger_id"), fields.get("view", {})
        if trigger not in self._triggers:
            return _no("expired_trigger_id")
        self._triggers.discard(trigger)
        if wrong := wrong_with_view(view):
            return _no(wrong)
        self.views.append(view)
        return {"ok": True, "view": {"id": "V1", **view}}

    async def _linked(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._open_tickets:
            return web.Response(status=401, text="invalid ticket")
        self._open_tickets.discard(ticket)
        sock = web.WebSocketResponse(autoping=True, compress=False)
        await sock.prepare(request)
        await sock.send_json(
            {
                "type": "hello",
                "num_connections": len(self._sockets) + 1,
                "debug_info": {"host": "applink-1", "build_number": 1, "approximate_connection_time": 18_060},
                "connection_info": {"app_id": "A0APP"},
            }
        )
        with self._changed:
            self._sockets.append(sock)
            self._changed.notify_all()
        try:
            async for received in sock:
                if received.type is WSMsgType.TEXT:
                    with self._changed:
                        self.acknowledged.append(json.loads(received.data)["envelope_id"])
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._sockets.remove(sock)
                self._changed.notify_all()
        return sock


def _abort(sock: web.WebSocketResponse) -> None:
    transport = sock._req.transport if sock._req is not None else None
    if transport is not None:
        transport.abort()


def _no(error: str) -> Json:
    return {"ok": False, "error": error}
