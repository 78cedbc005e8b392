"""`GET /api/v1/export`: records as a file, streamed as it is made.

Rules:

1. That somebody exports, what, and how many records there are, is recorded before the first byte goes out; that record is in the export.
2. An export is of one log, or of the whole ledger: the latter only to whoever may export every log that there is.
3. A file that was cut is seen to be: jsonl, csv and parquet end with what shows that they are whole. The lines of ocsf and otlp cannot say
   it themselves, so their manifest follows as a last line of its own kind, `{"licet_export":...}`, which is to be cut off.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Final
from urllib.parse import quote

from licet.errors import IntegrityBroken
from licet.ledger.excerpt import Closed, Excerpt
from licet.ledger.export import export_lines
from licet.ledger.exports.formats import get_format
from licet.ledger.exports.from_source import expected_of, rows_of
from licet.ledger.exports.manifest import manifest_of
from licet.ledger.exports.summary import Sink
from licet.ledger.source import Source
from licet.model import OPERATOR_LOG
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.limits import AtOnce
from licet.server.problems import Problem, not_found
from licet.server.records import note_reading
from licet.server.shapes_records import ExportRecords
from licet.store.contract import Store

_PART_BYTES: Final = 64 * 1024
_AHEAD: Final = 8
"""Parts that are made before they are taken: whoever reads slowly holds half a megabyte, not the ledger."""
_AT_ONCE: Final = 2
"""Exports of one credential: each holds a thread, and a view of the store as it was."""
_EXPORTS: Final = AtOnce(_AT_ONCE)
_MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_SUFFIX = {"jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet", "ocsf": ".ocsf.jsonl", "otlp": ".otlp.jsonl"}


def export(asked: Asked) -> Answer:
    """Every record of a log, or of the whole ledger, as of one moment."""
    params: ExportRecords = asked.params
    tenant = _tenant(asked)
    ledger = asked.gate.ledger
    sizes = {state.log: state.size for state in ledger.store.logs() if tenant in (None, state.log)}
    if not sizes:
        raise not_found()
    # Before the moment of the records, so that its own record is in it: a store in memory takes none while it is read.
    leave = taking_turns(asked)
    with ExitStack() as unless_made:
        unless_made.callback(leave)
        note_reading(asked, "export", {"format": params.format}, tuple(sizes), shown=sum(sizes.values()), payloads=params.payloads)
        ledger.notary.turn()  # what is exported is signed
        parts = Parts(lambda sink: _write(ledger.store, tenant, params, sink), leave)
        unless_made.pop_all()  # from now on its thread leaves when it ends
    name = f"{tenant or 'ledger'}{_SUFFIX[params.format]}"
    headers = (("Content-Disposition", _attached(name)),)
    return Answer(stream=parts, media_type=_MEDIA.get(params.format, "application/x-ndjson"), headers=headers)


def taking_turns(asked: Asked) -> Callable[[], None]:
    """An export of this credential begins; what is given back ends it. Raises `Problem` where there are enough of them."""
    credential = asked.who.credential
    if not _EXPORTS.enter(credential):
        raise Problem("too_many_requests", f"{_AT_ONCE} exports of this credential are being made already", retry_after_s=10)
    return lambda: _EXPORTS.leave(credential)


def _attached(name: str) -> str:
    """An attachment of this name (RFC 6266, RFC 8187): a name has no quotes, but maybe letters that no header takes."""
    plain = name.encode("ascii", "replace").decode("ascii").replace("?", "_").replace("%", "_")
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'


def _tenant(asked: Asked) -> str | None:
    """The log that is exported; None for the whole ledger. Raises `Problem`."""
    if asked.params.tenant is not None:
        asked.allow("records.export", asked.params.tenant)
        return str(asked.params.tenant)
    found = asked.tenants("records.export")
    if not found:
        raise not_permitted("records.export")
    if len(found) == 1:
        return found[0]
    asked.allow("records.export", OPERATOR_LOG)
    logs = {state.log for state in asked.gate.store.logs()}
    if not logs <= set(found):
        raise not_permitted("records.export")
    return None


def _write(store: Store, tenant: str | None, params: ExportRecords, sink: Sink) -> None:
    with store.source() as whole:  # opened and closed by the one thread that reads it
        _write_source(whole if tenant is None else Excerpt(whole, tenant), params, sink)


def _write_source(source: Source, params: ExportRecords, sink: Sink) -> None:
    if params.format == "jsonl":
        for line in export_lines(source if params.payloads else Closed(source)):
            sink.write(line + b"\n")
        return
    form, expected = get_format(params.format), expected_of(source)
    summary = form.write(rows_of(source, payloads=params.payloads), sink, expected)
    if not summary.complete:
        raise IntegrityBroken(f"{summary.rows_written} of {summary.rows_expected} records could be read")
    if form.verify is None:
        sink.write(manifest_of(summary, expected, form.name))


class _Pipe:
    """A sink whose other end is read by another thread, a part at a time."""

    def __init__(self) -> None:
        self.parts: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self.gone = threading.Event()
        self._held = bytearray()

    def write(self, data: bytes, /) -> int:
        """Held until there is enough for a part. Raises `BrokenPipeError` when nobody reads any more."""
        self._held += data
        if len(self._held) >= _PART_BYTES:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """What is held is a part."""
        if self._held:
            self.put(bytes(self._held))
            self._held.clear()

    def put(self, part: bytes | BaseException | None) -> None:
        """It is read, or nobody reads any more (`BrokenPipeError`)."""
        while not self.gone.is_set():
            try:
                self.parts.put(part, timeout=0.2)
            except queue.Full:
                continue
            return
        raise BrokenPipeError


class Parts:
    """What `write` writes, made by a thread of its own as it is taken, for as long as somebody takes it.

    An error breaks the stream off, so that nobody takes it for whole.
    """

    def __init__(self, write: Callable[[Sink], None], ended: Callable[[], None]) -> None:
        self._pipe = _Pipe()
        threading.Thread(target=_make, args=(self._pipe, write, ended), name="licet-export", daemon=True).start()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        part = self._pipe.parts.get()
        if isinstance(part, BaseException):
            raise part
        if part is None:
            raise StopIteration
        return part

    def __del__(self) -> None:
        self._pipe.gone.set()


def _make(pipe: _Pipe, write: Callable[[Sink], None], ended: Callable[[], None]) -> None:
    try:
        with suppress(BrokenPipeError):
            try:
                write(pipe)
                pipe.flush()
                pipe.put(None)
            except BrokenPipeError:
                raise
            except BaseException as error:  # noqa: BLE001 - told to whoever reads
                pipe.put(error)
    finally:
        ended()


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/export",
        operation="exportRecords",
        summary="Every record of a log, or of the whole ledger, as a file that shows whether it is whole",
        tag="records",
        action="records.export",
        handler=export,
        params=ExportRecords,
        media_type="application/x-ndjson",
        other_media=tuple(_MEDIA.values()),
    ),
)
