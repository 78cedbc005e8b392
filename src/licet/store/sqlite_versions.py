"""How SQLite tells that something has been committed; see store/versions.py for what is promised.

`PRAGMA data_version` changes on a connection when another one has committed, in whatever process. So a ledger in a file is watched
through a connection that never writes. One in memory has a single connection for all: its own changes are counted beside.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import apsw

from licet.errors import GateClosed, IntegrityBroken
from licet.model import RequestId, RequestState
from licet.store.versions import RequestStatus

_EPOCH = datetime.fromtimestamp(0, UTC)
_SHIFT = 32
"""`data_version` is an unsigned 32-bit number."""


class Watch(Protocol):
    """A token that changes with every commit."""

    def read(self) -> int:
        """The token as of now. Raises `apsw.Error`; `GateClosed` once closed."""
        ...

    def close(self) -> None:
        """Nothing is open any more."""
        ...


class FileWatch:
    """A connection of its own, opened when it is first asked, and again after an error."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._con: apsw.Connection | None = None
        self._opened = 0
        self._closed = False

    def read(self) -> int:
        """The token as of now: a new connection counts afresh, so how often one was opened is part of it."""
        with self._lock:
            if self._closed:
                raise GateClosed("the ledger was closed")
            if self._con is None:
                self._con = self._connect()
                self._opened += 1
            try:
                return self._opened << _SHIFT | _data_version(self._con)
            except apsw.Error:
                self._close()
                raise

    def close(self) -> None:
        """The connection is closed, and none is opened any more."""
        with self._lock:
            self._closed = True
            self._close()

    def _close(self) -> None:
        con, self._con = self._con, None
        if con is not None:
            con.close()


class SharedWatch:
    """The one connection of a ledger in memory."""

    def __init__(self, one: Callable[[], AbstractContextManager[apsw.Connection]]) -> None:
        self._one = one

    def read(self) -> int:
        """The token as of now."""
        with self._one() as con:
            return con.total_changes() << _SHIFT | _data_version(con)

    def close(self) -> None:
        """The writer closes its connection itself."""


def _data_version(con: apsw.Connection) -> int:
    version = con.pragma("data_version")
    assert isinstance(version, int)
    return version


class VersionReads:
    """The reading half."""

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[Any]:
        raise NotImplementedError

    def states_of(self, requests: Iterable[RequestId]) -> dict[RequestId, RequestStatus]:
        """Where these requests stand, all as of one moment; those that are not there are left out."""
        wanted = json.dumps(list(requests))  # in ASCII: half a surrogate pair names no request, and is no error
        rows = self._rows("SELECT id, state, expires_at FROM requests WHERE id IN (SELECT value FROM json_each(?))", (wanted,))
        try:
            return {
                RequestId(request): RequestStatus(RequestState(state), _EPOCH + timedelta(microseconds=expires_at))
                for request, state, expires_at in rows
            }
        except (ValueError, OverflowError) as error:
            raise IntegrityBroken(f"the row of a request cannot be read ({error}); run `licet audit verify`") from error
