"""The stream: who is told that something has changed, and who is not."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from licet.console import live
from licet.console.live import Change
from licet.gate.reading import Reader, record_reading
from licet.model import RequestId
from tests.console.world import HOST, Browser, ConsoleWorld, console_world
from tests.world import CONFIG

AMOUNT = 50_000


AUDITOR = """
[users.rita]
tenants = ["acme"]
roles = ["licet-auditor"]
"""


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with console_world(CONFIG.replace("[groups]", f"{AUDITOR}[groups]")) as made:
        yield made


class Heard:
    """What a page hears."""

    def __init__(self) -> None:
        self.status = 0
        self.media_type = ""
        self.text = ""
        self.has_ended = False

    @property
    def events(self) -> list[str]:
        return [line.removeprefix("event: ") for line in self.text.splitlines() if line.startswith("event: ")]

    def wait(self, *names: str, within_s: float = 2.0) -> None:
        """Until all of these were heard. What is promised is two seconds."""
        end = time.monotonic() + within_s
        while not set(names) <= set(self.events):
            assert time.monotonic() < end, (names, self.text)
            time.sleep(0.02)

    def forget(self) -> None:
        self.text = ""

    def rest(self, seconds: float = 1.5) -> list[str]:
        """What is heard in so long."""
        time.sleep(seconds)
        return self.events


@contextmanager
def listening(served: ConsoleWorld, browser: Browser, query: str = "", path: str = "/console/live", **headers: str) -> Iterator[Heard]:
    """A page's stream, until the page is left."""
    heard, gone = Heard(), asyncio.Event()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [
            (b"host", HOST.encode()),
            (b"cookie", f"__Host-licet={browser.cookie}".encode()),
            *[(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        ],
        "client": ("192.0.2.1", 50_000),
        "server": ("127.0.0.1", 8181),
        "scheme": "http",
    }

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            heard.status = message["status"]
            heard.media_type = dict(message["headers"]).get(b"content-type", b"").decode()
        else:
            heard.text += message.get("body", b"").decode()

    async def run() -> None:
        await served.app(scope, receive, send)
        heard.has_ended = True

    loop = served._loop  # the loop of the application
    running = asyncio.run_coroutine_threadsafe(run(), loop)
    end = time.monotonic() + 5
    while not heard.text and not running.done():
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(live.LOOK_S)  # the first look has been taken
    try:
        yield heard
    finally:
        loop.call_soon_threadsafe(gone.set)
        running.result(10)


def held(served: ConsoleWorld) -> RequestId:
    request = served.world.held(AMOUNT).request
    assert request is not None
    return request


def test_a_new_request_is_told_of_within_two_seconds(served: ConsoleWorld) -> None:
    with listening(served, served.enter("lena")) as heard:
        assert (heard.status, heard.media_type) == (200, "text/event-stream")
        assert heard.events == []
        held(served)
        heard.wait("requests")


def test_a_vote_that_was_cast_elsewhere_is_told_of(served: ConsoleWorld) -> None:
    request = held(served)
    with listening(served, served.enter("lena")) as heard:
        served.gate.approvals.vote(request, "lena", "approve")  # as the command line does it
        heard.wait("requests")
        heard.forget()
        assert heard.rest() == []  # once


def test_an_event_says_that_something_has_changed_and_nothing_of_what(served: ConsoleWorld) -> None:
    with listening(served, served.enter("lena")) as heard:
        request = held(served)
        heard.wait("requests")
        assert request not in heard.text
        assert set(heard.text.splitlines()) <= {
            "retry: 1000",
            ": what you hear of is asked for by the page",
            "event: requests",
            "id: 1",
            "data:",
            "",
        }


def test_nobody_is_told_of_another_tenant(served: ConsoleWorld) -> None:
    with listening(served, served.enter("gina")) as heard:
        held(served)
        served.world.adjust()
        assert heard.rest() == []


def test_who_may_not_read_the_log_is_told_of_requests_alone(served: ConsoleWorld) -> None:
    with listening(served, served.enter("lena")) as heard:
        served.world.adjust()
        assert heard.rest(0.8) == []
        held(served)
        assert heard.rest() == ["requests"]


def test_who_reads_their_own_requests_is_told_of_those(served: ConsoleWorld) -> None:
    with listening(served, served.enter("carl")) as carl, listening(served, served.enter("alice")) as alice:
        held(served)  # made for alice
        alice.wait("requests")
        assert carl.rest(1) == []


def test_a_reading_is_no_news(served: ConsoleWorld) -> None:
    """A page that reads the log because the log has grown must not make itself read again."""
    rita = served.enter("rita")
    with listening(served, rita) as heard:
        served.world.adjust()
        heard.wait("records")
        heard.forget()
        for _ in range(3):
            reader = Reader(credential=None, user="rita", directory=served.gate.scene.directory, within=("acme",))
            record_reading(served.gate.ledger, served.gate.settings, reader, "audit search", {}, tenant="acme", shown=0)
        assert [record.kind for record in served.world.records()][-1] == "access"
        assert heard.rest() == []


def test_a_page_is_told_what_it_missed_before_it_listened(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    with listening(served, lena):  # somebody has looked before
        pass
    served.world.clock.advance(60)
    made = served.gate.now().isoformat().replace("+00:00", "Z")
    with listening(served, lena, f"since={made}") as quiet:
        assert quiet.rest(0.5) == []
    held(served)
    with listening(served, lena, f"since={made}") as heard:
        heard.wait("requests")
    served.world.clock.advance(60)
    later = served.gate.now().isoformat().replace("+00:00", "Z")
    with listening(served, lena, f"since={later}") as quiet:
        assert quiet.rest(0.5) == []


def test_who_comes_back_is_told_at_once(served: ConsoleWorld) -> None:
    with listening(served, served.enter("lena"), last_event_id="1") as heard:
        heard.wait("requests", within_s=0.5)
        assert "records" not in heard.events  # which she may not read


def test_a_stream_ends_with_its_session(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    with listening(served, lena) as heard:
        assert lena.send("/console/inbox", "/console/sign-out").status == 303
        end = time.monotonic() + 3
        while not heard.has_ended and time.monotonic() < end:
            time.sleep(0.05)
        assert heard.has_ended
        held(served)
        assert heard.rest() == []


def test_streams_end_when_the_server_is_to_stop(served: ConsoleWorld) -> None:
    with listening(served, served.enter("lena")) as heard:
        served.gate.stop_waiting()
        end = time.monotonic() + 3
        while not heard.has_ended and time.monotonic() < end:
            time.sleep(0.05)
        assert heard.has_ended


def test_nobody_opens_streams_without_end(served: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.watch_of(served.serving).places, "_limit", 2)
    lena, again = served.enter("lena"), served.enter("lena")  # another browser of the same person
    with listening(served, lena), listening(served, again):
        with listening(served, lena) as third:
            assert third.status == 429
        with listening(served, served.enter("alice")) as other:
            assert other.status == 200
    gc.collect()
    with listening(served, lena) as heard:
        assert heard.status == 200


def test_nobody_looks_at_the_store_while_nobody_listens(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    with listening(served, lena), listening(served, lena):
        assert live.watch_of(served.serving).is_looking
    assert not live.watch_of(served.serving).is_looking


def test_who_is_not_signed_in_hears_nothing(served: ConsoleWorld) -> None:
    reply = served.get("/console/live", headers={"host": HOST})
    assert reply.status == 303
    assert reply.headers["location"].startswith("/console/sign-in")


def test_absurd_parameters_are_refused(served: ConsoleWorld) -> None:
    lena = served.enter("lena")
    for query in ("since=yesterday", "since=", "tenant=acme"):
        assert lena.get(f"/console/live?{query}").status == 400


def test_a_part_of_a_page_is_not_led_to_where_one_signs_in(served: ConsoleWorld) -> None:
    """A browser would follow, and put what it finds there into the page, or listen to it for ever."""
    reply = served.get("/console/inbox", headers={"host": HOST, "hx-request": "true"})
    assert reply.status == 401
    assert reply.headers["hx-redirect"] == "/console/sign-in?next=%2Fconsole%2Finbox"
    assert reply.content == b""
    sent = {"host": HOST, "hx-request": "true", "hx-current-url": f"https://{HOST}/console/inbox?show=all"}
    assert served.get("/console/live", headers=sent).headers["hx-redirect"] == "/console/sign-in?next=%2Fconsole%2Finbox%3Fshow%3Dall"
    assert served.get("/console/live", headers={**sent, "hx-current-url": "https://["}).status == 401


@pytest.mark.parametrize("turns", range(5))
def test_who_leaves_at_the_moment_of_a_change_is_gone(turns: int) -> None:
    """However far the change has come to whoever listens: a stream that went on would tell a session that has ended."""

    async def run() -> bool:
        heard: asyncio.Queue[tuple[Change, ...]] = asyncio.Queue()
        listening = asyncio.get_running_loop().create_task(live.heard_next(heard))
        await asyncio.sleep(0.01)
        heard.put_nowait((Change("acme", has_records=True),))
        for _ in range(turns):
            await asyncio.sleep(0)
        was_over = listening.done()
        listening.cancel()
        await asyncio.wait({listening})
        return was_over or listening.cancelled()

    assert asyncio.run(run())
