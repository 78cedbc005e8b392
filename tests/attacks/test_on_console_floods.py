"""Floods of the console: streams, forms, attempts to sign in and addresses without end. Little is kept, and others are answered."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlencode

import pytest

from licet.console import live, oidc
from licet.console.audit_views import LIMIT, MOST
from licet.gate.credentials import list_credentials
from licet.identity.provider import Providers
from licet.model import OPERATOR_LOG
from licet.server.app import WORKERS
from tests.attacks.console_site import attacked
from tests.console.authenticator import Authenticator
from tests.console.provider import SECRET, provider
from tests.console.test_live import listening
from tests.console.test_oidc import ISSUERS, LOGINS, START, Visit
from tests.console.test_passkeys import add, begin
from tests.console.world import HOST, SAME, Browser, ConsoleWorld, console_world, cookie_of, text_of
from tests.gate.proof import assert_whole
from tests.world import CONFIG


@pytest.fixture
def served() -> Iterator[ConsoleWorld]:
    with attacked() as made:
        yield made
        assert_whole(made.gate)


def grown(served: ConsoleWorld) -> dict[str, int]:
    return {state.log: state.size for state in served.gate.store.logs()}


def until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_streams_of_one_person_have_an_end_and_the_others_have_theirs(served: ConsoleWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.01)
    browsers = [served.enter("rita"), served.enter("rita")]
    places = live.watch_of(served.serving).places
    with ExitStack() as open_streams:
        found = []
        for number in range(live.STREAMS + 8):
            path, query = [("/console/live", ""), ("/console/audit/tail", "tenant=acme")][number % 2]
            heard = open_streams.enter_context(listening(served, browsers[number % 2], query, path=path))
            found.append(heard.status)
        assert found.count(200) == live.STREAMS
        assert found.count(429) == 8
        for user in ("lena", "otto"):
            with listening(served, served.enter(user)) as theirs:
                assert theirs.status == 200
        assert browsers[0].get("/console/audit?tenant=acme").status == 200
        before = grown(served)
        assert browsers[1].get("/console/audit/tail?tenant=acme").status == 429
        assert grown(served) == before  # what is not shown is not told as read

    def is_free() -> bool:
        taken = places.enter("rita")
        if taken:
            places.leave("rita")
        return taken and not live.watch_of(served.serving).is_looking

    until(is_free)


def test_attempts_to_sign_in_without_end_leave_nothing_behind_and_keep_nobody_out(served: ConsoleWorld) -> None:
    rita, made = served.enter("rita"), Authenticator()
    assert add(rita, made).status == 200
    waiting = served.link("lena")
    before = grown(served), len(list_credentials(served.gate.store, served.gate.now()))
    challenges = set()
    for _ in range(300):
        challenge, cookie = begin(served)
        challenges.add(challenge)
    assert len(challenges) == 300
    for number in range(300):
        fields = {"challenge": challenge, **made.answer(os.urandom(32)), "next": "/console"}
        assert served.form("/console/passkeys/sign-in", fields, {**SAME, "cookie": cookie}).status == 403
        secret = f"licet_{'a' * 16}_{number:049d}"
        assert served.form("/console/sign-in", {"link": secret}).status == 403
    statuses = {
        served.get("/console/you", headers={"host": HOST, "cookie": f"__Host-licet=licet_{'a' * 16}_{number:049d}"}).status
        for number in range(300)
    }
    assert statuses == {303, 429}  # from some on nothing is looked up
    assert (grown(served), len(list_credentials(served.gate.store, served.gate.now()))) == before
    assert rita.get("/console/you").status == 200
    reply = served.use(waiting)
    assert Browser(served, cookie_of(reply)).get("/console/you").status == 429  # a stranger at that address, for a minute
    other = served.get("/console/you", headers={"host": HOST, "cookie": f"__Host-licet={cookie_of(reply)}"}, client="198.51.100.7")
    assert other.status == 200


def test_addresses_and_forms_without_end_are_refused_before_anything_is_looked_for(served: ConsoleWorld) -> None:
    rita = served.enter("rita")
    before = grown(served)
    for query in (
        "text=" + "a" * 1_000_000,
        "&".join(f"tool={number}" for number in range(1_000)),
        "&".join(f"f{number}=1" for number in range(1_000)),
        urlencode({"kind": "," * 5_000}),
        "cursor=" + "A" * 8_000,
        urlencode({"cursor": "[" * 5_000}),
        "text=" + "%61" * 2_500,
        urlencode({"text": "a b c d e f g h " * 200}),
        urlencode({"since": "9" * 900}),
        urlencode({"target": "Customer/" + "x" * 4_000}),
    ):
        for path in ("/console/audit", "/console/audit/export", "/console/audit/tail"):
            if "cursor" in query and path != "/console/audit":
                continue  # a file and a stream have no pages
            assert rita.get(f"{path}?{query}").status == 400, query[:40]
    shown = rita.get("/console/you").content.decode()
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', shown)
    assert token is not None
    sent = {**SAME, "cookie": f"__Host-licet={rita.cookie}", "content-type": "application/x-www-form-urlencoded"}
    for raw in (
        f"form_token={token[1]}&" + "&".join(f"a{number}=1" for number in range(100_000)),
        f"form_token={token[1]}&theme=" + "d" * 900_000,
        f"form_token={token[1]}&" + "&" * 500_000,
        f"form_token={token[1]}&theme=dark&next=" + "%2F" * 300_000,
    ):
        assert served.request("POST", "/console/theme", raw=raw.encode(), headers=sent).status in {400, 413}
    assert grown(served) == before


def test_views_without_end_stay_a_small_cookie(served: ConsoleWorld) -> None:
    rita = served.enter("rita")
    shown = rita.get("/console/you").content.decode()
    token = re.search(r'name="form_token" value="([0-9a-f]{64})"', shown)
    assert token is not None
    kept, statuses = "", []
    for number in range(100):
        fields = {"form_token": token[1], "name": f"view {number}", "query": urlencode({"tool": f"tool-{number}"}), "act": "keep"}
        headers = {**SAME, "cookie": f"__Host-licet={rita.cookie}; __Host-licet-views={kept}"}
        reply = served.form("/console/audit/views", fields, headers)
        statuses.append(reply.status)
        if reply.status == 303:
            kept = reply.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert 0 < statuses.count(303) <= MOST
    assert set(statuses[MOST:]) == {400}
    assert len(kept) <= LIMIT
    assert "view 0" in text_of(
        served.get("/console/audit", headers={"host": HOST, "cookie": f"__Host-licet={rita.cookie}; __Host-licet-views={kept}"})
    )


def test_a_provider_that_hangs_keeps_those_alone_who_sign_in_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can begin to sign in, without a credential, and come back with whatever they like."""
    assert oidc.AT_ONCE <= oidc.AT_ONCE_IN_ALL <= WORKERS // 2
    monkeypatch.setenv("OIDC_SECRET", SECRET)
    monkeypatch.setattr(oidc, "_providers", Providers())
    now: list[float] = [0.0]
    with provider(lambda: now[0]) as peer:
        config = CONFIG
        for before, after in LOGINS.items():
            config = config.replace(before, after.format(issuer=peer.issuer))
        with console_world(config + ISSUERS.format(issuer=peer.issuer, more="")) as served:
            now[0] = served.gate.now().timestamp()
            lena = served.enter("lena")
            visit = Visit(served, peer)
            back = visit.go()
            hanging, released, counting = [0, 0], threading.Event(), threading.Lock()
            answers = peer.reply

            def slow(method: str, target: str, body: bytes, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
                with counting:
                    hanging[0] += 1
                    hanging[1] = max(hanging)
                released.wait(60)
                with counting:
                    hanging[0] -= 1
                return answers(method, target, body, authorization)

            monkeypatch.setattr(peer, "reply", slow)
            with ThreadPoolExecutor(60) as many:
                flood = [many.submit(visit.get, back) for _ in range(60)]
                until(lambda: hanging[0] >= 1)
                until(lambda: sum(one.done() for one in flood) >= 60 - oidc.AT_ONCE)
                assert lena.get("/console/you").status == 200
                assert hanging[1] <= oidc.AT_ONCE
                released.set()
                found = [one.result() for one in flood]
            assert {reply.status for reply in found} <= {200, 403}
            assert sum("cannot be used now" in text_of(reply) for reply in found) >= 60 - oidc.AT_ONCE
            monkeypatch.setattr(peer, "reply", answers)
            assert visit.whole().status == 200  # the places are free again
            started = visit.get(START)
            assert started.status == 303
            assert OPERATOR_LOG in grown(served)
