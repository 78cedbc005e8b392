"""The way to PostgreSQL breaks, at every moment: what was answered is so, and what goes on goes on by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from licet.errors import GateClosed, LeaseLost, StorePoisoned, StoreUnavailable
from licet.gate.key_view import KeyView
from licet.ledger.record import Payload
from licet.ledger.seal import Filing
from licet.ledger.verify import verify
from licet.ledger.writer import Writer
from licet.store import postgres, postgres_leases, postgres_open, postgres_transact
from licet.store.contract import CloseCall, Committed, OpenCall, OpenIntent, Store
from licet.store.postgres import PostgresStore
from licet.store.postgres_open import Address
from licet.store.postgres_reading import Connection
from tests.store.conftest import PostgresDatabase
from tests.store.proxy import Cut, Proxy, proxy_to
from tests.store.raw import execute, rows
from tests.store.samples import KEYS, call_id, commit, intent, now, opening, outcome, record, request, written


@pytest.fixture
def proxy(postgres: PostgresDatabase) -> Iterator[Proxy]:
    with proxy_to(postgres.server.port) as made:
        yield made


@pytest.fixture
def store(postgres: PostgresDatabase, proxy: Proxy) -> Iterator[PostgresStore]:
    """Through the proxy."""
    made = PostgresStore.open(Address(postgres.url.replace(f":{postgres.server.port}/", f":{proxy.port}/")), now=now, keys=KEYS)
    yield made
    made.close()


@pytest.fixture
def beside(postgres: PostgresDatabase) -> PostgresStore:
    """Straight to the server."""
    return postgres.open()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def assert_whole(store: Store, records: int) -> None:
    assert [stored.index for stored in store.records("acme")] == list(range(records))
    with store.source() as source:
        assert verify(source).problems == ()


# a connection that ends


def test_reads_and_commits_go_on_when_every_connection_was_cut(store: PostgresStore, proxy: Proxy, beside: PostgresStore) -> None:
    for number in range(5):
        written(store, Filing((record("gap"),)))
        assert store.get_record("acme", number).index == number
        store.version()
        proxy.cut_all()
    written(store, Filing((record("gap"),)))
    assert_whole(beside, 6)


def test_a_server_that_refuses_is_unavailable_and_when_it_is_back_calls_go_on(
    store: PostgresStore, proxy: Proxy, beside: PostgresStore
) -> None:
    written(store, Filing((record("gap"),)))
    proxy.refuse()
    proxy.cut_all()
    for ask in (store.logs, lambda: commit(store, [Filing((record("gap"),))]), store.version):
        with pytest.raises(StoreUnavailable, match="cannot be reached") as refused:
            ask()
        assert not refused.value.ambiguous
    proxy.refuse(refuses=False)
    written(store, Filing((record("gap"),)))
    assert store.logs() == beside.logs()
    assert_whole(beside, 2)


def test_a_server_that_says_nothing_is_unavailable_in_the_end(store: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_open, "CONNECT_S", 0.2)
    store.logs()
    proxy.fall_silent()
    with pytest.raises(StoreUnavailable, match=r"has not answered within 0\.3 s"):
        store._run(store._readers.use(lambda con: con.fetch("SELECT 1")), 0.3)  # type: ignore[union-attr]
    proxy.cut_all()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.logs()
    proxy.fall_silent(silent=False)
    assert store.logs() == ()


def test_the_error_of_an_unreachable_server_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    address = Address("postgresql://me@127.0.0.1:1/licet?sslmode=disable", lambda: "s3cret")
    with pytest.raises(StoreUnavailable, match=r"`postgresql://me@127\.0\.0\.1:1/licet` cannot be reached") as refused:
        PostgresStore.open(address, now=now, keys=KEYS)
    assert "s3cret" not in str(refused.value)


# a commit whose answer is lost


@pytest.mark.parametrize(("how", "landed"), [("before", False), ("after", True), ("answered", True)])
def test_a_commit_whose_answer_was_lost_is_answered_as_it_ended(
    store: PostgresStore, proxy: Proxy, beside: PostgresStore, how: Cut, *, landed: bool
) -> None:
    written(store, Filing((record("gap"),)))
    proxy.cut_next_commit(how)
    batch = store.seal(Filing((record("gap"),)))
    if landed:
        (answer,) = store.commit([batch])
        assert isinstance(answer, Committed)
        assert beside.get_record("acme", answer.receipts[0].index).envelope == batch.records[0].envelope
    else:
        with pytest.raises(StoreUnavailable, match="lost the connection before the transaction was written") as refused:
            store.commit([batch])
        assert not refused.value.ambiguous
    written(store, Filing((record("gap"),)))
    assert_whole(beside, 3 if landed else 2)


@pytest.mark.parametrize("how", ["before", "after", "answered"])
def test_the_writer_doubles_nothing_and_loses_nothing_when_answers_are_lost(
    store: PostgresStore, proxy: Proxy, beside: PostgresStore, how: Cut
) -> None:
    writer = Writer(store)
    receipts = []
    for _ in range(8):
        proxy.cut_next_commit(how)
        tickets = [writer.submit(Filing((record("gap"),))) for _ in range(5)]
        receipts += [ticket.wait(60)[0].index for ticket in tickets]
    writer.close()
    assert sorted(receipts) == list(range(40))
    assert_whole(beside, 40)


@pytest.mark.parametrize("how", ["before", "after", "answered"])
def test_what_cannot_be_found_out_is_ambiguous_and_what_follows_is_not(
    store: PostgresStore, proxy: Proxy, beside: PostgresStore, how: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_transact, "RECONCILE_S", 0.2)
    call = call_id()
    proxy.cut_next_commit(how, then_refuse=True)
    with pytest.raises(StoreUnavailable, match="was lost while it was written to") as refused:
        commit(store, [Filing((intent(call, store),), (OpenCall(call, "acme"),))])
    assert refused.value.ambiguous
    with pytest.raises(StoreUnavailable) as refused:
        commit(store, [Filing((record("gap"),))])
    assert not refused.value.ambiguous, "it was not even begun"
    proxy.refuse(refuses=False)
    until(lambda: not rows(beside, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'licet-write' AND state <> 'idle'"))
    landed = [open_.call for open_ in beside.open_calls()]
    assert landed == ([] if how == "before" else [call])
    written(store, *[Filing((outcome(call),), (CloseCall(call),)) for call in landed])
    assert beside.open_calls() == ()
    assert_whole(beside, 2 * len(landed))


def test_a_lost_answer_to_taking_orphans_loses_none(store: PostgresStore, proxy: Proxy, postgres: PostgresDatabase) -> None:
    dying, call = postgres.open(), call_id()
    written(dying, Filing((intent(call, dying),), (OpenCall(call, "acme"),)))
    dying.close()
    proxy.cut_next_commit("answered")
    assert store.orphaned_calls() == (OpenIntent(call, "acme", dying.boot),)


# waits


def test_a_log_that_somebody_holds_is_waited_for_and_then_unavailable(
    store: PostgresStore, beside: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_open, "LOCK_S", 0.2)
    written(beside, Filing((record("gap"),)))
    with _holding(beside, "SELECT 1 FROM logs WHERE name = 'acme' FOR UPDATE"):
        with pytest.raises(StoreUnavailable, match="is locked by others") as refused:
            commit(store, [Filing((record("gap"),))])
        assert not refused.value.ambiguous
        written(store, Filing((record("gap", "globex"),)))
    written(store, Filing((record("gap"),)))
    assert_whole(beside, 2)


def test_a_statement_that_takes_too_long_is_unavailable_and_not_ambiguous(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_open, "STATEMENT_S", 0.2)
    with pytest.raises(StoreUnavailable, match="has not answered within") as refused:
        store._rows("SELECT pg_sleep(5)")
    assert not refused.value.ambiguous
    assert store.logs() == ()


def test_a_transaction_that_stands_still_is_ended_by_the_server_and_holds_nobody_up(postgres: PostgresDatabase) -> None:
    one, two = postgres.open(), postgres.open()
    written(one, Filing((record("gap"),)))
    began = threading.Event()

    async def stand(con: Connection, _: int) -> None:
        await con.execute("SELECT 1 FROM logs WHERE name = 'acme' FOR UPDATE")
        began.set()
        await asyncio.sleep(2)
        await con.execute("SELECT 1")

    problems: list[Exception] = []

    def stop() -> None:
        try:
            one._transact("BEGIN", stand)
        except StoreUnavailable as error:
            problems.append(error)

    thread = threading.Thread(target=stop)
    thread.start()
    assert began.wait(10)
    written(two, Filing((record("gap"),)))
    thread.join()
    assert len(problems) == 1
    assert_whole(two, 2)
    written(one, Filing((record("gap"),)))


def test_a_deadlock_is_tried_again_and_nothing_is_written_twice(store: PostgresStore, beside: PostgresStore) -> None:
    execute(
        beside,
        "CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('tries') < 3 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$",
    )
    execute(beside, "CREATE SEQUENCE tries")
    execute(beside, "CREATE TRIGGER fail_once BEFORE INSERT ON records FOR EACH STATEMENT EXECUTE FUNCTION fail_once()")
    assert [answer.receipts[0].index for answer in written(store, Filing((record("gap"),)), Filing((record("gap"),)))] == [0, 1]
    execute(beside, "DROP TRIGGER fail_once ON records")
    execute(beside, "DROP FUNCTION fail_once")
    execute(beside, "DROP SEQUENCE tries")
    assert_whole(beside, 2)


def test_an_error_that_nobody_knows_poisons(store: PostgresStore, beside: PostgresStore) -> None:
    written(store, Filing((record("gap"),)))
    execute(beside, "UPDATE logs SET size = 0, compact_range = ''")  # the next record would take the first one's place
    with pytest.raises(StorePoisoned, match="whose extent is unknown"):
        commit(store, [Filing((record("gap"),))])
    with pytest.raises(StorePoisoned):
        commit(store, [Filing((record("gap", "globex"),))])
    assert [stored.index for stored in beside.records("acme")] == [0]


# leases


def test_a_lease_that_was_cut_is_taken_again_and_its_boot_lives(store: PostgresStore, proxy: Proxy, beside: PostgresStore) -> None:
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)))
    proxy.cut_all()
    until(lambda: all(boot.lives for boot in beside.boots()))
    assert {boot.id for boot in beside.boots()} == {store.boot, beside.boot}
    assert beside.orphaned_calls() == ()
    written(store, Filing((outcome(call),), (CloseCall(call),)))


def test_a_boot_that_only_lost_its_connection_is_not_declared_dead(
    store: PostgresStore, proxy: Proxy, beside: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_leases, "GRACE_S", 2.0)
    written(store, Filing((record("gap"),)))
    proxy.cut_all()  # whoever looks now finds no lease
    assert beside.orphaned_calls() == ()
    assert {boot.id for boot in beside.boots() if boot.lives} == {store.boot, beside.boot}
    written(store, Filing((record("gap"),)))


def test_a_boot_that_could_not_take_its_lease_again_finds_itself_declared_dead(
    store: PostgresStore, proxy: Proxy, beside: PostgresStore
) -> None:
    call = call_id()
    written(store, Filing((intent(call, store),), (OpenCall(call, "acme"),)))
    proxy.refuse()
    proxy.cut_all()
    until(lambda: [boot.lives for boot in beside.boots()] == [False, True])
    assert beside.orphaned_calls() == (OpenIntent(call, "acme", store.boot),)
    proxy.refuse(refuses=False)
    with pytest.raises(LeaseLost, match="declared this one dead"):
        commit(store, [Filing((record("gap"),))])
    until(lambda: store._broken is not None)
    written(beside, Filing((record("recovery", call=call, payload=Payload(reason="its process has gone")),), (CloseCall(call),)))


# commits of others


def test_who_waits_is_told_of_a_commit_at_once_and_after_a_cut(store: PostgresStore, proxy: Proxy, beside: PostgresStore) -> None:
    seen = {store.version()}
    for number in range(3):
        written(beside, opening(request(f"key-{number}")))
        until(lambda: store.version() not in seen)
        seen.add(store.version())
    proxy.cut_all()
    until(lambda: _differs(store, seen))


def test_a_commit_of_which_nobody_was_told_is_seen_all_the_same(
    store: PostgresStore, beside: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = store.version()
    assert beside._watch is not None
    monkeypatch.setattr(beside._watch, "tell", lambda: None)  # its process dies after the commit
    written(beside, Filing((record("gap"),)))
    until(lambda: store.version() != seen)


def test_a_server_that_went_silent_is_not_taken_for_one_where_nobody_commits(
    store: PostgresStore, proxy: Proxy, beside: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_open, "CONNECT_S", 0.2)
    monkeypatch.setattr(postgres_open, "STATEMENT_S", 600.0)  # what else would end a connection that says nothing, in the end
    view = KeyView(store, None)
    view.look()
    proxy.fall_silent()
    written(beside, Filing((record("gap"),)))  # a revocation, say
    until(lambda: _refuses(view.look))
    until(lambda: not view.is_fresh())
    proxy.fall_silent(silent=False)
    proxy.cut_all()
    until(lambda: not _refuses(view.look))


def test_a_commit_that_may_have_landed_is_a_reason_to_look_again(
    store: PostgresStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_transact, "RECONCILE_S", 0.2)
    seen = store.version()
    proxy.cut_next_commit("answered", then_refuse=True)
    with pytest.raises(StoreUnavailable) as refused:
        commit(store, [opening(request())])
    assert refused.value.ambiguous
    assert store.version() != seen


def test_a_commit_that_lands_after_it_was_given_up_is_told_too(
    store: PostgresStore, beside: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(store, Filing((record("gap"),)))
    assert store._transactions is not None

    async def given_up(*_: object) -> None:
        raise StoreUnavailable("the connection is gone, and the server is still at it", ambiguous=True)

    with monkeypatch.context() as lost:
        lost.setattr(store._transactions, "run", given_up)
        with pytest.raises(StoreUnavailable):
            commit(store, [Filing((record("gap"),))])
    seen = store.version()
    execute(beside, f"UPDATE boots SET commits = commits + 1 WHERE number = {store._boot_number}")  # as it lands now
    until(lambda: store.version() != seen)


def test_who_waited_in_vain_for_a_commit_must_not_act_on_it(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    written(store, Filing((record("gap"),)))
    assert store._transactions is not None

    async def hanging(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(postgres, "COMMIT_S", 0.1)
    monkeypatch.setattr(store._transactions, "run", hanging)
    with pytest.raises(StoreUnavailable, match=r"has not answered within 0\.1 s") as refused:
        commit(store, [Filing((record("gap"),))])
    assert refused.value.ambiguous


def test_a_closed_store_leaves_no_connection_and_no_thread(postgres: PostgresDatabase) -> None:
    before = {thread.name for thread in threading.enumerate()}
    store = postgres.open()
    written(store, Filing((record("gap"),)))
    store.version()
    with store.source():
        store.close()
        with pytest.raises(GateClosed, match="was closed"):
            store.logs()
    assert {thread.name for thread in threading.enumerate()} == before
    name = postgres.url.rpartition("/")[2].partition("?")[0]
    until(lambda: not postgres.server.run(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'"))


def _refuses(look: Callable[[], None]) -> bool:
    try:
        look()
    except StoreUnavailable:
        return True
    return False


def _differs(store: PostgresStore, seen: set[int]) -> bool:
    try:
        return store.version() not in seen
    except StoreUnavailable:
        return False


class _holding:  # noqa: N801  reads like what it is: with _holding(...)
    """A transaction of somebody else, open as long as the block runs."""

    def __init__(self, store: PostgresStore, text: str) -> None:
        self._store = store
        self._text = text

    def __enter__(self) -> None:
        self._con = self._store._run(postgres_open.connect(self._store._address, long=True))
        self._store._run(self._con.execute(f"BEGIN; {self._text}"))

    def __exit__(self, *_: object) -> None:
        self._store._run(postgres_open.end(self._con))
