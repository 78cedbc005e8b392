"""Reading the log for somebody, which is recorded in it: by the command line, and over HTTP.

Rules:

1. Who reads says so first: the record is durable before anything is shown (`ledger/access.py`).
2. A person or target that a filter names seals the record of the reading, if the ledger knows them.
3. Who reads is known by the credential that was shown, and by the person it is of; on a local store by the operating user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from msgspec import Struct

from licet.catalog.spec import Catalog
from licet.config import Settings
from licet.errors import CatalogInvalid
from licet.gate.house import SNAPSHOTS_MERGED
from licet.gate.opening import OpenLedger
from licet.identity.content import EVERY_TENANT
from licet.identity.directory import Directory
from licet.ledger.access import Access, Sought
from licet.ledger.access import record_access as recorded
from licet.ledger.record import Kind, parse_ref
from licet.ledger.vault import Subject
from licet.model import OPERATOR_LOG, EntityRef, Receipt
from licet.store.contract import Store
from licet.store.finder import Wanted
from licet.store.index_terms import UNREADABLE, Field

PEOPLE = ("user", "actor", "voter", "target")
"""Filters that name a person or a target."""
_REF = re.compile(r'([A-Z][A-Za-z0-9_]*)(?:::"(.*)"|/(.*))', re.DOTALL)
"""`Customer::"C-412"` or `Customer/C-412`."""


class Reader(Struct, frozen=True, kw_only=True):
    """Who reads: the operating user of this process, or whoever showed a credential and, if that is a person's, the person.

    A `user` is one of `directory`, which says under whose secret the record lies. `within` are the only logs that this one may know of.
    """

    operating_user: str | None = None
    credential: str | None = None
    user: str | None = None
    directory: Directory | None = None
    within: tuple[str, ...] | None = None


def record_reading(
    ledger: OpenLedger,
    settings: Settings,
    reader: Reader,
    verb: str,
    options: Mapping[str, object],
    *,
    tenant: str | None,
    shown: int,
    payloads: bool = True,
) -> Receipt:
    """The reading is recorded, durably: now it may be shown. Raises `StoreError`, `GateClosed`: then nothing may be.

    `options` are the filters by their names, as they were given. `shown` says how many records are about to be shown or written.
    """
    typed = {name: value for name, value in options.items() if value not in (None, False, "", (), []) and name != "tenant"}
    named = [name for name in PEOPLE if name in typed and not (name == "actor" and _is_program(settings, typed[name]))]
    sought = tuple([_sought(ledger.store, settings, name, str(typed.pop(name))) for name in named])
    access = Access(
        verb=verb,
        operating_user=reader.operating_user,
        tenant=tenant,
        records=shown,
        payloads=payloads,
        filter=typed if tenant is None else {"tenant": tenant, **typed},
        sought=sought,
        credential=reader.credential,
        user=_person(reader, tenant),
        within=reader.within,
    )
    return recorded(ledger.store, ledger.writer, access, environment=settings.environment, at_us=ledger.now_us())


def _person(reader: Reader, log: str | None) -> Subject | None:
    if reader.user is None or reader.directory is None:
        return None
    return subject_of_user(reader.directory, reader.user, log)


def subject_of_user(directory: Directory, user: str, log: str | None) -> Subject:
    """Under whose secret a record of this log lies that names the user: erasing them takes their name from it."""
    if log is not None and directory.is_in_tenant(user, log):
        return Subject(log, "User", user)
    entry = directory.users.get(user)
    tenants = [tenant for tenant in (entry.tenants if entry is not None else ()) if tenant != EVERY_TENANT]
    return Subject(tenants[0] if tenants else OPERATOR_LOG, "User", user)


def wanted_of(asked: Mapping[str, Any], types: Sequence[str], *, since_us: int | None, until_us: int | None) -> Wanted:
    """What is asked for, by the names of `audit search`, for the search index. `types` are those that a target's id alone may be of."""
    plain: dict[Field, tuple[str, ...]] = {
        field: values if isinstance(values, tuple) else (values,) for name, field in _PLAIN.items() if (values := asked.get(name))
    }
    if asked.get("deviating"):
        plain["deviates"] = ("true",)
    plain.setdefault(
        "kind", (*[kind for kind in get_args(Kind) if kind != "access"], UNREADABLE)
    )  # who read the log is shown when it is asked for
    return Wanted(
        tenant=asked.get("tenant"),
        actor=asked.get("actor"),
        user=asked.get("user"),
        voter=asked.get("voter"),
        targets=_targets(asked.get("target"), types),
        plain=plain,
        text=asked.get("text"),
        since_us=since_us,
        until_us=until_us,
    )


_PLAIN: dict[str, Field] = {
    "agent": "agent",
    "service": "service",
    "session": "session",
    "tool": "tool",
    "verdict": "verdict",
    "outcome": "outcome",
    "kinds": "kind",
    "policy": "policy",
    "workflow": "workflow",
    "trace": "trace_id",
}
"""Filters whose values stand in envelopes as they are, and the fields of the index."""


def _targets(text: str | None, types: Sequence[str]) -> tuple[EntityRef, ...]:
    """`Customer::"C-412"`, `Customer/C-412`, or an id of any type."""
    if text is None:
        return ()
    if TARGET_ID.fullmatch(text):
        return (parse_ref(text),)
    kind, slash, identifier = text.partition("/")
    if slash and kind in {*types, "Tenant"}:
        return (EntityRef(kind, identifier),)
    return tuple([EntityRef(each, text) for each in types])


TARGET_ID = re.compile(r'[A-Z][A-Za-z0-9_]*::"(.*)"', re.DOTALL)
"""A target as records name it."""


def _is_program(settings: Settings, name: object) -> bool:
    return name in settings.agents or name in settings.services


def _sought(store: Store, settings: Settings, option: str, typed: str) -> Sought:
    if option != "target":
        return Sought(option, typed, typed, ("User",))
    ref = _REF.fullmatch(typed)
    if ref is not None:
        return Sought(option, typed, ref[2] if ref[2] is not None else ref[3], (ref[1],))
    return Sought(option, typed, typed, target_types(store, settings))


def target_types(store: Store, settings: Settings) -> tuple[str, ...]:
    """Every type of target that licet.toml or a tool that is known declares."""
    found = set(settings.resources)
    for _, content in store.blobs("catalog")[-SNAPSHOTS_MERGED:]:
        try:
            tools = Catalog.from_snapshot(content).tools
        except CatalogInvalid:
            continue
        found |= {template.type for spec in tools.values() for template in spec.targets}
    return tuple(sorted(found))
