"""The keys of an issuer: which are used, when they are fetched, and what goes on while they cannot be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from licet.config import IssuerSettings
from licet.errors import NotAuthenticated
from licet.identity.jwks import KEYS_LIMIT, LIMIT_BYTES, IssuerKeys, KeysUnavailable, fetch_keys, read_keys
from tests.identity.issuer import Issuer, claims, edwards, elliptic, header, public, rsa, signed
from tests.identity.people import ISSUER

SETTINGS = IssuerSettings(issuer=ISSUER, audience="licet", jwks=f"{ISSUER}/keys")


def keys_in(*keys: Any) -> list[tuple[str | None, str]]:
    return [(key.kid, key.kind) for key in read_keys(json.dumps({"keys": list(keys)}).encode()).keys]


def test_public_keys_for_signatures_are_used() -> None:
    found = keys_in(public(rsa(), "r", use="sig", alg="RS256"), public(elliptic(), "e", key_ops=["verify"]), public(edwards(), None))
    assert found == [("r", "RSA"), ("e", "EC"), (None, "OKP")]


SMALL = {"kty": "RSA", "kid": "s", "e": "AQAB", "n": public(rsa(), "s")["n"][:171]}
UNUSED: dict[str, Any] = {
    "a shared secret": {"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
    "a key for encryption": public(rsa(), "x", use="enc"),
    "a key that only signs": public(rsa(), "x", key_ops=["sign"]),
    "operations that are no list": public(rsa(), "x", key_ops="verify"),
    "a private half": {**rsa().as_dict(private=True), "kid": "x"},
    "a small RSA key": SMALL,
    "a small RSA key with zeros before it": {**SMALL, "n": "AAAA" * 100 + SMALL["n"]},
    "no kind": {"kid": "x"},
    "an unknown kind": {"kty": "XYZ", "kid": "x"},
    "a kid that is a number": public(rsa(), None) | {"kid": 5},
    "a point that is not on the curve": {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "x"},
    "text": "key",
    "nothing": None,
}


@pytest.mark.parametrize("case", UNUSED)
def test_a_key_that_may_not_be_used_is_left_out_alone(case: str) -> None:
    assert keys_in(UNUSED[case], public(elliptic(), "good")) == [("good", "EC")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        b'{"keys": [' + b"0," * KEYS_LIMIT + b"0]}",
        b" " * (LIMIT_BYTES + 1),
    ],
    ids=["nothing", "list", "no keys", "keys that are no list", "keys twice", "too many", "too large"],
)
def test_what_is_no_key_set_is_refused(content: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        read_keys(content)


def test_without_a_kid_there_must_be_one_key_that_fits() -> None:
    one = Issuer(keys=[public(rsa(), "one"), public(elliptic(), "two")])
    assert one.verify(signed(header(kid=None), claims())).user == "alice"
    several = Issuer(keys=[public(rsa(), "one"), public(rsa(1), "two")])
    with pytest.raises(NotAuthenticated) as caught:
        several.verify(signed(header(kid=None), claims()))
    assert caught.value.reason == "unknown_kid"


def test_two_keys_of_one_kid_are_told_apart_by_kind_or_not_at_all() -> None:
    mixed = Issuer(keys=[public(rsa(), "one"), public(elliptic(), "one")])
    assert mixed.verify(signed(header(), claims())).user == "alice"
    twice = Issuer(keys=[public(rsa(), "one"), public(rsa(1), "one")])
    with pytest.raises(NotAuthenticated) as caught:
        twice.verify(signed(header(), claims()))
    assert caught.value.reason == "unknown_kid"


def test_a_key_for_one_algorithm_is_used_with_no_other() -> None:
    issuer = Issuer(keys=[public(rsa(), "one", alg="PS256")])
    with pytest.raises(NotAuthenticated) as caught:
        issuer.verify(signed(header(), claims()))
    assert caught.value.reason == "unknown_kid"
    assert issuer.verify(signed(header(alg="PS256"), claims(), alg="PS256")).user == "alice"


# rotation and outage


def test_a_new_key_is_fetched_when_it_is_first_seen() -> None:
    issuer = Issuer()
    issuer.accepts()
    issuer.keys = [public(rsa(), "one"), public(rsa(1), "two")]
    issuer.clock_s = 30
    assert issuer.verify(signed(header(kid="two"), claims(), rsa(1))).user == "alice"
    assert issuer.fetches == 2
    assert issuer.accepts(jti="2").user == "alice"
    assert issuer.fetches == 2


def test_forged_key_ids_do_not_hammer_the_issuer() -> None:
    issuer = Issuer()
    issuer.accepts()
    for number in range(50):
        issuer.clock_s = number
        with pytest.raises(NotAuthenticated):
            issuer.verify(signed(header(kid=f"forged-{number}"), claims()))
    assert issuer.fetches == 2  # at 0 s, and at 30 s


def test_an_issuer_that_is_away_is_not_hammered_either() -> None:
    issuer = Issuer(down=True)
    for number in range(50):
        issuer.clock_s = number
        with pytest.raises(NotAuthenticated) as caught:
            issuer.accepts()
        assert (caught.value.code, caught.value.reason) == ("unavailable", "no_keys_of_issuer")
    assert issuer.fetches == 2
    issuer.down = False
    issuer.clock_s = 60
    assert issuer.accepts().user == "alice"


def test_keys_are_looked_for_again_after_a_while() -> None:
    issuer = Issuer()
    issuer.accepts()
    issuer.clock_s = 299
    issuer.accepts(jti="2")
    assert issuer.fetches == 1
    issuer.clock_s = 300
    issuer.accepts(jti="3")
    assert issuer.fetches == 2


def test_a_key_that_was_taken_away_is_good_for_nothing_after_the_next_fetch() -> None:
    issuer = Issuer(keys=[public(rsa(), "one"), public(rsa(1), "two")])
    issuer.accepts()
    issuer.keys = [public(rsa(1), "two")]
    issuer.clock_s = 300
    with pytest.raises(NotAuthenticated) as caught:
        issuer.accepts(jti="2")
    assert caught.value.reason == "unknown_kid"


def test_keys_go_on_over_an_outage_until_they_are_too_old() -> None:
    issuer = Issuer()
    token = signed(header(), claims())
    issuer.verify(token)
    issuer.down = True
    issuer.clock_s = 86_399
    assert issuer.accepts(jti="2").user == "alice"
    assert issuer.verify(token).user == "alice"
    issuer.clock_s = 86_400
    assert issuer.tokens.find_known(token, None) is None
    with pytest.raises(NotAuthenticated) as caught:
        issuer.verify(token)
    assert caught.value.code == "unavailable"


def test_a_key_set_that_is_broken_does_not_replace_a_good_one() -> None:
    answers = [json.dumps({"keys": [public(rsa(), "one")]}).encode(), b"<html>maintenance</html>"]
    clock = [0.0]
    keys = IssuerKeys(SETTINGS, lambda _: answers[min(len(clock) - 1, 1)], lambda: clock[-1])
    keys.find("one", "RS256")
    clock.append(300.0)
    assert keys.find("one", "RS256")[0].kid == "one"


def test_one_thread_fetches_while_the_others_go_on() -> None:
    begun, go_on = threading.Event(), threading.Event()
    content = json.dumps({"keys": [public(rsa(), "one")]}).encode()
    clock, fetches = [0.0], []

    def fetch(_: str) -> bytes:
        fetches.append(clock[-1])
        if len(fetches) > 1:
            begun.set()
            assert go_on.wait(10)
        return content

    keys = IssuerKeys(SETTINGS, fetch, lambda: clock[-1])
    keys.find("one", "RS256")
    clock.append(300.0)
    with ThreadPoolExecutor(4) as pool:
        slow = pool.submit(keys.find, "one", "RS256")
        assert begun.wait(10)
        assert [pool.submit(keys.find, "one", "RS256").result(10)[0].kid for _ in range(3)] == ["one"] * 3
        go_on.set()
        assert slow.result(10)[0].kid == "one"
    assert len(fetches) == 2


# where they come from


def test_keys_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(KeysUnavailable, match="the file cannot be read"):
        fetch_keys(f"file:{file}")
    file.write_bytes(json.dumps({"keys": [public(rsa(), "one")]}).encode())
    assert [key.kid for key in read_keys(fetch_keys(f"file:{file}")).keys] == ["one"]
    file.write_bytes(b" " * (LIMIT_BYTES * 2))
    assert len(fetch_keys(f"file:{file}")) == LIMIT_BYTES + 1


@contextmanager
def serving(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_are_fetched_from_the_very_address() -> None:
    with serving(200, b'{"keys": []}') as (url, asked):
        assert fetch_keys(f"{url}/tenant/keys?appid=1") == b'{"keys": []}'
    assert asked == ["/tenant/keys?appid=1"]


def test_a_redirect_is_not_followed() -> None:
    with (
        serving(200, b'{"keys": []}') as (elsewhere, asked),
        serving(302, b"", Location=f"{elsewhere}/keys") as (url, _),
        pytest.raises(KeysUnavailable, match="the issuer answers with status 302"),
    ):
        fetch_keys(f"{url}/keys")
    assert asked == []


def test_an_answer_without_end_is_cut() -> None:
    with serving(200, b" " * (LIMIT_BYTES + 10)) as (url, _), pytest.raises(KeysUnavailable, match=f"longer than {LIMIT_BYTES} bytes"):
        fetch_keys(url)


@pytest.mark.parametrize("place", ["http://idp.example.com/keys", "ftp://idp.example.com/keys", "https://user:pw@idp.example.com/keys"])
def test_an_address_that_may_not_be_asked_is_not(place: str) -> None:
    with pytest.raises(KeysUnavailable) as caught:
        fetch_keys(place)
    assert "pw" not in str(caught.value)


def test_nobody_there_is_no_crash() -> None:
    with serving(200, b"") as (url, _):
        pass
    with pytest.raises(KeysUnavailable):
        fetch_keys(url)
