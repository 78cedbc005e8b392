"""Key-encryption keys: where they come from, and how they wrap the secrets of a ledger.

Rules:

1. A key-encryption key is 32 random bytes, written `licet-key-1:<base64>`, one a line. The first line wraps; every line unwraps, so that a
   key can be changed while what the old one has wrapped is still there.
2. It comes from a file, an environment variable or the output of a command, never from a flag, and stands in no message.
3. A file that others than its owner can read is refused.
4. A wrapped secret is bound to its row: moved to another row it does not unwrap.

    wrapped = nonce (12) || AES-256-GCM(key, nonce, secret, aad = "licet secret v1" NUL tenant NUL pseudonym)       NIST SP 800-38D

Whoever has the key and the database can read every payload that was not erased. Whoever has lost the key can read none: keep a copy
of it apart from the copies of the database.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shlex
import stat
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from licet.errors import KeyUnavailable, SecretBroken
from licet.ledger.entropy import NONCE_BYTES

KEY_BYTES = 32
PREFIX = "licet-key-1:"
SOURCE_LIMIT_BYTES = 64 * 1024
COMMAND_TIMEOUT_S = 30.0


class KeyEncryptionKeys:
    """The keys that wrap and unwrap secrets; the first one wraps. `id` of a key is the first 16 hex digits of its SHA-256."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise KeyUnavailable(f"a key-encryption key has {KEY_BYTES} bytes, and there must be one")
        self._keys = {key_id(key): AESGCM(key) for key in keys}
        self.current = key_id(keys[0])

    @classmethod
    def generate(cls) -> KeyEncryptionKeys:
        """A key that dies with the process: for ledgers in memory, and for tests."""
        return cls([os.urandom(KEY_BYTES)])

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the one that wraps first."""
        return tuple(self._keys)

    def wrap(self, secret: bytes, tenant: str, pseudonym: str) -> bytes:
        """The secret under the current key, bound to its row."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._keys[self.current].encrypt(nonce, secret, _bound_to(tenant, pseudonym))

    def unwrap(self, key: str, wrapped: bytes, tenant: str, pseudonym: str) -> bytes:
        """The secret. Raises `KeyUnavailable` when that key is not here, `SecretBroken` when the row is not what was written."""
        found = self._keys.get(key)
        if found is None:
            raise KeyUnavailable(f"the ledger was written under the key `{key}`, which is not among those at hand: {', '.join(self.ids)}")
        try:
            return found.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound_to(tenant, pseudonym))
        except (InvalidTag, ValueError) as error:
            raise SecretBroken("a stored secret is not what was written; run `licet audit verify`") from error


def key_id(key: bytes) -> str:
    """The name of a key: says which it is, and nothing else about it."""
    return hashlib.sha256(key).hexdigest()[:16]


def new_key_line() -> str:
    """A fresh key, as it is written."""
    return PREFIX + base64.b64encode(os.urandom(KEY_BYTES)).decode()


def parse_keys(unverified: bytes, source: str) -> KeyEncryptionKeys:
    """Keys from what a source holds. Raises `KeyUnavailable`, which names the source and no part of a key."""
    lines = [line.strip() for line in unverified.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    keys = []
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("ascii")
            key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else b""
        except (UnicodeDecodeError, binascii.Error):
            key = b""
        if len(key) != KEY_BYTES:
            raise KeyUnavailable(f"key {number} in {source} is not written as `{PREFIX}<base64 of {KEY_BYTES} bytes>`")
        keys.append(key)
    if not keys:
        raise KeyUnavailable(f"{source} holds no key")
    return KeyEncryptionKeys(keys)


def load_keys(source: str, *, folder: Path, environ: Mapping[str, str] | None = None) -> KeyEncryptionKeys:
    """The keys at `file:PATH`, `env:NAME` or `command:COMMAND LINE`; a relative path starts at `folder`.

    Raises `KeyUnavailable` when there is none, it cannot be read, or others can read the file.
    """
    scheme, colon, rest = source.partition(":")
    if colon and scheme == "file":
        return parse_keys(_read_file(folder / rest), f"`{folder / rest}`")
    if colon and scheme == "env":
        value = (os.environ if environ is None else environ).get(rest)
        if value is None:
            raise KeyUnavailable(f"the environment variable `{rest}`, which should hold the ledger's key, is not set")
        return parse_keys(value.encode(), f"the environment variable `{rest}`")
    if colon and scheme == "command":
        return parse_keys(_ask(rest), f"the output of `{rest}`")
    raise KeyUnavailable(f"`{source}` is not `file:PATH`, `env:NAME` or `command:COMMAND LINE`")


def create_key_file(path: Path) -> None:
    """A new key lies at `path`, whole, readable by its owner alone, and survives a power cut. Never writes over anything.

    A crash at any moment leaves no file at `path` or the whole one. Raises `KeyUnavailable`.
    """
    beside = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w", encoding="ascii") as stream:
            stream.write(new_key_line() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            with suppress(FileExistsError):  # another process was quicker: its key is the one
                os.link(beside, path)
        finally:
            beside.unlink()
        folder = os.open(path.resolve().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyUnavailable(f"the ledger's key cannot be created at `{path}`: {error.strerror}") from error


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(SOURCE_LIMIT_BYTES)
    except FileNotFoundError as error:
        raise KeyUnavailable(
            f"there is no key at `{path}`; without it no payload can be read or written: restore it from its copy"
        ) from error
    except OSError as error:
        raise KeyUnavailable(f"the key at `{path}` cannot be read: {(error.strerror or 'unknown error').lower()}") from error
    if mode & 0o077:
        raise KeyUnavailable(f"the key at `{path}` can be read by others (mode {mode:o}); run `chmod 600 {shlex.quote(str(path))}`")
    return content


def _ask(command: str) -> bytes:
    """What the command prints. It gets no shell, and its own messages are not shown: they may hold secrets."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)  # noqa: S603  the operator's own
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:  # `IndexError`: there is nothing to run
        raise KeyUnavailable(f"the command `{command}`, which should print the ledger's key, failed ({type(error).__name__})") from error
    if done.returncode:
        raise KeyUnavailable(f"the command `{command}`, which should print the ledger's key, ended with exit code {done.returncode}")
    return done.stdout[:SOURCE_LIMIT_BYTES]


def _bound_to(tenant: str, pseudonym: str) -> bytes:
    return b"\0".join((b"licet secret v1", tenant.encode(), pseudonym.encode()))
