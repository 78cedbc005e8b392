"""Policies, people and tools that change while calls go on: swapped whole or not at all, and who is removed is gone whatever else is wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from licet import Gate
from licet.config import Settings, loads
from licet.errors import CatalogInvalid, ConfigInvalid, DirectoryInvalid, PolicyInvalid, StoreUnavailable
from licet.gate.reloading import CHANGEABLE, refuse_fixed
from licet.gate.results import Denied, Held, Ok, Result
from licet.model import RequestState
from licet.policy.bundle import Bundle
from licet.testing import Clock, vote
from tests.gate.files import Files, world_of_files
from tests.gate.proof import assert_whole
from tests.world import CONFIG, POLICIES, Customer, World, populate

TIGHTER = POLICIES.replace("<= 1000000", "<= 1000")
BROKEN = POLICIES + '@id("typo")\nforbid (principal, action, resource) when { resource.nothing == 1 };'


@pytest.fixture
def w(tmp_path: Path) -> Iterator[Files]:
    with world_of_files(tmp_path) as made:
        yield made
        assert_whole(made.gate)


def amounts(w: World) -> list[int]:
    return [arguments["amount_cents"] for _, arguments in w.ran]


def blob(w: World, part: str, digest: str) -> bytes | None:
    return dict(w.gate.store.blobs(part)).get(digest)


# what loads


def test_a_tightened_rule_counts_for_every_call_after_the_reload(w: Files) -> None:
    assert isinstance(w.adjust(2_500), Ok)
    before = w.gate.scene.digest
    w.policies(TIGHTER)
    assert isinstance(w.adjust(2_501), Ok), "nothing is read by itself"
    reloaded = w.gate.reload()
    assert reloaded.changed
    assert reloaded.digest == w.gate.scene.digest != before
    assert reloaded.bundle == w.gate.scene.engine.bundle.digest == Bundle.from_texts({"policies/all.cedar": TIGHTER}).digest
    w.denied(w.adjust(2_502), "no_permit")
    assert amounts(w) == [2_500, 2_501]


def test_what_came_into_force_is_recorded_with_its_content(w: Files) -> None:
    w.gate.seal()
    w.policies(TIGHTER)
    digest = w.gate.reload().digest
    parts = [record.payload.detail for record in w.records("operator") if record.kind in {"policy", "catalog", "directory"}]
    assert len(parts) == 12, "six at the start, six at the reload"
    assert parts[-1] == {"part": "scene", "sha256": digest}
    assert blob(w, "scene", digest) == w.gate.scene.manifest


def test_a_reload_that_changes_nothing_says_so_and_records_nothing(w: Files) -> None:
    w.gate.seal()
    count = len(w.records("operator"))
    reloaded = w.gate.reload()
    assert (reloaded.changed, reloaded.votes_taken_back) == (False, 0)
    assert len(w.records("operator")) == count
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed, w.gate.reloads.problem) == (1, 0, None)


def test_new_people_and_declared_tools_come_in_with_it(w: Files) -> None:
    w.gate.seal()
    w.config(CONFIG + '[users.zoe]\ntenants = ["acme"]\nroles = ["support", "billing"]\n[tools."door.open"]\naccess = "write"\n')
    w.gate.reload()
    with w.gate.acting(agent="support-bot", user="zoe"):
        assert isinstance(w.gate.call("billing.adjust", {"customer_id": "C-1", "amount_cents": 1}), Ok)
    assert "door.open" in w.gate.scene.catalog.tools
    assert "door.open" in w.gate.registry.catalog.tools


def test_a_tool_registered_after_a_reload_is_in_force_with_what_was_reloaded(w: Files) -> None:
    w.gate.seal()
    w.policies(TIGHTER)
    w.gate.reload()

    @w.gate.tool("crm.later", access="read")
    def later() -> str:
        return "here"

    with w.alice():
        assert isinstance(w.gate.call("crm.later", {}), Ok)
    w.denied(w.adjust(2_500), "no_permit")


def test_limits_meters_and_expiry_come_in_with_it(w: Files) -> None:
    w.gate.seal()
    more = '[limits]\narguments_bytes = 1024\n[meters.adjusted]\ntool = "billing.adjust"\nargument = "amount_cents"\n'
    w.config(CONFIG.replace('expires = "15m"', 'expires = "1h"\nopen_per_caller = 1') + more)
    w.policies(
        POLICIES + '@id("adjusts-are-metered")\nforbid (principal, action == Action::"billing.adjust", resource)'
        "\nwhen { context.meters.adjusted + context.input.amount_cents > 5000 };"
    )
    w.gate.reload()
    assert isinstance(w.adjust(3_000), Ok)
    w.denied(w.adjust(3_000), "forbidden")
    w.denied(w.adjust(1, "C-" + "1" * 2_000), "too_large")
    with w.alice():
        held = w.gate.call("account.suspend", {"customer_id": "C-1"})
        assert isinstance(held, Held)
        assert held.request is not None
        request = w.gate.approvals.show(held.request).request
        assert (request.expires_at - request.opened_at).total_seconds() == 3_600
        w.customers["C-3"] = dict(w.customers["C-1"])
        w.denied(w.gate.call("account.suspend", {"customer_id": "C-3"}), "too_many_open")


def test_a_gate_made_from_settings_keeps_them_and_reads_the_policies(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    file = tmp_path / "policies" / "all.cedar"
    file.write_text(POLICIES)
    settings = loads(CONFIG, file=tmp_path / "licet.toml")
    with Gate(settings, clock=Clock()) as gate:
        made = populate(World(gate, Clock()))
        assert isinstance(made.adjust(2_500), Ok)
        file.write_text(TIGHTER)
        gate.reload()
        assert gate.settings == settings
        made.denied(made.adjust(2_500), "no_permit")
        fewer = replace(settings, users={name: user for name, user in settings.users.items() if name != "carl"})
        gate.reload(fewer)
        assert gate.settings == fewer
        with gate.acting(agent="support-bot", user="carl"):
            made.denied(gate.call("crm.lookup", {"customer_id": "C-1"}), "unknown_user")


# what does not


def damage(w: Files, change: str) -> None:
    if change == "broken policy":
        w.policies(BROKEN)
    elif change == "no policy":
        (w.folder / "policies" / "all.cedar").unlink()
    else:
        w.config(
            {
                "broken file": CONFIG + "[users.",
                "unknown key": CONFIG + "[limits]\nargument_bytes = 1",
                "fixed setting": 'store = "sqlite:other.db"' + CONFIG + "[limits]\nstore_timeout_s = 1",
                "unknown member": CONFIG.replace('["lena", "alice"', '["lena", "nobody", "alice"'),
                "taken tool": CONFIG + '[tools."crm.lookup"]\naccess = "read"',
                "lost meter": CONFIG.replace('tool = "billing.refund"', 'tool = "crm.gone"'),
            }[change]
        )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ("broken policy", PolicyInvalid, "nothing"),
        ("no policy", PolicyInvalid, "has no `*.cedar` file"),
        ("broken file", ConfigInvalid, "is not TOML"),
        ("unknown key", ConfigInvalid, "`limits.argument_bytes`"),
        ("fixed setting", ConfigInvalid, "`store`, `limits.store_timeout_s` in"),
        ("unknown member", DirectoryInvalid, "names the unknown user `nobody`"),
        ("taken tool", CatalogInvalid, "`crm.lookup`"),
        ("lost meter", ConfigInvalid, "has no tool `crm.gone`"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_what_does_not_load_keeps_what_stands_and_says_why(
    w: Files, change: str, error: type[Exception], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(w.adjust(2_500), Ok)
    before = w.gate.scene
    damage(w, change)
    with caplog.at_level(logging.ERROR, "licet"), pytest.raises(error) as caught:
        w.gate.reload()
    assert words in str(caught.value)
    assert words in caplog.text
    assert w.gate.reloads.problem == str(caught.value)
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (0, 1)
    assert w.gate.scene is before
    assert isinstance(w.adjust(2_501), Ok)
    w.config(CONFIG)
    w.policies(POLICIES)
    assert not w.gate.reload().changed
    assert w.gate.reloads.problem is None


def test_a_new_setting_is_fixed_until_somebody_has_made_it_changeable() -> None:
    assert CHANGEABLE.issubset(Settings.__struct_fields__)
    old = Settings(environment="production")
    for name in ("environment", "store", "keys", "policies", "witness", "server", "notify", "search"):
        assert name not in CHANGEABLE
    with pytest.raises(ConfigInvalid, match="`environment` in the settings cannot change while the process runs: restart it"):
        refuse_fixed(old, replace(old, environment="staging"))


def test_a_store_that_takes_nothing_keeps_what_stands(w: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    w.gate.seal()
    before = w.gate.scene
    w.policies(TIGHTER)

    def down(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(w.gate._opened().writer, "submit", down)
        with pytest.raises(StoreUnavailable):
            w.gate.reload()
    assert w.gate.scene is before
    assert w.gate.reload().changed


@pytest.mark.parametrize(
    "text", [None, "permit (", '@id("x")\npermit (principal, action == Action::"calls.make", resource);'], ids=["gone", "broken", "unknown"]
)
def test_permissions_of_our_own_are_swapped_with_the_rest_or_not_at_all(w: Files, text: str | None) -> None:
    own = w.folder / "policies" / "licet.cedar"
    own.write_text('@id("first")\npermit (principal, action == Action::"calls.propose", resource);')
    w.gate.seal()
    before = w.gate.scene
    w.policies(TIGHTER)
    own.write_text(text) if text is not None else own.unlink()
    with pytest.raises(PolicyInvalid, match=r"licet\.cedar"):
        w.gate.reload()
    assert w.gate.scene is before
    assert isinstance(w.adjust(2_500), Ok)
    own.write_text('@id("second")\npermit (principal, action == Action::"calls.read", resource);')
    assert w.gate.reload().changed
    assert w.gate.scene.own is not None
    assert [policy.id for policy in w.gate.scene.own.bundle.policies] == ["second"]
    w.denied(w.adjust(2_500), "no_permit")


def test_a_change_of_our_own_permissions_alone_is_recorded(w: Files) -> None:
    own = w.folder / "policies" / "licet.cedar"
    own.write_text('@id("first")\npermit (principal, action == Action::"calls.propose", resource);')
    w.gate.seal()
    digest = w.gate.scene.digest
    own.write_text('@id("second")\npermit (principal, action == Action::"calls.propose", resource);')
    reloaded = w.gate.reload()
    assert (reloaded.changed, reloaded.digest) == (True, digest)
    parts = [(record.payload.detail or {}).get("part") for record in w.records("operator")]
    assert parts.count("own") == 2


# who was removed


GONE = '[users.carl]\ntenants = ["acme"]\nroles = ["support"]\n'
WRONG = ("broken policy", "unknown key", "fixed setting", "member without user", "nothing")


def break_files(w: Files, how: str, config: str) -> None:
    if how == "broken policy":
        w.policies(BROKEN)
    w.config(
        {"unknown key": config + "[limits]\nargument_bytes = 1", "fixed setting": 'store = "sqlite:other.db"\n' + config}.get(how, config)
        if how != "member without user"
        else config.replace('["dana", "omar"', '["dana", "ghost", "omar"')
    )


def reload_anyway(w: Files, how: str) -> None:
    if how == "nothing":
        w.gate.reload()
    else:
        with pytest.raises((PolicyInvalid, ConfigInvalid, DirectoryInvalid)):
            w.gate.reload()


def lookup(w: Files, **acting: str) -> Result:
    with w.gate.acting(**acting):  # type: ignore[arg-type]
        return w.gate.call("crm.lookup", {"customer_id": "C-1"})


@pytest.mark.parametrize("how", WRONG)
def test_a_removed_user_is_gone_at_once_whatever_else_is_wrong(w: Files, how: str) -> None:
    assert isinstance(lookup(w, agent="support-bot", user="carl"), Ok)
    break_files(w, how, CONFIG.replace(GONE, ""))
    reload_anyway(w, how)
    w.denied(lookup(w, agent="support-bot", user="carl"), "unknown_user" if how == "nothing" else "not_in_tenant", "carl")
    assert isinstance(lookup(w, agent="support-bot", user="alice"), Ok)


@pytest.mark.parametrize("how", WRONG)
def test_a_removed_agent_is_gone_at_once_whatever_else_is_wrong(w: Files, how: str) -> None:
    night = '[agents.night-bot]\ntenants = ["acme"]\nroles = ["support"]\nacts_for = "self"\n'
    assert isinstance(lookup(w, agent="night-bot", tenant="acme"), Ok)
    break_files(w, how, CONFIG.replace(night, ""))
    reload_anyway(w, how)
    w.denied(lookup(w, agent="night-bot", tenant="acme"), "unknown_agent" if how == "nothing" else "not_in_tenant", "night-bot")


@pytest.mark.parametrize("how", WRONG)
def test_the_vote_of_a_removed_voter_counts_no_more_whatever_else_is_wrong(w: Files, how: str) -> None:
    held = w.held()
    vote(w.gate, held.request, "lena")
    assert held.request is not None
    assert w.gate.poll(held.request) is RequestState.APPROVED
    break_files(w, how, CONFIG.replace('["lena", "alice", "gina"]', '["alice", "gina"]'))
    reload_anyway(w, how)
    assert w.gate.poll(held.request) is RequestState.OPEN
    again = w.adjust(50_000)
    assert isinstance(again, Held), again
    assert w.ran == []
    assert w.kinds()[-2:] == ["vote", "hold"], "it is recorded that the vote was taken back"


def test_what_was_taken_away_beside_a_broken_policy_comes_back_only_with_a_reload_that_succeeds(w: Files) -> None:
    w.gate.seal()
    break_files(w, "broken policy", CONFIG.replace(GONE, ""))
    reload_anyway(w, "broken policy")
    w.config(CONFIG)
    reload_anyway(w, "broken policy")
    w.denied(lookup(w, agent="support-bot", user="carl"), "not_in_tenant")
    w.policies(POLICIES)
    w.gate.reload()
    assert isinstance(lookup(w, agent="support-bot", user="carl"), Ok)


def test_a_tool_registered_after_a_removal_brings_nobody_back(w: Files) -> None:
    w.gate.seal()
    break_files(w, "unknown key", CONFIG.replace(GONE, ""))
    reload_anyway(w, "unknown key")

    @w.gate.tool("crm.later", access="read")
    def later() -> str:
        return "here"

    with w.alice():
        assert isinstance(w.gate.call("crm.later", {}), Ok)
    w.denied(lookup(w, agent="support-bot", user="carl"), "not_in_tenant")


def test_a_removal_counts_while_the_store_is_down_and_is_recorded_when_it_is_back(w: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    w.gate.seal()
    w.without(GONE)

    def down(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(w.gate._opened().writer, "submit", down)
        with pytest.raises(StoreUnavailable):
            w.gate.reload()
        with w.gate.acting(agent="support-bot", user="carl"):
            assert w.gate.check("crm.lookup", {"customer_id": "C-1"}).code == "not_in_tenant"
    digest = w.gate.scene.digest
    assert blob(w, "scene", digest) is None
    w.gate.catch_up()
    assert blob(w, "scene", digest) == w.gate.scene.manifest


def test_a_file_cut_short_removes_nobody(w: Files) -> None:
    w.gate.seal()
    w.config("")
    with pytest.raises(ConfigInvalid):
        w.gate.reload()
    assert isinstance(lookup(w, agent="support-bot", user="carl"), Ok)


# while calls go on


def test_a_call_decided_before_a_reload_and_not_yet_begun_is_decided_again(w: Files) -> None:
    asked, go = threading.Event(), threading.Event()

    @w.gate.resource("Slow")
    def slow(identifier: str) -> Customer | None:
        asked.set()
        go.wait(20)
        return Customer("acme", False)

    @w.gate.tool("slow.write", access="write", targets="Slow::{id}")
    def write(id: str) -> str:  # noqa: A002
        w.ran.append(("slow.write", {}))
        return "written"

    w.policies(POLICIES + '@id("slow")\npermit (principal in Role::"support", action == Action::"slow.write", resource);')
    w.gate.seal()
    results: list[Result] = []

    def call() -> None:
        with w.alice():
            results.append(w.gate.call("slow.write", {"id": "S-1"}))

    caller = threading.Thread(target=call)
    caller.start()
    assert asked.wait(20)
    w.policies(POLICIES)
    w.gate.reload()
    go.set()
    caller.join(20)
    w.denied(results[0], "no_permit")
    assert w.ran == []
    assert w.kinds() == ["denial"]


def test_a_call_that_runs_ends_under_what_it_was_decided_by(w: Files) -> None:
    w.gate.seal()
    before = w.gate.scene.digest
    inside, go = threading.Event(), threading.Event()

    @w.gate.tool("slow.now2", access="read")
    def slow() -> str:
        inside.set()
        go.wait(20)
        return "done"

    w.gate.seal()
    before = w.gate.scene.digest
    results: list[Result] = []

    def call() -> None:
        with w.alice():
            results.append(w.gate.call("slow.now2", {}))

    caller = threading.Thread(target=call)
    caller.start()
    assert inside.wait(20)
    w.policies(
        POLICIES.replace(
            'permit (principal in Role::"support", action in Action::"read"',
            'permit (principal in Role::"billing", action in Action::"read"',
        )
    )
    assert w.gate.reload().changed
    go.set()
    caller.join(20)
    assert isinstance(results[0], Ok)
    (record,) = w.records()
    assert record.envelope.decision is not None
    assert record.envelope.decision.bundle == before


def test_under_load_each_decision_agrees_with_the_policies_it_names(w: Files) -> None:
    """100 reloads between two bundles while threads call: an amount that one permits and the other does not."""
    w.gate.seal()
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            result = w.adjust(2_500)
            assert isinstance(result, Ok | Denied)
            if isinstance(result, Denied):
                assert result.decision.code in {"no_permit", "contention"}, result.decision

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call) for _ in range(4)]
        for turn in range(100):
            w.policies((TIGHTER, POLICIES)[turn % 2])
            w.gate.reload()
        stop.set()
        for caller in callers:
            caller.result()
    permits: dict[str, bool] = {}
    decided = [record for record in w.records() if record.kind in {"intent", "denial"}]
    for record in decided:
        decision = record.envelope.decision
        assert decision is not None
        assert decision.bundle is not None
        if decision.bundle not in permits:
            manifest = msgspec.json.decode(blob(w, "scene", decision.bundle) or b"")
            texts = msgspec.json.decode(blob(w, "bundle", manifest["bundle"]) or b"")
            permits[decision.bundle] = "<= 1000000" in texts["policies/all.cedar"]
        if decision.code != "contention":
            assert (record.kind == "intent") is permits[decision.bundle], record
    assert set(permits.values()) == {True, False}
    assert (w.gate.reloads.succeeded, w.gate.reloads.failed) == (100, 0)
