"""Clients over HTTP, through the whole server, are told what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from licet.gateway.eras import META_SUBSCRIPTION
from licet.model import JsonObject
from tests.gateway.door_world import DoorWorld, door_world
from tests.gateway.listeners import ACKNOWLEDGED, RESOURCES, TOOLS, UPDATED
from tests.gateway.lists_world import stock


@pytest.fixture
def w(tmp_path: Path) -> Iterator[DoorWorld]:
    with door_world(tmp_path, real=True) as world:
        stock(world)  # type: ignore[arg-type]  # it has the same upstreams
        yield world


def tell(w: DoorWorld, method: str, params: JsonObject | None = None) -> None:
    assert w.upstreams.told is not None
    w.loop.call_soon_threadsafe(w.upstreams.told, w.upstreams.crm, method, params or {})


def until(listening: Any, method: str) -> Any:
    """The first message of this kind."""
    while (message := listening.message()).get("method") != method:
        pass
    return message


def test_a_session_is_told_on_its_stream(w: DoorWorld) -> None:
    client = w.initialize()
    assert client.described["capabilities"]["resources"] == {"subscribe": True, "listChanged": True}
    assert client.request("resources/subscribe", {"uri": "crm://a"}).json["result"] == {}
    listening = client.listen()
    tell(w, RESOURCES)
    assert listening.message() == {"jsonrpc": "2.0", "method": RESOURCES, "params": {}}
    tell(w, UPDATED, {"uri": "crm://a"})
    assert listening.message() == {"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": "crm://a"}}


def test_what_happened_before_a_session_listens_is_kept_for_it(w: DoorWorld) -> None:
    client = w.initialize()
    client.request("resources/subscribe", {"uri": "crm://a"})
    tell(w, UPDATED, {"uri": "crm://a"})
    assert until(client.listen(), UPDATED)["params"] == {"uri": "crm://a"}


def test_a_stream_is_acknowledged_and_told(w: DoorWorld) -> None:
    wanted = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["crm://a", "both://x"]}}
    listening = w.open_modern("subscriptions/listen", wanted)
    first = listening.message()
    named = {META_SUBSCRIPTION: 1}
    taken = {"toolsListChanged": True, "resourceSubscriptions": ["crm://a"]}
    assert (first["method"], first["params"]) == (ACKNOWLEDGED, {"notifications": taken, "_meta": named})
    tell(w, UPDATED, {"uri": "crm://a"})
    assert listening.message()["params"] == {"uri": "crm://a", "_meta": named}
    tell(w, TOOLS)
    assert listening.message() == {"jsonrpc": "2.0", "method": TOOLS, "params": {"_meta": named}}


def test_a_reload_is_told_to_both(w: DoorWorld) -> None:
    session = w.initialize().listen()
    stream = w.open_modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    assert stream.message()["method"] == ACKNOWLEDGED
    policies = w.gate.settings.policies / "all.cedar"
    policies.write_text(
        policies.read_text() + '\n@id("more")\npermit (principal in Role::"billing", action == Action::"crm__ask", resource);\n'
    )
    w.gate.reload(w.gate.settings)
    assert (until(session, TOOLS)["method"], until(stream, TOOLS)["method"]) == (TOOLS, TOOLS)


def test_a_modern_client_lists_and_reads_by_uri(w: DoorWorld) -> None:
    listed = w.modern("resources/list").json["result"]
    assert [item["uri"] for item in listed["resources"]] == [
        "crm://a",
        "crm://secret",
        "crm://contract",
        "both://x",
        "notes://1",
        "both://x",
    ]
    assert w.modern("resources/read", {"uri": "crm://customer/C-1"}).json["result"]["echo"] == {"uri": "crm://customer/C-1"}
    assert "`/mcp/crm` or `/mcp/notes`" in w.modern("resources/read", {"uri": "both://x"}).error["message"]
