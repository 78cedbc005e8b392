"""What a server is asked to do, or tells, as the values that the same verbs work with of the ledger at hand.

Who acts is whose credential is shown: a name that is given beside it must be that person's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from licet.catalog import strict
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.remote import PAGE, all_pages, as_type, check_person, client_of, missing, refusals
from licet.client import types
from licet.client.connection import in_path
from licet.errors import ArgumentsRefused, ErasureRefused, FreezeRefused, SettlementRefused
from licet.gate.acting import Acting
from licet.gate.credentials import CredentialSeen, IssuedKey, Revoked
from licet.gate.freeze import Lifted
from licet.gate.freeze_view import StandingFreeze
from licet.gate.hindsight import Reasons, decision_of
from licet.gate.unknown import Settled, UnknownCall
from licet.identity.api_keys import KeyContent
from licet.ledger.entries import Entry
from licet.ledger.erasure import Erased
from licet.ledger.forgotten import Hold
from licet.model import Decision, Receipt

if TYPE_CHECKING:
    from licet.cli.invocation import Invocation
    from licet.client import Client

_PLACE = re.compile(r"(?P<log>.+):(?P<index>[0-9]{1,12})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rehearse(invocation: Invocation, tool: str, arguments: bytes, acting: Acting) -> Decision:
    """What would be decided on this call; nothing is recorded, nobody is asked. Raises `Refusal`."""
    try:
        given = strict.parse(arguments)
    except ArgumentsRefused as error:
        raise Refusal(Exit.USAGE, "usage", f"the arguments are not JSON: {error}", next_step="`licet can --help` shows them") from error
    caller = types.CallerNamed(tenant=acting.tenant, agent=acting.agent, service=acting.service, user=acting.user, session=acting.session)
    found = client_of(invocation).propose_call(types.ProposeCall(tool=tool, arguments=given, caller=caller, dry_run=True))
    return as_type({"verdict": found.decision, "code": found.code, "message": found.message}, Decision)


def place_freeze(invocation: Invocation, scope: Any, name: str | None, options: Mapping[str, Any]) -> StandingFreeze:
    """What stands now. Raises `FreezeRefused`, `Refusal`."""
    client = client_of(invocation)
    if options.get("by") is not None:
        check_person(client, options["by"])
    tenant, anyway = options.get("tenant"), bool(options.get("anyway"))
    with refusals(FreezeRefused):
        found = client.place_freeze(types.PlaceFreeze(scope=scope, reason=options["reason"], name=name, tenant=tenant, anyway=anyway))
    return as_type(found, StandingFreeze)


def standing_freezes(invocation: Invocation) -> tuple[StandingFreeze, ...]:
    """What is stopped, as far as this credential may see it."""
    client = client_of(invocation)
    found = all_pages(lambda cursor: client.list_freezes(limit=PAGE, cursor=cursor), lambda page: page.freezes)
    return as_type(found, tuple[StandingFreeze, ...])


def lift_freeze(invocation: Invocation, freeze: str, *, reason: str, by: str | None, second: str | None) -> Lifted:
    """What a lift has done. Raises `FreezeRefused`, `Refusal`."""
    client = client_of(invocation)
    if by is not None:
        check_person(client, by)
    if second is not None:
        message = "of a server, a second person lifts with a credential of their own"
        raise Refusal(Exit.USAGE, "usage", message, next_step="leave `--and` out")
    with missing(f"there is no freeze `{freeze}`", "`licet freeze list` lists what stands"), refusals(FreezeRefused):
        return as_type(client.lift_freeze(freeze, types.LiftFreeze(reason=reason)), Lifted)


def unknown_calls(invocation: Invocation, tenant: str | None) -> tuple[UnknownCall, ...]:
    """The calls of which nobody saw the end."""
    client = client_of(invocation)
    found = all_pages(lambda cursor: client.list_unknown(tenant=tenant, limit=PAGE, cursor=cursor), lambda page: page.calls)
    return as_type(found, tuple[UnknownCall, ...])


def settle_call(invocation: Invocation, call: str, status: Any, reason: str, settler: str | None) -> tuple[UnknownCall, Settled, str]:
    """The call as it was, its settlement, and the credential that was shown. Raises `SettlementRefused`, `Refusal`."""
    client = client_of(invocation)
    who = client.who_am_i()
    if settler is not None:
        check_person(client, settler)
    before = next((found for found in unknown_calls(invocation, None) if found.call == call), None)
    if before is None:
        raise SettlementRefused("not_unknown", f"call `{call}` is not one whose end nobody saw")
    with refusals(SettlementRefused):
        settled = client.settle_unknown(call, types.SettleCall(status=status, reason=reason))
    return before, as_type(settled, Settled), who.credential


def standing_holds(invocation: Invocation) -> tuple[Hold, ...]:
    """The holds that stand."""
    client = client_of(invocation)
    found = all_pages(lambda cursor: client.list_holds(limit=PAGE, cursor=cursor), lambda page: page.holds)
    return tuple([_hold(one) for one in found])


def place_hold(invocation: Invocation, tenant: str, subject: str | None, reason: str) -> Hold:
    """A hold of a subject, or of everything in the log of the tenant. Raises `ErasureRefused`, `Refusal`."""
    kind, id_ = (None, None) if subject is None else split_subject(subject)
    with missing(*_tenant(tenant)), refusals(ErasureRefused):
        return _hold(client_of(invocation).place_hold(types.HeldSubject(tenant=tenant, reason=reason, type=kind, id=id_)))


def release_hold(invocation: Invocation, hold: str, reason: str) -> Hold:
    """The hold that stood. Raises `ErasureRefused`, `Refusal`."""
    with missing(f"there is no hold `{hold}`", "`licet audit holds` lists every hold"), refusals(ErasureRefused):
        return _hold(client_of(invocation).release_hold(hold, types.Released(reason=reason)))


def erase(invocation: Invocation, tenant: str, subject: str, reason: str) -> tuple[Erased, types.Forgotten]:
    """What was forgotten. Raises `ErasureRefused`, `Refusal`."""
    kind, id_ = split_subject(subject)
    with missing(*_tenant(tenant)), refusals(ErasureRefused):
        done = client_of(invocation).erase_subject(types.ErasedSubject(tenant=tenant, type=kind, id=id_, reason=reason))
    return as_type(done.erased, Erased), done


def credentials(invocation: Invocation) -> tuple[CredentialSeen, ...]:
    """Every key that this credential may see, the oldest first."""
    client = client_of(invocation)
    found = all_pages(lambda cursor: client.list_credentials(limit=PAGE, cursor=cursor), lambda page: page.credentials)
    return as_type(found, tuple[CredentialSeen, ...])


def credential(invocation: Invocation, id_: str) -> CredentialSeen:
    """One key. Raises `Refusal`."""
    with _no_credential(id_):
        return as_type(client_of(invocation).get_credential(id_), CredentialSeen)


def issue(invocation: Invocation, content: KeyContent, expires_s: int | None, by: str | None) -> IssuedKey:
    """A new key. Raises `Refusal`: over HTTP each key expires."""
    client = _client_of(invocation, by)
    if expires_s is None:
        message = "over a server a key that never expires is not issued"
        raise Refusal(Exit.USAGE, "usage", message, next_step="give `--expires`, or issue it where the ledger is")
    asked = types.IssueCredential(
        name=content.name,
        tenants=content.tenants,
        expires_s=expires_s,
        agents=content.agents,
        services=content.services,
        users=content.users,
        user=content.user,
        roles=content.roles,
    )
    return as_type(client.issue_credential(asked), IssuedKey)


def rotate(invocation: Invocation, id_: str, overlap_s: int, expires_s: int | None, by: str | None) -> IssuedKey:
    """A successor for the same. Raises `Refusal`."""
    with _no_credential(id_):
        asked = types.RotateCredential(overlap_s=overlap_s, expires_s=expires_s)
        return as_type(_client_of(invocation, by).rotate_credential(id_, asked), IssuedKey)


def revoke(invocation: Invocation, id_: str, reason: str, by: str | None) -> Revoked:
    """A key ends now. Raises `Refusal`."""
    with _no_credential(id_):
        return as_type(_client_of(invocation, by).revoke_credential(id_, types.RevokeCredential(reason=reason)), Revoked)


def _client_of(invocation: Invocation, by: str | None) -> Client:
    """The client; a person who is named must be the one whose credential it is."""
    client = client_of(invocation)
    if by is not None:
        check_person(client, by)
    return client


def _no_credential(id_: str) -> AbstractContextManager[None]:
    return missing(f"there is no credential `{id_}`", "`licet credentials list --all` lists them")


def reasons(invocation: Invocation, entry: Entry) -> Reasons:
    """What explains the decision of a record. The decision is that of the record's own bytes, whatever the server says of it."""
    with missing(f"there is no record `{entry.place}`", "`licet audit search` lists records"):
        found = as_type(client_of(invocation).get_reasons(entry.log, entry.index), Reasons)
    return replace(found, decision=decision_of(entry), record=entry.place)


