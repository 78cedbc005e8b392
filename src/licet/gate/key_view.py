"""The API keys of a store, as one process sees them (`KeySource` of identity/api_keys.py).

Rules:

1. The records say which keys were issued, what erasures have changed in them, and when they end; they are read on from where this process
   was, and only where something was committed since. A row serves only if a record bears it out, so one that was forged, widened or revived
   in the database is refused.
2. A view is fresh for `FRESH_S`, and a thread of its own reads it anew every `LOOK_S`: a revocation counts within a second. A store that
   cannot be read lets it age, and nobody is let in by it any more.
3. When keys were used last is gathered here, and written once a minute; with the process, at most that minute is lost.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from licet.errors import LicetError, StoreUnavailable
from licet.identity.api_keys import KeyContent, StoredKey, decode_content
from licet.ledger.issued import Issues
from licet.ledger.seal import Filing
from licet.ledger.writer import Writer
from licet.store.contract import Store
from licet.store.credentials import StoredCredential, TouchCredentials

LOOK_S = 0.3
FRESH_S = 0.9
NOTE_S = 60.0

_log = logging.getLogger("licet.gate")


class KeyView:
    """Safe to use from many threads. `start` begins its thread, `close` ends it and writes what was used."""

    def __init__(self, store: Store, writer: Writer | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._looking = threading.Lock()
        self._issues = Issues()
        self._next = 0
        self._version: int | None = None
        self._seen_at = -math.inf
        self._doubted: set[str] = set()
        self._used: dict[str, int] = {}
        self._away = False
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on the view is kept fresh, and uses are written."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="licet-keys", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """The thread has ended, and what was used is written as far as the store lets it. Safe to call twice."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=5)
            self.write_uses()

    def is_fresh(self) -> bool:
        """Whether every revocation of a second ago is known."""
        return self._clock() - self._seen_at < FRESH_S

    def refresh(self) -> None:
        """It is fresh now. Raises `StoreError`."""
        if self._clock() - self._seen_at < LOOK_S:
            return
        if not self._looking.acquire(timeout=FRESH_S):
            raise StoreUnavailable(f"which keys were revoked could not be read within {FRESH_S:g} s")
        try:
            self._look()
        finally:
            self._looking.release()

    def find(self, credential: str) -> StoredKey | None:
        """The key of this id, if a record bears its row out. Raises `StoreError`."""
        row = self._store.find_credential(credential)
        if row is None:
            return None
        if not self._issues.bears_out(row.issued):
            self.look(anew=True)  # it may have been issued or changed a moment ago, by another process of whose commit nobody has told yet
            row = self._store.find_credential(credential) or row
        content = content_of(row) if self._issues.bears_out(row.issued) else None
        if content is None:
            self._doubt(credential)
            return None
        return StoredKey(id=credential, digest=row.issued.digest, content=content, expires_at=row.issued.expires_at)

    def look(self, *, anew: bool = False) -> None:
        """What was committed until now is known. Raises `StoreError`.

        A store may hear of commits by other processes soon after, and tell then that there was one: `anew` does not wait for that.
        """
        with self._looking:
            self._look(anew=anew)

    def ends_at(self, credential: str) -> int | None:
        """When the key ends by what is known now."""
        return self._issues.ends.get(credential)

    def mark_of(self, credential: str) -> str | None:
        """Which content the key has by what is known now."""
        return self._issues.marks.get(credential)

    def note_use(self, credential: str, at: int) -> None:
        """The key was used (rule 3)."""
        self._used[credential] = at

    def write_uses(self) -> None:
        """What was used is on its way to the store. A store that is down loses it: nothing rests on it."""
        used, self._used = self._used, {}
        if not used or self._writer is None:
            return
        try:
            self._writer.submit(Filing((), (TouchCredentials(tuple(used.items())),))).wait()
        except LicetError as error:
            _log.warning("licet: when keys were used last could not be written: %s", error)

    def _look(self, *, anew: bool = False) -> None:
        began = self._clock()  # before the store is asked: a revocation that lands meanwhile is not taken for seen
        version = self._store.version()
        if anew or version != self._version:
            found = self._store.credential_records(self._next)
            for envelope in found.envelopes:
                self._issues.take(envelope)
            self._next, self._version = found.next, version
        self._seen_at = began

    def _keep(self) -> None:
        written = self._clock()
        while not self._closing.wait(LOOK_S):
            self._look_patiently()
            if self._clock() - written >= NOTE_S:
                written = self._clock()
                self.write_uses()

    def _look_patiently(self) -> None:
        """Said once for each outage: this is tried several times a second. Nothing that it meets ends the thread."""
        try:
            self.look()
        except Exception as error:  # noqa: BLE001 - as above
            if not self._away:
                unforeseen = not isinstance(error, LicetError)
                _log.warning("licet: which keys were revoked cannot be read, so no key is accepted: %s", error, exc_info=unforeseen)
            self._away = True
        else:
            self._away = False

    def _doubt(self, credential: str) -> None:
        if credential not in self._doubted:
            self._doubted.add(credential)
            _log.error("licet: credential `%s` is not what the log says, and is refused: run `licet audit verify`", credential)


def content_of(row: StoredCredential) -> KeyContent | None:
    """What the row says that the key is for, without the salt; None where nobody can read it."""
    try:
        return replace(decode_content(row.issued.content), salt="")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
