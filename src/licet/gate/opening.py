"""Opening the ledger that settings name, with its key and its witnesses: the one place where they are found.

Rules:

1. A new ledger gets a new key file, if its key comes from a file and none is there. A ledger that exists never does: its key was lost,
   and a second one would hide that.
2. Who only reads may do without the key; payloads stay closed then.
3. A ledger in memory has a key that ends with it.
4. Nothing is written to a ledger that is behind its witness. Whoever writes signs what was written, before closing at the latest.
5. Who was erased stays so: whoever opens a ledger for writing erases again whom the manifest beside it names (ledger/erasure.py).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Self

from licet import process
from licet.config import Settings
from licet.errors import KeyUnavailable, StoreError
from licet.ledger.acts import Operator
from licet.ledger.erasure import settle
from licet.ledger.erasure_manifest import ErasureManifest
from licet.ledger.keys import KeyEncryptionKeys, create_key_file, load_keys
from licet.ledger.notary import PUBLISH_AGAIN_S, Notary
from licet.ledger.record import microseconds
from licet.ledger.seal import Filing
from licet.ledger.signing import SigningKeys, trust_of
from licet.ledger.writer import Writer
from licet.model import OPERATOR_LOG
from licet.store.contract import PutCheckpoint, Store
from licet.store.finder import Finder, LedgerRows
from licet.store.index import Index
from licet.store.indexer import Indexer
from licet.store.opening import check_there, is_there, open_store, place_of
from licet.witness.client import Witness
from licet.witness.pins import Pins

MEMORY = "sqlite::memory:"
REWRITE_LIMIT_BYTES = 256 * 1024 * 1024
"""A second or two, in which calls wait. A larger ledger is written anew when its operator says so (`licet db vacuum`)."""
_log = logging.getLogger("licet.gate")


class OpenLedger:
    """A ledger opened for writing: its store, the writer, the notary that signs, and those who pin what is signed.

    Raises `StoreError` (among others `KeyUnavailable`, and `NotAStore` where there is none and not `create`), `AnchorUnusable`, and
    `IntegrityBroken` where the store is behind its witness. Close it, or use it as a context manager. With `indexed`, a thread fills the
    search index as long as it is open, unless the settings say otherwise. Only a loss that is being accepted is not `pinned`.
    """

    def __init__(
        self, settings: Settings, now: Callable[[], datetime], *, create: bool = True, indexed: bool = False, pinned: bool = True
    ) -> None:
        if not create:
            check_there(place_of(settings))  # said before a key is missed that was never made
        self.keys = keys_of(settings, create=create)
        self._now = now
        self._process = process.number()
        self.indexer: Indexer | None = None
        with ExitStack() as opened:  # whatever fails below, what is open by then is closed, the last one first
            self.store = open_store(place_of(settings), now=now, keys=self.keys, create=create)
            opened.callback(self.store.close)
            self.writer = Writer(self.store, deadline_s=settings.limits.store_timeout_s)
            opened.callback(self.writer.close)
            self.signing = SigningKeys(self.store, self.keys)
            if self.store.signing_keys():
                self.signing.get_signer()  # a stranger's key is found here, and not by a thread that signs
            self.pins = self._find_pins(settings) if pinned else None
            if self.pins is not None:
                self.pins.check()
                self.writer.barrier = self.pins.find_problem
            self.notary = self._make_notary(settings)
            self.writer.committed = self.notary.note
            self.manifest = manifest_of(settings)
            self._settle(settings)
            opened.callback(self.notary.close)
            if pinned:
                self.notary.start()
            self._settings = settings
            self._searching: Searching | None = None
            self._finding = threading.Lock()
            if indexed and settings.search.index and not in_memory(settings):
                self._begin_indexing(settings, opened)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Everything is committed, signed and closed; in a forked child nothing is touched, since all of it is the parent's."""
        if process.number() == self._process:  # a thread of the parent may have held any lock at the fork
            self._opened.close()

    def _make_notary(self, settings: Settings) -> Notary:
        return Notary(
            self.store,
            self.writer,
            self.signing,
            self.now_us,
            None if self.pins is None else self.pins.publish,
            publish_again_s=min(PUBLISH_AGAIN_S, settings.witness.max_age_s / 4),
        )

    def _begin_indexing(self, settings: Settings, opened: ExitStack) -> None:
        """A thread fills the search index. One that cannot be opened stops no call: whoever searches is told."""
        try:
            searching = Searching(settings, self.store)
        except StoreError as error:
            _log.warning("licet: the ledger cannot be searched: %s", error)
            return
        opened.callback(searching.close)
        searching.indexer.start()
        self.indexer = searching.indexer
        self._searching = searching

    def search(self) -> Searching:
        """The search index of this ledger, with every record that the ledger has now. It is closed with the ledger. Raises `StoreError`."""
        with self._finding:
            if self._searching is None:
                self._searching = Searching(self._settings, self.store)
                self._opened.callback(self._searching.close)
        self._searching.indexer.catch_up()
        return self._searching

    def operator(self, settings: Settings, by: str) -> Operator:
        """Somebody who does to this ledger what is beside the calls."""
        return Operator(store=self.store, writer=self.writer, environment=settings.environment, now=self._now, by=by)

    def _settle(self, settings: Settings) -> None:
        """Rule 5."""
        again, problems = settle(self.operator(settings, "(the start)"), self.manifest)
        if again:
            self.store.rewrite(REWRITE_LIMIT_BYTES)
            self.store.cut_log()
            _log.warning("licet: whoever was erased before and was in the ledger again has been erased again: %d", len(again))
        erased = [(one.log, one.pseudonym) for one in self.manifest.read().values()]
        problem = forget_in_index(settings, [(log, gone) for owner, gone in erased for log in (owner, OPERATOR_LOG)])
        for text in (*problems, *((problem,) if problem else ())):
            _log.warning("licet: what was erased before cannot be erased again now: %s", text)

    def _find_pins(self, settings: Settings) -> Pins | None:
        wanted = settings.witness
        if not wanted.anchors and not wanted.servers:
            return None
        self.signing.signer(self.writer)  # who pins must know whose checkpoints are meant
        return Pins(
            self.store,
            lambda: trust_of(self.store, wanted.log),
            wanted.anchors,
            [Witness(server.url, server.vkey, monitoring_url=server.monitoring_url) for server in wanted.servers],
            max_age_s=wanted.max_age_s,
            keep=self._keep,
        )

    def _keep(self, size: int, note: bytes) -> None:
        """A checkpoint with its cosignatures takes the place of the one without."""
        self.writer.submit(Filing((), (PutCheckpoint(size, self.now_us(), note, self.signing.get_signer().vkey),))).wait()

    def now_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return microseconds(self._now())


