"""Opening, renewing and closing a gate: once, whole, or not at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from licet import Gate
from licet.config import loads
from licet.errors import CatalogInvalid, ConfigInvalid, LicetError, NotAStore, PolicyInvalid, StoreError
from licet.gate.results import Ok, Result
from licet.store import opening as opening_module
from licet.store.sqlite import SqliteStore
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, World, world, world_on

READ = ("crm.lookup", {"customer_id": "C-1"})
PARTS = ["catalog", "catalog_in_force", "directory", "schema", "bundle", "scene"]


def read(w: World) -> Result:
    with w.alice():
        return w.gate.call(*READ)


def test_opening_records_what_is_in_force_with_its_content_by_hash(w: World) -> None:
    w.gate.seal()
    found = w.records("operator")
    assert [(record.payload.detail or {})["part"] for record in found] == PARTS
    assert [record.kind for record in found] == ["catalog", "catalog", "directory", "policy", "policy", "policy"]
    for record in found:
        detail = record.payload.detail
        assert detail is not None
        assert w.gate.store.find_blob(detail["sha256"]) is not None
    w.gate.seal()
    assert len(w.records("operator")) == len(PARTS), "sealing again records nothing"


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        assert not (tmp_path / "licet.db").exists()
        assert isinstance(read(w), Ok)
        assert (tmp_path / "licet.db").exists()


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        (POLICIES + '@id("x") permit (principal in Role::"suport", action, resource);', "suport"),
        (POLICIES + '@id("tenant-wall") permit (principal, action, resource);', "tenant-wall"),
        (POLICIES + "permit (principal, action, resource);", "@id"),
        (POLICIES + '@id("x") @required_approval("1") forbid (principal, action, resource);', "required_approval"),
        (POLICIES + '@id("x") permit (principal, action == Action::"no.such", resource);', "no.such"),
        ("permit (", ""),
    ],
)
def test_policies_that_do_not_load_stop_every_call_and_say_why(policies: str, words: str) -> None:
    with world(policies=policies) as w:
        for attempt in (
            w.gate.seal,
            lambda: read(w),
            lambda: w.gate.check(*READ),
            lambda: asyncio.run(w.gate.acall(*READ)),
            lambda: w.gate.approvals,
        ):
            with pytest.raises(PolicyInvalid) as raised:
                attempt()
            assert words in str(raised.value)
            assert raised.value.problems
        assert w.ran == []


def test_a_policy_that_is_mended_opens_the_same_gate() -> None:
    with world(policies="permit (") as w:
        with pytest.raises(PolicyInvalid):
            read(w)
        (w.gate.settings.policies / "policies.cedar").write_text(POLICIES)
        assert isinstance(read(w), Ok)
        assert_whole(w.gate)


def test_a_gate_that_could_not_open_leaves_no_lease(tmp_path: Path) -> None:
    with world_on(tmp_path, policies="permit (") as w, pytest.raises(PolicyInvalid):
        w.gate.seal()
    assert list((tmp_path / "licet.db-boots").iterdir()) == []


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "licet.db").write_bytes(b"not a database, but somebody's file" * 200)
    before = (tmp_path / "licet.db").read_bytes()
    with world_on(tmp_path) as w:
        with pytest.raises((NotAStore, StoreError)):
            read(w)
        assert w.ran == []
    assert (tmp_path / "licet.db").read_bytes() == before


def test_a_folder_that_cannot_be_written_refuses_every_call(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "licet.db").mkdir()  # for root every folder can be written; a folder in the file's place cannot be opened
    else:
        tmp_path.chmod(0o500)
    config = CONFIG.replace('environment = "production"', f'environment = "production"\nstore = "sqlite:{tmp_path}/licet.db"')
    with world(config) as memory:
        settings = loads(config, file=tmp_path / "licet.toml")
        gate = Gate(settings)
        gate._registry = memory.gate.registry
        with pytest.raises(LicetError), gate.acting(agent="support-bot", user="alice"):
            gate.call(*READ)
        assert memory.ran == []
    tmp_path.chmod(0o700)


def test_concurrent_first_calls_open_one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[SqliteStore] = []

    class Counting(SqliteStore):
        @classmethod
        def open(cls, *args: Any, **kwargs: Any) -> SqliteStore:
            opened.append(SqliteStore.open(*args, **kwargs))
            return opened[-1]

    monkeypatch.setattr(opening_module, "SqliteStore", Counting)
    with world() as w:
        barrier = threading.Barrier(16)

        def go(_: int) -> Result:
            barrier.wait(20)
            return read(w)

        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(go, range(16)))
        assert {type(result) for result in results} == {Ok}
        assert len(opened) == 1
        assert len(w.ran) == 16
        assert_whole(w.gate)


def add_tool(w: World, name: str) -> None:
    @w.gate.tool(name, access="read")
    def added() -> str:
        w.ran.append((name, {}))
        return name


def test_a_tool_that_is_registered_after_the_first_call_is_in_force_at_the_next(w: World) -> None:
    assert isinstance(read(w), Ok)
    add_tool(w, "new.one")
    with w.alice():
        result = w.gate.call("new.one", {})
    assert isinstance(result, Ok)
    assert result.value == "new.one"
    assert len(w.records("operator")) == 2 * len(PARTS), "what is in force was recorded again"


def test_a_tool_that_does_not_load_leaves_the_old_scene_in_force(w: World, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(read(w), Ok)
    (w.gate.settings.policies / "broken.cedar").write_text("permit (")
    add_tool(w, "new.one")
    with w.alice():
        w.denied(w.gate.call("new.one", {}), "unknown_tool", "`new.one`")
    assert isinstance(read(w), Ok)
    assert "not in force" in caplog.text
    assert w.ran == [READ, READ]
    (w.gate.settings.policies / "broken.cedar").unlink()
    add_tool(w, "new.two")
    with w.alice():
        assert isinstance(w.gate.call("new.one", {}), Ok)


def test_threads_that_register_and_call_at_once_find_their_own_tool(w: World) -> None:
    assert isinstance(read(w), Ok)
    barrier = threading.Barrier(6)

    def go(number: int) -> Result:
        barrier.wait(20)
        add_tool(w, f"new.t{number}")
        with w.alice():
            return w.gate.call(f"new.t{number}", {})

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(go, range(6)))
    assert [type(result) for result in results] == [Ok] * 6, results


def test_a_call_keeps_the_scene_that_it_began_under(w: World) -> None:
    @w.gate.tool("slow.scene", access="read")
    def slow() -> str:
        w.started.set()
        w.release.wait(30)
        return "done"

    w.gate.seal()
    before = w.gate.scene.digest

    def go() -> Result:
        with w.alice():
            return w.gate.call("slow.scene", {})

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(go)
        assert w.started.wait(10)
        add_tool(w, "new.one")
        assert isinstance(read(w), Ok)
        w.release.set()
        result = running.result(20)
    assert w.gate.scene.digest != before
    assert isinstance(result, Ok)
    decisions = {record.envelope.call: record.envelope.decision for record in w.records()}
    decision = decisions[result.call]
    assert decision is not None
    assert decision.bundle == before


def test_a_second_resolver_or_a_bad_tool_is_refused_at_once(w: World) -> None:
    with pytest.raises(CatalogInvalid, match="already has a resolver"):
        w.gate.resource("Customer")(w.gate.registry.resolvers["Customer"].resource.function)
    for name in ("read", "write", "destructive", "touches-money"):
        with pytest.raises(CatalogInvalid):
            w.gate.tool(name, access="read")(lambda: None)


def test_a_meter_of_no_tool_stops_the_gate() -> None:
    with world(CONFIG.replace('tool = "billing.refund"', 'tool = "billing.refnd"')) as w, pytest.raises(ConfigInvalid, match="refnd"):
        w.gate.seal()


SCRIPT = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tests.world import world_on
    with world_on(Path(sys.argv[1])) as w:
        print(type(w.adjust()).__name__, flush=True)
    """
)


def test_another_process_uses_the_same_store_at_the_same_time(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        assert isinstance(w.adjust(), Ok)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert done.stdout == "Ok\n"
        assert isinstance(w.adjust(), Ok)
        assert w.kinds() == ["intent", "outcome"] * 3
        boots = [record.envelope.boot for record in w.records()]
        assert boots[0] == boots[1] == boots[4] != boots[2]
        assert_whole(w.gate)
