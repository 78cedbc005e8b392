"""Signing what the ledger holds, beside the commits and never in their way.

Every second, and whenever 256 records have come together, in this order:

1. the roots of all logs that have grown become leaves of the head log: one change, which joins the writer's next group
2. the head log's checkpoint is signed, in this thread, after that group is durable
3. the signed note is kept: one more change for the next group
4. once that is durable, whoever pins it is told (`publish`)

Rules:

1. Nobody who calls a tool waits for any of this. A store that cannot be written is tried again at the next turn; what could not be signed
   is signed then, by this process or another: a head that nobody has signed yet is found in the store.
2. Only what is durable is published: a witness must never have seen more than a power cut leaves.
3. Publishing has a thread of its own and takes the newest note only: a slow witness holds up no signature.
4. When nothing is signed, because nobody calls or nothing may be written, the newest checkpoint of the store is published again: a witness
   that has seen nothing for long would count as silent, and one that was silent would never be asked again.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from licet.errors import GateClosed, LicetError, StoreError
from licet.ledger.checkpoint import sign_checkpoint
from licet.ledger.seal import Filing
from licet.ledger.signing import SigningKeys, checkpoint_of
from licet.ledger.writer import Writer
from licet.store.contract import AppendHead, PutCheckpoint, Store

EVERY_S = 1.0
RECORDS = 256
"""A full tile: what is signed is published in whole ones as far as possible."""
PUBLISH_AGAIN_S = 60.0
"""So long at the most a ledger waits for a witness that is back."""

_log = logging.getLogger("licet.ledger")

Publish = Callable[[bytes], None]
"""Told a signed note that is durable, again and again while there is no newer one. May take its time."""


class Notary:
    """Signs the heads of one store. Its threads run from `start` to `close`."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        signing: SigningKeys,
        now_us: Callable[[], int],
        publish: Publish | None = None,
        *,
        publish_again_s: float = PUBLISH_AGAIN_S,
    ) -> None:
        self._store = store
        self._writer = writer
        self._signing = signing
        self._now_us = now_us
        self._publish = publish
        self._publish_again_s = publish_again_s
        self._records = 0
        self._due = threading.Event()
        self._turning = threading.Lock()
        self._news = threading.Event()
        self._newest: deque[bytes] = deque(maxlen=1)
        self._closed = False
        self._is_last = False
        self._problem: str | None = None
        self._threads = [threading.Thread(target=self._run, name="licet-notary", daemon=True)]
        if publish is not None:
            self._threads.append(threading.Thread(target=self._tell, name="licet-publisher", daemon=True))

    def start(self) -> None:
        """From now on what is committed is signed."""
        for thread in self._threads:
            thread.start()

    def note(self, records: int) -> None:
        """So many records were committed."""
        self._records += records
        if self._records >= RECORDS:
            self._due.set()

    def turn(self) -> None:
        """Everything that is durable now is signed. Raises `StoreError`, `GateClosed`."""
        with self._turning:
            new, self._records = self._records, 0
            head = None if new else self._store.head()  # what this process has committed needs no look
            if head is None or head.grown:
                self._writer.submit(Filing((), (AppendHead(self._now_us()),))).wait()
                head = self._store.head()
            if head.size > head.checkpoint:
                signer = self._signing.signer_at(head, self._writer)
                note = sign_checkpoint(checkpoint_of(head), [signer])
                self._writer.submit(Filing((), (PutCheckpoint(head.size, self._now_us(), note, signer.vkey),))).wait()
                self._newest.append(note)
                self._news.set()

    def close(self) -> None:
        """What was committed is signed and published, if it can be; the threads have ended."""
        if self._closed:
            return
        self._closed = True
        self._due.set()
        if self._threads[0].is_alive():
            self._threads[0].join()
        self._try()
        self._is_last = True
        self._news.set()
        if len(self._threads) > 1 and self._threads[1].is_alive():
            self._threads[1].join()

    def _run(self) -> None:
        while not self._closed:
            self._try()
            self._due.wait(EVERY_S)
            self._due.clear()

    def _try(self) -> None:
        try:
            self.turn()
            self._problem = None
        except (StoreError, GateClosed) as error:
            if self._problem != str(error):  # said once: it is tried again every second, for as long as it lasts
                self._problem = str(error)
                _log.warning("licet: the head of the log could not be signed now: %s", error)
        except Exception:  # noqa: BLE001 - the thread must outlive whatever one turn meets
            _log.exception("licet: the head of the log could not be signed")

    def _tell(self) -> None:
        assert self._publish is not None
        while True:
            self._news.wait(self._publish_again_s)
            self._news.clear()
            ends = self._is_last
            try:
                note = self._find_note(again=not ends)
                if note is not None:
                    self._publish(note)
            except LicetError as error:
                _log.warning("licet: a checkpoint could not be published: %s", error)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("licet: a checkpoint could not be published")
            if ends:
                return

    def _find_note(self, *, again: bool) -> bytes | None:
        """What was signed since; where there is nothing, what the store has, if that is wanted again (rule 4)."""
        try:
            return self._newest.popleft()
        except IndexError:
            kept = self._store.newest_checkpoint() if again else None
            return None if kept is None else kept.note
