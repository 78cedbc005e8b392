"""What clients of either era are told of upstreams of either era, and of what is in force."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from licet.gateway import listening, subscriptions
from licet.gateway.connection import NotSeen, NotSent
from licet.gateway.eras import META_LOG_LEVEL, META_SUBSCRIPTION, Era
from licet.gateway.followers import WAITING_LIMIT, Follower, Note
from licet.gateway.link import ClientFacts, Voyage
from licet.gateway.messages import INVALID_PARAMS, METHOD_NOT_FOUND, NOT_PERMITTED, UNAVAILABLE, RpcError
from licet.gateway.session_state import LEVELS
from licet.model import JsonObject
from tests.gateway.listeners import ACKNOWLEDGED, PATIENCE_S, PROMPTS, RESOURCES, TOOLS, UPDATED, Session, Streamed
from tests.gateway.lists_world import LISTS_CONFIG, LISTS_POLICIES, resource, stock
from tests.gateway.world import LEGACY, MODERN, FakeConnection, GatewayWorld, gateway_world


@pytest.fixture
def w(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path, config=LISTS_CONFIG, policies=LISTS_POLICIES) as world:
        yield world


class ModernUpstream:
    """Makes an upstream speak 2026-07-28: its streams last until they are cancelled, or ended here."""

    def __init__(
        self,
        w: GatewayWorld,
        connection: FakeConnection,
        *,
        takes: Callable[[JsonObject], JsonObject] = lambda asked: asked,
        is_silent: bool = False,
    ) -> None:
        connection.era = "modern"
        self.is_silent = is_silent
        self._w = w
        self._connection = connection
        self._answering = connection.answering
        self._takes = takes
        self.open: list[JsonObject] = []
        self.opened: asyncio.Queue[JsonObject] = asyncio.Queue()
        self.closed: asyncio.Queue[JsonObject] = asyncio.Queue()
        self._end: asyncio.Future[JsonObject] | None = None
        connection.answering = self

    async def __call__(self, method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        if method != "subscriptions/listen":
            assert self._answering is not None
            return await self._answering(method, params, voyage)
        wanted = params["notifications"]
        self.open.append(wanted)
        end = self._end = asyncio.get_running_loop().create_future()
        if not self.is_silent:
            self.acknowledge(wanted)
        self.opened.put_nowait(wanted)
        try:
            ended: JsonObject = await end
            return ended
        finally:
            self.open.remove(wanted)
            self.closed.put_nowait(wanted)

    def acknowledge(self, wanted: JsonObject) -> None:
        tell(self._w, self._connection, ACKNOWLEDGED, {"notifications": self._takes(wanted)})

    def end(self, fault: Exception | None = None) -> None:
        assert self._end is not None
        if fault is None:
            self._end.set_result({"resultType": "complete"})
        else:
            self._end.set_exception(fault)

    async def next_opened(self) -> JsonObject:
        async with asyncio.timeout(PATIENCE_S):
            return await self.opened.get()

    async def next_closed(self) -> JsonObject:
        async with asyncio.timeout(PATIENCE_S):
            return await self.closed.get()


def tell(w: GatewayWorld, connection: FakeConnection, method: str, params: JsonObject | None = None) -> None:
    assert w.upstreams.told is not None
    w.upstreams.told(connection, method, params or {})


def updated(w: GatewayWorld, uri: str, connection: FakeConnection | None = None) -> None:
    tell(w, connection or w.upstreams.crm, UPDATED, {"uri": uri})


def run(w: GatewayWorld, test: Callable[[], Awaitable[None]]) -> None:
    async def go() -> None:
        try:
            await test()
        finally:
            await w.gateway.close()

    asyncio.run(go())


def asked(connection: FakeConnection, method: str) -> list[str]:
    return [params["uri"] for name, params in connection.sent if name == method]


def subscribed(connection: FakeConnection) -> list[str]:
    return asked(connection, "resources/subscribe")


def released(connection: FakeConnection) -> list[str]:
    return asked(connection, "resources/unsubscribe")


async def until(is_so: Callable[[], bool]) -> None:
    """The event loop goes on until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  what is waited for is a fake's list
            await asyncio.sleep(0)


