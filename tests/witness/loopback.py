"""A witness on this machine: one that keeps to the protocol, and a server that says whatever a test wants."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from msgspec import Struct

from licet.errors import NoteInvalid
from licet.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from licet.ledger.merkle import consistency_proof, is_consistent, root_of
from licet.ledger.note import Cosigner, Signer, Verifier, add_signatures
from licet.ledger.record import leaf_hash

ORIGIN = "licet.invalid/3f2a9c"
KEY = Signer.from_seed(ORIGIN, b"\x01" * 32)
COSIGNER = Cosigner.from_seed("witness.invalid/w1", b"\x03" * 32)
LEAVES = [leaf_hash(b"%d" % number) for number in range(200)]
FORKED = [*LEAVES[:50], *(leaf_hash(b"other %d" % number) for number in range(50, 200))]
AT_S = 1_750_000_000


def checkpoint(size: int, leaves: list[bytes] = LEAVES) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_of(leaves[:size]))


def note(size: int, leaves: list[bytes] = LEAVES, signer: Signer = KEY) -> bytes:
    return sign_checkpoint(checkpoint(size, leaves), [signer])


def proof(old: int, new: int, leaves: list[bytes] = LEAVES) -> tuple[bytes, ...]:
    return consistency_proof(leaves[:new], old)


def forked_proof(old: int, new: int) -> tuple[bytes, ...]:
    return proof(old, new, FORKED)


class Request(Struct, frozen=True):
    """What reached the server."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Request], bytes | Iterable[bytes]]


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


class HonestWitness:
    """Keeps to C2SP tlog-witness for one log; `size` and `note` are what it saw last."""

    def __init__(self, *log_keys: Verifier, origin: str = ORIGIN) -> None:
        self.log_keys = log_keys or (KEY.verifier,)
        self.origin = origin
        self.latest = checkpoint(0)
        self.note = b""

    def __call__(self, request: Request) -> bytes:
        if request.method == "GET":
            known = request.path == f"/{hashlib.sha256(self.origin.encode()).hexdigest()}/checkpoint" and self.note
            return response(200, self.note) if known else response(404)
        if request.path != "/add-checkpoint":
            return response(404)
        head, _, submitted = request.body.partition(b"\n\n")
        old, *steps = head.decode().split("\n")
        return self.judge(int(old.removeprefix("old ")), [base64.b64decode(step) for step in steps], submitted)

    def judge(self, old: int, steps: list[bytes], submitted: bytes) -> bytes:
        new = Checkpoint.parse(submitted.rpartition(b"\n\n")[0] + b"\n")
        if new.origin != self.origin:
            return response(404, b"unknown log\n")
        try:
            open_checkpoint(submitted, self.origin, self.log_keys)
        except NoteInvalid:
            return response(403, b"no signature of a known key\n")
        if old > new.size:
            return response(400)
        if old != self.latest.size:
            return response(409, b"%d\n" % self.latest.size, "Content-Type: text/x.tlog.size")
        if not is_consistent(old, new.size, self.latest.root, new.root, steps):
            return response(422, b"the proof does not verify\n")
        line = COSIGNER.cosign(new.text, AT_S)
        self.latest, self.note = new, add_signatures(submitted, [line])
        return response(200, line)


class Loopback:
    """A server whose answers are a script's bytes, or pieces of them with pauses between; `requests` is what it was asked."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), sock:  # a client that has had enough hangs up
                if self._tls:
                    with self._tls.wrap_socket(sock, server_side=True) as secure:
                        self._answer(secure)
                else:
                    self._answer(sock)

    def _answer(self, sock: socket.socket) -> None:
        request = _received(sock)
        self.requests.append(request)
        said = self.script(request)
        for piece in [said] if isinstance(said, bytes) else said:
            if self._closing.is_set():
                return
            sock.sendall(piece)


def slowly(pieces: Iterable[bytes], pause_s: float) -> Iterable[bytes]:
    for piece in pieces:
        yield piece
        time.sleep(pause_s)


def _received(sock: socket.socket) -> Request:
    with sock.makefile("rb") as file:
        method, path, _ = file.readline().decode().split(" ")
        headers: dict[str, str] = {}
        while line := file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return Request(method, path, headers, file.read(int(headers.get("content-length", "0"))))
