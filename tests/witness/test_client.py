"""The client against a witness that keeps to the protocol, and against servers that do anything else."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from licet.errors import ConfigInvalid, NoteInvalid
from licet.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from licet.ledger.note import Cosigner, Signer, add_signatures
from licet.ledger.rotation import verify_rotation
from licet.witness.client import ATTEMPTS, Ahead, Answer, Behind, Cosigned, Refused, Seen, SeenNothing, Witness
from licet.witness.wire import RESPONSE_LIMIT_BYTES, Unreachable
from tests.witness.loopback import (
    AT_S,
    COSIGNER,
    FORKED,
    KEY,
    ORIGIN,
    HonestWitness,
    Loopback,
    Request,
    Script,
    checkpoint,
    forked_proof,
    note,
    proof,
    response,
    slowly,
)

TRUST = verify_rotation(ORIGIN, KEY.vkey)
LINE = COSIGNER.cosign(checkpoint(7).text, AT_S)
STRANGER = Cosigner.from_seed("stranger.invalid/w2", b"\x04" * 32)


def client(server: Loopback, timeout_s: float = 5.0) -> Witness:
    return Witness(server.url, COSIGNER.vkey, timeout_s=timeout_s)


def answer_to(script: Script, size: int = 7, timeout_s: float = 5.0) -> Answer:
    with Loopback(script) as server:
        return client(server, timeout_s).submit(note(size), proof)


def never(_old: int, _new: int) -> tuple[bytes, ...]:
    raise AssertionError("no proof is needed")


def test_a_first_checkpoint_is_cosigned() -> None:
    with Loopback(HonestWitness()) as server:
        answer = client(server).submit(note(7), never)
    assert answer == Cosigned((LINE,), AT_S)
    _, opened = open_checkpoint(add_signatures(note(7), answer.lines), ORIGIN, [KEY.verifier], [COSIGNER.verifier])
    assert opened.signatures[1].timestamp_s == AT_S
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/add-checkpoint")
    assert request.body == b"old 0\n\n" + note(7)


def test_a_log_that_grows_asks_once_each_time() -> None:
    with Loopback(HonestWitness()) as server:
        witness = client(server)
        for size in (1, 2, 7, 8, 8, 64, 200):
            assert isinstance(witness.submit(note(size), proof), Cosigned)
    assert len(server.requests) == 7


def test_a_fresh_process_learns_the_size_from_the_witness() -> None:
    honest = HonestWitness()
    with Loopback(honest) as server:
        client(server).submit(note(7), never)
        assert isinstance(client(server).submit(note(100), proof), Cosigned)
    assert [request.body.split(b"\n")[0] for request in server.requests] == [b"old 0", b"old 0", b"old 7"]
    assert honest.latest == checkpoint(100)


def test_the_same_checkpoint_again_needs_no_proof() -> None:
    with Loopback(HonestWitness()) as server:
        client(server).submit(note(7), never)
        assert isinstance(client(server).submit(note(7), never), Cosigned)


def test_a_log_that_was_rolled_back_is_behind() -> None:
    with Loopback(HonestWitness()) as server:
        client(server).submit(note(100), never)
        assert client(server).submit(note(60), proof) == Behind(100)


def test_a_log_that_was_rewritten_is_refused() -> None:
    with Loopback(HonestWitness()) as server:
        client(server).submit(note(100), never)
        assert client(server).submit(note(150, FORKED), forked_proof) == Refused(422, "the proof does not verify")
        assert client(server).submit(note(100, FORKED), never) == Refused(422, "the proof does not verify")


def test_a_fork_before_the_witnessed_size_only_passes_where_nobody_looked() -> None:
    with Loopback(HonestWitness()) as server:
        client(server).submit(note(50), never)
        assert isinstance(client(server).submit(note(150, FORKED), forked_proof), Cosigned)
        assert client(server).submit(note(160), proof) == Refused(422, "the proof does not verify")


def test_two_views_are_not_both_cosigned() -> None:
    with Loopback(HonestWitness()) as server:
        one, other = client(server), client(server)
        assert isinstance(one.submit(note(100), proof), Cosigned)
        assert isinstance(other.submit(note(100, FORKED), forked_proof), Refused)


def test_an_unknown_log_is_refused() -> None:
    with Loopback(HonestWitness(origin="licet.invalid/another")) as server:
        assert client(server).submit(note(7), never) == Refused(404, "unknown log")


def test_an_unknown_key_is_refused() -> None:
    thief = Signer.from_seed(ORIGIN, b"\x08" * 32)
    with Loopback(HonestWitness()) as server:
        assert client(server).submit(note(7, signer=thief), never) == Refused(403, "no signature of a known key")


def test_a_witness_of_version_one_says_409_to_another_tree_of_the_same_size() -> None:
    answer = answer_to(lambda _: response(409, b"7\n"))
    assert answer == Refused(422, "it names size 7, from which it was asked, and does not cosign: it knows another tree")


def test_a_witness_that_names_another_size_each_time_is_left_alone() -> None:
    sizes = iter(range(1, 100))
    with Loopback(lambda _: response(409, b"%d\n" % next(sizes))) as server:
        assert client(server).submit(note(100), proof) == Ahead(3)
    assert len(server.requests) == ATTEMPTS == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"7",
        b"\n",
        b"-1\n",
        b"07\n",
        b"+7\n",
        b" 7\n",
        b"7\n\n",
        b"7 \n",
        b"7\r\n",
        b"seven\n",
        b"1e3\n",
        b"9223372036854775808\n",
        b"9" * 5000 + b"\n",
        "\u0667\n".encode(),
        b"\xff",
    ],
)
def test_a_conflict_without_a_size_is_refused(body: bytes) -> None:
    assert answer_to(lambda _: response(409, body)) == Refused(409, "it names no size")


def test_the_largest_size_is_a_size() -> None:
    assert answer_to(lambda _: response(409, b"9223372036854775807\n")) == Behind(2**63 - 1)


FORGED = Cosigner.from_seed(COSIGNER.name, b"\x05" * 32).cosign(checkpoint(7).text, AT_S)
OTHER_TEXT = b"x\n\n" + COSIGNER.cosign(checkpoint(7).text + b"\nx\n", AT_S)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "a note is text"),
        (b"\n", "a note is text"),
        (b"thanks\n", "a signature line is"),
        (LINE[:-1], "a note is text"),
        (LINE + b"thanks\n", "a signature line is"),
        (LINE.replace(b"\n", b"\r\n"), "no control characters"),
        (b"\xff" + LINE, "UTF-8"),
        (LINE + LINE, "signs twice"),
        (FORGED, "not signed by any known key"),
        (STRANGER.cosign(checkpoint(7).text, AT_S), "not signed by any known key"),
        (KEY.sign(checkpoint(7).text), "not signed by any known key"),
        (COSIGNER.cosign(checkpoint(8).text, AT_S), "does not verify"),
        (COSIGNER.cosign(checkpoint(7, FORKED[1:]).text, AT_S), "does not verify"),
        (COSIGNER.cosign(checkpoint(7).text, 0), "has not cosigned with a time"),
        (OTHER_TEXT, "a cosignature of another text"),
        (note(7) + LINE, "does not verify"),
        (b"\xe2\x80\x94 x AAAAAAAA\n" * 65 + LINE, "at most 64 signatures"),
    ],
)
def test_an_answer_that_is_no_cosignature_of_this_checkpoint_is_refused(body: bytes, problem: str) -> None:
    answer = answer_to(lambda _: response(200, body))
    assert isinstance(answer, Refused)
    assert answer.status == 200
    assert problem in answer.message


def test_lines_of_other_keys_are_left_out() -> None:
    body = STRANGER.cosign(checkpoint(7).text, 5) + LINE + FORGED
    assert answer_to(lambda _: response(200, body)) == Cosigned((LINE,), AT_S)


def test_a_witness_that_was_never_successful_is_asked_from_zero_again() -> None:
    with Loopback(lambda _: response(200, FORGED)) as server:
        witness = client(server)
        witness.submit(note(7), never)
        server.script = HonestWitness()
        assert isinstance(witness.submit(note(8), never), Cosigned)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with (
        Loopback(HonestWitness()) as elsewhere,
        Loopback(lambda _: response(status, b"", f"Location: {elsewhere.url}/add-checkpoint")) as server,
    ):
        assert client(server).submit(note(7), never) == Refused(status, "it sends elsewhere, where this client does not go")
    assert elsewhere.requests == []


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(lambda _: response(500)) as proxy, Loopback(HonestWitness()) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert isinstance(client(server).submit(note(7), never), Cosigned)
    assert proxy.requests == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 599])
def test_a_witness_in_trouble_is_unreachable(status: int) -> None:
    assert answer_to(lambda _: response(status, b"come back\n")) == Unreachable(f"status {status}: come back\\u{{a}}", sent=True)


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404, 405, 418, 422])
def test_any_other_status_is_a_refusal(status: int) -> None:
    body = b"" if status == 204 else b"\x1b[31mno\x00\xe2\x80\xae\xff" + b"x" * 1000
    answer = answer_to(lambda _: response(status, body))
    assert isinstance(answer, Refused)
    assert answer.status == status
    assert answer.message.isprintable() or not answer.message
    assert len(answer.message) < 300


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 99999 no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        os.urandom(1000),
    ],
)
def test_what_is_no_http_is_unreachable(raw: bytes) -> None:
    assert isinstance(answer_to(lambda _: raw), Unreachable | Refused)


@settings(max_examples=50)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail))
def test_no_answer_raises(raw: bytes) -> None:
    answer = answer_to(lambda _: raw)
    assert isinstance(answer, Unreachable | Refused)


@settings(max_examples=50)
@given(st.binary(max_size=300), st.sampled_from([b"", note(7), LINE]))
def test_nothing_that_it_shows_raises(garbage: bytes, start: bytes) -> None:
    with Loopback(lambda _: response(200, start + garbage)) as server:
        assert isinstance(client(server).get_latest(TRUST), Refused)


@settings(max_examples=50)
@given(st.integers(0, len(LINE) * 8 - 1))
def test_no_bit_of_a_cosignature_can_change(place: int) -> None:
    flipped = bytearray(LINE)
    flipped[place // 8] ^= 1 << place % 8
    assert isinstance(answer_to(lambda _: response(200, bytes(flipped))), Refused)


def test_an_answer_without_end_is_not_read_to_it() -> None:
    def script(_: Request) -> list[bytes]:
        return [b"HTTP/1.1 200 OK\r\n\r\n", *([b"x" * 65_536] * 100)]

    assert answer_to(script) == Unreachable(f"the answer is longer than {RESPONSE_LIMIT_BYTES} bytes", sent=True)
    claims = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n"
    assert answer_to(lambda _: [claims, *([b"x" * 65_536] * 100)]) == Unreachable(
        f"the answer is longer than {RESPONSE_LIMIT_BYTES} bytes", sent=True
    )


@pytest.mark.parametrize("silence", ["before the status", "in the headers", "in the body", "after the handshake", "one 100 after another"])
def test_however_slowly_bytes_trickle_the_deadline_ends_it(silence: str) -> None:
    whole = response(200, LINE)
    body_at = whole.index(b"\r\n\r\n") + 4
    pieces = {
        "before the status": [b"", whole],
        "in the headers": [whole[place : place + 1] for place in range(body_at)],
        "in the body": [whole[:body_at], *(whole[place : place + 1] for place in range(body_at, len(whole)))],
        "after the handshake": [b""] * 50,
        "one 100 after another": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 100,
    }[silence]
    pause_s = 1.0 if silence == "before the status" else 0.05
    begun = time.monotonic()
    answer = answer_to(lambda _: slowly(pieces, pause_s), timeout_s=0.3)
    assert answer == Unreachable("no answer within 0.3 s", sent=True)
    assert time.monotonic() - begun < 3


def test_a_handshake_that_never_ends_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        answer = Witness(f"https://127.0.0.1:{silent.getsockname()[1]}", COSIGNER.vkey, timeout_s=0.2).submit(note(7), never)
    assert answer == Unreachable("no answer within 0.2 s")


def test_a_witness_that_does_not_read_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        large = add_signatures(note(7), [b"\xe2\x80\x94 x%d %s\n" % (each, b"AAAA" * 400) for each in range(60)])
        answer = Witness(f"http://127.0.0.1:{silent.getsockname()[1]}", COSIGNER.vkey, timeout_s=0.2).submit(large, never)
    assert answer == Unreachable("no answer within 0.2 s", sent=True)


def test_nobody_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    answer = Witness(f"http://127.0.0.1:{port}", COSIGNER.vkey).submit(note(7), never)
    assert isinstance(answer, Unreachable)
    assert "refused" in answer.message


def test_a_name_that_does_not_resolve_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "name not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    answer = Witness("https://witness.invalid", COSIGNER.vkey).submit(note(7), never)
    assert answer == Unreachable("gaierror: [Errno -2] name not known")


def test_what_is_no_checkpoint_is_not_sent() -> None:
    with Loopback(HonestWitness()) as server:
        for garbage in (b"", b"hello\n\n" + LINE, checkpoint(7).text):
            with pytest.raises(NoteInvalid):
                client(server).submit(garbage, never)
    assert server.requests == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://witness.invalid", "on another machine and not https"),
        ("http://10.0.0.1/", "on another machine and not https"),
        ("http://127.0.0.1.witness.invalid", "on another machine and not https"),
        ("http://localhost.witness.invalid", "on another machine and not https"),
        ("http://0.0.0.0", "on another machine and not https"),
        ("ftp://localhost", "begins with https://"),
        ("file:///etc/passwd", "begins with https://"),
        ("witness.invalid", "begins with https://"),
        ("https://", "begins with https://"),
        ("https:///path", "begins with https://"),
        ("https://witness.invalid/a b", "begins with https://"),
        ("https://witness.invalid/\n", "begins with https://"),
        ("https://witness.invalid\r\nHost: other", "is not the address of a witness"),
        ("https://witness.invalid/?q", "no password, query or fragment"),
        ("https://witness.invalid/?", "no password, query or fragment"),
        ("https://witness.invalid/#f", "no password, query or fragment"),
        ("https://user:secret@witness.invalid", "no password, query or fragment"),
        ("https://witness.invalid:port", "not the address"),
        ("https://witness.invalid:99999", "not the address"),
        ("https://[::1", "not the address"),
    ],
)
def test_addresses_that_are_refused(url: str, problem: str) -> None:
    for first, second in ((url, None), ("https://witness.invalid", url)):
        with pytest.raises(ConfigInvalid, match=problem) as caught:
            Witness(first, COSIGNER.vkey, monitoring_url=second)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost", "http://127.0.0.1:7380/prefix/", "http://[::1]:80", "https://witness.invalid:8443/w"])
def test_addresses_that_are_taken(url: str) -> None:
    assert Witness(url, COSIGNER.vkey).name == "witness.invalid/w1"


def test_only_a_key_for_cosignatures_is_a_witness() -> None:
    with pytest.raises(ConfigInvalid, match="not one for cosignatures"):
        Witness("https://witness.invalid", KEY.vkey)
    with pytest.raises(ConfigInvalid, match="is not the key of a witness"):
        Witness("https://witness.invalid", "nonsense")


def test_a_prefix_stands_before_the_path() -> None:
    with Loopback(lambda _: response(404)) as server:
        Witness(f"{server.url}/one/two/", COSIGNER.vkey).submit(note(7), never)
    assert server.requests[0].path == "/one/two/add-checkpoint"


def test_what_the_witness_saw_last() -> None:
    with Loopback(HonestWitness()) as server:
        witness = client(server)
        assert witness.get_latest(TRUST) == SeenNothing()
        witness.submit(note(7), never)
        assert witness.get_latest(TRUST) == Seen(checkpoint(7), add_signatures(note(7), [LINE]), AT_S)


def test_what_it_saw_last_may_lie_elsewhere() -> None:
    with Loopback(lambda _: response(200, add_signatures(note(7), [LINE]))) as shown, Loopback(HonestWitness()) as server:
        witness = Witness(server.url, COSIGNER.vkey, monitoring_url=f"{shown.url}/mirror")
        assert isinstance(witness.get_latest(TRUST), Seen)
    assert shown.requests[0].path.startswith("/mirror/")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        note(7),  # not cosigned
        add_signatures(note(7, signer=Signer.from_seed(ORIGIN, b"\x08" * 32)), [LINE]),  # not signed by the log
        add_signatures(note(8), [LINE]),  # the cosignature of another checkpoint
        add_signatures(sign_checkpoint(Checkpoint("licet.invalid/x", 7, checkpoint(7).root), [KEY]), [LINE]),
        add_signatures(note(7), [COSIGNER.cosign(checkpoint(7).text, 0)]),
    ],
)
def test_what_it_shows_must_be_signed_by_both(body: bytes) -> None:
    with Loopback(lambda _: response(200, body)) as server:
        answer = client(server).get_latest(TRUST)
    assert isinstance(answer, Refused)
    assert answer.message.startswith("what it shows is no checkpoint of this log that it has cosigned: ")


def test_a_monitoring_interface_in_trouble() -> None:
    with Loopback(lambda _: response(403, b"no")) as server:
        assert client(server).get_latest(TRUST) == Refused(403, "no")
    with Loopback(lambda _: response(503, b"no")) as server:
        assert client(server).get_latest(TRUST) == Unreachable("status 503: no", sent=True)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that only those trust who are told to."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "witness")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "witness.pem"
    path.write_bytes(signed.public_bytes(pem) + secret)
    return path


def test_https_is_spoken_with_whom_the_certificate_names(certificate: Path) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    with Loopback(HonestWitness(), server_side) as server:
        trusting = ssl.create_default_context(cafile=certificate)
        assert Witness(server.url, COSIGNER.vkey, tls=trusting).submit(note(7), never) == Cosigned((LINE,), AT_S)
        answer = Witness(server.url, COSIGNER.vkey).submit(note(7), never)
        named = Witness(server.url.replace("127.0.0.1", "localhost"), COSIGNER.vkey, tls=trusting).submit(note(7), never)
    for refused in (answer, named):
        assert isinstance(refused, Unreachable)
        assert "certificate verify failed" in refused.message
    assert len(server.requests) == 1