async def refusal(work: Awaitable[Any]) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await work
    return caught.value


def denials(w: GatewayWorld) -> list[tuple[str, str]]:
    """The kind of each record, and the code that it was decided by."""
    return [(record.kind, record.envelope.decision.code) for record in w.records() if record.envelope.decision is not None]


def change(w: GatewayWorld, policies: str) -> None:
    (w.folder / "policies" / "all.cedar").write_text(policies)
    w.gate.reload()


NO_A = '\n@id("no-a")\nforbid (principal, action == Action::"crm.resources.read", resource) when { context.input.uri == "crm://a" };\n'


# sessions of legacy clients


@pytest.mark.parametrize("method", [TOOLS, PROMPTS, RESOURCES])
def test_a_session_is_told_unasked_that_a_list_has_changed(w: GatewayWorld, method: str) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w)
        await session.begin()
        tell(w, w.upstreams.crm, method)
        assert await session.next() == (method, {})

    run(w, go)


def test_what_an_upstream_says_over_somebody_elses_connection_is_told_to_nobody_else(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        owner, other = Session(w), Session(w, agent="writer")
        await owner.begin()
        await other.begin()
        tell(w, w.upstreams.crm, RESOURCES)
        assert await owner.next() == (RESOURCES, {})
        change(w, LISTS_POLICIES + NO_A)
        assert [(await other.next())[0] for _ in range(3)] == [TOOLS, PROMPTS, RESOURCES]
        assert other.queue.empty()

    run(w, go)


def test_who_may_never_read_anything_of_an_upstream_is_told_nothing_of_it(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w, agent="scribe", user="sam")
        await session.begin()
        tell(w, w.upstreams.crm, RESOURCES)
        tell(w, w.upstreams.crm, PROMPTS)
        tell(w, w.upstreams.notes, PROMPTS)
        assert await session.next() == (PROMPTS, {})
        assert session.queue.empty()

    run(w, go)


def test_who_may_never_call_a_tool_of_an_upstream_is_not_told_that_its_tools_have_changed(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        wanted = {"toolsListChanged": True, "promptsListChanged": True}
        caller, outsider = Streamed(w, wanted), Streamed(w, wanted, agent="outsider")
        for stream in (caller, outsider):
            await stream.acknowledged()
        tell(w, w.upstreams.crm, TOOLS)
        assert (await caller.next())[0] == TOOLS
        w.gateway.subscriptions.tools_changed("crm")
        assert (await caller.next())[0] == TOOLS
        assert outsider.heard.queue.empty()
        w.gateway.subscriptions.tools_changed()
        assert (await outsider.next())[0] == TOOLS, "of what is in force everybody is told"

    run(w, go)


def test_at_the_address_of_an_upstream_others_are_not_heard(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session, everywhere = Session(w, upstream="notes"), Session(w)
        await session.begin()
        await everywhere.begin()
        tell(w, w.upstreams.crm, RESOURCES)
        assert await everywhere.next() == (RESOURCES, {})
        tell(w, w.upstreams.notes, PROMPTS)
        assert await session.next() == (PROMPTS, {})

    run(w, go)


def test_a_watched_resource_is_subscribed_to_upstream_and_its_changes_are_told(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w)
        assert await session.ask("resources/subscribe", {"uri": "crm://a"}) == {}
        assert subscribed(w.upstreams.crm) == ["crm://a"]
        updated(w, "crm://other")
        updated(w, "crm://a/part")
        updated(w, "crm://a")
        assert [await session.next(), await session.next()] == [(UPDATED, {"uri": "crm://a/part"}), (UPDATED, {"uri": "crm://a"})]

    run(w, go)


def test_a_subscription_is_made_once_for_all_who_share_a_connection_and_ends_with_the_last_of_them(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        one, two = Session(w), Session(w)
        for session in (one, two):
            await session.ask("resources/subscribe", {"uri": "crm://a"})
        assert subscribed(w.upstreams.crm) == ["crm://a"]
        await one.ask("resources/unsubscribe", {"uri": "crm://a"})
        updated(w, "crm://a")
        assert await two.next() == (UPDATED, {"uri": "crm://a"})
        assert one.queue.empty()
        assert released(w.upstreams.crm) == []
        await two.ask("resources/unsubscribe", {"uri": "crm://a"})
        await until(lambda: released(w.upstreams.crm) == ["crm://a"])

    run(w, go)


def test_what_nobody_watches_can_be_let_go_of(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        assert await Session(w).ask("resources/unsubscribe", {"uri": "crm://a"}) == {}

    run(w, go)


def test_what_somebody_needs_while_the_last_one_is_let_go_of_is_kept(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    crm, _ = stock(w)
    go_on = asyncio.Event()

    async def slow(method: str, params: Mapping[str, Any], voyage: Voyage) -> JsonObject:
        if method == "resources/unsubscribe":
            await go_on.wait()
        return await crm(method, params, voyage)

    async def go() -> None:
        one, two = Session(w), Session(w)
        await one.ask("resources/subscribe", {"uri": "crm://a"})
        w.upstreams.crm.answering = slow
        await one.ask("resources/unsubscribe", {"uri": "crm://a"})
        await until(lambda: released(w.upstreams.crm) == ["crm://a"])
        asking = asyncio.ensure_future(two.ask("resources/subscribe", {"uri": "crm://customer/C-1"}))
        await until(lambda: two.state is not None and "crm://customer/C-1" in two.state.watched)
        monkeypatch.setattr(listening, "KEEP_S", 0.01)
        go_on.set()
        await asking
        w.upstreams.crm.handshakes += 1
        assert [(await two.next())[0] for _ in range(4)] == [TOOLS, PROMPTS, RESOURCES, UPDATED], "it is subscribed to anew"

    run(w, go)


@pytest.mark.parametrize("gone", ["ended", "dropped"])
def test_the_subscriptions_of_a_session_that_is_gone_end(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    stock(w)
    monkeypatch.setattr(listening, "KEEP_S", 0.01)

    async def go() -> None:
        session = Session(w)
        await session.ask("resources/subscribe", {"uri": "crm://a"})
        if gone == "ended":
            session.end()
        else:
            session.state = None
            w.links.clear()
            gc.collect()
        await until(lambda: released(w.upstreams.crm) == ["crm://a"])

    run(w, go)


def test_who_is_denied_a_resource_cannot_watch_it_and_the_denial_is_recorded(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w, upstream="crm")
        error = await refusal(session.ask("resources/subscribe", {"uri": "crm://secret"}))
        assert error.code == NOT_PERMITTED
        assert str(error).startswith("denied (forbidden): denied by `no-secrets`")
        assert denials(w) == [("denial", "forbidden")]
        assert w.upstreams.crm.sent == []

    run(w, go)


def test_what_people_would_have_to_approve_cannot_be_watched_and_nobody_is_asked(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w, upstream="crm")
        error = await refusal(session.ask("resources/subscribe", {"uri": "crm://contract"}))
        assert (error.code, str(error)) == (
            NOT_PERMITTED,
            "`crm://contract` cannot be read by this caller now, so that nothing is told of it either",
        )
        assert w.records() == []
        assert w.upstreams.crm.sent == []

    run(w, go)


def test_a_denied_entry_of_a_stream_is_recorded_and_the_others_are_watched(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        stream = Streamed(w, {"resourceSubscriptions": ["crm://secret", "crm://a"]}, upstream="crm")
        assert await stream.acknowledged() == {"resourceSubscriptions": ["crm://a"]}
        assert denials(w) == [("denial", "forbidden")]
        await stream.leave()

    run(w, go)


def test_who_may_not_read_a_resource_any_more_is_told_nothing_of_it_any_more(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w)
        for uri in ("crm://a", "crm://customer/C-1"):
            await session.ask("resources/subscribe", {"uri": uri})
        change(w, LISTS_POLICIES + NO_A)
        assert [(await session.next())[0] for _ in range(3)] == [TOOLS, PROMPTS, RESOURCES]
        updated(w, "crm://a")
        updated(w, "crm://customer/C-1")
        assert await session.next() == (UPDATED, {"uri": "crm://customer/C-1"})

    run(w, go)


def test_a_part_of_what_is_watched_that_may_not_be_read_is_not_told(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w, upstream="crm")
        await session.ask("resources/subscribe", {"uri": "crm:/"})
        updated(w, "crm://secret")
        updated(w, "crm://a")
        assert await session.next() == (UPDATED, {"uri": "crm://a"})

    run(w, go)


def test_an_upstream_that_does_not_tell_cannot_be_subscribed_to(w: GatewayWorld) -> None:
    stock(w)
    w.upstreams.crm.capabilities = {"resources": {}}

    async def go() -> None:
        session = Session(w, upstream="crm")
        error = await refusal(session.ask("resources/subscribe", {"uri": "crm://a"}))
        assert (error.code, str(error)) == (METHOD_NOT_FOUND, "`crm` does not tell when this resource changes")
        assert session.state is not None
        assert session.state.watched == {}

    run(w, go)


def test_an_upstream_that_is_down_cannot_be_subscribed_to_now(w: GatewayWorld) -> None:
    crm, _ = stock(w)

    async def go() -> None:
        crm.failing = NotSent("it is down")
        error = await refusal(Session(w, upstream="crm").ask("resources/subscribe", {"uri": "crm://a"}))
        assert (error.code, str(error)) == (UNAVAILABLE, "`crm` cannot be asked to tell of it: it is down")

    run(w, go)


def test_a_session_watches_a_bounded_number_of_resources(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(w)
    monkeypatch.setattr(subscriptions, "WATCHED_LIMIT", 1)

    async def go() -> None:
        session = Session(w)
        for _ in range(2):
            await session.ask("resources/subscribe", {"uri": "crm://a"})
        assert (await refusal(session.ask("resources/subscribe", {"uri": "notes://1"}))).code == INVALID_PARAMS

    run(w, go)


def test_a_subscription_is_made_anew_on_a_new_connection_and_what_was_missed_is_told(
    w: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, _ = stock(w)
    monkeypatch.setattr(listening, "KEEP_S", 0.01)

    async def go() -> None:
        session = Session(w)
        await session.ask("resources/subscribe", {"uri": "crm://a"})
        fresh = FakeConnection("crm", [])
        fresh.capabilities, fresh.answering = w.upstreams.crm.capabilities, crm
        w.upstreams.crm = fresh
        found = [await session.next() for _ in range(4)]
        assert found == [(TOOLS, {}), (PROMPTS, {}), (RESOURCES, {}), (UPDATED, {"uri": "crm://a"})]
        assert subscribed(fresh) == ["crm://a"]

    run(w, go)


def test_a_subscription_is_made_anew_in_a_new_session_of_the_same_connection(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(w)
    monkeypatch.setattr(listening, "KEEP_S", 0.01)

    async def go() -> None:
        session = Session(w)
        await session.ask("resources/subscribe", {"uri": "crm://a"})
        w.upstreams.crm.handshakes += 1
        assert [(await session.next())[0] for _ in range(4)] == [TOOLS, PROMPTS, RESOURCES, UPDATED]
        assert subscribed(w.upstreams.crm) == ["crm://a"] * 2

    run(w, go)


def test_a_connection_over_which_resources_are_watched_is_asked_now_and_then_whether_it_is_still_there(
    w: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm, _ = stock(w)
    monkeypatch.setattr(listening, "KEEP_S", 0.01)

    async def go() -> None:
        await Session(w).ask("resources/subscribe", {"uri": "crm://a"})
        await until(lambda: crm.methods().count("ping") > 1)

    run(w, go)


# streams of modern clients


def test_a_stream_is_acknowledged_first_then_told_and_ended_gracefully(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        wanted = {"toolsListChanged": True, "resourcesListChanged": True, "resourceSubscriptions": ["crm://a"], "unknown": True}
        stream = Streamed(w, wanted)
        method, params = await stream.next()
        assert (method, params["_meta"]) == (ACKNOWLEDGED, {META_SUBSCRIPTION: 7})
        assert params["notifications"] == {"toolsListChanged": True, "resourcesListChanged": True, "resourceSubscriptions": ["crm://a"]}
        tell(w, w.upstreams.crm, UPDATED, {"uri": "crm://a", "_meta": {"com.example/x": 1}})
        assert await stream.next() == (UPDATED, {"uri": "crm://a", "_meta": {"com.example/x": 1, META_SUBSCRIPTION: 7}})
        tell(w, w.upstreams.crm, RESOURCES)
        assert await stream.next() == (RESOURCES, {"_meta": {META_SUBSCRIPTION: 7}})
        await w.gateway.close()
        assert await stream.task == {"resultType": "complete", "_meta": {META_SUBSCRIPTION: 7}}

    run(w, go)


def test_a_stream_tells_nothing_that_was_not_asked_for(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        stream = Streamed(w, {"promptsListChanged": True})
        assert await stream.acknowledged() == {"promptsListChanged": True}
        for method in (TOOLS, RESOURCES, "notifications/message", "notifications/unknown", PROMPTS):
            tell(w, w.upstreams.crm, method)
        updated(w, "crm://a")
        assert (await stream.next())[0] == PROMPTS
        assert stream.heard.queue.empty()
        await stream.leave()

    run(w, go)


def test_only_what_can_be_told_is_acknowledged(w: GatewayWorld) -> None:
    stock(w)
    w.upstreams.notes.capabilities = {"resources": {}}

    async def go() -> None:
        uris = ["crm://secret", "crm://contract", "notes://1", "both://x", "any://thing", "crm://a", "crm://a"]
        stream = Streamed(w, {"resourceSubscriptions": uris, "promptsListChanged": True})
        assert await stream.acknowledged() == {"promptsListChanged": True, "resourceSubscriptions": ["crm://a"]}
        assert subscribed(w.upstreams.crm) == ["crm://a"]
        await stream.leave()

    run(w, go)


def test_who_may_never_read_anything_is_promised_only_the_list_of_tools(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["crm://a"]}
        stream = Streamed(w, wanted, agent="outsider")
        assert await stream.acknowledged() == {"toolsListChanged": True}
        await stream.leave()
        assert w.upstreams.crm.sent + w.upstreams.notes.sent == []

    run(w, go)


def test_what_only_a_stream_needed_is_let_go_of_when_its_client_leaves(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        stream = Streamed(w, {"resourceSubscriptions": ["crm://a"]})
        await stream.acknowledged()
        await stream.leave()
        await until(lambda: released(w.upstreams.crm) == ["crm://a"])

    run(w, go)


def test_two_streams_of_a_client_are_told_apart_by_their_ids(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        one, two = Streamed(w, {"toolsListChanged": True}, number=1), Streamed(w, {"resourceSubscriptions": ["crm://a"]}, number=2)
        assert await one.acknowledged() == {"toolsListChanged": True}
        assert await two.acknowledged() == {"resourceSubscriptions": ["crm://a"]}
        updated(w, "crm://a")
        tell(w, w.upstreams.crm, TOOLS)
        assert await two.next() == (UPDATED, {"uri": "crm://a", "_meta": {META_SUBSCRIPTION: 2}})
        assert await one.next() == (TOOLS, {"_meta": {META_SUBSCRIPTION: 1}})

    run(w, go)


def test_a_stream_whose_upstream_is_down_is_told_when_it_is_back(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    crm, _ = stock(w)
    monkeypatch.setattr(listening, "KEEP_S", 0.01)
    monkeypatch.setattr(listening, "FIRST_PAUSE_S", 0.01)

    async def go() -> None:
        crm.failing = NotSent("it is down")
        stream = Streamed(w, {"resourceSubscriptions": ["crm://a"]}, upstream="crm")
        assert await stream.acknowledged() == {"resourceSubscriptions": ["crm://a"]}
        crm.failing = None
        before = len(subscribed(w.upstreams.crm))
        await until(lambda: len(subscribed(w.upstreams.crm)) > before)
        updated(w, "crm://a")
        assert (await stream.next())[0] == UPDATED
        await stream.leave()

    run(w, go)


@pytest.mark.parametrize("wanted", [None, [], "all", {"resourceSubscriptions": "crm://a"}, {"resourceSubscriptions": [1]}])
def test_a_filter_that_is_none_is_an_error(w: GatewayWorld, wanted: Any) -> None:
    async def go() -> None:
        assert (await refusal(w.ask("subscriptions/listen", {"notifications": wanted}, client=MODERN))).code == INVALID_PARAMS

    run(w, go)


def test_a_stream_watches_a_bounded_number_of_resources(w: GatewayWorld) -> None:
    async def go() -> None:
        wanted = {"resourceSubscriptions": [f"crm://{n}" for n in range(subscriptions.WATCHED_LIMIT + 1)]}
        assert (await refusal(w.ask("subscriptions/listen", {"notifications": wanted}, client=MODERN))).code == INVALID_PARAMS

    run(w, go)


def test_a_caller_has_a_bounded_number_of_streams_and_takes_none_from_others(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(w)
    monkeypatch.setattr(subscriptions, "STREAMS_LIMIT", 1)

    async def go() -> None:
        first = Streamed(w, {"toolsListChanged": True})
        await first.acknowledged()
        error = await refusal(Streamed(w, {"toolsListChanged": True}).task)
        assert (error.code, error.http_status) == (UNAVAILABLE, 503)
        assert await Streamed(w, {"toolsListChanged": True}, agent="writer").acknowledged() == {"toolsListChanged": True}

    run(w, go)


# upstreams of the modern era


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_modern_upstream_is_listened_to_for_clients_of_either_era(w: GatewayWorld, era: Era) -> None:
    stock(w)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm)
        client: Session | Streamed
        if era == "legacy":
            client = Session(w)
            await client.ask("resources/subscribe", {"uri": "crm://a"})
        else:
            client = Streamed(w, {"resourceSubscriptions": ["crm://a"]})
            await client.acknowledged()
        assert "crm://a" in (await upstream.next_opened())["resourceSubscriptions"]
        updated(w, "crm://a")
        method, params = await client.next()
        assert (method, params["uri"]) == (UPDATED, "crm://a")

    run(w, go)


def test_a_stream_does_not_wait_for_an_upstream_that_does_not_say_whether_it_tells(
    w: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(w)
    monkeypatch.setattr(listening, "PROMISED_S", 0.01)
    monkeypatch.setattr(listening, "ACKNOWLEDGED_S", 1_000.0)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm, is_silent=True)
        stream = Streamed(w, {"resourceSubscriptions": ["crm://a"]}, upstream="crm")
        assert await stream.acknowledged() == {"resourceSubscriptions": ["crm://a"]}
        assert stream.heard.queue.empty()
        wanted = await upstream.next_opened()
        upstream.acknowledge(wanted)
        assert (await stream.next())[0] == UPDATED, "what changed before it was listened to, nobody has seen"

    run(w, go)


def test_an_acknowledgment_that_nobody_waits_for_any_more_counts_all_the_same(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(w)
    monkeypatch.setattr(listening, "PROMISED_S", 0.01)
    monkeypatch.setattr(listening, "ACKNOWLEDGED_S", 0.01)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm, is_silent=True)
        session = Session(w)
        error = await refusal(session.ask("resources/subscribe", {"uri": "crm://a"}))
        assert error.code == UNAVAILABLE
        assert "has not acknowledged a subscription" in str(error)
        assert "resourceSubscriptions" in await upstream.next_opened()
        assert "resourceSubscriptions" not in await upstream.next_opened(), "what nobody watches is let go of"
        stream = Streamed(w, {"resourceSubscriptions": ["crm://a"]}, upstream="crm")
        await stream.acknowledged()
        upstream.acknowledge(await upstream.next_opened())
        assert (await stream.next())[0] == UPDATED
        await session.ask("resources/subscribe", {"uri": "crm://a"})

    run(w, go)


def test_what_was_begun_for_a_client_that_has_left_is_there_for_the_next(w: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    stock(w)
    monkeypatch.setattr(listening, "ACKNOWLEDGED_S", 1_000.0)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm, is_silent=True)
        left = asyncio.ensure_future(Session(w).ask("resources/subscribe", {"uri": "crm://a"}))
        wanted = await upstream.next_opened()
        left.cancel()
        await asyncio.wait({left})
        session = Session(w)
        asking = asyncio.ensure_future(session.ask("resources/subscribe", {"uri": "crm://a"}))
        await asyncio.sleep(0)
        upstream.acknowledge(wanted)
        assert await asking == {}
        updated(w, "crm://a")
        assert await session.next() == (UPDATED, {"uri": "crm://a"})
        assert upstream.open == [wanted]

    run(w, go)


def test_a_stream_that_was_replaced_ends_also_where_the_client_that_needed_more_has_left(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm)
        one = Streamed(w, {"resourceSubscriptions": ["crm://a"]})
        await one.acknowledged()
        first = await upstream.next_opened()
        upstream.is_silent = True
        more = asyncio.ensure_future(Session(w).ask("resources/subscribe", {"uri": "crm://customer/C-1"}))
        wider = await upstream.next_opened()
        more.cancel()
        await asyncio.wait({more})
        upstream.acknowledge(wider)
        assert await upstream.next_closed() == first

    run(w, go)


def test_a_session_that_looks_at_lists_is_told_of_a_modern_upstreams(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm)
        session = Session(w, upstream="crm")
        await session.ask("resources/list")
        assert await upstream.next_opened() == {"promptsListChanged": True, "resourcesListChanged": True, "toolsListChanged": True}
        tell(w, w.upstreams.crm, RESOURCES)
        assert await session.next() == (RESOURCES, {})

    run(w, go)


def test_a_stream_that_must_carry_more_is_replaced_by_a_wider_one(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm)
        one = Streamed(w, {"resourceSubscriptions": ["crm://a"]})
        await one.acknowledged()
        first = await upstream.next_opened()
        two = Streamed(w, {"resourceSubscriptions": ["crm://customer/C-1"]})
        await two.acknowledged()
        second = await upstream.next_opened()
        assert (first, await upstream.next_closed()) == ({"resourceSubscriptions": ["crm://a"]}, first)
        assert second == {"resourceSubscriptions": ["crm://a", "crm://customer/C-1"]}
        await one.leave()
        assert await upstream.next_opened() == {"resourceSubscriptions": ["crm://customer/C-1"]}
        await two.leave()
        await until(lambda: upstream.open == [])

    run(w, go)


def test_what_a_modern_upstream_does_not_take_is_not_promised(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        ModernUpstream(w, w.upstreams.crm, takes=lambda asked: {"resourceSubscriptions": asked["resourceSubscriptions"][:1]})
        stream = Streamed(w, {"resourceSubscriptions": ["crm://a", "crm://customer/C-1"]})
        assert await stream.acknowledged() == {"resourceSubscriptions": ["crm://a"]}

    run(w, go)


@pytest.mark.parametrize("fault", [None, NotSeen("it died")])
def test_a_stream_that_an_upstream_ends_is_opened_again_and_what_was_missed_is_told(
    w: GatewayWorld, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    stock(w)
    monkeypatch.setattr(listening, "FIRST_PAUSE_S", 0.01)

    async def go() -> None:
        upstream = ModernUpstream(w, w.upstreams.crm)
        stream = Streamed(w, {"resourceSubscriptions": ["crm://a"], "resourcesListChanged": True}, upstream="crm")
        await stream.acknowledged()
        await upstream.next_opened()
        upstream.end(fault)
        await upstream.next_opened()
        assert [(await stream.next())[0], (await stream.next())[0]] == [RESOURCES, UPDATED]
        await stream.leave()

    run(w, go)


# what is in force


def test_everybody_is_told_when_what_is_in_force_has_changed_and_nobody_when_it_has_not(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session, stream = Session(w), Streamed(w, {"toolsListChanged": True})
        await session.begin()
        await stream.acknowledged()
        w.gate.reload()
        await asyncio.to_thread(change, w, LISTS_POLICIES + NO_A)
        assert [await session.next() for _ in range(3)] == [(TOOLS, {}), (PROMPTS, {}), (RESOURCES, {})]
        assert await stream.next() == (TOOLS, {"_meta": {META_SUBSCRIPTION: 7}})
        assert (session.queue.empty(), stream.heard.queue.empty()) == (True, True)

    run(w, go)


def test_everybody_is_told_when_a_tool_has_drifted(w: GatewayWorld) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w, agent="writer")
        await session.begin()
        w.upstreams.crm.tools[0] = {**w.upstreams.crm.tools[0], "description": "Something else."}
        await w.ask("tools/call", {"name": "crm__get", "arguments": {"id": "C-1"}})
        assert await session.next() == (TOOLS, {})

    run(w, go)


def test_a_client_is_told_that_it_can_expect_to_be_told(w: GatewayWorld) -> None:
    stock(w)
    w.upstreams.crm.capabilities = w.upstreams.notes.capabilities = {"resources": {}, "prompts": True}
    described = asyncio.run(w.gateway.describe(w.incoming("initialize")))["capabilities"]
    assert [described[name]["listChanged"] for name in ("tools", "prompts", "resources")] == [True] * 3


# levels of log messages


@pytest.mark.parametrize("level", LEVELS)
def test_a_session_says_which_log_messages_it_wants(w: GatewayWorld, level: str) -> None:
    stock(w)

    async def go() -> None:
        session = Session(w)
        assert await session.ask("logging/setLevel", {"level": level}) == {}
        await session.ask("tools/call", {"name": "crm__get", "arguments": {"id": "C-1"}})
        assert w.upstreams.crm.voyages[-1].log_level == level

    run(w, go)


@pytest.mark.parametrize("level", [None, 1, "", "loud", "DEBUG"])
def test_a_level_that_is_none_is_an_error_for_either_era(w: GatewayWorld, level: Any) -> None:
    stock(w)

    async def go() -> None:
        assert (await refusal(Session(w).ask("logging/setLevel", {"level": level}))).code == INVALID_PARAMS
        params = {"name": "crm__get", "arguments": {"id": "C-1"}, "_meta": {META_LOG_LEVEL: level}}
        assert (await refusal(w.ask("tools/call", params, client=MODERN))).code == INVALID_PARAMS
        assert w.records() == []

    run(w, go)


@pytest.mark.parametrize(
    ("method", "client"),
    [("subscriptions/listen", LEGACY), ("resources/subscribe", MODERN), ("resources/unsubscribe", MODERN), ("logging/setLevel", MODERN)],
)
def test_each_era_has_its_own_methods_only(w: GatewayWorld, method: str, client: ClientFacts) -> None:
    async def go() -> None:
        error = await refusal(w.ask(method, {"uri": "crm://a", "level": "info", "notifications": {}}, client=client))
        assert (error.code, error.http_status) == (METHOD_NOT_FOUND, 404)

    run(w, go)


# what waits for a client


def test_what_waits_already_is_not_kept_twice(w: GatewayWorld) -> None:
    async def go() -> None:
        follower = Follower(w.incoming("subscriptions/listen", client=MODERN), frozenset(), {})
        for n in range(1_000):
            follower.add(Note(RESOURCES, {"n": n}, "crm"))
        follower.add(Note(UPDATED, {"uri": "crm://a"}, "crm"))
        found = [follower.take() for _ in range(3)]
        assert [note.method if note else None for note in found] == [RESOURCES, UPDATED, None]
        assert follower.dropped == 0

    run(w, go)


def test_a_client_that_does_not_read_costs_a_bounded_memory_and_what_it_loses_is_counted(w: GatewayWorld) -> None:
    async def go() -> None:
        follower = Follower(w.incoming("subscriptions/listen", client=MODERN), frozenset(), {})
        for n in range(WAITING_LIMIT + 10):
            follower.add(Note(UPDATED, {"uri": f"crm://{n}"}, "crm"))
        assert follower.dropped == 10
        taken = [note.uri for note in iter(follower.take, None)]
        assert taken == [f"crm://{n}" for n in range(WAITING_LIMIT)]

    run(w, go)


def test_a_resource_of_another_upstream_by_the_same_uri_is_not_the_watched_one(w: GatewayWorld) -> None:
    _, notes = stock(w)
    notes.lists["resources"].append(resource("notes://2"))

    async def go() -> None:
        session = Session(w)
        await session.ask("resources/subscribe", {"uri": "crm://a"})
        await session.ask("resources/subscribe", {"uri": "notes://2"})
        updated(w, "crm://a", w.upstreams.notes)
        updated(w, "notes://2", w.upstreams.notes)
        assert await session.next() == (UPDATED, {"uri": "notes://2"})

    run(w, go)
