"""One process that serves: TLS, health, metrics, reload, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from licet import Gate
from licet.errors import ConfigInvalid, GateClosed, StoreUnavailable
from licet.gate.results import Ok
from licet.server.exchange import PEER_CERTIFICATE
from licet.server.health import Health
from licet.server.listening import Listener, tls_of
from licet.server.metrics import Metrics
from licet.server.observing import Answered
from licet.server.run import Server
from tests.gate.files import Files, world_of_files
from tests.gate.proof import assert_whole
from tests.server.certificates import Authority
from tests.server.serving import ANY_PORT, Peer, echo, get, get_json, reply, running

CONDITIONS = ("store", "writer", "keys", "witness", "policies", "reload", "stopping")


@pytest.fixture
def w(tmp_path: Path) -> Iterator[Files]:
    with world_of_files(tmp_path) as made:
        yield made


# health


def test_both_addresses_say_that_it_lives_and_is_ready(w: Files) -> None:
    with running(w, echo) as server:
        for address in (server.address, server.metrics_address):
            assert get_json(address, "/livez") == (200, {"status": "ok"})
            status, ready = get_json(address, "/readyz")
            assert status == 200
            assert ready["status"] == "ok"
            assert ready["checks"] == dict.fromkeys(CONDITIONS, "ok")
        assert get(server.address, "/anything") == (200, b"hello")
        assert get(server.metrics_address, "/anything")[0] == 404


def test_why_it_is_not_ready_is_told_inside_only(w: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.server.health.KEPT_S", 0.0)

    def down(*_: object) -> None:
        raise StoreUnavailable("the disk /dev/secret is full")

    with running(w, echo) as server:
        with monkeypatch.context() as patched:
            patched.setattr(w.gate._opened().writer, "submit", down)
            status, told = get_json(server.address, "/readyz")
            assert (status, told["status"], told["checks"]["writer"]) == (503, "failed", "failed")
            assert "problems" not in told
            status, told = get_json(server.metrics_address, "/readyz")
            assert (status, told["problems"]) == (503, {"writer": "the disk /dev/secret is full"})
            assert get_json(server.address, "/livez") == (200, {"status": "ok"}), "a restart would not help"
        assert get_json(server.address, "/readyz")[0] == 200


def test_policies_that_do_not_load_are_told_and_keep_nobody_away(w: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.server.health.KEPT_S", 0.0)
    with running(w, echo) as server:
        w.policies("permit (")
        with pytest.raises(Exception, match="cannot be read"):
            w.gate.reload(w.gate.settings)
        status, told = get_json(server.metrics_address, "/readyz")
        assert (status, told["status"], told["checks"]["reload"]) == (200, "ok", "failed")
        assert "cannot be read" in told["problems"]["reload"]


def test_health_is_found_once_a_second_however_often_it_is_asked_for(w: Files) -> None:
    times = [0.0]
    asked = [0]
    conditions = w.gate.conditions

    class Counted:
        def conditions(self) -> Any:
            asked[0] += 1
            return conditions()

    health = Health(Counted(), now=lambda: times[0])  # type: ignore[arg-type]
    for _ in range(100):
        health.look()
    assert asked == [1]
    times[0] = 1.0
    health.look()
    assert asked == [2]


def test_health_is_told_while_every_thread_of_calls_waits_for_the_store(w: Files) -> None:
    goes_on = threading.Event()

    async def occupied(_scope: Any, _receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(64):  # more than the loop's own pool has
            loop.run_in_executor(None, goes_on.wait)
        await reply(send, b"occupied")

    with running(w, occupied) as server:
        try:
            assert get(server.address, "/") == (200, b"occupied")
            assert get_json(server.address, "/readyz")[0] == 200
            assert get_json(server.metrics_address, "/readyz")[0] == 200
        finally:
            goes_on.set()


def test_a_key_file_that_is_gone_is_told_before_the_next_start_fails(w: Files) -> None:
    w.gate.seal()
    (w.folder / "licet.key").rename(w.folder / "elsewhere")
    found = {condition.name: condition.problem for condition in w.gate.conditions()}
    assert found["keys"] == "the key file is gone: this process has read it, the next one will not"
    assert found["writer"] is None


def test_health_takes_get_and_head_alone(w: Files) -> None:
    with running(w, echo) as server:
        peer = Peer(server.address)
        peer.send(b"POST /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        assert peer.answer() == (405, b"")
        peer.send(b"HEAD /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert peer.rest().endswith(b"\r\n\r\n")


# metrics


def test_metrics_count_what_was_recorded_and_name_nobody(w: Files) -> None:
    server_of: list[Server] = []
    metrics = Metrics(w.gate, lambda: server_of[0].health)
    with running(w, echo, metrics=metrics.show) as server:
        server_of.append(server)
        assert isinstance(w.adjust(2_500), Ok)
        w.adjust(2_000_000)
        w.held()
        metrics.began()
        metrics.answered(Answered(request_id="r", method="GET", route="/api/v1/x/{id}", status=200, duration_s=0.01))
        metrics.began()
        metrics.answered(Answered(request_id="r", method="BREW", route="", status=404, duration_s=0.01))
        metrics.not_authenticated("expired")
        metrics.not_authenticated("alice@example.org said hello")
        status, body = get(server.metrics_address, "/metrics")
        assert get(server.address, "/metrics") == (200, b"hello"), "the API has none"
    assert status == 200
    text = body.decode()
    lines = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}
    assert lines['licet_decisions_total{code="allowed",verdict="allow"}'] == 2, "the call and the preview of the one that is held"
    assert lines['licet_decisions_total{code="no_permit",verdict="deny"}'] == 1
    assert lines['licet_decisions_total{code="approval_required",verdict="hold"}'] == 1
    assert lines['licet_records_total{kind="intent"}'] == lines['licet_records_total{kind="outcome"}'] == 1
    assert lines['licet_outcomes_total{status="ok"}'] == 2, "as above"
    assert lines["licet_decision_seconds_count"] == 4
    assert lines["licet_commit_seconds_count"] >= 4
    assert lines["licet_open_requests"] == 1
    assert lines["licet_open_calls"] == lines["licet_freezes"] == lines["licet_gaps_pending"] == 0
    assert lines['licet_http_requests_total{method="GET",route="/api/v1/x/{id}",status="200"}'] == 1
    assert lines['licet_http_requests_total{method="other",route="none",status="404"}'] == 1
    assert lines["licet_http_requests_in_flight"] == 0
    assert lines['licet_authentication_refusals_total{reason="expired"}'] == 1
    assert lines['licet_authentication_refusals_total{reason="other"}'] == 1
    assert lines['licet_condition{condition="store"}'] == lines["licet_up"] == 1
    assert f'bundle="{w.gate.scene.engine.bundle.digest}"' in text if not w.gate._closed else True
    for secret in ("support-bot", "alice", "C-1", "acme", "billing"):
        assert secret not in text


def test_codes_are_bounded(w: Files) -> None:
    w.gate.seal()
    metrics = Metrics(w.gate)
    for number in range(1_000):
        metrics.not_authenticated(f"reason_{number}")
    text = metrics.show()[0].decode()
    assert len(re.findall(r"^licet_authentication_refusals_total\{", text, re.MULTILINE)) == 201


def test_what_is_in_force_can_be_compared_between_replicas(w: Files) -> None:
    w.gate.seal()
    metrics = Metrics(w.gate)
    scene = w.gate.scene
    text = metrics.show()[0].decode()
    assert (
        f'licet_in_force_info{{bundle="{scene.engine.bundle.digest}",directory="{scene.directory.version}",scene="{scene.digest}"}} 1.0'
        in text
    )
    w.gate.reload()
    assert 'licet_reloads_total{result="ok"} 1.0' in metrics.show()[0].decode()


def test_a_gate_that_cannot_be_read_leaves_the_counters(w: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    w.gate.seal()
    metrics = Metrics(w.gate)

    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(type(w.gate), "in_hand", down)
    text = metrics.show()[0].decode()
    assert "licet_up 0.0" in text
    assert "licet_commit_seconds_count" in text
    assert "licet_open_requests" not in text


# TLS


def test_the_certificate_that_tls_has_verified_reaches_the_application(w: Files, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    certificate, key, _ = authority.issue("localhost")
    client, client_key, der = authority.issue("agent")
    seen: list[Any] = []

    async def look(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        seen.append((scope["scheme"], scope.get("extensions", {}).get(PEER_CERTIFICATE)))
        await reply(send, b"seen")

    settings = replace(ANY_PORT, tls_certificate=certificate, tls_key=key, client_ca=authority.file)
    with running(w, look, settings) as server:
        assert server.scheme == "https"
        context = ssl.create_default_context(cafile=str(authority.file))
        assert Peer(server.address, context).get("/") == (200, b"seen")
        context.load_cert_chain(client, client_key)
        peer = Peer(server.address, context)
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\nlicet.peer_certificate: forged\r\nx-client-cert: forged\r\n\r\n")
        assert peer.answer() == (200, b"seen")
        foreign = ssl.create_default_context(cafile=str(authority.file))
        foreign.load_cert_chain(*stranger.issue("agent2")[:2])
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            Peer(server.address, foreign).get("/")
        plain = Peer(server.address)
        plain.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200" not in plain.rest()
    assert seen == [("https", None), ("https", der)]


def test_a_handshake_that_hangs_is_cut_off(w: Files, tmp_path: Path) -> None:
    certificate, key, _ = Authority(tmp_path).issue("localhost")
    with running(w, echo, replace(ANY_PORT, tls_certificate=certificate, tls_key=key, header_timeout_s=0.2)) as server:
        assert Peer(server.address).rest() == b""


def test_old_tls_and_files_that_are_no_certificates_are_refused(tmp_path: Path) -> None:
    certificate, key, _ = Authority(tmp_path).issue("localhost")
    context = tls_of(replace(ANY_PORT, tls_certificate=certificate, tls_key=key))
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    with pytest.raises(ConfigInvalid, match="the certificate, its key or the authorities of"):
        tls_of(replace(ANY_PORT, tls_certificate=key, tls_key=certificate))
    with pytest.raises(ConfigInvalid, match="cannot be used: No such file"):
        tls_of(replace(ANY_PORT, tls_certificate=tmp_path / "none", tls_key=key))
    assert tls_of(ANY_PORT) is None


def test_an_address_that_is_taken_is_an_error(w: Files) -> None:
    with running(w, echo) as server, pytest.raises(ConfigInvalid, match=f"cannot listen at `{server.address}`: address already in use"):
        Listener(echo, server.address, ANY_PORT)


# proxies


@pytest.mark.parametrize(("proxies", "client"), [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.9"), (("10.0.0.0/8",), "127.0.0.1")])
def test_who_a_proxy_speaks_for_is_believed_of_named_proxies_alone(w: Files, proxies: tuple[str, ...], client: str) -> None:
    seen: list[str] = []

    async def look(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])
        await reply(send, b"seen")

    with running(w, look, replace(ANY_PORT, proxies=proxies)) as server:
        peer = Peer(server.address)
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.9\r\n\r\n")
        peer.answer()
    assert seen == [client]


# the end


def test_a_request_in_flight_is_answered_while_the_server_stops(w: Files) -> None:
    entered, go = threading.Event(), threading.Event()

    async def slow(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.to_thread(go.wait, 20)
        await reply(send, b"answered")

    with running(w, slow) as server:
        idle, busy = Peer(server.address), Peer(server.address)
        busy.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert entered.wait(20)
        server.stop()
        assert idle.rest() == b""
        status, told = get_json(server.metrics_address, "/readyz")
        assert (status, told["checks"]["stopping"], told["problems"]) == (503, "failed", {"stopping": "the server is stopping"})
        with pytest.raises(ConnectionError):
            get(server.address, "/")
        go.set()
        assert busy.answer() == (200, b"answered")
    with pytest.raises(GateClosed):
        w.gate.seal()


def test_the_second_signal_cuts_off_what_is_in_flight_and_closes_the_gate(w: Files, caplog: pytest.LogCaptureFixture) -> None:
    entered = threading.Event()

    async def stuck(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.sleep(3_600)

    with running(w, stuck) as server:
        peer = Peer(server.address)
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert entered.wait(20)
        server.stop()
        server.stop()
        assert peer.rest() == b""
    assert "1 requests were cut off before they were answered" in caplog.text
    with pytest.raises(GateClosed):
        w.gate.seal()


def test_requests_that_do_not_end_are_cut_off_when_their_time_is_over(w: Files) -> None:
    async def stuck(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await asyncio.sleep(3_600)

    with running(w, stuck, replace(ANY_PORT, shutdown_s=0.1)) as server:
        peer = Peer(server.address)
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        while not server._door._state.tasks:
            pass
        server.stop()
        assert peer.rest() == b""


def test_who_waits_for_people_is_answered_when_the_server_stops(w: Files) -> None:
    held = w.held()
    entered = threading.Event()

    async def waits(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        entered.set()
        with w.alice():
            result = await w.gate.acall("billing.adjust", {"customer_id": "C-1", "amount_cents": 50_000}, wait=3_600)
        await reply(send, type(result).__name__.encode())

    with running(w, waits) as server:
        peer = Peer(server.address)
        peer.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert entered.wait(20)
        server.stop()
        assert peer.answer() == (200, b"Held")
    assert held.request is not None


def test_calls_in_flight_are_recorded_whole_when_the_server_stops(w: Files, tmp_path: Path) -> None:
    ran = threading.Semaphore(0)

    async def call(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        with w.alice():
            result = await asyncio.to_thread(w.gate.call, "billing.adjust", {"customer_id": "C-1", "amount_cents": 1})
        ran.release()
        await reply(send, type(result).__name__.encode())

    answers: list[bytes] = []

    def ask(server: Server) -> None:
        while True:
            try:
                answers.append(get(server.address, "/")[1])
            except (ConnectionError, AssertionError):
                return

    with running(w, call) as server:
        callers = [threading.Thread(target=ask, args=(server,)) for _ in range(8)]
        for caller in callers:
            caller.start()
        for _ in range(20):
            assert ran.acquire(timeout=20)
        server.stop()
        for caller in callers:
            caller.join(20)
    assert set(answers) == {b"Ok"}
    with Gate(w.folder / "licet.toml") as again:
        kinds = [record.kind for record in again.store.records("acme")]
        assert kinds.count("intent") == kinds.count("outcome") == len(w.ran) >= len(answers)
        assert "recovery" not in kinds
        assert_whole(again)
