"""Do the rows beside the records say what the records say, and nothing else?

Every row of requests, votes, open calls, unsettled calls, keys, freezes, credentials and snapshots is held beside what `Replay` made of
the records: a row that no record explains was forged, one that differs was edited, one that is missing was deleted.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

from licet.ledger.record import microseconds
from licet.ledger.replay import Asking, OpenIntent, Replay
from licet.ledger.report import Findings
from licet.ledger.source import OpenRow, Projections, RequestRow, VoteRow
from licet.model import OPERATOR_LOG, asker_of


def verify_projections(replay: Replay, projections: Projections, findings: Findings) -> None:
    """All rows are held beside the replayed records; what differs, or cannot be read, is in the findings."""
    for verify in (
        _verify_requests,
        _verify_votes,
        _verify_open_calls,
        _verify_unsettled,
        _verify_keys,
        _verify_freezes,
        _verify_credentials,
        _verify_snapshots,
    ):
        with findings.of(None):
            verify(replay, projections, findings)


def _verify_requests(replay: Replay, projections: Projections, findings: Findings) -> None:
    unseen = dict(replay.requests)
    for row in projections.requests():
        asking = unseen.pop(row.id, None)
        if row.id in replay.unread:
            continue
        if asking is None:
            findings.add(row.tenant, None, "request", "a row that no record opened", found=row.id)
        else:
            _verify_request(replay, asking, row, findings)
    for request, asking in unseen.items():
        findings.add(asking.log, asking.index, "request", "its row is missing", expected=request)


def _verify_request(replay: Replay, asking: Asking, row: RequestRow, findings: Findings) -> None:
    opened = asking.opened
    pairs: list[tuple[str, object, object]] = [
        ("key", replay.blind(asking.log, "request", opened.key), row.key),
        ("tenant", opened.tenant, row.tenant),
        ("expires_at", microseconds(opened.expires_at), row.expires_at),
        ("state", asking.state.value, row.state),
        ("asker", replay.blind(asking.log, "asker", asker_of(opened)), row.asker),
        ("plan", opened.plan, row.plan),
    ]
    for field, expected, found in pairs:
        if expected != found:
            message = f"the row of request {row.id} is not what the records say"
            findings.add(asking.log, asking.index, f"request.{field}", message, expected=expected, found=found)


def _verify_votes(replay: Replay, projections: Projections, findings: Findings) -> None:
    stored: dict[str, list[VoteRow]] = defaultdict(list)
    for row in projections.votes():
        stored[row.request].append(row)
    for request in sorted({*stored, *replay.requests} - replay.unread):
        asking = replay.requests.get(request)
        ballots = asking.ballots() if asking is not None else ()
        expected = [(replay.blind(asking.log, "person", person), live) for person, live in ballots] if asking is not None else []
        found = [(row.person, row.live) for row in stored.get(request, [])]
        if expected != found:
            log, index = (asking.log, asking.index) if asking is not None else (None, None)
            message = f"the votes on request {request} are not those that were recorded"
            findings.add(log, index, "votes", message, expected=expected, found=found)


def _verify_open_calls(replay: Replay, projections: Projections, findings: Findings) -> None:
    unseen = dict(replay.open)
    for row in projections.open_calls():
        intent = unseen.pop(row.call, None)
        expected = _expected_of(intent, row) if intent is not None else ""
        found = (row.log, row.boot, row.deadline, row.held)
        if expected != found:
            message = f"the row of call {row.call} is not what the records say"
            findings.add(row.log, None if intent is None else intent.index, "open_calls", message, expected=expected, found=found)
    for call, intent in unseen.items():
        findings.add(intent.log, intent.index, "open_calls", "an intent without an end is not known as open", expected=call)


def _expected_of(intent: OpenIntent, row: OpenRow) -> tuple[str, str, int | None, bool]:
    """A row with another deadline would have it said too early that nobody saw the end; one that nobody holds, never."""
    deadline = row.deadline if intent.closed else intent.report_by
    return intent.log, intent.boot, deadline, deadline is None


def _verify_unsettled(replay: Replay, projections: Projections, findings: Findings) -> None:
    unseen = dict(replay.unsettled)
    for row in projections.unsettled():
        log, index = unseen.pop(row.call, (None, None))
        if log != row.log:
            message = f"the row of call {row.call} is not what the records say"
            findings.add(row.log, index, "unsettled", message, expected=log or "", found=row.log)
    for call, (log, index) in unseen.items():
        findings.add(log, index, "unsettled", "a call of which nobody saw the end is not known as unsettled", expected=call)


def _verify_keys(replay: Replay, projections: Projections, findings: Findings) -> None:
    unseen = dict(replay.keys)
    for row in projections.taken_keys():
        if row.call not in unseen:
            findings.add(row.log, None, "keys", f"no intent took the key of call {row.call}", found=row.key)
            continue
        taken = unseen.pop(row.call)
        for field in ("log", "key", "scope", "digest") if taken is not None else ():
            expected, found = getattr(taken, field), getattr(row, field)
            if expected != found:
                message = f"the key of call {row.call} is not what the records say"
                findings.add(row.log, None if taken is None else taken.index, f"keys.{field}", message, expected=expected, found=found)
    for call, taken in unseen.items():
        log, index = (taken.log, taken.index) if taken is not None else (None, None)
        findings.add(log, index, "keys", "an idempotency key is not known as taken", expected=taken.key if taken is not None else call)


def _verify_freezes(replay: Replay, projections: Projections, findings: Findings) -> None:
    """Who deletes one would let go on what was stopped."""
    unseen = {freeze.id: freeze for freeze in replay.frozen.standing}
    for row in projections.freezes():
        freeze = unseen.pop(row.id, None)
        found = (row.log, row.scope, row.name, row.at)
        expected = None if freeze is None else (freeze.log, freeze.scope, freeze.name, freeze.at)
        if found != expected:
            message = f"the row of freeze {row.id} is not what the records say"
            findings.add(row.log, None, "freezes", message, expected=expected or "", found=found)
    for freeze in unseen.values():
        findings.add(freeze.log, None, "freezes", "a freeze stands that has no row", expected=f"{freeze.id}: {freeze.what}")


def _verify_credentials(replay: Replay, projections: Projections, findings: Findings) -> None:
    """Who forges one, widens one or lets one live on would speak in somebody's name."""
    issues = replay.issues
    unseen = dict(issues.marks)
    for row in projections.credentials():
        id_ = row.issued.id
        expected = unseen.pop(id_, None)
        if expected is None:
            findings.add(OPERATOR_LOG, None, "credentials", "no record issued this credential", found=id_)
        elif row.issued.mark != expected:
            message = f"credential {id_} is not what was issued"
            findings.add(OPERATOR_LOG, None, "credentials", message, expected=expected, found=row.issued.mark)
        elif row.ends_at != issues.ends.get(id_):
            message = f"credential {id_} does not end when the records say"
            findings.add(OPERATOR_LOG, None, "credentials.ends_at", message, expected=issues.ends.get(id_), found=row.ends_at)
    for id_ in unseen:
        findings.add(OPERATOR_LOG, None, "credentials", "a credential that was issued has no row", expected=id_)


def _verify_snapshots(replay: Replay, projections: Projections, findings: Findings) -> None:
    """A gate reads catalogs of others from here, so that nobody may put one there without a record."""
    unseen = dict(replay.snapshots)
    for blob in projections.blobs():
        if unseen.pop(blob.digest, None) is None and not replay.unread_snapshots:
            findings.add(None, None, "snapshot", "no record says that it was in force", found=blob.digest)
        digest = hashlib.sha256(blob.content).hexdigest()
        if digest != blob.digest:
            findings.add(None, None, "snapshot", "its bytes are not those that were hashed", expected=blob.digest, found=digest)
    for missing, (log, index) in unseen.items():
        findings.add(log, index, "snapshot", "what was in force is missing", expected=missing)
