"""Reading the log is itself recorded: who read what, how much of it, and with payloads or without.

Rules:

1. No record, no reading: the record is durable before anything is shown or written out. Who cannot write the log is shown nothing.
2. The record is in the log of the tenant that was asked for, if it has one, else in `operator`.
3. The filter stands in the payload as it was typed. Whoever is named in it seals that payload too, so that erasing them erases this; so
   does the person who read.
4. A name that the ledger does not know stands there as a blind: nobody could erase it later, and nobody can read it. Equal ones look alike.

Not covered: a name inside a free text that was searched for is nobody's, and stays until the log's own secret goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from licet.ledger.record import Payload
from licet.ledger.seal import Filing, state
from licet.ledger.vault import Subject
from licet.ledger.writer import Writer
from licet.model import OPERATOR_LOG, JsonObject, Receipt
from licet.store.contract import Store


class Sought(Struct, frozen=True):
    """A person or target that a filter names: the option, what was typed, and the id in it. `types` are those that it may be of."""

    option: str
    typed: str
    id: str
    types: tuple[str, ...]


class Access(Struct, frozen=True, kw_only=True):
    """What is about to be read: by which verb and by whom, with which filter, how many records, and whether their payloads are shown.

    `tenant` is the one that was asked for; None means the whole ledger. `filter` is what was typed, without what is in `sought`.
    `operating_user` read where no `credential` was shown; `user` is the person of the directory whose credential it is.
    `within` are the only logs that who reads may know of, where not all are: a name that others know is as one that nobody does.
    """

    verb: str
    operating_user: str | None
    tenant: str | None
    records: int
    payloads: bool
    filter: JsonObject = {}
    sought: tuple[Sought, ...] = ()
    credential: str | None = None
    user: Subject | None = None
    within: tuple[str, ...] | None = None


def record_access(store: Store, writer: Writer, access: Access, *, environment: str, at_us: int) -> Receipt:
    """The access is recorded, durably. Raises `StoreError`, `GateClosed`: then nothing may be shown."""
    logs = [log.log for log in store.logs()]
    log = access.tenant if access.tenant in logs else OPERATOR_LOG
    shown: JsonObject = dict(access.filter)
    about: list[Subject] = []
    searched = [one for one in (log, *(other for other in logs if other != log)) if access.within is None or one in access.within]
    for sought in access.sought:
        known = _known(
            store, sought, [one for one in searched if access.within is None or one in access.within], alone=access.tenant is not None
        )
        shown[sought.option] = sought.typed if known else {"unknown": store.blind(log, "access", sought.typed)}
        about += known
    detail: JsonObject = {
        "verb": access.verb,
        "filter": shown,
        "records": access.records,
        "payloads": access.payloads,
        "operating_user": access.operating_user,
    }
    if access.credential is not None:
        detail["credential"] = access.credential
    if access.user is not None:
        detail["user"] = access.user.id
        about.append(access.user)
    statement = state(
        log=log,
        kind="access",
        at=at_us,
        boot=store.boot,
        environment=environment,
        payload=Payload(detail=detail),
        about=tuple(dict.fromkeys(about)),
    )
    return writer.submit(Filing((statement,))).wait()[0]


def _known(store: Store, sought: Sought, tenants: Iterable[str], *, alone: bool) -> list[Subject]:
    """Everybody of this name whom the ledger knows; where one tenant was asked for and knows them, the others are not looked at."""
    found: list[Subject] = []
    for tenant in tenants:
        subjects = [Subject(tenant, kind, sought.id) for kind in sought.types]
        found += [subject for subject in subjects if store.find_pseudonym(subject) is not None]
        if found and alone:
            break
    return found