class Searching:
    """The search index of a ledger, what fills it, and what asks it. An index that cannot be opened is made anew by `Index.open`."""

    def __init__(self, settings: Settings, store: Store) -> None:
        place = MEMORY if in_memory(settings) else index_path(settings)
        self.index = Index.open(place, text=settings.search.text)
        self.indexer = Indexer(self.index, LedgerRows(store))
        self.finder = Finder(store, self.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The index is closed; another process may go on filling it."""
        try:
            self.indexer.close()
        finally:
            self.index.close()


def index_path(settings: Settings) -> Path:
    """Where the search index of the settings' ledger lies."""
    return settings.search.path or settings.beside.with_name(f"{settings.beside.name}-index")


def forget_in_index(settings: Settings, erased: Sequence[tuple[str, str]]) -> str | None:
    """No text of these (log, pseudonym) is in the search index, if there is one; or why that could not be made sure of now."""
    if in_memory(settings) or not erased or not index_path(settings).exists():
        return None
    try:
        index = Index.open(index_path(settings), text=settings.search.text)
        try:
            for log in dict.fromkeys([log for log, _ in erased]):
                index.forget(log, [pseudonym for other, pseudonym in erased if other == log])
        finally:
            index.close()
    except StoreError as error:
        return str(error)
    return None


def in_memory(settings: Settings) -> bool:
    """Whether the ledger ends with the process."""
    return place_of(settings).in_memory


def has_ledger(settings: Settings) -> bool:
    """Whether there is a ledger to look at; True where nobody can tell, so that whoever opens it says why."""
    try:
        return is_there(place_of(settings))
    except StoreError:
        return True


def manifest_of(settings: Settings) -> ErasureManifest:
    """The erasure manifest of the settings' ledger."""
    path = settings.beside
    return ErasureManifest(None if in_memory(settings) else path.with_name(f"{path.name}-erasures"))


def open_reading(settings: Settings, now: Callable[[], datetime]) -> Store:
    """The ledger, opened for reading, with its key where there is one. Raises `StoreError`; `NotAStore` where there is none."""
    return open_store(place_of(settings), now=now, keys=find_keys(settings), create=False, read_only=True)


def find_keys(settings: Settings) -> KeyEncryptionKeys | None:
    """The keys of the settings' ledger, where they are at hand."""
    try:
        return keys_of(settings, create=False)
    except KeyUnavailable:
        return None


def keys_of(settings: Settings, *, create: bool) -> KeyEncryptionKeys:
    """The keys of the settings' ledger; made first where both are new and `create`. Raises `KeyUnavailable`."""
    if in_memory(settings):
        return KeyEncryptionKeys.generate()
    scheme, _, path = settings.keys.partition(":")
    if create and scheme == "file" and not Path(path).exists() and not is_there(place_of(settings)):
        create_key_file(Path(path))
    return load_keys(settings.keys, folder=settings.file.parent if settings.file is not None else Path())