def split_subject(text: str) -> tuple[str, str]:
    """Type and id of `Customer/C-412`. Raises `Refusal`."""
    kind, slash, id_ = text.partition("/")
    if not kind or not slash or not id_:
        raise Refusal(Exit.USAGE, "usage", f"`{text}` is not `TYPE/ID`", next_step="for example `Customer/C-412`, or `User/alice`")
    return kind, id_


def proofs(invocation: Invocation, reference: str, *, with_payload: bool) -> tuple[bytes, ...]:
    """The proof of a record, or of each record of a call, a line each. Nothing in them is verified yet."""
    connection = client_of(invocation).connection
    query = {"payload": with_payload}
    found = []
    for place in _places(invocation, reference):
        path = f"/api/v1/records/{in_path(place.log)}/{place.index}/proof"
        found.append(connection.ask("GET", path, query=query).body.rstrip(b"\n") + b"\n")
    return tuple(found)


def receipts(invocation: Invocation, reference: str) -> list[Receipt]:
    """The receipts of a record, or of each record of a call, with leaf hashes that are computed here."""
    return list(_places(invocation, reference))


def checkpoint(invocation: Invocation) -> bytes:
    """The newest signed note."""
    return client_of(invocation).get_checkpoint().note.encode()


def prove_continuation(invocation: Invocation, kept: bytes) -> bytes:
    """A proof that the log goes on from this note."""
    body = types.KeptCheckpoint(note=kept.decode("utf-8", "replace"))
    return client_of(invocation).connection.ask("POST", "/api/v1/checkpoint/consistency", body=body).body


def export(invocation: Invocation, form: Any, tenant: str | None, *, payloads: bool) -> Any:
    """A context manager that gives an export's bytes, in parts."""
    return client_of(invocation).export_records(format_=form, tenant=tenant, payloads=payloads)


def _places(invocation: Invocation, reference: str) -> Iterator[Receipt]:
    from licet.cli.record_source_remote import RemoteRecords  # noqa: PLC0415 - of the same depth
    from licet.ledger.record import leaf_hash  # noqa: PLC0415 - as above

    told = RemoteRecords(invocation).story(reference)
    place = _PLACE.fullmatch(reference)
    for record in told.records:
        named = place is not None and (record.log, record.index) == (place["log"], int(place["index"]))
        if named or (place is None and record.call == told.call):
            yield Receipt(record.log, record.index, leaf_hash(record.envelope).hex())


def _tenant(tenant: str) -> tuple[str, str]:
    return f"there is no tenant `{tenant}`", "`licet doctor` says which tenants this credential reaches"


def _hold(one: types.HoldShape) -> Hold:
    since = datetime.fromisoformat(one.since)
    return Hold(one.id, one.log, one.target, (since - _EPOCH) // timedelta(microseconds=1))
