"""What somebody who runs Licet does to a ledger beside the calls: each act is a record that says who did it, and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from licet.ledger.record import ApprovalEntry, Kind, Payload, microseconds
from licet.ledger.seal import Statement, state
from licet.ledger.writer import Writer
from licet.model import CallId, JsonObject, RequestId
from licet.store.contract import Store


class Operator(Struct, frozen=True, kw_only=True):
    """Who acts (`by`, as the operating system knows them), on an open ledger, in an environment."""

    store: Store
    writer: Writer
    environment: str
    now: Callable[[], datetime]
    by: str

    def say(
        self,
        kind: Kind,
        log: str,
        detail: JsonObject,
        *,
        marks: tuple[str, ...] = (),
        request: RequestId | None = None,
        call: CallId | None = None,
        by: str | None = None,
    ) -> Statement:
        """A record of an act. Nobody's secret but the log's seals it."""
        return state(
            log=log,
            kind=kind,
            at=microseconds(self.now()),
            boot=self.store.boot,
            environment=self.environment,
            call=call,
            approval=None if request is None else ApprovalEntry(request),
            marks=marks,
            payload=Payload(detail={**detail, "by": self.by if by is None else by}),
        )
